//! What is asked of a registry: to be read at once, to replace its accounts, and which digest a tag names.
//!
//! Only the leader works with registries. A request is a time in the registry's status, which the leader sees; what
//! became of it is in the overview.

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Verb;
use super::call::{Answer, Call, QUESTION_MAX, typed};
use super::error::ApiError;
use super::resources::visible;
use super::writer::ATTEMPTS;
use crate::domain::image::ImageRef;
use crate::domain::record::{Entry, Kind, Record, Registry};
use crate::registry::clients::Unconnected;
use crate::registry::fault::Fault;
use crate::registry::metadata::Question;
use crate::store::{CredentialChange, Precondition, StoreError};
use crate::types::Document;
use crate::types::v1alpha1::{ConditionStatus, RegistryStatus};

/// That something was asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Requested {
    /// It is done once the overview's `syncDone` is as late; its health says what came of it.
    #[schema(value_type = String, format = DateTime)]
    requested_at: Timestamp,
}

/// An image of the registry.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ResolveRequest {
    /// As a pod names it, with the registry's host.
    #[schema(example = "harbor.example.com/team-a/web:1.8.2")]
    image: String,
}

/// What a tag or digest names.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resolved {
    /// Whether there is such an image.
    exists: bool,
    /// What is missing beside the image itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the registry has no project team-a")]
    message: Option<String>,
    /// Absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// The image, pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<String>,
    /// Seconds since the registry was asked.
    age: u64,
}

pub(super) async fn sync(call: Call) -> Answer {
    request(call, |status, now| status.sync_requested = Some(now)).await
}

pub(super) async fn rotate(call: Call) -> Answer {
    request(call, |status, now| status.rotation_requested = Some(now)).await
}

async fn request(call: Call, note: impl Fn(&mut RegistryStatus, Timestamp) + Send + Sync) -> Answer {
    let name = call.param("name");
    call.caller.check_write_kind(Kind::Registry, Verb::Update, Some(name)).await?;
    call.query(&[])?;
    let (_, record) = visible(call.state.store.as_ref(), &call.caller, Kind::Registry, name).await?;
    call.caller.check_write(Verb::Update, name, &record).await?;
    let mut writer = call.state.writer().await?;
    for _ in 0..ATTEMPTS {
        let (current, _) = writer.again(Kind::Registry, name, &record).await?;
        let mut status: RegistryStatus = serde_json::from_value(current.status.clone()).unwrap_or_default();
        let requested_at = Timestamp::now();
        note(&mut status, requested_at);
        let status = serde_json::to_value(&status).map_err(|error| ApiError::Internal(error.to_string()))?;
        let precondition = Precondition::Version(current.version.clone());
        match writer.put(Document { status, ..current }, precondition, CredentialChange::Keep).await {
            Err(StoreError::Changed { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok((StatusCode::ACCEPTED, Json(Requested { requested_at })).into_response()),
        }
    }
    Err(ApiError::Changed)
}

pub(super) async fn resolve(mut call: Call) -> Answer {
    call.query(&[])?;
    let name = call.param("name").to_owned();
    let (document, record) = visible(call.state.store.as_ref(), &call.caller, Kind::Registry, &name).await?;
    let ResolveRequest { image } = typed(call.json(QUESTION_MAX).await?)?;
    let Record::Registry(Entry::Valid(registry)) = &record else {
        return Err(ApiError::invalid("name", "the registry's record is not valid; mend it first"));
    };
    let question = question(&name, registry, &image)?;
    let known = call.state.metadata.known(&question);
    if known.is_none() && rejected(document) {
        // To ask again might lock the account; the leader tries once a minute.
        return Err(ApiError::Registry(
            "the registry rejects user name and password; store the right ones".to_owned(),
        ));
    }
    let answer = match known {
        Some(named) => Ok(named),
        None => call.state.metadata.resolve(question.clone(), registry).await,
    };
    let named = answer.map_err(|unanswered| match &*unanswered {
        Unconnected::Registry(fault) => ApiError::Registry(fault.to_string()),
        Unconnected::Store(error) => error.clone().into(),
    })?;
    let bare = image.split('@').next().unwrap_or_default();
    let project = || question.repository.split('/').next().unwrap_or_default().to_owned();
    Ok(Json(Resolved {
        exists: named.digest.is_some(),
        message: named.no_project.then(|| Fault::NoProject(project()).to_string()),
        pinned: named.digest.as_ref().map(|digest| format!("{bare}@{digest}")),
        digest: named.digest,
        age: named.asked.elapsed().as_secs(),
    })
    .into_response())
}

/// What is asked about an image; it has to be of this registry, and within what its record claims.
fn question(name: &str, registry: &Registry, image: &str) -> Result<Question, ApiError> {
    let parsed = ImageRef::parse(image).map_err(|error| ApiError::invalid("image", error.to_string()))?;
    let claimed =
        registry.paths.is_empty() || registry.paths.iter().any(|prefix| prefix.covers(&parsed.path));
    if !claimed || !registry.hosts.iter().any(|host| host.as_str() == parsed.domain) {
        return Err(ApiError::invalid("image", "this image is none of the registry's"));
    }
    let reference = parsed.digest.or(parsed.tag).unwrap_or("latest").to_owned();
    let (url, host) = (registry.url.clone(), parsed.domain.to_owned());
    Ok(Question { registry: name.into(), url, host, repository: parsed.path.to_string(), reference })
}

fn rejected(document: Document) -> bool {
    let status: RegistryStatus = serde_json::from_value(document.status).unwrap_or_default();
    let credentials = status.conditions.iter().find(|condition| condition.r#type == "CredentialsValid");
    credentials.is_some_and(|condition| condition.status == ConditionStatus::False)
}
