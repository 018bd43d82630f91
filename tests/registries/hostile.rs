//! Registries that are out for harm: a tenant may integrate any server, and it answers as it likes.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::routing::get;
use axum::{Json, Router};
use futures::future::{join, join_all};
use futures::{StreamExt as _, stream};
use pullgate::domain::record::RegistryType;
use pullgate::registry::address::AddressPolicy;
use pullgate::registry::fault::Fault;
use pullgate::registry::http::Target;
use pullgate::registry::{self, AccountRole, RegistryClient};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::outcomes::target;
use super::platform::within;

/// A server that does nothing but this; it ends with the test.
fn client(kind: RegistryType, routes: Router) -> Arc<dyn RegistryClient> {
    let socket = TcpSocket::new_v4().unwrap();
    // So that little is sent that nobody reads.
    socket.set_send_buffer_size(64 << 10).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(16).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let reach = AddressPolicy::Public { and: Arc::new(["127.0.0.0/8".parse().unwrap()]) };
    registry::client(kind, Target { reach, ..target(&url, Some(("admin", "Harbor12345"))) }).unwrap()
}

fn projects(count: usize) -> Value {
    let project = |n| json!({"project_id": n, "name": format!("p{n}"), "metadata": {"public": "true"}});
    (0..count).map(project).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harbor_with_any_number_of_projects_is_left_after_one_page() {
    for (total, page) in [("100001", 100), ("18446744073709551615", 1), ("3", 101), ("-1", 1), ("many", 1)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let list = get(async move || {
            counted.fetch_add(1, Ordering::SeqCst);
            ([("x-total-count", total)], Json(projects(page)))
        });
        let client = client(RegistryType::Harbor, Router::new().route("/api/v2.0/projects", list));
        let fault = client.spaces(&|_, _| {}).await.unwrap_err();
        assert!(matches!(fault, Fault::TooMany(..) | Fault::Malformed(_)), "{total}: {fault}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{total}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_accounts_that_never_ends_is_left() {
    let robot = json!({"id": 1, "name": "robot$x", "level": "system", "description": "", "duration": 1, "disable": false,
        "expires_at": 1, "permissions": []});
    let robots: Value = std::iter::repeat_n(robot, 100).collect();
    let list = get(async move || Json(robots));
    let client = client(RegistryType::Harbor, Router::new().route("/api/v2.0/robots", list));
    let fault = client.harbor().unwrap().robots("pullgate", None).await.unwrap_err();
    assert!(matches!(fault, Fault::TooMany(10_000, _)), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_holds_names_that_there_can_be_and_no_more_than_were_asked_for() {
    for names in [vec!["a".to_owned(); 1001], vec!["a".repeat(256)]] {
        let list = get(async move || {
            ([("link", "</v2/_catalog>; rel=\"next\"")], Json(json!({"repositories": names})))
        });
        let client = client(RegistryType::Docker, Router::new().route("/v2/_catalog", list));
        assert_eq!(client.usage(AccountRole::User, &[]).await.unwrap_err(), Fault::Malformed("the catalog"));
    }
}

/// Almost as much as is taken. `whole` counts those that are sent but for their end, which waits for `end`.
fn large(whole: Arc<AtomicUsize>, end: Arc<Semaphore>) -> Body {
    let body = stream::iter(0..=127).then(move |n| {
        let (whole, end) = (whole.clone(), end.clone());
        async move {
            if n == 127 {
                whole.fetch_add(1, Ordering::SeqCst);
                drop(end.acquire().await);
            }
            Ok::<_, Infallible>(Bytes::from(vec![b' '; 64 << 10]))
        }
    });
    Body::from_stream(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_of_many_registries_take_turns() {
    let (whole, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let calls = (0..20).map(async |_| {
        let (whole, end) = (whole.clone(), end.clone());
        let list = get(async move || large(whole, end));
        let client = client(RegistryType::Harbor, Router::new().route("/api/v2.0/projects", list));
        client.spaces(&|_, _| {}).await.unwrap_err()
    });
    let held_up = async {
        within(Duration::from_secs(10), "eight are read", async || whole.load(Ordering::SeqCst) >= 8).await;
        sleep(Duration::from_millis(500)).await;
        let read = whole.load(Ordering::SeqCst);
        end.add_permits(1);
        read
    };
    let (faults, read) = join(join_all(calls), held_up).await;
    // A socket may hold nearly as much as is left of the others.
    assert!((8..16).contains(&read), "{read} of 20 at a time");
    assert!(faults.iter().all(|fault| *fault == Fault::Malformed("projects")), "{faults:?}");
}
