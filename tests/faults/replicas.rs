//! Two replicas behind the API server, while one is killed, both are replaced, the API server restarts and the CA
//! changes: pods keep coming, and a real Prometheus looks on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::task::JoinSet;

use crate::balancer::Balancer;
use crate::plane::{Plane, until};
use crate::prometheus::Prometheus;
use crate::replica::{Fleet, Replica};
use crate::webhooks::{platform, pod, register};

/// Between two pods: 200 a second.
const INTERVAL: Duration = Duration::from_millis(5);
/// How long pods must have come at least.
const AT_LEAST: Duration = Duration::from_mins(1);
/// Pods under way at most; while nobody answers, further ones wait.
const UNDER_WAY: usize = 128;
/// How long a pod is tried again that met no answer: a controller does so for longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long after a kill calls may fail that were under way.
const AFTERMATH: Duration = Duration::from_secs(2);

/// What became of the pods.
#[derive(Debug, Default)]
struct Tally {
    admitted: usize,
    denied: usize,
    /// Should have been denied.
    breaches: Vec<String>,
    /// Should have been admitted.
    refused: Vec<String>,
    /// Admitted without the reference to the pull secret: the mutating webhook was skipped.
    bare: Vec<Instant>,
    /// The API server could not call a webhook.
    uncalled: Vec<(Instant, String)>,
    /// Tried again since the API server itself did not answer.
    unanswered: usize,
}

enum Outcome {
    Admitted { bare: bool },
    Denied,
    Breach(String),
    Refused(String),
}

struct Sent {
    outcome: Outcome,
    at: Instant,
    uncalled: Vec<(Instant, String)>,
    unanswered: usize,
}

/// Creates one pod as a controller would: again until there is an answer.
async fn send(client: Client, entitled: bool) -> Sent {
    let pods: Api<Pod> = Api::namespaced(client, if entitled { "payments" } else { "shop" });
    let (mut uncalled, mut unanswered) = (Vec::new(), 0);
    let start = Instant::now();
    let outcome = loop {
        let error = match pods.create(&PostParams::default(), &pod()).await {
            Ok(pod) if entitled => {
                let references = pod.spec.unwrap().image_pull_secrets.unwrap_or_default();
                break Outcome::Admitted { bare: !references.iter().any(|r| r.name == "pullgate-pull") };
            }
            Ok(pod) => break Outcome::Breach(format!("{:?}", pod.metadata.name)),
            Err(error) => error,
        };
        match &error {
            // The gate refuses what the mutating webhook could not be asked about.
            kube::Error::Api(status)
                if status.message.contains("failed calling webhook")
                    || (entitled && status.message.contains("to Always")) =>
            {
                uncalled.push((Instant::now(), status.message.clone()));
            }
            kube::Error::Api(status)
                if status.code == 403 && !entitled && status.message.contains("ask a platform admin") =>
            {
                break Outcome::Denied;
            }
            // Starting and ending, the API server answers so.
            kube::Error::Api(status) if [429, 500, 503, 504].contains(&status.code) => unanswered += 1,
            kube::Error::Api(status) => break Outcome::Refused(status.message.clone()),
            _ => unanswered += 1,
        }
        if start.elapsed() > PATIENCE {
            break Outcome::Refused(error.to_string());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    Sent { outcome, at: Instant::now(), uncalled, unanswered }
}

/// Sends pods until told to stop, three that may for one that may not.
async fn load(client: Client, stop: Arc<AtomicBool>) -> Tally {
    let (mut tally, mut sent) = (Tally::default(), JoinSet::new());
    let mut tick = tokio::time::interval(INTERVAL);
    let mut count = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        while sent.len() >= UNDER_WAY
            && let Some(done) = sent.join_next().await
        {
            tally.take(done.unwrap());
        }
        count += 1;
        sent.spawn(send(client.clone(), !count.is_multiple_of(4)));
        while let Some(done) = sent.try_join_next() {
            tally.take(done.unwrap());
        }
    }
    while let Some(done) = sent.join_next().await {
        tally.take(done.unwrap());
    }
    tally
}

impl Tally {
    fn take(&mut self, sent: Sent) {
        match sent.outcome {
            Outcome::Admitted { bare } => {
                self.admitted += 1;
                if bare {
                    self.bare.push(sent.at);
                }
            }
            Outcome::Denied => self.denied += 1,
            Outcome::Breach(pod) => self.breaches.push(pod),
            Outcome::Refused(message) => self.refused.push(message),
        }
        self.uncalled.extend(sent.uncalled);
        self.unanswered += sent.unanswered;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pod_is_lost_and_none_slips_through_whatever_breaks() {
    let plane = Plane::start(false);
    let client = plane.client().await;
    platform(&client).await;
    let balancer = Arc::new(Balancer::start(Vec::new()).await);
    register(&client, balancer.port).await;
    let fleet = Fleet::new(balancer.clone());
    let prometheus = Prometheus::start().await;
    let first = fleet.add(Replica::start(&plane, "first").await).await;
    let second = fleet.add(Replica::start(&plane, "second").await).await;
    fleet.server(first).await.store_credential("corp").await;
    prometheus.watch(&fleet).await;
    until("both are scraped", Duration::from_secs(20), async || prometheus.reaches().await == 2).await;
    until("the webhooks judge", Duration::from_secs(30), async || {
        matches!(send(client.clone(), true).await.outcome, Outcome::Admitted { bare: false })
            && matches!(send(client.clone(), false).await.outcome, Outcome::Denied)
    })
    .await;
    // Whoever leads.
    let leader = fleet.leader(&[first, second]).await;

    let (begin, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let loading = tokio::spawn(load(client.clone(), stop.clone()));
    let said = |what: &str| println!("{:>5.1} s: {what}", begin.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_secs(10)).await;
    // So many denials where there were none, and a registry whose host does not exist; nothing else is wrong.
    let expected = ["PullgateDenialsSurge", "PullgateRegistryDown"];
    prometheus.until_firing(&expected).await;
    assert!(prometheus.firing().await.iter().eq(expected), "{:?}", prometheus.firing().await);

    said("the leader is killed");
    let killed = Instant::now();
    fleet.kill(leader).await;
    prometheus.until_firing(&["PullgateReplicaDown", "PullgateNoLeader"]).await;
    said("Prometheus has noticed");
    let survivor = if leader == first { second } else { first };
    until("another leader", Duration::from_secs(30), async || fleet.server(survivor).await.leads().await)
        .await;
    fleet.forget(leader).await;
    let third = fleet.add(Replica::start(&plane, "third").await).await;
    prometheus.watch(&fleet).await;
    prometheus.until_quiet(&["PullgateReplicaDown", "PullgateNoLeader"]).await;
    said("the leader is replaced; now a rolling restart");
    for (old, name) in [(survivor, "fourth"), (third, "fifth")] {
        fleet.add(Replica::start(&plane, name).await).await;
        fleet.retire(old).await;
    }
    prometheus.watch(&fleet).await;
    said("all replicas are new; now the API server restarts");
    let leaves = Instant::now();
    tokio::task::block_in_place(|| plane.restart_api(Duration::from_secs(1)));
    until("the API server is back", Duration::from_mins(1), async || {
        client.apiserver_version().await.is_ok()
    })
    .await;
    let away = leaves.elapsed();
    said("the API server is back; now another CA");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "pullgate-system");
    let before = secrets.get("pullgate-tls").await.unwrap();
    let rotate = Patch::Merge(json!({"metadata": {"annotations": {"pullgate.io/rotate": "ca"}}}));
    secrets.patch("pullgate-tls", &PatchParams::default(), &rotate).await.unwrap();
    until("a certificate of another CA", Duration::from_mins(2), async || {
        let now = secrets.get("pullgate-tls").await.unwrap();
        let asked = now.metadata.annotations.unwrap_or_default().contains_key("pullgate.io/rotate");
        !asked && now.data.unwrap()["tls.crt"] != before.data.as_ref().unwrap()["tls.crt"]
    })
    .await;
    said("the CA has changed");
    // With the patience of a test, a moment without a leader is enough.
    prometheus.until_quiet(&["PullgateReplicaDown", "PullgateNoLeader", "PullgateDown"]).await;
    tokio::time::sleep(AT_LEAST.saturating_sub(begin.elapsed()).max(Duration::from_secs(10))).await;
    stop.store(true, Ordering::Relaxed);
    let tally = loading.await.unwrap();
    let took = begin.elapsed();
    let sent = f64::from(u32::try_from(tally.admitted + tally.denied).unwrap());
    println!(
        "{sent} pods in {took:?} ({:.0} a second): {} admitted, {} denied; {} calls of webhooks failed after the kill, \
         {} pods then came without the reference; {} tried again since the API server was away",
        sent / took.as_secs_f64(),
        tally.admitted,
        tally.denied,
        tally.uncalled.len(),
        tally.bare.len(),
        tally.unanswered
    );
    assert!(tally.breaches.is_empty(), "admitted: {:?}", tally.breaches);
    assert!(tally.refused.is_empty(), "refused: {:?}", tally.refused);
    let late: Vec<_> =
        tally.uncalled.iter().filter(|(at, _)| *at < killed || *at > killed + AFTERMATH).collect();
    assert!(late.is_empty(), "webhooks that could not be called: {late:?}");
    let bare = tally.bare.iter().filter(|at| **at < killed || **at > killed + AFTERMATH).count();
    assert_eq!(bare, 0, "pods without the reference");
    assert!(
        sent > 180.0 * took.saturating_sub(away).as_secs_f64(),
        "the machine was too slow for 200 pods a second"
    );
}
