//! `pullgate demo`: everything in a temporary directory with sample records, and commands to paste.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::{Outcome, serve};
use crate::app::App;
use crate::config::{CallerSource, Config, StoreSource};
use crate::domain::record::Kind;
use crate::domain::snapshot::Settings;
use crate::store::{CredentialChange, Precondition};
use crate::tls::CertificateSource;
use crate::types::Document;

/// How long the sample records may take to be in force.
const START_MAX: Duration = Duration::from_secs(10);

/// Try it out: serve from a temporary directory with sample records, and print commands to paste
#[derive(Debug, Args)]
#[command(
    after_help = "Ends with Ctrl-C and leaves nothing behind. Listens on 127.0.0.1 only, on free ports."
)]
pub struct Arguments {
    /// Log filter, as `info` or `debug`
    #[arg(long, default_value = "warn", value_name = "FILTER")]
    log: String,
}

impl Arguments {
    pub fn run(self) -> anyhow::Result<Outcome> {
        serve::start_log(&self.log, false)?;
        let directory = tempfile::Builder::new().prefix("pullgate-demo-").tempdir()?;
        let runtime = tokio::runtime::Runtime::new()?;
        let outcome = runtime.block_on(serve_samples(directory.path()));
        runtime.shutdown_background();
        directory.close().context("the temporary directory could not be removed")?;
        outcome.map(|()| Outcome::Good)
    }
}

async fn serve_samples(directory: &Path) -> anyhow::Result<()> {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let names = ["localhost", "127.0.0.1"].map(str::to_owned).to_vec();
    let app = App::start(Config {
        // Those of the demo are nowhere.
        registries: None,
        data_dir: directory.join("data"),
        webhook: free,
        api: free,
        metrics: free,
        certificate: CertificateSource::SelfSigned { dir: directory.join("data/tls"), names },
        clients: None,
        suggest_digests: false,
        callers: CallerSource::Tokens(None),
        store: StoreSource::embedded(&directory.join("data"), None),
        settings: Settings {
            exempt_namespaces: vec!["kube-system".into()],
            public_max_age: None,
            ..Settings::default()
        },
        settle: Duration::ZERO,
        grace: Duration::from_secs(5),
        log: String::new(),
        log_json: false,
    })
    .await?;
    for sample in samples() {
        app.store().put(sample, Precondition::Absent, CredentialChange::Keep).await?;
    }
    for (name, namespace, image) in REVIEWS {
        let review = serde_json::to_vec_pretty(&review(name, namespace, image))?;
        std::fs::write(directory.join(format!("{name}.json")), review)?;
    }
    let readiness = app.readiness();
    let started = tokio::time::Instant::now();
    while !readiness.missing().is_empty() {
        ensure!(started.elapsed() < START_MAX, "not ready in time: {}", readiness.missing().join(", "));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anstream::println!("{}", instructions(directory, app.addresses));
    app.run().await
}

/// Requests to try: a file's name, the namespace and the image.
const REVIEWS: [(&str, &str, &str); 3] = [
    ("allowed", "payments", "harbor.example.com/base/nginx:1.27"),
    ("injected", "payments", "harbor.example.com/team-a/web:1.8.2"),
    ("denied", "shop", "harbor.example.com/team-a/web:1.8.2"),
];

fn samples() -> Vec<Document> {
    let record = |kind, name: &str, spec: Value| Document::new(kind, name, spec);
    vec![
        record(Kind::Workspace, "payments", json!({"namespaces": ["payments"]})),
        record(Kind::Workspace, "shop", json!({"namespaces": ["shop"]})),
        record(
            Kind::Registry,
            "corp",
            json!({"type": "Harbor", "url": "https://harbor.example.com", "credential": {"name": "registry-corp"},
                   "pullCredentials": "Integration"}),
        ),
        record(
            Kind::RegistrySpace,
            "corp.base",
            json!({"registry": "corp", "path": "base", "visibility": "Public"}),
        ),
        record(
            Kind::RegistrySpace,
            "corp.team-a",
            json!({"registry": "corp", "path": "team-a", "visibility": "Private", "workspaces": ["payments"]}),
        ),
    ]
}

/// What the API server would send for a pod with one container; after mutation, so that `/validate` sees `Always`.
fn review(name: &str, namespace: &str, image: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": format!("00000000-0000-0000-0000-{:0>12}", name.len()),
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": {"username": "you"},
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"containers": [{"name": "web", "image": image, "imagePullPolicy": "IfNotPresent"}]},
            },
        },
    })
}

fn instructions(directory: &Path, [webhooks, api, metrics]: [SocketAddr; 3]) -> String {
    let (bold, plain) = (anstyle::Style::new().bold(), anstyle::Reset);
    let directory = directory.display();
    let curl = format!("curl -s --cacert {directory}/data/tls/ca.crt");
    let post = |endpoint: &str, review: &str| {
        format!(
            "{curl} https://{webhooks}/{endpoint} -H 'content-type: application/json' -d @{directory}/{review}.json; echo"
        )
    };
    let token = format!("-H \"authorization: Bearer $(cat {directory}/data/admin-token)\"");
    let bind = format!("{curl} {token} -X PUT https://{api}/api/v1/registryspaces/corp.team-a/bindings/shop");
    let explain = format!(
        "{curl} {token} https://{api}/api/v1/explain -H 'content-type: application/json' \\\n    \
         -d '{{\"namespace\":\"shop\",\"images\":[\"harbor.example.com/team-a/web:1.8.2\"]}}'; echo"
    );
    [
        format!("{bold}pullgate is serving{plain} from {directory}; Ctrl-C ends it and removes everything."),
        "Registry corp is a Harbor: space base is public, team-a is bound to workspace payments.".to_owned(),
        String::new(),
        format!(
            "{bold}Allowed{plain}, a public image in namespace payments:\n  {}",
            post("validate", "allowed")
        ),
        format!(
            "{bold}Injected{plain}, a bound private image: the patch adds the pull secret and Always\n  {}",
            post("mutate", "injected")
        ),
        format!(
            "{bold}Denied{plain}, the same image in namespace shop, with what to do:\n  {}",
            post("validate", "denied")
        ),
        format!("{bold}Why{plain}, from the management API:\n  {explain}"),
        format!("{bold}Bind{plain} the space to workspace shop, then ask why again:\n  {bind}"),
        format!("{bold}Metrics{plain}:\n  curl -s http://{metrics}/metrics | grep pullgate_decisions"),
    ]
    .join("\n")
}
