//! Files that the embedded store does not open: each gets a sentence that helps, and stays as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pullgate::store::embedded::{EmbeddedStore, OpenError};
use pullgate::store::{CredentialChange, Precondition, RecordStore};
use rusqlite::Connection;

use crate::store_contract::{create, harbor, secret, workspace};
use crate::store_embedded::Files;

/// The error of opening, after checking that it changed no byte of any file and made none.
fn refused(files: &Files) -> OpenError {
    let before = files.bytes();
    let error = EmbeddedStore::open(&files.database(), &files.key()).unwrap_err();
    let after = files.bytes();
    let names: (Vec<_>, Vec<_>) = (before.keys().collect(), after.keys().collect());
    assert_eq!(names.0, names.1, "{error}");
    assert!(before == after, "bytes changed: {error}");
    error
}

/// Checks a refusal's text, which always names the file.
fn says(files: &Files, error: &OpenError, words: &[&str]) {
    let text = error.to_string();
    assert!(text.contains(files.0.path().to_str().unwrap()), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

/// A closed store with some records and a credential.
async fn filled() -> Files {
    let files = Files::new();
    let store = files.open();
    let set = CredentialChange::Set(secret("u", "the-password", ""));
    store.put(harbor("corp", "a.example"), Precondition::Absent, set).await.unwrap();
    let documents = (0..500).map(|i| workspace(&format!("w{i}"), &["a-namespace"])).collect();
    store.import(documents).await.unwrap();
    store.close().await;
    files
}

/// The files of a store whose process was killed: with a log that holds what the database does not.
async fn killed() -> Files {
    let (files, copy) = (filled().await, Files::new());
    let store = files.open();
    create(&store, workspace("in-the-log", &[])).await;
    for (path, bytes) in files.bytes() {
        let to = copy.0.path().join(path.file_name().unwrap());
        fs::write(&to, bytes).unwrap();
        fs::set_permissions(to, fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(copy.names(), ["pullgate.db", "pullgate.db-wal", "pullgate.key"]);
    copy
}

fn raw(files: &Files, sql: &str) {
    Connection::open(files.database()).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn files_that_are_no_database() {
    for bytes in [b"not a database, just text".to_vec(), vec![0xa5; 20_000], vec![0; 4096]] {
        let files = filled().await;
        fs::write(files.database(), bytes).unwrap();
        let error = refused(&files);
        assert!(matches!(error, OpenError::NotADatabase { .. }), "{error}");
        says(&files, &error, &["is not a SQLite database", "give the path of a pullgate database"]);
    }
    let files = filled().await;
    fs::write(files.database(), "").unwrap();
    says(&files, &refused(&files), &["empty file", "restore it from a backup"]);
}

#[tokio::test]
async fn a_database_cut_short() {
    for keep in [3, 2] {
        let files = filled().await;
        let bytes = fs::read(files.database()).unwrap();
        fs::write(files.database(), &bytes[..bytes.len() * (keep - 1) / keep]).unwrap();
        let error = refused(&files);
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        says(&files, &error, &["is damaged", "restore it from a backup", "left as it was"]);
    }
}

#[tokio::test]
async fn a_database_with_a_page_of_noise() {
    let files = filled().await;
    let whole = fs::read(files.database()).unwrap();
    let pages = whole.len() / 4096;
    assert!(pages > 10);
    for page in 1..pages {
        let mut bytes = whole.clone();
        for (i, byte) in bytes[page * 4096..][..4096].iter_mut().enumerate() {
            *byte ^= u8::try_from((i * 31 + page) % 255).unwrap() | 1;
        }
        fs::write(files.database(), bytes).unwrap();
        let error = refused(&files);
        says(&files, &error, &["is damaged"]);
    }
}

#[tokio::test]
async fn a_damaged_database_with_a_log() {
    let files = killed().await;
    let mut bytes = fs::read(files.database()).unwrap();
    let end = bytes.len();
    bytes[end - 3 * 4096..].fill(0x77);
    fs::write(files.database(), bytes).unwrap();
    says(&files, &refused(&files), &["is damaged"]);
}

#[tokio::test]
async fn a_log_is_recovered_when_nothing_is_wrong() {
    let files = killed().await;
    let store = files.open();
    assert!(store.get(pullgate::domain::record::Kind::Workspace, "in-the-log").await.unwrap().is_some());
}

#[tokio::test]
async fn a_newer_schema() {
    let files = filled().await;
    raw(&files, "PRAGMA user_version = 900");
    let error = refused(&files);
    assert!(matches!(error, OpenError::Newer { found: 900, .. }), "{error}");
    says(&files, &error, &["schema version 900", "up to 5", "start a newer pullgate"]);
}

#[tokio::test]
async fn a_newer_schema_that_only_the_log_tells_of() {
    let (files, copy) = (filled().await, Files::new());
    let connection = Connection::open(files.database()).unwrap();
    connection.execute_batch("PRAGMA user_version = 900").unwrap();
    for (path, bytes) in files.bytes() {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.ends_with("-shm") {
            fs::write(copy.0.path().join(name), bytes).unwrap();
        }
    }
    fs::set_permissions(copy.key(), fs::Permissions::from_mode(0o600)).unwrap();
    drop(connection);
    says(&copy, &refused(&copy), &["schema version 900"]);
}

#[tokio::test]
async fn another_applications_database() {
    for sql in ["PRAGMA application_id = 77; PRAGMA user_version = 900", "PRAGMA journal_mode = WAL"] {
        let files = Files::new();
        raw(&files, &format!("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1); {sql}"));
        let error = refused(&files);
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        says(&files, &error, &["another application", "give another path"]);
    }
}

#[tokio::test]
async fn logs_that_do_not_belong() {
    let files = filled().await;
    fs::write(files.0.path().join("pullgate.db-journal"), "theirs").unwrap();
    says(&files, &refused(&files), &["pullgate.db-journal is there"]);

    let files = killed().await;
    fs::remove_file(files.database()).unwrap();
    says(&files, &refused(&files), &["pullgate.db-wal is there", "restore what is missing"]);
}

#[tokio::test]
async fn a_key_that_was_not_the_one() {
    let files = filled().await;
    let other = filled().await;
    fs::copy(other.key(), files.key()).unwrap();
    let error = refused(&files);
    says(&files, &error, &["pullgate.key", "pullgate.db", "give the key file that belongs to this database"]);
}

#[tokio::test]
async fn a_key_that_is_missing() {
    let files = filled().await;
    fs::remove_file(files.key()).unwrap();
    let error = refused(&files);
    assert!(matches!(error, OpenError::KeyMissing { .. }), "{error}");
    says(&files, &error, &["pullgate.key is missing", "put the key file back"]);

    // Without a credential nothing is lost, and a new one is made.
    let files = Files::new();
    files.open().close().await;
    let before = fs::read(files.key()).unwrap();
    fs::remove_file(files.key()).unwrap();
    files.open().close().await;
    assert_ne!(fs::read(files.key()).unwrap(), before);
    files.open().close().await;
}

#[tokio::test]
async fn a_key_that_others_can_read() {
    for mode in [0o644, 0o640, 0o604] {
        let files = filled().await;
        fs::set_permissions(files.key(), fs::Permissions::from_mode(mode)).unwrap();
        let error = refused(&files);
        says(&files, &error, &[&format!("mode {mode:04o}"), "chmod 600"]);
    }
}

#[tokio::test]
async fn a_key_that_is_none() {
    for text in ["", "c2hvcnQ=", "this is not base64!", &"QUJD".repeat(400)] {
        let files = Files::new();
        fs::write(files.key(), text).unwrap();
        fs::set_permissions(files.key(), fs::Permissions::from_mode(0o600)).unwrap();
        let error = refused(&files);
        says(&files, &error, &["expected 32 random bytes in base64", "openssl rand -base64 32"]);
        assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn a_given_key_is_used() {
    let files = Files::new();
    fs::write(files.key(), "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=\n").unwrap();
    fs::set_permissions(files.key(), fs::Permissions::from_mode(0o400)).unwrap();
    files.open().close().await;
    assert_eq!(fs::read(files.key()).unwrap(), b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=\n");
}

#[tokio::test]
async fn a_store_that_is_open_already() {
    let files = filled().await;
    let first = files.open();
    create(&first, workspace("one", &[])).await;
    let error = refused(&files);
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    says(&files, &error, &["in use by another process", "stop the other one"]);
    create(&first, workspace("two", &[])).await;
    first.close().await;
    files.open().close().await;
}

#[tokio::test]
async fn a_directory_that_is_missing() {
    let files = Files::new();
    let path = files.0.path().join("missing/pullgate.db");
    let error = EmbeddedStore::open(&path, &files.key()).unwrap_err().to_string();
    assert!(error.contains("cannot create") && error.contains("missing/pullgate.db"), "{error}");
    assert!(files.names().is_empty());
}
