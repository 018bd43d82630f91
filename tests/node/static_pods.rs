//! Pods that a node runs by itself, and tells the API server of.

use std::path::PathBuf;

use serde_json::json;

use crate::pods::{CONTAINER, container, pod, pull_secrets, until_running};
use crate::world::{PRELOADED, World, foreign, not_bound, static_pods};

/// A manifest that the node reads, until it is dropped.
struct Manifest(PathBuf);

impl Drop for Manifest {
    fn drop(&mut self) {
        // The test may have ended before it was written.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn the_mirror_of_a_static_pod_is_admitted_and_a_forged_one_is_judged() {
    let world = World::new("static").await;
    let mut tools = pod("tools", PRELOADED);
    tools["metadata"]["namespace"] = json!(world.bound);
    // One that the namespace may not pull: the node runs the pod whether or not it may be shown.
    tools["spec"]["containers"] = json!([container(CONTAINER, PRELOADED), container("other", &foreign())]);
    let manifest = Manifest(static_pods().join("tools.json"));
    std::fs::write(&manifest.0, tools.to_string()).unwrap();
    let shown = until_running(&world.client, &world.bound, "tools-127.0.0.1", PRELOADED).await;
    // With a Secret the API server itself would refuse the mirror.
    assert!(pull_secrets(&shown).is_empty());

    let mut forged = pod("forged", &foreign());
    forged["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "mine"});
    forged["spec"]["nodeName"] = json!("127.0.0.1");
    // Where nothing is injected: a mirror with a Secret is refused by Kubernetes.
    assert_eq!(world.denied(&world.unbound, &forged).await, not_bound(&foreign(), "container main"));
}
