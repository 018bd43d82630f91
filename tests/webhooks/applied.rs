//! Pods whose manifests are applied again: a pull policy that was set when the pod was made stays.

use pullgate::domain::snapshot::Settings;
use serde_json::{Value, json};

use crate::support::webhooks::{
    FOREIGN, NAMESPACE, OWN, PUBLIC, UNMANAGED, Webhooks, container, creation, image_volume, tenants,
    through_subresource, update,
};

fn always(path: &str) -> Value {
    json!({"op": "add", "path": format!("/spec/{path}"), "value": "Always"})
}

fn patch(old: &Value, new: &Value) -> Value {
    Value::Array(Webhooks::new(&tenants()).mutate(&update(old, new)).patch())
}

#[test]
fn a_manifest_that_is_applied_twice_changes_nothing() {
    let webhooks = Webhooks::new(&tenants());
    let manifest = json!({
        "initContainers": [container("i", OWN, "IfNotPresent")],
        "containers": [container("c", OWN, "IfNotPresent"), container("d", UNMANAGED, "IfNotPresent")],
        "volumes": [{"name": "tmp", "emptyDir": {}}, image_volume("v", OWN, "IfNotPresent")],
    });
    let first = creation(&manifest);
    let made = webhooks.mutate(&first).patched(&first);
    let mut again = update(&json!({}), &json!({}));
    again["request"]["oldObject"] = made.clone();
    again["request"]["object"] = made.clone();
    for (list, value) in manifest.as_object().unwrap() {
        again["request"]["object"]["spec"][list] = value.clone();
    }
    assert_ne!(again["request"]["object"], made);
    again["request"]["object"] = webhooks.mutate(&again).patched(&again);
    assert_eq!(again["request"]["object"], made, "what the API server would refuse to change is as it was");
    assert!(webhooks.mutate(&again).patch().is_empty());
    assert!(webhooks.validate(&again).allowed());
}

#[test]
fn only_what_was_always_pulled_is_written_back() {
    let pod = |policies: [&str; 4]| {
        let [init, first, second, volume] = policies;
        json!({
            "initContainers": [container("i", OWN, init)],
            "containers": [container("a", UNMANAGED, first), container("b", OWN, second)],
            "volumes": [{"name": "tmp", "emptyDir": {}}, image_volume("v", OWN, volume)],
        })
    };
    let from = |old| patch(&pod(old), &pod(["IfNotPresent", "Never", "Always", "IfNotPresent"]));
    assert_eq!(from(["IfNotPresent", "Never", "Never", "IfNotPresent"]), json!([]));
    assert_eq!(from(["Never", "IfNotPresent", "Always", "Never"]), json!([]));
    assert_eq!(
        from(["Always", "Always", "Always", "Always"]),
        json!([
            always("initContainers/0/imagePullPolicy"),
            always("containers/0/imagePullPolicy"),
            always("volumes/1/image/pullPolicy")
        ])
    );
    assert_eq!(
        from(["IfNotPresent", "Always", "Never", "IfNotPresent"]),
        json!([always("containers/0/imagePullPolicy")])
    );
}

#[test]
fn containers_are_known_by_list_and_name() {
    let old = json!({"initContainers": [container("i", OWN, "Always")],
        "containers": [container("a", OWN, "Always"), container("b", OWN, "Never")]});
    // The API server refuses such changes; the patch must not hide them.
    let moved = json!({"initContainers": [container("b", OWN, "IfNotPresent")],
        "containers": [container("b", OWN, "IfNotPresent"), container("new", OWN, "Never"), container("a", OWN, "Never"),
            container("i", OWN, "Never")]});
    assert_eq!(patch(&old, &moved), json!([always("containers/2/imagePullPolicy")]));
    let absent = json!({"containers": [{"name": "a", "image": OWN}, {"name": "b", "image": OWN, "imagePullPolicy": null}]});
    assert_eq!(patch(&old, &absent), json!([always("containers/0/imagePullPolicy")]));
}

#[test]
fn it_does_not_matter_what_the_image_is_by_now() {
    for (was, becomes) in
        [(OWN, PUBLIC), (PUBLIC, PUBLIC), (FOREIGN, FOREIGN), (OWN, UNMANAGED), (OWN, "not an image")]
    {
        let pod = |image, policy| json!({"containers": [container("c", image, policy)]});
        let written = patch(&pod(was, "Always"), &pod(becomes, "IfNotPresent"));
        assert_eq!(written, json!([always("containers/0/imagePullPolicy")]), "{was} to {becomes}");
    }
}

#[test]
fn exempt_namespaces_and_subresources_are_left_alone() {
    let old = json!({"containers": [container("c", OWN, "Always")]});
    let new = json!({"containers": [container("c", OWN, "IfNotPresent")]});
    let settings = Settings { exempt_namespaces: vec![NAMESPACE.into()], ..Settings::default() };
    assert!(Webhooks::with(&tenants(), &settings).mutate(&update(&old, &new)).patch().is_empty());
    for subresource in ["status", "resize", "ephemeralcontainers"] {
        let mut review = update(&old, &new);
        through_subresource(&mut review, subresource);
        assert!(Webhooks::new(&tenants()).mutate(&review).patch().is_empty(), "{subresource}");
    }
}
