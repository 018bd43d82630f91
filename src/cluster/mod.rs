//! What replicas settle among themselves, and how they follow the cluster's objects.

pub mod client;
pub mod events;
pub mod lease;
pub mod named;
pub mod namespaces;
