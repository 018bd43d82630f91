//! The election against an API server whose answers come late, out of order or not at all. Time is the test's.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http;
use kube::Client;
use kube::client::Body;
use pullgate::cluster::lease::{ANSWER, DURATION, Elector, INTERVAL, RENEWAL_DEADLINE};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How late requests arrive, and answers after them.
type Delays = dyn FnMut(&str) -> (Duration, Duration) + Send;

/// One Lease, guarded by its version as an API server does it. What was sent arrives also when its sender gave up.
struct ApiServer {
    lease: Mutex<Option<Value>>,
    version: AtomicUsize,
    delays: Mutex<Box<Delays>>,
}

impl ApiServer {
    fn new(delays: impl FnMut(&str) -> (Duration, Duration) + Send + 'static) -> Arc<Self> {
        let delays = Mutex::new(Box::new(delays) as Box<Delays>);
        Arc::new(Self { lease: Mutex::default(), version: AtomicUsize::new(0), delays })
    }

    fn client(self: &Arc<Self>) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let server = server.clone();
            // The connection goes on by itself.
            let answered = tokio::spawn(async move { server.answer(request).await });
            async move { Ok::<_, std::convert::Infallible>(answered.await.unwrap()) }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, request: http::Request<Body>) -> http::Response<Body> {
        let (before, after) = (self.delays.lock().unwrap())(request.method().as_str());
        let (method, body) = (request.method().clone(), request.into_body());
        let body = body.collect_bytes().await.unwrap();
        sleep(before).await;
        let (code, answer) = self.done(&method, &body);
        sleep(after).await;
        http::Response::builder().status(code).body(answer.to_string().into_bytes().into()).unwrap()
    }

    fn done(&self, method: &http::Method, body: &[u8]) -> (u16, Value) {
        let status = |code: u16, reason: &str| {
            (
                code,
                json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": ""}),
            )
        };
        let mut lease = self.lease.lock().unwrap();
        if method == http::Method::GET {
            return lease.clone().map_or(status(404, "NotFound"), |lease| (200, lease));
        }
        let mut written: Value = serde_json::from_slice(body).unwrap();
        let current = lease.as_ref().map(|lease| lease["metadata"]["resourceVersion"].clone());
        let based_on = written["metadata"].get("resourceVersion").cloned();
        if based_on != current {
            return status(409, "Conflict");
        }
        let version = self.version.fetch_add(1, Ordering::SeqCst);
        written["metadata"]["resourceVersion"] = json!(version.to_string());
        *lease = Some(written.clone());
        (200, written)
    }
}

/// Who leads, and who ever did.
#[derive(Default)]
struct Count {
    leading: AtomicUsize,
    ever: AtomicUsize,
    both: AtomicBool,
    changed: Notify,
}

struct Leading(Arc<Count>);

impl Leading {
    fn begin(count: Arc<Count>) -> Self {
        if count.leading.fetch_add(1, Ordering::SeqCst) > 0 {
            count.both.store(true, Ordering::SeqCst);
        }
        count.ever.fetch_add(1, Ordering::SeqCst);
        count.changed.notify_waiters();
        Self(count)
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.leading.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl Count {
    async fn until(&self, leading: usize, within: Duration) {
        let reached = async {
            loop {
                let changed = self.changed.notified();
                if self.leading.load(Ordering::SeqCst) == leading {
                    return;
                }
                changed.await;
            }
        };
        timeout(within, reached).await.unwrap_or_else(|_| panic!("{leading} lead: not within {within:?}"));
    }
}

fn candidate(
    server: &Arc<ApiServer>,
    me: &str,
    count: &Arc<Count>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let elector = Elector::new(server.client(), "default", "pullgate", me);
    let count = count.clone();
    tokio::spawn(elector.lead(stop, move || {
        let count = count.clone();
        async move {
            let _leading = Leading::begin(count);
            std::future::pending::<()>().await;
        }
    }))
}

const AT_ONCE: (Duration, Duration) = (Duration::ZERO, Duration::ZERO);

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_the_lease_ran_out_makes_no_leader() {
    for late in [DURATION + Duration::from_secs(1), 2 * DURATION, 4 * DURATION] {
        let mut first = true;
        let server = ApiServer::new(move |method| {
            let late = if method != "GET" && std::mem::take(&mut first) { late } else { Duration::ZERO };
            (Duration::ZERO, late)
        });
        let count = Arc::new(Count::default());
        let slow = candidate(&server, "slow", &count, std::future::pending());
        sleep(ANSWER / 2).await;
        let other = candidate(&server, "other", &count, std::future::pending());
        count.until(1, 2 * DURATION).await;
        sleep(5 * DURATION).await;
        assert!(!count.both.load(Ordering::SeqCst), "two led, an answer being {late:?} late");
        assert_eq!(count.leading.load(Ordering::SeqCst), 1);
        slow.abort();
        other.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_not_answered_any_more_stops_in_time() {
    for method in ["GET", "PUT"] {
        let silent = Arc::new(AtomicBool::new(false));
        let told = silent.clone();
        let server = ApiServer::new(move |asked| {
            let silent = told.load(Ordering::SeqCst) && asked == method;
            (Duration::ZERO, if silent { Duration::from_hours(1) } else { Duration::ZERO })
        });
        let count = Arc::new(Count::default());
        let leader = candidate(&server, "a", &count, std::future::pending());
        count.until(1, INTERVAL).await;
        sleep(Duration::from_mins(1)).await;
        let start = Instant::now();
        silent.store(true, Ordering::SeqCst);
        count.until(0, RENEWAL_DEADLINE).await;
        assert!(start.elapsed() + 2 * INTERVAL > RENEWAL_DEADLINE, "it gave up after {:?}", start.elapsed());
        // And leads again once it is answered.
        silent.store(false, Ordering::SeqCst);
        count.until(1, DURATION).await;
        leader.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_is_lost_costs_no_leadership() {
    let next = Arc::new(AtomicBool::new(false));
    let asked = next.clone();
    let server = ApiServer::new(move |_| {
        let lost = asked.swap(false, Ordering::SeqCst);
        (Duration::ZERO, if lost { Duration::from_hours(1) } else { Duration::ZERO })
    });
    let count = Arc::new(Count::default());
    let leader = candidate(&server, "a", &count, std::future::pending());
    count.until(1, INTERVAL).await;
    for _ in 0..20 {
        next.store(true, Ordering::SeqCst);
        sleep(DURATION).await;
    }
    assert_eq!((count.leading.load(Ordering::SeqCst), count.ever.load(Ordering::SeqCst)), (1, 1));
    leader.abort();
}

#[tokio::test(start_paused = true)]
async fn giving_up_the_lease_waits_for_nobody() {
    let silent = Arc::new(AtomicBool::new(false));
    let told = silent.clone();
    let server = ApiServer::new(move |_| {
        if told.load(Ordering::SeqCst) { (Duration::from_hours(1), Duration::ZERO) } else { AT_ONCE }
    });
    let count = Arc::new(Count::default());
    let stop = Arc::new(Notify::new());
    let stopping = stop.clone();
    let leader = candidate(&server, "a", &count, async move { stopping.notified().await });
    count.until(1, INTERVAL).await;
    silent.store(true, Ordering::SeqCst);
    stop.notify_one();
    timeout(ANSWER + INTERVAL, leader).await.expect("it waits for an answer").unwrap();
}

/// Numbers that are the same with every run (a linear congruential generator, Knuth's constants).
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

#[tokio::test(start_paused = true)]
async fn two_never_lead_however_late_requests_and_answers_are() {
    let mut ever = 0;
    for seed in 0..12 {
        let mut number = numbers(seed);
        let server = ApiServer::new(move |_| {
            let mut delay = || match number(10) {
                0 => Duration::from_millis(number(60_000)),
                1 | 2 => Duration::from_millis(number(6_000)),
                _ => Duration::from_millis(number(50)),
            };
            (delay(), delay())
        });
        let count = Arc::new(Count::default());
        let candidates = ["a", "b", "c"].map(|me| candidate(&server, me, &count, std::future::pending()));
        sleep(Duration::from_mins(30)).await;
        assert!(!count.both.load(Ordering::SeqCst), "two led at one time (seed {seed})");
        ever += count.ever.load(Ordering::SeqCst);
        candidates.iter().for_each(JoinHandle::abort);
    }
    assert!(ever > 12, "{ever}: leadership never passed on");
}
