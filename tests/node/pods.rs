//! Pods that only sleep, and what becomes of them.

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

use crate::world::eventually;

/// The containers' name, unless they are ephemeral.
pub const CONTAINER: &str = "main";

/// A pod with one container, which asks for the node's own copy of the image where there is one. It uses the host's
/// network, since the node has no other.
pub fn pod(name: &str, image: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec(image)})
}

/// The spec of such a pod.
pub fn spec(image: &str) -> Value {
    json!({
        "hostNetwork": true,
        "terminationGracePeriodSeconds": 1,
        "containers": [container(CONTAINER, image)],
    })
}

/// A container that sleeps.
pub fn container(name: &str, image: &str) -> Value {
    json!({
        "name": name, "image": image, "imagePullPolicy": "IfNotPresent",
        "command": ["/busybox", "sleep", "1000000"],
    })
}

pub fn pods(client: &Client, namespace: &str) -> Api<Pod> {
    Api::namespaced(client.clone(), namespace)
}

/// Makes a pod as its author does.
pub async fn create(client: &Client, namespace: &str, pod: &Value) -> kube::Result<Pod> {
    let pod = serde_json::from_value(pod.clone()).unwrap();
    pods(client, namespace).create(&PostParams::default(), &pod).await
}

/// Waits until a pod is what is asked for; a failure tells its status and the namespace's events.
pub async fn until(
    client: &Client,
    namespace: &str,
    name: &str,
    what: &str,
    holds: impl Fn(&Pod) -> bool,
) -> Pod {
    let pods = pods(client, namespace);
    eventually(&format!("pod {name} in {namespace} {what}"), async || {
        match pods.get_opt(name).await.unwrap() {
            Some(pod) if holds(&pod) => Ok(pod),
            found => {
                let status = found.map(|pod| serde_json::to_string(&pod.status).unwrap());
                Err(format!("status {status:?}; events {:#?}", events(client, namespace).await))
            }
        }
    })
    .await
}

/// Waits until its container runs this image.
pub async fn until_running(client: &Client, namespace: &str, name: &str, image: &str) -> Pod {
    until(client, namespace, name, &format!("runs {image}"), |pod| {
        status(pod).is_some_and(|s| s.image == image && s.state.as_ref().is_some_and(|s| s.running.is_some()))
    })
    .await
}

/// Waits until its container waits because the registry refuses the image.
pub async fn until_refused_by_registry(client: &Client, namespace: &str, name: &str) -> Pod {
    until(client, namespace, name, "cannot pull", |pod| {
        let waiting = status(pod).and_then(|s| s.state.as_ref()?.waiting.as_ref());
        waiting.is_some_and(|waiting| {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            let message = waiting.message.as_deref().unwrap_or_default();
            ["ErrImagePull", "ImagePullBackOff"].contains(&reason) && message.contains("401")
        })
    })
    .await
}

/// What the node says of the container.
pub fn status(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.iter().find(|s| s.name == CONTAINER)
}

/// The container's pull policy as admitted.
pub fn pull_policy(pod: &Pod) -> &str {
    pod.spec.as_ref().unwrap().containers[0].image_pull_policy.as_deref().unwrap()
}

/// The names of the pod's pull secrets.
pub fn pull_secrets(pod: &Pod) -> Vec<&str> {
    let references = pod.spec.as_ref().unwrap().image_pull_secrets.as_ref();
    references.into_iter().flatten().map(|reference| &*reference.name).collect()
}

/// A namespace's events: object, reason and message.
pub async fn events(client: &Client, namespace: &str) -> Vec<String> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let describe = |event: Event| {
        let object = event.involved_object;
        let [kind, name, reason, message] =
            [object.kind, object.name, event.reason, event.message].map(Option::unwrap_or_default);
        format!("{kind} {name} {reason}: {message}")
    };
    events.list(&ListParams::default()).await.unwrap().into_iter().map(describe).collect()
}

/// Waits for an event with all of these words.
pub async fn until_event(client: &Client, namespace: &str, words: &[&str]) -> String {
    eventually(&format!("an event in {namespace} with {words:?}"), async || {
        let events = events(client, namespace).await;
        let found = events.iter().find(|event| words.iter().all(|word| event.contains(word)));
        found.cloned().ok_or_else(|| format!("{events:#?}"))
    })
    .await
}
