//! pullgate's tests, one file a subject.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

mod decision_properties;
mod decisions;
mod domain_purity;
mod https;
mod image_references;
mod pod_schema;
mod tls;
mod webhooks;
