//! What `deploy/` puts into a cluster: rights, exemptions and the pods' confinement change only together with the
//! snapshots here; alerts and dashboard name metrics that there are.
//!
//! `tests/run deploy` goes on where Helm and an API server are needed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pullgate::types::crd;
use reqwest::Method;
use serde_json::{Value, json};

use crate::doubles::harbor::{Harbor, Options};
use crate::support::cli::run;
use crate::support::server::Server;

const CHART: &str = "deploy/chart";
const ALERTS: &str = "deploy/chart/files/alerts.yaml";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn installed() -> Vec<Value> {
    serde_saphyr::from_multiple(&read("deploy/install.yaml")).unwrap()
}

fn of_kind(kind: &str) -> Vec<Value> {
    installed().into_iter().filter(|object| object["kind"] == kind).collect()
}

/// Whatever of each object is no metadata, by kind and name.
fn contents(kinds: &[&str]) -> Value {
    let mut all = serde_json::Map::new();
    for mut object in kinds.iter().flat_map(|kind| of_kind(kind)) {
        let name =
            format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        for field in ["apiVersion", "kind", "metadata"] {
            object.as_object_mut().unwrap().remove(field);
        }
        assert!(all.insert(name.clone(), object).is_none(), "{name} is there twice");
    }
    Value::Object(all)
}

fn deployment() -> Value {
    let mut deployments = of_kind("Deployment");
    assert_eq!(deployments.len(), 1);
    deployments.remove(0)
}

#[test]
fn nothing_else_is_installed() {
    let objects: Vec<_> = installed()
        .iter()
        .map(|o| {
            let (kind, of) = (o["kind"].as_str().unwrap(), &o["metadata"]);
            let namespace = of["namespace"].as_str().map_or(String::new(), |n| format!("{n}/"));
            format!("{kind} {namespace}{}", of["name"].as_str().unwrap())
        })
        .collect();
    insta::assert_json_snapshot!(objects);
}

#[test]
fn the_definitions_are_those_of_the_program() {
    assert_eq!(of_kind("CustomResourceDefinition"), crd::definitions());
    assert_eq!(read("deploy/chart/files/crds.yaml"), run(&["crds"]).stdout, "deploy/render writes it");
    // Definitions come first, and nothing in the file needs another one that it does not bring.
    let first_other = installed().iter().position(|o| o["kind"] != "CustomResourceDefinition").unwrap();
    assert_eq!(first_other, crd::definitions().len());
    assert!(installed().iter().all(|o| !o["apiVersion"].as_str().unwrap().starts_with("pullgate.io")));
}

#[test]
fn the_chart_is_of_this_version() {
    let chart: Value = serde_saphyr::from_str(&read(&format!("{CHART}/Chart.yaml"))).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let image = &deployment()["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(*image, concat!("localhost/pullgate:", env!("CARGO_PKG_VERSION")), "deploy/render writes it");
}

#[test]
fn these_are_the_rights() {
    let rights = contents(&["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]);
    insta::assert_json_snapshot!(rights);
    // Said once more, for whoever accepts snapshots without reading them.
    for (role, object) in rights.as_object().unwrap() {
        for rule in object["rules"].as_array().into_iter().flatten() {
            assert!(!rule.to_string().contains('*'), "{role} holds a wildcard: {rule}");
            let secrets = rule["resources"].as_array().unwrap().contains(&json!("secrets"));
            let named = rule["resourceNames"] == json!(["pullgate-pull"]);
            assert!(
                !secrets || named || role == "Role pullgate",
                "{role} reaches other people's Secrets: {rule}"
            );
        }
    }
}

#[test]
fn these_are_the_webhooks_and_exemptions() {
    insta::assert_json_snapshot!(contents(&[
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration"
    ]));
}

#[test]
fn these_are_the_pods_and_what_they_are_held_to() {
    insta::assert_json_snapshot!(contents(&["Deployment", "PodDisruptionBudget", "ServiceAccount"]));
}

#[test]
fn these_are_the_namespace_and_the_network() {
    let labels: Vec<_> = of_kind("Namespace").into_iter().map(|n| n["metadata"]["labels"].clone()).collect();
    insta::assert_json_snapshot!([json!(labels), contents(&["NetworkPolicy", "ResourceQuota", "Service"])]);
}

#[test]
fn one_namespace_is_as_exempt_for_the_server_as_for_the_api_server() {
    let selector = json!([{"key": "kubernetes.io/metadata.name", "operator": "NotIn",
                           "values": ["kube-system", "pullgate-system"]}]);
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        for webhook in of_kind(kind).iter().flat_map(|c| c["webhooks"].as_array().unwrap().clone()) {
            assert_eq!(webhook["objectSelector"], Value::Null, "users control labels");
            // Records have no namespace.
            if !webhook["name"].as_str().unwrap().ends_with("records.pullgate.io") {
                assert_eq!(webhook["namespaceSelector"]["matchExpressions"], selector);
            }
        }
    }
    let args = deployment()["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    assert!(args.as_array().unwrap().contains(&json!("--exempt-namespace=kube-system,pullgate-system")));
}

#[test]
fn the_server_knows_every_argument_and_variable_that_it_is_given() {
    let help = run(&["serve", "--help"]).stdout;
    let known = |name: &str| {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        help.match_indices(name).any(|(at, _)| !help[at + name.len()..].starts_with(word))
    };
    let container = &deployment()["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"][0], "serve");
    for argument in container["args"].as_array().unwrap().iter().skip(1) {
        let name = argument.as_str().unwrap().split('=').next().unwrap();
        assert!(known(name), "{name}");
    }
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        assert!(known(name), "{name}");
    }
    // Those of the values that install.yaml does not show.
    let template = read(&format!("{CHART}/templates/deployment.yaml"));
    let arguments: Vec<_> = template.lines().filter_map(|l| l.trim_start().strip_prefix("- --")).collect();
    assert!(arguments.len() > 8, "{arguments:?}");
    for argument in arguments {
        let name = format!("--{}", argument.split(['=', ' ']).next().unwrap());
        assert!(known(&name), "{name}");
    }
    // A pod must not be killed while it still drains.
    let seconds = |name: &str| {
        let found = container["args"].as_array().unwrap().iter().find_map(|a| a.as_str()?.strip_prefix(name));
        found.unwrap().parse::<u64>().unwrap()
    };
    let grace = deployment()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace > seconds("--settle=") + seconds("--grace="));
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("promtool, of Debian's prometheus, is missing; tests/run installs it");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
fn every_alert_fires_and_none_without_cause() {
    promtool(&["check", "rules", ALERTS]);
    promtool(&["test", "rules", "tests/deploy/alerts-test.yaml"]);
    // And none is left out of that file.
    let tests = read("tests/deploy/alerts-test.yaml");
    let rules: Value = serde_saphyr::from_str(&read(ALERTS)).unwrap();
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        let fires = format!("{{labels: '{{alertname={}}}'", rule["alert"]);
        assert!(tests.contains(&fires), "{} is not tested", rule["alert"]);
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].is_string(), "{} has no {text}", rule["alert"]);
        }
    }
}

/// Every `pullgate_…` and `apiserver_admission_…` of a text.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("pullgate_") || word.starts_with("apiserver_admission_"))
        .collect()
}

/// The metrics, once a registry was asked and namespaces have a robot account of it.
async fn shown_with_a_robot(server: &Server) -> String {
    let harbor = Harbor::start(Options::default());
    harbor.add_project("team", false);
    let workspace = json!({"metadata": {"name": "a"}, "spec": {"namespaces": ["a-prod"]}});
    server.call(Method::POST, "/workspaces", Some(workspace)).await;
    let corp = json!({"metadata": {"name": "corp"}, "spec": {"type": "Harbor", "url": harbor.url()},
        "credential": {"username": "admin", "password": "Harbor12345"}});
    server.call(Method::POST, "/registries", Some(corp)).await;
    let team = json!({"spec": {"registry": "corp", "path": "team", "workspaces": ["a"]}});
    server.call(Method::POST, "/registryspaces", Some(team)).await;
    let start = Instant::now();
    loop {
        let shown = server.get(format!("{}/metrics", server.metrics)).await.text().await.unwrap();
        if shown.contains("pullgate_robot_expiry_timestamp_seconds{") {
            return shown;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "no robot account: {shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn alerts_and_dashboard_name_metrics_that_there_are() {
    /// Only the leader of a cluster has these.
    const LEADERS: [&str; 1] = ["pullgate_webhook_configured"];
    /// The API server's own; `tests/run deploy` asks one for them.
    const API_SERVERS: [&str; 3] = [
        "apiserver_admission_webhook_admission_duration_seconds_bucket",
        "apiserver_admission_webhook_fail_open_count",
        "apiserver_admission_webhook_rejection_count",
    ];
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    // Labelled metrics appear with their first use.
    let pod: Value = serde_json::from_str(include_str!("data/reviews/validate-create-pods-3.json")).unwrap();
    server.review("validate", &pod).await;
    let unreadable =
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u"}});
    server.review("validate", &unreadable).await;
    server.call(Method::GET, "/registries", None).await;
    let shown = shown_with_a_robot(&server).await;
    let name_of = |line: &'_ str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
    let known: BTreeSet<_> = shown.lines().filter(|l| !l.starts_with('#')).map(name_of).collect();

    let (alerts, dashboard) = (read(ALERTS), read(&format!("{CHART}/files/dashboard.json")));
    let panels: Value = serde_json::from_str(&dashboard).unwrap();
    assert!(panels["panels"].as_array().unwrap().len() > 20);
    let named: BTreeSet<_> = metrics_in(&alerts).union(&metrics_in(&dashboard)).copied().collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        let there = known.contains(name) || LEADERS.contains(&name) || API_SERVERS.contains(&name);
        assert!(there, "{name} is no metric");
    }
}
