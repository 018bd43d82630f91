//! Pull policies: rules of an administrator for some namespaces, beside who may pull what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Host, Name, PathPrefix};

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
        Some(Self { host: Host::parse(host)?.as_str().into(), path })
    }

    /// Whether an image of this domain and path lies within, by whole segments.
    pub fn covers(&self, domain: &str, path: &str) -> bool {
        self.host == domain && self.path.as_ref().is_none_or(|prefix| prefix.covers(path))
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
