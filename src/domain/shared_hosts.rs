//! Hosts that a workspace cannot claim as a whole, since everybody's images are there.

use std::sync::Arc;

use super::canonical_host::canonical_host;
use super::record::{Host, Name};

/// What counts as shared where an administrator names nothing else.
pub const DEFAULT: [&str; 14] = [
    "docker.io",
    "gcr.io",
    "ghcr.io",
    "icr.io",
    "k8s.gcr.io",
    "lscr.io",
    "mcr.microsoft.com",
    "nvcr.io",
    "public.ecr.aws",
    "quay.io",
    "registry.access.redhat.com",
    "registry.gitlab.com",
    "registry.k8s.io",
    "registry.redhat.io",
];

/// Well-known hosts that many share. A workspace claims paths of them, never the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedHosts(Arc<[Name]>);

impl SharedHosts {
    /// Those of a list, in any spelling.
    pub fn new<T: AsRef<str>>(hosts: impl IntoIterator<Item = T>) -> Self {
        Self(hosts.into_iter().map(|host| canonical_host(host.as_ref()).into()).collect())
    }

    /// Whether a host is among them.
    pub fn contains(&self, host: &Host) -> bool {
        self.0.contains(&host.canonical())
    }
}

impl Default for SharedHosts {
    fn default() -> Self {
        Self::new(DEFAULT)
    }
}
