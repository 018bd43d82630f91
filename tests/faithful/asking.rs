//! A client that hides nothing: it follows no redirection, keeps no cookie and takes any status.

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use crate::doubles::serving::Served;
use crate::support::https_client::trusting;

pub const ADMIN: &str = "admin:Harbor12345";
pub const NOBODY: &str = "";

#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
    /// The members `name` of a list.
    pub fn names(&self) -> Vec<String> {
        let list = self.json();
        list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    }
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
    /// An error as registries write it.
    #[track_caller]
    pub fn refuses(self, status: u16, code: &str) -> Self {
        let told = self.is(status);
        assert_eq!(told.json()["errors"][0]["code"], code);
        told
    }
}

/// A client that trusts this server's CA.
pub fn client(of: &Served) -> Client {
    Client::builder()
        .tls_backend_preconfigured(trusting(of.ca(), b"http/1.1"))
        .redirect(Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

/// A request as somebody, `user:password` or [`NOBODY`].
pub fn request(of: &Served, who: &str, method: Method, path: &str) -> RequestBuilder {
    let request = client(of).request(method, format!("{}{path}", of.url()));
    match who.split_once(':') {
        Some((user, password)) => request.basic_auth(user, Some(password)),
        None => request,
    }
}

pub async fn told(request: RequestBuilder) -> reqwest::Result<Told> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Told { status, headers, text: response.text().await? })
}

pub async fn get(of: &Served, who: &str, path: &str) -> Told {
    told(request(of, who, Method::GET, path)).await.unwrap()
}

pub async fn head(of: &Served, who: &str, path: &str) -> Told {
    told(request(of, who, Method::HEAD, path)).await.unwrap()
}

pub async fn send(of: &Served, who: &str, method: Method, path: &str, body: &Value) -> Told {
    told(request(of, who, method, path).json(body)).await.unwrap()
}

pub async fn delete(of: &Served, who: &str, path: &str) -> Told {
    told(request(of, who, Method::DELETE, path)).await.unwrap()
}
