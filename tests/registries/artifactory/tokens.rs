//! The token in place of the workspace's own credential.

use std::time::Duration;

use jiff::Timestamp;
use pullgate::controllers::registries::Settings;
use pullgate::domain::record::Kind;
use serde_json::{Value, json};

use super::{
    OVERLAP, PASSWORD, artifactory, given, has_token, own, platform, settings, status, sync, tell, with,
};
use crate::doubles::artifactory::{Artifactory, Options};
use crate::doubles::faults;
use crate::registries::platform::{INTERVAL, Platform, eventually, within};

/// Whether somebody who logs in so may pull from a repository, asked as a node does.
async fn can_pull(artifactory: &Artifactory, (user, password): &(String, String), key: &str) -> bool {
    let client = reqwest::Client::new();
    let url = format!("{}/v2/token?service=x&scope=repository:{key}/app:pull", artifactory.url());
    let answer = client.get(url).basic_auth(user, Some(password)).send().await.unwrap();
    if !answer.status().is_success() {
        return false;
    }
    let token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    let url = format!("{}/v2/{key}/app/tags/list", artifactory.url());
    client.get(url).bearer_auth(token).send().await.unwrap().status() == 404
}

async fn has_own(platform: &Platform, username: &str, password: &str) -> bool {
    own(platform).await == (username.to_owned(), password.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_pull_with_a_token_that_pulls_what_the_workspace_claims_and_nothing_else() {
    let artifactory = artifactory(Options::default());
    let platform = platform(&artifactory, "admin", PASSWORD, json!({"paths": ["team-a/web"]})).await;
    eventually("there is a token", async || has_token(&platform).await).await;
    eventually("it is handed out", async || own(&platform).await.1 != PASSWORD).await;
    let token = own(&platform).await;
    assert_eq!(token.0, "admin", "the subject of the token");
    let keys: Vec<String> = given(&platform, "a-prod").await.into_keys().collect();
    let key = format!("{}/v2/team-a/web", artifactory.host());
    assert_eq!(keys, [key.clone(), format!("{key}/")], "the repository of that name, and all below it");
    assert!(given(&platform, "b-prod").await.is_empty());
    assert!(can_pull(&artifactory, &token, "team-a").await);
    assert!(!can_pull(&artifactory, &token, "team-b").await);
    let kept = artifactory.tokens().pop().unwrap();
    assert_eq!((kept.subject.as_str(), kept.scope.as_str()), ("admin", "artifact:team-a/**:r"));
    let mark: Value = serde_json::from_str(&kept.description).unwrap();
    assert_eq!(mark, json!({"pullgate": "installation-of-the-test", "registry": "corp", "workspace": "a"}));
    let told = status(&platform).await["robots"].take();
    assert_eq!(told.as_array().unwrap().len(), 1);
    assert_eq!((&told[0]["id"], &told[0]["scope"]), (&json!(kept.id), &json!("artifact:team-a/**:r")));
    let end: Timestamp = told[0]["expiresAt"].as_str().unwrap().parse().unwrap();
    let days = end.duration_since(Timestamp::now()).as_hours() / 24;
    assert!((6..=7).contains(&days), "{days}");
    assert_eq!(
        platform.condition(Kind::Registry, "corp", "PullCredentials").await[..2],
        ["True", "ScopedToken"]
    );

    // It was seen to work as a node logs in, before anybody had it.
    let basic = |seen: &&crate::doubles::journal::Seen| {
        seen.authorization().is_some_and(|a| a.starts_with("Basic"))
            && seen.path.contains("/api/docker/team-a/")
    };
    assert_eq!(artifactory.journal.requests().iter().filter(basic).count(), 1);
    // A pass that finds all as it should be makes none.
    sync(&platform).await;
    tokio::time::sleep(2 * INTERVAL).await;
    assert_eq!(artifactory.tokens().len(), 1);
    assert_eq!(own(&platform).await, token);

    // What is claimed changes, and the token with it.
    platform.edit(Kind::Registry, "corp", |spec| spec["paths"] = json!([])).await;
    sync(&platform).await;
    let wide = "artifact:team-a/**:r artifact:team-b/**:r";
    eventually("it covers both", async || artifactory.tokens().iter().any(|kept| kept.scope == wide)).await;
    eventually("the narrow one is taken back", async || artifactory.tokens().len() == 1).await;
    assert!(can_pull(&artifactory, &own(&platform).await, "team-b").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_replaced_with_overlap_before_it_ends_on_demand_and_when_it_fails() {
    let artifactory = artifactory(Options::default());
    let platform = platform(&artifactory, "admin", PASSWORD, json!({})).await;
    eventually("there is a token", async || has_token(&platform).await && own(&platform).await.1 != PASSWORD)
        .await;
    let first = own(&platform).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    tell(&platform, |status| status["rotationRequested"] = json!(Timestamp::now())).await;
    eventually("there is another one", async || own(&platform).await != first).await;
    assert!(can_pull(&artifactory, &first, "team-a").await, "both are good for a while");
    assert!(can_pull(&artifactory, &own(&platform).await, "team-a").await);
    eventually("the first one is taken back", async || artifactory.tokens().len() == 1).await;
    assert!(!can_pull(&artifactory, &first, "team-a").await);
    eventually("and forgotten", async || status(&platform).await["robots"].as_array().unwrap().len() == 1)
        .await;
    artifactory.forgive("admin");

    // Somebody takes the token back.
    let second = own(&platform).await;
    artifactory.revoke(&artifactory.tokens()[0].id);
    sync(&platform).await;
    eventually("there is a third one", async || own(&platform).await != second).await;
    assert!(can_pull(&artifactory, &own(&platform).await, "team-a").await);

    // One with a short life is replaced in its last third, and no pull fails on the way.
    let short = Settings { token_life: Duration::from_secs(6), overlap: OVERLAP, ..settings() };
    let platform = with(short, &artifactory, "admin", PASSWORD, json!({})).await;
    eventually("it has a token", async || has_token(&platform).await && own(&platform).await.1 != PASSWORD)
        .await;
    let mut seen = vec![own(&platform).await];
    within(Duration::from_secs(15), "two replacements", async || {
        let now = own(&platform).await;
        assert!(can_pull(&artifactory, &now, "team-a").await, "a namespace has a credential that fails");
        if !seen.contains(&now) {
            seen.push(now);
        }
        seen.len() >= 3
    })
    .await;
    assert!(!seen.iter().any(|(_, password)| password == PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tokens_are_not_permitted_the_workspaces_own_credential_is_handed_out() {
    // Who is no administrator may not ask for less than everything.
    let artifactory = artifactory(Options::default());
    let platform = platform(&artifactory, "jo", "Pa55word", json!({})).await;
    let pull = async || platform.condition(Kind::Registry, "corp", "PullCredentials").await;
    eventually("it is told", async || pull().await[1] == "OwnCredential").await;
    assert_eq!(pull().await[0], "True");
    assert!(has_own(&platform, "jo", "Pa55word").await);
    assert!(artifactory.tokens().is_empty());

    // Too many repositories for one token, unless fewer are claimed.
    for number in 0..30 {
        artifactory.add_repository(&format!("team-{number:02}"), "Docker", 0);
    }
    let platform = self::platform(&artifactory, "admin", PASSWORD, json!({})).await;
    let pull = async || platform.condition(Kind::Registry, "corp", "PullCredentials").await;
    eventually("it is told", async || pull().await[2].contains("spec.paths")).await;
    assert!(has_own(&platform, "admin", PASSWORD).await);
    platform.edit(Kind::Registry, "corp", |spec| spec["paths"] = json!(["team-01", "team-02"])).await;
    sync(&platform).await;
    eventually("two can be had", async || has_token(&platform).await).await;
    eventually("it is handed out", async || own(&platform).await.1 != PASSWORD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_without_a_credential_when_tokens_are_forbidden_later() {
    let artifactory = artifactory(Options::default());
    let platform = platform(&artifactory, "admin", PASSWORD, json!({})).await;
    eventually("there is a token", async || has_token(&platform).await && own(&platform).await.1 != PASSWORD)
        .await;
    let first = own(&platform).await;
    artifactory.forbid_tokens();
    sync(&platform).await;
    tokio::time::sleep(2 * INTERVAL).await;
    assert_eq!(own(&platform).await, first, "a good one is good for the rest of its life");
    // The paths want another one, which cannot be had.
    platform.edit(Kind::Registry, "corp", |spec| spec["paths"] = json!(["team-a"])).await;
    sync(&platform).await;
    let mut withdrawn = false;
    eventually("the own one is handed out", async || {
        let now = own(&platform).await;
        assert!(can_pull(&artifactory, &now, "team-a").await, "a namespace has a credential that fails");
        let told = status(&platform).await["robotLevel"] == "System";
        withdrawn |= !told;
        // The token goes after the status says so, and not before.
        assert!(!told || platform.robot("a", None).await.is_some());
        now.1 == PASSWORD
    })
    .await;
    assert!(withdrawn);
    // It cannot be taken back as long as that is forbidden too; then it is.
    artifactory.allow_tokens();
    sync(&platform).await;
    eventually("there is one again", async || {
        has_token(&platform).await && own(&platform).await.1 != PASSWORD
    })
    .await;
    eventually("the wide one is gone", async || artifactory.tokens().len() == 1).await;
    assert_eq!(artifactory.tokens()[0].scope, "artifact:team-a/**:r");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_behind_is_taken_back_and_nothing_else() {
    let artifactory = artifactory(Options::default());
    let mark = |installation: &str, registry: &str| {
        json!({"pullgate": installation, "registry": registry, "workspace": "a"}).to_string()
    };
    let ours = artifactory.leave_token(&mark("installation-of-the-test", "corp"));
    let others = [
        artifactory.leave_token(&mark("installation-of-another", "corp")),
        artifactory.leave_token(&mark("installation-of-the-test", "other")),
        artifactory.leave_token("for the build"),
    ];
    let mut platform = platform(&artifactory, "admin", PASSWORD, json!({})).await;
    eventually("there is a token", async || has_token(&platform).await && own(&platform).await.1 != PASSWORD)
        .await;
    let ids = || artifactory.tokens().into_iter().map(|kept| kept.id).collect::<Vec<_>>();
    assert!(!ids().contains(&ours));
    assert!(others.iter().all(|other| ids().contains(other)));

    // A crash after the token was stored, and before the status said so.
    let stored = own(&platform).await;
    let id = status(&platform).await["robots"][0]["id"].as_str().unwrap().to_owned();
    platform.crash().await;
    tell(&platform, |status| {
        status["robots"] = json!([]);
        status["robotLevel"] = Value::Null;
    })
    .await;
    platform.resume();
    eventually("there is another one", async || {
        has_token(&platform).await && {
            let now = own(&platform).await;
            assert!(can_pull(&artifactory, &now, "team-a").await);
            now != stored && now.1 != PASSWORD
        }
    })
    .await;
    eventually("the unknown one is taken back", async || !ids().contains(&id)).await;
    assert_eq!(ids().len(), 4, "{:?}", ids());

    // The answer to the making of one is lost.
    platform.crash().await;
    artifactory.revoke(status(&platform).await["robots"][0]["id"].as_str().unwrap());
    let lost = faults::Fault::ClosedAfterwards;
    artifactory.faults.next_on(1, &reqwest::Method::POST, "/access/api/v1/tokens", lost);
    platform.resume();
    eventually("one is in use, and one only", async || {
        has_token(&platform).await
            && ids().len() == 4
            && can_pull(&artifactory, &own(&platform).await, "team-a").await
    })
    .await;

    // The record goes, and its token.
    let version = platform.document(Kind::Registry, "corp").await.unwrap().version;
    while platform.store.delete(Kind::Registry, "corp", &version).await.is_err() {
        let version = platform.document(Kind::Registry, "corp").await.unwrap().version;
        if platform.store.delete(Kind::Registry, "corp", &version).await.is_ok() {
            break;
        }
    }
    eventually("its token is taken back", async || ids() == others).await;
}
