//! Where accounts may be that pullgate made at registries, as Secrets of pullgate's own namespace. They have no owner, so
//! that the garbage collector leaves them when a registry's record goes: they are what its accounts are removed by.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use secrecy::ExposeSecret;

use super::credentials::{AUDIENCE, REGISTRY, credential_in};
use super::{KubernetesStore, code, failure};
use crate::domain::record::Name;
use crate::hex::short_digest;
use crate::store::{Ledger, StoreError};

/// The label of all of them.
const LEDGER: &str = "pullgate.io/ledger";
/// Bytes of the digest in their names.
const DIGEST: usize = 16;

impl KubernetesStore {
    pub(super) async fn read_ledgers(&self) -> Result<Vec<Ledger>, StoreError> {
        let selector = format!("{LEDGER}=true");
        let listed = self.secrets().list(&ListParams::default().labels(&selector)).await;
        let found = listed.map_err(|error| failure(&error))?;
        Ok(found.iter().filter_map(ledger_in).collect())
    }

    pub(super) async fn write_ledger(&self, ledger: &Ledger) -> Result<(), StoreError> {
        let name = name(ledger);
        if ledger.places.is_empty() {
            return match self.secrets().delete(&name, &DeleteParams::default()).await {
                Err(error) if code(&error) != 404 => Err(failure(&error)),
                _ => Ok(()),
            };
        }
        let mut secret = secret_of(&name, ledger);
        let found = self.secrets().get_opt(&name).await.map_err(|error| failure(&error))?;
        let done = match found {
            None => self.secrets().create(&PostParams::default(), &secret).await,
            Some(found) => {
                secret.metadata.resource_version = found.metadata.resource_version;
                self.secrets().replace(&name, &PostParams::default(), &secret).await
            }
        };
        done.map(drop).map_err(|error| failure(&error))
    }
}

fn name(ledger: &Ledger) -> String {
    format!("ledger-{}", short_digest(&[&ledger.registry, &ledger.credential.audience], DIGEST))
}

fn secret_of(name: &str, ledger: &Ledger) -> Secret {
    let Ledger { registry, spec, credential, places } = ledger;
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    // Numbers and texts; they always serialise.
    let places = serde_json::to_string(places).unwrap_or_default();
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some(BTreeMap::from([
                (REGISTRY.to_owned(), registry.to_string()),
                (AUDIENCE.to_owned(), credential.audience.clone()),
            ])),
            labels: Some(BTreeMap::from([
                ("app.kubernetes.io/managed-by".to_owned(), "pullgate".to_owned()),
                (LEDGER.to_owned(), "true".to_owned()),
            ])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([
            ("username".to_owned(), bytes(&credential.username)),
            ("password".to_owned(), bytes(credential.password.expose_secret())),
            ("spec".to_owned(), bytes(&spec.to_string())),
            ("places".to_owned(), bytes(&places)),
        ])),
        ..Secret::default()
    }
}

fn ledger_in(secret: &Secret) -> Option<Ledger> {
    let data = secret.data.as_ref()?;
    Some(Ledger {
        registry: secret.annotations().get(REGISTRY).map(Name::from)?,
        spec: serde_json::from_slice(&data.get("spec")?.0).ok()?,
        credential: credential_in(secret)?,
        places: serde_json::from_slice(&data.get("places")?.0).ok()?,
    })
}
