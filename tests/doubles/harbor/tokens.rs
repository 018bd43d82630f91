//! `/service/token` (goharbor/harbor, src/core/service/token/creator.go).

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::Held;
use super::call::Call;
use super::caller::Caller;
use super::refusal::Refusal;
use super::state::State;
use crate::doubles::jwt::scope;

pub const SERVICE: &str = "harbor-registry";

pub fn routes() -> Router<Held> {
    Router::new().route("/service/token", get(token))
}

/// Wrong credentials are refused only where nothing is asked for: with a scope they get what everybody gets. Without a
/// database that is a token for nothing.
async fn token(call: Call) -> Response {
    let pairs: Vec<_> = form_urlencoded::parse(call.uri.query().unwrap_or_default().as_bytes()).collect();
    let service = pairs.iter().find(|(name, _)| name == "service").map_or("", |(_, value)| value);
    if service != SERVICE {
        return (StatusCode::BAD_REQUEST, format!("Unable to handle service: {service}")).into_response();
    }
    let scopes: Vec<_> =
        pairs.iter().filter(|(name, _)| name == "scope").flat_map(|(_, scopes)| scopes.split(' ')).collect();
    if call.caller == Caller::Anonymous && scopes.is_empty() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let state = call.state();
    let asked = scopes.iter().filter(|text| !text.is_empty());
    let Some(access) = asked.map(|text| state.granted(&call.caller, text)).collect::<Option<Vec<_>>>() else {
        return Refusal::internal().into_response();
    };
    let subject = match &call.caller {
        Caller::Anonymous => String::new(),
        Caller::User(name) => name.clone(),
        Caller::Robot(id) => state.full_name(&state.robots[id]),
    };
    let claims = json!({"iss": "harbor-token-issuer", "sub": subject, "aud": SERVICE, "access": access});
    let life = 60 * state.options.token_minutes;
    let token = state.signer.sign(claims, life);
    Json(json!({"token": token, "expires_in": life, "issued_at": Timestamp::now().to_string()}))
        .into_response()
}

impl State {
    /// All that somebody may do to what a scope names, whatever it asks for. A scope that Harbor cannot read has none,
    /// and it fails.
    fn granted(&self, caller: &Caller, text: &str) -> Option<Value> {
        let (kind, name, mut actions) = scope(text).unwrap_or((text, "", Vec::new()));
        match kind {
            _ if self.database_away.is_some() => actions.clear(),
            "repository" => {
                let (project, _) = name.split_once('/')?;
                let project = self.project_named(project);
                actions = ["pull", "push", "delete"].to_vec();
                actions.retain(|action| {
                    project.is_some_and(|project| self.may(caller, project, "repository", action))
                });
                if actions.len() == 3 {
                    actions.push("*");
                }
            }
            "registry" if name != "catalog" => return None,
            "registry" if self.is_sysadmin(caller) => {}
            _ => actions.clear(),
        }
        Some(json!({"type": kind, "name": name, "actions": actions}))
    }
}
