//! The read model: what changes of it is what a rebuild would have, and whoever it concerns is told.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use pullgate::domain::conflicts::{removal_conflicts, shadowed};
use pullgate::domain::record::{Entry, Invalid, Kind, Name, Record, Selector, Small};
use pullgate::domain::records::{Records, Touched};
use pullgate::domain::snapshot::{Settings, Snapshot};
use pullgate::state::{Interest, State};
use tokio::time::timeout;

use crate::decision_properties::{All, NAMESPACES, decided, world};
use crate::support::records::{records, registry, space, workspace};

/// A change of the records.
#[derive(Debug, Clone)]
enum Change {
    Put(Name, Box<Record>),
    /// What was recorded last of these names, whatever it is.
    Remove(Index),
    /// A record of those that are there that cannot be read any more.
    Spoil(Index),
    Namespace(&'static str, Option<u8>),
}

fn change(from: All) -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => prop::sample::select(from).prop_map(|(name, record)| Change::Put(name, Box::new(record))),
        2 => any::<Index>().prop_map(Change::Remove),
        1 => any::<Index>().prop_map(Change::Spoil),
        1 => (prop::sample::select(&NAMESPACES), prop::option::of(0..2_u8))
            .prop_map(|(namespace, uid)| Change::Namespace(namespace, uid)),
    ]
}

fn names(records: &Records) -> Vec<(Kind, Name)> {
    let of =
        |kind, names: Vec<&Name>| names.into_iter().map(move |name| (kind, name.clone())).collect::<Vec<_>>();
    [
        of(Kind::Registry, records.registries().keys().collect()),
        of(Kind::RegistrySpace, records.spaces().keys().collect()),
        of(Kind::Workspace, records.workspaces().keys().collect()),
        of(Kind::PullPolicy, records.policies().keys().collect()),
    ]
    .concat()
}

fn spoilt(records: &Records, kind: Kind, name: &str) -> Record {
    let invalid = |hosts, workspace, registry, workspaces| {
        let selector = Selector { workspaces, ..Selector::default() };
        Box::new(Invalid {
            problems: Vec::new(),
            hosts,
            workspace,
            registry,
            owner: Small::default(),
            selector,
        })
    };
    let none = || invalid(Vec::new(), None, None, Vec::new());
    match kind {
        Kind::Registry => {
            let registry = records.registries().valid(name);
            let hosts = registry.map(|registry| registry.hosts.to_vec()).unwrap_or_default();
            Record::Registry(Entry::Invalid(invalid(hosts, None, None, Vec::new())))
        }
        Kind::RegistrySpace => {
            let space = records.spaces().valid(name);
            let (registry, bound) =
                space.map(|space| (space.registry.clone(), space.workspaces.to_vec())).unzip();
            Record::Space(Entry::Invalid(invalid(Vec::new(), None, registry, bound.unwrap_or_default())))
        }
        Kind::Workspace => Record::Workspace(Entry::Invalid(none())),
        Kind::PullPolicy => Record::PullPolicy(Entry::Invalid(none())),
    }
}

fn apply(records: &mut Records, change: &Change) -> Touched {
    let chosen = |index: &Index, records: &Records| {
        let names = names(records);
        (!names.is_empty()).then(|| index.get(&names).clone())
    };
    match change {
        Change::Put(name, record) => records.put(name.clone(), (**record).clone()),
        Change::Remove(index) => match chosen(index, records) {
            Some((kind, name)) => records.remove(kind, &name),
            None => Touched::default(),
        },
        Change::Spoil(index) => match chosen(index, records) {
            Some((kind, name)) => {
                let spoilt = spoilt(records, kind, &name);
                records.put(name, spoilt)
            }
            None => Touched::default(),
        },
        Change::Namespace(name, Some(uid)) => records.put_namespace((*name).into(), format!("uid-{uid}")),
        Change::Namespace(name, None) => records.remove_namespace(name),
    }
}

/// All that can be seen of a snapshot and its records.
fn seen(snapshot: &Snapshot) -> String {
    let records = snapshot.records();
    let scopes = NAMESPACES.map(|namespace| {
        let scope = snapshot.scope(namespace);
        let lists = (scope.bound_spaces(), scope.own_registries(), scope.pull_entries());
        (scope.workspace(), scope.entitled(), scope.injects(false), scope.mode(), lists)
    });
    let names = names(records);
    let conflicts: Vec<_> =
        names.iter().map(|(kind, name)| removal_conflicts(records, *kind, name)).collect();
    let counted =
        (snapshot.size(), records.invalid(), records.invalid_spaces().len(), records.unowned_spaces().len());
    format!("{:?}", (decided(snapshot), scopes, counted, names, conflicts, shadowed(records)))
}

/// The same records, put together anew.
fn rebuilt(records: &Records) -> Snapshot {
    let mut anew = Records::default();
    let mut put = |name: &Name, record| drop(anew.put(name.clone(), record));
    records.policies().iter().for_each(|(name, stored)| put(name, Record::PullPolicy(stored.entry.clone())));
    records.spaces().iter().for_each(|(name, stored)| put(name, Record::Space(stored.entry.clone())));
    records.registries().iter().for_each(|(name, stored)| put(name, Record::Registry(stored.entry.clone())));
    records.workspaces().iter().for_each(|(name, stored)| put(name, Record::Workspace(stored.entry.clone())));
    anew.set_namespaces(records.namespace_uids().clone());
    Snapshot::build(&anew, &Settings::default())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_changed_is_what_a_rebuild_has(
        (first, batches) in (world(), world()).prop_flat_map(|(first, second)| {
            let mut all = first.clone();
            all.extend(second);
            let batch = prop::collection::vec(change(all), 1..4);
            (Just(first), prop::collection::vec(batch, 1..8))
        }),
        pinned: bool,
    ) {
        let mut all = records(first);
        if pinned {
            let mut workspace = workspace("a", &["a-1", "b-1"]);
            workspace.1.pin = true;
            workspace.1.pins.insert("a-1".into(), "uid-1".into());
            let (name, record) = workspace.into();
            all.put(name, record);
        }
        let mut snapshot = Snapshot::build(&all, &Settings::default());
        for batch in batches {
            let mut touched = Touched::default();
            for change in &batch {
                touched.add(apply(&mut all, change));
            }
            snapshot = snapshot.updated(all.clone(), &touched);
            prop_assert_eq!(seen(&snapshot), seen(&rebuilt(&all)), "after {:?}", batch);
        }
    }
}

fn publish(state: &State, records: &Records, touched: &Touched) {
    state.publish(Snapshot::build(records, &Settings::default()), touched);
}

#[tokio::test]
async fn a_reader_is_told_what_concerns_it_and_nothing_else() {
    let state = State::default();
    let early = state.subscribe(Interest::Everything).take();
    assert!(early.is_nothing(), "nothing is known yet");
    let mut all = records([
        registry("one").into(),
        registry("two").host("two.example.com").into(),
        workspace("a", &["a-prod"]).into(),
    ]);
    publish(&state, &all, &Touched::everything());
    let [mut one, mut two, mut registries, mut everything] = [
        Interest::registry(&"one".into()),
        Interest::registry(&"two".into()),
        Interest::Registries,
        Interest::Everything,
    ]
    .map(|interest| state.subscribe(interest));
    for changes in [&mut one, &mut two, &mut registries, &mut everything] {
        assert!(changes.next().await.everything, "first of all that there is");
    }
    let (name, record) = space("one", "team").bound(&["a"]).into();
    let touched = all.put(name, record);
    publish(&state, &all, &touched);
    assert!(one.next().await.registries.contains("one"));
    assert!(everything.next().await.workspaces.contains("a"));
    assert!(two.take().is_nothing() && registries.take().is_nothing());
    // However much changes before it looks, it is told once.
    for n in 0..10 {
        let (name, record) = space("two", &format!("p{n}")).into();
        let touched = all.put(name, record);
        publish(&state, &all, &touched);
    }
    assert!(two.next().await.registries.contains("two") && two.take().is_nothing());
    assert!(one.take().is_nothing() && registries.take().is_nothing());
    // Bindings to a workspace that went bind nobody any more.
    let touched = all.remove(Kind::Workspace, "a");
    publish(&state, &all, &touched);
    assert!(one.next().await.workspace_set);
    // Waiting that is given up loses nothing.
    assert!(timeout(Duration::from_millis(10), registries.next()).await.is_err());
    let touched = all.remove(Kind::Registry, "two");
    publish(&state, &all, &touched);
    assert!(
        timeout(Duration::from_secs(5), registries.next()).await.unwrap().registry_records.contains("two")
    );
}

#[tokio::test]
async fn a_writer_waits_until_its_own_write_can_be_seen() {
    let state = State::default();
    let mut all = Records::default();
    let put = |all: &mut Records, revision| {
        let (name, record) = workspace("a", &[]).into();
        let touched = all.put_at(name, revision, record);
        publish(&state, all, &touched);
    };
    let (soon, long) = (Duration::from_millis(20), Duration::from_secs(10));
    put(&mut all, 7);
    assert!(state.has_seen(Kind::Workspace, "a", 7, soon).await);
    assert!(!state.has_seen(Kind::Workspace, "a", 8, soon).await, "within its patience");
    assert!(!state.has_lost(Kind::Workspace, "a", 7, soon).await);
    let later = async {
        tokio::time::sleep(soon).await;
        // Somebody wrote it once more.
        put(&mut all, 9);
    };
    assert!(tokio::join!(state.has_seen(Kind::Workspace, "a", 8, long), later).0);
    assert!(state.has_lost(Kind::Workspace, "a", 8, soon).await, "what is there was made anew");
    let touched = all.remove(Kind::Workspace, "a");
    publish(&state, &all, &touched);
    assert!(state.has_lost(Kind::Workspace, "a", 9, soon).await);
    assert!(!state.has_seen(Kind::Workspace, "a", 9, soon).await);
}
