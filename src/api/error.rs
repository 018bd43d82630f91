//! Errors as RFC 9457 problem details: what is wrong in words for the caller, and nothing of the inside.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::cluster::Unanswered;
use crate::domain::record::{Kind, Problem};
use crate::store::{StoreError, rules};

/// Media type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Seconds after which it is worth trying again what was not possible.
const RETRY_AFTER: &str = "2";

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("a bearer token that this server knows is needed")]
    Unauthenticated,
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NotFound(String),
    #[error("this resource does not have that method")]
    MethodNotAllowed,
    /// The body is no JSON.
    #[error("{0}")]
    Malformed(String),
    /// Path, query or a header.
    #[error("{0}")]
    Parameter(Problem),
    #[error("the body took too long to arrive")]
    Timeout,
    /// Than so many bytes.
    #[error("the body is larger than {} KiB", .0 / 1024)]
    TooLarge(usize),
    #[error("send the body as application/json")]
    MediaType,
    #[error("{}", first_of(.0))]
    Invalid(Vec<Problem>),
    /// By a rule that is kept where records are stored; the text says which.
    #[error("{0}")]
    Refused(String),
    #[error("{}", first_of(.0))]
    Conflict(Vec<Problem>),
    #[error("this write needs If-Match with the ETag of the version that it is based on")]
    PreconditionRequired,
    #[error("it was changed in the meantime; read it again")]
    Changed,
    /// The text is for the log alone.
    #[error("the store is not available; try again, and see the server's log where that does not help")]
    Unavailable(String),
    #[error(
        "the store has no room for it: make room on the disk of the data directory, or raise the cluster's quota, and \
         try again"
    )]
    StoreFull(String),
    #[error(
        "the store takes no writes, its file or file system is read-only: make it writable and try again; what is \
         stored stays in force"
    )]
    StoreReadOnly(String),
    #[error(
        "what is stored is damaged: the server's log says what; write it anew, or restore it from a backup"
    )]
    StoreDamaged(String),
    #[error(
        "the cluster does not let pullgate itself do this: give its service account the roles that it is installed \
         with; the server's log names the missing right"
    )]
    StoreForbidden(String),
    #[error("the cluster's API server has too much to do; try again in a moment")]
    StoreBusy(String),
    /// A Secret with the name of the one that would be written.
    #[error(
        "the Secret {0}, in which the credential would be kept, belongs to something else; remove or rename it"
    )]
    SecretTaken(String),
    /// Who calls, or what they may do, could not be asked. The text is for the log alone.
    #[error("the cluster cannot be asked who calls and what they may do; try again")]
    Unanswered(String),
    /// A registry did not do what was asked of it.
    #[error("{0}")]
    Registry(String),
    #[error("the server failed; its log says why")]
    Internal(String),
}

/// A problem detail (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemDetails {
    /// Identifies the kind of problem; for programs.
    #[schema(example = "urn:pullgate:problem:invalid")]
    r#type: String,
    /// The kind of problem in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request, and what to do.
    detail: String,
    /// The fields at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// A fault of one field.
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldError {
    /// Path of the field, as `spec.imageHosts[0]`, or the name of a parameter or header.
    field: String,
    message: String,
}

impl ApiError {
    /// There is none, or none that the caller may know of: the two read the same.
    pub(super) fn absent(kind: Kind, name: &str) -> Self {
        Self::NotFound(format!("there is no {} named {name}", kind.as_str()))
    }

    /// Somebody has the name, and whoever it is may be none of the caller's business.
    pub(super) fn taken() -> Self {
        Self::Conflict(vec![Problem::new("metadata.name", "this name is taken; choose another one")])
    }

    /// One fault of a request's body.
    pub(super) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Problem::new(field, message)])
    }

    /// One fault of a request's path, query or headers.
    pub(super) fn parameter(name: &str, message: impl Into<String>) -> Self {
        Self::Parameter(Problem::new(name, message))
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.kind().0
    }

    /// What the log is told and the caller is not.
    fn inside(&self) -> Option<&str> {
        match self {
            Self::Unavailable(inside)
            | Self::StoreFull(inside)
            | Self::StoreReadOnly(inside)
            | Self::StoreDamaged(inside)
            | Self::StoreForbidden(inside)
            | Self::StoreBusy(inside)
            | Self::Unanswered(inside)
            | Self::Internal(inside) => Some(inside),
            _ => None,
        }
    }

    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "Not authenticated"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "Not JSON"),
            Self::Parameter(_) => (StatusCode::BAD_REQUEST, "bad-parameter", "Bad parameter"),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "timeout", "Timed out"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body too large"),
            Self::MediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type")
            }
            Self::Invalid(_) | Self::Refused(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Invalid content")
            }
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict", "In conflict with what is there"),
            Self::PreconditionRequired => {
                (StatusCode::PRECONDITION_REQUIRED, "precondition-required", "If-Match is needed")
            }
            Self::Changed => (StatusCode::PRECONDITION_FAILED, "changed", "Changed in the meantime"),
            Self::StoreFull(_) => (StatusCode::INSUFFICIENT_STORAGE, "store-full", "No room left"),
            Self::StoreReadOnly(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "store-read-only", "The store takes no writes")
            }
            Self::StoreDamaged(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "store-damaged", "What is stored is damaged")
            }
            Self::StoreForbidden(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "store-forbidden", "The cluster refuses pullgate")
            }
            Self::StoreBusy(_) => (StatusCode::SERVICE_UNAVAILABLE, "store-busy", "Too many requests"),
            Self::SecretTaken(_) => (StatusCode::CONFLICT, "secret-taken", "The Secret is another's"),
            Self::Unavailable(_) | Self::Unanswered(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available")
            }
            Self::Registry(_) => (StatusCode::BAD_GATEWAY, "registry", "The registry failed"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Server error"),
        }
    }
}

impl From<Unanswered> for ApiError {
    fn from(Unanswered(inside): Unanswered) -> Self {
        Self::Unanswered(inside)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { kind, name } => Self::absent(kind, &name),
            StoreError::Exists { .. } => Self::taken(),
            StoreError::Changed { .. } => Self::Changed,
            StoreError::Refused { .. } => Self::Refused(error.to_string()),
            StoreError::Taken { secret, .. } => Self::SecretTaken(secret),
            StoreError::Full(inside) => Self::StoreFull(inside),
            StoreError::ReadOnly(inside) => Self::StoreReadOnly(inside),
            StoreError::Damaged(inside) => Self::StoreDamaged(inside),
            StoreError::Forbidden(inside) => Self::StoreForbidden(inside),
            StoreError::Busy(inside) => Self::StoreBusy(inside),
            StoreError::Unavailable(inside) => Self::Unavailable(inside),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Some(inside) = self.inside() {
            tracing::error!(error = inside, "a request of the management API failed");
        }
        let (status, slug, title) = self.kind();
        let detail = self.to_string();
        let errors = match self {
            Self::Invalid(problems) | Self::Conflict(problems) => problems,
            Self::Parameter(problem) => vec![problem],
            _ => Vec::new(),
        };
        let body = ProblemDetails {
            r#type: format!("urn:pullgate:problem:{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail,
            errors: errors.into_iter().map(FieldError::from).collect(),
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pullgate\""));
        }
        response
    }
}

impl From<Problem> for FieldError {
    fn from(problem: Problem) -> Self {
        let Problem { field, message } = rules::in_plain_words(problem);
        Self { field, message }
    }
}

fn first_of(problems: &[Problem]) -> String {
    match problems {
        [] => "the content is not valid".to_owned(),
        [only] => {
            let FieldError { field, message } = only.clone().into();
            format!("{field}: {message}")
        }
        [_, rest @ ..] => format!("{} (and {} more)", first_of(&problems[..1]), rest.len()),
    }
}
