//! What replicas settle among themselves.

pub mod lease;
pub mod namespaces;
