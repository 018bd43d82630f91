//! Whom the webhook listener lets in: holders of a certificate of one CA, and among them those of certain names.
//!
//! The CA's file is read again as the served certificate's files are; a change reaches new connections only.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::{TlsError, files, issue};

/// Which clients may connect.
#[derive(Debug, Clone)]
pub struct ClientAuth {
    /// One or more CA certificates, PEM, that somebody else writes.
    pub ca: PathBuf,
    /// The certificate's common name or one of its DNS names must be one of these; empty: any certificate will do.
    pub names: Vec<String>,
}

/// The clients that are let in. Clones share it.
#[derive(Clone)]
pub struct Clients(Arc<Verifier>);

struct Verifier {
    wanted: ClientAuth,
    current: ArcSwap<Trust>,
    algorithms: WebPkiSupportedAlgorithms,
}

struct Trust {
    cas: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Clients {
    /// Reads the CA's file.
    ///
    /// # Errors
    ///
    /// Names the file that is unreadable, damaged or without a certificate.
    pub fn load(wanted: ClientAuth) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(read(&wanted)?);
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        Ok(Self(Arc::new(Verifier { wanted, current, algorithms })))
    }

    /// For a server's TLS configuration.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.0.clone()
    }

    /// Reads the file again; says whether other CAs are trusted now. Blocks on the file.
    ///
    /// # Errors
    ///
    /// As [`Clients::load`]; the CAs trusted so far stay.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let fresh = read(&self.0.wanted)?;
        if fresh.cas == self.0.current.load().cas {
            return Ok(false);
        }
        tracing::info!(path = %self.0.wanted.ca.display(), "trusting other CAs of clients");
        self.0.current.store(Arc::new(fresh));
        Ok(true)
    }

    /// Refreshes every `interval` (above zero), endlessly.
    ///
    /// A failure is logged once, and again only after it has changed or passed.
    pub async fn keep_fresh(self, interval: Duration) {
        super::read_again("CAs of clients", interval, move || self.refresh()).await;
    }
}

fn read(wanted: &ClientAuth) -> Result<Trust, TlsError> {
    let unusable = |reason: String| TlsError::Certificate { path: wanted.ca.clone(), reason };
    let pem = files::read_file(&wanted.ca)?;
    let cas: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| unusable("its PEM is damaged".to_owned()))?;
    if cas.is_empty() {
        return Err(unusable("it has no PEM block CERTIFICATE".to_owned()));
    }
    let mut roots = RootCertStore::empty();
    for ca in &cas {
        roots.add(ca.clone()).map_err(|error| unusable(error.to_string()))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(Trust { cas, verifier })
}

impl ClientCertVerifier for Verifier {
    /// None: a client with one certificate needs no hint, and hints would tell strangers whom we trust.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.current.load().verifier.verify_client_cert(leaf, intermediates, now)?;
        if self.wanted.names.is_empty() {
            return Ok(verified);
        }
        for name in &self.wanted.names {
            if issue::is_called(leaf, name).map_err(|_| CertificateError::BadEncoding)? {
                return Ok(verified);
            }
        }
        tracing::debug!("refused a client whose certificate has another name");
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}
