//! A Harbor where nothing happens is asked with few logins, and whatever happens is noticed all the same.

use std::sync::Arc;
use std::time::Duration;

use pullgate::controllers::registries::Settings;
use pullgate::domain::record::{Kind, RegistryType};
use pullgate::registry::{self, RegistryClient};
use tokio::time::{advance, pause, resume, sleep};

use super::outcomes::target;
use super::platform::{INTERVAL, Platform, eventually, within};
use crate::doubles::harbor::{Harbor, Options};
use crate::support::memory_store::MemoryStore;

/// What a login of a person costs a Harbor 2.16 at the most, in seconds of CPU.
const LOGIN: f64 = 0.3;

fn logins(harbor: &Harbor) -> usize {
    harbor.journal.requests().iter().filter(|seen| seen.authorization().is_some()).count()
}

fn passes(harbor: &Harbor) -> usize {
    harbor.journal.calls("/api/v2.0/health")
}

async fn discovered(harbor: &Harbor, platform: &Platform, projects: usize) {
    platform.integrate_harbor(harbor).await;
    eventually("all is recorded", async || {
        platform.spaces().await.len() == projects
            && platform.condition(Kind::Registry, "corp", "Discovered").await[0] == "True"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_at_rest_logs_in_once_at_the_most() {
    let harbor = Harbor::start(Options::default());
    harbor.add_projects(20);
    let platform = Platform::start();
    discovered(&harbor, &platform, 20).await;
    sleep(2 * INTERVAL).await;
    harbor.journal.clear();
    within(20 * INTERVAL, "ten passes", async || passes(&harbor) > 10).await;
    let (logins, passes) = (logins(&harbor), passes(&harbor));
    assert!(logins >= 1, "a login is looked at, too");
    assert!(2 * logins <= passes, "{logins} logins in {passes} passes");
    assert_eq!(harbor.journal.calls("/api/v2.0/users/current"), 0);
}

#[tokio::test]
async fn two_hundred_and_fifty_projects_cost_a_harbor_less_than_half_a_percent_of_a_core() {
    let harbor = Harbor::start(Options::default());
    harbor.add_projects(240);
    for n in 0..10 {
        harbor.add_project(&format!("open-{n}"), true);
    }
    let platform = Platform::with(Arc::new(MemoryStore::default()), Settings::default());
    discovered(&harbor, &platform, 250).await;
    let (settling, an_hour) = (4, 120);
    for pass in 0..settling + an_hour {
        if pass == settling {
            harbor.journal.clear();
        }
        let before = passes(&harbor);
        pause();
        advance(Duration::from_secs(30)).await;
        resume();
        within(Duration::from_secs(30), "a pass", async || passes(&harbor) > before).await;
        // What is under way would time out with the next step of the clock.
        let mut seen = 0;
        while seen != harbor.journal.requests().len() {
            seen = harbor.journal.requests().len();
            sleep(Duration::from_millis(200)).await;
        }
    }
    let (logins, passes) = (logins(&harbor), passes(&harbor));
    println!("{logins} logins in {passes} passes of an hour");
    assert!((110..=125).contains(&passes), "{passes}");
    assert!(harbor.journal.calls("/api/v2.0/quotas") >= 3, "what they hold is asked for, too");
    let share = f64::from(u32::try_from(logins).unwrap()) * LOGIN / 3600.0;
    assert!(share < 0.005, "{logins} logins an hour: {:.2} % of a core", 100.0 * share);
    assert_eq!(platform.condition(Kind::Registry, "corp", "CredentialsValid").await[0], "True");
}

/// A client that read all projects: two private ones and a public one.
async fn read(harbor: &Harbor) -> Arc<dyn RegistryClient> {
    let target = target(&harbor.url(), Some(("admin", "Harbor12345")));
    let client = registry::client(RegistryType::Harbor, target).unwrap();
    client.check().await.unwrap();
    client.spaces(&|_, _| {}).await.unwrap();
    client
}

#[tokio::test]
async fn whatever_changed_calls_for_a_reading_of_all() {
    type Change = fn(&Harbor);
    let changes: [(&str, bool, Change); 10] = [
        ("one is public now", false, |harbor| harbor.flip("team", true)),
        ("one is private now", false, |harbor| harbor.flip("open", false)),
        ("a public one is made", false, |harbor| _ = harbor.add_project("new", true)),
        ("a public one is gone", false, |harbor| harbor.delete_project("open")),
        ("a private one is made", true, |harbor| _ = harbor.add_project("new", false)),
        ("a private one is gone", true, |harbor| harbor.delete_project("team")),
        ("a private one is made anew", true, |harbor| _ = harbor.remake_project("team")),
        ("another password", true, |harbor| harbor.set_admin_password("another")),
        ("somebody locks the account", true, |harbor| harbor.lock("admin")),
        ("the database is away", false, |harbor| harbor.set_database_away(Some(Duration::ZERO))),
    ];
    for (what, takes_login, change) in changes {
        let harbor = Harbor::start(Options { frozen: Duration::from_secs(5), ..Options::default() });
        harbor.add_project("team", false);
        harbor.add_project("more", false);
        harbor.add_project("open", true);
        let client = read(&harbor).await;
        harbor.journal.clear();
        let before = client.unchanged(false).await;
        assert!(before.is_some(), "{what}");
        assert_eq!(logins(&harbor), 0);
        assert_eq!((client.unchanged(true).await, logins(&harbor)), (before, 1), "{what}");
        change(&harbor);
        assert_eq!(client.unchanged(false).await.is_some(), takes_login, "{what}");
        assert_eq!(client.unchanged(true).await, None, "{what}");
    }
}

#[tokio::test]
async fn nothing_is_taken_for_unchanged_that_was_not_read_after_a_login() {
    let harbor = Harbor::start(Options { frozen: Duration::from_millis(1), ..Options::default() });
    harbor.add_project("team", false);
    let target = target(&harbor.url(), Some(("admin", "Harbor12345")));
    let client = registry::client(RegistryType::Harbor, target).unwrap();
    assert_eq!(client.unchanged(true).await, None);
    // Read, and nobody knows as whom.
    client.spaces(&|_, _| {}).await.unwrap();
    assert_eq!(client.unchanged(true).await, None);
    let client = read(&harbor).await;
    assert!(client.unchanged(true).await.is_some());
    // Another call was refused: that is to be looked into.
    harbor.set_admin_password("another");
    client.harbor().unwrap().robots("pullgate", None).await.unwrap_err();
    assert_eq!(client.unchanged(false).await, None);

    // Where nothing is private, an empty list says nothing of the login.
    let empty = Harbor::start(Options { frozen: Duration::from_millis(1), ..Options::default() });
    empty.add_project("open", true);
    let client = read(&empty).await;
    assert!(client.unchanged(true).await.is_some());
    empty.set_admin_password("another");
    assert_eq!(client.unchanged(true).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_robot_looks_in_each_pass() {
    let harbor = Harbor::start(Options::default());
    harbor.add_projects(20);
    let (name, secret) = harbor.make_robot(&pullgate::registry::harbor::rights::account("gate")).await;
    let platform = Platform::start();
    let spec = serde_json::json!({"type": "Harbor", "url": harbor.url()});
    platform.integrate("corp", spec, &name, &secret).await;
    eventually("all is recorded", async || platform.spaces().await.len() == 20).await;
    sleep(3 * INTERVAL).await;
    harbor.journal.clear();
    within(20 * INTERVAL, "five passes", async || passes(&harbor) > 5).await;
    let (logins, passes) = (logins(&harbor), passes(&harbor));
    assert!(logins <= passes + 1, "{logins} logins in {passes} passes");
    harbor.add_project("new", false);
    within(INTERVAL + Duration::from_secs(1), "it is seen", async || platform.spaces().await.len() == 21)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_who_is_none_any_more_is_noticed() {
    let harbor = Harbor::start(Options::default());
    harbor.add_projects(20);
    harbor.add_user("ann", "Ann12345");
    harbor.make_sysadmin_by_group("ann");
    let platform = Platform::start();
    let spec = serde_json::json!({"type": "Harbor", "url": harbor.url()});
    platform.integrate("corp", spec, "ann", "Ann12345").await;
    let account = async || platform.condition(Kind::Registry, "corp", "CredentialsValid").await;
    eventually("it is told", async || account().await[1] == "SystemAdmin").await;
    eventually("all is recorded", async || platform.spaces().await.len() == 20).await;
    sleep(2 * INTERVAL).await;
    harbor.make_project_admin("ann", "project-0003");
    harbor.revoke_sysadmin("ann");
    eventually("it is told", async || account().await[1] == "NotAnAdmin").await;
    assert_eq!(platform.spaces().await.len(), 20, "what is not to be seen is not gone");
    harbor.make_sysadmin_by_group("ann");
    within(40 * INTERVAL, "the right is noticed", async || account().await[1] == "SystemAdmin").await;
}
