//! The election on a real API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, PostParams};
use pullgate::cluster::lease::{DURATION, Elector};
use tokio::task::JoinHandle;

use crate::control_plane::client;

/// How many lead, and how many ever did.
#[derive(Default)]
struct Count {
    leading: AtomicUsize,
    ever: AtomicUsize,
}

struct Leading(Arc<Count>);

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.leading.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn candidate(
    lease: &str,
    me: &str,
    count: &Arc<Count>,
    ends_after: Option<Duration>,
) -> JoinHandle<()> {
    let elector = Elector::new(client().await, "default", lease, me);
    let count = count.clone();
    tokio::spawn(elector.lead(std::future::pending(), move || {
        let count = count.clone();
        async move {
            assert_eq!(count.leading.fetch_add(1, Ordering::SeqCst), 0, "two lead");
            count.ever.fetch_add(1, Ordering::SeqCst);
            let _leading = Leading(count);
            match ends_after {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        }
    }))
}

async fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

async fn fresh(lease: &str) {
    let leases: Api<Lease> = Api::namespaced(client().await, "default");
    // It may not be there.
    let _ = leases.delete(lease, &DeleteParams::default()).await;
}

#[tokio::test]
async fn one_leads_and_another_takes_over_when_it_is_gone_without_a_word() {
    fresh("takeover").await;
    let count = Arc::new(Count::default());
    let mut candidates = Vec::new();
    for me in ["a", "b", "c"] {
        candidates.push(candidate("takeover", me, &count, None).await);
    }
    until("a first leader", Duration::from_secs(5), || count.leading.load(Ordering::SeqCst) == 1).await;
    let leases: Api<Lease> = Api::namespaced(client().await, "default");
    let holder = leases.get("takeover").await.unwrap().spec.unwrap().holder_identity.unwrap();
    let position = ["a", "b", "c"].iter().position(|me| *me == holder).unwrap();
    candidates.remove(position).abort();
    until("the leader is gone", Duration::from_secs(1), || count.leading.load(Ordering::SeqCst) == 0).await;
    let taken = until("another leader", DURATION + Duration::from_secs(5), || {
        count.leading.load(Ordering::SeqCst) == 1
    });
    let taken = taken.await;
    assert!(taken + Duration::from_secs(4) > DURATION, "taken after {taken:?}, before it had run out");
    assert_eq!(count.ever.load(Ordering::SeqCst), 2);
    candidates.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn a_lease_that_was_given_up_is_taken_at_once() {
    fresh("given-up").await;
    let count = Arc::new(Count::default());
    let first = candidate("given-up", "a", &count, Some(Duration::from_secs(1))).await;
    until("a leader", Duration::from_secs(5), || count.leading.load(Ordering::SeqCst) == 1).await;
    let second = candidate("given-up", "b", &count, None).await;
    first.await.unwrap();
    until("the next leader", Duration::from_secs(5), || count.leading.load(Ordering::SeqCst) == 1).await;
    second.abort();
}

#[tokio::test]
async fn a_leader_whose_lease_was_taken_stops() {
    fresh("robbed").await;
    let count = Arc::new(Count::default());
    let robbed = candidate("robbed", "a", &count, None).await;
    until("a leader", Duration::from_secs(5), || count.leading.load(Ordering::SeqCst) == 1).await;
    let leases: Api<Lease> = Api::namespaced(client().await, "default");
    // The guard of the version makes either of the two writers lose; then this one tries again.
    loop {
        let mut lease = leases.get("robbed").await.unwrap();
        lease.spec.as_mut().unwrap().holder_identity = Some("thief".to_owned());
        if leases.replace("robbed", &PostParams::default(), &lease).await.is_ok() {
            break;
        }
    }
    until("it stops", Duration::from_secs(5), || count.leading.load(Ordering::SeqCst) == 0).await;
    robbed.abort();
}
