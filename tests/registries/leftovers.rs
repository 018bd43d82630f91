//! What pullgate made at a registry goes with what it was made for, whatever is still recorded, and whoever was down meanwhile.

use std::time::Duration;

use pullgate::domain::record::Kind;
use serde_json::json;

use super::platform::{Platform, eventually, within};
use super::robots::{pair, platform, robot_of};
use crate::doubles::faults::Fault;
use crate::doubles::harbor::{Harbor, Options, can_pull};

/// Attempts follow each other ever later.
const AFTER_AN_OUTAGE: Duration = Duration::from_secs(10);

/// The same as [`platform`], by an account that may make robots of projects alone.
async fn by_project_admin(harbor: &Harbor) -> Platform {
    harbor.add_user("ci", "Passw0rd");
    for project in ["one", "two"] {
        harbor.add_project(project, false);
        harbor.make_project_admin("ci", project);
    }
    let platform = Platform::start();
    platform.workspace("a", &["a-prod"]).await;
    let spec = json!({"type": "Harbor", "url": harbor.url()});
    platform.integrate("corp", spec, "ci", "Passw0rd").await;
    eventually("the projects are recorded", async || platform.spaces().await.len() == 2).await;
    for (space, project) in [("corp.one", "one"), ("corp.two", "two")] {
        platform.bind(space, &["a"]).await;
        robot_of(&platform, "a", Some(project)).await;
    }
    platform
}

/// As kubectl does, against whatever is written at the same time.
async fn remove(platform: &Platform, kind: Kind, name: &str) {
    eventually("it is removed", async || {
        let Some(document) = platform.document(kind, name).await else { return true };
        platform.store.delete(kind, name, &document.version).await.is_ok()
    })
    .await;
}

fn left(platform: &Platform) -> bool {
    platform.metrics.render().unwrap().contains("pullgate_robots_left{registry=\"corp\"}")
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_go_with_the_registrys_record() {
    for admin in [true, false] {
        let harbor = Harbor::start(Options::default());
        let platform = if admin { platform(&harbor).await } else { by_project_admin(&harbor).await };
        if admin {
            platform.bind("corp.one", &["a"]).await;
            robot_of(&platform, "a", None).await;
        }
        remove(&platform, Kind::Registry, "corp").await;
        eventually("they are gone", async || harbor.robots().is_empty()).await;
        assert!(!left(&platform));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_removed_is_remembered_and_counted_until_it_is() {
    for admin in [true, false] {
        let harbor = Harbor::start(Options::default());
        let mut platform = if admin { platform(&harbor).await } else { by_project_admin(&harbor).await };
        if admin {
            platform.bind("corp.one", &["a"]).await;
            robot_of(&platform, "a", None).await;
        }
        harbor.faults.always(Fault::Closed);
        remove(&platform, Kind::Registry, "corp").await;
        eventually("it is counted", async || left(&platform)).await;
        // Also by whoever comes next.
        platform.crash().await;
        platform.resume();
        within(AFTER_AN_OUTAGE, "it is counted again", async || left(&platform)).await;
        assert!(!harbor.robots().is_empty());
        harbor.faults.clear();
        within(AFTER_AN_OUTAGE, "they are gone", async || harbor.robots().is_empty()).await;
        eventually("nothing is counted", async || !left(&platform)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_go_while_pullgate_is_down_leave_nothing_behind() {
    let harbor = Harbor::start(Options::default());
    let mut platform = by_project_admin(&harbor).await;
    let two = robot_of(&platform, "a", Some("two")).await;
    platform.crash().await;
    remove(&platform, Kind::RegistrySpace, "corp.one").await;
    platform.resume();
    eventually("the account of the space is gone", async || harbor.robots().len() == 1).await;
    assert!(can_pull(&harbor, pair(&two), "two").await);
    platform.crash().await;
    remove(&platform, Kind::Registry, "corp").await;
    platform.resume();
    eventually("all are gone", async || harbor.robots().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_at_a_registrys_old_address_go_and_those_at_the_new_one_stay() {
    let (old, new) = (Harbor::start(Options::default()), Harbor::start(Options::default()));
    let platform = platform(&old).await;
    new.add_project("one", false);
    platform.bind("corp.one", &["a"]).await;
    let before = robot_of(&platform, "a", None).await;
    platform.integrate("corp", json!({"type": "Harbor", "url": new.url()}), "admin", "Harbor12345").await;
    within(AFTER_AN_OUTAGE, "they are gone", async || old.robots().is_empty()).await;
    assert!(!can_pull(&old, pair(&before), "one").await);
}
