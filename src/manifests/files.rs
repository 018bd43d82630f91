//! From paths to bytes: which files a directory holds, in which order, and how much is read.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Fault, Reading};

/// The largest file that is read, in bytes.
const SIZE_MAX: u64 = 64 * 1024 * 1024;
/// Bytes that are read in all.
const TOTAL_MAX: u64 = 256 * 1024 * 1024;
/// Entries of directories that are looked at below one path.
const ENTRIES_MAX: usize = 200_000;
/// How deep directories may nest.
const DEPTH_MAX: usize = 64;
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// The path that stands for standard input.
const STDIN: &str = "-";

/// Reads manifests from files, directories and `-` for standard input, in the given order; a directory's files in
/// the order of their names. What was readable comes along with the faults of the rest.
pub fn read(paths: &[PathBuf]) -> Reading {
    let mut reading = Reading::default();
    let mut left = TOTAL_MAX;
    for path in paths {
        let read = |r: &Reading| r.manifests.len() + r.faults.0.len() + r.left_out.len();
        let before = read(&reading);
        read_path(path, &mut left, &mut reading);
        // An empty pipe from a command that failed must not read as "all is well".
        if before == read(&reading) {
            reading.fault(path, "there is no manifest in it");
        }
    }
    reading.finish()
}

fn read_path(path: &Path, left: &mut u64, reading: &mut Reading) {
    let files = if path != Path::new(STDIN) && path.is_dir() {
        Walk::of(path, reading)
    } else {
        vec![path.to_owned()]
    };
    for path in files {
        match bytes(&path, *left) {
            Ok(bytes) => {
                *left -= bytes.len() as u64;
                reading.parse(&shown(&path), &bytes);
            }
            Err(error) => reading.fault(&path, &error.to_string()),
        }
    }
}

/// A walk through directories that meets each of them once, wherever symbolic links lead.
struct Walk<'r> {
    /// Where it begins, without links: one that leads to it or above it leads out of what was asked for.
    root: PathBuf,
    files: Vec<PathBuf>,
    /// Links to directories are followed after all else, so that files are named by where they are.
    links: VecDeque<(PathBuf, usize)>,
    /// Device and inode of the directories that were met.
    met: BTreeSet<(u64, u64)>,
    entries: usize,
    reading: &'r mut Reading,
}

impl<'r> Walk<'r> {
    /// The manifest files below a directory. Hidden entries are left out: a mounted ConfigMap keeps its files' older
    /// and newer versions in hidden directories beside the links to them.
    fn of(directory: &Path, reading: &'r mut Reading) -> Vec<PathBuf> {
        let mut walk = Self {
            root: fs::canonicalize(directory).unwrap_or_default(),
            files: Vec::new(),
            links: VecDeque::from([(directory.to_owned(), 0)]),
            met: BTreeSet::new(),
            entries: 0,
            reading,
        };
        while let Some((directory, depth)) = walk.links.pop_front() {
            walk.enter(&directory, depth);
        }
        walk.files
    }

    fn enter(&mut self, directory: &Path, depth: usize) {
        let mut entries = match self.entries_of(directory, depth) {
            Ok(Some(entries)) => entries,
            Ok(None) => return,
            Err(error) => return self.reading.fault(directory, &error.to_string()),
        };
        entries.sort_unstable();
        for name in entries {
            let path = directory.join(&name);
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                self.enter(&path, depth + 1);
                continue;
            }
            let target = if metadata.is_symlink() { fs::metadata(&path) } else { Ok(metadata) };
            if target.as_ref().is_ok_and(Metadata::is_dir) {
                if fs::canonicalize(&path).is_ok_and(|target| !self.root.starts_with(target)) {
                    self.links.push_back((path, depth + 1));
                }
            } else if is_manifest(&path) {
                match target {
                    // Whoever opens a pipe waits for its other end.
                    Ok(target) if !target.is_file() => self.reading.fault(&path, "it is no regular file"),
                    _ => self.files.push(path),
                }
            }
        }
    }

    /// The names in a directory that was not met yet.
    fn entries_of(&mut self, directory: &Path, depth: usize) -> io::Result<Option<Vec<std::ffi::OsString>>> {
        let metadata = fs::metadata(directory)?;
        if self.entries > ENTRIES_MAX || !self.met.insert((metadata.dev(), metadata.ino())) {
            return Ok(None);
        }
        if depth > DEPTH_MAX {
            return Err(io::Error::other(format!("directories nest deeper than {DEPTH_MAX}")));
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(io::Error::other(format!(
                    "there are more than {ENTRIES_MAX} entries up to here"
                )));
            }
            names.push(name);
        }
        Ok(Some(names))
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// What a file holds, where it is not over its own limit nor over what is left of all files'.
fn bytes(path: &Path, left: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = SIZE_MAX.min(left);
    if path == Path::new(STDIN) {
        io::stdin().lock().take(limit + 1).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > limit {
        let message = if limit == SIZE_MAX {
            format!("it is over {} MiB, the most that is read", SIZE_MAX / 1024 / 1024)
        } else {
            format!("it is not read, since all files together are over {} MiB", TOTAL_MAX / 1024 / 1024)
        };
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

fn shown(path: &Path) -> Arc<str> {
    if path == Path::new(STDIN) { "<stdin>".into() } else { path.to_string_lossy().into() }
}

impl Reading {
    fn fault(&mut self, path: &Path, message: &str) {
        self.faults.0.push(Fault { file: shown(path), line: None, message: message.to_owned() });
    }
}
