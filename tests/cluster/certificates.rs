//! The certificate that replicas share, and the API server's trust in it.

mod cluster;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use pullgate::tls::issue::Names;
use pullgate::tls::rotation::{Content, Wanted, next};
use pullgate::tls::shared::{self, Shared};
use pullgate::types::crd;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use self::cluster::{Cluster, NAMESPACE, SETTLE, bind, cas, der, shown, until};
use crate::control_plane::{install, turn, uninstall};
use crate::support::server::{READY_WITHIN, Server};

#[tokio::test]
async fn a_fresh_cluster_gets_one_certificate_that_every_process_serves() {
    let (_turn, client) = turn().await;
    uninstall(&client).await;
    install(&client, crd::definitions()).await;
    let cluster = Cluster::new("fresh").await;
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let Shared { secret, webhook_config, .. } = &cluster.shared;
    let arguments = ["--store", "kubernetes", "--namespace", NAMESPACE, "--tls-secret", secret];
    let arguments = [&arguments[..], &["--webhook-config", webhook_config]].concat();
    // The processes wait for the Secret, which comes later.
    let secrets = cluster.secrets();
    let ca = async || {
        let read = async || {
            let secret = secrets.get_opt(secret).await.unwrap();
            secret.as_ref().map(shared::content).unwrap_or_default().bundle
        };
        until("the Secret", async || !read().await.is_empty()).await;
        read().await
    };
    let start = |position: usize| {
        Server::start_trusting(directories[position].path(), &arguments, &[], READY_WITHIN * 2, ca)
    };
    let leader = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.lead();
    };
    let (one, other, ()) = tokio::join!(start(0), start(1), leader);
    let content = cluster.content().await;
    for url in [&one.webhooks, &one.api, &other.webhooks, &other.api] {
        let authority = url.strip_prefix("https://").unwrap().split('/').next().unwrap();
        assert_eq!(shown(authority.parse().unwrap(), &content.bundle).await.unwrap(), der(&content.leaf));
    }
    let metrics = one.get(format!("{}/metrics", one.metrics)).await.text().await.unwrap();
    until("the expiry", async || {
        let metrics = one.get(format!("{}/metrics", one.metrics)).await.text().await.unwrap();
        metrics.contains("pullgate_certificate_expiry_timestamp_seconds 1")
    })
    .await;
    assert!(!metrics.contains("PRIVATE"));

    // Where there is no configuration yet, there is a metric.
    let told = |webhook: &str, value: u8| {
        let line = format!("pullgate_webhook_configured{{webhook=\"{webhook}\"}} {value}");
        cluster.metrics.render().unwrap().contains(&line)
    };
    until("missing", async || told("mutate", 0) && told("validate", 0)).await;
    cluster.configure(1).await;
    let took = until("the bundle", async || cluster.in_order().await).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    until("the metric", async || told("mutate", 1) && told("validate", 1)).await;
    assert!(cluster.metrics.render().unwrap().contains("pullgate_ca_expiry_timestamp_seconds 2"));
    assert_eq!(cluster.content().await.leaf, content.leaf);
    // Who no longer leads does not tell what it no longer knows.
    cluster.stop();
    until("silence", async || !cluster.metrics.render().unwrap().contains("pullgate_webhook_configured{"))
        .await;
}

/// All of a configuration but what pullgate owns and what every write changes.
fn rest(mut configuration: DynamicObject) -> (Value, Value) {
    for webhook in configuration.data["webhooks"].as_array_mut().unwrap() {
        webhook["clientConfig"]["caBundle"] = Value::Null;
    }
    let labels = json!(configuration.metadata.labels);
    (configuration.data, labels)
}

#[tokio::test]
async fn the_bundle_is_repaired_and_nothing_else_is_touched() {
    let cluster = Cluster::new("repaired").await;
    cluster.configure(1).await;
    let before = [rest(cluster.configuration(0).await), rest(cluster.configuration(1).await)];
    cluster.lead();
    until("the bundle", async || cluster.in_order().await).await;
    let [mutating, validating] = cluster.configurations();
    let other = STANDARD.encode(&pullgate::tls::issue::new_ca(0).unwrap().cert_pem);
    let names = ["pods.pullgate.io", "here.pullgate.io", "records.pullgate.io"];
    for (api, name, bundle) in [
        (&mutating, names[0], json!(other)),
        (&validating, names[1], json!(null)),
        (&validating, names[2], json!(other)),
    ] {
        let change = json!({"webhooks": [{"name": name, "clientConfig": {"caBundle": bundle}}]});
        let change = Patch::Strategic(change);
        api.patch(&cluster.shared.webhook_config, &PatchParams::default(), &change).await.unwrap();
        let took = until("the repair", async || cluster.in_order().await).await;
        assert!(took < Duration::from_secs(2), "{name}: {took:?}");
    }
    for (position, before) in before.into_iter().enumerate() {
        assert_eq!(rest(cluster.configuration(position).await), before);
    }
    // One that goes and comes again is filled again.
    validating.delete(&cluster.shared.webhook_config, &DeleteParams::default()).await.unwrap();
    mutating.delete(&cluster.shared.webhook_config, &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.configure(1).await;
    until("the bundle again", async || cluster.in_order().await).await;
}

#[tokio::test]
async fn at_rest_nothing_is_written() {
    let cluster = Cluster::new("rest").await;
    cluster.configure(1).await;
    cluster.lead();
    until("order", async || cluster.in_order().await).await;
    let versions = async || {
        let secret = cluster.secret().await.unwrap().resource_version();
        (
            secret,
            cluster.configuration(0).await.resource_version(),
            cluster.configuration(1).await.resource_version(),
        )
    };
    let before = versions().await;
    // Longer than everything is left unlooked at.
    tokio::time::sleep(Duration::from_secs(18)).await;
    assert_eq!(versions().await, before);
    // Nor by another leader.
    cluster.stop();
    cluster.lead();
    tokio::time::sleep(SETTLE * 2).await;
    assert_eq!(versions().await, before);
}

/// Shakes hands endlessly, from now on without a failure.
struct Hammer {
    done: Arc<AtomicUsize>,
    task: JoinHandle<Result<Infallible, String>>,
}

impl Hammer {
    fn start<F: Future<Output = Result<(), String>> + Send>(
        mut strike: impl FnMut() -> F + Send + 'static,
    ) -> Self {
        let done = Arc::new(AtomicUsize::new(0));
        let counted = done.clone();
        let task = tokio::spawn(async move {
            loop {
                strike().await?;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { done, task }
    }

    async fn stop(self) -> usize {
        self.task.abort();
        if let Ok(Err(failure)) = self.task.await {
            panic!("after {} handshakes: {failure}", self.done.load(Ordering::Relaxed));
        }
        self.done.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_fails_no_handshake() {
    let cluster = Cluster::new("rotated").await;
    let listener = bind();
    cluster.configure(listener.address().port()).await;
    cluster.lead();
    let address = cluster.replica(listener).await;
    until("order", async || cluster.in_order().await).await;
    until("the API server's trust", async || cluster.create_config_map().await.is_ok()).await;
    let before = cluster.content().await;
    let cluster = Arc::new(cluster);

    // One trusts what the configuration says at the moment, the other is the API server itself.
    let trusting = cluster.clone();
    let trusting = Hammer::start(move || {
        let cluster = trusting.clone();
        async move {
            let bundle = cluster.bundles().await.pop().unwrap();
            shown(address, &bundle).await.map(drop).map_err(|error| format!("{error:?}"))
        }
    });
    let api_server = cluster.clone();
    let api_server = Hammer::start(move || {
        let cluster = api_server.clone();
        async move { cluster.create_config_map().await.map(drop).map_err(|error| error.to_string()) }
    });
    for round in 2..=3 {
        let started = Instant::now();
        cluster.patch_secret(json!({"metadata": {"annotations": {"pullgate.io/rotate": "ca"}}})).await;
        until("the rotation's end", async || {
            !cluster.secret().await.unwrap().annotations().contains_key("pullgate.io/rotate")
        })
        .await;
        assert!(started.elapsed() >= SETTLE, "the bundle was in force for {:?}", started.elapsed());
        let after = cluster.content().await;
        assert_eq!(cas(&after.bundle), round);
        assert!(after.bundle.starts_with(&before.bundle) && after.leaf != before.leaf);
        until("the new leaf", async || {
            shown(address, &after.bundle).await.is_ok_and(|leaf| leaf == der(&after.leaf))
        })
        .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (own, by_api_server) = (trusting.stop().await, api_server.stop().await);
    println!("{own} handshakes of the test, {by_api_server} of the API server");
    assert!(own > 50 && by_api_server > 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_secret_is_mended_and_never_served() {
    let cluster = Cluster::new("damaged").await;
    let listener = bind();
    cluster.configure(listener.address().port()).await;
    cluster.lead();
    let address = cluster.replica(listener).await;
    until("order", async || cluster.in_order().await).await;
    let first = cluster.content().await;

    // Without a leader the damage stays, and what was served goes on.
    cluster.stop();
    let garbage = |keys: &[&str]| {
        let garbage = STANDARD.encode("garbage");
        let data: Value = keys.iter().map(|key| ((*key).to_owned(), json!(garbage))).collect();
        json!({"data": data})
    };
    let all = ["ca.crt", "ca.key", "tls.crt", "tls.key", "leaves-until"];
    cluster.patch_secret(garbage(&all)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(shown(address, &first.bundle).await.unwrap(), der(&first.leaf));
    // A whole one that has expired does not displace one that has not.
    let names = Names::parse(&cluster.shared.names).unwrap();
    let wanted = Wanted { names: &names, rotate: false, settled: false, held: &[] };
    let long_ago = Timestamp::now().as_second() - 100 * 24 * 60 * 60;
    let mut secret = cluster.secret().await.unwrap();
    shared::put(&mut secret, &next(&Content::default(), &wanted, long_ago).unwrap().content);
    cluster.secrets().replace(&cluster.shared.secret, &PostParams::default(), &secret).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(shown(address, &first.bundle).await.unwrap(), der(&first.leaf));
    cluster.patch_secret(garbage(&all)).await;

    cluster.lead();
    until("order", async || cluster.in_order().await).await;
    // The CA that the API server trusted is trusted still, as there may be leaves of it.
    assert_eq!(cas(&cluster.content().await.bundle), 2);

    for wreck in 0..6 {
        match wreck {
            0 => cluster.patch_secret(garbage(&["tls.key"])).await,
            1 => cluster.patch_secret(garbage(&["ca.crt", "leaves-until"])).await,
            2 => cluster.patch_secret(json!({"data": {"ca.key": null}})).await,
            3 => drop(
                cluster.secrets().delete(&cluster.shared.secret, &DeleteParams::default()).await.unwrap(),
            ),
            4 => cluster.patch_secret(json!({"immutable": true})).await,
            _ => {
                // Bytes that are no text, in one that nobody may change.
                let mut secret = cluster.secret().await.unwrap();
                let data = secret.data.as_mut().unwrap();
                data.insert("tls.crt".to_owned(), ByteString(vec![0xff, 0xfe]));
                data.insert("else".to_owned(), ByteString(b"somebody else's".to_vec()));
                secret.metadata.resource_version = None;
                secret.metadata.uid = None;
                secret.immutable = Some(true);
                cluster.secrets().delete(&cluster.shared.secret, &DeleteParams::default()).await.unwrap();
                let _ = cluster.secrets().create(&PostParams::default(), &secret).await;
            }
        }
        let whole = async || {
            if !cluster.in_order().await {
                return false;
            }
            let content = cluster.content().await;
            content.leaf.contains("BEGIN")
                && content.leaf_key.as_ref().is_some_and(|key| key.expose_secret().contains("BEGIN"))
                && shown(address, &content.bundle).await.is_ok_and(|leaf| leaf == der(&content.leaf))
        };
        let took = until("order", whole).await;
        println!("wreck {wreck} was mended in {took:?}");
        until("the API server's trust", async || cluster.create_config_map().await.is_ok()).await;
    }
}

/// What is documented for the configurations.
const PATCH: &[&str] = &["get", "list", "watch", "patch"];

#[tokio::test]
async fn without_permission_for_the_configurations_replicas_get_a_certificate() {
    let cluster = Cluster::new("unseen").await;
    cluster.configure(1).await;
    cluster.lead_restricted(&["get", "list", "watch", "create", "update"], &["delete"]).await;
    cluster.replica(bind()).await;
    let told = || cluster.metrics.render().unwrap();
    until("the metric", async || told().contains("pullgate_webhook_configured{webhook=\"validate\"} 0"))
        .await;
}

#[tokio::test]
async fn the_documented_permissions_are_enough() {
    let cluster = Cluster::new("allowed").await;
    cluster.configure(1).await;
    cluster.lead_restricted(&["get", "list", "watch", "create", "update", "delete"], PATCH).await;
    until("order", async || cluster.in_order().await).await;
    cluster.patch_secret(json!({"metadata": {"annotations": {"pullgate.io/rotate": "ca"}}})).await;
    until("the rotation", async || cas(&cluster.content().await.bundle) == 2 && cluster.in_order().await)
        .await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_written_keeps_nobody_busy() {
    let cluster = Cluster::new("readonly").await;
    cluster.configure(1).await;
    cluster.lead_restricted(&["get", "list", "watch"], PATCH).await;
    until("a bundle", async || cluster.bundles().await.iter().all(|bundle| cas(bundle) == 1)).await;
    let bundles = cluster.bundles().await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(cluster.bundles().await, bundles, "another CA with every attempt");
    // Once it can be written, what the API server trusts is what is written.
    cluster.stop();
    cluster.lead_restricted(&["get", "list", "watch", "create", "update"], PATCH).await;
    until("order", async || cluster.in_order().await).await;
}

#[tokio::test]
async fn somebodys_own_certificate_is_left_alone() {
    let cluster = Cluster::new("foreign").await;
    cluster.configure(1).await;
    let data = json!({"tls.crt": STANDARD.encode("theirs"), "tls.key": STANDARD.encode("theirs")});
    let secret =
        json!({"metadata": {"name": cluster.shared.secret}, "type": "kubernetes.io/tls", "data": data});
    let secret = serde_json::from_value(secret).unwrap();
    let made = cluster.secrets().create(&PostParams::default(), &secret).await.unwrap();
    cluster.lead();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(cluster.secret().await.unwrap(), made);
    assert!(cluster.bundles().await.iter().all(String::is_empty));
    // An empty one may be filled.
    cluster.patch_secret(json!({"data": {"tls.crt": "", "tls.key": ""}})).await;
    until("order", async || cluster.in_order().await).await;
    // And what was filled is known again without its label.
    cluster.patch_secret(json!({"metadata": {"labels": null}, "data": {"tls.key": ""}})).await;
    until("the repair", async || {
        let content = cluster.content().await;
        content.leaf_key.is_some_and(|key| key.expose_secret().contains("BEGIN"))
    })
    .await;
}
