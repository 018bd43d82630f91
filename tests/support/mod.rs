//! What several subjects share.

pub mod api;
pub mod cli;
pub mod client_ca;
pub mod https_client;
pub mod log;
pub mod memory_store;
pub mod records;
pub mod server;
pub mod waiting;
pub mod webhooks;
