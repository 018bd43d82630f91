//! Bearer tokens with roles, from a tokens file.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::Deserialize;

use super::auth::{Permission, Target, Verb};
use crate::domain::record::Name;

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Role {
    Admin,
    WorkspaceAdmin,
    WorkspaceEditor,
    WorkspaceViewer,
}

impl Role {
    /// The role as the tokens file spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "Admin",
            Self::WorkspaceAdmin => "WorkspaceAdmin",
            Self::WorkspaceEditor => "WorkspaceEditor",
            Self::WorkspaceViewer => "WorkspaceViewer",
        }
    }
}

/// What the holder of a token is called and may do.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant {
    pub name: String,
    pub role: Role,
    /// The holder's own workspaces; an Admin needs none.
    workspaces: Vec<Name>,
    /// May see the passwords of pull secrets.
    reveal: bool,
}

impl Grant {
    /// Whether the role has this right.
    pub(super) fn allows(&self, permission: &Permission) -> bool {
        let Permission { verb, target, name } = permission;
        let own = name.as_ref().is_some_and(|name| self.workspaces.contains(name));
        let reads = matches!(verb, Verb::Get | Verb::List);
        match (self.role, target) {
            (Role::Admin, Target::PullSecrets) => self.reveal,
            (Role::Admin, _) => true,
            (Role::WorkspaceAdmin, Target::WorkspaceRegistries) => own,
            (_, Target::WorkspaceRegistries | Target::Workspaces) => own && reads,
            (_, Target::Registries | Target::Spaces | Target::Policies | Target::PullSecrets) => false,
        }
    }

    /// Whether the role writes registries at all.
    pub(super) fn writes_registries(&self) -> bool {
        matches!(self.role, Role::Admin | Role::WorkspaceAdmin)
    }
}

/// The tokens that are known. Holds their digests only.
#[derive(Debug, Default)]
pub struct Tokens(HashMap<[u8; SHA256_OUTPUT_LEN], Arc<Grant>>);

/// What is wrong with a tokens file.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// Where, but not what: a parser's message may quote the file.
    #[error("the tokens file is no YAML or JSON that can be read{0}")]
    Syntax(String),
    #[error("the tokens file: {field}: {message}")]
    Entry { field: String, message: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tokens: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    name: String,
    sha256: String,
    role: Role,
    #[serde(default)]
    workspaces: Vec<Name>,
    #[serde(default)]
    reveal: bool,
}

impl Tokens {
    /// Reads a tokens file, YAML or JSON.
    ///
    /// # Errors
    /// Which entry is wrong and what is expected instead.
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| {
            let at = error.location().map(|at| format!(" (line {}, column {})", at.line(), at.column()));
            TokensError::Syntax(at.unwrap_or_default())
        })?;
        let file: File = serde_path_to_error::deserialize(&value).map_err(|error| TokensError::Entry {
            field: error.path().to_string(),
            message: wrong_type(error.inner()),
        })?;
        let mut known: HashMap<_, Arc<Grant>> = HashMap::new();
        for (i, token) in file.tokens.into_iter().enumerate() {
            let fault = |field: &str, message: String| TokensError::Entry {
                field: format!("tokens[{i}].{field}"),
                message,
            };
            let digest = read_digest(&token.sha256).ok_or_else(|| {
                let expected =
                    "write the SHA-256 of the token as 64 hexadecimal digits, never the token itself";
                fault("sha256", expected.to_owned())
            })?;
            let grant = grant(token).map_err(|(field, message)| fault(field, message))?;
            if let Some(other) = known.insert(digest, Arc::new(grant)) {
                return Err(fault("sha256", format!("{} has the same token", other.name)));
            }
        }
        Ok(Self(known))
    }

    /// What the holder of a token may do; `None` for an unknown one.
    ///
    /// Found by its digest: how long that takes tells nothing of a stored token, since nobody can choose the
    /// digest of a guess.
    pub(super) fn holder(&self, token: &str) -> Option<Arc<Grant>> {
        self.0.get(digest(&SHA256, token.as_bytes()).as_ref()).cloned()
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody can call.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// serde's message, unless it quotes a value: a token may have been written where its digest belongs.
fn wrong_type(error: &serde_json::Error) -> String {
    let message = error.to_string();
    if message.starts_with("invalid") { "this has the wrong type".to_owned() } else { message }
}

fn grant(token: Token) -> Result<Grant, (&'static str, String)> {
    let Token { name, role, workspaces, reveal, .. } = token;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(("name", "give it a name, by which the audit log calls it".to_owned()));
    }
    if role == Role::Admin && !workspaces.is_empty() {
        return Err(("workspaces", "an Admin is not limited to workspaces; leave them out".to_owned()));
    }
    if role != Role::Admin && workspaces.is_empty() {
        return Err(("workspaces", format!("role {} needs at least one workspace", role.as_str())));
    }
    if reveal && role != Role::Admin {
        return Err(("reveal", "only an Admin's token may reveal passwords".to_owned()));
    }
    Ok(Grant { name, role, workspaces, reveal })
}

fn read_digest(hex: &str) -> Option<[u8; SHA256_OUTPUT_LEN]> {
    let digits: Vec<u8> =
        hex.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d)).collect();
    if digits.len() == 2 * SHA256_OUTPUT_LEN { bytes.try_into().ok() } else { None }
}
