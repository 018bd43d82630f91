//! Certificates for clients.

use std::time::SystemTime;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;

/// A CA of clients.
pub struct ClientCa {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl ClientCa {
    pub fn new() -> Self {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs().try_into().unwrap();
        let ca = pullgate::tls::issue::new_ca(now).unwrap();
        let key = KeyPair::from_pem(ca.key_pem.expose_secret()).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&ca.cert_pem, key).unwrap();
        Self { pem: ca.cert_pem, issuer }
    }

    /// A certificate and its key, for one use.
    pub fn issue(
        &self,
        common_name: &str,
        dns: &[&str],
        usage: ExtendedKeyUsagePurpose,
    ) -> (String, PrivateKeyDer<'static>) {
        let dns: Vec<_> = dns.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(dns).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        (pem, PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap())
    }

    pub fn client(&self, common_name: &str, dns: &[&str]) -> (String, PrivateKeyDer<'static>) {
        self.issue(common_name, dns, ExtendedKeyUsagePurpose::ClientAuth)
    }
}
