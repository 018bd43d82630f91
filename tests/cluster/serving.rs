//! The real process with records in a real cluster.

use std::time::{Duration, Instant};

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use pullgate::domain::record::Kind;
use pullgate::types::crd;
use serde_json::{Value, json};

use crate::control_plane::{install, record, records, review, serve, turn, uninstall};
use crate::support::server::Server;

async fn allowed(server: &Server) -> bool {
    server.review("validate", &review()).await["response"]["allowed"] == true
}

/// Waits for a verdict, and tells how long it took.
async fn until(server: &Server, verdict: bool) -> Duration {
    let start = Instant::now();
    while allowed(server).await != verdict {
        assert!(start.elapsed() < Duration::from_secs(10), "never allowed: {verdict}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

#[tokio::test]
async fn what_kubectl_writes_decides_on_every_replica_within_a_second() {
    let (_turn, client) = turn().await;
    uninstall(&client).await;
    install(&client, crd::definitions()).await;
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut replicas = Vec::new();
    for directory in &directories {
        replicas.push(serve(directory.path(), &[]).await);
    }
    let create = async |kind, name: &str, spec: Value| {
        let made = records(&client, kind).create(&PostParams::default(), &record(kind, name, &spec)).await;
        made.unwrap_or_else(|error| panic!("{name}: {error}"));
    };
    create(Kind::Workspace, "payments", json!({"namespaces": ["payments"]})).await;
    create(Kind::Registry, "corp", json!({"type": "Harbor", "url": "https://harbor.example.com"})).await;
    for replica in &replicas {
        until(replica, false).await;
    }
    create(Kind::RegistrySpace, "corp.team-a", json!({"registry": "corp", "path": "team-a"})).await;

    let spaces: Api<DynamicObject> = records(&client, Kind::RegistrySpace);
    let mut slowest = Duration::ZERO;
    for round in 0..11 {
        let bound = round % 2 == 0;
        let workspaces = if bound { json!(["payments"]) } else { json!([]) };
        let patch = Patch::Merge(json!({"spec": {"workspaces": workspaces}}));
        spaces.patch("corp.team-a", &PatchParams::default(), &patch).await.unwrap();
        for replica in &replicas {
            slowest = slowest.max(until(replica, bound).await);
        }
    }
    println!("slowest change of a decision: {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");

    spaces.delete("corp.team-a", &DeleteParams::default()).await.unwrap();
    // What the API of one replica writes, the other decides by.
    let space = json!({"apiVersion": "pullgate.io/v1alpha1", "kind": "RegistrySpace", "metadata": {"name": "corp.again"},
                       "spec": {"registry": "corp", "path": "team-a", "workspaces": ["payments"]}});
    until(&replicas[0], false).await;
    replicas[0].call(reqwest::Method::POST, "/registryspaces", Some(space)).await;
    until(&replicas[1], true).await;
}
