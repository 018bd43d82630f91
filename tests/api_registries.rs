//! Registries of the management API: hosts in every spelling, and where passwords go.

use pullgate::domain::record::Kind;
use pullgate::store::{CredentialChange, Precondition, RecordStore as _};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::api::{Client, PASSWORD, credential, harbor, owned};
use crate::support::log::Log;

#[tokio::test]
async fn one_host_has_one_platform_registry_in_every_spelling() {
    let api = Client::populated().await;
    let before = api.store.dump();
    for host in
        ["harbor.example.com", "HARBOR.example.com", "harbor.example.com:443", "HARBOR.EXAMPLE.COM:443"]
    {
        let mut platform = harbor("second", "elsewhere.example.com");
        platform["spec"]["imageHosts"] = json!(["ok.example.com", host]);
        api.post("root", "/registries", platform).await.is(422).names("spec.imageHosts[1]").says("corp");
        let mut tenant = owned("a-own", "a", "https://elsewhere.example.com");
        tenant["spec"]["imageHosts"] = json!([host]);
        let refused = api.post("wa", "/registries", tenant).await.is(422).names("spec.imageHosts[0]");
        assert!(!refused.text.contains("corp"), "{}", refused.text);
    }
    api.post("wa", "/registries", owned("a-own", "a", "https://Harbor.Example.com"))
        .await
        .is(422)
        .names("spec.url");
    assert_eq!(api.store.dump(), before);

    // Several workspaces may hold what the platform does not; and the platform wins where it comes later.
    api.post("wa", "/registries", owned("a-quay", "a", "https://quay.example.org")).await.is(201);
    api.post("root", "/registries", harbor("quay", "quay.example.org")).await.is(201);
    let etag = api.get("wa", "/registries/a-quay").await.etag();
    api.put("wa", "/registries/a-quay", &etag, owned("a-quay", "a", "https://quay.example.org"))
        .await
        .is(422);
}

#[tokio::test]
async fn a_credential_is_no_longer_than_one_may_be() {
    let api = Client::populated().await;
    let put = async |username: usize, password: usize| {
        let body = json!({"username": "u".repeat(username), "password": "p".repeat(password)});
        api.put("root", "/registries/corp/credential", "", body).await
    };
    put(257, 8).await.is(422).names("username");
    put(8, 16 * 1024 + 1).await.is(422).names("password");
    put(256, 16 * 1024).await.is(204);
}

#[tokio::test]
async fn with_another_credential_the_registry_is_to_be_read_at_once() {
    let api = Client::populated().await;
    let asked = async || {
        let stored = api.store.get(Kind::Registry, "corp").await.unwrap().unwrap();
        stored.status.get("syncRequested").cloned()
    };
    let mut registry = api.get("root", "/registries/corp").await.json();
    registry["spec"]["pullCredentials"] = json!("Robot");
    api.put("root", "/registries/corp", "*", registry.clone()).await.is(200);
    assert_eq!(asked().await, None, "the credential is the same");
    registry["credential"] = credential();
    api.put("root", "/registries/corp", "*", registry).await.is(200);
    let beside = asked().await;
    assert!(beside.is_some());
    api.put("root", "/registries/corp/credential", "", credential()).await.is(204);
    assert_ne!(asked().await, beside);
}

#[tokio::test]
async fn harbor_and_artifactory_need_a_credential() {
    let api = Client::populated().await;
    let mut registry = harbor("second", "second.example.com");
    registry["credential"] = Value::Null;
    api.post("root", "/registries", registry.clone()).await.is(422).names("credential").says("Harbor");
    let mut artifactory = owned("art", "a", "https://art.example.com");
    artifactory["spec"]["type"] = json!("Artifactory");
    artifactory.as_object_mut().unwrap().remove("credential");
    api.post("wa", "/registries", artifactory).await.is(422).names("credential");
    for (given, field) in [
        (json!({"username": "", "password": ""}), "credential.username"),
        (json!({"username": "u:v", "password": "p"}), "credential.username"),
        (json!({"username": "u\u{7}", "password": "p"}), "credential.username"),
        (json!({"username": "u", "password": ""}), "credential.password"),
        (json!({"username": "u"}), "credential.password"),
        (json!({"username": "u", "password": "p", "email": "e"}), "credential.email"),
        (json!("u:p"), "credential"),
    ] {
        registry["credential"] = given;
        api.post("root", "/registries", registry.clone()).await.is(422).names(field);
    }
    assert!(api.store.stored_credential("second").is_none());
    registry["credential"] = credential();
    let created = api.post("root", "/registries", registry).await.is(201).json();
    assert_eq!(created["spec"]["credential"], json!({"name": "registry-second"}));
    assert!(created.get("credential").is_none());
    let stored = api.store.stored_credential("second").unwrap();
    assert_eq!(stored.password.expose_secret(), PASSWORD);
    assert_eq!(stored.audience, "https://second.example.com second.example.com for the platform");
    // A Docker registry may leave both empty.
    let mut open = owned("open", "a", "https://open.example.com");
    open["credential"] = json!({"username": "", "password": ""});
    assert!(api.post("wa", "/registries", open).await.is(201).json()["spec"].get("credential").is_none());
}

#[tokio::test]
async fn a_record_names_no_other_secret_than_its_own() {
    let api = Client::populated().await;
    let before = api.store.dump();
    for name in ["registry-corp", "registry-b-quay", "anything"] {
        let mut tenant = owned("a-own", "a", "https://a.example.com");
        tenant["spec"]["credential"] = json!({"name": name});
        let refused = api.post("wa", "/registries", tenant).await.is(422).names("spec.credential");
        assert!(!refused.text.contains(name), "no telling whether it exists: {}", refused.text);
    }
    assert_eq!(api.store.dump(), before);
    // Its own may be repeated, and without a password it refers to nothing.
    let mut tenant = owned("a-own", "a", "https://a.example.com");
    tenant["spec"]["credential"] = json!({"name": "registry-a-own"});
    tenant.as_object_mut().unwrap().remove("credential");
    let created = api.post("wa", "/registries", tenant).await.is(201);
    assert!(created.json()["spec"].get("credential").is_none());
    let long = "x".repeat(60);
    let created = api.post("wa", "/registries", owned(&long, "a", "https://long.example.com")).await.is(201);
    assert!(created.json()["spec"]["credential"]["name"].as_str().unwrap().starts_with("long-registry-"));
}

#[tokio::test]
async fn the_password_does_not_follow_a_changed_address() {
    let api = Client::populated().await;
    let mut registry = api.get("root", "/registries/corp").await.json();
    // What changes nothing of the audience keeps it.
    registry["spec"]["pullCredentials"] = json!("Robot");
    let kept = api.put("root", "/registries/corp", "*", registry.clone()).await.is(200).json();
    assert_eq!(kept["spec"]["credential"]["name"], "registry-corp");
    assert!(api.store.stored_credential("corp").is_some());
    for (field, value) in [
        ("url", json!("https://evil.example.net")),
        ("imageHosts", json!(["harbor.example.com", "evil.example.net"])),
    ] {
        let mut changed = registry.clone();
        changed["spec"][field] = value;
        api.put("root", "/registries/corp", "*", changed.clone()).await.is(422).names("credential");
        assert_eq!(api.get("root", "/registries/corp").await.json()["spec"], kept["spec"]);
        changed["credential"] = json!({"username": "new", "password": "n"});
        api.put("root", "/registries/corp", "*", changed).await.is(200);
        assert_eq!(api.store.stored_credential("corp").unwrap().username, "new");
        let mut back = registry.clone();
        back["credential"] = credential();
        api.put("root", "/registries/corp", "*", back).await.is(200);
    }
    // A tenant's own Docker registry loses it without a word to anybody else.
    let mut own = api.get("wb", "/registries/b-quay").await.json();
    own["spec"]["url"] = json!("https://evil.example.net");
    let changed = api.put("wb", "/registries/b-quay", "*", own).await.is(200);
    assert!(changed.json()["spec"].get("credential").is_none());
    assert!(api.store.stored_credential("b-quay").is_none());
}

#[tokio::test]
async fn the_password_does_not_follow_to_another_owner() {
    let api = Client::populated().await;
    let mut own = api.get("root", "/registries/b-quay").await.json();
    own["spec"]["workspace"] = json!("a");
    let moved = api.put("root", "/registries/b-quay", "*", own).await.is(200);
    assert!(moved.json()["spec"].get("credential").is_none());
    assert!(api.store.stored_credential("b-quay").is_none());
}

#[tokio::test]
async fn a_closed_docker_registry_does_not_open_by_losing_its_password() {
    let api = Client::populated().await;
    let mut docker = json!({
        "metadata": {"name": "plain"},
        "spec": {"type": "Docker", "url": "https://plain.example.com"},
        "credential": credential(),
    });
    api.post("root", "/registries", docker.clone()).await.is(201);
    docker.as_object_mut().unwrap().remove("credential");
    docker["spec"]["imageHosts"] = json!(["plain.example.com", "also.example.com"]);
    let changed = api.put("root", "/registries/plain", "*", docker.clone()).await.is(200).json();
    assert!(changed["spec"].get("credential").is_none());
    let question =
        json!({"namespace": "nobodys", "images": ["also.example.com/app:1", "plain.example.com/app:1"]});
    let answer = api.post("root", "/explain", question.clone()).await.is(200).json();
    for image in answer["images"].as_array().unwrap() {
        assert_eq!(image["reason"], "PasswordProtected");
    }
    // Declaring it public is an admin's word.
    docker["spec"]["visibility"] = json!("Public");
    docker["credential"] = credential();
    api.put("root", "/registries/plain", "*", docker).await.is(200);
    let answer = api.post("root", "/explain", question).await.is(200).json();
    assert_eq!(answer["images"][0]["reason"], "Public");
}

#[tokio::test]
async fn a_credential_is_stored_and_forgotten_on_its_own() {
    let api = Client::populated().await;
    let path = "/registries/corp/credential";
    let new = json!({"username": "new", "password": "n"});
    api.put("root", path, "\"0\"", new.clone()).await.is(412);
    let stored = api.put("root", path, "", new.clone()).await.is(204);
    assert!(stored.text.is_empty() && !stored.etag().is_empty());
    assert_eq!(api.store.stored_credential("corp").unwrap().username, "new");
    let forgotten = api.delete("root", path, &stored.etag()).await.is(204);
    assert_ne!(forgotten.etag(), stored.etag());
    assert!(api.store.stored_credential("corp").is_none());
    assert!(api.get("root", "/registries/corp").await.json()["spec"].get("credential").is_none());
    assert_eq!(api.delete("root", path, "").await.is(204).etag(), forgotten.etag());
    // The rest of the record can still be changed, but not into what never had one; and the password comes back.
    let current = api.get("root", "/registries/corp").await.json();
    api.put("root", "/registries/corp", "*", current).await.is(200);
    let docker =
        json!({"metadata": {"name": "plain"}, "spec": {"type": "Docker", "url": "https://plain.io"}});
    let mut plain = api.post("root", "/registries", docker).await.is(201).json();
    plain["spec"]["type"] = json!("Harbor");
    api.put("root", "/registries/plain", "*", plain).await.is(422).names("credential");
    api.put("root", path, "", new).await.is(204);
    api.get("root", path).await.is(405);
    api.put("root", "/registries/none/credential", "", credential()).await.is(404);
    api.store.seed(Kind::Registry, "odd", json!({"type": "Docker", "url": "odd"}), Value::Null);
    api.put("root", "/registries/odd/credential", "", credential()).await.is(409);
    // Taking a password away is never refused.
    let odd = json!({"type": "Docker", "url": "odd", "credential": {"name": "registry-odd"}});
    api.store.seed(Kind::Registry, "odd", odd, Value::Null);
    api.delete("root", "/registries/odd/credential", "").await.is(204);
    assert!(api.get("root", "/registries/odd").await.json()["spec"].get("credential").is_none());
}

#[tokio::test]
async fn the_password_is_in_no_answer_and_no_log() {
    let log = Log::default();
    let _guard = log.capture();
    let api = Client::populated().await;
    let credential = "/registries/corp/credential";
    api.put("root", credential, "", json!({"username": "u", "password": PASSWORD})).await.is(204);
    for bad in [
        json!({"username": "a:b", "password": PASSWORD}),
        json!({"username": "u", "password": [PASSWORD]}),
        json!({"username": "u", "password": format!("{PASSWORD}\n")}),
        json!({"username": "u", "password": PASSWORD, "passwort": PASSWORD}),
        json!(PASSWORD),
    ] {
        api.put("root", credential, "", bad.clone()).await.is(422);
        let mut registry = harbor("corp", "harbor.example.com");
        registry["credential"] = bad;
        api.put("root", "/registries/corp", "*", registry).await.is(422);
    }
    let mut registry = harbor("corp", "harbor.example.com");
    registry["spec"]["credential"] = json!(PASSWORD);
    api.put("root", "/registries/corp", "*", registry.clone()).await.is(422).names("spec.credential");
    registry["spec"].as_object_mut().unwrap().remove("credential");
    registry["spec"]["url"] = json!(format!("https://u:{PASSWORD}@harbor.example.com"));
    api.put("root", "/registries/corp", "*", registry.clone()).await.is(422).names("spec.url");
    registry["spec"]["url"] = json!(format!("https://u:{PASSWORD}@harbor example"));
    api.put("root", "/registries/corp", "*", registry).await.is(422).names("spec.url");
    api.get("root", "/registries").await.is(200);
    api.get("root", "/namespaces/a-prod/pull-secret").await.is(200).says("harbor.example.com/v2/team-a/");
    api.delete("root", credential, "").await.is(204);
    assert!(!api.seen.lock().unwrap().contains(PASSWORD));
    let logged = log.text();
    assert!(logged.contains("store-credential") && !logged.contains(PASSWORD), "{logged}");
    let encoded = "czNjcmV0";
    assert!(!logged.contains(encoded) && !api.seen.lock().unwrap().contains(encoded));
}

#[tokio::test]
async fn what_is_observed_of_a_record_gets_in_the_way_of_no_write() {
    let api = Client::populated().await;
    let etag = api.etag("/registries/corp").await;
    let observe = async |version: &str| {
        let mut document = api.store.get(Kind::Registry, "corp").await.unwrap().unwrap();
        document.status = json!({"version": version});
        let at = Precondition::Version(document.version.clone());
        api.store.put(document, at, CredentialChange::Keep).await.unwrap();
    };
    observe("v2.11.0").await;
    let read = api.get("root", "/registries/corp").await.is(200);
    assert_eq!(read.etag(), etag, "nobody wrote anything");
    let mut next = read.json();
    observe("v2.12.0").await;
    next["spec"]["pullCredentials"] = json!("Robot");
    let replaced = api.put("root", "/registries/corp", &etag, next).await.is(200);
    assert_ne!(replaced.etag(), etag);
    assert_eq!(replaced.json()["status"]["version"], "v2.12.0", "what is observed stays the server's");
    observe("v2.13.0").await;
    api.delete("root", "/registries/corp?force=true", &replaced.etag()).await.is(204);
}
