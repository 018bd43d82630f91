//! What replicas settle among themselves.

pub mod lease;
