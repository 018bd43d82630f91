//! The real process: what it serves, what Prometheus thinks of its metrics, how it ends.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::cli::run;
use crate::support::server::Server;

fn recorded() -> Value {
    serde_json::from_str(include_str!("data/reviews/validate-create-pods-3.json")).unwrap()
}

#[tokio::test]
async fn a_written_record_decides_within_moments_and_outlives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path()).await;
    assert_eq!(server.review("validate", &recorded()).await["response"]["allowed"], true);
    let policy = json!({"apiVersion": "pullgate.io/v1alpha1", "kind": "PullPolicy", "metadata": {"name": "strict"},
                        "spec": {"unmanaged": {"default": "Deny"}}});
    server.call(Method::POST, "/pullpolicies", Some(policy)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.review("validate", &recorded()).await["response"]["allowed"], false);

    server.kill();
    let mut server = Server::start(directory.path()).await;
    assert_eq!(server.review("validate", &recorded()).await["response"]["allowed"], false);
    assert!(server.terminate().success(), "a stop that was asked for is no failure");
    // After a stop the file and its key are all that a copy needs.
    let (copy, data) = (tempfile::tempdir().unwrap(), directory.path().join("data"));
    fs::create_dir(copy.path().join("data")).unwrap();
    for file in ["records.db", "store.key"] {
        fs::copy(data.join(file), copy.path().join("data").join(file)).unwrap();
    }
    let server = Server::start(copy.path()).await;
    assert_eq!(server.review("validate", &recorded()).await["response"]["allowed"], false);
}

#[tokio::test]
async fn prometheus_finds_nothing_to_complain_about() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    for webhook in ["mutate", "validate"] {
        server.review(webhook, &recorded()).await;
    }
    server.call(Method::GET, "/workspaces", None).await;
    let metrics = server.get(format!("{}/metrics", server.metrics)).await.text().await.unwrap();
    for name in [
        r#"pullgate_decisions_total{decision="allow",operation="CREATE",reason="Unmanaged",webhook="validate"} 1"#,
        r#"pullgate_admission_duration_seconds_count{webhook="mutate"} 1"#,
        r#"pullgate_snapshot_records{kind="space"} 0"#,
        "pullgate_snapshot_built_timestamp_seconds",
        "pullgate_snapshot_build_duration_seconds",
        "pullgate_certificate_expiry_timestamp_seconds",
        r#"pullgate_store_errors_total{operation="write"} 0"#,
        r#"pullgate_api_requests_total{code="200",method="GET"} 1"#,
    ] {
        assert!(metrics.contains(name), "{name} is not in:\n{metrics}");
    }
    for tenant in ["team-a-prod", "nginx", "bare"] {
        assert!(!metrics.contains(tenant), "a metric names {tenant}");
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's prometheus, is missing; tests/run installs it");
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn who_knows_the_callers_is_said_without_contradiction() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let refusal = |arguments: &[&str]| {
        let run = run(&[&["serve", "--data-dir", data], arguments].concat());
        assert_eq!(run.code, 2, "{}", run.stderr);
        run.stderr
    };
    for arguments in [&["--store", "kubernetes"][..], &["--api-auth", "kubernetes"]] {
        let said = refusal(&[arguments, &["--tokens", "tokens.yaml"]].concat());
        assert!(said.contains("--tokens tokens.yaml: no tokens file is read"), "{said}");
    }
    let said = refusal(&["--api-audience", "pullgate"]);
    assert!(said.contains("--api-audience pullgate: a tokens file knows no audiences"), "{said}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was made");
}
