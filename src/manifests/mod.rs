//! Manifests from files, directories and standard input, as `check` and `explain` take them.
//!
//! Every document keeps its file and line, and every fault is said of them. Nothing is skipped silently: what
//! cannot be read is a fault. Never talks to a cluster or a registry.

mod documents;
mod files;
mod foreign;
mod quoted;
pub mod records;
mod text;
pub mod tree;
mod yaml;

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

pub use self::files::read;
use self::foreign::Kustomized;
use self::text::NotText;
use self::tree::Node;
use self::yaml::Unreadable;

/// Faults that are told of one file before the rest of it is left.
const FAULTS_MAX: usize = 1_000;

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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{file}:{}{message}", Line(*line))]
pub struct Fault {
    #[serde(serialize_with = "as_text")]
    pub file: Arc<str>,
    /// Counted from 1; `None` where the file as a whole is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    pub message: String,
}

fn as_text<S: Serializer>(file: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(file)
}

struct Line(Option<u64>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.0 { write!(f, "{line}: ") } else { f.write_str(" ") }
    }
}

/// Every fault that was found, so that all can be mended in one go.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

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

/// What was read of files, in their order.
#[derive(Debug, Default)]
pub struct Reading {
    pub manifests: Vec<Manifest>,
    pub faults: Faults,
    /// What is no object and is not meant to be one, by what it is: nothing is wrong with it.
    pub left_out: Vec<Fault>,
    kustomized: Kustomized,
}

impl Reading {
    /// Reads the documents of one file, each for itself.
    pub fn parse(&mut self, file: &Arc<str>, bytes: &[u8]) {
        let text = match text::decode(bytes) {
            Ok(text) => text,
            Err(NotText { line, message }) => {
                let message = message.to_owned();
                return self.faults.0.push(Fault { file: file.clone(), line: Some(line), message });
            }
        };
        let mut template_told = false;
        let before = self.faults.0.len();
        for part in documents::split(&text) {
            if self.faults.0.len() - before > FAULTS_MAX {
                return self.faults.0.push(too_many(file, part.lines_before + 1));
            }
            if part.text.trim().is_empty() {
                continue;
            }
            let (roots, unreadable) = yaml::read(&part);
            for root in roots {
                self.add(file, root);
            }
            if let Some(Unreadable { line, message, template }) = unreadable
                && !(template && template_told)
            {
                template_told |= template;
                self.faults.0.push(Fault { file: file.clone(), line: Some(line), message });
            }
        }
    }

    fn add(&mut self, file: &Arc<str>, root: Node) {
        if let Some(message) = foreign::recognise(file, &root) {
            self.kustomized.note(file, &root);
            self.left_out.push(Fault { file: file.clone(), line: Some(root.line), message });
        } else {
            unroll(file, root, None, &mut self.manifests, &mut self.faults);
        }
    }

    /// Leaves out what others named as no objects of their own, once all is read.
    fn finish(mut self) -> Self {
        let kustomized = std::mem::take(&mut self.kustomized);
        kustomized.take_out(&mut self);
        self
    }
}

fn too_many(file: &Arc<str>, line: u64) -> Fault {
    let message = format!("it has more than {FAULTS_MAX} faults up to here; the rest is not read");
    Fault { file: file.clone(), line: Some(line), message }
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
    // kubectl passes over documents without content, and so do entries of lists.
    if root.is_null() {
        return;
    }
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
            let before = faults.0.len();
            for item in items {
                if faults.0.len() - before > FAULTS_MAX {
                    return faults.0.push(too_many(file, item.line));
                }
                unroll(file, item, inherited, manifests, faults);
            }
        }
        Some(Err(node)) if node.is_null() => {}
        _ => fault(line, "items: it must be there, as a list"),
    }
}
