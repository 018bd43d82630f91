//! The other ways to name an image: on a pod that runs already, and in a volume.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::pods::{CONTAINER, container, create, pod, pods, until, until_running};
use crate::world::{PRELOADED, World, app, foreign, not_bound, refusal};

#[tokio::test]
async fn a_running_pod_gets_no_other_image_than_it_could_be_made_with() {
    let world = World::new("update").await;
    let set_image = async |namespace: &str, image: &str| {
        let patch = json!({"spec": {"containers": [{"name": CONTAINER, "image": image}]}});
        pods(&world.client, namespace).patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await
    };
    create(&world.client, &world.bound, &pod("web", &app(1))).await.unwrap();
    create(&world.client, &world.unbound, &pod("web", PRELOADED)).await.unwrap();
    until_running(&world.client, &world.bound, "web", &app(1)).await;
    until_running(&world.client, &world.unbound, "web", PRELOADED).await;

    let said = refusal(set_image(&world.unbound, &app(1)).await);
    assert_eq!(said, not_bound(&app(1), "container main"));
    let said = refusal(set_image(&world.bound, &foreign()).await);
    assert_eq!(said, not_bound(&foreign(), "container main"));
    // Neither has changed, and an image of the bound space is as good as the first was.
    set_image(&world.bound, &app(2)).await.unwrap();
    until_running(&world.client, &world.bound, "web", &app(2)).await;
    until_running(&world.client, &world.unbound, "web", PRELOADED).await;
}

#[tokio::test]
async fn an_ephemeral_container_is_judged_as_others_are() {
    let world = World::new("debug").await;
    let add = async |namespace: &str, name: &str, image: &str| {
        let patch = json!({"spec": {"ephemeralContainers": [container(name, image)]}});
        let pods: Api<Pod> = pods(&world.client, namespace);
        pods.patch_ephemeral_containers("web", &PatchParams::default(), &Patch::Strategic(patch)).await
    };
    for namespace in [&world.bound, &world.unbound] {
        create(&world.client, namespace, &pod("web", PRELOADED)).await.unwrap();
        until_running(&world.client, namespace, "web", PRELOADED).await;
    }
    let said = refusal(add(&world.unbound, "debug", &app(1)).await);
    assert_eq!(said, not_bound(&app(1), "ephemeral container debug"));
    let said = refusal(add(&world.bound, "debug", &foreign()).await);
    assert_eq!(said, not_bound(&foreign(), "ephemeral container debug"));

    // The pod had no private image when it was made, and got the reference to the Secret all the same.
    let changed = add(&world.bound, "allowed", &app(1)).await.unwrap();
    let added = &changed.spec.unwrap().ephemeral_containers.unwrap()[0];
    assert_eq!(added.image_pull_policy.as_deref(), Some("Always"));
    until(&world.client, &world.bound, "web", "runs its ephemeral container", |pod| {
        let statuses = pod.status.as_ref().and_then(|s| s.ephemeral_container_statuses.as_ref());
        statuses.into_iter().flatten().any(|s| s.state.as_ref().is_some_and(|s| s.running.is_some()))
    })
    .await;
}

#[tokio::test]
async fn an_image_volume_is_judged_as_a_container_is() {
    let world = World::new("volume").await;
    let with_volume = |image: &str| -> Value {
        let mut pod = pod("web", PRELOADED);
        pod["spec"]["volumes"] = json!([{"name": "files", "image": {"reference": image}}]);
        pod
    };
    let said = world.denied(&world.unbound, &with_volume(&app(1))).await;
    assert_eq!(said, not_bound(&app(1), "image volume files"));
    // Not run: the mount needs a containerd of 2.1 or later.
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let pod = serde_json::from_value(with_volume(&app(1))).unwrap();
    let made = pods(&world.client, &world.bound).create(&dry_run, &pod).await.unwrap();
    let volumes = made.spec.unwrap().volumes.unwrap();
    let volume = volumes.iter().find_map(|volume| volume.image.as_ref()).unwrap();
    assert_eq!(volume.pull_policy.as_deref(), Some("Always"));
}
