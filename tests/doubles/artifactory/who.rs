//! Who calls an Artifactory: passwords, tokens as passwords, tokens as bearers, and the suspension of those who guess.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;

use super::refusal::Refusal;
use crate::doubles::basic::{basic, credential};
use crate::doubles::jwt::Signer;

/// So many wrong passwords in a row, and the user is suspended.
const TRIES: u32 = 5;

/// What a token's `sub` begins with; the user's name follows.
pub const SUBJECT: &str = "jfac@01h2v3/users/";

#[derive(Debug, Clone)]
pub struct User {
    pub password: String,
    pub admin: bool,
    /// The repositories that it may read.
    pub reads: BTreeSet<String>,
    pub wrong: u32,
}

/// Everybody who can log in.
pub struct Directory {
    pub users: BTreeMap<String, User>,
    pub signer: Signer,
    /// The ids of tokens that were taken back.
    pub revoked: BTreeSet<String>,
    /// Until when users are suspended.
    pub suspended: BTreeMap<String, Instant>,
    pub suspension: Duration,
    /// Seconds by which tokens are older than they are.
    pub aged: i64,
}

/// Somebody who is known.
#[derive(Debug, Clone)]
pub struct Caller {
    pub name: String,
    pub rights: Rights,
}

#[derive(Debug, Clone)]
pub enum Rights {
    Admin,
    /// Those of the user.
    Own,
    /// Of a token: repositories and whether they may be written to.
    Artifacts(Vec<(String, bool)>),
}

impl Directory {
    /// Nobody, somebody, or a refusal. Unlike Harbor it never takes wrong credentials for none.
    pub fn caller(&mut self, headers: &HeaderMap) -> Result<Option<Caller>, Refusal> {
        if let Some(token) = credential(headers, "bearer") {
            return self
                .of_token(token)
                .map(Some)
                .ok_or_else(|| Refusal::unauthorized("Token failed verification"));
        }
        let Some((name, password)) = basic(headers) else { return Ok(None) };
        if self.suspended.get(&name).is_some_and(|until| *until > Instant::now()) {
            return Err(Refusal::suspended(&name));
        }
        if let Some(caller) = self.of_token(&password).filter(|caller| caller.name == name) {
            return Ok(Some(caller));
        }
        let suspension = self.suspension;
        if let Some(user) = self.users.get_mut(&name) {
            if user.password == password {
                user.wrong = 0;
                let rights = if user.admin { Rights::Admin } else { Rights::Own };
                return Ok(Some(Caller { name, rights }));
            }
            user.wrong += 1;
            if user.wrong >= TRIES {
                user.wrong = 0;
                self.suspended.insert(name, Instant::now() + suspension);
            }
        }
        Err(Refusal::unauthorized("Bad credentials"))
    }

    fn of_token(&self, token: &str) -> Option<Caller> {
        let claims = self.signer.open(token)?;
        let ended = claims["exp"].as_i64()? <= Timestamp::now().as_second() + self.aged;
        let id = claims["jti"].as_str()?;
        let name = claims["sub"].as_str()?.strip_prefix(SUBJECT)?.to_owned();
        let rights = self.rights(&name, &claims["scp"]);
        (!ended && !self.revoked.contains(id)).then_some(Caller { name, rights })
    }

    fn rights(&self, name: &str, scope: &Value) -> Rights {
        match scope.as_str().unwrap_or_default() {
            "applied-permissions/admin" => Rights::Admin,
            "applied-permissions/user" if self.users.get(name).is_some_and(|user| user.admin) => {
                Rights::Admin
            }
            "applied-permissions/user" => Rights::Own,
            scopes => Rights::Artifacts(scopes.split(' ').filter_map(artifact_scope).collect()),
        }
    }

    pub fn may(&self, caller: &Caller, repository: &str, write: bool) -> bool {
        match &caller.rights {
            Rights::Admin => true,
            Rights::Own => {
                !write && self.users.get(&caller.name).is_some_and(|user| user.reads.contains(repository))
            }
            Rights::Artifacts(scopes) => {
                scopes.iter().any(|(key, writes)| key == repository && (*writes || !write))
            }
        }
    }
}

impl Caller {
    /// What a token with the same rights says.
    pub fn scope(&self) -> String {
        match &self.rights {
            Rights::Admin => "applied-permissions/admin".to_owned(),
            Rights::Own => "applied-permissions/user".to_owned(),
            Rights::Artifacts(scopes) => {
                let text = |(key, writes): &(String, bool)| {
                    format!("artifact:{key}/**:{}", if *writes { "rw" } else { "r" })
                };
                scopes.iter().map(text).collect::<Vec<_>>().join(" ")
            }
        }
    }

    pub fn is_admin(&self) -> bool {
        matches!(self.rights, Rights::Admin)
    }
}

/// `artifact:KEY/**:r` or `…:rw` as the repository and whether it may be written to.
pub fn artifact_scope(scope: &str) -> Option<(String, bool)> {
    let (path, actions) = scope.strip_prefix("artifact:")?.rsplit_once(':')?;
    let key = path.strip_suffix("/**")?;
    let known = !actions.is_empty() && actions.chars().all(|action| "rwdam*".contains(action));
    (known && !key.is_empty()).then(|| (key.to_owned(), actions.contains(['w', '*'])))
}
