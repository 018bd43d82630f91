//! Registries in a real server: the API's overview, requests and digests, and the commands that ask it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::platform::{eventually, within};
use crate::doubles::faults::Fault;
use crate::doubles::harbor::{Harbor, Options};
use crate::doubles::registry::{Access, Registry, push};
use crate::support::cli::run;
use crate::support::server::{READY_WITHIN, Server, TOKEN};

/// Asks registries every so many seconds.
pub(super) async fn server(directory: &Path, interval: &str) -> Server {
    std::fs::write(directory.join("token"), TOKEN).unwrap();
    let arguments = ["--registry-interval", interval, "--robot-overlap", "1"];
    Server::start_with(directory, &arguments, READY_WITHIN).await
}

pub(super) async fn integrate(server: &Server, name: &str, spec: Value, username: &str, password: &str) {
    let body = json!({"metadata": {"name": name}, "spec": spec,
        "credential": {"username": username, "password": password}});
    server.call(Method::POST, "/registries", Some(body)).await;
}

pub(super) async fn overview(server: &Server, name: &str) -> Value {
    server.call(Method::GET, &format!("/registries/{name}/overview"), None).await
}

/// What tells the commands where the server is and who asks.
fn whereabouts(server: &Server, directory: &Path) -> [String; 6] {
    let (ca, token) = (directory.join("data/tls/ca.crt"), directory.join("token"));
    let (ca, token) = (ca.to_str().unwrap(), token.to_str().unwrap());
    let address = server.api.trim_end_matches("/api/v1");
    ["--server", address, "--ca", ca, "--token-file", token].map(ToOwned::to_owned)
}

pub(super) fn ask(server: &Server, directory: &Path, command: &[&str]) -> (i32, String, String) {
    let to = whereabouts(server, directory);
    let to: Vec<_> = to.iter().map(String::as_str).collect();
    let run = run(&[&["registry"], command, &to].concat());
    (run.code, run.stdout, run.stderr)
}

/// A Harbor whose project `team` holds `app:1`, and the registry behind it.
pub fn with_an_image() -> (Registry, Harbor) {
    let registry = Registry::start(&Access::Open);
    assert!(push(&registry.host, "team/app", "1", None));
    let harbor = Harbor::start(Options { registry: Some(registry.host.clone()), ..Options::default() });
    harbor.add_project("team", false);
    (registry, harbor)
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_a_token_outlives_its_binding_is_told_without_a_login() {
    let harbor = Harbor::start(Options { token_minutes: 5, ..Options::default() });
    harbor.add_project("team", false);
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), "3600").await;
    let workspace = json!({"metadata": {"name": "a"}, "spec": {"namespaces": ["a-prod"]}});
    server.call(Method::POST, "/workspaces", Some(workspace)).await;
    integrate(&server, "corp", json!({"type": "Harbor", "url": harbor.url()}), "admin", "Harbor12345").await;
    eventually("it is told", async || overview(&server, "corp").await["tokenLife"] == 300).await;
    let asked = harbor.journal.requests().into_iter().filter(|seen| seen.path == "/service/token");
    assert!(asked.into_iter().all(|seen| seen.authorization().is_none()));
    let told = ask(&server, directory.path(), &["overview", "corp"]).1;
    assert!(told.contains("good for 5 minutes after an unbinding"), "{told}");
    server.call(Method::PUT, "/registryspaces/corp.team/bindings/a", None).await;
    let unbound = server.answer(Method::DELETE, "/registryspaces/corp.team/bindings/a").await;
    let warning = unbound.headers()["warning"].to_str().unwrap();
    assert!(warning.starts_with("299 - ") && warning.contains("up to 5 minutes"), "{warning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harbor_is_seen_synced_resolved_and_rotated_through_the_api() {
    let (_registry, harbor) = with_an_image();
    harbor.add_project("open", true);
    harbor.set_used("team", 12_345_678);
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), "3600").await;
    let workspace = json!({"metadata": {"name": "a"}, "spec": {"namespaces": ["a-prod"]}});
    server.call(Method::POST, "/workspaces", Some(workspace)).await;
    integrate(&server, "corp", json!({"type": "Harbor", "url": harbor.url()}), "admin", "Harbor12345").await;
    eventually("it is discovered and measured", async || {
        let seen = overview(&server, "corp").await;
        seen["spaces"]["total"] == 2 && seen["storage"]["bytes"] == 12_345_678
    })
    .await;
    server.call(Method::PUT, "/registryspaces/corp.team/bindings/a", None).await;
    eventually("there is a robot", async || {
        overview(&server, "corp").await["robots"].as_array().is_some_and(|robots| robots.len() == 1)
    })
    .await;
    let seen = overview(&server, "corp").await;
    assert_eq!(
        seen["spaces"],
        json!({"total": 2, "public": 1, "private": 1, "bound": 1, "unbound": 1,
        "suspended": 0, "missing": 0})
    );
    assert_eq!((&seen["health"]["state"], &seen["integrated"]), (&json!("Healthy"), &json!("Manual")));
    assert!(seen["robots"][0]["expiresAt"].is_string() && seen["lastDiscovery"].is_string(), "{seen}");
    // What is observed gets in nobody's way.
    let spec = server.call(Method::GET, "/registries/corp", None).await["spec"].clone();
    assert_eq!(spec["url"], harbor.url());

    // The next look of its own is an hour away.
    harbor.add_project("fresh", false);
    let (code, out, err) = ask(&server, directory.path(), &["sync", "corp"]);
    assert_eq!(code, 0, "{out}{err}");
    for part in
        ["Healthy", "3: 1 public, 2 private; 1 bound, 2 not", "MiB", "1; the first expires 20", " ago)"]
    {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, out, _) = ask(&server, directory.path(), &["overview", "corp", "--output", "json"]);
    let seen: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &seen["spaces"]["total"]), (0, &json!(3)));

    let resolve = async |image: &str| {
        let body = json!({"image": image});
        server.call(Method::POST, "/registries/corp/resolve", Some(body)).await
    };
    let app = format!("{}/team/app", harbor.host());
    let named = resolve(&format!("{app}:1")).await;
    assert_eq!(named["exists"], true);
    assert_eq!(named["pinned"], format!("{app}:1@{}", named["digest"].as_str().unwrap()));
    let none = resolve(&format!("{app}:none")).await;
    assert_eq!((&none["exists"], none.get("message")), (&json!(false), None));
    let nowhere = resolve(&format!("{}/nowhere/app:1", harbor.host())).await;
    assert_eq!(nowhere["exists"], false, "{nowhere}");
    assert_eq!(nowhere["message"], "the registry has no project nowhere");
    let asked = |harbor: &Harbor| {
        harbor.journal.requests().iter().filter(|seen| seen.path.contains("/manifests/")).count()
    };
    // What was not there is forgotten soon, and it may be long since it was asked for.
    resolve(&format!("{app}:none")).await;
    let before = asked(&harbor);
    for _ in 0..10 {
        assert_eq!(resolve(&format!("{app}:1")).await["digest"], named["digest"]);
        assert_eq!(resolve(&format!("{app}:none")).await["exists"], false, "remembered too");
    }
    let journal = harbor.journal.requests();
    let since = journal.iter().filter(|seen| seen.path.contains("/manifests/")).skip(before);
    let since: Vec<_> = since.map(|seen| &seen.path).collect();
    assert!(since.is_empty(), "asked again: {since:?}");

    let first = harbor.robots()[0].id;
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.call(Method::POST, "/registries/corp/rotate", None).await;
    eventually("the account is another", async || {
        harbor.robots().iter().all(|robot| robot.id != first) && harbor.robots().len() == 1
    })
    .await;

    harbor.set_admin_password("another");
    let (code, out, err) = ask(&server, directory.path(), &["sync", "corp"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("CredentialsRejected") && out.contains("store the right ones"), "{out}");
    let secrets = harbor.robots().into_iter().map(|robot| robot.secret).chain(["Harbor12345".to_owned()]);
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    let told = format!("{out}{err}{log}{}", overview(&server, "corp").await);
    for secret in secrets {
        assert!(!told.contains(&secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_projects_take_little_memory() {
    let harbor = Harbor::start(Options::default());
    harbor.add_projects(10_000);
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), "1").await;
    let spec = json!({"type": "Harbor", "url": harbor.url()});
    // One that is empty first, so that what a first registry costs is not counted.
    let empty = Harbor::start(Options::default());
    empty.add_project("one", false);
    integrate(&server, "empty", json!({"type": "Harbor", "url": empty.url()}), "admin", "Harbor12345").await;
    eventually("the empty one", async || overview(&server, "empty").await["spaces"]["total"] == 1).await;
    let before = server.memory_kib("RssAnon");
    integrate(&server, "corp", spec, "admin", "Harbor12345").await;
    within(Duration::from_mins(1), "all are recorded and measured", async || {
        // Not at every moment: each question walks over all of them, which is no part of the discovery.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seen = overview(&server, "corp").await;
        seen["spaces"]["total"] == 10_000 && seen["storage"]["bytes"] == 0
    })
    .await;
    // A few more looks, each of which reads all of them again.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let more = server.memory_kib("RssAnon").saturating_sub(before);
    println!("10,000 projects take {more} KiB more");
    assert!(more * 1024 < 20_000_000, "{more} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_ask_for_a_tag_the_registry_is_asked_once() {
    let (_registry, harbor) = with_an_image();
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), "3600").await;
    integrate(&server, "corp", json!({"type": "Harbor", "url": harbor.url()}), "admin", "Harbor12345").await;
    harbor.faults.on("/v2/team/app/manifests", Fault::Latency(Duration::from_millis(300)));
    for (tag, exists) in [("1", true), ("none", false)] {
        harbor.journal.clear();
        let body = json!({"image": format!("{}/team/app:{tag}", harbor.host())});
        let ask = async || server.call(Method::POST, "/registries/corp/resolve", Some(body.clone())).await;
        let answers = join_all((0..20).map(|_| ask())).await;
        assert!(answers.iter().all(|answer| answer["exists"] == exists), "{answers:?}");
        let asked = harbor.journal.requests().iter().filter(|seen| seen.path.contains("/manifests/")).count();
        // A registry's own refusal of the first, which has no token yet, is a call too.
        assert!((1..=2).contains(&asked), "{tag}: {asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_how_far_a_discovery_is() {
    let harbor = Harbor::start(Options::default());
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), "3600").await;
    integrate(&server, "corp", json!({"type": "Harbor", "url": harbor.url()}), "admin", "Harbor12345").await;
    eventually("it is discovered", async || overview(&server, "corp").await["lastDiscovery"].is_string())
        .await;
    harbor.add_projects(2000);
    harbor.faults.on("/api/v2.0/projects", Fault::Latency(Duration::from_millis(300)));
    let command = format!(
        "{} registry sync corp {}",
        env!("CARGO_BIN_EXE_pullgate"),
        whereabouts(&server, directory.path()).join(" ")
    );
    // On a terminal of its own, of Debian's bsdutils.
    let shown = tokio::task::spawn_blocking(move || {
        Command::new("script").args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").output().unwrap()
    });
    let shown = shown.await.unwrap();
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success(), "{text}");
    assert!(text.contains("asking corp") && text.contains("/2000 spaces"), "{text}");
    assert!(text.contains("2000: 0 public, 2000 private"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_registry_without_a_password_is_public_only_where_it_is() {
    let (open, closed) =
        (Registry::start(&Access::Open), Registry::start(&Access::Password("user", "secret")));
    assert!(push(&open.host, "team/app", "1", None));
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), "1").await;
    for (name, registry) in [("open", &open), ("closed", &closed)] {
        let body = json!({"metadata": {"name": name}, "spec": {"type": "Docker", "url": registry.url()}});
        server.call(Method::POST, "/registries", Some(body)).await;
    }
    let explain = async |host: &str| {
        let body = json!({"namespace": "x", "images": [format!("{host}/team/app:1")]});
        server.call(Method::POST, "/explain", Some(body)).await.to_string()
    };
    eventually("the probe is recorded", async || explain(&closed.host).await.contains("PasswordProtected"))
        .await;
    eventually("the other one is open", async || explain(&open.host).await.contains("\"Public\"")).await;
    eventually("it is measured", async || overview(&server, "open").await["repositories"] == 1).await;
    let seen = overview(&server, "open").await;
    assert_eq!((&seen["tags"], &seen["storage"]), (&json!(1), &Value::Null), "unknown is not 0");
    let (code, out, _) = ask(&server, directory.path(), &["overview", "open"]);
    assert_eq!(code, 0);
    assert!(out.lines().any(|line| line.starts_with("storage") && line.ends_with("unknown")), "{out}");
    assert!(!out.contains("spaces") && !out.contains("robots"), "it has none: {out}");
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(log.contains("serving") && !log.contains('\u{1b}'), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_say_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), "1").await;
    let (code, _, err) = ask(&server, directory.path(), &["overview", "none"]);
    assert_eq!(code, 2);
    assert!(err.contains("there is no Registry named none") && !err.contains(TOKEN), "{err}");
    let missing = run(&["registry", "sync", "corp", "--token-file", "/no/such/file"]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("--token-file /no/such/file"), "{}", missing.stderr);
    std::fs::write(directory.path().join("token"), "wrong").unwrap();
    let (code, _, err) = ask(&server, directory.path(), &["sync", "corp"]);
    assert_eq!(code, 2);
    assert!(err.contains("401"), "{err}");
    assert!(run(&["registry", "sync", "--help"]).stdout.contains("Exit codes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_at_a_registry_is_shown_and_forgotten_by_commands() {
    let (_registry, harbor) = with_an_image();
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), "1").await;
    let workspace = json!({"metadata": {"name": "a"}, "spec": {"namespaces": ["a-prod"]}});
    server.call(Method::POST, "/workspaces", Some(workspace)).await;
    integrate(&server, "corp", json!({"type": "Harbor", "url": harbor.url()}), "admin", "Harbor12345").await;
    eventually("it is discovered", async || overview(&server, "corp").await["spaces"]["total"] == 1).await;
    server.call(Method::PUT, "/registryspaces/corp.team/bindings/a", None).await;
    eventually("there is a robot", async || harbor.robots().len() == 1).await;
    eventually("it is told", async || {
        overview(&server, "corp").await["robots"].as_array().is_some_and(|robots| robots.len() == 1)
    })
    .await;
    let command = |command: &[&str]| ask(&server, directory.path(), command);
    let (code, out, _) = command(&["leftovers"]);
    assert_eq!((code, out.as_str()), (0, "nothing is left anywhere\n"), "what is in use is not left");

    harbor.stop();
    server.call(Method::DELETE, "/registryspaces/corp.team/bindings/a", None).await;
    let (code, out, err) = command(&["leftovers"]);
    assert!(code == 1 && out.contains("bound no more"), "{code}: {out}{err}");
    let (code, _, err) = command(&["forget-leftovers", "corp", "--yes"]);
    assert!(code == 2 && err.contains("recorded no more"), "they go when the registry answers: {err}");
    server.remove("/registries/corp?force=true").await;
    let (code, out, err) = command(&["leftovers"]);
    assert!(code == 1 && out.contains("corp") && out.contains(&harbor.url()), "{code}: {out}{err}");
    assert!(out.contains("recorded no more") && out.contains("20"), "{out}");
    let (code, out, _) = command(&["leftovers", "--output", "json"]);
    let left: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &left[0]["registry"], &left[0]["places"]), (1, &json!("corp"), &json!(1)));
    // Nothing is forgotten by mistake.
    let (code, out, err) = command(&["forget-leftovers", "corp"]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains(&harbor.url()) && err.contains("--yes") && err.contains("pulls with them"), "{err}");
    assert_eq!(command(&["forget-leftovers", "other", "--yes"]).0, 2);
    assert_eq!(command(&["leftovers"]).0, 1);
    let (code, out, err) = command(&["forget-leftovers", "corp", "--yes"]);
    assert!(code == 0 && out.contains("forgot what was left at"), "{code}: {out}{err}");
    assert_eq!(command(&["leftovers"]).0, 0);
    // Nobody goes there again, once an attempt that was under way has ended.
    tokio::time::sleep(Duration::from_secs(4)).await;
    harbor.resume();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(harbor.robots().len(), 1);
}
