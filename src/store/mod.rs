//! Where records live: one seam, [`RecordStore`], with an implementation a backend.

pub mod counted;
pub mod embedded;
pub mod kubernetes;
pub mod rules;

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::stream::BoxStream;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::domain::record::{Kind, Name, UnixSeconds};
use crate::types::Document;

/// A user name and password, and whom they may be shown to.
#[derive(Debug, Clone)]
pub struct Credential {
    pub username: String,
    pub password: SecretString,
    /// [`crate::domain::record::Registry::audience`] of the record for which it was given.
    pub audience: String,
}

impl Credential {
    /// User name and password as Basic authentication has them (RFC 7617), and `auth` of a pull secret. Whoever reads it
    /// splits at the first colon, which is why user names hold none.
    pub fn basic(&self) -> SecretString {
        basic(&self.username, &self.password)
    }
}

/// [`Credential::basic`] of a user name and a password.
pub fn basic(username: &str, password: &SecretString) -> SecretString {
    let plain = SecretString::from(format!("{username}:{}", password.expose_secret()));
    BASE64_STANDARD.encode(plain.expose_secret()).into()
}

/// Where pullgate may have made accounts at a registry, and how to get there to remove them. It outlives the registry's
/// record, with a copy of the credential, until nothing is left there.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub registry: Name,
    /// The registry's spec when it was last worked with.
    pub spec: Value,
    pub credential: Credential,
    /// By the registry's own numbers of its spaces, 0 for itself: until when the last account there lives, in Unix seconds.
    pub places: BTreeMap<i64, UnixSeconds>,
}

/// What becomes of the credential beside a written registry.
#[derive(Debug, Clone)]
pub enum CredentialChange {
    Keep,
    Set(Credential),
    Remove,
}

/// What must be true of the stored record for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// There is none of that name.
    Absent,
    /// It has this version.
    Version(String),
}

/// A change of the store, as its watchers see it.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Everything follows anew, as `Put`s, until `Synced`: at the start, and after a gap.
    Restarted,
    /// All that was there at `Restarted` has been told.
    Synced,
    Put(Document),
    Deleted(Kind, Name),
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// In the order of their names.
    pub items: Vec<Document>,
    /// Whether more follow after the last one.
    pub more: bool,
}

/// What a store could not do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("there is no {} named {name}", .kind.as_str())]
    NotFound { kind: Kind, name: Name },
    #[error("a {} named {name} is there already", .kind.as_str())]
    Exists { kind: Kind, name: Name },
    #[error("{} {name} was changed by somebody else in the meantime; read it again", .kind.as_str())]
    Changed { kind: Kind, name: Name },
    /// The record breaks a rule that is kept where it is stored; the text says which, for whoever wrote it.
    #[error("{} {name} was refused: {text}", .kind.as_str())]
    Refused { kind: Kind, name: Name, text: String },
    /// There is no room for it, on a disk or within a quota of the cluster. As of all that follow, the text says what and
    /// what to do.
    #[error("{0}")]
    Full(String),
    /// The file or its file system takes no writes.
    #[error("{0}")]
    ReadOnly(String),
    /// What is stored cannot be read.
    #[error("{0}")]
    Damaged(String),
    /// A Secret in which it would be kept is not pullgate's.
    #[error(
        "Secret {secret} in namespace {namespace} belongs to something else; name another one, or remove it"
    )]
    Taken { namespace: String, secret: String },
    /// The cluster does not let pullgate do it.
    #[error("{0}")]
    Forbidden(String),
    /// The server has too much to do.
    #[error("{0}")]
    Busy(String),
    /// The store's file or server is at fault in another way.
    #[error("{0}")]
    Unavailable(String),
}

impl StoreError {
    /// Whether the store failed; otherwise it answered, with a no.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::Changed { .. }
            | Self::Refused { .. }
            | Self::Taken { .. } => false,
            Self::Full(_)
            | Self::ReadOnly(_)
            | Self::Damaged(_)
            | Self::Forbidden(_)
            | Self::Busy(_)
            | Self::Unavailable(_) => true,
        }
    }
}

/// The one seam between pullgate and where its records are kept.
#[async_trait]
pub trait RecordStore: Send + Sync + 'static {
    /// Everything, and then every change in its order. The stream ends only with the store; a watcher that fell
    /// behind gets `Restarted` again. Acknowledged writes are seen by every watcher.
    fn watch(&self) -> BoxStream<'static, Result<Event, StoreError>>;

    /// One record; `None` where there is none.
    async fn get(&self, kind: Kind, name: &str) -> Result<Option<Document>, StoreError>;

    /// Up to `limit` records of a kind whose names come after `after`, by name.
    async fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> Result<Page, StoreError>;

    /// Writes one record and what belongs to it in one step, durably before it returns. `version`, `created`,
    /// `generation`, `uid` and `owner` of the given document are ignored; the stored one is returned.
    async fn put(
        &self,
        document: Document,
        precondition: Precondition,
        credential: CredentialChange,
    ) -> Result<Document, StoreError>;

    /// Removes a record at this version, its credential, and the robot accounts that belong to it; with a registry its
    /// spaces, invalid ones too.
    async fn delete(&self, kind: Kind, name: &str, version: &str) -> Result<(), StoreError>;

    /// Lets a space of which no owner is recorded go with the registry that it names, whoever removes that one.
    async fn adopt(&self, space: &str) -> Result<(), StoreError>;

    /// A stored credential; `None` where there is none.
    async fn credential(&self, id: &CredentialId) -> Result<Option<Credential>, StoreError>;

    /// Writes many records, each as [`Self::put`] does without a credential; what became of them, in their order. May
    /// take several steps, each of them durable before the next.
    async fn put_all(&self, documents: Vec<(Document, Precondition)>) -> Vec<Result<Document, StoreError>>;

    /// Stores or removes the robot account of a workspace on a registry. It goes with either record. Watchers see
    /// nothing of it.
    async fn set_robot(&self, robot: &RobotId, credential: Option<Credential>) -> Result<(), StoreError>;

    /// The robot accounts of a registry that a credential is stored of, in their order.
    async fn robots(&self, registry: &str) -> Result<Vec<RobotId>, StoreError>;

    /// Where accounts may be, of all registries, those too that are recorded no more.
    async fn ledgers(&self) -> Result<Vec<Ledger>, StoreError>;

    /// Remembers where accounts of a registry may be, for the audience of its credential; without any place it is forgotten.
    async fn set_ledger(&self, ledger: &Ledger) -> Result<(), StoreError>;

    /// Before the end: gathers what is stored where a copy is taken from. What was acknowledged is durable without.
    async fn gather(&self) {}

    /// What tells this installation from others that use the same registries; never another one.
    async fn installation(&self) -> Result<String, StoreError>;
}
