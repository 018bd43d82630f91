//! From paths to bytes: which files a directory holds, in which order, and how large one may be.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Fault, Faults, Manifest, parse};

/// The largest file that is read, in bytes.
const SIZE_MAX: u64 = 64 * 1024 * 1024;
/// How deep directories may nest; ends what a symbolic link to a parent would start.
const DEPTH_MAX: usize = 32;
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// The path that stands for standard input.
const STDIN: &str = "-";

/// Reads manifests from files, directories and `-` for standard input, in the given order; a directory's files in
/// the order of their names. What was readable comes along with the faults of the rest.
pub fn read(paths: &[PathBuf]) -> (Vec<Manifest>, Faults) {
    let (mut manifests, mut faults) = (Vec::new(), Faults::default());
    for path in paths {
        let before = (manifests.len(), faults.0.len());
        read_path(path, &mut manifests, &mut faults);
        // An empty pipe from a command that failed must not read as "all is well".
        if before == (manifests.len(), faults.0.len()) {
            faults.0.push(Fault {
                file: shown(path),
                line: None,
                message: "there is no manifest in it".to_owned(),
            });
        }
    }
    (manifests, faults)
}

fn read_path(path: &Path, manifests: &mut Vec<Manifest>, faults: &mut Faults) {
    let mut fault = |path: &Path, message: String| {
        faults.0.push(Fault { file: shown(path), line: None, message });
    };
    let mut files = Vec::new();
    if path == Path::new(STDIN) {
        files.push(path.to_owned());
    } else if path.is_dir() {
        collect(path, 0, &mut files, &mut fault);
    } else {
        files.push(path.to_owned());
    }
    for path in files {
        match bytes(&path) {
            Ok(bytes) => parse(&shown(&path), &bytes, manifests, faults),
            Err(error) => {
                faults.0.push(Fault { file: shown(&path), line: None, message: error.to_string() });
            }
        }
    }
}

/// The manifest files below a directory. Hidden entries are left out: a mounted ConfigMap keeps its files' older and
/// newer versions in hidden directories beside the links to them.
fn collect(directory: &Path, depth: usize, files: &mut Vec<PathBuf>, fault: &mut impl FnMut(&Path, String)) {
    if depth == DEPTH_MAX {
        return fault(directory, format!("directories nest deeper than {DEPTH_MAX}"));
    }
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => return fault(directory, error.to_string()),
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            collect(&path, depth + 1, files, fault);
        } else if path
            .extension()
            .is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
        {
            files.push(path);
        }
    }
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = SIZE_MAX + 1;
    if path == Path::new(STDIN) {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > SIZE_MAX {
        let message = format!("it is over {} MiB, the most that is read", SIZE_MAX / 1024 / 1024);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

fn shown(path: &Path) -> Arc<str> {
    if path == Path::new(STDIN) { "<stdin>".into() } else { path.to_string_lossy().into() }
}
