//! The certificate that pullgate's listeners serve: the operator's files, a CA and leaf of its own, or those that all
//! replicas share in a Secret.
//!
//! Owns when a certificate is read again, renewed and swapped; a swap reaches new handshakes only, connections go on.
//! It never watches paths: kubelet replaces the directory behind them, and a watch goes deaf at the first swap. The
//! files are read again every few seconds and compared by content.

mod bundle;
pub mod client_auth;
mod files;
pub mod issue;
pub mod rotation;
pub mod shared;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{
        ClientHello, NoClientAuth, NoServerSessionStorage, ResolvesServerCert, danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};

use files::{Pair, PairFiles};
use issue::{Names, Validity};
use shared::Shared;

use crate::secret_file;

/// How often [`Certificate::keep_fresh`] should look: half of the 10 s within which a change must be served.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Where the served certificate comes from.
#[derive(Debug, Clone)]
pub enum CertificateSource {
    /// PEM files that somebody else writes, cert-manager and kubelet for example.
    Files {
        /// The chain, leaf first.
        cert: PathBuf,
        /// The leaf's key, not encrypted.
        key: PathBuf,
    },
    /// `ca.crt`, `ca.key`, `tls.crt` and `tls.key` in a directory that pullgate writes.
    SelfSigned {
        /// Made if it is missing.
        dir: PathBuf,
        /// DNS names or IP addresses of the leaf, at least one.
        names: Vec<String>,
    },
    /// A Secret that the leader writes; [`shared::follow`] serves what it holds.
    Secret(Shared),
}

/// Why there is no certificate to serve. No text carries anything of a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {cause}", path.display())]
    Read { path: PathBuf, cause: io::Error },
    #[error("cannot write {}: {cause}", path.display())]
    Write { path: PathBuf, cause: io::Error },
    #[error("{} holds no usable certificate: {reason}", path.display())]
    Certificate { path: PathBuf, reason: String },
    #[error("{} holds no usable private key: {reason}", path.display())]
    Key { path: PathBuf, reason: String },
    #[error("the private key in {} does not belong to the certificate in {}", key.display(), cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
    #[error(
        "{} is there but {} is missing: restore it, or remove the former to have a new CA made",
        present.display(), missing.display()
    )]
    HalfCa { present: PathBuf, missing: PathBuf },
    #[error("{name:?} is neither a DNS name nor an IP address, so no certificate can be issued for it")]
    Name { name: String },
    #[error("a self-signed certificate needs at least one DNS name or IP address")]
    NoNames,
    #[error("cannot use what was issued: {0}")]
    Unusable(String),
    #[error("cannot issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    #[error("cannot set up TLS: {0}")]
    Config(#[from] rustls::Error),
}

/// The certificate being served. Clones share it.
#[derive(Clone)]
pub struct Certificate {
    source: Arc<CertificateSource>,
    served: Arc<Served>,
    config: Arc<ServerConfig>,
}

/// What new handshakes get; swapped as one, so that its parts always agree.
struct Current {
    certified: Arc<CertifiedKey>,
    validity: Validity,
    ca_pem: Option<String>,
}

/// Handshakes fail while there is none.
struct Served(ArcSwapOption<Current>);

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.0.load();
        let validity = current.as_ref().map(|current| current.validity);
        f.debug_struct("Served").field("validity", &validity).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref().map(|current| Arc::clone(&current.certified))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("source", &self.source)
            .field("served", &self.served)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads or issues the certificate. One outside its validity is served with a warning. Of a Secret, none is read
    /// yet.
    ///
    /// # Errors
    ///
    /// Names the file that is unreadable or damaged, or the pair that does not belong together; files are then left as
    /// they are.
    pub fn load(source: CertificateSource) -> Result<Self, TlsError> {
        Self::load_at(source, unix_now())
    }

    /// [`Certificate::load`] as of another time, in Unix seconds.
    ///
    /// # Errors
    ///
    /// As [`Certificate::load`].
    pub fn load_at(source: CertificateSource, now: i64) -> Result<Self, TlsError> {
        if let CertificateSource::SelfSigned { dir, .. } = &source {
            secret_file::directory_of_our_own(dir)
                .map_err(|cause| TlsError::Write { path: dir.clone(), cause })?;
        }
        let current = read(&source, now)?;
        if let Some(current) = &current {
            warn_outside_validity(current.validity, now);
        }
        let served = Arc::new(Served(ArcSwapOption::from_pointee(current)));
        let config = Arc::new(config(served.clone(), Arc::new(NoClientAuth))?);
        Ok(Self { source: Arc::new(source), served, config })
    }

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, whose handshakes always get the certificate of the moment.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The same for clients that `verifier` accepts.
    ///
    /// # Errors
    ///
    /// [`TlsError::Config`] where the crypto library and the verifier have no signature scheme in common.
    pub fn server_config_for(
        &self,
        verifier: Arc<dyn ClientCertVerifier>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = config(self.served.clone(), verifier)?;
        // A resumed session is not verified again: it would outlive a change of whom to accept.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The last second at which the served leaf is valid, in Unix seconds; 0 while there is none.
    pub fn not_after(&self) -> i64 {
        self.served.0.load().as_ref().map_or(0, |current| current.validity.not_after)
    }

    /// What clients must trust, as PEM; `None` for files, whose CA is somebody else's.
    pub fn ca_pem(&self) -> Option<String> {
        self.served.0.load().as_ref().and_then(|current| current.ca_pem.clone())
    }

    /// Reads the source again as of `now` (Unix seconds), renews what is due, and swaps if the content is another.
    ///
    /// Says whether it swapped. Blocks on files.
    ///
    /// # Errors
    ///
    /// As [`Certificate::load`]; the certificate served so far stays.
    pub fn refresh(&self, now: i64) -> Result<bool, TlsError> {
        Ok(read(&self.source, now)?.is_some_and(|fresh| self.swap(fresh, now)))
    }

    /// Serves what was read unless it is the same; says whether it swapped.
    fn swap(&self, fresh: Current, now: i64) -> bool {
        // The key belongs to the certificate, so an equal chain means an equal key.
        if self.served.0.load().as_ref().is_some_and(|current| {
            fresh.certified.cert == current.certified.cert && fresh.ca_pem == current.ca_pem
        }) {
            return false;
        }
        tracing::info!(not_after = fresh.validity.not_after, "serving a new TLS certificate");
        warn_outside_validity(fresh.validity, now);
        self.served.0.store(Some(Arc::new(fresh)));
        true
    }

    /// Serves what the shared Secret holds. One that is outside its validity does not replace one that is not.
    fn take(&self, content: &rotation::Content, now: i64) -> Result<(), String> {
        let pair = content.pair(now)?;
        let valid = self.served.0.load().as_ref().is_some_and(|current| current.validity.contains(now));
        if valid && !pair.validity.contains(now) {
            return Err("the certificate has expired, or is not valid yet".to_owned());
        }
        let ca_pem = Some(content.bundle.clone());
        self.swap(Current { certified: Arc::new(pair.certified), validity: pair.validity, ca_pem }, now);
        Ok(())
    }

    /// Refreshes every `interval` (above zero, see [`CHECK_INTERVAL`]), endlessly.
    ///
    /// A failure is logged once, and again only after it has changed or passed.
    pub async fn keep_fresh(self, interval: Duration) {
        read_again("TLS certificate", interval, move || self.refresh(unix_now())).await;
    }
}

/// Reads files again every `interval`, endlessly. What they held last is kept while they cannot be used.
async fn read_again<R>(what: &'static str, interval: Duration, refresh: R)
where
    R: Fn() -> Result<bool, TlsError> + Clone + Send + 'static,
{
    let mut failure = None;
    loop {
        tokio::time::sleep(interval).await;
        // The files may lie on a network volume that hangs, and issuing syncs a disk: neither may hold up a thread
        // that serves requests.
        let error = match tokio::task::spawn_blocking(refresh.clone()).await {
            Ok(outcome) => outcome.err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        match &error {
            Some(error) if failure.as_ref() != Some(error) => {
                tracing::error!(%error, "keeping the previous {what}");
            }
            None if failure.is_some() => tracing::info!("the {what} can be read again"),
            _ => {}
        }
        failure = error;
    }
}

fn config(served: Arc<Served>, clients: Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, TlsError> {
    // Given explicitly: a process-wide default would depend on who sets it first.
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(served);
    // The server's order decides. HTTP/1.1 is what the API server speaks to Services, and costs both sides less.
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    Ok(config)
}

/// What files hold; `None` for a Secret, which is read elsewhere.
fn read(source: &CertificateSource, now: i64) -> Result<Option<Current>, TlsError> {
    let (pair, ca_pem) = match source {
        CertificateSource::Files { cert, key } => {
            (PairFiles { cert: cert.clone(), key: key.clone() }.read()?, None)
        }
        CertificateSource::SelfSigned { dir, names } => {
            let (leaf, ca) = self_signed(dir, &Names::parse(names)?, now)?;
            (leaf, Some(ca.cert_pem))
        }
        CertificateSource::Secret(shared) => {
            Names::parse(&shared.names)?;
            return Ok(None);
        }
    };
    Ok(Some(Current { certified: Arc::new(pair.certified), validity: pair.validity, ca_pem }))
}

/// The leaf and its CA in `dir`, issued where they are missing or due.
fn self_signed(dir: &Path, names: &Names, now: i64) -> Result<(Pair, Pair), TlsError> {
    let _lock = files::lock(dir)?;
    let ca_files = PairFiles { cert: dir.join("ca.crt"), key: dir.join("ca.key") };
    let leaf_files = PairFiles { cert: dir.join("tls.crt"), key: dir.join("tls.key") };
    ca_files.finish_write()?;
    leaf_files.finish_write()?;
    for key in [&ca_files.key, &leaf_files.key] {
        secret_file::close_to_others(key).map_err(|cause| TlsError::Read { path: key.clone(), cause })?;
    }

    let ca = match ca_files.present()? {
        (true, true) => Some(ca_files.read()?),
        (false, false) => None,
        // A CA key is not ours to throw away: clients trust it.
        (true, false) => return Err(TlsError::HalfCa { present: ca_files.cert, missing: ca_files.key }),
        (false, true) => return Err(TlsError::HalfCa { present: ca_files.key, missing: ca_files.cert }),
    };
    let ca = match ca {
        Some(ca) if !ca.validity.ca_is_due(now) => ca,
        _ => {
            tracing::info!(path = %ca_files.cert.display(), "issuing a new CA; clients must trust it from now on");
            ca_files.write(&issue::new_ca(now)?)?
        }
    };

    let leaf = match leaf_files.present()? {
        (true, true) => Some(leaf_files.read()?),
        _ => None,
    };
    let bad_leaf = |reason| TlsError::Certificate { path: leaf_files.cert.clone(), reason };
    if let Some(leaf) = leaf
        && !leaf.validity.leaf_is_due(now)
        && Names::of(leaf.leaf()).map_err(bad_leaf)? == *names
        && issue::is_issued_by(leaf.leaf(), ca.leaf()).map_err(bad_leaf)?
    {
        return Ok((leaf, ca));
    }
    let leaf = leaf_files.write(&issue::new_leaf(ca.leaf(), &ca.key, names, now)?)?;
    Ok((leaf, ca))
}

fn warn_outside_validity(validity: Validity, now: i64) {
    let Validity { not_before, not_after } = validity;
    if now > not_after {
        tracing::warn!(not_after, "the TLS certificate has expired; clients will refuse it");
    } else if now < not_before {
        tracing::warn!(not_before, "the TLS certificate is not valid yet; clients will refuse it");
    }
}

pub(crate) fn unix_now() -> i64 {
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}
