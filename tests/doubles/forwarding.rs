//! Hands requests on to a real registry.

use std::ops::Deref;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Response, header};
use reqwest::Client;
use reqwest::redirect::Policy;

use super::certificates::{Authority, Leaf};
use super::serving::Served;
use crate::support::https_client::trusting;

/// A server in front of a real registry, with TLS where a certificate is wanted: the registry itself has no journal and
/// no faults.
pub struct Front(Served);

impl Deref for Front {
    type Target = Served;
    fn deref(&self) -> &Served {
        &self.0
    }
}

impl Front {
    /// Of the registry at `127.0.0.1:PORT`.
    pub fn start(leaf: Option<Leaf>, registry: &str) -> Self {
        let registry = Forward::to(registry);
        let pass = async move |mut request: Request| {
            if leaf.is_some() {
                over_tls(&mut request);
            }
            registry.send_as_is(request).await
        };
        Self(Served::start(leaf, |_| Router::new().fallback(pass)))
    }
}

/// Has the registry behind tell addresses with TLS.
pub fn over_tls(request: &mut Request) {
    request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static("https"));
}

/// The way to one registry without TLS.
#[derive(Clone)]
pub struct Forward {
    client: Client,
    registry: String,
}

impl Forward {
    /// To `127.0.0.1:PORT`.
    pub fn to(registry: &str) -> Self {
        let client = Client::builder()
            .tls_backend_preconfigured(trusting(&Authority::new().pem, b"http/1.1"))
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self { client, registry: registry.to_owned() }
    }

    /// The registry's answer to somebody whose credential it does not get to see.
    pub async fn send(&self, mut request: Request) -> Response<Body> {
        request.headers_mut().remove(header::AUTHORIZATION);
        self.send_as_is(request).await
    }

    /// The registry's answer. It is told the name that the client knows, for the addresses of its uploads.
    pub async fn send_as_is(&self, request: Request) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let url = format!("http://{}{}", self.registry, parts.uri.path_and_query().unwrap());
        for_one_connection(&mut parts.headers);
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let request = self.client.request(parts.method, url).headers(parts.headers).body(body);
        let answer = request.send().await.unwrap();
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        for_one_connection(response.headers_mut());
        *response.body_mut() = Body::from(answer.bytes().await.unwrap());
        response
    }
}

/// Takes away what holds for one connection alone (RFC 9110, 7.6.1).
fn for_one_connection(headers: &mut HeaderMap) {
    headers.remove(header::CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
}

/// The repository of a path below `/v2/`, and what in it.
pub fn parts(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix("/v2/")?;
    let at = ["/manifests/", "/blobs/", "/tags/list"].iter().filter_map(|part| path.rfind(part)).max()?;
    Some((&path[..at], &path[at + 1..]))
}
