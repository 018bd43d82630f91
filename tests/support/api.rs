//! A client of the management API's router, without sockets.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use pullgate::api::auth::Authority;
use pullgate::api::tokens::Tokens;
use pullgate::api::{ApiState, router};
use pullgate::metrics::Metrics;
use pullgate::registry::clients::Clients;
use pullgate::registry::metadata::Metadata;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::memory_store::MemoryStore;

/// Everybody who has a token; the token is `token-NAME`.
const CALLERS: &str = "
tokens:
  - {name: root, role: Admin, reveal: true, sha256: $root}
  - {name: admin, role: Admin, sha256: $admin}
  - {name: wa, role: WorkspaceAdmin, workspaces: [a], sha256: $wa}
  - {name: wb, role: WorkspaceAdmin, workspaces: [b], sha256: $wb}
  - {name: wab, role: WorkspaceAdmin, workspaces: [a, b], sha256: $xab}
  - {name: ea, role: WorkspaceEditor, workspaces: [a], sha256: $ea}
  - {name: va, role: WorkspaceViewer, workspaces: [a], sha256: $va}
";

pub fn sha256(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().fold(String::new(), |hex, b| format!("{hex}{b:02x}"))
}

pub fn tokens() -> Tokens {
    let mut text = CALLERS.to_owned();
    for (mark, name) in [
        ("$root", "root"),
        ("$admin", "admin"),
        ("$wa", "wa"),
        ("$wb", "wb"),
        ("$xab", "wab"),
        ("$ea", "ea"),
        ("$va", "va"),
    ] {
        text = text.replace(mark, &sha256(&format!("token-{name}")));
    }
    Tokens::parse(&text).unwrap()
}

#[derive(Clone)]
pub struct Client {
    pub store: Arc<MemoryStore>,
    router: Router,
    /// Every response, headers and body.
    pub seen: Arc<Mutex<String>>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
    }
    pub fn etag(&self) -> String {
        self.header("etag")
    }
    /// The fields that a problem names.
    pub fn fields(&self) -> Vec<String> {
        let json = self.json();
        let errors = json["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|e| e["field"].as_str().unwrap().to_owned()).collect()
    }
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        if !self.status.is_success() {
            assert_eq!(self.header("content-type"), "application/problem+json");
            assert_eq!(self.json()["status"], status);
        }
        self
    }
    #[track_caller]
    pub fn names(self, field: &str) -> Self {
        assert!(self.fields().iter().any(|f| f == field), "{field} is not in {}", self.text);
        self
    }
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.text.contains(words), "{words:?} is not in {}", self.text);
        self
    }
}

impl Client {
    pub fn new() -> Self {
        Self::with(Authority::Tokens(Arc::new(ArcSwap::from_pointee(tokens()))))
    }

    /// Asks `authority` who calls.
    pub fn with(authority: Authority) -> Self {
        let store = Arc::new(MemoryStore::default());
        store.publish();
        let clients = Arc::new(Clients::new(store.clone(), Arc::new([])));
        let metadata = Arc::new(Metadata::new(clients));
        let state = ApiState::new(store.clone(), store.state.clone(), authority, metadata);
        Self { store, router: router(state, Arc::new(Metrics::new().unwrap())), seen: Arc::default() }
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        writeln!(self.seen.lock().unwrap(), "{:?} {text}", parts.headers).unwrap();
        Reply { status: parts.status, headers: parts.headers, text }
    }

    pub async fn call(
        &self,
        who: &str,
        method: &str,
        path: &str,
        if_match: &str,
        body: Option<&Value>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer token-{who}"));
        if !if_match.is_empty() {
            request = request.header("if-match", if_match);
        }
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string().into()),
            None => request.body(Body::empty()),
        };
        self.send(request.unwrap()).await
    }

    pub async fn get(&self, who: &str, path: &str) -> Reply {
        self.call(who, "GET", path, "", None).await
    }
    pub async fn post(&self, who: &str, path: &str, body: Value) -> Reply {
        self.call(who, "POST", path, "", Some(&body)).await
    }
    pub async fn put(&self, who: &str, path: &str, if_match: &str, body: Value) -> Reply {
        self.call(who, "PUT", path, if_match, Some(&body)).await
    }
    pub async fn delete(&self, who: &str, path: &str, if_match: &str) -> Reply {
        self.call(who, "DELETE", path, if_match, None).await
    }
    pub async fn etag(&self, path: &str) -> String {
        self.get("root", path).await.is(200).etag()
    }

    /// Workspaces a (a-prod, a-test) and b (b-prod), Harbor corp with team-a bound to a, b's own Docker registry.
    pub async fn populated() -> Self {
        Self::new().populate().await
    }

    /// The same, where `authority` knows the callers.
    pub async fn populated_with(authority: Authority) -> Self {
        Self::with(authority).populate().await
    }

    async fn populate(self) -> Self {
        let api = self;
        for (name, namespaces) in [("a", json!(["a-prod", "a-test"])), ("b", json!(["b-prod"]))] {
            let spec = json!({"namespaces": namespaces});
            api.post("root", "/workspaces", json!({"metadata": {"name": name}, "spec": spec})).await.is(201);
        }
        api.post("root", "/registries", harbor("corp", "harbor.example.com")).await.is(201);
        let spec =
            json!({"registry": "corp", "path": "team-a", "visibility": "Private", "workspaces": ["a"]});
        api.post("root", "/registryspaces", json!({"spec": spec})).await.is(201);
        api.post("wb", "/registries", owned("b-quay", "b", "https://quay.example.org")).await.is(201);
        api
    }
}

pub const PASSWORD: &str = "s3cret-Pa55word";

pub fn credential() -> Value {
    json!({"username": "robot$pull", "password": PASSWORD})
}

pub fn harbor(name: &str, host: &str) -> Value {
    json!({
        "apiVersion": "pullgate.io/v1alpha1", "kind": "Registry", "metadata": {"name": name},
        "spec": {"type": "Harbor", "url": format!("https://{host}"), "pullCredentials": "Integration"},
        "credential": credential(),
    })
}

pub fn owned(name: &str, workspace: &str, url: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"type": "Docker", "url": url, "workspace": workspace},
        "credential": credential(),
    })
}
