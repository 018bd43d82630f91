//! Which registry and space an image comes from: for administrators, since it names what tenants must not learn.

use super::canonical_host::canonical_host;
use super::hosts::Claim;
use super::image::ImageRef;
use super::record::Visibility;
use super::snapshot::{Snapshot, SpaceView};

/// What the records say of the place that an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageOrigin<'s> {
    /// Nobody integrated it.
    Unmanaged,
    /// The platform's registry of that name.
    Platform { registry: &'s str, space: Option<SpaceOrigin<'s>> },
    /// Registries of workspaces that claim it, by workspace; no workspace where the claim holds for nobody.
    Workspaces(Vec<(Option<&'s str>, &'s str)>),
}

/// What the records say of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceOrigin<'s> {
    /// `None`: no record has it.
    pub visibility: Option<Visibility>,
    /// Workspaces whose namespaces may pull.
    pub bound: Vec<&'s str>,
}

impl Snapshot {
    /// Where an image comes from.
    pub fn origin<'s>(&'s self, image: &ImageRef<'_>) -> ImageOrigin<'s> {
        let integrations = &self.integrations;
        let Some(host) = integrations.hosts.get(&canonical_host(image.domain)) else {
            return ImageOrigin::Unmanaged;
        };
        if let Some(id) = host.platform {
            let registry = integrations.registry(id);
            let named = image.first_segment().filter(|_| registry.divided());
            let space = named.map(|path| {
                let found = self.space(registry, path);
                SpaceOrigin {
                    visibility: found.as_ref().map(SpaceView::visibility),
                    bound: found.map(|space| self.bound_names(&space)).unwrap_or_default(),
                }
            });
            return ImageOrigin::Platform { registry: registry.name(), space };
        }
        let claims = integrations.hosts.claims(host, &image.path);
        let mut claims: Vec<_> = claims.map(|claim| self.claimant(claim)).collect();
        claims.sort_unstable();
        claims.dedup();
        if claims.is_empty() { ImageOrigin::Unmanaged } else { ImageOrigin::Workspaces(claims) }
    }

    fn claimant<'s>(&'s self, claim: &'s Claim) -> (Option<&'s str>, &'s str) {
        let registry = self.integrations.registry(claim.registry);
        (claim.workspace.as_deref(), registry.name().as_str())
    }

    fn bound_names<'s>(&self, space: &SpaceView<'s>) -> Vec<&'s str> {
        let mut bound: Vec<_> =
            space.named().filter(|name| self.has_workspace(name) && space.binds(name)).collect();
        bound.sort_unstable();
        bound.dedup();
        bound
    }
}
