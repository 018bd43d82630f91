//! What every `RecordStore` promises. An implementation joins with one line, `contract!`.

#[path = "store_contract/bulk.rs"]
mod bulk;
#[path = "store_contract/robots.rs"]
mod robots;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use pullgate::domain::pull_secret::{CredentialId, RobotId};
use pullgate::domain::record::{Kind, Name, Record};
use pullgate::store::{Credential, CredentialChange, Event, Precondition, RecordStore, StoreError};
use pullgate::types::{Document, convert};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

pub use bulk::many_records_are_written_each_under_its_own_precondition;
pub use robots::{
    a_deleted_record_takes_its_credentials_along, a_robot_belongs_to_records_that_are_there,
    robots_of_a_registry_are_told_apart, where_accounts_may_be_is_remembered_without_the_record,
};

pub type Events = BoxStream<'static, Result<Event, StoreError>>;

/// A store under test, and what must live as long as it does.
pub struct Subject {
    pub store: Arc<dyn RecordStore>,
    pub _keep: Box<dyn std::any::Any + Send>,
}

pub fn document(kind: Kind, name: &str, spec: Value) -> Document {
    Document::new(kind, name, spec)
}

pub fn workspace(name: &str, namespaces: &[&str]) -> Document {
    document(Kind::Workspace, name, json!({ "namespaces": namespaces }))
}

pub fn harbor(name: &str, host: &str) -> Document {
    let spec = json!({ "type": "Harbor", "url": format!("https://{host}"), "credential": { "name": name } });
    document(Kind::Registry, name, spec)
}

pub fn secret(username: &str, password: &str, audience: &str) -> Credential {
    Credential { username: username.into(), password: password.into(), audience: audience.into() }
}

pub fn integration(registry: &str) -> CredentialId {
    CredentialId::Integration { registry: registry.into() }
}

pub fn robot(registry: &str, workspace: &str) -> CredentialId {
    CredentialId::Robot(robot_id(registry, workspace))
}

pub fn robot_id(registry: &str, workspace: &str) -> RobotId {
    RobotId { registry: registry.into(), workspace: workspace.into(), space: None }
}

pub async fn create(store: &dyn RecordStore, document: Document) -> Document {
    store.put(document, Precondition::Absent, CredentialChange::Keep).await.unwrap()
}

pub async fn update(store: &dyn RecordStore, document: Document) -> Result<Document, StoreError> {
    let at = Precondition::Version(document.version.clone());
    store.put(document, at, CredentialChange::Keep).await
}

/// The next event; a store that stays silent fails the test instead of hanging it.
pub async fn next(events: &mut Events) -> Event {
    tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap().unwrap().unwrap()
}

/// What a watcher knows.
#[derive(Default, Debug, PartialEq)]
pub struct Seen(pub BTreeMap<(Kind, Name), Document>);

impl Seen {
    /// Takes one event in; whether it was `Synced`.
    pub fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Restarted => self.0.clear(),
            Event::Synced => return true,
            Event::Deleted(kind, name) => drop(self.0.remove(&(kind, name))),
            Event::Put(document) => {
                let before = self.0.insert((document.kind, document.name.clone()), document.clone());
                // No promise about the text of versions in general: the contract is that changes come in order,
                // and every store here counts.
                if let Some(before) = before {
                    let number = |document: &Document| document.version.parse::<u64>().unwrap();
                    assert!(number(&before) <= number(&document), "{before:?} came before {document:?}");
                }
            }
        }
        false
    }

    pub async fn synced(events: &mut Events) -> Self {
        assert_eq!(next(events).await, Event::Restarted);
        let mut seen = Self::default();
        while !seen.take(next(events).await) {}
        seen
    }

    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(|(_, name)| name.as_str()).collect()
    }
}

pub async fn a_record_is_created_once(store: Arc<dyn RecordStore>) {
    let given = Document { version: "77".into(), created: 5, ..workspace("a", &["one"]) };
    let stored = create(&*store, given.clone()).await;
    assert_eq!((&stored.spec, &stored.status), (&given.spec, &Value::Null));
    assert!(stored.created > 1_700_000_000, "created is the store's clock, not {}", stored.created);
    assert_eq!(store.get(Kind::Workspace, "a").await.unwrap(), Some(stored));

    let again = store.put(workspace("a", &[]), Precondition::Absent, CredentialChange::Keep).await;
    let error = again.unwrap_err();
    assert!(matches!(&error, StoreError::Exists { kind: Kind::Workspace, name } if name == "a"), "{error}");
    assert_eq!(error.to_string(), "a Workspace named a is there already");
    assert_eq!(store.get(Kind::Workspace, "b").await.unwrap(), None);
}

pub async fn a_write_needs_the_version_that_was_read(store: Arc<dyn RecordStore>) {
    let missing = update(&*store, Document { version: "1".into(), ..workspace("a", &[]) }).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    let first = create(&*store, workspace("a", &["one"])).await;
    let changed = Document { status: json!({ "members": [] }), created: 9, ..first.clone() };
    let second = update(&*store, changed.clone()).await.unwrap();
    assert_ne!(second.version, first.version);
    assert_eq!(second, Document { version: second.version.clone(), created: first.created, ..changed });

    let stale = update(&*store, first.clone()).await;
    assert!(matches!(stale, Err(StoreError::Changed { .. })), "{stale:?}");
    let stale = store.delete(Kind::Workspace, "a", &first.version).await;
    assert!(matches!(stale, Err(StoreError::Changed { .. })), "{stale:?}");
    assert_eq!(store.get(Kind::Workspace, "a").await.unwrap(), Some(second));
}

pub async fn concurrent_writers_lose_no_update(store: Arc<dyn RecordStore>) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 20;
    create(&*store, document(Kind::PullPolicy, "count", json!({ "n": 0 }))).await;
    let writers = (0..WRITERS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while done < EACH {
                let mut read = store.get(Kind::PullPolicy, "count").await.unwrap().unwrap();
                read.spec["n"] = json!(read.spec["n"].as_u64().unwrap() + 1);
                match update(&*store, read).await {
                    Ok(_) => done += 1,
                    Err(error) => assert!(matches!(error, StoreError::Changed { .. }), "{error}"),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let read = store.get(Kind::PullPolicy, "count").await.unwrap().unwrap();
    assert_eq!(read.spec["n"], json!(WRITERS * EACH));
}

pub async fn a_watcher_sees_everything_and_then_each_change_in_order(store: Arc<dyn RecordStore>) {
    let a = create(&*store, workspace("a", &[])).await;
    create(&*store, harbor("corp", "harbor.example.com")).await;
    let mut events = store.watch();
    let seen = Seen::synced(&mut events).await;
    assert_eq!(seen.names(), ["corp", "a"]);

    let b = create(&*store, workspace("b", &[])).await;
    // A write that changes nothing may be told to nobody.
    let a2 = update(&*store, Document { spec: json!({ "namespaces": ["y"] }), ..a }).await.unwrap();
    store.delete(Kind::Workspace, "b", &b.version).await.unwrap();
    let b2 = create(&*store, workspace("b", &["x"])).await;
    for expected in
        [Event::Put(b), Event::Put(a2), Event::Deleted(Kind::Workspace, "b".into()), Event::Put(b2)]
    {
        assert_eq!(next(&mut events).await, expected);
    }
}

pub async fn a_watcher_that_starts_among_writes_misses_nothing(store: Arc<dyn RecordStore>) {
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0..200 {
                let made = create(&*store, workspace(&format!("w{i:03}"), &[])).await;
                match i % 4 {
                    0 => store.delete(Kind::Workspace, &made.name, &made.version).await.unwrap(),
                    1 => drop(update(&*store, made).await.unwrap()),
                    _ => {}
                }
            }
            create(&*store, workspace("zz-last", &[])).await;
        })
    };
    let watchers = (0..6).map(|i| {
        let store = store.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(15 * i)).await;
            let mut events = store.watch();
            let mut seen = Seen::synced(&mut events).await;
            while !seen.0.contains_key(&(Kind::Workspace, "zz-last".into())) {
                seen.take(next(&mut events).await);
            }
            seen
        })
    });
    let watchers: Vec<_> = watchers.collect();
    writer.await.unwrap();
    let listed = store.list(Kind::Workspace, None, 1000).await.unwrap();
    assert_eq!((listed.items.len(), listed.more), (151, false));
    let expected = Seen(listed.items.into_iter().map(|d| ((d.kind, d.name.clone()), d)).collect());
    for watcher in watchers {
        assert_eq!(watcher.await.unwrap(), expected);
    }
}

pub async fn pages_give_every_name_once_in_order(store: Arc<dyn RecordStore>) {
    let mut names: Vec<_> = (0..250).map(|i| format!("n{}", (i * 7919) % 10_007)).collect();
    for name in &names {
        create(&*store, workspace(name, &[])).await;
    }
    create(&*store, harbor("n-registry", "harbor.example.com")).await;
    names.sort_unstable();
    for limit in [1, 7, 100, 125, 250, 1000] {
        let (mut paged, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let page = store.list(Kind::Workspace, after.as_deref(), limit).await.unwrap();
            assert!(page.items.len() <= limit);
            paged.extend(page.items.iter().map(|document| document.name.to_string()));
            after = paged.last().cloned();
            if !page.more {
                break;
            }
            assert_eq!(page.items.len(), limit, "a page that is not the last is full");
        }
        assert_eq!(paged, names, "pages of {limit}");
    }
    let beyond = store.list(Kind::Workspace, Some("o"), 10).await.unwrap();
    assert!(beyond.items.is_empty() && !beyond.more);
}

pub async fn a_credential_is_set_kept_and_removed_with_its_record(store: Arc<dyn RecordStore>) {
    let id = integration("corp");
    assert!(store.credential(&id).await.unwrap().is_none());
    let set = CredentialChange::Set(secret("robot", "pä\"ss\n1", "https://a harbor"));
    let first = store.put(harbor("corp", "a.example"), Precondition::Absent, set).await.unwrap();
    let read = store.credential(&id).await.unwrap().unwrap();
    assert_eq!(
        (&*read.username, read.password.expose_secret(), &*read.audience),
        ("robot", "pä\"ss\n1", "https://a harbor")
    );
    assert!(!format!("{read:?}").contains("ss\\n1"), "Debug shows no password");

    let mut changed = first.clone();
    changed.spec["imageHosts"] = json!(["a.example"]);
    let second = update(&*store, changed).await.unwrap();
    assert_eq!(store.credential(&id).await.unwrap().unwrap().password.expose_secret(), "pä\"ss\n1");

    // A write that is refused changes no credential either.
    let set = CredentialChange::Set(secret("robot", "other", ""));
    store.put(harbor("corp", "b.example"), Precondition::Absent, set).await.unwrap_err();
    assert_eq!(store.credential(&id).await.unwrap().unwrap().password.expose_secret(), "pä\"ss\n1");
    let stale = Precondition::Version(first.version.clone());
    let set = CredentialChange::Set(secret("robot", "other", ""));
    store.put(first, stale.clone(), set).await.unwrap_err();
    store.put(second.clone(), stale, CredentialChange::Remove).await.unwrap_err();
    assert_eq!(store.credential(&id).await.unwrap().unwrap().password.expose_secret(), "pä\"ss\n1");

    let at = Precondition::Version(second.version.clone());
    let set = CredentialChange::Set(secret("", "", "x"));
    let third = store.put(second, at, set).await.unwrap();
    assert_eq!(store.credential(&id).await.unwrap().unwrap().password.expose_secret(), "");
    let at = Precondition::Version(third.version.clone());
    store.put(third, at, CredentialChange::Remove).await.unwrap();
    assert!(store.credential(&id).await.unwrap().is_none());
}

pub async fn a_credential_keeps_the_audience_it_was_given_for(store: Arc<dyn RecordStore>) {
    let audience = |document: &Document| match convert::record(document) {
        Record::Registry(entry) => entry.valid().unwrap().audience(),
        other => panic!("{other:?}"),
    };
    let given = harbor("corp", "a.example");
    let set = CredentialChange::Set(secret("robot", "pass", &audience(&given)));
    let mut stored = store.put(given, Precondition::Absent, set).await.unwrap();
    assert_eq!(store.credential(&integration("corp")).await.unwrap().unwrap().audience, audience(&stored));
    stored.spec["url"] = json!("https://evil.example");
    let moved = update(&*store, stored).await.unwrap();
    let kept = store.credential(&integration("corp")).await.unwrap().unwrap();
    assert_ne!(kept.audience, audience(&moved), "the credential is void for the new address");
}

pub async fn only_a_registry_takes_a_credential(store: Arc<dyn RecordStore>) {
    let set = || CredentialChange::Set(secret("u", "hidden-word", ""));
    store.put(harbor("same", "a.example"), Precondition::Absent, set()).await.unwrap();
    let error = store.put(workspace("same", &[]), Precondition::Absent, set()).await.unwrap_err();
    assert!(!error.to_string().contains("hidden-word"));
    assert_eq!(store.get(Kind::Workspace, "same").await.unwrap(), None);
}

pub async fn the_installation_stays_what_it_is(store: Arc<dyn RecordStore>) {
    let first = store.installation().await.unwrap();
    assert!(first.len() >= 32, "{first:?}");
    assert_eq!(store.installation().await.unwrap(), first);
}

pub async fn kinds_do_not_touch_each_other(store: Arc<dyn RecordStore>) {
    for kind in Kind::ALL {
        create(&*store, document(kind, "same", json!({ "of": kind.as_str() }))).await;
    }
    let version = store.get(Kind::Workspace, "same").await.unwrap().unwrap().version;
    store.delete(Kind::Workspace, "same", &version).await.unwrap();
    for kind in Kind::ALL {
        let page = store.list(kind, None, 10).await.unwrap();
        let of: Vec<_> = page.items.iter().map(|document| document.spec["of"].as_str().unwrap()).collect();
        if kind == Kind::Workspace {
            assert!(of.is_empty());
        } else {
            assert_eq!(of, [kind.as_str()]);
        }
    }
}

pub async fn a_registry_takes_its_spaces_along(store: Arc<dyn RecordStore>) {
    let space = |name: &str, registry: &str, path: &str| {
        document(
            Kind::RegistrySpace,
            name,
            json!({ "registry": registry, "path": path, "workspaces": ["a"] }),
        )
    };
    // Written before its registry, as by a tool that goes by names.
    create(&*store, space("one.early", "one", "early")).await;
    let one = create(&*store, harbor("one", "one.example.com")).await;
    create(&*store, harbor("other", "other.example.com")).await;
    create(&*store, space("one.team", "one", "team")).await;
    let written = [
        (space("one.invalid", "one", "NO PATH"), Precondition::Absent),
        (space("other.team", "other", "team"), Precondition::Absent),
    ];
    assert!(store.put_all(written.into()).await.iter().all(Result::is_ok));
    let mut events = store.watch();
    Seen::synced(&mut events).await;
    let at_once = store.get(Kind::Registry, "one").await.unwrap().unwrap();
    assert_eq!(at_once.version, one.version);
    store.delete(Kind::Registry, "one", &one.version).await.unwrap();
    let mut gone = Vec::new();
    while gone.len() < 4 {
        if let Event::Deleted(_, name) = next(&mut events).await {
            gone.push(name);
        }
    }
    gone.sort_unstable();
    assert_eq!(gone, ["one", "one.early", "one.invalid", "one.team"]);
    let left = store.list(Kind::RegistrySpace, None, 10).await.unwrap().items;
    assert_eq!(left.iter().map(|space| space.name.as_str()).collect::<Vec<_>>(), ["other.team"]);
}

pub async fn what_is_not_understood_is_kept(store: Arc<dyn RecordStore>) {
    let spec = json!({ "fromTheFuture": [1, 2.5, null, { "deep": "ü" }], "type": "Quay" });
    let stored = create(&*store, document(Kind::Registry, "odd", spec.clone())).await;
    assert_eq!(stored.spec, spec);
    assert_eq!(store.get(Kind::Registry, "odd").await.unwrap().unwrap().spec, spec);
}

/// Runs the whole contract on one implementation.
macro_rules! contract {
    ($implementation:ident, $subject:expr; $($case:ident),+ $(,)?) => {
        mod $implementation {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    let subject: $crate::store_contract::Subject = $subject.await;
                    $crate::store_contract::$case(subject.store.clone()).await;
                }
            )+
        }
    };
    ($implementation:ident, $subject:expr) => {
        $crate::store_contract::contract!($implementation, $subject;
            a_record_is_created_once,
            a_write_needs_the_version_that_was_read,
            concurrent_writers_lose_no_update,
            a_watcher_sees_everything_and_then_each_change_in_order,
            a_watcher_that_starts_among_writes_misses_nothing,
            pages_give_every_name_once_in_order,
            a_credential_is_set_kept_and_removed_with_its_record,
            a_credential_keeps_the_audience_it_was_given_for,
            only_a_registry_takes_a_credential,
            a_deleted_record_takes_its_credentials_along,
            a_robot_belongs_to_records_that_are_there,
            robots_of_a_registry_are_told_apart,
            where_accounts_may_be_is_remembered_without_the_record,
            many_records_are_written_each_under_its_own_precondition,
            the_installation_stays_what_it_is,
            kinds_do_not_touch_each_other,
            a_registry_takes_its_spaces_along,
            what_is_not_understood_is_kept,
        );
    };
}

pub(crate) use contract;
