//! Registries: what pullgate asks of them and tells them, for every type behind one seam.
//!
//! Owns the protocols and their traps. It keeps nothing and decides nothing: what was found is recorded by the
//! controllers, and decisions come from the records.

pub mod address;
pub mod artifactory;
mod breaker;
pub mod clients;
pub mod distribution;
pub mod docker;
pub mod fault;
pub mod harbor;
pub mod http;
pub mod http_clients;
pub mod metadata;
pub mod trust;
pub mod words;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use self::artifactory::Artifactory;
use self::docker::Docker;
use self::fault::Fault;
use self::harbor::Harbor;
use self::harbor::rights::Rights;
use self::http::{Http, Target};
use self::http_clients::HttpClients;
use crate::domain::record::{Name, RegistryType, Visibility};

/// Hears how many spaces were read, of how many.
pub type OnProgress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// The one seam between pullgate and the types of registries.
#[async_trait]
pub trait RegistryClient: Send + Sync {
    /// Whether it can be worked with, and how far the account's rights go.
    async fn check(&self) -> Result<Checked, Fault>;

    /// What [`check`](Self::check) would say, where nothing changed since it and [`spaces`](Self::spaces) last answered;
    /// `None` where only they can tell. Nothing is asked as the own account but with `logs_in`.
    async fn unchanged(&self, _logs_in: bool) -> Option<Checked> {
        None
    }

    /// Every space that the account sees, each once; `None` where registries of this type have none.
    async fn spaces(&self, progress: OnProgress<'_>) -> Result<Option<Vec<Found>>, Fault>;

    /// What it holds, as far as it tells an account of this tier.
    async fn usage(&self, tier: AccountRole, spaces: &[Found]) -> Result<Usage, Fault>;

    /// The digest of what a tag or digest of a repository names; `None` where there is no such thing. All are valid
    /// parts of an image reference. The host tells where in the registry the repository is, never whom to ask.
    async fn resolve(&self, host: &str, repository: &str, reference: &str) -> Result<Option<String>, Fault>;

    /// What only a Harbor can: projects and robot accounts.
    fn harbor(&self) -> Option<&Harbor> {
        None
    }

    /// What only an Artifactory can: tokens, and several ways for docker.
    fn artifactory(&self) -> Option<&Artifactory> {
        None
    }
}

/// The client of a registry, with connections of its own. Connects to nothing yet.
///
/// # Errors
/// An address that may not be reached, or settings that cannot be used.
pub fn client(kind: RegistryType, target: Target) -> Result<Arc<dyn RegistryClient>, Fault> {
    client_among(kind, target, &HttpClients::default())
}

/// As [`client`], which shares connections with the others of `clients`.
///
/// # Errors
/// As [`client`].
pub fn client_among(
    kind: RegistryType,
    target: Target,
    clients: &HttpClients,
) -> Result<Arc<dyn RegistryClient>, Fault> {
    let http = Http::new(target, clients)?;
    Ok(match kind {
        RegistryType::Harbor => Arc::new(Harbor::new(http)),
        RegistryType::Docker => Arc::new(Docker::new(http)),
        RegistryType::Artifactory => Arc::new(Artifactory::new(http)),
    })
}

/// What a registry said when it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Of its software; empty where it does not tell.
    pub version: String,
    pub tier: AccountRole,
    /// It takes no changes for now.
    pub read_only: bool,
    /// Names of its parts that are not well.
    pub unhealthy: Vec<String>,
    /// Whether somebody without a password may pull; `None` where that is asked by space.
    pub anonymous: Option<bool>,
}

/// How far the integrating account's rights go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountRole {
    /// Everything.
    SystemAdmin,
    /// What its roles in the spaces allow.
    User,
    /// A robot account of a Harbor, with what it was allowed.
    Robot(Rights),
    /// There is none.
    Anonymous,
}

/// A space that a registry has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub path: Name,
    /// The registry's own number, where it has one: another one under the same path is another space.
    pub id: Option<i64>,
    /// `None` where the registry has no such flag.
    pub visibility: Option<Visibility>,
    pub repositories: Option<i64>,
    /// A cache of another registry.
    pub proxy_cache: bool,
}

/// What a registry holds, as far as it tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes.
    pub storage: Option<i64>,
    pub repositories: Option<i64>,
    pub tags: Option<i64>,
    /// How long a token lives that somebody pulls with, in seconds.
    pub token_life: Option<i64>,
    /// Bytes by the registry's own number of the space.
    pub by_space: HashMap<i64, i64>,
}
