//! `/v2` in front of a real registry, by the path: `host/KEY/image`, and for each repository below its own path.

use axum::extract::{Path, Request, State as Of};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::json;

use super::refusal::Refusal;
use super::who::SUBJECT;
use super::{Held, State};
use crate::doubles::forwarding::{over_tls, parts};

/// Seconds that a token of docker's lasts.
const LIFE: i64 = 3600;

pub fn routes() -> Router<Held> {
    Router::new()
        .route("/v2/token", get(token))
        .route("/v2/", any(serve))
        .route("/v2/{*path}", any(serve))
        .route("/artifactory/api/docker/{key}/v2/{*path}", any(serve_one))
}

/// A token with the rights of whoever asks, whatever is asked for.
async fn token(Of(state): Of<Held>, headers: HeaderMap) -> Response {
    let mut state = state.lock().unwrap();
    let caller = match state.directory.caller(&headers) {
        Ok(Some(caller)) => caller,
        Ok(None) => return Refusal::unauthorized("Authentication is required").into_response(),
        Err(refused) => return refused.into_response(),
    };
    let scope = caller.scope();
    let claims = json!({"sub": format!("{SUBJECT}{}", caller.name), "scp": scope, "jti": "docker"});
    let token = state.directory.signer.sign(claims, LIFE);
    Json(json!({"token": token, "expires_in": LIFE})).into_response()
}

/// One repository, whatever docker calls it by.
async fn serve_one(
    held: Of<Held>,
    Path((key, path)): Path<(String, String)>,
    mut request: Request,
) -> Response {
    *request.uri_mut() = format!("/v2/{key}/{path}").parse().unwrap();
    serve(held, request).await
}

async fn serve(Of(held): Of<Held>, mut request: Request) -> Response {
    let registry = {
        let mut state = held.lock().unwrap();
        match check(&mut state, &request) {
            Ok(()) => state.registry.clone(),
            Err(refused) => return refused,
        }
    };
    if held.lock().unwrap().options.tls.is_some() {
        over_tls(&mut request);
    }
    if request.uri().path() == "/v2/" {
        return Json(json!({})).into_response();
    }
    match registry {
        Some(registry) => registry.send(request).await,
        None => {
            Refusal::new(404, "The named manifest is not known to the registry.").coded("MANIFEST_UNKNOWN")
        }
    }
}

#[allow(clippy::result_large_err)]
fn check(state: &mut State, request: &Request) -> Result<(), Response> {
    let scoped = parts(request.uri().path());
    let caller = match state.directory.caller(request.headers()) {
        Ok(Some(caller)) => caller,
        Err(refused) if refused.status == 403 => return Err(refused.coded("DENIED")),
        _ => {
            let scope =
                scoped.map(|(name, _)| format!(",scope=\"repository:{name}:pull\"")).unwrap_or_default();
            let host = state.url.split("://").last().unwrap();
            let challenge = format!("Bearer realm=\"{}/v2/token\",service=\"{host}\"{scope}", state.url);
            let mut refused =
                Refusal::unauthorized("The access controller was unable to authenticate the client.")
                    .coded("UNAUTHORIZED");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
            return Err(refused);
        }
    };
    let Some((name, _)) = scoped else {
        let everything = request.uri().path() != "/v2/";
        return if everything && !caller.is_admin() { Err(denied()) } else { Ok(()) };
    };
    let key = name.split('/').next().unwrap();
    if !state.repositories.contains_key(key) {
        return Err(Refusal::new(404, "Repository name not known to registry.").coded("NAME_UNKNOWN"));
    }
    let write = ![Method::GET, Method::HEAD].contains(request.method());
    if state.directory.may(&caller, key, write) { Ok(()) } else { Err(denied()) }
}

fn denied() -> Response {
    Refusal::new(403, "The client does not have permission.").coded("DENIED")
}
