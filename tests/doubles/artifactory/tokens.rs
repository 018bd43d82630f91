//! Below `/access/api/v1/tokens`: tokens that are made and taken back.

use axum::body::Bytes;
use axum::extract::{Path, State as Of};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::refusal::Refusal;
use super::who::{Caller, SUBJECT, artifact_scope};
use super::{Held, State};

/// The longest scope.
const SCOPE_MAX: usize = 500;
/// A year in seconds, for tokens that do not say how long they last.
const YEAR: i64 = 365 * 24 * 3600;
/// A token that lasts less, in seconds, is not kept: nobody can take it back (`persistency-threshold`).
const KEPT_FROM: i64 = 3 * 3600;

#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenReq {
    username: Option<String>,
    scope: Option<String>,
    expires_in: Option<i64>,
    description: Option<String>,
}

/// A token that can be taken back.
#[derive(Debug, Clone)]
pub struct Kept {
    pub id: String,
    pub subject: String,
    pub scope: String,
    pub description: String,
}

pub fn routes() -> Router<Held> {
    Router::new()
        .route("/access/api/v1/tokens", post(create).get(list))
        .route("/access/api/v1/tokens/{id}", delete(revoke))
}

#[allow(clippy::result_large_err)]
fn known(state: &mut State, headers: &HeaderMap) -> Result<Caller, Response> {
    match state.directory.caller(headers) {
        Ok(Some(caller)) if state.options.tokens => Ok(caller),
        Ok(Some(_)) => Err(Refusal::new(403, "Token creation is not allowed").coded("FORBIDDEN")),
        Ok(None) => Err(Refusal::unauthorized("Authentication is required").coded("UNAUTHORIZED")),
        Err(refused) if refused.status == StatusCode::FORBIDDEN => Err(refused.coded("FORBIDDEN")),
        Err(refused) => Err(refused.coded("UNAUTHORIZED")),
    }
}

/// Who is no admin gets tokens for itself alone, with all rights that it has.
async fn create(Of(state): Of<Held>, headers: HeaderMap, body: Bytes) -> Response {
    let mut state = state.lock().unwrap();
    let caller = match known(&mut state, &headers) {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    let Ok(wanted) = serde_json::from_slice::<TokenReq>(&body) else {
        return Refusal::new(400, "Failed to parse the request").coded("BAD_REQUEST");
    };
    let subject = wanted.username.unwrap_or_else(|| caller.name.clone());
    let scope = wanted.scope.unwrap_or_else(|| "applied-permissions/user".to_owned());
    let seconds = wanted.expires_in.unwrap_or(YEAR);
    if scope.len() > SCOPE_MAX {
        return Refusal::new(400, format!("Scope is longer than {SCOPE_MAX} characters"))
            .coded("INVALID_SCOPE");
    }
    let of_artifacts = scope.split(' ').all(|scope| artifact_scope(scope).is_some());
    if !of_artifacts && !["applied-permissions/user", "applied-permissions/admin"].contains(&scope.as_str()) {
        return Refusal::new(400, format!("Invalid scope: {scope}")).coded("INVALID_SCOPE");
    }
    let own = subject == caller.name && scope == "applied-permissions/user";
    if !own && !caller.is_admin() {
        return Refusal::forbidden().coded("FORBIDDEN");
    }
    state.made += 1;
    let id = format!("6c2d6e40-9a5e-4f05-8cd6-{:012}", state.made);
    let claims = json!({"sub": format!("{SUBJECT}{subject}"), "scp": scope, "jti": id, "iss": "jfac@01h2v3"});
    let life = if seconds == 0 { 100 * YEAR } else { seconds };
    let token = state.directory.signer.sign(claims, life);
    if life >= KEPT_FROM {
        let description = wanted.description.unwrap_or_default();
        state.kept.push(Kept { id: id.clone(), subject, scope: scope.clone(), description });
    }
    let mut told = json!({"token_id": id, "access_token": token, "scope": scope, "token_type": "Bearer"});
    if seconds != 0 {
        told["expires_in"] = json!(seconds);
    }
    Json(told).into_response()
}

/// The tokens that can still be taken back: all to an administrator, to others their own.
async fn list(Of(state): Of<Held>, headers: HeaderMap) -> Response {
    let mut state = state.lock().unwrap();
    let caller = match known(&mut state, &headers) {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    if !state.options.lists_tokens {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let seen = state.kept.iter().filter(|kept| caller.is_admin() || kept.subject == caller.name);
    let seen = seen.map(|kept| {
        json!({"token_id": kept.id, "subject": format!("{SUBJECT}{}", kept.subject), "refreshable": false,
            "description": kept.description})
    });
    Json(json!({"tokens": seen.collect::<Vec<_>>()})).into_response()
}

async fn revoke(Of(state): Of<Held>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let mut state = state.lock().unwrap();
    let caller = match known(&mut state, &headers) {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    let Some(at) = state.kept.iter().position(|kept| kept.id == id) else {
        return Refusal::new(404, "Token not found").coded("NOT_FOUND");
    };
    if !caller.is_admin() && state.kept[at].subject != caller.name {
        return Refusal::forbidden().coded("FORBIDDEN");
    }
    state.kept.remove(at);
    state.directory.revoked.insert(id);
    StatusCode::OK.into_response()
}
