//! The domain knows no I/O.

use std::path::{Path, PathBuf};

fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_of(&path) } else { vec![path] }).collect()
}

#[test]
fn the_domain_names_no_library_that_does_io() {
    let domain = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain");
    let mut files = 0;
    for path in files_of(&domain) {
        let text = std::fs::read_to_string(&path).unwrap();
        files += 1;
        for line in text.lines().filter(|l| !l.trim_start().starts_with("//")) {
            for library in [
                "kube",
                "k8s_openapi",
                "axum",
                "reqwest",
                "tokio",
                "rusqlite",
                "std::fs",
                "std::net",
                "SystemTime",
            ] {
                let names = |at: usize| {
                    let word = |c: char| c.is_alphanumeric() || c == '_';
                    !line[..at].ends_with(word) && !line[at + library.len()..].starts_with(word)
                };
                let found = line.match_indices(library).any(|(at, _)| names(at)) && !line.contains('"');
                assert!(!found, "{} names {library}: {line}", path.display());
            }
        }
    }
    assert!(files >= 8, "the domain has moved");
}
