//! What a record may not say because of what other records say.

use pullgate::domain::conflicts::{conflicts, removal_conflicts};
use pullgate::domain::record::{Entry, Host, Invalid, Kind, Name, Record, Selector, Small, WorkspaceQuota};
use pullgate::domain::records::Records;

use crate::support::records::{registry, space, two_workspaces, workspace};

fn fields(records: &Records, (name, record): (Name, Record)) -> Vec<String> {
    conflicts(records, &name, &record).into_iter().map(|p| p.field).collect()
}

fn texts(records: &Records, (name, record): (Name, Record)) -> String {
    conflicts(records, &name, &record).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn nothing_is_in_conflict_with_itself() {
    let all = two_workspaces();
    assert!(fields(&all, registry("corp").into()).is_empty());
    assert!(fields(&all, space("corp", "team-a").bound(&["a", "b"]).into()).is_empty());
    assert!(fields(&all, workspace("a", &["a-prod", "a-test"]).into()).is_empty());
    assert!(fields(&all, registry("a-own").of("a").host("own.io").into()).is_empty());
    assert!(
        fields(&all, registry("b-own").of("b").host("own.io").into()).is_empty(),
        "tenants may share a host"
    );
    assert!(fields(&all, registry("own").host("own.io").into()).is_empty(), "the platform comes first");
}

#[test]
fn a_workspace_has_so_many_registries_and_no_more() {
    let mut all = two_workspaces();
    let own = |n: usize| registry(&format!("a-{n}")).of("a").host(&format!("r{n}.example"));
    // One is there already.
    for n in 0..19 {
        assert!(fields(&all, own(n).into()).is_empty(), "{n}");
        let (name, record) = own(n).into();
        all.put(name, record);
    }
    assert_eq!(fields(&all, own(19).into()), ["spec.workspace"]);
    assert!(texts(&all, own(19).into()).contains("workspace a has 20 registries, and may have 20"));
    assert!(fields(&all, own(3).into()).is_empty(), "what is there may change");
    assert!(fields(&all, registry("b-0").of("b").host("r0.example").into()).is_empty(), "another workspace");
    assert!(fields(&all, registry("p").host("p.example").into()).is_empty(), "the platform");
    let moved = registry("b-0").of("b").host("b.example");
    let (name, record) = moved.into();
    all.put(name, record);
    assert_eq!(
        fields(&all, registry("b-0").of("a").host("b.example").into()),
        ["spec.workspace"],
        "nor by moving"
    );
    all.workspace_quota = WorkspaceQuota(5);
    assert!(fields(&all, own(18).into()).is_empty(), "a lower limit takes nothing away");
}

#[test]
fn a_platform_host_is_held_in_every_spelling() {
    let all = two_workspaces();
    for host in [
        "harbor.example.com",
        "HARBOR.example.com",
        "harbor.example.com:443",
        "harbor.example.com:0443",
        "Harbor.example.com:00443",
    ] {
        assert_eq!(fields(&all, registry("two").host(host).into()), ["spec.imageHosts[0]"], "{host}");
        let tenant = registry("t").of("b").host(host);
        assert_eq!(fields(&all, tenant.clone().into()), ["spec.imageHosts[0]"], "{host}");
        assert!(!texts(&all, tenant.into()).contains("corp"));
    }
    assert!(fields(&all, registry("two").host("harbor.example.com:8443").into()).is_empty());
    // As in decisions, an unreadable record of the platform keeps its hosts.
    let mut all = Records::default();
    let invalid = |workspace| Invalid {
        problems: Vec::new(),
        hosts: vec![Host::parse("h.io").unwrap()],
        workspace,
        registry: None,
        owner: Small::default(),
        selector: Selector::default(),
    };
    all.put("odd".into(), Record::Registry(Entry::Invalid(Box::new(invalid(None)))));
    assert_eq!(fields(&all, registry("two").host("H.io").into()), ["spec.imageHosts[0]"]);
    all.put("odd".into(), Record::Registry(Entry::Invalid(Box::new(invalid(Some("a".into()))))));
    assert!(fields(&all, registry("two").host("H.io").into()).is_empty());
}

#[test]
fn what_is_referred_to_exists_and_can_be_bound() {
    let all = two_workspaces();
    assert_eq!(fields(&all, registry("x").of("none").host("x.io").into()), ["spec.workspace"]);
    assert_eq!(fields(&all, space("none", "p").into()), ["spec.registry"]);
    assert_eq!(fields(&all, space("plain", "p").into()), ["spec.registry"]);
    assert!(
        texts(&all, space("plain", "p").into())
            .contains("Docker registries cannot bind spaces to workspaces: ")
    );
    assert_eq!(fields(&all, space("a-own", "p").bound(&["a"]).into()), ["spec.workspaces"]);
    assert_eq!(fields(&all, space("corp", "p").bound(&["a", "none"]).into()), ["spec.workspaces[1]"]);
    let (_, twin) = space("corp", "team-a").into();
    assert_eq!(fields(&all, ("another".into(), twin)), ["spec.path"]);
    assert_eq!(fields(&all, workspace("c", &["c-prod", "b-prod"]).into()), ["spec.namespaces[1]"]);
}

#[test]
fn a_registry_does_not_change_under_its_bindings() {
    let all = two_workspaces();
    assert_eq!(fields(&all, registry("corp").docker().into()), ["spec.type"]);
    assert_eq!(fields(&all, registry("corp").of("a").into()), ["spec.workspace"]);
}

#[test]
fn removal_leaves_nothing_to_inherit() {
    let all = two_workspaces();
    let text = |kind, name: &str| {
        removal_conflicts(&all, kind, name).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(text(Kind::Registry, "corp").contains("(corp.team-a)"));
    let of_a = text(Kind::Workspace, "a");
    assert!(of_a.contains("(corp.team-a)") && of_a.contains("(a-own)"), "{of_a}");
    for (kind, name) in
        [(Kind::Workspace, "b"), (Kind::Registry, "plain"), (Kind::RegistrySpace, "corp.team-a")]
    {
        assert_eq!(text(kind, name), "");
    }
}
