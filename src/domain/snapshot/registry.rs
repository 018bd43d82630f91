//! A registry as decisions see it.

use smallvec::SmallVec;

use super::short;
use crate::domain::record::{Host, Name, Owner, PullCredentials, Registry, RegistryType};

#[derive(Debug)]
pub(in crate::domain) struct RegistryEntry {
    pub name: Name,
    pub access: Access,
    pub hosts: SmallVec<[Host; 1]>,
    pub has_credential: bool,
    pub pull_credentials: PullCredentials,
    pub robot_per_space: bool,
    /// See [`Registry::discovered_at`]; 0: never.
    pub discovered_at: u32,
}

/// How a platform registry decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) enum Access {
    /// Every namespace.
    Everybody,
    /// Nobody: it asks for a password that is not declared to be for everybody.
    Password,
    /// By space.
    Spaces,
    /// A workspace's own.
    Workspace,
}

impl RegistryEntry {
    pub(super) fn new(name: &Name, r: &Registry, hosts: SmallVec<[Host; 1]>) -> Self {
        // That no password is stored says nothing of whether one is needed: an anonymous login has to have succeeded.
        let open = if r.has_credential { r.declared_public } else { r.anonymous_pull == Some(true) };
        let access = match (&r.owner, r.kind) {
            (Owner::Workspace(_), _) => Access::Workspace,
            (Owner::Platform, RegistryType::Docker) if open => Access::Everybody,
            (Owner::Platform, RegistryType::Docker) => Access::Password,
            (Owner::Platform, RegistryType::Harbor | RegistryType::Artifactory) => Access::Spaces,
        };
        Self {
            name: name.clone(),
            access,
            // A credential for a host that another record holds is for nobody.
            has_credential: r.has_credential && !hosts.is_empty(),
            hosts,
            pull_credentials: r.pull_credentials,
            robot_per_space: r.robot_per_space,
            discovered_at: short(r.discovered_at),
        }
    }

    /// Whether it has spaces.
    pub(in crate::domain) fn divided(&self) -> bool {
        self.access == Access::Spaces
    }

    /// An invalid record of the platform: its hosts stay managed, and its spaces as they were recorded.
    pub(super) fn unreadable(name: &Name, hosts: SmallVec<[Host; 1]>) -> Self {
        Self {
            name: name.clone(),
            access: Access::Spaces,
            hosts,
            has_credential: false,
            pull_credentials: PullCredentials::Robot,
            robot_per_space: false,
            discovered_at: 0,
        }
    }
}
