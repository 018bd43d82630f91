//! The HTTP clients of the process: one for all registries that are connected to in the same way.
//!
//! A client holds a connection pool, a TLS configuration with its roots and sessions, and a resolver that vets addresses;
//! a hundred registries need no hundred of those. It holds nothing of one registry: credentials, limits and what is known of
//! them stay in [`super::http::Http`], which sets each request's own header, without cookies or redirects. Whatever decides
//! whether a connection may be made is part of what clients are told apart by, so that no registry is given a pooled
//! connection that it could not have made itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use reqwest::{Client, redirect};

use super::address::AddressPolicy;
use super::fault::Fault;
use super::http::{ANSWER, CALLS, Target};
use super::trust;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// Hands out clients, and keeps none that nobody uses.
#[derive(Debug, Default)]
pub struct HttpClients(Mutex<HashMap<Way, Weak<Client>>>);

/// What two registries have in common that may share connections.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Way {
    trusted: Trusted,
    reach: AddressPolicy,
}

/// Whose certificates are accepted.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Trusted {
    Anybody,
    /// A registry behind plain HTTP needs no roots, and a machine may have none.
    Nobody,
    System,
    /// SHA-256 of the record's CA bundle.
    Bundle([u8; SHA256_OUTPUT_LEN]),
}

impl Way {
    fn to(target: &Target) -> Self {
        let trusted = match &target.tls.ca {
            _ if target.tls.skip_verify => Trusted::Anybody,
            Some(bundle) => {
                let mut sum = [0; SHA256_OUTPUT_LEN];
                sum.copy_from_slice(digest(&SHA256, bundle.as_bytes()).as_ref());
                Trusted::Bundle(sum)
            }
            None if is_plain(target) => Trusted::Nobody,
            None => Trusted::System,
        };
        Self { trusted, reach: target.reach.clone() }
    }
}

impl HttpClients {
    /// The client for a registry; another registry's where both are connected to in the same way.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub(super) fn to(&self, target: &Target) -> Result<Arc<Client>, Fault> {
        let way = Way::to(target);
        let mut known = self.known();
        if let Some(client) = known.get(&way).and_then(Weak::upgrade) {
            return Ok(client);
        }
        known.retain(|_, client| client.strong_count() > 0);
        let client = Arc::new(build(target)?);
        known.insert(way, Arc::downgrade(&client));
        Ok(client)
    }

    /// How many clients there are.
    pub fn count(&self) -> usize {
        self.known().values().filter(|client| client.strong_count() > 0).count()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Way, Weak<Client>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_plain(target: &Target) -> bool {
    target.url.scheme() == "http"
}

fn build(target: &Target) -> Result<Client, Fault> {
    // reqwest takes the process's provider; another part may have chosen the same one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::builder()
        .user_agent(concat!("pullgate/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .dns_resolver(Arc::new(target.reach.clone()))
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .pool_max_idle_per_host(CALLS);
    let client = match trust::client_config(&target.tls, is_plain(target))? {
        Some(config) => client.tls_backend_preconfigured(config),
        None if target.tls.skip_verify => client.tls_danger_accept_invalid_certs(true),
        None => client.tls_certs_only([]),
    };
    client.build().map_err(|error| Fault::Settings(format!("HTTP cannot be set up: {error}")))
}
