//! 100,000 spaces, 1,000 workspaces and 10,000 namespaces as custom resources.

use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{ListParams, Patch, PatchParams};
use pullgate::domain::record::Kind;
use pullgate::types::crd;
use serde_json::{Value, json};

use crate::control_plane::{install, namespace, records, serve_in};
use crate::plane::{Plane, until};
use crate::support::server::Server;

const SPACES: usize = 100_000;
const WORKSPACES: usize = 1_000;
const NAMESPACES: usize = 10_000;
/// How long a start may take.
const READY: Duration = Duration::from_secs(10);
/// What a replica may hold: 200 MB.
const RESIDENT_MIB: u64 = 190;
/// Changes of a binding that are measured.
const CHANGES: usize = 100;

fn platform() -> impl Iterator<Item = (String, Value)> {
    let record = |kind: Kind, name: String, spec: Value| {
        let plural = crd::plural(kind);
        let object = json!({"apiVersion": "pullgate.io/v1alpha1", "kind": kind.as_str(), "metadata": {"name": name}, "spec": spec});
        (format!("/registry/pullgate.io/{plural}/{name}"), object)
    };
    let harbor = json!({"type": "Harbor", "url": "https://harbor.example.com"});
    let namespaces = (0..NAMESPACES).map(|n| {
        let name = format!("team-{}-ns-{}", n / 10, n % 10);
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
                            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        (format!("/registry/namespaces/{name}"), object)
    });
    let workspaces = (0..WORKSPACES).map(move |w| {
        let namespaces: Vec<_> = (0..10).map(|n| format!("team-{w}-ns-{n}")).collect();
        record(Kind::Workspace, format!("workspace-{w}"), json!({ "namespaces": namespaces }))
    });
    let spaces = (0..SPACES).map(move |s| {
        let bound = [format!("workspace-{}", s % WORKSPACES), format!("workspace-{}", (s * 7 + 1) % WORKSPACES)];
        let spec = json!({"registry": "corp", "path": format!("project-{s}"), "workspaces": bound, "visibility": "Private"});
        record(Kind::RegistrySpace, format!("corp.project-{s}"), spec)
    });
    std::iter::once(record(Kind::Registry, "corp".to_owned(), harbor))
        .chain(namespaces)
        .chain(workspaces)
        .chain(spaces)
}

fn review() -> Value {
    let mut review: Value =
        serde_json::from_str(include_str!("../data/reviews/validate-create-pods-3.json")).unwrap();
    let request = &mut review["request"];
    request["namespace"] = json!("team-77-ns-3");
    request["object"]["spec"]["containers"][0]["image"] = json!("harbor.example.com/project-99078/web:1");
    request["object"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    request["object"]["spec"]["imagePullSecrets"] = json!([{"name": "pullgate-pull"}]);
    review
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_spaces_start_and_change_in_time() {
    let plane = Plane::start(false);
    let client = plane.client().await;
    install(&client, crd::definitions()).await;
    let loading = Instant::now();
    plane.load(platform()).await;
    until("the API server knows them all", Duration::from_mins(2), async || {
        let page = records(&client, Kind::RegistrySpace).list(&ListParams::default().limit(1)).await.unwrap();
        page.metadata.remaining_item_count == i64::try_from(SPACES - 1).ok()
    })
    .await;
    println!("loaded in {:?}", loading.elapsed());
    namespace(&client, "pullgate-system").await;
    list(&client).await;
    println!("the API server lists all in {:?}", list(&client).await);
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut replicas = Vec::new();
    for directory in &directories {
        let start = Instant::now();
        let kubeconfig = plane.kubeconfig(plane.api_port);
        let environment = [("KUBECONFIG", kubeconfig.to_str().unwrap())];
        let server = serve_in(directory.path(), &[], &environment, READY * 6).await;
        let took = start.elapsed();
        println!("ready after {took:?}, with {} MiB", mebibytes(&server));
        assert!(took < READY, "ready after {took:?}");
        replicas.push(server);
        // The leader says of a thousand workspaces whom they have.
        until("the last status", Duration::from_mins(2), async || {
            let last = records(&client, Kind::Workspace).get("workspace-999").await.unwrap();
            last.data["status"]["members"].as_array().is_some_and(|members| members.len() == 10)
        })
        .await;
    }
    let mut times = Vec::new();
    let review = review();
    for round in 0..CHANGES {
        let bound = round % 2 == 0;
        let workspaces = if bound { json!(["workspace-77"]) } else { json!([]) };
        let patch = Patch::Merge(json!({"spec": {"workspaces": workspaces}}));
        records(&client, Kind::RegistrySpace)
            .patch("corp.project-99078", &PatchParams::default(), &patch)
            .await
            .unwrap();
        let written = Instant::now();
        for replica in &replicas {
            until("the decision", Duration::from_secs(10), async || {
                (replica.review("validate", &review).await["response"]["allowed"] == true) == bound
            })
            .await;
        }
        times.push(written.elapsed());
    }
    times.sort_unstable();
    let p99 = times[CHANGES * 99 / 100 - 1];
    println!(
        "binding to decision: median {:?}, p99 {p99:?}, worst {:?}",
        times[CHANGES / 2],
        times[CHANGES - 1]
    );
    assert!(p99 < Duration::from_secs(1), "p99 {p99:?}");
    for replica in &replicas {
        let resident = mebibytes(replica);
        println!("{resident} MiB after {CHANGES} changes");
        assert!(resident < RESIDENT_MIB, "{resident} MiB");
    }
}

/// Reads all spaces in pages. The first time after 100,000 writes takes an API server half a minute.
async fn list(client: &Client) -> Duration {
    let start = Instant::now();
    let mut page = ListParams::default().limit(5_000);
    loop {
        let answer = records(client, Kind::RegistrySpace).list_metadata(&page).await.unwrap();
        page.continue_token = answer.metadata.continue_.filter(|token| !token.is_empty());
        if page.continue_token.is_none() {
            return start.elapsed();
        }
    }
}

fn mebibytes(server: &Server) -> u64 {
    server.memory_kib("VmRSS") / 1024
}
