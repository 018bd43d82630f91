//! A record's object as it is read: only what a record is made of. The rest, and above all `managedFields`, of which
//! there is more than of everything else together, is skipped and never kept.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::Resource;
use kube::core::ObjectMeta;
use kube::discovery::ApiResource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::owners::registry_among;
use crate::domain::record::{Kind, Name};
use crate::types::Document;

/// Read only: writing it back would lose what it leaves out.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RecordObject {
    #[serde(deserialize_with = "needed")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Needed {
    name: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    generation: Option<i64>,
    uid: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
}

fn needed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let Needed { name, resource_version, creation_timestamp, generation, uid, owner_references } =
        Needed::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name,
        resource_version,
        creation_timestamp,
        generation,
        uid,
        owner_references,
        ..ObjectMeta::default()
    })
}

impl RecordObject {
    pub fn name(&self) -> Name {
        self.metadata.name.as_deref().unwrap_or_default().into()
    }

    pub fn into_document(self, kind: Kind) -> Document {
        let owner = registry_among(&self.metadata);
        Document {
            kind,
            name: self.name(),
            version: self.metadata.resource_version.unwrap_or_default(),
            created: self.metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
            generation: self.metadata.generation.unwrap_or_default(),
            owner,
            uid: self.metadata.uid.unwrap_or_default().into(),
            spec: self.spec,
            status: self.status,
        }
    }
}

impl Resource for RecordObject {
    type DynamicType = ApiResource;
    type Scope = kube::core::ClusterResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
