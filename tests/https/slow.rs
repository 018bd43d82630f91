//! Clients that take their time.

use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use pullgate::admission::review::BODY_MAX;
use reqwest::StatusCode;

use super::{H1, H2, PROMPT, Raw, blocking, fine, head, line, serve, serve_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_hold_up_nobody_and_are_ended() {
    let server = serve_with(Duration::from_millis(1500)).await;
    let beginnings =
        ["P", "PRI * HTT", "POST /validate HTTP/1.1\r\nhost: x\r\n", "POST /validate HTTP/1.1\r\nx: ", ""];
    let slow: Vec<_> = beginnings.iter().cycle().take(50).map(|b| (*b, server.raw())).collect();
    let sent = Instant::now();
    let slow = blocking(move || {
        let begin = |(beginning, mut stream): (&'static str, Raw)| {
            stream.write_all(beginning.as_bytes()).unwrap();
            stream.flush().unwrap();
            (beginning, stream)
        };
        slow.into_iter().map(begin).collect::<Vec<_>>()
    })
    .await;
    server.still_serves().await;
    let drip = blocking(move || {
        for (beginning, mut stream) in slow {
            // A byte now and then must not keep it open.
            let _ = stream.write_all(b"a").and_then(|()| stream.flush());
            let mut answer = Vec::new();
            let ended = stream.read_to_end(&mut answer);
            let timed_out = ended
                .as_ref()
                .is_err_and(|e| matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
            assert!(!timed_out, "{beginning:?} is still connected");
        }
        sent.elapsed()
    })
    .await;
    assert!(drip < 2 * PROMPT, "{drip:?}");
    server.still_serves().await;
    server.falls_silent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_says_nothing_is_ended_and_one_that_asked_is_kept_longer() {
    let server = serve_with(Duration::from_secs(1)).await;
    let h2 = server.client(H2);
    server.post(&h2, fine("first")).await.unwrap().bytes().await.unwrap();
    let mut silent = server.raw();
    let mut plain = server.plain();
    let outcome = blocking(move || {
        (silent.read(&mut [0; 16]).map_err(|e| e.kind()), plain.read(&mut [0; 16]).map_err(|e| e.kind()))
    })
    .await;
    for ended in [outcome.0, outcome.1] {
        assert!(
            !matches!(ended, Err(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)),
            "still connected"
        );
    }
    // The one that asked.
    server.falls_to(1).await;
    server.post(&h2, fine("second")).await.unwrap().bytes().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_are_read_as_long_as_the_api_server_waits() {
    let server = serve().await;
    let body = fine("drip").into_bytes();
    let slow = |timeout: &str, pieces: usize, pause: Duration| {
        let (mut stream, body) = (server.raw(), body.clone());
        let head = head(&format!("/validate?timeout={timeout}"), body.len());
        blocking(move || {
            let start = Instant::now();
            stream.write_all(head.as_bytes()).unwrap();
            for piece in body.chunks(body.len() / 10).take(pieces) {
                thread::sleep(pause);
                stream.write_all(piece).unwrap();
                stream.flush().unwrap();
            }
            (line(&mut stream).unwrap(), start.elapsed())
        })
    };
    let patient = slow("5s", 20, Duration::from_millis(50));
    let hasty = slow("500ms", 2, Duration::from_millis(200));
    let (patient, hasty) = futures::future::join(patient, hasty).await;
    assert_eq!(patient.0, "HTTP/1.1 200 OK");
    assert_eq!(hasty.0, "HTTP/1.1 408 Request Timeout");
    assert!(hasty.1 < PROMPT);
    server.still_serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_large_bodies_leave_room_for_ordinary_reviews() {
    let server = serve().await;
    let streams: Vec<_> = (0..20).map(|_| server.raw()).collect();
    let held = blocking(move || {
        let mut held = Vec::new();
        for mut stream in streams {
            stream.write_all(head("/validate?timeout=10s", BODY_MAX).as_bytes()).unwrap();
            stream.write_all(&[b' '; 4096]).unwrap();
            stream.flush().unwrap();
            held.push(stream);
        }
        held
    })
    .await;
    server.still_serves().await;
    drop(held);
    server.falls_silent().await;
    let large = [fine("large"), " ".repeat(1024 * 1024)].concat();
    let answer = server.post(&server.client(H1), large).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "the room is given back");
}
