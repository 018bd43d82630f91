//! The management API with callers of a real cluster: tokens of service accounts, roles, and what becomes of both.

use std::path::Path;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use pullgate::types::crd;
use reqwest::Method;
use rustls::pki_types::PrivateSec1KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::control_plane::{WEBHOOKS, install, serve, turn, uninstall};
use crate::guard::register;
use crate::support::https_client::client as https;
use crate::support::server::Server;

const SYSTEM: &str = "pullgate-system";
const CALLERS: &str = "pullgate-callers";
const PASSWORD: &str = "s3cret-Pa55word";
/// As long as somebody may go on whose role was taken away, and what a busy machine adds.
const EFFECTIVE: Duration = Duration::from_secs(15);

const ALL: [&str; 5] = ["get", "list", "create", "update", "delete"];

fn rule(resources: &[&str], verbs: &[&str], names: &[&str]) -> Value {
    json!({"apiGroups": ["pullgate.io"], "resources": resources, "verbs": verbs, "resourceNames": names})
}

/// The roles that callers are bound to by name; `pullgate-test-reveal` to nobody at first.
fn roles() -> Vec<(&'static str, &'static [&'static str], Vec<Value>)> {
    let platform = ["registries", "registryspaces", "workspaces", "pullpolicies", "workspaces/registries"];
    vec![
        ("pullgate-test-admin", &["admin"], vec![rule(&platform, &ALL, &[])]),
        (
            "pullgate-test-workspace-admin",
            &["wa"],
            vec![rule(&["workspaces"], &["get"], &["a"]), rule(&["workspaces/registries"], &ALL, &["a"])],
        ),
        (
            "pullgate-test-viewer",
            &["va"],
            vec![rule(&["workspaces", "workspaces/registries"], &["get", "list"], &["a"])],
        ),
        ("pullgate-test-reveal", &[], vec![rule(&["workspaces/pullsecrets"], &["get"], &["a"])]),
    ]
}

async fn apply<K>(api: &Api<K>, name: &str, mut object: Value)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    object["metadata"]["name"] = json!(name);
    let force = PatchParams::apply("pullgate-test").force();
    api.patch(name, &force, &Patch::Apply(object)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
}

async fn bind(client: &Client, role: &str, callers: &[&str]) {
    let subjects: Vec<_> = callers
        .iter()
        .map(|name| json!({"kind": "ServiceAccount", "name": name, "namespace": CALLERS}))
        .collect();
    let of = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
    apply(
        &Api::<ClusterRoleBinding>::all(client.clone()),
        role,
        json!({"roleRef": of, "subjects": subjects}),
    )
    .await;
}

async fn prepare(client: &Client) {
    uninstall(client).await;
    install(client, crd::definitions()).await;
    for namespace in [SYSTEM, CALLERS] {
        apply(&Api::<Namespace>::all(client.clone()), namespace, json!({})).await;
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    secrets.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), CALLERS);
    for account in ["admin", "wa", "va", "nobody", "leaving"] {
        apply(&accounts, account, json!({})).await;
    }
    for (role, callers, rules) in roles() {
        apply(&Api::<ClusterRole>::all(client.clone()), role, json!({"rules": rules})).await;
        bind(client, role, callers).await;
    }
}

async fn token(client: &Client, account: &str, audiences: &[&str]) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), CALLERS);
    let request = json!({"spec": {"audiences": audiences, "expirationSeconds": 600}});
    let request: TokenRequest = serde_json::from_value(request).unwrap();
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
    answer.status.unwrap().token.unwrap()
}

/// The token with another time to live, signed anew with the control plane's key.
fn living(token: &str, from: i64, seconds: i64) -> String {
    let kubeconfig = std::env::var("KUBECONFIG").unwrap();
    let key = Path::new(&kubeconfig).with_file_name("service-account.key");
    let key = PrivateSec1KeyDer::from_pem_slice(&std::fs::read(key).unwrap()).unwrap();
    let key =
        EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_sec1_der()).unwrap();
    let (head, rest) = token.split_once('.').unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(rest.split_once('.').unwrap().0).unwrap();
    let mut claims: Value = serde_json::from_slice(&claims).unwrap();
    let now = jiff::Timestamp::now().as_second();
    for (claim, at) in [("iat", now + from), ("nbf", now + from), ("exp", now + from + seconds)] {
        claims[claim] = json!(at);
    }
    let signed = format!("{head}.{}", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// Calls of a server by anybody, and everything that was answered.
struct Calls {
    http: reqwest::Client,
    api: String,
    seen: String,
}

impl Calls {
    fn of(server: &Server, directory: &Path) -> Self {
        let ca = std::fs::read_to_string(directory.join("data/tls/ca.crt")).unwrap();
        Self { http: https(&ca, b"http/1.1"), api: server.api.clone(), seen: String::new() }
    }

    async fn send(&mut self, token: &str, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let request = self.http.request(method, format!("{}{path}", self.api)).bearer_auth(token);
        let request = request.header("if-match", "*");
        let request = if let Some(body) = body { request.json(body) } else { request };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        self.seen += &text;
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    async fn get(&mut self, token: &str, path: &str) -> (u16, Value) {
        self.send(token, Method::GET, path, None).await
    }

    async fn names(&mut self, token: &str, path: &str) -> Vec<String> {
        let (status, list) = self.get(token, path).await;
        assert_eq!(status, 200, "{list}");
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    fn is((status, body): (u16, Value), expected: u16) -> Value {
        assert_eq!(status, expected, "{body}");
        body
    }

    /// Asks again and again until the answer has this status.
    async fn until(&mut self, token: &str, path: &str, expected: u16) -> Duration {
        let start = Instant::now();
        loop {
            let (status, body) = self.get(token, path).await;
            if status == expected {
                return start.elapsed();
            }
            assert!(start.elapsed() < EFFECTIVE, "{path} is still {status}: {body}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn registry(name: &str, workspace: Option<&str>, kind: &str) -> Value {
    let mut spec = json!({"type": kind, "url": format!("https://{name}.example.com")});
    match workspace {
        Some(workspace) => spec["workspace"] = json!(workspace),
        None => spec["pullCredentials"] = json!("Integration"),
    }
    let credential = json!({"username": "robot$pull", "password": PASSWORD});
    json!({"metadata": {"name": name}, "spec": spec, "credential": credential})
}

fn workspace(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"namespaces": [format!("{name}-prod")]}})
}

#[tokio::test]
async fn tokens_and_roles_of_the_cluster_decide_who_may_do_what() {
    let (_turn, client) = turn().await;
    prepare(&client).await;
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--api-auth", "kubernetes"];
    let server = serve(directory.path(), &arguments).await;
    for file in ["tokens.json", "admin-token"] {
        assert!(!directory.path().join("data").join(file).exists(), "{file} was made");
    }
    // What pullgate writes for them passes its own guard.
    register(&client, &server, &std::fs::read_to_string(directory.path().join("data/tls/ca.crt")).unwrap())
        .await;
    let mut calls = Calls::of(&server, directory.path());
    let admin = token(&client, "admin", &[]).await;
    let (wa, va) = (token(&client, "wa", &[]).await, token(&client, "va", &[]).await);
    let nobody = token(&client, "nobody", &[]).await;

    // An Admin does everything.
    let post = Method::POST;
    for name in ["a", "b"] {
        let made = calls.send(&admin, post.clone(), "/workspaces", Some(&workspace(name))).await;
        Calls::is(made, 201);
    }
    let corp = registry("corp", None, "Harbor");
    Calls::is(calls.send(&admin, post.clone(), "/registries", Some(&corp)).await, 201);
    let space = json!({"spec": {"registry": "corp", "path": "team-a", "visibility": "Private"}});
    Calls::is(calls.send(&admin, post.clone(), "/registryspaces", Some(&space)).await, 201);
    Calls::is(calls.send(&admin, Method::PUT, "/registryspaces/corp.team-a/bindings/a", None).await, 204);
    let foreign = registry("b-own", Some("b"), "Docker");
    Calls::is(calls.send(&admin, post.clone(), "/registries", Some(&foreign)).await, 201);

    // A Workspace Admin does what is its workspace's.
    let own = registry("a-own", Some("a"), "Docker");
    Calls::is(calls.send(&wa, post.clone(), "/registries", Some(&own)).await, 201);
    for (other, path) in [
        (registry("x", Some("b"), "Docker"), "/registries"),
        (corp, "/registries"),
        (workspace("c"), "/workspaces"),
        (space, "/registryspaces"),
    ] {
        Calls::is(calls.send(&wa, post.clone(), path, Some(&other)).await, 403);
    }
    assert_eq!(calls.names(&admin, "/registries").await, ["a-own", "b-own", "corp"]);
    for caller in [&wa, &va] {
        assert_eq!(calls.names(caller, "/registries").await, ["a-own"]);
        assert_eq!(calls.names(caller, "/workspaces").await, ["a"]);
        Calls::is(calls.get(caller, "/registries/a-own").await, 200);
        for path in ["/registries/b-own", "/registries/corp", "/registries/absent", "/workspaces/b"] {
            Calls::is(calls.get(caller, path).await, 404);
        }
        Calls::is(calls.get(caller, "/registryspaces").await, 403);
        Calls::is(calls.get(caller, "/namespaces/a-prod/access").await, 200);
        let (foreign, nowhere) = (
            calls.get(caller, "/namespaces/b-prod/access").await,
            calls.get(caller, "/namespaces/x/access").await,
        );
        assert_eq!(foreign, nowhere);
        Calls::is(foreign, 403);
        Calls::is(
            calls.send(caller, Method::DELETE, "/registryspaces/corp.team-a/bindings/a", None).await,
            403,
        );
        Calls::is(calls.get(caller, "/namespaces/a-prod/pull-secret").await, 403);
    }
    Calls::is(calls.send(&va, Method::DELETE, "/registries/a-own", None).await, 403);
    assert_eq!(calls.names(&nobody, "/registries").await, Vec::<String>::new());
    Calls::is(calls.get(&nobody, "/registries/corp").await, 404);

    // Passwords: in a Secret of pullgate's own namespace, shown to nobody without the right to see them.
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    let secret = secrets.get("registry-corp").await.unwrap();
    assert_eq!(secret.data.unwrap()["password"].0, PASSWORD.as_bytes());
    let (shown, revealed) = ("/namespaces/a-prod/pull-secret", "/namespaces/a-prod/pull-secret?reveal=true");
    Calls::is(calls.get(&admin, shown).await, 200);
    Calls::is(calls.get(&admin, revealed).await, 403);
    let in_secret = BASE64_STANDARD.encode(format!("robot$pull:{PASSWORD}"));
    assert!(!calls.seen.contains(PASSWORD) && !calls.seen.contains(&in_secret));
    bind(&client, "pullgate-test-reveal", &["admin"]).await;
    calls.until(&admin, revealed, 200).await;
    assert!(calls.seen.contains(&in_secret));

    // What is taken away is gone soon.
    Calls::is(calls.get(&wa, "/registries/a-own").await, 200);
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    bindings.delete("pullgate-test-workspace-admin", &DeleteParams::default()).await.unwrap();
    let took = calls.until(&wa, "/registries/a-own", 404).await;
    println!("a revoked binding was effective after {took:?}");
    Calls::is(calls.send(&wa, Method::DELETE, "/registries/a-own", None).await, 404);
    assert_eq!(calls.names(&admin, "/registries").await.len(), 3);

    // A registry goes with its spaces, in one go.
    Calls::is(calls.send(&admin, Method::DELETE, "/registries/corp", None).await, 409);
    Calls::is(calls.send(&admin, Method::DELETE, "/registries/corp?force=true", None).await, 204);
    assert!(secrets.get_opt("registry-corp").await.unwrap().is_none());
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    webhooks.delete(WEBHOOKS, &DeleteParams::default()).await.unwrap();

    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(log.contains(&format!("system:serviceaccount:{CALLERS}:wa")), "{log}");
    for secret in [PASSWORD, &in_secret, &admin, &wa] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn tokens_that_are_not_good_are_nobodys() {
    let (_turn, client) = turn().await;
    prepare(&client).await;
    bind(&client, "pullgate-test-admin", &["admin", "leaving"]).await;
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let arguments = ["--api-auth", "kubernetes"];
    let server = serve(one.path(), &arguments).await;
    let narrow =
        [&arguments[..], &["--api-audience", "pullgate", "--api-audience", "https://pullgate.example.com"]];
    let narrow = serve(other.path(), &narrow.concat()).await;
    let mut calls = Calls::of(&server, one.path());
    let mut narrow = Calls::of(&narrow, other.path());

    let admin = token(&client, "admin", &[]).await;
    let meant = token(&client, "admin", &["pullgate"]).await;
    let elsewhere = token(&client, "admin", &["vault"]).await;
    let statuses = async |calls: &mut Calls, token: &str| calls.get(token, "/registries").await.0;
    assert_eq!(statuses(&mut calls, &admin).await, 200);
    assert_eq!(statuses(&mut narrow, &admin).await, 401, "meant for the API server, not for pullgate");
    assert_eq!(statuses(&mut narrow, &meant).await, 200);
    assert_eq!(statuses(&mut calls, &meant).await, 401);
    assert_eq!(statuses(&mut calls, &elsewhere).await, 401);
    assert_eq!(statuses(&mut narrow, &elsewhere).await, 401);

    assert_eq!(statuses(&mut calls, &living(&admin, -60, 600)).await, 200, "signed anew");
    assert_eq!(statuses(&mut calls, &living(&admin, -7200, 3600)).await, 401, "expired");
    assert_eq!(statuses(&mut calls, &living(&admin, 3600, 600)).await, 401, "not yet valid");
    let mut forged = admin.clone().into_bytes();
    let middle = admin.rfind('.').unwrap() + 20;
    forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
    assert_eq!(statuses(&mut calls, &String::from_utf8(forged).unwrap()).await, 401, "forged");
    for nonsense in ["x", "a.b.c", &"x".repeat(8000)] {
        assert_eq!(statuses(&mut calls, nonsense).await, 401);
    }

    // Its account is removed.
    let leaving = token(&client, "leaving", &[]).await;
    assert_eq!(statuses(&mut calls, &leaving).await, 200);
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), CALLERS);
    accounts.delete("leaving", &DeleteParams::default()).await.unwrap();
    calls.until(&leaving, "/registries", 401).await;
}
