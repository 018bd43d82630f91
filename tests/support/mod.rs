//! What several subjects share.

pub mod records;
