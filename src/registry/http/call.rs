//! A call to a registry before it is made, where it goes to, and its answer.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::domain::record::{Registry, Tls};
use crate::registry::address::AddressPolicy;
use crate::registry::fault::Fault;
use crate::registry::words::Words;
use crate::store::Credential;

/// Where a registry is and how to talk to it.
#[derive(Debug, Clone)]
pub struct Target {
    pub url: Url,
    /// A token server at another address that may be sent the credential.
    pub realm: Option<Url>,
    pub tls: Tls,
    pub reach: AddressPolicy,
    pub credential: Option<Credential>,
}

impl Target {
    /// The target of a record. A credential that was given for another address is none.
    ///
    /// # Errors
    /// An address that is no URL; a valid record has one.
    pub fn new(
        registry: &Registry,
        credential: Option<Credential>,
        reach: AddressPolicy,
    ) -> Result<Self, Fault> {
        let read = |text: &str| Url::parse(text).map_err(|error| Fault::Settings(format!("{text}: {error}")));
        Ok(Self {
            url: read(&registry.url)?,
            realm: registry.token_realm.as_deref().map(read).transpose()?,
            tls: registry.tls.clone(),
            reach,
            credential: credential.filter(|credential| credential.audience == registry.audience()),
        })
    }
}

/// How a call logs in.
#[derive(Debug, Clone, Default)]
pub enum Login {
    #[default]
    Anonymous,
    /// With the registry's own credential.
    Own,
    /// As somebody else, whose credential was made by this registry.
    As { username: String, password: SecretString },
    /// With a token that this registry's token server gave.
    Bearer(SecretString),
}

/// A call that is to be made.
#[derive(Debug, Clone)]
pub struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) login: Login,
    pub(super) accept: &'static str,
    pub(super) header: Option<(HeaderName, HeaderValue)>,
    pub(super) body: Option<Value>,
}

impl Call {
    /// A call without a body that asks for JSON.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, login: Login::Anonymous, accept: "application/json", header: None, body: None }
    }

    #[must_use]
    pub fn login(self, login: Login) -> Self {
        Self { login, ..self }
    }

    #[must_use]
    pub fn accept(self, accept: &'static str) -> Self {
        Self { accept, ..self }
    }

    #[must_use]
    pub fn header(self, name: &'static str, value: &'static str) -> Self {
        let header = Some((HeaderName::from_static(name), HeaderValue::from_static(value)));
        Self { header, ..self }
    }

    #[must_use]
    pub fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }
}

/// What the registry answered: any status but one of a redirect, a failing server or a limit.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Of a refusal.
    pub words: Words,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// [`Fault::Malformed`], which names the call as `what`.
    pub fn json<T: DeserializeOwned>(&self, what: &'static str) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|_| Fault::Malformed(what))
    }

    /// The fault of a refusal of which nothing else is known.
    pub(in crate::registry) fn declined(&self) -> Fault {
        let status = self.status.as_u16();
        self.words.get().map_or(Fault::Rejected(status), |_| Fault::Declined(status, self.words.clone()))
    }

    /// A header's value as a number.
    pub fn number(&self, header: &str) -> Option<usize> {
        self.headers.get(header)?.to_str().ok()?.trim().parse().ok()
    }
}
