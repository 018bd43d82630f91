//! Bodies as go-swagger reads them.

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use super::refusal::{Answer, Refusal};

/// A JSON body. One of another media type is 415, an empty one 422, and a member of another type 400: a boolean where
/// the API has a text does not become one.
pub fn payload<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Answer<T> {
    if body.is_empty() {
        return Err(Refusal::parameter("body in body is required"));
    }
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media_type.split(';').next().map(str::trim) != Some("application/json") {
        return Err(Refusal::media_type());
    }
    serde_json::from_slice(body).map_err(|error| {
        Refusal::bad_request(format!(
            "parsing body from \"\" failed, because json: cannot unmarshal: {error}"
        ))
    })
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
