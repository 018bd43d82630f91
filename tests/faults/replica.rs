//! Replicas as a Deployment runs them, and which of them get requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

use crate::balancer::Balancer;
use crate::plane::{Plane, until};
use crate::support::server::Server;

/// How long a replica may take to get ready: the first one of all waits until it leads and has made a certificate.
const READY: Duration = Duration::from_secs(40);

pub struct Replica {
    pub server: Server,
    _directory: TempDir,
}

impl Replica {
    pub async fn start(plane: &Plane, name: &str) -> Self {
        Self::start_with(plane, name, &[]).await
    }

    /// Starts one with further arguments.
    pub async fn start_with(plane: &Plane, name: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = plane.kubeconfig(plane.api_port);
        let environment = [("KUBECONFIG", kubeconfig.to_str().unwrap())];
        let arguments = [&["--store", "kubernetes", "--identity", name, "--settle", "3"], arguments].concat();
        let client = plane.client().await;
        let ca = async || {
            let secrets: Api<Secret> = Api::namespaced(client, "pullgate-system");
            let mut found = None;
            until("a certificate", READY, async || {
                let secret = secrets.get_opt("pullgate-tls").await.unwrap();
                found = secret.and_then(|secret| String::from_utf8(secret.data?.remove("ca.crt")?.0).ok());
                found.as_ref().is_some_and(|ca| ca.contains("BEGIN"))
            })
            .await;
            found.unwrap()
        };
        let server = Server::start_trusting(directory.path(), &arguments, &environment, READY, ca).await;
        Self { server, _directory: directory }
    }

    pub fn webhook_port(&self) -> u16 {
        address(&self.server.webhooks).port()
    }

    pub async fn store_credential(&self, registry: &str) {
        let credential = json!({"username": "robot", "password": "secret"});
        self.server.call(Method::PUT, &format!("/registries/{registry}/credential"), Some(credential)).await;
    }

    pub async fn metrics(&self) -> String {
        self.server.get(format!("{}/metrics", self.server.metrics)).await.text().await.unwrap()
    }

    pub async fn leads(&self) -> bool {
        self.metrics().await.lines().any(|line| line == "pullgate_leader 1")
    }
}

fn address(url: &str) -> SocketAddr {
    url.rsplit('/').next().unwrap().parse().unwrap()
}

/// Replicas by number. Only those that are ready get new connections, as a Service has it.
pub struct Fleet {
    replicas: Arc<Mutex<BTreeMap<usize, Replica>>>,
    looking: JoinHandle<()>,
}

impl Fleet {
    pub fn new(balancer: Arc<Balancer>) -> Self {
        let replicas = Arc::new(Mutex::new(BTreeMap::new()));
        Self { looking: tokio::spawn(look(balancer, replicas.clone())), replicas }
    }

    pub async fn add(&self, replica: Replica) -> usize {
        let mut replicas = self.replicas.lock().await;
        let number = replicas.keys().next_back().map_or(0, |last| last + 1);
        replicas.insert(number, replica);
        number
    }

    pub async fn server(&self, number: usize) -> impl std::ops::Deref<Target = Replica> + use<'_> {
        MutexGuard::map(self.replicas.lock().await, |replicas| replicas.get_mut(&number).unwrap())
    }

    /// Ends one without a chance to say goodbye; what looks on still knows of it.
    pub async fn kill(&self, number: usize) {
        self.replicas.lock().await.get_mut(&number).unwrap().server.kill();
    }

    pub async fn forget(&self, number: usize) {
        self.replicas.lock().await.remove(&number);
    }

    /// Ends one as a kubelet does, and waits until it is gone.
    pub async fn retire(&self, number: usize) {
        // No new connections from now on; those that are open are for it to end.
        let mut replica = self.replicas.lock().await.remove(&number).unwrap();
        let ended = tokio::task::spawn_blocking(move || replica.server.terminate()).await.unwrap();
        assert!(ended.success(), "it ended with {ended}");
    }

    /// Which of these leads.
    pub async fn leader(&self, numbers: &[usize]) -> usize {
        let mut leader = None;
        until("a leader", Duration::from_secs(30), async || {
            for number in numbers {
                if self.server(*number).await.leads().await {
                    leader = Some(*number);
                }
            }
            leader.is_some()
        })
        .await;
        leader.unwrap()
    }

    /// Where metrics are.
    pub async fn targets(&self) -> Vec<SocketAddr> {
        self.replicas.lock().await.values().map(|replica| address(&replica.server.metrics)).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// Asks every replica whether it is ready, ten times a second.
async fn look(balancer: Arc<Balancer>, replicas: Arc<Mutex<BTreeMap<usize, Replica>>>) {
    let client = reqwest::Client::builder().timeout(Duration::from_millis(500)).build().unwrap();
    loop {
        let known: Vec<_> = {
            let replicas = replicas.lock().await;
            replicas.values().map(|r| (r.server.metrics.clone(), address(&r.server.webhooks))).collect()
        };
        let mut ready = Vec::new();
        for (metrics, webhooks) in known {
            let answer = client.get(format!("{metrics}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                ready.push(webhooks);
            }
        }
        balancer.send_to(ready);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
