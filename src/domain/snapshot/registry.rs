//! A registry as decisions see it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::short;
use crate::domain::record::{Entry, Host, Name, Owner, PullCredentials, Registry, RegistryType};
use crate::domain::records::Stored;

#[derive(Debug)]
pub(in crate::domain) struct RegistryEntry {
    stored: Arc<Stored<Registry>>,
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
    /// `hosts`: those that it holds. Of an invalid record of the platform the hosts stay managed, and its spaces as they
    /// were recorded.
    pub(super) fn new(stored: Arc<Stored<Registry>>, hosts: SmallVec<[Host; 1]>) -> Self {
        let Entry::Valid(r) = &stored.entry else {
            return Self {
                access: Access::Spaces,
                hosts,
                has_credential: false,
                pull_credentials: PullCredentials::Robot,
                robot_per_space: false,
                discovered_at: 0,
                stored,
            };
        };
        // That no password is stored says nothing of whether one is needed: an anonymous login has to have succeeded.
        let open = if r.has_credential { r.declared_public } else { r.anonymous_pull == Some(true) };
        let access = match (&r.owner, r.kind) {
            (Owner::Workspace(_), _) => Access::Workspace,
            (Owner::Platform, RegistryType::Docker) if open => Access::Everybody,
            (Owner::Platform, RegistryType::Docker) => Access::Password,
            (Owner::Platform, RegistryType::Harbor | RegistryType::Artifactory) => Access::Spaces,
        };
        Self {
            access,
            // A credential for a host that another record holds is for nobody.
            has_credential: r.has_credential && !hosts.is_empty(),
            hosts,
            pull_credentials: r.pull_credentials,
            robot_per_space: r.robot_per_space,
            discovered_at: short(r.discovered_at),
            stored,
        }
    }

    pub(in crate::domain) fn name(&self) -> &Name {
        &self.stored.name
    }

    /// The record, where it is valid.
    pub(in crate::domain) fn record(&self) -> Option<&Registry> {
        self.stored.valid()
    }

    /// Whether it has spaces.
    pub(in crate::domain) fn divided(&self) -> bool {
        self.access == Access::Spaces
    }
}
