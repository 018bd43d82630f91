//! The server that gives out the tokens for a docker-registry (distribution, docs/spec/auth/token.md).

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State as Of};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::basic::basic;
use super::forwarding::Forward;
use super::jwt::{Signer, scope};
use super::registry::Registry;
use super::serving::Served;

/// One request for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Who asked, if anybody said who.
    pub user: Option<String>,
    pub scopes: Vec<String>,
}

/// How a token is told.
#[derive(Debug, Clone, Copy)]
pub struct Telling {
    /// `token` or `access_token`.
    pub field: &'static str,
    /// Seconds; left out where absent, which means 60.
    pub expires_in: Option<u64>,
}

struct State {
    signer: Signer,
    /// Passwords, and the beginnings of the repositories that somebody may pull from and push to.
    users: BTreeMap<String, (String, Vec<String>)>,
    /// What everybody may pull.
    public: Vec<String>,
    telling: Telling,
    /// Seconds.
    life: i64,
    asked: Vec<Asked>,
    registry: Option<Forward>,
}

type Held = Arc<Mutex<State>>;

/// Its address is that of a registry too, once there is one to stand in front of: then the realm is on the registry's
/// own host, and on another one for those who ask the registry itself.
pub struct TokenServer {
    served: Served,
    state: Held,
}

impl Deref for TokenServer {
    type Target = Served;
    fn deref(&self) -> &Served {
        &self.served
    }
}

impl TokenServer {
    pub const SERVICE: &str = "registry of the test";
    pub const ISSUER: &str = "issuer of the test";

    /// Knows nobody yet.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            signer: Signer::new(),
            users: BTreeMap::new(),
            public: Vec::new(),
            telling: Telling { field: "token", expires_in: Some(300) },
            life: 300,
            asked: Vec::new(),
            registry: None,
        }));
        let router = Router::new().route("/token", get(token)).fallback(registry);
        let router = router.with_state(Arc::clone(&state));
        Self { served: Served::start(None, |_| router), state }
    }

    pub fn realm(&self) -> String {
        format!("{}/token", self.url())
    }

    /// What a registry checks the tokens with, PEM.
    pub fn certificate(&self) -> String {
        self.state.lock().unwrap().signer.certificate.clone()
    }

    /// Stands in front of this registry.
    pub fn front(&self, registry: &Registry) {
        self.state.lock().unwrap().registry = Some(Forward::to(&registry.host));
    }

    /// Somebody who may pull and push where a repository's name begins so, and see the catalog if that is everywhere.
    pub fn add_user(&self, name: &str, password: &str, repositories: &[&str]) {
        let repositories = repositories.iter().map(|name| (*name).to_owned()).collect();
        self.state.lock().unwrap().users.insert(name.to_owned(), (password.to_owned(), repositories));
    }

    /// Everybody may pull these.
    pub fn set_public(&self, repositories: &[&str]) {
        self.state.lock().unwrap().public = repositories.iter().map(|name| (*name).to_owned()).collect();
    }

    pub fn tell(&self, telling: Telling) {
        self.state.lock().unwrap().telling = telling;
    }

    /// How many seconds tokens last from now on, whatever is told of it. A registry is content with one that ended less
    /// than a minute ago (registry/auth/token/token.go, `Leeway`).
    pub fn set_life(&self, seconds: i64) {
        self.state.lock().unwrap().life = seconds;
    }

    /// Everybody who asked for a token.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }
}

async fn registry(Of(state): Of<Held>, request: Request) -> Response {
    let registry = state.lock().unwrap().registry.clone();
    match registry {
        Some(registry) => registry.send_as_is(request).await,
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Whoever asks gets a token, unless the password is wrong. It holds what is allowed of what was asked for.
async fn token(Of(state): Of<Held>, headers: HeaderMap, uri: Uri) -> Response {
    let pairs: Vec<_> = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).collect();
    let scopes: Vec<_> = pairs
        .iter()
        .filter(|(name, _)| name == "scope")
        .flat_map(|(_, scopes)| scopes.split(' ').map(str::to_owned))
        .collect();
    let credential = basic(&headers);
    let mut state = state.lock().unwrap();
    let user = credential.as_ref().map(|(user, _)| user.clone());
    state.asked.push(Asked { user: user.clone(), scopes: scopes.clone() });
    if let Some((name, password)) = &credential
        && state.users.get(name).is_none_or(|(right, _)| right != password)
    {
        return (StatusCode::UNAUTHORIZED, Json(json!({"details": "incorrect username or password"})))
            .into_response();
    }
    let access: Vec<Value> = scopes.iter().filter_map(|text| state.granted(user.as_deref(), text)).collect();
    let service = pairs.iter().find(|(name, _)| name == "service").map(|(_, value)| value.as_ref());
    let claims = json!({"iss": TokenServer::ISSUER, "sub": user.unwrap_or_default(), "aud": service,
        "jti": state.asked.len().to_string(), "access": access});
    let Telling { field, expires_in } = state.telling;
    let mut told = json!({field: state.signer.sign(claims, state.life)});
    if let Some(seconds) = expires_in {
        told["expires_in"] = json!(seconds);
    }
    Json(told).into_response()
}

impl State {
    fn granted(&self, user: Option<&str>, text: &str) -> Option<Value> {
        let (kind, name, actions) = scope(text)?;
        let own =
            user.and_then(|user| self.users.get(user)).map(|(_, own)| own.as_slice()).unwrap_or_default();
        let allowed = match kind {
            "repository" => actions
                .into_iter()
                .filter(|action| {
                    let public = *action == "pull" && self.public.iter().any(|public| public == name);
                    public || own.iter().any(|prefix| name.starts_with(prefix))
                })
                .collect(),
            "registry" if own.iter().any(String::is_empty) => actions,
            _ => Vec::new(),
        };
        Some(json!({"type": kind, "name": name, "actions": allowed}))
    }
}
