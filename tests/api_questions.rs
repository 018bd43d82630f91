//! What the management API says of a namespace: its pull secret, what it may pull, and why.

use base64::Engine as _;
use pullgate::api::tokens_file::TokensFile;
use pullgate::credentials::{DockerConfig, LookedUp};
use pullgate::domain::pull_secret::CredentialId;
use pullgate::domain::record::Kind;
use serde_json::{Value, json};

use crate::support::api::{Client, PASSWORD, credential, harbor, owned};

#[tokio::test]
async fn a_pull_secret_shows_its_entries_and_no_password() {
    let api = Client::populated().await;
    let secret = api.get("admin", "/namespaces/a-prod/pull-secret").await.is(200);
    assert_eq!(
        secret.json(),
        json!({
            "name": "pullgate-pull", "namespace": "a-prod", "workspace": "a",
            "entries": [{
                "key": "harbor.example.com/v2/team-a/", "username": "robot$pull",
                "credential": "Integration registry corp", "available": true,
            }],
        })
    );
    let secret = api.get("admin", "/namespaces/b-prod/pull-secret?reveal=false").await.is(200).json();
    assert_eq!(secret["entries"][0]["key"], "quay.example.org/v2/");
    let secret = api.get("admin", "/namespaces/nobodys/pull-secret").await.is(200).json();
    assert_eq!((&secret["workspace"], &secret["entries"]), (&Value::Null, &json!([])));
    api.get("admin", "/namespaces/No_Name/pull-secret").await.is(400).names("namespace");
    api.get("root", "/namespaces/a-prod/pull-secret?reveal=1").await.is(400).names("reveal");
}

#[tokio::test]
async fn a_revealed_pull_secret_is_what_the_kubelet_reads() {
    let api = Client::populated().await;
    api.get("admin", "/namespaces/a-prod/pull-secret?reveal=true").await.is(403);
    let revealed = api.get("root", "/namespaces/a-prod/pull-secret?reveal=true").await.is(200).json();
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("robot$pull:{PASSWORD}"));
    let expected = json!({"auths": {"harbor.example.com/v2/team-a/": {"auth": auth}}});
    assert_eq!(revealed["dockerconfigjson"], expected);
    // The controller's bytes are the same.
    let entries = api.store.state.snapshot().scope("a-prod").pull_entries();
    let resolved =
        LookedUp::default().resolve(api.store.as_ref(), &api.store.state.records(), entries).await.unwrap();
    assert_eq!(serde_json::to_value(DockerConfig::of(&resolved)).unwrap(), expected);
    assert!(!format!("{resolved:?}").contains(PASSWORD));
}

#[test]
fn the_admin_that_serve_makes_may_see_passwords() {
    let directory = tempfile::tempdir().unwrap();
    TokensFile::load_or_make(directory.path()).unwrap();
    let text = std::fs::read_to_string(directory.path().join("tokens.json")).unwrap();
    let made: Value = serde_json::from_str(&text).unwrap();
    let tokens = made["tokens"].as_array().unwrap();
    assert_eq!((tokens.len(), &tokens[0]["role"], &tokens[0]["reveal"]), (1, &json!("Admin"), &json!(true)));
}

#[tokio::test]
async fn what_cannot_be_filled_is_left_out_and_says_why() {
    let api = Client::populated().await;
    let entry = async |words: &str| {
        let secret = api.get("root", "/namespaces/a-prod/pull-secret?reveal=true").await.is(200);
        assert_eq!(secret.json()["dockerconfigjson"], json!({"auths": {}}));
        let entry = secret.json()["entries"][0].clone();
        assert_eq!((&entry["available"], entry.get("username")), (&json!(false), None));
        assert!(entry["reason"].as_str().unwrap().contains(words), "{entry}");
        entry
    };
    // Somebody beside the API changed the address: the stored password stays behind.
    let mut spec = api.get("root", "/registries/corp").await.json()["spec"].clone();
    let kept = spec.clone();
    spec["url"] = json!("https://evil.example.net");
    spec["imageHosts"] = json!(["harbor.example.com"]);
    api.store.seed(Kind::Registry, "corp", spec.clone(), Value::Null);
    entry("another address").await;
    let mut robot = kept.clone();
    robot.as_object_mut().unwrap().remove("pullCredentials");
    api.store.seed(Kind::Registry, "corp", robot, Value::Null);
    assert_eq!(entry("PullCredentials says why").await["credential"], "Robot registry corp workspace a");
    api.store.seed(Kind::Registry, "corp", kept, Value::Null);
    let revealed = api.get("root", "/namespaces/a-prod/pull-secret?reveal=true").await.is(200);
    assert!(revealed.text.contains("\"auth\""));
    // A credential that cannot be read leaves the others in force, and is replaced by giving it again.
    let id = |registry: &str| CredentialId::Integration { registry: registry.into() };
    api.post("wa", "/registries", owned("a-own", "a", "https://a.example.com")).await.is(201);
    api.store.damaged.lock().unwrap().insert(id("corp"));
    let secret = api.get("root", "/namespaces/a-prod/pull-secret?reveal=true").await.is(200).json();
    let entries = secret["entries"].as_array().unwrap();
    let available = |entry: &Value| (entry["credential"].clone(), entry["available"].as_bool().unwrap());
    let found: Vec<_> = entries.iter().map(available).collect();
    let of = |registry: &str| json!(format!("Integration registry {registry}"));
    assert_eq!(found, [(of("a-own"), true), (of("corp"), false)]);
    assert!(entries[1]["reason"].as_str().unwrap().contains("is damaged; give user name and password again"));
    assert_eq!(secret["dockerconfigjson"]["auths"].as_object().unwrap().len(), 1);
    api.get("root", "/registries").await.is(200);
    let record = api.get("root", "/registries/corp").await.is(200).json();
    let unchanged = json!({"spec": record["spec"]});
    api.put("root", "/registries/corp", "*", unchanged).await.is(422).names("credential").says("damaged");
    api.put("root", "/registries/corp/credential", "", credential()).await.is(204);
    api.store.damaged.lock().unwrap().clear();
    api.delete("wa", "/registries/a-own", "*").await.is(204);
    // A record of a credential that the store does not have.
    let ghost = json!({
        "type": "Docker", "url": "https://ghost.io", "workspace": "a", "credential": {"name": "registry-ghost"},
    });
    api.store.seed(Kind::Registry, "ghost", ghost, Value::Null);
    api.get("root", "/namespaces/a-prod/pull-secret").await.is(200).says("no credential is stored");
}

#[tokio::test]
async fn access_lists_what_is_bound_and_what_is_owned() {
    let api = Client::populated().await;
    let mut hub = crate::support::api::owned("a-hub", "a", "https://registry-1.docker.io");
    hub["spec"]["imageHosts"] = json!(["docker.io"]);
    hub["spec"]["paths"] = json!(["acme/", "acme2/team"]);
    api.post("wa", "/registries", hub).await.is(201);
    let lib =
        json!({"spec": {"registry": "corp", "path": "lib", "visibility": "Public", "workspaces": ["a"]}});
    api.post("root", "/registryspaces", lib).await.is(201);
    let access = api.get("va", "/namespaces/a-test/access").await.is(200).json();
    assert_eq!(
        access,
        json!({
            "namespace": "a-test", "workspace": "a", "exempt": false, "mode": "Enforce",
            "spaces": [
                {"registry": "corp", "path": "lib", "visibility": "Public", "images": ["harbor.example.com/lib/"]},
                {"registry": "corp", "path": "team-a", "visibility": "Private", "images": ["harbor.example.com/team-a/"]},
            ],
            "registries": [{"name": "a-hub", "images": ["docker.io/acme/", "docker.io/acme2/team/"]}],
        })
    );
    assert_eq!(api.get("root", "/namespaces/kube-system/access").await.is(200).json()["exempt"], true);
    let texts: Vec<String> = {
        let mut texts = Vec::new();
        for namespace in ["b-prod", "nowhere", "Not_A_Name"] {
            texts.push(api.get("wa", &format!("/namespaces/{namespace}/access")).await.is(403).text);
        }
        texts
    };
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{texts:?}");
}

#[tokio::test]
async fn explain_answers_as_the_webhooks_decide() {
    let api = Client::populated().await;
    let ask = |who, namespace: &str, images: Value| {
        let body = json!({"namespace": namespace, "images": images});
        api.post(who, "/explain", body)
    };
    let images = json!([
        "harbor.example.com/team-a/web:1.8",
        "ubuntu",
        "HARBOR.example.com/team-a/web",
        "UPPER",
        "quay.example.org/x"
    ]);
    let answer = ask("va", "a-prod", images).await.is(200).json();
    assert_eq!(answer["workspace"], "a");
    assert_eq!(
        answer["images"][0],
        json!({
            "image": "harbor.example.com/team-a/web:1.8",
            "reference": {"host": "harbor.example.com", "path": "team-a/web", "tag": "1.8", "digest": null},
            "allowed": true, "refused": false, "reason": "Bound", "needsAlways": true, "mode": "Enforce",
            "explanation": "its space is bound to this namespace's workspace",
        })
    );
    let reasons: Vec<_> = answer["images"].as_array().unwrap().iter().map(|i| i["reason"].clone()).collect();
    assert_eq!(reasons, ["Bound", "Unmanaged", "HostSpelling", "InvalidReference", "Unmanaged"]);
    assert_eq!(answer["images"][1]["reference"]["path"], "library/ubuntu");
    assert!(answer["images"][3].get("reference").is_none());

    let policy = json!({"metadata": {"name": "warn"}, "spec": {"namespaces": ["b-prod"], "mode": "Warn"}});
    api.post("root", "/pullpolicies", policy).await.is(201);
    let denied = ask("root", "b-prod", json!(["harbor.example.com/team-a/web"])).await.is(200).json();
    let image = &denied["images"][0];
    assert_eq!(
        (&image["reason"], &image["allowed"], &image["refused"]),
        (&json!("NotBound"), &json!(false), &json!(false))
    );
    assert_eq!(image["mode"], "Warn");

    let mut texts = Vec::new();
    for namespace in ["b-prod", "nowhere", "No_Name"] {
        texts.push(ask("wa", namespace, json!(["ubuntu"])).await.is(403).text);
    }
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{texts:?}");
    ask("root", "No_Name", json!(["ubuntu"])).await.is(422).names("namespace");
    ask("root", "a-prod", json!([])).await.is(422).names("images");
    ask("root", "a-prod", json!(vec!["ubuntu"; 101])).await.is(422).names("images");
    ask("root", "a-prod", json!(vec!["ubuntu"; 100])).await.is(200);
    ask("root", "a-prod", json!(["ubuntu", 5])).await.is(422).names("images[1]");
    api.post("root", "/explain", json!({"images": ["x"]})).await.is(422).names("namespace");
}

#[tokio::test]
async fn a_new_binding_is_explained_at_once() {
    let api = Client::populated().await;
    api.post("root", "/registries", harbor("two", "two.example.com")).await.is(201);
    let body = json!({"namespace": "b-prod", "images": ["two.example.com/team-b/x"]});
    let reason =
        async || api.post("wb", "/explain", body.clone()).await.json()["images"][0]["reason"].clone();
    assert_eq!(reason().await, "NotBound");
    api.post("root", "/registryspaces", json!({"spec": {"registry": "two", "path": "team-b"}})).await.is(201);
    api.call("root", "PUT", "/registryspaces/two.team-b/bindings/b", "", None).await.is(204);
    assert_eq!(reason().await, "Bound");
}
