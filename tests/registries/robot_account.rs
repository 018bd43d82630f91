//! A Harbor that is integrated with a robot account: what that may do is used, and what it may not is said.

use std::time::Duration;

use pullgate::domain::decision::Reason;
use pullgate::domain::record::Kind;
use pullgate::registry::harbor::rights;
use serde_json::{Value, json};

use super::platform::{Platform, eventually, within};
use crate::doubles::harbor::{Harbor, Options, can_pull};
use crate::support::cli::run;

/// A platform with the private projects `one` and `two`, integrated with a robot of this body.
async fn platform(harbor: &Harbor, body: &Value) -> Platform {
    harbor.add_project("one", false);
    harbor.add_project("two", false);
    let (name, secret) = harbor.make_robot(body).await;
    let platform = Platform::start();
    platform.workspace("a", &["a-prod"]).await;
    platform.integrate("corp", json!({"type": "Harbor", "url": harbor.url()}), &name, &secret).await;
    eventually("the login is told", async || login(&platform).await[0] == "True").await;
    platform
}

async fn login(platform: &Platform) -> [String; 3] {
    platform.condition(Kind::Registry, "corp", "CredentialsValid").await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_all_that_is_needed_with_what_is_recommended() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor, &rights::account("pullgate")).await;
    assert_eq!(login(&platform).await[1], "Robot");
    eventually("the projects are recorded", async || platform.spaces().await.len() == 2).await;
    let account = async |covers: &[&str], not: &[&str]| {
        eventually("the account follows the bindings", async || {
            let Some((name, secret)) = platform.robot("a", None).await else { return false };
            for (projects, may) in [(covers, true), (not, false)] {
                for project in projects {
                    if can_pull(&harbor, (&name, &secret), project).await != may {
                        return false;
                    }
                }
            }
            true
        })
        .await;
        platform.robot("a", None).await.unwrap()
    };
    platform.bind("corp.one", &["a"]).await;
    let first = account(&["one"], &["two"]).await;
    platform.bind("corp.two", &["a"]).await;
    let both = account(&["one", "two"], &[]).await;
    assert_ne!(first.0, both.0, "one that cannot be changed is replaced");
    assert!(can_pull(&harbor, (&first.0, &first.1), "one").await, "with overlap");
    // With a binding its right goes, and at once.
    platform.bind("corp.one", &[]).await;
    account(&["two"], &["one"]).await;
    eventually("what may do too much is gone", async || {
        !can_pull(&harbor, (&both.0, &both.1), "one").await
            && !can_pull(&harbor, (&first.0, &first.1), "one").await
    })
    .await;
    eventually("no account is left over", async || harbor.robots().len() == 2).await;

    // Visibility, making and missing.
    platform.edit(Kind::RegistrySpace, "corp.one", |spec| spec["visibility"] = json!("Public")).await;
    eventually("it is public", async || harbor.project("one").unwrap().is_public()).await;
    let image = format!("{}/one/app:1", harbor.host());
    eventually("and for everybody", async || platform.reason("b", &image) == Reason::Public).await;
    platform.put(Kind::RegistrySpace, "corp.new", json!({"registry": "corp", "path": "new"})).await;
    eventually("it is made", async || harbor.project("new").is_some()).await;
    harbor.set_used("two", 42);
    harbor.delete_project("one");
    eventually("it is missed", async || platform.reason("b", &image) != Reason::Public).await;
    platform.edit(Kind::RegistrySpace, "corp.two", |spec| spec["workspaces"] = json!([])).await;
    eventually("the account goes", async || harbor.robots().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_may_not_is_said_with_what_to_do() {
    let harbor = Harbor::start(Options::default());
    let mut body = rights::account("pullgate");
    let without = |list: &mut Value, resource: &str, action: &str| {
        list.as_array_mut().unwrap().retain(|a| a["resource"] != resource || a["action"] != action);
    };
    without(&mut body["permissions"][0]["access"], "robot", "create");
    without(&mut body["permissions"][1]["access"], "project", "update");
    let platform = platform(&harbor, &body).await;
    let [_, reason, message] = login(&platform).await;
    assert_eq!(reason, "RobotLimited");
    for part in ["system robot:create", "project project:update", "harbor-account"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("robot:list") && !message.contains("repository:pull"), "{message}");
    eventually("accounts are not to be had", async || {
        platform.condition(Kind::Registry, "corp", "PullCredentials").await[2].contains("harbor-account")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_list_of_accounts_it_is_not_known_what_else_it_may() {
    let harbor = Harbor::start(Options::default());
    let mut body = rights::account("pullgate");
    body["permissions"][0]["access"].as_array_mut().unwrap().retain(|a| a["action"] != "list");
    let platform = platform(&harbor, &body).await;
    let [_, reason, message] = login(&platform).await;
    assert_eq!(reason, "RobotLimited");
    assert!(message.contains("system robot:list") && message.contains("does not tell"), "{message}");
    assert!(!message.contains("robot:create") && !message.contains("project:update"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_rights_are_read_whatever_the_prefix_of_names_looks_like() {
    for prefix in ["bot_", "bot", "ci.", "robot$"] {
        let harbor = Harbor::start(Options {
            robot_prefix: prefix.to_owned(),
            version: "2.16.0",
            ..Options::default()
        });
        let platform = platform(&harbor, &rights::account("pullgate")).await;
        assert_eq!(login(&platform).await[1], "Robot", "{prefix}: {:?}", login(&platform).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_that_is_rejected_the_causes_are_named() {
    let harbor = Harbor::start(Options { robot_prefix: "bot+".to_owned(), ..Options::default() });
    let platform = platform(&harbor, &rights::account("pullgate")).await;
    harbor.set_robot_prefix("ci+");
    within(Duration::from_secs(10), "it is told", async || {
        login(&platform).await[1] == "CredentialsRejected"
    })
    .await;
    let [_, _, message] = login(&platform).await;
    assert!(
        message.contains("prefix of robot names") && message.contains("store the right ones"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_removes_what_a_project_admins_account_made() {
    let harbor = Harbor::start(Options { version: "2.16.0", ..Options::default() });
    harbor.add_user("ci", "Passw0rd");
    for project in ["one", "two"] {
        harbor.add_project(project, false);
        harbor.make_project_admin("ci", project);
    }
    let platform = Platform::start();
    platform.workspace("a", &["a-prod"]).await;
    let spec = json!({"type": "Harbor", "url": harbor.url()});
    platform.integrate("corp", spec.clone(), "ci", "Passw0rd").await;
    eventually("the projects are recorded", async || platform.spaces().await.len() == 2).await;
    for (space, project) in [("corp.one", "one"), ("corp.two", "two")] {
        platform.bind(space, &["a"]).await;
        eventually("it has an account", async || platform.robot("a", Some(project)).await.is_some()).await;
    }
    let (name, secret) = harbor.make_robot(&rights::account("pullgate")).await;
    platform.integrate("corp", spec, &name, &secret).await;
    eventually("one account is for both", async || platform.robot("a", None).await.is_some()).await;
    eventually("those of the projects are gone", async || {
        harbor.robots().iter().all(|robot| robot.level() == "system")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_2_12_a_robot_cannot_be_enough() {
    let harbor = Harbor::start(Options { version: "2.11.0", ..Options::default() });
    let access = json!([{"resource": "repository", "action": "pull"}]);
    let body = json!({"name": "old", "level": "system", "duration": -1,
        "permissions": [{"kind": "project", "namespace": "*", "access": access}]});
    let platform = platform(&harbor, &body).await;
    let [_, reason, message] = login(&platform).await;
    assert!(reason == "RobotLimited" && message.contains("before version 2.12"), "{reason}: {message}");
}

#[tokio::test]
async fn the_command_prints_a_request_that_harbor_takes() {
    let printed = run(&["harbor-account", "--name", "gate"]);
    assert_eq!((printed.code, printed.stderr.as_str()), (0, ""));
    let body: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(body, rights::account("gate"));
    let harbor = Harbor::start(Options::default());
    assert_eq!(harbor.make_robot(&body).await.0, "robot$gate");
    let help = run(&["harbor-account", "--help"]);
    assert!(help.stdout.contains("POST /api/v2.0/robots") && help.stdout.contains("2.12"), "{}", help.stdout);
}
