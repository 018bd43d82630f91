//! A Harbor of the Harbor operator. The operator makes a child object `Harbor` of each HarborCluster, which is not looked
//! at: the instance is one.

use kube::api::DynamicObject;
use kube::discovery::ApiResource;
use serde_json::Value;

use super::instance::{Installer, Instance, Objects, Source, Wanted, address};

/// Key of the administrator's password in its Secret.
const PASSWORD: &str = "secret";
/// Characters of the operator's own words that are repeated.
const WORDS: usize = 200;

/// The resource of the operator.
pub fn resource() -> ApiResource {
    ApiResource {
        group: "goharbor.io".to_owned(),
        version: "v1beta1".to_owned(),
        api_version: "goharbor.io/v1beta1".to_owned(),
        kind: "HarborCluster".to_owned(),
        plural: "harborclusters".to_owned(),
    }
}

/// Which instance an object is; `None` for one without a name, which no API server serves.
pub fn source(cluster: &DynamicObject) -> Option<Source> {
    let (namespace, name) = (cluster.metadata.namespace.clone()?, cluster.metadata.name.clone()?);
    Some(Source { installer: Installer::HarborCluster, namespace, name })
}

/// What it refers to.
pub fn wanted(cluster: &DynamicObject) -> Wanted {
    let secrets = [password_ref(cluster), certificate_ref(cluster)].into_iter().flatten();
    Wanted { secrets: secrets.map(str::to_owned).collect(), ..Wanted::default() }
}

/// What it says about itself.
pub fn read(cluster: &DynamicObject, objects: &Objects) -> Option<Instance> {
    let url = text(cluster, "/spec/externalURL").unwrap_or_default();
    Some(Instance {
        source: source(cluster)?,
        url: address(url, "spec.externalURL"),
        password: match password_ref(cluster) {
            Some(secret) => objects.password(secret, PASSWORD),
            None => Err("spec.harborAdminPasswordRef names no Secret".to_owned()),
        },
        ca: certificate_ref(cluster).and_then(|secret| objects.ca(secret)),
        health: health(cluster),
    })
}

fn health(cluster: &DynamicObject) -> Result<(), String> {
    if cluster.metadata.deletion_timestamp.is_some() {
        return Err("it is being deleted".to_owned());
    }
    match text(cluster, "/status/status") {
        Some("healthy") => Ok(()),
        status => {
            let mut said = format!("its status is {}", short(status.unwrap_or("not known yet")));
            let conditions = cluster.data.pointer("/status/conditions").and_then(Value::as_array);
            let failing = conditions.into_iter().flatten().find(|condition| condition["status"] == "False");
            if let Some(message) = failing.and_then(|condition| condition["message"].as_str()) {
                said = format!("{said}: {}", short(message));
            }
            Err(said)
        }
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORDS).collect()
}

fn password_ref(cluster: &DynamicObject) -> Option<&str> {
    text(cluster, "/spec/harborAdminPasswordRef")
}

fn certificate_ref(cluster: &DynamicObject) -> Option<&str> {
    text(cluster, "/spec/expose/core/tls/certificateRef")
}

fn text<'c>(cluster: &'c DynamicObject, pointer: &str) -> Option<&'c str> {
    cluster.data.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}
