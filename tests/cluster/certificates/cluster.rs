//! A Secret, two configurations, a leader and replicas of one test's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::routing::post;
use axum::{Json, Router};
use axum_server::Handle;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, Config};
use pullgate::controllers::webhook_config;
use pullgate::listener::Listener;
use pullgate::metrics::Metrics;
use pullgate::runtime::Readiness;
use pullgate::tls::rotation::Content;
use pullgate::tls::shared::{self, Shared};
use pullgate::tls::{Certificate, CertificateSource};
use reqwest::tls::TlsInfo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::control_plane::client;
use crate::support::https_client::trusting_with;

const RBAC: &str = "rbac.authorization.k8s.io";
pub const NAMESPACE: &str = "pullgate-certificates";
/// Shorter than in a cluster of several API servers.
pub const SETTLE: Duration = Duration::from_secs(3);

/// A Secret and two configurations of one test's own.
pub struct Cluster {
    client: Client,
    pub shared: Shared,
    pub metrics: Arc<Metrics>,
    leader: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Cluster {
    /// Without the Secret and the configurations, and without a leader.
    pub async fn new(name: &str) -> Self {
        let client = client().await;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = json!({"metadata": {"name": NAMESPACE}});
        // Another test may have made it.
        let _ = namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await;
        let mut names =
            ["localhost", "127.0.0.1", "pullgate.pullgate-system.svc"].map(str::to_owned).to_vec();
        for service in ["pullgate", "pullgate-api"].map(|name| format!("{name}.{NAMESPACE}.svc")) {
            names.extend([format!("{service}.cluster.local"), service]);
        }
        let shared = Shared {
            namespace: NAMESPACE.to_owned(),
            secret: format!("tls-{name}"),
            names,
            webhook_config: format!("pullgate-test-{name}"),
        };
        let metrics = Arc::new(Metrics::new().unwrap());
        let cluster = Self { client, shared, metrics, leader: Mutex::new(None) };
        let _ = cluster.secrets().delete(&cluster.shared.secret, &DeleteParams::default()).await;
        for api in cluster.configurations() {
            let _ = api.delete(&cluster.shared.webhook_config, &DeleteParams::default()).await;
        }
        cluster
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub fn configurations(&self) -> [Api<DynamicObject>; 2] {
        [
            ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        ]
        .map(|resource| Api::all_with(self.client.clone(), &resource))
    }

    /// Makes both configurations: three webhooks for kinds that nobody has, and one for this test's config maps, which
    /// is at `port`.
    pub async fn configure(&self, port: u16) {
        let absent = |name: &str| {
            json!({
                "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 3,
                "failurePolicy": "Ignore", "matchPolicy": "Exact",
                "clientConfig": {"service": {"name": "pullgate", "namespace": NAMESPACE, "path": "/x"}},
                "rules": [{"apiGroups": ["absent.example.com"], "apiVersions": ["v1"],
                           "resources": ["absents"], "operations": ["CREATE"]}],
            })
        };
        let mut here = absent("here.pullgate.io");
        here["failurePolicy"] = json!("Fail");
        here["clientConfig"] = json!({"url": format!("https://127.0.0.1:{port}/validate")});
        here["rules"][0]["apiGroups"] = json!([""]);
        here["rules"][0]["resources"] = json!(["configmaps"]);
        here["objectSelector"] = json!({"matchLabels": {"test": self.shared.webhook_config}});
        let [mutating, validating] = self.configurations();
        for (api, kind, webhooks) in [
            (mutating, "MutatingWebhookConfiguration", json!([absent("pods.pullgate.io")])),
            (
                validating,
                "ValidatingWebhookConfiguration",
                json!([absent("pods.pullgate.io"), here, absent("records.pullgate.io")]),
            ),
        ] {
            let configuration = json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
                "metadata": {"name": self.shared.webhook_config, "labels": {"of": "manifest"}}, "webhooks": webhooks,
            });
            api.create(&PostParams::default(), &serde_json::from_value(configuration).unwrap())
                .await
                .unwrap();
        }
    }

    pub fn lead(&self) {
        let (client, shared, metrics) = (self.client.clone(), self.shared.clone(), self.metrics.clone());
        let leading = tokio::spawn(webhook_config::keep(client, shared, SETTLE, metrics));
        *self.leader.lock().unwrap() = Some(leading);
    }

    /// Leads as somebody who may do no more with Secrets and with the configurations than these verbs.
    pub async fn lead_restricted(&self, verbs: &[&str], on_configurations: &[&str]) {
        let Shared { secret, webhook_config: name, .. } = &self.shared;
        let rules = [
            (NAMESPACE, json!({"apiGroups": [""], "resources": ["secrets"], "verbs": verbs})),
            (
                "",
                json!({"apiGroups": ["admissionregistration.k8s.io"], "resourceNames": [name],
                       "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
                       "verbs": on_configurations}),
            ),
        ];
        for (namespace, rule) in rules {
            let cluster = if namespace.is_empty() { "Cluster" } else { "" };
            let metadata = json!({"name": secret, "namespace": namespace});
            let role = json!({"metadata": metadata, "rules": [rule]});
            let binding = json!({
                "metadata": metadata, "subjects": [{"kind": "User", "name": secret, "apiGroup": RBAC}],
                "roleRef": {"apiGroup": RBAC, "kind": format!("{cluster}Role"), "name": secret},
            });
            for (kind, mut object) in [("Role", role), ("RoleBinding", binding)] {
                let kind = format!("{cluster}{kind}");
                let gvk = GroupVersionKind::gvk(RBAC, "v1", &kind);
                let resource = ApiResource::from_gvk(&gvk);
                let api: Api<DynamicObject> = match namespace {
                    "" => Api::all_with(self.client.clone(), &resource),
                    namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
                };
                object["apiVersion"] = json!(format!("{RBAC}/v1"));
                object["kind"] = json!(kind);
                let apply = PatchParams::apply("pullgate-test").force();
                api.patch(secret, &apply, &Patch::Apply(&object)).await.unwrap();
            }
        }
        let mut config = Config::infer().await.unwrap();
        config.auth_info.impersonate = Some(secret.clone());
        let client = Client::try_from(config).unwrap();
        let leading = webhook_config::keep(client, self.shared.clone(), SETTLE, self.metrics.clone());
        *self.leader.lock().unwrap() = Some(tokio::spawn(leading));
    }

    /// Ends the leader.
    pub fn stop(&self) {
        if let Some(leading) = self.leader.lock().unwrap().take() {
            leading.abort();
        }
    }

    pub async fn secret(&self) -> Option<Secret> {
        self.secrets().get_opt(&self.shared.secret).await.unwrap()
    }

    pub async fn content(&self) -> Content {
        self.secret().await.as_ref().map(shared::content).unwrap_or_default()
    }

    pub async fn configuration(&self, position: usize) -> DynamicObject {
        self.configurations()[position].get(&self.shared.webhook_config).await.unwrap()
    }

    /// Every bundle in the configurations.
    pub async fn bundles(&self) -> Vec<String> {
        let mut bundles = Vec::new();
        for position in 0..2 {
            let configuration = self.configuration(position).await;
            for webhook in configuration.data["webhooks"].as_array().unwrap() {
                let encoded = webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default();
                bundles.push(String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap());
            }
        }
        bundles
    }

    /// Whether the Secret is whole and every webhook trusts it.
    pub async fn in_order(&self) -> bool {
        let content = self.content().await;
        content.ca_key.is_some()
            && content.next_ca_key.is_none()
            && content.bundle.contains("BEGIN")
            && self.bundles().await.iter().all(|bundle| *bundle == content.bundle)
    }

    pub async fn patch_secret(&self, patch: Value) {
        let patch = Patch::Merge(patch);
        self.secrets().patch(&self.shared.secret, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A replica of this process, which answers every review with yes and ends the connection.
    pub async fn replica(&self, listener: Listener) -> SocketAddr {
        let certificate = Certificate::load(CertificateSource::Secret(self.shared.clone())).unwrap();
        let (address, handle, readiness) = (listener.address(), Handle::new(), Readiness::default());
        let pending = readiness.wait_for("the certificate");
        let config = Some(certificate.server_config());
        tokio::spawn(shared::follow(self.client.clone(), self.shared.clone(), certificate, pending));
        tokio::spawn(listener.serve(Router::new().route("/validate", post(yes)), config, handle));
        until("a certificate", async || readiness.missing().is_empty()).await;
        address
    }

    pub async fn create_config_map(&self) -> Result<ConfigMap, kube::Error> {
        let map = json!({"metadata": {"generateName": "x-", "labels": {"test": self.shared.webhook_config}}});
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        maps.create(&dry, &serde_json::from_value(map).unwrap()).await
    }
}

async fn yes(Json(review): Json<Value>) -> ([(&'static str, &'static str); 1], Json<Value>) {
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": true},
    });
    ([("connection", "close")], Json(answer))
}

pub fn bind() -> Listener {
    Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

/// The leaf that a new connection is shown, if it verifies.
pub async fn shown(address: SocketAddr, bundle: &str) -> Result<CertificateDer<'static>, reqwest::Error> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(trusting_with(bundle, b"http/1.1", None))
        .tls_info(true)
        .no_proxy()
        .build()?;
    let answer = client.get(format!("https://{address}/")).send().await?;
    let info = answer.extensions().get::<TlsInfo>().unwrap();
    Ok(CertificateDer::from(info.peer_certificate().unwrap().to_vec()))
}

pub fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

pub fn cas(bundle: &str) -> usize {
    bundle.matches("BEGIN").count()
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(15), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}
