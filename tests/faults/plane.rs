//! A control plane of one test's own, which it may break.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/control-plane");
/// Operations that etcd takes in one transaction.
const BATCH: usize = 100;

pub struct Plane {
    directory: TempDir,
    pub api_port: u16,
    etcd_port: u16,
}

/// Ports that are free now; all held until the last is known, so that they differ.
fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

impl Plane {
    /// Starts etcd and the API server and, where asked for, the controller manager and the scheduler.
    pub fn start(with_controllers: bool) -> Self {
        Self::start_with(with_controllers, |_| String::new())
    }

    /// Starts one with more flags of the API server's, which may name files in the folder.
    pub fn start_with(with_controllers: bool, api_flags: impl FnOnce(&Path) -> String) -> Self {
        let programs = std::env::var("CONTROL_PLANE").expect("start this through tests/run faults");
        let directory = tempfile::tempdir().unwrap();
        let [api_port, etcd_port, peer_port, cm, scheduler] = free_ports();
        let mut start = Command::new(format!("{SCRIPTS}/start"));
        start.arg(programs).arg(directory.path()).env("API_FLAGS", api_flags(directory.path()));
        let ports = [("API_PORT", api_port), ("ETCD_PORT", etcd_port), ("PEER_PORT", peer_port)];
        for (name, port) in ports.into_iter().chain([("CM_PORT", cm), ("SCHED_PORT", scheduler)]) {
            start.env(name, port.to_string());
        }
        if !with_controllers {
            start.env("CONTROLLERS", "no");
        }
        // Made first: a start that fails leaves nothing behind.
        let plane = Self { directory, api_port, etcd_port };
        assert!(start.status().unwrap().success(), "the control plane does not start");
        plane
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Restarts the API server, which is away in between for as long as this says.
    pub fn restart_api(&self, away: Duration) {
        let script = |name: &str| {
            let mut command = Command::new(format!("{SCRIPTS}/{name}"));
            assert!(command.arg(self.path()).arg("kube-apiserver").status().unwrap().success(), "{name}");
        };
        script("stop");
        std::thread::sleep(away);
        script("resume");
    }

    /// A kubeconfig of the administrator's for a server on another port of this machine.
    pub fn kubeconfig(&self, port: u16) -> PathBuf {
        let text = std::fs::read_to_string(self.path().join("pki/admin.kubeconfig")).unwrap();
        let path = self.path().join(format!("pki/by-{port}.kubeconfig"));
        std::fs::write(&path, text.replace(&format!(":{}", self.api_port), &format!(":{port}"))).unwrap();
        path
    }

    /// A client of the API server itself.
    pub async fn client(&self) -> Client {
        // Another part may have chosen already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let file = Kubeconfig::read_from(self.path().join("pki/admin.kubeconfig")).unwrap();
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }

    /// Writes objects into etcd, past the API server, which would take minutes for 100,000. It finds them by its watch.
    pub async fn load(&self, objects: impl Iterator<Item = (String, Value)>) {
        let client = reqwest::Client::new();
        let url = format!("http://127.0.0.1:{}/v3/kv/txn", self.etcd_port);
        let puts = objects.map(|(key, mut object)| {
            let managed = managed_fields(&object["apiVersion"]);
            let metadata = object["metadata"].as_object_mut().unwrap();
            metadata.insert("uid".into(), json!(uid(&key)));
            metadata.insert("creationTimestamp".into(), json!("2026-01-01T00:00:00Z"));
            metadata.insert("generation".into(), json!(1));
            metadata.insert("managedFields".into(), managed);
            let encode = |text: String| BASE64_STANDARD.encode(text);
            json!({"request_put": {"key": encode(key), "value": encode(object.to_string())}})
        });
        let mut puts = puts.peekable();
        while puts.peek().is_some() {
            let batch: Vec<Value> = puts.by_ref().take(BATCH).collect();
            let answer = client.post(&url).json(&json!({ "success": batch })).send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let stopped = Command::new(format!("{SCRIPTS}/stop")).arg(self.path()).status();
        if !stopped.is_ok_and(|status| status.success()) {
            eprintln!("the control plane in {} did not stop", self.path().display());
        }
    }
}

/// A UID as good as any.
fn uid(key: &str) -> String {
    let hex = crate::support::api::sha256(key);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

/// As `kubectl apply` leaves them: half of what an object weighs.
fn managed_fields(api_version: &Value) -> Value {
    json!([{
        "manager": "kubectl-client-side-apply", "operation": "Update", "apiVersion": api_version,
        "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/last-applied-configuration": {}}},
                     "f:spec": {".": {}, "f:path": {}, "f:registry": {}, "f:workspaces": {}}},
    }])
}

/// Waits until something holds, and tells how long it took.
pub async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}
