//! The Kubernetes store, against the contract that every store keeps.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams};
use pullgate::domain::record::Kind;
use pullgate::store::RecordStore;
use pullgate::store::kubernetes::KubernetesStore;

use crate::control_plane::{install, namespace, permissive, turn};
use crate::store_contract::Subject;

const NAMESPACE: &str = "pullgate-system";

async fn subject() -> Subject {
    let (turn, client) = turn().await;
    install(&client, permissive()).await;
    namespace(&client, NAMESPACE).await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    secrets.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let store = Arc::new(KubernetesStore::new(client, NAMESPACE));
    for kind in Kind::ALL {
        for record in store.list(kind, None, 10_000).await.unwrap().items {
            store.delete(kind, &record.name, &record.version).await.unwrap();
        }
    }
    Subject { store, _keep: Box::new(turn) }
}

crate::store_contract::contract!(kubernetes, crate::store::subject());
