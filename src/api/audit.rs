//! The audit log: one line for every write and every reveal, refused ones included, target `audit`.

use axum::http::StatusCode;

use super::auth::Caller;

/// What an operation does, and to what kind of thing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act {
    pub action: &'static str,
    pub kind: &'static str,
}

/// Writes the line. Names come from callers; the formatters of `tracing` escape strings.
pub(super) fn log(caller: Option<&Caller>, act: Act, name: &str, version: &str, status: StatusCode) {
    let outcome = match status {
        s if s.is_success() => "done",
        StatusCode::UNAUTHORIZED => "unauthenticated",
        StatusCode::FORBIDDEN => "forbidden",
        s if s.is_client_error() => "refused",
        _ => "failed",
    };
    tracing::info!(
        target: "audit",
        who = caller.map_or("-", |c| c.name.as_str()),
        role = caller.map_or("-", |c| c.role()),
        action = act.action,
        kind = act.kind,
        name,
        version,
        outcome,
        status = status.as_u16(),
    );
}
