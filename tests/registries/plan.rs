//! What is to be done about spaces, without any registry.

use std::collections::HashMap;
use std::sync::Arc;

use pullgate::controllers::registries::{Observation, Plan, Recorded};
use pullgate::domain::record::{CompactOption, Entry, Small, Space, Visibility};
use pullgate::domain::records::Stored;
use pullgate::registry::Found;

use crate::support::records::space;

fn found(path: &str, id: i64, public: bool) -> Found {
    let visibility = Some(if public { Visibility::Public } else { Visibility::Private });
    Found { path: path.into(), id: Some(id), visibility, repositories: Some(1), proxy_cache: false }
}

/// A private space that was seen as project 7, as it is recorded.
fn recorded(path: &str, change: impl FnOnce(&mut Space)) -> Recorded {
    let mut named = space("corp", path);
    let space = &mut named.1;
    (space.visibility, space.observed) = (None, Some(Visibility::Private));
    (space.project, space.repositories) = (Some(7).into(), Some(1).into());
    change(space);
    let entry = Entry::Valid(named.1);
    (named.0.clone(), Arc::new(Stored { name: named.0, revision: 1, entry }))
}

fn plan(found: Vec<Found>, recorded: &[Recorded]) -> Plan {
    Plan::new(found, recorded, &HashMap::new(), Small::default())
}

fn observed(plan: &Plan) -> &Observation {
    assert_eq!(plan.observe.len(), 1, "{plan:?}");
    &plan.observe[0].1
}

#[test]
fn what_is_as_recorded_calls_for_nothing() {
    let nothing = Plan::default();
    assert_eq!(plan(vec![found("a", 7, false)], &[recorded("a", |_| ())]), nothing);
    assert_eq!(plan(Vec::new(), &[]), nothing);
    let gone = |space: &mut Space| (space.missing, space.workspaces) = (true, ["w".into()].into());
    assert_eq!(plan(Vec::new(), &[recorded("a", gone)]), nothing, "asked for once");
}

#[test]
fn another_project_under_the_name_suspends_bindings_until_it_is_confirmed() {
    let bound = |space: &mut Space| space.workspaces = ["w".into()].into();
    let made_anew = plan(vec![found("a", 8, false)], &[recorded("a", bound)]);
    assert!(observed(&made_anew).suspended && observed(&made_anew).project == Some(8));
    assert_eq!(observed(&made_anew).confirmed, Some(7), "the project that the binding was for");
    // Once suspended it stays so, though its number is known now.
    let suspended = |space: &mut Space| {
        bound(space);
        (space.suspended, space.project) = (true, Some(8).into());
    };
    let before = plan(vec![found("a", 8, false)], &[recorded("a", suspended)]);
    assert!(observed(&before).suspended);
    assert_eq!(observed(&before).confirmed, Some(0), "suspended by 0.1.0, it is for none that is known");
    let confirm = |project| {
        move |space: &mut Space| {
            suspended(space);
            space.confirmed = Some(project).into();
        }
    };
    assert_eq!(
        plan(vec![found("a", 8, false)], &[recorded("a", confirm(7))]),
        Plan::default(),
        "another one"
    );
    assert!(!observed(&plan(vec![found("a", 8, false)], &[recorded("a", confirm(8))])).suspended);
    // Confirmed for one, it is not for the next.
    let next = plan(vec![found("a", 9, false)], &[recorded("a", confirm(8))]);
    assert!(observed(&next).suspended);
    // What was seen of a binding's project is noted in the spec, which a restore keeps.
    let noted = plan(vec![found("a", 7, false)], &[recorded("a", bound)]);
    assert_eq!((observed(&noted).confirmed, observed(&noted).suspended), (Some(7), false));
    let restored = |project| {
        recorded("a", move |space: &mut Space| {
            bound(space);
            (space.project, space.confirmed) = (CompactOption::default(), Some(project).into());
        })
    };
    assert!(observed(&plan(vec![found("a", 8, false)], &[restored(7)])).suspended);
    assert!(!observed(&plan(vec![found("a", 8, false)], &[restored(8)])).suspended);
    // Without bindings there is nothing to inherit.
    assert!(!observed(&plan(vec![found("a", 8, false)], &[recorded("a", |_| ())])).suspended);
    // The same project is the same, however long it was away.
    let back = |space: &mut Space| {
        bound(space);
        (space.missing, space.confirmed) = (true, Some(7).into());
    };
    let back = plan(vec![found("a", 7, false)], &[recorded("a", back)]);
    assert!(!observed(&back).suspended && !observed(&back).missing);
}

#[test]
fn what_an_administrator_wants_is_made_and_set() {
    let fresh = recorded("a", |space| {
        (space.project, space.visibility) = (CompactOption::default(), Some(Visibility::Public));
    });
    assert_eq!(plan(Vec::new(), &[fresh]).make, [("corp.a".into(), "a".into(), Visibility::Public)]);
    let undeclared = recorded("a", |space| space.project = CompactOption::default());
    assert_eq!(plan(Vec::new(), &[undeclared]).make[0].2, Visibility::Private);
    let declared = recorded("a", |space| space.visibility = Some(Visibility::Private));
    let drifted = plan(vec![found("a", 7, true)], &[declared]);
    assert_eq!(drifted.push, [("corp.a".into(), "a".into(), Visibility::Private)]);
    assert_eq!(observed(&drifted).visibility, Some(Visibility::Public));
    // What was deleted there is not made again.
    let was_there = recorded("a", |space| space.visibility = Some(Visibility::Public));
    let plan = plan(Vec::new(), &[was_there]);
    assert!(plan.make.is_empty() && plan.missing == [("corp.a".into(), "a".into())]);
}

#[test]
fn two_records_of_one_space_are_told_the_same() {
    let twins = ["one", "two"].map(|name| {
        let (_, entry) = recorded("a", |_| ());
        (name.into(), entry)
    });
    let plan = plan(vec![found("a", 7, true)], &twins);
    assert_eq!(plan.observe.len(), 2);
    assert!(plan.create.is_empty() && plan.missing.is_empty());
}
