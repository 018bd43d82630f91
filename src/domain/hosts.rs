//! What is known of each image host: the platform registry that holds it, or what workspaces claim of it.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::record::{Host, Name};
use super::snapshot::{RegistryId, WorkspaceId};

/// Hosts by their canonical form.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<Name, HostEntry>);

/// What is known of one image host.
#[derive(Debug, Default)]
pub(super) struct HostEntry {
    pub platform: Option<RegistryId>,
    /// By claimed path; the empty one is the whole host.
    claims: HashMap<Name, SmallVec<[Claim; 1]>>,
    /// Segments of the longest claimed path; bounds the look-ups for one image.
    depth: usize,
}

/// A workspace's claim, seen from the host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    /// `None`: the record is invalid or its workspace unknown; it counts for others, and admits nobody.
    pub workspace: Option<WorkspaceId>,
    pub registry: RegistryId,
}

impl Hosts {
    pub fn get(&self, canonical: &str) -> Option<&HostEntry> {
        self.0.get(canonical)
    }

    /// Gives hosts to a platform registry and returns those it holds: one that another holds already stays there.
    pub fn integrate(&mut self, id: RegistryId, hosts: &[Host]) -> SmallVec<[Host; 1]> {
        let mut held = SmallVec::new();
        for host in hosts {
            if *self.0.entry(host.canonical()).or_default().platform.get_or_insert(id) == id {
                held.push(host.clone());
            }
        }
        held
    }

    /// Notes a claim; `false` where the platform holds the host. Call after every [`Self::integrate`].
    pub fn claim(&mut self, host: &Host, path: &str, claim: Claim) -> bool {
        let entry = self.0.entry(host.canonical()).or_default();
        if entry.platform.is_some() {
            return false;
        }
        let depth = if path.is_empty() { 0 } else { path.split('/').count() };
        entry.depth = entry.depth.max(depth);
        entry.claims.entry(path.into()).or_default().push(claim);
        true
    }
}

impl HostEntry {
    /// The claims that cover a repository path: those on the whole host and on every leading run of segments
    /// that something follows.
    pub fn claims<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Claim> {
        let ends = path.match_indices('/').map(|(at, _)| at).take(self.depth);
        std::iter::once(0).chain(ends).filter_map(|end| self.claims.get(&path[..end])).flatten()
    }
}
