//! The clients of all registries in this process: one each, so that its limits, its breaker and what it knows of a wrong
//! password hold for everybody who asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use ipnet::IpNet;
use secrecy::ExposeSecret;

use super::address::AddressPolicy;
use super::fault::Fault;
use super::http::Target;
use super::http_clients::HttpClients;
use super::{RegistryClient, client_among};
use crate::domain::pull_secret::CredentialId;
use crate::domain::record::{Name, Owner, Registry};
use crate::store::{Credential, RecordStore, StoreError};

/// See the module's text.
pub struct Clients {
    store: Arc<dyn RecordStore>,
    /// Addresses beside the public ones that registries of workspaces may have.
    allowed: Arc<[IpNet]>,
    known: Mutex<HashMap<Name, Connection>>,
    http: HttpClients,
}

/// A client, and what it was made from.
struct Connection {
    registry: Registry,
    credential: [u8; 32],
    client: Arc<dyn RegistryClient>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Unconnected {
    #[error(transparent)]
    Registry(#[from] Fault),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Clients {
    /// `allowed`: addresses beside the public ones that registries of workspaces may have.
    pub fn new(store: Arc<dyn RecordStore>, allowed: Arc<[IpNet]>) -> Self {
        Self { store, allowed, known: Mutex::default(), http: HttpClients::default() }
    }

    /// The client of a record as it is now, with the credential that is stored now.
    ///
    /// # Errors
    /// The credential cannot be read, or the record's address not be used.
    pub async fn of(&self, name: &Name, registry: &Registry) -> Result<Arc<dyn RegistryClient>, Unconnected> {
        let id = CredentialId::Integration { registry: name.clone() };
        let credential = if registry.has_credential { self.store.credential(&id).await? } else { None };
        let fingerprint = fingerprint(credential.as_ref());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = known.get(name)
            && connection.credential == fingerprint
            && same_way(&connection.registry, registry)
        {
            return Ok(connection.client.clone());
        }
        let reach = match registry.owner {
            Owner::Platform => AddressPolicy::Anywhere,
            Owner::Workspace(_) => AddressPolicy::Public { and: self.allowed.clone() },
        };
        let target = Target::new(registry, credential, reach)?;
        let client = client_among(registry.kind, target, &self.http)?;
        let (registry, credential) = (registry.clone(), fingerprint);
        known.insert(name.clone(), Connection { registry, credential, client: client.clone() });
        Ok(client)
    }

    /// The HTTP clients that they share.
    pub fn http(&self) -> &HttpClients {
        &self.http
    }

    /// Forgets the client of a record that is no more.
    pub fn forget(&self, name: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// Whether two versions of a record lead to the same place in the same way.
pub fn same_way(one: &Registry, other: &Registry) -> bool {
    let way = |r: &Registry| (r.kind, r.audience(), r.tls.clone(), r.has_credential);
    way(one) == way(other)
}

/// Tells one credential from another, without keeping the password once more.
fn fingerprint(credential: Option<&Credential>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    if let Some(credential) = credential {
        for part in [&credential.username, credential.password.expose_secret(), &credential.audience] {
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}
