//! How much memory requests can make the process take. Measured in processes of their own, because the other tests of
//! this binary run at the same time.

use std::collections::BTreeSet;
use std::process::Command;

use futures::future::join_all;
use pullgate::admission::review::BODY_MAX;
use serde_json::{Value, json};

use super::{H1, fine, review, serve};
use crate::support::webhooks::OWN;

/// The most memory that this process ever had, in MiB.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

/// Runs one of the measurements below in a process of its own and returns how many MiB it took at most.
fn measured(name: &str) -> usize {
    let test = format!("https::memory::{name}");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}\n{}", String::from_utf8_lossy(&child.stderr));
    let taken = said.lines().find_map(|l| l.split_once("MiB taken: ")).unwrap_or_else(|| panic!("{said}"));
    taken.1.parse().unwrap()
}

#[test]
fn many_large_bodies_at_once_take_bounded_memory() {
    let taken = measured("measure_large_bodies");
    // Room for 64 MiB of bodies, one buffer each; 64 bodies of 7 MiB would be 448.
    assert!(taken < 160, "{taken} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by many_large_bodies_at_once_take_bounded_memory, in a process of its own"]
async fn measure_large_bodies() {
    let server = serve().await;
    let padding = BODY_MAX - fine("large").len();
    let body = bytes_of([fine("large"), " ".repeat(padding)].concat());
    server.still_serves().await;
    let before = peak_memory();
    let clients: Vec<_> = (0..64).map(|_| server.client(H1)).collect();
    let answers = join_all(clients.iter().map(|client| server.post(client, body))).await;
    let statuses: BTreeSet<_> = answers.into_iter().map(|a| a.map_or(0, |a| a.status().as_u16())).collect();
    assert!(statuses.contains(&200), "{statuses:?}");
    println!("MiB taken: {}", peak_memory() - before);
}

#[test]
fn a_body_full_of_tiny_entries_takes_bounded_memory() {
    let taken = measured("measure_tiny_entries");
    assert!(taken < 100, "{taken} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by a_body_full_of_tiny_entries_takes_bounded_memory, in a process of its own"]
async fn measure_tiny_entries() {
    let server = serve().await;
    server.still_serves().await;
    let before = peak_memory();
    for field in ["containers", "volumes", "imagePullSecrets"] {
        let list = vec!["{}"; 2_000_000].join(",");
        let mut body = review("tiny", OWN);
        body["request"]["object"]["spec"] = json!({"x": 1});
        let body = body.to_string().replacen(r#""spec":{"#, &format!(r#""spec":{{"{field}":[{list}],"#), 1);
        let answer = server.post(&server.client(H1), body).await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["response"]["allowed"], false);
    }
    println!("MiB taken: {}", peak_memory() - before);
}

/// A body that all clients share, so that only the server's memory counts.
fn bytes_of(body: String) -> &'static [u8] {
    Box::leak(body.into_bytes().into_boxed_slice())
}
