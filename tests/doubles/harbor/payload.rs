//! Bodies as go-swagger reads them.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use serde::de::DeserializeOwned;

use super::Held;
use super::refusal::Refusal;

/// A JSON body. One of another media type is 415, an empty one 422, and a member of another type 400: a boolean where
/// the API has a text does not become one.
pub struct Payload<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Held> for Payload<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, held: &Held) -> Result<Self, Refusal> {
        let media_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let body = Bytes::from_request(request, held).await.map_err(|_| Refusal::internal())?;
        if body.is_empty() {
            return Err(Refusal::parameter("body in body is required"));
        }
        let media_type = media_type.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
        if media_type.split(';').next().map(str::trim) != Some("application/json") {
            return Err(Refusal::media_type());
        }
        let read = serde_json::from_slice(&body).map_err(|error| {
            Refusal::bad_request(format!(
                "parsing body from \"\" failed, because json: cannot unmarshal: {error}"
            ))
        });
        read.map(Self)
    }
}

/// The names that Harbor takes for projects and robots (src/lib/project.go, src/server/v2.0/handler/robot.go):
/// `^[a-z0-9]+(?:[._-][a-z0-9]+)*$`.
pub fn is_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|c| plain(*c))
        && bytes.last().is_some_and(|c| plain(*c))
        && bytes.iter().all(|c| plain(*c) || b"._-".contains(c))
        && bytes.windows(2).all(|pair| plain(pair[0]) || plain(pair[1]))
}
