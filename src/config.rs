//! What `serve` is told, by arguments and environment, as one validated value; nothing else reads the environment.

mod decisions;
mod registries;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

pub use self::decisions::DecisionArgs;
use self::registries::RegistryArgs;
use crate::domain::snapshot::Settings;
use crate::tls::CertificateSource;
use crate::tls::client_auth::ClientAuth;
use crate::tls::shared::Shared;

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where keys, self-signed certificates and the embedded store are kept; made if missing
    #[arg(long, env = "PULLGATE_DATA_DIR", default_value = "/var/lib/pullgate", value_name = "DIR")]
    data_dir: PathBuf,
    #[command(flatten)]
    addresses: AddressArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    decisions: DecisionArgs,
    #[command(flatten)]
    callers: CallerArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    registries: RegistryArgs,
    /// Seconds between a stop signal and the end of accepting, for load balancers to notice
    #[arg(long, env = "PULLGATE_SETTLE", default_value_t = 5, value_name = "SECONDS")]
    settle: u64,
    /// Seconds that open requests get when the process stops
    #[arg(long, env = "PULLGATE_GRACE", default_value_t = 15, value_name = "SECONDS")]
    grace: u64,
    #[command(flatten)]
    log: LogArgs,
}

/// Where records are.
#[derive(Debug, Args)]
struct StoreArgs {
    /// `embedded`: a file in the data directory. `kubernetes`: custom resources (`pullgate crds` prints their
    /// definitions) of the cluster that KUBECONFIG or the pod's service account names
    #[arg(long, env = "PULLGATE_STORE", value_enum, default_value = "embedded")]
    store: Backend,
    /// Embedded: key that credentials are encrypted with; made in the data directory if missing
    #[arg(long, env = "PULLGATE_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Kubernetes: pullgate's own namespace, where credentials are kept as Secrets
    #[arg(long, env = "PULLGATE_NAMESPACE", default_value = "pullgate-system")]
    namespace: String,
    /// Kubernetes: what this replica is called in the election of the leader, as no other is; by default the host's
    /// name and the process's number
    #[arg(long, env = "PULLGATE_IDENTITY", value_name = "NAME")]
    identity: Option<String>,
    /// Kubernetes: namespace whose Harbors (HarborCluster objects, releases of Harbor's chart) are integrated by
    /// themselves; repeat for more. Whoever may write there can integrate a registry for everybody. By default none
    #[arg(long, env = "PULLGATE_MANAGED_HARBOR_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACE")]
    managed_harbor_namespace: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Backend {
    Embedded,
    Kubernetes,
}

/// A record store that is to be opened.
#[derive(Debug)]
pub enum StoreSource {
    Embedded {
        file: PathBuf,
        key_file: PathBuf,
    },
    Kubernetes {
        /// pullgate's own, with credentials and the leader's Lease.
        namespace: String,
        /// The replica's name among others.
        identity: String,
        /// Namespaces whose Harbors are integrated.
        managed_harbors: BTreeSet<String>,
    },
}

/// Whom the management API knows.
#[derive(Debug, Args)]
struct CallerArgs {
    /// `tokens`: those of a tokens file. `kubernetes`: the users of the cluster, by its roles. By default that which
    /// goes with the store
    #[arg(long, env = "PULLGATE_API_AUTH", value_enum)]
    api_auth: Option<ApiAuth>,
    /// Tokens of the management API and their roles; without it, one Admin token is made in the data directory
    #[arg(long, env = "PULLGATE_TOKENS", value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Kubernetes: audience that a token may be meant for; repeat for more. By default the API server's own
    #[arg(long, env = "PULLGATE_API_AUDIENCES", value_delimiter = ',', value_name = "AUDIENCE")]
    api_audience: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ApiAuth {
    Tokens,
    Kubernetes,
}

/// Who knows the callers of the management API.
#[derive(Debug)]
pub enum CallerSource {
    /// A tokens file; `None`: the one that is made in the data directory.
    Tokens(Option<PathBuf>),
    /// The cluster, for tokens that are meant for one of these audiences.
    Kubernetes { audiences: Vec<String> },
}

/// Arguments that contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "--tokens {}: no tokens file is read where the cluster's roles decide; leave it out, or say --api-auth tokens",
        .0.display()
    )]
    UnreadTokens(PathBuf),
    #[error(
        "--api-audience {0}: a tokens file knows no audiences; leave it out, or say --api-auth kubernetes"
    )]
    UncheckedAudience(String),
    #[error(
        "--managed-harbor-namespace {0}: there is no cluster to look into; leave it out, or say --store kubernetes"
    )]
    NoCluster(String),
}

/// Where to listen.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "the names are the options'")]
struct AddressArgs {
    /// Address of the admission webhooks (HTTPS)
    #[arg(long, env = "PULLGATE_WEBHOOK_ADDR", default_value_t = on_port(8443), value_name = "ADDRESS")]
    webhook_addr: SocketAddr,
    /// Address of the management API (HTTPS)
    #[arg(long, env = "PULLGATE_API_ADDR", default_value_t = on_port(8444), value_name = "ADDRESS")]
    api_addr: SocketAddr,
    /// Address of metrics and health (HTTP)
    #[arg(long, env = "PULLGATE_METRICS_ADDR", default_value_t = on_port(8445), value_name = "ADDRESS")]
    metrics_addr: SocketAddr,
}

/// Which certificate to serve, and to whom.
#[derive(Debug, Args)]
struct TlsArgs {
    /// Certificate chain in PEM, read again when its content changes; without it a self-signed CA issues one, with
    /// `--store kubernetes` for all replicas
    #[arg(long, env = "PULLGATE_TLS_CERT", requires = "tls_key", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM
    #[arg(long, env = "PULLGATE_TLS_KEY", requires = "tls_cert", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// DNS name or IP address of the self-signed certificate; repeat for more. With `--store kubernetes` the names of
    /// the Services pullgate and pullgate-api in pullgate's namespace come on top
    #[arg(
        long,
        env = "PULLGATE_TLS_NAMES",
        value_delimiter = ',',
        default_values = ["localhost", "127.0.0.1", "pullgate.pullgate-system.svc"],
        value_name = "NAME"
    )]
    tls_name: Vec<String>,
    /// Kubernetes: Secret in pullgate's namespace where the replicas share the self-signed CA and its certificate; the
    /// leader makes it, and replaces the CA when it is annotated `pullgate.io/rotate=ca`
    #[arg(long, env = "PULLGATE_TLS_SECRET", default_value = "pullgate-tls", value_name = "NAME")]
    tls_secret: String,
    /// Kubernetes: name of the ValidatingWebhookConfiguration and the MutatingWebhookConfiguration into whose webhooks
    /// the leader puts that CA
    #[arg(long, env = "PULLGATE_WEBHOOK_CONFIG", default_value = "pullgate", value_name = "NAME")]
    webhook_config: String,
    /// CA certificates in PEM, read again when their content changes: webhooks are only for clients with a certificate
    /// of theirs. The API server shows one only if its AdmissionConfiguration says so
    #[arg(long, env = "PULLGATE_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Common name or DNS name in the client's certificate; repeat for more; without it any name will do
    #[arg(
        long,
        env = "PULLGATE_CLIENT_NAMES",
        value_delimiter = ',',
        requires = "client_ca",
        value_parser = NonEmptyStringValueParser::new(),
        value_name = "NAME"
    )]
    client_name: Vec<String>,
    /// Do not name the digest of an image's tag where a policy demands one. Without `--client-ca` it is never named: then
    /// it would be told to whoever can reach the webhooks
    #[arg(long, env = "PULLGATE_NO_DIGEST_SUGGESTIONS")]
    no_digest_suggestions: bool,
}

impl TlsArgs {
    /// Whether refusals may name digests: the API server alone can ask, and nobody objects.
    fn suggests_digests(&self) -> bool {
        self.client_ca.is_some() && !self.no_digest_suggestions
    }

    /// What to serve, and to whom.
    fn sources(
        self,
        data_dir: &Path,
        backend: Backend,
        namespace: &str,
    ) -> (CertificateSource, Option<ClientAuth>) {
        let Self {
            tls_cert,
            tls_key,
            mut tls_name,
            tls_secret,
            webhook_config,
            client_ca,
            client_name,
            no_digest_suggestions: _,
        } = self;
        let certificate = match (tls_cert, tls_key, backend) {
            (Some(cert), Some(key), _) => CertificateSource::Files { cert, key },
            (.., Backend::Embedded) => {
                CertificateSource::SelfSigned { dir: data_dir.join("tls"), names: tls_name }
            }
            (.., Backend::Kubernetes) => {
                for service in ["pullgate", "pullgate-api"] {
                    let name = format!("{service}.{namespace}.svc");
                    tls_name.extend([format!("{name}.cluster.local"), name]);
                }
                CertificateSource::Secret(Shared {
                    namespace: namespace.to_owned(),
                    secret: tls_secret,
                    names: tls_name,
                    webhook_config,
                })
            }
        };
        (certificate, client_ca.map(|ca| ClientAuth { ca, names: client_name }))
    }
}

/// What to log, and how.
#[derive(Debug, Args)]
struct LogArgs {
    /// Filter, as `info` or `pullgate=debug,hyper=warn`
    #[arg(long, env = "PULLGATE_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// Log lines as JSON
    #[arg(long, env = "PULLGATE_LOG_JSON")]
    log_json: bool,
}

/// Everything that `serve` needs to know.
#[derive(Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub webhook: SocketAddr,
    pub api: SocketAddr,
    pub metrics: SocketAddr,
    pub certificate: CertificateSource,
    /// Whom the webhooks are for; `None`: whoever connects.
    pub clients: Option<ClientAuth>,
    /// Whether refusals name the digests of tags; only where `clients` lets in the API server alone.
    pub suggest_digests: bool,
    pub callers: CallerSource,
    pub store: StoreSource,
    /// How registries are asked; `None`: they are not.
    pub registries: Option<crate::controllers::registries::Settings>,
    pub settings: Settings,
    pub settle: Duration,
    pub grace: Duration,
    pub log: String,
    pub log_json: bool,
}

impl TryFrom<ServeArgs> for Config {
    type Error = ConfigError;

    fn try_from(arguments: ServeArgs) -> Result<Self, ConfigError> {
        let ServeArgs { data_dir, addresses, tls, decisions, callers, store, registries, settle, grace, log } =
            arguments;
        let StoreArgs { store: backend, key_file, namespace, identity, managed_harbor_namespace } = store;
        // An empty variable of the environment is none.
        let managed_harbors: BTreeSet<_> =
            managed_harbor_namespace.into_iter().filter(|namespace| !namespace.is_empty()).collect();
        if let (Backend::Embedded, Some(namespace)) = (backend, managed_harbors.first()) {
            return Err(ConfigError::NoCluster(namespace.clone()));
        }
        let callers = CallerSource::read(callers, backend)?;
        let AddressArgs { webhook_addr, api_addr, metrics_addr } = addresses;
        let LogArgs { log, log_json } = log;
        let suggest_digests = tls.suggests_digests();
        let (certificate, clients) = tls.sources(&data_dir, backend, &namespace);
        Ok(Self {
            webhook: webhook_addr,
            api: api_addr,
            metrics: metrics_addr,
            certificate,
            clients,
            suggest_digests,
            callers,
            store: match backend {
                Backend::Embedded => StoreSource::embedded(&data_dir, key_file),
                Backend::Kubernetes => {
                    let identity = identity.unwrap_or_else(own_name);
                    StoreSource::Kubernetes { namespace, identity, managed_harbors }
                }
            },
            registries: Some(registries.settings()),
            settings: decisions.settings(),
            settle: Duration::from_secs(settle),
            grace: Duration::from_secs(grace),
            log,
            log_json,
            data_dir,
        })
    }
}

impl CallerSource {
    fn read(arguments: CallerArgs, store: Backend) -> Result<Self, ConfigError> {
        let CallerArgs { api_auth, tokens, mut api_audience } = arguments;
        // An empty variable of the environment is none.
        api_audience.retain(|audience| !audience.is_empty());
        let api_auth = api_auth.unwrap_or(match store {
            Backend::Embedded => ApiAuth::Tokens,
            Backend::Kubernetes => ApiAuth::Kubernetes,
        });
        match api_auth {
            ApiAuth::Tokens => match api_audience.into_iter().next() {
                Some(audience) => Err(ConfigError::UncheckedAudience(audience)),
                None => Ok(Self::Tokens(tokens)),
            },
            ApiAuth::Kubernetes => match tokens {
                Some(file) => Err(ConfigError::UnreadTokens(file)),
                None => Ok(Self::Kubernetes { audiences: api_audience }),
            },
        }
    }
}

impl StoreSource {
    /// The file in a data directory, with its key beside it unless another one is named.
    pub fn embedded(data_dir: &Path, key_file: Option<PathBuf>) -> Self {
        let key_file = key_file.unwrap_or_else(|| data_dir.join("store.key"));
        Self::Embedded { file: data_dir.join("records.db"), key_file }
    }
}

/// A name that no other process has: processes of one machine differ in their numbers.
fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

fn on_port(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}
