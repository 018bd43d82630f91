//! A login that fails: whether its password is wrong, or nobody can tell, and what goes on meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pullgate::controllers::registries::Settings;
use pullgate::domain::record::{Kind, RegistryType};
use pullgate::registry::fault::{Doubt, Fault};
use pullgate::registry::{self, RegistryClient};
use pullgate::store::{CredentialChange, Precondition};
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

use super::outcomes::target;
use super::platform::{Platform, eventually, within};
use super::served::{integrate, overview, server};
use crate::doubles::basic::basic;
use crate::doubles::faults::Fault as Wrong;
use crate::doubles::harbor::{Harbor, Options};
use crate::support::memory_store::MemoryStore;

/// How long a real Harbor may call its database healthy that is away.
const NOTICED: Duration = Duration::from_secs(10);

fn client(harbor: &Harbor, password: &str) -> Arc<dyn RegistryClient> {
    registry::client(RegistryType::Harbor, target(&harbor.url(), Some(("admin", password)))).unwrap()
}

/// One that is asked as seldom as an installation's.
async fn platform(harbor: &Harbor) -> Platform {
    harbor.add_project("team", false);
    harbor.add_project("more", false);
    let platform = Platform::with(Arc::new(MemoryStore::default()), Settings::default());
    platform.workspace("a", &["a-prod"]).await;
    platform.workspace("b", &["b-prod"]).await;
    platform.integrate_harbor(harbor).await;
    eventually("it is discovered", async || platform.spaces().await.len() == 2).await;
    platform.bind("corp.team", &["a"]).await;
    eventually("there is an account", async || platform.robot("a", None).await.is_some()).await;
    platform
}

async fn login(platform: &Platform) -> [String; 3] {
    platform.condition(Kind::Registry, "corp", "CredentialsValid").await
}

/// Asks for a pass as `pullgate registry sync` does.
async fn sync(platform: &Platform) {
    let now = jiff::Timestamp::now();
    loop {
        let mut document = platform.document(Kind::Registry, "corp").await.unwrap();
        document.status["syncRequested"] = serde_json::json!(now);
        let at = Precondition::Version(document.version.clone());
        if platform.store.put(document, at, CredentialChange::Keep).await.is_ok() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_for_three_seconds_costs_seconds() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    harbor.set_database_away(Some(NOTICED));
    let away = Instant::now();
    sync(&platform).await;
    platform.bind("corp.more", &["b"]).await;
    eventually("it is told", async || login(&platform).await[1] == "CredentialsNotChecked").await;
    let [status, _, message] = login(&platform).await;
    assert_eq!(status, "Unknown");
    assert!(!message.contains("store the right ones"), "{message}");
    sleep(Duration::from_secs(3).saturating_sub(away.elapsed())).await;
    harbor.set_database_away(None);
    within(Duration::from_secs(6), "the login holds", async || login(&platform).await[0] == "True").await;
    within(Duration::from_secs(3), "accounts are made", async || platform.robot("b", None).await.is_some())
        .await;
    within(Duration::from_secs(3), "projects are read", async || {
        platform.condition(Kind::Registry, "corp", "Discovered").await[0] == "True"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_password_that_is_new_is_not_called_wrong_while_the_health_is_told_late() {
    let harbor = Harbor::start(Options::default());
    harbor.set_database_away(Some(NOTICED));
    let away = Instant::now();
    let new = client(&harbor, "Harbor12345");
    while away.elapsed() < Duration::from_secs(7) {
        let ill = Fault::CredentialsNotChecked(Doubt::Ill("database"));
        assert_eq!(new.check().await.unwrap_err(), ill, "after {:?}", away.elapsed());
        sleep(Duration::from_secs(1)).await;
    }
    harbor.set_database_away(None);
    new.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_somebody_else_locks_is_not_called_wrong() {
    let harbor = Arc::new(Harbor::start(Options::default()));
    let platform = platform(&harbor).await;
    let locking = tokio::spawn({
        let harbor = harbor.clone();
        async move {
            loop {
                harbor.lock("admin");
                sleep(Duration::from_millis(100)).await;
            }
        }
    });
    sync(&platform).await;
    eventually("it is told", async || login(&platform).await[1] == "CredentialsNotChecked").await;
    assert!(login(&platform).await[2].contains("failed logins of somebody else"));
    sleep(Duration::from_secs(4)).await;
    assert_eq!(login(&platform).await[1], "CredentialsNotChecked");
    locking.abort();
    let _ = locking.await;
    within(Duration::from_secs(12), "the login holds", async || login(&platform).await[0] == "True").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_s_lock_is_waited_for() {
    let harbor = Harbor::start(Options::default());
    let client = client(&harbor, "Harbor12345");
    harbor.lock("admin");
    client.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_found_wrong_once_it_can_be_looked_at() {
    let harbor = Harbor::start(Options::default());
    let wrong = client(&harbor, "wrong");
    let looks = || harbor.journal.calls("/api/v2.0/users/current");
    harbor.set_database_away(Some(Duration::ZERO));
    for looked in 1..4 {
        let ill = Fault::CredentialsNotChecked(Doubt::Ill("database"));
        assert_eq!(wrong.check().await.unwrap_err(), ill);
        assert_eq!(looks(), looked, "where the database is away, one look is enough");
    }
    harbor.set_database_away(None);
    assert_eq!(wrong.check().await.unwrap_err(), Fault::CredentialsRejected);
    assert_eq!(wrong.check().await.unwrap_err(), Fault::CredentialsHeldBack);

    // One that held before and is another by now.
    let client = client(&harbor, "Harbor12345");
    client.check().await.unwrap();
    harbor.set_admin_password("another");
    assert_eq!(client.check().await.unwrap_err(), Fault::CredentialsRejected);
    assert_eq!(client.check().await.unwrap_err(), Fault::CredentialsHeldBack);

    // Nobody says how it is.
    let silent = Harbor::start(Options::default());
    silent.faults.on("/api/v2.0/health", Wrong::Status(500));
    let wrong = self::client(&silent, "wrong");
    assert_eq!(wrong.check().await.unwrap_err(), Fault::CredentialsNotChecked(Doubt::Silent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_login_is_refused_is_no_matter_of_rights() {
    let harbor = Harbor::start(Options::default());
    harbor.add_project("team", false);
    let client = client(&harbor, "Harbor12345");
    client.check().await.unwrap();
    harbor.set_database_away(Some(NOTICED));
    let api = client.harbor().unwrap();
    assert_eq!(api.space("team").await.unwrap_err().reason(), "CredentialsNotChecked");
    assert_eq!(api.robots("pullgate", None).await.unwrap_err().reason(), "CredentialsNotChecked");
    let robot = api.accepts("robot$any", &"Secret123".into()).await;
    assert_eq!(robot.unwrap_err().reason(), "CredentialsNotChecked", "nor is a pull account's secret wrong");
    harbor.set_database_away(None);
    assert!(api.space("team").await.unwrap().is_some(), "nothing is held back");
    harbor.lock("admin");
    assert_eq!(client.resolve("host", "team/app", "1").await.unwrap(), None, "the lock is over by then");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_credential_is_tried_at_once() {
    let harbor = Harbor::start(Options::default());
    harbor.add_project("team", false);
    harbor.add_user("ann", "Ann12345");
    harbor.make_sysadmin_by_group("ann");
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), "3600").await;
    integrate(&server, "corp", json!({"type": "Harbor", "url": harbor.url()}), "admin", "Harbor12345").await;
    eventually("it is discovered", async || overview(&server, "corp").await["spaces"]["total"] == 1).await;
    // What was changed by the discovery is read once more, and then the next look of its own is an hour away.
    sleep(Duration::from_secs(3)).await;
    let credential = json!({"username": "ann", "password": "Ann12345"});
    server.call(Method::PUT, "/registries/corp/credential", Some(credential)).await;
    eventually("it is tried", async || {
        let seen = harbor.journal.requests();
        seen.iter().filter_map(|seen| basic(&seen.headers)).any(|(user, _)| user == "ann")
    })
    .await;
}
