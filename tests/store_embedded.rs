//! The embedded store beyond the contract: kill -9, secrets at rest, long loads, watchers that fall behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pullgate::domain::record::{Entry, Kind, Record};
use pullgate::store::embedded::EmbeddedStore;
use pullgate::store::{CredentialChange, Event, Precondition, RecordStore, StoreError};
use pullgate::types::{Document, convert};
use rusqlite::Connection;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::store_contract::{
    Seen, Subject, create, harbor, integration, next, robot_id, secret, update, workspace,
};

/// A data directory with the two files of a store.
pub struct Files(pub TempDir);

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn database(&self) -> PathBuf {
        self.0.path().join("pullgate.db")
    }

    pub fn key(&self) -> PathBuf {
        self.0.path().join("pullgate.key")
    }

    pub fn open(&self) -> EmbeddedStore {
        EmbeddedStore::open(&self.database(), &self.key()).unwrap()
    }

    /// Every file's name and bytes.
    pub fn bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }

    pub fn names(&self) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        self.bytes().keys().map(name).collect()
    }
}

pub fn subject() -> Subject {
    let files = Files::new();
    let store = Arc::new(files.open());
    Subject { store, _keep: Box::new(files) }
}

fn many(count: usize) -> Vec<Document> {
    (0..count).map(|i| workspace(&format!("w{i:06}"), &["some-namespace", "another-namespace"])).collect()
}

#[tokio::test]
async fn two_private_files_are_made_and_found_again() {
    let files = Files::new();
    let store = files.open();
    let set = CredentialChange::Set(secret("u", "p", "a"));
    let stored = store.put(harbor("corp", "a.example"), Precondition::Absent, set).await.unwrap();
    assert_eq!(files.names(), ["pullgate.db", "pullgate.db-wal", "pullgate.key"]);
    for path in files.bytes().keys() {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o600, "{}", path.display());
    }
    store.close().await;
    assert_eq!(files.names(), ["pullgate.db", "pullgate.key"]);

    let store = files.open();
    assert_eq!(store.get(Kind::Registry, "corp").await.unwrap(), Some(stored.clone()));
    let read = store.credential(&integration("corp")).await.unwrap().unwrap();
    assert_eq!(read.password.expose_secret(), "p");
    let next = update(&store, stored.clone()).await.unwrap();
    assert!(
        next.version.parse::<u64>().unwrap() > stored.version.parse().unwrap(),
        "versions go on counting"
    );
}

#[tokio::test]
async fn no_password_is_in_any_file_or_debug_text() {
    let (files, password) = (Files::new(), "correct-horse-battery-staple");
    let store = files.open();
    let set = || CredentialChange::Set(secret("user-name-at-rest", password, "a"));
    let stored = store.put(harbor("corp", "a.example"), Precondition::Absent, set()).await.unwrap();
    create(&store, workspace("w", &[])).await;
    store.set_robot(&robot_id("corp", "w"), Some(secret("robot", password, "a"))).await.unwrap();
    let hidden = |files: &Files| {
        for (path, bytes) in files.bytes() {
            for text in [password, "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBs", "user-name-at-rest"] {
                let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
                assert!(!found, "{text} is in {}", path.display());
            }
        }
    };
    hidden(&files);
    assert!(!format!("{store:?}").contains(password));
    let at = Precondition::Version(stored.version.clone());
    store.put(stored, at, set()).await.unwrap();
    store.close().await;
    hidden(&files);
}

#[tokio::test]
async fn a_sealed_credential_opens_in_its_own_row_only() {
    let files = Files::new();
    let store = files.open();
    for (name, password) in [("one", "first-password"), ("two", "second-password")] {
        let set = CredentialChange::Set(secret("u", password, ""));
        store.put(harbor(name, "a.example"), Precondition::Absent, set).await.unwrap();
    }
    store.close().await;
    let swap = "UPDATE credentials SET sealed = (SELECT sealed FROM credentials WHERE registry = 'one')";
    Connection::open(files.database()).unwrap().execute(swap, []).unwrap();
    let store = files.open();
    let error = store.credential(&integration("two")).await.unwrap_err().to_string();
    assert!(error.contains(r#"["integration","two"]"#) && error.contains("is damaged"), "{error}");
    assert!(!error.contains("first-") && !error.contains("second-"), "{error}");
    assert!(store.credential(&integration("one")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_text_that_cannot_be_read_is_an_invalid_record_and_stops_nothing() {
    let files = Files::new();
    let store = files.open();
    for name in ["a", "b", "c"] {
        create(&store, workspace(name, &["x"])).await;
    }
    store.close().await;
    let raw = Connection::open(files.database()).unwrap();
    raw.execute("UPDATE records SET spec = '{\"namespaces\": [' WHERE name = 'b'", []).unwrap();
    raw.execute("UPDATE records SET spec = CAST(x'ff00' AS TEXT) WHERE name = 'c'", []).unwrap();
    drop(raw);

    let store = files.open();
    let seen = Seen::synced(&mut store.watch()).await;
    assert_eq!(seen.names(), ["a", "b", "c"]);
    for broken in ["b", "c"] {
        let read = store.get(Kind::Workspace, broken).await.unwrap().unwrap();
        assert_eq!(read.spec, Value::Null);
        assert!(matches!(convert::record(&read), Record::Workspace(Entry::Invalid(_))));
        let mended = Document { spec: json!({ "namespaces": ["y"] }), ..read };
        update(&store, mended).await.unwrap();
    }
    assert_eq!(store.list(Kind::Workspace, None, 10).await.unwrap().items[1].spec["namespaces"][0], "y");
}

#[tokio::test]
async fn a_write_that_changes_nothing_makes_a_version_and_is_told() {
    let files = Files::new();
    let store = files.open();
    let first = create(&store, workspace("a", &["x"])).await;
    let mut events = store.watch();
    Seen::synced(&mut events).await;
    let second = update(&store, first.clone()).await.unwrap();
    assert_ne!(second.version, first.version);
    assert_eq!(next(&mut events).await, Event::Put(second));
    assert!(matches!(update(&store, first).await, Err(StoreError::Changed { .. })));
}

#[tokio::test]
async fn an_import_is_one_step_that_restarts_watchers() {
    let files = Files::new();
    let store = files.open();
    create(&store, harbor("corp", "a.example")).await;
    let mut events = store.watch();
    Seen::synced(&mut events).await;
    let mut documents = many(1200);
    documents[7].created = 42;
    store.import(documents).await.unwrap();
    let seen = Seen::synced(&mut events).await;
    assert_eq!(seen.0.len(), 1201);
    let created = |name: &str| seen.0[&(Kind::Workspace, name.into())].created;
    assert!(created("w000007") == 42 && created("w000008") > 1_700_000_000);
    // Those that are there keep it, and their credentials.
    store.import(vec![Document { created: 5, ..workspace("w000007", &[]) }]).await.unwrap();
    assert_eq!(store.get(Kind::Workspace, "w000007").await.unwrap().unwrap().created, 42);
    store.import(Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_watcher_that_falls_behind_starts_again() {
    let files = Files::new();
    let store = files.open();
    let mut events = store.watch();
    assert!(Seen::synced(&mut events).await.0.is_empty());
    let mut document = create(&store, workspace("busy", &[])).await;
    for _ in 0..1100 {
        document = update(&store, document).await.unwrap();
    }
    let seen = Seen::synced(&mut events).await;
    assert_eq!(seen.0.into_values().collect::<Vec<_>>(), std::slice::from_ref(&document));
    let after = update(&store, document).await.unwrap();
    assert_eq!(next(&mut events).await, Event::Put(after));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_many_chunks_among_writes_ends_exact() {
    let files = Files::new();
    let store = Arc::new(files.open());
    store.import(many(4000)).await.unwrap();
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            // All over the table: before and after wherever a load is.
            for i in 0..600 {
                let name = format!("w{:06}", (i * 1_237) % 4000);
                match store.get(Kind::Workspace, &name).await.unwrap() {
                    Some(found) if i % 3 == 0 => {
                        store.delete(Kind::Workspace, &name, &found.version).await.unwrap();
                        if i % 2 == 0 {
                            create(&*store, workspace(&name, &["again"])).await;
                        }
                    }
                    Some(found) => drop(update(&*store, found).await.unwrap()),
                    None => drop(create(&*store, workspace(&name, &["back"])).await),
                }
            }
            create(&*store, workspace("zz-last", &[])).await;
        })
    };
    let watchers = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut events = store.watch();
            assert_eq!(next(&mut events).await, Event::Restarted);
            let (mut seen, mut synced) = (Seen::default(), false);
            while !synced || !seen.0.contains_key(&(Kind::Workspace, "zz-last".into())) {
                let event = next(&mut events).await;
                assert!(synced || !matches!(event, Event::Deleted(..)), "only Puts before Synced");
                synced |= seen.take(event);
            }
            seen
        })
    });
    let watchers: Vec<_> = watchers.collect();
    writer.await.unwrap();
    let listed = store.list(Kind::Workspace, None, 10_000).await.unwrap().items;
    let expected = Seen(listed.into_iter().map(|d| ((d.kind, d.name.clone()), d)).collect());
    for watcher in watchers {
        assert!(watcher.await.unwrap() == expected, "a watcher ended with something else than the store has");
    }
}

#[tokio::test]
async fn watchers_end_with_the_store() {
    let files = Files::new();
    let store = files.open();
    store.import(many(10)).await.unwrap();
    let (mut fresh, mut synced) = (store.watch(), store.watch());
    Seen::synced(&mut synced).await;
    store.close().await;
    assert_eq!(next(&mut fresh).await, Event::Restarted);
    assert!(futures::StreamExt::next(&mut fresh).await.is_none());
    assert!(futures::StreamExt::next(&mut synced).await.is_none());
}

const CHILD: &str = "PULLGATE_TEST_STORE_CHILD";

/// Not a test by itself: what `kill_9_loses_no_acknowledged_write` kills.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let directory = Path::new(&directory);
    let store = EmbeddedStore::open(&directory.join("pullgate.db"), &directory.join("pullgate.key")).unwrap();
    let run = std::process::id();
    let tell = |line: String| writeln!(std::io::stdout(), "{line}").unwrap();
    tell(String::new());
    for i in 0.. {
        let (name, gone) = (format!("kept-{run}-{i}"), format!("gone-{run}-{i}"));
        let set = CredentialChange::Set(secret("u", &name, ""));
        let made = store.put(harbor(&name, "a.example"), Precondition::Absent, set).await.unwrap();
        tell(format!("put {name} {}", made.version));
        tell(format!("put {name} {}", update(&store, made).await.unwrap().version));
        let made = create(&store, harbor(&gone, "a.example")).await;
        store.delete(Kind::Registry, &gone, &made.version).await.unwrap();
        tell(format!("deleted {gone} 0"));
    }
}

#[tokio::test]
async fn kill_9_loses_no_acknowledged_write() {
    let (files, mut acknowledged) = (Files::new(), BTreeMap::new());
    for round in 0_u32..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["store_embedded::child_that_writes_until_it_is_killed", "--exact", "--nocapture"])
            .env(CHILD, files.0.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        let jitter = u64::from(Instant::now().elapsed().subsec_nanos() ^ std::process::id()) % 90;
        std::thread::sleep(Duration::from_millis(250 + u64::from(round) * 60 + jitter));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut lines = reader.join().unwrap();
        // The kernel may have cut the last line.
        lines.pop();
        for line in lines {
            if let [what @ ("put" | "deleted"), name, version] = line.split(' ').collect::<Vec<_>>()[..] {
                let version = (what == "put").then(|| version.parse::<u64>().unwrap());
                acknowledged.insert(name.to_owned(), version);
            }
        }

        let store = files.open();
        for (name, version) in &acknowledged {
            let found = store.get(Kind::Registry, name).await.unwrap();
            let found_version = found.map(|document| document.version.parse::<u64>().unwrap());
            match version {
                None => assert_eq!(found_version, None, "{name} is back"),
                Some(version) => {
                    assert!(found_version >= Some(*version), "{name}: {found_version:?}, was {version}");
                    let read = store.credential(&integration(name)).await.unwrap().unwrap();
                    assert_eq!(read.password.expose_secret(), name);
                }
            }
        }
        store.close().await;
    }
    assert!(acknowledged.len() > 20, "only {} writes were acknowledged", acknowledged.len());
}

crate::store_contract::contract!(embedded, std::future::ready(crate::store_embedded::subject()));
