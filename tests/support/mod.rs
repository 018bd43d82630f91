//! What several subjects share.

pub mod records;
pub mod world;
