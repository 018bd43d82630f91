//! `/v2` in front of a real registry (goharbor/harbor, src/server/middleware/v2auth and src/server/registry).

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::{Request, State as Of};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Extension, Router};
use serde_json::Value;

use super::Held;
use super::caller::Caller;
use super::refusal::Refusal;
use super::state::State;
use super::tokens::SERVICE;
use crate::doubles::basic::credential;
use crate::doubles::forwarding::{over_tls, parts};

pub fn routes() -> Router<Held> {
    Router::new().route("/v2/", any(serve)).route("/v2/{*path}", any(serve))
}

/// Who comes to `/v2`: somebody with a password, or somebody whose token says what is allowed. It is allowed in a whole
/// project (src/common/security/v2token/context.go).
enum Visitor {
    Caller(Caller),
    Token { subject: String, access: HashMap<String, Vec<String>> },
}

impl Visitor {
    fn of(caller: Caller, request: &Request, state: &State) -> Self {
        let opened = credential(request.headers(), "bearer").and_then(|token| state.signer.open(token));
        let Some(claims) = opened else { return Self::Caller(caller) };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let access = claims["access"].as_array().into_iter().flatten().filter_map(|access| {
            let actions = access["actions"].as_array()?.iter().map(text).collect();
            let name = access["name"].as_str()?.split('/').next()?.to_owned();
            (access["type"] == "repository").then_some((name, actions))
        });
        Self::Token { subject: text(&claims["sub"]), access: access.collect() }
    }

    fn is_known(&self) -> bool {
        match self {
            Self::Caller(caller) => *caller != Caller::Anonymous,
            Self::Token { subject, .. } => !subject.is_empty(),
        }
    }

    fn may(&self, state: &State, project: &str, action: &str) -> bool {
        match self {
            Self::Caller(caller) => state
                .project_named(project)
                .is_some_and(|project| state.may(caller, project, "repository", action)),
            Self::Token { access, .. } => access
                .get(project)
                .is_some_and(|actions| actions.iter().any(|allowed| allowed == action || allowed == "*")),
        }
    }
}

async fn serve(Of(held): Of<Held>, Extension(caller): Extension<Caller>, mut request: Request) -> Response {
    let registry = {
        let state = held.lock().unwrap();
        let visitor = Visitor::of(caller, &request, &state);
        if let Err(refused) = check(&state, &visitor, &request) {
            return refused;
        }
        state.registry.clone()
    };
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    if path == "/v2/" {
        return ([(header::CONTENT_TYPE, "application/json")], "{}").into_response();
    }
    if held.lock().unwrap().options.tls.is_some() {
        over_tls(&mut request);
    }
    let answer = match registry {
        Some(registry) => registry.send(request).await,
        None => StatusCode::NOT_FOUND.into_response(),
    };
    after(&held, &method, &path, answer)
}

/// Refuses whoever may not do this, with a challenge that says how to try again; or says nothing of it.
#[allow(clippy::result_large_err)]
fn check(state: &State, visitor: &Visitor, request: &Request) -> Result<(), Response> {
    let path = request.uri().path();
    let no = |message: &str, challenge: &str| {
        let mut refused = Refusal::unauthorized_to(message).challenged(challenge);
        refused.headers_mut().insert("docker-distribution-api-version", "registry/2.0".parse().unwrap());
        Err(refused)
    };
    let Some((repository, what)) = parts(path) else {
        return match path {
            "/v2/" if visitor.is_known() => Ok(()),
            "/v2/" => no("unauthorized", &challenge(state, request, None)),
            "/v2/_catalog" => match visitor {
                Visitor::Caller(caller) if state.is_sysadmin(caller) => Ok(()),
                _ => no("unauthorized to list catalog", "Basic realm=\"harbor\""),
            },
            _ => Err(Refusal::not_found("path").into_response()),
        };
    };
    let Some((project, _)) = repository.split_once('/') else {
        return Err(Refusal::bad_request(format!("invalid repository name: {repository}")).into_response());
    };
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let (action, scope) = match *request.method() {
        _ if reads => ("pull", "pull"),
        Method::DELETE => ("delete", "delete"),
        _ => ("push", "pull,push"),
    };
    let challenge = challenge(state, request, Some(&format!("repository:{repository}:{scope}")));
    if reads && !request.headers().contains_key(header::AUTHORIZATION) {
        return no("authorize header needed to send HEAD to repository", &challenge);
    }
    let Some(found) = state.project_named(project) else {
        return no(&format!("project {project} not found"), "");
    };
    if !visitor.may(state, project, action) {
        let message = format!("unauthorized to access repository: {repository}, action: {action}");
        return no(&message, &challenge);
    }
    if found.blocked && request.method() == Method::GET && what.starts_with("manifests/") {
        let message = "current image with 12 vulnerabilities cannot be pulled due to configured policy in \
            'Prevent images with vulnerability severity of \"High\" or higher from running.'";
        return Err(Refusal::policy(message).into_response());
    }
    Ok(())
}

/// Who came with an `Authorization` is asked for a password, others are sent for a token.
fn challenge(state: &State, request: &Request, scope: Option<&str>) -> String {
    if request.headers().contains_key(header::AUTHORIZATION) {
        return "Basic realm=\"harbor\"".to_owned();
    }
    let scope = scope.map(|scope| format!(",scope=\"{scope}\"")).unwrap_or_default();
    let url = state.external_url.trim_end_matches('/');
    format!("Bearer realm=\"{url}/service/token\",service=\"{SERVICE}\"{scope}")
}

/// Harbor has tags and repositories in its own database: it says itself what is missing, and notes what is pushed.
fn after(held: &Held, method: &Method, path: &str, answer: Response<Body>) -> Response {
    let Some((repository, what)) = parts(path) else { return answer };
    if answer.status() == StatusCode::NOT_FOUND && [Method::GET, Method::HEAD].contains(method) {
        let missing = match what.strip_prefix("manifests/") {
            Some(digest) if digest.contains(':') => format!("artifact {repository}@{digest}"),
            Some(tag) => format!("artifact {repository}:{tag}"),
            None if what == "tags/list" => format!("repository {repository}"),
            None => return answer,
        };
        return Refusal::not_found(missing).into_response();
    }
    if method == Method::PUT && answer.status() == StatusCode::CREATED && what.starts_with("manifests/") {
        let (project, name) = repository.split_once('/').unwrap();
        let mut state = held.lock().unwrap();
        if let Some(project) = state.projects.values_mut().find(|found| found.name == project) {
            project.repositories.insert(name.to_owned());
        }
    }
    answer
}
