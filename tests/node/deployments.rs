//! Pods that a controller makes.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::client::Body;
use serde_json::{Value, json};

use crate::pods::{events, pods, pull_policy, pull_secrets, spec, until_event};
use crate::world::{World, app, eventually, not_bound};

/// Of two pods, which leave the ServiceAccount and the pull secrets to others.
fn deployment(image: &str) -> Value {
    let labels = json!({"app": "web"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec(image)},
        },
    })
}

/// Makes one, and gives the warnings that kubectl would show.
async fn create(client: &Client, namespace: &str, image: &str) -> Vec<String> {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let body = serde_json::to_vec(&deployment(image)).unwrap();
    let request = kube::core::Request::new(path).create(&PostParams::default(), body).unwrap();
    let answer = client.send(request.map(Body::from)).await.unwrap();
    assert_eq!(answer.status(), 201);
    let warnings = answer.headers().get_all("warning").into_iter();
    warnings.map(|warning| warning.to_str().unwrap().to_owned()).collect()
}

async fn until_rolled_out(client: &Client, namespace: &str) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    eventually("the Deployment is rolled out", async || {
        let status = deployments.get("web").await.unwrap().status.unwrap_or_default();
        if status.available_replicas == Some(2) && status.updated_replicas == Some(2) {
            return Ok(());
        }
        Err(format!("{status:?}; events {:#?}", events(client, namespace).await))
    })
    .await;
}

#[tokio::test]
async fn a_deployment_rolls_out_where_its_space_is_bound() {
    let world = World::new("rollout").await;
    let warnings = create(&world.client, &world.bound, &app(1)).await;
    assert!(warnings.is_empty(), "{warnings:?}");
    until_rolled_out(&world.client, &world.bound).await;
    for pod in pods(&world.client, &world.bound).list(&ListParams::default()).await.unwrap() {
        assert_eq!(pod.spec.as_ref().unwrap().service_account_name.as_deref(), Some("default"));
        assert_eq!((pull_secrets(&pod), pull_policy(&pod)), (vec!["pullgate-pull"], "Always"));
    }

    // Unbound, a pod that goes is not made anew, and the controller says why.
    world.unbind().await;
    pods(&world.client, &world.bound)
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
    until_event(&world.client, &world.bound, &["FailedCreate", &not_bound(&app(1), "container main")]).await;
}

#[tokio::test]
async fn a_deployment_elsewhere_is_warned_of_and_its_pods_are_denied() {
    let world = World::new("failing").await;
    let warnings = create(&world.client, &world.unbound, &app(1)).await;
    // kubectl shows it at the moment of `apply`.
    let expected = format!("its pods will be denied: {}", not_bound(&app(1), "container main"));
    let start: String = expected.chars().take(200).collect();
    assert!(warnings.iter().any(|warning| warning.contains(&start)), "{warnings:?}");
    let denial = not_bound(&app(1), "container main");
    until_event(&world.client, &world.unbound, &["ReplicaSet web-", "FailedCreate", &denial]).await;
    assert!(pods(&world.client, &world.unbound).list(&ListParams::default()).await.unwrap().items.is_empty());
}
