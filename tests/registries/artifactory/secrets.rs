//! Where passwords and tokens go, and where not.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use pullgate::controllers::registries::Settings;
use pullgate::domain::record::Kind;
use pullgate::registry::artifactory::NewToken;
use pullgate::registry::fault::Fault;
use serde_json::json;

use super::{PASSWORD, artifactory, client, has_token, own, platform, settings, status, sync, tell, with};
use crate::doubles::artifactory::Options;
use crate::doubles::bait::Bait;
use crate::doubles::faults;
use crate::registries::platform::{INTERVAL, Platform, eventually, within};
use crate::support::log::Log;
use crate::support::memory_store::MemoryStore;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once_and_suspends_nobody() {
    let artifactory = artifactory(Options::default());
    let platform = platform(&artifactory, "jo", "guess", json!({})).await;
    let credentials = async || platform.condition(Kind::Registry, "corp", "CredentialsValid").await;
    eventually("it is told", async || credentials().await[0] == "False").await;
    let tried = || {
        let seen = artifactory.journal.requests();
        seen.iter().filter(|seen| seen.authorization().is_some()).count()
    };
    let pings = || artifactory.journal.calls("/artifactory/api/system/ping");
    for _ in 0..6 {
        sync(&platform).await;
        tokio::time::sleep(INTERVAL / 2).await;
    }
    within(10 * INTERVAL, "several passes", async || pings() > 3).await;
    assert_eq!(tried(), 1);
    assert!(!artifactory.is_suspended("jo"));
    assert_eq!(credentials().await[1], "CredentialsRejected");
    // The right one is taken at once.
    let spec = platform.document(Kind::Registry, "corp").await.unwrap().spec;
    platform.integrate("corp", spec, "jo", "Pa55word").await;
    sync(&platform).await;
    eventually("the right one is taken", async || credentials().await[0] == "True").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_is_kept_out_is_left_alone() {
    let artifactory = artifactory(Options::default());
    let guess = reqwest::Client::new();
    let url = format!("{}/artifactory/api/system/ping", artifactory.url());
    for _ in 0..5 {
        guess.get(&url).basic_auth("jo", Some("guess")).send().await.unwrap();
    }
    assert!(artifactory.is_suspended("jo"));
    artifactory.journal.clear();
    let platform = platform(&artifactory, "jo", "Pa55word", json!({})).await;
    let credentials = async || platform.condition(Kind::Registry, "corp", "CredentialsValid").await;
    eventually("it is told", async || credentials().await[2].contains("keeps the account out")).await;
    tokio::time::sleep(3 * INTERVAL).await;
    let seen = artifactory.journal.requests();
    assert_eq!(seen.iter().filter(|seen| seen.authorization().is_some()).count(), 1);
    assert!(credentials().await[2].contains("keeps the account out"), "{:?}", credentials().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_artifactory_gets_no_password() {
    let bait = Bait::start(None);
    let platform = Platform::with(Arc::new(MemoryStore::default()), settings());
    platform.workspace("a", &["a-prod"]).await;
    let spec = json!({"type": "Artifactory", "url": bait.url(), "workspace": "a"});
    platform.integrate("corp", spec, "admin", PASSWORD).await;
    eventually("it is known", async || {
        platform.condition(Kind::Registry, "corp", "Reachable").await[1] == "WrongType"
    })
    .await;
    assert!(bait.credentials().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_redirect_takes_a_password_or_a_token_along() {
    for status in [301, 302, 303, 307, 308] {
        let (artifactory, bait) = (artifactory(Options::default()), Bait::start(None));
        let client = client(&artifactory);
        let client = client.artifactory().unwrap();
        let life = Duration::from_hours(24);
        let new = NewToken { username: "admin", scope: "s", life, description: "d" };
        artifactory
            .faults
            .always(faults::Fault::Redirect(status, format!("{}/access/api/v1/tokens", bait.url())));
        assert!(matches!(client.mint(&new).await, Err(Fault::Redirected(_))), "{status}");
        assert!(matches!(
            client.revoke("11111111-2222-3333-4444-555555555555").await,
            Err(Fault::Redirected(_))
        ));
        assert!(matches!(client.opens(&"token".into(), &"team-a".into()).await, Err(Fault::Redirected(_))));
        assert!(bait.journal.requests().is_empty(), "{status}");
        let shown = artifactory.journal.requests();
        assert!(shown.len() >= 3 && shown.iter().all(|seen| seen.authorization().is_some()));
    }
}

/// On one thread, so that every task logs to it.
#[tokio::test]
async fn no_password_and_no_token_is_told_or_logged() {
    let log = Log::default();
    let _logging = log.capture();
    let artifactory = artifactory(Options::default());
    let secret = "Pa55-of-the-workspace";
    artifactory.set_password("admin", secret);
    let platform = platform(&artifactory, "admin", secret, json!({})).await;
    eventually("there is a token", async || has_token(&platform).await && own(&platform).await.1 != secret)
        .await;
    let mut secrets = vec![secret.to_owned(), own(&platform).await.1];
    // What goes wrong is told, too.
    artifactory.faults.next_on(1, &reqwest::Method::POST, "/access/api/v1/tokens", faults::Fault::HalfJson);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    tell(&platform, |status| status["rotationRequested"] = json!(Timestamp::now())).await;
    eventually("there is another one", async || own(&platform).await.1 != secrets[1]).await;
    secrets.push(own(&platform).await.1);
    artifactory.set_password("admin", "another");
    eventually("it is rejected", async || {
        platform.condition(Kind::Registry, "corp", "CredentialsValid").await[0] == "False"
    })
    .await;
    let client = client(&artifactory);
    let logged = log.text();
    assert!(logged.contains("a token is in use") && logged.contains("TRACE"), "{}", logged.len());
    let debug = format!("{:?} {:?}", client.artifactory(), client.check().await);
    secrets.push(PASSWORD.to_owned());
    let told = status(&platform).await.to_string()
        + &platform.document(Kind::Registry, "corp").await.unwrap().spec.to_string();
    for secret in secrets {
        let encoded = BASE64_STANDARD.encode(format!("admin:{secret}"));
        for (what, text) in [("log", &logged), ("debug", &debug), ("record", &told)] {
            assert!(!text.contains(&secret) && !text.contains(&encoded), "in the {what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_is_refused_unless_its_range_is_allowed() {
    let artifactory = artifactory(Options::default());
    let none = Settings { interval: INTERVAL, ..Settings::default() };
    let other = Settings { allowed: Arc::new(["10.0.0.0/8".parse().unwrap()]), ..none.clone() };
    for settings in [none, other] {
        let platform = with(settings, &artifactory, "admin", PASSWORD, json!({})).await;
        let reachable = async || platform.condition(Kind::Registry, "corp", "Reachable").await;
        eventually("it is refused", async || reachable().await[1] == "AddressForbidden").await;
        assert!(reachable().await[2].contains("--allow-registry-range"));
    }
    // A name that resolves there is no way around.
    let settings = Settings { interval: INTERVAL, ..Settings::default() };
    let url = artifactory.url().replace("127.0.0.1", "localhost");
    let platform = with(
        settings,
        &artifactory,
        "admin",
        PASSWORD,
        json!({"url": url, "imageHosts": ["art.example.com"]}),
    )
    .await;
    eventually("it is refused", async || {
        platform.condition(Kind::Registry, "corp", "Reachable").await[1] == "AddressForbidden"
    })
    .await;
    assert!(artifactory.journal.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_follows_a_redirect() {
    let bait = Bait::start(None);
    for status in [301, 302, 303, 307, 308] {
        for path in [
            "/artifactory/api/system/ping",
            "/artifactory/api/system/version",
            "/artifactory/api/repositories",
            "/access/api/v1/tokens",
            "/artifactory/api/docker/",
        ] {
            let artifactory = artifactory(Options::default());
            artifactory.faults.on(path, faults::Fault::Redirect(status, format!("{}{path}", bait.url())));
            let client = client(&artifactory);
            let art = client.artifactory().unwrap();
            let fault = async {
                client.check().await?;
                client.spaces(&|_, _| {}).await?;
                client.resolve(&artifactory.host(), "team-a/app", "1").await?;
                art.tokens().await?;
                Ok::<_, Fault>(())
            };
            let fault = fault.await.unwrap_err();
            assert!(matches!(fault, Fault::Redirected(ref to) if *to == bait.url()), "{path}: {fault:?}");
        }
    }
    assert!(bait.journal.requests().is_empty());
}
