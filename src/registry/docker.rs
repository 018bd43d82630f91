//! A plain distribution registry: open, with a password, or with a token server. It has no spaces, and tells no storage.

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Method;

use super::distribution::Distribution;
use super::fault::{Denied, Fault};
use super::http::{CALLS, Call, Http, Login};
use super::{AccountRole, Checked, Found, OnProgress, RegistryClient, Usage};

/// Repositories whose tags are counted; of more, none are.
const COUNTED: usize = 50;

/// A Docker registry behind its HTTP.
#[derive(Debug)]
pub struct Docker {
    http: Http,
    distribution: Distribution,
}

impl Docker {
    /// The registry that `http` leads to.
    pub fn new(http: Http) -> Self {
        Self { http, distribution: Distribution::default() }
    }
}

#[async_trait]
impl RegistryClient for Docker {
    async fn check(&self) -> Result<Checked, Fault> {
        let challenge = self.distribution.greet(&self.http).await?;
        // An open one asks for no password, and so never says that one is wrong.
        if self.http.has_credential() && challenge.is_some() {
            let call = Call::new(Method::GET, self.http.url("/v2/"));
            let answer = self.distribution.ask(&self.http, call, "", Login::Own).await?;
            if !answer.status.is_success() {
                return Err(Fault::NotPermitted(Denied::new("log in", answer.words)));
            }
            self.http.accepted();
        }
        let anonymous = match self.distribution.takes_anybody(&self.http, challenge.as_ref()).await {
            // Of one with a password nobody asks, and the token server is as it was said to be.
            Err(Fault::ForeignRealm(_)) if self.http.has_credential() => false,
            outcome => outcome?,
        };
        let tier = if self.http.has_credential() { AccountRole::User } else { AccountRole::Anonymous };
        Ok(Checked {
            version: String::new(),
            tier,
            read_only: false,
            unhealthy: Vec::new(),
            anonymous: Some(anonymous),
        })
    }

    async fn spaces(&self, _: OnProgress<'_>) -> Result<Option<Vec<Found>>, Fault> {
        Ok(None)
    }

    async fn usage(&self, _: AccountRole, _: &[Found]) -> Result<Usage, Fault> {
        let Some((names, more)) = self.distribution.catalog(&self.http, self.http.own()).await? else {
            return Ok(Usage::default());
        };
        let mut usage = Usage::default();
        if more {
            return Ok(usage);
        }
        usage.repositories = i64::try_from(names.len()).ok();
        if names.len() <= COUNTED {
            let count = async |name: String| self.distribution.tags(&self.http, &name, self.http.own()).await;
            let counts = stream::iter(names).map(count);
            let counts: Vec<Option<usize>> = counts.buffered(CALLS).try_collect().await?;
            let total: Option<usize> = counts.into_iter().sum();
            usage.tags = total.and_then(|total| i64::try_from(total).ok());
        }
        Ok(usage)
    }

    async fn resolve(&self, _: &str, repository: &str, reference: &str) -> Result<Option<String>, Fault> {
        self.distribution.resolve(&self.http, repository, reference, self.http.own()).await
    }
}
