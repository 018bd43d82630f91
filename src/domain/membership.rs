//! Which workspace a namespace belongs to.

use super::record::{Name, UnixMicroseconds, UnixSeconds, Workspace};
use super::records::Records;

/// A workspace's claim on a namespace, older ones first: a recorded claim before one that was never recorded,
/// then the workspace's age, then its name, so that the order of records never matters.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
struct Age<'r> {
    unrecorded: bool,
    since: UnixMicroseconds,
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

/// The oldest claim on a namespace; `None` where no workspace lists it.
fn oldest<'r>(records: &'r Records, namespace: &str) -> Option<Oldest<'r>> {
    let mut oldest: Option<Oldest<'_>> = None;
    for (name, workspace) in records.listing(namespace) {
        let recorded = workspace.claimed.get(namespace).copied();
        let age = Age {
            unrecorded: recorded.is_none(),
            since: recorded.unwrap_or(workspace.created.saturating_mul(1_000_000)),
            created: workspace.created,
            name,
        };
        oldest = Some(match oldest {
            None => Oldest { age, workspace, rivals: false },
            Some(held) if age < held.age => Oldest { age, workspace, rivals: true },
            Some(held) => Oldest { rivals: true, ..held },
        });
    }
    oldest
}

/// The workspace whose claim on a namespace is the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder<'r> {
    /// No workspace lists it.
    Nobody,
    /// Several do, and nobody knows which did first.
    Undecided,
    Workspace(&'r Name),
}

/// Who holds a namespace, whether that makes it a member or not.
pub(super) fn holder<'r>(records: &'r Records, namespace: &str) -> Holder<'r> {
    match oldest(records, namespace) {
        None => Holder::Nobody,
        Some(oldest) if oldest.is_undecided() => Holder::Undecided,
        Some(oldest) => Holder::Workspace(oldest.age.name),
    }
}

/// The workspace that a namespace belongs to. One that is claimed twice belongs to the older claim, also where that claim
/// does not hold because the namespace was made anew: the younger one inherits nothing.
pub(super) fn member<'r>(records: &'r Records, namespace: &str) -> Option<&'r Name> {
    let oldest = oldest(records, namespace)?;
    let holds = !oldest.is_undecided() && holds(oldest.workspace, namespace, records);
    holds.then_some(oldest.age.name)
}

/// Whether a claim gives membership: a pinned one only to the namespace that was first seen under its name.
fn holds(workspace: &Workspace, namespace: &str, records: &Records) -> bool {
    let known = || records.namespace_uids().get(namespace);
    !workspace.pin || known().is_some_and(|uid| workspace.pins.get(namespace) == Some(uid))
}
