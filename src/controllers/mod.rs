//! What runs beside the webhooks.

pub mod index;
