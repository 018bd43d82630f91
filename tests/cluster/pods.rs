//! Pods at a real API server that calls the webhooks as `deploy/install.yaml` registers them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use pullgate::domain::record::Kind;
use serde_json::{Value, json};

use crate::control_plane::WEBHOOKS;
use crate::pull_secrets::{World, eventually};

const OWN: &str = "harbor.example.com/team-a/web:1";
const OTHER: &str = "harbor.example.com/team-a/web:2";
const UNMANAGED: &str = "docker.io/library/nginx:1";

/// A namespace that is entitled, and the webhooks for it.
struct Cluster {
    world: World,
    namespace: String,
    pods: Api<Pod>,
}

impl Cluster {
    async fn new(namespace: &str) -> Self {
        let world = World::new(&[namespace]).await;
        let pods: Api<Pod> = Api::namespaced(world.client.clone(), namespace);
        let accounts: Api<ServiceAccount> = Api::namespaced(world.client.clone(), namespace);
        eventually("the namespace has its service account", async || {
            accounts.get_opt("default").await.unwrap().is_some()
        })
        .await;
        let cluster = Self { world, namespace: namespace.to_owned(), pods };
        cluster.register().await;
        cluster
    }

    /// Both configurations of `deploy/install.yaml`, for pods of this namespace alone.
    async fn register(&self) {
        let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/install.yaml");
        let installed: Vec<Value> =
            serde_saphyr::from_multiple(&std::fs::read_to_string(installed).unwrap()).unwrap();
        let ca = std::fs::read_to_string(self.world.directory.path().join("data/tls/ca.crt")).unwrap();
        for mut object in installed {
            if !object["kind"].as_str().unwrap().ends_with("WebhookConfiguration") {
                continue;
            }
            object["metadata"] = json!({"name": WEBHOOKS});
            let webhooks = object["webhooks"].as_array_mut().unwrap();
            webhooks.retain(|webhook| webhook["name"].as_str().unwrap().ends_with("pods.pullgate.io"));
            for webhook in webhooks {
                let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap().to_owned();
                webhook["clientConfig"] = json!({
                    "url": format!("{}{path}", self.world.server.webhooks), "caBundle": BASE64_STANDARD.encode(&ca),
                });
                webhook["timeoutSeconds"] = json!(10);
                webhook["namespaceSelector"] =
                    json!({"matchLabels": {"kubernetes.io/metadata.name": self.namespace}});
            }
            create_configuration(&self.world.client, &object).await;
        }
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        eventually("pods get the pull secret", async || {
            let made = self.pods.create(&dry, &pod("probe", OWN, "IfNotPresent")).await;
            made.is_ok_and(|pod| pod.spec.unwrap().image_pull_secrets.is_some_and(|list| list.len() == 1))
        })
        .await;
        eventually("what is another's is denied", async || {
            let foreign = pod("probe", "harbor.example.com/team-b/web:1", "Always");
            matches!(self.pods.create(&dry, &foreign).await, Err(kube::Error::Api(status)) if status.code == 403)
        })
        .await;
    }

    /// Has pods made as when the mutating webhook does not answer.
    async fn without_mutation(&self) {
        let webhooks: Api<MutatingWebhookConfiguration> = Api::all(self.world.client.clone());
        webhooks.delete(WEBHOOKS, &DeleteParams::default()).await.unwrap();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        eventually("the mutating webhook is gone", async || {
            let made = self.pods.create(&dry, &pod("probe", UNMANAGED, "IfNotPresent")).await.unwrap();
            made.spec.unwrap().image_pull_secrets.is_none_or(|list| list.is_empty())
        })
        .await;
    }

    /// How often the mutating webhook was called.
    async fn mutations(&self) -> u64 {
        let metrics = format!("{}/metrics", self.world.server.metrics);
        let text = self.world.server.get(metrics).await.text().await.unwrap();
        let name = r#"pullgate_admission_duration_seconds_count{webhook="mutate"} "#;
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
    }

    /// A merge patch of a pod; the API server's warnings.
    async fn patch(&self, path: &str, changes: &Value) -> Vec<String> {
        let request =
            axum::http::Request::patch(format!("/api/v1/namespaces/{}/pods/{path}", self.namespace))
                .header("content-type", "application/strategic-merge-patch+json")
                .body(Body::from(serde_json::to_vec(changes).unwrap()))
                .unwrap();
        let response = self.world.client.send(request).await.unwrap();
        assert!(response.status().is_success(), "{path}: {response:?}");
        response.headers().get_all("warning").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    async fn remove(&self, name: &str) {
        self.pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }
}

async fn create_configuration(client: &Client, object: &Value) {
    let parameters = PostParams::default();
    let object = object.clone();
    if object["kind"] == "MutatingWebhookConfiguration" {
        let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        api.create(&parameters, &serde_json::from_value(object).unwrap()).await.unwrap();
    } else {
        let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
        api.create(&parameters, &serde_json::from_value(object).unwrap()).await.unwrap();
    }
}

fn manifest(name: &str, image: &str, policy: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": image, "imagePullPolicy": policy}],
        },
    })
}

fn pod(name: &str, image: &str, policy: &str) -> Pod {
    serde_json::from_value(manifest(name, image, policy)).unwrap()
}

/// What a manifest with several private images says twice.
fn bare(name: &str) -> Value {
    let mut bare = manifest(name, OWN, "IfNotPresent");
    let spec = bare["spec"].as_object_mut().unwrap();
    spec.insert(
        "initContainers".into(),
        json!([{"name": "i", "image": OWN, "imagePullPolicy": "IfNotPresent"}]),
    );
    spec.insert(
        "volumes".into(),
        json!([{"name": "v", "image": {"reference": OWN, "pullPolicy": "IfNotPresent"}}]),
    );
    bare
}

#[tokio::test]
async fn a_bare_pod_is_applied_twice() {
    let cluster = Cluster::new("pay-applied").await;
    for (name, parameters) in
        [("server-side", PatchParams::apply("kubectl")), ("forced", PatchParams::apply("kubectl").force())]
    {
        let apply = async || cluster.pods.patch(name, &parameters, &Patch::Apply(bare(name))).await.unwrap();
        let first = apply().await;
        let spec = first.spec.clone().unwrap();
        assert_eq!(spec.containers[0].image_pull_policy.as_deref(), Some("Always"));
        for _ in 0..2 {
            let again = apply().await;
            assert_eq!(again.spec, first.spec, "{name}");
            assert_eq!(again.metadata.generation, first.metadata.generation, "{name}");
        }
    }
    // What kubectl apply sends without --server-side.
    cluster
        .pods
        .create(&PostParams::default(), &serde_json::from_value(bare("merged")).unwrap())
        .await
        .unwrap();
    let first = cluster.pods.get("merged").await.unwrap();
    assert_eq!(cluster.patch("merged", &bare("merged")).await, [""; 0]);
    assert_eq!(cluster.pods.get("merged").await.unwrap().spec, first.spec);
    // An image that changes meanwhile is judged with the policy that stays.
    let mut changed = bare("merged");
    changed["spec"]["containers"][0]["image"] = json!(OTHER);
    assert_eq!(cluster.patch("merged", &changed).await, [""; 0]);
    let container = cluster.pods.get("merged").await.unwrap().spec.unwrap().containers.remove(0);
    assert_eq!(
        (container.image.as_deref(), container.image_pull_policy.as_deref()),
        (Some(OTHER), Some("Always"))
    );

    // The webhook is called for nothing else.
    let before = cluster.mutations().await;
    cluster.patch("merged", &json!({"metadata": {"labels": {"a": "b"}}})).await;
    cluster.patch("merged", &json!({"spec": {"containers": [{"name": "c", "image": OWN}]}})).await;
    let lax = pod("lax", UNMANAGED, "IfNotPresent");
    cluster.pods.create(&PostParams::default(), &lax).await.unwrap();
    cluster.patch("lax", &json!({"metadata": {"labels": {"a": "b"}}})).await;
    cluster.patch("lax", &manifest("lax", "docker.io/library/nginx:2", "IfNotPresent")).await;
    assert_eq!(cluster.mutations().await, before + 1, "for the creation");

    // It is this webhook that does it.
    cluster.without_mutation().await;
    let refused = cluster
        .pods
        .patch("forced", &PatchParams::apply("kubectl").force(), &Patch::Apply(bare("forced")))
        .await;
    assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 422), "{refused:?}");
    for name in ["server-side", "forced", "merged", "lax"] {
        cluster.remove(name).await;
    }
}

#[tokio::test]
async fn a_pod_without_the_reference_is_refused_while_it_can_be_made_again() {
    let cluster = Cluster::new("pay-unmutated").await;
    cluster.without_mutation().await;
    // `:latest` and no policy is Always by default.
    for (image, policy) in [(OWN, "Always"), ("harbor.example.com/team-a/web", "")] {
        let mut manifest = manifest("private", image, policy);
        if policy.is_empty() {
            manifest["spec"]["containers"][0].as_object_mut().unwrap().remove("imagePullPolicy");
        }
        let refused = cluster
            .pods
            .create(&PostParams::default(), &serde_json::from_value(manifest).unwrap())
            .await
            .unwrap_err();
        let kube::Error::Api(status) = refused else { panic!("{refused}") };
        assert!(status.code == 403 && status.message.contains("try again"), "{status:?}");
    }
    cluster.pods.create(&PostParams::default(), &pod("public", UNMANAGED, "Always")).await.unwrap();
    let warned = |warnings: Vec<String>| {
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("does not name the pull secret pullgate-pull"), "{warnings:?}");
    };
    let debug =
        json!({"spec": {"ephemeralContainers": [{"name": "d", "image": OWN, "imagePullPolicy": "Always"}]}});
    warned(cluster.patch("public/ephemeralcontainers", &debug).await);
    warned(cluster.patch("public", &json!({"spec": {"containers": [{"name": "c", "image": OWN}]}})).await);
    cluster.remove("public").await;
}

#[tokio::test]
async fn a_service_account_that_lists_its_secrets_is_no_obstacle() {
    let cluster = Cluster::new("pay-strict").await;
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.world.client.clone(), &cluster.namespace);
    let account = json!({"metadata": {
        "name": "strict", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"},
    }});
    // Of an earlier run; it may not be there.
    let _ = accounts.delete("strict", &DeleteParams::default()).await;
    accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let refusal = async |image: &str| {
        let mut manifest = manifest("strict", image, "IfNotPresent");
        manifest["spec"]["serviceAccountName"] = json!("strict");
        match cluster.pods.create(&dry, &serde_json::from_value(manifest).unwrap()).await {
            Ok(_) => None,
            Err(kube::Error::Api(status)) => Some(status.message),
            Err(other) => panic!("{other}"),
        }
    };
    let not_listed = |message: Option<String>| {
        message.is_some_and(|m| m.contains("does not reference that imagePullSecret"))
    };
    assert!(not_listed(refusal(UNMANAGED).await));

    // What needs no credential gets no reference.
    cluster.world.patch(Kind::Workspace, "payments", json!({"injection": "WhenNeeded"})).await;
    eventually("a public image is let in", async || refusal(UNMANAGED).await.is_none()).await;
    assert!(not_listed(refusal(OWN).await), "that one does");

    // And listed once, it may be used; a namespace's workspace may want it on every pod.
    let listed = Patch::Merge(json!({"imagePullSecrets": [{"name": "pullgate-pull"}]}));
    accounts.patch("strict", &PatchParams::default(), &listed).await.unwrap();
    eventually("a private image is let in", async || refusal(OWN).await.is_none()).await;
    cluster.world.patch(Kind::Workspace, "payments", json!({"injection": "Always"})).await;
    eventually("the reference is on every pod", async || {
        let made = cluster.pods.create(&dry, &pod("public", UNMANAGED, "IfNotPresent")).await.unwrap();
        made.spec.unwrap().image_pull_secrets.is_some_and(|list| list.len() == 1)
    })
    .await;
    assert_eq!([refusal(UNMANAGED).await, refusal(OWN).await], [None, None]);
}
