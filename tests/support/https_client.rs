//! HTTPS clients that trust one CA alone.

use std::sync::Arc;

use reqwest::Client;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A client that trusts `ca` alone and opens a connection of its own.
pub fn client(ca: &str, protocol: &[u8]) -> Client {
    Client::builder()
        .tls_backend_preconfigured(trusting(ca, protocol))
        .tls_info(true)
        .no_proxy()
        .build()
        .unwrap()
}

/// A client's TLS that trusts `ca` alone.
pub fn trusting(ca: &str, protocol: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}
