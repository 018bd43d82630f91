//! More connections than a listener keeps.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};

use axum_server::Handle;
use pullgate::health;
use pullgate::listener::Listener;
use pullgate::metrics::Metrics;
use pullgate::runtime::Readiness;
use serde_json::Value;

use super::{H1, H2, PROMPT, Server, blocking, fine, line, serve_on};
use crate::support::waiting::within;

const PLACES: usize = 16;

/// Connections in such a number that none of the first is left, each of which says as little as `beginning`.
async fn crowd(server: &Server, beginning: &'static [u8]) -> Vec<TcpStream> {
    let address = server.address;
    blocking(move || {
        let connect = |_| {
            let mut stream = TcpStream::connect(address).unwrap();
            // It may be closed already.
            let _ = stream.write_all(beginning);
            stream
        };
        (0..8 * PLACES).map(connect).collect()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_never_ask_shut_nobody_out() {
    let server = serve_on(|listener| listener.with_connections(PLACES)).await;
    let clients = [server.client(H1), server.client(H2)];
    let post = async |client, what| {
        let answer = server.post(client, fine(what)).await.unwrap().json::<Value>().await.unwrap();
        assert_eq!(answer["response"]["allowed"], true);
    };
    for client in &clients {
        post(client, "before").await;
    }
    for beginning in [b"".as_slice(), b"\x16\x03\x01", b"POST /validate HTTP/1.1\r\n"] {
        let crowd = crowd(&server, beginning).await;
        within(PROMPT, "the crowd is thinned", async || server.handle.connection_count() <= PLACES / 2).await;
        server.still_serves().await;
        // What was there before is not among those that give way.
        for client in &clients {
            post(client, "meanwhile").await;
        }
        drop(crowd);
        server.falls_to(clients.len()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_asked_once_give_way_when_they_are_idle() {
    let server = serve_on(|listener| listener.with_connections(PLACES)).await;
    let mut idle = Vec::new();
    for _ in 0..2 * PLACES {
        let client = server.client(H1);
        server.post(&client, fine("idle")).await.unwrap().bytes().await.unwrap();
        idle.push(client);
    }
    server.falls_to(PLACES / 2).await;
    server.still_serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn liveness_answers_beside_silent_connections() {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap().with_connections(PLACES);
    let (address, handle) = (listener.address(), Handle::new());
    let router = health::router(Metrics::new().unwrap().into(), Readiness::default());
    tokio::spawn(listener.serve(router, None, handle.clone()));
    handle.listening().await.unwrap();
    let silent: Vec<_> = (0..8 * PLACES).map(|_| TcpStream::connect(address).unwrap()).collect();
    for path in ["livez", "readyz", "metrics"] {
        let mut stream = TcpStream::connect(address).unwrap();
        let answer = blocking(move || {
            stream.set_read_timeout(Some(PROMPT)).unwrap();
            stream.write_all(format!("GET /{path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
            line(&mut stream).unwrap()
        });
        assert_eq!(answer.await, "HTTP/1.1 200 OK", "{path}");
    }
    drop(silent);
}
