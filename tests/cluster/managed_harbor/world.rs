//! A cluster with Harbors, which a replica looks for, and the operator's and the kubelet's part.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use pullgate::controllers::managed_harbor::harbor_cluster;
use pullgate::domain::record::Kind;
use pullgate::types::crd;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::control_plane::{forget_leader, install, namespace, record, records, serve_in, turn, uninstall};
use crate::support::server::{READY_WITHIN, Server};
use crate::support::waiting::within;

/// Namespace that pullgate is told to look into, and one that it is not.
pub const NAMED: &str = "harbor-platform";
pub const TENANT: &str = "harbor-tenant";
pub const HELM: &str = "managed-harbor-platform-prod";
pub const CLUSTER: &str = "managed-harbor-platform-main";
/// Longer than a pass that something triggered takes, and than the time after which an instance counts as gone.
pub const WITHIN: Duration = Duration::from_secs(45);
pub const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

pub struct World {
    pub client: Client,
    pub server: Server,
    directory: tempfile::TempDir,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

/// The operator's definition, as far as it matters.
pub fn definition() -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "harborclusters.goharbor.io"},
        "spec": {
            "group": "goharbor.io", "scope": "Namespaced",
            "names": {"kind": "HarborCluster", "listKind": "HarborClusterList", "plural": "harborclusters",
                      "singular": "harborcluster"},
            "versions": [{
                "name": "v1beta1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
            }],
        },
    })
}

pub async fn without_definition(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = "harborclusters.goharbor.io";
    // It may not be there.
    let _ = definitions.delete(name, &DeleteParams::default()).await;
    eventually("the definition goes", async || definitions.get_opt(name).await.unwrap().is_none()).await;
}

pub async fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) {
    within(WITHIN, what, holds).await;
}

impl World {
    pub async fn new(arguments: &[&str], environment: &[(&str, &str)], operator: bool) -> Self {
        let (turn, client) = turn().await;
        uninstall(&client).await;
        install(&client, crd::definitions()).await;
        without_definition(&client).await;
        if operator {
            install(&client, vec![definition()]).await;
        }
        namespace(&client, "pullgate-system").await;
        forget_leader(&client).await;
        for name in [NAMED, TENANT] {
            namespace(&client, name).await;
            let all = (DeleteParams::default(), ListParams::default());
            let cores = Api::<Deployment>::namespaced(client.clone(), name);
            cores.delete_collection(&all.0, &all.1).await.unwrap();
            let secrets = Api::<Secret>::namespaced(client.clone(), name);
            secrets.delete_collection(&all.0, &all.1).await.unwrap();
            eventually("Deployments go", async || cores.list(&all.1).await.unwrap().items.is_empty()).await;
        }
        let directory = tempfile::tempdir().unwrap();
        let server = serve_in(directory.path(), arguments, environment, READY_WITHIN).await;
        Self { client, server, directory, _turn: turn }
    }

    /// One that looks where it should, with the operator's definition.
    pub async fn looking() -> Self {
        Self::new(&["--managed-harbor-namespace", NAMED], &[], true).await
    }

    /// Starts another replica in the place of this one.
    pub async fn restart(&mut self, arguments: &[&str]) {
        assert!(self.server.terminate().success());
        forget_leader(&self.client).await;
        self.server = serve_in(self.directory.path(), arguments, &[], READY_WITHIN).await;
    }

    pub async fn apply<K>(&self, namespace: &str, name: &str, object: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Serialize,
    {
        apply(&Api::<K>::namespaced(self.client.clone(), namespace), name, object).await;
    }

    pub async fn secret(&self, namespace: &str, name: &str, data: Value) {
        self.apply::<Secret>(namespace, name, json!({"stringData": data})).await;
    }

    pub async fn address(&self, namespace: &str, url: &str) {
        self.apply::<ConfigMap>(namespace, "prod-core", json!({"data": {"EXT_ENDPOINT": url}})).await;
    }

    /// Installs what of Harbor's chart matters, as release `prod`.
    pub async fn helm(&self, namespace: &str, url: &str) {
        self.address(namespace, url).await;
        self.secret(namespace, "prod-core", json!({"HARBOR_ADMIN_PASSWORD": "first"})).await;
        self.secret(namespace, "prod-ingress", json!({"ca.crt": PEM})).await;
        self.core(namespace).await;
    }

    pub async fn core(&self, namespace: &str) {
        let labels = json!({"app": "harbor", "chart": "harbor", "component": "core", "release": "prod"});
        let core = json!({"metadata": {"labels": labels}, "spec": {
            "selector": {"matchLabels": {"release": "prod", "component": "core"}},
            "template": {"metadata": {"labels": labels}, "spec": {
                "containers": [{"name": "core", "image": "goharbor/harbor-core:v2.14.0"}]}},
        }});
        self.apply::<Deployment>(namespace, "prod-core", core).await;
    }

    /// Says for the kubelet, which is not there, whether the core's pods are ready.
    pub async fn core_is(&self, ready: bool) {
        let pods = Api::<Pod>::namespaced(self.client.clone(), NAMED);
        let all = ListParams::default().labels("component=core");
        eventually("the core has a pod", async || !pods.list(&all).await.unwrap().items.is_empty()).await;
        for pod in pods.list(&all).await.unwrap() {
            let condition = json!({"type": "Ready", "status": if ready { "True" } else { "False" }});
            let status = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
            let name = pod.metadata.name.unwrap();
            pods.patch_status(&name, &PatchParams::default(), &status).await.unwrap();
        }
    }

    pub fn clusters(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &harbor_cluster::resource())
    }

    /// Makes the operator's object `main`.
    pub async fn cluster(&self, namespace: &str, url: &str) {
        self.secret(namespace, "main-admin", json!({"secret": "initial"})).await;
        self.secret(namespace, "main-cert", json!({"ca.crt": PEM})).await;
        let object = serde_json::from_value(json!({
            "apiVersion": "goharbor.io/v1beta1", "kind": "HarborCluster", "metadata": {"name": "main"},
            "spec": {"externalURL": url, "harborAdminPasswordRef": "main-admin",
                     "expose": {"core": {"tls": {"certificateRef": "main-cert"}}}},
        }));
        self.clusters(namespace).create(&PostParams::default(), &object.unwrap()).await.unwrap();
        self.cluster_is(namespace, "healthy").await;
    }

    pub async fn cluster_is(&self, namespace: &str, status: &str) {
        let status = Patch::Merge(json!({"status": {"status": status}}));
        self.clusters(namespace).patch_status("main", &PatchParams::default(), &status).await.unwrap();
    }

    pub async fn registry(&self, name: &str) -> Option<DynamicObject> {
        records(&self.client, Kind::Registry).get_opt(name).await.unwrap()
    }

    /// Waits until a record is as it should be: its data, with its condition `Managed` beside it.
    pub async fn until(&self, name: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let mut found = self.registry(name).await.map(|object| object.data).unwrap_or_default();
            let conditions = found["status"]["conditions"].as_array();
            let managed = conditions.into_iter().flatten().find(|c| c["type"] == "Managed").cloned();
            found["managed"] = managed.unwrap_or_default();
            if holds(&found) {
                return found;
            }
            assert!(start.elapsed() < WITHIN, "{name}: {found:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn reason(&self, name: &str, reason: &str) -> Value {
        self.until(name, |found| found["managed"]["reason"] == reason).await
    }

    pub async fn gone(&self, name: &str) {
        eventually(&format!("{name} goes"), async || self.registry(name).await.is_none()).await;
    }

    pub async fn patch(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        records(&self.client, Kind::Registry).patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn create(&self, kind: Kind, name: &str, spec: Value) {
        let made =
            records(&self.client, kind).create(&PostParams::default(), &record(kind, name, &spec)).await;
        made.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// The stored password and whom it is for.
    pub async fn credential(&self, name: &str) -> Option<(String, String)> {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), "pullgate-system");
        let secret = secrets.get_opt(&format!("registry-{name}")).await.unwrap()?;
        let password = String::from_utf8(secret.data?["password"].0.clone()).unwrap();
        Some((password, secret.metadata.annotations?["pullgate.io/audience"].clone()))
    }

    pub async fn until_password(&self, name: &str, expected: &str) {
        let found = async || self.credential(name).await.is_some_and(|(password, _)| password == expected);
        eventually(&format!("the password of {name} is {expected}"), found).await;
    }

    pub async fn metric(&self, state: &str, count: usize) {
        let line = format!("pullgate_managed_harbors{{state=\"{state}\"}} {count}");
        eventually(&line, async || {
            let url = format!("{}/metrics", self.server.metrics);
            let text = self.server.get(url).await.text().await.unwrap();
            text.lines().any(|l| l == line)
        })
        .await;
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Lets a pass happen, and waits for it.
    pub async fn nudge(&self) {
        let now = format!("{:?}", Instant::now());
        self.secret(NAMED, "unrelated", json!({ "now": now })).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

pub async fn apply<K>(api: &Api<K>, name: &str, mut object: Value)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    object["metadata"]["name"] = json!(name);
    let apply = PatchParams::apply("helm").force();
    api.patch(name, &apply, &Patch::Apply(&object)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
}
