//! The webhook that guards records, registered at a real API server.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use pullgate::domain::record::Kind;
use pullgate::types::crd;
use serde_json::{Value, json};

use crate::control_plane::{WEBHOOKS, install, record, records, serve, turn, uninstall};
use crate::support::server::{READY_WITHIN, Server};

/// Has the API server ask `server` about every record, until [`turn`] finds it.
pub async fn register(client: &Client, server: &Server, ca: &str) {
    let configuration = json!({
        "metadata": {"name": WEBHOOKS},
        "webhooks": [{
            "name": "records.pullgate.io",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "clientConfig": {"url": format!("{}/guard", server.webhooks), "caBundle": BASE64_STANDARD.encode(ca)},
            "rules": [{
                "apiGroups": ["pullgate.io"], "apiVersions": ["v1alpha1"], "resources": ["*", "*/status"],
                "operations": ["CREATE", "UPDATE", "DELETE"], "scope": "Cluster",
            }],
        }],
    });
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    webhooks.create(&PostParams::default(), &serde_json::from_value(configuration).unwrap()).await.unwrap();
    let start = Instant::now();
    let bad = record(Kind::Registry, "probe", &json!({"type": "Docker", "url": "ftp://probe"}));
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    // The API server learns of it by and by.
    while records(client, Kind::Registry).create(&dry, &bad).await.is_ok() {
        assert!(start.elapsed() < Duration::from_secs(20), "the webhook was never asked");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[track_caller]
fn denied<T: std::fmt::Debug>(outcome: kube::Result<T>, words: &str) {
    match outcome {
        Err(kube::Error::Api(status)) => {
            assert_eq!(status.code, 422, "{status:?}");
            let start = r#"admission webhook "records.pullgate.io" denied the request: "#;
            assert!(
                status.message.starts_with(start) && status.message.contains(words),
                "{}",
                status.message
            );
        }
        other => panic!("not denied ({words}): {other:?}"),
    }
}

#[tokio::test]
async fn the_api_server_refuses_what_the_guard_denies() {
    let (_turn, client) = turn().await;
    uninstall(&client).await;
    install(&client, crd::definitions()).await;
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path(), &[]).await;
    let create = async |kind, name: &str, spec: Value| {
        records(&client, kind).create(&PostParams::default(), &record(kind, name, &spec)).await
    };
    let merge = async |kind, name: &str, patch: Value| {
        records(&client, kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    };
    let remove = async |kind, name: &str| records(&client, kind).delete(name, &DeleteParams::default()).await;

    // Written while pullgate was away.
    create(Kind::Registry, "odd", json!({"type": "Docker", "url": "ftp://odd"})).await.unwrap();
    let ca = std::fs::read_to_string(directory.path().join("data/tls/ca.crt")).unwrap();
    register(&client, &server, &ca).await;

    let write_all = async || {
        create(Kind::Workspace, "a", json!({"namespaces": ["a-prod"]})).await.unwrap();
        let own = json!({"type": "Docker", "url": "https://own.example.com", "workspace": "a",
                         "credential": {"name": "registry-a-own"}});
        create(Kind::Registry, "a-own", own).await.unwrap();
        let corp = json!({"type": "Harbor", "url": "https://harbor.example.com"});
        create(Kind::Registry, "corp", corp).await.unwrap();
        let space = json!({"registry": "corp", "path": "team-a", "workspaces": ["a"]});
        create(Kind::RegistrySpace, "corp.team-a", space).await.unwrap();
    };
    // In one go, as `kubectl apply -f` does.
    for _ in 0..5 {
        write_all().await;
        remove(Kind::RegistrySpace, "corp.team-a").await.unwrap();
        remove(Kind::Registry, "corp").await.unwrap();
        remove(Kind::Registry, "a-own").await.unwrap();
        remove(Kind::Workspace, "a").await.unwrap();
    }
    write_all().await;

    let tenants = json!({"type": "Docker", "url": "https://harbor.example.com", "workspace": "a"});
    denied(create(Kind::Registry, "t", tenants).await, "spec.url: the platform has integrated the host");
    let two_faults = json!({"type": "Harbor", "url": "nonsense", "imageHosts": ["not a host"]});
    denied(create(Kind::Registry, "t", two_faults.clone()).await, "spec.url: ");
    denied(create(Kind::Registry, "t", two_faults).await, "; spec.imageHosts[0]: ");
    let twice = json!({"namespaces": ["b-prod", "a-prod"]});
    denied(
        create(Kind::Workspace, "b", twice).await,
        "spec.namespaces[1]: namespace a-prod is listed by workspace a",
    );
    denied(
        merge(Kind::RegistrySpace, "corp.team-a", json!({"spec": {"workspaces": ["a", "none"]}})).await,
        "spec.workspaces[1]: there is no workspace none",
    );
    denied(remove(Kind::Workspace, "a").await, "still bound to spaces (corp.team-a)");
    denied(remove(Kind::Registry, "corp").await, "registry corp still has spaces");
    let every = async || {
        let (all, options) = (ListParams::default(), DeleteParams::default());
        records(&client, Kind::Workspace).delete_collection(&options, &all).await
    };
    denied(every().await, "still bound to spaces (corp.team-a)");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let absent = record(Kind::RegistrySpace, "s", &json!({"registry": "none", "path": "p"}));
    denied(records(&client, Kind::RegistrySpace).create(&dry, &absent).await, "there is no registry none");

    // What the definitions do not know is pruned before the guard could mind it, and defaults are set.
    let mut pruned = record(Kind::PullPolicy, "p", &json!({"surprise": 1}));
    pruned.data["status"] = json!({"surprise": 2});
    let made = records(&client, Kind::PullPolicy).create(&PostParams::default(), &pruned).await.unwrap();
    assert_eq!(made.data["spec"]["surprise"], Value::Null);
    assert_eq!(made.data["spec"]["mode"], "Enforce");

    // An invalid record: its status, labels and finalizers change, its spec only for the better, and it goes.
    let mut odd = records(&client, Kind::Registry).get("odd").await.unwrap();
    odd.data["status"] = json!({"spaces": 7, "conditions": []});
    let odd =
        records(&client, Kind::Registry).replace_status("odd", &PostParams::default(), &odd).await.unwrap();
    assert_eq!(odd.data["status"]["spaces"], 7);
    let finalizers = |list: Value| json!({"metadata": {"finalizers": list, "labels": {"a": "b"}}});
    merge(Kind::Registry, "odd", finalizers(json!(["example.com/cleanup"]))).await.unwrap();
    denied(merge(Kind::Registry, "odd", json!({"spec": {"url": "ftp://odder"}})).await, "spec.url: ");
    merge(Kind::Registry, "odd", json!({"spec": {"url": "https://odd.example.com"}})).await.unwrap();
    remove(Kind::Registry, "odd").await.unwrap();
    remove(Kind::Registry, "odd").await.unwrap();
    merge(Kind::Registry, "odd", finalizers(json!([]))).await.unwrap();
    assert!(records(&client, Kind::Registry).get_opt("odd").await.unwrap().is_none());

    // A changed address leaves the password behind, and says so.
    let patch = json!({"spec": {"url": "https://moved.example.com"}}).to_string();
    let request = axum::http::Request::patch("/apis/pullgate.io/v1alpha1/registries/a-own")
        .header("content-type", "application/merge-patch+json")
        .body(patch.into_bytes().into())
        .unwrap();
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let warnings: Vec<_> = answer.headers().get_all("warning").iter().map(|w| w.to_str().unwrap()).collect();
    assert!(warnings.iter().any(|w| w.contains("the stored credential is void")), "{warnings:?}");

    // The management API writes through the same gate.
    let body = json!({"metadata": {"name": "c"}, "spec": {"namespaces": ["c-prod"]}});
    server.call(reqwest::Method::POST, "/workspaces", Some(body)).await;
    let body = json!({"metadata": {"name": "c-own"}, "spec": {"type": "Docker", "url": "https://c.example.com", "workspace": "c"}});
    let made = server.call(reqwest::Method::POST, "/registries", Some(body)).await;
    assert_eq!(made["metadata"]["name"], "c-own");

    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    webhooks.delete(WEBHOOKS, &DeleteParams::default()).await.unwrap();
    let left = records(&client, Kind::Registry).list(&ListParams::default()).await.unwrap();
    assert_eq!(left.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["a-own", "c-own", "corp"]);
}

/// The management API keeps the same rules, so the refusals here are of others: of a definition with a rule of the
/// platform's own, and of a guard that knows no record.
/// The record webhooks as `deploy/install.yaml` has them, at an address where nobody answers.
async fn register_shipped_and_away(client: &Client) {
    let installed: Vec<Value> =
        serde_saphyr::from_multiple(include_str!("../../deploy/install.yaml")).unwrap();
    let mut found = installed.into_iter().filter(|object| object["kind"] == "ValidatingWebhookConfiguration");
    let mut configuration = found.next().unwrap();
    configuration["metadata"] = json!({"name": WEBHOOKS});
    let webhooks = configuration["webhooks"].as_array_mut().unwrap();
    webhooks.retain(|webhook| webhook["clientConfig"]["service"]["path"] == "/guard");
    for webhook in webhooks {
        webhook["clientConfig"] = json!({"url": "https://127.0.0.1:1/guard"});
    }
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    webhooks.create(&PostParams::default(), &serde_json::from_value(configuration).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_record_can_be_removed_while_nobody_answers() {
    let (_turn, client) = turn().await;
    uninstall(&client).await;
    install(&client, crd::definitions()).await;
    let registries = records(&client, Kind::Registry);
    let spec = json!({"type": "Docker", "url": "https://x.example.com", "workspace": "a"});
    for name in ["plain", "held"] {
        let mut made = record(Kind::Registry, name, &spec);
        made.metadata.finalizers = (name == "held").then(|| vec!["example.com/held".to_owned()]);
        registries.create(&PostParams::default(), &made).await.unwrap();
    }
    register_shipped_and_away(&client).await;
    let start = Instant::now();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let refused = loop {
        match registries.create(&dry, &record(Kind::Registry, "another", &spec)).await {
            Err(error) => break error.to_string(),
            Ok(_) => assert!(start.elapsed() < Duration::from_secs(20), "the webhook was never asked"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(refused.contains(r#"failed calling webhook "records.pullgate.io""#), "{refused}");

    for name in ["plain", "held"] {
        registries.delete(name, &DeleteParams::default()).await.unwrap();
    }
    assert!(registries.get_opt("plain").await.unwrap().is_none());
    assert!(registries.get("held").await.unwrap().metadata.deletion_timestamp.is_some());
    let done = json!({"metadata": {"finalizers": null}});
    registries.patch("held", &PatchParams::default(), &Patch::Merge(done)).await.unwrap();
    assert!(registries.get_opt("held").await.unwrap().is_none());
}

#[tokio::test]
async fn the_management_api_tells_what_the_cluster_refuses() {
    let (_turn, client) = turn().await;
    uninstall(&client).await;
    let mut definitions = crd::definitions();
    for definition in &mut definitions {
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = json!([{"rule": "self.metadata.name != 'unwanted'", "message": "the platform team keeps this name"}]);
    }
    install(&client, definitions).await;
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = serve(one.path(), &[]).await;
    let make = async |plural: &str, name: &str, spec: Value| {
        let body = json!({"metadata": {"name": name}, "spec": spec});
        let (status, text) = server.ask(reqwest::Method::POST, &format!("/{plural}"), Some(body)).await;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        (status.as_u16(), answer["detail"].as_str().unwrap_or_default().to_owned())
    };
    let (status, detail) = make("workspaces", "unwanted", json!({"namespaces": []})).await;
    assert_eq!(status, 422, "{detail}");
    assert!(detail.starts_with("Workspace unwanted was refused: "), "{detail}");
    assert!(detail.contains("the platform team keeps this name"), "{detail}");

    assert_eq!(make("workspaces", "a", json!({"namespaces": ["a-prod"]})).await.0, 201);
    let knows_nothing = Server::start_with(other.path(), &[], READY_WITHIN).await;
    let ca = std::fs::read_to_string(other.path().join("data/tls/ca.crt")).unwrap();
    register(&client, &knows_nothing, &ca).await;
    let own = json!({"type": "Docker", "url": "https://own.example.com", "workspace": "a"});
    let (status, detail) = make("registries", "a-own", own).await;
    assert_eq!(status, 422, "{detail}");
    let start = r#"Registry a-own was refused: admission webhook "records.pullgate.io" denied the request: "#;
    assert!(detail.starts_with(start) && detail.contains("there is no workspace a"), "{detail}");
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    webhooks.delete(WEBHOOKS, &DeleteParams::default()).await.unwrap();
    // The other tests' definitions have no such rule.
    uninstall(&client).await;
    install(&client, crd::definitions()).await;
}
