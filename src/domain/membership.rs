//! Which workspace a namespace belongs to.

use hashbrown::HashMap;

use super::record::{Entry, Name, Records, UnixSeconds, Workspace};
use super::snapshot::{Ids, WorkspaceId};

/// A workspace's claim on a namespace, older ones first: a recorded claim before one that was never recorded,
/// then the workspace's age, then its name, so that the order of records never matters.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
struct Age<'r> {
    unrecorded: bool,
    since: UnixSeconds,
    created: UnixSeconds,
    name: &'r Name,
}

/// The oldest claim on every namespace that is claimed.
fn oldest(records: &Records) -> HashMap<&Name, (Age<'_>, &Workspace)> {
    let mut oldest: HashMap<&Name, (Age<'_>, &Workspace)> = HashMap::new();
    for (name, entry) in &records.workspaces {
        let Entry::Valid(workspace) = &**entry else { continue };
        for namespace in &workspace.namespaces {
            let recorded = workspace.claimed.get(namespace).copied();
            let age = Age {
                unrecorded: recorded.is_none(),
                since: recorded.unwrap_or(workspace.created),
                created: workspace.created,
                name,
            };
            let held = oldest.entry(namespace).or_insert((age, workspace));
            if age < held.0 {
                *held = (age, workspace);
            }
        }
    }
    oldest
}

/// The workspace whose claim on a namespace is the oldest, for every namespace that is claimed.
pub(super) fn holders(records: &Records) -> HashMap<&Name, &Name> {
    oldest(records).into_iter().map(|(namespace, (age, _))| (namespace, age.name)).collect()
}

/// The workspace of every namespace that has one. A namespace claimed twice belongs to the older claim, also
/// where that claim does not hold because the namespace was made anew: the younger one inherits nothing.
pub(super) fn members<'r>(
    records: &'r Records,
    ids: &Ids<'r, WorkspaceId>,
) -> HashMap<&'r Name, WorkspaceId> {
    oldest(records)
        .into_iter()
        .filter(|(namespace, (_, workspace))| holds(workspace, namespace, records))
        .filter_map(|(namespace, (age, _))| Some((namespace, *ids.get(age.name)?)))
        .collect()
}

/// Whether a claim gives membership: a pinned one only to the namespace that was first seen under its name.
fn holds(workspace: &Workspace, namespace: &Name, records: &Records) -> bool {
    let known = || records.namespace_uids.get(namespace);
    !workspace.pin || known().is_some_and(|uid| workspace.pins.get(namespace) == Some(uid))
}
