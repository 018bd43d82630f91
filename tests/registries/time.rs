//! What takes a while: slow answers, the minute after a wrong password, a registry that is down for a day.
//!
//! The clock of the client's side is moved by hand; the doubles keep their own.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pullgate::controllers::registries::Settings;
use pullgate::domain::decision::{Reason, Request, decide};
use pullgate::domain::record::{Kind, RegistryType};
use pullgate::registry::harbor::NewRobot;
use pullgate::registry::{self, RegistryClient, fault::Fault};
use pullgate::types::v1alpha1::RobotLevel;
use tokio::time::{advance, pause, resume, sleep};

use super::outcomes::target;
use super::platform::{Platform, eventually};
use crate::doubles::faults::Fault as Wrong;
use crate::doubles::harbor::{Harbor, Options};
use crate::support::memory_store::MemoryStore;

/// Longer than anything on loopback takes.
const AWHILE: Duration = Duration::from_millis(300);

fn client(harbor: &Harbor, password: &str) -> Arc<dyn RegistryClient> {
    registry::client(RegistryType::Harbor, target(&harbor.url(), Some(("admin", password)))).unwrap()
}

/// Lets time pass at once, and what waited for it go on.
async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
    sleep(AWHILE).await;
}

#[tokio::test]
async fn an_answer_may_take_twenty_seconds_however_it_comes() {
    let harbor = Harbor::start(Options::default());
    harbor.add_project("team", false);
    for slow in [Wrong::Drip(Duration::from_millis(50)), Wrong::Latency(Duration::from_hours(1))] {
        harbor.faults.clear();
        let client = client(&harbor, "Harbor12345");
        harbor.faults.always(slow.clone());
        // One that is not made again by itself when it fails.
        let call = tokio::spawn(async move {
            let (level, projects) = (RobotLevel::System, &["team".into()]);
            let new = NewRobot { name: "slow", level, description: "", days: 1, projects };
            client.harbor().unwrap().mint(&new).await
        });
        sleep(AWHILE).await;
        pass(Duration::from_secs(18)).await;
        assert!(!call.is_finished(), "{slow:?} ended too soon");
        pass(Duration::from_secs(2)).await;
        assert!(call.is_finished(), "{slow:?} goes on");
        assert_eq!(call.await.unwrap().unwrap_err().reason(), "TimedOut", "{slow:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_tried_again_after_a_minute_once() {
    let harbor = Harbor::start(Options::default());
    let client = client(&harbor, "wrong");
    let tried = || harbor.journal.requests().iter().filter(|seen| seen.authorization().is_some()).count();
    assert_eq!(client.check().await.unwrap_err(), Fault::CredentialsRejected);
    for (time, expected, attempts) in [
        (Duration::from_secs(58), Fault::CredentialsHeldBack, 1),
        (Duration::from_secs(2), Fault::CredentialsRejected, 2),
        (Duration::from_secs(1), Fault::CredentialsHeldBack, 2),
    ] {
        pass(time).await;
        assert_eq!((client.check().await.unwrap_err(), tried()), (expected, attempts));
    }
    // What is right by then is found right.
    harbor.set_admin_password("wrong");
    pass(Duration::from_mins(1)).await;
    client.check().await.unwrap();
}

#[tokio::test]
async fn a_harbor_may_be_down_for_a_day() {
    let harbor = Harbor::start(Options::default());
    harbor.add_project("team", false);
    harbor.add_project("open", true);
    let mut platform = Platform::with(Arc::new(MemoryStore::default()), Settings::default());
    platform.workspace("a", &["a-prod"]).await;
    platform.integrate_harbor(&harbor).await;
    eventually("it is discovered", async || platform.spaces().await.len() == 2).await;
    platform.bind("corp.team", &["a"]).await;
    eventually("there is an account", async || platform.robot("a", None).await.is_some()).await;
    eventually("it is told", async || {
        platform.status(Kind::Registry, "corp").await["robots"].as_array().is_some_and(|told| told.len() == 1)
    })
    .await;
    let account = platform.robot("a", None).await;
    let healthy = platform.status(Kind::Registry, "corp").await;

    harbor.stop();
    pass(Duration::from_mins(6)).await;
    for condition in ["Reachable", "PullCredentials"] {
        eventually("it is told", async || {
            platform.condition(Kind::Registry, "corp", condition).await[1] == "ConnectionRefused"
        })
        .await;
    }
    let told = platform.document(Kind::Registry, "corp").await.unwrap();

    pause();
    sleep(Duration::from_hours(24)).await;
    resume();
    let after = platform.document(Kind::Registry, "corp").await.unwrap();
    assert_eq!(after.version, told.version, "it was written though nothing changed");
    assert_eq!(after.status["lastSuccess"], healthy["lastSuccess"]);
    assert_eq!(after.status["robots"], healthy["robots"], "they go on, and expire");
    assert_eq!(platform.robot("a", None).await, account);
    let snapshot = platform.state.snapshot_full();
    let now = Timestamp::now().as_second() + 24 * 60 * 60;
    for (namespace, project, reason) in [
        ("a-prod", "team", Reason::Bound),
        ("a-prod", "none", Reason::NotBound),
        ("b", "team", Reason::NoWorkspace),
        ("b", "open", Reason::Public),
    ] {
        let image = &format!("{}/{project}/app:1", harbor.host());
        let decision = decide(&snapshot.scope(namespace), &Request { image, always: Some(true), now });
        assert_eq!(decision.reason, reason, "{namespace} {project}");
    }

    // Another process knows what this one knew.
    platform.crash().await;
    platform.resume();
    eventually("what is known is measured", async || {
        let told = platform.metrics.render().unwrap();
        told.contains("pullgate_robot_expiry_timestamp_seconds{registry=\"corp\"}")
            && told.contains("pullgate_registry_up{registry=\"corp\"} 0")
    })
    .await;
    assert_eq!(platform.document(Kind::Registry, "corp").await.unwrap().version, told.version);

    harbor.resume();
    harbor.flip("open", false);
    pass(Duration::from_mins(1)).await;
    eventually("it recovers by itself", async || {
        platform.condition(Kind::Registry, "corp", "Reachable").await[0] == "True"
            && platform.reason("b", &format!("{}/open/app:1", harbor.host())) == Reason::NoWorkspace
    })
    .await;
}
