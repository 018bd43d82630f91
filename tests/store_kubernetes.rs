//! What the Kubernetes store makes of an API server's refusals; the rest is in `tests/cluster`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::{Method, Request, Response};
use pullgate::domain::record::Kind;
use pullgate::store::kubernetes::KubernetesStore;
use pullgate::store::{CredentialChange, Precondition, RecordStore, StoreError};
use pullgate::types::Document;
use serde_json::{Value, json};
use tower::service_fn;

use crate::store_contract::{harbor, secret, workspace};

/// A store at an API server that has the workspace `w` at version 1, and answers every write with this.
fn refusing(code: u16, reason: &str, message: &str) -> KubernetesStore {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    let answer = move |request: Request<kube::client::Body>| {
        let (code, body) = match *request.method() {
            Method::GET => (200, stored()),
            _ => (code, status.clone()),
        };
        let response = Response::builder().status(code).header("content-type", "application/json");
        std::future::ready(response.body(Body::from(body.to_string())))
    };
    KubernetesStore::new(kube::Client::new(service_fn(answer), "default"), "pullgate-system")
}

fn stored() -> Value {
    json!({
        "apiVersion": "pullgate.io/v1alpha1", "kind": "Workspace",
        "metadata": {"name": "w", "resourceVersion": "1", "uid": "u"}, "spec": workspace("w", &["w-prod"]).spec,
    })
}

/// What becomes of making, changing and removing the workspace.
async fn outcomes(store: &KubernetesStore) -> [StoreError; 3] {
    let at = || Precondition::Version("1".to_owned());
    let put = async |document, precondition| {
        store.put(document, precondition, CredentialChange::Keep).await.unwrap_err()
    };
    [
        put(workspace("w", &[]), Precondition::Absent).await,
        put(workspace("w", &[]), at()).await,
        store.delete(Kind::Workspace, "w", "1").await.unwrap_err(),
    ]
}

#[tokio::test]
async fn a_rule_that_the_cluster_keeps_is_told_in_its_words() {
    let rule =
        r#"Workspace.pullgate.io "w" is invalid: spec.namespaces: Too many: 7: must have at most 5 items"#;
    let denial = r#"admission webhook "records.pullgate.io" denied the request: spec.namespaces[0]: taken"#;
    let policy = r#"workspaces.pullgate.io "w" is forbidden: ValidatingAdmissionPolicy 'naming' with binding 'all' denied request: no"#;
    let silent = r#"admission webhook "naming.example.com" denied the request without explanation"#;
    for (code, reason, message) in [
        (422, "Invalid", rule),
        (422, "Invalid", denial),
        // A webhook may choose any code, also one that says something else of a record.
        (400, "", denial),
        (403, "Forbidden", denial),
        (404, "NotFound", denial),
        (409, "Conflict", denial),
        (400, "", silent),
        (403, "Forbidden", policy),
        (413, "RequestEntityTooLarge", policy),
    ] {
        for error in outcomes(&refusing(code, reason, message)).await {
            let StoreError::Refused { kind, name, text } = &error else { panic!("{code} {error:?}") };
            assert_eq!((*kind, name.as_str(), text.as_str()), (Kind::Workspace, "w", message));
            assert_eq!(error.to_string(), format!("Workspace w was refused: {message}"));
        }
    }
}

#[tokio::test]
async fn what_is_not_said_of_the_record_is_the_stores_failure() {
    let right = r#"workspaces.pullgate.io "w" is forbidden: User "system:serviceaccount:pullgate-system:pullgate" cannot update resource "workspaces" in API group "pullgate.io" at the cluster scope"#;
    let away = r#"Internal error occurred: failed calling webhook "records.pullgate.io": connection refused"#;
    for error in outcomes(&refusing(403, "Forbidden", right)).await {
        assert!(matches!(&error, StoreError::Forbidden(text) if text.contains(right)), "{error:?}");
    }
    let quota = r#"secrets "registry-corp" is forbidden: exceeded quota: small, requested: secrets=1, used: secrets=9"#;
    for (code, message) in [(403, quota), (500, "etcdserver: mvcc: database space exceeded"), (507, "")] {
        for error in outcomes(&refusing(code, "", message)).await {
            assert!(matches!(&error, StoreError::Full(text) if text.contains(message)), "{error:?}");
        }
    }
    for error in
        outcomes(&refusing(429, "TooManyRequests", "too many requests, please try again later")).await
    {
        assert!(matches!(&error, StoreError::Busy(text) if text.contains("too many requests")), "{error:?}");
    }
    for (code, reason, message) in [
        (500, "InternalError", away),
        (503, "", r#"admission webhook "naming.example.com" denied the request: try again later"#),
        // Of something on the way to the API server.
        (422, "", "<html>"),
    ] {
        for error in outcomes(&refusing(code, reason, message)).await {
            let StoreError::Unavailable(text) = &error else { panic!("{code} {error:?}") };
            assert!(text.contains(message), "{text}");
        }
    }
    let [made, changed, removed] = outcomes(&refusing(409, "Conflict", "the object has been modified")).await;
    assert!(matches!(made, StoreError::Exists { .. }), "{made:?}");
    assert!(matches!(changed, StoreError::Changed { .. }), "{changed:?}");
    assert!(matches!(removed, StoreError::Changed { .. }), "{removed:?}");
}

/// No caller wrote it, and none could mend it.
#[tokio::test]
async fn a_refused_status_is_the_stores_failure() {
    let store = refusing(422, "Invalid", r#"Workspace.pullgate.io "w" is invalid: status.members: Required"#);
    let document = Document { status: json!({"conditions": []}), ..workspace("w", &["w-prod"]) };
    let at = Precondition::Version("1".to_owned());
    let error = store.put(document, at, CredentialChange::Keep).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("status.members")), "{error:?}");
}

/// A Secret of somebody else's where the credential would be kept: the record is not written first.
#[tokio::test]
async fn a_secret_that_belongs_to_something_else_is_said_before_anything_is_written() {
    let written = Arc::new(AtomicBool::new(false));
    let noted = written.clone();
    let answer = move |request: Request<kube::client::Body>| {
        let secret = request.uri().path().ends_with("/namespaces/pullgate-system/secrets/corp");
        noted.fetch_or(*request.method() != Method::GET || !secret, Ordering::SeqCst);
        let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "corp"}});
        let response = Response::builder().status(200).header("content-type", "application/json");
        std::future::ready(response.body(Body::from(body.to_string())))
    };
    let store = KubernetesStore::new(kube::Client::new(service_fn(answer), "default"), "pullgate-system");
    for precondition in [Precondition::Absent, Precondition::Version("1".to_owned())] {
        let set = CredentialChange::Set(secret("u", "p", "a"));
        let error = store.put(harbor("corp", "a.example"), precondition, set).await.unwrap_err();
        assert!(matches!(&error, StoreError::Taken { secret, .. } if secret == "corp"), "{error:?}");
        assert!(!error.is_failure() && error.to_string().contains("belongs to something else"), "{error}");
    }
    assert!(!written.load(Ordering::SeqCst));
}
