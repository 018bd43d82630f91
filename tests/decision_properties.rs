//! What holds of decisions whatever the records are.

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use pullgate::domain::decision::{Request, decide};
use pullgate::domain::record::{AllowedPrefix, Mode, Name, Record, Unmanaged, Visibility};
use pullgate::domain::snapshot::{Settings, Snapshot};

use crate::support::records::{Named, policy, records, registry, space, workspace};

pub type All = Vec<(Name, Record)>;

const HOSTS: [&str; 4] = ["harbor.example.com", "docker.io", "r.io:5000", "quay.io"];
const PATHS: [&str; 4] = ["team", "team-evil", "library", "acme"];
const WORKSPACES: [&str; 3] = ["a", "b", "c"];
pub const NAMESPACES: [&str; 5] = ["a-1", "a-2", "b-1", "c-1", "free"];

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(all, 0..=all.len())
}

prop_compose! {
    fn a_registry()(n in 0..4_u8, host in prop::sample::select(&HOSTS), docker: bool, password: bool, public: bool,
                    owner in prop::option::of(prop::sample::select(&WORKSPACES)), paths in some_of(&PATHS)) -> Named<pullgate::domain::record::Registry> {
        let mut r = registry(&format!("r{n}")).host(host);
        if docker { r = r.docker(); }
        if !password { r = r.no_password(); }
        if public { r = r.declared_public(); }
        if let Some(w) = owner { r = r.of(w).paths(&paths); }
        r
    }
}

prop_compose! {
    fn a_space()(n in 0..4_u8, path in prop::sample::select(&PATHS), public: bool, observed: Option<bool>,
                 bound in some_of(&WORKSPACES)) -> Named<pullgate::domain::record::Space> {
        let mut s = space(&format!("r{n}"), path).bound(&bound);
        if public { s = s.public(); }
        s.1.observed = observed.map(|p| if p { Visibility::Public } else { Visibility::Private });
        s
    }
}

pub fn world() -> impl Strategy<Value = All> {
    let workspaces = (some_of(&NAMESPACES), some_of(&NAMESPACES), some_of(&NAMESPACES));
    let unmanaged = prop_oneof![
        Just(Unmanaged::Allow),
        Just(Unmanaged::Deny),
        Just(Unmanaged::AllowList(vec![AllowedPrefix::parse("docker.io/library").unwrap()])),
    ];
    let policies = prop::collection::vec((unmanaged, some_of(&NAMESPACES)), 0..3);
    (prop::collection::vec(a_registry(), 0..5), prop::collection::vec(a_space(), 0..8), workspaces, policies)
        .prop_map(|(registries, spaces, (a, b, c), policies)| {
            let mut all: All = Vec::new();
            all.extend(registries.into_iter().map(Into::into));
            all.extend(spaces.into_iter().map(Into::into));
            all.extend([workspace("a", &a).into(), workspace("b", &b).into(), workspace("c", &c).into()]);
            for (n, (unmanaged, namespaces)) in policies.into_iter().enumerate() {
                all.push(
                    policy(&format!("p{n}"), unmanaged)
                        .for_namespaces(&namespaces)
                        .mode(Mode::Enforce)
                        .into(),
                );
            }
            // Records that one world holds twice would make "the order of records" mean "which one is last".
            all.sort_by(|x, y| (kind(&x.1), &x.0).cmp(&(kind(&y.1), &y.0)));
            all.dedup_by(|x, y| (kind(&x.1), &x.0) == (kind(&y.1), &y.0));
            all
        })
}

fn kind(record: &Record) -> u8 {
    match record {
        Record::Registry(_) => 0,
        Record::Space(_) => 1,
        Record::Workspace(_) => 2,
        Record::PullPolicy(_) => 3,
    }
}

/// Everything that is decided: reason, pull policy and entitlement, for every namespace and many images.
fn outcomes(all: &All) -> Vec<Outcome> {
    decided(&Snapshot::build(&records(all.iter().cloned()), &Settings::default()))
}

/// Namespace and image, reason, whether it is allowed, whether it needs `Always`.
type Outcome = (String, &'static str, bool, bool);

pub fn decided(snapshot: &Snapshot) -> Vec<Outcome> {
    let mut found = Vec::new();
    for namespace in NAMESPACES {
        let scope = snapshot.scope(namespace);
        for host in HOSTS.into_iter().chain(["HARBOR.example.com"]) {
            for path in PATHS {
                let image = format!("{host}/{path}/app:1");
                let decision = decide(&scope, &Request { image: &image, always: Some(true), now: 0 });
                found.push((
                    format!("{namespace} {image}"),
                    decision.reason.as_str(),
                    decision.allowed(),
                    decision.needs_always,
                ));
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_record_order_changes_a_decision((all, shuffled) in world().prop_flat_map(|w| (Just(w.clone()), Just(w).prop_shuffle()))) {
        prop_assert_eq!(outcomes(&all), outcomes(&shuffled));
    }

    #[test]
    fn a_binding_only_ever_adds_access(all in world(), at: Index, w in prop::sample::select(&WORKSPACES)) {
        let spaces: Vec<_> = (0..all.len()).filter(|i| matches!(all[*i].1, Record::Space(_))).collect();
        prop_assume!(!spaces.is_empty());
        let chosen = *at.get(&spaces);
        let with = |bound: bool| {
            let mut all = all.clone();
            if let Record::Space(pullgate::domain::record::Entry::Valid(s)) = &mut all[chosen].1 {
                let mut list: Vec<_> = s.workspaces.iter().filter(|x| *x != w).cloned().collect();
                if bound { list.push(w.into()); }
                s.workspaces = list.into();
            }
            outcomes(&all)
        };
        for (without, with) in with(false).iter().zip(with(true)) {
            prop_assert!(with.2 || !without.2, "{:?} became {:?} by a binding", without, with);
        }
    }

    #[test]
    fn no_record_of_one_workspace_takes_from_another(all in world(), mut added in a_registry()) {
        added.0 = "added".into();
        let added = added.of("a");
        let mut more = all.clone();
        more.push(added.into());
        let snapshot = Snapshot::build(&records(all.iter().cloned()), &Settings::default());
        for (before, after) in outcomes(&all).iter().zip(outcomes(&more)) {
            let namespace = before.0.split(' ').next().unwrap();
            if snapshot.scope(namespace).workspace() != Some("a") {
                prop_assert_eq!(before.1, after.1, "{} changed by a record of workspace a", before.0);
            }
        }
    }

    #[test]
    fn credentials_follow_access(all in world()) {
        let snapshot = Snapshot::build(&records(all), &Settings::default());
        for namespace in NAMESPACES {
            let scope = snapshot.scope(namespace);
            let entries = scope.pull_entries();
            prop_assert_eq!(!entries.is_empty(), scope.entitled());
            for key in entries.keys() {
                let (host, path) = key.split_once("/v2/").unwrap();
                let image = match path {
                    "" => format!("{host}/any/app"),
                    // The repository of exactly that path, for which there is no slash at the end.
                    path if !path.ends_with('/') => format!("{host}/{path}"),
                    path => format!("{host}/{path}app"),
                };
                let decision = decide(&scope, &Request { image: &image, always: None, now: 0 });
                prop_assert!(decision.allowed(), "a credential for {} that is {:?}", image, decision.reason);
            }
            // What a node does with the entries: host and path are compared by their first bytes. An entry for one repository
            // matches neighbours of longer names too, and needs another entry beside it that does not.
            let matches = |image: &str| {
                let below = entries.keys().filter(|key| key.ends_with('/'));
                below.map(|key| key.replacen("/v2/", "/", 1)).any(|start| image.starts_with(&start))
            };
            for exact in entries.keys().filter(|key| !key.ends_with('/')) {
                prop_assert!(entries.contains_key(&format!("{exact}/")), "{}", exact);
            }
            for host in HOSTS {
                for path in PATHS {
                    let image = format!("{host}/{path}/app:1");
                    let decision = decide(&scope, &Request { image: &image, always: None, now: 0 });
                    if decision.allowed() {
                        prop_assert_eq!(decision.needs_credential, matches(&image), "{}", image);
                    } else {
                        prop_assert!(!decision.needs_credential, "{}", image);
                    }
                }
            }
        }
    }
}
