//! A workspace that loses its binding.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::pods::{create, pod, pods, status, until, until_refused_by_registry, until_running};
use crate::world::{World, app, eventually, not_bound};

#[tokio::test]
async fn what_was_admitted_before_cannot_pull_again() {
    let world = World::new("unbinding").await;
    let image = app(1);
    let stop = world.shared_folder().join("stop");
    let mut restarting = pod("web", &image);
    restarting["spec"]["volumes"] =
        json!([{"name": "signals", "hostPath": {"path": world.shared_folder(), "type": "Directory"}}]);
    let container = &mut restarting["spec"]["containers"][0];
    container["volumeMounts"] = json!([{"name": "signals", "mountPath": "/signals"}]);
    let wait = "until [ -e /signals/stop ]; do /busybox sleep 0.1; done";
    container["command"] = json!(["/busybox", "sh", "-c", wait]);
    create(&world.client, &world.bound, &restarting).await.unwrap();
    until_running(&world.client, &world.bound, "web", &image).await;

    // While the space is bound its container is started again, so that what follows is the binding's doing.
    std::fs::write(&stop, "").unwrap();
    until(&world.client, &world.bound, "web", "ended once", |pod| status(pod).is_some_and(has_ended)).await;
    std::fs::remove_file(&stop).unwrap();
    until(&world.client, &world.bound, "web", "runs again", |pod| {
        status(pod).is_some_and(|s| s.restart_count > 0 && s.ready)
    })
    .await;

    world.unbind().await;
    std::fs::write(&stop, "").unwrap();
    let refused = until_refused_by_registry(&world.client, &world.bound, "web").await;
    assert!(status(&refused).is_some_and(has_ended), "its first start was refused, and not its restart");
}

#[tokio::test]
async fn a_pod_that_is_made_anew_is_denied() {
    let world = World::new("renewed").await;
    let image = app(1);
    create(&world.client, &world.bound, &pod("web", &image)).await.unwrap();
    until_running(&world.client, &world.bound, "web", &image).await;
    world.unbind().await;
    let pods = pods(&world.client, &world.bound);
    pods.delete("web", &DeleteParams::default()).await.unwrap();
    eventually("the pod is gone", async || match pods.get_opt("web").await.unwrap() {
        Some(pod) => Err(format!("{:?}", pod.status)),
        None => Ok(()),
    })
    .await;
    let said = world.denied(&world.bound, &pod("web", &image)).await;
    assert_eq!(said, not_bound(&image, "container main"));
}

#[tokio::test]
async fn a_pod_of_before_can_still_be_labelled_and_removed() {
    let world = World::new("leaving").await;
    let image = app(1);
    let mut held = pod("web", &image);
    held["metadata"]["finalizers"] = json!(["pullgate.test/hold"]);
    create(&world.client, &world.bound, &held).await.unwrap();
    until_running(&world.client, &world.bound, "web", &image).await;
    world.unbind().await;

    let pods = pods(&world.client, &world.bound);
    let merge = async |patch| {
        pods.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    merge(json!({"metadata": {"labels": {"seen": "yes"}, "annotations": {"note": "old"}}})).await;
    pods.delete("web", &DeleteParams::default()).await.unwrap();
    until(&world.client, &world.bound, "web", "has ended and is held", |pod: &Pod| {
        pod.metadata.deletion_timestamp.is_some()
            && status(pod).and_then(|s| s.state.as_ref()).is_some_and(|s| s.terminated.is_some())
    })
    .await;
    merge(json!({"metadata": {"finalizers": null}})).await;
    eventually("the pod is gone", async || match pods.get_opt("web").await.unwrap() {
        Some(pod) => Err(format!("{:?}", pod.metadata)),
        None => Ok(()),
    })
    .await;
}

fn has_ended(status: &k8s_openapi::api::core::v1::ContainerStatus) -> bool {
    let ended = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        state.as_ref().is_some_and(|state| state.terminated.is_some())
    };
    ended(&status.state) || ended(&status.last_state)
}
