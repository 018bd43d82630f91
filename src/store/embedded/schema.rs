//! The database file: how it is made, checked before anything is changed, and brought to the current schema.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, TransactionBehavior};

use super::error::OpenError;
use super::files::{beside, io};
use super::rows;
use crate::secret_file::Draft;

/// "pgat": what `file` and other applications know a pullgate database by.
const APPLICATION_ID: i32 = 0x7067_6174;

/// How long a start waits for a predecessor that is still closing the file.
const BUSY: Duration = Duration::from_secs(2);

/// Pages that SQLite keeps in memory, in KiB. Records are read once and then followed, so few are read twice.
const CACHE_KIB: i64 = 512;

/// A log that a large import left behind is cut to this many bytes.
const LOG_LIMIT: i64 = 16 << 20;

/// Every step from an empty file to the current schema. `user_version` counts the steps that a file has had; add
/// new ones at the end, never change one that was released.
const MIGRATIONS: &[Step] = &[
    Step::Sql(
        "
    CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO meta (key, value) VALUES ('version', 0);

    CREATE TABLE records (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        created INTEGER NOT NULL,
        spec TEXT NOT NULL,
        status TEXT,
        PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID;

    -- A credential goes with its registry, a robot's with its workspace too: the keys see to it.
    CREATE TABLE credentials (
        id TEXT NOT NULL PRIMARY KEY,
        registry_kind TEXT NOT NULL DEFAULT 'Registry' CHECK (registry_kind = 'Registry'),
        registry TEXT NOT NULL,
        workspace_kind TEXT NOT NULL DEFAULT 'Workspace' CHECK (workspace_kind = 'Workspace'),
        workspace TEXT,
        sealed BLOB NOT NULL,
        FOREIGN KEY (registry_kind, registry) REFERENCES records (kind, name) ON DELETE CASCADE,
        FOREIGN KEY (workspace_kind, workspace) REFERENCES records (kind, name) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX credentials_of_registry ON credentials (registry_kind, registry);
    CREATE INDEX credentials_of_workspace ON credentials (workspace_kind, workspace);
",
    ),
    Step::Sql(
        "
    -- The one space that a robot account covers.
    ALTER TABLE credentials ADD COLUMN space TEXT;
",
    ),
    Step::Sql("ALTER TABLE records ADD COLUMN digest BLOB"),
    Step::Code(rows::note_digests),
    Step::Sql(
        "
    -- Where accounts may be, and how to get there; it stays when the registry's record goes.
    CREATE TABLE ledgers (
        registry TEXT NOT NULL,
        audience TEXT NOT NULL,
        spec TEXT NOT NULL,
        places TEXT NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY (registry, audience)
    ) STRICT, WITHOUT ROWID;
",
    ),
];

/// One step.
enum Step {
    Sql(&'static str),
    Code(fn(&Connection) -> rusqlite::Result<()>),
}

/// The schema since which records have digests.
const DIGESTS: i64 = 4;

/// Makes an empty store.
pub(super) fn create(path: &Path) -> Result<(), OpenError> {
    // SQLite would replay a log that a lost database left behind into the new one.
    let log = beside(path, "-wal");
    if log.exists() {
        return Err(OpenError::StrayLog { path: path.to_owned(), log });
    }
    let draft = Draft::of(path).map_err(io(path, "create"))?;
    let make = || {
        let mut connection = connect(draft.path())?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        migrate(&mut connection, MIGRATIONS)?;
        connection.close().map_err(|(_, error)| error)
    };
    make().map_err(|error| refusal(path, error))?;
    // Where another process was first, its store stays.
    draft.take_free_place().map_err(io(path, "create"))
}

/// Opens a file and checks that it is a sound store of a schema that is known here. A file that is refused is left
/// as it was, with the files beside it: nothing is written before [`adopt`].
pub(super) fn inspect(path: &Path) -> Result<Connection, OpenError> {
    let length = fs::metadata(path).map_err(io(path, "open the database"))?.len();
    if length == 0 {
        return Err(OpenError::Empty { path: path.to_owned() });
    }
    // A rollback journal would be played back by the first read. We write none, so the file is somebody else's.
    let journal = beside(path, "-journal");
    if journal.exists() {
        return Err(OpenError::StrayLog { path: path.to_owned(), log: journal });
    }
    let log_was_there = beside(path, "-wal").exists();
    let refused = |error| refusal(path, error);
    let connection = connect(path).map_err(refused)?;
    // The last connection of a database moves its log into it when it closes; and without a log, the first read
    // makes an empty one, which closing removes. Either way closing restores what was there.
    if log_was_there {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(refused)?;
    }
    check(&connection, path)?;
    Ok(connection)
}

fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let refused = |error| refusal(path, error);
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let id = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(refused)?;
    if id != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned(), found: id, expected: APPLICATION_ID });
    }
    let found = number("user_version").map_err(refused)?;
    let known = MIGRATIONS.len();
    if usize::try_from(found).is_ok_and(|found| found > known) {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    let damaged = |found| OpenError::Damaged { path: path.to_owned(), found };
    if found < 1 {
        return Err(damaged(format!("schema version {found}")));
    }
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(refused)?;
    if verdict != "ok" {
        return Err(damaged(verdict.replace('\n', " ")));
    }
    if found >= DIGESTS {
        rows::check_digests(connection).map_err(refused)?;
    }
    if connection.is_readonly(MAIN_DB).map_err(refused)? {
        return Err(OpenError::ReadOnly { path: path.to_owned() });
    }
    Ok(())
}

/// Takes an inspected file over: from here on it is written.
pub(super) fn adopt(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "journal_size_limit", LOG_LIMIT)?;
    migrate(connection, MIGRATIONS)
}

/// A connection that alone may use the file.
///
/// Exclusive, because the watchers' order comes from the one process that writes; a second process gets a clear
/// error instead of racing. The lock ends with the process, also after kill -9, and without sharing SQLite needs
/// no `-shm` file. Acknowledged means synced, hence FULL: in WAL mode NORMAL may lose the last commits.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(connection)
}

/// Takes the steps that the file has not had, all or none.
fn migrate(connection: &mut Connection, steps: &[Step]) -> rusqlite::Result<()> {
    let taken: usize = connection.pragma_query_value(None, "user_version", |row| {
        row.get::<_, i64>(0).map(|version| usize::try_from(version).unwrap_or_default())
    })?;
    if taken >= steps.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &steps[taken..] {
        match step {
            Step::Sql(sql) => transaction.execute_batch(sql)?,
            Step::Code(step) => step(&transaction)?,
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", i64::try_from(steps.len()).unwrap_or(i64::MAX))?;
    transaction.commit()
}

/// SQLite's answer in words for the person who starts pullgate.
pub(super) fn refusal(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, found: error.to_string() },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse { path },
        Some(ErrorCode::ReadOnly) => OpenError::ReadOnly { path },
        _ => OpenError::Sqlite { path, cause: error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> i64 {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    #[test]
    fn store_migrations_run_once_in_order_and_keep_what_is_there() {
        let mut connection = Connection::open_in_memory().unwrap();
        let steps = ["CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y DEFAULT 7"].map(Step::Sql);
        migrate(&mut connection, &steps[..1]).unwrap();
        connection.execute_batch("INSERT INTO a (x) VALUES (1)").unwrap();
        migrate(&mut connection, &steps).unwrap();
        migrate(&mut connection, &steps).unwrap();
        let row: (i64, i64) =
            connection.query_row("SELECT x, y FROM a", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!((row, version(&connection)), ((1, 7), 2));
    }

    #[test]
    fn store_migration_that_fails_leaves_the_schema_as_it_was() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &[Step::Sql("CREATE TABLE a (x)")]).unwrap();
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x)", "CREATE TABLE a (x)"].map(Step::Sql);
        migrate(&mut connection, &steps).unwrap_err();
        assert_eq!(version(&connection), 1);
        connection.query_row("SELECT count(*) FROM b", [], |_| Ok(())).unwrap_err();
    }
}
