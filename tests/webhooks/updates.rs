//! Pods that change: only what is new is judged, and ephemeral containers.

use serde_json::{Value, json};

use crate::support::webhooks::{
    FOREIGN, OWN, PUBLIC, UNMANAGED, Webhooks, container, debugging, image_volume, recording, refer, tenants,
    update,
};

fn containers(list: &[(&str, &str, &str)]) -> Value {
    list.iter().map(|(name, image, policy)| container(name, image, policy)).collect()
}

#[test]
fn a_pod_with_images_that_are_forbidden_by_now_can_still_change() {
    let webhooks = Webhooks::new(&tenants());
    let forbidden = json!({
        "initContainers": containers(&[("i", FOREIGN, "IfNotPresent")]),
        "containers": containers(&[("c", FOREIGN, "IfNotPresent"), ("d", OWN, "Never"), ("e", "not an image", "Never")]),
        "ephemeralContainers": containers(&[("e", FOREIGN, "Never")]),
        "volumes": [image_volume("v", FOREIGN, "IfNotPresent")],
    });
    let mut review = update(&forbidden, &forbidden);
    let object = &mut review["request"]["object"];
    object["metadata"]["finalizers"] = json!([]);
    object["metadata"]["labels"] = json!({"new": "label"});
    object["metadata"]["deletionTimestamp"] = json!("2026-11-22T03:50:36Z");
    object["spec"]["activeDeadlineSeconds"] = json!(1);
    let answer = webhooks.validate(&review);
    assert!(answer.allowed() && answer.warnings().is_empty());
    assert_eq!(answer.reasons(), "Unchanged");
    assert!(webhooks.mutate(&review).patch().is_empty());
}

#[test]
fn a_changed_image_is_judged() {
    let webhooks = Webhooks::new(&tenants());
    let outcome = |from: &str, to: &str, policy: &str| {
        let old = json!({"containers": containers(&[("c", from, policy), ("d", FOREIGN, "Never")])});
        let new = json!({"containers": containers(&[("c", to, policy), ("d", FOREIGN, "Never")])});
        let mut review = update(&old, &new);
        refer(&mut review["request"]["object"]);
        assert!(webhooks.mutate(&review).patch().is_empty(), "a pod's pull policy cannot change");
        let answer = webhooks.validate(&review);
        (answer.allowed(), answer.reasons().to_owned())
    };
    assert_eq!(outcome(UNMANAGED, FOREIGN, "Always"), (false, "Unchanged,NotBound".into()));
    assert_eq!(outcome(UNMANAGED, OWN, "Always"), (true, "Bound,Unchanged".into()));
    assert_eq!(outcome(UNMANAGED, OWN, "IfNotPresent"), (false, "Unchanged,AlwaysPullRequired".into()));
    assert_eq!(
        outcome(OWN, "harbor.example.com/team-a/web:2", "IfNotPresent"),
        (false, "Unchanged,AlwaysPullRequired".into())
    );
    assert_eq!(outcome(FOREIGN, PUBLIC, "Never"), (true, "Public,Unchanged".into()));
    assert_eq!(outcome(FOREIGN, "sha256:0123", "Always"), (false, "Unchanged,InvalidReference".into()));
    assert!(!outcome(FOREIGN, &FOREIGN.replace("secret:1", "secret:2"), "Always").0);
}

#[test]
fn an_image_that_moves_is_new_where_it_arrives() {
    let webhooks = Webhooks::new(&tenants());
    let refused = |what: &str, old: Value, new: Value| {
        let answer = webhooks.validate(&update(&old, &new));
        assert!(!answer.allowed() && answer.reasons().contains("NotBound"), "{what}: {}", answer.body);
    };
    let c = |list| containers(list);
    let old = json!({"containers": c(&[("a", FOREIGN, "Always"), ("b", UNMANAGED, "Always")])});
    refused(
        "to another container",
        old.clone(),
        json!({"containers": c(&[("a", FOREIGN, "Always"), ("b", FOREIGN, "Always")])}),
    );
    refused(
        "swapped",
        old.clone(),
        json!({"containers": c(&[("a", UNMANAGED, "Always"), ("b", FOREIGN, "Always")])}),
    );
    refused(
        "to a container of another name",
        old.clone(),
        json!({"containers": c(&[("a2", FOREIGN, "Always"), ("b", UNMANAGED, "Always")])}),
    );
    refused(
        "to another list",
        old.clone(),
        json!({
            "initContainers": c(&[("a", FOREIGN, "Always")]), "containers": c(&[("b", UNMANAGED, "Always")]),
        }),
    );
    refused(
        "to an ephemeral container",
        old.clone(),
        json!({
            "containers": old["containers"], "ephemeralContainers": c(&[("a", FOREIGN, "Always")]),
        }),
    );
    refused(
        "to a volume",
        old.clone(),
        json!({
            "containers": old["containers"], "volumes": [image_volume("a", FOREIGN, "Always")],
        }),
    );
    refused(
        "from a volume to another",
        json!({"volumes": [image_volume("a", FOREIGN, "Always")]}),
        json!({"volumes": [image_volume("a", FOREIGN, "Always"), image_volume("b", FOREIGN, "Always")]}),
    );
}

#[test]
fn an_image_that_stays_may_change_its_position() {
    let webhooks = Webhooks::new(&tenants());
    let old = json!({"containers": containers(&[("a", FOREIGN, "Always"), ("b", UNMANAGED, "Always")])});
    let new = json!({"containers": containers(&[("b", UNMANAGED, "Always"), ("a", FOREIGN, "Always")])});
    assert_eq!(webhooks.validate(&update(&old, &new)).reasons(), "Unchanged");
}

#[test]
fn only_the_new_ephemeral_container_is_judged_and_patched() {
    let webhooks = Webhooks::new(&tenants());
    let old = json!({
        "containers": containers(&[("c", FOREIGN, "IfNotPresent")]),
        "ephemeralContainers": containers(&[("debug-1", FOREIGN, "IfNotPresent"), ("debug-2", OWN, "IfNotPresent")]),
    });
    let with = |name: &str, image: &str| {
        let mut new = old.clone();
        new["ephemeralContainers"].as_array_mut().unwrap().push(container(name, image, "IfNotPresent"));
        let mut review = debugging(&old, &new);
        refer(&mut review["request"]["object"]);
        review
    };

    let mut own = with("debug-3", OWN);
    let patch = webhooks.mutate(&own).patch();
    let expected =
        json!([{"op": "add", "path": "/spec/ephemeralContainers/2/imagePullPolicy", "value": "Always"}]);
    assert_eq!(Value::Array(patch), expected);
    own["request"]["object"] = webhooks.mutate(&own).patched(&own);
    assert!(webhooks.mutate(&own).patch().is_empty());
    let answer = webhooks.validate(&own);
    assert_eq!((answer.allowed(), answer.reasons()), (true, "Bound,Unchanged"));

    assert_eq!(webhooks.validate(&with("debug-3", OWN)).reasons(), "Unchanged,AlwaysPullRequired");
    assert!(
        webhooks.mutate(&with("debug-3", PUBLIC)).patch().is_empty(),
        "and no pull secret, which cannot change"
    );

    let foreign = webhooks.validate(&with("debug-3", FOREIGN));
    assert!(!foreign.allowed());
    assert!(foreign.message().starts_with(&format!("image {FOREIGN} (ephemeral container debug-3): ")));
    assert_eq!(foreign.message().matches("image ").count(), 1, "of what was there nothing is said");
}

#[test]
fn the_first_ephemeral_container_is_judged() {
    let webhooks = Webhooks::new(&tenants());
    let old = json!({"containers": containers(&[("c", UNMANAGED, "IfNotPresent")])});
    for absent in [json!(null), json!([])] {
        let mut before = old.clone();
        before["ephemeralContainers"] = absent;
        let mut new = old.clone();
        new["ephemeralContainers"] = containers(&[("debug", FOREIGN, "Always")]);
        assert!(!webhooks.validate(&debugging(&before, &new)).allowed());
    }
}

#[test]
fn the_recorded_updates() {
    let webhooks = Webhooks::new(&tenants());
    let changed = webhooks.validate(&recording("validate-update-pods"));
    assert_eq!((changed.allowed(), changed.reasons()), (false, "NotBound"));
    let unchanged = webhooks.validate(&recording("validate-update-pods-2"));
    assert_eq!((unchanged.allowed(), unchanged.reasons()), (true, "Unchanged"));
}

#[test]
fn an_update_that_does_not_say_what_was_there_is_refused() {
    let webhooks = Webhooks::new(&tenants());
    for path in ["/mutate", "/validate"] {
        for old in [json!(null), json!({}), json!({"spec": null})] {
            let mut review = recording("validate-update-pods-2");
            review["request"]["oldObject"] = old;
            let answer = webhooks.ask(path, &review);
            assert!(!answer.allowed());
            assert_eq!(answer.message(), "the request has no oldObject");
        }
        let mut review = recording("validate-update-pods-2");
        review["request"].as_object_mut().unwrap().remove("oldObject");
        assert_eq!(webhooks.ask(path, &review).message(), "the request has no oldObject");
    }
}
