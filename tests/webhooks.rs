//! The admission webhooks, request in and answer out, without sockets.

mod bad_input;
mod hostile_input;
mod kinds;
mod pods;
mod properties;
mod recordings;
mod updates;
