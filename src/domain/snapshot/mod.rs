//! The immutable index that answers every decision.
//!
//! [`Snapshot::build`] turns [`Records`] into look-ups: a host by its canonical form, a namespace by its name; a space is
//! looked up in the records themselves, by registry and path. It never fails: what is invalid or contradictory ends in the
//! narrower access, and always the same way whatever the order of the records. [`Snapshot::updated`] makes the next one
//! of what changed, and shares the rest.

mod integrations;
mod registry;
mod space;

use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) use self::integrations::Integrations;
pub(super) use self::registry::{Access, RegistryEntry};
pub(super) use self::space::SpaceView;
use super::membership::member;
use super::policy::{self, EffectivePolicy, Policies, PolicyIndex};
use super::record::{Injection, Name, UnixSeconds, Visibility, WorkspaceQuota};
use super::records::{Map, Records, Touched};
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

/// Position of a registry among [`Integrations`].
pub(super) type RegistryId = u32;

/// The index; see the module's text.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    records: Records,
    settings: Arc<Settings>,
    pub(super) integrations: Arc<Integrations>,
    workspaces: Map<Name, WorkspaceEntry>,
    namespaces: Map<Name, NamespaceEntry>,
    policies: Arc<Policies>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkspaceEntry {
    pub name: Name,
    /// Its namespaces are entitled to at least one credential.
    pub entitled: bool,
    pub injection: Injection,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NamespaceEntry {
    workspace: Option<Name>,
    policy: u32,
    exempt: bool,
}

/// A namespace's standing in a snapshot: everything about it that decisions need, looked up once a request.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) workspace: Option<&'s WorkspaceEntry>,
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
    /// Builds the index of all records.
    pub fn build(records: &Records, settings: &Settings) -> Self {
        let mut records = records.clone();
        records.shared_hosts.clone_from(&settings.shared_hosts);
        records.workspace_quota = settings.workspace_quota;
        let empty = Self { settings: Arc::new(settings.clone()), ..Self::default() };
        empty.updated(records, &Touched::everything())
    }

    /// The index of `records`, which differ from those of this one by what was `touched`. Takes time by that, and by the
    /// number of registries and workspaces where a registry's record changed or a workspace came or went.
    #[must_use]
    pub fn updated(&self, records: Records, touched: &Touched) -> Self {
        let mut next = Self { records, ..self.clone() };
        if touched.everything || touched.workspace_set || !touched.registry_records.is_empty() {
            next.integrations = Arc::new(Integrations::build(&next.records));
            next.note_all_workspaces();
        } else {
            for workspace in &touched.workspaces {
                next.note_workspace(workspace);
            }
        }
        if touched.everything || touched.policies {
            next.note_all_namespaces();
        } else if !touched.namespaces.is_empty() {
            let policies = policy::in_force(&self.records);
            let index = PolicyIndex::new(&policies);
            for namespace in &touched.namespaces {
                next.note_namespace(namespace, &index);
            }
        }
        next
    }

    /// The records that it was made from.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// What decisions need to know about a namespace; one that no record names has the defaults.
    pub fn scope(&self, namespace: &str) -> Scope<'_> {
        let known = self.namespaces.get(namespace);
        Scope {
            snapshot: self,
            workspace: known.and_then(|n| self.workspaces.get(n.workspace.as_ref()?)),
            policy: known.map_or(self.policies.default(), |n| self.policies.get(n.policy)),
            exempt: known.is_some_and(|n| n.exempt),
        }
    }

    /// How much the snapshot holds.
    pub fn size(&self) -> Size {
        Size {
            registries: self.integrations.registries.len(),
            spaces: self.records.spaces().len() - self.records.invalid_spaces().len(),
            workspaces: self.workspaces.len(),
            namespaces: self.namespaces.len(),
            policies: self.policies.count(),
        }
    }

    pub(super) fn public_max_age(&self) -> Option<UnixSeconds> {
        self.settings.public_max_age
    }

    pub(super) fn space<'s>(&'s self, registry: &'s RegistryEntry, path: &str) -> Option<SpaceView<'s>> {
        SpaceView::find(registry, self.records.spaces_of(registry.name())?, path)
    }

    /// Whether a workspace is there, so that bindings to it bind.
    pub(super) fn has_workspace(&self, name: &str) -> bool {
        self.workspaces.contains_key(name)
    }

    /// The spaces that are bound to a workspace, each with its registry; by registry and path.
    pub(super) fn bound_to<'s>(
        &'s self,
        workspace: &'s str,
    ) -> impl Iterator<Item = (&'s RegistryEntry, &'s Name, SpaceView<'s>)> + use<'s> {
        let places: BTreeSet<(&Name, &Name)> = self
            .records
            .spaces_for(workspace)
            .filter_map(|stored| stored.valid())
            .map(|space| (&space.registry, &space.path))
            .collect();
        places.into_iter().filter_map(move |(registry, path)| self.bound_at(registry, path, workspace))
    }

    fn bound_at<'s>(
        &'s self,
        registry: &str,
        path: &'s Name,
        workspace: &str,
    ) -> Option<(&'s RegistryEntry, &'s Name, SpaceView<'s>)> {
        let registry = self.integrations.named(registry).filter(|registry| registry.divided())?;
        let space = self.space(registry, path).filter(|space| space.binds(workspace))?;
        Some((registry, path, space))
    }

    fn note_all_workspaces(&mut self) {
        let gone: Vec<_> = self
            .workspaces
            .keys()
            .filter(|name| !self.records.workspaces().contains_key(name))
            .cloned()
            .collect();
        for name in gone {
            self.workspaces.remove(&name);
        }
        let names: Vec<_> = self.records.workspaces().keys().cloned().collect();
        for name in &names {
            self.note_workspace(name);
        }
    }

    fn note_workspace(&mut self, name: &Name) {
        let Some(workspace) = self.records.workspaces().valid(name) else {
            self.workspaces.remove(name);
            return;
        };
        let (entitled, injection) = (self.is_entitled(name), workspace.injection);
        let entry = WorkspaceEntry { name: name.clone(), entitled, injection };
        if self.workspaces.get(name) != Some(&entry) {
            self.workspaces.insert(name.clone(), entry);
        }
    }

    /// Whether a workspace is entitled to at least one credential, of a registry of its own or of a private space.
    fn is_entitled(&self, workspace: &str) -> bool {
        let integrations = &self.integrations;
        let gives = |space: &super::record::Space| {
            let bound = self.bound_at(&space.registry, &space.path, workspace);
            bound.is_some_and(|(registry, _, space)| {
                registry.has_credential && space.visibility() == Visibility::Private
            })
        };
        integrations.own(workspace).iter().any(|own| integrations.registry(own.id).has_credential)
            || self.records.spaces_for(workspace).filter_map(|stored| stored.valid()).any(gives)
    }

    fn note_all_namespaces(&mut self) {
        let (records, settings) = (self.records.clone(), self.settings.clone());
        let policies = policy::in_force(&records);
        let index = PolicyIndex::new(&policies);
        self.policies = Arc::new(Policies::build(&policies));
        self.namespaces = Map::default();
        let named: BTreeSet<&Name> = records
            .listed_namespaces()
            .chain(index.namespaces())
            .chain(&settings.exempt_namespaces)
            .collect();
        for namespace in named {
            self.note_namespace(namespace, &index);
        }
    }

    fn note_namespace(&mut self, namespace: &Name, index: &PolicyIndex<'_>) {
        let workspace =
            member(&self.records, namespace).filter(|name| self.workspaces.contains_key(*name)).cloned();
        let exempt = self.settings.exempt_namespaces.contains(namespace);
        if workspace.is_none() && !exempt && !index.names(namespace) {
            self.namespaces.remove(namespace);
            return;
        }
        let policy = Arc::make_mut(&mut self.policies).intern(index, namespace, workspace.as_ref());
        let entry = NamespaceEntry { workspace, policy, exempt };
        if self.namespaces.get(namespace) != Some(&entry) {
            self.namespaces.insert(namespace.clone(), entry);
        }
    }
}

/// A time in 32 bits; 0: never. Good until 2106.
fn short(at: Option<UnixSeconds>) -> u32 {
    at.map_or(0, |at| u32::try_from(at.max(0)).unwrap_or(u32::MAX))
}

fn position(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
