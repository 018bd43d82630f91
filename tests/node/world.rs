//! A platform of two workspaces in front of the node's registries, with a pullgate that decides.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use pullgate::domain::record::Kind;
use pullgate::types::crd;
use reqwest::Method;
use serde_json::{Value, json};

use crate::control_plane::{forget_leader, install, namespace, records, serve, turn, uninstall};
use crate::pods::{create, pod};
use crate::support::server::Server;
use crate::webhooks::{self, Endpoint};

/// An image that the node has from its beginning, of a registry that nobody integrated.
pub const PRELOADED: &str = "pullgate.test/app:1";
/// How long anything may take. What is pulled again only after a back-off of the kubelet's takes over ten seconds.
const LIMIT: Duration = Duration::from_mins(1);

/// `corp` is a Harbor of the platform at the node's first registry, with the space `team-a` bound to the workspace
/// `payments` and the space `team-b` to none. `bound` is a namespace of `payments`, `unbound` one of the workspace
/// `shop`. The namespaces are of this world alone, and so are the pods in them.
pub struct World {
    pub client: Client,
    pub bound: String,
    pub unbound: String,
    pub server: Server,
    endpoint: Endpoint,
    started: Instant,
    // Dropped after the server has ended.
    directory: tempfile::TempDir,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl World {
    /// A world with everything in force: the records, the bound namespace's Secret and the webhooks.
    pub async fn new(name: &str) -> Self {
        let (turn, client) = turn().await;
        let started = Instant::now();
        // Those of an earlier world call a server that has ended.
        webhooks::remove(&client).await;
        uninstall(&client).await;
        remove_namespaces(&client).await;
        install(&client, crd::definitions()).await;
        namespace(&client, "pullgate-system").await;
        forget_leader(&client).await;
        let (bound, unbound) = (format!("{name}-bound"), format!("{name}-unbound"));
        let directory = tempfile::tempdir().unwrap();
        // A workspace's registry here has an address that is not public.
        let server = serve(directory.path(), &["--allow-registry-range", "127.0.0.0/8"]).await;
        let endpoint = Endpoint { url: server.webhooks.clone(), ca: webhooks::authority(directory.path()) };
        let world = Self { client, bound, unbound, server, endpoint, started, directory, _turn: turn };
        world.populate(name).await;
        println!("{name}: set up in {:.1?}", started.elapsed());
        world
    }

    async fn populate(&self, name: &str) {
        let late = format!("{name}-late");
        self.put("workspaces", "Workspace", "payments", json!({"namespaces": [self.bound, late]}), None)
            .await;
        self.put("workspaces", "Workspace", "shop", json!({"namespaces": [self.unbound]}), None).await;
        let registry = json!({
            "type": "Harbor", "url": format!("http://{}", platform_registry()), "pullCredentials": "Integration",
        });
        let credential = json!({"username": "robot", "password": "secret"});
        self.put("registries", "Registry", "corp", registry, Some(credential)).await;
        let space = json!({"registry": "corp", "path": "team-a", "workspaces": ["payments"]});
        self.put("registryspaces", "RegistrySpace", "corp.team-a", space, None).await;
        let space = json!({"registry": "corp", "path": "team-b"});
        self.put("registryspaces", "RegistrySpace", "corp.team-b", space, None).await;
        for namespace in [&self.bound, &self.unbound] {
            self.namespace(namespace).await;
            let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
            eventually("the namespace's ServiceAccount", async || {
                accounts.get("default").await.map_err(|error| error.to_string())
            })
            .await;
        }
        self.secret_is(&self.bound, true).await;
        self.webhooks_on().await;
    }

    /// Makes a namespace that goes when the next world comes. One of its name may still be going.
    pub async fn namespace(&self, name: &str) {
        let namespace = json!({"metadata": {"name": name, "labels": {WORLD: "yes"}}});
        let namespace = serde_json::from_value(namespace).unwrap();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        eventually(&format!("namespace {name}"), async || {
            namespaces.create(&PostParams::default(), &namespace).await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Writes a record through the management API.
    pub async fn put(&self, plural: &str, kind: &str, name: &str, spec: Value, credential: Option<Value>) {
        let mut record = json!({
            "apiVersion": "pullgate.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
        });
        if let Some(credential) = credential {
            record["credential"] = credential;
        }
        self.server.call(Method::POST, &format!("/{plural}"), Some(record)).await;
    }

    /// Waits until a registry answered and took its credential.
    pub async fn answers(&self, registry: &str) {
        eventually(&format!("registry {registry} answers"), async || {
            let record = self.server.call(Method::GET, &format!("/registries/{registry}"), None).await;
            let answered = record["status"]["lastSuccess"].is_string();
            if answered { Ok(()) } else { Err(record["status"].to_string()) }
        })
        .await;
    }

    /// Takes the binding of `team-a` away, and waits until the Secret is gone and pods are denied.
    pub async fn unbind(&self) {
        let patch = Patch::Merge(json!({"spec": {"workspaces": []}}));
        let spaces = records(&self.client, Kind::RegistrySpace);
        spaces.patch("corp.team-a", &PatchParams::default(), &patch).await.unwrap();
        self.secret_is(&self.bound, false).await;
        self.admits(&self.bound, &app(1), false).await;
    }

    /// Waits until a namespace has its pull secret, or has none.
    pub async fn secret_is(&self, namespace: &str, there: bool) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        eventually(&format!("{namespace} with its pull secret: {there}"), async || {
            let found = secrets.get_opt("pullgate-pull").await.unwrap().is_some();
            if found == there { Ok(()) } else { Err(format!("there: {found}")) }
        })
        .await;
    }

    /// Registers the webhooks, and waits until the API server asks both.
    pub async fn webhooks_on(&self) {
        webhooks::register(&self.client, &self.endpoint).await;
        self.admits(&self.unbound, &app(1), false).await;
        self.mutates(true).await;
    }

    /// Removes the webhooks, and waits until the API server asks neither.
    pub async fn webhooks_off(&self) {
        webhooks::remove(&self.client).await;
        self.admits(&self.unbound, &app(1), true).await;
        self.mutates(false).await;
    }

    async fn admits(&self, namespace: &str, image: &str, expected: bool) {
        eventually(&format!("{image} in {namespace} admitted: {expected}"), async || {
            let outcome = self.dry_run(namespace, image).await.map_err(|error| error.to_string());
            if outcome.is_ok() == expected { Ok(()) } else { Err(format!("{outcome:?}")) }
        })
        .await;
    }

    async fn mutates(&self, expected: bool) {
        eventually(&format!("pods are mutated: {expected}"), async || {
            let made = self.dry_run(&self.bound, PRELOADED).await.map_err(|error| error.to_string())?;
            let mutated = made.spec.unwrap().image_pull_secrets.is_some();
            if mutated == expected { Ok(()) } else { Err(format!("{mutated}")) }
        })
        .await;
    }

    async fn dry_run(&self, namespace: &str, image: &str) -> kube::Result<k8s_openapi::api::core::v1::Pod> {
        let pods = Api::namespaced(self.client.clone(), namespace);
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        pods.create(&dry_run, &serde_json::from_value(pod("dry-run", image)).unwrap()).await
    }

    /// Makes a pod that must be denied, and gives the sentence.
    pub async fn denied(&self, namespace: &str, pod: &Value) -> String {
        refusal(create(&self.client, namespace, pod).await)
    }

    /// A folder that pods on the node can mount.
    pub fn shared_folder(&self) -> &std::path::Path {
        self.directory.path()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        println!("{} and {}: over after {:.1?}", self.bound, self.unbound, self.started.elapsed());
    }
}

/// The label of namespaces that go when the next world comes.
const WORLD: &str = "pullgate.test/world";

/// Those of earlier worlds, with their pods. They go in their own time.
async fn remove_namespaces(client: &Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for namespace in namespaces.list(&ListParams::default().labels(WORLD)).await.unwrap() {
        let _ = namespaces.delete(&namespace.metadata.name.unwrap(), &DeleteParams::default()).await;
    }
}

/// The platform's registry: host and port.
pub fn platform_registry() -> String {
    on_loopback("PLATFORM_REGISTRY_PORT")
}

/// The registry of a tenant: host and port.
pub fn tenant_registry() -> String {
    on_loopback("TENANT_REGISTRY_PORT")
}

/// The folder whose manifests the kubelet runs by itself.
pub fn static_pods() -> PathBuf {
    told("STATIC_PODS").into()
}

fn on_loopback(variable: &str) -> String {
    format!("127.0.0.1:{}", told(variable))
}

fn told(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("no {variable}; start this through tests/run node"))
}

/// An image of the space `team-a`.
pub fn app(tag: u8) -> String {
    format!("{}/team-a/app:{tag}", platform_registry())
}

/// An image of the space `team-b`, which no workspace is bound to.
pub fn foreign() -> String {
    format!("{}/team-b/app:1", platform_registry())
}

/// What a denial of [`app`] or [`foreign`] says to a namespace of another workspace.
pub fn not_bound(image: &str, place: &str) -> String {
    let space = image.split('/').nth(1).unwrap();
    format!(
        "image {image} ({place}): space {space} of registry corp is private and not bound to this namespace's \
         workspace; ask a platform admin to bind it"
    )
}

/// The API server's words for what pullgate denied.
pub fn refusal<T: std::fmt::Debug>(outcome: kube::Result<T>) -> String {
    match outcome {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let prefix = "admission webhook \"pods.pullgate.io\" denied the request: ";
            let said = status.message.strip_prefix(prefix);
            said.unwrap_or_else(|| panic!("not pullgate's denial: {}", status.message)).to_owned()
        }
        other => panic!("not denied: {other:?}"),
    }
}

/// Asks until there is an answer; what was seen last is what a failure tells.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(seen) => assert!(start.elapsed() < LIMIT, "never: {what}; seen last: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
