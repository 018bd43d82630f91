//! A Harbor: its API (`/api/v2.0`) as pullgate uses it.
//!
//! Wrong user names and passwords are answered as if there were none: `GET /projects` says 200 and lists what is public.
//! So nothing that a list lacks is gone before the login was shown to hold, and every project was asked for.

mod login;
mod projects;
pub mod rights;
mod robots;
mod unchanged;

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::login::Refusal;
use self::unchanged::Memory;
pub use robots::{NewRobot, Robot, RobotAccount};

use super::distribution::Distribution;
use super::fault::{Denied, Fault};
use super::http::{Answer, Call, Http, Login};
use super::words::brief;
use super::{AccountRole, Checked, Found, OnProgress, RegistryClient, Usage};
use crate::domain::record::bounds;

/// The oldest version that has what pullgate needs, as numbers and for people.
const OLDEST: (u32, u32) = (2, 4);
const OLDEST_TEXT: &str = "2.4";

/// How long a system admin's account is taken for one while nothing speaks against it: to ask is a login more.
const BELIEVED: Duration = Duration::from_mins(30);

/// A Harbor behind its HTTP.
#[derive(Debug)]
pub struct Harbor {
    http: Http,
    distribution: Distribution,
    account: Mutex<Account>,
    memory: Mutex<Memory>,
    /// Numbers of the projects whose admin the account is.
    administered: Mutex<HashSet<i64>>,
}

/// The integrating account.
#[derive(Debug, Default)]
struct Account {
    /// What it was last found to be.
    tier: Option<AccountRole>,
    /// Until when a login that holds is enough to take a system admin for one.
    until: Option<Instant>,
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
        Self {
            http,
            distribution: Distribution::default(),
            account: Mutex::default(),
            memory: Mutex::default(),
            administered: Mutex::default(),
        }
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
        let refused = self.memory().forget();
        let open: SystemInfo = self.info(Login::Anonymous).await?;
        if open.auth_mode.is_none() {
            return Err(Fault::NotA("Harbor"));
        }
        if !self.http.has_credential() {
            return Err(Fault::CredentialsMissing);
        }
        let (tier, SystemInfo { harbor_version, read_only, .. }) = self.log_in_and_ask(refused).await?;
        let version = brief(&harbor_version.unwrap_or_default(), bounds::VERSION);
        // Where none is told, what is asked for next shows whether it is there.
        if !version.is_empty() && numbers(&version).is_none_or(|found| found < OLDEST) {
            return Err(Fault::TooOld { found: version, needed: OLDEST_TEXT });
        }
        let checked =
            Checked { version, tier, read_only, unhealthy: self.unhealthy().await?, anonymous: None };
        self.memory().checked(&checked);
        Ok(checked)
    }

    async fn unchanged(&self, logs_in: bool) -> Option<Checked> {
        self.is_unchanged(logs_in).await
    }

    async fn spaces(&self, progress: OnProgress<'_>) -> Result<Option<Vec<Found>>, Fault> {
        let found = self.projects(progress).await?;
        self.memory().read(&found);
        Ok(Some(found))
    }

    async fn usage(&self, tier: AccountRole, spaces: &[Found]) -> Result<Usage, Fault> {
        let token_life = self.token_life().await;
        Ok(Usage { token_life, ..self.used(tier, spaces).await? })
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
                    self.log_in(None).await?;
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
    /// Who the account is, and what is told to it.
    async fn log_in_and_ask(&self, refused: Option<Refusal>) -> Result<(AccountRole, SystemInfo), Fault> {
        let mut refused = refused;
        // Of a right that a system admin lost, a call is told; of one that somebody else got, nobody is.
        let is_admin = {
            let account = self.account();
            let believed = account.until.is_some_and(|until| Instant::now() < until);
            account.tier == Some(AccountRole::SystemAdmin) && believed && refused.is_none()
        };
        if is_admin {
            let asked = Instant::now();
            let info = self.info(self.http.own()).await?;
            // Nobody else is told the version.
            if info.harbor_version.is_some() {
                self.http.accepted();
                return Ok((AccountRole::SystemAdmin, info));
            }
            refused = Some(Refusal::after(asked.elapsed()));
        }
        let mut tier = self.log_in(refused).await?;
        if let AccountRole::Robot(rights) = &mut tier {
            *rights = self.rights().await?;
        }
        *self.account() = Account { tier: Some(tier), until: Some(Instant::now() + BELIEVED) };
        Ok((tier, self.info(self.http.own()).await?))
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the account is an admin of this project by a role in it, as far as was read.
    pub fn administers(&self, project: i64) -> bool {
        self.administered().contains(&project)
    }

    fn administered(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.administered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A login was refused. Why, the next pass finds out, which believes nothing that was found before.
    fn refused(&self) -> Fault {
        self.memory().forget();
        self.http.refused()
    }

    /// A right lacks. Where the account had every one of them, the next pass looks what it is now.
    fn not_permitted(&self, to: Denied) -> Fault {
        let mut account = self.account();
        if account.tier == Some(AccountRole::SystemAdmin) {
            account.until = None;
            drop(account);
            self.memory().forget();
        }
        Fault::NotPermitted(to)
    }

    async fn info(&self, login: Login) -> Result<SystemInfo, Fault> {
        let answer = self.http.call(self.get("/systeminfo", &[]).login(login)).await?;
        let known = answer.status.is_success();
        known.then(|| answer.json("systeminfo").ok()).flatten().ok_or(Fault::NotA("Harbor"))
    }

    /// How long a token lives (`token_expiration`, 30 minutes where nobody set it): the same for everybody, so that one for
    /// nobody tells it without a login. Its settings Harbor shows to system admins alone.
    async fn token_life(&self) -> Option<i64> {
        #[derive(Deserialize)]
        struct Token {
            expires_in: i64,
        }
        let mut url = self.http.url("/service/token");
        let scope = "repository:pullgate-probe/none:pull";
        url.query_pairs_mut().append_pair("service", "harbor-registry").append_pair("scope", scope);
        let answer = self.http.call(Call::new(Method::GET, url)).await.ok()?;
        let Token { expires_in } =
            answer.json("service/token").ok().filter(|_| answer.status.is_success())?;
        Some(expires_in).filter(|seconds| *seconds > 0)
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
        self.succeed(call.login(Login::Own), to).await
    }

    async fn succeed(&self, call: Call, to: &'static str) -> Result<Answer, Fault> {
        let answer = self.http.call(call).await?;
        match answer.status {
            status if status.is_success() => Ok(answer),
            // Every write is denied with that word where Harbor is read-only, and a right that lacks with FORBIDDEN.
            StatusCode::FORBIDDEN if says(&answer, "DENIED") => Err(Fault::ReadOnly),
            StatusCode::UNAUTHORIZED => Err(self.refused()),
            StatusCode::FORBIDDEN => Err(self.not_permitted(Denied::new(to, answer.words))),
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
