//! Pods that are made: every place that names an image, pull secrets, modes, spellings.

use pullgate::domain::record::{Mode, Unmanaged};
use pullgate::domain::snapshot::Settings;
use serde_json::{Value, json};

use crate::support::records::policy;
use crate::support::webhooks::{
    FOREIGN, NAMESPACE, OWN, PUBLIC, UNMANAGED, Webhooks, container, creation, image_volume, recording,
    refer, tenants,
};

/// A creation with `image` in each place that a pod has, everything else of the pod being harmless.
fn in_each_place(image: &str, policy: &str) -> [(&'static str, &'static str, Value); 5] {
    let harmless = || json!([container("main", UNMANAGED, "IfNotPresent")]);
    let mut sidecar = container("x", image, policy);
    sidecar["restartPolicy"] = json!("Always");
    let plain = container("x", image, policy);
    [
        (
            "init container",
            "/spec/initContainers/1/imagePullPolicy",
            json!({"initContainers": [container("first", UNMANAGED, "IfNotPresent"), plain], "containers": harmless()}),
        ),
        (
            "init container",
            "/spec/initContainers/0/imagePullPolicy",
            json!({"initContainers": [sidecar], "containers": harmless()}),
        ),
        (
            "container",
            "/spec/containers/1/imagePullPolicy",
            json!({"containers": [container("main", UNMANAGED, "IfNotPresent"), plain]}),
        ),
        (
            "ephemeral container",
            "/spec/ephemeralContainers/0/imagePullPolicy",
            json!({"containers": harmless(), "ephemeralContainers": [plain]}),
        ),
        (
            "image volume",
            "/spec/volumes/1/image/pullPolicy",
            json!({"containers": harmless(), "volumes": [{"name": "tmp", "emptyDir": {}}, image_volume("x", image, policy)]}),
        ),
    ]
    .map(|(place, path, spec)| (place, path, creation(&spec)))
}

#[test]
fn every_place_is_judged() {
    let webhooks = Webhooks::new(&tenants());
    for (place, _, review) in in_each_place(FOREIGN, "Always") {
        let answer = webhooks.validate(&review);
        assert_eq!(
            answer.message(),
            format!(
                "image {FOREIGN} ({place} x): space team-b of registry corp is private and not bound to this \
                 namespace's workspace; ask a platform admin to bind it"
            )
        );
        assert!(!answer.allowed());
        assert_eq!(answer.reasons(), "Unmanaged,NotBound");
    }
    for (place, _, mut review) in in_each_place(OWN, "Always") {
        refer(&mut review["request"]["object"]);
        assert!(webhooks.validate(&review).allowed(), "{place}");
    }
}

#[test]
fn every_place_gets_its_pull_policy() {
    let webhooks = Webhooks::new(&tenants());
    for image in [OWN, FOREIGN] {
        for (place, path, review) in in_each_place(image, "IfNotPresent") {
            let patch = webhooks.mutate(&review).patch();
            let expected = json!([
                {"op": "add", "path": "/spec/imagePullSecrets", "value": [{"name": "pullgate-pull"}]},
                {"op": "add", "path": path, "value": "Always"},
            ]);
            assert_eq!(Value::Array(patch), expected, "{place}");
        }
    }
    for (place, _, review) in in_each_place(PUBLIC, "IfNotPresent") {
        assert_eq!(webhooks.mutate(&review).patch().len(), 1, "{place}: what is public may stay on the node");
    }
}

#[test]
fn a_private_image_that_need_not_be_pulled_is_refused_in_every_place() {
    let webhooks = Webhooks::new(&tenants());
    for policy in ["IfNotPresent", "Never"] {
        for (place, _, review) in in_each_place(OWN, policy) {
            let answer = webhooks.validate(&review);
            assert_eq!(answer.reasons(), "Unmanaged,AlwaysPullRequired", "{place}");
            assert!(
                answer.message().contains("set imagePullPolicy (for an image volume, pullPolicy) to Always")
            );
            assert!(!answer.allowed());
        }
    }
}

#[test]
fn a_pull_policy_that_is_absent_is_set_and_until_then_refused() {
    let webhooks = Webhooks::new(&tenants());
    for absent in [json!(null), json!("")] {
        let mut bare = container("x", OWN, "");
        bare["imagePullPolicy"] = absent;
        let mut review = creation(&json!({"containers": [bare]}));
        assert_eq!(webhooks.validate(&review).reasons(), "AlwaysPullRequired");
        review["request"]["object"] = webhooks.mutate(&review).patched(&review);
        assert!(webhooks.validate(&review).allowed());
    }
}

#[test]
fn pull_secrets_are_appended_and_never_lost() {
    let webhooks = Webhooks::new(&tenants());
    let ours = json!({"name": "pullgate-pull"});
    for (before, after) in [
        (None, json!([ours])),
        (Some(json!(null)), json!([ours])),
        (Some(json!([])), json!([ours])),
        (Some(json!([{"name": "own"}])), json!([{"name": "own"}, ours])),
        (
            Some(json!([{"name": "b"}, {"name": "a"}, {"name": "b"}])),
            json!([{"name": "b"}, {"name": "a"}, {"name": "b"}, ours]),
        ),
        (Some(json!([{}])), json!([{}, ours])),
        (Some(json!([{"name": "pullgate-pull-2"}])), json!([{"name": "pullgate-pull-2"}, ours])),
        (Some(json!([ours])), json!([ours])),
        (
            Some(json!([{"name": "own"}, ours, {"name": "other"}])),
            json!([{"name": "own"}, ours, {"name": "other"}]),
        ),
    ] {
        let mut review = creation(&json!({"containers": [container("x", UNMANAGED, "IfNotPresent")]}));
        let spec = review["request"]["object"]["spec"].as_object_mut().unwrap();
        spec.remove("imagePullSecrets");
        if let Some(before) = &before {
            spec.insert("imagePullSecrets".to_owned(), before.clone());
        }
        let object = webhooks.mutate(&review).patched(&review);
        assert_eq!(object["spec"]["imagePullSecrets"], after, "from {before:?}");
        review["request"]["object"] = object;
        assert!(webhooks.mutate(&review).patch().is_empty(), "patched twice from {before:?}");
    }
}

#[test]
fn the_pull_secret_is_for_namespaces_that_are_entitled_to_one() {
    let webhooks = Webhooks::new(&tenants());
    let mut review = creation(&json!({"containers": [container("x", UNMANAGED, "IfNotPresent")]}));
    assert_eq!(webhooks.mutate(&review).patch().len(), 1, "also where only public images are used");
    for elsewhere in ["team-a-prod-2", "team-a", "default", "TEAM-A-PROD"] {
        review["request"]["namespace"] = json!(elsewhere);
        review["request"]["object"]["metadata"]["namespace"] = json!(NAMESPACE);
        assert!(webhooks.mutate(&review).patch().is_empty(), "{elsewhere}: the request's namespace counts");
    }
}

#[test]
fn dry_runs_and_names_yet_to_be_generated_change_nothing() {
    let webhooks = Webhooks::new(&tenants());
    let review = recording("mutate-create-pods");
    assert!(review["request"]["object"]["metadata"]["generateName"].is_string());
    let plain = webhooks.mutate(&review).readable();
    let same = |edit: fn(&mut Value)| {
        let mut review = review.clone();
        edit(&mut review);
        assert_eq!(webhooks.mutate(&review).readable(), plain);
    };
    same(|r| r["request"]["dryRun"] = json!(true));
    same(|r| r["request"]["dryRun"] = json!(null));
    same(|r| r["request"]["name"] = json!(""));
    same(|r| r["request"]["name"] = json!("web-7fc8c8d657-x"));
    same(|r| r["request"]["object"]["metadata"] = json!({"generateName": "x-"}));
    same(|r| r["request"]["object"]["metadata"] = json!(null));
}

#[test]
fn exempt_namespaces_are_left_alone() {
    let settings = Settings { exempt_namespaces: vec![NAMESPACE.into()], ..Settings::default() };
    let webhooks = Webhooks::with(&tenants(), &settings);
    for (_, _, review) in in_each_place(FOREIGN, "IfNotPresent") {
        assert!(webhooks.mutate(&review).patch().is_empty());
        let answer = webhooks.validate(&review);
        assert!(answer.allowed() && answer.warnings().is_empty());
        assert_eq!(answer.reasons(), "Exempt");
    }
}

#[test]
fn modes_decide_what_a_denial_does() {
    let in_mode = |mode| {
        let mut all = tenants();
        all.put(
            "p".into(),
            <(_, _)>::from(policy("p", Unmanaged::Allow).for_namespaces(&[NAMESPACE]).mode(mode)).1,
        );
        Webhooks::new(&all)
    };
    let sentence = format!(
        "image {FOREIGN} (container x): space team-b of registry corp is private and not bound to this namespace's \
         workspace; ask a platform admin to bind it"
    );
    let review = creation(&json!({"containers": [container("x", FOREIGN, "IfNotPresent")]}));

    let enforced = in_mode(Mode::Enforce).validate(&review);
    assert_eq!((enforced.allowed(), enforced.message()), (false, &*sentence));

    let warned = in_mode(Mode::Warn).validate(&review);
    assert_eq!((warned.allowed(), warned.warnings()), (true, vec![&*sentence]));
    assert_eq!(warned.reasons(), "NotBound");

    let audited = in_mode(Mode::Audit).validate(&review);
    assert_eq!((audited.allowed(), audited.warnings()), (true, vec![]));
    assert_eq!(audited.reasons(), "NotBound", "an audit is of no use without it");

    for mode in [Mode::Enforce, Mode::Warn, Mode::Audit] {
        assert_eq!(
            in_mode(mode).mutate(&review).patch().len(),
            2,
            "the node asks the registry in every mode"
        );
    }
}

#[test]
fn json_escapes_hide_no_image() {
    let webhooks = Webhooks::new(&tenants());
    let plain = creation(&json!({"containers": [container("x", FOREIGN, "Always")]})).to_string();
    let expected = webhooks.post("/validate", plain.clone());
    assert!(!expected.allowed());
    for (from, to) in [
        ("harbor.example.com/team-b/", r"harbor.example.com\u002fteam-b\/"),
        ("harbor.example.com/team-b", r"h\u0061rbor.example.com/te\u0061m-b"),
        (r#""image":"#, r#""im\u0061ge":"#),
        (r#""containers":"#, r#""\u0063ontainers":"#),
        (r#""spec":"#, r#""s\u0070ec":"#),
        (r#""object":"#, r#""\u006fbject":"#),
        (r#""request":"#, r#""reques\u0074":"#),
        (r#""team-a-prod""#, r#""team\u002da-prod""#),
        (r#""CREATE""#, r#""CRE\u0041TE""#),
    ] {
        let escaped = plain.replace(from, to);
        assert_ne!(escaped, plain, "{from} is not in the review");
        assert_eq!(webhooks.post("/validate", escaped.clone()).body, expected.body, "{to}");
        let mutated = webhooks.post("/mutate", escaped);
        assert_eq!(mutated.body, webhooks.post("/mutate", plain.clone()).body, "{to}");
    }
}

#[test]
fn an_image_name_cannot_break_out_of_the_patch_or_the_answer() {
    let webhooks = Webhooks::new(&tenants());
    for name in ["\"", "\"}]", "a/b~1~0", "\\", "\u{0}", "\u{1f}\n\r\t\u{7f}", "\u{2028}", "é", "\u{1f680}"]
    {
        let image = format!("{FOREIGN}{name}");
        let review = creation(&json!({
            "containers": [container(name, &image, "IfNotPresent"), container(&image, OWN, "IfNotPresent")],
            "imagePullSecrets": [{"name": name}],
        }));
        let patched = webhooks.mutate(&review).patched(&review);
        assert_eq!(patched["spec"]["imagePullSecrets"], json!([{"name": name}, {"name": "pullgate-pull"}]));
        assert_eq!(patched["spec"]["containers"][0]["image"], json!(image));
        assert!(!webhooks.validate(&review).allowed(), "{name:?}");
    }
}

#[test]
fn whole_path_segments_are_compared() {
    let webhooks = Webhooks::new(&tenants());
    for image in [
        "harbor.example.com/team-a-evil/web:1",
        "harbor.example.com/team/web:1",
        "harbor.example.com/team-a",
        "harbor.example.com/team-a:1",
        "harbor.example.com/x/team-a/web",
        "harbor.example.com//team-a/web",
        "harbor.example.com/team-a/../team-b/web",
        "harbor.example.com/Team-A/web",
        "Harbor.example.com/team-a/web:1",
        "harbor.example.com:443/team-a/web:1",
        "harbor.example.com./team-a/web:1",
        "https://harbor.example.com/team-a/web:1",
        "user@harbor.example.com/team-a/web:1",
        " harbor.example.com/team-a/web:1",
        "harbor.example.com/team-a/web:1\n",
        "harbor.example.com/team-a/web@sha256:1",
        "sha256:0123456789abcdef",
        "",
    ] {
        let answer = webhooks.validate(&creation(&json!({"containers": [container("x", image, "Always")]})));
        assert!(!answer.allowed(), "{image:?} was let in");
    }
}

#[test]
fn long_lists_of_denials_stay_readable() {
    let webhooks = Webhooks::new(&tenants());
    let denied = |n: usize| -> Vec<_> {
        (0..n)
            .map(|i| container(&format!("c{i}"), &format!("harbor.example.com/team-b/x{i}"), "Always"))
            .collect()
    };
    let eight = webhooks.validate(&creation(&json!({"containers": denied(8)})));
    assert!(eight.message().contains("x7 (container c7)") && !eight.message().contains("more images"));
    let nine = webhooks.validate(&creation(&json!({"containers": denied(9)})));
    assert!(nine.message().ends_with("; and 1 more images") && !nine.message().contains("x8"));
}
