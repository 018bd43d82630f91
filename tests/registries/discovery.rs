//! What a Harbor has becomes recorded, and decided by.

use std::sync::Arc;
use std::time::Duration;

use pullgate::controllers::registries::Settings;
use pullgate::domain::decision::Reason;
use pullgate::domain::record::Kind;
use pullgate::domain::records::Touched;
use pullgate::state::Interest;
use pullgate::store::embedded::EmbeddedStore;
use serde_json::json;

use super::platform::{INTERVAL, Platform, eventually, within};
use crate::doubles::faults::Fault;
use crate::doubles::harbor::{Harbor, Options};

#[tokio::test(flavor = "multi_thread")]
async fn projects_are_recorded_and_decided_by() {
    let harbor = Harbor::start(Options::default());
    harbor.add_project("open", true);
    let team = harbor.add_project("team_a", false);
    harbor.add_proxy_project("hub", 3);
    harbor.set_repositories("open", &["one", "two"]);
    harbor.set_used("open", 4096);
    let platform = Platform::start();
    platform.workspace("a", &["a-prod"]).await;
    platform.integrate_harbor(&harbor).await;
    eventually("all is recorded", async || platform.spaces().await.len() == 3).await;

    let image = |path: &str| format!("{}/{path}/app:1", harbor.host());
    eventually("it is decided by", async || platform.reason("x", &image("open")) == Reason::Public).await;
    assert_eq!(platform.reason("a-prod", &image("team_a")), Reason::NotBound);
    assert_eq!(platform.reason("a-prod", &image("nothing")), Reason::NotBound, "in the same words");
    // The name of a project may hold what the name of a record may not.
    let record = platform.spaces().await.into_iter().find(|name| name.contains("team-a")).unwrap();
    platform.bind(&record, &["a"]).await;
    eventually("it is bound", async || platform.reason("a-prod", &image("team_a")) == Reason::Bound).await;
    assert_eq!(platform.status(Kind::RegistrySpace, &record).await["projectId"], team);

    eventually("it is measured", async || platform.status(Kind::Registry, "corp").await["storage"] == 4096)
        .await;
    let status = platform.status(Kind::Registry, "corp").await;
    assert!(status["version"].as_str().unwrap().starts_with("v2.12.0"), "{status}");
    let counts = ["spaces", "publicSpaces", "boundSpaces", "repositories"].map(|name| status[name].as_i64());
    assert_eq!(counts[0], Some(3), "{status}");
    assert_eq!(counts[3], Some(2), "{status}");
    assert!(status["lastSuccess"].is_string() && status["lastDiscovery"].is_string());
    assert_eq!(status["storageHistory"].as_array().unwrap().len(), 1);
    for condition in ["Reachable", "Healthy", "CredentialsValid", "Discovered"] {
        assert_eq!(platform.condition(Kind::Registry, "corp", condition).await[0], "True", "{condition}");
    }
    assert_eq!(platform.status(Kind::RegistrySpace, "corp.hub").await["proxyCache"], true);
    let open = platform.status(Kind::RegistrySpace, "corp.open").await;
    assert_eq!((&open["repositories"], &open["storage"]), (&json!(2), &json!(4096)));
    // What comes later does not wait for the time at which all is measured again.
    harbor.add_project("late", false);
    harbor.set_used("late", 1024);
    eventually("it is measured too", async || {
        platform.status(Kind::RegistrySpace, "corp.late").await["storage"] == 1024
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_finds_nothing_new_lists_once_and_writes_nothing() {
    let harbor = Harbor::start(Options::default());
    harbor.add_projects(250);
    let platform = Platform::start();
    platform.integrate_harbor(&harbor).await;
    eventually("all is recorded", async || platform.spaces().await.len() >= 250).await;
    eventually("the pass ended", async || {
        platform.status(Kind::Registry, "corp").await["lastDiscovery"].is_string()
    })
    .await;
    tokio::time::sleep(2 * INTERVAL).await;
    let version = async || platform.document(Kind::Registry, "corp").await.unwrap().version;
    let before = version().await;
    let mut changes = platform.state.subscribe(Interest::Everything);
    changes.take();
    harbor.journal.clear();
    let checks = || harbor.journal.calls("/api/v2.0/health");
    within(20 * INTERVAL, "five polls", async || checks() > 5).await;
    let pages = harbor.journal.calls("/api/v2.0/projects");
    assert!(pages <= 3 * (checks() + 1), "{pages} pages in {} polls", checks());
    assert_eq!(version().await, before);
    assert_eq!(changes.take(), Touched::default(), "something was written");
    let written = harbor.journal.requests().into_iter().filter(|seen| seen.method != "GET");
    assert_eq!(written.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_projects_are_discovered_in_time_and_a_few_calls_at_a_time() {
    let harbor = Harbor::start(Options::default());
    harbor.add_projects(10_000);
    harbor.faults.always(Fault::Latency(Duration::from_millis(20)));
    let files = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&files.path().join("records.db"), &files.path().join("key")).unwrap();
    let platform = Platform::with(Arc::new(store), Settings::default());
    let done = async || {
        let status = platform.status(Kind::Registry, "corp").await;
        status["lastDiscovery"].is_string() && status["spaces"].as_i64() >= Some(10_000)
    };
    platform.integrate_harbor(&harbor).await;
    let mut progress = 0;
    let took = within(Duration::from_secs(10), "the discovery", async || {
        let status = platform.status(Kind::Registry, "corp").await;
        progress += usize::from(status["progress"]["total"].as_i64() >= Some(10_000));
        done().await
    })
    .await;
    println!("10,000 projects in {took:?}, at most {} calls at a time", harbor.journal.most_in_flight());
    assert!(harbor.journal.most_in_flight() <= 4);
    assert!(platform.spaces().await.len() >= 10_000);
    assert!(took < Duration::from_secs(2) || progress > 0, "no progress was told in {took:?}");
    assert!(platform.status(Kind::Registry, "corp").await.get("progress").is_none());
}
