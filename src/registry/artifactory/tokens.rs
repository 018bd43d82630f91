//! Tokens of an Artifactory that pull from some of its repositories and do nothing else.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Artifactory, docker};
use crate::domain::record::{Name, bounds};
use crate::registry::fault::{Denied, Fault};
use crate::registry::http::{Call, Login};

const TOKENS: &str = "/access/api/v1/tokens";
/// The longest scope.
const SCOPE_MAX: usize = 500;
/// A repository's images that are asked for to see whether they may be; there need be none of that name.
const PROBE: &str = "pullgate-probe";

/// A token that is to be made.
#[derive(Debug)]
pub struct NewToken<'t> {
    /// The user it is for: docker must log in by the same name.
    pub username: &'t str,
    pub scope: &'t str,
    pub life: Duration,
    pub description: &'t str,
}

/// A token that was made.
#[derive(Debug)]
pub struct Minted {
    /// By which it is taken back.
    pub id: String,
    pub token: SecretString,
    /// Seconds; `None`: for ever.
    pub expires_in: Option<i64>,
}

/// What is listed of a token.
#[derive(Debug, Deserialize)]
pub struct Listed {
    #[serde(rename = "token_id")]
    pub id: String,
    #[serde(default)]
    pub description: String,
}

#[derive(Deserialize)]
struct Told {
    token_id: String,
    access_token: SecretString,
    expires_in: Option<i64>,
}

#[derive(Deserialize)]
struct List {
    tokens: Vec<Listed>,
}

impl Artifactory {
    /// Makes a token.
    ///
    /// # Errors
    /// [`Fault::NotPermitted`] where the account may make none of this kind.
    pub async fn mint(&self, new: &NewToken<'_>) -> Result<Minted, Fault> {
        let body = json!({"username": new.username, "scope": new.scope, "expires_in": new.life.as_secs(),
            "description": new.description});
        let call = Call::new(Method::POST, self.http.url(TOKENS)).body(body);
        let answer = match self.own(call, "make tokens that only pull").await {
            // An old one has no such address, and some refuse the length or the life that was asked for.
            Err(Fault::NotFound | Fault::Rejected(_)) => {
                return Err(Fault::NotPermitted("make tokens that only pull".into()));
            }
            Err(Fault::Declined(_, words) | Fault::Conflict(words)) => {
                return Err(Fault::NotPermitted(Denied::new("make tokens that only pull", words)));
            }
            answer => answer?,
        };
        let Told { token_id: id, access_token: token, expires_in } = answer.json("tokens")?;
        // It goes into the store, and to every namespace of the workspace.
        if token.expose_secret().len() > bounds::PASSWORD {
            return Err(Fault::Malformed("tokens"));
        }
        // Else which one is stored could not be told later.
        if token_id(&token).is_some_and(|told| told != id) || !is_id(&id) {
            return Err(Fault::Malformed("tokens"));
        }
        Ok(Minted { id, token, expires_in: expires_in.filter(|seconds| *seconds > 0) })
    }

    /// Takes a token back. One that is not there needs none; one that lives for less than some hours is not kept there, and
    /// just ends.
    ///
    /// # Errors
    /// It may go on.
    pub async fn revoke(&self, id: &str) -> Result<(), Fault> {
        if !is_id(id) {
            return Err(Fault::NotFound);
        }
        let call = Call::new(Method::DELETE, self.http.url(&format!("{TOKENS}/{id}")));
        match self.own(call, "take tokens back").await {
            Ok(_) | Err(Fault::NotFound) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// The tokens that the account sees.
    ///
    /// # Errors
    /// Not every version tells them.
    pub async fn tokens(&self) -> Result<Vec<Listed>, Fault> {
        let List { tokens } = self.own(self.get(TOKENS), "list tokens").await?.json("tokens")?;
        Ok(tokens)
    }

    /// Whether a token opens a repository, as a bearer of it: a wrong one counts as nobody's wrong login.
    ///
    /// # Errors
    /// It was not answered.
    pub async fn opens(&self, token: &SecretString, key: &Name) -> Result<bool, Fault> {
        self.admits(Login::Bearer(token.clone()), key).await
    }

    /// Whether a node that logs in so may pull from a repository.
    ///
    /// # Errors
    /// It was not answered.
    pub async fn lets_pull(&self, username: &str, token: &SecretString, key: &Name) -> Result<bool, Fault> {
        self.admits(Login::As { username: username.to_owned(), password: token.clone() }, key).await
    }

    async fn admits(&self, login: Login, key: &Name) -> Result<bool, Fault> {
        let call = self.get(&format!("{}/v2/{PROBE}/tags/list", docker(key))).login(login);
        let answer = self.http.call(call).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(false),
            // There is no such image, which is told only to those who may know.
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(true),
            _ => Err(answer.declined()),
        }
    }
}

/// What a token says that pulls from these repositories; `None` where there are none, or too many for one token.
pub fn scope(keys: &[&Name]) -> Option<String> {
    let plain =
        |key: &&Name| key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if keys.is_empty() || !keys.iter().all(plain) {
        return None;
    }
    let scopes: Vec<_> = keys.iter().map(|key| format!("artifact:{key}/**:r")).collect();
    Some(scopes.join(" ")).filter(|scope| scope.len() <= SCOPE_MAX)
}

/// The id that a token says it has. Nothing is believed by it: it only tells which of the known ones a token is.
pub fn token_id(token: &SecretString) -> Option<String> {
    let claims = token.expose_secret().split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims["jti"].as_str().map(str::to_owned)
}

/// Whether it may stand in a path.
fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_names_every_repository_or_there_is_none() {
        let (a, b) = (Name::from("team-a"), Name::from("team-b"));
        assert_eq!(scope(&[&a, &b]).unwrap(), "artifact:team-a/**:r artifact:team-b/**:r");
        assert_eq!(scope(&[]), None);
        assert_eq!(scope(&[&Name::from("team-a/**:rw artifact:x")]), None);
        let ten = Name::from("0123456789");
        assert_eq!(scope(&[&ten; 20]).map(|scope| scope.len()), Some(499));
        assert_eq!(scope(&[&ten; 21]), None);
    }

    #[test]
    fn a_token_tells_its_id_and_an_opaque_one_does_not() {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"jti":"6c2d","sub":"x"}"#);
        assert_eq!(token_id(&format!("e30.{claims}.c2ln").into()).as_deref(), Some("6c2d"));
        for opaque in ["", "cmVmdGtuOjAx", "a.b.c", "e30.e30.e30"] {
            assert_eq!(token_id(&opaque.into()), None, "{opaque}");
        }
        assert!(is_id("6c2d6e40-9a5e") && !is_id("../users/admin") && !is_id(""));
    }
}
