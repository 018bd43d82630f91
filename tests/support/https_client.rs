//! HTTPS clients that trust one CA alone.

use std::sync::Arc;

use reqwest::Client;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
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
    trusting_with(ca, protocol, None)
}

/// The same, which trusts all certificates in `ca` and shows one of its own if it is asked.
pub fn trusting_with(
    ca: &str,
    protocol: &[u8],
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(ca.unwrap()).unwrap();
    }
    assert!(!roots.is_empty(), "no CA in {ca:?}");
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}
