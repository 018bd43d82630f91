//! Every record of one moment, with its joins.
//!
//! A value that shares with the one before it whatever did not change: a copy costs nothing, and a changed record what
//! it touches, however many others there are.

mod named;
mod registry_spaces;
mod touched;

use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use imbl::shared_ptr::DefaultSharedPtr;
use imbl::{GenericHashMap, OrdMap};
use smallvec::SmallVec;

pub use self::named::{Named, Stored};
pub use self::registry_spaces::RegistrySpaces;
pub use self::touched::Touched;
use super::record::{
    Entry, Kind, Name, Owner, PullPolicy, Record, Registry, Space, Workspace, WorkspaceQuota,
};
use super::shared_hosts::SharedHosts;

/// A map that shares what did not change.
pub(super) type Map<K, V> = GenericHashMap<K, V, DefaultHashBuilder, DefaultSharedPtr>;

/// See the module's text.
#[derive(Debug, Clone, Default)]
pub struct Records {
    registries: Named<Registry>,
    spaces: Named<Space>,
    workspaces: Named<Workspace>,
    policies: Named<PullPolicy>,
    invalid: usize,
    invalid_spaces: Named<Space>,
    /// Spaces without an owner, by which a registry would take them along.
    unowned_spaces: Named<Space>,
    spaces_by_registry: Map<Name, RegistrySpaces>,
    spaces_by_workspace: Map<Name, Named<Space>>,
    registries_by_workspace: Map<Name, Named<Registry>>,
    /// Workspaces that list a namespace, by name.
    listings: Map<Name, SmallVec<[Name; 1]>>,
    namespace_uids: OrdMap<Name, String>,
    /// What no workspace claims as a whole, as an operator has it.
    pub shared_hosts: SharedHosts,
    /// How many registries one workspace may have, as an operator has it.
    pub workspace_quota: WorkspaceQuota,
}

impl Records {
    /// None, under an operator's settings.
    pub fn new(shared_hosts: SharedHosts, workspace_quota: WorkspaceQuota) -> Self {
        Self { shared_hosts, workspace_quota, ..Self::default() }
    }

    /// All registries.
    pub fn registries(&self) -> &Named<Registry> {
        &self.registries
    }

    /// All spaces.
    pub fn spaces(&self) -> &Named<Space> {
        &self.spaces
    }

    /// All workspaces.
    pub fn workspaces(&self) -> &Named<Workspace> {
        &self.workspaces
    }

    /// All pull policies.
    pub fn policies(&self) -> &Named<PullPolicy> {
        &self.policies
    }

    /// The spaces that name a registry; `None` where there are none.
    pub fn spaces_of(&self, registry: &str) -> Option<&RegistrySpaces> {
        self.spaces_by_registry.get(registry)
    }

    /// The spaces whose bindings name a workspace, invalid ones too.
    pub fn spaces_for(&self, workspace: &str) -> impl Iterator<Item = &Arc<Stored<Space>>> {
        self.spaces_by_workspace.get(workspace).into_iter().flat_map(Named::values)
    }

    /// The registries of a workspace, invalid ones too.
    pub fn registries_of(&self, workspace: &str) -> impl Iterator<Item = &Arc<Stored<Registry>>> {
        self.registries_by_workspace.get(workspace).into_iter().flat_map(Named::values)
    }

    /// Spaces whose records are invalid.
    pub fn invalid_spaces(&self) -> &Named<Space> {
        &self.invalid_spaces
    }

    /// Spaces that name a registry and do not yet go with it.
    pub fn unowned_spaces(&self) -> &Named<Space> {
        &self.unowned_spaces
    }

    /// The workspaces that list a namespace, by name.
    pub fn listing(&self, namespace: &str) -> impl Iterator<Item = (&Name, &Workspace)> {
        let names = self.listings.get(namespace).into_iter().flatten();
        names.filter_map(|name| Some((name, self.workspaces.valid(name)?)))
    }

    /// Namespaces that some workspace lists, in no order.
    pub fn listed_namespaces(&self) -> impl Iterator<Item = &Name> {
        self.listings.keys()
    }

    /// UIDs of the namespaces that are known to exist; only pinned workspaces need them.
    pub fn namespace_uids(&self) -> &OrdMap<Name, String> {
        &self.namespace_uids
    }

    /// Number of records of every kind that are invalid.
    pub fn invalid(&self) -> usize {
        self.invalid
    }

    /// Adds a record, or replaces the one of the same kind and name.
    pub fn put(&mut self, name: Name, record: Record) -> Touched {
        self.put_at(name, 0, record)
    }

    /// The same, of a record that was stored.
    pub fn put_at(&mut self, name: Name, revision: u64, record: Record) -> Touched {
        match record {
            Record::Registry(entry) => self.put_registry(&Arc::new(Stored { name, revision, entry })),
            Record::Space(entry) => self.put_space(&Arc::new(Stored { name, revision, entry })),
            Record::Workspace(entry) => self.put_workspace(&Arc::new(Stored { name, revision, entry })),
            Record::PullPolicy(entry) => {
                self.invalid += usize::from(entry.valid().is_none());
                let old = self.policies.insert(Arc::new(Stored { name, revision, entry }));
                self.invalid -= usize::from(old.is_some_and(|old| old.valid().is_none()));
                Touched { policies: true, ..Touched::default() }
            }
        }
    }

    /// Removes a record; one that is not there is no fault.
    pub fn remove(&mut self, kind: Kind, name: &str) -> Touched {
        match kind {
            Kind::Registry => self.remove_registry(name),
            Kind::RegistrySpace => self.remove_space(name),
            Kind::Workspace => self.remove_workspace(name),
            Kind::PullPolicy => {
                let Some(old) = self.policies.remove(name) else { return Touched::default() };
                self.invalid -= usize::from(old.valid().is_none());
                Touched { policies: true, ..Touched::default() }
            }
        }
    }

    /// Notes a namespace that exists, by its UID.
    pub fn put_namespace(&mut self, name: Name, uid: String) -> Touched {
        let known = self.namespace_uids.insert(name.clone(), uid.clone());
        if known == Some(uid) { Touched::default() } else { Touched::namespace(name) }
    }

    /// Notes that a namespace is gone.
    pub fn remove_namespace(&mut self, name: &str) -> Touched {
        self.namespace_uids
            .remove_with_key(name)
            .map_or_else(Touched::default, |(name, _)| Touched::namespace(name))
    }

    /// Takes over which namespaces exist.
    pub fn set_namespaces(&mut self, all: OrdMap<Name, String>) -> Touched {
        self.namespace_uids = all;
        Touched::everything()
    }

    fn put_registry(&mut self, stored: &Arc<Stored<Registry>>) -> Touched {
        let mut touched = self.remove_registry(&stored.name);
        self.invalid += usize::from(stored.valid().is_none());
        self.registries.insert(stored.clone());
        if let Some(workspace) = workspace_of(&stored.entry) {
            self.registries_by_workspace.entry(workspace.clone()).or_default().insert(stored.clone());
            touched.workspaces.insert(workspace.clone());
        }
        touched.registry_records.insert(stored.name.clone());
        touched.registries.insert(stored.name.clone());
        touched
    }

    fn remove_registry(&mut self, name: &str) -> Touched {
        let mut touched = Touched::default();
        let Some(old) = self.registries.remove(name) else { return touched };
        self.invalid -= usize::from(old.valid().is_none());
        if let Some(workspace) = workspace_of(&old.entry) {
            drop_from(&mut self.registries_by_workspace, workspace, |registries| {
                registries.remove(name);
                registries.is_empty()
            });
            touched.workspaces.insert(workspace.clone());
        }
        touched.registry_records.insert(old.name.clone());
        touched.registries.insert(old.name.clone());
        touched
    }

    fn put_space(&mut self, stored: &Arc<Stored<Space>>) -> Touched {
        let mut touched = self.remove_space(&stored.name);
        self.spaces.insert(stored.clone());
        if stored.valid().is_none() {
            self.invalid += 1;
            self.invalid_spaces.insert(stored.clone());
        }
        if owner_of(&stored.entry).is_none() {
            self.unowned_spaces.insert(stored.clone());
        }
        if let Some(registry) = registry_of(&stored.entry) {
            self.spaces_by_registry.entry(registry.clone()).or_default().insert(stored);
            touched.registries.insert(registry.clone());
        }
        for workspace in bindings_of(&stored.entry) {
            self.spaces_by_workspace.entry(workspace.clone()).or_default().insert(stored.clone());
            touched.workspaces.insert(workspace.clone());
        }
        touched.spaces = true;
        touched
    }

    fn remove_space(&mut self, name: &str) -> Touched {
        let mut touched = Touched::default();
        let Some(old) = self.spaces.remove(name) else { return touched };
        if old.valid().is_none() {
            self.invalid -= 1;
            self.invalid_spaces.remove(name);
        }
        self.unowned_spaces.remove(name);
        if let Some(registry) = registry_of(&old.entry) {
            drop_from(&mut self.spaces_by_registry, registry, |spaces| {
                spaces.remove(&old);
                spaces.all().is_empty()
            });
            touched.registries.insert(registry.clone());
        }
        for workspace in bindings_of(&old.entry) {
            drop_from(&mut self.spaces_by_workspace, workspace, |spaces| {
                spaces.remove(name);
                spaces.is_empty()
            });
            touched.workspaces.insert(workspace.clone());
        }
        touched.spaces = true;
        touched
    }

    fn put_workspace(&mut self, stored: &Arc<Stored<Workspace>>) -> Touched {
        let was_valid = self.workspaces.valid(&stored.name).is_some();
        let mut touched = self.remove_workspace(&stored.name);
        touched.workspace_set = was_valid != stored.valid().is_some();
        self.invalid += usize::from(stored.valid().is_none());
        self.workspaces.insert(stored.clone());
        for namespace in stored.valid().into_iter().flat_map(|workspace| &workspace.namespaces) {
            let listing = self.listings.entry(namespace.clone()).or_default();
            if let Err(at) = listing.binary_search(&stored.name) {
                listing.insert(at, stored.name.clone());
            }
            touched.namespaces.insert(namespace.clone());
        }
        touched.workspace_records.insert(stored.name.clone());
        touched.workspaces.insert(stored.name.clone());
        touched
    }

    fn remove_workspace(&mut self, name: &str) -> Touched {
        let mut touched = Touched::default();
        let Some(old) = self.workspaces.remove(name) else { return touched };
        self.invalid -= usize::from(old.valid().is_none());
        for namespace in old.valid().into_iter().flat_map(|workspace| &workspace.namespaces) {
            drop_from(&mut self.listings, namespace, |listing| {
                listing.retain(|workspace| workspace != name);
                listing.is_empty()
            });
            touched.namespaces.insert(namespace.clone());
        }
        touched.workspace_set = old.valid().is_some();
        touched.workspace_records.insert(old.name.clone());
        touched.workspaces.insert(old.name.clone());
        touched
    }
}

/// Takes something out of a join's member, and the member itself where `leave` says that it is empty now.
fn drop_from<V: Clone>(map: &mut Map<Name, V>, key: &Name, leave: impl FnOnce(&mut V) -> bool) {
    if map.get_mut(key).is_some_and(leave) {
        map.remove(key);
    }
}

/// The registry that a space names.
pub fn registry_of(space: &Entry<Space>) -> Option<&Name> {
    match space {
        Entry::Valid(space) => Some(&space.registry),
        Entry::Invalid(invalid) => invalid.registry.as_ref(),
    }
}

/// The workspaces that a space's bindings name; mended, an invalid one would bind them again.
pub fn bindings_of(space: &Entry<Space>) -> &[Name] {
    match space {
        Entry::Valid(space) => &space.workspaces,
        Entry::Invalid(invalid) => &invalid.selector.workspaces,
    }
}

/// The workspace whose registry it is; `None`: the platform's.
pub fn workspace_of(registry: &Entry<Registry>) -> Option<&Name> {
    match registry {
        Entry::Valid(Registry { owner: Owner::Workspace(workspace), .. }) => Some(workspace),
        Entry::Valid(Registry { owner: Owner::Platform, .. }) => None,
        Entry::Invalid(invalid) => invalid.workspace.as_ref(),
    }
}

fn owner_of(space: &Entry<Space>) -> Option<i64> {
    match space {
        Entry::Valid(space) => space.owner.get(),
        Entry::Invalid(invalid) => invalid.owner.get(),
    }
}
