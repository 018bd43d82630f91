//! The webhooks as the API server calls them: by URL, at the pullgate under test.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

const NAME: &str = "pullgate";

/// Where the API server finds a pullgate.
pub struct Endpoint {
    /// `https://127.0.0.1:PORT`
    pub url: String,
    /// PEM.
    pub ca: String,
}

/// What the API server must trust, of a pullgate with this directory.
pub fn authority(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("data/tls/ca.crt")).unwrap()
}

/// Registers both. The API server follows within a moment.
pub async fn register(client: &Client, endpoint: &Endpoint) {
    let apply = PatchParams::apply("pullgate-test").force();
    let mutating = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [webhook(endpoint, "pods", "mutate", "Ignore", &[
            rule("", &["pods"], &["CREATE"]),
            rule("", &["pods/ephemeralcontainers"], &["UPDATE"]),
        ])],
    });
    let validating = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [
            webhook(endpoint, "pods", "validate", "Fail", &[
                rule("", &["pods"], &["CREATE", "UPDATE"]),
                rule("", &["pods/ephemeralcontainers"], &["UPDATE"]),
            ]),
            webhook(endpoint, "templates", "validate", "Ignore", &[
                rule("apps", &["deployments", "replicasets", "statefulsets", "daemonsets"], &["CREATE", "UPDATE"]),
                rule("batch", &["jobs", "cronjobs"], &["CREATE", "UPDATE"]),
                rule("", &["podtemplates", "replicationcontrollers"], &["CREATE", "UPDATE"]),
            ]),
        ],
    });
    mutating_configurations(client).patch(NAME, &apply, &Patch::Apply(&mutating)).await.unwrap();
    validating_configurations(client).patch(NAME, &apply, &Patch::Apply(&validating)).await.unwrap();
}

/// Removes both, if they are there.
pub async fn remove(client: &Client) {
    let _ = mutating_configurations(client).delete(NAME, &DeleteParams::default()).await;
    let _ = validating_configurations(client).delete(NAME, &DeleteParams::default()).await;
}

fn mutating_configurations(client: &Client) -> Api<MutatingWebhookConfiguration> {
    Api::all(client.clone())
}

fn validating_configurations(client: &Client) -> Api<ValidatingWebhookConfiguration> {
    Api::all(client.clone())
}

fn webhook(endpoint: &Endpoint, subject: &str, path: &str, failure_policy: &str, rules: &[Value]) -> Value {
    json!({
        "name": format!("{subject}.pullgate.io"),
        "clientConfig": {
            "url": format!("{}/{path}", endpoint.url),
            "caBundle": BASE64_STANDARD.encode(&endpoint.ca),
        },
        "rules": rules,
        "failurePolicy": failure_policy,
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 10,
        // By name: labels of a namespace are its tenant's to change.
        "namespaceSelector": {"matchExpressions": [{
            "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "pullgate-system"],
        }]},
    })
}

fn rule(group: &str, resources: &[&str], operations: &[&str]) -> Value {
    json!({
        "apiGroups": [group], "apiVersions": ["v1"], "resources": resources, "operations": operations,
        "scope": "Namespaced",
    })
}
