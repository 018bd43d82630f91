//! Who gets to run a private image, by pulling it or from what others left on the node.

use serde_json::json;

use crate::pods::{create, pod, pull_policy, pull_secrets, until_event, until_running};
use crate::world::{World, app, not_bound};

#[tokio::test]
async fn a_pod_runs_where_its_space_is_bound_and_is_denied_elsewhere() {
    let world = World::new("pulling").await;
    let image = app(1);
    // Nothing but the image: the credential is pullgate's to give.
    let made = create(&world.client, &world.bound, &pod("web", &image)).await.unwrap();
    assert_eq!(pull_secrets(&made), ["pullgate-pull"]);
    assert_eq!(pull_policy(&made), "Always");
    until_running(&world.client, &world.bound, "web", &image).await;
    until_event(&world.client, &world.bound, &["Pod web Pulled", "Successfully pulled", &image]).await;

    let said = world.denied(&world.unbound, &pod("web", &image)).await;
    assert_eq!(said, not_bound(&image, "container main"));
    // A Secret of its own does not help, whatever is in it.
    let mut with_secret = pod("web", &image);
    with_secret["spec"]["imagePullSecrets"] = json!([{"name": "pullgate-pull"}, {"name": "mine"}]);
    assert_eq!(world.denied(&world.unbound, &with_secret).await, not_bound(&image, "container main"));
    // Of no workspace.
    let said = world.denied("default", &pod("web", &image)).await;
    let expected = format!(
        "image {image} (container main): space team-a of registry corp is private and this namespace belongs to no \
         workspace; ask a platform admin to add the namespace to the workspace that may pull it"
    );
    assert_eq!(said, expected);
}

#[tokio::test]
async fn an_image_that_is_on_the_node_is_no_way_in() {
    let world = World::new("cached").await;
    let image = app(1);
    create(&world.client, &world.bound, &pod("web", &image)).await.unwrap();
    until_running(&world.client, &world.bound, "web", &image).await;

    // What pullgate is there for: without it the other tenant's pod runs the image, and has no credential.
    world.webhooks_off().await;
    let made = create(&world.client, &world.unbound, &pod("thief", &image)).await.unwrap();
    assert_eq!((pull_secrets(&made), pull_policy(&made)), (vec![], "IfNotPresent"));
    until_running(&world.client, &world.unbound, "thief", &image).await;
    until_event(&world.client, &world.unbound, &["Pod thief Pulled", "already present on machine"]).await;

    world.webhooks_on().await;
    for policy in ["IfNotPresent", "Never", "Always"] {
        let mut again = pod("again", &image);
        again["spec"]["containers"][0]["imagePullPolicy"] = json!(policy);
        assert_eq!(
            world.denied(&world.unbound, &again).await,
            not_bound(&image, "container main"),
            "{policy}"
        );
    }
}
