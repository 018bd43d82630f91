//! What is read of a body before it is known that the caller may do such a thing.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Request;
use futures::stream;
use serde_json::json;

use super::populated;
use crate::support::api::{harbor, owned};

const PIECE: usize = 16 * 1024;

/// A request with a body of so many bytes, and how many of them were read.
fn counted(
    who: &str,
    method: &str,
    path: &str,
    announced: bool,
    bytes: usize,
) -> (Request<Body>, Arc<AtomicUsize>) {
    let read = Arc::<AtomicUsize>::default();
    let counting = read.clone();
    let pieces = stream::iter((0..bytes / PIECE).map(move |_| {
        counting.fetch_add(PIECE, Ordering::SeqCst);
        Ok::<_, Infallible>(Bytes::from(vec![b' '; PIECE]))
    }));
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header("authorization", format!("Bearer token-{who}"))
        .header("if-match", "*")
        .header("content-type", "application/json");
    if announced {
        request = request.header("content-length", bytes);
    }
    (request.body(Body::from_stream(pieces)).unwrap(), read)
}

#[tokio::test]
async fn nothing_is_read_of_a_body_that_its_sender_may_not_send() {
    let (_, api) = populated(Duration::from_mins(1)).await;
    for (who, method, path, status) in [
        ("nobody", "POST", "/registries", 401),
        ("va", "POST", "/workspaces", 403),
        ("va", "POST", "/registryspaces", 403),
        ("va", "PUT", "/pullpolicies/p", 403),
        ("va", "PUT", "/registries/corp", 404),
        ("va", "PUT", "/registries/b-quay", 404),
        ("va", "PUT", "/registries/corp/credential", 404),
        ("va", "POST", "/registries/corp/resolve", 404),
    ] {
        let (request, read) = counted(who, method, path, true, 1 << 20);
        api.send(request).await.is(status);
        assert_eq!(read.load(Ordering::SeqCst), 0, "{who} {method} {path}");
    }
}

#[tokio::test]
async fn little_is_read_to_learn_what_a_right_is_about() {
    let (_, api) = populated(Duration::from_mins(1)).await;
    for path in ["/registries", "/explain"] {
        let (request, read) = counted("va", "POST", path, false, 1 << 20);
        api.send(request).await.is(413).says("64 KiB");
        assert!(read.load(Ordering::SeqCst) <= 64 * 1024 + 2 * PIECE, "{path}");
    }
}

#[tokio::test]
async fn who_may_make_some_registry_learns_it_from_the_workspace_alone() {
    let (fake, api) = populated(Duration::from_mins(1)).await;
    fake.take();
    let mut foreign = owned("x", "b", "https://x.example.com");
    foreign["spec"]["x"] = json!([{}]);
    api.post("wa", "/registries", foreign).await.is(403);
    assert_eq!(fake.take(), ["create workspaces/registries b"]);
    api.post("wa", "/registries", harbor("x", "x.example.com")).await.is(403);
    api.post("wa", "/registries", owned("own", "a", "https://own.example.com")).await.is(201);
}
