//! Issues pullgate's own CA and leaf, and reads from a certificate whether it is time for another.
//!
//! No clock and no file: `now` is a parameter everywhere, in Unix seconds, so that renewal can be tested without
//! waiting for it.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer};
use secrecy::SecretString;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate};

use super::TlsError;

const CA_NAME: &str = "pullgate CA";
const DAY: i64 = 24 * 60 * 60;
/// Life of an issued CA, in seconds: 10 years.
pub const CA_LIFE: i64 = 3650 * DAY;
/// Life of an issued leaf, in seconds: 90 days.
pub const LEAF_LIFE: i64 = 90 * DAY;
/// Seconds by which a certificate is valid before it was issued, for clients whose clock is behind.
pub const BACKDATE: i64 = 60 * 60;
/// 9999-12-31T23:59:59Z, the last instant that X.509 can write (RFC 5280, 4.1.2.5).
const LAST_INSTANT: i64 = 253_402_300_799;

/// A new certificate with its key, both as PEM.
pub struct Issued {
    /// One certificate.
    pub cert_pem: String,
    /// Its private key, PKCS#8.
    pub key_pem: SecretString,
}

/// When a certificate is valid, in Unix seconds, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

impl Validity {
    /// Reads it from a certificate.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the DER.
    pub fn of(cert: &CertificateDer<'_>) -> Result<Self, String> {
        let validity = parse(cert)?.validity.clone();
        Ok(Self { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() })
    }

    /// Whether it has begun and not ended.
    pub fn contains(self, now: i64) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether a leaf with this validity should be replaced: less than a third of its life is left, or it begins later:
    /// the clock was set back since it was issued.
    pub fn leaf_is_due(self, now: i64) -> bool {
        now < self.not_before
            || self.not_after.saturating_sub(now) < self.not_after.saturating_sub(self.not_before) / 3
    }

    /// Whether a CA with this validity should be replaced: it would end before a leaf issued now, or begins later.
    pub fn ca_is_due(self, now: i64) -> bool {
        now < self.not_before || self.not_after.saturating_sub(now) < LEAF_LIFE
    }
}

/// The names a leaf is for, in one spelling: lower case, addresses in their canonical form, sorted, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// Takes DNS names (a leading `*.` is allowed) and IP addresses.
    ///
    /// # Errors
    ///
    /// [`TlsError::Name`] for anything else, [`TlsError::NoNames`] for an empty list.
    pub fn parse(names: &[String]) -> Result<Self, TlsError> {
        let names = names.iter().map(|name| normal(name)).collect::<Result<BTreeSet<_>, _>>()?;
        if names.is_empty() { Err(TlsError::NoNames) } else { Ok(Self(names)) }
    }

    /// The subject alternative names of a certificate.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the DER.
    pub fn of(cert: &CertificateDer<'_>) -> Result<Self, String> {
        let cert = parse(cert)?;
        let extension = cert.subject_alternative_name().map_err(|error| error.to_string())?;
        let names = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        Ok(Self(names.iter().map(spelled).collect()))
    }
}

fn normal(name: &str) -> Result<String, TlsError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    match DnsName::try_from(name.strip_prefix("*.").unwrap_or(&name)) {
        Ok(_) => Ok(name),
        Err(_) => Err(TlsError::Name { name }),
    }
}

fn spelled(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => name.to_ascii_lowercase(),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
                .map_or_else(|_| format!("{name:?}"), |address| address.to_string())
        }
        other => format!("{other:?}"),
    }
}

/// Issues a CA with a new P-256 key, valid for [`CA_LIFE`].
///
/// # Errors
///
/// [`TlsError::Issue`] when the crypto library cannot make a key or sign.
pub fn new_ca(now: i64) -> Result<Issued, TlsError> {
    let mut params = CertificateParams::default();
    set_life(&mut params, now, CA_LIFE);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok(Issued { cert_pem: params.self_signed(&key)?.pem(), key_pem: key.serialize_pem().into() })
}

/// Issues a leaf with a new P-256 key for `names`, signed by the CA, valid for [`LEAF_LIFE`] or as long as the CA.
///
/// # Errors
///
/// [`TlsError::Issue`] when the CA cannot be used, or the crypto library cannot make a key or sign.
pub fn new_leaf(
    ca: &CertificateDer<'_>,
    ca_key: &PrivateKeyDer<'_>,
    names: &Names,
    now: i64,
) -> Result<Issued, TlsError> {
    let issuer = Issuer::from_ca_cert_der(ca, KeyPair::try_from(ca_key)?)?;
    let mut params = CertificateParams::new(names.0.iter().cloned().collect::<Vec<_>>())?;
    // Clients look at the CA's validity too.
    let ca_ends = Validity::of(ca).map_or(i64::MAX, |ca| ca.not_after.saturating_sub(now));
    set_life(&mut params, now, LEAF_LIFE.min(ca_ends));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "pullgate");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Two CAs of ours have the same name; this tells a client which of them signed.
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok(Issued { cert_pem: params.signed_by(&key, &issuer)?.pem(), key_pem: key.serialize_pem().into() })
}

/// Whether the CA's key signed the leaf.
///
/// # Errors
///
/// Says what is wrong with either's DER.
pub fn is_issued_by(leaf: &CertificateDer<'_>, ca: &CertificateDer<'_>) -> Result<bool, String> {
    let (leaf, ca) = (parse(leaf)?, parse(ca)?);
    Ok(leaf.issuer() == ca.subject() && leaf.verify_signature(Some(ca.public_key())).is_ok())
}

/// Whether a certificate may sign others.
///
/// # Errors
///
/// Says what is wrong with the DER.
pub fn is_ca(cert: &CertificateDer<'_>) -> Result<bool, String> {
    Ok(parse(cert)?.is_ca())
}

/// Whether it is called as the CAs that are issued here.
///
/// # Errors
///
/// Says what is wrong with the DER.
pub fn is_own_ca(cert: &CertificateDer<'_>) -> Result<bool, String> {
    let cert = parse(cert)?;
    let mut names = cert.subject().iter_common_name();
    Ok(names.next().is_some_and(|name| name.as_str() == Ok(CA_NAME)))
}

/// Whether a client's certificate is called so: a common name of the subject, or one of the DNS names.
///
/// # Errors
///
/// Says what is wrong with the DER.
pub fn is_called(cert: &CertificateDer<'_>, name: &str) -> Result<bool, String> {
    let cert = parse(cert)?;
    let extension = cert.subject_alternative_name().map_err(|error| error.to_string())?;
    let alternative = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let is_dns = |known: &GeneralName<'_>| matches!(known, GeneralName::DNSName(known) if known.eq_ignore_ascii_case(name));
    // User names are told apart by case.
    Ok(cert.subject().iter_common_name().any(|known| known.as_str() == Ok(name))
        || alternative.iter().any(is_dns))
}

fn parse<'a>(cert: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    parse_x509_certificate(cert).map(|(_, cert)| cert).map_err(|error| error.to_string())
}

fn set_life(params: &mut CertificateParams, now: i64, life: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |at: i64| Duration::from_secs(u64::try_from(at.min(LAST_INSTANT)).unwrap_or(0));
    params.not_before = epoch + since_epoch(now.saturating_sub(BACKDATE));
    params.not_after = epoch + since_epoch(now.saturating_add(life));
}
