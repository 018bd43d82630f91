//! Webhooks that are for the API server alone.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::plane::{Plane, until};
use crate::replica::Replica;
use crate::support::https_client::client as https_client;
use crate::webhooks::{platform, pod, register};

/// Whose certificate the API server shows: of those that it has, the one for calling others.
const IDENTITY: &str = "apiserver-kubelet";
const COMMON_NAME: &str = "kube-apiserver-kubelet-client";

/// Tells the API server to show a certificate to every webhook, as `deploy/README.md` has it.
fn admission(directory: &Path) -> String {
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let pki = |kind: &str| file(&format!("pki/{IDENTITY}.{kind}"));
    let users = json!([{"name": "*", "user": {"client-certificate": pki("crt"), "client-key": pki("key")}}]);
    let webhooks = json!({"apiVersion": "v1", "kind": "Config", "users": users});
    std::fs::write(file("webhooks.kubeconfig"), webhooks.to_string()).unwrap();
    let plugin = |name: &str| {
        let configuration = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration",
                                   "kubeConfigFile": file("webhooks.kubeconfig")});
        json!({"name": name, "configuration": configuration})
    };
    let plugins = [plugin("ValidatingAdmissionWebhook"), plugin("MutatingAdmissionWebhook")];
    let configuration = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins});
    std::fs::write(file("admission.json"), configuration.to_string()).unwrap();
    format!("--admission-control-config-file={}", file("admission.json"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_gets_in_by_its_certificate_and_nobody_else() {
    let plane = Plane::start_with(false, admission);
    let client = plane.client().await;
    platform(&client).await;
    let ca = plane.path().join("pki/ca.crt");
    let arguments = ["--client-ca", ca.to_str().unwrap(), "--client-name", COMMON_NAME];
    let replica = Replica::start_with(&plane, "only", &arguments).await;
    register(&client, replica.webhook_port()).await;
    let create = async |namespace: &str| {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        pods.create(&PostParams::default(), &pod()).await.map_err(|error| error.to_string())
    };
    until("the API server is let in", Duration::from_secs(30), async || {
        create("payments").await.is_ok()
            && create("shop").await.is_err_and(|e| e.contains("ask a platform admin"))
    })
    .await;
    // A pod of the cluster has no certificate, and is told nothing.
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(client.clone(), "pullgate-system");
    let secret = secrets.get("pullgate-tls").await.unwrap();
    let trusted = String::from_utf8(secret.data.unwrap().remove("ca.crt").unwrap().0).unwrap();
    let url = format!("{}/validate", replica.server.webhooks);
    let stranger = https_client(&trusted, b"http/1.1").post(url).json(&Value::Null).send().await;
    assert!(stranger.is_err(), "{stranger:?}");
}
