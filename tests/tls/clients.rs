//! Whom the webhook listener lets in.

use std::fs;
use std::path::Path;

use pullgate::tls::client_auth::{ClientAuth, Clients};
use pullgate::tls::{Certificate, CertificateSource};
use rcgen::ExtendedKeyUsagePurpose;
use reqwest::Client;
use rustls::ClientConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::{TempDir, tempdir};

use super::{TICK, der, serve_config, until};
use crate::support::client_ca::ClientCa;
use crate::support::https_client::trusting_with;
use crate::support::server::{READY_WITHIN, Server as Process};

/// A server that lets in holders of a client certificate.
struct Server {
    url: String,
    ca: String,
    clients: Clients,
    dir: TempDir,
}

fn serve(client_ca: &str, names: &[&str]) -> Server {
    let dir = tempdir().unwrap();
    let path = dir.path().join("client-ca.crt");
    fs::write(&path, client_ca).unwrap();
    let source =
        CertificateSource::SelfSigned { dir: dir.path().join("tls"), names: vec!["127.0.0.1".to_owned()] };
    let certificate = Certificate::load(source).unwrap();
    let names = names.iter().map(ToString::to_string).collect();
    let clients = Clients::load(ClientAuth { ca: path, names }).unwrap();
    let config = certificate.server_config_for(clients.verifier()).unwrap();
    Server {
        url: format!("https://{}/", serve_config(config)),
        ca: certificate.ca_pem().unwrap(),
        clients,
        dir,
    }
}

impl Server {
    fn trusting(&self, identity: Option<&(String, PrivateKeyDer<'static>)>) -> ClientConfig {
        let identity = identity.map(|(cert, key)| (vec![der(cert)], key.clone_key()));
        trusting_with(&self.ca, b"http/1.1", identity)
    }

    fn client(&self, identity: Option<&(String, PrivateKeyDer<'static>)>) -> Client {
        let builder = Client::builder().tls_backend_preconfigured(self.trusting(identity));
        // Every request shakes hands, and may resume what an earlier one has settled.
        builder.no_proxy().pool_max_idle_per_host(0).build().unwrap()
    }

    async fn lets_in(&self, client: &Client) -> bool {
        client.get(&self.url).send().await.is_ok_and(|answer| answer.status().is_success())
    }

    async fn lets_in_identity(&self, identity: &(String, PrivateKeyDer<'static>)) -> bool {
        self.lets_in(&self.client(Some(identity))).await
    }
}

#[tokio::test]
async fn only_a_certificate_of_the_ca_is_let_in() {
    let (ca, other) = (ClientCa::new(), ClientCa::new());
    let server = serve(&ca.pem, &[]);
    assert!(!server.lets_in(&server.client(None)).await, "without a certificate");
    assert!(!server.lets_in_identity(&other.client("kube-apiserver", &[])).await, "another CA's");
    assert!(server.lets_in_identity(&ca.client("whoever", &[])).await);
    let for_servers = ca.issue("whoever", &[], ExtendedKeyUsagePurpose::ServerAuth);
    assert!(!server.lets_in_identity(&for_servers).await, "a server's certificate");
}

#[tokio::test]
async fn names_narrow_it() {
    let ca = ClientCa::new();
    let server = serve(&ca.pem, &["kube-apiserver", "API.example.com"]);
    for (common_name, dns, let_in) in [
        ("kube-apiserver", &[][..], true),
        ("other", &["x.example.com", "api.EXAMPLE.com"], true),
        ("other", &["kube-apiserver"], true),
        ("other", &[], false),
        ("Kube-Apiserver", &[], false),
        ("kube-apiserver.evil", &["api.example.com.evil"], false),
        ("", &["*.example.com"], false),
    ] {
        let identity = ca.client(common_name, dns);
        assert_eq!(server.lets_in_identity(&identity).await, let_in, "{common_name} {dns:?}");
    }
}

#[tokio::test]
async fn another_ca_in_the_file_counts_for_clients_that_were_let_in_before() {
    let (old, new) = (ClientCa::new(), ClientCa::new());
    let server = serve(&old.pem, &[]);
    let (known, coming) =
        (server.client(Some(&old.client("a", &[]))), server.client(Some(&new.client("b", &[]))));
    for _ in 0..3 {
        assert!(server.lets_in(&known).await);
    }
    assert!(!server.lets_in(&coming).await);
    let fresh = tokio::spawn(server.clients.clone().keep_fresh(TICK));

    let file = server.dir.path().join("client-ca.crt");
    fs::write(&file, [&*old.pem, &*new.pem].concat()).unwrap();
    until("both", async || server.lets_in(&coming).await && server.lets_in(&known).await).await;
    // A damaged file changes nothing.
    for damaged in ["", "garbage", &new.pem[..200]] {
        fs::write(&file, damaged).unwrap();
        tokio::time::sleep(TICK * 5).await;
        assert!(server.lets_in(&known).await && server.lets_in(&coming).await, "{damaged}");
    }
    fs::write(&file, &new.pem).unwrap();
    until("the old one is out", async || !server.lets_in(&known).await).await;
    assert!(server.lets_in(&coming).await);
    fresh.abort();
}

#[test]
fn an_unusable_file_is_named() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("client-ca.crt");
    let load = |path: &Path| {
        Clients::load(ClientAuth { ca: path.to_path_buf(), names: Vec::new() }).unwrap_err().to_string()
    };
    assert!(load(&path).contains("cannot read") && load(&path).contains("client-ca.crt"));
    for (content, reason) in [("", "no PEM block"), ("-----BEGIN CERTIFICATE-----\n?", "damaged")] {
        fs::write(&path, content).unwrap();
        assert!(load(&path).contains(reason), "{}", load(&path));
    }
}

#[tokio::test]
async fn the_process_asks_on_the_webhook_listener_alone() {
    let (ca, dir) = (ClientCa::new(), tempdir().unwrap());
    let file = dir.path().join("client-ca.crt");
    fs::write(&file, &ca.pem).unwrap();
    let arguments = ["--client-ca", file.to_str().unwrap(), "--client-name", "kube-apiserver"];
    let process = Process::start_with(dir.path(), &arguments, READY_WITHIN).await;
    process.call(reqwest::Method::GET, "/workspaces", None).await;

    let trusted = fs::read_to_string(dir.path().join("data/tls/ca.crt")).unwrap();
    for (name, let_in) in [(None, false), (Some("other"), false), (Some("kube-apiserver"), true)] {
        let identity = name.map(|name| ca.client(name, &[])).map(|(cert, key)| (vec![der(&cert)], key));
        let config = trusting_with(&trusted, b"http/1.1", identity);
        let client = Client::builder().tls_backend_preconfigured(config).no_proxy().build().unwrap();
        let answer = client.get(format!("{}/validate", process.webhooks)).send().await;
        assert_eq!(answer.is_ok(), let_in, "{name:?}: {answer:?}");
    }
}
