//! All at once that somebody without any right can send, and somebody who has a token: small reviews are answered as if
//! nothing happened, and memory stays bounded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pullgate::admission::review::BODY_MAX;
use pullgate::runtime::raise_file_limit;
use reqwest::Client;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::json;

use crate::support::https_client::{client, trusting};
use crate::support::server::{READY_WITHIN, Server, TOKEN};
use crate::support::webhooks::{container, creation};

/// As in `deploy/chart/values.yaml`.
const SETTINGS: [&str; 7] =
    ["--log=info", "--settle=5", "--grace=15", "--exempt-namespace", "kube-system", "--public-max-age", "0"];
/// For how long everybody attacks.
const TIME: Duration = Duration::from_secs(12);
/// Connections that say nothing, on each port.
const SILENT: usize = 4200;
const SLOW: usize = 30;
const P99: Duration = Duration::from_millis(100);
const MEMORY_MIB: u64 = 256;
const H1: &[u8] = b"http/1.1";

/// A list of lists of `unit`, of about so many bytes.
fn lists(bytes: usize, unit: &str) -> String {
    let list = format!("[{}]", vec![unit; 16_000].join(","));
    format!("[{}]", vec![list.as_str(); 1 + bytes / list.len()].join(","))
}

fn guarded() -> String {
    let spec = |name: &str| format!("{{\"{name}\":{}}}", lists(900_000, r#"{"":0}"#));
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "u", "operation": "UPDATE",
            "kind": {"group": "pullgate.io", "version": "v1alpha1", "kind": "Registry"},
            "object": {"metadata": {"name": "x"}, "spec": "NEW"},
            "oldObject": {"metadata": {"name": "x"}, "spec": "OLD"},
        },
    })
    .to_string()
    .replace("\"NEW\"", &spec("x"))
    .replace("\"OLD\"", &spec("y"))
}

fn record() -> String {
    let value = lists(900_000, r#"{"":0}"#);
    format!(r#"{{"metadata":{{"name":"x"}},"spec":{{"workspace":"w","type":"Docker","x":{value}}}}}"#)
}

fn hollow() -> String {
    let list = format!("[{}]", vec!["{}"; 16_384].join(","));
    let lists = format!(
        r#""containers":{list},"initContainers":{list},"ephemeralContainers":{list},"volumes":{list}"#
    );
    let spec = (0..16)
        .fold(format!("{{{lists}}}"), |spec, _| format!(r#"{{{lists},"template":{{"spec":{spec}}}}}"#));
    let mut review = creation(&json!({}));
    review["request"]["object"] = json!("OBJECT");
    review["request"]["oldObject"] = json!("OBJECT");
    review.to_string().replace("\"OBJECT\"", &format!("{{\"spec\":{spec}}}"))
}

fn crowded() -> String {
    let containers: Vec<_> =
        (0..16_000).map(|n| container(&format!("c{n}"), "docker.io/library/busybox:1", "Always")).collect();
    creation(&json!({ "containers": containers })).to_string()
}

/// Posts again and again; a refusal, and a connection that is closed, are as good as an answer.
async fn post_again(client: Client, url: String, body: &'static [u8], stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let request = client.post(&url).bearer_auth(TOKEN).header("content-type", "application/json");
        if let Ok(answer) = request.timeout(TIME).body(body).send().await {
            let _ = answer.bytes().await;
        }
    }
}

/// Announces the largest body and sends a little of it now and then.
fn send_slowly(address: SocketAddr, ca: &str, stop: &AtomicBool) {
    let open = || -> Option<StreamOwned<ClientConnection, TcpStream>> {
        let connection =
            ClientConnection::new(Arc::new(trusting(ca, H1)), ServerName::from(address.ip())).ok()?;
        let mut stream = StreamOwned::new(connection, TcpStream::connect(address).ok()?);
        let head = format!("POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY_MAX}\r\n\r\n");
        stream.write_all(head.as_bytes()).ok().map(|()| stream)
    };
    let mut streams: Vec<_> = (0..SLOW).map(|_| open()).collect();
    while !stop.load(Ordering::Relaxed) {
        for stream in &mut streams {
            let sent = stream.as_mut().and_then(|s| s.write_all(&[b' '; 1024]).and_then(|()| s.flush()).ok());
            if sent.is_none() {
                *stream = open();
            }
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// Opens connections that say nothing, more than any listener keeps.
fn say_nothing(ports: [SocketAddr; 3], stop: &AtomicBool) {
    let mut silent = Vec::new();
    for address in ports {
        silent.extend((0..SILENT).filter_map(|_| TcpStream::connect(address).ok()));
    }
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(100));
    }
}

fn is_alive(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Threads that leave the processors to pullgate where there are too few of them.
fn step_back() {
    let _ = rustix::process::nice(19);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_reviews_are_answered_under_all_attacks_at_once() {
    raise_file_limit();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &SETTINGS, READY_WITHIN).await;
    let ca: &'static str =
        String::leak(std::fs::read_to_string(directory.path().join("data/tls/ca.crt")).unwrap());
    let review = creation(&json!({"containers": [container("c", "docker.io/library/busybox:1", "Always")]}));
    assert_eq!(server.review("validate", &review).await["response"]["allowed"], true);
    println!("{} MiB before", server.memory_kib("VmHWM") / 1024);

    let stop = Arc::<AtomicBool>::default();
    let attackers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(step_back)
        .enable_all()
        .build()
        .unwrap();
    let host = |url: &str| -> SocketAddr { url.split('/').nth(2).unwrap().parse().unwrap() };
    for (count, url, body) in [
        (32, format!("{}/guard", server.webhooks), guarded()),
        (40, format!("{}/registries", server.api), record()),
        (40, format!("{}/validate", server.webhooks), hollow()),
        (10, format!("{}/mutate", server.webhooks), crowded()),
    ] {
        assert!(body.len() < BODY_MAX);
        let body: &'static [u8] = Vec::leak(body.into_bytes());
        for _ in 0..count {
            attackers.spawn(post_again(client(ca, H1), url.clone(), body, stop.clone()));
        }
    }
    let ports = [host(&server.webhooks), host(&server.api), host(&server.metrics)];
    let (slow, silent) = (stop.clone(), stop.clone());
    let threads = [
        thread::spawn(move || {
            step_back();
            send_slowly(ports[0], ca, &slow);
        }),
        thread::spawn(move || {
            step_back();
            say_nothing(ports, &silent);
        }),
    ];

    let (mut kept, mut new) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while start.elapsed() < TIME {
        let asked = Instant::now();
        assert_eq!(server.review("validate", &review).await["response"]["allowed"], true);
        kept.push(asked.elapsed());
        if kept.len() % 10 == 0 {
            let asked = Instant::now();
            let answer =
                client(ca, H1).post(format!("{}/validate", server.webhooks)).json(&review).send().await;
            assert!(answer.unwrap().status().is_success());
            new.push(asked.elapsed());
            assert!(tokio::task::spawn_blocking(move || is_alive(ports[2])).await.unwrap(), "/livez");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    attackers.shutdown_background();
    let (asked, kept, new) = (kept.len(), p99(kept), p99(new));
    let peak = server.memory_kib("VmHWM") / 1024;
    println!("{asked} reviews: p99 {kept:?}, on a new connection {new:?}; {peak} MiB at most");
    assert!(peak < MEMORY_MIB, "{peak} MiB");
    assert!(kept < P99, "p99 {kept:?}");
    assert!(new < 10 * P99, "p99 on new connections {new:?}");
    assert_eq!(server.review("validate", &review).await["response"]["allowed"], true);
}
