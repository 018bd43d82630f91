//! What happens to decisions when the API server goes away, silently or with a bang.

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use pullgate::domain::record::Kind;
use pullgate::types::crd;
use serde_json::{Value, json};

use crate::balancer::Balancer;
use crate::control_plane::{install, namespace, record, records, review, serve_in};
use crate::plane::{Plane, until};
use crate::support::server::{READY_WITHIN, Server};

/// A watch whose connection died is given up after 25 s, and what is tried instead after 30 more; the mark of being in
/// step is set every five.
const NOTICED: Duration = Duration::from_mins(1);

async fn allowed(server: &Server) -> bool {
    let answer = server.review("validate", &review()).await;
    assert_eq!(answer["response"]["uid"], review()["request"]["uid"], "{answer}");
    answer["response"]["allowed"] == true
}

/// When the snapshot was last known to be in step with the store.
async fn synced_at(server: &Server) -> f64 {
    let text = server.get(format!("{}/metrics", server.metrics)).await.text().await.unwrap();
    let line =
        text.lines().find(|line| line.starts_with("pullgate_snapshot_synced_timestamp_seconds ")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn ready(server: &Server) -> bool {
    server.get(format!("{}/readyz", server.metrics)).await.status().is_success()
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_go_on_from_the_last_snapshot_and_recovery_needs_no_restart() {
    let plane = Plane::start(false);
    let client = plane.client().await;
    install(&client, crd::definitions()).await;
    namespace(&client, "pullgate-system").await;
    let create = async |kind, name: &str, spec: Value| {
        records(&client, kind).create(&PostParams::default(), &record(kind, name, &spec)).await.unwrap();
    };
    let bind = async |bound: bool| {
        let patch = Patch::Merge(
            json!({"spec": {"workspaces": if bound { json!(["payments"]) } else { json!([]) }}}),
        );
        records(&client, Kind::RegistrySpace)
            .patch("corp.team-a", &PatchParams::default(), &patch)
            .await
            .unwrap();
    };
    let space = json!({"registry": "corp", "path": "team-a", "workspaces": ["payments"]});
    create(Kind::Workspace, "payments", json!({"namespaces": ["payments"]})).await;
    create(Kind::Registry, "corp", json!({"type": "Harbor", "url": "https://harbor.example.com"})).await;
    create(Kind::RegistrySpace, "corp.team-a", space.clone()).await;

    let network = Balancer::start(vec![([127, 0, 0, 1], plane.api_port).into()]).await;
    let kubeconfig = plane.kubeconfig(network.port);
    let directory = tempfile::tempdir().unwrap();
    let environment = [("KUBECONFIG", kubeconfig.to_str().unwrap())];
    let server = serve_in(directory.path(), &[], &environment, READY_WITHIN).await;
    assert!(allowed(&server).await);

    // The network drops everything without a word.
    network.silence(true);
    bind(false).await;
    let mut last = synced_at(&server).await;
    let mut since = Instant::now();
    let start = Instant::now();
    while since.elapsed() < Duration::from_secs(12) {
        assert!(start.elapsed() < NOTICED + Duration::from_secs(15), "the snapshot's age never shows");
        assert!(allowed(&server).await && ready(&server).await);
        let now = synced_at(&server).await;
        if now > last {
            (last, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("silence noticed after {:?}", since.duration_since(start));
    network.silence(false);
    network.cut();
    let heals = until("the change of the silent time decides", Duration::from_secs(30), async || {
        !allowed(&server).await
    })
    .await;
    until("in step again", Duration::from_secs(30), async || synced_at(&server).await > last).await;
    println!("healed after {heals:?}");

    // Changes that the watch cannot be resumed over: the new API server knows nothing of versions before its start.
    bind(true).await;
    until("bound again", Duration::from_secs(5), async || allowed(&server).await).await;
    network.silence(true);
    network.cut();
    records(&client, Kind::RegistrySpace).delete("corp.team-a", &DeleteParams::default()).await.unwrap();
    for n in 0..300 {
        create(Kind::Workspace, &format!("noise-{n}"), json!({"namespaces": []})).await;
    }
    plane.restart_api(Duration::from_secs(1));
    assert!(allowed(&server).await);
    network.silence(false);
    until("a deletion that no watch told", Duration::from_secs(40), async || !allowed(&server).await).await;

    // A plain restart under load.
    create(Kind::RegistrySpace, "corp.team-a", space).await;
    until("recorded again", Duration::from_secs(40), async || allowed(&server).await).await;
    let restart = std::thread::scope(|scope| {
        let restarting = scope.spawn(|| plane.restart_api(Duration::from_secs(3)));
        let mut asked = 0;
        while !restarting.is_finished() {
            let still =
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(allowed(&server)));
            assert!(still, "denied while the API server is away");
            asked += 1;
        }
        asked
    });
    assert!(restart > 50, "only {restart} questions were asked meanwhile");
    until("the API server is back", Duration::from_secs(30), async || {
        client.apiserver_version().await.is_ok()
    })
    .await;
    bind(false).await;
    until("changes come through again", Duration::from_secs(40), async || !allowed(&server).await).await;
}
