//! A new robot account that cannot be had, or does not pull: nobody gets it, what is in use stays, and none pile up.

use std::time::Duration;

use axum::http::Method;
use pullgate::domain::record::Kind;

use super::platform::{INTERVAL, Platform, eventually, within};
use super::robots::{pair, platform, request_rotation, robot_of};
use crate::doubles::faults::Fault;
use crate::doubles::harbor::{Harbor, Options, can_pull};

const ROBOTS: &str = "/api/v2.0/robots";
/// Attempts follow each other ever later, up to an interval.
const AFTER_A_PAUSE: Duration = Duration::from_secs(5);
/// Accounts of one workspace at a time.
const LIVING: usize = 4;

/// Waits until the condition says so; its message.
async fn told(platform: &Platform, reason: &str) -> String {
    let condition = async || platform.condition(Kind::Registry, "corp", "PullCredentials").await;
    within(AFTER_A_PAUSE, reason, async || condition().await[1] == reason).await;
    condition().await[2].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_does_not_pull_is_given_to_nobody_and_tried_again() {
    let harbor = Harbor::start(Options::default());
    harbor.faults.on("/service/token", Fault::Status(401));
    let platform = platform(&harbor).await;
    platform.bind("corp.one", &["a"]).await;
    let message = told(&platform, "NotPermitted").await;
    assert!(message.contains("a new one was refused"), "{message}");
    tokio::time::sleep(6 * INTERVAL).await;
    assert_eq!(platform.robot("a", None).await, None);
    assert_eq!(harbor.robots().len(), 1, "the same one is tried again");
    harbor.faults.clear();
    let a = robot_of(&platform, "a", None).await;
    assert!(can_pull(&harbor, pair(&a), "one").await);
    told(&platform, "SystemRobots").await;
    assert_eq!(harbor.robots().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_in_use_outlives_a_replacement_that_does_not_come_about() {
    for (path, fault, reason) in [
        ("/service/token", Fault::Status(401), "NotPermitted"),
        (ROBOTS, Fault::Refusal(403, "no more robots".to_owned()), "NotPermitted"),
        (ROBOTS, Fault::Refusal(409, "there is one".to_owned()), "Conflict"),
        (ROBOTS, Fault::Refusal(400, "too many robots".to_owned()), "Rejected"),
    ] {
        let harbor = Harbor::start(Options::default());
        let platform = platform(&harbor).await;
        platform.bind("corp.one", &["a"]).await;
        let a = robot_of(&platform, "a", None).await;
        told(&platform, "SystemRobots").await;
        let method = if path == ROBOTS { Method::POST } else { Method::GET };
        harbor.faults.next_on(usize::MAX, &method, path, fault);
        request_rotation(&platform).await;
        told(&platform, reason).await;
        tokio::time::sleep(6 * INTERVAL).await;
        assert_eq!(platform.robot("a", None).await.as_ref(), Some(&a), "{reason}");
        assert!(harbor.robots().len() <= LIVING, "{} accounts", harbor.robots().len());
        harbor.faults.clear();
        assert!(can_pull(&harbor, pair(&a), "one").await, "{reason}");
        within(AFTER_A_PAUSE, "it is replaced", async || {
            platform.robot("a", None).await.as_ref() != Some(&a)
        })
        .await;
        within(AFTER_A_PAUSE, "one is left", async || harbor.robots().len() == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nodes_would_split_is_given_to_nobody() {
    let harbor = Harbor::start(Options { robot_prefix: "robot:".to_owned(), ..Options::default() });
    let platform = platform(&harbor).await;
    platform.bind("corp.one", &["a"]).await;
    let message = told(&platform, "Settings").await;
    assert!(message.contains("colon"), "{message}");
    tokio::time::sleep(6 * INTERVAL).await;
    assert_eq!(platform.robot("a", None).await, None);
    assert!(harbor.robots().len() <= LIVING, "{} accounts", harbor.robots().len());
    harbor.set_robot_prefix("robot$");
    eventually("the account is handed out", async || platform.robot("a", None).await.is_some()).await;
}
