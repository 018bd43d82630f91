//! Who calls, and what they may do: bearer tokens with roles, from a tokens file.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use axum::http::{HeaderMap, header};
use serde::Deserialize;

use super::error::ApiError;
use crate::domain::record::{Entry, Kind, Name, Owner, Record};

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

/// Whoever presented a known token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub name: String,
    pub role: Role,
    /// The caller's own workspaces; an Admin needs none.
    pub workspaces: Vec<Name>,
    /// May see the passwords of pull secrets.
    pub reveal: bool,
}

/// The tokens that are known. Holds their digests only.
#[derive(Debug, Default)]
pub struct Tokens(HashMap<[u8; SHA256_OUTPUT_LEN], Arc<Caller>>);

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
        let mut known: HashMap<_, Arc<Caller>> = HashMap::new();
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
            let caller = caller(token).map_err(|(field, message)| fault(field, message))?;
            if let Some(other) = known.insert(digest, Arc::new(caller)) {
                return Err(fault("sha256", format!("{} has the same token", other.name)));
            }
        }
        Ok(Self(known))
    }

    /// Who holds the bearer token of a request.
    ///
    /// Found by its digest: how long that takes tells nothing of a stored token, since nobody can choose the
    /// digest of a guess.
    ///
    /// # Errors
    /// `Unauthenticated` for a missing, malformed, repeated or unknown one alike.
    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Caller>, ApiError> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(ApiError::Unauthenticated);
        };
        let token = value.to_str().ok().and_then(|v| v.split_once(' '));
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, t)| t.trim());
        let presented = digest(&SHA256, token.ok_or(ApiError::Unauthenticated)?.as_bytes());
        self.0.get(presented.as_ref()).cloned().ok_or(ApiError::Unauthenticated)
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

fn caller(token: Token) -> Result<Caller, (&'static str, String)> {
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
    Ok(Caller { name, role, workspaces, reveal })
}

fn read_digest(hex: &str) -> Option<[u8; SHA256_OUTPUT_LEN]> {
    let digits: Vec<u8> =
        hex.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d)).collect();
    if digits.len() == 2 * SHA256_OUTPUT_LEN { bytes.try_into().ok() } else { None }
}

/// The workspace that a record belongs to; `None`: the platform.
fn workspace_of<'r>(name: &'r str, record: &'r Record) -> Option<&'r str> {
    match record {
        Record::Workspace(_) => Some(name),
        Record::Registry(Entry::Valid(registry)) => match &registry.owner {
            Owner::Workspace(workspace) => Some(workspace),
            Owner::Platform => None,
        },
        Record::Registry(Entry::Invalid(invalid)) => invalid.workspace.as_deref(),
        Record::Space(_) | Record::PullPolicy(_) => None,
    }
}

impl Caller {
    /// Whether the caller is a platform admin.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whether the caller is an Admin or holds a role in `workspace`.
    pub fn reaches(&self, workspace: Option<&str>) -> bool {
        self.is_admin() || workspace.is_some_and(|w| self.workspaces.iter().any(|own| own == w))
    }

    /// Whether the caller may know that the record exists.
    pub(super) fn may_see(&self, name: &str, record: &Record) -> bool {
        self.reaches(workspace_of(name, record))
    }

    /// Refuses kinds that are none of the caller's business, whatever records there are.
    pub(super) fn check_kind(&self, kind: Kind) -> Result<(), ApiError> {
        match kind {
            Kind::Registry | Kind::Workspace => Ok(()),
            Kind::RegistrySpace | Kind::PullPolicy => self.check_admin(),
        }
    }

    /// Refuses everybody but Admins.
    pub(super) fn check_admin(&self) -> Result<(), ApiError> {
        if self.is_admin() {
            return Ok(());
        }
        Err(ApiError::Forbidden(format!(
            "this needs the role Admin; {} has {}",
            self.name,
            self.role.as_str()
        )))
    }

    /// Refuses to write a kind of record at all, whatever records there are.
    pub(super) fn check_write_kind(&self, kind: Kind) -> Result<(), ApiError> {
        if kind == Kind::Registry && self.role == Role::WorkspaceAdmin { Ok(()) } else { self.check_admin() }
    }

    /// Refuses to write a record: everything is an Admin's, a workspace's registries are its admins'
    /// too. The words are the same whether or not the workspace that `record` names exists.
    pub(super) fn check_write(&self, name: &str, record: &Record) -> Result<(), ApiError> {
        if self.is_admin() {
            return Ok(());
        }
        if matches!(record, Record::Registry(_))
            && self.role == Role::WorkspaceAdmin
            && self.may_see(name, record)
        {
            return Ok(());
        }
        Err(ApiError::Forbidden(
            "a WorkspaceAdmin integrates registries for its own workspaces only; set spec.workspace to one of them"
                .to_owned(),
        ))
    }

    /// Refuses to hand a record to another owner, which only an Admin does.
    pub(super) fn check_move(&self, name: &str, from: &Record, to: &Record) -> Result<(), ApiError> {
        if self.is_admin() || workspace_of(name, from) == workspace_of(name, to) {
            return Ok(());
        }
        Err(ApiError::Forbidden("only an Admin changes which workspace a registry belongs to".to_owned()))
    }
}

/// Whether two versions of a record belong to the same owner.
pub(super) fn same_owner(name: &str, one: &Record, other: &Record) -> bool {
    workspace_of(name, one) == workspace_of(name, other)
}
