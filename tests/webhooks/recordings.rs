//! What a real API server sent, under three states of the records.

use serde_json::{Map, Value, json};

use pullgate::domain::records::Records;

use crate::support::records::{records, registry, space, workspace};
use crate::support::webhooks::{MUTATE, NAMESPACE, VALIDATE, Webhooks, recordings, tenants};

/// The recordings' namespace belongs to a workspace to which nothing is bound.
fn not_bound() -> Records {
    let mut all = tenants();
    all.put("corp.team-a".into(), <(_, _)>::from(space("corp", "team-a").bound(&["b"])).1);
    all
}

/// The recordings' namespace belongs to no workspace.
fn no_workspace() -> Records {
    records([
        registry("corp").into(),
        space("corp", "team-a").bound(&["a"]).into(),
        space("corp", "team-b").bound(&["b"]).into(),
        space("corp", "shared").public().into(),
        workspace("a", &["team-a-test"]).into(),
        workspace("b", &["team-b-prod"]).into(),
    ])
}

fn answers(records: &Records, path: &str) -> Value {
    let webhooks = Webhooks::new(records);
    let answers = recordings().into_iter().map(|(name, review)| {
        let answer = webhooks.ask(path, &review);
        assert_eq!(answer.status, 200, "{name}");
        (name, answer.readable())
    });
    Value::Object(answers.collect())
}

#[test]
fn validated_where_the_space_is_bound() {
    insta::assert_json_snapshot!(answers(&tenants(), VALIDATE));
}

#[test]
fn validated_where_the_space_is_not_bound() {
    insta::assert_json_snapshot!(answers(&not_bound(), VALIDATE));
}

#[test]
fn validated_where_the_namespace_has_no_workspace() {
    insta::assert_json_snapshot!(answers(&no_workspace(), VALIDATE));
}

#[test]
fn mutated_where_the_space_is_bound() {
    insta::assert_json_snapshot!(answers(&tenants(), MUTATE));
}

#[test]
fn mutated_where_the_space_is_not_bound() {
    insta::assert_json_snapshot!(answers(&not_bound(), MUTATE));
}

#[test]
fn mutated_where_the_namespace_has_no_workspace() {
    insta::assert_json_snapshot!(answers(&no_workspace(), MUTATE));
}

/// The object that the design promises: a pull secret appended on creation where there is a credential, `Always` on
/// what is private.
fn promised(review: &Value, entitled: bool) -> Value {
    let request = &review["request"];
    let mut object = request["object"].clone();
    if request["kind"]["kind"] != "Pod" || request["operation"] != "CREATE" {
        return object;
    }
    let spec = object["spec"].as_object_mut().unwrap();
    if entitled {
        let secrets = spec.entry("imagePullSecrets").or_insert_with(|| json!([]));
        secrets.as_array_mut().unwrap().push(json!({"name": "pullgate-pull"}));
    }
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let image = container["image"].as_str().unwrap();
            if image.starts_with("harbor.example.com/team-") {
                container["imagePullPolicy"] = json!("Always");
            }
        }
    }
    object
}

#[test]
fn a_patched_pod_differs_in_nothing_else() {
    for (world, entitled) in [(tenants(), true), (not_bound(), false), (no_workspace(), false)] {
        let webhooks = Webhooks::new(&world);
        for (name, review) in recordings() {
            let answer = webhooks.mutate(&review);
            assert!(answer.allowed(), "{name}");
            assert_eq!(answer.patched(&review), promised(&review, entitled), "{name}");
        }
    }
}

#[test]
fn what_is_patched_needs_no_patch_and_is_let_in() {
    let webhooks = Webhooks::new(&tenants());
    let mut admitted = Map::new();
    for (name, mut review) in recordings() {
        review["request"]["object"] = webhooks.mutate(&review).patched(&review);
        assert!(webhooks.mutate(&review).patch().is_empty(), "{name} is patched twice");
        admitted.insert(name, json!(webhooks.validate(&review).allowed()));
    }
    let refused: Vec<_> =
        admitted.iter().filter(|(_, a)| **a == false).map(|(name, _)| name.as_str()).collect();
    assert_eq!(refused, ["validate-update-pods"], "only the change to another team's image is refused");
    assert_eq!(NAMESPACE, "team-a-prod", "what was recorded");
}

#[test]
fn the_two_sentences_of_a_tenant_who_may_not() {
    let review = crate::support::webhooks::recording("validate-create-pods");
    let denied = Webhooks::new(&not_bound()).validate(&review);
    assert_eq!(denied.response()["status"]["code"], 403);
    assert_eq!(
        denied.message(),
        "image harbor.example.com/team-a/migrate:2024.11 (init container migrate): space team-a of registry corp is \
         private and not bound to this namespace's workspace; ask a platform admin to bind it; image \
         harbor.example.com/team-a/web:1.8.2 (container web): space team-a of registry corp is private and not bound \
         to this namespace's workspace; ask a platform admin to bind it"
    );
    let denied = Webhooks::new(&no_workspace()).validate(&review);
    assert!(denied.message().ends_with(
        "image harbor.example.com/team-a/web:1.8.2 (container web): space team-a of registry corp is private and this \
         namespace belongs to no workspace; ask a platform admin to add the namespace to the workspace that may pull it"
    ));
}
