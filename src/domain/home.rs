//! Which registry and space an image comes from: for administrators, since it names what tenants must not learn.

use super::canonical_host::canonical_host;
use super::image::ImageRef;
use super::record::Visibility;
use super::snapshot::Snapshot;

/// What the records say of the place that an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home<'s> {
    /// Nobody integrated it.
    Unmanaged,
    /// The platform's registry of that name.
    Platform { registry: &'s str, space: Option<SpaceHome<'s>> },
    /// Registries of workspaces that claim it, by workspace; no workspace where the claim holds for nobody.
    Workspaces(Vec<(Option<&'s str>, &'s str)>),
}

/// What the records say of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceHome<'s> {
    /// `None`: no record has it.
    pub visibility: Option<Visibility>,
    /// Workspaces whose namespaces may pull.
    pub bound: Vec<&'s str>,
}

impl Snapshot {
    /// Where an image comes from.
    pub fn home(&self, image: &ImageRef<'_>) -> Home<'_> {
        let Some(host) = self.hosts.get(&canonical_host(image.domain)) else { return Home::Unmanaged };
        let workspace = |id: u32| self.workspaces[id as usize].name.as_str();
        let registry = |id: u32| self.registries[id as usize].name.as_str();
        if let Some(id) = host.platform {
            let named = image.first_segment().filter(|_| self.registries[id as usize].divided());
            let space = named.map(|path| {
                let found = self.space(id, path);
                SpaceHome {
                    visibility: found.map(|s| s.visibility),
                    bound: found.map(|s| s.bound.iter().map(|w| workspace(*w)).collect()).unwrap_or_default(),
                }
            });
            return Home::Platform { registry: registry(id), space };
        }
        let claims = self.hosts.claims(host, &image.path);
        let mut claims: Vec<_> = claims.map(|c| (c.workspace.map(workspace), registry(c.registry))).collect();
        claims.sort_unstable();
        claims.dedup();
        if claims.is_empty() { Home::Unmanaged } else { Home::Workspaces(claims) }
    }
}
