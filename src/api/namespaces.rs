//! What one namespace may pull, and the pull secret that it should have.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::audit::{self, Act};
use super::auth::Caller;
use super::call::{Answer, Call};
use super::error::ApiError;
use crate::credentials::{DockerConfig, LookedUp, Resolved};
use crate::domain::pull_secret::{CredentialId, PULL_SECRET, RobotId};
use crate::domain::record::{Kind, Mode, Name, Visibility};
use crate::store::{RecordStore, StoreError};
use crate::types::v1alpha1::{RegistryStatus, RobotStatus};

/// The pull secret that a namespace should have.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullSecret {
    #[schema(example = "pullgate-pull")]
    name: &'static str,
    namespace: String,
    /// The workspace that the namespace belongs to.
    workspace: Option<String>,
    entries: Vec<PullSecretEntry>,
    /// With `reveal=true`: the content, passwords included, as the kubelet reads it.
    #[serde(rename = "dockerconfigjson", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    docker_config: Option<DockerConfig>,
}

/// One entry of a pull secret, without its password.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullSecretEntry {
    /// What the kubelet matches images with.
    #[schema(example = "harbor.example.com/v2/team-a/")]
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// Whose credential it is.
    #[schema(example = "Integration registry corp")]
    credential: String,
    /// Whether the entry has a credential, and the registry confirmed that it is good for it. An entry without one is left
    /// out of the secret.
    available: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What a namespace may pull beside what is public or unmanaged.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceAccess {
    namespace: String,
    workspace: Option<String>,
    /// Never judged at all.
    exempt: bool,
    /// What a denial does here.
    mode: Mode,
    /// Spaces that are bound to the workspace.
    spaces: Vec<SpaceAccess>,
    /// Registries that the workspace integrated itself.
    registries: Vec<RegistryAccess>,
}

/// A bound space.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpaceAccess {
    registry: String,
    path: String,
    visibility: Visibility,
    /// What its images start with.
    #[schema(example = json!(["harbor.example.com/team-a/"]))]
    images: Vec<String>,
}

/// A workspace's own registry.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistryAccess {
    name: String,
    /// What its images start with.
    images: Vec<String>,
}

/// Refuses what cannot be a namespace's name (RFC 1123 label).
pub(super) fn check_namespace_name(name: &str) -> Result<(), &'static str> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let valid = (1..=63).contains(&name.len())
        && name.bytes().all(|b| inner(b) || b == b'-')
        && name.bytes().next().is_some_and(inner)
        && name.bytes().next_back().is_some_and(inner);
    valid.then_some(()).ok_or("no namespace has such a name: lower-case letters, digits and '-', at most 63")
}

pub(super) async fn access(call: Call) -> Answer {
    call.query(&[])?;
    let namespace = call.param("namespace");
    let snapshot = call.state.state.snapshot_full();
    let scope = snapshot.scope(namespace);
    call.caller.check_namespace(scope.workspace()).await?;
    check_namespace_name(namespace).map_err(|message| ApiError::parameter("namespace", message))?;
    let spaces = scope.bound_spaces().into_iter().map(|space| SpaceAccess {
        registry: space.registry.into(),
        path: space.path.into(),
        visibility: space.visibility,
        images: space.images,
    });
    let registries = scope.own_registries().into_iter();
    Ok(Json(NamespaceAccess {
        namespace: namespace.to_owned(),
        workspace: scope.workspace().map(str::to_owned),
        exempt: scope.exempt(),
        mode: scope.mode(),
        spaces: spaces.collect(),
        registries: registries.map(|r| RegistryAccess { name: r.name.into(), images: r.images }).collect(),
    })
    .into_response())
}

pub(super) async fn pull_secret(call: Call) -> Answer {
    let reveal = call.switch("reveal")?;
    let namespace = call.param("namespace").to_owned();
    let (state, caller) = (call.state, call.caller);
    let answer = pull_secret_of(&state, &caller, &namespace, reveal).await;
    if reveal {
        let status = answer.as_ref().map_or_else(ApiError::status, |_| StatusCode::OK);
        let act = Act { action: "reveal", kind: "PullSecret" };
        audit::log(Some(&caller), act, &namespace, "-", status);
    }
    Ok(Json(answer?).into_response())
}

async fn pull_secret_of(
    state: &ApiState,
    caller: &Caller,
    namespace: &str,
    reveal: bool,
) -> Result<PullSecret, ApiError> {
    let snapshot = state.state.snapshot_full();
    let scope = snapshot.scope(namespace);
    caller.check_pull_secret(scope.workspace(), reveal).await?;
    check_namespace_name(namespace).map_err(|message| ApiError::parameter("namespace", message))?;
    let mut credentials = LookedUp::default();
    let entries = credentials.resolve(state.store.as_ref(), snapshot.records(), scope.pull_entries()).await?;
    Ok(PullSecret {
        name: PULL_SECRET,
        namespace: namespace.to_owned(),
        workspace: scope.workspace().map(str::to_owned),
        docker_config: reveal.then(|| DockerConfig::of(&entries)),
        entries: {
            let confirmed = Confirmed::read(state.store.as_ref(), &entries).await?;
            entries.into_iter().map(|entry| PullSecretEntry::of(entry, &confirmed)).collect()
        },
    })
}

/// What registries confirmed of their accounts, by registry.
struct Confirmed(BTreeMap<Name, Vec<RobotStatus>>);

impl Confirmed {
    async fn read(store: &dyn RecordStore, entries: &[Resolved]) -> Result<Self, StoreError> {
        let mut confirmed = BTreeMap::new();
        for entry in entries {
            let CredentialId::Robot(RobotId { registry, .. }) = &entry.id else { continue };
            if !confirmed.contains_key(registry) {
                let document = store.get(Kind::Registry, registry).await?;
                let status =
                    document.map(|document| serde_json::from_value::<RegistryStatus>(document.status));
                let robots = status.and_then(Result::ok).unwrap_or_default().robots;
                confirmed.insert(registry.clone(), robots);
            }
        }
        Ok(Self(confirmed))
    }

    /// Whether the registry was not seen yet to let an account pull what an entry is for. `false` where nothing is told.
    fn lacks(&self, key: &str, id: &CredentialId) -> bool {
        let CredentialId::Robot(RobotId { registry, workspace, space }) = id else { return false };
        let Some((_, path)) = key.trim_end_matches('/').split_once("/v2/") else { return false };
        let told = self
            .0
            .get(registry)
            .into_iter()
            .flatten()
            .find(|robot| robot.workspace == **workspace && robot.space.as_deref() == space.as_deref());
        let covers = told.and_then(|robot| robot.covers.as_ref());
        covers.is_some_and(|covers| !covers.iter().any(|covered| covered == path))
    }
}

impl PullSecretEntry {
    fn of(Resolved { key, id, credential }: Resolved, confirmed: &Confirmed) -> Self {
        let (username, reason) = match credential {
            Ok(credential) if confirmed.lacks(&key, &id) => {
                let reason = "the registry did not confirm yet that the account may pull this space; its conditions \
                              PullCredentials and Healthy say why";
                (Some(credential.username), Some(reason.to_owned()))
            }
            Ok(credential) => (Some(credential.username), None),
            Err(reason) => (None, Some(reason.to_string())),
        };
        let credential = match id {
            CredentialId::Integration { registry } => format!("Integration registry {registry}"),
            CredentialId::Robot(RobotId { registry, workspace, space: None }) => {
                format!("Robot registry {registry} workspace {workspace}")
            }
            CredentialId::Robot(RobotId { registry, workspace, space: Some(space) }) => {
                format!("Robot registry {registry} workspace {workspace} space {space}")
            }
        };
        Self { key, username, credential, available: reason.is_none(), reason }
    }
}
