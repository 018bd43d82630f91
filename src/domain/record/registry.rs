//! The integration of a registry: where it is, whose it is, and what images call it.

use compact_str::CompactString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use utoipa::ToSchema;

use super::{Name, Small, UnixSeconds};
use crate::domain::canonical_host::{canonical_host, is_docker_hub_alias};
use crate::domain::image::{is_domain, is_path};

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

/// Which credential a namespace gets: for a platform Harbor's private spaces, and for its own workspace's registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub enum PullCredentials {
    /// A pull-only robot account of the workspace, or a token that only pulls.
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
        // A host without dot, port or upper case is read as a path segment, and could never match an image.
        let named =
            text == "localhost" || text.bytes().any(|b| matches!(b, b'.' | b':') || b.is_ascii_uppercase());
        (named && !is_docker_hub_alias(text) && is_domain(text)).then(|| Self(text.into()))
    }

    /// The registered spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the node itself: what is there is what was loaded into it, and differs from node to node.
    pub fn is_node(&self) -> bool {
        let canonical = canonical_host(&self.0);
        canonical == "localhost" || canonical.starts_with("localhost:")
    }

    /// The form by which any spelling of this host is recognised.
    pub fn canonical(&self) -> Name {
        canonical_host(&self.0).into()
    }
}

/// Bytes that the name of a Harbor's project may have.
const PROJECT_MAX: usize = 255;

/// Whether a Harbor takes a text for the name of a project: its own rule, narrower than that of a repository's path.
pub fn is_project_name(text: &str) -> bool {
    text.len() <= PROJECT_MAX
        && text.split(['.', '_', '-']).all(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
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

    /// Whether a repository lies within, by whole segments.
    pub fn covers(&self, path: &str) -> bool {
        path.strip_prefix(self.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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
#[allow(
    clippy::struct_excessive_bools,
    reason = "each says a thing of its own, in the record or in its status"
)]
pub struct Registry {
    pub created: UnixSeconds,
    /// A digest that tells the record from a later one of its name.
    pub uid: Small,
    pub kind: RegistryType,
    pub owner: Owner,
    /// Stands for this record and the addresses it names: what was observed of another one says nothing of it.
    pub identity: Name,
    /// [`Self::identity`] as a number, by which 100,000 spaces say it.
    pub identity_number: Small,
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
    /// What an anonymous probe of a Docker registry found; `None`: not probed yet, and so not public.
    pub anonymous_pull: Option<bool>,
    pub tls: Tls,
    /// Another address that may be sent the credential for a token.
    pub token_realm: Option<String>,
    /// Robot accounts cover one space each, since the integrating account may not make wider ones.
    pub robot_per_space: bool,
    /// It answered, and took the credential: what a workspace claims with it is real.
    pub answered: bool,
    /// When the whole registry was last read, so that what is recorded of its spaces was still true.
    pub discovered_at: Option<UnixSeconds>,
}

/// How a registry's certificate is verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Certificates in PEM that are trusted in place of the system's.
    pub ca: Option<String>,
    /// Any certificate will do.
    pub skip_verify: bool,
}

impl Registry {
    /// Whom a stored password may be shown to: the API's address, the image hosts and the token server, on behalf of the owner. A
    /// credential stored for another audience is void, so that no change of a record carries the password along.
    pub fn audience(&self) -> String {
        let mut hosts: Vec<_> = self.hosts.iter().map(Host::as_str).collect();
        hosts.sort_unstable();
        let owner = if let Owner::Workspace(name) = &self.owner { name.as_str() } else { "the platform" };
        let realm = self.token_realm.as_ref().map(|realm| format!(" with tokens of {realm}"));
        format!("{} {} for {owner}{}", self.url, hosts.join(" "), realm.unwrap_or_default())
    }
}
