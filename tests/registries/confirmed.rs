//! What the API says of a pull secret's entries: what the registry confirmed, not what is intended.

use reqwest::Method;
use serde_json::{Value, json};

use super::platform::eventually;
use super::served::{integrate, server};
use crate::doubles::harbor::{Harbor, Options};

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_available_once_the_registry_confirmed_the_account() {
    let harbor = Harbor::start(Options::default());
    for project in ["team", "other"] {
        harbor.add_project(project, false);
    }
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), "1").await;
    let workspace = json!({"metadata": {"name": "a"}, "spec": {"namespaces": ["a-prod"]}});
    server.call(Method::POST, "/workspaces", Some(workspace)).await;
    integrate(&server, "corp", json!({"type": "Harbor", "url": harbor.url()}), "admin", "Harbor12345").await;
    let get = async |path: &str| server.call(Method::GET, path, None).await;
    eventually("both are recorded", async || get("/registries/corp/overview").await["spaces"]["total"] == 2)
        .await;
    let entry = async |project: &str| {
        let secret = get("/namespaces/a-prod/pull-secret").await;
        let key = format!("{}/v2/{project}/", harbor.host());
        let entries = secret["entries"].as_array().unwrap();
        entries.iter().find(|entry| entry["key"] == key).cloned().unwrap_or(Value::Null)
    };
    server.call(Method::PUT, "/registryspaces/corp.team/bindings/a", None).await;
    eventually("the account is made", async || entry("team").await["available"] == true).await;

    harbor.set_read_only(true);
    server.call(Method::PUT, "/registryspaces/corp.other/bindings/a", None).await;
    eventually("the binding is there", async || entry("other").await != Value::Null).await;
    let other = entry("other").await;
    assert_eq!(other["available"], false, "{other}");
    assert!(other["reason"].as_str().unwrap().contains("did not confirm yet"), "{other}");
    assert_eq!(entry("team").await["available"], true);
    eventually("whose account it is is told", async || {
        let registry = get("/registries/corp").await;
        let conditions = registry["status"]["conditions"].as_array().unwrap().iter();
        let mut said = conditions.filter(|condition| condition["type"] == "PullCredentials");
        said.any(|said| said["message"] == "account of workspace a: the registry is in read-only mode")
    })
    .await;

    harbor.set_read_only(false);
    eventually("the registry confirms it", async || entry("other").await["available"] == true).await;
}
