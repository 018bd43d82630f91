//! A space as decisions see it.

use smallvec::SmallVec;

use super::registry::RegistryEntry;
use super::short;
use crate::domain::record::{Name, Registry, Space, Visibility};
use crate::domain::records::RegistrySpaces;

/// What the records say of a space; where several contradict each other, only what all of them grant.
#[derive(Debug)]
pub(in crate::domain) struct SpaceView<'s> {
    registry: Option<&'s Registry>,
    discovered_at: u32,
    records: SmallVec<[&'s Space; 1]>,
}

impl<'s> SpaceView<'s> {
    /// `None` where no record has it; those of an earlier registry of the name do not count.
    pub fn find(registry: &'s RegistryEntry, spaces: &'s RegistrySpaces, path: &str) -> Option<Self> {
        let of = registry.record();
        let records: SmallVec<_> =
            spaces.at(path).filter(|space| of.is_none_or(|of| space.belongs_to(of))).collect();
        let discovered_at = registry.discovered_at;
        (!records.is_empty()).then_some(Self { registry: of, discovered_at, records })
    }

    pub fn visibility(&self) -> Visibility {
        let public = |space: &&Space| space.visibility_in(self.registry) == Visibility::Public;
        if self.records.iter().all(public) { Visibility::Public } else { Visibility::Private }
    }

    /// Whether a workspace's namespaces may pull.
    pub fn binds(&self, workspace: &str) -> bool {
        let binds = |space: &&Space| {
            space.workspaces.iter().any(|bound| bound == workspace) && !space.is_suspended(self.registry)
        };
        self.records.iter().all(binds)
    }

    /// When the registry last said of it what is known; 0: never. In Unix seconds.
    pub fn observed_at(&self) -> u32 {
        let at = |space: &&Space| match space.observed_at.get() {
            // What was read of the whole registry confirms what was recorded of each space before, unwritten.
            Some(at) if space.is_of(self.registry) => short(Some(at)).max(self.discovered_at),
            _ => 0,
        };
        self.records.iter().map(at).min().unwrap_or(0)
    }

    /// Names of workspaces that some record binds, whether they exist or not.
    pub fn named(&self) -> impl Iterator<Item = &'s str> {
        self.records.iter().flat_map(|space| space.workspaces.iter().map(Name::as_str))
    }
}
