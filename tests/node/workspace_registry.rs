//! A registry that a workspace integrated for itself: no reason to deny anybody else, and nothing for them either.

use serde_json::json;

use crate::pods::{
    create, pod, pull_policy, pull_secrets, until_event, until_refused_by_registry, until_running,
};
use crate::world::{World, tenant_registry};

#[tokio::test]
async fn its_members_run_the_image_and_others_must_ask_the_registry() {
    let world = World::new("tenant").await;
    let registry =
        json!({"type": "Docker", "url": format!("http://{}", tenant_registry()), "workspace": "shop"});
    let credential = json!({"username": "member", "password": "other"});
    world.put("registries", "Registry", "shop-registry", registry, Some(credential)).await;
    // Until then it concerns nobody else.
    world.answers("shop-registry").await;
    // The members are the workspace `shop`, the outsiders `payments`.
    let (members, outsiders) = (&world.unbound, &world.bound);
    world.secret_is(members, true).await;
    let image = format!("{}/shop/app:1", tenant_registry());
    let made = create(&world.client, members, &pod("web", &image)).await.unwrap();
    assert_eq!((pull_secrets(&made), pull_policy(&made)), (vec!["pullgate-pull"], "Always"));
    until_running(&world.client, members, "web", &image).await;

    // What pullgate is there for: without it the outsider's pod runs what the member's has left on the node.
    world.webhooks_off().await;
    let made = create(&world.client, outsiders, &pod("before", &image)).await.unwrap();
    assert_eq!((pull_secrets(&made), pull_policy(&made)), (vec![], "IfNotPresent"));
    until_running(&world.client, outsiders, "before", &image).await;
    until_event(&world.client, outsiders, &["Pod before Pulled", "already present on machine"]).await;

    world.webhooks_on().await;
    let made = create(&world.client, outsiders, &pod("after", &image)).await.unwrap();
    assert_eq!(pull_policy(&made), "Always");
    until_refused_by_registry(&world.client, outsiders, "after").await;
    // The member's goes on.
    create(&world.client, members, &pod("again", &image)).await.unwrap();
    until_running(&world.client, members, "again", &image).await;
}
