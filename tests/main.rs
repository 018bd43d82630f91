//! pullgate's tests, one file a subject.
#![allow(clippy::unwrap_used, missing_docs)]

mod image_references;
