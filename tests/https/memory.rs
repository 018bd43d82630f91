//! How much memory requests can make the process take. Measured in processes of their own, because the other tests of
//! this binary run at the same time.

use std::collections::BTreeSet;
use std::process::Command;

use futures::future::join_all;
use pullgate::admission::review::BODY_MAX;
use serde_json::{Value, json};

use super::{H1, Server, fine, review, serve};
use crate::support::webhooks::OWN;

/// The most memory that this process ever had, in MiB.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

/// Set in a process that measures.
const MEASURES: &str = "PULLGATE_TEST_MEASURES";

/// Runs `measure` in a process of its own, where it is all that happens, and returns how many MiB it took at most. The
/// process runs the test `name` again and comes here again, to measure.
fn measured(name: &str, measure: impl AsyncFnOnce(&Server)) -> usize {
    if std::env::var_os(MEASURES).is_some() {
        let threads =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return threads.block_on(async {
            let server = serve().await;
            server.still_serves().await;
            let before = peak_memory();
            measure(&server).await;
            let taken = peak_memory() - before;
            println!("MiB taken: {taken}");
            taken
        });
    }
    let test = format!("https::memory::{name}");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture", "--test-threads=1"])
        .env(MEASURES, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}\n{}", String::from_utf8_lossy(&child.stderr));
    let taken = said.lines().find_map(|l| l.split_once("MiB taken: ")).unwrap_or_else(|| panic!("{said}"));
    taken.1.parse().unwrap()
}

#[test]
fn many_large_bodies_at_once_take_bounded_memory() {
    let taken = measured("many_large_bodies_at_once_take_bounded_memory", async |server| {
        let padding = BODY_MAX - fine("large").len();
        let body = bytes_of([fine("large"), " ".repeat(padding)].concat());
        let clients: Vec<_> = (0..64).map(|_| server.client(H1)).collect();
        let answers = join_all(clients.iter().map(|client| server.post(client, body))).await;
        let statuses: BTreeSet<_> =
            answers.into_iter().map(|a| a.map_or(0, |a| a.status().as_u16())).collect();
        assert!(statuses.contains(&200), "{statuses:?}");
    });
    // Room for 40 MiB of large bodies and one that goes on beyond it; 64 bodies of 7 MiB would be 448.
    assert!(taken < 160, "{taken} MiB");
}

#[test]
fn a_body_full_of_tiny_entries_takes_bounded_memory() {
    let taken = measured("a_body_full_of_tiny_entries_takes_bounded_memory", async |server| {
        for field in ["containers", "volumes", "imagePullSecrets"] {
            let list = vec!["{}"; 2_000_000].join(",");
            let mut body = review("tiny", OWN);
            body["request"]["object"]["spec"] = json!({"x": 1});
            let body =
                body.to_string().replacen(r#""spec":{"#, &format!(r#""spec":{{"{field}":[{list}],"#), 1);
            let answer = server.post(&server.client(H1), body).await.unwrap();
            let answer: Value = answer.json().await.unwrap();
            assert_eq!(answer["response"]["allowed"], false);
        }
    });
    assert!(taken < 100, "{taken} MiB");
}

#[test]
fn containers_without_anything_in_them_take_bounded_memory() {
    let taken = measured("containers_without_anything_in_them_take_bounded_memory", async |server| {
        let list = format!("[{}]", vec!["{}"; 16_384].join(","));
        let lists = ["containers", "initContainers", "ephemeralContainers", "volumes"]
            .map(|name| format!("\"{name}\":{list}"))
            .join(",");
        let spec = (0..17)
            .fold(format!("{{{lists}}}"), |spec, _| format!("{{{lists},\"template\":{{\"spec\":{spec}}}}}"));
        let mut review = review("hollow", OWN);
        review["request"]["object"] = json!("OBJECT");
        review["request"]["oldObject"] = json!("OBJECT");
        review["request"]["operation"] = json!("UPDATE");
        let body = review.to_string().replace("\"OBJECT\"", &format!("{{\"spec\":{spec}}}"));
        assert!(body.len() < BODY_MAX);
        let body = bytes_of(body);
        let clients: Vec<_> = (0..40).map(|_| server.client(H1)).collect();
        for answer in
            join_all(clients.iter().map(|client| server.post(client, body))).await.into_iter().flatten()
        {
            let status = answer.status();
            let answer: Value = answer.json().await.unwrap_or_default();
            assert_ne!(answer["response"]["allowed"], true, "{status}");
        }
    });
    assert!(taken < 160, "{taken} MiB");
}

/// A body that all clients share, so that only the server's memory counts.
fn bytes_of(body: String) -> &'static [u8] {
    Box::leak(body.into_bytes().into_boxed_slice())
}
