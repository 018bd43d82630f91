//! The served certificate over real TLS: reloads as kubelet makes them, pullgate's own CA, the recipe in `certs/`.

mod clients;
mod own_ca;
mod rotation;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use axum::{Router, routing::get};
use axum_server::tls_rustls::{RustlsConfig, from_tcp_rustls};
use pullgate::tls::{
    Certificate, CertificateSource,
    issue::{self, LEAF_LIFE, Names},
};
use reqwest::{Client, Version, tls::TlsInfo};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use secrecy::ExposeSecret;
use tempfile::{TempDir, tempdir};

use crate::support::https_client::client;
use crate::support::log::Log;

const TICK: Duration = Duration::from_millis(20);
const DAY: i64 = 24 * 60 * 60;

fn now() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs().try_into().unwrap()
}

/// A leaf for 127.0.0.1 under a CA of its own, all PEM.
struct Made {
    ca: String,
    cert: String,
    key: String,
}

fn make() -> Made {
    make_at(now())
}

fn make_at(now: i64) -> Made {
    let ca = issue::new_ca(now).unwrap();
    let ca_der = CertificateDer::from_pem_slice(ca.cert_pem.as_bytes()).unwrap();
    let ca_key = PrivateKeyDer::from_pem_slice(ca.key_pem.expose_secret().as_bytes()).unwrap();
    let names = Names::parse(&["127.0.0.1".to_owned()]).unwrap();
    let leaf = issue::new_leaf(&ca_der, &ca_key, &names, now).unwrap();
    Made { ca: ca.cert_pem, cert: leaf.cert_pem, key: leaf.key_pem.expose_secret().to_owned() }
}

fn files(dir: &Path) -> CertificateSource {
    CertificateSource::Files { cert: dir.join("tls.crt"), key: dir.join("tls.key") }
}

/// A directory with a pair of plain files.
fn plain(made: &Made) -> TempDir {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("tls.crt"), &made.cert).unwrap();
    fs::write(dir.path().join("tls.key"), &made.key).unwrap();
    dir
}

/// What kubelet's atomic writer does for a mounted Secret: a new timestamped directory, `..data` renamed onto it,
/// the old directory removed; the visible names are links through `..data` and never change.
fn kubelet_writes(volume: &Path, timestamp: &str, made: &Made) {
    let data = volume.join(timestamp);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("tls.crt"), &made.cert).unwrap();
    fs::write(data.join("tls.key"), &made.key).unwrap();
    let old = fs::read_link(volume.join("..data"));
    symlink(timestamp, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    match old {
        Ok(old) => fs::remove_dir_all(volume.join(old)).unwrap(),
        Err(_) => {
            for file in ["tls.crt", "tls.key"] {
                symlink(format!("..data/{file}"), volume.join(file)).unwrap();
            }
        }
    }
}

fn serve(certificate: &Certificate) -> SocketAddr {
    serve_config(certificate.server_config())
}

fn serve_config(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let server = from_tcp_rustls(listener, RustlsConfig::from_config(config)).unwrap();
    let slow = get(|| async {
        tokio::time::sleep(TICK * 10).await;
        "slow"
    });
    let router = Router::new().route("/", get(|| async { "ok" })).route("/slow", slow);
    tokio::spawn(server.serve(router.into_make_service()));
    address
}

/// The certificate that the server showed on the connection of this answer.
async fn shown(client: &Client, url: &str) -> Result<CertificateDer<'static>, reqwest::Error> {
    let response = client.get(url).send().await?.error_for_status()?;
    let info = response.extensions().get::<TlsInfo>().unwrap();
    let shown = CertificateDer::from(info.peer_certificate().unwrap().to_vec());
    response.bytes().await?;
    Ok(shown)
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

async fn until<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(TICK).await;
    }
}

fn error(source: CertificateSource) -> String {
    Certificate::load(source).unwrap_err().to_string()
}

fn read(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap()
}

#[tokio::test]
async fn kubelets_swap_is_served_and_open_connections_go_on() {
    for protocol in [b"http/1.1".as_slice(), b"h2"] {
        let (old, new, newest) = (make(), make(), make());
        let volume = tempdir().unwrap();
        kubelet_writes(volume.path(), "..2026_01_01_00_00_00.1", &old);
        let certificate = Certificate::load(files(volume.path())).unwrap();
        let url = format!("https://{}/", serve(&certificate));
        let fresh = tokio::spawn(certificate.keep_fresh(TICK));

        // Trusts the old CA only: once the new certificate is served, it lives on its open connection or not at all.
        let opened_before = client(&old.ca, protocol);
        assert_eq!(shown(&opened_before, &url).await.unwrap(), der(&old.cert));
        let in_flight = {
            let (client, url) = (opened_before.clone(), format!("{url}slow"));
            tokio::spawn(async move { shown(&client, &url).await })
        };
        tokio::time::sleep(TICK).await;

        // Twice: a watch on the path would see the first swap and miss the second.
        for (timestamp, made) in [("..2026_01_01_00_01_00.2", &new), ("..2026_01_01_00_02_00.3", &newest)] {
            kubelet_writes(volume.path(), timestamp, made);
            until("the new certificate", async || {
                shown(&client(&made.ca, protocol), &url).await.is_ok_and(|cert| cert == der(&made.cert))
            })
            .await;
            assert!(
                shown(&client(&old.ca, protocol), &url).await.is_err(),
                "still served to a new connection"
            );
        }
        assert_eq!(in_flight.await.unwrap().unwrap(), der(&old.cert));
        assert_eq!(shown(&opened_before, &url).await.unwrap(), der(&old.cert));
        fresh.abort();
    }
}

#[tokio::test]
async fn a_half_written_pair_is_not_served() {
    let (old, new) = (make(), make());
    let dir = plain(&old);
    let certificate = Certificate::load(files(dir.path())).unwrap();
    let url = format!("https://{}/", serve(&certificate));

    fs::write(dir.path().join("tls.crt"), &new.cert).unwrap();
    let mismatch = certificate.refresh(now()).unwrap_err().to_string();
    assert!(mismatch.contains("tls.key does not belong to the certificate in "), "{mismatch}");
    assert_eq!(shown(&client(&old.ca, b"http/1.1"), &url).await.unwrap(), der(&old.cert));

    fs::write(dir.path().join("tls.key"), &new.key[..new.key.len() / 2]).unwrap();
    certificate.refresh(now()).unwrap_err();
    assert_eq!(shown(&client(&old.ca, b"http/1.1"), &url).await.unwrap(), der(&old.cert));

    fs::write(dir.path().join("tls.key"), &new.key).unwrap();
    assert!(certificate.refresh(now()).unwrap());
    assert!(!certificate.refresh(now()).unwrap(), "equal content is no change");
    assert_eq!(shown(&client(&new.ca, b"http/1.1"), &url).await.unwrap(), der(&new.cert));
}

#[tokio::test]
async fn both_protocols_are_offered() {
    let made = make();
    let dir = plain(&made);
    let certificate = Certificate::load(files(dir.path())).unwrap();
    let url = format!("https://{}/", serve(&certificate));
    for (protocol, version) in [(b"http/1.1".as_slice(), Version::HTTP_11), (b"h2", Version::HTTP_2)] {
        let response = client(&made.ca, protocol).get(&url).send().await.unwrap();
        assert_eq!(response.version(), version);
    }
}

#[tokio::test]
async fn each_failure_is_logged_once() {
    let log = Log::default();
    let _guard = log.capture();

    let (made, other) = (make(), make());
    let dir = plain(&made);
    let certificate = Certificate::load(files(dir.path())).unwrap();
    let fresh = tokio::spawn(certificate.keep_fresh(TICK));
    let key = dir.path().join("tls.key");
    for round in 1..=2 {
        fs::remove_file(&key).unwrap();
        until("the missing key in the log", async || log.count("cannot read") == round).await;
        fs::write(&key, &other.key).unwrap();
        until("the mismatch in the log", async || log.count("does not belong") == round).await;
        tokio::time::sleep(TICK * 10).await;
        fs::write(&key, &made.key).unwrap();
        until("the recovery in the log", async || log.count("can be read again") == round).await;
        assert_eq!((log.count("cannot read"), log.count("does not belong")), (round, round));
    }
    assert_eq!(log.count("ERROR"), 4);
    assert_eq!(log.count("serving a new TLS certificate"), 0);
    fresh.abort();
}

#[test]
fn unusable_files_are_named() {
    let (made, other) = (make(), make());
    let dir = plain(&made);
    let (cert, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let load = || error(files(dir.path()));
    let names = |text: &str, path: &Path, reason: &str| {
        assert!(text.contains(path.to_str().unwrap()) && text.contains(reason), "{text}");
    };

    fs::write(&key, &other.key).unwrap();
    let mismatch = load();
    names(&mismatch, &key, "does not belong");
    names(&mismatch, &cert, "does not belong");
    fs::write(&key, &made.cert).unwrap();
    names(&load(), &key, "no usable private key");
    fs::write(&key, made.key.replacen("PRIVATE", "ENCRYPTED PRIVATE", 2)).unwrap();
    names(&load(), &key, "unencrypted");
    fs::write(&key, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0!\n-----END PRIVATE KEY-----\n").unwrap();
    names(&load(), &key, "no usable private key");
    assert!(!load().contains("c2Vj"), "a key's content is in the error");
    fs::remove_file(&key).unwrap();
    names(&load(), &key, "cannot read");

    fs::write(&key, &made.key).unwrap();
    fs::write(&cert, "garbage").unwrap();
    names(&load(), &cert, "no PEM block CERTIFICATE");
    fs::write(&cert, &made.cert[..made.cert.len() / 2]).unwrap();
    names(&load(), &cert, "damaged");
    fs::write(&cert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    names(&load(), &cert, "no usable certificate");
}

#[test]
fn an_expired_certificate_is_served() {
    let dir = plain(&make_at(now() - LEAF_LIFE - DAY));
    assert!(Certificate::load(files(dir.path())).unwrap().not_after() < now());
}

#[test]
fn debug_shows_no_key() {
    let made = make();
    let dir = plain(&made);
    let certificate = Certificate::load(files(dir.path())).unwrap();
    let shown = format!("{certificate:?} {:?}", certificate.server_config());
    assert!(shown.contains("tls.crt"));
    let der = format!("{:?}", PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap().secret_der());
    for secret in ["CertifiedKey", made.key.lines().nth(1).unwrap(), der.trim_matches(['[', ']'])] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

fn recipe() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make-certs.sh"))
}

#[tokio::test]
async fn the_openssl_recipe_makes_a_certificate_that_clients_verify() {
    let dir = tempdir().unwrap();
    let run = || {
        let names = ["pullgate.pullgate-system.svc", "localhost", "127.0.0.1"];
        recipe().arg(dir.path()).args(names).output().unwrap()
    };
    let made = run();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let ca = read(dir.path(), "ca.crt");
    let certificate = Certificate::load(files(dir.path())).unwrap();
    let port = serve(&certificate).port();
    for host in ["localhost", "127.0.0.1"] {
        shown(&client(&ca, b"h2"), &format!("https://{host}:{port}/")).await.unwrap();
    }

    let leaf = read(dir.path(), "tls.crt");
    let again = run();
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("tls.crt exists"));
    assert_eq!((read(dir.path(), "ca.crt"), read(dir.path(), "tls.crt")), (ca.clone(), leaf));

    for file in ["tls.crt", "tls.key"] {
        fs::remove_file(dir.path().join(file)).unwrap();
    }
    assert!(run().status.success());
    assert_eq!(read(dir.path(), "ca.crt"), ca, "renewal keeps the CA");
    assert!(certificate.refresh(now()).unwrap());
    shown(&client(&ca, b"h2"), &format!("https://localhost:{port}/")).await.unwrap();

    let help = recipe().arg("--help").output().unwrap();
    assert!(
        help.status.success() && String::from_utf8_lossy(&help.stdout).starts_with("usage: make-certs.sh")
    );
    assert!(!recipe().args([dir.path().to_str().unwrap(), "a,DNS:b"]).output().unwrap().status.success());
}
