//! Builds the parts of a serving process and wires them, nothing else.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use tokio::time::timeout;

use crate::admission::handlers::{self, Admission};
use crate::admission::pinning::Pinning;
use crate::admission::record_webhook::{self, RecordWebhook};
use crate::api::auth::Authority;
use crate::api::cluster::{ApiServer, Cluster};
use crate::api::tokens_file::TokensFile;
use crate::api::{self, ApiState};
use crate::cluster::client;
use crate::cluster::lease::Elector;
use crate::cluster::namespaces;
use crate::config::{CallerSource, Config, StoreSource};
use crate::controllers::leading::Leading;
use crate::controllers::registries::Registries;
use crate::controllers::registries::notices::Notices;
use crate::health;
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::registry::clients::Clients as RegistryClients;
use crate::registry::metadata::Metadata;
use crate::room::Room;
use crate::runtime::{Readiness, Runtime, Stopping};
use crate::secret_file;
use crate::state::{self, State};
use crate::store::RecordStore;
use crate::store::counted::Counted;
use crate::store::embedded::EmbeddedStore;
use crate::store::kubernetes::KubernetesStore;
use crate::tls::client_auth::Clients;
use crate::tls::{CHECK_INTERVAL, Certificate, CertificateSource, shared};

/// Connections that the listeners beside the webhooks' keep.
const API_CONNECTIONS: usize = 512;
const METRICS_CONNECTIONS: usize = 128;
/// The Lease that replicas elect their leader by.
const LEASE: &str = "pullgate";
/// How long the store may gather what it holds, at the end.
const GATHER: Duration = Duration::from_secs(2);

/// A process that is set up and bound, but does not serve yet.
pub struct App {
    runtime: Runtime,
    readiness: Readiness,
    store: Arc<dyn RecordStore>,
    certificate: Certificate,
    settle: Duration,
    grace: Duration,
    /// Where the three listeners are: webhooks, management API, metrics and health.
    pub addresses: [SocketAddr; 3],
}

impl App {
    /// Opens the store, the certificate and the tokens, binds the listeners and starts every task.
    ///
    /// # Errors
    /// Whatever cannot be opened or bound, with the setting that is at fault.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let directory = &config.data_dir;
        secret_file::directory_of_our_own(directory)
            .with_context(|| format!("--data-dir {} cannot be used", directory.display()))?;
        let metrics = Arc::new(Metrics::new().context("the metrics contradict each other")?);
        let certificate = Certificate::load(config.certificate.clone())?;
        let clients = config.clients.map(Clients::load).transpose().context("--client-ca")?;
        let (store, home) = open(config.store).await?;
        let known = home.as_ref().map(|home| home.client.clone());
        let (authority, tokens) = authority(config.callers, directory, known).await?;
        let store: Arc<dyn RecordStore> = Arc::new(Counted::new(store, metrics.clone()));
        let allowed =
            config.registries.as_ref().map(|registries| registries.allowed.clone()).unwrap_or_default();
        let registry_clients = Arc::new(RegistryClients::new(store.clone(), allowed));
        let metadata = Arc::new(Metadata::new(registry_clients.clone()));
        let bind = |address, setting: &'static str| Listener::bind(address).context(setting);
        let webhook_listener = bind(config.webhook, "--webhook-addr")?;
        let api_listener = bind(config.api, "--api-addr")?.with_connections(API_CONNECTIONS);
        let metrics_listener = bind(config.metrics, "--metrics-addr")?.with_connections(METRICS_CONNECTIONS);
        let addresses = [webhook_listener.address(), api_listener.address(), metrics_listener.address()];

        let (mut runtime, readiness, state) = (Runtime::default(), Readiness::default(), State::default());
        let pending = readiness.wait_for("the first snapshot");
        let namespaces = home.as_ref().map(|home| namespaces::watch(home.client.clone()));
        let (follows, tells) = (store.clone(), state.clone());
        let following = state::follow(follows, namespaces, config.settings, tells, metrics.clone(), pending);
        runtime.supervise("the state", following);
        let shared = match config.certificate {
            CertificateSource::Secret(shared) => Some(shared),
            CertificateSource::Files { .. } | CertificateSource::SelfSigned { .. } => {
                let reloading = certificate.clone().keep_fresh(CHECK_INTERVAL);
                runtime.supervise("the certificate's reloading", reloading);
                None
            }
        };
        if let Some(ClusterContext { client, namespace, identity, managed_harbors }) = home {
            if let Some(shared) = &shared {
                let pending = readiness.wait_for("the certificate");
                let following = shared::follow(client.clone(), shared.clone(), certificate.clone(), pending);
                runtime.supervise("the shared certificate's reading", following);
            }
            let elector = Elector::new(client.clone(), &namespace, LEASE, &identity);
            let (store, state, metrics) = (store.clone(), state.clone(), metrics.clone());
            let settings = config.registries.unwrap_or_default();
            let notices = Notices::default();
            let registries =
                Registries { store, state, metrics, clients: registry_clients, settings, notices };
            let leading = Leading { client, namespace, identity, managed_harbors, registries, shared };
            let elect = |stopping: Stopping| elector.lead(stopping.wait(), move || leading.clone().lead());
            runtime.supervise_to_the_end("the leader's election", elect);
        } else if let Some(settings) = config.registries {
            let (store, state, metrics) = (store.clone(), state.clone(), metrics.clone());
            let notices = Notices::default();
            let registries =
                Registries { store, state, metrics, clients: registry_clients, settings, notices };
            runtime.supervise("the work with registries", async move { match registries.keep().await {} });
        }
        runtime.supervise("the certificate's expiry", note_expiry(certificate.clone(), metrics.clone()));
        if let Some(tokens) = tokens {
            runtime.supervise("the tokens file's reloading", tokens.keep_fresh(CHECK_INTERVAL));
        }

        let pinning = config.suggest_digests.then(|| Pinning::new(metadata.clone(), state.clone()));
        let room = Arc::<Room>::default();
        let admission = Admission::with_pinning(state.clone(), metrics.clone(), pinning, room.clone());
        let records = record_webhook::router(RecordWebhook::new(admission.clone(), state.clone()));
        let webhooks = handlers::router(admission).merge(records);
        let api = ApiState::new(store.clone(), state, authority, metadata).with_room(room);
        let management = api::router(api, metrics.clone());
        let observed = health::router(metrics, readiness.clone());
        let tls = Some(certificate.server_config());
        let webhook_tls = match clients {
            Some(clients) => {
                let config = certificate.server_config_for(clients.verifier())?;
                runtime.supervise("the reloading of clients' CAs", clients.keep_fresh(CHECK_INTERVAL));
                Some(config)
            }
            None => tls.clone(),
        };
        let webhook_listener = webhook_listener.with_stopping(runtime.stopping());
        let api_listener = api_listener.with_stopping(runtime.stopping());
        runtime
            .listen("the webhook listener", |handle| webhook_listener.serve(webhooks, webhook_tls, handle));
        runtime.listen("the API listener", |handle| api_listener.serve(management, tls, handle));
        runtime.listen("the metrics listener", |handle| metrics_listener.serve(observed, None, handle));
        Ok(Self {
            runtime,
            readiness,
            store,
            certificate,
            settle: config.settle,
            grace: config.grace,
            addresses,
        })
    }

    /// Where records are, to put some in.
    pub fn store(&self) -> &dyn RecordStore {
        &*self.store
    }

    /// The CA that signed the served certificate, where it is pullgate's own; PEM.
    pub fn ca_pem(&self) -> Option<String> {
        self.certificate.ca_pem()
    }

    /// What is missing before requests may come.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Serves until a signal, and drains.
    ///
    /// # Errors
    /// A part ended that had to go on.
    pub async fn run(self) -> anyhow::Result<()> {
        let ended = self.runtime.run(&self.readiness, self.settle, self.grace).await;
        timeout(GATHER, self.store.gather()).await.ok();
        Ok(ended?)
    }
}

/// Where a replica of a cluster runs.
struct ClusterContext {
    client: Client,
    namespace: String,
    identity: String,
    managed_harbors: BTreeSet<String>,
}

async fn open(source: StoreSource) -> anyhow::Result<(Arc<dyn RecordStore>, Option<ClusterContext>)> {
    Ok(match source {
        StoreSource::Embedded { file, key_file } => (Arc::new(EmbeddedStore::open(&file, &key_file)?), None),
        StoreSource::Kubernetes { namespace, identity, managed_harbors } => {
            let client = cluster("--store kubernetes").await?;
            let store = KubernetesStore::new(client.clone(), namespace.as_str());
            (Arc::new(store), Some(ClusterContext { client, namespace, identity, managed_harbors }))
        }
    })
}

/// Who knows the callers of the management API, and the file that has to be kept fresh for it.
async fn authority(
    source: CallerSource,
    directory: &Path,
    known: Option<Client>,
) -> anyhow::Result<(Authority, Option<TokensFile>)> {
    let tokens = match source {
        CallerSource::Tokens(Some(path)) => TokensFile::load(path).context("--tokens")?,
        CallerSource::Tokens(None) => TokensFile::load_or_make(directory)?,
        CallerSource::Kubernetes { audiences } => {
            let client = match known {
                Some(client) => client,
                None => cluster("--api-auth kubernetes").await?,
            };
            return Ok((Authority::Cluster(Arc::new(Cluster::new(ApiServer::new(client, audiences)))), None));
        }
    };
    Ok((Authority::Tokens(tokens.tokens.clone()), Some(tokens)))
}

/// A client of the cluster that `setting` needs.
async fn cluster(setting: &'static str) -> anyhow::Result<Client> {
    let client = client::connect().await.map_err(anyhow::Error::from_boxed);
    client.with_context(|| format!("{setting}: no cluster; set KUBECONFIG, or run in a pod"))
}

async fn note_expiry(certificate: Certificate, metrics: Arc<Metrics>) {
    loop {
        metrics.tls.expiry.set(certificate.not_after());
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}
