//! Files that hold secrets, in directories of pullgate's own: made anew beside their place and then given the name, so
//! that nothing is ever written through a link and no half of one is ever found; readable by their owner alone.
//!
//! What an operator gives (a Secret's mount, with its links and its modes) is read as it is, and never touched here.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Of a file that its owner alone may read.
const PRIVATE: u32 = 0o600;
/// Of a directory that its owner alone may look into.
const PRIVATE_DIRECTORY: u32 = 0o700;
/// What others than the owner may do.
const OTHERS: u32 = 0o077;

/// What pullgate keeps in a data directory; names that begin so are its own.
const OWN: &[&str] = &[
    "records.db",
    "store.key",
    "tokens.json",
    "admin-token",
    "tls",
    "ca.",
    ".ca.",
    ".tls.",
    // A draft that a crash left.
    ".draft-",
];

/// A file that has no name of its own yet; removed unless it gets one.
pub struct Draft {
    file: NamedTempFile,
    place: PathBuf,
}

impl Draft {
    /// Begins a file of mode 0600 that shall take `place`.
    ///
    /// # Errors
    /// The directory is missing or not writable.
    pub fn of(place: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".draft-").permissions(Permissions::from_mode(PRIVATE));
        Ok(Self { file: builder.tempfile_in(directory(place))?, place: place.to_owned() })
    }

    /// Where it is for now.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Writes its content.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.as_file().sync_all()
    }

    /// Takes its place unless there is a file already: that one stays, whoever made it.
    ///
    /// # Errors
    /// The disk's; and that a link has the name which leads to no file, so that nothing can be there.
    pub fn take_free_place(self) -> io::Result<()> {
        let place = self.place;
        match self.file.persist_noclobber(&place) {
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => refuse_dangling(&place)?,
            Err(error) => return Err(error.error),
            Ok(_) => {}
        }
        sync_directory(&place)
    }

    /// Takes its place from whatever has it; of a link, the link.
    ///
    /// # Errors
    /// The disk's.
    pub fn replace(self) -> io::Result<()> {
        self.file.persist(&self.place).map_err(|error| error.error)?;
        sync_directory(&self.place)
    }
}

/// Makes a file of mode 0600, over whatever has its name.
///
/// # Errors
/// The disk's.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = Draft::of(path)?;
    draft.write(bytes)?;
    draft.replace()
}

/// Makes a file under a name that only its maker uses; what is left there of an earlier attempt goes first.
///
/// # Errors
/// The disk's.
pub fn stage(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whether a file is there.
///
/// # Errors
/// It cannot be looked at; and that a link has the name which leads to no file: to make one would write through it.
pub fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    refuse_dangling(path).map(|()| true)
}

fn refuse_dangling(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    Err(io::Error::other(
        "it is a symbolic link to a file that is not there; remove it, or restore what it leads to",
    ))
}

/// Closes a file of pullgate's own to everybody but its owner, with a word in the log where it was open. One that is not
/// there is no fault, and a link is somebody's arrangement, which stays. Never opens it: closing it again would let go of
/// every lock that this process has on it.
///
/// # Errors
/// It is open to others and cannot be closed.
pub fn close_to_others(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let mode = found.permissions().mode() & 0o7777;
    if !found.is_file() || mode & OTHERS == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)).map_err(|error| {
        let cause =
            format!("others can use it (mode {mode:04o}), which cannot be changed: {error}; chmod 600 it");
        io::Error::new(error.kind(), cause)
    })?;
    let mode = format!("{mode:04o}");
    tracing::warn!(path = %path.display(), mode, "a file with secrets was open to others and no longer is; replace what they may have read");
    Ok(())
}

/// Makes a directory that its owner alone may look into, or closes one that is there and holds nothing but pullgate's own
/// files. One with files of somebody else is left, with a warning, and so is one that is not ours to change: the
/// files in it are closed in any case.
///
/// # Errors
/// There is none and it cannot be made.
pub fn directory_of_our_own(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(path)?;
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let is_own = |name: &OsStr| OWN.iter().any(|own| name.as_encoded_bytes().starts_with(own.as_bytes()));
    let shared = fs::read_dir(path)?.filter_map(Result::ok).any(|entry| !is_own(&entry.file_name()));
    let closed =
        if shared { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(PRIVATE_DIRECTORY)) };
    let (path, mode) = (path.display(), format!("{mode:04o}"));
    match closed {
        Ok(()) if shared => {
            tracing::warn!(%path, mode, "the directory is open to others, and holds what is not pullgate's; give pullgate one of its own, of mode 0700");
        }
        Ok(()) => tracing::warn!(%path, mode, "the directory was open to others; its mode is 0700 now"),
        // A volume that the kubelet made for the pod's group belongs to root.
        Err(error) => {
            tracing::debug!(%path, mode, %error, "the directory is open to others, and not ours to close");
        }
    }
    Ok(())
}

/// Where a file's name is kept.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a name that was just given durable.
///
/// # Errors
/// The disk's.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}
