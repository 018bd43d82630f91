//! The JSON patch of the mutating webhook: appends a pull secret's name and sets pull policies, nothing else.

use std::fmt::Write;

use super::images::{ImageUse, Place, PullSecrets};
use crate::domain::pull_secret::PULL_SECRET;

/// Bytes that a patch of a few images fits into.
const USUAL_LENGTH: usize = 320;

/// Operations of RFC 6902, as they are collected. All are `add`, which also replaces an existing member.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Patch {
    /// A list without its end; empty where there is nothing to change.
    operations: String,
}

impl Patch {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Appends the reference to pullgate's Secret. The list is never replaced while it holds anything: it carries
    /// the ServiceAccount's secrets.
    pub fn add_pull_secret(&mut self, present: PullSecrets) {
        match present {
            PullSecrets::Present => {}
            PullSecrets::Others => {
                self.add("/spec/imagePullSecrets/-", format_args!(r#"{{"name":"{PULL_SECRET}"}}"#));
            }
            PullSecrets::Empty => {
                self.add("/spec/imagePullSecrets", format_args!(r#"[{{"name":"{PULL_SECRET}"}}]"#));
            }
        }
    }

    /// Sets the pull policy `Always` for one image.
    pub fn set_always(&mut self, image: &ImageUse<'_>) {
        let (list, field) = match image.place {
            Place::InitContainer => ("initContainers", "imagePullPolicy"),
            Place::Container => ("containers", "imagePullPolicy"),
            Place::EphemeralContainer => ("ephemeralContainers", "imagePullPolicy"),
            Place::Volume => ("volumes", "image/pullPolicy"),
        };
        self.add(format_args!("/spec/{list}/{}/{field}", image.index), r#""Always""#);
    }

    /// The patch as JSON. Holds no text of the request, so nothing needs escaping.
    pub fn into_json(mut self) -> String {
        self.operations.push_str(if self.operations.is_empty() { "[]" } else { "]" });
        self.operations
    }

    fn add(&mut self, path: impl std::fmt::Display, value: impl std::fmt::Display) {
        if self.operations.is_empty() {
            self.operations.reserve(USUAL_LENGTH);
        }
        self.operations.push(if self.operations.is_empty() { '[' } else { ',' });
        // Writing to a String cannot fail.
        let _ = write!(self.operations, r#"{{"op":"add","path":"{path}","value":{value}}}"#);
    }
}
