//! What several subjects share.

pub mod records;
pub mod webhooks;
pub mod world;
