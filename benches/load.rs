//! Throughput of the webhooks beside two yardsticks, in one process and one run: `tests/run load`.
//!
//! A bare axum + rustls handler that reads the body and answers a fixed review, the idiomatic handler with the
//! kube crate's typed `AdmissionReview<Pod>`, and pullgate's two webhooks with 100,000 spaces. Each is driven by
//! h2load over TLS and HTTP/1.1 with 25 connections and an 8 KB review, in turn, for five rounds. Prints the
//! medians of the rates, and of the ratios within a round, as `name: value` lines.
#![allow(clippy::cast_precision_loss, clippy::unwrap_used, missing_docs)]

#[allow(dead_code)]
#[path = "../tests/support/records.rs"]
mod records;
#[allow(dead_code)]
#[path = "../tests/support/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use pullgate::admission::handlers::{Admission, router};
use pullgate::domain::snapshot::{Settings, Snapshot};
use pullgate::listener::Listener;
use pullgate::metrics::Metrics;
use pullgate::state::State;
use pullgate::tls::{Certificate, CertificateSource};

const SPACES: usize = 100_000;
const ROUNDS: usize = 5;
const CONNECTIONS: &str = "25";
/// Short turns, many of them: on a machine that others share, one long turn may meet twice the speed of the next.
const TURNS: usize = 4;
const TURN: &str = "1s";
const WARM_UP: &str = "250ms";
const TARGETS: [(&str, &str); 4] =
    [("bare", "/bare"), ("typed", "/typed"), ("mutate", "/mutate"), ("validate", "/validate")];

fn main() -> ExitCode {
    // Names choose handlers, for a profiler's sake; cargo also passes `--bench`, which means nothing here.
    let chosen: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let targets: Vec<_> = TARGETS
        .into_iter()
        .filter(|(name, _)| chosen.is_empty() || chosen.iter().any(|c| c == name))
        .collect();
    if Command::new("h2load").arg("--version").output().is_err() {
        eprintln!("h2load is missing: install Debian's nghttp2-client, or start this through tests/run load");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let snapshot = Snapshot::build(&world::world(SPACES), &Settings::default());
    eprintln!("{SPACES} spaces recorded and indexed in {:.1?}", start.elapsed());
    let _threads = runtime.enter();
    let address = serve(directory.path(), snapshot);

    let review = directory.path().join("review.json");
    let body = world::review(8_000, "team-1-ns-1", "harbor.example.com/project-1/web:1");
    std::fs::write(&review, &body).unwrap();

    let mut rates: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 1..=ROUNDS {
        let mut sums = vec![0.0; targets.len()];
        for _ in 0..TURNS {
            for (sum, (_, path)) in sums.iter_mut().zip(&targets) {
                *sum += drive(address, path, &review);
            }
        }
        for (sum, (name, _)) in sums.into_iter().zip(&targets) {
            let rate = sum / TURNS as f64;
            eprintln!("round {round} of {ROUNDS}: {name:>8} {rate:>9.0} requests/s");
            rates.entry(name).or_default().push(rate);
        }
    }

    println!("review.bytes: {}", body.len());
    for (name, rates) in &rates {
        println!("{name}.requests_per_second: {:.0}", median(rates.clone()));
    }
    for webhook in ["mutate", "validate"] {
        for yardstick in ["bare", "typed"] {
            let (Some(rates), Some(yardstick_rates)) = (rates.get(webhook), rates.get(yardstick)) else {
                continue;
            };
            let ratios = rates.iter().zip(yardstick_rates).map(|(rate, of)| rate / of).collect();
            println!("{webhook}.ratio_to_{yardstick}: {:.3}", median(ratios));
        }
    }
    ExitCode::SUCCESS
}

/// All four handlers on one listener: the same TLS, the same HTTP, the same threads.
fn serve(directory: &Path, snapshot: Snapshot) -> SocketAddr {
    let names = vec!["127.0.0.1".to_owned()];
    let certificate =
        Certificate::load(CertificateSource::SelfSigned { dir: directory.join("tls"), names }).unwrap();
    let admission = Admission::new(State::of(snapshot), Arc::new(Metrics::new().unwrap()));
    let handlers =
        Router::new().route("/bare", post(bare)).route("/typed", post(typed)).merge(router(admission));
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address();
    tokio::spawn(listener.serve(handlers, Some(certificate.server_config()), axum_server::Handle::new()));
    address
}

/// What the bare handler answers.
const ANSWER: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"8096c8ed-61d7-4196-bb3f-00ea7117e913","allowed":true}}"#;

async fn bare(body: Bytes) -> impl IntoResponse {
    std::hint::black_box(&body);
    ([(CONTENT_TYPE, "application/json")], ANSWER)
}

async fn typed(Json(review): Json<AdmissionReview<Pod>>) -> Json<AdmissionReview<DynamicObject>> {
    let request: AdmissionRequest<Pod> = review.try_into().unwrap();
    let mut response = AdmissionResponse::from(&request);
    let images = request.object.iter().flat_map(|pod| pod.spec.iter().flat_map(|spec| &spec.containers));
    if images.filter_map(|container| container.image.as_deref()).any(|image| image.contains("/forbidden/")) {
        response = response.deny("forbidden");
    }
    Json(response.into_review())
}

fn drive(address: SocketAddr, path: &str, review: &Path) -> f64 {
    let output = Command::new("h2load")
        .args(["--h1", "-t", "1", "-c", CONNECTIONS, "-D", TURN, "--warm-up-time", WARM_UP])
        .args(["-H", "content-type: application/json", "-d"])
        .arg(review)
        .arg(format!("https://{address}{path}"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |line: &str, before: &str| -> f64 {
        let line =
            text.lines().find(|l| l.starts_with(line)).unwrap_or_else(|| panic!("no {line} in: {text}"));
        let at = line.find(before).unwrap_or_else(|| panic!("no {before} in: {line}"));
        line[..at].trim_end().rsplit([' ', ',']).next().unwrap().parse().unwrap()
    };
    let (good, failed, errored) =
        (field("status codes:", " 2xx"), field("requests:", " failed"), field("requests:", " errored"));
    assert!(good > 0.0 && failed == 0.0 && errored == 0.0, "not every request of {path} succeeded: {text}");
    field("finished in", " req/s")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
