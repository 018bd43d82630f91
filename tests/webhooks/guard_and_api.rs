//! Property: the guard denies what the management API refuses, and nothing else.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use proptest::prelude::*;
use proptest::sample::select;
use pullgate::admission::handlers::Admission;
use pullgate::admission::record_webhook::{RecordWebhook, router};
use pullgate::domain::record::Kind;
use pullgate::metrics::Metrics;
use pullgate::state::State;
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt as _;

use crate::support::api::{Client, credential};
use crate::support::webhooks::{record, record_review};

#[derive(Debug, Clone)]
enum Step {
    Put(Kind, &'static str, Value),
    Remove(Kind, &'static str),
    Bind(&'static str, &'static str),
    Unbind(&'static str, &'static str),
}

const NAMES: [(Kind, &[&str]); 4] = [
    (Kind::Workspace, &["a", "b", "c", "Odd_one"]),
    (Kind::Registry, &["corp", "b-quay", "plain", "odd"]),
    (Kind::RegistrySpace, &["corp.team-a", "corp.two", "odd-space"]),
    (Kind::PullPolicy, &["p"]),
];
const WORKSPACES: [&str; 5] = ["a", "b", "c", "gone", "NO"];
const HOSTS: [&str; 5] =
    ["harbor.example.com", "Harbor.example.com", "quay.example.org", "plain.io", "no host"];

fn names(kind: Kind) -> impl Strategy<Value = &'static str> {
    select(NAMES.iter().find(|(k, _)| *k == kind).unwrap().1)
}

fn optional(
    spec: Value,
    field: &'static str,
    value: impl Strategy<Value = Value> + 'static,
) -> BoxedStrategy<Value> {
    prop_oneof![2 => Just(None), 1 => value.prop_map(Some)]
        .prop_map(move |value| {
            let mut spec = spec.clone();
            if let Some(value) = value {
                spec[field] = value;
            }
            spec
        })
        .boxed()
}

fn some_of(words: &'static [&'static str]) -> BoxedStrategy<Value> {
    proptest::collection::vec(select(words), 0..3).prop_map(|words| json!(words)).boxed()
}

fn spec(kind: Kind) -> BoxedStrategy<Value> {
    match kind {
        Kind::Workspace => some_of(&["a-prod", "b-prod", "c-prod", "Bad"])
            .prop_map(|namespaces| json!({"namespaces": namespaces}))
            .boxed(),
        Kind::Registry => (
            select(&["Harbor", "Docker", "Artifactory", "Quay"][..]),
            select(&["https://harbor.example.com", "https://quay.example.org", "https://plain.io", "broken"][..]),
        )
            .prop_map(|(kind, url)| json!({"type": kind, "url": url}))
            .prop_flat_map(|spec| optional(spec, "imageHosts", some_of(&HOSTS)))
            .prop_flat_map(|spec| optional(spec, "workspace", select(&WORKSPACES[..]).prop_map(|w| json!(w))))
            .prop_flat_map(|spec| optional(spec, "paths", some_of(&["acme", "b//c"])))
            .prop_flat_map(|spec| optional(spec, "visibility", Just(json!("Public"))))
            .boxed(),
        Kind::RegistrySpace => (
            select(&["corp", "b-quay", "plain", "odd", "none"][..]),
            select(&["team-a", "two", "a/b"][..]),
            some_of(&WORKSPACES),
        )
            .prop_map(|(registry, path, workspaces)| json!({"registry": registry, "path": path, "workspaces": workspaces}))
            .boxed(),
        Kind::PullPolicy => (select(&["Enforce", "Warn", "No"][..]), some_of(&["docker.io/library", "UPPER/Case"]))
            .prop_map(|(mode, allow)| json!({"mode": mode, "unmanaged": {"default": "Deny", "allow": allow}}))
            .boxed(),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let kind = select(&Kind::ALL[..]);
    let bind = |wanted: bool| {
        (names(Kind::RegistrySpace), select(&WORKSPACES[..])).prop_map(move |(space, workspace)| {
            if wanted { Step::Bind(space, workspace) } else { Step::Unbind(space, workspace) }
        })
    };
    prop_oneof![
        5 => kind.clone().prop_flat_map(|k| (names(k), spec(k)).prop_map(move |(n, s)| Step::Put(k, n, s))),
        1 => kind.prop_flat_map(|k| names(k).prop_map(move |n| Step::Remove(k, n))),
        1 => bind(true),
        1 => bind(false),
    ]
}

struct World {
    api: Client,
    guard: Router,
}

impl World {
    async fn new() -> Self {
        let api = Client::populated().await;
        // What older versions and other writers left behind.
        let seed = |kind, name, spec| api.store.seed(kind, name, spec, Value::Null);
        seed(Kind::Registry, "odd", json!({"type": "Harbor", "url": "broken", "imageHosts": ["odd.io"]}));
        seed(Kind::Registry, "plain", json!({"type": "Docker", "url": "https://plain.io"}));
        seed(
            Kind::RegistrySpace,
            "odd-space",
            json!({"registry": "plain", "path": "two", "workspaces": ["gone", "a"]}),
        );
        let admission = Admission::new(State::default(), Arc::new(Metrics::new().unwrap()));
        let guard = RecordWebhook::new(admission, api.store.state.clone()).with_lag(Duration::ZERO);
        Self { api, guard: router(guard) }
    }

    fn stored(&self, kind: Kind, name: &str) -> Option<Value> {
        self.api.store.dump().into_iter().find(|d| d.kind == kind && d.name == name).map(|d| d.spec)
    }

    async fn guard(&self, kind: Kind, name: &str, before: Option<&Value>, after: Option<&Value>) -> Value {
        let operation = match (before, after) {
            (None, _) => "CREATE",
            (_, None) => "DELETE",
            _ => "UPDATE",
        };
        let object = |spec: &Value| record(kind.as_str(), name, spec);
        let (before, after) = (before.map(object), after.map(object));
        let review = record_review(operation, kind.as_str(), before.as_ref(), after.as_ref());
        let request = Request::post("/guard").body(Body::from(review.to_string())).unwrap();
        let response = self.guard.clone().oneshot(request).await.unwrap();
        serde_json::from_slice(&to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap()
    }

    /// Takes a step through both doors.
    async fn step(&self, step: &Step) -> Result<(), TestCaseError> {
        let (denied, refused) = match step {
            Step::Put(kind, name, spec) => {
                let before = self.stored(*kind, name);
                let mut body = json!({"metadata": {"name": name}, "spec": spec});
                let mut written = spec.clone();
                if *kind == Kind::Registry {
                    // What the API does with a password that comes along.
                    body["credential"] = credential();
                    written["credential"] = json!({"name": format!("registry-{name}")});
                }
                if before.as_ref() == Some(&written) {
                    return Ok(());
                }
                let denied = self.guard(*kind, name, before.as_ref(), Some(&written)).await;
                let path = format!("/{}", plural(*kind));
                let reply = match &before {
                    None => self.api.post("root", &path, body).await,
                    // A password has an operation of its own, which leaves the rest alone.
                    Some(before) if changed(before, &written) == ["credential"] => {
                        let path = format!("{path}/{name}/credential");
                        self.api.put("root", &path, "", credential()).await
                    }
                    Some(_) => self.api.put("root", &format!("{path}/{name}"), "*", body).await,
                };
                // So have bindings, below: a whole record is refused for everything that is wrong with it, a binding for
                // what it brings along.
                if before.is_some_and(|before| changed(&before, &written) == ["workspaces"]) {
                    let allowed = denied["response"]["allowed"] == true;
                    prop_assert!(
                        allowed || reply.status == 422,
                        "{:?}: {} against {}",
                        step,
                        denied,
                        reply.text
                    );
                    return Ok(());
                }
                (denied, reply)
            }
            Step::Remove(kind, name) => {
                let Some(before) = self.stored(*kind, name) else { return Ok(()) };
                let denied = self.guard(*kind, name, Some(&before), None).await;
                (denied, self.api.delete("root", &format!("/{}/{name}", plural(*kind)), "*").await)
            }
            Step::Bind(name, workspace) | Step::Unbind(name, workspace) => {
                let Some(before) = self.stored(Kind::RegistrySpace, name) else { return Ok(()) };
                let mut after = before.clone();
                let mut list = before["workspaces"].as_array().cloned().unwrap_or_default();
                let wanted = matches!(step, Step::Bind(..));
                if list.contains(&json!(workspace)) != wanted {
                    list.retain(|w| w != workspace);
                    list.extend(wanted.then(|| json!(workspace)));
                    after["workspaces"] = json!(list);
                }
                let denied = self.guard(Kind::RegistrySpace, name, Some(&before), Some(&after)).await;
                let method = if wanted { "PUT" } else { "DELETE" };
                let path = format!("/registryspaces/{name}/bindings/{workspace}");
                (denied, self.api.call("root", method, &path, "", None).await)
            }
        };
        prop_assert_eq!(
            denied["response"]["allowed"] == true,
            refused.status.is_success(),
            "{:?}: {} against {}",
            step,
            denied,
            refused.text
        );
        if refused.status == 422 {
            let said = denied["response"]["status"]["message"].as_str().unwrap_or_default().to_owned();
            for field in refused.fields() {
                prop_assert!(said.contains(&format!("{field}: ")), "{} is not in {}", field, said);
            }
        }
        Ok(())
    }
}

fn changed(one: &Value, other: &Value) -> Vec<String> {
    let (one, other) = (one.as_object().unwrap(), other.as_object().unwrap());
    let mut names: Vec<_> = one.keys().chain(other.keys()).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| one.get(name) != other.get(name));
    names
}

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Registry => "registries",
        Kind::RegistrySpace => "registryspaces",
        Kind::Workspace => "workspaces",
        Kind::PullPolicy => "pullpolicies",
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_guard_denies_what_the_api_refuses_and_nothing_else(steps in proptest::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            for step in &steps {
                world.step(step).await?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}

#[tokio::test]
async fn a_binding_where_none_can_be_is_denied_for_that_alone() {
    let world = World::new().await;
    let spec = json!({"registry": "plain", "path": "two", "workspaces": ["gone", "b"]});
    world.step(&Step::Put(Kind::RegistrySpace, "odd-space", spec.clone())).await.unwrap();

    let before = world.stored(Kind::RegistrySpace, "odd-space").unwrap();
    let denied = world.guard(Kind::RegistrySpace, "odd-space", Some(&before), Some(&spec)).await;
    let said = denied["response"]["status"]["message"].as_str().unwrap();
    assert!(said.contains("spec.registry: Docker registries cannot bind"), "{said}");
    assert!(!said.contains("spec.workspaces[0]"), "{said}");
}
