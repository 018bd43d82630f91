//! What administrators record: registries, spaces, workspaces and pull policies, as validated values.
//!
//! An invalid record stays among the others as [`Entry::Invalid`], because dropping it could turn its hosts into unmanaged
//! ones and so widen access.

pub mod bounds;
mod policy;
mod registry;

use std::collections::BTreeMap;
use std::fmt;

use compact_str::CompactString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use policy::{AllowedPrefix, Mode, PullPolicy, Selector, Unmanaged};
pub use registry::{
    Host, Owner, PathPrefix, PullCredentials, Registry, RegistryType, Tls, Visibility, is_project_name,
};

/// A record's, namespace's or workspace's name; short ones live inline.
pub type Name = CompactString;

/// Seconds since the Unix epoch.
pub type UnixSeconds = i64;

/// Microseconds since the Unix epoch.
pub type UnixMicroseconds = i64;

/// One of the four kinds of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Registry,
    RegistrySpace,
    Workspace,
    PullPolicy,
}

impl Kind {
    /// All kinds, in the order in which they refer to each other.
    pub const ALL: [Self; 4] = [Self::Workspace, Self::Registry, Self::RegistrySpace, Self::PullPolicy];

    /// The kind as manifests spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "Registry",
            Self::RegistrySpace => "RegistrySpace",
            Self::Workspace => "Workspace",
            Self::PullPolicy => "PullPolicy",
        }
    }
}

/// A Harbor project or an Artifactory repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    pub registry: Name,
    /// [`Registry::uid`] of the record that it goes with; not known where that is not recorded yet.
    pub owner: Small,
    /// One path segment.
    pub path: Name,
    /// The bindings: workspaces whose namespaces may pull.
    pub workspaces: Box<[Name]>,
    /// What the administrator declares.
    pub visibility: Option<Visibility>,
    /// What the registry last said.
    pub observed: Option<Visibility>,
    /// [`Registry::identity_number`] of what was observed; not known where an earlier version observed it and did not say.
    pub observed_of: Small,
    /// Unix seconds.
    pub observed_at: Small,
    /// What the status says: the project was deleted and made again under its name; see [`Self::is_suspended`].
    pub suspended: bool,
    /// The registry says that there is no such project any more.
    pub missing: bool,
    /// It is a cache of another registry, which is asked for what is not in it.
    pub proxy_cache: bool,
    /// The registry's own number of the project that was last seen.
    pub project: CompactOption,
    /// The project that the bindings are for: what was there when they were made, or what an admin confirmed since.
    pub confirmed: CompactOption,
    /// Number of repositories, where the registry tells.
    pub repositories: Small,
    /// Bytes stored, where the registry tells.
    pub storage: CompactOption,
}

impl Space {
    /// Whether it is a space of this record, and not of an earlier one of its name.
    pub fn belongs_to(&self, registry: &Registry) -> bool {
        self.owner == registry.uid || self.owner.get().is_none()
    }

    /// Whether it was observed of `registry`, its record as it is now, and not of another under its name or of another address.
    pub fn is_of(&self, registry: Option<&Registry>) -> bool {
        self.observed_of.get().is_none() || registry.is_some_and(|r| r.identity_number == self.observed_of)
    }

    /// Whether bindings rest until an admin confirms them: the project is not the one that they are for, or it is not known
    /// yet, as after a restore without statuses, which must not confirm what nobody confirmed.
    pub fn is_suspended(&self, registry: Option<&Registry>) -> bool {
        let here = || self.project.get().filter(|_| self.is_of(registry));
        let another = self.confirmed.get().is_some_and(|confirmed| here() != Some(confirmed));
        self.suspended || (another && !self.workspaces.is_empty())
    }

    /// [`Self::effective_visibility`] where it was observed of `registry`; private where not.
    pub fn visibility_in(&self, registry: Option<&Registry>) -> Visibility {
        if self.is_of(registry) { self.effective_visibility() } else { Visibility::Private }
    }

    /// Public only where nothing that is known says otherwise: a declaration does not make a project public
    /// that the registry calls private, nor the other way round.
    pub fn effective_visibility(&self) -> Visibility {
        match (self.visibility, self.observed) {
            (Some(Visibility::Private), _) | (_, Some(Visibility::Private)) | (None, None) => {
                Visibility::Private
            }
            _ => Visibility::Public,
        }
    }
}

/// A number that may not be known, in no more room than the number: there may be 100,000 spaces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CompactOption(i64);

impl CompactOption {
    const NOT: i64 = i64::MIN;

    /// The number; `None` where it is not known.
    pub fn get(self) -> Option<i64> {
        (self.0 != Self::NOT).then_some(self.0)
    }
}

impl Default for CompactOption {
    fn default() -> Self {
        Self(Self::NOT)
    }
}

impl From<Option<i64>> for CompactOption {
    fn from(number: Option<i64>) -> Self {
        Self(number.unwrap_or(Self::NOT))
    }
}

impl fmt::Debug for CompactOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A count, a time in Unix seconds or a short digest that may not be known, in four bytes. Larger ones count as the largest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Small(u32);

impl Small {
    const NOT: u32 = u32::MAX;

    /// The number; `None` where it is not known.
    pub fn get(self) -> Option<i64> {
        (self.0 != Self::NOT).then_some(self.0.into())
    }
}

impl Default for Small {
    fn default() -> Self {
        Self(Self::NOT)
    }
}

impl From<Option<i64>> for Small {
    fn from(number: Option<i64>) -> Self {
        let small = |number: i64| u32::try_from(number.max(0)).unwrap_or(Self::NOT).min(Self::NOT - 1);
        Self(number.map_or(Self::NOT, small))
    }
}

impl fmt::Debug for Small {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// On which pods of a workspace's namespaces the reference to the pull secret is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, JsonSchema)]
pub enum Injection {
    /// On each, where there is a credential: neither an image update nor an ephemeral container could add it later.
    #[default]
    Always,
    /// Where an image of the pod needs a credential, for ServiceAccounts that do not list the secret and may use no other.
    WhenNeeded,
}

impl Injection {
    /// Whether it is the default.
    pub fn is_always(&self) -> bool {
        *self == Self::Always
    }
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workspace {
    pub created: UnixSeconds,
    pub namespaces: Vec<Name>,
    /// Membership holds only for the namespace UID in `pins`.
    pub pin: bool,
    pub injection: Injection,
    /// Namespace UIDs that were seen first.
    pub pins: BTreeMap<Name, String>,
    /// When a namespace's claim was first recorded.
    pub claimed: BTreeMap<Name, UnixMicroseconds>,
}

/// A text of at most `length` characters, with a mark where it was cut.
pub fn shortened(mut text: String, length: usize) -> String {
    if text.len() > length
        && let Some((end, _)) = text.char_indices().nth(length)
    {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A fault of one field, in words for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Problem {
    /// Path of the field, as `spec.imageHosts[0]`.
    pub field: String,
    pub message: String,
}

impl Problem {
    /// A fault of `field`. Whatever is quoted in it, it stays short.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: shortened(field.into(), bounds::MESSAGE),
            message: shortened(message.into(), bounds::MESSAGE),
        }
    }

    /// The first of many faults, and how many more there are.
    pub fn first_of(mut problems: Vec<Self>) -> Vec<Self> {
        let more = problems.len().saturating_sub(bounds::PROBLEMS);
        if more > 0 {
            problems.truncate(bounds::PROBLEMS);
            problems.push(Self::new("spec", format!("and {more} more faults like these")));
        }
        problems
    }
}

/// What can still be told of a record that is invalid, so that it keeps denying what it covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    pub problems: Vec<Problem>,
    /// Hosts that the record names, where it is a registry.
    pub hosts: Vec<Host>,
    /// The workspace that owns it, where it is a workspace's registry.
    pub workspace: Option<Name>,
    /// The registry that it names, where it is a space.
    pub registry: Option<Name>,
    /// As [`Space::owner`].
    pub owner: Small,
    /// Whom it selects, where it is a policy.
    pub selector: Selector,
}

/// A record, or what is left of an invalid one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<T> {
    Valid(T),
    Invalid(Box<Invalid>),
}

impl<T> Entry<T> {
    /// The record, where it is valid.
    pub fn valid(&self) -> Option<&T> {
        match self {
            Self::Valid(record) => Some(record),
            Self::Invalid(_) => None,
        }
    }
}

/// A record of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    Registry(Entry<Registry>),
    Space(Entry<Space>),
    Workspace(Entry<Workspace>),
    PullPolicy(Entry<PullPolicy>),
}

/// Registries that one workspace may have. Each costs the leader a client and a poll, so that tenants must not make any
/// number. Those that are there stay, whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkspaceQuota(pub usize);

impl Default for WorkspaceQuota {
    fn default() -> Self {
        Self(20)
    }
}
