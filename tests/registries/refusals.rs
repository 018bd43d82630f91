//! What a Harbor refuses to do for a space: told once, in its own words, and asked for again ever later.

use axum::http::Method;
use pullgate::domain::record::Kind;
use serde_json::json;

use super::platform::{INTERVAL, Platform, eventually, within};
use crate::doubles::faults::Fault;
use crate::doubles::harbor::{Harbor, Options};
use crate::support::log::Log;

const PROJECTS: &str = "/api/v2.0/projects";

#[tokio::test]
async fn a_refusal_is_told_once_in_harbors_words_and_tried_again_ever_later() {
    let log = Log::default();
    let _captured = log.capture();
    let harbor = Harbor::start(Options::default());
    let words = format!("quota\u{1b}[31m of {}\n is\u{200b} exceeded", "x".repeat(1000));
    harbor.faults.next_on(usize::MAX, &Method::POST, PROJECTS, Fault::Refusal(400, words));
    let platform = Platform::start();
    platform.integrate_harbor(&harbor).await;
    platform.put(Kind::RegistrySpace, "corp.wanted", json!({"registry": "corp", "path": "wanted"})).await;
    let attempts =
        || harbor.journal.requests().iter().filter(|r| r.method == "POST" && r.path == PROJECTS).count();
    let said = async || platform.condition(Kind::RegistrySpace, "corp.wanted", "Synced").await;
    eventually("the refusal is told", async || said().await[0] == "False").await;
    let [_, reason, message] = said().await;
    assert_eq!(reason, "Rejected");
    let start = "project wanted: the registry refuses the request (HTTP status 400); it says: quota\\u{1b}[31m of xxx";
    assert!(message.starts_with(start) && message.len() < 400, "{message}");

    let passes = harbor.journal.calls("/api/v2.0/health");
    let polls = || harbor.journal.calls("/api/v2.0/health") - passes;
    within(40 * INTERVAL, "twelve passes", async || polls() >= 12).await;
    assert!((2..=6).contains(&attempts()), "{} attempts in {} passes", attempts(), polls());
    assert_eq!(log.count("the registry refuses what is recorded of a project"), 1, "{}", log.text());

    // Somebody else's change of mind does not wait.
    harbor.faults.clear();
    let public = json!({"registry": "corp", "path": "wanted", "visibility": "Public"});
    platform.edit(Kind::RegistrySpace, "corp.wanted", |spec| *spec = public.clone()).await;
    within(2 * INTERVAL, "the project is made", async || harbor.project("wanted").is_some()).await;
    eventually("that is told", async || said().await[0] == "True").await;
}

#[tokio::test]
async fn a_discovery_is_told_in_two_lines_and_its_progress_counts_what_is_done() {
    let log = Log::default();
    let _captured = log.capture();
    let harbor = Harbor::start(Options::default());
    harbor.add_projects(250);
    let platform = Platform::start();
    platform.integrate_harbor(&harbor).await;
    let status = async || platform.status(Kind::Registry, "corp").await;
    eventually("all is recorded", async || status().await["spaces"] == 250).await;
    let passes = harbor.journal.calls("/api/v2.0/health");
    within(40 * INTERVAL, "five passes", async || harbor.journal.calls("/api/v2.0/health") >= passes + 5)
        .await;
    // A pass that takes long, in which nothing is new.
    harbor.faults.on(PROJECTS, Fault::Latency(std::time::Duration::from_millis(700)));
    within(40 * INTERVAL, "progress is told", async || {
        let progress = &status().await["progress"];
        progress["total"] == 250 && progress["done"].as_i64() > Some(0)
    })
    .await;
    assert_eq!(log.count("a discovery of the registry's spaces begins"), 1, "{}", log.text());
    assert_eq!(log.count("the discovery ended"), 1, "{}", log.text());
}
