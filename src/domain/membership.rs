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

/// The oldest claim on a namespace.
struct Oldest<'r> {
    age: Age<'r>,
    workspace: &'r Workspace,
    rivals: bool,
}

impl Oldest<'_> {
    /// Several claims, none of them recorded, as after a restore without statuses: which was the older one, nobody knows,
    /// and the namespace is nobody's.
    fn is_undecided(&self) -> bool {
        self.rivals && self.age.unrecorded
    }
}

/// The oldest claim on every namespace that is claimed.
fn oldest(records: &Records) -> HashMap<&Name, Oldest<'_>> {
    let mut oldest: HashMap<&Name, Oldest<'_>> = HashMap::new();
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
            let held = oldest.entry(namespace).or_insert(Oldest { age, workspace, rivals: false });
            held.rivals |= held.age.name != name;
            if age < held.age {
                (held.age, held.workspace) = (age, workspace);
            }
        }
    }
    oldest
}

/// The workspace whose claim on a namespace is the oldest, for every namespace that is claimed; `None` where nobody knows.
pub(super) fn holders(records: &Records) -> HashMap<&Name, Option<&Name>> {
    oldest(records)
        .into_iter()
        .map(|(namespace, oldest)| (namespace, (!oldest.is_undecided()).then_some(oldest.age.name)))
        .collect()
}

/// The workspace of every namespace that has one. A namespace claimed twice belongs to the older claim, also
/// where that claim does not hold because the namespace was made anew: the younger one inherits nothing.
pub(super) fn members<'r>(
    records: &'r Records,
    ids: &Ids<'r, WorkspaceId>,
) -> HashMap<&'r Name, WorkspaceId> {
    oldest(records)
        .into_iter()
        .filter(|(namespace, oldest)| !oldest.is_undecided() && holds(oldest.workspace, namespace, records))
        .filter_map(|(namespace, oldest)| Some((namespace, *ids.get(oldest.age.name)?)))
        .collect()
}

/// Whether a claim gives membership: a pinned one only to the namespace that was first seen under its name.
fn holds(workspace: &Workspace, namespace: &Name, records: &Records) -> bool {
    let known = || records.namespace_uids.get(namespace);
    !workspace.pin || known().is_some_and(|uid| workspace.pins.get(namespace) == Some(uid))
}
