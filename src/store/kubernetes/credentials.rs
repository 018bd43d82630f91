//! Credentials as Secrets. One is a registry's only if its annotation says so: a record that names somebody else's
//! Secret gets nothing, and overwrites nothing.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, PostParams};
use secrecy::{ExposeSecret, SecretString};

use super::owners::owner;
use super::{KubernetesStore, code, failure, objection, overtaken};
use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::domain::record::{Kind, Name};
use crate::hex::short_digest;
use crate::store::{Credential, StoreError};
use crate::types::Document;

/// The registry that a credential belongs to.
pub(super) const REGISTRY: &str = "pullgate.io/registry";
/// The workspace that a robot account belongs to; absent: the registry's own credential.
const WORKSPACE: &str = "pullgate.io/workspace";
/// The one space that the robot account covers; absent: all that are bound to the workspace.
const SPACE: &str = "pullgate.io/space";
/// What the credential was given for; see [`Credential::audience`].
pub(super) const AUDIENCE: &str = "pullgate.io/audience";
/// Bytes of the digests that stand for names.
const DIGEST: usize = 16;
/// Labels to find credentials by; values are digests, since names may be longer than labels.
const REGISTRY_DIGEST: &str = "pullgate.io/registry-digest";
const WORKSPACE_DIGEST: &str = "pullgate.io/workspace-digest";

impl KubernetesStore {
    pub(super) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn read_credential(&self, id: &CredentialId) -> Result<Option<Credential>, StoreError> {
        let name = match id {
            CredentialId::Robot(robot) => robot_name(robot),
            CredentialId::Integration { registry } => match self.integration_name(registry).await? {
                Some(name) => name,
                None => return Ok(None),
            },
        };
        let found = self.secrets().get_opt(&name).await.map_err(|error| failure(&error))?;
        Ok(found.filter(|secret| belongs_to(secret, id)).and_then(|secret| credential_in(&secret)))
    }

    /// The Secret that a registry's record names.
    async fn integration_name(&self, registry: &str) -> Result<Option<String>, StoreError> {
        let found = self.records(Kind::Registry).get_opt(registry).await.map_err(|error| failure(&error))?;
        Ok(found.and_then(|object| credential_name(&object.data["spec"]).map(str::to_owned)))
    }

    /// Refuses a record whose credential could not be kept, before the record is written.
    pub(super) async fn check_secret(&self, document: &Document) -> Result<(), StoreError> {
        let Some(name) = credential_name(&document.spec) else { return Ok(()) };
        let id = CredentialId::Integration { registry: document.name.clone() };
        let found = self.secrets().get_metadata_opt(name).await.map_err(|error| failure(&error))?;
        match found {
            Some(secret) if !belongs_to(&secret, &id) => Err(self.taken(name)),
            _ => Ok(()),
        }
    }

    pub(super) async fn set_integration(
        &self,
        document: &Document,
        written: &DynamicObject,
        credential: &Credential,
    ) -> Result<(), StoreError> {
        let name = credential_name(&document.spec).ok_or_else(|| {
            StoreError::Unavailable(format!("registry {} names no credential to write", document.name))
        })?;
        let id = CredentialId::Integration { registry: document.name.clone() };
        self.write(name, &id, owner(Kind::Registry, written), credential).await
    }

    pub(super) async fn forget_integration(&self, registry: &str) -> Result<(), StoreError> {
        self.forget(&format!("{REGISTRY_DIGEST}={},!{WORKSPACE_DIGEST}", label_of(registry))).await
    }

    /// Removes every credential that belongs to a record.
    pub(super) async fn forget_all(&self, kind: Kind, name: &str) -> Result<(), StoreError> {
        let label = match kind {
            Kind::Registry => REGISTRY_DIGEST,
            Kind::Workspace => WORKSPACE_DIGEST,
            Kind::RegistrySpace | Kind::PullPolicy => return Ok(()),
        };
        self.forget(&format!("{label}={}", label_of(name))).await
    }

    async fn forget(&self, selector: &str) -> Result<(), StoreError> {
        let listed = self.secrets().list_metadata(&ListParams::default().labels(selector)).await;
        for secret in listed.map_err(|error| failure(&error))? {
            match self.secrets().delete(&secret.name_any(), &DeleteParams::default()).await {
                Err(error) if code(&error) != 404 => return Err(failure(&error)),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) async fn write_robot(
        &self,
        robot: &RobotId,
        credential: Option<Credential>,
    ) -> Result<(), StoreError> {
        let name = robot_name(robot);
        let Some(credential) = credential else {
            return match self.secrets().delete(&name, &DeleteParams::default()).await {
                Err(error) if code(&error) != 404 => Err(failure(&error)),
                _ => Ok(()),
            };
        };
        let read = async |kind, name| {
            self.records(kind).get(name).await.map_err(|error| overtaken(kind, name, &error))
        };
        read(Kind::Registry, robot.registry.as_str()).await?;
        let owned = read(Kind::Workspace, robot.workspace.as_str()).await?;
        let id = CredentialId::Robot(robot.clone());
        self.write(&name, &id, owner(Kind::Workspace, &owned), &credential).await
    }

    pub(super) async fn read_robots(&self, registry: &str) -> Result<Vec<RobotId>, StoreError> {
        let selector = format!("{REGISTRY_DIGEST}={},{WORKSPACE_DIGEST}", label_of(registry));
        let listed = self.secrets().list_metadata(&ListParams::default().labels(&selector)).await;
        let found = listed.map_err(|error| failure(&error))?;
        let mut robots: Vec<_> = found.iter().filter_map(|secret| robot_of(secret.annotations())).collect();
        robots.retain(|robot| robot.registry == registry);
        robots.sort_unstable();
        Ok(robots)
    }

    /// The UID of pullgate's own namespace, which no other one has.
    pub(super) async fn read_installation(&self) -> Result<String, StoreError> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        let found = namespaces.get_metadata(&self.namespace).await.map_err(|error| failure(&error))?;
        found
            .metadata
            .uid
            .ok_or_else(|| StoreError::Unavailable(format!("namespace {} has no UID", self.namespace)))
    }

    /// Makes or replaces the Secret of a credential.
    async fn write(
        &self,
        name: &str,
        id: &CredentialId,
        owner: Option<OwnerReference>,
        credential: &Credential,
    ) -> Result<(), StoreError> {
        let found = self.secrets().get_opt(name).await.map_err(|error| failure(&error))?;
        if found.as_ref().is_some_and(|secret| !belongs_to(secret, id)) {
            return Err(self.taken(name));
        }
        let mut secret = secret_of(name, id, owner, credential);
        let done = match found {
            None => self.secrets().create(&PostParams::default(), &secret).await,
            Some(found) => {
                secret.metadata.resource_version = found.metadata.resource_version;
                self.secrets().replace(name, &PostParams::default(), &secret).await
            }
        };
        done.map(drop).map_err(|error| {
            let registry = parts(id).0;
            objection(Kind::Registry, registry, &error).unwrap_or_else(|| failure(&error))
        })
    }

    fn taken(&self, secret: &str) -> StoreError {
        StoreError::Taken { namespace: self.namespace.clone(), secret: secret.to_owned() }
    }
}

fn secret_of(
    name: &str,
    id: &CredentialId,
    owner: Option<OwnerReference>,
    credential: &Credential,
) -> Secret {
    let (registry, workspace, space) = parts(id);
    let mut annotations = BTreeMap::from([
        (REGISTRY.to_owned(), registry.to_owned()),
        (AUDIENCE.to_owned(), credential.audience.clone()),
    ]);
    let mut labels = BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), "pullgate".to_owned()),
        (REGISTRY_DIGEST.to_owned(), label_of(registry)),
    ]);
    if let Some(workspace) = workspace {
        annotations.insert(WORKSPACE.to_owned(), workspace.to_owned());
        labels.insert(WORKSPACE_DIGEST.to_owned(), label_of(workspace));
    }
    if let Some(space) = space {
        annotations.insert(SPACE.to_owned(), space.to_owned());
    }
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some(annotations),
            labels: Some(labels),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/basic-auth".to_owned()),
        data: Some(BTreeMap::from([
            ("username".to_owned(), bytes(&credential.username)),
            ("password".to_owned(), bytes(credential.password.expose_secret())),
        ])),
        ..Secret::default()
    }
}

pub(super) fn credential_in(secret: &Secret) -> Option<Credential> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
    Some(Credential {
        username: text("username")?,
        password: SecretString::from(text("password")?),
        audience: secret.annotations().get(AUDIENCE).cloned().unwrap_or_default(),
    })
}

fn belongs_to(secret: &impl ResourceExt, id: &CredentialId) -> bool {
    let (registry, workspace, space) = parts(id);
    let says = |key| secret.annotations().get(key).map(String::as_str);
    says(REGISTRY) == Some(registry) && says(WORKSPACE) == workspace && says(SPACE) == space
}

fn parts(id: &CredentialId) -> (&str, Option<&str>, Option<&str>) {
    match id {
        CredentialId::Integration { registry } => (registry, None, None),
        CredentialId::Robot(RobotId { registry, workspace, space }) => {
            (registry, Some(workspace), space.as_deref())
        }
    }
}

/// The robot account whose credential a Secret with these annotations holds.
fn robot_of(annotations: &BTreeMap<String, String>) -> Option<RobotId> {
    let says = |key| annotations.get(key).map(Name::from);
    Some(RobotId { registry: says(REGISTRY)?, workspace: says(WORKSPACE)?, space: says(SPACE) })
}

fn credential_name(spec: &serde_json::Value) -> Option<&str> {
    spec.get("credential")?.get("name")?.as_str()
}

fn robot_name(RobotId { registry, workspace, space }: &RobotId) -> String {
    let names: Vec<&str> = [registry, workspace].into_iter().chain(space).map(Name::as_str).collect();
    format!("robot-{}", short_digest(&names, DIGEST))
}

/// What a label says of a name, which may be longer than a label.
fn label_of(name: &str) -> String {
    short_digest(&[name], DIGEST)
}
