//! An integrating account that is no system admin any more: in how many spaces it may do what is needed, and what it may
//! not in which others.

use pullgate::domain::record::Kind;
use serde_json::{Value, json};

use super::platform::eventually;
use super::platform::{INTERVAL, Platform};
use super::served::{ask, integrate, overview, server};
use crate::doubles::harbor::{Harbor, Options};

/// A Harbor with 10 private projects and 2 public ones, of which `ann` is an admin by her group.
fn harbor() -> Harbor {
    let harbor = Harbor::start(Options::default());
    harbor.add_projects(10);
    harbor.add_project("open-a", true);
    harbor.add_project("open-b", true);
    harbor.add_user("ann", "Ann12345");
    harbor.make_sysadmin_by_group("ann");
    harbor
}

/// Takes her the group, and leaves her three projects, one of them a public one.
fn demote(harbor: &Harbor) {
    for project in ["project-0000", "project-0001", "open-a"] {
        harbor.make_project_admin("ann", project);
    }
    harbor.revoke_sysadmin("ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_counts_the_spaces_and_names_what_is_lacked_in_which() {
    let harbor = harbor();
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), "3600").await;
    integrate(&server, "corp", json!({"type": "Harbor", "url": harbor.url()}), "ann", "Ann12345").await;
    eventually("it is discovered", async || overview(&server, "corp").await["spaces"]["total"] == 12).await;
    assert_eq!(overview(&server, "corp").await.get("access"), None);
    let told = ask(&server, directory.path(), &["overview", "corp"]).1;
    assert!(!told.contains("project roles only"), "{told}");

    demote(&harbor);
    for _ in 0..2 {
        ask(&server, directory.path(), &["sync", "corp"]);
    }
    let seen = overview(&server, "corp").await;
    let hidden: Vec<_> = (2..10).map(|n| format!("project-{n:04}")).collect();
    assert_eq!(
        seen["access"],
        json!({"full": 3, "total": 12, "lacking": [
            {"right": "see the project (any role)", "count": 8, "spaces": hidden},
            {"right": "make pull accounts and set the visibility (project admin)", "count": 1, "spaces": ["open-b"]},
        ]}),
        "{seen}"
    );
    let told = ask(&server, directory.path(), &["overview", "corp"]).1;
    for part in [
        "3 of 12 spaces: project roles only",
        "may not see the project (any role) in 8: project-0002, project-0003, project-0004, project-0005, project-0006, …",
        "may not make pull accounts and set the visibility (project admin) in 1: open-b",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_condition_says_it_too_and_hidden_spaces_are_asked_for_once() {
    let harbor = harbor();
    let platform = Platform::start();
    let spec: Value = json!({"type": "Harbor", "url": harbor.url()});
    platform.integrate("corp", spec, "ann", "Ann12345").await;
    eventually("all is recorded", async || platform.spaces().await.len() == 12).await;
    demote(&harbor);
    let account = async || platform.condition(Kind::Registry, "corp", "CredentialsValid").await;
    eventually("it is told", async || account().await[2].starts_with("3 of 12 spaces: project roles only; "))
        .await;
    assert!(account().await[2].contains("project-0006 and 3 more"), "{}", account().await[2]);
    tokio::time::sleep(INTERVAL).await;
    harbor.journal.clear();
    tokio::time::sleep(10 * INTERVAL).await;
    let asked = harbor.journal.requests().into_iter().filter(|seen| seen.method == "HEAD").count();
    assert_eq!(asked, 0, "a login for each, and the same answer");
    assert_eq!(platform.spaces().await.len(), 12);
    harbor.make_sysadmin_by_group("ann");
    eventually("nothing is lacked any more", async || {
        platform.status(Kind::Registry, "corp").await.get("access").is_none()
    })
    .await;
}
