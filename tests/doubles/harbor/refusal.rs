//! How Harbor says no: `{"errors":[{"code","message"}]}` (goharbor/harbor, src/lib/http/error.go).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An error of Harbor's.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

/// What a handler answers.
pub type Answer<T = Response> = Result<T, Refusal>;

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }
    pub fn unauthorized() -> Self {
        Self::unauthorized_to("unauthorized")
    }
    pub fn unauthorized_to(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
    }
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", "forbidden")
    }
    /// As gorilla/csrf words it.
    pub fn csrf() -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", "CSRF token not found in request")
    }
    pub fn read_only() -> Self {
        let message = "The system is in read only mode. Any modification is prohibited.";
        Self::new(StatusCode::FORBIDDEN, "DENIED", message)
    }
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("{what} not found"))
    }
    pub fn conflict(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::CONFLICT, "CONFLICT", format!("{what} already exists"))
    }
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "PRECONDITION", message)
    }
    /// The project's policy keeps an image back (src/server/middleware/vulnerable).
    pub fn policy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "PROJECTPOLICYVIOLATION", message)
    }
    pub fn media_type() -> Self {
        let message = "unsupported media type requested, only [application/json] are available";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message)
    }
    /// A parameter that the API's description does not allow; go-swagger answers before any handler.
    pub fn parameter(message: impl std::fmt::Display) -> Self {
        let message = format!("validation failure list:\n{message}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "UNPROCESSABLE_ENTITY", message)
    }
    /// What Harbor's own bugs look like from outside.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "internal server error")
    }
    /// The same with a challenge, which may be empty.
    pub fn challenged(self, challenge: &str) -> Response {
        let mut response = self.into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_str(challenge).unwrap());
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"errors": [{"code": self.code, "message": self.message}]});
        let headers = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
        (self.status, headers, format!("{body}\n")).into_response()
    }
}
