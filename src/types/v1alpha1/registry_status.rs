//! What is observed of a registry, as its record's status has it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Condition;

/// What was observed of a registry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RegistryStatus {
    /// The spec's generation that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The record and its addresses that everything here was observed of; of any other it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_of: Option<String>,
    /// `Ready`, which sums up the others: `Valid`, `Managed`, `Reachable`, `Healthy`, `CredentialsValid`, `Discovered`, `PullCredentials`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Docker: whether somebody without a password may pull, as a probe found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_pull: Option<bool>,
    /// Whether an administrator integrated it, or pullgate itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrated: Option<Integrated>,
    /// What the record has of the Harbor that it follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followed: Option<Followed>,
    /// Version of the registry's software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Number of spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spaces: Option<i64>,
    /// How many of them are public.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_spaces: Option<i64>,
    /// How many of them are bound to some workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_spaces: Option<i64>,
    /// In how many spaces the integrating account may do all that is needed; absent where that is everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<AccountAccess>,
    /// Number of repositories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repositories: Option<i64>,
    /// Seconds for which a token of this Harbor is good. One that was fetched before a binding went pulls that long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_life: Option<i64>,
    /// Number of tags, of a Docker registry with few repositories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<i64>,
    /// Bytes stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<i64>,
    /// The course of `storage`: by the hour for two days, then by the day.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub storage_history: Vec<StorageSample>,
    /// When the registry last answered as it should. Written when something changes and every few minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// When all spaces were last read. Written when something changes and every few minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_discovery: Option<Timestamp>,
    /// How far a long discovery is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What robot accounts of this Harbor can cover. Of a workspace's Artifactory: its namespaces have a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub robot_level: Option<RobotLevel>,
    /// Robot accounts that pullgate made; of an Artifactory the tokens, the one in use first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub robots: Vec<RobotStatus>,
    /// How docker comes to the repositories of this Artifactory; absent where it does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_method: Option<DockerMethod>,
    /// What images of this Artifactory's repositories start with, as `art.example.com/team-a/`; of many, the first ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_prefixes: Vec<String>,
    /// When somebody asked to read the registry at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_requested: Option<Timestamp>,
    /// The last such request that was followed, whatever came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_done: Option<Timestamp>,
    /// When somebody asked for new robot accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_requested: Option<Timestamp>,
}

/// How far the integrating account's rights go that has them by project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct AccountAccess {
    /// Spaces in which it may do all that pullgate needs.
    pub full: i64,
    /// Spaces that are recorded or listed; how many there are in all, a Harbor tells system admins alone.
    pub total: i64,
    /// What it may not do in the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<LackingRight>,
}

/// A right that the integrating account lacks in some spaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct LackingRight {
    /// What it may not do, and the role that allows it.
    pub right: String,
    /// In how many spaces.
    pub count: i64,
    /// In which; of many, the first 500.
    pub spaces: Vec<String>,
}

/// Bytes stored at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct StorageSample {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub bytes: i64,
}

/// How far a discovery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct Progress {
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Spaces that were read and recorded; one that was read and may still have to be recorded counts half.
    pub done: i64,
    /// Spaces that there are, as the registry says.
    pub total: i64,
}

/// What a robot account can cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub enum RobotLevel {
    /// Several projects.
    System,
    /// One project.
    Project,
}

/// How docker comes to the repositories of an Artifactory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub enum DockerMethod {
    /// `host/repository/image`
    Path,
    /// `repository.host/image`
    Subdomain,
    /// `host:port/image`
    Port,
}

/// A robot account that namespaces pull with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RobotStatus {
    /// The account's name in the registry.
    pub name: String,
    /// Whose namespaces have it.
    pub workspace: String,
    /// The one space that it covers; absent: all that are bound to the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// Spaces that it covers, as the registry last confirmed; absent where they are too many to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers: Option<Vec<String>>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When the registry takes it no more; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// An administrator of the registry disabled it: nobody pulls with it until it is enabled there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// The id by which a token is taken back; never the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What a token may do, in the registry's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// How a registry came to be integrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Integrated {
    Manual,
    Automatic,
}

/// What a record has of the Harbor in the cluster that it follows; the rest is its administrator's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Followed {
    /// Version of the Secret whose password was last taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_version: Option<String>,
    /// The CA is the instance's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ca: bool,
}
