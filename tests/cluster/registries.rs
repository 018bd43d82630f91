//! Registries with records in a real cluster: one replica reads them and keeps accounts, all decide, another takes over.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use pullgate::domain::record::Kind;
use pullgate::types::crd;
use reqwest::Method;
use serde_json::{Value, json};

use crate::control_plane::{forget_leader, install, namespace, records, serve, turn, uninstall};
use crate::doubles::harbor::{Harbor, Options, can_pull};
use crate::support::server::Server;
use crate::support::waiting::within;

const NAMESPACE: &str = "payments";
/// Projects beside the two that the test looks at.
const OTHERS: usize = 300;
const SETTINGS: [&str; 4] = ["--registry-interval", "1", "--robot-overlap", "1"];
/// For what takes several calls of the API server and of Harbor.
const SOON: Duration = Duration::from_secs(10);
const AFTER_A_POLL: Duration = Duration::from_secs(2);
const AFTER_UNBINDING: Duration = Duration::from_secs(5);

/// Why an image of a project is allowed or denied in a namespace.
async fn reason(server: &Server, harbor: &Harbor, namespace: &str, project: &str) -> Value {
    let body = json!({"namespace": namespace, "images": [format!("{}/{project}/app:1", harbor.host())]});
    server.call(Method::POST, "/explain", Some(body)).await["images"][0]["reason"].clone()
}

async fn bind(client: &Client, space: &str, workspaces: &[&str]) {
    let patch = Patch::Merge(json!({"spec": {"workspaces": workspaces}}));
    records(client, Kind::RegistrySpace).patch(space, &PatchParams::default(), &patch).await.unwrap();
}

/// User name and password that the namespace's pods pull a project with.
async fn pulls_as(client: &Client, harbor: &Harbor, project: &str) -> Option<(String, String)> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secret = secrets.get_opt("pullgate-pull").await.unwrap()?;
    let config: Value = serde_json::from_slice(&secret.data?[".dockerconfigjson"].0).ok()?;
    let auth = config["auths"][format!("{}/v2/{project}/", harbor.host())]["auth"].as_str()?.to_owned();
    let plain = String::from_utf8(BASE64_STANDARD.decode(auth).unwrap()).unwrap();
    plain.split_once(':').map(|(name, password)| (name.to_owned(), password.to_owned()))
}

/// The version of every registry and space.
async fn versions(client: &Client) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for kind in [Kind::Registry, Kind::RegistrySpace] {
        let listed = records(client, kind).list_metadata(&ListParams::default()).await.unwrap();
        let named =
            listed.into_iter().map(|o| (o.metadata.name.unwrap(), o.metadata.resource_version.unwrap()));
        versions.extend(named);
    }
    versions
}

#[tokio::test]
async fn a_harbor_is_read_by_one_replica_decided_by_all_and_taken_over() {
    let (_turn, client) = turn().await;
    uninstall(&client).await;
    install(&client, crd::definitions()).await;
    for name in ["pullgate-system", NAMESPACE] {
        namespace(&client, name).await;
    }
    forget_leader(&client).await;
    let harbor = Harbor::start(Options::default());
    harbor.add_project("team", false);
    harbor.add_project("open", true);
    harbor.add_projects(OTHERS);
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut leader = serve(directories[0].path(), &SETTINGS).await;
    let workspace = json!({"metadata": {"name": "payments"}, "spec": {"namespaces": [NAMESPACE]}});
    leader.call(Method::POST, "/workspaces", Some(workspace)).await;
    let registry = json!({"metadata": {"name": "corp"}, "spec": {"type": "Harbor", "url": harbor.url()},
        "credential": {"username": "admin", "password": "Harbor12345"}});
    leader.call(Method::POST, "/registries", Some(registry)).await;
    let overview = async |server: &Server| server.call(Method::GET, "/registries/corp/overview", None).await;
    within(SOON, "all is recorded", async || overview(&leader).await["spaces"]["total"] == OTHERS + 2).await;
    let other = serve(directories[1].path(), &SETTINGS).await;

    // Bound by kubectl: the account, the Secret and the decision of every replica.
    bind(&client, "corp.team", &["payments"]).await;
    within(SOON, "the Secret", async || pulls_as(&client, &harbor, "team").await.is_some()).await;
    let (name, password) = pulls_as(&client, &harbor, "team").await.unwrap();
    let account = (name.as_str(), password.as_str());
    assert!(can_pull(&harbor, account, "team").await && !can_pull(&harbor, account, "project-0000").await);
    for server in [&leader, &other] {
        for (namespace, project, expected) in
            [(NAMESPACE, "team", "Bound"), ("x", "team", "NoWorkspace"), ("x", "open", "Public")]
        {
            let says = async || reason(server, &harbor, namespace, project).await == expected;
            within(SOON, &format!("{namespace} {project}: {expected}"), says).await;
        }
    }
    // Where nothing changes, nothing is written, and one replica alone asks.
    within(SOON, "the account is told", async || overview(&other).await["robots"][0]["name"] == name).await;
    within(3 * SOON, "all is measured", async || {
        let spaces = records(&client, Kind::RegistrySpace).list(&ListParams::default()).await.unwrap();
        spaces.iter().all(|space| space.data["status"]["storage"].is_i64())
    })
    .await;
    let asked = other.call(Method::POST, "/registries/corp/sync", None).await["requestedAt"].clone();
    within(SOON, "the last pass that wrote is over", async || overview(&other).await["syncDone"] == asked)
        .await;
    let before = versions(&client).await;
    harbor.journal.clear();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = versions(&client).await;
    let written: Vec<_> = after.iter().filter(|(name, version)| before.get(*name) != Some(version)).collect();
    assert!(written.is_empty() && after.len() == OTHERS + 3, "{written:?}");
    let lists = harbor.journal.requests().into_iter().filter(|seen| seen.query.contains("page=1&")).count();
    assert!((3..=6).contains(&lists), "{lists} passes in five seconds by one who asks each second");

    // Another takes over: it goes on with the same account, and sees what changes.
    leader.kill();
    forget_leader(&client).await;
    harbor.journal.clear();
    within(SOON, "the other one asks", async || harbor.journal.calls("/api/v2.0/projects") > 0).await;
    harbor.flip("open", false);
    within(AFTER_A_POLL, "the flip", async || reason(&other, &harbor, "x", "open").await == "NoWorkspace")
        .await;
    assert_eq!(pulls_as(&client, &harbor, "team").await, Some((name.clone(), password.clone())));
    assert_eq!(harbor.robots().len(), 1, "nobody made a second one");
    bind(&client, "corp.team", &[]).await;
    within(AFTER_UNBINDING, "the right is gone", async || !can_pull(&harbor, account, "team").await).await;
    within(SOON, "the account and its Secret are gone", async || {
        harbor.robots().is_empty() && pulls_as(&client, &harbor, "team").await.is_none()
    })
    .await;
    let kept: Api<Secret> = Api::namespaced(client.clone(), "pullgate-system");
    let kept = kept.list_metadata(&ListParams::default()).await.unwrap();
    let robots = kept.iter().filter(|secret| secret.metadata.name.as_deref().unwrap().starts_with("robot-"));
    assert_eq!(robots.count(), 0);
    for directory in &directories {
        let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
        assert!(!log.contains(&password) && !log.contains("Harbor12345"));
    }
}
