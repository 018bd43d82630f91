//! pullgate in front of a real node: pods that run, or do not. `tests/run node` starts control plane, node and
//! registries, and says where they are in `KUBECONFIG`, `PLATFORM_REGISTRY_PORT`, `TENANT_REGISTRY_PORT` and
//! `STATIC_PODS`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../cluster/control_plane.rs"]
#[allow(dead_code)]
mod control_plane;

#[path = "../support/mod.rs"]
#[allow(dead_code)]
mod support;

mod changes;
mod deployments;
mod new_namespaces;
mod pods;
mod pulling;
mod static_pods;
mod unbinding;
mod webhooks;
mod workspace_registry;
mod world;
