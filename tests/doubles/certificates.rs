//! Certificates of a server on 127.0.0.1, right and wrong ones.

use std::sync::{Arc, Mutex};

use ::aws_lc_rs::digest::{SHA256, digest};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What a server shows its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// Valid, for 127.0.0.1, of the server's own CA.
    Good,
    /// It ended in 2021.
    Expired,
    /// It begins in 2090.
    NotYetValid,
    /// For `elsewhere.example.com` only.
    WrongName,
    /// Of a CA that has the same name as the server's own.
    UnknownCa,
}

/// A CA of one server.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    /// SHA-256 of what was shown last, as openssl prints it.
    shown: Mutex<String>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "CA of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem, shown: Mutex::default() }
    }

    /// SHA-256 of the certificate that was made last, as openssl prints it.
    pub fn fingerprint(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// TLS with a new certificate.
    pub fn server(&self, leaf: Leaf) -> Arc<ServerConfig> {
        let name = if leaf == Leaf::WrongName { "elsewhere.example.com" } else { "127.0.0.1" };
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if leaf == Leaf::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        if leaf == Leaf::NotYetValid {
            params.not_before = date_time_ymd(2090, 1, 1);
            params.not_after = date_time_ymd(2091, 1, 1);
        }
        let stranger;
        let issuer = if leaf == Leaf::UnknownCa {
            stranger = Self::new();
            &stranger.issuer
        } else {
            &self.issuer
        };
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap().der().clone();
        let sum = digest(&SHA256, &certificate);
        let bytes: Vec<String> = sum.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        *self.shown.lock().unwrap() = bytes.join(":");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}
