//! What runs beside the webhooks.

pub mod leading;
pub mod managed_harbor;
pub mod pull_secrets;
pub mod registries;
pub mod statuses;
pub mod webhook_config;
