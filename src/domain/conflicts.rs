//! What a record may not say because of what other records say.
//!
//! The management API and the record webhook both ask here before a record is written, so that one is refused
//! everywhere or nowhere. What slips through all the same (two replicas writing at once, `kubectl` while the
//! webhook is down) does no harm: [`super::snapshot`] resolves every contradiction to the narrower access.
//!
//! Sentences about a workspace's registry name no other record: its author is a tenant, and whom the rest
//! belongs to is not for a tenant to know. The other kinds are written by platform admins alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::membership::{Holder, holder};
use super::record::{
    Entry, Host, Kind, Name, Owner, Problem, Record, Registry, RegistryType, Space, UnixSeconds, Workspace,
};
use super::records::{Records, workspace_of};

/// How many names a sentence lists before it only counts the rest.
const LISTED: usize = 5;

/// Everything that stands between `record` and being written as `name` beside `records`. The record's own
/// earlier version may be among them. Empty for an invalid record: that one has its own problems.
pub fn conflicts(records: &Records, name: &str, record: &Record) -> Vec<Problem> {
    match record {
        Record::Registry(Entry::Valid(registry)) => registry_conflicts(records, name, registry),
        Record::Space(Entry::Valid(space)) => space_conflicts(records, name, space),
        Record::Workspace(Entry::Valid(workspace)) => workspace_conflicts(records, name, workspace),
        _ => Vec::new(),
    }
}

/// Everything that stands between a record and its removal: what refers to it, and what a later record of the
/// same name would inherit.
pub fn removal_conflicts(records: &Records, kind: Kind, name: &str) -> Vec<Problem> {
    match kind {
        Kind::Registry => {
            let bound = listed(spaces_of(records, name).filter(|(_, s)| !s.workspaces.is_empty()).map(first));
            bound.map(|spaces| {
                Problem::new(
                    "metadata.name",
                    format!(
                        "registry {name} still has spaces that are bound to workspaces ({spaces}); unbind them \
                         first, or remove them with it (force=true)"
                    ),
                )
            })
        }
        Kind::Workspace => return workspace_removal(records, name),
        Kind::RegistrySpace | Kind::PullPolicy => None,
    }
    .into_iter()
    .collect()
}

/// The valid spaces that are recorded for a registry, without those of an earlier record of its name.
pub fn spaces_of<'r>(records: &'r Records, registry: &str) -> impl Iterator<Item = (&'r Name, &'r Space)> {
    let record = records.registries().valid(registry);
    let all = records.spaces_of(registry).into_iter().flat_map(|spaces| spaces.all().iter());
    all.filter_map(|(name, stored)| Some((name, stored.valid()?)))
        .filter(move |(_, space)| record.is_none_or(|r| space.belongs_to(r)))
}

fn registry_conflicts(records: &Records, name: &str, registry: &Registry) -> Vec<Problem> {
    let mut problems = Vec::new();
    let held = platform_hosts(records, name);
    for (i, host) in registry.hosts.iter().enumerate() {
        let Some((holder, spelling)) = held.get(&host.canonical()) else { continue };
        let host = host.as_str();
        let message = match &registry.owner {
            Owner::Platform => {
                format!(
                    "registry {holder} holds the host {host} already (as {spelling}); one host, one registry"
                )
            }
            Owner::Workspace(_) => format!(
                "the platform has integrated the host {host}, whatever its spelling; a workspace cannot \
                 integrate it too, ask a platform admin to bind the spaces you need"
            ),
        };
        problems.push(Problem::new(format!("spec.imageHosts[{i}]"), message));
    }
    if registry.owner != Owner::Platform && registry.paths.is_empty() {
        let shared =
            registry.hosts.iter().enumerate().filter(|(_, host)| records.shared_hosts.contains(host));
        problems.extend(shared.map(|(i, host)| {
            let message = format!(
                "{} is shared by everybody; say in spec.paths which part of it is the workspace's, as acme/",
                host.as_str()
            );
            Problem::new(format!("spec.imageHosts[{i}]"), message)
        }));
    }
    if let Owner::Workspace(workspace) = &registry.owner
        && !records.workspaces().contains_key(workspace)
    {
        problems.push(Problem::new("spec.workspace", format!("there is no workspace {workspace}")));
    }
    if let Owner::Workspace(workspace) = &registry.owner {
        problems.extend(beyond_quota(records, name, workspace));
    }
    // The record may have changed under its spaces.
    let has_spaces = || spaces_of(records, name).next().is_some();
    if registry.kind == RegistryType::Docker && has_spaces() {
        let message =
            "spaces are recorded for this registry, and a Docker registry has none; remove them first";
        problems.push(Problem::new("spec.type", message));
    }
    let has_bindings = || spaces_of(records, name).any(|(_, space)| !space.workspaces.is_empty());
    if registry.owner != Owner::Platform && has_bindings() {
        let message = "spaces of this registry are bound to workspaces; unbind them before it becomes one \
                       workspace's own";
        problems.push(Problem::new("spec.workspace", message));
    }
    problems
}

/// Why a workspace gets no further registry, where it has as many as it may have. What it has already may change.
fn beyond_quota(records: &Records, name: &str, workspace: &Name) -> Option<Problem> {
    if records.registries().get(name).is_some_and(|stored| workspace_of(stored) == Some(workspace)) {
        return None;
    }
    let (has, most) = (records.registries_of(workspace).count(), records.workspace_quota.0);
    (has >= most).then(|| {
        let message = format!(
            "workspace {workspace} has {has} registries, and may have {most}; remove one, or ask a platform admin for more \
             (--workspace-registries)"
        );
        Problem::new("spec.workspace", message)
    })
}

/// Hosts that a registry's record names and another registry of the platform holds, so that the record gives nothing
/// there; by the same order as [`super::snapshot`].
pub fn shadowed(records: &Records) -> BTreeMap<&Name, Vec<Problem>> {
    let held = platform_hosts(records, "");
    let mut found: BTreeMap<&Name, Vec<Problem>> = BTreeMap::new();
    for (name, stored) in records.registries() {
        let Entry::Valid(registry) = &stored.entry else { continue };
        for (i, host) in registry.hosts.iter().enumerate() {
            if held.get(&host.canonical()).is_none_or(|(holder, _)| *holder == name) {
                continue;
            }
            let host = host.as_str();
            let message = match registry.owner {
                Owner::Platform => {
                    format!("another registry holds the host {host}; the older record keeps it")
                }
                Owner::Workspace(_) => format!(
                    "the platform has integrated the host {host}; its rules are in force, and this record gives \
                     nothing there"
                ),
            };
            found.entry(name).or_default().push(Problem::new(format!("spec.imageHosts[{i}]"), message));
        }
    }
    found
}

/// A namespace that a workspace lists and does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contested<'r> {
    pub namespace: &'r Name,
    /// No claim on it is known to be the oldest: it is nobody's. Otherwise another workspace has it.
    pub undecided: bool,
}

/// Namespaces that a workspace lists and does not have.
pub fn contested<'r>(records: &'r Records, name: &str, workspace: &'r Workspace) -> Vec<Contested<'r>> {
    let contested = |namespace: &'r Name| match holder(records, namespace) {
        Holder::Nobody => None,
        Holder::Workspace(holder) if holder == name => None,
        holder => Some(Contested { namespace, undecided: holder == Holder::Undecided }),
    };
    workspace.namespaces.iter().filter_map(contested).collect()
}

/// Canonical hosts of the platform's other registries, with the registry and its spelling. An invalid record
/// keeps its hosts, as it does in decisions.
fn platform_hosts<'r>(records: &'r Records, except: &str) -> BTreeMap<Name, (&'r Name, &'r str)> {
    let mut held = BTreeMap::new();
    let mut others: Vec<_> = records.registries().iter().filter(|(name, _)| *name != except).collect();
    // The older record keeps a host that two name.
    others.sort_by_key(|(name, entry)| (entry.valid().map_or(UnixSeconds::MAX, |r| r.created), *name));
    for (name, stored) in others {
        let hosts: &[Host] = match &stored.entry {
            Entry::Valid(r) if r.owner == Owner::Platform => &r.hosts,
            Entry::Invalid(i) if i.workspace.is_none() => &i.hosts,
            _ => continue,
        };
        for host in hosts {
            held.entry(host.canonical()).or_insert((name, host.as_str()));
        }
    }
    held
}

fn space_conflicts(records: &Records, name: &str, space: &Space) -> Vec<Problem> {
    let mut problems = Vec::new();
    let registry = &space.registry;
    match records.registries().get(registry).map(|stored| &stored.entry) {
        None => problems.push(Problem::new("spec.registry", format!("there is no registry {registry}"))),
        Some(Entry::Valid(r)) if r.kind == RegistryType::Docker => problems.push(Problem::new(
            "spec.registry",
            format!(
                "Docker registries cannot bind spaces to workspaces: {registry} is one, and its images are for \
                 every namespace or for none"
            ),
        )),
        Some(entry) => {
            if workspace_of(entry).is_some() && !space.workspaces.is_empty() {
                let message = format!(
                    "registry {registry} belongs to a workspace and is for that workspace alone; its spaces \
                     cannot be bound"
                );
                problems.push(Problem::new("spec.workspaces", message));
            }
        }
    }
    for (i, workspace) in space.workspaces.iter().enumerate() {
        if !records.workspaces().contains_key(workspace) {
            let message = format!("there is no workspace {workspace}");
            problems.push(Problem::new(format!("spec.workspaces[{i}]"), message));
        }
    }
    let twin = spaces_of(records, registry).find(|(other, s)| *other != name && s.path == space.path);
    if let Some((twin, _)) = twin {
        let message = format!("space {} of registry {registry} is recorded already, as {twin}", space.path);
        problems.push(Problem::new("spec.path", message));
    }
    problems
}

fn workspace_conflicts(records: &Records, name: &str, workspace: &Workspace) -> Vec<Problem> {
    let clashes = workspace.namespaces.iter().enumerate().filter_map(|(i, namespace)| {
        let (other, _) = records.listing(namespace).find(|(other, _)| *other != name)?;
        let message = format!(
            "namespace {namespace} is listed by workspace {other} already; a namespace is in one workspace"
        );
        Some(Problem::new(format!("spec.namespaces[{i}]"), message))
    });
    clashes.collect()
}

fn workspace_removal(records: &Records, name: &str) -> Vec<Problem> {
    let bound = records.spaces_for(name).map(|space| &space.name);
    let owned = records.registries_of(name).map(|registry| &registry.name);
    let inherit = "or a later workspace of this name would inherit them";
    let bound = listed(bound).map(|spaces| {
        format!("workspace {name} is still bound to spaces ({spaces}); unbind them first, {inherit}")
    });
    let owned = listed(owned).map(|registries| {
        format!("workspace {name} still owns registries ({registries}); remove them first, {inherit}")
    });
    bound.into_iter().chain(owned).map(|message| Problem::new("metadata.name", message)).collect()
}

fn first<T>((name, _): (&Name, T)) -> &Name {
    name
}

/// The first few names and the number of the rest; `None` for none.
fn listed<'r>(names: impl Iterator<Item = &'r Name>) -> Option<String> {
    let mut text = String::new();
    let mut more = 0_usize;
    for (i, name) in names.enumerate() {
        if i >= LISTED {
            more += 1;
            continue;
        }
        if i > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
    }
    if more > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, " and {more} more");
    }
    (!text.is_empty()).then_some(text)
}
