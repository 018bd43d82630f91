//! What a namespace may pull, as lists for people; decisions themselves look up one image at a time.

use super::record::{Mode, Name, Visibility};
use super::snapshot::Scope;

/// A space that is bound to the namespace's workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundSpace {
    pub registry: Name,
    pub path: Name,
    pub visibility: Visibility,
    /// What images of it start with, as `harbor.example.com/team-a/`.
    pub images: Vec<String>,
}

/// A registry that the namespace's own workspace integrated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRegistry {
    pub name: Name,
    /// What images of it start with, as `docker.io/acme/`.
    pub images: Vec<String>,
}

impl Scope<'_> {
    /// Whether the namespace is never judged.
    pub fn exempt(&self) -> bool {
        self.exempt
    }

    /// What a denial does here.
    pub fn mode(&self) -> Mode {
        self.policy.mode
    }

    /// Spaces that are bound to the namespace's workspace, public ones too; by registry and path.
    pub fn bound_spaces(&self) -> Vec<BoundSpace> {
        let Some(workspace) = self.workspace else { return Vec::new() };
        let bound = self.snapshot.bound_to(&workspace.name).map(|(registry, path, space)| BoundSpace {
            registry: registry.name().clone(),
            path: path.clone(),
            visibility: space.visibility(),
            images: registry.hosts.iter().map(|h| format!("{}/{path}/", h.as_str())).collect(),
        });
        bound.collect()
    }

    /// Registries that the namespace's workspace integrated, and what each claims.
    pub fn own_registries(&self) -> Vec<OwnRegistry> {
        let Some(workspace) = self.workspace else { return Vec::new() };
        let integrations = &self.snapshot.integrations;
        integrations
            .own(&workspace.name)
            .iter()
            .map(|own| OwnRegistry {
                name: integrations.registry(own.id).name().clone(),
                images: own.prefixes().map(|(host, path)| prefix(host, path)).collect(),
            })
            .collect()
    }
}

fn prefix(host: &str, path: &str) -> String {
    if path.is_empty() { format!("{host}/") } else { format!("{host}/{path}/") }
}
