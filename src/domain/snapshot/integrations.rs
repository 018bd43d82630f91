//! Who holds which image host: the registries of the platform and of workspaces, as decisions see them.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::registry::{Access, RegistryEntry};
use super::{RegistryId, position};
use crate::domain::hosts::{Claim, Hosts};
use crate::domain::record::{Entry, Host, Name, Owner, PathPrefix, Registry, UnixSeconds};
use crate::domain::records::Records;

/// Built anew when the record of a registry changes, or a workspace comes or goes: there are hundreds of them where
/// there are 100,000 spaces.
#[derive(Debug, Default)]
pub(in crate::domain) struct Integrations {
    pub registries: Vec<RegistryEntry>,
    pub hosts: Hosts,
    /// Docker registries whose credential every namespace gets.
    pub cluster_wide: Vec<RegistryId>,
    ids: HashMap<Name, RegistryId>,
    /// By workspace.
    own: HashMap<Name, Vec<OwnRegistry>>,
}

/// What a workspace's registry claims, seen from the workspace: every path of every host.
#[derive(Debug)]
pub(in crate::domain) struct OwnRegistry {
    pub id: RegistryId,
    /// Those that the platform does not hold; never empty.
    pub hosts: SmallVec<[Host; 1]>,
    /// Empty: the whole hosts.
    pub paths: Vec<PathPrefix>,
}

impl Integrations {
    pub fn build(records: &Records) -> Self {
        let mut all = Self::default();
        // The older record keeps a host that two platform registries name; records of workspaces come last, since
        // the platform's rules win.
        let mut in_order: Vec<_> = records.registries().values().collect();
        in_order.sort_by_key(|stored| match &stored.entry {
            Entry::Valid(r) => (r.owner != Owner::Platform, r.created, &stored.name),
            Entry::Invalid(i) => (i.workspace.is_some(), UnixSeconds::MAX, &stored.name),
        });
        for stored in in_order {
            let id = position(all.registries.len());
            all.ids.insert(stored.name.clone(), id);
            let hosts = match &stored.entry {
                Entry::Valid(registry) => match &registry.owner {
                    Owner::Platform => all.hosts.integrate(id, &registry.hosts),
                    Owner::Workspace(workspace) => {
                        let known = records.workspaces().valid(workspace).map(|_| workspace);
                        all.claim(id, registry, known, records);
                        registry.hosts.clone()
                    }
                },
                Entry::Invalid(invalid) if invalid.workspace.is_some() => {
                    let claim = Claim { workspace: None, registry: id, real: true };
                    all.hosts.claim(&claim, &invalid.hosts, &[], &records.shared_hosts);
                    SmallVec::new()
                }
                Entry::Invalid(invalid) => all.hosts.integrate(id, &invalid.hosts),
            };
            all.registries.push(RegistryEntry::new(stored.clone(), hosts));
        }
        let gives = |(_, registry): &(RegistryId, &RegistryEntry)| {
            registry.access == Access::Everybody && registry.has_credential
        };
        all.cluster_wide = (0..).zip(&all.registries).filter(gives).map(|(id, _)| id).collect();
        all
    }

    /// A registry by its position.
    pub fn registry(&self, id: RegistryId) -> &RegistryEntry {
        &self.registries[id as usize]
    }

    /// A registry by its name.
    pub fn named(&self, name: &str) -> Option<&RegistryEntry> {
        self.ids.get(name).map(|id| self.registry(*id))
    }

    /// The registries of a workspace.
    pub fn own(&self, workspace: &str) -> &[OwnRegistry] {
        self.own.get(workspace).map(Vec::as_slice).unwrap_or_default()
    }

    fn claim(&mut self, id: RegistryId, registry: &Registry, workspace: Option<&Name>, records: &Records) {
        let claim = Claim { workspace: workspace.cloned(), registry: id, real: registry.answered };
        let hosts = self.hosts.claim(&claim, &registry.hosts, &registry.paths, &records.shared_hosts);
        if let Some(workspace) = workspace
            && !hosts.is_empty()
        {
            let own = OwnRegistry { id, hosts, paths: registry.paths.clone() };
            self.own.entry(workspace.clone()).or_default().push(own);
        }
    }
}

impl OwnRegistry {
    /// What images of it start with: a host, and a path of it; an empty path is the whole host.
    pub fn prefixes(&self) -> impl Iterator<Item = (&str, &str)> {
        let whole = self.paths.is_empty().then_some("");
        self.hosts.iter().flat_map(move |host| {
            let paths = self.paths.iter().map(PathPrefix::as_str).chain(whole);
            paths.map(|path| (host.as_str(), path))
        })
    }
}
