//! Pods that do not name the pull secret though an image needs its credential.

use pullgate::domain::record::{Mode, Unmanaged};
use pullgate::domain::records::Records;
use pullgate::domain::snapshot::Settings;
use serde_json::{Value, json};

use crate::support::records::{policy, registry, workspace};
use crate::support::webhooks::{
    Answer, FOREIGN, NAMESPACE, OWN, PUBLIC, UNMANAGED, Webhooks, container, creation, debugging,
    image_volume, recording, refer, tenants, update,
};

/// Registries of every kind that gives [`NAMESPACE`] a credential for its images, or does not.
fn world() -> Records {
    let mut all = tenants();
    for registry in [
        registry("own").docker().host("own.example.com").of("a"),
        registry("open").docker().host("open.example.com").of("a").no_password(),
        registry("theirs").docker().host("theirs.example.com").of("b"),
        registry("declared").docker().host("declared.example.com").declared_public(),
        registry("anonymous").docker().host("anonymous.example.com").no_password(),
    ] {
        let (name, record) = registry.into();
        all.put(name, record);
    }
    all
}

const NEEDING: [&str; 3] = [OWN, "own.example.com/team/app:1", "declared.example.com/team/app:1"];
const NOT_NEEDING: [&str; 5] = [
    PUBLIC,
    UNMANAGED,
    "open.example.com/team/app:1",
    "theirs.example.com/team/app:1",
    "anonymous.example.com/team/app:1",
];

fn in_mode(mode: Mode) -> Webhooks {
    let mut all = world();
    let (name, record) = policy("p", Unmanaged::Allow).for_namespaces(&[NAMESPACE]).mode(mode).into();
    all.put(name, record);
    Webhooks::new(&all)
}

fn pod(image: &str) -> Value {
    json!({"containers": [container("c", image, "Always")]})
}

/// The change of a pod's image to this one.
fn changed(image: &str) -> Value {
    update(&pod(UNMANAGED), &pod(image))
}

/// An ephemeral container of this image.
fn debugged(image: &str) -> Value {
    let mut new = pod(UNMANAGED);
    new["ephemeralContainers"] = json!([container("debug", image, "Always")]);
    debugging(&pod(UNMANAGED), &new)
}

fn assert_denied(answer: &Answer, what: &str) {
    assert!(!answer.allowed(), "{what}");
    assert!(answer.reasons().contains("PullSecretMissing"), "{what}: {}", answer.reasons());
    for part in ["pullgate-pull", "try again", "if it stays so"] {
        assert!(answer.message().contains(part), "{what}: {}", answer.message());
    }
}

#[test]
fn a_new_pod_is_told_to_try_again() {
    let webhooks = Webhooks::new(&world());
    for image in NEEDING {
        let mut review = creation(&pod(image));
        assert_denied(&webhooks.validate(&review), image);
        for others in
            [json!([]), json!(null), json!([{"name": "own-secret"}]), json!([{"name": "pullgate-pull-2"}])]
        {
            review["request"]["object"]["spec"]["imagePullSecrets"] = others.clone();
            assert_denied(&webhooks.validate(&review), &format!("{image} with {others}"));
        }
        review["request"]["object"] = webhooks.mutate(&review).patched(&review);
        let tried_again = webhooks.validate(&review);
        assert!(tried_again.allowed() && tried_again.warnings().is_empty(), "{image}: {}", tried_again.body);
    }
}

#[test]
fn every_place_of_a_pod_can_need_it() {
    let webhooks = Webhooks::new(&world());
    let main = || json!([container("main", UNMANAGED, "Always")]);
    for spec in [
        json!({"containers": main(), "initContainers": [container("x", OWN, "Always")]}),
        json!({"containers": [container("main", UNMANAGED, "Always"), container("x", OWN, "Always")]}),
        json!({"containers": main(), "ephemeralContainers": [container("x", OWN, "Always")]}),
        json!({"containers": main(), "volumes": [image_volume("x", OWN, "Always")]}),
    ] {
        assert_denied(&webhooks.validate(&creation(&spec)), &spec.to_string());
    }
}

#[test]
fn images_that_need_no_credential_need_no_reference() {
    let webhooks = Webhooks::new(&world());
    for image in NOT_NEEDING {
        for review in [creation(&pod(image)), changed(image), debugged(image)] {
            let answer = webhooks.validate(&review);
            assert!(answer.allowed() && answer.warnings().is_empty(), "{image}: {}", answer.body);
            assert!(!answer.reasons().contains("PullSecretMissing"), "{image}");
        }
    }
}

#[test]
fn what_is_denied_anyway_is_denied_for_that() {
    let webhooks = Webhooks::new(&world());
    assert_eq!(webhooks.validate(&creation(&pod(FOREIGN))).reasons(), "NotBound");
    let lax = creation(&json!({"containers": [container("c", OWN, "IfNotPresent")]}));
    assert_eq!(webhooks.validate(&lax).reasons(), "AlwaysPullRequired");
}

#[test]
fn a_pod_that_is_there_gets_a_warning() {
    let webhooks = Webhooks::new(&world());
    for image in NEEDING {
        for mut review in [changed(image), debugged(image)] {
            let answer = webhooks.validate(&review);
            assert!(answer.allowed(), "{image}: {}", answer.body);
            let warnings = answer.warnings();
            assert_eq!(warnings.len(), 1, "{image}: {}", answer.body);
            assert!(
                warnings[0].contains("pullgate-pull") && warnings[0].ends_with("make the pod again"),
                "{warnings:?}"
            );
            refer(&mut review["request"]["object"]);
            assert!(webhooks.validate(&review).warnings().is_empty(), "{image}");
        }
    }
    // Of what does not change nothing is said.
    let review = update(&pod(OWN), &pod(OWN));
    let answer = webhooks.validate(&review);
    assert!(answer.warnings().is_empty() && answer.reasons() == "Unchanged");
    // A warning about one image does not let in another.
    let two = |image: &str, other: &str| json!({"containers": [container("c", image, "Always"), container("d", other, "Always")]});
    let answer = webhooks.validate(&update(&two(UNMANAGED, UNMANAGED), &two(OWN, FOREIGN)));
    assert!(!answer.allowed() && answer.message().matches("image ").count() == 1, "{}", answer.body);
}

#[test]
fn modes_hold_here_too() {
    for (mode, allowed, created, later) in
        [(Mode::Enforce, false, 0, 1), (Mode::Warn, true, 1, 1), (Mode::Audit, true, 0, 0)]
    {
        let webhooks = in_mode(mode);
        let answer = webhooks.validate(&creation(&pod(OWN)));
        assert_eq!((answer.allowed(), answer.warnings().len()), (allowed, created), "{mode:?}");
        assert_eq!(answer.reasons(), "PullSecretMissing", "{mode:?}");
        for review in [changed(OWN), debugged(OWN)] {
            let answer = webhooks.validate(&review);
            assert_eq!((answer.allowed(), answer.warnings().len()), (true, later), "{mode:?}");
            assert!(answer.reasons().contains("PullSecretMissing"), "{mode:?}");
        }
    }
}

#[test]
fn a_template_is_not_warned_of_what_its_pods_will_get() {
    let webhooks = Webhooks::new(&world());
    let mut review = recording("validate-create-deployments");
    review["request"]["object"]["spec"]["template"]["spec"]["containers"] =
        json!([container("c", OWN, "Always")]);
    let answer = webhooks.validate(&review);
    assert!(answer.allowed() && answer.warnings().is_empty(), "{}", answer.body);
}

#[test]
fn exempt_namespaces_and_mirror_pods_need_none() {
    let settings = Settings { exempt_namespaces: vec![NAMESPACE.into()], ..Settings::default() };
    let exempt = Webhooks::with(&world(), &settings);
    for review in [creation(&pod(OWN)), changed(OWN), debugged(OWN)] {
        let answer = exempt.validate(&review);
        assert!(answer.allowed() && answer.warnings().is_empty(), "{}", answer.body);
    }
    let mut mirror = creation(&pod(OWN));
    let request = &mut mirror["request"];
    request["object"]["spec"]["nodeName"] = json!("node-1");
    request["object"]["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    request["userInfo"] = json!({"username": "system:node:node-1", "groups": ["system:nodes"]});
    assert_eq!(Webhooks::new(&world()).validate(&mirror).reasons(), "Exempt");
}

/// [`world`], whose workspace wants the reference only where it is needed.
fn when_needed() -> Records {
    let mut all = world();
    let (name, record) = workspace("a", &[NAMESPACE]).injecting_when_needed().into();
    all.put(name, record);
    all
}

#[test]
fn a_workspace_may_want_the_reference_only_where_it_is_needed() {
    let webhooks = Webhooks::new(&when_needed());
    for image in NEEDING {
        let mut review = creation(&pod(image));
        assert_denied(&webhooks.validate(&review), image);
        review["request"]["object"] = webhooks.mutate(&review).patched(&review);
        assert_eq!(
            review["request"]["object"]["spec"]["imagePullSecrets"],
            json!([{"name": "pullgate-pull"}]),
            "{image}"
        );
        assert!(webhooks.validate(&review).allowed(), "{image}");
    }
    for image in NOT_NEEDING.into_iter().chain([FOREIGN]) {
        assert_eq!(webhooks.mutate(&creation(&pod(image))).patch(), [json!(null); 0], "{image}");
        assert_eq!(Webhooks::new(&world()).mutate(&creation(&pod(image))).patch().len(), 1, "{image}");
    }
    let two = json!({"containers": [container("c", PUBLIC, "IfNotPresent")], "volumes": [image_volume("v", OWN, "Always")],
        "imagePullSecrets": [{"name": "own-secret"}]});
    let review = creation(&two);
    let patched = webhooks.mutate(&review).patched(&review);
    assert_eq!(
        patched["spec"]["imagePullSecrets"],
        json!([{"name": "own-secret"}, {"name": "pullgate-pull"}])
    );
}
