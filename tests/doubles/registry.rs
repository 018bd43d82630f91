//! Debian's docker-registry, and images to put into one.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::token_server::TokenServer;
use crate::support::api::sha256;

/// Who may do what.
pub enum Access<'a> {
    /// Everybody everything.
    Open,
    /// This user everything, with this password.
    Password(&'a str, &'a str),
    /// Whom this server gives a token.
    Tokens(&'a TokenServer),
}

/// A registry that ends with the test.
pub struct Registry {
    process: Child,
    pub host: String,
    _directory: TempDir,
}

impl Registry {
    pub fn start(access: &Access) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let auth = access.configuration(directory.path());
        let mut tries = std::iter::repeat_with(|| launch(directory.path(), auth.as_ref()));
        // Somebody else may take the port before the registry does.
        let (process, host) = tries.by_ref().take(5).flatten().next().expect("the registry does not start");
        Self { process, host, _directory: directory }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Access<'_> {
    fn configuration(&self, directory: &Path) -> Option<Value> {
        match self {
            Self::Open => None,
            Self::Password(user, password) => {
                let hashed = Command::new("htpasswd").args(["-Bbn", user, password]).output().unwrap();
                let users = directory.join("htpasswd");
                std::fs::write(&users, hashed.stdout).unwrap();
                Some(json!({"htpasswd": {"realm": "test", "path": users}}))
            }
            Self::Tokens(server) => {
                let bundle = directory.join("tokens.crt");
                std::fs::write(&bundle, server.certificate()).unwrap();
                Some(json!({"token": {
                    "realm": server.realm(), "service": TokenServer::SERVICE, "issuer": TokenServer::ISSUER,
                    "rootcertbundle": bundle,
                }}))
            }
        }
    }
}

/// A registry that answers, if the port that was free still is.
fn launch(directory: &Path, auth: Option<&Value>) -> Option<(Child, String)> {
    let host = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().to_string();
    let mut config = json!({
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": directory.join("images")}, "delete": {"enabled": true}},
        "http": {"addr": host},
    });
    if let Some(auth) = auth {
        config["auth"] = auth.clone();
    }
    let file = directory.join("registry.yml");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    // It reads its configuration from there too (distribution, configuration/parser.go).
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REGISTRY_") {
            command.env_remove(name);
        }
    }
    let mut process = command.spawn().expect("docker-registry is missing; tests/run installs it");
    let start = Instant::now();
    while TcpStream::connect(&host).is_err() {
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "the registry does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some((process, host))
}

/// The smallest image, one empty layer, as skopeo names it. Another author makes it another one.
pub fn image(directory: &Path, author: &str) -> String {
    let blobs = directory.join("image/blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let store = |media_type: &str, content: &str| {
        let digest = sha256(content);
        std::fs::write(blobs.join(&digest), content).unwrap();
        json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len()})
    };
    let layer = "\0".repeat(1024);
    let config = json!({"architecture": "amd64", "os": "linux", "author": author,
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

/// Whether skopeo could do it.
pub fn skopeo(arguments: &[&str]) -> bool {
    let output =
        Command::new("skopeo").args(arguments).output().expect("skopeo is missing; tests/run installs it");
    output.status.success()
}

/// Pushes an image of its own to `host/repository:tag`; `credential` is `user:password`.
pub fn push(host: &str, repository: &str, tag: &str, credential: Option<&str>) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{repository}:{tag}");
    let (source, target) = (image(directory.path(), &name), format!("docker://{host}/{name}"));
    let as_whom = match credential {
        Some(credential) => ["--dest-creds", credential].to_vec(),
        None => ["--dest-no-creds"].to_vec(),
    };
    let copy = ["copy", "--dest-tls-verify=false"].iter().chain(&as_whom).copied();
    skopeo(&copy.chain([source.as_str(), &target]).collect::<Vec<_>>())
}

/// Whether `host/repository:tag` can be pulled so.
pub fn pull(host: &str, repository: &str, tag: &str, credential: Option<&str>) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let source = format!("docker://{host}/{repository}:{tag}");
    let target = format!("dir:{}", directory.path().join("pulled").display());
    let as_whom = match credential {
        Some(credential) => ["--src-creds", credential].to_vec(),
        None => ["--src-no-creds"].to_vec(),
    };
    let copy = ["copy", "--src-tls-verify=false"].iter().chain(&as_whom).copied();
    skopeo(&copy.chain([source.as_str(), &target]).collect::<Vec<_>>())
}
