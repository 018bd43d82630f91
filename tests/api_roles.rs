//! Who may do what through the management API, and what the refused learn.

use pullgate::api::tokens::Tokens;
use pullgate::domain::record::Kind;
use serde_json::{Value, json};

use crate::support::api::{Client, Reply, credential, harbor, owned, sha256};
use crate::support::log::Log;

async fn names(api: &Client, who: &str, path: &str) -> Vec<String> {
    let list = api.get(who, path).await.is(200).json();
    let items = list["items"].as_array().unwrap().clone();
    items.iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// The same to the letter, but for the name that was asked for.
#[track_caller]
fn same(one: &Reply, other: &Reply, names: (&str, &str)) {
    assert_eq!(
        (one.status, one.text.replace(names.0, "X")),
        (other.status, other.text.replace(names.1, "X"))
    );
}

#[tokio::test]
async fn lists_and_reads_show_what_is_the_callers() {
    let api = Client::populated().await;
    api.post("wa", "/registries", owned("a-own", "a", "https://a.example.com")).await.is(201);
    // An invalid record is still its workspace's alone.
    let broken = json!({"type": "Docker", "url": "broken", "workspace": "b"});
    api.store.seed(Kind::Registry, "b-broken", broken, Value::Null);
    assert_eq!(names(&api, "admin", "/registries").await, ["a-own", "b-broken", "b-quay", "corp"]);
    for who in ["wa", "ea", "va"] {
        assert_eq!(names(&api, who, "/registries").await, ["a-own"]);
        assert_eq!(names(&api, who, "/workspaces").await, ["a"]);
        api.get(who, "/registries/a-own").await.is(200);
        api.get(who, "/workspaces/a").await.is(200);
        for (path, absent) in
            [("/registries/b-quay", "/registries/none"), ("/workspaces/b", "/workspaces/none")]
        {
            let (hidden, absent) = (api.get(who, path).await.is(404), api.get(who, absent).await.is(404));
            let name = path.rsplit('/').next().unwrap();
            same(&hidden, &absent, (&format!("named {name}"), "named none"));
        }
        api.get(who, "/registries/corp").await.is(404);
        for path in ["/registryspaces", "/pullpolicies"] {
            api.get(who, path).await.is(403);
        }
        let (known, unknown) =
            (api.get(who, "/registryspaces/corp.team-a").await, api.get(who, "/registryspaces/none").await);
        same(&known.is(403), &unknown, ("-", "-"));
    }
    assert_eq!(names(&api, "wb", "/registries").await, ["b-broken", "b-quay"]);
    // A page of one's own is full though others' records lie between, and its cursor names none of them.
    for i in 0..7 {
        let name = format!("{}-{i}", if i % 2 == 0 { "mine" } else { "a" });
        let (who, workspace) = if i % 2 == 0 { ("wb", "b") } else { ("wa", "a") };
        api.post(who, "/registries", owned(&name, workspace, &format!("https://{name}.example.net")))
            .await
            .is(201);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get("wb", &format!("/registries?limit=2{cursor}")).await.is(200).json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].clone()));
        let Some(next) = page.get("next") else { break };
        assert_eq!(page["items"].as_array().unwrap().len(), 2);
        cursor = format!("&cursor={}", next.as_str().unwrap());
    }
    assert_eq!(seen, ["b-broken", "b-quay", "mine-0", "mine-2", "mine-4", "mine-6"]);
}

#[tokio::test]
async fn platform_records_are_written_by_admins_alone() {
    let api = Client::populated().await;
    let before = api.store.dump();
    let workspace = json!({"metadata": {"name": "c"}, "spec": {"namespaces": ["c-prod"]}});
    let space = json!({"spec": {"registry": "corp", "path": "mine", "workspaces": ["a"]}});
    let policy = json!({"metadata": {"name": "p"}, "spec": {"mode": "Audit"}});
    for who in ["wa", "ea", "va"] {
        api.post(who, "/registries", harbor("second", "second.example.com")).await.is(403);
        api.post(who, "/workspaces", workspace.clone()).await.is(403);
        api.post(who, "/registryspaces", space.clone()).await.is(403);
        api.post(who, "/pullpolicies", policy.clone()).await.is(403);
        api.put(who, "/workspaces/a", "*", json!({"spec": {"namespaces": ["kube-system"]}})).await.is(403);
        api.delete(who, "/workspaces/a", "*").await.is(403);
        api.delete(who, "/registryspaces/corp.team-a", "*").await.is(403);
        api.call(who, "PUT", "/registryspaces/corp.team-a/bindings/a", "", None).await.is(403);
        api.delete(who, "/registryspaces/corp.team-a/bindings/a", "").await.is(403);
        api.get(who, "/namespaces/a-prod/pull-secret").await.is(403);
    }
    api.put("wa", "/registries/corp", "*", harbor("corp", "harbor.example.com")).await.is(404);
    api.delete("wa", "/registries/corp?force=true", "*").await.is(404);
    api.put("wa", "/registries/corp/credential", "", credential()).await.is(404);
    assert_eq!(api.store.dump(), before);
}

#[tokio::test]
async fn a_workspaces_registries_are_its_admins() {
    let api = Client::populated().await;
    for who in ["ea", "va"] {
        api.post(who, "/registries", owned("a-own", "a", "https://a.example.com")).await.is(403);
    }
    let created = api.post("wa", "/registries", owned("a-own", "a", "https://a.example.com")).await.is(201);
    for who in ["ea", "va"] {
        api.put(who, "/registries/a-own", "*", created.json()).await.is(403);
        api.delete(who, "/registries/a-own", "*").await.is(403);
        api.put(who, "/registries/a-own/credential", "", credential()).await.is(403);
        api.delete(who, "/registries/a-own/credential", "").await.is(403);
    }
    let before = api.store.dump();
    for (method, path) in [("PUT", ""), ("DELETE", ""), ("PUT", "/credential"), ("DELETE", "/credential")] {
        let body = if path.is_empty() { created.json() } else { credential() };
        let body = (method == "PUT").then_some(&body);
        let other = api.call("wb", method, &format!("/registries/a-own{path}"), "\"1\"", body).await;
        if path.is_empty() && method == "PUT" {
            assert_eq!(other.status, 404);
            continue;
        }
        let absent = api.call("wb", method, &format!("/registries/none{path}"), "\"1\"", body).await;
        same(&other.is(404), &absent, ("a-own", "none"));
    }
    // Neither handed away nor taken, not even between workspaces of one's own.
    let mut moved = created.json();
    moved["spec"]["workspace"] = json!("b");
    api.put("wa", "/registries/a-own", "*", moved.clone()).await.is(403);
    api.put("wab", "/registries/a-own", "*", moved.clone()).await.is(403);
    moved["spec"].as_object_mut().unwrap().remove("workspace");
    api.put("wa", "/registries/a-own", "*", moved).await.is(403);
    for workspace in ["b", "nobody", ""] {
        let refused =
            api.post("wa", "/registries", owned("x", workspace, "https://x.example.com")).await.is(403);
        assert!(!refused.text.contains("nobody") && !refused.text.contains("\"b\""));
    }
    assert_eq!(api.store.dump(), before);
    // A name that somebody's record has says only that it is taken: the same of one's own, of another tenant's, and of the
    // platform's, whatever there is beside it.
    let of_own = api.post("wa", "/registries", owned("a-own", "a", "https://q.example.com")).await.is(409);
    for name in ["b-quay", "corp"] {
        let taken = api.post("wa", "/registries", owned(name, "a", "https://q.example.com")).await;
        same(&taken, &of_own, (name, "a-own"));
        assert!(!taken.text.contains("workspace") && !taken.text.contains(name), "{}", taken.text);
    }

    let changed = api.put("wa", "/registries/a-own", "*", created.json()).await.is(200);
    let etag =
        api.put("wa", "/registries/a-own/credential", &changed.etag(), credential()).await.is(204).etag();
    api.delete("wa", "/registries/a-own", &etag).await.is(204);
}

#[tokio::test]
async fn a_tenants_claim_denies_nobody_else() {
    let api = Client::populated().await;
    let mut hub = owned("a-hub", "a", "https://registry-1.docker.io");
    hub["spec"]["imageHosts"] = json!(["docker.io"]);
    let whole = api.post("wa", "/registries", hub.clone()).await.is(422);
    whole.says("shared by everybody");
    hub["spec"]["imageHosts"] = json!(["localhost:5000"]);
    api.post("wa", "/registries", hub.clone()).await.is(422).says("localhost is each node itself");
    hub["spec"]["imageHosts"] = json!(["docker.io"]);
    hub["spec"]["paths"] = json!(["library"]);
    api.post("wa", "/registries", hub).await.is(201);
    let question = json!({"namespace": "b-prod", "images": ["ubuntu:24.04"]});
    let answer = api.post("wb", "/explain", question).await.is(200).json();
    let image = &answer["images"][0];
    assert_eq!((&image["reason"], &image["allowed"]), (&json!("Unmanaged"), &json!(true)));
    assert_eq!(image["needsAlways"], false, "its registry never answered");
}

#[tokio::test]
async fn every_write_is_audited_also_a_refused_one() {
    let log = Log::default();
    let guard = log.capture();
    let api = Client::populated().await;
    let etag = api.etag("/registries/corp").await;
    api.post("wa", "/registries", harbor("second", "second.example.com")).await.is(403);
    api.post("nobody", "/registries", json!({})).await.is(401);
    api.delete("root", "/registries/corp", "\"0\"").await.is(412);
    api.delete("root", "/registries/corp?force=true", "*").await.is(204);
    api.get("root", "/namespaces/a-prod/pull-secret?reveal=true").await.is(200);
    api.get("admin", "/namespaces/a-prod/pull-secret?reveal=true").await.is(403);
    api.get("root", "/namespaces/a-prod/pull-secret").await.is(200);
    drop(guard);
    let lines: Vec<String> =
        log.text().lines().filter(|l| l.contains(" audit: ")).map(str::to_owned).collect();
    let has = |parts: &[&str]| lines.iter().any(|l| parts.iter().all(|p| l.contains(p)));
    let who = "who=\"root\" role=\"Admin\"";
    let created =
        format!("action=\"create\" kind=\"Registry\" name=\"corp\" version={etag} outcome=\"done\"");
    assert!(has(&[who, &created]));
    assert!(has(&["who=\"wa\" role=\"WorkspaceAdmin\"", "name=\"second\"", "outcome=\"forbidden\""]));
    assert!(has(&["who=\"-\"", "outcome=\"unauthenticated\""]));
    assert!(has(&[who, "action=\"remove\"", "name=\"corp\"", "outcome=\"refused\" status=412"]));
    assert!(has(&[who, "action=\"remove\" kind=\"RegistrySpace\" name=\"corp.team-a\"", "outcome=\"done\""]));
    assert!(has(&[who, "action=\"remove\" kind=\"Registry\" name=\"corp\"", "outcome=\"done\""]));
    assert!(has(&[who, "action=\"reveal\" kind=\"PullSecret\" name=\"a-prod\"", "outcome=\"done\""]));
    assert!(has(&["who=\"admin\"", "action=\"reveal\"", "outcome=\"forbidden\""]));
    assert_eq!(lines.len(), 5 + 7, "{lines:#?}");
}

#[test]
fn a_tokens_file_says_which_entry_is_wrong() {
    let digest = sha256("t");
    let error = |text: &str| Tokens::parse(text).unwrap_err().to_string();
    let entry = |rest: &str| format!("tokens: [{{name: x, sha256: {digest}, {rest}}}]");
    assert_eq!(Tokens::parse(&entry("role: Admin")).unwrap().len(), 1);
    let json =
        format!(r#"{{"tokens": [{{"name": "x", "sha256": "{}", "role": "Admin"}}]}}"#, digest.to_uppercase());
    assert_eq!(Tokens::parse(&json).unwrap().len(), 1);
    for (text, words) in [
        ("tokens: [".to_owned(), "no YAML or JSON"),
        ("[]".to_owned(), "tokens file"),
        ("{}".to_owned(), "missing field `tokens`"),
        (entry("role: Root"), "tokens[0].role"),
        (entry("role: Admin, token: x"), "tokens[0].token"),
        (entry("role: Admin, workspaces: [a]"), "tokens[0].workspaces"),
        (entry("role: WorkspaceViewer"), "tokens[0].workspaces"),
        (entry("role: WorkspaceAdmin, workspaces: [a], reveal: true"), "tokens[0].reveal"),
        ("tokens: [{name: x, sha256: my-token, role: Admin}]".to_owned(), "tokens[0].sha256"),
        ("tokens: [{name: x, sha256: [my-token], role: Admin}]".to_owned(), "tokens[0].sha256"),
        ("tokens: [{name: '', sha256: DIGEST, role: Admin}]".replace("DIGEST", &digest), "tokens[0].name"),
        (
            "tokens: [{name: x, sha256: D, role: Admin}, {name: z, sha256: D, role: Admin}]"
                .replace('D', &digest),
            "tokens[1].sha256: x has the same token",
        ),
    ] {
        let error = error(&text);
        assert!(error.contains(words), "{text}: {error}");
        assert!(!error.contains("my-token"), "{error}");
    }
}

#[tokio::test]
async fn names_of_harbors_in_the_cluster_are_reserved() {
    let api = Client::populated().await;
    let managed =
        json!({"type": "Harbor", "url": "https://harbor.example.org", "source": "Helm harbor/there"});
    api.store.seed(Kind::Registry, "managed-harbor-there", managed, Value::Null);
    let there =
        api.post("wa", "/registries", owned("managed-harbor-there", "a", "https://q.io")).await.is(422);
    let absent =
        api.post("wa", "/registries", owned("managed-harbor-none", "a", "https://q.io")).await.is(422);
    same(&there.says("reserved").names("metadata.name"), &absent, ("there", "none"));
    api.post("root", "/registries", harbor("managed-mine", "mine.example.com"))
        .await
        .is(422)
        .names("metadata.name");
    let mut theirs = owned("managed-harbor-prod", "a", "https://q.io");
    theirs["spec"]["source"] = json!("Helm harbor/prod");
    api.post("wa", "/registries", theirs).await.is(422);
    // An administrator hands one over, or puts one back.
    let managed = json!({"type": "Harbor", "url": "https://prod.example.org", "source": "Helm harbor/prod"});
    let put_back =
        json!({"metadata": {"name": "managed-harbor-prod"}, "spec": managed, "credential": credential()});
    let mut other = put_back.clone();
    other["metadata"]["name"] = json!("managed-harbor-other");
    api.post("root", "/registries", other).await.is(422).names("metadata.name");
    api.post("root", "/registries", put_back).await.is(201);
    // What has such a name already can be changed and removed.
    api.store.seed(
        Kind::Registry,
        "managed-old",
        json!({"type": "Docker", "url": "https://old.io"}),
        Value::Null,
    );
    let changed = json!({"spec": {"type": "Docker", "url": "https://older.io"}});
    api.put("root", "/registries/managed-old", "*", changed).await.is(200);
    api.delete("root", "/registries/managed-old", "*").await.is(204);
}
