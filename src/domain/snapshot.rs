//! The immutable index that answers every decision.
//!
//! [`Snapshot::build`] turns [`Records`] into look-ups: a host by its canonical form, a namespace by its name, a
//! space by registry and path. It never fails: what is invalid or contradictory ends in the narrower access, and
//! always the same way whatever the order of the records.

mod registry;

use std::collections::BTreeSet;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable, hash_table};
use smallvec::SmallVec;
use std::hash::BuildHasher;

pub(super) use self::registry::{Access, RegistryEntry};
use super::hosts::{Claim, Hosts};
use super::membership::members;
use super::policy::{self, EffectivePolicy, Policies, PolicyIndex};
use super::record::{
    Entry, Host, Injection, Name, Owner, PathPrefix, Records, Registry, UnixSeconds, Visibility,
    WorkspaceQuota,
};
use super::shared_hosts::SharedHosts;

/// What an operator sets for the whole installation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Namespaces that are never judged: pullgate's own and `kube-system`, or a restart deadlocks the cluster.
    pub exempt_namespaces: Vec<Name>,
    /// Seconds after which a registry's "public" is no longer believed; `None`: no limit.
    pub public_max_age: Option<UnixSeconds>,
    /// Hosts of which workspaces claim paths only.
    pub shared_hosts: SharedHosts,
    /// Registries that one workspace may have.
    pub workspace_quota: WorkspaceQuota,
}

/// Positions in the snapshot's tables; 32 bits keep the entries of 100,000 spaces small.
pub(super) type RegistryId = u32;
pub(super) type WorkspaceId = u32;

/// The index; see the module's text.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub(super) registries: Vec<RegistryEntry>,
    pub(super) spaces: HashTable<SpaceEntry>,
    pub(super) workspaces: Vec<WorkspaceEntry>,
    pub(super) policies: Policies,
    pub(super) public_max_age: Option<UnixSeconds>,
    /// Docker registries whose credential every namespace gets.
    pub(super) cluster_wide: Vec<RegistryId>,
    pub(super) hosts: Hosts,
    namespaces: HashMap<Name, NamespaceEntry>,
    hasher: DefaultHashBuilder,
}

/// One cache line: looking up one of 100,000 spaces must not cost several trips to memory.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct SpaceEntry {
    pub path: Name,
    /// Sorted.
    pub bound: SmallVec<[WorkspaceId; 4]>,
    pub registry: RegistryId,
    /// Seconds since the epoch, 0: never; good until 2106.
    pub observed_at: u32,
    pub visibility: Visibility,
}

#[derive(Debug, Default)]
pub(super) struct WorkspaceEntry {
    pub name: Name,
    /// Private spaces that are bound to it, by registry and path.
    pub spaces: Vec<(RegistryId, Name)>,
    /// Its own registries.
    pub registries: Vec<OwnRegistry>,
    pub entitled: bool,
    pub injection: Injection,
}

/// What a workspace's registry claims, seen from the workspace: every path of every host.
#[derive(Debug)]
pub(super) struct OwnRegistry {
    pub id: RegistryId,
    /// Those that the platform does not hold; never empty.
    pub hosts: SmallVec<[Host; 1]>,
    /// Empty: the whole hosts.
    pub paths: Vec<PathPrefix>,
}

#[derive(Debug, Clone, Copy)]
struct NamespaceEntry {
    workspace: Option<WorkspaceId>,
    policy: u32,
    exempt: bool,
}

/// A namespace's standing in a snapshot: everything about it that decisions need, looked up once a request.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) workspace: Option<WorkspaceId>,
    pub(super) policy: &'s EffectivePolicy,
    pub(super) exempt: bool,
}

/// How large a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub registries: usize,
    pub spaces: usize,
    pub workspaces: usize,
    /// Namespaces that something is known of.
    pub namespaces: usize,
    pub policies: usize,
}

impl Snapshot {
    /// Builds the index. Takes some 100 ms for 100,000 spaces: call it off the request path.
    pub fn build(records: &Records, settings: &Settings) -> Self {
        let mut snapshot = Self { public_max_age: settings.public_max_age, ..Self::default() };
        let workspace_ids = snapshot.add_workspaces(records);
        let registry_ids = snapshot.add_registries(records, &settings.shared_hosts, &workspace_ids);
        snapshot.add_spaces(records, &registry_ids, &workspace_ids);
        snapshot.note_entitlements();
        snapshot.add_namespaces(records, settings, &workspace_ids);
        snapshot
    }

    /// What decisions need to know about a namespace; one that no record names has the defaults.
    pub fn scope(&self, namespace: &str) -> Scope<'_> {
        let known = self.namespaces.get(namespace);
        Scope {
            snapshot: self,
            workspace: known.and_then(|n| n.workspace),
            policy: known.map_or(self.policies.default(), |n| self.policies.get(n.policy)),
            exempt: known.is_some_and(|n| n.exempt),
        }
    }

    /// How much the snapshot holds.
    pub fn size(&self) -> Size {
        Size {
            registries: self.registries.len(),
            spaces: self.spaces.len(),
            workspaces: self.workspaces.len(),
            namespaces: self.namespaces.len(),
            policies: self.policies.count(),
        }
    }

    pub(super) fn space(&self, registry: RegistryId, path: &str) -> Option<&SpaceEntry> {
        self.spaces.find(self.hasher.hash_one((registry, path)), |space| space.is(registry, path))
    }

    fn add_workspaces<'r>(&mut self, records: &'r Records) -> Ids<'r, WorkspaceId> {
        let mut ids = Ids::default();
        for (name, entry) in &records.workspaces {
            if let Some(workspace) = entry.valid() {
                ids.insert(name, position(self.workspaces.len()));
                let injection = workspace.injection;
                self.workspaces.push(WorkspaceEntry {
                    name: name.clone(),
                    injection,
                    ..WorkspaceEntry::default()
                });
            }
        }
        ids
    }

    fn add_registries<'r>(
        &mut self,
        records: &'r Records,
        shared: &SharedHosts,
        workspace_ids: &Ids<'r, WorkspaceId>,
    ) -> Ids<'r, RegistryId> {
        let mut ids = Ids::default();
        // The older record keeps a host that two platform registries name; records of workspaces come last, since
        // the platform's rules win.
        let mut in_order: Vec<_> = records.registries.iter().map(|(name, entry)| (name, &**entry)).collect();
        in_order.sort_by_key(|(name, entry)| match entry {
            Entry::Valid(r) => (r.owner != Owner::Platform, r.created, *name),
            Entry::Invalid(i) => (i.workspace.is_some(), UnixSeconds::MAX, *name),
        });
        for (name, entry) in in_order {
            let id = position(self.registries.len());
            ids.insert(name, id);
            let registry = match entry {
                Entry::Valid(r) => {
                    let hosts = match &r.owner {
                        Owner::Platform => self.hosts.integrate(id, &r.hosts),
                        Owner::Workspace(w) => {
                            self.claim(id, r, workspace_ids.get(w).copied(), shared);
                            r.hosts.clone()
                        }
                    };
                    RegistryEntry::new(name, r, hosts)
                }
                Entry::Invalid(invalid) => {
                    let hosts = if invalid.workspace.is_some() {
                        let claim = Claim { workspace: None, registry: id, real: true };
                        self.hosts.claim(claim, &invalid.hosts, &[], shared);
                        SmallVec::new()
                    } else {
                        self.hosts.integrate(id, &invalid.hosts)
                    };
                    RegistryEntry::unreadable(name, hosts)
                }
            };
            self.registries.push(registry);
        }
        self.cluster_wide = (0..)
            .zip(&self.registries)
            .filter(|(_, r)| r.access == Access::Everybody && r.has_credential)
            .map(|(id, _)| id)
            .collect();
        ids
    }

    fn claim(
        &mut self,
        id: RegistryId,
        registry: &Registry,
        workspace: Option<WorkspaceId>,
        shared: &SharedHosts,
    ) {
        let claim = Claim { workspace, registry: id, real: registry.answered };
        let hosts = self.hosts.claim(claim, &registry.hosts, &registry.paths, shared);
        if let Some(w) = workspace
            && !hosts.is_empty()
        {
            let own = OwnRegistry { id, hosts, paths: registry.paths.clone() };
            self.workspaces[w as usize].registries.push(own);
        }
    }

    fn add_spaces(
        &mut self,
        records: &Records,
        registry_ids: &Ids<'_, RegistryId>,
        workspace_ids: &Ids<'_, WorkspaceId>,
    ) {
        let hasher = self.hasher.clone();
        let hash_of = |space: &SpaceEntry| hasher.hash_one((space.registry, space.path.as_str()));
        self.spaces.reserve(records.spaces.len(), hash_of);
        for space in records.spaces.values().filter_map(|entry| entry.valid()) {
            let Some(&registry) = registry_ids.get(&space.registry) else { continue };
            let of = records.registries.get(&space.registry).and_then(|entry| entry.valid());
            if of.is_some_and(|of| !space.belongs_to(of)) {
                continue;
            }
            let mut bound: SmallVec<[WorkspaceId; 4]> = SmallVec::new();
            if !space.is_suspended(of) {
                bound.extend(space.workspaces.iter().filter_map(|w| workspace_ids.get(w).copied()));
                bound.sort_unstable();
                bound.dedup();
            }
            // What was read of the whole registry confirms what was recorded of each space before, unwritten.
            let observed_at = match space.observed_at.get() {
                Some(at) if space.is_of(of) => {
                    short(Some(at)).max(self.registries[registry as usize].discovered_at)
                }
                _ => 0,
            };
            let visibility = space.visibility_in(of);
            let entry = SpaceEntry { path: space.path.clone(), bound, registry, observed_at, visibility };
            match self.spaces.entry(hash_of(&entry), |other| other.is(registry, &space.path), hash_of) {
                hash_table::Entry::Vacant(place) => drop(place.insert(entry)),
                hash_table::Entry::Occupied(mut twin) => twin.get_mut().narrow_to(&entry),
            }
        }
    }

    /// Notes for every workspace which credentials its namespaces are entitled to.
    fn note_entitlements(&mut self) {
        for space in &self.spaces {
            let registry = &self.registries[space.registry as usize];
            if space.visibility == Visibility::Private && registry.access == Access::Spaces {
                for w in &space.bound {
                    let workspace = &mut self.workspaces[*w as usize];
                    workspace.entitled |= registry.has_credential;
                    workspace.spaces.push((space.registry, space.path.clone()));
                }
            }
        }
        let registries = &self.registries;
        for workspace in &mut self.workspaces {
            workspace.entitled |=
                workspace.registries.iter().any(|own| registries[own.id as usize].has_credential);
            workspace.spaces.shrink_to_fit();
        }
    }

    fn add_namespaces(
        &mut self,
        records: &Records,
        settings: &Settings,
        workspace_ids: &Ids<'_, WorkspaceId>,
    ) {
        let members = members(records, workspace_ids);
        let policies = policy::in_force(records);
        let index = PolicyIndex::new(&policies);
        self.policies = Policies::build(&policies);
        let named: BTreeSet<&Name> =
            members.keys().copied().chain(index.namespaces()).chain(&settings.exempt_namespaces).collect();
        let mut entries = Vec::with_capacity(named.len());
        for name in named {
            let workspace = members.get(name).copied();
            let workspace_name = workspace.map(|w| &self.workspaces[w as usize].name);
            let policy = self.policies.intern(&index, name, workspace_name);
            let exempt = settings.exempt_namespaces.contains(name);
            entries.push((name.clone(), NamespaceEntry { workspace, policy, exempt }));
        }
        self.namespaces = entries.into_iter().collect();
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

impl SpaceEntry {
    fn is(&self, registry: RegistryId, path: &str) -> bool {
        self.registry == registry && self.path == path
    }

    /// Two records of one space: only what both grant.
    fn narrow_to(&mut self, twin: &Self) {
        self.bound.retain(|w| twin.bound.contains(w));
        self.observed_at = self.observed_at.min(twin.observed_at);
        if twin.visibility == Visibility::Private {
            self.visibility = Visibility::Private;
        }
    }
}

/// Positions by record name, while a snapshot is built.
pub(super) type Ids<'r, T> = HashMap<&'r Name, T>;

/// A time in 32 bits; 0: never.
fn short(at: Option<UnixSeconds>) -> u32 {
    at.map_or(0, |at| u32::try_from(at.max(0)).unwrap_or(u32::MAX))
}

fn position(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
