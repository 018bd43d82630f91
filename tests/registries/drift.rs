//! A Harbor that changes by itself, fails, or lies: what stays in force, and what follows.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::IntoResponse as _;
use axum::routing::get;
use pullgate::domain::decision::Reason;
use pullgate::domain::record::Kind;
use serde_json::json;
use tokio::net::TcpListener;

use super::platform::{INTERVAL, Platform, SOON, eventually, within};
use crate::doubles::faults::Fault;
use crate::doubles::harbor::{Harbor, Options};

const AT_ONCE: Duration = Duration::from_secs(1);

/// A platform with the private project `team`, bound to workspace `a`, and the public one `open`.
async fn platform(harbor: &Harbor) -> Platform {
    harbor.add_project("team", false);
    harbor.add_project("open", true);
    let platform = Platform::start();
    platform.workspace("a", &["a-prod"]).await;
    platform.integrate_harbor(harbor).await;
    eventually("the projects are recorded", async || {
        platform.spaces().await.iter().any(|name| name == "corp.team")
    })
    .await;
    platform.bind("corp.team", &["a"]).await;
    let (team, open) = (image(harbor, "team"), image(harbor, "open"));
    eventually("the projects are decided by", async || {
        platform.reason("a-prod", &team) == Reason::Bound && platform.reason("b", &open) == Reason::Public
    })
    .await;
    platform
}

fn image(harbor: &Harbor, project: &str) -> String {
    format!("{}/{project}/app:1", harbor.host())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_flipped_in_harbor_is_decided_anew_within_the_interval_and_a_second() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    let open = image(&harbor, "open");
    for public in [false, true, false] {
        harbor.flip("open", public);
        let expected = if public { Reason::Public } else { Reason::NoWorkspace };
        within(INTERVAL + AT_ONCE, "the flip", async || platform.reason("b", &open) == expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_visibility_is_set_in_harbor_and_kept() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    platform.edit(Kind::RegistrySpace, "corp.open", |spec| spec["visibility"] = json!("Private")).await;
    eventually("it is set", async || !harbor.project("open").unwrap().is_public()).await;
    harbor.flip("open", true);
    // Public in Harbor and declared private is private at every moment.
    let open = image(&harbor, "open");
    eventually("the drift is mended", async || {
        assert_ne!(platform.reason("b", &open), Reason::Public);
        !harbor.project("open").unwrap().is_public()
    })
    .await;
    platform.edit(Kind::RegistrySpace, "corp.open", |spec| spec["visibility"] = json!("Public")).await;
    eventually("it is public", async || platform.reason("b", &open) == Reason::Public).await;
    assert!(harbor.project("open").unwrap().is_public());

    harbor.set_read_only(true);
    platform.edit(Kind::RegistrySpace, "corp.open", |spec| spec["visibility"] = json!("Private")).await;
    eventually("the refusal is told", async || {
        platform.condition(Kind::RegistrySpace, "corp.open", "Synced").await[1] == "ReadOnly"
    })
    .await;
    assert_ne!(platform.reason("b", &open), Reason::Public);
    eventually("the mode is told", async || {
        platform.condition(Kind::Registry, "corp", "Healthy").await[1] == "ReadOnly"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_space_that_harbor_lacks_is_made_there() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    let spec = json!({"registry": "corp", "path": "fresh", "visibility": "Public"});
    platform.put(Kind::RegistrySpace, "corp.fresh", spec).await;
    let image = image(&harbor, "fresh");
    eventually("it is made and public", async || {
        harbor.project("fresh").is_some() && platform.reason("b", &image) == Reason::Public
    })
    .await;
    assert!(harbor.project("fresh").unwrap().is_public());
    platform.put(Kind::RegistrySpace, "corp.12345", json!({"registry": "corp", "path": "12345"})).await;
    eventually("a name of digits too", async || harbor.project("12345").is_some()).await;
    assert!(!harbor.project("12345").unwrap().is_public());
    // Removing a record never deletes images.
    let record = platform.document(Kind::RegistrySpace, "corp.fresh").await.unwrap();
    platform.store.delete(Kind::RegistrySpace, "corp.fresh", &record.version).await.unwrap();
    eventually("it is discovered anew", async || platform.spaces().await.contains(&"corp.fresh".to_owned()))
        .await;
    assert!(harbor.project("fresh").is_some());
    let again = platform.document(Kind::RegistrySpace, "corp.fresh").await.unwrap();
    assert_eq!(again.spec, json!({"registry": "corp", "path": "fresh"}), "bound to nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_is_gone_takes_its_record_along_unless_it_was_bound() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    harbor.delete_project("open");
    harbor.delete_project("team");
    eventually("the unbound one goes", async || !platform.spaces().await.contains(&"corp.open".to_owned()))
        .await;
    eventually("the bound one is missing", async || {
        platform.condition(Kind::RegistrySpace, "corp.team", "Synced").await[1] == "Missing"
    })
    .await;
    assert_eq!(
        platform.document(Kind::RegistrySpace, "corp.team").await.unwrap().spec["workspaces"],
        json!(["a"])
    );
    assert!(harbor.project("team").is_none(), "what was deleted is not made again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_made_again_under_its_name_inherits_no_binding_until_somebody_confirms_it() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    let team = image(&harbor, "team");
    harbor.delete_project("team");
    let new = harbor.add_project("team", false);
    eventually("the binding rests", async || platform.reason("a-prod", &team) == Reason::NotBound).await;
    let status = platform.status(Kind::RegistrySpace, "corp.team").await;
    assert_eq!((&status["suspended"], &status["projectId"]), (&json!(true), &json!(new)));
    assert_eq!(platform.condition(Kind::RegistrySpace, "corp.team", "Synced").await[1], "MadeAnew");
    tokio::time::sleep(3 * INTERVAL).await;
    assert_eq!(platform.reason("a-prod", &team), Reason::NotBound, "it rests for good");
    platform.edit(Kind::RegistrySpace, "corp.team", |spec| spec["projectId"] = json!(new - 1)).await;
    tokio::time::sleep(2 * INTERVAL).await;
    assert_eq!(platform.reason("a-prod", &team), Reason::NotBound, "another project was confirmed");
    platform.edit(Kind::RegistrySpace, "corp.team", |spec| spec["projectId"] = json!(new)).await;
    eventually("the binding holds", async || platform.reason("a-prod", &team) == Reason::Bound).await;
    assert_eq!(platform.condition(Kind::RegistrySpace, "corp.team", "Synced").await[1], "Done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_without_statuses_confirms_no_binding_that_rests() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    let team = image(&harbor, "team");
    let first = harbor.project("team").unwrap().id;
    let noted = async |platform: &Platform| {
        platform.document(Kind::RegistrySpace, "corp.team").await.unwrap().spec["projectId"].clone()
    };
    eventually("what the binding is for is noted", async || noted(&platform).await == json!(first)).await;
    harbor.delete_project("team");
    harbor.add_project("team", false);
    eventually("the binding rests", async || platform.reason("a-prod", &team) == Reason::NotBound).await;
    assert_eq!(noted(&platform).await, json!(first));
    let spec = platform.document(Kind::RegistrySpace, "corp.team").await.unwrap().spec;
    // All anew, from specs alone. Before the registry was read, and ever after.
    let restored = Platform::start();
    restored.workspace("a", &["a-prod"]).await;
    restored.put(Kind::RegistrySpace, "corp.team", spec).await;
    restored.integrate_harbor(&harbor).await;
    eventually("the registry is read", async || {
        assert_ne!(restored.reason("a-prod", &team), Reason::Bound);
        restored.condition(Kind::RegistrySpace, "corp.team", "Synced").await[1] == "MadeAnew"
    })
    .await;
    assert_eq!(restored.reason("a-prod", &team), Reason::NotBound);
    // One that was never made anew is as before, once it was seen.
    harbor.add_project("same", false);
    let same = harbor.project("same").unwrap().id;
    restored
        .put(
            Kind::RegistrySpace,
            "corp.same",
            json!({"registry": "corp", "path": "same", "workspaces": ["a"], "projectId": same}),
        )
        .await;
    let image = image(&harbor, "same");
    eventually("it is bound", async || restored.reason("a-prod", &image) == Reason::Bound).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harbor_that_is_down_changes_no_decision_and_recovers_by_itself() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    let (team, open) = (image(&harbor, "team"), image(&harbor, "open"));
    let hold = || {
        assert_eq!(platform.reason("a-prod", &team), Reason::Bound);
        assert_eq!(platform.reason("b", &team), Reason::NoWorkspace);
        assert_eq!(platform.reason("b", &open), Reason::Public);
    };
    let before = platform.status(Kind::Registry, "corp").await;
    harbor.stop();
    eventually("it is told", async || {
        platform.condition(Kind::Registry, "corp", "Reachable").await[1] == "ConnectionRefused"
    })
    .await;
    hold();
    let status = platform.status(Kind::Registry, "corp").await;
    assert_eq!(status["lastSuccess"], before["lastSuccess"], "its age is to be seen");
    assert_eq!(status["spaces"], before["spaces"]);
    assert!(platform.metrics.render().unwrap().contains("pullgate_registry_up{registry=\"corp\"} 0"));
    // For as long as it takes; its own clock is all that goes on.
    tokio::time::sleep(5 * INTERVAL).await;
    hold();
    harbor.resume();
    harbor.flip("open", false);
    within(Duration::from_secs(20), "it recovers", async || {
        platform.reason("b", &open) == Reason::NoWorkspace
    })
    .await;
    eventually("it is told", async || {
        platform.condition(Kind::Registry, "corp", "Reachable").await[0] == "True"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_trusted_takes_nothing_away() {
    for fault in [
        Fault::Status(500),
        Fault::BadGateway,
        Fault::Truncated,
        Fault::HalfJson,
        Fault::WrongTypes,
        Fault::Html,
        Fault::Garbage,
        Fault::Closed,
        Fault::Endless,
        Fault::TooManyFor(1),
        Fault::Status(401),
        Fault::Status(403),
        Fault::Status(404),
    ] {
        let harbor = Harbor::start(Options::default());
        let platform = platform(&harbor).await;
        harbor.faults.on("/api/v2.0/projects", fault.clone());
        within(Duration::from_secs(30), &format!("{fault:?} is told"), async || {
            platform.condition(Kind::Registry, "corp", "Discovered").await[0] == "False"
        })
        .await;
        assert_eq!(platform.reason("a-prod", &image(&harbor, "team")), Reason::Bound, "{fault:?}");
        assert_eq!(platform.reason("b", &image(&harbor, "open")), Reason::Public, "{fault:?}");
        assert_eq!(platform.spaces().await.len(), 2, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once_a_minute_and_the_right_one_at_once() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    harbor.set_admin_password("another");
    eventually("it is told", async || {
        platform.condition(Kind::Registry, "corp", "CredentialsValid").await[1] == "CredentialsRejected"
    })
    .await;
    harbor.journal.clear();
    tokio::time::sleep(10 * INTERVAL).await;
    let tried =
        || harbor.journal.requests().into_iter().filter(|seen| seen.authorization().is_some()).count();
    assert_eq!(tried(), 0, "it was tried again within a minute");
    assert!(!harbor.is_locked("admin"));
    // Wrong passwords are answered as nobody is: what is private to nobody must not pass for deleted.
    assert_eq!(platform.reason("a-prod", &image(&harbor, "team")), Reason::Bound);
    assert_eq!(platform.spaces().await.len(), 2);
    let spec = json!({"type": "Harbor", "url": harbor.url()});
    platform.integrate("corp", spec, "admin", "another").await;
    eventually("the right one is taken", async || {
        platform.condition(Kind::Registry, "corp", "CredentialsValid").await[0] == "True"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_registry_that_is_slow_holds_up_no_other() {
    let (slow, quick) = (Harbor::start(Options::default()), Harbor::start(Options::default()));
    slow.faults.always(Fault::Latency(Duration::from_secs(15)));
    let platform = Platform::start();
    let spec = json!({"type": "Harbor", "url": slow.url()});
    platform.integrate("slow", spec, "admin", "Harbor12345").await;
    tokio::time::sleep(INTERVAL).await;
    quick.add_project("open", true);
    platform.integrate_harbor(&quick).await;
    let open = image(&quick, "open");
    within(Duration::from_secs(2), "the quick one", async || platform.reason("x", &open) == Reason::Public)
        .await;
    quick.flip("open", false);
    within(INTERVAL + AT_ONCE, "the flip", async || platform.reason("x", &open) == Reason::NoWorkspace).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_registry_is_public_for_as_long_as_it_is_open() {
    let answer = Arc::new(Mutex::new(""));
    let (told, open) = (answer.clone(), StatusCode::OK);
    let root = get(async move || match *told.lock().unwrap() {
        "" => (open, "{}").into_response(),
        challenge => (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v2/", root)).await.unwrap() });
    let platform = Platform::start();
    platform.put(Kind::Registry, "plain", json!({"type": "Docker", "url": format!("http://{host}")})).await;
    let image = format!("{host}/team/app:1");
    let elsewhere = "Bearer realm=\"https://tokens.example.com/token\",service=\"registry\"";
    for challenge in ["", "Basic realm=\"registry\"", "", "Negotiate", "", "what?", "", elsewhere] {
        *answer.lock().unwrap() = challenge;
        let reason = if challenge.is_empty() { Reason::Public } else { Reason::PasswordProtected };
        within(INTERVAL + AT_ONCE, challenge, async || platform.reason("x", &image) == reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_administrator_asks_for_does_not_wait_for_a_reading_of_all() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    eventually("the reading is told", async || {
        platform.condition(Kind::Registry, "corp", "Discovered").await[0] == "True"
    })
    .await;
    harbor.faults.on("/api/v2.0/systeminfo", Fault::Latency(Duration::from_secs(4)));
    // One is under way, and takes long.
    tokio::time::sleep(2 * INTERVAL).await;
    platform.edit(Kind::RegistrySpace, "corp.team", |spec| spec["visibility"] = json!("Public")).await;
    within(AT_ONCE, "it is set", async || harbor.project("team").unwrap().is_public()).await;
    let team = image(&harbor, "team");
    within(AT_ONCE, "it is decided by", async || platform.reason("b", &team) == Reason::Public).await;
    platform.put(Kind::RegistrySpace, "corp.new", json!({"registry": "corp", "path": "new"})).await;
    within(AT_ONCE, "it is made", async || harbor.project("new").is_some()).await;
    harbor.faults.clear();
    within(2 * SOON, "the reading goes on", async || {
        let status = platform.status(Kind::RegistrySpace, "corp.new").await;
        status["projectId"].is_i64() && status["conditions"][0]["status"] != "False"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_observed_follows_a_registry_to_another_address() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    let elsewhere = json!("http://127.0.0.1:9");
    platform.edit(Kind::Registry, "corp", |spec| spec["url"] = elsewhere.clone()).await;
    let open = "127.0.0.1:9/open/app:1";
    eventually("the new address is managed, and public for nobody", async || {
        platform.reason("b", open) == Reason::NoWorkspace
    })
    .await;
    eventually("nothing of the old address is told any more", async || {
        let status = platform.document(Kind::Registry, "corp").await.unwrap().status;
        status.get("version").is_none() && status.get("lastSuccess").is_none()
    })
    .await;
    assert_eq!(platform.reason("b", open), Reason::NoWorkspace);
}
