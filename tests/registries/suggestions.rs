//! Digests in the words of a refusal: for the API server alone, seldom enough, and of nothing that is another's.

use std::collections::BTreeSet;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use super::platform::eventually;
use super::served::{integrate, with_an_image};
use crate::doubles::harbor::Harbor;
use crate::doubles::registry::{Registry, push};
use crate::support::client_ca::ClientCa;
use crate::support::server::{READY_WITHIN, Server};

const TOLD: &str = "which its tag names now";

struct World {
    registry: Registry,
    harbor: Harbor,
    server: Server,
    _directory: tempfile::TempDir,
}

impl World {
    /// A Harbor whose project `team` is bound to the workspace of `a-prod` alone, and a policy that demands digests
    /// everywhere. With `mutual` the webhooks are for clients of a CA, of which this test is one.
    async fn new(mutual: bool, arguments: &[&str]) -> Self {
        let (registry, harbor) = with_an_image();
        let directory = tempfile::tempdir().unwrap();
        let server = start(directory.path(), mutual, arguments).await;
        for (name, namespace) in [("a", "a-prod"), ("b", "b-prod")] {
            let workspace = json!({"metadata": {"name": name}, "spec": {"namespaces": [namespace]}});
            server.call(Method::POST, "/workspaces", Some(workspace)).await;
        }
        integrate(&server, "corp", json!({"type": "Harbor", "url": harbor.url()}), "admin", "Harbor12345")
            .await;
        let world = Self { registry, harbor, server, _directory: directory };
        eventually("the space is there", async || {
            world.server.ask(Method::PUT, "/registryspaces/corp.team/bindings/a", None).await.0.is_success()
        })
        .await;
        let policy = json!({"metadata": {"name": "pinned"}, "spec": {"rules": {"requireDigest": true}}});
        world.server.call(Method::POST, "/pullpolicies", Some(policy)).await;
        eventually("a digest is demanded", async || {
            world.refusal("a-prod", "1").await.contains("demands a digest")
        })
        .await;
        world
    }

    /// What is said of `team/app` with this tag.
    async fn refusal(&self, namespace: &str, tag: &str) -> String {
        self.refusal_of(&self.review(namespace, tag)).await
    }

    async fn refusal_of(&self, review: &Value) -> String {
        let answer = self.server.review("validate", review).await;
        answer["response"]["status"]["message"].as_str().unwrap_or_default().to_owned()
    }

    fn review(&self, namespace: &str, tag: &str) -> Value {
        let recorded = include_str!("../data/reviews/validate-create-pods-3.json");
        let mut review: Value = serde_json::from_str(recorded).unwrap();
        let request = &mut review["request"];
        request["namespace"] = json!(namespace);
        let image = format!("{}/team/app:{tag}", self.harbor.host());
        request["object"]["spec"]["containers"] =
            json!([{"name": "web", "image": image, "imagePullPolicy": "Always"}]);
        request["object"]["spec"]["imagePullSecrets"] = json!([{"name": "pullgate-pull"}]);
        review
    }

    /// How often the Harbor was asked what a tag names.
    fn questions(&self) -> usize {
        self.harbor.journal.requests().iter().filter(|seen| seen.path.contains("/manifests/")).count()
    }

    /// Has what was asked by now answered: a question that the API puts comes behind it.
    async fn after_a_question(&self) {
        let image = format!("{}/team/app:after", self.harbor.host());
        self.server.call(Method::POST, "/registries/corp/resolve", Some(json!({"image": image}))).await;
    }
}

async fn start(directory: &Path, mutual: bool, arguments: &[&str]) -> Server {
    let interval = ["--registry-interval", "3600"];
    if !mutual {
        return Server::start_with(directory, &[&interval, arguments].concat(), READY_WITHIN).await;
    }
    let ca = ClientCa::new();
    let file = directory.join("client-ca.crt");
    std::fs::write(&file, &ca.pem).unwrap();
    let client_ca = ["--client-ca", file.to_str().unwrap(), "--client-name", "kube-apiserver"];
    let mut server =
        Server::start_with(directory, &[&interval[..], &client_ca, arguments].concat(), READY_WITHIN).await;
    let own = std::fs::read_to_string(directory.join("data/tls/ca.crt")).unwrap();
    server.call_as(&own, ca.client("kube-apiserver", &[]));
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_is_told_what_a_tag_names() {
    let world = World::new(true, &[]).await;
    eventually("the digest is named", async || world.refusal("a-prod", "1").await.contains(TOLD)).await;
    assert!(push(&world.registry.host, "team/app", "2", None));
    eventually("of another tag too", async || world.refusal("a-prod", "2").await.contains(TOLD)).await;
    // Not to another tenant, and not by asking without consequence.
    let foreign = world.refusal("b-prod", "1").await;
    assert!(foreign.contains("not bound") && !foreign.contains("sha256:"), "{foreign}");
    let mut dry = world.review("a-prod", "1");
    dry["request"]["dryRun"] = json!(true);
    let said = world.refusal_of(&dry).await;
    assert!(said.contains("demands a digest") && !said.contains(TOLD), "{said}");
    let asked = world.questions();
    for tag in ["3", "4", "5"] {
        let mut dry = world.review("a-prod", tag);
        dry["request"]["dryRun"] = json!(true);
        world.refusal_of(&dry).await;
        world.refusal("b-prod", tag).await;
    }
    world.after_a_question().await;
    assert_eq!(world.questions(), asked + 1, "nothing but the question of the API");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_not_asked_more_often_than_it_bears() {
    let world = World::new(true, &[]).await;
    for tag in 0..400 {
        world.refusal("a-prod", &format!("t{tag}")).await;
    }
    world.after_a_question().await;
    let requests = world.harbor.journal.requests();
    let asked: BTreeSet<_> =
        requests.iter().filter(|r| r.path.contains("/manifests/")).map(|r| &r.path).collect();
    // One of them is the API's; each may come twice, where the Harbor asks for a token first.
    assert!((2..=31).contains(&asked.len()) && world.questions() <= 62, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_else_may_be_asking_is_told_nothing() {
    for (mutual, arguments) in [(false, &[][..]), (true, &["--no-digest-suggestions"])] {
        let world = World::new(mutual, arguments).await;
        // What the API was told is known, and still not named.
        let image = format!("{}/team/app:1", world.harbor.host());
        let named =
            world.server.call(Method::POST, "/registries/corp/resolve", Some(json!({"image": image}))).await;
        assert_eq!(named["exists"], true);
        let asked = world.questions();
        for tag in ["1", "2", "3", "1", "2", "3"] {
            let said = world.refusal("a-prod", tag).await;
            assert!(said.contains("demands a digest") && !said.contains(TOLD), "{said}");
        }
        world.after_a_question().await;
        assert_eq!(world.questions(), asked + 1, "nothing but the question of the API");
    }
}
