//! What goes with what: an object that names its owner is removed with it by the garbage collector, whoever removes the
//! owner, and however.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::ObjectMeta;
use serde_json::Value;

use super::{KubernetesStore, WRITES, code, failure, overtaken};
use crate::domain::record::{Kind, Name};
use crate::store::StoreError;
use crate::types::Document;
use crate::types::v1alpha1::API_VERSION;

/// What names an object as the owner of another.
pub(super) fn owner(kind: Kind, object: &DynamicObject) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: kind.as_str().to_owned(),
        name: object.name_any(),
        uid: object.metadata.uid.clone()?,
        ..OwnerReference::default()
    })
}

/// UID of the registry's record that a space goes with.
pub(super) fn registry_among(metadata: &ObjectMeta) -> Option<Name> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| is_registry(owner)).map(|owner| owner.uid.as_str().into())
}

/// Whichever version of the kind it names.
fn is_registry(owner: &OwnerReference) -> bool {
    let group = API_VERSION.split_once('/').map(|(group, _)| group);
    owner.kind == Kind::Registry.as_str() && owner.api_version.split_once('/').map(|(g, _)| g) == group
}

/// Has an object go with this registry, and with no other one.
fn set_registry(metadata: &mut ObjectMeta, registry: Option<OwnerReference>) {
    let owners = metadata.owner_references.get_or_insert_default();
    owners.retain(|owner| !is_registry(owner));
    owners.extend(registry);
}

/// The registries that spaces of one bulk write go with, each read once.
pub(super) type Registries = BTreeMap<Name, OwnerReference>;

/// Spaces asked for at a time.
const PAGE: u32 = 5_000;

impl KubernetesStore {
    /// The registries that these documents name, where they are spaces. One that is not recorded is left out: its spaces
    /// are adopted once it is.
    pub(super) async fn registries_of<'d>(
        &self,
        documents: impl Iterator<Item = &'d Document>,
    ) -> Result<Registries, StoreError> {
        let mut registries = Registries::new();
        for document in documents.filter(|document| document.kind == Kind::RegistrySpace) {
            let Some(name) = document.spec.get("registry").and_then(Value::as_str) else { continue };
            if !registries.contains_key(name) {
                let found = self.records(Kind::Registry).get_opt(name).await;
                let found = found.map_err(|error| failure(&error))?;
                registries
                    .extend(found.and_then(|found| Some((name.into(), owner(Kind::Registry, &found)?))));
            }
        }
        Ok(registries)
    }

    /// Has a space go with the registry that it names, where that one is recorded.
    pub(super) async fn own(
        &self,
        object: &mut DynamicObject,
        document: &Document,
        registries: Option<&Registries>,
    ) -> Result<(), StoreError> {
        if document.kind != Kind::RegistrySpace {
            return Ok(());
        }
        let read;
        let registries = if let Some(registries) = registries {
            registries
        } else {
            read = self.registries_of([document].into_iter()).await?;
            &read
        };
        let named = document.spec.get("registry").and_then(Value::as_str);
        set_registry(&mut object.metadata, named.and_then(|name| registries.get(name)).cloned());
        Ok(())
    }

    pub(super) async fn adopt_space(&self, name: &str) -> Result<(), StoreError> {
        let kind = Kind::RegistrySpace;
        let found = self.records(kind).get_opt(name).await.map_err(|error| failure(&error))?;
        let Some(mut space) = found else { return Ok(()) };
        let owned = registry_among(&space.metadata).is_some();
        let Some(registry) = space.data["spec"]["registry"].as_str().filter(|_| !owned) else {
            return Ok(());
        };
        let found = self.records(Kind::Registry).get_opt(registry).await.map_err(|error| failure(&error))?;
        let Some(registry) = found else { return Ok(()) };
        set_registry(&mut space.metadata, owner(Kind::Registry, &registry));
        let replaced = self.records(kind).replace(name, &PostParams::default(), &space).await;
        replaced.map(drop).map_err(|error| overtaken(kind, name, &error))
    }

    /// Removes those spaces of a registry's name that are there now and `chosen`, at whatever version they have.
    pub(super) async fn remove_spaces(
        &self,
        registry: &str,
        chosen: impl Fn(&Document) -> bool,
    ) -> Result<(), StoreError> {
        let kind = Kind::RegistrySpace;
        let mut names = Vec::<Name>::new();
        let mut asked = ListParams::default().limit(PAGE);
        loop {
            let page = self.read(kind).list(&asked).await.map_err(|error| failure(&error))?;
            let spaces = page.items.into_iter().map(|object| object.into_document(kind));
            let of_it = spaces.filter(|space| space.spec["registry"] == registry && chosen(space));
            names.extend(of_it.map(|space| space.name));
            let next = page.metadata.continue_.filter(|token| !token.is_empty());
            let Some(next) = next else { break };
            asked = ListParams::default().limit(PAGE).continue_token(&next);
        }
        let api = self.records(kind);
        let remove = async |name: Name| match api.delete(&name, &DeleteParams::default()).await {
            Err(error) if code(&error) != 404 => Err(failure(&error)),
            _ => Ok(()),
        };
        let removed: Vec<_> = stream::iter(names).map(remove).buffer_unordered(WRITES).collect().await;
        removed.into_iter().collect()
    }
}
