//! The `Authorization` of RFC 7617.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The user and the password.
pub fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let decoded = String::from_utf8(BASE64_STANDARD.decode(credential(headers, "basic")?).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// What follows the name of this scheme, whatever its case.
pub fn credential<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (given, credential) = value.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then_some(credential)
}
