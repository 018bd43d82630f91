//! How Artifactory says no: in its API with a `status`, in the API of Access and to docker with a `code`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An error of Artifactory's API.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub message: String,
}

impl Refusal {
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status: StatusCode::from_u16(status).unwrap(), message: message.into() }
    }
    pub fn unauthorized(message: &str) -> Self {
        Self::new(401, message)
    }
    pub fn forbidden() -> Self {
        Self::new(403, "Forbidden")
    }
    pub fn suspended(name: &str) -> Self {
        let message = format!(
            "Artifactory temporarily blocked user {name}: This request is blocked due to recurrent login failures, \
            please try again in 5 seconds"
        );
        Self::new(403, message)
    }

    /// The same as the API of Access and docker's read it.
    pub fn coded(self, code: &str) -> Response {
        let body = json!({"errors": [{"code": code, "message": self.message, "detail": null}]});
        (self.status, Json(body)).into_response()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"errors": [{"status": self.status.as_u16(), "message": self.message}]});
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"Artifactory Realm\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
