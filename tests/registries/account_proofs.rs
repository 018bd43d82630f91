//! Accounts that an administrator of the Harbor laid a hand on: refreshed, disabled, described, renamed by another prefix.

use std::time::Duration;

use pullgate::domain::record::Kind;

use super::platform::{INTERVAL, Platform, eventually, within};
use super::robots::{pair, platform, request_rotation, robot_of};
use crate::doubles::harbor::{Harbor, Options, can_pull};

/// Accounts log in every other interval.
const AT_THE_NEXT_LOOK: Duration = Duration::from_secs(3);

async fn pull_credentials(platform: &Platform) -> [String; 3] {
    platform.condition(Kind::Registry, "corp", "PullCredentials").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_secret_was_refreshed_in_harbor_is_replaced_and_retired() {
    let harbor = Harbor::start(Options { frozen: Duration::from_millis(10), ..Options::default() });
    let platform = platform(&harbor).await;
    platform.bind("corp.one", &["a"]).await;
    platform.bind("corp.two", &["b"]).await;
    let (a, b) = (robot_of(&platform, "a", None).await, robot_of(&platform, "b", None).await);
    let of_a = harbor.robots().into_iter().find(|robot| a.0.ends_with(&robot.stored_name)).unwrap().id;
    harbor.refresh_robot(of_a);
    within(AT_THE_NEXT_LOOK, "another takes its place", async || {
        platform.robot("a", None).await.is_some_and(|now| now != a)
    })
    .await;
    let now = platform.robot("a", None).await.unwrap();
    assert!(can_pull(&harbor, pair(&now), "one").await);
    eventually("the refreshed one is retired", async || harbor.robot(of_a).is_none()).await;
    assert_eq!(harbor.robots().len(), 2);
    assert_eq!(platform.robot("b", None).await, Some(b), "the other one works");

    // Somebody who does it over and over gets no account a minute.
    let again = harbor.robots().into_iter().find(|robot| now.0.ends_with(&robot.stored_name)).unwrap().id;
    harbor.refresh_robot(again);
    eventually("it is told", async || pull_credentials(&platform).await[1] == "AccountRefused").await;
    tokio::time::sleep(4 * INTERVAL).await;
    assert_eq!((platform.robot("a", None).await, harbor.robots().len()), (Some(now), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harbor_that_cannot_look_secrets_up_has_no_account_replaced() {
    let harbor = Harbor::start(Options { frozen: Duration::from_millis(10), ..Options::default() });
    let platform = platform(&harbor).await;
    platform.bind("corp.one", &["a"]).await;
    let a = robot_of(&platform, "a", None).await;
    // Its health is not told in time.
    harbor.set_database_away(Some(Duration::from_mins(1)));
    let asked = || harbor.journal.calls("/api/v2.0/users/current");
    let before = asked();
    eventually("it was asked", async || asked() > before + 6).await;
    harbor.set_database_away(None);
    tokio::time::sleep(2 * INTERVAL).await;
    assert_eq!((platform.robot("a", None).await, harbor.robots().len()), (Some(a), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_disabled_in_harbor_stays_so_until_somebody_says_otherwise() {
    let harbor = Harbor::start(Options { frozen: Duration::from_millis(10), ..Options::default() });
    let mut platform = platform(&harbor).await;
    platform.bind("corp.one", &["a"]).await;
    let a = robot_of(&platform, "a", None).await;
    let id = harbor.robots()[0].id;
    harbor.disable_robot(id);
    within(AT_THE_NEXT_LOOK, "it is told", async || {
        pull_credentials(&platform).await[1] == "AccountDisabled"
    })
    .await;
    assert!(pull_credentials(&platform).await[2].contains("account of workspace a"));
    let told = |platform: &Platform| platform.told.lock().unwrap().clone();
    eventually("it is told once", async || told(&platform).len() == 1).await;
    let notices = told(&platform);
    assert_eq!((notices.len(), &*notices[0].registry, notices[0].reason), (1, "corp", "AccountDisabled"));
    assert!(notices[0].message.contains("account of workspace a") && notices[0].message.contains(&a.0));
    // Neither time, nor a change of the bindings, nor a restart speaks louder than that.
    platform.bind("corp.two", &["a"]).await;
    eventually("the rights follow", async || harbor.robots()[0].permissions.len() == 2).await;
    platform.crash().await;
    platform.resume();
    tokio::time::sleep(4 * INTERVAL).await;
    assert_eq!((platform.robot("a", None).await.as_ref(), harbor.robots().len()), (Some(&a), 1));
    assert!(harbor.robots()[0].disabled);
    assert_eq!(told(&platform).len(), 1, "once, whoever tells it");
    harbor.enable_robot(id);
    within(AT_THE_NEXT_LOOK, "it is well", async || pull_credentials(&platform).await[0] == "True").await;
    assert!(can_pull(&harbor, pair(&a), "two").await);

    harbor.disable_robot(id);
    within(AT_THE_NEXT_LOOK, "it is told", async || {
        pull_credentials(&platform).await[1] == "AccountDisabled"
    })
    .await;
    eventually("it is told once more", async || told(&platform).len() == 2).await;
    request_rotation(&platform).await;
    eventually("there is another", async || platform.robot("a", None).await.is_some_and(|now| now != a))
        .await;
    let now = platform.robot("a", None).await.unwrap();
    assert!(can_pull(&harbor, pair(&now), "one").await);
    eventually("it is well", async || pull_credentials(&platform).await[0] == "True").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_disabled_while_its_rights_change_stays_so() {
    let harbor = Harbor::start(Options { frozen: Duration::from_millis(10), ..Options::default() });
    let platform = platform(&harbor).await;
    platform.bind("corp.one", &["a"]).await;
    robot_of(&platform, "a", None).await;
    let id = harbor.robots()[0].id;
    // Asked for between the list of accounts and the change.
    harbor.disable_robot_before("/projects/two", id);
    platform.bind("corp.two", &["a"]).await;
    eventually("the rights follow", async || harbor.robots()[0].permissions.len() == 2).await;
    assert!(harbor.robots()[0].disabled);
    within(AT_THE_NEXT_LOOK, "it is told", async || {
        pull_credentials(&platform).await[1] == "AccountDisabled"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_wrote_into_the_description_changes_nothing() {
    let harbor = Harbor::start(Options::default());
    let mut platform = platform(&harbor).await;
    platform.bind("corp.one", &["a"]).await;
    let a = robot_of(&platform, "a", None).await;
    harbor.describe_robot(harbor.robots()[0].id, "of the team");
    platform.crash().await;
    platform.resume();
    platform.bind("corp.two", &["a"]).await;
    eventually("it follows", async || can_pull(&harbor, pair(&a), "two").await).await;
    assert_eq!((platform.robot("a", None).await.as_ref(), harbor.robots().len()), (Some(&a), 1));
    platform.bind("corp.one", &[]).await;
    platform.bind("corp.two", &[]).await;
    eventually("it goes with the last binding", async || harbor.robots().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_prefix_of_all_names_is_noticed_and_costs_no_account() {
    let harbor = Harbor::start(Options { frozen: Duration::from_millis(10), ..Options::default() });
    let platform = platform(&harbor).await;
    platform.bind("corp.one", &["a"]).await;
    let a = robot_of(&platform, "a", None).await;
    harbor.set_robot_prefix("bot+");
    let renamed = (a.0.replace("robot$", "bot+"), a.1.clone());
    within(AT_THE_NEXT_LOOK, "the name follows", async || {
        platform.robot("a", None).await.as_ref() == Some(&renamed)
    })
    .await;
    assert!(can_pull(&harbor, pair(&renamed), "one").await);
    assert_eq!(harbor.robots().len(), 1);
}
