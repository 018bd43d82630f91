//! Manifests from files, directories and standard input, as `check` and `explain` take them.
//!
//! Every document keeps its file and line, and every fault is said of them. Nothing is skipped silently: what
//! cannot be read is a fault. Never talks to a cluster or a registry.

mod files;
pub mod records;
pub mod tree;

use std::fmt;
use std::sync::Arc;

use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Options};

pub use self::files::read;
use self::tree::Node;

/// One object of a manifest.
#[derive(Debug)]
pub struct Manifest {
    /// As it was named on the command line, or `<stdin>`.
    pub file: Arc<str>,
    pub api_version: String,
    pub kind: String,
    pub root: Node,
}

impl Manifest {
    /// The line on which the object starts, counted from 1.
    pub fn line(&self) -> u64 {
        self.root.line
    }

    /// A string of the object's metadata; `None` where it is absent or empty.
    ///
    /// # Errors
    /// The fault, where it is not a string.
    pub fn metadata(&self, field: &str) -> Result<Option<&str>, Fault> {
        let Some(node) = self.root.get("metadata").and_then(|m| m.get(field)) else { return Ok(None) };
        match node.text() {
            Some(text) => Ok(Some(text).filter(|t| !t.is_empty())),
            None if node.is_null() => Ok(None),
            None => Err(self.fault(&format!("metadata.{field}"), "it must be a string")),
        }
    }

    /// A fault of one field.
    pub fn fault(&self, field: &str, message: impl fmt::Display) -> Fault {
        let message = format!("{field}: {message}");
        Fault { file: self.file.clone(), line: Some(self.root.line_at(field)), message }
    }

    /// A fault of the whole object.
    pub fn fault_of_all(&self, message: impl fmt::Display) -> Fault {
        Fault { file: self.file.clone(), line: Some(self.line()), message: message.to_string() }
    }
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{}{message}", Line(*line))]
pub struct Fault {
    pub file: Arc<str>,
    /// Counted from 1; `None` where the file as a whole is at fault.
    pub line: Option<u64>,
    pub message: String,
}

struct Line(Option<u64>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.0 { write!(f, "{line}: ") } else { f.write_str(" ") }
    }
}

/// Every fault that was found, so that all can be mended in one go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// The value, where there is no fault.
    ///
    /// # Errors
    /// The faults, where there are any.
    pub fn none_or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for Faults {
    /// One fault a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Reads the documents of one file; the first one that is not YAML ends it.
pub fn parse(file: &Arc<str>, bytes: &[u8], manifests: &mut Vec<Manifest>, faults: &mut Faults) {
    if let Err(error) = std::str::from_utf8(bytes) {
        let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
        let message = "it is not UTF-8".to_owned();
        faults.0.push(Fault { file: file.clone(), line: Some(line as u64), message });
        return;
    }
    let mut reader = bytes;
    for document in serde_saphyr::read_with_options::<_, Node>(&mut reader, options()) {
        match document {
            Ok(root) => unroll(file, root, None, manifests, faults),
            Err(error) => {
                faults.0.push(Fault {
                    file: file.clone(),
                    line: error.location().map(|at| at.line().max(1)),
                    message: sentence(&error),
                });
                return;
            }
        }
    }
}

/// Adds a document, or what is in it where it is a list.
fn unroll(
    file: &Arc<str>,
    mut root: Node,
    inherited: Option<(&str, &str)>,
    manifests: &mut Vec<Manifest>,
    faults: &mut Faults,
) {
    let mut fault = |line, message: &str| {
        faults.0.push(Fault { file: file.clone(), line: Some(line), message: message.to_owned() });
    };
    if !root.is_map() {
        return fault(root.line, "expected a manifest with apiVersion and kind");
    }
    let mut required = |field: &str, inherited: Option<&str>| {
        let text = match root.get(field) {
            Some(node) => node.text().filter(|text| !text.is_empty()),
            None => inherited,
        };
        if text.is_none() {
            fault(root.line_at(field), &format!("{field}: it must be there, as a string"));
        }
        text.map(str::to_owned)
    };
    let api_version = required("apiVersion", inherited.map(|i| i.0));
    let kind = required("kind", inherited.map(|i| i.1));
    let (Some(api_version), Some(kind)) = (api_version, kind) else { return };

    // `PodList` and the like, as the API answers: their items leave out what the list says already.
    let Some(item_kind) = kind.strip_suffix("List").filter(|k| k.is_empty() || root.get("items").is_some())
    else {
        manifests.push(Manifest { file: file.clone(), api_version, kind, root });
        return;
    };
    let line = root.line_at("items");
    match root.take("items").map(Node::into_list) {
        Some(Ok(items)) => {
            let inherited = (!item_kind.is_empty()).then_some((api_version.as_str(), item_kind));
            for item in items {
                unroll(file, item, inherited, manifests, faults);
            }
        }
        Some(Err(node)) if node.is_null() => {}
        _ => fault(line, "items: it must be there, as a list"),
    }
}

/// The parser's bounds, a document: low where aliases multiply, which manifests have few of, and as high as a list of
/// 100,000 records needs where they do not.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: None,
            max_events: 16_000_000,
            max_nodes: 8_000_000,
            max_documents: 1_000_000,
            // A run of commented lines in front of an entry.
            max_buffered_comment_events: 100_000,
            max_recorded_anchor_events: 100_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        // kubectl's reader merges, too.
        merge_keys: MergeKeyPolicy::Merge,
        with_snippet: false,
    }
}

/// The parser's message in words for people, without the position that it repeats.
fn sentence(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error.without_snippet() {
        Error::AliasError { error, .. } => sentence(error),
        Error::DuplicateMappingKey { key, .. } => {
            format!("{}: it is there twice", key.as_deref().unwrap_or("a key"))
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "it is more than is read of one document; do aliases multiply in it?".to_owned()
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias stands within its own anchor".to_owned()
        }
        Error::NonFiniteFloat { value, .. } => format!("{value}: JSON has no such number"),
        error => {
            let text = error.to_string();
            let at = |at: serde_saphyr::Location| format!(" at line {}, column {}", at.line(), at.column());
            let position = error.location().map(at).unwrap_or_default();
            text.strip_suffix(&position).map(str::to_owned).unwrap_or(text)
        }
    }
}
