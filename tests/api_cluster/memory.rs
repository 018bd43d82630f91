//! How seldom the cluster is asked, how long its answers hold, and what is done without one.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{MEMORY, READ, populated};
use crate::support::api::{harbor, owned};

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
