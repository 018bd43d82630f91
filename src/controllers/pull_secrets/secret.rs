//! What a pull secret looks like, and whether one that is there is pullgate's.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{ObjectMeta, Patch, PatchParams};

use crate::credentials::DockerConfig;
use crate::domain::pull_secret::PULL_SECRET;

/// Who applies the Secret, as the API server keeps it beside the object.
const MANAGER: &str = "pullgate";
const TYPE: &str = "kubernetes.io/dockerconfigjson";
const CONTENT: &str = ".dockerconfigjson";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

type Digest = [u8; SHA256_OUTPUT_LEN];

/// A Secret as it is there, without what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub uid: String,
    pub version: String,
    /// Whether pullgate made it: only then it is touched.
    pub ours: bool,
    /// It has another type or was declared immutable: it can only be made anew.
    pub unchangeable: bool,
    digest: Digest,
}

impl Found {
    pub fn read(secret: &Secret) -> Self {
        let managers = secret.metadata.managed_fields.iter().flatten();
        let mut managers = managers.filter(|entry| entry.manager.as_deref() == Some(MANAGER));
        Self {
            uid: secret.uid().unwrap_or_default(),
            version: secret.resource_version().unwrap_or_default(),
            // A label can be copied with the rest of a manifest; who applied an object is the API server's own note.
            ours: managers.any(|entry| entry.operation.as_deref() == Some("Apply")),
            unchangeable: secret.type_.as_deref() != Some(TYPE) || secret.immutable == Some(true),
            digest: digest(secret),
        }
    }

    /// Whether it is as it should be.
    pub fn is(&self, desired: &Desired) -> bool {
        !self.unchangeable && self.digest == desired.digest
    }
}

/// A Secret as it should be.
pub(super) struct Desired {
    secret: Secret,
    digest: Digest,
}

impl Desired {
    /// One with this content. `owner` is the name and UID of pullgate's own namespace: with that, the garbage
    /// collector removes it.
    pub fn new(config: &DockerConfig, owner: Option<(&str, &str)>) -> Self {
        // Strings always serialise.
        let content = serde_json::to_vec(config).unwrap_or_default();
        let owner = owner.map(|(name, uid)| {
            let (name, uid) = (name.to_owned(), uid.to_owned());
            let (api_version, kind) = ("v1".to_owned(), "Namespace".to_owned());
            vec![OwnerReference { api_version, kind, name, uid, ..OwnerReference::default() }]
        });
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(PULL_SECRET.to_owned()),
                labels: Some(BTreeMap::from([(MANAGED_BY.to_owned(), MANAGER.to_owned())])),
                owner_references: owner,
                ..ObjectMeta::default()
            },
            type_: Some(TYPE.to_owned()),
            data: Some(BTreeMap::from([(CONTENT.to_owned(), ByteString(content))])),
            ..Secret::default()
        };
        Self { digest: digest(&secret), secret }
    }

    /// Takes back what others changed in a Secret of pullgate's. A new one is applied without force: where somebody
    /// else makes one at the same moment, the API server calls that a conflict, and theirs stays.
    pub fn parameters(found: Option<&Found>) -> PatchParams {
        PatchParams { force: found.is_some(), ..PatchParams::apply(MANAGER) }
    }

    /// The Secret, at the version that was found.
    pub fn patch(&self, found: Option<&Found>) -> Patch<Secret> {
        let mut secret = self.secret.clone();
        secret.metadata.resource_version = found.map(|found| found.version.clone());
        Patch::Apply(secret)
    }
}

/// Tells whether two Secrets say the same, without keeping what.
fn digest(secret: &Secret) -> Digest {
    let mut context = Context::new(&SHA256);
    let mut add = |part: &[u8]| {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    };
    add(secret.labels().get(MANAGED_BY).map(String::as_bytes).unwrap_or_default());
    for owner in secret.owner_references() {
        add(owner.uid.as_bytes());
    }
    add(secret.data.as_ref().and_then(|data| data.get(CONTENT)).map(|c| c.0.as_slice()).unwrap_or_default());
    let mut bytes = Digest::default();
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}
