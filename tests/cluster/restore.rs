//! Records that go, and that come back without their statuses: nobody may pull more afterwards, nor own more.

use std::time::Duration;

use kube::Client;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use pullgate::domain::record::Kind;
use pullgate::types::crd;
use reqwest::Method;
use serde_json::{Value, json};

use crate::control_plane::{forget_leader, install, namespace, record, records, serve, turn, uninstall};
use crate::support::https_client::client as https;
use crate::support::server::{Server, TOKEN};
use crate::support::waiting::within;

/// For what the leader, and the garbage collector, do by and by.
const SOON: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "payments";

/// A server in an installation without records.
async fn start(directory: &std::path::Path, client: &Client) -> Server {
    uninstall(client).await;
    install(client, crd::definitions()).await;
    for name in ["pullgate-system", NAMESPACE] {
        namespace(client, name).await;
    }
    forget_leader(client).await;
    serve(directory, &[]).await
}

async fn create(client: &Client, kind: Kind, name: &str, spec: &Value) {
    let made = records(client, kind).create(&PostParams::default(), &record(kind, name, spec)).await;
    made.unwrap_or_else(|error| panic!("{name}: {error}"));
}

async fn delete(client: &Client, kind: Kind, name: &str) {
    records(client, kind).delete(name, &DeleteParams::default()).await.unwrap();
}

async fn reason(server: &Server, project: &str) -> Value {
    let body = json!({"namespace": NAMESPACE, "images": [format!("harbor.example.com/{project}/app:1")]});
    server.call(Method::POST, "/explain", Some(body)).await["images"][0]["reason"].clone()
}

async fn spaces(client: &Client) -> Vec<String> {
    let listed = records(client, Kind::RegistrySpace).list_metadata(&ListParams::default()).await.unwrap();
    listed.into_iter().filter_map(|space| space.metadata.name).collect()
}

fn corp() -> Value {
    json!({"type": "Harbor", "url": "https://harbor.example.com"})
}

fn team() -> Value {
    json!({"registry": "corp", "path": "team", "workspaces": ["shop"]})
}

#[tokio::test]
async fn spaces_go_with_their_registry_and_a_later_one_inherits_none() {
    let (_turn, client) = turn().await;
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), &client).await;
    create(&client, Kind::Workspace, "shop", &json!({"namespaces": [NAMESPACE]})).await;
    // By a tool that goes by names: before their registry, and one that is no space.
    create(&client, Kind::RegistrySpace, "by-hand", &team()).await;
    create(&client, Kind::RegistrySpace, "invalid", &json!({"registry": "corp", "path": "NO PATH"})).await;
    create(&client, Kind::RegistrySpace, "elsewhere", &json!({"registry": "other", "path": "team"})).await;
    create(&client, Kind::Registry, "corp", &corp()).await;
    within(SOON, "the binding", async || reason(&server, "team").await == "Bound").await;
    let uid = records(&client, Kind::Registry).get("corp").await.unwrap().metadata.uid.unwrap();
    for name in ["by-hand", "invalid"] {
        within(SOON, "the owner", async || {
            let space = records(&client, Kind::RegistrySpace).get(name).await.unwrap();
            space.metadata.owner_references.is_some_and(|owners| owners.iter().any(|o| o.uid == uid))
        })
        .await;
    }
    delete(&client, Kind::Registry, "corp").await;
    create(&client, Kind::Registry, "corp", &corp()).await;
    // The garbage collector takes its time.
    within(2 * SOON, "that its spaces are gone", async || {
        // Neither now, nor until they have gone.
        let reason = reason(&server, "team").await;
        let gone = spaces(&client).await == ["elsewhere"];
        assert!(!gone || reason == "NotBound", "{reason}");
        gone
    })
    .await;
    // The API's door leaves none to the garbage collector.
    create(&client, Kind::RegistrySpace, "again", &team()).await;
    within(SOON, "the binding", async || reason(&server, "team").await == "Bound").await;
    let url = format!("{}/registries/corp?force=true", server.api);
    let ca = std::fs::read_to_string(directory.path().join("data/tls/ca.crt")).unwrap();
    let removal = https(&ca, b"http/1.1").delete(url).bearer_auth(TOKEN).header("if-match", "*");
    assert!(removal.send().await.unwrap().status().is_success());
    assert_eq!(spaces(&client).await, ["elsewhere"]);
}

#[tokio::test]
async fn a_restore_without_statuses_gives_nobody_a_namespace_or_a_binding() {
    let (_turn, client) = turn().await;
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), &client).await;
    create(&client, Kind::Registry, "corp", &corp()).await;
    create(&client, Kind::RegistrySpace, "team", &team()).await;
    let mut resting = team();
    (resting["path"], resting["projectId"]) = (json!("resting"), json!(7));
    create(&client, Kind::RegistrySpace, "resting", &resting).await;
    let shop = json!({"namespaces": [NAMESPACE]});
    create(&client, Kind::Workspace, "shop", &shop).await;
    within(SOON, "the claim is recorded", async || {
        let shop = records(&client, Kind::Workspace).get("shop").await.unwrap();
        shop.data["status"]["members"][0]["since"].is_string()
    })
    .await;
    // Written while no webhook of pullgate's was asked.
    create(&client, Kind::Workspace, "rival", &shop).await;
    let conflicts = async |workspace: &str| {
        let found = records(&client, Kind::Workspace).get(workspace).await.unwrap();
        found.data["status"]["conflicts"].clone()
    };
    within(SOON, "the conflict", async || conflicts("rival").await == json!([NAMESPACE])).await;
    assert_eq!(reason(&server, "team").await, "Bound");
    assert_eq!(reason(&server, "resting").await, "NotBound", "nobody saw the project yet");
    for name in ["shop", "rival"] {
        delete(&client, Kind::Workspace, name).await;
    }
    // They come back in another order, and at another time.
    for name in ["rival", "shop"] {
        create(&client, Kind::Workspace, name, &shop).await;
    }
    for name in ["rival", "shop"] {
        within(SOON, "the conflict", async || conflicts(name).await == json!([NAMESPACE])).await;
    }
    assert_eq!(reason(&server, "team").await, "NoWorkspace");
    let patch = Patch::Merge(json!({"spec": {"namespaces": []}}));
    records(&client, Kind::Workspace).patch("rival", &PatchParams::default(), &patch).await.unwrap();
    within(SOON, "it is decided", async || reason(&server, "team").await == "Bound").await;
}
