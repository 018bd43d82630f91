//! pullgate's tests, one file a subject.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

mod api;
mod api_cluster;
mod api_document;
mod api_questions;
mod api_registries;
mod api_roles;
mod check;
mod check_reading;
mod config;
mod conflicts;
mod decision_properties;
mod decisions;
mod demo;
mod deploy;
mod domain_purity;
mod doubles;
mod faithful;
mod https;
mod image_cli;
mod image_references;
mod managed_harbor;
mod pod_schema;
mod real_registry;
mod registries;
mod scale;
mod serving;
mod store_contract;
mod store_counted;
mod store_embedded;
mod store_kubernetes;
mod store_refusals;
mod tls;
mod webhooks;
