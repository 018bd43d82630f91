//! What several subjects share.

pub mod cli;
pub mod records;
pub mod webhooks;
pub mod world;
