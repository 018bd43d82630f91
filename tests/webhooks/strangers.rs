//! What the webhooks tell of other tenants: nothing.

use pullgate::domain::record::{Entry, Host, Invalid, Mode, Name, Record, Selector, Small, Unmanaged};
use pullgate::domain::records::Records;
use serde_json::{Value, json};

use crate::support::records::{policy, registry, space, workspace};
use crate::support::webhooks::{
    MUTATE, NAMESPACE, VALIDATE, Webhooks, container, creation, debugging, tenants, update,
};

/// Every name that another tenant chose holds this.
const THEIRS: &str = "zebra";

/// [`tenants`], and another with registries of its own, of which one is invalid, and with a policy.
fn world(unmanaged: &Unmanaged, mode: Mode) -> Records {
    let mut all = tenants();
    let mut rules = policy("rules", unmanaged.clone()).mode(mode);
    rules.1.denied_tags = vec!["denied".into()];
    for (name, record) in [
        workspace("zebra", &["zebra-prod"]).into(),
        space("corp", "hidden").bound(&["zebra"]).into(),
        registry("zebra-whole").docker().host("quay.io").of("zebra").into(),
        registry("zebra-part").docker().host("docker.io").of("zebra").paths(&["acme"]).into(),
        registry("own").docker().host("docker.io").of("a").paths(&["team"]).into(),
        policy("zebra-policy", Unmanaged::Deny).for_workspaces(&["zebra"]).into(),
        rules.into(),
        broken(),
    ] {
        all.put(name, record);
    }
    all
}

/// A registry of theirs that its schema would refuse.
fn broken() -> (Name, Record) {
    let invalid = Invalid {
        problems: Vec::new(),
        hosts: vec![Host::parse("ghcr.io").unwrap()],
        workspace: Some("zebra".into()),
        registry: None,
        owner: Small::default(),
        selector: Selector::default(),
    };
    ("zebra-broken".into(), Record::Registry(Entry::Invalid(Box::new(invalid))))
}

#[test]
fn no_answer_names_another_tenant() {
    const IMAGES: [&str; 13] = [
        "harbor.example.com/hidden/x:1",
        "harbor.example.com/absent/x:1",
        "harbor.example.com/team-a/x:1",
        "HARBOR.example.com/hidden/x:1",
        "harbor.example.com:443/hidden/x:1",
        "quay.io/any/thing:1",
        "QUAY.io/any/thing:1",
        "docker.io/acme/tool:denied",
        "acme/tool",
        "Docker.io/acme/tool:1",
        "docker.io/team/x:1",
        "docker.io:443/team/x:denied",
        "ghcr.io/any/thing:1",
    ];
    let mut answers = 0;
    for unmanaged in [Unmanaged::Allow, Unmanaged::Deny] {
        for mode in [Mode::Enforce, Mode::Warn, Mode::Audit] {
            let webhooks = Webhooks::new(&world(&unmanaged, mode));
            for (image, policy) in
                IMAGES.iter().flat_map(|image| [(image, "Always"), (image, "IfNotPresent")])
            {
                let pod = |image: &str| json!({"containers": [container("c", image, policy)]});
                let mut debugged = pod("nginx");
                debugged["ephemeralContainers"] = json!([container("d", image, policy)]);
                for mut review in [
                    creation(&pod(image)),
                    update(&pod("nginx"), &pod(image)),
                    debugging(&pod("nginx"), &debugged),
                ] {
                    for namespace in [NAMESPACE, "team-b-prod", "nobodys"] {
                        review["request"]["namespace"] = json!(namespace);
                        for path in [MUTATE, VALIDATE] {
                            let said: Value = webhooks.ask(path, &review).readable();
                            assert!(!said.to_string().contains(THEIRS), "{path} {namespace} {image}: {said}");
                            answers += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(answers, 6 * IMAGES.len() * 2 * 3 * 3 * 2);
}

/// What exists and is another's, and what does not exist, are told apart by nothing.
#[test]
fn a_space_of_others_reads_as_one_that_is_not_there() {
    let webhooks = Webhooks::new(&world(&Unmanaged::Allow, Mode::Enforce));
    for namespace in [NAMESPACE, "nobodys"] {
        let said = |space: &str| {
            let image = format!("harbor.example.com/{space}/x:1");
            let mut review = creation(&json!({"containers": [container("c", &image, "IfNotPresent")]}));
            review["request"]["namespace"] = json!(namespace);
            [MUTATE, VALIDATE]
                .map(|path| webhooks.ask(path, &review).readable().to_string().replace(space, "SPACE"))
        };
        assert_eq!(said("hidden"), said("absent"), "{namespace}");
    }
}
