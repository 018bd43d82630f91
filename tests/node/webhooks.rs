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

/// Registers what the chart does for pods and workload templates, each webhook with its rules and conditions. The API server
/// follows within a moment.
pub async fn register(client: &Client, endpoint: &Endpoint) {
    let apply = PatchParams::apply("pullgate-test").force();
    let mutating = configuration("MutatingWebhookConfiguration", endpoint);
    let validating = configuration("ValidatingWebhookConfiguration", endpoint);
    mutating_configurations(client).patch(NAME, &apply, &Patch::Apply(&mutating)).await.unwrap();
    validating_configurations(client).patch(NAME, &apply, &Patch::Apply(&validating)).await.unwrap();
}

/// A configuration of `deploy/install.yaml` whose webhooks are called by URL. Those of pullgate's own records are left out,
/// which these tests write without them.
fn configuration(kind: &str, endpoint: &Endpoint) -> Value {
    let installed = include_str!("../../deploy/install.yaml");
    let objects: Vec<Value> = serde_saphyr::from_multiple(installed).unwrap();
    let mut found = objects.into_iter().find(|object| object["kind"] == kind).unwrap();
    let webhooks = found["webhooks"].as_array_mut().unwrap();
    webhooks.retain_mut(|webhook| {
        let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap().to_owned();
        webhook["clientConfig"] = json!({
            "url": format!("{}{path}", endpoint.url),
            "caBundle": BASE64_STANDARD.encode(&endpoint.ca),
        });
        // These tests run beside builds.
        webhook["timeoutSeconds"] = json!(10);
        path != "/guard"
    });
    found
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
