//! A real registry with a password: the pull secret that pullgate computes pulls from it, and nothing else does.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::doubles::registry::{Access, Registry, pull, push};
use crate::support::server::Server;

/// The credential that the kubelet's keyring finds for an image: `https://` assumed, a leading `/v1/` or `/v2/` of
/// the path cut, then a byte-prefix match (pkg/credentialprovider/keyring.go).
fn keyring(config: &Value, image: &str) -> Option<String> {
    let entries = config["auths"].as_object().unwrap();
    let found = entries.iter().find(|(key, _)| {
        let (host, path) = key.split_once('/').unwrap();
        let path = path.strip_prefix("v2/").or_else(|| path.strip_prefix("v1/")).unwrap_or(path);
        image.starts_with(&format!("{host}/{path}"))
    });
    let auth = BASE64_STANDARD.decode(found?.1["auth"].as_str().unwrap()).unwrap();
    Some(String::from_utf8(auth).unwrap())
}

fn manifest(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "pullgate.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn the_computed_pull_secret_pulls_and_an_unbound_namespace_has_none() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start(&Access::Password("pusher", "s3cret:with-colon"));
    assert!(
        push(&registry.host, "team-a/app", "1", Some("pusher:s3cret:with-colon")),
        "the image could not be pushed"
    );

    let server = Server::start(directory.path()).await;
    let mut corp = manifest(
        "Registry",
        "corp",
        &json!({"type": "Harbor", "url": registry.url(), "pullCredentials": "Integration"}),
    );
    corp["credential"] = json!({"username": "pusher", "password": "s3cret:with-colon"});
    let bound = json!({"registry": "corp", "path": "team-a", "visibility": "Private", "workspaces": ["a"]});
    for (path, body) in [
        ("/workspaces", manifest("Workspace", "a", &json!({"namespaces": ["a-prod"]}))),
        ("/workspaces", manifest("Workspace", "b", &json!({"namespaces": ["b-prod"]}))),
        ("/registries", corp),
        ("/registryspaces", manifest("RegistrySpace", "corp.team-a", &bound)),
    ] {
        server.call(Method::POST, path, Some(body)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;

    let secret = async |namespace: &str| {
        let path = format!("/namespaces/{namespace}/pull-secret");
        let shown = server.call(Method::GET, &path, None).await.to_string();
        assert!(
            !shown.contains("s3cret") && !shown.contains("dockerconfigjson"),
            "a password unasked for: {shown}"
        );
        server.call(Method::GET, &format!("{path}?reveal=true"), None).await["dockerconfigjson"].clone()
    };
    let config = secret("a-prod").await;
    let credential =
        keyring(&config, &format!("{}/team-a/app", registry.host)).expect("no credential for the image");
    assert!(!pull(&registry.host, "team-a/app", "1", None), "pulled without a password");
    assert!(pull(&registry.host, "team-a/app", "1", Some(&credential)));
    assert_eq!(keyring(&config, &format!("{}/team-a-evil/app", registry.host)), None, "a neighbour's space");

    for namespace in ["b-prod", "nobodys"] {
        assert_eq!(secret(namespace).await, json!({"auths": {}}), "{namespace}");
    }
    server.call(Method::DELETE, "/registryspaces/corp.team-a/bindings/a", None).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(secret("a-prod").await, json!({"auths": {}}), "the entry goes with the binding");
}
