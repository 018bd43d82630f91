//! What the leader does: everything that writes to the cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future;
use kube::Client;
use tokio::sync::watch;

use super::managed_harbor::ManagedHarbors;
use super::pull_secrets::{PullSecretProblems, PullSecrets};
use super::registries::Registries;
use super::registries::notices::Notices;
use super::statuses::Statuses;
use super::webhook_config::{self, SETTLE};
use crate::cluster::events;
use crate::metrics::Metrics;
use crate::tls::shared::Shared;

/// What the leader works with.
#[derive(Clone)]
pub struct Leading {
    pub client: Client,
    /// pullgate's own namespace.
    pub namespace: String,
    /// Which replica this is.
    pub identity: String,
    /// Namespaces whose Harbors are integrated.
    pub managed_harbors: BTreeSet<String>,
    /// What works with registries, and what the others work with too.
    pub registries: Registries,
    /// The certificate that replicas share, where pullgate issues its own.
    pub shared: Option<Shared>,
}

impl Leading {
    /// Writes for as long as it is polled; dropping it stops every writer.
    pub async fn lead(self) {
        let Registries { store, state, metrics, .. } = self.registries.clone();
        let _leading = Gauge::raise(&metrics);
        let (troubles, told) = watch::channel(PullSecretProblems::default());
        let statuses = Statuses { store: store.clone(), state: state.clone(), troubles: told };
        let managed = ManagedHarbors::new(
            self.client.clone(),
            self.managed_harbors,
            store.clone(),
            state.clone(),
            metrics.clone(),
        );
        let secrets = PullSecrets {
            client: self.client.clone(),
            namespace: self.namespace,
            store,
            state,
            metrics: metrics.clone(),
            troubles,
        };
        let client = self.client.clone();
        let certificate = async {
            match self.shared {
                Some(shared) => webhook_config::keep(client, shared, SETTLE, metrics).await,
                None => future::pending().await,
            }
        };
        let (notices, told) = Notices::channel();
        let events = events::write(self.client.clone(), told, self.identity);
        let registries = Box::pin(Registries { notices, ..self.registries }.keep());
        let writers =
            Box::pin(future::join5(secrets.keep(), statuses.keep(), certificate, registries, managed.keep()));
        future::join(writers, events).await;
    }
}

/// Shows that this replica leads, for as long as it lives.
struct Gauge(Arc<Metrics>);

impl Gauge {
    fn raise(metrics: &Arc<Metrics>) -> Self {
        metrics.leader.leading.set(1);
        Self(metrics.clone())
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.leader.leading.set(0);
        // Who leads next counts anew.
        self.0.leader.pull_secrets(0, 0, 0);
        self.0.registries.no_longer_leading();
        self.0.leader.managed_harbors(0, 0, 0);
    }
}
