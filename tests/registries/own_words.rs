//! What a registry says of a refusal stands beside pullgate's advice: in the fault, the condition and the log.

use axum::http::Method;
use pullgate::domain::record::Kind;
use pullgate::registry::fault::Fault;
use pullgate::registry::harbor::NewRobot;
use pullgate::types::v1alpha1::RobotLevel;

use super::outcomes::harbor_at;
use super::platform::{Platform, eventually};
use crate::doubles::faults::Fault as Wrong;
use crate::doubles::harbor::{Harbor, Options};
use crate::support::log::Log;

const ROBOTS: &str = "/api/v2.0/robots";

/// What becomes of the making of an account.
async fn mint(harbor: &Harbor) -> Fault {
    let projects = ["team".into()];
    let new =
        NewRobot { name: "x", level: RobotLevel::System, description: "", days: 1, projects: &projects };
    harbor_at(&harbor.url()).harbor().unwrap().mint(&new).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_any_status_carries_the_registrys_words() {
    let harbor = Harbor::start(Options::default());
    for (status, reason, ours) in [
        (400, "Rejected", "HTTP status 400"),
        (403, "NotPermitted", "may not make robot accounts"),
        (409, "Conflict", "such a thing already"),
        (412, "Rejected", "HTTP status 412"),
        (500, "Failing", "HTTP status 500"),
        (503, "Failing", "HTTP status 503"),
    ] {
        harbor.faults.clear();
        harbor.faults.on(ROBOTS, Wrong::Refusal(status, "the quota\u{1b}[31m of\n robots".to_owned()));
        let fault = mint(&harbor).await;
        let text = fault.to_string();
        assert_eq!(fault.reason(), reason, "{text}");
        assert!(text.contains(ours), "{text}");
        assert!(text.ends_with("; it says: the quota\\u{1b}[31m of robots"), "{text}");
        harbor.faults.clear();
        harbor.faults.on(ROBOTS, Wrong::Refusal(status, "x".repeat(100_000)));
        let text = mint(&harbor).await.to_string();
        assert!(!text.contains("xxx") || (text.ends_with("x…") && text.len() < 400), "{text}");
    }
    // The page of a proxy says nothing.
    harbor.faults.clear();
    harbor.faults.on(ROBOTS, Wrong::BadGateway);
    assert!(mint(&harbor).await.to_string().ends_with("HTTP status 502"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_comes_back_in_them_is_left_out() {
    let harbor = Harbor::start(Options::default());
    for status in [400, 403, 409, 500] {
        harbor.faults.clear();
        // As it was sent, too: base64 of `admin:Harbor12345`.
        let words = "no Harbor12345 or YWRtaW46SGFyYm9yMTIzNDU= for admin".to_owned();
        harbor.faults.on(ROBOTS, Wrong::Refusal(status, words));
        let text = mint(&harbor).await.to_string();
        assert!(text.ends_with("; it says: no [withheld] or [withheld] for admin"), "{text}");
    }
}

#[tokio::test]
async fn conditions_and_the_log_carry_them() {
    let log = Log::default();
    let _captured = log.capture();
    let harbor = Harbor::start(Options::default());
    harbor.add_project("team", false);
    harbor.faults.next_on(
        usize::MAX,
        &Method::POST,
        ROBOTS,
        Wrong::Refusal(403, "robots are made by the security team".to_owned()),
    );
    let platform = Platform::start();
    platform.integrate_harbor(&harbor).await;
    platform.workspace("a", &["a-prod"]).await;
    eventually("it is recorded", async || platform.spaces().await == ["corp.team"]).await;
    platform.bind("corp.team", &["a"]).await;
    let told = async |of: &str| platform.condition(Kind::Registry, "corp", of).await[2].clone();
    let ours = "may not make robot accounts; it says: robots are made by the security team";
    eventually("the accounts' condition says why", async || told("PullCredentials").await.contains(ours))
        .await;
    assert!(log.text().contains(ours), "{}", log.text());

    harbor.faults.on("/api/v2.0/systeminfo", Wrong::Refusal(503, "maintenance until noon".to_owned()));
    eventually("the registry's condition says why", async || {
        told("Reachable").await
            == "the registry answers with HTTP status 503; it says: maintenance until noon"
    })
    .await;
    assert!(log.text().contains("maintenance until noon"), "{}", log.text());
}
