//! Every way in which no trusted connection comes about has a word and a remedy of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use pullgate::domain::record::{RegistryType, Tls};
use pullgate::registry::http::Target;
use pullgate::registry::{self, RegistryClient};

use super::outcomes::target;
use crate::doubles::certificates::Leaf;
use crate::doubles::faults::Fault as Wrong;
use crate::doubles::harbor::{Harbor, Options};

fn with_tls(url: &str, tls: Tls) -> Arc<dyn RegistryClient> {
    let to = Target { tls, ..target(url, Some(("admin", "Harbor12345"))) };
    registry::client(RegistryType::Harbor, to).unwrap()
}

fn trusting(url: &str, ca: &str) -> Arc<dyn RegistryClient> {
    with_tls(url, Tls { ca: Some(ca.to_owned()), skip_verify: false })
}

/// Reason and sentence.
async fn fault(client: &dyn RegistryClient) -> (&'static str, String) {
    let fault = client.check().await.unwrap_err();
    (fault.reason(), fault.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_accepted_says_why_and_what_to_do() {
    for (leaf, reason, words) in [
        (Leaf::Expired, "TlsExpired", &["2021-01-01", "renewed"][..]),
        (Leaf::NotYetValid, "TlsNotYetValid", &["2090-01-01", "clock"]),
        (Leaf::WrongName, "TlsWrongName", &["elsewhere.example.com", "127.0.0.1"]),
        (Leaf::UnknownCa, "TlsUnknownCA", &["CN=CA of a test", "SHA-256", "caBundle"]),
    ] {
        let harbor = Harbor::start(Options { tls: Some(leaf), ..Options::default() });
        let (told, text) = fault(&*trusting(&harbor.url(), harbor.ca())).await;
        assert_eq!(told, reason, "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert!(harbor.journal.requests().is_empty(), "a call was made");
        let any = Tls { ca: None, skip_verify: true };
        with_tls(&harbor.url(), any).check().await.unwrap();
    }
}

/// The fingerprint is that of what anybody sees who looks, and comparing it is enough to find the right CA.
#[tokio::test(flavor = "multi_thread")]
async fn of_an_unknown_ca_the_fingerprint_is_told() {
    let (harbor, other) = (
        Harbor::start(Options { tls: Some(Leaf::Good), ..Options::default() }),
        Harbor::start(Options { tls: Some(Leaf::Good), ..Options::default() }),
    );
    let (reason, text) = fault(&*trusting(&harbor.url(), other.ca())).await;
    assert_eq!(reason, "TlsUnknownCA", "{text}");
    let fingerprint = text.split_whitespace().find(|word| word.matches(':').count() == 31).unwrap();
    assert_eq!(fingerprint, harbor.fingerprint(), "{text}");
    trusting(&harbor.url(), harbor.ca()).check().await.unwrap();
    let (reason, text) = fault(&*with_tls(&harbor.url(), Tls::default())).await;
    assert!(reason == "TlsUnknownCA" && text.contains(fingerprint), "the system's CAs: {text}");
}

/// A server that reads what comes and answers with these bytes.
fn raw(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(answer);
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_speaks_something_else_is_told_from_a_handshake_that_fails() {
    let mut old_hello = vec![0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    old_hello.extend([7; 32]);
    old_hello.extend([0, 0xc0, 0x13, 0]);
    for (answer, reason) in [
        (&b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"[..], "TlsNotSpoken"),
        (b"220 mail.example.com ESMTP\r\n", "TlsNotSpoken"),
        // Alerts: protocol_version, handshake_failure, unrecognized_name.
        (b"\x15\x03\x01\0\x02\x02\x46", "TlsVersion"),
        (b"\x15\x03\x03\0\x02\x02\x28", "TlsCipher"),
        (b"\x15\x03\x03\0\x02\x02\x70", "TlsHandshakeEnded"),
        (old_hello.leak(), "TlsVersion"),
        (b"", "TlsHandshakeEnded"),
    ] {
        let (told, text) = fault(&*with_tls(&raw(answer), Tls { ca: None, skip_verify: true })).await;
        assert_eq!(told, reason, "{text}");
        let harbor = Harbor::start(Options { tls: Some(Leaf::Good), ..Options::default() });
        assert_eq!(fault(&*trusting(&raw(answer), harbor.ca())).await.0, reason);
    }
    let plain = Harbor::start(Options::default());
    let url = plain.url().replace("http:", "https:");
    let (told, text) = fault(&*with_tls(&url, Tls { ca: None, skip_verify: true })).await;
    assert!(told == "TlsNotSpoken" && text.contains("plain HTTP"), "{told} {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_names_scheme_host_and_port_and_no_more() {
    let harbor = Harbor::start(Options::default());
    let client = super::outcomes::harbor_at(&harbor.url());
    for (location, told) in [
        ("https://sso.example.com/login?secret=1", "https://sso.example.com:443;"),
        ("http://sso.example.com:8080/", "http://sso.example.com:8080;"),
        ("https://user:secret@[::1]/x", "https://[::1]:443;"),
        ("//other.example.com/secret", "http://other.example.com:80;"),
        ("/secret", &format!("another path of {};", harbor.url())),
        ("mailto:secret@example.com", "no address of HTTP;"),
    ] {
        harbor.faults.clear();
        harbor.faults.always(Wrong::Redirect(302, location.to_owned()));
        let (reason, text) = fault(&*client).await;
        assert_eq!(reason, "Redirected");
        assert!(text.contains(told) && !text.contains("secret"), "{location}: {text}");
    }
}
