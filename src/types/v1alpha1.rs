//! The written form of records, as YAML and JSON have it.

mod registry_status;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use registry_status::{
    AccountAccess, DockerMethod, Followed, Integrated, LackingRight, Progress, RegistryStatus, RobotLevel,
    RobotStatus, StorageSample,
};

use crate::domain::record::{Injection, Mode, Name, PullCredentials, RegistryType, Visibility};

/// The group and version of every record.
pub const API_VERSION: &str = "pullgate.io/v1alpha1";

/// The integration of a registry.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegistrySpec {
    pub r#type: RegistryType,
    /// Address of the registry's API: `https://host[:port]`, or `http://` for a registry without TLS.
    pub url: String,
    /// Hosts as images spell them; the URL's host when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_hosts: Vec<String>,
    /// The workspace that owns the integration; absent: the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// What a workspace claims of the hosts, in whole path segments; everything when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Docker with a password: `Public` hands its credential to every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// The stored credential; never the password itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialRef>,
    /// Another address that may be sent the credential to give a token for it, as `https://auth.example.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_realm: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// Platform Harbor: which credential bound namespaces get; `Robot` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_credentials: Option<PullCredentials>,
    /// The Harbor in the cluster whose address, CA and password the record follows, as `Helm NAMESPACE/NAME`. pullgate
    /// writes it; without it the record is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Names a stored credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialRef {
    pub name: String,
}

/// How a registry's certificate is verified.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsSpec {
    /// PEM certificates that are trusted for this registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    /// Take any certificate. For trying out only.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// One aspect of a record's state, as Kubernetes has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    pub r#type: String,
    pub status: ConditionStatus,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// A space of a registry and its bindings.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpaceSpec {
    pub registry: String,
    /// The Harbor project's or Artifactory repository's name: one path segment.
    pub path: String,
    /// The bindings: workspaces whose namespaces may pull.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspaces: Vec<String>,
    /// When absent, the registry's own flag is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// The registry's own number of the project that the bindings are for. pullgate notes it once it sees the project.
    /// Where a project was deleted and made again under its name, set to `status.projectId` it confirms the bindings for
    /// the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<i64>,
}

/// What was observed of a space.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SpaceStatus {
    /// The spec's generation that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The registry's record and its addresses that this was observed of, as the registry's status has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_of: Option<String>,
    /// The registry's own flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// When the flag was last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
    /// The registry's own number of the project; another one under the same name is another project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<i64>,
    /// The registry says that there is no such project any more; its bindings wait for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
    /// It is a cache of another registry.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub proxy_cache: bool,
    /// Bindings are void until an administrator confirms them (`spec.projectId`): the project was made anew under its
    /// name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// Number of repositories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repositories: Option<i64>,
    /// Bytes stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<i64>,
}

/// A tenant: a set of namespaces.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkspaceSpec {
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Membership holds only for the namespace that was first seen under its name, not for one made later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pin_namespaces: bool,
    /// Which pods get the reference to the pull secret: each, or only those with an image that needs a credential.
    #[serde(default, skip_serializing_if = "Injection::is_always")]
    pub injection: Injection,
}

/// What was observed of a workspace.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkspaceStatus {
    /// The spec's generation that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Namespaces that the workspace claims, with what is known of each claim.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    /// Namespaces that an older claim of another workspace holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
}

/// A claim on a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    #[schemars(with = "String")]
    pub namespace: Name,
    /// UID of the namespace that was first seen under the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Since when the namespace is claimed; the older of two claims holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why the namespace has not the pull secret that it should have; absent where it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret: Option<PullSecretProblem>,
}

/// Why a namespace has not the pull secret that it should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullSecretProblem {
    /// Somebody else made a Secret of that name; it is left alone.
    Foreign,
    /// It could not be written.
    Failed,
}

/// What was observed of a policy.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PullPolicyStatus {
    /// The spec's generation that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Rules for some namespaces.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PullPolicySpec {
    /// Namespaces by name. A policy that names a namespace replaces wider ones there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Namespaces by workspace. Neither: every namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspaces: Vec<String>,
    /// What a denial does: refuse the pod, warn its creator, or only count.
    #[serde(default)]
    pub mode: Mode,
    #[serde(default)]
    pub unmanaged: UnmanagedSpec,
    #[serde(default)]
    pub rules: RulesSpec,
}

/// Images of registries that nobody integrated.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnmanagedSpec {
    #[serde(default)]
    pub default: UnmanagedDefault,
    /// With `default: Deny`: hosts and whole path segments that are allowed all the same, as `docker.io/library`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

/// What happens to an unmanaged image that no entry names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub enum UnmanagedDefault {
    #[default]
    Allow,
    Deny,
}

/// Rules on tags and digests.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RulesSpec {
    /// Tags that are refused; an image without tag and digest counts as `latest`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied_tags: Vec<String>,
    /// Refuse images without a digest.
    #[serde(default)]
    pub require_digest: bool,
}
