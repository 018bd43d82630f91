//! What the leader says in the status of records, and what rests on it.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use pullgate::domain::record::Kind;
use pullgate::types::crd;
use serde_json::{Value, json};

use crate::control_plane::{
    forget_leader, install, namespace, record, records, review, serve, turn, uninstall,
};

async fn create(client: &Client, kind: Kind, name: &str, spec: Value) {
    let made = records(client, kind).create(&PostParams::default(), &record(kind, name, &spec)).await;
    made.unwrap_or_else(|error| panic!("{name}: {error}"));
}

async fn patch(client: &Client, kind: Kind, name: &str, spec: Value) {
    let patch = Patch::Merge(json!({"spec": spec}));
    records(client, kind).patch(name, &PatchParams::default(), &patch).await.unwrap();
}

/// Waits until a status is as it should be.
async fn until(client: &Client, kind: Kind, name: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let object = records(client, kind).get(name).await.unwrap();
        let status = &object.data["status"];
        let valid = status["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == "Valid");
        let mut flat = status.clone();
        flat["valid"] = valid.cloned().unwrap_or_default();
        if holds(&flat) && status["observedGeneration"] == json!(object.metadata.generation) {
            return flat;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{name}: {status:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn records_say_whether_they_are_in_force() {
    let (_turn, client) = turn().await;
    uninstall(&client).await;
    install(&client, crd::definitions()).await;
    namespace(&client, "pullgate-system").await;
    forget_leader(&client).await;
    let directory = tempfile::tempdir().unwrap();
    let mut server = serve(directory.path(), &[]).await;
    create(&client, Kind::Registry, "corp", json!({"type": "Harbor", "url": "https://harbor.example.com"}))
        .await;
    create(&client, Kind::PullPolicy, "all", json!({})).await;
    create(&client, Kind::RegistrySpace, "bad", json!({"registry": "corp", "path": "NOT A PATH"})).await;
    create(&client, Kind::Registry, "worse", json!({"type": "Harbor", "url": "no url"})).await;
    until(&client, Kind::Registry, "corp", |s| s["valid"]["status"] == "True").await;
    until(&client, Kind::PullPolicy, "all", |s| s["valid"]["status"] == "True").await;
    let bad = until(&client, Kind::RegistrySpace, "bad", |s| s["valid"]["status"] == "False").await;
    assert!(bad["valid"]["message"].as_str().unwrap().contains("spec.path"), "{bad}");
    let worse = until(&client, Kind::Registry, "worse", |s| s["valid"]["status"] == "False").await;
    assert!(worse["valid"]["message"].as_str().unwrap().contains("not a URL"), "{worse}");
    // A change of the spec that changes nothing of what is said is noted all the same.
    patch(&client, Kind::Registry, "corp", json!({"tls": {"insecureSkipVerify": true}})).await;
    let corp = until(&client, Kind::Registry, "corp", |s| s["observedGeneration"] == 2).await;
    assert_eq!(corp["valid"]["observedGeneration"], 2);
    // A tenant's registry whose host the platform takes later.
    create(&client, Kind::Workspace, "shop", json!({"namespaces": []})).await;
    let own = json!({"type": "Docker", "url": "https://r.example.com", "workspace": "shop"});
    create(&client, Kind::Registry, "own", own).await;
    until(&client, Kind::Registry, "own", |s| s["valid"]["status"] == "True").await;
    create(&client, Kind::Registry, "late", json!({"type": "Docker", "url": "https://R.example.com:443"}))
        .await;
    let own = until(&client, Kind::Registry, "own", |s| s["valid"]["status"] == "False").await;
    assert!(own["valid"]["message"].as_str().unwrap().contains("the platform has integrated"), "{own}");
    // The next leader heals what this one said.
    assert!(server.terminate().success());
    patch(&client, Kind::RegistrySpace, "bad", json!({"path": "good"})).await;
    let _server = serve(directory.path(), &[]).await;
    let healed = until(&client, Kind::RegistrySpace, "bad", |s| s["valid"]["status"] == "True").await;
    assert_eq!(healed["valid"]["message"], "");
}

#[tokio::test]
async fn workspaces_say_whom_they_have_and_pins_hold() {
    let (_turn, client) = turn().await;
    uninstall(&client).await;
    install(&client, crd::definitions()).await;
    namespace(&client, "pullgate-system").await;
    forget_leader(&client).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let remove = async |name: &str| {
        // It may not be there.
        let _ = namespaces.delete(name, &DeleteParams::default()).await;
        let start = Instant::now();
        while namespaces.get_opt(name).await.unwrap().is_some() {
            assert!(start.elapsed() < Duration::from_mins(1), "{name} does not go");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    remove("payments").await;
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path(), &[]).await;
    create(&client, Kind::Registry, "corp", json!({"type": "Harbor", "url": "https://harbor.example.com"}))
        .await;
    let space = json!({"registry": "corp", "path": "team-a", "workspaces": ["payments"]});
    create(&client, Kind::RegistrySpace, "corp.team-a", space).await;
    let pinned = json!({"namespaces": ["payments"], "pinNamespaces": true});
    create(&client, Kind::Workspace, "payments", pinned).await;
    let allowed = async || server.review("validate", &review()).await["response"]["allowed"] == true;
    let becomes = async |expected: bool| {
        let start = Instant::now();
        while allowed().await != expected {
            assert!(start.elapsed() < Duration::from_secs(10), "never allowed: {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Nobody bears the name yet.
    let status = until(&client, Kind::Workspace, "payments", |s| s["members"][0]["since"].is_string()).await;
    assert!(status["members"][0]["uid"].is_null());
    assert!(!allowed().await);
    namespace(&client, "payments").await;
    becomes(true).await;
    let status = until(&client, Kind::Workspace, "payments", |s| s["members"][0]["uid"].is_string()).await;
    let first = status["members"][0]["uid"].clone();
    // Made again by whomever: it inherits nothing.
    remove("payments").await;
    namespace(&client, "payments").await;
    becomes(false).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!allowed().await);
    let status = until(&client, Kind::Workspace, "payments", |_| true).await;
    assert_eq!(status["members"][0]["uid"], first);
    // Without the pin the name decides, and the pin takes whoever bears it then.
    patch(&client, Kind::Workspace, "payments", json!({"pinNamespaces": false})).await;
    becomes(true).await;
    until(&client, Kind::Workspace, "payments", |s| s["members"][0]["uid"] != first).await;
    patch(&client, Kind::Workspace, "payments", json!({"pinNamespaces": true})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(allowed().await);

    // The younger claim has nothing, and says so.
    create(&client, Kind::Workspace, "a-robber", json!({"namespaces": ["payments", "mine"]})).await;
    let robber = until(&client, Kind::Workspace, "a-robber", |s| s["conflicts"] == json!(["payments"])).await;
    assert_eq!(robber["valid"]["status"], "False");
    assert!(!robber.to_string().contains("workspace payments"), "{robber}");
    assert!(allowed().await);
}
