//! What holds of the webhooks whatever the pod is.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use pullgate::domain::record::{Injection, Mode, Unmanaged};
use serde_json::{Map, Value, json};

use crate::support::records::{policy, registry, workspace};
use crate::support::webhooks::{
    MUTATE, NAMESPACE, VALIDATE, Webhooks, container, creation, image_volume, tenants, update,
};

/// Worlds that differ in what a denial does, in what is unmanaged and in which pods get the reference; enforcing first.
static WORLDS: LazyLock<[Webhooks; 5]> = LazyLock::new(|| {
    [
        (Mode::Enforce, Unmanaged::Allow, Injection::Always),
        (Mode::Enforce, Unmanaged::Deny, Injection::Always),
        (Mode::Warn, Unmanaged::Deny, Injection::Always),
        (Mode::Audit, Unmanaged::Allow, Injection::Always),
        (Mode::Enforce, Unmanaged::Allow, Injection::WhenNeeded),
    ]
    .map(|(mode, unmanaged, injection)| {
        let mut all = tenants();
        let mut tenant = workspace("a", &[NAMESPACE]);
        tenant.1.injection = injection;
        all.put("a".into(), <(_, _)>::from(tenant).1);
        let mut rules = policy("p", unmanaged).mode(mode);
        rules.1.denied_tags = vec!["denied".into()];
        all.put("p".into(), <(_, _)>::from(rules).1);
        all.put(
            "w".into(),
            <(_, _)>::from(registry("w").docker().host("quay.io").of("a").paths(&["acme"])).1,
        );
        all.put("v".into(), <(_, _)>::from(registry("v").docker().host("ghcr.io").of("b")).1);
        Webhooks::new(&all)
    })
});

const IMAGES: [&str; 16] = [
    "harbor.example.com/team-a/web:1",
    "harbor.example.com/team-a/deep/er:denied",
    "harbor.example.com/team-b/x",
    "harbor.example.com/team-a-evil/x",
    "harbor.example.com/library/base:1",
    "harbor.example.com/unknown/x",
    "Harbor.example.com/team-a/web",
    "harbor.example.com:443/library/x",
    "quay.io/acme/tool:2",
    "quay.io/acme-evil/tool",
    "ghcr.io/any/thing",
    "nginx",
    "docker.io/library/nginx:denied",
    "sha256:0123",
    "",
    "not an image",
];
const POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

fn a_name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-c]", 1 => any::<String>()]
}

fn an_image() -> impl Strategy<Value = String> {
    prop_oneof![8 => select(&IMAGES[..]).prop_map(str::to_owned), 1 => any::<String>()]
}

fn containers() -> impl Strategy<Value = Value> {
    vec((a_name(), an_image(), select(&POLICIES[..])), 0..4)
        .prop_map(|list| list.iter().map(|(name, image, policy)| container(name, image, policy)).collect())
}

fn volumes() -> impl Strategy<Value = Value> {
    let volume = prop_oneof![
        a_name().prop_map(|name| json!({"name": name, "emptyDir": {}})),
        (a_name(), an_image(), select(&POLICIES[..]))
            .prop_map(|(name, image, policy)| image_volume(&name, &image, policy)),
    ];
    vec(volume, 0..4).prop_map(Value::Array)
}

/// A list of pull secrets; the JSON null stands for an absent list.
fn secrets() -> impl Strategy<Value = Value> {
    let name = prop_oneof![1 => Just("pullgate-pull".to_owned()), 4 => "[a-z]{1,3}", 1 => any::<String>()];
    prop_oneof![1 => Just(Value::Null), 4 => vec(name.prop_map(|n| json!({"name": n})), 0..4).prop_map(Value::Array)]
}

prop_compose! {
    fn a_spec()(init in containers(), main in containers(), debug in containers(), volumes in volumes(), secrets in secrets(),
                null_secrets: bool) -> Value {
        let mut spec = json!({"initContainers": init, "containers": main, "ephemeralContainers": debug, "volumes": volumes,
            "imagePullSecrets": secrets, "priority": 0});
        if secrets.is_null() && !null_secrets { spec.as_object_mut().unwrap().remove("imagePullSecrets"); }
        spec
    }
}

/// A creation with exactly this spec.
fn pod(spec: &Value) -> Value {
    let mut review = creation(&json!({}));
    review["request"]["object"]["spec"] = spec.clone();
    review
}

fn webhooks_when_needed() -> &'static Webhooks {
    &WORLDS[4]
}

fn a_world() -> impl Strategy<Value = &'static Webhooks> {
    (0..WORLDS.len()).prop_map(|n| &WORLDS[n])
}

fn a_text() -> impl Strategy<Value = String> {
    const TELLING: [&str; 10] = [
        "system:admin",
        "system:masters",
        "system:nodes",
        "system:node:node-1",
        "kubernetes.io/config.mirror",
        "true",
        "pullgate.io/exempt",
        "kube-system",
        "system:serviceaccount:kube-system:replicaset-controller",
        "ReplicaSet",
    ];
    prop_oneof![2 => select(&TELLING[..]).prop_map(str::to_owned), 1 => any::<String>()]
}

fn texts() -> impl Strategy<Value = Value> {
    vec((a_text(), a_text()), 0..4)
        .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k, json!(v))).collect::<Map<_, _>>()))
}

/// The pod without what a patch may change, and what was taken out: the pull secrets, the pull policies.
fn taken_apart(object: &Value) -> (Value, Vec<Value>, Vec<Value>) {
    let mut object = object.clone();
    let spec = &mut object["spec"];
    let secrets = match spec.as_object_mut().unwrap().remove("imagePullSecrets") {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let mut policies = Vec::new();
    for list in LISTS {
        for container in spec[list].as_array_mut().unwrap() {
            policies.push(container["imagePullPolicy"].take());
        }
    }
    for volume in spec["volumes"].as_array_mut().unwrap() {
        if let Some(image) = volume.get_mut("image") {
            policies.push(image["pullPolicy"].take());
        }
    }
    (object, secrets, policies)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_patch_appends_a_pull_secret_and_sets_pull_policies_and_nothing_else(webhooks in a_world(), spec in a_spec()) {
        let review = pod(&spec);
        let (rest, secrets, policies) = taken_apart(&review["request"]["object"]);
        let patched = webhooks.mutate(&review).patched(&review);
        let (rest_after, secrets_after, policies_after) = taken_apart(&patched);
        prop_assert_eq!(rest, rest_after);
        prop_assert_eq!(&secrets_after[..secrets.len()], &secrets[..]);
        let ours = json!({"name": "pullgate-pull"});
        let added = &secrets_after[secrets.len()..];
        if secrets.contains(&ours) {
            prop_assert!(added.is_empty());
        } else if !std::ptr::eq(webhooks, webhooks_when_needed()) || !added.is_empty() {
            prop_assert_eq!(added, &[ours][..]);
        }
        for (before, after) in policies.iter().zip(&policies_after) {
            prop_assert!(before == after || after == "Always");
        }
    }

    #[test]
    fn a_patched_pod_is_not_patched_again_and_both_phases_agree(webhooks in a_world(), spec in a_spec()) {
        let mut review = pod(&spec);
        let before = webhooks.validate(&review);
        review["request"]["object"] = webhooks.mutate(&review).patched(&review);
        prop_assert!(webhooks.mutate(&review).patch().is_empty());
        let after = webhooks.validate(&review);
        prop_assert!(after.allowed() || !before.allowed(), "the mutating webhook made it worse");
        for reason in ["AlwaysPullRequired", "PullSecretMissing"] {
            prop_assert!(!after.reasons().contains(reason), "the patch did not do what the gate asks for");
        }
    }

    #[test]
    fn a_reference_that_is_injected_when_needed_is_one_that_the_gate_asks_for(spec in a_spec()) {
        let mut review = pod(&spec);
        let patched = webhooks_when_needed().mutate(&review).patched(&review);
        review["request"]["object"] = patched.clone();
        review["request"]["object"]["spec"]["imagePullSecrets"] = spec["imagePullSecrets"].clone();
        let reasons = webhooks_when_needed().validate(&review).reasons().to_owned();
        let injected = patched["spec"]["imagePullSecrets"] != review["request"]["object"]["spec"]["imagePullSecrets"];
        // Of an image whose tag is denied no more is said.
        prop_assert!(!injected || reasons.contains("PullSecretMissing") || reasons.contains("RuleDenied"), "{}", reasons);
        prop_assert!(injected || !reasons.contains("PullSecretMissing"), "{}", reasons);
    }

    #[test]
    fn a_template_warns_exactly_where_its_pods_are_denied(enforcing in 0..2_usize, spec in a_spec()) {
        let webhooks = &WORLDS[enforcing];
        let mut review = pod(&spec);
        let template = json!({"metadata": {}, "spec": spec});
        let mut workload = review.clone();
        workload["request"]["kind"] = json!({"group": "apps", "version": "v1", "kind": "DaemonSet"});
        workload["request"]["object"] = json!({"metadata": {}, "spec": {"template": template}});
        review["request"]["object"] = webhooks.mutate(&review).patched(&review);
        let warned = webhooks.validate(&workload);
        prop_assert!(warned.allowed());
        prop_assert_eq!(warned.warnings().is_empty(), webhooks.validate(&review).allowed());
    }

    #[test]
    fn a_pod_is_let_in_exactly_if_each_of_its_images_is(webhooks in a_world(), spec in a_spec()) {
        let alone = LISTS.into_iter().chain(["volumes"]).flat_map(|list| {
            let secrets = &spec["imagePullSecrets"];
            spec[list].as_array().unwrap().iter().map(move |entry| json!({list: [entry], "imagePullSecrets": secrets}))
        });
        let each = alone.into_iter().all(|one| webhooks.validate(&pod(&one)).allowed());
        prop_assert_eq!(webhooks.validate(&pod(&spec)).allowed(), each);
    }

    #[test]
    fn what_a_user_can_forge_changes_nothing(
        webhooks in a_world(), spec in a_spec(), labels in texts(), annotations in texts(), owner in texts(), user in texts(),
        names in vec(a_text(), 4), groups in vec(a_text(), 0..4), dry_run: Option<bool>, options in texts(),
    ) {
        let review = pod(&spec);
        let mut forged = review.clone();
        let request = &mut forged["request"];
        request["object"]["metadata"] = json!({
            "name": names[0], "namespace": names[1], "labels": labels, "annotations": annotations, "ownerReferences": [owner],
        });
        request["userInfo"] = json!({"username": names[2], "groups": groups, "extra": user});
        request["name"] = json!(names[3]);
        request["dryRun"] = json!(dry_run);
        request["options"] = options;
        for path in [MUTATE, VALIDATE] {
            prop_assert_eq!(webhooks.ask(path, &forged).readable(), webhooks.ask(path, &review).readable());
        }
    }

    #[test]
    fn an_update_judges_as_a_creation_does_what_is_new(webhooks in a_world(), mut spec in a_spec()) {
        // Only a creation is denied for its lack.
        spec["imagePullSecrets"] = json!([{"name": "pullgate-pull"}]);
        let created = webhooks.validate(&pod(&spec));
        let mut grown = update(&json!({}), &json!({}));
        grown["request"]["object"]["spec"] = spec.clone();
        grown["request"]["oldObject"]["spec"] = json!({"containers": []});
        let added = webhooks.validate(&grown);
        prop_assert_eq!(added.response().get("status"), created.response().get("status"));
        grown["request"]["oldObject"]["spec"] = spec.clone();
        prop_assert!(webhooks.validate(&grown).allowed(), "what was there stays");
    }

    #[test]
    fn no_bytes_make_it_panic(webhooks in a_world(), spec in a_spec(), edits in vec((any::<Index>(), any::<u8>()), 1..4), cut: Option<Index>) {
        let mut body = pod(&spec).to_string().into_bytes();
        for (at, byte) in edits {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(cut) = cut { body.truncate(cut.index(body.len())); }
        for path in [MUTATE, VALIDATE] {
            webhooks.post(path, body.clone());
        }
    }
}

#[test]
fn the_worlds_differ() {
    let review = pod(&json!({"containers": [container("c", "nginx", "Always")]}));
    let allowed: Vec<_> = WORLDS
        .iter()
        .map(|w| (w.validate(&review).allowed(), w.validate(&review).reasons().to_owned()))
        .collect();
    let expected = [
        (true, "Unmanaged"),
        (false, "UnmanagedDenied"),
        (true, "UnmanagedDenied"),
        (true, "Unmanaged"),
        (true, "Unmanaged"),
    ];
    assert_eq!(allowed, expected.map(|(allowed, reason)| (allowed, reason.to_owned())));
}
