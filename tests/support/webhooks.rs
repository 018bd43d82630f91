//! The webhooks as the API server sees them: a review in, and an answer that keeps the rules of every answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use pullgate::admission::handlers::{Admission, router};
use pullgate::admission::record_webhook::{self, RecordWebhook};
use pullgate::domain::records::Records;
use pullgate::domain::snapshot::{Settings, Snapshot};
use pullgate::metrics::Metrics;
use pullgate::state::State;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::records::{records, registry, space, workspace};

pub const MUTATE: &str = "/mutate";
pub const VALIDATE: &str = "/validate";
pub const GUARD: &str = "/guard";
/// The namespace of the recordings.
pub const NAMESPACE: &str = "team-a-prod";

/// Images as they stand in the world of [`tenants`], seen from [`NAMESPACE`].
pub const OWN: &str = "harbor.example.com/team-a/web:1.8.2";
pub const FOREIGN: &str = "harbor.example.com/team-b/secret:1";
pub const PUBLIC: &str = "harbor.example.com/library/base:1";
pub const UNMANAGED: &str = "docker.io/envoyproxy/envoy:v1.31.0";

/// A Harbor whose space `team-a` is bound to workspace `a` of [`NAMESPACE`], `team-b` to another, and whose spaces
/// `library` and `shared` are public.
pub fn tenants() -> Records {
    records([
        registry("corp").into(),
        space("corp", "team-a").bound(&["a"]).into(),
        space("corp", "team-b").bound(&["b"]).into(),
        space("corp", "library").public().into(),
        space("corp", "shared").public().into(),
        workspace("a", &[NAMESPACE]).into(),
        workspace("b", &["team-b-prod"]).into(),
    ])
}

/// The webhooks over a fixed snapshot.
#[derive(Debug)]
pub struct Webhooks {
    router: Router,
    pub metrics: Arc<Metrics>,
    runtime: tokio::runtime::Runtime,
}

/// What came back, already held against what every answer must keep.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Webhooks {
    pub fn new(records: &Records) -> Self {
        Self::with(records, &Settings::default())
    }

    pub fn with(records: &Records, settings: &Settings) -> Self {
        let (router, metrics) = routes(records, settings);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { router, metrics, runtime }
    }

    pub fn mutate(&self, review: &Value) -> Answer {
        self.ask(MUTATE, review)
    }

    pub fn validate(&self, review: &Value) -> Answer {
        self.ask(VALIDATE, review)
    }

    /// Sends a review and holds the answer's uid against it.
    pub fn ask(&self, path: &str, review: &Value) -> Answer {
        let answer = self.post(path, review.to_string());
        if answer.status.is_success() {
            assert_eq!(answer.body["response"]["uid"], review["request"]["uid"], "the uid is echoed");
        }
        answer
    }

    /// Sends anything.
    pub fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(Request::post(format!("{path}?timeout=10s")).body(body.into()).unwrap())
    }

    pub fn send(&self, request: Request<Body>) -> Answer {
        let path = request.uri().path().to_owned();
        let known = request.method() == Method::POST && [MUTATE, VALIDATE, GUARD].contains(&&*path);
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (status, headers) = (response.status(), response.headers().clone());
            let bytes = to_bytes(response.into_body(), 8 * 1024 * 1024).await.unwrap();
            assert!(!headers.contains_key(header::LOCATION), "the API server would follow it");
            if !known {
                return Answer { status, body: Value::Null };
            }
            assert_eq!(headers[header::CONTENT_TYPE], "application/json", "{status} {bytes:?}");
            let answer = Answer { status, body: serde_json::from_slice(&bytes).unwrap() };
            answer.keeps_the_rules(&path);
            answer
        })
    }
}

/// The routes that a listener serves, over a fixed snapshot.
pub fn routes(records: &Records, settings: &Settings) -> (Router, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let state = State::of(Snapshot::build(records, settings));
    let admission = Admission::new(state.clone(), metrics.clone());
    // What is fixed never catches up.
    let guard = RecordWebhook::new(admission.clone(), state).with_lag(Duration::ZERO);
    (router(admission).merge(record_webhook::router(guard)), metrics)
}

impl Answer {
    pub fn response(&self) -> &Value {
        &self.body["response"]
    }

    /// Whether the API server would let the request pass.
    pub fn allowed(&self) -> bool {
        self.status.is_success() && self.response()["allowed"] == true
    }

    /// The sentence that a user or a log gets to see.
    pub fn message(&self) -> &str {
        let status = if self.status.is_success() { &self.response()["status"] } else { &self.body };
        status["message"].as_str().unwrap_or_default()
    }

    pub fn warnings(&self) -> Vec<&str> {
        self.response()["warnings"].as_array().into_iter().flatten().map(|w| w.as_str().unwrap()).collect()
    }

    /// The codes of the audit annotation.
    pub fn reasons(&self) -> &str {
        self.response()["auditAnnotations"]["reasons"].as_str().unwrap_or_default()
    }

    /// The patch's operations; none where there is no patch.
    pub fn patch(&self) -> Vec<Value> {
        let Some(text) = self.response()["patch"].as_str() else { return Vec::new() };
        serde_json::from_slice(&BASE64_STANDARD.decode(text).unwrap()).unwrap()
    }

    /// The object of `review` as the patch leaves it.
    pub fn patched(&self, review: &Value) -> Value {
        let mut object = review["request"]["object"].clone();
        let patch: json_patch::Patch = serde_json::from_value(Value::Array(self.patch())).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
        object
    }

    /// The whole response, the patch readable.
    pub fn readable(&self) -> Value {
        let mut body = self.body.clone();
        if body["response"].get("patch").is_some() {
            body["response"]["patch"] = Value::Array(self.patch());
        }
        body
    }

    /// What holds of every answer, whatever was asked.
    fn keeps_the_rules(&self, path: &str) {
        assert!(self.message().len() < 8192, "a message of {} bytes", self.message().len());
        assert!(!self.message().contains(char::is_control), "control characters: {:?}", self.message());
        if !self.status.is_success() {
            assert!(self.status.is_client_error(), "{}", self.status);
            assert_eq!((&self.body["kind"], &self.body["status"]), (&json!("Status"), &json!("Failure")));
            assert_eq!(self.body["code"], self.status.as_u16());
            assert!(!self.message().is_empty());
            return;
        }
        assert_eq!(self.status, StatusCode::OK);
        assert_eq!(self.body["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(self.body["kind"], "AdmissionReview");
        let response = self.response().as_object().unwrap();
        assert!(!response["uid"].as_str().unwrap().is_empty());
        for field in response.keys() {
            let known = ["uid", "allowed", "status", "patchType", "patch", "warnings", "auditAnnotations"];
            assert!(known.contains(&field.as_str()), "{field} is no field of an AdmissionResponse");
        }
        if response["allowed"] == true {
            assert!(!response.contains_key("status"));
        } else {
            assert_eq!(response["allowed"], false);
            assert!(!self.message().is_empty(), "a denial without a reason");
            assert!(!response.contains_key("patch") && !response.contains_key("warnings"));
        }
        let patch_type = response.contains_key("patch").then(|| json!("JSONPatch"));
        assert_eq!(response.get("patchType"), patch_type.as_ref());
        assert!(path == MUTATE || !response.contains_key("patch"), "a validating webhook must not patch");
        for warning in self.warnings() {
            assert!(warning.chars().count() <= 256 && !warning.contains(char::is_control), "{warning:?}");
        }
        assert!(self.warnings().iter().map(|w| w.chars().count()).sum::<usize>() <= 4096);
    }
}

/// A review from the recordings.
pub fn recording(name: &str) -> Value {
    let path = format!("{}/tests/data/reviews/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))).unwrap()
}

/// Every recording by name, in order.
pub fn recordings() -> Vec<(String, Value)> {
    let dir = format!("{}/tests/data/reviews", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), recording(&name))).collect()
}

/// The recorded creation of a bare pod, with these members of its spec instead of the recorded ones; null removes.
pub fn creation(spec: &Value) -> Value {
    let mut review = recording("validate-create-pods-3");
    change_spec(&mut review["request"]["object"], spec);
    review
}

/// [`creation`] of a pod with these members of its spec, and with the reference to the pull secret.
pub fn creation_with_reference(spec: &Value) -> Value {
    let mut review = creation(spec);
    refer(&mut review["request"]["object"]);
    review
}

/// Gives a pod the reference to the pull secret.
pub fn refer(pod: &mut Value) {
    change_spec(pod, &json!({"imagePullSecrets": [{"name": "pullgate-pull"}]}));
}

/// The recorded update of a bare pod, with these members of its spec before and after.
pub fn update(old: &Value, new: &Value) -> Value {
    let mut review = recording("validate-update-pods");
    change_spec(&mut review["request"]["oldObject"], old);
    change_spec(&mut review["request"]["object"], new);
    review
}

/// [`update`] through the subresource `ephemeralcontainers`.
pub fn debugging(old: &Value, new: &Value) -> Value {
    let mut review = update(old, new);
    through_subresource(&mut review, "ephemeralcontainers");
    review
}

/// Sends a review through a subresource.
pub fn through_subresource(review: &mut Value, name: &str) {
    review["request"]["subResource"] = json!(name);
    review["request"]["requestSubResource"] = json!(name);
}

fn change_spec(object: &mut Value, members: &Value) {
    let spec = object["spec"].as_object_mut().unwrap();
    for (name, value) in members.as_object().unwrap() {
        if value.is_null() {
            spec.remove(name)
        } else {
            spec.insert(name.clone(), value.clone())
        };
    }
}

/// A container as the API server completes it.
pub fn container(name: &str, image: &str, policy: &str) -> Value {
    json!({
        "name": name, "image": image, "imagePullPolicy": policy, "resources": {},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    })
}

/// An image volume as the API server completes it.
pub fn image_volume(name: &str, reference: &str, policy: &str) -> Value {
    json!({"name": name, "image": {"reference": reference, "pullPolicy": policy}})
}

/// A record as the API server has it.
pub fn record(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "pullgate.io/v1alpha1", "kind": kind,
        "metadata": {"name": name, "uid": "6bd3ce04-8e10-4b1b-9a5e-7f1b7a1c5c11", "generation": 1,
            "creationTimestamp": "2026-11-22T03:50:36Z", "managedFields": [{"manager": "kubectl"}]},
        "spec": spec,
    })
}

/// What the API server asks about a record: `CREATE`, `UPDATE` or `DELETE`, the object before and after.
pub fn record_review(operation: &str, kind: &str, before: Option<&Value>, after: Option<&Value>) -> Value {
    let name = after.or(before).map(|object| object["metadata"]["name"].clone());
    let gvk = json!({"group": "pullgate.io", "version": "v1alpha1", "kind": kind});
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816", "kind": gvk, "requestKind": gvk,
            "resource": {"group": "pullgate.io", "version": "v1alpha1", "resource": "registries"},
            "name": name, "operation": operation, "dryRun": false,
            "userInfo": {"username": "jane", "groups": ["system:authenticated"]},
            "object": after, "oldObject": before,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    })
}
