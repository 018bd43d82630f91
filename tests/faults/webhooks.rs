//! The shipped webhook configurations, by URL, and pods to send through them.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use pullgate::domain::record::Kind;
use pullgate::types::crd;
use serde_json::{Value, json};

use crate::control_plane::{install, namespace, record, records};

/// Where nothing is judged.
pub const EXEMPT: &str = "kube-system";

/// The documents of `deploy/install.yaml` of a kind.
fn shipped<T: serde::de::DeserializeOwned>(kind: &str) -> T {
    let text = include_str!("../../deploy/install.yaml");
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let found = documents.into_iter().find(|document| document["kind"] == kind).expect(kind);
    serde_json::from_value(found).unwrap()
}

/// Registers both configurations as they are shipped, but for the address.
pub async fn register(client: &Client, port: u16) {
    let at = |config: &mut WebhookClientConfig| {
        let path = config.service.take().unwrap().path.unwrap();
        config.url = Some(format!("https://127.0.0.1:{port}{path}"));
    };
    let mut mutating: MutatingWebhookConfiguration = shipped("MutatingWebhookConfiguration");
    mutating.webhooks.iter_mut().flatten().for_each(|webhook| at(&mut webhook.client_config));
    let mut validating: ValidatingWebhookConfiguration = shipped("ValidatingWebhookConfiguration");
    validating.webhooks.iter_mut().flatten().for_each(|webhook| at(&mut webhook.client_config));
    Api::all(client.clone()).create(&PostParams::default(), &mutating).await.unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &validating).await.unwrap();
}

/// Namespace `payments`, which may pull `harbor.example.com/team-a`, and `shop`, which may not. Without a controller
/// manager nobody else makes their service accounts.
pub async fn platform(client: &Client) {
    install(client, crd::definitions()).await;
    for name in ["pullgate-system", "payments", "shop", EXEMPT] {
        namespace(client, name).await;
        let accounts: Api<DynamicObject> = Api::namespaced_with(
            client.clone(),
            name,
            &kube::discovery::ApiResource::erase::<k8s_openapi::api::core::v1::ServiceAccount>(&()),
        );
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"},
                             "automountServiceAccountToken": false});
        accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
    }
    let harbor = json!({"type": "Harbor", "url": "https://harbor.example.com", "pullCredentials": "Integration",
                        "credential": {"name": "corp"}});
    for (kind, name, spec) in [
        (Kind::Workspace, "payments", json!({"namespaces": ["payments"]})),
        (Kind::Registry, "corp", harbor),
        (
            Kind::RegistrySpace,
            "corp.team-a",
            json!({"registry": "corp", "path": "team-a", "workspaces": ["payments"]}),
        ),
    ] {
        records(client, kind).create(&PostParams::default(), &record(kind, name, &spec)).await.unwrap();
    }
}

/// A pod with one private image.
pub fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"generateName": "web-"},
        "spec": {"containers": [{"name": "web", "image": "harbor.example.com/team-a/web:1"}]},
    }))
    .unwrap()
}
