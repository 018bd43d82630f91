//! The distribution protocol (`/v2`), which every registry speaks to those who pull: how it asks for a login, what a
//! repository holds.
//!
//! A registry asks for Basic or for a token, and names where tokens are given. That place is asked only where the
//! registry's record says so: it is at the registry's own address, or at the record's `tokenRealm`. That a token was
//! given does not say that anything was granted; the call that shows it decides.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use http_auth::parser::ChallengeParser;
use moka::future::Cache;
use reqwest::header::{HeaderMap, LINK, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::fault::{Denied, Fault};
use super::http::{Answer, Call, Http, Login};
use crate::domain::image::is_digest;

/// Every kind of manifest. Without these, an OCI image is answered with 404.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.v2+json";
/// How long a token lives that does not say so; no shorter one is kept.
const TOKEN_LIFE: u64 = 60;
/// How long a token is used.
const TOKEN_KEPT: Duration = Duration::from_secs(45);
const TOKENS: u64 = 1024;
/// Repositories of a page; more than 1000 is an error.
const PAGE: usize = 1000;
/// Characters of a repository's name (distribution's reference grammar).
const LONGEST: usize = 255;
/// Pages of the catalog that are read: it is a slow walk over the registry's storage.
const PAGES: usize = 10;

/// The `/v2` of a registry.
#[derive(Debug)]
pub struct Distribution {
    /// By scope, and whether the own credential was shown for it.
    tokens: Cache<(String, bool), SecretString>,
}

/// How a registry wants to be logged in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    Bearer {
        realm: Url,
        service: Option<String>,
    },
    /// Some other way, or none that can be read: whoever it is for, it is not for everybody.
    Other,
}

#[derive(Deserialize)]
struct Token {
    #[serde(rename = "token")]
    given: Option<SecretString>,
    /// The same, as OAuth calls it.
    #[serde(rename = "access_token")]
    access: Option<SecretString>,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { tokens: Cache::builder().max_capacity(TOKENS).time_to_live(TOKEN_KEPT).build() }
    }
}

impl Distribution {
    /// The first answer to somebody who does not log in: its status, and the challenge of a 401.
    ///
    /// # Errors
    /// No answer, or none of a registry.
    pub async fn greet(&self, http: &Http) -> Result<Option<Challenge>, Fault> {
        let answer = http.call(Call::new(Method::GET, http.url("/v2/"))).await?;
        let stamped = answer.headers.contains_key("docker-distribution-api-version");
        match answer.status {
            StatusCode::UNAUTHORIZED => Ok(Some(challenge(&answer.headers))),
            status if status.is_success() && (stamped || answer.body.trim_ascii() == b"{}") => Ok(None),
            _ => Err(Fault::NotA("container registry")),
        }
    }

    /// Whether somebody who shows no password is taken as somebody: by a token for nobody, or by nothing at all.
    ///
    /// # Errors
    /// It was not answered.
    pub async fn takes_anybody(&self, http: &Http, challenge: Option<&Challenge>) -> Result<bool, Fault> {
        match challenge {
            None => Ok(true),
            Some(Challenge::Basic | Challenge::Other) => Ok(false),
            Some(Challenge::Bearer { .. }) => {
                match self.ask(http, Call::new(Method::GET, http.url("/v2/")), "", Login::Anonymous).await {
                    Ok(answer) => Ok(answer.status.is_success()),
                    Err(Fault::CredentialsMissing | Fault::NotPermitted(_)) => Ok(false),
                    Err(fault) => Err(fault),
                }
            }
        }
    }

    /// Makes a call, and logs in for `scope` if it has to.
    ///
    /// # Errors
    /// No answer, a token server that is none of this registry's, or a login that failed. Where the registry does not
    /// grant what is asked, the answer's status says so.
    pub async fn ask(&self, http: &Http, call: Call, scope: &str, login: Login) -> Result<Answer, Fault> {
        let own = matches!(login, Login::Own);
        let key = (scope.to_owned(), own);
        if let Some(token) = self.tokens.get(&key).await {
            let answer = http.call(call.clone().login(Login::Bearer(token))).await?;
            if answer.status != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            self.tokens.invalidate(&key).await;
        }
        let answer = http.call(call.clone()).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        match challenge(&answer.headers) {
            Challenge::Other => Ok(answer),
            Challenge::Basic if own => {
                let answer = http.call(call.login(Login::Own)).await?;
                if answer.status == StatusCode::UNAUTHORIZED { Err(http.refused()) } else { Ok(answer) }
            }
            Challenge::Basic => Err(Fault::CredentialsMissing),
            Challenge::Bearer { realm, service } => {
                let (token, lasts) = self.token(http, realm, service.as_deref(), scope, login).await?;
                let answer = http.call(call.login(Login::Bearer(token.clone()))).await?;
                if lasts && answer.status.is_success() {
                    self.tokens.insert(key, token).await;
                }
                Ok(answer)
            }
        }
    }

    /// A token for a scope, and whether it lives long enough to be kept.
    async fn token(
        &self,
        http: &Http,
        mut realm: Url,
        service: Option<&str>,
        scope: &str,
        login: Login,
    ) -> Result<(SecretString, bool), Fault> {
        // Also without a credential: where a registry sends us is not for it to choose.
        http.vet_realm(&realm)?;
        let own = matches!(login, Login::Own);
        {
            let mut query = realm.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            if !scope.is_empty() {
                query.append_pair("scope", scope);
            }
        }
        let answer = http.call(Call::new(Method::GET, realm).login(login)).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED if own => Err(http.refused()),
            StatusCode::UNAUTHORIZED => Err(Fault::CredentialsMissing),
            StatusCode::FORBIDDEN => Err(Fault::NotPermitted(Denied::new("log in", answer.words))),
            status if status.is_success() => {
                let Token { given, access, expires_in } = answer.json("the token server")?;
                let token = given.or(access).ok_or(Fault::Malformed("the token server"))?;
                Ok((token, expires_in.unwrap_or(TOKEN_LIFE) >= TOKEN_LIFE))
            }
            _ => Err(answer.declined()),
        }
    }

    /// The digest of what a tag or digest of a repository names; `None` where there is no such thing. Both are valid
    /// parts of an image reference.
    ///
    /// # Errors
    /// The registry does not say.
    pub async fn resolve(
        &self,
        http: &Http,
        repository: &str,
        reference: &str,
        login: Login,
    ) -> Result<Option<String>, Fault> {
        self.resolve_below(http, "", repository, reference, login).await
    }

    /// The same where `/v2` is below another path, as `/artifactory/api/docker/team-a`.
    ///
    /// # Errors
    /// The registry does not say.
    pub async fn resolve_below(
        &self,
        http: &Http,
        base: &str,
        repository: &str,
        reference: &str,
        login: Login,
    ) -> Result<Option<String>, Fault> {
        let url = http.url(&format!("{base}/v2/{repository}/manifests/{reference}"));
        let scope = format!("repository:{repository}:pull");
        let call = |method| Call::new(method, url.clone()).accept(MANIFESTS);
        let answer = self.ask(http, call(Method::HEAD), &scope, login.clone()).await?;
        match answer.status {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Fault::NotPermitted("pull this image".into()));
            }
            // Harbor, of an image that its vulnerability policy blocks.
            StatusCode::PRECONDITION_FAILED => {
                return Err(Fault::NotPermitted("pull this image, which a policy blocks".into()));
            }
            status if !status.is_success() => return Err(Fault::Rejected(status.as_u16())),
            _ => {}
        }
        let told = answer.headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
        if let Some(told) = told {
            return if is_digest(told) {
                Ok(Some(told.to_owned()))
            } else {
                Err(Fault::Malformed("the manifest"))
            };
        }
        let answer = self.ask(http, call(Method::GET), &scope, login).await?;
        if !answer.status.is_success() {
            return Err(answer.declined());
        }
        let sum = digest(&SHA256, &answer.body);
        Ok(Some(format!("sha256:{}", crate::hex::hex(sum.as_ref()))))
    }

    /// Names of the repositories, as far as the catalog is open to the account; `None` where it is not. `true`: there
    /// are more.
    ///
    /// # Errors
    /// It was not answered.
    pub async fn catalog(&self, http: &Http, login: Login) -> Result<Option<(Vec<String>, bool)>, Fault> {
        let mut names = Vec::new();
        let mut last: Option<String> = None;
        for _ in 0..PAGES {
            let mut url = http.url("/v2/_catalog");
            url.query_pairs_mut().append_pair("n", &PAGE.to_string());
            if let Some(last) = &last {
                url.query_pairs_mut().append_pair("last", last);
            }
            let call = Call::new(Method::GET, url);
            let answer = match self.ask(http, call, "registry:catalog:*", login.clone()).await {
                Ok(answer) if answer.status.is_success() => answer,
                Ok(_) | Err(Fault::CredentialsMissing | Fault::NotPermitted(_)) => return Ok(None),
                Err(fault) => return Err(fault),
            };
            let Catalog { repositories } = answer.json("the catalog")?;
            let page = repositories.unwrap_or_default();
            let Some(end) = page.last().cloned() else { return Ok(Some((names, false))) };
            if page.len() > PAGE || page.iter().any(|name| name.len() > LONGEST) {
                return Err(Fault::Malformed("the catalog"));
            }
            names.extend(page);
            // Where it leads is known without reading it: the page after the last name.
            if !answer.headers.contains_key(LINK) {
                return Ok(Some((names, false)));
            }
            last = Some(end);
        }
        Ok(Some((names, true)))
    }

    /// The number of a repository's tags; `None` where the account may not see them.
    ///
    /// # Errors
    /// It was not answered.
    pub async fn tags(&self, http: &Http, repository: &str, login: Login) -> Result<Option<usize>, Fault> {
        let call = Call::new(Method::GET, http.url(&format!("/v2/{repository}/tags/list")));
        let answer = self.ask(http, call, &format!("repository:{repository}:pull"), login).await?;
        match answer.status {
            // The catalog lists what was emptied.
            StatusCode::NOT_FOUND => Ok(Some(0)),
            status if status.is_success() => {
                let Tags { tags } = answer.json("the tags")?;
                Ok(Some(tags.map_or(0, |tags| tags.len())))
            }
            _ => Ok(None),
        }
    }
}

/// The first challenge that is understood; a registry may offer several, each in a header of its own or all in one.
fn challenge(headers: &HeaderMap) -> Challenge {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let understood =
        texts.flat_map(|text| ChallengeParser::new(text).map_while(Result::ok)).find_map(|challenge| {
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                return Some(Challenge::Basic);
            }
            let parameter = |name: &str| {
                let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            let bearer = challenge.scheme.eq_ignore_ascii_case("bearer");
            let realm = parameter("realm").filter(|_| bearer).and_then(|realm| Url::parse(&realm).ok())?;
            Some(Challenge::Bearer { realm, service: parameter("service") })
        });
    understood.unwrap_or(Challenge::Other)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn of(texts: &[&str]) -> Challenge {
        let headers = texts.iter().map(|text| (WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap()));
        challenge(&headers.fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        }))
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = |realm: &str, service: Option<&str>| {
            let realm = Url::parse(realm).unwrap();
            Challenge::Bearer { realm, service: service.map(str::to_owned) }
        };
        assert_eq!(of(&["Basic realm=\"x\""]), Challenge::Basic);
        let full =
            "Bearer realm=\"https://a.example/token?x=1\",service=\"s, t\",scope=\"repository:a:pull\"";
        assert_eq!(of(&[full]), bearer("https://a.example/token?x=1", Some("s, t")));
        assert_eq!(of(&["bearer Realm=\"https://a.example\""]), bearer("https://a.example", None));
        assert_eq!(of(&["Negotiate", "Basic realm=x"]), Challenge::Basic);
        for none in
            ["", "Bearer", "Bearer realm=\"/token\"", "Digest realm=\"x\"", "Bearer realm=\"http://[\""]
        {
            assert_eq!(of(&[none]), Challenge::Other, "{none}");
        }
    }

    #[test]
    fn only_digests_pass_for_digests() {
        assert!(is_digest(&format!("sha256:{}", "0a".repeat(32))));
        for other in
            ["", "sha256:", "sha256:00", "md5:00", &"a".repeat(64), &format!("sha256:{}", "0A".repeat(32))]
        {
            assert!(!is_digest(other), "{other}");
        }
    }
}
