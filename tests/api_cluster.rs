//! Callers that the cluster knows: the same roles as with a tokens file, asked for sparingly and never guessed.

mod bodies;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request;
use pullgate::api::auth::{Authority, Permission};
use pullgate::api::cluster::{Cluster, Reviews, Unanswered, User};
use serde_json::{Value, json};

use crate::support::api::{Client, credential, harbor, owned};
use crate::support::log::Log;

/// Rights as roles in the cluster give them: verbs, a resource, and names or all of them.
type Rule = (&'static [&'static str], &'static str, &'static [&'static str]);

const ALL: &[&str] = &["get", "list", "create", "update", "delete"];
const READ: &[&str] = &["get", "list"];
/// The user `root` may see passwords, as the one with the token of that name.
const ROLES: [(&str, &[Rule]); 6] = [
    (
        "root",
        &[
            (ALL, "registries", &[]),
            (ALL, "registryspaces", &[]),
            (ALL, "workspaces", &[]),
            (ALL, "pullpolicies", &[]),
            (ALL, "workspaces/registries", &[]),
            (&["get"], "workspaces/pullsecrets", &[]),
        ],
    ),
    (
        "admin",
        &[
            (ALL, "registries", &[]),
            (ALL, "registryspaces", &[]),
            (ALL, "workspaces", &[]),
            (ALL, "pullpolicies", &[]),
            (ALL, "workspaces/registries", &[]),
        ],
    ),
    ("wa", &[(READ, "workspaces", &["a"]), (ALL, "workspaces/registries", &["a"])]),
    ("wb", &[(READ, "workspaces", &["b"]), (ALL, "workspaces/registries", &["b"])]),
    ("wab", &[(READ, "workspaces", &["a", "b"]), (ALL, "workspaces/registries", &["a", "b"])]),
    ("va", &[(READ, "workspaces", &["a"]), (READ, "workspaces/registries", &["a"])]),
];

#[derive(Default)]
struct Fake {
    rules: Mutex<BTreeMap<String, Vec<Rule>>>,
    /// Users whose rights are their groups' too.
    groups: Mutex<BTreeMap<String, Vec<String>>>,
    broken: AtomicBool,
    tokens_asked: AtomicUsize,
    /// Whether nothing is answered about tokens that are nobody's, and about how many.
    hold_unknown: AtomicBool,
    held: AtomicUsize,
    /// Every right that was asked about, as `VERB RESOURCE NAME`.
    asked: Mutex<Vec<String>>,
}

impl Fake {
    fn answer<T>(&self, value: T) -> Result<T, Unanswered> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(Unanswered("connection to 10.96.0.1 refused".into()));
        }
        Ok(value)
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

struct Shared(Arc<Fake>);

#[async_trait]
impl Reviews for Shared {
    async fn user(&self, token: &str) -> Result<Option<User>, Unanswered> {
        self.0.tokens_asked.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let name =
            token.strip_prefix("token-").filter(|name| self.0.rules.lock().unwrap().contains_key(*name));
        if name.is_none() && self.0.hold_unknown.load(Ordering::SeqCst) {
            self.0.held.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        let groups = |name| self.0.groups.lock().unwrap().get(name).cloned().unwrap_or_default();
        self.0.answer(name.map(|name| User { name: name.into(), groups: groups(name), ..User::default() }))
    }

    async fn allows(&self, user: &User, permission: &Permission) -> Result<bool, Unanswered> {
        let resource = match permission.target.resource() {
            (resource, None) => resource.to_owned(),
            (resource, Some(part)) => format!("{resource}/{part}"),
        };
        let (verb, name) = (permission.verb.as_str(), permission.name.as_deref());
        self.0.asked.lock().unwrap().push(format!("{verb} {resource} {}", name.unwrap_or("*")));
        let known = self.0.rules.lock().unwrap().clone();
        let mut rules =
            [&user.name].into_iter().chain(&user.groups).filter_map(|name| known.get(name)).flatten();
        let allows = |(verbs, of, names): &Rule| {
            verbs.contains(&verb)
                && *of == resource
                && (names.is_empty() || name.is_some_and(|n| names.contains(&n)))
        };
        self.0.answer(rules.any(allows))
    }
}

const MEMORY: Duration = Duration::from_millis(300);

fn cluster(memory: Duration) -> (Arc<Fake>, Authority) {
    let fake = Arc::new(Fake::default());
    let rules = ROLES.iter().map(|(name, rules)| ((*name).to_owned(), rules.to_vec()));
    fake.rules.lock().unwrap().extend(rules);
    let cluster = Cluster::remembering(memory, Shared(fake.clone()));
    (fake, Authority::Cluster(Arc::new(cluster)))
}

async fn populated(memory: Duration) -> (Arc<Fake>, Client) {
    let (fake, authority) = cluster(memory);
    let api = Client::populated_with(authority).await;
    fake.take();
    (fake, api)
}

/// One request of each kind, and where it differs one to what is foreign and one to what is not there.
fn requests() -> Vec<(&'static str, String, Option<Value>)> {
    let mut all = Vec::new();
    let mut add = |method, path: &str, body: Option<Value>| all.push((method, path.to_owned(), body));
    for name in ["corp", "a-own", "b-quay", "absent-one"] {
        add("GET", &format!("/registries/{name}"), None);
        add("PUT", &format!("/registries/{name}/credential"), Some(credential()));
        add("DELETE", &format!("/registries/{name}/credential"), None);
    }
    let mut moved = owned("a-own", "b", "https://a.example.com");
    add("PUT", "/registries/a-own", Some(moved.clone()));
    moved["spec"]["workspace"] = json!("a");
    add("PUT", "/registries/a-own", Some(moved.clone()));
    add("PUT", "/registries/b-quay", Some(owned("b-quay", "b", "https://quay.example.org")));
    add("PUT", "/registries/corp", Some(harbor("corp", "harbor.example.com")));
    for workspace in ["a", "b", "absent-one", ""] {
        add("POST", "/registries", Some(owned("fresh", workspace, "https://fresh.example.com")));
        add("DELETE", "/registries/fresh", None);
    }
    add("POST", "/registries", Some(harbor("second", "second.example.com")));
    add("DELETE", "/registries/second", None);
    for name in ["a", "b", "absent-one"] {
        add("GET", &format!("/workspaces/{name}"), None);
        add("PUT", &format!("/workspaces/{name}"), Some(json!({"spec": {"namespaces": []}})));
        add("DELETE", &format!("/workspaces/{name}"), None);
    }
    add("POST", "/workspaces", Some(json!({"metadata": {"name": "c"}, "spec": {}})));
    add("DELETE", "/workspaces/c", None);
    for name in ["corp.team-a", "absent-one"] {
        add("GET", &format!("/registryspaces/{name}"), None);
        add("PUT", &format!("/registryspaces/{name}/bindings/b"), None);
        add("DELETE", &format!("/registryspaces/{name}/bindings/b"), None);
    }
    add("POST", "/registryspaces", Some(json!({"spec": {"registry": "corp", "path": "fresh"}})));
    add("DELETE", "/registryspaces/corp.fresh", None);
    add("POST", "/pullpolicies", Some(json!({"metadata": {"name": "p"}, "spec": {}})));
    add("GET", "/pullpolicies/p", None);
    add("DELETE", "/pullpolicies/p", None);
    for namespace in ["a-prod", "b-prod", "absent-one", "Not-a-name"] {
        add("GET", &format!("/namespaces/{namespace}/access"), None);
        add("GET", &format!("/namespaces/{namespace}/pull-secret"), None);
        add("GET", &format!("/namespaces/{namespace}/pull-secret?reveal=true"), None);
        add("POST", "/explain", Some(json!({"namespace": namespace, "images": ["nginx"]})));
    }
    for list in ["registries", "workspaces", "spaces", "policies"] {
        add("GET", &format!("/{list}"), None);
    }
    all
}

#[tokio::test]
async fn roles_of_the_cluster_mean_what_the_roles_of_the_tokens_file_mean() {
    let (_, by_roles) = populated(MEMORY).await;
    let by_tokens = Client::populated().await;
    for api in [&by_roles, &by_tokens] {
        api.post("wa", "/registries", owned("a-own", "a", "https://a.example.com")).await.is(201);
    }
    for (who, _) in ROLES {
        for (method, path, body) in requests() {
            let if_match = if method == "GET" { "" } else { "*" };
            let one = by_roles.call(who, method, &path, if_match, body.as_ref()).await;
            let other = by_tokens.call(who, method, &path, if_match, body.as_ref()).await;
            // That somebody writes no registry at all is known of a token; a role may let them write one's.
            let (status, theirs) = (one.status.as_u16(), other.status.as_u16());
            let same = status == theirs || (who == "va" && (status, theirs) == (404, 403));
            assert!(same, "{who} {method} {path}: {} against {}", one.text, other.text);
            if theirs == 403 {
                let words = one
                    .text
                    .replace(&format!("Registry named {}", path.split('/').nth(2).unwrap_or("-")), "");
                assert!(!words.contains("absent-one"), "{}", one.text);
            } else {
                assert_eq!(timeless(&one.text), timeless(&other.text), "{who} {method} {path}");
            }
        }
    }
    let dump = |api: &Client| {
        let mut documents = api.store.dump();
        for document in &mut documents {
            document.created = 0;
            // When a credential was stored differs.
            if let Some(status) = document.status.as_object_mut() {
                status.retain(|field, _| field != "syncRequested");
            }
        }
        documents
    };
    assert_eq!(dump(&by_roles), dump(&by_tokens));
}

#[tokio::test]
async fn each_operation_needs_the_right_that_roles_name() {
    for (method, path, body, asked) in [
        ("GET", "/registries/corp", None, &["get registries corp"][..]),
        ("GET", "/registries/b-quay", None, &["get workspaces/registries b"]),
        ("GET", "/registries/absent-one", None, &["get registries absent-one"]),
        ("POST", "/registries", Some(harbor("s", "s.example.com")), &["create registries *"]),
        (
            "POST",
            "/registries",
            Some(owned("o", "a", "https://o.example.com")),
            &["create workspaces/registries a"],
        ),
        (
            "PUT",
            "/registries/b-quay/credential",
            Some(credential()),
            &["get workspaces/registries b", "update workspaces/registries b"],
        ),
        (
            "DELETE",
            "/registries/b-quay",
            None,
            &["get workspaces/registries b", "delete workspaces/registries b"],
        ),
        (
            "POST",
            "/workspaces",
            Some(json!({"metadata": {"name": "c"}, "spec": {}})),
            &["create workspaces *"],
        ),
        ("GET", "/workspaces/a", None, &["get workspaces a"]),
        ("PUT", "/registryspaces/corp.team-a/bindings/b", None, &["update registryspaces corp.team-a"]),
        ("DELETE", "/registryspaces/corp.team-a/bindings/b", None, &["update registryspaces corp.team-a"]),
        ("GET", "/registryspaces", None, &["list registryspaces *"]),
        ("GET", "/pullpolicies", None, &["list pullpolicies *"]),
        ("GET", "/workspaces", None, &["list workspaces *"]),
        ("GET", "/registries", None, &["list registries *", "list workspaces/registries *"]),
        ("GET", "/namespaces/a-prod/access", None, &["get workspaces a"]),
        ("GET", "/namespaces/absent-one/access", None, &["get workspaces *"]),
        (
            "POST",
            "/explain",
            Some(json!({"namespace": "b-prod", "images": ["nginx"]})),
            &["get workspaces b"],
        ),
        ("GET", "/namespaces/a-prod/pull-secret", None, &["get workspaces *"]),
        (
            "GET",
            "/namespaces/a-prod/pull-secret?reveal=true",
            None,
            &["get workspaces *", "get workspaces/pullsecrets a"],
        ),
    ] {
        let (fake, api) = populated(MEMORY / 3).await;
        tokio::time::sleep(MEMORY / 2).await;
        let reply =
            api.call("root", method, path, if method == "GET" { "" } else { "*" }, body.as_ref()).await;
        let absent = path.starts_with("/registries/absent");
        assert_eq!(!reply.status.is_success(), absent, "{method} {path}: {}", reply.text);
        let (mut found, mut known) = (Vec::new(), BTreeSet::new());
        found.extend(fake.take().into_iter().filter(|right| known.insert(right.clone())));
        assert!(asked.iter().all(|right| found.iter().any(|f| f == right)), "{method} {path}: {found:?}");
        assert!(found.iter().all(|right| asked.contains(&right.as_str())), "{method} {path}: {found:?}");
    }
}

#[tokio::test]
async fn whoever_has_no_token_of_the_cluster_is_not_asked_after() {
    let (fake, api) = populated(MEMORY).await;
    fake.tokens_asked.store(0, Ordering::SeqCst);
    let send = async |values: &[&str]| {
        let mut request = Request::get("/api/v1/workspaces");
        for value in values {
            request = request.header("authorization", *value);
        }
        api.send(request.body(Body::empty()).unwrap()).await
    };
    for values in
        [&[][..], &["Bearer"], &["Bearer "], &["Basic token-root"], &["Bearer token-root", "Bearer token-wa"]]
    {
        let reply = send(values).await.is(401);
        assert!(reply.header("www-authenticate").starts_with("Bearer"));
    }
    assert_eq!(fake.tokens_asked.load(Ordering::SeqCst), 0);
    send(&["Bearer forged"]).await.is(401);
    send(&["bearer token-root"]).await.is(200);
}

#[tokio::test]
async fn the_audit_log_names_the_user_and_never_the_token() {
    let log = Log::default();
    let guard = log.capture();
    let (_, api) = populated(MEMORY).await;
    api.post("va", "/registries", owned("x", "a", "https://x.example.com")).await.is(403);
    api.post("forged", "/registries", json!({})).await.is(401);
    drop(guard);
    let text = log.text();
    let has =
        |parts: &[&str]| text.lines().any(|l| l.contains(" audit: ") && parts.iter().all(|p| l.contains(p)));
    assert!(
        has(&["who=\"root\" role=\"-\"", "action=\"create\"", "name=\"corp\"", "outcome=\"done\""]),
        "{text}"
    );
    assert!(has(&["who=\"va\"", "name=\"x\"", "outcome=\"forbidden\""]), "{text}");
    assert!(has(&["who=\"-\"", "outcome=\"unauthenticated\""]), "{text}");
    assert!(!text.contains("token-"), "{text}");
}

/// An answer without the seconds in which its records were made.
fn timeless(text: &str) -> Value {
    fn forget(record: &mut Value) {
        if let Some(metadata) = record.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("creationTimestamp");
        }
        if let Some(status) = record.get_mut("status").and_then(Value::as_object_mut) {
            status.remove("syncRequested");
        }
    }
    let mut answer: Value = serde_json::from_str(text).unwrap_or_else(|_| text.into());
    forget(&mut answer);
    answer.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(forget);
    answer
}
