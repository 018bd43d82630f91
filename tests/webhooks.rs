//! The admission webhooks, request in and answer out, without sockets.

mod applied;
mod bad_input;
mod guard;
mod guard_and_api;
mod hostile_input;
mod kinds;
mod pods;
mod properties;
mod pull_secrets;
mod recordings;
mod strangers;
mod updates;
