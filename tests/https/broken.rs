//! Clients that send garbage, too much, or half of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum_server::Handle;
use pullgate::admission::review::BODY_MAX;
use pullgate::domain::snapshot::Settings;
use pullgate::listener::Listener;
use reqwest::StatusCode;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use serde_json::Value;

use super::{H1, H2, PROMPT, blocking, fine, head, line, serve};
use crate::support::webhooks::{routes, tenants};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_gets_an_answer_and_the_next_request_works() {
    let server = serve().await;
    for protocol in [H1, H2] {
        let client = server.client(protocol);
        for length in [BODY_MAX + 1, 10 * 1024 * 1024] {
            let answer = server.post(&client, vec![b' '; length]).await;
            let answer = answer.unwrap_or_else(|e| panic!("{length}: {e:?}"));
            assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
            let status: Value = answer.json().await.unwrap();
            assert_eq!(status["message"], "the review is over 7 MiB, the most that pullgate reads");
            let next = server.post(&client, fine("next")).await.unwrap();
            assert_eq!(next.json::<Value>().await.unwrap()["response"]["allowed"], true);
        }
        // So much is not even read to its end, and the client may see no more than a closed connection.
        let answer = server.post(&client, vec![b' '; 64 * 1024 * 1024]).await;
        assert!(answer.is_ok_and(|a| a.status() == StatusCode::PAYLOAD_TOO_LARGE) || protocol == H1);
        let next = server.post(&client, fine("next")).await.unwrap();
        assert_eq!(next.json::<Value>().await.unwrap()["response"]["allowed"], true);
    }
    server.still_serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunked_body_without_end_gets_an_answer() {
    let server = serve().await;
    let head = "POST /validate HTTP/1.1\r\nhost: pullgate\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut stalled = server.raw();
    let mut endless = server.raw();
    let (stalled, endless) = blocking(move || {
        let start = Instant::now();
        stalled.write_all(head.replace("/validate", "/validate?timeout=500ms").as_bytes()).unwrap();
        stalled.write_all(b"5\r\n{\"kin\r\n").unwrap();
        stalled.flush().unwrap();
        let stalled = (line(&mut stalled).unwrap(), start.elapsed());

        endless.write_all(head.as_bytes()).unwrap();
        let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
        // The server may stop reading once it has answered.
        while endless.write_all(&chunk).is_ok() && start.elapsed() < PROMPT {}
        (stalled, line(&mut endless))
    })
    .await;
    assert_eq!(stalled.0, "HTTP/1.1 408 Request Timeout");
    assert!(stalled.1 < PROMPT);
    if let Ok(line) = endless {
        assert_eq!(line, "HTTP/1.1 413 Payload Too Large");
    }
    server.still_serves().await;
    server.falls_silent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_instead_of_a_handshake_disturbs_nobody() {
    let server = serve().await;
    let address = server.address;
    blocking(move || {
        let hello = {
            let name = ServerName::from(address.ip());
            let mut connection = ClientConnection::new(Arc::new(trusting_nobody()), name).unwrap();
            let mut hello = Vec::new();
            connection.write_tls(&mut hello).unwrap();
            hello
        };
        let mut bad_hello = hello.clone();
        bad_hello[11..43].fill(0xff);
        bad_hello[44] = 0xff;
        let pieces = [
            b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            vec![0; 4096],
            vec![0xff; 4096],
            vec![0x16, 3, 1, 0xff, 0xff],
            vec![0x80, 0x2e, 1, 0, 2],
            hello[..hello.len() / 2].to_vec(),
            bad_hello,
            Vec::new(),
        ];
        for piece in pieces.iter().cycle().take(90) {
            let mut socket = TcpStream::connect(address).unwrap();
            // The server may close it first.
            let _ = socket.write_all(piece);
            let _ = socket.shutdown(Shutdown::Write);
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut answer = Vec::new();
            let _ = socket.read_to_end(&mut answer);
            assert!(!answer.starts_with(b"HTTP"), "answered without TLS");
        }
    })
    .await;
    server.still_serves().await;
    server.falls_silent().await;
}

fn trusting_nobody() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.unwrap().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_inside_tls_disturbs_nobody() {
    let server = serve().await;
    let review = fine("garbage");
    let pieces: Vec<Vec<u8>> = vec![
        b"\r\n\r\n\r\n".to_vec(),
        vec![0xff; 100_000],
        [b"POST /validate HTTP/1.1\r\n".to_vec(), vec![b'a'; 1_000_000]].concat(),
        [b"POST /validate HTTP/1.1\r\n".to_vec(), b"a: b\r\n".repeat(10_000), b"\r\n".to_vec()].concat(),
        format!("POST /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000)).into_bytes(),
        b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_vec(),
        b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello".to_vec(),
        b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        b"POST /validate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        [head("/validate", 10).into_bytes(), review.into_bytes()].concat(),
    ];
    let streams: Vec<_> = pieces.iter().map(|_| server.raw()).collect();
    let allowed = blocking(move || {
        let mut allowed = Vec::new();
        for (mut stream, piece) in streams.into_iter().zip(&pieces) {
            let _ = stream.write_all(piece).and_then(|()| stream.flush());
            let _ = stream.sock.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer).into_owned();
            if answer.contains(r#""allowed":true"#) {
                allowed.push(answer);
            }
        }
        allowed
    })
    .await;
    assert!(allowed.is_empty(), "{allowed:?}");
    server.still_serves().await;
    server.falls_silent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_off_leave_nothing_behind() {
    let server = serve().await;
    let body = fine("broken").into_bytes();
    let streams: Vec<_> = (0..60).map(|_| server.raw()).collect();
    blocking(move || {
        for (n, mut stream) in streams.into_iter().enumerate() {
            let whole = [head("/validate", body.len()).into_bytes(), body.clone()].concat();
            let cut = whole.len() * (n % 10) / 10;
            stream.write_all(&whole[..cut]).unwrap();
            stream.flush().unwrap();
            match n % 3 {
                0 => stream.conn.send_close_notify(),
                1 => stream.sock.shutdown(Shutdown::Both).unwrap(),
                _ => {}
            }
        }
    })
    .await;
    server.falls_silent().await;
    server.still_serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_gives_its_place_back() {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let (address, handle) = (listener.address(), Handle::new());
    let (router, _) = routes(&tenants(), &Settings::default());
    tokio::spawn(listener.serve(router, None, handle.clone()));
    // More than a listener keeps at one time.
    blocking(move || {
        for n in 0..5000 {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            if n % 100 == 0 {
                socket.write_all(b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
                assert_eq!(line(&mut socket).unwrap(), "HTTP/1.1 404 Not Found", "connection {n}");
            }
        }
    })
    .await;
}
