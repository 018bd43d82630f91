//! The management API's manners: records in and out, versions, pages, bad input, bindings, removal.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::Request;
use pullgate::domain::record::Kind;
use pullgate::store::StoreError;
use serde_json::{Value, json};
use std::time::Duration;

use crate::support::api::{Client, credential, harbor, owned};
use crate::support::memory_store::{MemoryStore, REFUSAL};

fn workspace(name: &str, namespaces: &[&str]) -> Value {
    json!({"metadata": {"name": name}, "spec": {"namespaces": namespaces}})
}

fn space(registry: &str, path: &str, workspaces: &[&str]) -> Value {
    json!({"spec": {"registry": registry, "path": path, "workspaces": workspaces}})
}

#[tokio::test]
async fn a_record_is_created_read_replaced_and_removed() {
    let api = Client::new();
    let created = api.post("root", "/workspaces", workspace("a", &["a-prod"])).await.is(201);
    assert_eq!(created.header("location"), "/api/v1/workspaces/a");
    assert_eq!(created.header("cache-control"), "no-store");
    let body = created.json();
    assert_eq!(body["apiVersion"], "pullgate.io/v1alpha1");
    assert_eq!(body["kind"], "Workspace");
    assert!(created.etag().starts_with('"') && created.etag().len() > 10, "{}", created.etag());
    assert!(body["metadata"]["creationTimestamp"].as_str().unwrap().ends_with('Z'));
    assert!(body.get("status").is_none());

    // What was read may be sent back as it is.
    let read = api.get("root", "/workspaces/a").await.is(200);
    assert_eq!(read.json(), body);
    assert_eq!(read.etag(), created.etag());
    let mut next = body.clone();
    next["spec"]["namespaces"] = json!(["a-prod", "a-test"]);
    next["status"] = json!({"members": "made up"});
    api.put("root", "/workspaces/a", "", next.clone()).await.is(428);
    api.put("root", "/workspaces/a", "\"0\"", next.clone()).await.is(412);
    api.put("root", "/workspaces/a", &format!("W/{}", read.etag()), next.clone()).await.is(412);
    api.put("root", "/workspaces/a", "7", next.clone()).await.is(400).names("If-Match");
    let replaced = api.put("root", "/workspaces/a", &read.etag(), next).await.is(200);
    assert_ne!(replaced.etag(), read.etag());
    assert_eq!(replaced.json()["spec"]["namespaces"], json!(["a-prod", "a-test"]));
    assert!(replaced.json().get("status").is_none(), "the status is the server's");
    assert_eq!(replaced.json()["metadata"]["creationTimestamp"], body["metadata"]["creationTimestamp"]);

    api.delete("root", "/workspaces/a", "").await.is(428);
    api.delete("root", "/workspaces/a", &read.etag()).await.is(412);
    api.delete("root", "/workspaces/a", &format!("\"x\", {}", replaced.etag())).await.is(204);
    api.get("root", "/workspaces/a").await.is(404);
    api.put("root", "/workspaces/a", "*", workspace("a", &[])).await.is(404);
    api.delete("root", "/workspaces/a", "*").await.is(404);
}

#[tokio::test]
async fn policies_are_records_like_the_others() {
    let api = Client::new();
    let policy = json!({
        "kind": "PullPolicy", "metadata": {"name": "prod"},
        "spec": {"namespaces": ["a-prod"], "unmanaged": {"default": "Deny", "allow": ["docker.io/library"]}},
    });
    let etag = api.post("root", "/pullpolicies", policy.clone()).await.is(201).etag();
    api.post("root", "/pullpolicies", policy.clone()).await.is(409).names("metadata.name");
    let mut wrong = policy;
    wrong["spec"]["unmanaged"]["default"] = json!("Allow");
    api.put("root", "/pullpolicies/prod", &etag, wrong).await.is(422).names("spec.unmanaged.allow");
    api.delete("root", "/pullpolicies/prod", &etag).await.is(204);
}

#[tokio::test]
async fn bad_input_names_its_field_and_writes_nothing() {
    let api = Client::populated().await;
    let before = api.store.dump();
    let spec = |spec: Value| json!({"metadata": {"name": "x"}, "spec": spec});
    let cases = [
        ("/workspaces", json!({"spec": {}}), "metadata.name"),
        ("/workspaces", json!({"metadata": {"name": "x"}}), "spec"),
        ("/workspaces", json!([]), "body"),
        ("/workspaces", spec(json!([])), "spec"),
        ("/workspaces", workspace("Not_A_Name", &[]), "metadata.name"),
        ("/workspaces", workspace("x", &["ok", "not.a.label"]), "spec.namespaces[1]"),
        ("/workspaces", workspace("x", &["b-prod"]), "spec.namespaces[0]"),
        ("/workspaces", spec(json!({"namespace": []})), "spec.namespace"),
        ("/workspaces", spec(json!({"namespaces": 5})), "spec.namespaces"),
        ("/workspaces", json!({"spec": {}, "metadata": {"name": "x", "labels": {}}}), "metadata.labels"),
        ("/workspaces", json!({"spec": {}, "metadata": {"name": "x"}, "data": 1}), "data"),
        ("/workspaces", json!({"spec": {}, "metadata": {"name": "x"}, "kind": "Registry"}), "kind"),
        ("/workspaces", json!({"spec": {}, "metadata": {"name": "x"}, "apiVersion": "v1"}), "apiVersion"),
        ("/workspaces", json!({"spec": {}, "metadata": {"name": "x"}, "credential": {}}), "credential"),
        ("/registries", spec(json!({"type": "Harbor"})), "spec.url"),
        ("/registries", spec(json!({"type": "Docker", "url": "ftp://x.io"})), "spec.url"),
        ("/registries", spec(json!({"type": "Quay", "url": "https://x.io"})), "spec.type"),
        ("/registries", spec(json!({"type": "Artifactory", "url": "https://x.io"})), "spec.type"),
        (
            "/registries",
            spec(json!({"type": "Docker", "url": "https://x.io", "tls": {"ca": ""}})),
            "spec.tls.ca",
        ),
        ("/registries", owned("x", "nobody", "https://x.io"), "spec.workspace"),
        ("/registryspaces", space("none", "p", &[]), "spec.registry"),
        ("/registryspaces", space("corp", "Two/Segments", &[]), "spec.path"),
        ("/registryspaces", space("corp", "p", &["a", "none"]), "spec.workspaces[1]"),
        ("/pullpolicies", spec(json!({"mode": "Maybe"})), "spec.mode"),
    ];
    for (path, body, field) in cases {
        let reply = api.post("root", path, body).await.is(422).names(field);
        assert!(!reply.text.contains("struct"), "{}", reply.text);
    }
    api.put("root", "/workspaces/a", "*", workspace("b", &[])).await.is(422).names("metadata.name");
    assert_eq!(api.store.dump(), before);
}

#[tokio::test]
async fn what_is_no_json_is_refused_before_it_is_looked_at() {
    let api = Client::new();
    let send = |content_type: &str, body: String| {
        let request = Request::builder()
            .method("POST")
            .uri("/api/v1/workspaces")
            .header("authorization", "bearer token-root")
            .header("content-type", content_type)
            .body(Body::from(body))
            .unwrap();
        api.send(request)
    };
    let json = "application/json; charset=utf-8";
    send(json, "{\"spec\": }".into()).await.is(400).says("line 1 column 10");
    send(json, String::new()).await.is(400);
    send(json, "[".repeat(100_000)).await.is(400).says("recursion limit");
    send(json, format!("{{\"spec\": \"{}\"}}", "x".repeat(1 << 20))).await.is(413);
    send("text/plain", "{}".into()).await.is(415);
    send("", "{}".into()).await.is(415);
    assert!(api.store.dump().is_empty());
}

#[tokio::test]
async fn errors_outside_of_records_are_problems_too() {
    let api = Client::populated().await;
    api.get("root", "/nothing").await.is(404);
    let wrong = api.call("root", "DELETE", "/registries", "", None).await.is(405);
    assert!(wrong.header("allow").contains("GET"));
    api.get("root", "/registries/%FF").await.is(400);
    api.get("root", "/registries?limti=1").await.is(400).names("limti");
    api.get("root", "/registries/corp?limit=1").await.is(400).names("limit");
    api.delete("root", "/registries/corp?force=yes", "*").await.is(400).names("force");
    let nobody = api.get("nobody", "/registries").await.is(401);
    assert!(nobody.header("www-authenticate").starts_with("Bearer"));
    let request = || Request::builder().uri("/api/v1/registries");
    for authorization in ["", "token-root", "Basic token-root", "Bearer", "Bearer  ", "Bearer token-root x"] {
        let request = request().header("authorization", authorization).body(Body::empty()).unwrap();
        api.send(request).await.is(401);
    }
    api.send(request().body(Body::empty()).unwrap()).await.is(401);
    let twice =
        request().header("authorization", "Bearer token-root").header("authorization", "Bearer token-wa");
    api.send(twice.body(Body::empty()).unwrap()).await.is(401);
}

#[tokio::test]
async fn a_broken_store_is_unavailable_and_tells_nothing() {
    let api = Client::populated().await;
    api.store.broken.store(true, Ordering::SeqCst);
    api.get("root", "/registries").await.is(503).says("the store is not available");
    api.get("root", "/registries/corp").await.is(503);
    api.post("root", "/workspaces", workspace("c", &[])).await.is(503);
    api.delete("root", "/registries/corp", "*").await.is(503);
    api.get("root", "/namespaces/a-prod/pull-secret").await.is(503);
    assert!(!api.seen.lock().unwrap().contains("records.db"));
    api.store.broken.store(false, Ordering::SeqCst);
    api.post("root", "/workspaces", workspace("c", &[])).await.is(201);
}

#[tokio::test]
async fn each_failure_of_the_store_has_its_status_its_reason_and_its_advice() {
    let api = Client::populated().await;
    let before = api.store.dump();
    let inside = || "/var/lib/pullgate/records.db, secrets is forbidden: cannot create".to_owned();
    let taken = StoreError::Taken { namespace: "pullgate-system".into(), secret: "registry-corp".into() };
    for (failure, status, reason, words) in [
        (StoreError::Full(inside()), 507, "store-full", "make room"),
        (StoreError::ReadOnly(inside()), 503, "store-read-only", "make it writable"),
        (StoreError::Damaged(inside()), 500, "store-damaged", "restore it from a backup"),
        (StoreError::Forbidden(inside()), 503, "store-forbidden", "give its service account the roles"),
        (StoreError::Busy(inside()), 503, "store-busy", "try again in a moment"),
        (taken, 409, "secret-taken", "registry-corp"),
        (StoreError::Unavailable(inside()), 503, "unavailable", "the store is not available"),
    ] {
        *api.store.failing.lock().unwrap() = Some(failure);
        for (method, path, body) in [
            ("POST", "/registries", Some(harbor("new", "new.example.com"))),
            ("POST", "/workspaces", Some(workspace("c", &[]))),
            ("PUT", "/registries/corp/credential", Some(credential())),
            ("DELETE", "/registries/b-quay", None),
            ("DELETE", "/registryspaces/corp.team-a/bindings/a", None),
            ("POST", "/registries/corp/sync", None),
        ] {
            let reply = api.call("root", method, path, "*", body.as_ref()).await.is(status).says(words);
            assert_eq!(reply.json()["type"], format!("urn:pullgate:problem:{reason}"), "{method} {path}");
            assert_eq!(!reply.header("retry-after").is_empty(), status == 503, "{method} {path}");
        }
        // What is stored is still there to be read.
        api.get("root", "/registries/corp").await.is(200);
    }
    assert_eq!(api.store.dump(), before);
    let seen = api.seen.lock().unwrap();
    assert!(
        !seen.contains("records.db")
            && !seen.contains("forbidden: cannot")
            && !seen.contains("pullgate-system")
    );
}

#[tokio::test]
async fn what_the_store_refuses_is_told_in_its_words() {
    let api = Client::populated().await;
    let before = api.store.dump();
    api.store.refusing.store(true, Ordering::SeqCst);
    let spec = json!({"spec": {"namespaces": ["a-prod"]}});
    for (method, path, body, record) in [
        ("POST", "/workspaces", Some(workspace("c", &[])), "Workspace c"),
        ("PUT", "/workspaces/a", Some(spec), "Workspace a"),
        ("DELETE", "/registries/b-quay", None, "Registry b-quay"),
        ("DELETE", "/registries/corp?force=true", None, "Registry corp"),
        ("PUT", "/registries/b-quay/credential", Some(credential()), "Registry b-quay"),
        ("DELETE", "/registries/b-quay/credential", None, "Registry b-quay"),
        ("PUT", "/registryspaces/corp.team-a/bindings/b", None, "RegistrySpace corp.team-a"),
        ("DELETE", "/registryspaces/corp.team-a/bindings/a", None, "RegistrySpace corp.team-a"),
    ] {
        let reply = api.call("root", method, path, "*", body.as_ref()).await.is(422).json();
        assert_eq!(reply["type"], "urn:pullgate:problem:invalid", "{method} {path}");
        assert_eq!(reply["detail"], format!("{record} was refused: {REFUSAL}"), "{method} {path}");
    }
    assert_eq!(api.store.dump(), before);
}

/// Lets what follows the store catch up in a moment.
async fn published_soon(store: &MemoryStore) {
    tokio::time::sleep(Duration::from_millis(50)).await;
    store.publish();
}

#[tokio::test]
async fn a_panic_is_a_server_error_and_forgets_no_write() {
    let api = Client::new();
    api.store.lagging.store(true, Ordering::SeqCst);
    api.store.panics.store(true, Ordering::SeqCst);
    let failed = api.post("root", "/workspaces", workspace("c", &["c-prod"])).await.is(500);
    assert!(!failed.text.contains("panic") && !failed.text.contains("records.db"), "{}", failed.text);
    api.get("root", "/workspaces/c").await.is(200);
    let (refused, ()) = tokio::join!(
        api.post("root", "/workspaces", workspace("d", &["c-prod"])),
        published_soon(&api.store)
    );
    refused.is(422).says("workspace c ");
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_nothing_half_done() {
    let api = Client::populated().await;
    for i in 0..5 {
        let body = json!({"spec": {"registry": "corp", "path": format!("p{i}")}});
        api.post("root", "/registryspaces", body).await.is(201);
    }
    let removal = api.delete("root", "/registries/corp?force=true", "*");
    // Polled once and dropped: the server's task goes on.
    assert!(futures::FutureExt::now_or_never(removal).is_none());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    api.get("root", "/registries/corp").await.is(404);
    assert_eq!(api.get("root", "/registryspaces").await.json()["items"], json!([]));
}

#[tokio::test]
async fn pages_show_every_record_once() {
    let api = Client::new();
    for i in 0..25 {
        api.post("root", "/workspaces", workspace(&format!("w{i:02}"), &[])).await.is(201);
    }
    for limit in [1, 7, 25, 500] {
        let (mut names, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = api.get("root", &format!("/workspaces?limit={limit}{cursor}")).await.is(200).json();
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            names.extend(items.iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()));
            match page.get("next") {
                Some(next) => cursor = format!("&cursor={}", next.as_str().unwrap()),
                None => break,
            }
            // What comes and goes meanwhile neither repeats nor hides the others.
            if names.len() == 7 {
                api.delete("root", "/workspaces/w06", "*").await.is(204);
                api.post("root", "/workspaces", workspace("w06", &[])).await.is(201);
            }
        }
        assert_eq!(names, (0..25).map(|i| format!("w{i:02}")).collect::<Vec<_>>(), "limit {limit}");
    }
    let next = api.get("root", "/workspaces?limit=1").await.json()["next"].as_str().unwrap().to_owned();
    for bad in ["limit=0", "limit=501", "limit=-1", "limit=x", "cursor=x", "cursor=%00", "limit=1&limit=2"] {
        api.get("root", &format!("/workspaces?{bad}")).await.is(400);
    }
    api.get("root", &format!("/registries?cursor={next}")).await.is(400).names("cursor");
}

#[tokio::test]
async fn spaces_get_a_name_and_belong_to_one_record() {
    let api = Client::populated().await;
    assert_eq!(api.get("root", "/registryspaces/corp.team-a").await.is(200).json()["spec"]["path"], "team-a");
    api.post("root", "/registryspaces", space("corp", "team-a", &[])).await.is(409).names("metadata.name");
    let mut named = space("corp", "team-a", &[]);
    named["metadata"] = json!({"name": "another"});
    api.post("root", "/registryspaces", named).await.is(422).names("spec.path").says("corp.team-a");
    for path in ["team_x", "a_b", &"x".repeat(200)] {
        let created = api.post("root", "/registryspaces", space("corp", path, &[])).await.is(201);
        let name = created.json()["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("corp.") && name.len() <= 68, "{name}");
    }
    for path in ["a--b", "a__b", "a..b", "a-_b", "-a", "a-", "A", "a/b", "", &"x".repeat(256)] {
        let refused = api.post("root", "/registryspaces", space("corp", path, &[])).await;
        refused.is(422).names("spec.path").says("(^[a-z0-9]+(?:[._-][a-z0-9]+)*$)");
    }
    // Observed of one project, not true of another.
    let status = json!({"visibility": "Public"});
    api.store.seed(Kind::RegistrySpace, "corp.lib", json!({"registry": "corp", "path": "lib"}), status);
    let kept = api.put("root", "/registryspaces/corp.lib", "*", space("corp", "lib", &["a"])).await.is(200);
    assert_eq!(kept.json()["status"]["visibility"], "Public");
    let moved =
        api.put("root", "/registryspaces/corp.lib", "*", space("corp", "private", &["a"])).await.is(200);
    assert!(moved.json().get("status").is_none());
}

#[tokio::test]
async fn docker_and_workspace_registries_have_nothing_to_bind() {
    let api = Client::populated().await;
    let docker =
        json!({"metadata": {"name": "plain"}, "spec": {"type": "Docker", "url": "https://plain.io"}});
    api.post("root", "/registries", docker).await.is(201);
    let sentence = "Docker registries cannot bind spaces to workspaces";
    api.post("root", "/registryspaces", space("plain", "p", &["a"]))
        .await
        .is(422)
        .names("spec.registry")
        .says(sentence);
    api.store.seed(Kind::RegistrySpace, "plain.p", json!({"registry": "plain", "path": "p"}), Value::Null);
    api.put("root", "/registryspaces/plain.p/bindings/a", "", json!(null)).await.is(422).says(sentence);

    let mut own = harbor("b-harbor", "harbor.b.example");
    own["spec"] = json!({"type": "Harbor", "url": "https://harbor.b.example", "workspace": "b"});
    api.post("wb", "/registries", own).await.is(201);
    api.post("root", "/registryspaces", space("b-harbor", "p", &["a"]))
        .await
        .is(422)
        .names("spec.workspaces");
    api.post("root", "/registryspaces", space("b-harbor", "p", &[])).await.is(201);
    api.put("root", "/registryspaces/b-harbor.p/bindings/b", "", json!(null))
        .await
        .is(422)
        .names("spec.workspaces");
    // Nor does a registry become one under its bindings.
    let mut corp = harbor("corp", "harbor.example.com");
    corp["spec"]["type"] = json!("Docker");
    corp["spec"].as_object_mut().unwrap().remove("pullCredentials");
    api.put("root", "/registries/corp", "*", corp.clone()).await.is(422).names("spec.type");
    corp["spec"]["type"] = json!("Harbor");
    corp["spec"]["workspace"] = json!("a");
    api.put("root", "/registries/corp", "*", corp).await.is(422).names("spec.workspace");
}

#[tokio::test]
async fn the_first_binding_is_for_the_project_that_is_seen_then() {
    let api = Client::populated().await;
    let spec = |project: Value, workspaces: &[&str]| {
        let mut spec = json!({"registry": "corp", "path": "seen", "workspaces": workspaces});
        if !project.is_null() {
            spec["projectId"] = project;
        }
        spec
    };
    let bound = async |spec: Value, status: Value| {
        api.store.seed(Kind::RegistrySpace, "corp.seen", spec, status);
        api.put("root", "/registryspaces/corp.seen/bindings/b", "", json!(null)).await.is(204);
        api.get("root", "/registryspaces/corp.seen").await.is(200).json()["spec"]["projectId"].clone()
    };
    assert_eq!(bound(spec(json!(null), &[]), json!({"projectId": 7})).await, 7);
    assert_eq!(bound(spec(json!(5), &[]), json!({"projectId": 7})).await, 7, "of bindings that are gone");
    assert_eq!(bound(spec(json!(5), &[]), json!(null)).await, json!(null), "noted once it is seen");
    assert_eq!(
        bound(spec(json!(5), &["a"]), json!({"projectId": 7})).await,
        5,
        "the other binding still rests"
    );
}

#[tokio::test]
async fn concurrent_bindings_are_all_kept() {
    let api = Client::populated().await;
    for i in 0..16 {
        api.post("root", "/workspaces", workspace(&format!("w{i}"), &[])).await.is(201);
    }
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let api = api.clone();
            tokio::spawn(async move {
                let path = format!("/registryspaces/corp.team-a/bindings/w{i}");
                api.call("root", "PUT", &path, "", None).await.is(204).etag()
            })
        })
        .collect();
    for task in tasks {
        assert!(!task.await.unwrap().is_empty());
    }
    let bound = api.get("root", "/registryspaces/corp.team-a").await.json()["spec"]["workspaces"].clone();
    assert_eq!(bound.as_array().unwrap().len(), 17, "{bound}");
}

#[tokio::test]
async fn a_binding_is_added_and_removed_once() {
    let api = Client::populated().await;
    let path = "/registryspaces/corp.team-a/bindings/b";
    let before = api.etag("/registryspaces/corp.team-a").await;
    let bound = api.call("root", "PUT", path, "", None).await.is(204).etag();
    assert_ne!(bound, before);
    assert_eq!(api.call("root", "PUT", path, "", None).await.is(204).etag(), bound);
    let unbound = api.delete("root", path, "").await.is(200);
    assert_eq!(unbound.json()["spec"]["workspaces"], json!(["a"]), "what is left");
    assert_eq!(api.delete("root", path, "").await.is(200).etag(), unbound.etag());
    assert_eq!(
        api.get("root", "/registryspaces/corp.team-a").await.json()["spec"]["workspaces"],
        json!(["a"])
    );
    api.call("root", "PUT", "/registryspaces/corp.team-a/bindings/none", "", None).await.is(404);
    api.call("root", "PUT", "/registryspaces/none/bindings/a", "", None).await.is(404);
    // A binding to a workspace that is gone neither stays for ever nor stands in the way.
    let spec = json!({"registry": "corp", "path": "old", "workspaces": ["gone"]});
    api.store.seed(Kind::RegistrySpace, "corp.old", spec, Value::Null);
    api.call("root", "PUT", "/registryspaces/corp.old/bindings/b", "", None).await.is(204);
    api.delete("root", "/registryspaces/corp.old/bindings/gone", "").await.is(200);
    assert_eq!(api.get("root", "/registryspaces/corp.old").await.json()["spec"]["workspaces"], json!(["b"]));
}

#[tokio::test]
async fn nothing_is_removed_that_a_namesake_would_inherit() {
    let api = Client::populated().await;
    api.delete("root", "/workspaces/a", "*").await.is(409).says("corp.team-a");
    api.delete("root", "/workspaces/b", "*").await.is(409).says("b-quay");
    let before = api.store.dump();
    api.delete("root", "/registries/corp", "*").await.is(409).says("force=true");
    api.delete("root", "/registries/corp?force=true", "\"0\"").await.is(412);
    assert_eq!(api.store.dump(), before);
    let public = json!({"spec": {"registry": "corp", "path": "lib", "visibility": "Public"}});
    api.post("root", "/registryspaces", public).await.is(201);
    api.delete("root", "/registries/corp?force=true", "*").await.is(204);
    api.get("root", "/registryspaces/corp.team-a").await.is(404);
    api.get("root", "/registryspaces/corp.lib").await.is(404);
    assert!(api.store.stored_credential("corp").is_none());
    api.delete("root", "/workspaces/a", "*").await.is(204);
}

#[tokio::test]
async fn a_write_is_judged_by_what_was_acknowledged_before() {
    let api = Client::populated().await;
    api.store.lagging.store(true, Ordering::SeqCst);
    // It is done, whether it can be seen or not.
    api.post("root", "/workspaces", workspace("c", &["c-prod"])).await.is(201);
    api.post("root", "/workspaces", workspace("d", &["c-prod"])).await.is(503);
    let (refused, ()) = tokio::join!(
        api.post("root", "/workspaces", workspace("d", &["c-prod"])),
        published_soon(&api.store)
    );
    refused.is(422).names("spec.namespaces[0]");
    api.store.lagging.store(false, Ordering::SeqCst);
    api.call("root", "PUT", "/registryspaces/corp.team-a/bindings/c", "", None).await.is(204);
    api.delete("root", "/workspaces/c", "*").await.is(409);
    let now = api.delete("root", "/registryspaces/corp.team-a/bindings/c", "").await.is(200);
    let read = api.get("root", "/registryspaces/corp.team-a").await.is(200);
    assert_eq!((now.json(), now.etag()), (read.json(), read.etag()), "the answer is the space as it is");
    api.delete("root", "/workspaces/c", "*").await.is(204);
    api.call("root", "PUT", "/registryspaces/corp.team-a/bindings/c", "", None).await.is(404);
    // What others write is seen, too.
    api.store.seed(Kind::Workspace, "c", json!({"namespaces": ["z-prod"]}), Value::Null);
    api.store.publish();
    api.post("root", "/workspaces", workspace("d", &["c-prod"])).await.is(201);
    api.post("root", "/workspaces", workspace("e", &["z-prod"])).await.is(422).says("workspace c ");
}
