//! The files of a store: their names, and the errors about them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// The path with something after its name, as SQLite names the files beside a database.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Names the file and what was tried in an I/O error.
pub(super) fn io(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |cause| OpenError::Io { path, doing, cause }
}
