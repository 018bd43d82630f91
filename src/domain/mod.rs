//! What pullgate means, without I/O: references, records, the snapshot and the decision.
//!
//! Nothing here may name kube, `k8s_openapi`, axum, reqwest or tokio (`tests/domain_purity.rs` holds this), so
//! every rule can be tested with plain values, no cluster and no clock.

pub mod access;
pub mod canonical_host;
pub mod conflicts;
pub mod decision;
mod hosts;
pub mod image;
mod membership;
mod misread;
pub mod origin;
mod policy;
pub mod pull_secret;
pub mod reason;
pub mod record;
pub mod records;
pub mod shared_hosts;
pub mod snapshot;
pub mod unseen;
