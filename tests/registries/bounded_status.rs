//! What a tenant's own server can put into its registry's status: little, whatever it answers and however often.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, delete, get};
use axum::{Json, Router};
use jiff::Timestamp;
use pullgate::controllers::registries::Settings;
use pullgate::domain::record::Kind;
use pullgate::domain::record::bounds;
use pullgate::store::{CredentialChange, Precondition};
use serde_json::{Value, json};

use super::platform::{Platform, eventually, within};
use crate::doubles::basic::credential;
use crate::doubles::serving::Served;
use crate::support::memory_store::MemoryStore;

/// A text of a megabyte that a terminal would obey.
fn endless(start: &str) -> String {
    format!("{start}{}", "\u{1b}[2J\u{202e}x\n".repeat(100_000))
}

async fn platform(kind: &str, server: &Served) -> Platform {
    let settings = Settings {
        interval: Duration::from_millis(50),
        overlap: Duration::from_millis(20),
        allowed: Arc::new(["127.0.0.0/8".parse().unwrap()]),
        ..Settings::default()
    };
    let platform = Platform::with(Arc::new(MemoryStore::default()), settings);
    platform.workspace("a", &["a-prod"]).await;
    let spec = json!({"type": kind, "url": server.url(), "workspace": "a", "paths": ["team"]});
    platform.integrate("corp", spec, "mallory", "Pa55word").await;
    platform
}

async fn status(platform: &Platform) -> Value {
    platform.status(Kind::Registry, "corp").await
}

/// Asks for a look at everything, against whoever writes the status at the same time.
async fn sync(platform: &Platform) {
    let mut document = platform.document(Kind::Registry, "corp").await.unwrap();
    document.status["syncRequested"] = json!(Timestamp::now());
    let at = Precondition::Version(document.version.clone());
    let _ = platform.store.put(document, at, CredentialChange::Keep).await;
}

fn length(text: &Value) -> usize {
    text.as_str().unwrap_or_default().chars().count()
}

/// The whole status, whose texts a terminal shows as they are.
fn assert_bounded(status: &Value, most: usize) {
    let text = status.to_string();
    assert!(text.len() < most, "{} bytes", text.len());
    assert!(!text.contains(['\u{202e}', '\u{1b}']) && !text.contains("\\u001b"), "{text}");
    assert!(length(&status["version"]) <= bounds::VERSION + 1, "{}", status["version"]);
    for condition in status["conditions"].as_array().unwrap() {
        assert!(length(&condition["message"]) <= bounds::CONDITION + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harbors_version_and_sick_parts_are_told_in_short() {
    let info = json!({"auth_mode": "db_auth", "harbor_version": endless("v2.9.0"), "read_only": false});
    let parts: Vec<_> = (0..500)
        .map(|n| json!({"name": format!("part-{n} \u{1b}]0;{}", "y".repeat(5_000)), "status": "ill"}))
        .collect();
    let parts = json!({"status": "unhealthy", "components": parts});
    let routes = Router::new()
        .route("/api/v2.0/systeminfo", get(async move || Json(info)))
        .route("/api/v2.0/users/current", get(async || Json(json!({"sysadmin_flag": true}))))
        .route("/api/v2.0/health", get(async move || Json(parts)))
        .route("/api/v2.0/projects", get(async || ([("x-total-count", "0")], Json(json!([])))));
    let server = Served::start(None, |_| routes);
    let platform = platform("Harbor", &server).await;
    eventually("its parts are told", async || {
        platform.condition(Kind::Registry, "corp", "Healthy").await[1] == "Unhealthy"
    })
    .await;
    let [_, _, message] = platform.condition(Kind::Registry, "corp", "Healthy").await;
    assert!(message.contains("part-0") && message.contains("part-15") && !message.contains("part-16"));
    assert!(message.chars().count() < bounds::COMPONENTS * (bounds::COMPONENT + 3) + 64, "{message}");
    let status = status(&platform).await;
    assert!(status["version"].as_str().unwrap().starts_with("v2.9.0"), "{}", status["version"]);
    assert_bounded(&status, 16 << 10);
}

/// It makes a token whenever one is asked for, says the next moment that it takes that one no more, and takes none back.
#[tokio::test(flavor = "multi_thread")]
async fn an_artifactory_cannot_fill_its_status_with_tokens_and_prefixes() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let mint = async move || {
        let n = count.fetch_add(1, Ordering::SeqCst);
        Json(json!({"token_id": format!("{n:0128}"), "access_token": format!("opaque-{n}")}))
    };
    let mut keys: Vec<_> =
        (0..1_000).map(|n| json!({"key": format!("key-{n}"), "packageType": "docker"})).collect();
    keys.push(json!({"key": "team", "packageType": "docker"}));
    keys.push(json!({"key": endless("a"), "packageType": "docker"}));
    keys.push(json!({"key": "k".repeat(bounds::PATH), "packageType": "docker"}));
    // Whoever shows the token as a node does may pull, and whoever shows it as a bearer may not.
    let probe = async |headers: HeaderMap| {
        if credential(&headers, "bearer").is_some() { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND }
    };
    let web_server = json!({"dockerReverseProxyMethod": "SUBDOMAIN"});
    let routes = Router::new()
        .route("/artifactory/api/system/ping", get(async || "OK"))
        .route("/artifactory/api/system/version", get(async || Json(json!({"version": endless("7.77.9")}))))
        .route("/artifactory/api/system/configuration/webServer", get(async move || Json(web_server)))
        .route("/artifactory/api/repositories", get(async move || Json(keys)))
        .route("/artifactory/api/docker/{*path}", any(probe))
        .route("/access/api/v1/tokens", get(async || Json(json!({"tokens": []}))).post(mint))
        .route("/access/api/v1/tokens/{id}", delete(async || StatusCode::FORBIDDEN));
    let server = Served::start(None, |_| routes);
    let platform = platform("Artifactory", &server).await;
    let reason = async || platform.condition(Kind::Registry, "corp", "PullCredentials").await[1].clone();
    // A sync looks at once at what else is looked at every few minutes.
    let told = async || {
        sync(&platform).await;
        reason().await == "TooMany"
    };
    within(Duration::from_secs(30), "no more tokens are made", told).await;
    let before = made.load(Ordering::SeqCst);
    for _ in 0..10 {
        sync(&platform).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(made.load(Ordering::SeqCst), before, "no more are made");
    let status = status(&platform).await;
    assert!(status["robots"].as_array().unwrap().len() <= bounds::TOKENS, "{}", status["robots"]);
    let prefixes = status["imagePrefixes"].as_array().unwrap();
    assert!(
        prefixes.len() <= bounds::PREFIXES && prefixes.iter().all(|prefix| length(prefix) <= bounds::PREFIX)
    );
    assert!(!prefixes.is_empty());
    assert_bounded(&status, 32 << 10);
}
