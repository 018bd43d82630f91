//! pullgate's tests, one file a subject.
#![allow(clippy::unwrap_used)]

mod image_references;
mod tls;
