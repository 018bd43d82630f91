//! pullgate's tests, one file a subject.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

mod api;
mod api_document;
mod api_questions;
mod api_registries;
mod api_roles;
mod conflicts;
mod decision_properties;
mod decisions;
mod domain_purity;
mod image_references;
