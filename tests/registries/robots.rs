//! Robot accounts: made for bindings, following them, replaced in time, never lost and never somebody else's.

use std::time::Duration;

use pullgate::domain::record::Kind;
use reqwest::Method;
use serde_json::{Value, json};

use super::platform::{INTERVAL, Platform, SOON, eventually, within};
use crate::doubles::faults::Fault;
use crate::doubles::harbor::{Harbor, Options, can_pull};

/// How soon an account has to follow a binding that was taken away.
const AFTER_UNBINDING: Duration = Duration::from_secs(5);

/// A platform with the private projects `one` and `two`, and the workspaces `a` and `b`.
pub async fn platform(harbor: &Harbor) -> Platform {
    prepared(Platform::start(), harbor).await
}

async fn prepared(platform: Platform, harbor: &Harbor) -> Platform {
    harbor.add_project("one", false);
    harbor.add_project("two", false);
    platform.workspace("a", &["a-prod"]).await;
    platform.workspace("b", &["b-prod"]).await;
    platform.integrate_harbor(harbor).await;
    recorded(&platform).await;
    platform
}

async fn recorded(platform: &Platform) {
    eventually("the projects are recorded", async || platform.spaces().await.len() >= 2).await;
}

pub async fn robot_of(platform: &Platform, workspace: &str, space: Option<&str>) -> (String, String) {
    eventually("an account is stored", async || platform.robot(workspace, space).await.is_some()).await;
    platform.robot(workspace, space).await.unwrap()
}

pub fn pair((username, password): &(String, String)) -> (&str, &str) {
    (username, password)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_does_not_wait_for_the_registry_behind_a_cache() {
    let harbor = Harbor::start(Options::default());
    harbor.add_proxy_project("cache", 3);
    harbor.faults.on("/v2/cache/", Fault::Latency(Duration::from_hours(1)));
    let platform = platform(&harbor).await;
    eventually("the cache too", async || platform.spaces().await.len() == 3).await;
    platform.bind("corp.cache", &["c"]).await;
    platform.bind("corp.one", &["c"]).await;
    // Both bindings count from one moment on.
    platform.workspace("c", &["c-prod"]).await;
    let c = robot_of(&platform, "c", None).await;
    harbor.faults.clear();
    for project in ["cache", "one"] {
        eventually("it pulls from both", async || can_pull(&harbor, pair(&c), project).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_pulls_what_is_bound_and_nothing_else_and_follows_the_bindings() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    assert!(harbor.robots().is_empty(), "made before anything was bound");
    platform.bind("corp.one", &["a"]).await;
    let a = robot_of(&platform, "a", None).await;
    assert!(can_pull(&harbor, pair(&a), "one").await && !can_pull(&harbor, pair(&a), "two").await);
    platform.bind("corp.two", &["a", "b"]).await;
    eventually("it follows", async || can_pull(&harbor, pair(&a), "two").await).await;
    let b = robot_of(&platform, "b", None).await;
    assert!(can_pull(&harbor, pair(&b), "two").await && !can_pull(&harbor, pair(&b), "one").await);
    assert_eq!(harbor.robots().len(), 2, "one for each workspace");
    assert_eq!(
        platform.robot("a", None).await.as_ref(),
        Some(&a),
        "a change of rights is no change of password"
    );

    platform.bind("corp.two", &["b"]).await;
    let took =
        within(AFTER_UNBINDING, "the right is gone", async || !can_pull(&harbor, pair(&a), "two").await)
            .await;
    println!("unbound and useless after {took:?}");
    assert!(can_pull(&harbor, pair(&a), "one").await);
    platform.bind("corp.one", &[]).await;
    within(AFTER_UNBINDING, "the last right is gone", async || !can_pull(&harbor, pair(&a), "one").await)
        .await;
    eventually("the account too", async || {
        harbor.robots().len() == 1 && platform.robot("a", None).await.is_none()
    })
    .await;
    assert!(can_pull(&harbor, pair(&b), "two").await);
    let listed =
        async || platform.status(Kind::Registry, "corp").await["robots"].as_array().map_or(0, Vec::len);
    eventually("the status lists one", async || listed().await == 1).await;
    let metrics = platform.metrics.render().unwrap();
    assert!(metrics.contains("pullgate_robot_expiry_timestamp_seconds{registry=\"corp\"}"), "{metrics}");
    no_secret_is_told(&harbor, &platform).await;
}

/// Neither in any record nor in any metric.
async fn no_secret_is_told(harbor: &Harbor, platform: &Platform) {
    let mut told = platform.metrics.render().unwrap();
    for kind in Kind::ALL {
        let page = platform.store.list(kind, None, 1000).await.unwrap();
        told.extend(page.items.iter().map(|document| format!("{document:?}")));
    }
    for secret in harbor.robots().into_iter().map(|robot| robot.secret).chain(["Harbor12345".to_owned()]) {
        assert!(!told.contains(&secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn public_suspended_and_missing_spaces_call_for_no_account() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    harbor.add_project("open", true);
    eventually("it is recorded", async || platform.spaces().await.len() == 3).await;
    platform.bind("corp.open", &["a"]).await;
    tokio::time::sleep(2 * INTERVAL).await;
    assert!(harbor.robots().is_empty());
    harbor.flip("open", false);
    let a = robot_of(&platform, "a", None).await;
    assert!(can_pull(&harbor, pair(&a), "open").await);
    platform.bind("corp.one", &["a"]).await;
    eventually("both", async || can_pull(&harbor, pair(&a), "one").await).await;
    // Made again, it is another project: the account must not get to it by its name.
    harbor.delete_project("open");
    harbor.add_project("open", false);
    tokio::time::sleep(3 * INTERVAL).await;
    assert!(!can_pull(&harbor, pair(&a), "open").await && can_pull(&harbor, pair(&a), "one").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_a_crash_left_behind_is_adopted() {
    let harbor = Harbor::start(Options::default());
    let mut platform = platform(&harbor).await;
    harbor.lose_next_robot();
    platform.bind("corp.one", &["a"]).await;
    let a = robot_of(&platform, "a", None).await;
    assert!(can_pull(&harbor, pair(&a), "one").await);
    assert_eq!(harbor.robots().len(), 1, "adopted, not made twice");

    // A crash between the making and the recording of a successor leaves one too many, and one without owner.
    for lost in [Method::PATCH, Method::PUT, Method::DELETE] {
        harbor.lose_next(&lost);
        platform.bind("corp.two", &["a"]).await;
        platform.crash().await;
        platform.resume();
        platform.bind("corp.two", &[]).await;
        platform.bind("corp.one", &["a"]).await;
        let a = robot_of(&platform, "a", None).await;
        eventually("it pulls", async || can_pull(&harbor, pair(&a), "one").await).await;
        eventually("nothing leaks", async || harbor.robots().len() == 1).await;
        eventually("no more than is bound", async || !can_pull(&harbor, pair(&a), "two").await).await;
    }
    // What is not recorded anywhere is nobody's.
    platform.bind("corp.one", &[]).await;
    platform.crash().await;
    platform.resume();
    eventually("it is deleted", async || harbor.robots().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_replaced_with_overlap_before_it_expires_and_on_demand() {
    let harbor = Harbor::start(Options::default());
    let mut platform = platform(&harbor).await;
    platform.bind("corp.one", &["a"]).await;
    let first = robot_of(&platform, "a", None).await;
    let robots = harbor.robots();
    let (id, made) = (robots[0].id, robots[0].expires_at);
    assert!((89..=90).contains(&((made - jiff::Timestamp::now().as_second()) / 86_400)), "{made}");

    request_rotation(&platform).await;
    eventually("there is another", async || platform.robot("a", None).await.is_some_and(|now| now != first))
        .await;
    let second = platform.robot("a", None).await.unwrap();
    assert!(can_pull(&harbor, pair(&first), "one").await, "no overlap");
    assert!(can_pull(&harbor, pair(&second), "one").await);
    // What is unbound meanwhile, the old one loses too.
    platform.bind("corp.two", &["a"]).await;
    eventually("the old one is deleted", async || harbor.robot(id).is_none()).await;
    assert_eq!(harbor.robots().len(), 1);
    assert!(!can_pull(&harbor, pair(&first), "one").await);
    tokio::time::sleep(3 * INTERVAL).await;
    assert_eq!(platform.robot("a", None).await.as_ref(), Some(&second), "replaced once");

    // Two thirds of its life later; its end comes nearer, which the next look at the accounts notices.
    harbor.age_robots(61);
    platform.crash().await;
    platform.resume();
    eventually("there is a third", async || platform.robot("a", None).await.is_some_and(|now| now != second))
        .await;
    let third = platform.robot("a", None).await.unwrap();
    assert!(can_pull(&harbor, pair(&third), "one").await);
    // One that ended is replaced at once.
    harbor.age_robots(91);
    platform.crash().await;
    platform.resume();
    eventually("it is replaced", async || platform.robot("a", None).await != Some(third.clone())).await;
    let now = robot_of(&platform, "a", None).await;
    assert!(can_pull(&harbor, pair(&now), "one").await);
}

pub async fn request_rotation(platform: &Platform) {
    tokio::time::sleep(Duration::from_secs(1)).await;
    loop {
        let mut document = platform.document(Kind::Registry, "corp").await.unwrap();
        document.status["rotationRequested"] = json!(jiff::Timestamp::now().to_string());
        let at = pullgate::store::Precondition::Version(document.version.clone());
        let keep = pullgate::store::CredentialChange::Keep;
        match platform.store.put(document, at, keep).await {
            Err(pullgate::store::StoreError::Changed { .. }) => {}
            outcome => return drop(outcome.unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_somebody_elses_is_never_touched() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    platform.bind("corp.one", &["a"]).await;
    let a = robot_of(&platform, "a", None).await;
    let own = harbor.robots().remove(0);
    platform.bind("corp.one", &[]).await;
    eventually("ours is gone", async || harbor.robots().is_empty()).await;
    // The same name, and a description that is another installation's, or no text of ours.
    let mark: Value = serde_json::from_str(&own.description).unwrap();
    let mut other = mark.clone();
    other["pullgate"] = json!("another-installation");
    let mut more = mark.clone();
    more["somethingElse"] = json!(1);
    let descriptions = [other.to_string(), more.to_string(), "of the team".to_owned()];
    for (i, description) in descriptions.iter().enumerate() {
        let name = format!("{}{}", own.stored_name.trim_end_matches(char::is_numeric), i + 1);
        make_robot(&harbor, &name, description).await;
    }
    let before: Vec<_> = harbor.robots().into_iter().map(|robot| (robot.id, robot.secret)).collect();
    platform.bind("corp.one", &["a"]).await;
    let again = robot_of(&platform, "a", None).await;
    assert_ne!(again.0, a.0, "the name was taken");
    assert!(can_pull(&harbor, pair(&again), "one").await);
    platform.bind("corp.one", &[]).await;
    eventually("ours is gone", async || harbor.robots().len() == before.len()).await;
    let after: Vec<_> = harbor.robots().into_iter().map(|robot| (robot.id, robot.secret)).collect();
    assert_eq!(before, after);
}

async fn make_robot(harbor: &Harbor, name: &str, description: &str) {
    let permissions = json!([{"kind": "project", "namespace": "two",
        "access": [{"resource": "repository", "action": "push"}]}]);
    let body = json!({"name": name, "level": "system", "duration": -1, "description": description,
        "permissions": permissions});
    let request = reqwest::Client::new().post(harbor.api("/robots")).basic_auth("admin", Some("Harbor12345"));
    let answer = request.json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_rights_there_is_an_account_for_each_space_or_a_condition_that_says_so() {
    let harbor = Harbor::start(Options::default());
    harbor.add_project("one", false);
    harbor.add_project("two", false);
    harbor.add_project("open", true);
    harbor.add_user("ci", "Passw0rd");
    harbor.make_project_admin("ci", "one");
    harbor.make_project_admin("ci", "two");
    let platform = Platform::start();
    platform.workspace("a", &["a-prod"]).await;
    let spec = json!({"type": "Harbor", "url": harbor.url()});
    platform.integrate("corp", spec.clone(), "ci", "Passw0rd").await;
    eventually("the projects are recorded", async || platform.spaces().await.len() == 3).await;
    for space in ["corp.one", "corp.two"] {
        platform.bind(space, &["a"]).await;
    }
    let (one, two) =
        (robot_of(&platform, "a", Some("one")).await, robot_of(&platform, "a", Some("two")).await);
    assert!(can_pull(&harbor, pair(&one), "one").await && !can_pull(&harbor, pair(&one), "two").await);
    assert!(can_pull(&harbor, pair(&two), "two").await);
    assert_eq!(platform.condition(Kind::Registry, "corp", "CredentialsValid").await[1], "NotAnAdmin");
    eventually("the level is told", async || {
        platform.status(Kind::Registry, "corp").await["robotLevel"] == "Project"
    })
    .await;
    let entries = platform.state.snapshot().scope("a-prod").pull_entries();
    assert_eq!(entries.len(), 2);
    platform.bind("corp.one", &[]).await;
    within(AFTER_UNBINDING, "its right is gone", async || !can_pull(&harbor, pair(&one), "one").await).await;
    assert!(can_pull(&harbor, pair(&two), "two").await);

    // Nobody's account, and never the integration's own password.
    harbor.add_user("guest", "Passw0rd");
    platform.integrate("corp", spec, "guest", "Passw0rd").await;
    within(2 * SOON, "it is told", async || {
        platform.condition(Kind::Registry, "corp", "PullCredentials").await[1] == "NotPermitted"
    })
    .await;
    platform.bind("corp.one", &["a"]).await;
    tokio::time::sleep(2 * INTERVAL).await;
    assert_eq!(platform.robot("a", None).await, None);
    assert_eq!(platform.robot("a", Some("one")).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_rotations_within_the_overlap_leaves_a_few_accounts_and_then_one() {
    let harbor = Harbor::start(Options::default());
    let platform = Platform::start_with(|settings| settings.overlap = Duration::from_secs(3));
    let platform = prepared(platform, &harbor).await;
    platform.bind("corp.one", &["a"]).await;
    let mut last = robot_of(&platform, "a", None).await;
    for _ in 0..12 {
        request_rotation(&platform).await;
        eventually("there is another", async || {
            platform.robot("a", None).await.is_some_and(|now| now != last)
        })
        .await;
        let next = platform.robot("a", None).await.unwrap();
        assert!(can_pull(&harbor, pair(&next), "one").await && can_pull(&harbor, pair(&last), "one").await);
        assert!(harbor.robots().len() <= 4, "{}", harbor.robots().len());
        last = next;
    }
    eventually("the last one is left", async || harbor.robots().len() == 1).await;
    assert!(can_pull(&harbor, pair(&last), "one").await);
    assert_eq!(platform.condition(Kind::Registry, "corp", "PullCredentials").await[0], "True");
}
