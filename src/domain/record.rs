//! What administrators record: registries, spaces, workspaces and pull policies, as validated values.
//!
//! [`Records`] holds every record of one moment. An invalid record stays in it as [`Entry::Invalid`], because
//! dropping it could turn its hosts into unmanaged ones and so widen access.

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::CompactString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use utoipa::ToSchema;

use super::image::{canonical_host, is_domain, is_path};

/// A record's, namespace's or workspace's name; short ones live inline.
pub type Name = CompactString;

/// Seconds since the Unix epoch.
pub type UnixSeconds = i64;

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

/// What kind of server a registry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub enum RegistryType {
    Harbor,
    /// A plain distribution registry; it has no spaces.
    Docker,
    Artifactory,
}

/// Whether a space's images are for every namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub enum Visibility {
    Public,
    Private,
}

/// Which credential a namespace gets for a platform Harbor's private spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub enum PullCredentials {
    /// A pull-only robot account of the workspace.
    Robot,
    /// The integration's own credential: only where the record says so, it leaves the control plane.
    Integration,
}

/// An image host as an administrator spelled it: the spelling that images must use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host(CompactString);

impl Host {
    /// Reads `host[:port]`; `None` where no image reference could name it.
    pub fn parse(text: &str) -> Option<Self> {
        // `index.docker.io` is rewritten before any comparison, and a host without dot, port or upper case is
        // read as a path segment: neither could ever match an image.
        let named =
            text == "localhost" || text.bytes().any(|b| matches!(b, b'.' | b':') || b.is_ascii_uppercase());
        (named && text != "index.docker.io" && is_domain(text)).then(|| Self(text.into()))
    }

    /// The registered spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form by which any spelling of this host is recognised.
    pub fn canonical(&self) -> Name {
        canonical_host(&self.0).into()
    }
}

/// Whole path segments that something covers: `acme` covers `acme/app`, never `acme-evil/app`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(CompactString);

impl PathPrefix {
    /// Reads `acme`, `acme/` or `acme/team`; `None` where no repository path could start so.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_suffix('/').unwrap_or(text);
        is_path(bare).then(|| Self(bare.into()))
    }

    /// The segments, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Number of segments, at least one.
    pub fn depth(&self) -> usize {
        self.0.split('/').count()
    }
}

/// Who integrated a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    Platform,
    Workspace(Name),
}

/// The integration of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    pub created: UnixSeconds,
    pub kind: RegistryType,
    pub owner: Owner,
    /// Scheme, host and port of the API, as `https://harbor.example.com`.
    pub url: String,
    /// Never empty.
    pub hosts: SmallVec<[Host; 1]>,
    /// What a workspace claims of its hosts; empty: everything.
    pub paths: Vec<PathPrefix>,
    /// Docker with a password only: declared to be for every namespace.
    pub declared_public: bool,
    /// Whether a credential is stored for this registry.
    pub has_credential: bool,
    pub pull_credentials: PullCredentials,
    /// What an anonymous probe of a Docker registry found; `None`: not probed yet.
    pub anonymous_pull: Option<bool>,
}

impl Registry {
    /// Whom a stored password may be shown to: the API's address and the image hosts, on behalf of the owner. A
    /// credential stored for another audience is void, so that no change of a record carries the password along.
    pub fn audience(&self) -> String {
        let mut hosts: Vec<_> = self.hosts.iter().map(Host::as_str).collect();
        hosts.sort_unstable();
        let owner = if let Owner::Workspace(name) = &self.owner { name.as_str() } else { "the platform" };
        format!("{} {} for {owner}", self.url, hosts.join(" "))
    }
}

/// A Harbor project or an Artifactory repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    pub registry: Name,
    /// One path segment.
    pub path: Name,
    /// The bindings: workspaces whose namespaces may pull.
    pub workspaces: Box<[Name]>,
    /// What the administrator declares.
    pub visibility: Option<Visibility>,
    /// What the registry last said.
    pub observed: Option<Visibility>,
    pub observed_at: Option<UnixSeconds>,
    /// The project was deleted and made again under its name: bindings rest until an admin confirms them.
    pub suspended: bool,
}

impl Space {
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

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workspace {
    pub created: UnixSeconds,
    pub namespaces: Vec<Name>,
    /// Membership holds only for the namespace UID in `pins`.
    pub pin: bool,
    /// Namespace UIDs that were seen first.
    pub pins: BTreeMap<Name, String>,
    /// When a namespace's claim was first recorded.
    pub claimed: BTreeMap<Name, UnixSeconds>,
}

/// What a denial does.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    ToSchema,
    JsonSchema,
)]
pub enum Mode {
    /// Allowed and counted.
    Audit,
    /// Allowed with a warning.
    Warn,
    /// Denied.
    #[default]
    Enforce,
}

/// Part of a registry host that nobody integrated: `docker.io/library`, `quay.io`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllowedPrefix {
    /// Compared with the image's domain as text.
    pub host: Name,
    /// `None`: everything on the host.
    pub path: Option<PathPrefix>,
}

impl AllowedPrefix {
    /// Reads `HOST` or `HOST/path`; the host must be written out (`docker.io/library`, not `library`).
    pub fn parse(text: &str) -> Option<Self> {
        let (host, path) = match text.split_once('/') {
            Some((host, "")) => (host, None),
            Some((host, path)) => (host, Some(PathPrefix::parse(path)?)),
            None => (text, None),
        };
        Some(Self { host: Host::parse(host)?.0, path })
    }

    /// Whether an image of this domain and path lies within, by whole segments.
    pub fn covers(&self, domain: &str, path: &str) -> bool {
        self.host == domain
            && self.path.as_ref().is_none_or(|prefix| {
                path.strip_prefix(prefix.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }
}

/// What happens to images of registries that nobody integrated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Unmanaged {
    Allow,
    Deny,
    AllowList(Vec<AllowedPrefix>),
}

/// Which namespaces a policy is for; the narrower selection outranks the wider one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    pub namespaces: Vec<Name>,
    pub workspaces: Vec<Name>,
}

impl Selector {
    /// Whether it names nothing and so selects every namespace.
    pub fn is_everything(&self) -> bool {
        self.namespaces.is_empty() && self.workspaces.is_empty()
    }
}

/// A rule set for some namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullPolicy {
    pub selector: Selector,
    pub mode: Mode,
    pub unmanaged: Unmanaged,
    /// Tags that are refused; an image without tag and digest counts as `latest`.
    pub denied_tags: Vec<Name>,
    pub require_digest: bool,
}

impl PullPolicy {
    /// What stands in for a policy that cannot be read: the strictest one, for whom it selects.
    pub fn strictest(selector: Selector) -> Self {
        Self {
            selector,
            mode: Mode::Enforce,
            unmanaged: Unmanaged::Deny,
            denied_tags: Vec::new(),
            require_digest: false,
        }
    }
}

/// A fault of one field, in words for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Problem {
    /// Path of the field, as `spec.imageHosts[0]`.
    pub field: String,
    pub message: String,
}

impl Problem {
    /// A fault of `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
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

/// Records of one kind. Shared, so that the next set copies names and no records: there may be 100,000.
pub type Named<T> = BTreeMap<Name, Arc<Entry<T>>>;

/// Every record of one moment, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    pub registries: Named<Registry>,
    pub spaces: Named<Space>,
    pub workspaces: Named<Workspace>,
    pub policies: Named<PullPolicy>,
    /// UIDs of the namespaces that are known to exist; only pinned workspaces need them.
    pub namespace_uids: BTreeMap<Name, String>,
}

impl Records {
    /// Adds a record, or replaces the one of the same kind and name.
    pub fn put(&mut self, name: Name, record: Record) {
        match record {
            Record::Registry(entry) => drop(self.registries.insert(name, Arc::new(entry))),
            Record::Space(entry) => drop(self.spaces.insert(name, Arc::new(entry))),
            Record::Workspace(entry) => drop(self.workspaces.insert(name, Arc::new(entry))),
            Record::PullPolicy(entry) => drop(self.policies.insert(name, Arc::new(entry))),
        }
    }

    /// Removes a record; one that is not there is no fault.
    pub fn remove(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Registry => drop(self.registries.remove(name)),
            Kind::RegistrySpace => drop(self.spaces.remove(name)),
            Kind::Workspace => drop(self.workspaces.remove(name)),
            Kind::PullPolicy => drop(self.policies.remove(name)),
        }
    }

    /// Number of records of every kind that are invalid.
    pub fn invalid(&self) -> usize {
        fn count<T>(of: &Named<T>) -> usize {
            of.values().filter(|entry| entry.valid().is_none()).count()
        }
        count(&self.registries) + count(&self.spaces) + count(&self.workspaces) + count(&self.policies)
    }
}
