//! What replicas settle among themselves, and how they follow the cluster's objects.

pub mod lease;
pub mod namespaces;
pub mod named;
