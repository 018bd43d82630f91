//! How seldom the cluster is asked, how long its answers hold, and what is done without one.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use futures::stream;

use super::{ALL, MEMORY, READ, populated};
use crate::support::api::{harbor, owned};
use crate::support::waiting::within;

#[tokio::test]
async fn a_list_asks_once_for_everything_and_then_once_a_workspace() {
    let (fake, api) = populated(Duration::from_mins(1)).await;
    for i in 0..20 {
        let (who, workspace) = if i % 2 == 0 { ("wa", "a") } else { ("wb", "b") };
        let url = format!("https://r{i}.example.net");
        api.post(who, "/registries", owned(&format!("r{i}"), workspace, &url)).await.is(201);
    }
    fake.take();
    let list = api.get("wab", "/registries").await.is(200).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 21);
    let mut asked = fake.take();
    asked.sort();
    assert_eq!(
        asked,
        [
            "get registries *",
            "get registries corp",
            "get workspaces/registries *",
            "get workspaces/registries a",
            "get workspaces/registries b",
            "list registries *",
        ]
    );
    api.get("wab", "/registries").await.is(200);
    assert!(fake.take().is_empty(), "it is remembered");
}

#[tokio::test]
async fn answers_are_remembered_for_a_moment_and_no_longer() {
    let (fake, api) = populated(MEMORY).await;
    tokio::time::sleep(2 * MEMORY).await;
    fake.tokens_asked.store(0, Ordering::SeqCst);
    let many = (0..20).map(|_| api.get("wa", "/workspaces/a"));
    for reply in futures::future::join_all(many).await {
        reply.is(200);
    }
    assert_eq!(fake.tokens_asked.load(Ordering::SeqCst), 1, "one question, however many ask");
    assert_eq!(fake.take(), ["get workspaces a"]);
    // A role that is taken away, and one that is given.
    fake.rules.lock().unwrap().insert("wa".into(), vec![(READ, "workspaces", &["b"])]);
    tokio::time::sleep(2 * MEMORY).await;
    api.get("wa", "/workspaces/a").await.is(404);
    api.get("wa", "/workspaces/b").await.is(200);
    // A token that is revoked, and one that is nobody's.
    fake.rules.lock().unwrap().remove("wa");
    tokio::time::sleep(2 * MEMORY).await;
    fake.tokens_asked.store(0, Ordering::SeqCst);
    for _ in 0..5 {
        api.get("wa", "/workspaces/b").await.is(401);
    }
    assert_eq!(fake.tokens_asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn names_that_nothing_has_are_not_remembered() {
    let (fake, api) = populated(MEMORY).await;
    let path = format!("/workspaces/{}", "x".repeat(254));
    for _ in 0..2 {
        api.get("wa", &path).await.is(404);
    }
    assert_eq!(fake.take().len(), 2);
}

#[tokio::test]
async fn no_answer_is_neither_a_no_nor_remembered() {
    let (fake, api) = populated(MEMORY).await;
    tokio::time::sleep(2 * MEMORY).await;
    let before = api.store.dump();
    fake.broken.store(true, Ordering::SeqCst);
    for (method, path) in [("GET", "/workspaces/a"), ("DELETE", "/workspaces/a"), ("GET", "/registries")] {
        let reply = api.call("root", method, path, "*", None).await.is(503);
        assert!(
            reply.text.contains("the cluster cannot be asked") && !reply.text.contains("10.96"),
            "{}",
            reply.text
        );
    }
    fake.broken.store(false, Ordering::SeqCst);
    api.get("root", "/workspaces/a").await.is(200);
    // The token is known, what it may do is not.
    fake.broken.store(true, Ordering::SeqCst);
    api.get("root", "/workspaces/b").await.is(503);
    api.get("root", "/registries").await.is(503);
    api.post("root", "/registries", harbor("s", "s.example.com")).await.is(503);
    fake.broken.store(false, Ordering::SeqCst);
    api.get("root", "/workspaces/b").await.is(200);
    assert_eq!(api.store.dump(), before);
}

/// Moves all rights of `wa` to a group.
fn by_group(fake: &super::Fake) {
    let mut rules = fake.rules.lock().unwrap();
    let all = rules.insert("wa".into(), Vec::new()).unwrap_or_default();
    rules.insert("leads".into(), all);
    fake.groups.lock().unwrap().insert("wa".into(), vec!["leads".into()]);
}

#[tokio::test]
async fn a_right_that_was_taken_away_counts_no_longer_however_late_it_was_first_asked_about() {
    let memory = Duration::from_secs(1);
    let (fake, api) = populated(memory).await;
    by_group(&fake);
    // Whose token it is, is known from here on.
    api.get("wa", "/workspaces?limit=1").await.is(200);
    let taken_away = Instant::now();
    fake.groups.lock().unwrap().clear();
    tokio::time::sleep(memory * 4 / 5).await;
    let mut last = taken_away;
    for i in 0.. {
        let url = format!("https://r{i}.example.net");
        let created = api.post("wa", "/registries", owned(&format!("r{i}"), "a", &url)).await;
        if created.status == 403 {
            break;
        }
        created.is(201);
        last = Instant::now();
        tokio::time::sleep(memory / 50).await;
    }
    let counted = last - taken_away;
    assert!(counted < memory * 5 / 4, "{counted:?}");
    // Likewise a role: it is not remembered for longer than the token's own answer.
    fake.groups.lock().unwrap().insert("wa".into(), vec!["leads".into()]);
    tokio::time::sleep(memory).await;
    api.get("wa", "/workspaces?limit=1").await.is(200);
    tokio::time::sleep(memory * 4 / 5).await;
    api.get("wa", "/workspaces/a").await.is(200);
    fake.rules.lock().unwrap().insert("leads".into(), vec![(ALL, "workspaces", &["b"])]);
    tokio::time::sleep(memory / 2).await;
    api.get("wa", "/workspaces/a").await.is(404);
}

#[tokio::test]
async fn a_request_that_takes_long_is_not_allowed_by_what_was_true_when_it_began() {
    let (fake, api) = populated(MEMORY).await;
    by_group(&fake);
    let taken_away = fake.clone();
    let json = owned("late", "a", "https://late.example.net").to_string();
    let body = stream::once(async move {
        taken_away.groups.lock().unwrap().clear();
        tokio::time::sleep(2 * MEMORY).await;
        Ok::<_, Infallible>(json)
    });
    let request = Request::post("/api/v1/registries")
        .header("authorization", "Bearer token-wa")
        .header("content-type", "application/json")
        .body(Body::from_stream(body))
        .unwrap();
    api.send(request).await.is(403);
    // The token itself.
    let taken_away = fake.clone();
    let json = owned("late", "b", "https://late.example.net").to_string();
    let body = stream::once(async move {
        taken_away.rules.lock().unwrap().remove("wb");
        tokio::time::sleep(2 * MEMORY).await;
        Ok::<_, Infallible>(json)
    });
    let request = Request::post("/api/v1/registries")
        .header("authorization", "Bearer token-wb")
        .header("content-type", "application/json")
        .body(Body::from_stream(body))
        .unwrap();
    api.send(request).await.is(403);
}

#[tokio::test]
async fn tokens_that_are_nobodys_keep_no_known_one_waiting() {
    let (fake, api) = populated(MEMORY).await;
    api.get("wa", "/workspaces/a").await.is(200);
    tokio::time::sleep(2 * MEMORY).await;
    fake.hold_unknown.store(true, Ordering::SeqCst);
    let forged: Vec<_> = (0..200)
        .map(|n| {
            let api = api.clone();
            tokio::spawn(async move { api.get(&format!("forged-{n}"), "/workspaces/a").await.status })
        })
        .collect();
    within(Duration::from_secs(5), "they are asked about", async || fake.held.load(Ordering::SeqCst) > 0)
        .await;
    api.get("wa", "/workspaces/a").await.is(200);
    assert!(fake.held.load(Ordering::SeqCst) <= 16, "few are asked about at one time");
    for asked in forged {
        asked.abort();
    }
}
