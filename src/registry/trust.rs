//! Whether a registry's certificate is trusted, and what to do about one that is not.
//!
//! rustls says of an unknown CA only that it is unknown, so what was presented is described where it is judged. Nothing of
//! it is trusted for that.

use std::io;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, OtherError,
    PeerIncompatible, RootCertStore, SignatureScheme,
};
use x509_parser::parse_x509_certificate;

use super::fault::Fault;
use crate::domain::record::Tls;

/// Characters of a name in a certificate, and names of one, that are repeated: whoever presents it chooses them.
const LONGEST: usize = 100;
const NAMES: usize = 5;

/// Why there is no TLS connection that is trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    #[error(
        "its certificate is issued by a CA that is not trusted: {issuer}; the topmost certificate that it presents has the \
         SHA-256 fingerprint {fingerprint} (openssl s_client -showcerts -connect HOST:PORT shows it); compare that with \
         what the registry's administrator says, and set spec.tls.caBundle to the CA's certificate"
    )]
    UnknownCa { issuer: String, fingerprint: String },
    #[error(
        "its certificate is for other names ({names}) and not for {wanted}; write one of them as spec.url, or have the \
         registry present a certificate for {wanted}"
    )]
    WrongName { wanted: String, names: String },
    #[error("its certificate ended at {0}; have it renewed, and check the clock of this machine")]
    Expired(Timestamp),
    #[error(
        "its certificate begins to be valid at {0}; check the clocks of the registry and of this machine"
    )]
    NotYetValid(Timestamp),
    #[error("its certificate cannot be accepted ({0}); have the registry present another one")]
    Certificate(String),
    #[error(
        "it does not speak TLS on this port, but something else, as plain HTTP; check the port of spec.url, or write \
         http:// if the way there is trusted"
    )]
    NotTls,
    #[error("it speaks no version of TLS that is accepted here; it needs TLS 1.2 or 1.3")]
    Version,
    #[error(
        "it has no cipher or key exchange in common with pullgate; it needs those of today's TLS 1.2 or 1.3"
    )]
    Cipher,
    #[error(
        "it ended the handshake (alert {0}); a proxy in front of it may ask for a client certificate or know no such host"
    )]
    Alert(String),
    #[error(
        "it closed the connection during the handshake; check that spec.url has the port that speaks TLS, and what stands \
         between"
    )]
    Ended,
    #[error("the handshake failed ({0})")]
    Other(String),
}

impl TlsFault {
    /// One word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnknownCa { .. } => "TlsUnknownCA",
            Self::WrongName { .. } => "TlsWrongName",
            Self::Expired(_) => "TlsExpired",
            Self::NotYetValid(_) => "TlsNotYetValid",
            Self::Certificate(_) => "TlsCertificate",
            Self::NotTls => "TlsNotSpoken",
            Self::Version => "TlsVersion",
            Self::Cipher => "TlsCipher",
            Self::Alert(_) | Self::Ended => "TlsHandshakeEnded",
            Self::Other(_) => "Tls",
        }
    }

    /// What rustls says.
    pub(super) fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner
                .downcast_ref::<Self>()
                .cloned()
                .unwrap_or_else(|| Self::Certificate(printable(&inner.to_string()))),
            rustls::Error::InvalidCertificate(error) => Self::Certificate(printable(&error.to_string())),
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            )
            | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => Self::Version,
            rustls::Error::PeerIncompatible(_)
            | rustls::Error::AlertReceived(
                AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
            ) => Self::Cipher,
            rustls::Error::AlertReceived(alert) => Self::Alert(format!("{alert:?}")),
            error => Self::Other(printable(&error.to_string())),
        }
    }

    /// A handshake that ended without a word of TLS.
    pub(super) fn of_end(error: &io::Error) -> Option<Self> {
        let ended = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        ended.contains(&error.kind()).then_some(Self::Ended)
    }
}

/// The TLS of connections to a registry whose record says so.
///
/// # Errors
/// Certificates that cannot be read, or none at all.
pub(super) fn client_config(tls: &Tls, is_plain: bool) -> Result<Option<ClientConfig>, Fault> {
    if tls.skip_verify {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(pem) => {
            let unusable = || Fault::Settings("spec.tls.caBundle holds no usable certificate".to_owned());
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                roots.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
            }
            if roots.is_empty() {
                return Err(unusable());
            }
        }
        // None are needed, and a machine may have none.
        None if is_plain => return Ok(None),
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(Fault::Settings(
                    "no certificates are trusted here: install the system's (ca-certificates), or set spec.tls.caBundle"
                        .to_owned(),
                ));
            }
        }
    }
    let unusable = |error: &dyn std::fmt::Display| Fault::Settings(format!("TLS cannot be set up: {error}"));
    let provider = Arc::new(default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let inner = inner.build().map_err(|error| unusable(&error))?;
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config
        .map_err(|error| unusable(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { inner }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(config))
}

/// Trusts what webpki trusts, and says more of the rest.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| {
            let rustls::Error::InvalidCertificate(reason) = &error else { return error };
            let Some(fault) = describe(reason, end_entity, intermediates, server_name) else { return error };
            CertificateError::Other(OtherError(Arc::new(fault))).into()
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Why a certificate is not accepted; `None` where there is nothing to add to rustls' own words.
fn describe(
    reason: &CertificateError,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    wanted: &ServerName<'_>,
) -> Option<TlsFault> {
    let at = |time: &UnixTime| Timestamp::from_second(i64::try_from(time.as_secs()).ok()?).ok();
    match reason {
        // The latter where somebody else's CA has the name of a trusted one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let top = intermediates.last().unwrap_or(end_entity);
            let issuer = parse_x509_certificate(top).ok().map(|(_, top)| top.issuer().to_string());
            let issuer =
                issuer.filter(|name| !name.is_empty()).unwrap_or_else(|| "without a name".to_owned());
            Some(TlsFault::UnknownCa { issuer: printable(&issuer), fingerprint: fingerprint(top) })
        }
        CertificateError::NotValidForName => {
            Some(TlsFault::WrongName { wanted: host(wanted), names: "none that can be read".to_owned() })
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let mut names: Vec<String> = presented.iter().take(NAMES).map(|name| plain_name(name)).collect();
            if presented.len() > NAMES {
                names.push(format!("{} more", presented.len() - NAMES));
            }
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Some(TlsFault::WrongName { wanted: host(wanted), names })
        }
        CertificateError::ExpiredContext { not_after, .. } => Some(TlsFault::Expired(at(not_after)?)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            Some(TlsFault::NotYetValid(at(not_before)?))
        }
        _ => None,
    }
}

fn host(name: &ServerName<'_>) -> String {
    printable(&name.to_str())
}

/// `DnsName("example.com")` as webpki tells it, as people write it.
fn plain_name(presented: &str) -> String {
    let inside = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    printable(inside.unwrap_or(presented).trim_matches('"'))
}

/// As openssl prints it.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let sum = digest(&SHA256, certificate);
    let bytes: Vec<String> = sum.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// A text that somebody else chose, on one line and not long.
fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let mut shown: String = text.chars().take(LONGEST).map(plain).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}
