//! The webhooks over real TLS on loopback: both versions of HTTP, many clients, and clients that mean harm.

mod broken;
mod connections;
mod memory;
mod slow;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum_server::Handle;
use futures::future::join_all;
use pullgate::admission::review::BODY_MAX;
use pullgate::domain::snapshot::Settings;
use pullgate::listener::{HEAD_TIMEOUT, Listener};
use pullgate::tls::{Certificate, CertificateSource};
use reqwest::{Client, Response, StatusCode, Version};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::https_client::{client, trusting};
use crate::support::webhooks::{
    FOREIGN, OWN, Webhooks, container, creation_with_reference, recording, routes, tenants,
};

const H1: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";
/// What an answer may take on a busy machine while others are up to mischief.
const PROMPT: Duration = Duration::from_secs(5);

struct Server {
    address: SocketAddr,
    ca: String,
    handle: Handle<SocketAddr>,
    _dir: TempDir,
}

type Raw = StreamOwned<ClientConnection, TcpStream>;

async fn serve() -> Server {
    serve_with(HEAD_TIMEOUT).await
}

async fn serve_with(head_timeout: Duration) -> Server {
    serve_on(|listener| listener.with_head_timeout(head_timeout)).await
}

async fn serve_on(settle: impl FnOnce(Listener) -> Listener) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let source = CertificateSource::SelfSigned { dir: dir.path().to_owned(), names };
    let certificate = Certificate::load(source).unwrap();
    let listener = settle(Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap());
    let (address, handle) = (listener.address(), Handle::new());
    let (router, _) = routes(&tenants(), &Settings::default());
    tokio::spawn(listener.serve(router, Some(certificate.server_config()), handle.clone()));
    handle.listening().await.unwrap();
    Server { address, ca: certificate.ca_pem().unwrap(), handle, _dir: dir }
}

impl Server {
    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// A client with connections of its own.
    fn client(&self, protocol: &[u8]) -> Client {
        client(&self.ca, protocol)
    }

    async fn post(&self, client: &Client, body: impl Into<reqwest::Body>) -> reqwest::Result<Response> {
        client.post(self.url("/validate?timeout=10s")).body(body).send().await
    }

    /// A TLS connection to write bytes to.
    fn raw(&self) -> Raw {
        let name = ServerName::from(self.address.ip());
        let connection = ClientConnection::new(Arc::new(trusting(&self.ca, H1)), name).unwrap();
        let socket = self.plain();
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream
    }

    fn plain(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    /// Someone else still gets an answer, and soon.
    async fn still_serves(&self) {
        let start = Instant::now();
        for protocol in [H1, H2] {
            let answer = self.post(&self.client(protocol), fine("still")).await.unwrap();
            assert_eq!(answer.json::<Value>().await.unwrap()["response"]["allowed"], true);
        }
        assert!(start.elapsed() < PROMPT, "others wait {:?}", start.elapsed());
    }

    /// No connection is left behind.
    async fn falls_silent(&self) {
        self.falls_to(0).await;
    }

    /// So many connections are left, and soon.
    async fn falls_to(&self, connections: usize) {
        let start = Instant::now();
        while self.handle.connection_count() > connections {
            assert!(start.elapsed() < PROMPT, "{} connections are left", self.handle.connection_count());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.handle.connection_count(), connections);
    }
}

/// A review that is allowed.
fn fine(uid: &str) -> String {
    review(uid, OWN).to_string()
}

fn review(uid: &str, image: &str) -> Value {
    let mut review = creation_with_reference(&json!({"containers": [container("c", image, "Always")]}));
    review["request"]["uid"] = json!(uid);
    review
}

fn head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: pullgate\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// The next line of an answer, or how the connection ended.
fn line(stream: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// Reads the fields and the body that follow a status line.
fn skip_rest_of_answer(stream: &mut impl Read) {
    let mut length = 0;
    loop {
        let field = line(stream).unwrap();
        if field.is_empty() {
            break;
        }
        if let Some(value) = field.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    stream.read_exact(&mut vec![0; length]).unwrap();
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_of_http_answer_as_without_sockets() {
    let server = serve().await;
    let webhooks = blocking(|| Webhooks::new(&tenants())).await;
    for (protocol, version) in [(H1, Version::HTTP_11), (H2, Version::HTTP_2)] {
        let client = server.client(protocol);
        for name in [
            "mutate-create-pods",
            "validate-create-pods",
            "validate-update-pods",
            "validate-create-deployments",
        ] {
            let review = recording(name);
            for path in ["/mutate", "/validate"] {
                let answer = client.post(server.url(path)).body(review.to_string()).send().await.unwrap();
                assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
                let expected = tokio::task::block_in_place(|| webhooks.ask(path, &review));
                assert_eq!(answer.json::<Value>().await.unwrap(), expected.body, "{name} at {path}");
            }
        }
    }
    blocking(move || drop(webhooks)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept() {
    let server = serve().await;
    // Also after bad requests.
    let body = |n: usize| if n % 5 == 4 { "x".to_owned() } else { fine("kept") };
    let mut stream = server.raw();
    let stream = blocking(move || {
        for n in 0..50 {
            let body = body(n);
            stream.write_all([head("/validate", body.len()), body].concat().as_bytes()).unwrap();
            let status = line(&mut stream).unwrap_or_else(|e| panic!("request {n}: {e}"));
            assert_eq!(status, if n % 5 == 4 { "HTTP/1.1 400 Bad Request" } else { "HTTP/1.1 200 OK" });
            skip_rest_of_answer(&mut stream);
        }
        stream
    })
    .await;
    assert_eq!(server.handle.connection_count(), 1);
    drop(stream);
    server.falls_silent().await;

    let client = server.client(H2);
    for n in 0..50 {
        server.post(&client, body(n)).await.unwrap().bytes().await.unwrap();
        assert_eq!(server.handle.connection_count(), 1, "after request {n}");
    }
    drop(client);
    server.falls_silent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_at_once_each_get_their_own_answer() {
    let server = serve().await;
    for protocol in [H1, H2] {
        let client = server.client(protocol);
        let asked = join_all((0..200).map(|n| {
            let image = if n % 2 == 0 { OWN } else { FOREIGN };
            let (client, server) = (client.clone(), &server);
            async move {
                let answer =
                    server.post(&client, review(&format!("uid-{n}"), image).to_string()).await.unwrap();
                let answer: Value = answer.json().await.unwrap();
                (n, answer["response"]["uid"].clone(), answer["response"]["allowed"].clone())
            }
        }));
        for (n, uid, allowed) in asked.await {
            assert_eq!((uid, allowed), (json!(format!("uid-{n}")), json!(n % 2 == 0)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_body_is_answered() {
    let server = serve().await;
    let padding = BODY_MAX - fine("large").len();
    for protocol in [H1, H2] {
        let body = [fine("large"), " ".repeat(padding)].concat();
        let answer = server.post(&server.client(protocol), body).await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["response"]["allowed"], true);
    }
}
