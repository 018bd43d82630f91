//! The control plane that `tests/run cluster` started.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, Config};
use pullgate::domain::record::Kind;
use pullgate::tls::{Certificate, CertificateSource};
use pullgate::types::crd;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::support::server::{READY_WITHIN, Server};

/// Name of the webhooks that a test may register.
pub const WEBHOOKS: &str = "pullgate-test";

/// Tests that share cluster-scoped records take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// Waits for the other tests, and finds no record and no credential.
pub async fn turn() -> (MutexGuard<'static, ()>, Client) {
    let turn = TURN.lock().await;
    let client = client().await;
    // What a test that failed left behind would hold up every other.
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let _ = webhooks.delete(WEBHOOKS, &DeleteParams::default()).await;
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let _ = webhooks.delete(WEBHOOKS, &DeleteParams::default()).await;
    (turn, client)
}

pub async fn client() -> Client {
    // Another crate may have chosen already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = Config::infer().await.expect("no KUBECONFIG; start this through tests/run cluster");
    Client::try_from(config).unwrap()
}

/// Installs the definitions and waits until they are served.
pub async fn install(client: &Client, definitions: Vec<Value>) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions {
        let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
        let apply = PatchParams::apply("pullgate-test").force();
        api.patch(&name, &apply, &Patch::Apply(&definition)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let established = kube::runtime::wait::conditions::is_crd_established();
        let waited = kube::runtime::wait::await_condition(api.clone(), &name, established);
        tokio::time::timeout(std::time::Duration::from_secs(20), waited).await.unwrap().unwrap();
    }
}

/// The definitions with room for any text, for tests of what is stored rather than of what it means.
pub fn permissive() -> Vec<Value> {
    let mut definitions = crd::definitions();
    for definition in &mut definitions {
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({
            "type": "object",
            "properties": {
                "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
        });
    }
    definitions
}

/// Removes the definitions, and every record with them.
pub async fn uninstall(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let ours = |name: &str| name.ends_with(".pullgate.io");
    let listed = api.list_metadata(&ListParams::default()).await.unwrap();
    let names: BTreeMap<_, _> =
        listed.into_iter().filter_map(|d| Some((d.metadata.name?, d.metadata.uid?))).collect();
    for (name, uid) in names.into_iter().filter(|(name, _)| ours(name)) {
        api.delete(&name, &DeleteParams::default()).await.unwrap();
        let gone = kube::runtime::conditions::is_deleted(&uid);
        let waited = kube::runtime::wait::await_condition(api.clone(), &name, gone);
        tokio::time::timeout(std::time::Duration::from_mins(1), waited).await.unwrap().unwrap();
    }
}

/// A namespace, made unless it is there.
pub async fn namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    match namespaces.create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => drop(other.unwrap()),
    }
}

/// Lets the next leader begin at once, where one was killed.
pub async fn forget_leader(client: &Client) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "pullgate-system");
    // There may be none.
    let _ = leases.delete("pullgate", &DeleteParams::default()).await;
}

/// Records of a kind.
pub fn records(client: &kube::Client, kind: Kind) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk(crd::GROUP, crd::VERSION, kind.as_str());
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&gvk, crd::plural(kind)))
}

/// A record to be written.
pub fn record(kind: Kind, name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": format!("{}/{}", crd::GROUP, crd::VERSION), "kind": kind.as_str(),
        "metadata": {"name": name}, "spec": spec,
    }))
    .unwrap()
}

/// Starts a replica with records in the cluster, and a certificate of its own: nobody may be there to issue the one that
/// replicas share.
pub async fn serve(directory: &Path, arguments: &[&str]) -> Server {
    serve_in(directory, arguments, &[], READY_WITHIN).await
}

/// Starts one with an environment, and another time to get ready.
pub async fn serve_in(
    directory: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    ready_within: Duration,
) -> Server {
    let certificate = certificate_files(directory);
    let certificate: Vec<_> = certificate.iter().map(String::as_str).collect();
    let arguments = [&["--store", "kubernetes"], arguments, &certificate].concat();
    Server::start_in(directory, &arguments, environment, ready_within).await
}

/// A pod in namespace `payments` with one private image, as the mutating webhook leaves it.
pub fn review() -> Value {
    let mut review: Value =
        serde_json::from_str(include_str!("../data/reviews/validate-create-pods-3.json")).unwrap();
    let request = &mut review["request"];
    request["namespace"] = json!("payments");
    request["object"]["spec"]["containers"][0]["image"] = json!("harbor.example.com/team-a/web:1");
    request["object"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    request["object"]["spec"]["imagePullSecrets"] = json!([{"name": "pullgate-pull"}]);
    review
}

/// Arguments for a certificate in files, where `Server::start_with` expects its CA: for a server whose replicas would
/// else share one that somebody has to issue.
fn certificate_files(directory: &Path) -> [String; 4] {
    let tls = directory.join("data/tls");
    let names = vec!["127.0.0.1".to_owned()];
    Certificate::load(CertificateSource::SelfSigned { dir: tls.clone(), names }).unwrap();
    let path = |file: &str| tls.join(file).to_str().unwrap().to_owned();
    ["--tls-cert".to_owned(), path("tls.crt"), "--tls-key".to_owned(), path("tls.key")]
}
