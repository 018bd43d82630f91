//! A Harbor: its API (`/api/v2.0`) as pullgate uses it.
//!
//! Wrong user names and passwords are answered as if there were none: `GET /projects` says 200 and lists what is public.
//! So nothing that a list lacks is gone before the login was shown to hold, and every project was asked for.

mod login;
mod projects;
pub mod rights;
mod robots;

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use robots::{NewRobot, Robot, RobotAccount};

use super::distribution::Distribution;
use super::fault::{Denied, Fault};
use super::http::{Answer, Call, Http, Login};
use super::words::brief;
use super::{Checked, Found, OnProgress, RegistryClient, Tier, Usage};
use crate::domain::record::bounds;

/// The oldest version that has what pullgate needs, as numbers and for people.
const OLDEST: (u32, u32) = (2, 4);
const OLDEST_TEXT: &str = "2.4";

/// A Harbor behind its HTTP.
#[derive(Debug)]
pub struct Harbor {
    http: Http,
    distribution: Distribution,
    /// What the integrating account was last found to be.
    account: Mutex<Option<Tier>>,
}

#[derive(Deserialize)]
struct SystemInfo {
    auth_mode: Option<String>,
    harbor_version: Option<String>,
    #[serde(default)]
    read_only: bool,
}

#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
struct Component {
    name: String,
    status: String,
}

impl Harbor {
    /// The Harbor that `http` leads to.
    pub fn new(http: Http) -> Self {
        let http = http.judged_by_check();
        Self { http, distribution: Distribution::default(), account: Mutex::default() }
    }

    /// The HTTP that it is talked to by.
    pub fn http(&self) -> &Http {
        &self.http
    }
}

#[async_trait]
impl RegistryClient for Harbor {
    /// The one place that tries user name and password, after it was shown that this is a Harbor.
    async fn check(&self) -> Result<Checked, Fault> {
        let open: SystemInfo = self.info(Login::Anonymous).await?;
        if open.auth_mode.is_none() {
            return Err(Fault::NotA("Harbor"));
        }
        if !self.http.has_credential() {
            return Err(Fault::CredentialsMissing);
        }
        let mut tier = self.log_in().await?;
        if let Tier::Robot(rights) = &mut tier {
            *rights = self.rights().await?;
        }
        *self.account() = Some(tier);
        let SystemInfo { harbor_version, read_only, .. } = self.info(self.http.own()).await?;
        let version = brief(&harbor_version.unwrap_or_default(), bounds::VERSION);
        // Where none is told, what is asked for next shows whether it is there.
        if !version.is_empty() && numbers(&version).is_none_or(|found| found < OLDEST) {
            return Err(Fault::TooOld { found: version, needed: OLDEST_TEXT });
        }
        Ok(Checked { version, tier, read_only, unhealthy: self.unhealthy().await?, anonymous: None })
    }

    async fn spaces(&self, progress: OnProgress<'_>) -> Result<Option<Vec<Found>>, Fault> {
        self.projects(progress).await.map(Some)
    }

    async fn usage(&self, tier: Tier, spaces: &[Found]) -> Result<Usage, Fault> {
        self.used(tier, spaces).await
    }

    async fn resolve(&self, _: &str, repository: &str, reference: &str) -> Result<Option<String>, Fault> {
        let ask = || self.distribution.resolve(&self.http, repository, reference, self.http.own());
        let answer = ask().await;
        // Harbor says the same of an image that the account may not pull, of a project that is not there, and to an
        // account that failed to log in: that has the rights of nobody.
        if let Err(Fault::NotPermitted(_)) = answer
            && let Some((project, _)) = repository.split_once('/')
        {
            match self.space(project).await {
                Ok(None) => return Err(Fault::NoProject(project.to_owned())),
                Err(Fault::CredentialsNotChecked(_)) => {
                    self.log_in().await?;
                    return ask().await;
                }
                _ => {}
            }
        }
        answer
    }

    fn harbor(&self) -> Option<&Harbor> {
        Some(self)
    }
}

impl Harbor {
    fn account(&self) -> MutexGuard<'_, Option<Tier>> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn info(&self, login: Login) -> Result<SystemInfo, Fault> {
        let answer = self.http.call(self.get("/systeminfo", &[]).login(login)).await?;
        let known = answer.status.is_success();
        known.then(|| answer.json("systeminfo").ok()).flatten().ok_or(Fault::NotA("Harbor"))
    }

    /// Names of the parts that are not healthy. An unhealthy Harbor may say so with status 200.
    async fn unhealthy(&self) -> Result<Vec<String>, Fault> {
        let answer = self.http.call(self.get("/health", &[])).await?;
        let Health { components } = answer.json("health")?;
        let ill = components.iter().filter(|c| c.status != "healthy").take(bounds::COMPONENTS);
        Ok(ill.map(|c| brief(&c.name, bounds::COMPONENT)).collect())
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> Call {
        self.request(Method::GET, path, query)
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Call {
        let mut url = self.http.url(&format!("/api/v2.0{path}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Call::new(method, url)
    }

    /// A call as the integrating account, whose answer must be a success.
    async fn own(&self, call: Call, to: &'static str) -> Result<Answer, Fault> {
        let answer = self.http.call(call.login(Login::Own)).await?;
        match answer.status {
            status if status.is_success() => Ok(answer),
            // Every write is denied with that word where Harbor is read-only, and a right that lacks with FORBIDDEN.
            StatusCode::FORBIDDEN if says(&answer, "DENIED") => Err(Fault::ReadOnly),
            StatusCode::UNAUTHORIZED => Err(self.http.refused()),
            StatusCode::FORBIDDEN => Err(Fault::NotPermitted(Denied::new(to, answer.words))),
            StatusCode::NOT_FOUND => Err(Fault::NotFound),
            StatusCode::CONFLICT => Err(Fault::Conflict(answer.words)),
            _ => Err(answer.declined()),
        }
    }

    async fn read<T: DeserializeOwned>(&self, call: Call, what: &'static str) -> Result<T, Fault> {
        self.own(call, what).await?.json(what)
    }
}

/// Whether an error's first code is this one.
fn says(answer: &Answer, code: &str) -> bool {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    body.is_some_and(|body| body["errors"][0]["code"] == code)
}

/// Major and minor of `v2.9.1-3f8a1c2d`.
pub fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(numbers("v2.15.0-abcdef"), Some((2, 15)));
        assert!(numbers("v2.15.0").unwrap() > OLDEST && numbers("2.3.9").unwrap() < OLDEST);
        assert_eq!(numbers("dev"), None);
    }
}
