//! A release of Harbor's own Helm chart, known by the Deployment of its core (goharbor/harbor-helm, templates/core).

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::EnvVar;

use super::instance::{Installer, Instance, Objects, Source, Wanted, address};

/// Labels that the core's Deployment has, as a selector. What the second says is [`source`]'s to look at.
pub const LABELS: &str = "component=core,chart";
/// End of the names of the core's objects.
const CORE: &str = "-core";
/// Key of the address in the core's ConfigMap.
const ADDRESS: &str = "EXT_ENDPOINT";
/// Key of the password in the core's Secret, and its variable in the core's environment.
const PASSWORD: &str = "HARBOR_ADMIN_PASSWORD";
/// Ends of the names of the Secrets that hold a certificate which the chart issued.
const CERTIFICATES: [&str; 2] = ["-ingress", "-nginx"];

/// Which instance a Deployment is the core of; `None` where it is none.
pub fn source(core: &Deployment) -> Option<Source> {
    let metadata = &core.metadata;
    let label = |key| metadata.labels.as_ref()?.get(key).map(String::as_str);
    let ours = label("component") == Some("core") && label("chart").is_some_and(|c| c.starts_with("harbor"));
    let name = metadata.name.as_deref()?.strip_suffix(CORE).filter(|name| ours && !name.is_empty())?;
    let namespace = metadata.namespace.clone()?;
    Some(Source { installer: Installer::Helm, namespace, name: name.to_owned() })
}

/// What it refers to.
pub fn wanted(core: &Deployment) -> Wanted {
    let Some(Source { name, .. }) = source(core) else { return Wanted::default() };
    let mut secrets: BTreeSet<_> = CERTIFICATES.iter().map(|end| format!("{name}{end}")).collect();
    secrets.insert(password_ref(core, &name).0);
    Wanted { secrets, config_maps: [format!("{name}{CORE}")].into() }
}

/// What it says about itself.
pub fn read(core: &Deployment, objects: &Objects) -> Option<Instance> {
    let source = source(core)?;
    let name = &source.name;
    let config = format!("{name}{CORE}");
    let (secret, key) = password_ref(core, name);
    let url = match objects.config_maps.get(&config) {
        None => Err(format!("there is no ConfigMap {config}")),
        Some(map) => match map.data.as_ref().and_then(|data| data.get(ADDRESS)) {
            None => Err(format!("ConfigMap {config} has no key {ADDRESS}")),
            Some(url) => address(url, &format!("key {ADDRESS} of ConfigMap {config}")),
        },
    };
    Some(Instance {
        url,
        password: objects.password(&secret, &key),
        ca: CERTIFICATES.iter().find_map(|end| objects.ca(&format!("{name}{end}"))),
        health: health(core),
        source,
    })
}

fn health(core: &Deployment) -> Result<(), String> {
    if core.metadata.deletion_timestamp.is_some() {
        return Err("it is being deleted".to_owned());
    }
    let available = core.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default();
    if available > 0 {
        return Ok(());
    }
    Err(format!(
        "no replica of Deployment {} is available",
        core.metadata.name.as_deref().unwrap_or_default()
    ))
}

/// The Secret and the key of the password: `existingSecretAdminPassword` shows in the environment.
fn password_ref(core: &Deployment, name: &str) -> (String, String) {
    let pod = core.spec.template.spec.as_ref();
    let variables = pod.into_iter().flat_map(|pod| &pod.containers).filter_map(|c| c.env.as_ref()).flatten();
    let named = variables.filter(|variable| variable.name == PASSWORD).find_map(secret_of);
    named.unwrap_or_else(|| (format!("{name}{CORE}"), PASSWORD.to_owned()))
}

fn secret_of(variable: &EnvVar) -> Option<(String, String)> {
    let selector = variable.value_from.as_ref()?.secret_key_ref.as_ref()?;
    (!selector.name.is_empty()).then(|| (selector.name.clone(), selector.key.clone()))
}
