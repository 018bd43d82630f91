//! Databases with flipped bits: refused in words, or everything in them is as it was written or counts as invalid.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use futures::StreamExt as _;
use pullgate::domain::record::{Kind, Name};
use pullgate::store::embedded::{EmbeddedStore, OpenError};
use pullgate::store::{CredentialChange, Event, Precondition, RecordStore, StoreError};
use pullgate::types::Document;
use rusqlite::Connection;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::store_contract::{create, integration, secret, workspace};
use crate::store_embedded::Files;

/// Numbers that are the same with every run (a linear congruential generator, Knuth's constants).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

type Records = BTreeMap<(Kind, Name), (Value, Value, i64)>;

/// A closed store with records of every kind and some credentials.
async fn filled() -> Files {
    let files = Files::new();
    let store = files.open();
    for i in 0..30 {
        create(&store, workspace(&format!("w{i}"), &[&format!("n{i}"), &format!("m{i}")])).await;
        let url = format!("https://r{i}.example.com");
        let spec = json!({"type": "Harbor", "url": url, "credential": {"name": format!("registry-r{i}")}});
        let document = Document::new(Kind::Registry, format!("r{i}").as_str(), spec);
        let set = CredentialChange::Set(secret("u", &"p".repeat(40), "a"));
        store.put(document, Precondition::Absent, set).await.unwrap();
        let spec = json!({"registry": format!("r{i}"), "path": "p", "visibility": "Private", "workspaces": [format!("w{i}")]});
        create(&store, Document::new(Kind::RegistrySpace, format!("r{i}.p").as_str(), spec)).await;
    }
    for i in 0..5 {
        let spec = json!({"namespaces": [format!("n{i}")], "unmanaged": {"default": "Deny"}});
        create(&store, Document::new(Kind::PullPolicy, format!("p{i}").as_str(), spec)).await;
    }
    store.close().await;
    files
}

/// Everything in a store, or why it cannot be told.
async fn told(store: &EmbeddedStore) -> Result<Records, StoreError> {
    let (mut events, mut found) = (store.watch(), Records::new());
    loop {
        match events.next().await.expect("the store's thread ended")? {
            Event::Put(d) => drop(found.insert((d.kind, d.name), (d.spec, d.status, d.created))),
            Event::Synced => return Ok(found),
            Event::Restarted => {}
            Event::Deleted(..) => panic!("nobody deletes"),
        }
    }
}

#[tokio::test]
async fn flipped_bits_change_no_record_and_no_password() {
    let files = filled().await;
    let (database, key) = (fs::read(files.database()).unwrap(), fs::read(files.key()).unwrap());
    let store = files.open();
    let intact = told(&store).await.unwrap();
    store.close().await;
    let (mut opened, mut refused, mut invalid) = (0, 0, 0);
    let mut numbers = Numbers(7);
    for round in 0..150 {
        let mut bytes = database.clone();
        for _ in 0..[1, 2, 8, 64][round % 4] {
            let at = numbers.below(bytes.len());
            bytes[at] ^= 1 << numbers.below(8);
        }
        if round % 10 == 9 {
            bytes.truncate(numbers.below(bytes.len()));
        }
        let damaged = Files::new();
        fs::write(damaged.database(), bytes).unwrap();
        fs::write(damaged.key(), &key).unwrap();
        for file in [damaged.database(), damaged.key()] {
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let store = match EmbeddedStore::open(&damaged.database(), &damaged.key()) {
            Ok(store) => store,
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("pullgate.db"), "{text}");
                refused += 1;
                continue;
            }
        };
        opened += 1;
        let found = tokio::time::timeout(Duration::from_secs(20), told(&store)).await.expect("it hangs");
        match found {
            Ok(found) => {
                // A name may be another one, of a record that counts as invalid.
                assert_eq!(found.len(), intact.len(), "round {round}");
                for (record, content) in &found {
                    if content.0 == Value::Null {
                        assert!(matches!(record.0, Kind::Workspace | Kind::RegistrySpace), "{record:?}");
                        invalid += 1;
                    } else {
                        assert_eq!(content, &intact[record], "round {round}: {record:?}");
                    }
                }
            }
            Err(error) => assert!(matches!(error, StoreError::Damaged(_)), "{error:?}"),
        }
        for i in 0..30 {
            match store.credential(&integration(&format!("r{i}"))).await {
                Ok(found) => {
                    assert!(found.is_none_or(|found| found.password.expose_secret() == "p".repeat(40)));
                }
                Err(error) => assert!(matches!(error, StoreError::Damaged(_)), "{error:?}"),
            }
        }
        store.close().await;
    }
    assert!(
        opened > 10 && refused > 10 && invalid > 5,
        "{opened} opened, {refused} refused, {invalid} invalid"
    );
}

#[tokio::test]
async fn a_damaged_record_is_invalid_or_stops_the_start() {
    let change = |files: &Files, sql: &str| {
        let raw = Connection::open(files.database()).unwrap();
        assert_eq!(raw.execute(sql, []).unwrap(), 1, "{sql}");
    };
    for sql in [
        "UPDATE records SET spec = replace(spec, 'n7', 'n8') WHERE name = 'w7'",
        "UPDATE records SET created = created - 1 WHERE name = 'w7'",
        "UPDATE records SET digest = NULL WHERE name = 'w7'",
    ] {
        let files = filled().await;
        change(&files, sql);
        let store = files.open();
        assert_eq!(store.get(Kind::Workspace, "w7").await.unwrap().unwrap().spec, Value::Null);
        assert_ne!(store.get(Kind::Workspace, "w8").await.unwrap().unwrap().spec, Value::Null);
    }
    // Without its record an image would be nobody's, and without its policy everybody's.
    for (record, sql) in [
        ("Registry r7", "UPDATE records SET spec = replace(spec, 'r7.ex', 'r7.ey') WHERE name = 'r7'"),
        ("PullPolicy p1", "UPDATE records SET spec = replace(spec, 'Deny', 'Allow') WHERE name = 'p1'"),
    ] {
        let files = filled().await;
        change(&files, sql);
        let error = EmbeddedStore::open(&files.database(), &files.key()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(record) && text.contains("restore it from a backup"), "{text}");
    }
}

#[tokio::test]
async fn records_of_an_older_pullgate_are_taken_as_they_are() {
    let files = filled().await;
    let store = files.open();
    let before = told(&store).await.unwrap();
    store.close().await;
    let raw = Connection::open(files.database()).unwrap();
    raw.execute_batch("ALTER TABLE records DROP COLUMN digest; DROP TABLE ledgers; PRAGMA user_version = 2")
        .unwrap();
    // Of a kind that is not known here.
    raw.execute("INSERT INTO records VALUES ('Widget', 'from-elsewhere', 1, 1, '{}', NULL)", []).unwrap();
    drop(raw);
    let store = files.open();
    assert_eq!(told(&store).await.unwrap(), before);
    store.close().await;
    let store = files.open();
    assert_eq!(told(&store).await.unwrap(), before);
}
