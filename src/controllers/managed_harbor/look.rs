//! Looks for Harbors in a namespace. What cannot be read is told apart from what is not there: a failure must never pass
//! for an instance that has gone.

use std::future::Future;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, Error};

use super::instance::{Installer, Instance, Objects, Source, Wanted};
use super::{harbor_cluster, helm};

/// What was seen in a namespace.
#[derive(Debug, Default)]
pub struct Seen {
    pub instances: Vec<Instance>,
    /// There, but something that they refer to cannot be read for the moment.
    pub unread: Vec<Source>,
    /// Installers of which everything was listed.
    pub complete: Vec<Installer>,
    /// The API server knows no HarborCluster: the operator is not there, or not there yet.
    pub no_operator: bool,
    /// What failed, in words.
    pub faults: Vec<String>,
}

/// Looks once.
pub async fn look(client: &Client, namespace: &str) -> Seen {
    let mut seen = Seen::default();
    // Its rights go with it, so that nothing could be listed in a namespace that has gone.
    match Api::<Namespace>::all(client.clone()).get_metadata_opt(namespace).await {
        Ok(Some(_)) => {}
        Ok(None) => {
            seen.complete = vec![Installer::HarborCluster, Installer::Helm];
            return seen;
        }
        Err(error) => {
            seen.faults.push(in_words(&error, "the namespace"));
            return seen;
        }
    }
    let clusters =
        Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &harbor_cluster::resource());
    match clusters.list(&ListParams::default()).await {
        Ok(list) => {
            seen.complete.push(Installer::HarborCluster);
            for cluster in list {
                let objects = objects(client, namespace, harbor_cluster::wanted(&cluster));
                let read = |objects: &Objects| harbor_cluster::read(&cluster, objects);
                seen.take(harbor_cluster::source(&cluster), objects, read).await;
            }
        }
        // Not taken for an empty list: an API server that has just started may not know the definitions yet.
        Err(Error::Api(status)) if status.code == 404 => seen.no_operator = true,
        Err(error) => seen.faults.push(in_words(&error, "HarborClusters")),
    }
    let cores = Api::<Deployment>::namespaced(client.clone(), namespace);
    match cores.list(&ListParams::default().labels(helm::LABELS)).await {
        Ok(list) => {
            seen.complete.push(Installer::Helm);
            for core in list {
                let objects = objects(client, namespace, helm::wanted(&core));
                seen.take(helm::source(&core), objects, |objects| helm::read(&core, objects)).await;
            }
        }
        Err(error) => seen.faults.push(in_words(&error, "Deployments")),
    }
    seen
}

impl Seen {
    async fn take(
        &mut self,
        source: Option<Source>,
        objects: impl Future<Output = Result<Objects, String>>,
        read: impl FnOnce(&Objects) -> Option<Instance>,
    ) {
        let Some(source) = source else { return };
        match objects.await {
            Ok(objects) => self.instances.extend(read(&objects)),
            Err(fault) => {
                self.faults.push(format!("{source}: {fault}"));
                self.unread.push(source);
            }
        }
    }
}

/// The objects of these names, as far as there are any.
async fn objects(client: &Client, namespace: &str, wanted: Wanted) -> Result<Objects, String> {
    let mut objects = Objects::default();
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    for name in wanted.secrets {
        let found = secrets.get_opt(&name).await.map_err(|e| in_words(&e, &format!("Secret {name}")))?;
        objects.secrets.extend(found.map(|found| (name, found)));
    }
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    for name in wanted.config_maps {
        let found =
            config_maps.get_opt(&name).await.map_err(|e| in_words(&e, &format!("ConfigMap {name}")))?;
        objects.config_maps.extend(found.map(|found| (name, found)));
    }
    Ok(objects)
}

/// Without the error's own text, which may quote what was read.
fn in_words(error: &Error, what: &str) -> String {
    match error {
        Error::Api(status) => format!("{what} cannot be read: {} ({})", status.reason, status.code),
        _ => format!("{what} cannot be read: the API server did not answer"),
    }
}
