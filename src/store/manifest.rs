//! The written form of records, as YAML and JSON have it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::record::{Mode, Name, PullCredentials, RegistryType, Visibility};

/// The group and version of every record.
pub const API_VERSION: &str = "pullgate.io/v1alpha1";

/// The integration of a registry.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// Platform Harbor: which credential bound namespaces get; `Robot` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_credentials: Option<PullCredentials>,
}

/// Names a stored credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialRef {
    pub name: String,
}

/// How a registry's certificate is verified.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsSpec {
    /// PEM certificates that are trusted for this registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    /// Take any certificate. For trying out only.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// What was observed of a registry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RegistryStatus {
    pub anonymous_pull: Option<bool>,
}

/// A space of a registry and its bindings.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
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
}

/// What was observed of a space.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SpaceStatus {
    pub visibility: Option<Visibility>,
    pub observed_at: Option<Timestamp>,
    pub suspended: bool,
}

/// A tenant: a set of namespaces.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkspaceSpec {
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Membership holds only for the namespace that was first seen under its name, not for one made later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pin_namespaces: bool,
}

/// What was observed of a workspace.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WorkspaceStatus {
    pub members: Vec<Member>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member {
    pub namespace: Name,
    #[serde(default)]
    pub uid: Option<String>,
    #[serde(default)]
    pub since: Option<Timestamp>,
}

/// Rules for some namespaces.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnmanagedSpec {
    #[serde(default)]
    pub default: UnmanagedDefault,
    /// With `default: Deny`: hosts and whole path segments that are allowed all the same, as `docker.io/library`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

/// What happens to an unmanaged image that no entry names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum UnmanagedDefault {
    #[default]
    Allow,
    Deny,
}

/// Rules on tags and digests.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RulesSpec {
    /// Tags that are refused; an image without tag and digest counts as `latest`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied_tags: Vec<String>,
    /// Refuse images without a digest.
    #[serde(default)]
    pub require_digest: bool,
}
