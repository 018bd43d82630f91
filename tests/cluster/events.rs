//! What came about at a registry, as `kubectl describe` shows it.

use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use pullgate::domain::record::Kind;
use pullgate::types::crd;
use reqwest::Method;
use serde_json::json;

use crate::control_plane::{forget_leader, install, namespace, records, serve, turn, uninstall};
use crate::doubles::harbor::{Harbor, Options};
use crate::support::waiting::within;

const SETTINGS: [&str; 2] = ["--registry-interval", "1"];
/// For what takes several calls of the API server and of Harbor.
const SOON: Duration = Duration::from_secs(20);

/// The Events of a registry's record.
async fn events(client: &Client) -> Vec<Event> {
    let uid = records(client, Kind::Registry).get("corp").await.unwrap().metadata.uid.unwrap();
    let listed =
        Api::<Event>::namespaced(client.clone(), "default").list(&ListParams::default()).await.unwrap();
    listed.into_iter().filter(|event| event.regarding.as_ref().unwrap().uid.as_ref() == Some(&uid)).collect()
}

#[tokio::test]
async fn an_account_that_is_disabled_is_told_by_one_event_each_time() {
    let (_turn, client) = turn().await;
    uninstall(&client).await;
    install(&client, crd::definitions()).await;
    for name in ["pullgate-system", "payments"] {
        namespace(&client, name).await;
    }
    forget_leader(&client).await;
    let harbor = Harbor::start(Options { frozen: Duration::from_millis(10), ..Options::default() });
    harbor.add_project("team", false);
    let directory = tempfile::tempdir().unwrap();
    let mut server = serve(directory.path(), &SETTINGS).await;
    let workspace = json!({"metadata": {"name": "payments"}, "spec": {"namespaces": ["payments"]}});
    server.call(Method::POST, "/workspaces", Some(workspace)).await;
    let registry = json!({"metadata": {"name": "corp"}, "spec": {"type": "Harbor", "url": harbor.url()},
        "credential": {"username": "admin", "password": "Harbor12345"}});
    server.call(Method::POST, "/registries", Some(registry)).await;
    let spaces = records(&client, Kind::RegistrySpace);
    within(SOON, "the project is recorded", async || spaces.get_opt("corp.team").await.unwrap().is_some())
        .await;
    let bind = Patch::Merge(json!({"spec": {"workspaces": ["payments"]}}));
    spaces.patch("corp.team", &PatchParams::default(), &bind).await.unwrap();
    within(SOON, "the account is made", async || harbor.robots().len() == 1).await;
    assert!(events(&client).await.is_empty());

    let disabled = async || {
        let record = records(&client, Kind::Registry).get("corp").await.unwrap();
        record.data["status"]["robots"][0]["disabled"] == true
    };
    harbor.disable_robot(harbor.robots()[0].id);
    within(SOON, "there is an Event", async || !events(&client).await.is_empty()).await;
    // What was told is recorded after it: a leader that ends in between leaves it to be told again.
    within(SOON, "it is recorded", disabled).await;
    // Whoever comes next does not tell it again.
    server.kill();
    forget_leader(&client).await;
    let directory = tempfile::tempdir().unwrap();
    let _server = serve(directory.path(), &SETTINGS).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let found = events(&client).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    let event = &found[0];
    assert_eq!(event.reason.as_deref(), Some("AccountDisabled"));
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    let note = event.note.as_deref().unwrap();
    assert!(
        note.contains("account of workspace payments") && note.contains(&harbor.robots()[0].stored_name),
        "{note}"
    );

    harbor.enable_robot(harbor.robots()[0].id);
    within(SOON, "it is enabled", async || !disabled().await).await;
    harbor.disable_robot(harbor.robots()[0].id);
    within(SOON, "it is told once more", async || events(&client).await.len() == 2).await;
    for event in events(&client).await {
        let name = event.metadata.name.unwrap();
        Api::<Event>::namespaced(client.clone(), "default")
            .delete(&name, &DeleteParams::default())
            .await
            .unwrap();
    }
}
