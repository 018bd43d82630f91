//! The table of who may pull what, row by row, and the reason codes.

use pullgate::domain::decision::{Decision, Reason, Request, decide};
use pullgate::domain::record::{
    AllowedPrefix, Entry, Host, Invalid, Mode, Name, Record, Selector, Small, Unmanaged, Visibility,
};
use pullgate::domain::records::Records;
use pullgate::domain::snapshot::{Settings, Snapshot};

use crate::support::records::{policy, records, registry, space, workspace};

const NOW: i64 = 1_000_000;

fn judge<T>(records: &Records, namespace: &str, image: &str, then: impl FnOnce(Decision<'_>) -> T) -> T {
    let snapshot = Snapshot::build(records, &Settings::default());
    then(decide(&snapshot.scope(namespace), &Request { image, always: Some(true), now: NOW }))
}

fn reason(records: &Records, namespace: &str, image: &str) -> Reason {
    judge(records, namespace, image, |d| d.reason)
}

fn harbor() -> Records {
    records([
        registry("corp").into(),
        space("corp", "team-a").bound(&["a"]).into(),
        space("corp", "library").public().into(),
        workspace("a", &["a-prod", "a-test"]).into(),
        workspace("b", &["b-prod"]).into(),
    ])
}

#[test]
fn harbor_public_for_all_private_for_the_bound() {
    let r = harbor();
    for namespace in ["a-prod", "a-test", "b-prod", "nobodys"] {
        assert_eq!(reason(&r, namespace, "harbor.example.com/library/base:1"), Reason::Public);
    }
    assert_eq!(reason(&r, "a-prod", "harbor.example.com/team-a/web:1"), Reason::Bound);
    assert_eq!(
        reason(
            &r,
            "a-test",
            "harbor.example.com/team-a/web/deep@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        ),
        Reason::Bound
    );
    assert_eq!(reason(&r, "b-prod", "harbor.example.com/team-a/web:1"), Reason::NotBound);
    assert_eq!(reason(&r, "nobodys", "harbor.example.com/team-a/web:1"), Reason::NoWorkspace);
}

#[test]
fn an_image_of_a_harbor_lies_in_a_project() {
    let r = harbor();
    let said = |namespace, image| judge(&r, namespace, image, |d| d.explanation().to_string());
    let expected = "every image of registry corp, as of any Harbor, lies in a project; write harbor.example.com/PROJECT/nginx, \
                    or harbor.example.com/PROJECT/library/nginx for an official image of Docker Hub through a proxy project";
    for namespace in ["a-prod", "b-prod", "nobodys"] {
        assert_eq!(said(namespace, "harbor.example.com/nginx:1"), expected);
        // The name of a project, bound or not, reads the same.
        assert_eq!(said(namespace, "harbor.example.com/team-a"), expected.replace("nginx", "team-a"));
    }
}

#[test]
fn a_space_is_a_whole_path_segment_with_something_behind_it() {
    let r = harbor();
    for image in [
        "harbor.example.com/team-a-evil/web",
        "harbor.example.com/team/web",
        "harbor.example.com/team-a",
        "harbor.example.com/x/team-a/web",
    ] {
        assert_eq!(reason(&r, "a-prod", image), Reason::NotBound, "{image}");
    }
    assert_eq!(reason(&r, "a-prod", "harbor.example.com/library"), Reason::NotBound);
}

#[test]
fn unknown_and_not_bound_read_the_same() {
    let r = harbor();
    let text =
        |image: &str| judge(&r, "b-prod", image, |d| (d.reason, d.needs_always, d.explanation().to_string()));
    let (known, unknown) = (text("harbor.example.com/team-a/web"), text("harbor.example.com/team-z/web"));
    assert_eq!((known.0, known.1), (unknown.0, unknown.1));
    assert_eq!(known.2.replace("team-a", "X"), unknown.2.replace("team-z", "X"));
    assert_eq!(
        known.2,
        "space team-a of registry corp is private and not bound to this namespace's workspace; ask a platform admin to bind it"
    );
}

#[test]
fn docker_registries_are_for_all_or_for_nobody() {
    let docker =
        |r: crate::support::records::Named<_>| records([r.into(), workspace("a", &["a-prod"]).into()]);
    let open = docker(registry("d").docker().no_password());
    let closed = docker(registry("d").docker());
    let declared = docker(registry("d").docker().declared_public());
    let probed = |found| {
        let mut probed = registry("d").docker().no_password();
        probed.1.anonymous_pull = found;
        docker(probed)
    };
    for namespace in ["a-prod", "nobodys"] {
        assert_eq!(reason(&open, namespace, "harbor.example.com/x"), Reason::Public);
        assert_eq!(reason(&declared, namespace, "harbor.example.com/x"), Reason::Public);
        assert_eq!(reason(&closed, namespace, "harbor.example.com/x"), Reason::PasswordProtected);
        for found in [Some(false), None] {
            assert_eq!(
                reason(&probed(found), namespace, "harbor.example.com/x"),
                Reason::PasswordProtected,
                "the probe was refused, or did not come to an end yet: {found:?}"
            );
        }
    }
}

#[test]
fn a_workspace_registry_is_for_its_own_and_unmanaged_for_others() {
    let r = records([
        registry("w").docker().host("r.a.io").of("a").paths(&["acme/", "org/repo"]).into(),
        workspace("a", &["a-prod"]).into(),
        workspace("b", &["b-prod"]).into(),
    ]);
    let outcome = |namespace: &str, image: &str| judge(&r, namespace, image, |d| (d.reason, d.needs_always));
    assert_eq!(outcome("a-prod", "r.a.io/acme/x"), (Reason::WorkspaceRegistry, true));
    assert_eq!(outcome("a-prod", "r.a.io/acme-evil/x"), (Reason::Unmanaged, false));
    assert_eq!(outcome("a-prod", "r.a.io/acme"), (Reason::WorkspaceRegistry, true), "a repository too");
    assert_eq!(outcome("b-prod", "r.a.io/acme/x"), (Reason::Unmanaged, true));
    assert_eq!(
        outcome("a-prod", "r.a.io/org/repo:1"),
        (Reason::WorkspaceRegistry, true),
        "exactly that repository"
    );
    assert_eq!(outcome("b-prod", "r.a.io/org/repo:1"), (Reason::Unmanaged, true));
    assert_eq!(outcome("a-prod", "r.a.io/org/repo-evil:1"), (Reason::Unmanaged, false));
    assert_eq!(outcome("a-prod", "r.a.io/org:1"), (Reason::Unmanaged, false));
    assert_eq!(outcome("nobodys", "r.a.io/acme/x"), (Reason::Unmanaged, true));
    assert_eq!(
        outcome("b-prod", "R.A.IO/acme/x"),
        (Reason::Unmanaged, true),
        "another spelling leaks no more"
    );
    assert_eq!(outcome("a-prod", "R.A.IO/acme/x"), (Reason::HostSpelling, true));
}

#[test]
fn a_claim_binds_others_only_when_it_is_real() {
    let outcome = |host: &str, paths: &[&str], answered: bool, image: &str| {
        let mut claim = registry("w").docker().host(host).of("a").paths(paths);
        claim.1.answered = answered;
        let r = records([claim.into(), workspace("a", &["a-prod"]).into()]);
        let snapshot = Snapshot::build(&r, &Settings::default());
        let request = Request { image, always: Some(false), now: NOW };
        let decision = decide(&snapshot.scope("b-prod"), &request);
        (decision.reason, decision.needs_always)
    };
    assert_eq!(outcome("r.a.io", &[], false, "r.a.io/x"), (Reason::Unmanaged, false));
    assert_eq!(outcome("r.a.io", &["acme"], false, "r.a.io/acme/x"), (Reason::Unmanaged, false));
    assert_eq!(
        outcome("r.a.io", &[], true, "r.a.io/x"),
        (Reason::Unmanaged, true),
        "a whole host denies nobody"
    );
    assert_eq!(outcome("r.a.io", &["acme"], true, "r.a.io/acme/x"), (Reason::AlwaysPullRequired, true));
    assert_eq!(outcome("r.a.io", &["acme"], true, "r.a.io/acme-evil/x"), (Reason::Unmanaged, false));
    assert_eq!(
        outcome("quay.io", &[], true, "quay.io/x/y"),
        (Reason::Unmanaged, false),
        "shared by everybody"
    );
    assert_eq!(outcome("quay.io", &["x"], true, "quay.io/x/y"), (Reason::AlwaysPullRequired, true));
}

#[test]
fn several_workspaces_hold_one_host_each_for_itself() {
    let r = records([
        registry("wa").docker().host("docker.io").of("a").into(),
        registry("wb").docker().host("docker.io").of("b").paths(&["acme"]).into(),
        workspace("a", &["a-prod"]).into(),
        workspace("b", &["b-prod"]).into(),
    ]);
    assert_eq!(reason(&r, "a-prod", "nginx"), Reason::WorkspaceRegistry);
    assert_eq!(reason(&r, "b-prod", "nginx"), Reason::Unmanaged);
    assert_eq!(reason(&r, "b-prod", "acme/x"), Reason::WorkspaceRegistry);
    assert_eq!(reason(&r, "nobodys", "acme/x"), Reason::Unmanaged, "whoever claims docker.io denies nobody");
}

#[test]
fn the_platforms_rules_win_over_a_workspaces_claim() {
    let mut all = harbor();
    all.put("w".into(), <(Name, Record)>::from(registry("w").host("HARBOR.example.com").of("b")).1);
    assert_eq!(reason(&all, "b-prod", "harbor.example.com/team-a/web"), Reason::NotBound);
    assert_eq!(reason(&all, "b-prod", "HARBOR.example.com/team-a/web"), Reason::HostSpelling);
}

#[test]
fn only_the_registered_spelling_is_admitted() {
    let r = harbor();
    for image in [
        "Harbor.example.com/library/x",
        "harbor.example.com:443/library/x",
        "HARBOR.EXAMPLE.COM:443/library/x",
        "harbor.example.com:0443/library/x",
        "harbor.example.com:000443/library/x",
    ] {
        let (why, text) = judge(&r, "a-prod", image, |d| (d.reason, d.explanation().to_string()));
        assert_eq!(why, Reason::HostSpelling, "{image}");
        assert!(text.ends_with("write harbor.example.com"), "{text}");
    }
    assert_eq!(reason(&r, "a-prod", "harbor.example.com:5000/team-a/x"), Reason::Unmanaged, "another server");
}

#[test]
fn what_cannot_be_read_is_denied() {
    let r = harbor();
    for image in ["", " x", "sha256:0123", "a_b.example.com/app", "harbor.example.com/Team-A/x", "x@sha256:1"]
    {
        assert_eq!(reason(&r, "a-prod", image), Reason::InvalidReference, "{image:?}");
    }
}

#[test]
fn unmanaged_registries_follow_the_policy_by_whole_segments() {
    let list = ["docker.io/library", "quay.io"].map(|p| AllowedPrefix::parse(p).unwrap()).to_vec();
    let r = records([policy("p", Unmanaged::AllowList(list)).into()]);
    for (image, expected) in [
        ("nginx", Reason::Unmanaged),
        ("quay.io/any/thing", Reason::Unmanaged),
        ("docker.io/library-evil/x", Reason::UnmanagedDenied),
        ("evil/library/x", Reason::UnmanagedDenied),
        ("QUAY.io/x", Reason::UnmanagedDenied),
        ("quay.io:443/x", Reason::UnmanagedDenied),
        ("ghcr.io/x/y", Reason::UnmanagedDenied),
    ] {
        assert_eq!(reason(&r, "any", image), expected, "{image}");
    }
    assert_eq!(
        reason(&records([]), "any", "ghcr.io/x/y"),
        Reason::Unmanaged,
        "the baseline holds without a policy"
    );
    assert_eq!(
        reason(&records([policy("p", Unmanaged::Deny).into()]), "any", "nginx"),
        Reason::UnmanagedDenied
    );
}

#[test]
fn the_narrower_policy_replaces_the_wider_and_equals_add_up() {
    let r = records([
        policy("all", Unmanaged::Deny).into(),
        policy("by-workspace", Unmanaged::Allow).for_workspaces(&["a"]).mode(Mode::Audit).into(),
        policy("by-name", Unmanaged::Deny).for_namespaces(&["a-test"]).mode(Mode::Warn).into(),
        policy("by-name-too", Unmanaged::Allow).for_namespaces(&["a-test"]).mode(Mode::Audit).into(),
        workspace("a", &["a-prod", "a-test"]).into(),
    ]);
    let outcome = |namespace: &str| judge(&r, namespace, "ghcr.io/x/y", |d| (d.reason, d.mode, d.refuses()));
    assert_eq!(outcome("elsewhere"), (Reason::UnmanagedDenied, Mode::Enforce, true));
    assert_eq!(outcome("a-prod"), (Reason::Unmanaged, Mode::Audit, false));
    assert_eq!(outcome("a-test"), (Reason::UnmanagedDenied, Mode::Warn, false));
}

#[test]
fn tag_and_digest_rules_deny_what_else_is_allowed() {
    let mut rules = policy("p", Unmanaged::Allow);
    rules.1.denied_tags = vec!["latest".into()];
    let r = records([rules.clone().into()]);
    assert_eq!(reason(&r, "any", "nginx"), Reason::RuleDenied);
    assert_eq!(reason(&r, "any", "nginx:latest"), Reason::RuleDenied);
    assert_eq!(reason(&r, "any", "nginx:1"), Reason::Unmanaged);
    let digest = "nginx@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    assert_eq!(reason(&r, "any", digest), Reason::Unmanaged);
    rules.1.require_digest = true;
    let r = records([rules.into()]);
    assert_eq!(reason(&r, "any", "nginx:1"), Reason::RuleDenied);
    assert_eq!(reason(&r, "any", digest), Reason::Unmanaged);
}

#[test]
fn private_images_need_the_pull_policy_always() {
    let snapshot = Snapshot::build(&harbor(), &Settings::default());
    let scope = snapshot.scope("a-prod");
    let reason = |image, always| decide(&scope, &Request { image, always, now: NOW }).reason;
    assert_eq!(reason("harbor.example.com/team-a/web", Some(false)), Reason::AlwaysPullRequired);
    assert_eq!(reason("harbor.example.com/team-a/web", None), Reason::Bound);
    assert_eq!(reason("harbor.example.com/library/web", Some(false)), Reason::Public);
}

#[test]
fn public_is_believed_only_for_so_long() {
    let observed = |at: Option<i64>| {
        let mut s = space("corp", "library").bound(&["a"]);
        (s.1.visibility, s.1.observed, s.1.observed_at) = (None, Some(Visibility::Public), at.into());
        records([registry("corp").into(), s.into(), workspace("a", &["a-prod"]).into()])
    };
    let settings = Settings { public_max_age: Some(60), ..Settings::default() };
    let reason = |records: &Records, namespace| {
        let snapshot = Snapshot::build(records, &settings);
        let request = Request { image: "harbor.example.com/library/x", always: Some(true), now: NOW };
        decide(&snapshot.scope(namespace), &request).reason
    };
    assert_eq!(reason(&observed(Some(NOW - 60)), "b"), Reason::Public);
    assert_eq!(reason(&observed(Some(NOW - 61)), "b"), Reason::Stale);
    assert_eq!(reason(&observed(None), "b"), Reason::Stale);
    assert_eq!(reason(&observed(None), "a-prod"), Reason::Bound);
    // A look at the whole registry confirms what was recorded of its spaces before, and not what never was.
    let confirmed = |at, looked: i64| {
        let mut corp = registry("corp");
        corp.1.discovered_at = Some(looked);
        let (name, record) = corp.into();
        let mut all = observed(at);
        all.put(name, record);
        all
    };
    assert_eq!(reason(&confirmed(Some(NOW - 3600), NOW - 60), "b"), Reason::Public);
    assert_eq!(reason(&confirmed(Some(NOW - 3600), NOW - 61), "b"), Reason::Stale);
    assert_eq!(reason(&confirmed(None, NOW), "b"), Reason::Stale);
}

#[test]
fn public_takes_a_positive_answer() {
    use Visibility::{Private, Public};
    for (declared, observed, public) in [
        (None, None, false),
        (None, Some(Public), true),
        (Some(Public), None, true),
        (Some(Public), Some(Private), false),
        (Some(Private), Some(Public), false),
    ] {
        let mut s = space("corp", "x");
        (s.1.visibility, s.1.observed) = (declared, observed);
        let r = records([registry("corp").into(), s.into()]);
        let found = reason(&r, "any", "harbor.example.com/x/y") == Reason::Public;
        assert_eq!(found, public, "{declared:?} {observed:?}");
    }
}

#[test]
fn public_is_only_what_was_observed_of_the_registry_as_it_is() {
    let found = |of: Option<i64>, now: i64| {
        let (mut corp, mut s) = (registry("corp"), space("corp", "x"));
        (s.1.visibility, s.1.observed, s.1.observed_of) =
            (Some(Visibility::Public), Some(Visibility::Public), of.into());
        corp.1.identity_number = Some(now).into();
        reason(&records([corp.into(), s.into()]), "any", "harbor.example.com/x/y")
    };
    assert_eq!(found(Some(2), 2), Reason::Public);
    assert_eq!(found(None, 2), Reason::Public, "an earlier version did not say of what");
    assert_eq!(found(Some(1), 2), Reason::NoWorkspace);
}

#[test]
fn a_suspended_binding_rests() {
    let mut s = space("corp", "team-a").bound(&["a"]);
    s.1.suspended = true;
    let r = records([registry("corp").into(), s.into(), workspace("a", &["a-prod"]).into()]);
    assert_eq!(reason(&r, "a-prod", "harbor.example.com/team-a/x"), Reason::NotBound);
}

#[test]
fn a_namespace_claimed_twice_belongs_to_the_older_claim() {
    let (mut old, mut young) = (workspace("old", &["shared"]), workspace("a-young", &["shared"]));
    (old.1.created, young.1.created) = (10, 20);
    let bound_to =
        |w: &str, old: &crate::support::records::Named<_>, young: &crate::support::records::Named<_>| {
            let r = records([
                registry("corp").into(),
                space("corp", "x").bound(&[w]).into(),
                old.clone().into(),
                young.clone().into(),
            ]);
            reason(&r, "shared", "harbor.example.com/x/y") == Reason::Bound
        };
    old.1.claimed.insert("shared".into(), 12_000_000);
    young.1.claimed.insert("shared".into(), 22_000_000);
    assert!(bound_to("old", &old, &young) && !bound_to("a-young", &old, &young));
    old.1.claimed.clear();
    assert!(bound_to("a-young", &old, &young), "a recorded claim is older than one that was never recorded");
    // As after a restore without statuses, whatever the order in which the records came back.
    young.1.claimed.clear();
    assert!(
        !bound_to("old", &old, &young) && !bound_to("a-young", &old, &young),
        "nobody knows whose it was"
    );
    let twice = workspace("old", &["shared", "shared"]);
    let young = workspace("a-young", &[]);
    assert!(bound_to("old", &twice, &young), "one that names it twice is no rival of itself");
}

#[test]
fn a_binding_is_for_the_project_that_it_was_made_for() {
    let found = |confirmed, seen: Option<i64>| {
        let mut s = space("corp", "team-a").bound(&["a"]);
        (s.1.confirmed, s.1.project) = (Some(confirmed).into(), seen.into());
        let r = records([registry("corp").into(), s.into(), workspace("a", &["a-prod"]).into()]);
        reason(&r, "a-prod", "harbor.example.com/team-a/x")
    };
    assert_eq!(found(7, Some(7)), Reason::Bound);
    assert_eq!(found(7, Some(8)), Reason::NotBound, "it was made anew");
    assert_eq!(found(7, None), Reason::NotBound, "restored without its status, it may have been made anew");
}

#[test]
fn spaces_of_an_earlier_registry_of_the_name_are_nobodys() {
    let found = |owner: Option<i64>| {
        let (mut corp, mut s) = (registry("corp"), space("corp", "team-a").bound(&["a"]).public());
        (corp.1.uid, s.1.owner) = (Some(2).into(), owner.into());
        let r = records([corp.into(), s.into(), workspace("a", &["a-prod"]).into()]);
        reason(&r, "a-prod", "harbor.example.com/team-a/x")
    };
    assert_eq!(found(Some(2)), Reason::Public);
    assert_eq!(found(None), Reason::Public, "written by hand, and not adopted yet");
    assert_eq!(found(Some(1)), Reason::NotBound);
}

#[test]
fn a_pinned_namespace_made_anew_inherits_nothing() {
    let mut w = workspace("a", &["a-prod"]);
    w.1.pin = true;
    w.1.pins.insert("a-prod".into(), "uid-1".into());
    let mut r = records([registry("corp").into(), space("corp", "x").bound(&["a"]).into(), w.into()]);
    let image = "harbor.example.com/x/y";
    assert_eq!(reason(&r, "a-prod", image), Reason::NoWorkspace, "nothing is known of the namespace");
    r.put_namespace("a-prod".into(), "uid-1".into());
    assert_eq!(reason(&r, "a-prod", image), Reason::Bound);
    r.put_namespace("a-prod".into(), "uid-2".into());
    assert_eq!(reason(&r, "a-prod", image), Reason::NoWorkspace);
}

#[test]
fn an_invalid_record_never_widens_access() {
    let invalid = |hosts: &[&str], workspace: Option<&str>| {
        Box::new(Invalid {
            problems: Vec::new(),
            hosts: hosts.iter().map(|h| Host::parse(h).unwrap()).collect(),
            workspace: workspace.map(Name::from),
            registry: None,
            owner: Small::default(),
            selector: Selector::default(),
        })
    };
    let mut r = records([workspace("a", &["a-prod"]).into()]);
    r.put("broken".into(), Record::Registry(Entry::Invalid(invalid(&["h.io"], None))));
    assert_eq!(reason(&r, "a-prod", "h.io/x/y"), Reason::NotBound, "its hosts stay managed");
    r.put("broken".into(), Record::Registry(Entry::Invalid(invalid(&["h.io"], Some("a")))));
    assert_eq!(judge(&r, "a-prod", "h.io/x/y", |d| (d.reason, d.needs_always)), (Reason::Unmanaged, true));
    r.put("broken".into(), Record::PullPolicy(Entry::Invalid(invalid(&[], None))));
    assert_eq!(reason(&r, "a-prod", "quay.io/x/y"), Reason::UnmanagedDenied);
}

#[test]
fn exempt_namespaces_are_not_judged() {
    let settings = Settings { exempt_namespaces: vec!["kube-system".into()], ..Settings::default() };
    let snapshot = Snapshot::build(&harbor(), &settings);
    let request = Request { image: "harbor.example.com/team-a/x", always: None, now: NOW };
    assert_eq!(decide(&snapshot.scope("kube-system"), &request).reason, Reason::Exempt);
    assert_eq!(decide(&snapshot.scope("kube-system-2"), &request).reason, Reason::NoWorkspace);
}

#[test]
fn codes_and_their_order_are_stable() {
    let codes: Vec<_> = Reason::ALL.iter().map(|r| (r.as_str(), r.allows())).collect();
    insta::assert_debug_snapshot!(codes);
    for (position, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, position);
    }
}
