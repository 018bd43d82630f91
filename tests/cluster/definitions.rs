//! The custom resource definitions, as the API server takes them.

use axum::http::Request;
use kube::api::PostParams;
use pullgate::domain::record::Kind;
use pullgate::types::crd;
use serde_json::{Value, json};

use crate::control_plane::{install, record, records, turn, uninstall};

#[tokio::test]
async fn the_api_server_takes_the_definitions_and_holds_their_rules() {
    let (_turn, client) = turn().await;
    uninstall(&client).await;
    install(&client, crd::definitions()).await;
    let strict = PostParams { dry_run: true, ..PostParams::default() };
    for (kind, spec) in [
        (Kind::Workspace, json!({"namespaces": ["a", "b"]})),
        (
            Kind::Registry,
            json!({"type": "Harbor", "url": "https://harbor.example.com", "pullCredentials": "Robot"}),
        ),
        (
            Kind::Registry,
            json!({"type": "Artifactory", "url": "https://x.example.com", "workspace": "w", "paths": ["a"]}),
        ),
        (
            Kind::RegistrySpace,
            json!({"registry": "corp", "path": "team-a", "workspaces": ["w"], "visibility": "Private"}),
        ),
        (
            Kind::PullPolicy,
            json!({"mode": "Warn", "unmanaged": {"default": "Deny", "allow": ["docker.io/library"]}}),
        ),
        (Kind::PullPolicy, json!({})),
    ] {
        let created = records(&client, kind).create(&strict, &record(kind, "x", &spec)).await;
        assert!(created.is_ok(), "{spec}: {created:?}");
    }
    for (kind, spec, sentence) in [
        (Kind::Registry, json!({"type": "Artifactory", "url": "https://x"}), "Artifactory is for workspaces"),
        (
            Kind::Registry,
            json!({"type": "Harbor", "url": "https://x", "paths": ["a"]}),
            "claims part of a host",
        ),
        (
            Kind::Registry,
            json!({"type": "Harbor", "url": "https://x", "visibility": "Public"}),
            "declared public or private",
        ),
        (Kind::Registry, json!({"type": "Quay", "url": "https://x"}), "Unsupported value"),
        (Kind::Registry, json!({"type": "Harbor"}), "Required value"),
        (Kind::RegistrySpace, json!({"registry": "corp", "path": "a/b"}), "one lower-case path segment"),
        (Kind::PullPolicy, json!({"unmanaged": {"allow": ["docker.io"]}}), "it narrows nothing"),
    ] {
        let error =
            records(&client, kind).create(&strict, &record(kind, "x", &spec)).await.unwrap_err().to_string();
        assert!(error.contains(sentence), "{spec}: {error}");
    }
}

#[tokio::test]
async fn kubectl_shows_what_matters() {
    let (_turn, client) = turn().await;
    uninstall(&client).await;
    install(&client, crd::definitions()).await;
    let spec = json!({"registry": "corp", "path": "team-a", "workspaces": ["payments", "shop"]});
    let made = records(&client, Kind::RegistrySpace)
        .create(&PostParams::default(), &record(Kind::RegistrySpace, "corp.team-a", &spec))
        .await
        .unwrap();
    let mut observed = made.clone();
    observed.data["status"] = json!({"visibility": "Private", "repositories": 7, "observedGeneration": 1});
    records(&client, Kind::RegistrySpace)
        .replace_status("corp.team-a", &PostParams::default(), &observed)
        .await
        .unwrap();
    // As `kubectl get` asks for it.
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let request =
        Request::get("/apis/pullgate.io/v1alpha1/registryspaces").header("accept", table).body(Vec::new());
    let table: Value = client.request(request.unwrap()).await.unwrap();
    let columns: Vec<_> = table["columnDefinitions"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(columns[..6], ["Name", "Registry", "Path", "Visibility", "Workspaces", "Repositories"]);
    let row = &table["rows"][0]["cells"];
    assert_eq!(
        row.as_array().unwrap()[..6],
        [
            json!("corp.team-a"),
            json!("corp"),
            json!("team-a"),
            json!("Private"),
            json!("[\"payments\",\"shop\"]"),
            json!(7)
        ]
    );
}
