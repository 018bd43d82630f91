//! The content of pull secrets: where the entries of [`crate::domain::pull_secret`] meet the stored credentials.
//!
//! The management API shows it and the controller writes it, by the same function and so to the same byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::domain::record::{Owner, Registry};
use crate::domain::records::{Records, Stored};
use crate::store::{Credential, RecordStore, StoreError};

/// Why an entry has no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("no credential is stored for the registry")]
    NotStored,
    /// Whoever may change a record's address must not learn the password by it.
    #[error("the credential was given for another address of the registry; give it again")]
    OtherAudience,
    #[error("the registry's record is missing or invalid")]
    NoRecord,
    #[error("the stored credential is damaged; give user name and password again")]
    Damaged,
    #[error("the robot account is not made yet; the registry's condition PullCredentials says why")]
    NoRobot,
}

/// An entry of a pull secret and what fills it.
#[derive(Debug)]
pub struct Resolved {
    /// What the kubelet matches images with, as `harbor.example.com/v2/team-a/`.
    pub key: String,
    pub id: CredentialId,
    pub credential: Result<Credential, Unavailable>,
}

/// Credentials that were looked up, for as long as their registries' records stay as they were. Whoever keeps this
/// forgets it when a stored credential changes.
#[derive(Default)]
pub struct LookedUp(BTreeMap<CredentialId, Found>);

struct Found {
    record: Arc<Stored<Registry>>,
    credential: Result<Credential, Unavailable>,
}

impl LookedUp {
    /// Looks up the credential of every entry, in the order of the keys. `records` decide whether a stored credential
    /// still belongs to its registry's address.
    ///
    /// # Errors
    /// The store's, where it cannot be read.
    pub async fn resolve(
        &mut self,
        store: &dyn RecordStore,
        records: &Records,
        entries: BTreeMap<String, CredentialId>,
    ) -> Result<Vec<Resolved>, StoreError> {
        let mut resolved = Vec::with_capacity(entries.len());
        for (key, id) in entries {
            let credential = self.credential(store, records, &id).await?;
            resolved.push(Resolved { key, id, credential });
        }
        Ok(resolved)
    }

    async fn credential(
        &mut self,
        store: &dyn RecordStore,
        records: &Records,
        id: &CredentialId,
    ) -> Result<Result<Credential, Unavailable>, StoreError> {
        let (CredentialId::Integration { registry } | CredentialId::Robot(RobotId { registry, .. })) = id;
        let Some(entry) = records.registries().get(registry) else { return Ok(Err(Unavailable::NoRecord)) };
        let Some(record) = entry.valid() else { return Ok(Err(Unavailable::NoRecord)) };
        if let Some(found) = self.0.get(id).filter(|found| Arc::ptr_eq(&found.record, entry)) {
            return Ok(found.credential.clone());
        }
        let mut credential = stored(store, record, id).await?;
        // A token that is not there for a moment, as after a change of the record's address, leaves nobody without: the
        // workspace's own credential is what its namespaces have wherever there are no tokens.
        if credential.is_err() && record.owner != Owner::Platform {
            let own = CredentialId::Integration { registry: registry.clone() };
            credential = stored(store, record, &own).await?;
        }
        let found = Found { record: entry.clone(), credential: credential.clone() };
        self.0.insert(id.clone(), found);
        Ok(credential)
    }
}

async fn stored(
    store: &dyn RecordStore,
    record: &Registry,
    id: &CredentialId,
) -> Result<Result<Credential, Unavailable>, StoreError> {
    let found = match store.credential(id).await {
        // One that cannot be read leaves the others in force.
        Err(StoreError::Damaged(text)) => {
            tracing::error!(error = text, "an entry of a pull secret cannot be filled");
            return Ok(Err(Unavailable::Damaged));
        }
        found => found?,
    };
    Ok(match found {
        None if matches!(id, CredentialId::Robot(_)) => Err(Unavailable::NoRobot),
        None => Err(Unavailable::NotStored),
        Some(credential) if credential.audience != record.audience() => Err(Unavailable::OtherAudience),
        Some(credential) => Ok(credential),
    })
}

/// The text of `.dockerconfigjson`. Serialising it exposes the passwords; nothing else does.
pub struct DockerConfig(BTreeMap<String, SecretString>);

impl DockerConfig {
    /// The entries whose credential is available. One that is not is left out: the kubelet makes no anonymous
    /// attempt where any entry matches, and an empty `auth` fails every pull of the pod. `auth` alone is written:
    /// the kubelet lets it override user name and password anyway.
    pub fn of(entries: &[Resolved]) -> Self {
        let available =
            entries.iter().filter_map(|e| Some((e.key.clone(), e.credential.as_ref().ok()?.basic())));
        Self(available.collect())
    }

    /// Whether no entry has a credential.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for DockerConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Auths<'a>(&'a BTreeMap<String, SecretString>);
        struct Auth<'a>(&'a SecretString);
        impl Serialize for Auths<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(key, auth)| (key, Auth(auth))))
            }
        }
        impl Serialize for Auth<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("auth", self.0.expose_secret())?;
                map.end()
            }
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("auths", &Auths(&self.0))?;
        map.end()
    }
}
