//! What SQLite's errors mean for whoever runs pullgate.

use std::io::ErrorKind;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::secret_file::Draft;
use crate::store::StoreError;

/// The failure behind an error of the database at `path`, in which nothing was changed: its transaction was taken back.
pub(super) fn of(error: &rusqlite::Error, path: &Path) -> StoreError {
    let code = match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => cause_of_io(path),
        code => code,
    };
    let path = path.display();
    match code {
        Some(ErrorCode::DiskFull) => StoreError::Full(format!(
            "the database {path}: {error}; make room on its disk, nothing was changed"
        )),
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly(format!(
            "the database {path}: {error}; make the file and its directory writable, nothing was changed"
        )),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(format!(
            "the database {path} is damaged ({error}); stop pullgate and restore it from a backup"
        )),
        _ => StoreError::Unavailable(format!(
            "the database {path}: {error}; check the disk and the file, nothing was changed"
        )),
    }
}

/// SQLite does not tell which I/O error it was. The next write beside the database has the same cause.
fn cause_of_io(path: &Path) -> Option<ErrorCode> {
    let error = Draft::of(path).and_then(|mut draft| draft.write(&[0; 4096])).err()?;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(ErrorCode::DiskFull),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Some(ErrorCode::ReadOnly),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokio::sync::broadcast;

    use super::super::records::Records;
    use super::super::seal::Key;
    use super::super::{Document, Precondition, schema};
    use super::*;
    use crate::domain::record::Kind;
    use crate::store::CredentialChange;

    /// A store whose database takes no more writes once `limit` was run on it.
    fn limited(directory: &Path, limit: &str) -> Records {
        let path = directory.join("records.db");
        schema::create(&path).unwrap();
        let mut connection = schema::inspect(&path).unwrap();
        schema::adopt(&mut connection).unwrap();
        let records = Records {
            connection,
            key: Key::create(&directory.join("store.key")).unwrap(),
            path,
            changes: broadcast::channel(16).0,
            unreadable: HashSet::new(),
        };
        records.connection.execute_batch(limit).unwrap();
        records
    }

    fn write(records: &mut Records, name: &str, bytes: usize) -> Result<Document, StoreError> {
        let spec = serde_json::json!({ "namespaces": ["x".repeat(bytes)] });
        let document = Document::new(Kind::Workspace, name, spec);
        let outcome = records.put(document, &Precondition::Absent, &CredentialChange::Keep);
        outcome.map_err(|failure| records.explain(failure))
    }

    #[test]
    fn a_full_database_says_so_and_goes_on_when_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let mut records = limited(directory.path(), "PRAGMA max_page_count = 20");
        write(&mut records, "small", 10).unwrap();
        let error = write(&mut records, "large", 200_000).unwrap_err();
        assert!(
            matches!(&error, StoreError::Full(text) if text.contains("records.db: database or disk is full")),
            "{error:?}"
        );
        assert!(records.get(Kind::Workspace, "large").unwrap().is_none(), "nothing was changed");
        assert!(records.get(Kind::Workspace, "small").unwrap().is_some());
        records.connection.execute_batch("PRAGMA max_page_count = 2000").unwrap();
        write(&mut records, "large", 200_000).unwrap();
    }

    #[test]
    fn a_database_that_takes_no_writes_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let mut records = limited(directory.path(), "PRAGMA query_only = true");
        let error = write(&mut records, "w", 1).unwrap_err();
        assert!(
            matches!(&error, StoreError::ReadOnly(text) if text.contains("make the file and its directory writable")),
            "{error:?}"
        );
        assert!(records.get(Kind::Workspace, "w").unwrap().is_none());
    }

    #[test]
    fn a_record_that_is_damaged_while_it_is_served_is_never_taken_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut records = limited(directory.path(), "");
        for (kind, name) in [(Kind::Registry, "r"), (Kind::Workspace, "w"), (Kind::Workspace, "x")] {
            let document = Document::new(kind, name, serde_json::json!({}));
            records.put(document, &Precondition::Absent, &CredentialChange::Keep).unwrap();
        }
        let damage = "UPDATE records SET spec = '{ }' WHERE name IN ('r', 'w')";
        records.connection.execute_batch(damage).unwrap();
        let failure = records.chunk(None, 10).map(drop).unwrap_err();
        let error = records.explain(failure);
        assert!(
            matches!(&error, StoreError::Damaged(text) if text.contains("Registry r is not as it was written")),
            "{error:?}"
        );
        let found = records.list(Kind::Workspace, "", 10).unwrap().items;
        let specs: Vec<_> = found.into_iter().map(|found| found.spec).collect();
        assert_eq!(specs, [serde_json::Value::Null, serde_json::json!({})]);
    }
}
