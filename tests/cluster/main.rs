//! pullgate against a real control plane. `tests/run cluster` starts one and says where it is in `KUBECONFIG`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../doubles/mod.rs"]
#[allow(dead_code)]
mod doubles;

#[path = "../store_contract.rs"]
#[allow(dead_code)]
mod store_contract;

#[path = "../support/mod.rs"]
#[allow(dead_code)]
mod support;

mod api;
mod certificates;
mod control_plane;
mod definitions;
mod events;
mod guard;
mod lease;
mod managed_harbor;
mod pods;
mod pull_secrets;
mod registries;
mod restore;
mod serving;
mod statuses;
mod store;
