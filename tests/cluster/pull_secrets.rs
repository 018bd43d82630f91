//! The pull secrets that the leader makes, repairs and removes.

use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use pullgate::domain::record::Kind;
use pullgate::types::crd;
use reqwest::Method;
use serde_json::{Value, json};

use crate::control_plane::{forget_leader, install, namespace, records, serve, turn, uninstall};
use crate::support::server::Server;
use crate::support::waiting::within;

const SECRET: &str = "pullgate-pull";
const KEY: &str = "harbor.example.com/v2/team-a/";
/// `robot:first` and `robot:second`, as `auth` has them.
const FIRST: &str = "cm9ib3Q6Zmlyc3Q=";
const SECOND: &str = "cm9ib3Q6c2Vjb25k";

pub struct World {
    pub client: Client,
    pub server: Server,
    _turn: tokio::sync::MutexGuard<'static, ()>,
    pub directory: tempfile::TempDir,
}

impl World {
    /// A replica that leads, a Harbor whose space `team-a` is bound to workspace `payments`, and these namespaces, of
    /// which all but `outside` are the workspace's.
    pub async fn new(namespaces: &[&str]) -> Self {
        let (turn, client) = turn().await;
        uninstall(&client).await;
        install(&client, crd::definitions()).await;
        namespace(&client, "pullgate-system").await;
        forget_leader(&client).await;
        for name in namespaces.iter().chain(&["outside"]) {
            namespace(&client, name).await;
            // Of an earlier test; it may not be there.
            let secrets: Api<Secret> = Api::namespaced(client.clone(), name);
            let _ = secrets.delete(SECRET, &DeleteParams::default()).await;
        }
        let directory = tempfile::tempdir().unwrap();
        let server = serve(directory.path(), &[]).await;
        let world = Self { client, server, _turn: turn, directory };
        world.put("workspaces", "Workspace", "payments", json!({"namespaces": namespaces}), None).await;
        let credential = json!({"username": "robot", "password": "first"});
        let registry =
            json!({"type": "Harbor", "url": "https://harbor.example.com", "pullCredentials": "Integration"});
        world.put("registries", "Registry", "corp", registry, Some(credential)).await;
        let space = json!({"registry": "corp", "path": "team-a", "workspaces": ["payments"]});
        world.put("registryspaces", "RegistrySpace", "corp.team-a", space, None).await;
        world
    }

    pub async fn put(&self, plural: &str, kind: &str, name: &str, spec: Value, credential: Option<Value>) {
        let mut record = json!({"apiVersion": "pullgate.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        if let Some(credential) = credential {
            record["credential"] = credential;
        }
        self.server.call(Method::POST, &format!("/{plural}"), Some(record)).await;
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn secret(&self, namespace: &str) -> Option<Secret> {
        self.secrets(namespace).get_opt(SECRET).await.unwrap()
    }

    /// The `auth` of each entry.
    async fn auths(&self, namespace: &str) -> Option<Value> {
        let secret = self.secret(namespace).await?;
        let config: Value = serde_json::from_slice(&secret.data?[".dockerconfigjson"].0).ok()?;
        Some(config["auths"].clone())
    }

    /// Waits until a namespace has these entries; `None`: no Secret.
    pub async fn until(&self, namespace: &str, expected: Option<Value>) -> Duration {
        let start = Instant::now();
        loop {
            let found = self.auths(namespace).await;
            if found == expected {
                return start.elapsed();
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{namespace} has {found:?}, not {expected:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn patch(&self, kind: Kind, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        records(&self.client, kind).patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn status(&self, kind: Kind, name: &str) -> Value {
        records(&self.client, kind).get(name).await.unwrap().data["status"].take()
    }

    async fn metric(&self, line: &str) -> bool {
        let text = self.server.get(format!("{}/metrics", self.server.metrics)).await.text().await.unwrap();
        text.lines().any(|l| l == line)
    }
}

pub fn entry(auth: &str) -> Value {
    json!({KEY: {"auth": auth}})
}

pub async fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) {
    within(Duration::from_secs(20), what, holds).await;
}

#[tokio::test]
async fn a_bound_namespace_has_the_secret_for_as_long_as_it_is_entitled() {
    let world = World::new(&["pay-a", "pay-b"]).await;
    world.until("pay-a", Some(entry(FIRST))).await;
    world.until("pay-b", Some(entry(FIRST))).await;
    assert!(world.secret("outside").await.is_none());
    let secret = world.secret("pay-a").await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/dockerconfigjson"));
    assert_eq!(secret.metadata.labels.unwrap()["app.kubernetes.io/managed-by"], "pullgate");
    let owner = &secret.metadata.owner_references.unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("Namespace", "pullgate-system"));

    // Unbound, and bound again.
    world.patch(Kind::RegistrySpace, "corp.team-a", json!({"workspaces": []})).await;
    world.until("pay-a", None).await;
    world.until("pay-b", None).await;
    world.patch(Kind::RegistrySpace, "corp.team-a", json!({"workspaces": ["payments"]})).await;
    world.until("pay-a", Some(entry(FIRST))).await;
    // A namespace leaves the workspace, and joins again.
    world.patch(Kind::Workspace, "payments", json!({"namespaces": ["pay-a"]})).await;
    world.until("pay-b", None).await;
    world.patch(Kind::Workspace, "payments", json!({"namespaces": ["pay-a", "pay-b", "pay-late"]})).await;
    world.until("pay-b", Some(entry(FIRST))).await;
    // One that is made after its workspace named it.
    namespace(&world.client, "pay-late").await;
    world.until("pay-late", Some(entry(FIRST))).await;
    // Another password.
    let credential = json!({"username": "robot", "password": "second"});
    world.server.call(Method::PUT, "/registries/corp/credential", Some(credential)).await;
    world.until("pay-a", Some(entry(SECOND))).await;
    world.until("pay-b", Some(entry(SECOND))).await;
    // Another address: what was given for the old one goes to nobody.
    world.patch(Kind::Registry, "corp", json!({"url": "https://harbor.example.org"})).await;
    world.until("pay-a", None).await;
    world.patch(Kind::Registry, "corp", json!({"url": "https://harbor.example.com"})).await;
    world.until("pay-a", Some(entry(SECOND))).await;
    // Another owner, by whoever may write records: the password does not come along.
    let own = json!({"workspace": "payments", "pullCredentials": null});
    world.patch(Kind::RegistrySpace, "corp.team-a", json!({"workspaces": []})).await;
    world.until("pay-a", None).await;
    world.patch(Kind::Registry, "corp", own).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.secret("pay-a").await.is_none());
    world.patch(Kind::Registry, "corp", json!({"workspace": null, "pullCredentials": "Integration"})).await;
    world.patch(Kind::RegistrySpace, "corp.team-a", json!({"workspaces": ["payments"]})).await;
    world.until("pay-a", Some(entry(SECOND))).await;
    // The workspace goes.
    records(&world.client, Kind::Workspace).delete("payments", &DeleteParams::default()).await.unwrap();
    world.until("pay-a", None).await;
    world.put("workspaces", "Workspace", "payments", json!({"namespaces": ["pay-a"]}), None).await;
    world.until("pay-a", Some(entry(SECOND))).await;
    // The registry goes.
    records(&world.client, Kind::Registry).delete("corp", &DeleteParams::default()).await.unwrap();
    world.until("pay-a", None).await;
}

#[tokio::test]
async fn what_tenants_do_to_it_is_repaired() {
    let world = World::new(&["pay-a"]).await;
    world.until("pay-a", Some(entry(FIRST))).await;
    let secrets = world.secrets("pay-a");
    let merge = async |patch: Value| {
        secrets.patch(SECRET, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    // {"auths":{}} in base 64.
    merge(json!({"data": {".dockerconfigjson": "eyJhdXRocyI6e319"}})).await;
    world.until("pay-a", Some(entry(FIRST))).await;
    merge(json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}})).await;
    eventually("the label is back", async || {
        world
            .secret("pay-a")
            .await
            .is_some_and(|s| s.metadata.labels.unwrap_or_default().values().any(|v| v == "pullgate"))
    })
    .await;
    merge(json!({"metadata": {"ownerReferences": null}})).await;
    eventually("the owner is back", async || {
        world.secret("pay-a").await.is_some_and(|s| s.metadata.owner_references.is_some())
    })
    .await;
    secrets.delete(SECRET, &DeleteParams::default()).await.unwrap();
    world.until("pay-a", Some(entry(FIRST))).await;
    // Frozen with a text of the tenant's: only a new one helps.
    merge(json!({"data": {".dockerconfigjson": "eyJhdXRocyI6e319"}, "immutable": true})).await;
    world.until("pay-a", Some(entry(FIRST))).await;
    eventually("it is no longer frozen", async || {
        world.secret("pay-a").await.is_some_and(|s| s.immutable.is_none())
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_somebody_else_made_is_never_touched() {
    let world = World::new(&["pay-a", "pay-b"]).await;
    world.until("pay-a", Some(entry(FIRST))).await;
    // Unbound, so that the tenants are first. One of them copies everything that a manifest can hold.
    let made = world.secret("pay-a").await.unwrap();
    world.patch(Kind::RegistrySpace, "corp.team-a", json!({"workspaces": []})).await;
    world.until("pay-a", None).await;
    world.until("pay-b", None).await;
    let mut copy = made.clone();
    copy.metadata.resource_version = None;
    copy.metadata.uid = None;
    copy.metadata.managed_fields = None;
    copy.metadata.owner_references = None;
    copy.data.as_mut().unwrap().get_mut(".dockerconfigjson").unwrap().0 = br#"{"auths":{}}"#.to_vec();
    let theirs = world.secrets("pay-a").create(&PostParams::default(), &copy).await.unwrap();
    let opaque: Secret =
        serde_json::from_value(json!({"metadata": {"name": SECRET}, "stringData": {"mine": "yes"}})).unwrap();
    let other = world.secrets("pay-b").create(&PostParams::default(), &opaque).await.unwrap();

    world.patch(Kind::RegistrySpace, "corp.team-a", json!({"workspaces": ["payments"]})).await;
    eventually("the metric says so", async || {
        world.metric("pullgate_pull_secrets{state=\"foreign\"} 2").await
    })
    .await;
    eventually("the workspace's status says so", async || {
        let members = world.status(Kind::Workspace, "payments").await["members"].take();
        members.as_array().is_some_and(|m| m.len() == 2 && m.iter().all(|m| m["pullSecret"] == "Foreign"))
    })
    .await;
    for (namespace, made) in [("pay-a", theirs), ("pay-b", other)] {
        let found = world.secret(namespace).await.unwrap();
        assert_eq!(found.metadata.resource_version, made.metadata.resource_version, "{namespace}");
    }
    world.secrets("pay-a").delete(SECRET, &DeleteParams::default()).await.unwrap();
    world.until("pay-a", Some(entry(FIRST))).await;
    eventually("the status is mended", async || {
        let members = world.status(Kind::Workspace, "payments").await["members"].take();
        members[0]["pullSecret"].is_null() && members[1]["pullSecret"] == "Foreign"
    })
    .await;
    // Unbound again, theirs stays.
    world.patch(Kind::RegistrySpace, "corp.team-a", json!({"workspaces": []})).await;
    world.until("pay-a", None).await;
    assert!(world.secret("pay-b").await.is_some());
}

#[tokio::test]
async fn a_hundred_namespaces_have_it_within_five_seconds() {
    let names: Vec<String> = (0..100).map(|n| format!("many-{n}")).collect();
    let world = World::new(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let all = async |expected: Option<Value>| {
        let start = Instant::now();
        join_all(names.iter().map(|name| world.until(name, expected.clone()))).await;
        start.elapsed()
    };
    all(Some(entry(FIRST))).await;
    world.patch(Kind::RegistrySpace, "corp.team-a", json!({"workspaces": []})).await;
    let gone = all(None).await;
    world.patch(Kind::RegistrySpace, "corp.team-a", json!({"workspaces": ["payments"]})).await;
    let there = all(Some(entry(FIRST))).await;
    println!("Secrets of 100 namespaces: gone after {gone:?}, there after {there:?}");
    assert!(
        there < Duration::from_secs(5) && gone < Duration::from_secs(5),
        "gone {gone:?}, there {there:?}"
    );
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    for name in &names {
        // They go in their own time.
        let _ = namespaces.delete(name, &DeleteParams::default()).await;
    }
}

#[tokio::test]
async fn while_nothing_changes_nothing_is_written_but_the_lease() {
    let world = World::new(&["pay-a"]).await;
    world.until("pay-a", Some(entry(FIRST))).await;
    // Statuses settle.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = writes(&world.client).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let after = writes(&world.client).await;
    assert_eq!(before.0, after.0, "written beyond leases");
    assert!(after.1 > before.1, "the lease is renewed, or nothing is counted at all");
}

/// Objects of pullgate's and Secrets by version, and the version of the Lease.
async fn writes(client: &Client) -> (Vec<(String, Option<String>)>, Option<String>) {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        for object in records(client, kind).list(&ListParams::default()).await.unwrap() {
            all.push((format!("{kind:?} {:?}", object.metadata.name), object.metadata.resource_version));
        }
    }
    let secrets: Api<Secret> = Api::all(client.clone());
    for object in secrets.list(&ListParams::default()).await.unwrap() {
        all.push((format!("Secret {:?}", object.metadata.name), object.metadata.resource_version));
    }
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        Api::namespaced(client.clone(), "pullgate-system");
    let lease = leases.get("pullgate").await.unwrap();
    (all, lease.metadata.resource_version)
}
