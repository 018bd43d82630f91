//! The pull secret that a namespace should have: which entries, and whose credential each one carries.
//!
//! Only names of credentials here; the passwords join at the edge.

use std::collections::BTreeMap;
use std::fmt;

use super::image::DEFAULT_DOMAIN;
use super::record::{Name, PullCredentials, Visibility};
use super::snapshot::{RegistryEntry, Scope};

/// The Secret's name in every namespace, and the reference that pods get.
pub const PULL_SECRET: &str = "pullgate-pull";

/// Whose credential an entry carries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialId {
    /// The credential with which the registry was integrated.
    Integration { registry: Name },
    /// A credential that the registry made for a workspace.
    Robot(RobotId),
}

/// The pull-only account of a workspace on a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RobotId {
    pub registry: Name,
    pub workspace: Name,
    /// The one space that it covers; `None`: all that are bound to the workspace.
    pub space: Option<Name>,
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integration { registry } => write!(f, "the credential of registry {registry}"),
            Self::Robot(RobotId { registry, workspace, space: None }) => {
                write!(f, "the robot account of workspace {workspace} on registry {registry}")
            }
            Self::Robot(RobotId { registry, workspace, space: Some(space) }) => {
                write!(
                    f,
                    "the robot account of workspace {workspace} for space {space} of registry {registry}"
                )
            }
        }
    }
}

impl<'s> Scope<'s> {
    /// Whether the namespace is entitled to at least one credential, so that its pods need the reference.
    pub fn entitled(&self) -> bool {
        !self.snapshot.integrations.cluster_wide.is_empty() || self.workspace.is_some_and(|w| w.entitled)
    }

    /// Whether a new pod gets the reference; `needed`: an image of it needs a credential.
    pub fn injects(&self, needed: bool) -> bool {
        let always = || self.workspace.is_none_or(|w| w.injection.is_always());
        self.entitled() && !self.exempt && (needed || always())
    }

    /// The workspace that the namespace belongs to.
    pub fn workspace(&self) -> Option<&'s str> {
        self.workspace.map(|w| w.name.as_str())
    }

    /// The entries of the namespace's pull secret. The key is what the kubelet's keyring matches, by bytes and
    /// after it cut a leading `/v2/`: `HOST/v2/SPACE/` for a space, `HOST/v2/` for a whole host. Without the
    /// slash at its end `h/v2/team` would match `h/team-evil` (pkg/credentialprovider/keyring.go).
    pub fn pull_entries(&self) -> BTreeMap<String, CredentialId> {
        let mut entries = BTreeMap::new();
        let integrations = &self.snapshot.integrations;
        for id in &integrations.cluster_wide {
            let registry = integrations.registry(*id);
            for host in &registry.hosts {
                entries.insert(key(host.as_str(), ""), integration(registry));
            }
        }
        let Some(workspace) = self.workspace else { return entries };
        for (registry, path, space) in self.snapshot.bound_to(&workspace.name) {
            if !registry.has_credential || space.visibility() == Visibility::Public {
                continue;
            }
            let credential = pulls(registry, &workspace.name, registry.robot_per_space.then_some(path));
            for host in &registry.hosts {
                entries.insert(key(host.as_str(), path), credential.clone());
            }
        }
        for own in integrations.own(&workspace.name) {
            let registry = integrations.registry(own.id);
            if !registry.has_credential {
                continue;
            }
            let credential = pulls(registry, &workspace.name, None);
            for (host, path) in own.prefixes() {
                entries.entry(key(host, path)).or_insert_with(|| credential.clone());
                // The repository of exactly that path. To the kubelet it is a prefix by bytes, so that the credential goes
                // to the same registry for a neighbour of a longer name too; that widens no decision. Docker Hub has no
                // repository of one segment: `acme` is `library/acme` there.
                if path.contains('/') || (!path.is_empty() && host != DEFAULT_DOMAIN) {
                    entries.entry(format!("{host}/v2/{path}")).or_insert_with(|| credential.clone());
                }
            }
        }
        entries
    }
}

/// What a workspace pulls with from a registry. `space`: the one that a robot account covers, where it covers one.
fn pulls(registry: &RegistryEntry, workspace: &Name, space: Option<&Name>) -> CredentialId {
    match registry.pull_credentials {
        PullCredentials::Integration => integration(registry),
        PullCredentials::Robot => CredentialId::Robot(RobotId {
            registry: registry.name().clone(),
            workspace: workspace.clone(),
            space: space.cloned(),
        }),
    }
}

fn integration(registry: &RegistryEntry) -> CredentialId {
    CredentialId::Integration { registry: registry.name().clone() }
}

fn key(host: &str, path: &str) -> String {
    if path.is_empty() { format!("{host}/v2/") } else { format!("{host}/v2/{path}/") }
}
