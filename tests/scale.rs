//! The real process at the size of a large platform.

use std::path::Path;
use std::time::Duration;

use pullgate::domain::record::{Entry, Kind, Space};
use pullgate::store::embedded::EmbeddedStore;
use pullgate::types::Document;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::server::Server;

const SPACES: usize = 100_000;
const WORKSPACES: usize = 1_000;
const CHANGES: usize = 300;
/// What a release build holds of its own file, rounded up.
const RELEASE_MIB: u64 = 16;

fn document(kind: Kind, name: String, spec: Value) -> Document {
    Document { created: 1, ..Document::new(kind, name, spec) }
}

fn platform() -> Vec<Document> {
    let registry = json!({"type": "Harbor", "url": "https://harbor.example.com"});
    let mut all = vec![document(Kind::Registry, "corp".to_owned(), registry)];
    all.extend((0..WORKSPACES).map(|w| {
        let namespaces: Vec<_> = (0..10).map(|n| format!("team-{w}-ns-{n}")).collect();
        document(Kind::Workspace, format!("workspace-{w}"), json!({ "namespaces": namespaces }))
    }));
    all.extend((0..SPACES).map(|s| {
        let bound =
            [format!("workspace-{}", s % WORKSPACES), format!("workspace-{}", (s * 7 + 1) % WORKSPACES)];
        let spec = json!({"registry": "corp", "path": format!("project-{s}"), "workspaces": bound});
        document(Kind::RegistrySpace, format!("corp.project-{s}"), spec)
    }));
    all
}

async fn fill(data: &Path) {
    std::fs::create_dir(data).unwrap();
    let store = EmbeddedStore::open(&data.join("records.db"), &data.join("store.key")).unwrap();
    store.import(platform()).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_hundred_thousand_spaces_stay_under_100_mb_through_changes() {
    let directory = tempfile::tempdir().unwrap();
    fill(&directory.path().join("data")).await;
    let server = Server::start_with(directory.path(), &[], Duration::from_mins(1)).await;
    // A debug build's own pages are not those that run: it has 40 MiB of them in memory, a release 14.
    let resident = || server.memory_kib("RssAnon") / 1024 + RELEASE_MIB;
    let at_rest = resident();

    let mut review: Value =
        serde_json::from_str(include_str!("data/reviews/validate-create-pods-3.json")).unwrap();
    let request = &mut review["request"];
    request["namespace"] = json!("team-77-ns-3");
    request["object"]["spec"]["containers"][0]["image"] = json!("harbor.example.com/project-99077/web:1");
    request["object"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    request["object"]["spec"]["imagePullSecrets"] = json!([{"name": "pullgate-pull"}]);
    assert_eq!(server.review("validate", &review).await["response"]["allowed"], true);

    // Each change makes a snapshot that shares what it does not touch with the one before.
    for n in 0..CHANGES {
        let (space, workspace) = (n * 97 % SPACES, (n * 31 + 5) % WORKSPACES);
        let path = format!("/registryspaces/corp.project-{space}/bindings/workspace-{workspace}");
        server.call(Method::PUT, &path, None).await;
    }
    let after = resident();
    assert!(size_of::<Entry<Space>>() <= 112, "one more word costs 3 MiB");
    println!("resident at rest {at_rest} MiB, after changes {after} MiB");
    assert!(
        at_rest < 95 && after < 95,
        "resident at rest {at_rest} MiB, after changes {after} MiB (100 MB are 95)"
    );
}
