//! Files that appear under their name only when they are whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// Makes a file of mode 0600. `fill` writes and syncs a draft beside it, which then gets the name in one step, so
/// that a crash never leaves half a database or half a key. Where another process was first, its file stays.
pub(super) fn appear(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| OpenError::NoRandomness { path: path.to_owned() })?;
    let draft = beside(path, &format!(".{:016x}.new", u64::from_ne_bytes(random)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(&draft).map_err(io(path, "create"))?;
    let made = fill(&draft).and_then(|()| link(&draft, path));
    // What is left of a draft is garbage that nobody reads; the error above tells more than one from here.
    fs::remove_file(&draft).ok();
    made
}

/// A rename would replace a file that another process made in the meantime; a link does not.
fn link(draft: &Path, path: &Path) -> Result<(), OpenError> {
    match fs::hard_link(draft, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(io(path, "create")(error)),
        _ => {
            let directory = path.parent().unwrap_or(path);
            File::open(directory).and_then(|d| d.sync_all()).map_err(io(directory, "sync"))
        }
    }
}

/// The path with something after its name, as SQLite names the files beside a database.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Names the file and what was tried in an I/O error.
pub(super) fn io(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, doing, source }
}
