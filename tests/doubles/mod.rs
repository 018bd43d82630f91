//! Registries to test against: real ones where Debian has them, and servers that behave like those it does not have.
//!
//! Each runs on a thread of its own, so a test may block, and ends with the test.

pub mod artifactory;
pub mod bait;
pub mod basic;
pub mod certificates;
pub mod faults;
pub mod forwarding;
pub mod harbor;
pub mod journal;
pub mod jwt;
pub mod registry;
pub mod serving;
pub mod token_server;
