//! The way of a request to its handler and back: authenticated, bounded, audited, and never ending in a panic.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ApiState;
use super::audit::{self, Act};
use super::auth::Caller;
use super::error::ApiError;
use crate::admission::json::{JsonError, Reader, weight_max};
use crate::domain::record::Problem;
use crate::room::{Held, SMALL, Unread, Whole};

/// Bytes that the body of a record may have, and those of all else.
pub(super) const RECORD_MAX: usize = 1 << 20;
pub(super) const QUESTION_MAX: usize = SMALL;
/// How long a body may take to arrive; nothing is locked meanwhile.
const BODY_TIME: Duration = Duration::from_secs(30);

/// An authenticated request.
pub(super) struct Call {
    pub state: Arc<ApiState>,
    pub caller: Arc<Caller>,
    pub headers: HeaderMap,
    params: Vec<(String, String)>,
    query: String,
    body: Body,
    /// Once it is read.
    whole: Option<Whole>,
    /// What is built of it takes room as long as the request does.
    built: Option<Held>,
    /// What the request is about, for the audit log.
    subject: Arc<OnceLock<String>>,
}

pub(super) type Answer = Result<Response, ApiError>;

impl Call {
    /// A parameter of the path.
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Tells the audit log the name of a record that the path does not have.
    pub fn is_about(&self, name: &str) {
        // Said once: the path's name stays.
        let _ = self.subject.set(name.to_owned());
    }

    /// The query's parameters, each given at most once and all of them known.
    pub fn query(&self, known: &[&str]) -> Result<BTreeMap<String, String>, ApiError> {
        let mut given = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(self.query.as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let message = match known {
                    [] => "this operation takes no parameters".to_owned(),
                    known => format!("this parameter is not known; there is {}", known.join(", ")),
                };
                return Err(ApiError::parameter(&name, message));
            }
            if given.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(ApiError::parameter(&name, "give it once"));
            }
        }
        Ok(given)
    }

    /// A switch of the query: `true` or `false`, and `false` where it is absent.
    pub fn switch(&self, name: &str) -> Result<bool, ApiError> {
        match self.query(&[name])?.get(name).map(String::as_str) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ApiError::parameter(name, "write true or false")),
        }
    }

    /// Reads the body, of up to `most` bytes. Not before it is known that the caller may do such a thing at all.
    async fn read(&mut self, most: usize) -> Result<(), ApiError> {
        if self.whole.is_some() {
            return Ok(());
        }
        if !is_json(&self.headers) {
            return Err(ApiError::MediaType);
        }
        let body = std::mem::take(&mut self.body);
        let size = body.size_hint();
        if size.lower() > u64::try_from(most).unwrap_or(u64::MAX) {
            return Err(ApiError::TooLarge(most));
        }
        let announced = size.exact().and_then(|size| usize::try_from(size).ok());
        let reading = tokio::time::timeout(BODY_TIME, self.state.room.read(body, announced, most));
        self.whole = Some(reading.await.map_err(|_| ApiError::Timeout)?.map_err(|unread| match unread {
            Unread::TooLarge(_) => ApiError::TooLarge(most),
            Unread::Slow => ApiError::Timeout,
            Unread::Broken(_) => ApiError::Malformed("the body ended early".to_owned()),
        })?);
        Ok(())
    }

    /// Whether the body may have more than [`QUESTION_MAX`] bytes.
    pub fn is_large(&self) -> bool {
        let most = u64::try_from(QUESTION_MAX).unwrap_or(u64::MAX);
        self.whole.is_none() && self.body.size_hint().exact().is_some_and(|size| size > most)
    }

    /// A text of the body, which is looked for without building anything. Of larger bodies than [`QUESTION_MAX`]: an
    /// error.
    pub async fn text_at(&mut self, path: &[&str]) -> Result<Option<String>, ApiError> {
        self.read(QUESTION_MAX).await?;
        let text = std::str::from_utf8(self.whole.as_deref().unwrap_or_default()).unwrap_or_default();
        let mut found = None;
        // What is wrong with it is told when all of it is read.
        let _ = Reader::whole(text, |reader| find(reader, path, &mut found));
        Ok(found)
    }

    /// The body as JSON, of up to `most` bytes, by the reader of the webhooks: it holds every depth, also where
    /// `serde_json` begins to count anew.
    pub async fn json(&mut self, most: usize) -> Result<Value, ApiError> {
        self.read(most).await?;
        let Some(whole) = self.whole.take() else { return Ok(Value::Null) };
        let room = self.state.room.to_build(weight_max(whole.len()));
        self.built = Some(tokio::time::timeout(BODY_TIME, room).await.map_err(|_| ApiError::Timeout)?);
        if whole.is_small() {
            return parse(&whole);
        }
        let parsed = self.state.room.apart(move || parse(&whole)).await;
        parsed.unwrap_or_else(|| Err(ApiError::Internal("reading a body failed".to_owned())))
    }
}

fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    let fault = |error: &dyn std::fmt::Display| ApiError::Malformed(format!("the body is no JSON: {error}"));
    let text = std::str::from_utf8(bytes).map_err(|error| fault(&error))?;
    Reader::whole(text, Reader::value).map_err(|error| {
        let (line, column) = error.line_and_column(text);
        fault(&format_args!("{} at line {line} column {column}", error.what()))
    })
}

fn find(reader: &mut Reader<'_>, path: &[&str], found: &mut Option<String>) -> Result<(), JsonError> {
    let Some((wanted, rest)) = path.split_first() else {
        return reader.once(found, |reader| Ok(reader.string()?.into_owned()));
    };
    reader.object(&mut |reader, name| if name == *wanted { find(reader, rest, found) } else { reader.skip() })
}

/// The typed form of a body.
pub(super) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    if !value.is_object() {
        return Err(ApiError::invalid("body", "this has to be a JSON object"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        ApiError::Invalid(vec![Problem::new(path, error.inner().to_string())])
    })
}

/// Brings a request to `handler`. One that is audited runs to its end also when the caller hangs up, so that no
/// write is half-done or goes without its line.
pub(super) async fn serve<H, F>(
    state: Arc<ApiState>,
    act: Option<Act>,
    handler: H,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response
where
    H: FnOnce(Call) -> F + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let (parts, body) = request.into_parts();
    let caller = state.authority.authenticate(&parts.headers).await;
    let Ok(params) = params else {
        return ApiError::parameter("path", "this is not UTF-8").into_response();
    };
    let params: Vec<_> = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let subject = Arc::new(OnceLock::new());
    let from_path: Vec<&str> = params.iter().map(|(_, value)| value.as_str()).collect();
    if !from_path.is_empty() {
        let _ = subject.set(from_path.join("/"));
    }
    let work = async move {
        let who = caller.as_ref().ok().cloned();
        let answer = match caller {
            Err(error) => Err(error),
            Ok(caller) => {
                let query = parts.uri.query().unwrap_or_default().to_owned();
                let subject = Arc::clone(&subject);
                let (headers, whole, built) = (parts.headers, None, None);
                let call = Call { state, caller, headers, params, query, body, whole, built, subject };
                let caught = AssertUnwindSafe(async { handler(call).await }).catch_unwind().await;
                // The panic hook has logged what it was.
                caught.unwrap_or_else(|_| Err(ApiError::Internal("a handler panicked".to_owned())))
            }
        };
        let response = answer.into_response();
        if let Some(act) = act {
            let version = response.headers().get(header::ETAG).and_then(|v| v.to_str().ok()).unwrap_or("-");
            let name = subject.get().map_or("-", String::as_str);
            audit::log(who.as_deref(), act, name, version.trim_matches('"'), response.status());
        }
        response
    };
    if act.is_none() {
        return work.await;
    }
    tokio::spawn(work).await.unwrap_or_else(|error| ApiError::Internal(error.to_string()).into_response())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
