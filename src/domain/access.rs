//! What a namespace may pull, as lists for people; decisions themselves look up one image at a time.

use super::record::{Mode, Name, Visibility};
use super::snapshot::{Access, Scope};

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

    /// Spaces that are bound to the namespace's workspace, public ones too. Walks every space.
    pub fn bound_spaces(&self) -> Vec<BoundSpace> {
        let Some(workspace) = self.workspace else { return Vec::new() };
        let snapshot = self.snapshot;
        let mut bound = Vec::new();
        for space in snapshot.spaces.iter().filter(|s| s.bound.contains(&workspace)) {
            let registry = &snapshot.registries[space.registry as usize];
            if registry.access == Access::Spaces {
                bound.push(BoundSpace {
                    registry: registry.name.clone(),
                    path: space.path.clone(),
                    visibility: space.visibility,
                    images: registry
                        .hosts
                        .iter()
                        .map(|h| format!("{}/{}/", h.as_str(), space.path))
                        .collect(),
                });
            }
        }
        // The table's own order differs from one snapshot to the next.
        bound.sort_by(|a, b| (&a.registry, &a.path).cmp(&(&b.registry, &b.path)));
        bound
    }

    /// Registries that the namespace's workspace integrated, and what each claims.
    pub fn own_registries(&self) -> Vec<OwnRegistry> {
        let Some(workspace) = self.workspace else { return Vec::new() };
        let registries = &self.snapshot.workspaces[workspace as usize].registries;
        registries
            .iter()
            .map(|own| OwnRegistry {
                name: self.snapshot.registries[own.id as usize].name.clone(),
                images: own.prefixes().map(|(host, path)| prefix(host, path)).collect(),
            })
            .collect()
    }
}

fn prefix(host: &str, path: &str) -> String {
    if path.is_empty() { format!("{host}/") } else { format!("{host}/{path}/") }
}
