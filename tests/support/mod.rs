//! What several subjects share.

pub mod api;
pub mod memory_store;
pub mod records;
