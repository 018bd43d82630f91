//! How a registry is, and what it holds, as it was last seen. Asks nobody but the records: any replica can tell.

use axum::Json;
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{Answer, Call};
use super::error::ApiError;
use super::resources::visible;
use crate::domain::conflicts::spaces_of;
use crate::domain::record::{Entry, Kind, Owner, Record, RegistryType, Visibility};
use crate::types::v1alpha1::{
    AccountAccess, Condition, ConditionStatus, Integrated, Progress, RegistryStatus, RobotStatus,
    StorageSample,
};

/// The conditions that say how a registry is, the most telling first.
const OF_HEALTH: [&str; 6] =
    ["Valid", "Reachable", "CredentialsValid", "Healthy", "Discovered", "PullCredentials"];

/// A registry at a glance.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overview {
    name: String,
    /// Absent where the record is invalid.
    r#type: Option<RegistryType>,
    url: Option<String>,
    image_hosts: Vec<String>,
    /// The workspace that owns it; absent: the platform.
    workspace: Option<String>,
    #[schema(value_type = String)]
    integrated: Integrated,
    health: Health,
    /// Of its software.
    version: Option<String>,
    spaces: Spaces,
    /// Where the integrating account's rights are its roles in some spaces: in how many, and what it lacks in which others.
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<AccountAccess>,
    repositories: Option<i64>,
    tags: Option<i64>,
    /// Seconds for which a token is good that a node fetched: so long it pulls after its binding is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_life: Option<i64>,
    /// Absent where the registry does not tell, which is not 0.
    storage: Option<Storage>,
    robots: Vec<RobotStatus>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_success: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_discovery: Option<Timestamp>,
    /// Of a discovery that takes long.
    progress: Option<Progress>,
    /// The last request to read it at once that was followed, whatever came of it.
    #[schema(value_type = Option<String>, format = DateTime)]
    sync_done: Option<Timestamp>,
}

/// Whether a registry can be worked with.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Health {
    state: State,
    /// One word for programs.
    reason: String,
    /// A sentence for people.
    message: String,
    /// Since when it is so.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
enum State {
    Healthy,
    /// Something is wrong, see the reason. What was recorded stays in force.
    Unhealthy,
    /// It was not asked yet.
    Unknown,
}

/// How many spaces there are.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Spaces {
    total: i64,
    public: i64,
    private: i64,
    bound: i64,
    unbound: i64,
    /// Made anew under their names; their bindings wait for a confirmation.
    suspended: i64,
    /// Recorded, and gone from the registry.
    missing: i64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Storage {
    bytes: i64,
    /// By the hour for two days, then by the day.
    history: Vec<StorageSample>,
}

pub(super) async fn overview(call: Call) -> Answer {
    call.query(&[])?;
    let name = call.param("name");
    let (document, record) = visible(call.state.store.as_ref(), &call.caller, Kind::Registry, name).await?;
    let Record::Registry(entry) = &record else { return Err(ApiError::absent(Kind::Registry, name)) };
    let status: RegistryStatus = serde_json::from_value(document.status).unwrap_or_default();
    let registry = entry.valid();
    let owner = registry.and_then(|registry| match &registry.owner {
        Owner::Platform => None,
        Owner::Workspace(workspace) => Some(workspace.to_string()),
    });
    let workspace = match entry {
        Entry::Valid(_) => owner,
        Entry::Invalid(invalid) => invalid.workspace.as_ref().map(ToString::to_string),
    };
    let mut counted = Spaces::default();
    let records = call.state.state.records();
    for (_, space) in spaces_of(&records, name) {
        counted.total += 1;
        let public = space.visibility_in(registry) == Visibility::Public;
        *(if public { &mut counted.public } else { &mut counted.private }) += 1;
        let bound = !space.workspaces.is_empty();
        *(if bound { &mut counted.bound } else { &mut counted.unbound }) += 1;
        counted.suspended += i64::from(space.is_suspended(registry));
        counted.missing += i64::from(space.missing);
    }
    if counted == Spaces::default() {
        // Of a workspace's registry no space is recorded.
        let (total, public) = (status.spaces.unwrap_or_default(), status.public_spaces.unwrap_or_default());
        counted = Spaces { total, public, private: total - public, unbound: total, ..counted };
    }
    // Whoever waits for the end of a reading is to find here what was read.
    let published = records.registries().valid(name).and_then(|registry| registry.discovered_at);
    let is_published = published >= registry.and_then(|registry| registry.discovered_at);
    let history = status.storage_history.clone();
    Ok(Json(Overview {
        name: name.to_owned(),
        r#type: registry.map(|registry| registry.kind),
        url: registry.map(|registry| registry.url.clone()),
        image_hosts: registry
            .into_iter()
            .flat_map(|r| &r.hosts)
            .map(|host| host.as_str().to_owned())
            .collect(),
        workspace,
        integrated: status.integrated.unwrap_or(Integrated::Manual),
        health: health(&status),
        version: status.version,
        spaces: counted,
        access: status.access,
        repositories: status.repositories,
        tags: status.tags,
        token_life: status.token_life,
        storage: status.storage.map(|bytes| Storage { bytes, history }),
        robots: status.robots,
        last_success: status.last_success,
        last_discovery: status.last_discovery,
        progress: status.progress,
        sync_done: status.sync_done.filter(|_| is_published),
    })
    .into_response())
}

fn health(status: &RegistryStatus) -> Health {
    let of = |name: &str| status.conditions.iter().find(|condition| condition.r#type == name);
    let told = |state, condition: Option<&Condition>| Health {
        state,
        reason: condition.map(|c| c.reason.clone()).unwrap_or_default(),
        message: condition.map(|c| c.message.clone()).unwrap_or_default(),
        since: condition.map(|c| c.last_transition_time),
    };
    let wrong = OF_HEALTH.iter().filter_map(|name| of(name)).find(|c| c.status == ConditionStatus::False);
    // Nothing is wrong and yet nobody can log in.
    let unchecked = || of("CredentialsValid").filter(|c| c.reason == "CredentialsNotChecked");
    let wrong = wrong.or_else(unchecked);
    match (wrong, of("Reachable")) {
        (Some(wrong), _) => told(State::Unhealthy, Some(wrong)),
        (None, Some(reachable)) if reachable.status == ConditionStatus::True => {
            told(State::Healthy, Some(reachable))
        }
        (None, reachable) => told(State::Unknown, reachable),
    }
}
