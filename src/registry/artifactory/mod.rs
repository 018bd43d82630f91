//! An Artifactory: its API as pullgate uses it. Its docker repositories are its spaces.
//!
//! Several wrong logins suspend the user, for everybody who uses it. So one call of a pass tries the credential first,
//! and after a refusal none is made with it for a while.

mod access;
mod storage;
mod tokens;

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

pub use self::access::Access;
pub use self::tokens::{Listed, Minted, NewToken, scope, token_id};

use super::distribution::Distribution;
use super::fault::{Denied, Fault};
use super::http::{Answer, Call, Http};
use super::words::brief;
use super::{AccountRole, Checked, Found, OnProgress, RegistryClient, Usage};
use crate::domain::record::bounds;

const NAME: &str = "Artifactory";

/// An Artifactory behind its HTTP.
#[derive(Debug)]
pub struct Artifactory {
    http: Http,
    distribution: Distribution,
    /// As it was last told.
    access: Mutex<Access>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Repository {
    key: String,
    package_type: Option<String>,
}

impl Artifactory {
    /// The Artifactory that `http` leads to.
    pub fn new(http: Http) -> Self {
        let access = Mutex::new(Access::of(&http.url("/")));
        Self { http, distribution: Distribution::default(), access }
    }

    /// The HTTP that it is talked to by.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// How docker comes to the repositories, as far as the account is told.
    pub fn access(&self) -> Access {
        self.told().clone()
    }

    fn told(&self) -> MutexGuard<'_, Access> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, path: &str) -> Call {
        Call::new(Method::GET, self.http.url(path))
    }

    /// Whether it is one. Where nobody is served who does not log in, the form of the refusal says so.
    async fn greet(&self) -> Result<(), Fault> {
        let answer = self.http.call(self.get("/artifactory/api/system/ping").accept("*/*")).await?;
        let known = match answer.status {
            status if status.is_success() => answer.body.trim_ascii() == b"OK",
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let body: Value = answer.json("ping").unwrap_or_default();
                body["errors"][0]["status"] == answer.status.as_u16()
            }
            _ => false,
        };
        if known { Ok(()) } else { Err(Fault::NotA(NAME)) }
    }

    /// Its version, by the one call that tries the credential.
    async fn log_in(&self) -> Result<String, Fault> {
        let call = self.get("/artifactory/api/system/version").login(self.http.own());
        let answer = self.http.call(call).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !self.http.has_credential() => {
                Err(Fault::CredentialsMissing)
            }
            StatusCode::UNAUTHORIZED => Err(self.http.reject()),
            // Every user may ask for the version; one that is kept out may not.
            StatusCode::FORBIDDEN => Err(self.http.suspended(answer.words)),
            status if status.is_success() => {
                let Version { version } = answer.json("version").map_err(|_| Fault::NotA(NAME))?;
                Ok(brief(&version, bounds::VERSION))
            }
            _ => Err(Fault::NotA(NAME)),
        }
    }

    /// Asks how docker comes to the repositories; whether that was told, as it is to administrators alone.
    async fn ask_for_access(&self) -> Result<bool, Fault> {
        let call = self.get("/artifactory/api/system/configuration/webServer").login(self.http.own());
        let answer = self.http.call(call).await?;
        if answer.status == StatusCode::UNAUTHORIZED && self.http.has_credential() {
            return Err(self.http.reject());
        }
        // In the cloud it is told to nobody.
        let told: Value = if answer.status.is_success() { answer.json("webServer")? } else { Value::Null };
        self.told().learn(&told);
        Ok(!told.is_null())
    }

    /// A call as the integrating account, whose answer must be a success.
    async fn own(&self, call: Call, to: &'static str) -> Result<Answer, Fault> {
        let answer = self.http.call(call.login(self.http.own())).await?;
        match answer.status {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED if self.http.has_credential() => Err(self.http.reject()),
            StatusCode::UNAUTHORIZED => Err(Fault::CredentialsMissing),
            StatusCode::FORBIDDEN => Err(Fault::NotPermitted(Denied::new(to, answer.words))),
            StatusCode::NOT_FOUND => Err(Fault::NotFound),
            StatusCode::CONFLICT => Err(Fault::Conflict(answer.words)),
            _ => Err(answer.declined()),
        }
    }
}

#[async_trait]
impl RegistryClient for Artifactory {
    async fn check(&self) -> Result<Checked, Fault> {
        self.greet().await?;
        let version = self.log_in().await?;
        let tier = match self.ask_for_access().await? {
            true => AccountRole::SystemAdmin,
            false if self.http.has_credential() => AccountRole::User,
            false => AccountRole::Anonymous,
        };
        Ok(Checked { version, tier, read_only: false, unhealthy: Vec::new(), anonymous: None })
    }

    async fn spaces(&self, progress: OnProgress<'_>) -> Result<Option<Vec<Found>>, Fault> {
        let mut call = self.http.url("/artifactory/api/repositories");
        call.query_pairs_mut().append_pair("packageType", "docker");
        let answer = self.own(Call::new(Method::GET, call), "list repositories").await?;
        let listed: Vec<Repository> = answer.json("repositories")?;
        // One that does not know the question answers with all of them.
        let docker =
            listed.into_iter().filter(|repository| repository.package_type.as_deref().is_none_or(is_docker));
        let mut keys: Vec<String> = docker.map(|repository| repository.key).collect();
        // One that no image could name.
        keys.retain(|key| key.len() <= bounds::PATH);
        keys.sort_unstable();
        keys.dedup();
        progress(keys.len(), keys.len());
        let found = keys.into_iter().map(|key| Found {
            path: key.into(),
            id: None,
            visibility: None,
            repositories: None,
            proxy_cache: false,
        });
        Ok(Some(found.collect()))
    }

    async fn usage(&self, _: AccountRole, spaces: &[Found]) -> Result<Usage, Fault> {
        let answer = match self.own(self.get("/artifactory/api/storageinfo"), "see the storage").await {
            // It is for administrators alone.
            Err(Fault::NotPermitted(_) | Fault::NotFound | Fault::CredentialsMissing) => {
                return Ok(Usage::default());
            }
            answer => answer?,
        };
        Ok(Usage { storage: storage::used(&answer.json("storageinfo")?, spaces), ..Usage::default() })
    }

    async fn resolve(&self, host: &str, repository: &str, reference: &str) -> Result<Option<String>, Fault> {
        let Some((key, path)) = self.access().locate(host, repository)? else { return Ok(None) };
        let base = docker(&key);
        self.distribution.resolve_below(&self.http, &base, &path, reference, self.http.own()).await
    }

    fn artifactory(&self) -> Option<&Artifactory> {
        Some(self)
    }
}

/// Where a repository's `/v2` is at the registry's own address, whatever host docker calls it by.
fn docker(key: &str) -> String {
    format!("/artifactory/api/docker/{key}")
}

fn is_docker(package_type: &str) -> bool {
    package_type.eq_ignore_ascii_case("docker")
}
