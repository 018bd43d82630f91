//! A real registry with a password: the pull secret that pullgate computes pulls from it, and nothing else does.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::sha256;
use crate::support::server::Server;

struct Registry {
    process: Child,
    host: String,
}

impl Registry {
    /// Debian's docker-registry with one user, `pusher` with the password `s3cret:with-colon`.
    fn start(directory: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let hashed = Command::new("htpasswd").args(["-Bbn", "pusher", "s3cret:with-colon"]).output().unwrap();
        let users = directory.join("htpasswd");
        std::fs::write(&users, hashed.stdout).unwrap();
        let config = json!({
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": directory.join("images")}},
            "http": {"addr": host},
            "auth": {"htpasswd": {"realm": "test", "path": users}},
        });
        let file = directory.join("registry.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is missing; tests/run installs it");
        let start = Instant::now();
        while std::net::TcpStream::connect(&host).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "the registry does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { process, host }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The smallest image: one empty layer.
fn image(directory: &Path) -> String {
    let blobs = directory.join("image/blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let store = |media_type: &str, content: &str| {
        let digest = sha256(content);
        std::fs::write(blobs.join(&digest), content).unwrap();
        json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len()})
    };
    let layer = "\0".repeat(1024);
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))]}});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": store("application/vnd.oci.image.config.v1+json", &config.to_string()),
        "layers": [store("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let index = json!({"schemaVersion": 2,
        "manifests": [store("application/vnd.oci.image.manifest.v1+json", &manifest.to_string())]});
    std::fs::write(directory.join("image/index.json"), index.to_string()).unwrap();
    std::fs::write(directory.join("image/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    format!("oci:{}", directory.join("image").display())
}

fn skopeo(arguments: &[&str]) -> bool {
    let output =
        Command::new("skopeo").args(arguments).output().expect("skopeo is missing; tests/run installs it");
    output.status.success()
}

/// The credential that the kubelet's keyring finds for an image: `https://` assumed, a leading `/v1/` or `/v2/` of
/// the path cut, then a byte-prefix match (pkg/credentialprovider/keyring.go).
fn keyring(config: &Value, image: &str) -> Option<String> {
    let entries = config["auths"].as_object().unwrap();
    let found = entries.iter().find(|(key, _)| {
        let (host, path) = key.split_once('/').unwrap();
        let path = path.strip_prefix("v2/").or_else(|| path.strip_prefix("v1/")).unwrap_or(path);
        image.starts_with(&format!("{host}/{path}"))
    });
    let auth = BASE64_STANDARD.decode(found?.1["auth"].as_str().unwrap()).unwrap();
    Some(String::from_utf8(auth).unwrap())
}

fn manifest(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "pullgate.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn the_computed_pull_secret_pulls_and_an_unbound_namespace_has_none() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start(directory.path());
    let target = format!("{}/team-a/app:1", registry.host);
    let remote = format!("docker://{target}");
    let source = image(directory.path());
    let push =
        ["copy", "--dest-tls-verify=false", "--dest-creds", "pusher:s3cret:with-colon", &source, &remote];
    assert!(skopeo(&push), "the image could not be pushed");

    let server = Server::start(directory.path()).await;
    let url = format!("http://{}", registry.host);
    let mut corp = manifest(
        "Registry",
        "corp",
        &json!({"type": "Harbor", "url": url, "pullCredentials": "Integration"}),
    );
    corp["credential"] = json!({"username": "pusher", "password": "s3cret:with-colon"});
    let bound = json!({"registry": "corp", "path": "team-a", "visibility": "Private", "workspaces": ["a"]});
    for (path, body) in [
        ("/workspaces", manifest("Workspace", "a", &json!({"namespaces": ["a-prod"]}))),
        ("/workspaces", manifest("Workspace", "b", &json!({"namespaces": ["b-prod"]}))),
        ("/registries", corp),
        ("/spaces", manifest("RegistrySpace", "corp.team-a", &bound)),
    ] {
        server.call(Method::POST, path, Some(body)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;

    let secret = async |namespace: &str| {
        let path = format!("/namespaces/{namespace}/pull-secret");
        let shown = server.call(Method::GET, &path, None).await.to_string();
        assert!(
            !shown.contains("s3cret") && !shown.contains("dockerconfigjson"),
            "a password unasked for: {shown}"
        );
        server.call(Method::GET, &format!("{path}?reveal=true"), None).await["dockerconfigjson"].clone()
    };
    let config = secret("a-prod").await;
    let credential =
        keyring(&config, &format!("{}/team-a/app", registry.host)).expect("no credential for the image");
    let to = format!("dir:{}", directory.path().join("pulled").display());
    assert!(
        !skopeo(&["copy", "--src-tls-verify=false", "--src-no-creds", &remote, &to]),
        "pulled without a password"
    );
    assert!(skopeo(&["copy", "--src-tls-verify=false", "--src-creds", &credential, &remote, &to]));
    assert_eq!(keyring(&config, &format!("{}/team-a-evil/app", registry.host)), None, "a neighbour's space");

    for namespace in ["b-prod", "nobodys"] {
        assert_eq!(secret(namespace).await, json!({"auths": {}}), "{namespace}");
    }
    server.call(Method::DELETE, "/spaces/corp.team-a/bindings/a", None).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(secret("a-prod").await, json!({"auths": {}}), "the entry goes with the binding");
}
