//! A namespace whose pods come before its pull secret does.

use crate::pods::{create, pod, pull_secrets, until_running};
use crate::world::{World, app, eventually};

#[tokio::test]
async fn a_pod_runs_in_a_namespace_that_was_made_a_moment_before() {
    let world = World::new("fresh").await;
    // The workspace names it already.
    let late = "fresh-late";
    world.namespace(late).await;
    let made = eventually("a pod in a new namespace", async || {
        match create(&world.client, late, &pod("web", &app(1))).await {
            // Kubernetes' own, which makes it.
            Err(error) if error.to_string().contains("serviceaccount \"default\" not found") => {
                Err(error.to_string())
            }
            outcome => Ok(outcome.unwrap()),
        }
    })
    .await;
    assert_eq!(pull_secrets(&made), ["pullgate-pull"]);
    world.secret_is(late, true).await;
    until_running(&world.client, late, "web", &app(1)).await;
}
