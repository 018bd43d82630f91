//! What would be decided for images in a namespace, by the function that the webhooks use.

use axum::Json;
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::call::{Answer, Call, QUESTION_MAX, typed};
use super::error::ApiError;
use super::namespaces::check_namespace_name;
use crate::domain::decision::{Request, decide};
use crate::domain::image::ImageRef;
use crate::domain::record::Mode;
use crate::domain::snapshot::Scope;

/// Images that one request may ask about.
const IMAGES_MAX: usize = 100;

/// Which images, and where they would run.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainRequest {
    namespace: String,
    /// References as a pod would have them.
    #[schema(min_items = 1, max_items = 100)]
    images: Vec<String>,
}

/// The decisions, in the order of the images.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainAnswer {
    namespace: String,
    /// The workspace that the namespace belongs to.
    workspace: Option<String>,
    images: Vec<ImageExplanation>,
}

/// The decision for one image.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageExplanation {
    image: String,
    /// What nodes read in the reference; absent where they read none.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<ReferenceParts>,
    allowed: bool,
    /// Whether a pod would be refused for it: a denial may also only warn or be counted, see `mode`.
    refused: bool,
    /// A stable code.
    #[schema(example = "NotBound")]
    reason: &'static str,
    /// What is wrong, why, and what to do.
    explanation: String,
    /// Whether the pod's pull policy for it has to be `Always`.
    needs_always: bool,
    /// What a denial does in this namespace.
    mode: Mode,
}

/// A reference in normal form.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceParts {
    #[schema(example = "docker.io")]
    host: String,
    #[schema(example = "library/ubuntu")]
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

pub(super) async fn explain(mut call: Call) -> Answer {
    call.query(&[])?;
    // Whose it is decides, so nothing is built for who may not ask about it.
    let snapshot = call.state.state.snapshot_full();
    if let Some(namespace) = call.text_at(&["namespace"]).await? {
        call.caller.check_namespace(snapshot.scope(&namespace).workspace()).await?;
    }
    let ExplainRequest { namespace, images } = typed(call.json(QUESTION_MAX).await?)?;
    let scope = snapshot.scope(&namespace);
    call.caller.check_namespace(scope.workspace()).await?;
    check_namespace_name(&namespace).map_err(|message| ApiError::invalid("namespace", message))?;
    if !(1..=IMAGES_MAX).contains(&images.len()) {
        return Err(ApiError::invalid("images", format!("name 1 to {IMAGES_MAX} images")));
    }
    let now = Timestamp::now().as_second();
    let images = images.into_iter().map(|image| explanation(&scope, image, now)).collect();
    let workspace = scope.workspace().map(str::to_owned);
    Ok(Json(ExplainAnswer { namespace, workspace, images }).into_response())
}

fn explanation(scope: &Scope<'_>, image: String, now: i64) -> ImageExplanation {
    // The pull policy is not part of the question: a pod's can still be set.
    let decision = decide(scope, &Request { image: &image, always: None, now });
    let reference = ImageRef::parse(&image).ok().map(|parts| ReferenceParts {
        host: parts.domain.to_owned(),
        path: parts.path.into_owned(),
        tag: parts.tag.map(str::to_owned),
        digest: parts.digest.map(str::to_owned),
    });
    ImageExplanation {
        reference,
        allowed: decision.allowed(),
        refused: decision.refuses(),
        reason: decision.reason.as_str(),
        explanation: decision.explanation().to_string(),
        needs_always: decision.needs_always,
        mode: decision.mode,
        image,
    }
}
