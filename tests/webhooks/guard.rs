//! The webhook that guards records: every rule, what it lets alone, and input made to cost much.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use pullgate::admission::handlers::Admission;
use pullgate::admission::record_webhook::{RecordWebhook, router};
use pullgate::domain::record::Kind;
use pullgate::metrics::Metrics;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::memory_store::MemoryStore;
use crate::support::records::{space, two_workspaces};
use crate::support::webhooks::{Answer, GUARD, Webhooks, creation, record, record_review};

fn harbor(host: &str) -> Value {
    json!({"type": "Harbor", "url": format!("https://{host}")})
}

fn tenants(host: &str, workspace: &str) -> Value {
    json!({"type": "Docker", "url": format!("https://{host}"), "workspace": workspace})
}

fn create(guard: &Webhooks, kind: &str, name: &str, spec: &Value) -> Answer {
    guard.ask(GUARD, &record_review("CREATE", kind, None, Some(&record(kind, name, spec))))
}

fn update(guard: &Webhooks, kind: &str, name: &str, before: &Value, after: &Value) -> Answer {
    let (before, after) = (record(kind, name, before), record(kind, name, after));
    guard.ask(GUARD, &record_review("UPDATE", kind, Some(&before), Some(&after)))
}

fn delete(guard: &Webhooks, kind: &str, name: &str) -> Answer {
    guard.ask(GUARD, &record_review("DELETE", kind, Some(&record(kind, name, &json!({}))), None))
}

#[test]
fn good_records_pass_without_a_word() {
    let guard = Webhooks::new(&two_workspaces());
    for (kind, name, spec) in [
        ("Workspace", "c", json!({"namespaces": ["c-prod"]})),
        ("Registry", "second", harbor("second.example.com")),
        ("Registry", "b-own", tenants("own.io", "b")),
        ("RegistrySpace", "corp.team-b", json!({"registry": "corp", "path": "team-b", "workspaces": ["b"]})),
        ("PullPolicy", "p", json!({"mode": "Warn", "unmanaged": {"default": "Deny"}})),
    ] {
        let answer = create(&guard, kind, name, &spec);
        assert!(answer.allowed() && answer.warnings().is_empty(), "{kind} {name}: {}", answer.message());
    }
    for (kind, name) in [("Workspace", "b"), ("Registry", "plain"), ("RegistrySpace", "corp.team-a")] {
        assert!(delete(&guard, kind, name).allowed(), "{kind} {name}");
    }
}

#[test]
fn names_of_harbors_in_the_cluster_are_reserved() {
    let guard = Webhooks::new(&two_workspaces());
    let mut spec = harbor("harbor.example.org");
    let denied = create(&guard, "Registry", "managed-harbor-prod", &spec);
    assert!(!denied.allowed() && denied.message().contains("metadata.name: names that begin with managed-"));
    // Also where the record is a tenant's, whatever it says of itself.
    let mut theirs = tenants("own.io", "b");
    theirs["source"] = json!("Helm harbor/prod");
    assert!(!create(&guard, "Registry", "managed-harbor-prod", &theirs).allowed());
    spec["source"] = json!("Helm harbor/other");
    assert!(!create(&guard, "Registry", "managed-harbor-prod", &spec).allowed());
    // pullgate's own, and one that an administrator hands over.
    spec["source"] = json!("Helm harbor/prod");
    let answer = create(&guard, "Registry", "managed-harbor-prod", &spec);
    assert!(answer.allowed(), "{}", answer.message());
    // Other kinds have no such names, and what is there already can be changed.
    assert!(create(&guard, "Workspace", "managed-services", &json!({})).allowed());
    let (old, new) = (harbor("harbor.example.org"), harbor("new.example.org"));
    assert!(update(&guard, "Registry", "managed-old", &old, &new).allowed());
}

#[test]
fn a_denial_names_every_fault_and_its_field() {
    let guard = Webhooks::new(&two_workspaces());
    let spec = json!({"type": "Artifactory", "url": "ftp://x", "paths": ["Acme", "b//c"]});
    let answer = create(&guard, "Registry", "x", &spec);
    assert!(!answer.allowed());
    assert_eq!(answer.response()["status"]["code"], 422);
    assert_eq!(answer.response()["status"]["reason"], "Invalid");
    let sentences: Vec<_> = answer.message().split("; ").collect();
    for start in ["spec.url: ", "spec.paths[0]: ", "spec.paths[1]: ", "spec.type: ", "spec.paths: "] {
        assert!(sentences.iter().any(|s| s.starts_with(start)), "{start} in {}", answer.message());
    }
}

#[test]
fn the_rules_across_records_hold() {
    let guard = Webhooks::new(&two_workspaces());
    let says = |answer: Answer, words: &str| {
        assert!(!answer.allowed(), "allowed: {words}");
        assert!(answer.message().contains(words), "{words:?} is not in {:?}", answer.message());
        answer.message().to_owned()
    };
    for host in ["harbor.example.com", "harbor.example.com:443"] {
        let text = says(
            create(&guard, "Registry", "t", &tenants(host, "b")),
            "spec.url: the platform has integrated the host harbor.example.com",
        );
        assert!(!text.contains("corp"), "{text}");
        let mut spec = tenants("elsewhere.io", "b");
        spec["imageHosts"] = json!(["x.io", "Harbor.example.com"]);
        says(create(&guard, "Registry", "t", &spec), "spec.imageHosts[1]: the platform has integrated");
    }
    says(create(&guard, "Registry", "two", &harbor("harbor.example.com")), "one host, one registry");
    says(create(&guard, "Registry", "t", &tenants("x.io", "none")), "spec.workspace: there is no workspace");
    let of = |registry: &str, workspaces: Value| json!({"registry": registry, "path": "p", "workspaces": workspaces});
    says(
        create(&guard, "RegistrySpace", "s", &of("plain", json!(["a"]))),
        "Docker registries cannot bind spaces to workspaces",
    );
    says(create(&guard, "RegistrySpace", "s", &of("none", json!([]))), "there is no registry none");
    says(create(&guard, "RegistrySpace", "s", &of("a-own", json!(["a"]))), "cannot be bound");
    says(create(&guard, "RegistrySpace", "s", &of("corp", json!(["a", "none"]))), "spec.workspaces[1]");
    let twin = json!({"registry": "corp", "path": "team-a"});
    says(create(&guard, "RegistrySpace", "s", &twin), "recorded already");
    says(
        create(&guard, "Workspace", "c", &json!({"namespaces": ["b-prod"]})),
        "spec.namespaces[0]: namespace b-prod is listed by workspace b already",
    );
    says(
        update(
            &guard,
            "Registry",
            "corp",
            &harbor("harbor.example.com"),
            &json!({"type": "Docker", "url": "https://harbor.example.com"}),
        ),
        "spec.type",
    );
    says(delete(&guard, "Registry", "corp"), "(corp.team-a)");
    says(delete(&guard, "Workspace", "a"), "still owns registries (a-own)");
}

#[test]
fn what_is_no_change_of_the_spec_passes() {
    let guard = Webhooks::new(&two_workspaces());
    let broken = json!({"type": "Harbor", "url": "broken", "paths": ["x"]});
    let (before, mut after) = (record("Registry", "x", &broken), record("Registry", "x", &broken));
    after["metadata"]["finalizers"] = json!(["example.com/cleanup"]);
    after["metadata"]["labels"] = json!({"a": "b"});
    let review =
        |before: &Value, after: &Value| record_review("UPDATE", "Registry", Some(before), Some(after));
    assert!(guard.ask(GUARD, &review(&before, &after)).allowed());
    // Members in another order are the same spec; another one is not.
    let text = review(&before, &after).to_string().replacen(
        r#"{"paths":["x"],"type":"Harbor","url":"broken"}"#,
        r#"{"url":"broken","type":"Harbor","paths":["x"]}"#,
        1,
    );
    assert!(guard.post(GUARD, text).allowed());
    after["spec"]["paths"] = json!(["y"]);
    assert!(!guard.ask(GUARD, &review(&before, &after)).allowed());
    after["metadata"]["deletionTimestamp"] = json!("2026-11-22T03:50:36Z");
    assert!(guard.ask(GUARD, &review(&before, &after)).allowed(), "nothing holds up what is on its way out");
    // So does its status, whatever the record is.
    let mut status = review(&before, &after);
    after["metadata"].as_object_mut().unwrap().remove("deletionTimestamp");
    status["request"]["subResource"] = json!("status");
    status["request"]["object"]["status"] = json!({"spaces": "many"});
    assert!(guard.ask(GUARD, &status).allowed());
    // A record that is deleted again.
    let mut leaving = record("Workspace", "a", &json!({}));
    assert!(!guard.ask(GUARD, &record_review("DELETE", "Workspace", Some(&leaving), None)).allowed());
    leaving["metadata"]["deletionTimestamp"] = json!("2026-11-22T03:50:36Z");
    assert!(guard.ask(GUARD, &record_review("DELETE", "Workspace", Some(&leaving), None)).allowed());
}

#[test]
fn a_dry_run_and_the_removal_of_many_are_judged_alike() {
    let guard = Webhooks::new(&two_workspaces());
    let mut dry =
        record_review("CREATE", "Registry", None, Some(&record("Registry", "t", &tenants("x.io", "none"))));
    dry["request"]["dryRun"] = json!(true);
    assert!(!guard.ask(GUARD, &dry).allowed());
    // DeleteCollection names nothing but the old object.
    let mut one_of_many =
        record_review("DELETE", "Registry", Some(&record("Registry", "corp", &json!({}))), None);
    one_of_many["request"]["name"] = json!("");
    let answer = guard.ask(GUARD, &one_of_many);
    assert!(answer.message().contains("registry corp still has spaces"), "{}", answer.message());
}

#[test]
fn taking_access_away_is_never_refused() {
    let mut all = two_workspaces();
    // Its workspace `gone` is no more, and neither is its twin's fault its own.
    let (name, odd) = space("corp", "odd").bound(&["gone", "a"]).into();
    all.put(name, odd);
    let guard = Webhooks::new(&all);
    let spec = |workspaces: Value| json!({"registry": "corp", "path": "odd", "workspaces": workspaces});
    let change = |before: Value, after: Value| {
        update(&guard, "RegistrySpace", "corp.odd", &spec(before), &spec(after)).allowed()
    };
    assert!(change(json!(["gone", "a"]), json!(["gone"])));
    assert!(change(json!(["gone", "a"]), json!([])));
    assert!(
        change(json!(["gone", "a"]), json!(["gone", "a", "b"])),
        "what was wrong before is not its fault"
    );
    assert!(!change(json!(["a"]), json!(["a", "gone"])));
    assert!(!change(json!(["a"]), json!(["a", 7])));
    let mut without = spec(json!(["a"]));
    without.as_object_mut().unwrap().remove("workspaces");
    assert!(update(&guard, "RegistrySpace", "corp.odd", &spec(json!(["gone", "a"])), &without).allowed());
    let docker = |workspaces: Value| json!({"registry": "plain", "path": "odd", "workspaces": workspaces});
    let bind =
        |before: Value, after: Value| update(&guard, "RegistrySpace", "x", &docker(before), &docker(after));
    assert!(!bind(json!(["a"]), json!(["a", "b"])).allowed());
    assert!(bind(json!(["a", "b"]), json!(["b"])).allowed());
    // Nor is forgetting a password.
    let mut broken = json!({"type": "Harbor", "url": "broken", "credential": {"name": "registry-x"}});
    let before = broken.clone();
    broken.as_object_mut().unwrap().remove("credential");
    assert!(update(&guard, "Registry", "x", &before, &broken).allowed());
    assert!(!update(&guard, "Registry", "x", &broken, &before).allowed());
}

#[test]
fn a_credential_that_a_change_voids_is_warned_of() {
    let guard = Webhooks::new(&two_workspaces());
    let with = |mut spec: Value| {
        spec["credential"] = json!({"name": "registry-b-own"});
        spec
    };
    let before = with(tenants("own.io", "b"));
    let warned = |after: &Value| {
        let answer = update(&guard, "Registry", "b-own", &before, after);
        assert!(answer.allowed(), "{}", answer.message());
        answer.warnings().join(" ")
    };
    assert!(warned(&with(tenants("moved.io", "b"))).contains("the stored credential is void"));
    assert!(warned(&with(tenants("own.io", "a"))).contains("former owner"));
    let mut paths = with(tenants("own.io", "b"));
    paths["paths"] = json!(["acme/"]);
    assert_eq!(warned(&paths), "");
    assert_eq!(warned(&tenants("moved.io", "b")), "", "there is none any more");
    // A denial has no warnings beside it.
    assert!(!update(&guard, "Registry", "b-own", &before, &with(tenants("moved.io", "none"))).allowed());
}

#[test]
fn unknown_kinds_versions_and_operations_are_denied() {
    let guard = Webhooks::new(&two_workspaces());
    let fine = record_review("CREATE", "Workspace", None, Some(&record("Workspace", "c", &json!({}))));
    assert!(guard.ask(GUARD, &fine).allowed());
    for (pointer, value, words) in [
        ("/request/kind/kind", json!("Pod"), "does not know pullgate.io/v1alpha1 Pod"),
        ("/request/kind/version", json!("v2"), "does not know pullgate.io/v2 Workspace"),
        ("/request/kind/group", json!(""), "does not know /v1alpha1 Workspace"),
        ("/request/operation", json!("CONNECT"), "nobody connects"),
        ("/request/operation", json!("PATCH"), "not an AdmissionReview"),
        ("/request/subResource", json!("scale"), "subresource scale"),
        ("/request/object", Value::Null, "the request has no object"),
        ("/request/object", json!([]), "expected an object"),
        ("/request/object", json!({"spec": {}}), "metadata.name: "),
        ("/request/object/metadata/name", json!("Not_a_name"), "metadata.name: "),
        ("/request/object/metadata/name", json!(""), "metadata.name: "),
        ("/request/object/spec", Value::Null, "spec: "),
        ("/request/object/spec", json!("x"), "spec: "),
        ("/request/object/spec", json!({"$serde_json::private::RawValue": "{}"}), "unknown field"),
        ("/request/object/spec", json!({"namespaces": "a"}), "spec.namespaces: "),
        ("/request/object/spec", json!({"surprise": 1}), "spec.surprise: unknown field"),
    ] {
        let mut review = fine.clone();
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        review.pointer_mut(parent).unwrap()[last] = value.clone();
        let answer = guard.ask(GUARD, &review);
        assert!(!answer.allowed(), "{pointer} {value}");
        assert!(answer.message().contains(words), "{pointer} {value}: {}", answer.message());
        assert!(!answer.message().contains("struct"), "{}", answer.message());
    }
    // A pod's review came to the wrong address.
    assert!(!guard.ask(GUARD, &creation(&json!({}))).allowed());
    let faults = guard.metrics.render().unwrap();
    assert!(
        faults.contains(r#"pullgate_admission_faults_total{cause="unjudgeable",webhook="guard"}"#),
        "{faults}"
    );
    assert!(faults.contains(r#"pullgate_admission_duration_seconds_count{webhook="guard"}"#), "{faults}");
}

#[test]
fn hostile_bodies_are_answered_in_time_and_in_few_words() {
    let guard = Webhooks::new(&two_workspaces());
    let fine =
        record_review("CREATE", "Workspace", None, Some(&record("Workspace", "c", &json!({})))).to_string();
    let with_spec = |spec: String| fine.replacen(r#""spec":{}"#, &format!(r#""spec":{spec}"#), 1);
    let start = Instant::now();
    for (what, body) in [
        ("many faults", with_spec(format!(r#"{{"namespaces":[{}"A"]}}"#, "\"A\",".repeat(16_000)))),
        ("an endless name", with_spec(format!(r#"{{"namespaces":["{}"]}}"#, "\\u0007".repeat(100_000)))),
        ("depth", with_spec("[".repeat(200_000) + &"]".repeat(200_000))),
        (
            "depth within a member",
            with_spec(format!("{{\"x\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000))),
        ),
        ("a spec of 2 MiB", with_spec(format!(r#"{{"namespaces":["{}"]}}"#, "a".repeat(2 << 20)))),
        ("many empty things", with_spec(format!("[{}0]", "[],".repeat(2_000_000)))),
        ("members twice", fine.replacen(r#""metadata":{"#, r#""metadata":{},"metadata":{"#, 1)),
    ] {
        let answer = guard.post(GUARD, body);
        assert!(!answer.allowed(), "{what}");
        let expected = [StatusCode::OK, StatusCode::BAD_REQUEST];
        assert!(expected.contains(&answer.status), "{what}: {} {}", answer.status, answer.message());
    }
    for body in ["", "[]", "nonsense", "{\"request\":{}}", "\u{0}"] {
        assert_eq!(guard.post(GUARD, body).status, StatusCode::BAD_REQUEST, "{body:?}");
    }
    let mut not_utf8 = fine.clone().into_bytes();
    let at = fine.find("2026-11-22").unwrap();
    not_utf8[at] = 0xff;
    assert!(!guard.post(GUARD, not_utf8).allowed());
    // The uid comes before or after the fault; where it is known the answer has it.
    assert_eq!(guard.post(GUARD, format!("{fine}x")).status, StatusCode::OK);
    let padded = |length: usize| [fine.clone(), " ".repeat(length - fine.len())].concat();
    assert!(guard.post(GUARD, padded(7 << 20)).allowed());
    assert_eq!(guard.post(GUARD, padded((7 << 20) + 1)).status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

/// What was written a moment ago may not be published yet.
#[tokio::test]
async fn what_is_published_gets_time_to_catch_up() {
    let store = Arc::new(MemoryStore::default());
    let admission = Admission::new(store.state.clone(), Arc::new(Metrics::new().unwrap()));
    let guard = router(RecordWebhook::new(admission, store.state.clone()));
    let registry = record("Registry", "own", &tenants("own.io", "late"));
    let ask = async || {
        let review = record_review("CREATE", "Registry", None, Some(&registry)).to_string();
        let request = Request::post("/guard?timeout=10s").body(Body::from(review)).unwrap();
        let start = Instant::now();
        let response = guard.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        (answer["response"]["allowed"] == true, start.elapsed())
    };
    let (allowed, took) = ask().await;
    assert!(!allowed && took >= Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    store.lagging.store(true, Ordering::SeqCst);
    store.seed(Kind::Workspace, "late", json!({}), Value::Null);
    let publish = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        store.publish();
    };
    let ((allowed, took), ()) = tokio::join!(ask(), publish);
    assert!(allowed && took < Duration::from_secs(1), "{took:?}");
}
