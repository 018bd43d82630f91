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
use futures::{FutureExt as _, StreamExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ApiState;
use super::audit::{self, Act};
use super::auth::Caller;
use super::error::ApiError;
use crate::admission::json::Reader;
use crate::domain::record::Problem;

/// Bytes that a body may have.
const BODY_MAX: usize = 1 << 20;
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

    /// The body as JSON, by the reader of the webhooks: it holds every depth, also where `serde_json` begins to count
    /// anew.
    pub async fn json(&mut self) -> Result<Value, ApiError> {
        if !is_json(&self.headers) {
            return Err(ApiError::MediaType);
        }
        let body = std::mem::take(&mut self.body);
        let bytes = tokio::time::timeout(BODY_TIME, read(body)).await.map_err(|_| ApiError::Timeout)??;
        let fault =
            |error: &dyn std::fmt::Display| ApiError::Malformed(format!("the body is no JSON: {error}"));
        let text = std::str::from_utf8(&bytes).map_err(|error| fault(&error))?;
        Reader::whole(text, Reader::value).map_err(|error| {
            let (line, column) = error.line_and_column(text);
            fault(&format_args!("{} at line {line} column {column}", error.what()))
        })
    }
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
                let call = Call { state, caller, headers: parts.headers, params, query, body, subject };
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

async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    let limit = u64::try_from(BODY_MAX).unwrap_or(u64::MAX);
    if body.size_hint().lower() > limit {
        return Err(ApiError::TooLarge);
    }
    let mut bytes = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::Malformed("the body ended early".to_owned()))?;
        if bytes.len() + chunk.len() > BODY_MAX {
            return Err(ApiError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
