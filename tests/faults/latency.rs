//! What both webhooks add to the creation of a pod.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};

use crate::plane::{Plane, until};
use crate::replica::Replica;
use crate::webhooks::{EXEMPT, platform, pod, register};

/// Pods created each way.
const PODS: usize = 1_500;

#[tokio::test(flavor = "multi_thread")]
async fn the_webhooks_add_little_to_the_creation_of_a_pod() {
    let plane = Plane::start(false);
    let client = plane.client().await;
    platform(&client).await;
    let replica = Replica::start(&plane, "only").await;
    register(&client, replica.webhook_port()).await;
    // Dry runs go the whole way but for etcd, whose own time would hide what is measured.
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let create = async |namespace: &str| {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let start = Instant::now();
        pods.create(&dry, &pod()).await.map(|_| start.elapsed())
    };
    until("the webhooks judge", Duration::from_secs(30), async || {
        create("payments").await.is_ok() && create("shop").await.is_err()
    })
    .await;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..PODS + 200 {
        // In turns, so that a busy moment of the machine meets both alike.
        let (judged, exempt) = (create("payments").await.unwrap(), create(EXEMPT).await.unwrap());
        if round >= 200 {
            with.push(judged);
            without.push(exempt);
        }
    }
    let at = |times: &mut Vec<Duration>, share: usize| {
        times.sort_unstable();
        times[PODS * share / 100]
    };
    let (median, p99) = (
        at(&mut with, 50).saturating_sub(at(&mut without, 50)),
        at(&mut with, 99).saturating_sub(at(&mut without, 99)),
    );
    println!(
        "creation of a pod: median {:?} with the webhooks, {:?} without; p99 {:?} and {:?}; added {median:?} and {p99:?}",
        at(&mut with, 50),
        at(&mut without, 50),
        at(&mut with, 99),
        at(&mut without, 99)
    );
    // What the API server itself spends on calling two webhooks depends on the machine; what pullgate does, on pullgate.
    let text = replica.metrics().await;
    let value = |line: &str| -> f64 {
        let found = text.lines().find_map(|l| l.strip_prefix(line));
        found.unwrap_or_else(|| panic!("no {line}")).trim().parse().unwrap()
    };
    let own = ["mutate", "validate"].map(|webhook| {
        let of = |part: &str| {
            value(&format!("pullgate_admission_duration_seconds_{part}{{webhook=\"{webhook}\"}}"))
        };
        Duration::from_secs_f64(of("sum") / of("count"))
    });
    println!("of this pullgate's own: {own:?}");
    assert!(own.iter().sum::<Duration>() < Duration::from_millis(1), "{own:?}");
    assert!(p99 < Duration::from_millis(10), "p99 {p99:?}");
}
