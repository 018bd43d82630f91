//! pullgate where things break, at the size of a large platform, and against the clock. `tests/run faults` says in
//! `CONTROL_PLANE` where the programs of a control plane are; each test starts one of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../cluster/control_plane.rs"]
#[allow(dead_code)]
mod control_plane;

#[path = "../support/mod.rs"]
#[allow(dead_code)]
mod support;

mod api_server;
mod attacks;
mod balancer;
mod latency;
mod mutual_tls;
mod plane;
mod prometheus;
mod replica;
mod replicas;
mod size;
mod webhooks;
