//! What goes wrong on the way to a double, seen from a client.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::asking::{ADMIN, Told, client, get, request, told};
use crate::doubles::bait::Bait;
use crate::doubles::certificates::Leaf;
use crate::doubles::faults::Fault;
use crate::doubles::harbor::{Harbor, Options};
use crate::doubles::serving::Refusing;

const HEALTH: &str = "/api/v2.0/health";
const PROJECTS: &str = "/api/v2.0/projects";

fn harbor() -> Harbor {
    let harbor = Harbor::start(Options::default());
    harbor.add_project("team-a", true);
    harbor
}

async fn broken(harbor: &Harbor, path: &str) -> Result<Told, reqwest::Error> {
    told(request(harbor, ADMIN, Method::GET, path)).await
}

#[tokio::test]
async fn they_are_for_some_calls_for_some_paths_or_for_all() {
    let harbor = harbor();
    harbor.faults.next(2, Fault::Status(500));
    for status in [500, 500, 200] {
        get(&harbor, ADMIN, HEALTH).await.is(status);
    }
    harbor.faults.on(PROJECTS, Fault::BadGateway);
    let told = get(&harbor, ADMIN, &format!("{PROJECTS}/team-a")).await.is(502);
    assert!(told.text.starts_with("<html>") && told.header("content-type") == "text/html");
    get(&harbor, ADMIN, HEALTH).await.is(200);
    harbor.faults.always(Fault::Status(503));
    get(&harbor, ADMIN, HEALTH).await.is(503);
    harbor.faults.clear();
    get(&harbor, ADMIN, PROJECTS).await.is(200);
    assert_eq!((harbor.journal.calls(HEALTH), harbor.journal.calls(PROJECTS)), (5, 1));
}

#[tokio::test]
async fn latency_is_seen_by_every_call_and_by_the_journal() {
    let harbor = harbor();
    harbor.faults.on(HEALTH, Fault::Latency(Duration::from_millis(300)));
    harbor.faults.next(1, Fault::Status(500));
    let start = Instant::now();
    get(&harbor, ADMIN, HEALTH).await.is(500);
    join_all((0..4).map(|_| get(&harbor, ADMIN, HEALTH))).await;
    assert!(start.elapsed() >= Duration::from_millis(600));
    assert_eq!(harbor.journal.most_in_flight(), 4);
    harbor.journal.clear();
    assert_eq!((harbor.journal.most_in_flight(), harbor.journal.requests().len()), (0, 0));
}

#[tokio::test]
async fn too_many_requests_say_when_to_come_back() {
    let harbor = harbor();
    harbor.faults.next(1, Fault::TooManyFor(7));
    assert_eq!(get(&harbor, ADMIN, HEALTH).await.refuses(429, "TOOMANYREQUESTS").header("retry-after"), "7");
    harbor.faults.next(1, Fault::TooManyUntil(60));
    let date = get(&harbor, ADMIN, HEALTH).await.is(429).header("retry-after").to_owned();
    assert!(date.ends_with(" GMT") && date.as_bytes()[3] == b',', "{date}");
}

#[tokio::test]
async fn a_body_may_be_cut_endless_or_slow() {
    let harbor = harbor();
    let right = get(&harbor, ADMIN, PROJECTS).await.text;
    harbor.faults.next(1, Fault::Truncated);
    let response = request(&harbor, ADMIN, Method::GET, PROJECTS).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.content_length()), (200, Some(right.len() as u64)));
    assert!(response.text().await.is_err());

    harbor.faults.next(1, Fault::Endless);
    let mut response = request(&harbor, ADMIN, Method::GET, PROJECTS).send().await.unwrap();
    let mut length = 0;
    while length < 10_000_000 {
        length += response.chunk().await.unwrap().expect("it ended").len();
    }
    drop(response);

    harbor.faults.next(1, Fault::Drip(Duration::from_millis(1)));
    let start = Instant::now();
    assert_eq!(get(&harbor, ADMIN, PROJECTS).await.text, right);
    assert!(start.elapsed() >= Duration::from_millis(right.len().try_into().unwrap()));
}

#[tokio::test]
async fn a_body_may_be_no_json_or_another_than_expected() {
    let harbor = harbor();
    harbor.faults.next(1, Fault::HalfJson);
    let half = get(&harbor, ADMIN, PROJECTS).await.is(200);
    assert!(half.text.starts_with('[') && serde_json::from_str::<Value>(&half.text).is_err());
    harbor.faults.next(1, Fault::WrongTypes);
    let wrong = get(&harbor, ADMIN, PROJECTS).await.is(200).json();
    assert_eq!((&wrong[0]["name"], &wrong[0]["repo_count"]), (&json!(42), &json!("0")));
    harbor.faults.next(1, Fault::Html);
    let page = get(&harbor, ADMIN, PROJECTS).await.is(200);
    assert!(page.text.starts_with("<!doctype html>"));
}

#[tokio::test]
async fn a_connection_may_end_speak_no_http_or_not_come_about() {
    let harbor = harbor();
    for fault in [Fault::Garbage, Fault::Closed, Fault::ClosedAfterwards] {
        harbor.faults.next(1, fault.clone());
        let error = broken(&harbor, HEALTH).await.unwrap_err();
        assert!(error.is_request(), "{fault:?}: {error:?}");
    }
    harbor.stop();
    assert!(broken(&harbor, HEALTH).await.unwrap_err().is_connect());
    harbor.resume();
    get(&harbor, ADMIN, HEALTH).await.is(200);
    assert_eq!(get(&harbor, ADMIN, PROJECTS).await.names(), ["team-a"]);
    let refusing = Refusing::start();
    let refused = client(&harbor).get(format!("http://{}/", refusing.host())).send().await;
    assert!(refused.unwrap_err().is_connect());
}

#[tokio::test]
async fn a_certificate_may_be_wrong() {
    let harbor = Harbor::start(Options { tls: Some(Leaf::Good), ..Options::default() });
    assert!(harbor.url().starts_with("https://127.0.0.1:"));
    get(&harbor, ADMIN, HEALTH).await.is(200);
    for (leaf, reason) in [
        (Leaf::Expired, "Expired"),
        (Leaf::NotYetValid, "NotValidYet"),
        (Leaf::WrongName, "NotValidForName"),
        (Leaf::UnknownCa, "BadSignature"),
    ] {
        harbor.show(leaf);
        let error = format!("{:?}", broken(&harbor, HEALTH).await.unwrap_err());
        assert!(error.contains(reason), "{leaf:?}: {error}");
    }
    harbor.show(Leaf::Good);
    get(&harbor, ADMIN, HEALTH).await.is(200);
}

#[tokio::test]
async fn a_redirection_leads_to_somebody_who_wants_the_password() {
    let (harbor, bait) = (harbor(), Bait::start(None));
    for status in [301, 302, 307, 308] {
        let to = format!("{}/api/v2.0/health?from={}", bait.url(), harbor.host());
        harbor.faults.next(1, Fault::Redirect(status, to.clone()));
        let told = get(&harbor, ADMIN, HEALTH).await.is(status);
        assert_eq!(told.header("location"), to);
    }
    assert!(bait.journal.requests().is_empty());
    // Somebody who follows without a password, and somebody who brings one.
    let asked = get(&bait, "", "/v2/?scope=x").await.is(401);
    assert!(asked.header("www-authenticate").starts_with("Basic "));
    assert!(bait.credentials().is_empty());
    get(&bait, ADMIN, "/v2/").await.is(401);
    assert_eq!(bait.credentials(), ["Basic YWRtaW46SGFyYm9yMTIzNDU="]);
    let seen = &bait.journal.requests()[0];
    assert_eq!((&seen.method, seen.path.as_str(), seen.query.as_str()), (&Method::GET, "/v2/", "scope=x"));
}
