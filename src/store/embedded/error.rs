//! Why the embedded store does not open.

use std::io;
use std::path::PathBuf;

/// What kept the store from opening. The database file is as it was, whatever the variant.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot {doing} {}: {cause}", .path.display())]
    Io { path: PathBuf, doing: &'static str, cause: io::Error },
    #[error("cannot open the database {}: {cause}", .path.display())]
    Sqlite { path: PathBuf, cause: rusqlite::Error },
    #[error("{} is an empty file, not a database; remove it to start with a new store, or restore it from a backup", .path.display())]
    Empty { path: PathBuf },
    #[error("{} is not a SQLite database; give the path of a pullgate database, or of a file that does not exist yet", .path.display())]
    NotADatabase { path: PathBuf },
    #[error("{} is the database of another application (application id {found:#x}, expected {expected:#x}); give another path", .path.display())]
    Foreign { path: PathBuf, found: i32, expected: i32 },
    #[error("{} has schema version {found}, this pullgate knows versions up to {known}; start a newer pullgate, or restore a backup made before the upgrade", .path.display())]
    Newer { path: PathBuf, found: i64, known: usize },
    #[error("{} is damaged ({found}); restore it from a backup, it was left as it was", .path.display())]
    Damaged { path: PathBuf, found: String },
    #[error("{} is there, but pullgate never leaves such a file beside {}; both belong together with whatever wrote them: move them away, or restore what is missing", .log.display(), .path.display())]
    StrayLog { path: PathBuf, log: PathBuf },
    #[error("{} is in use by another process; one pullgate at a time can have it open: stop the other one, or give another path", .path.display())]
    InUse { path: PathBuf },
    #[error("{} cannot be written; the user that runs pullgate must own it and its directory must be writable", .path.display())]
    ReadOnly { path: PathBuf },
    #[error("the key file {} is missing, but {} holds credentials that were sealed with it; put the key file back (or, to give the credentials up, move the database away and start anew)", .key_file.display(), .path.display())]
    KeyMissing { key_file: PathBuf, path: PathBuf },
    #[error("the key in {} is not the one with which the credentials in {} were sealed; give the key file that belongs to this database", .key_file.display(), .path.display())]
    KeyWrong { key_file: PathBuf, path: PathBuf },
    #[error("the key file {} can be read by others (mode {mode:04o}, expected 0600): chmod 600 {}", .key_file.display(), .key_file.display())]
    KeyExposed { key_file: PathBuf, mode: u32 },
    #[error("the key file {} holds {found}, expected 32 random bytes in base64, as `openssl rand -base64 32` prints them", .key_file.display())]
    KeyMalformed { key_file: PathBuf, found: String },
    #[error("the system gave no random bytes for {}", .path.display())]
    NoRandomness { path: PathBuf },
}
