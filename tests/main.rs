//! pullgate's tests, one file a subject.
#![allow(clippy::unwrap_used)]

mod image_references;
mod store_contract;
mod store_embedded;
mod store_refusals;
