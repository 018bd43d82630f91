//! Records on the wire: manifests, as `kubectl` shows them.

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::call::typed;
use super::error::ApiError;
use crate::domain::record::{Kind, Problem};
use crate::hex::hex;
use crate::types::Document;
use crate::types::v1alpha1::API_VERSION;

/// A record as it is stored.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Manifest<S> {
    #[schema(example = "pullgate.io/v1alpha1")]
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    spec: S,
    /// What was observed; the server's alone.
    #[serde(skip_serializing_if = "Value::is_null")]
    #[schema(value_type = Option<Object>)]
    status: Value,
}

/// What identifies a record and its version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    name: String,
    /// Changes with every write, also of the status alone.
    resource_version: String,
    #[schema(format = DateTime)]
    creation_timestamp: String,
}

/// A record as a client writes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Incoming<S> {
    #[serde(default)]
    #[schema(example = "pullgate.io/v1alpha1")]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    metadata: Option<IncomingMetadata>,
    spec: S,
    /// Ignored.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    #[allow(dead_code, reason = "clients send back what they read")]
    status: Option<Value>,
    /// Registries only: what the server logs in with. Never shown again. A stored one stays where this is
    /// absent, except where `spec.url` or the image hosts change.
    #[serde(default)]
    #[schema(value_type = Option<super::credentials::CredentialInput>, write_only)]
    credential: Option<Value>,
}

/// What a client says of a record's identity.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IncomingMetadata {
    #[serde(default)]
    name: Option<String>,
    /// Ignored; the `If-Match` header counts.
    #[serde(default)]
    #[allow(dead_code, reason = "clients send back what they read")]
    resource_version: Option<String>,
    /// Ignored.
    #[serde(default)]
    #[allow(dead_code, reason = "clients send back what they read")]
    creation_timestamp: Option<String>,
}

/// What a client's manifest says, its envelope checked.
pub(super) struct Draft {
    pub name: Option<String>,
    pub spec: Value,
    /// A registry's new credential, as it came.
    pub credential: Option<Value>,
}

impl Draft {
    /// Checks all but the spec. `path_name` is the name that the path has, which the body may repeat.
    pub fn read(kind: Kind, body: Value, path_name: Option<&str>) -> Result<Self, ApiError> {
        let Incoming { api_version, kind: said, metadata, spec, status: _, credential } =
            typed::<Incoming<Value>>(body)?;
        let mut problems = Vec::new();
        if api_version.is_some_and(|v| v != API_VERSION) {
            problems.push(Problem::new("apiVersion", format!("this has to be {API_VERSION}")));
        }
        if said.is_some_and(|k| k != kind.as_str()) {
            problems.push(Problem::new("kind", format!("this has to be {}", kind.as_str())));
        }
        if !spec.is_object() {
            problems.push(Problem::new("spec", "this has to be an object"));
        }
        if kind != Kind::Registry && credential.is_some() {
            problems.push(Problem::new("credential", "only a Registry has one"));
        }
        let name = metadata.and_then(|m| m.name);
        if let (Some(name), Some(path_name)) = (&name, path_name)
            && name != path_name
        {
            problems.push(Problem::new("metadata.name", format!("the path names {path_name}")));
        }
        if problems.is_empty() {
            Ok(Self { name, spec, credential })
        } else {
            Err(ApiError::Invalid(problems))
        }
    }
}

impl From<Document> for Manifest<Value> {
    fn from(document: Document) -> Self {
        let created = Timestamp::from_second(document.created).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            api_version: API_VERSION,
            kind: document.kind.as_str(),
            metadata: Metadata {
                name: document.name.into(),
                resource_version: document.version,
                creation_timestamp: created.to_string(),
            },
            spec: document.spec,
            status: document.status,
        }
    }
}

/// A record as a response, with its `ETag`.
pub(super) fn respond(status: StatusCode, document: Document) -> Result<Response, ApiError> {
    let etag = etag(&document)?;
    Ok((status, [etag], Json(Manifest::from(document))).into_response())
}

/// An empty response that tells the revision.
pub(super) fn respond_empty(document: &Document) -> Result<Response, ApiError> {
    Ok((StatusCode::NO_CONTENT, [etag(document)?]).into_response())
}

fn etag(document: &Document) -> Result<(HeaderName, HeaderValue), ApiError> {
    let value = HeaderValue::try_from(format!("\"{}\"", revision(document)));
    value
        .map(|v| (header::ETAG, v))
        .map_err(|_| ApiError::Internal("a revision that no header can carry".to_owned()))
}

/// What a client bases a write on: the record as somebody wrote it. Not the status, which the server writes at any
/// moment and no client does, so that what is observed of a registry never gets in the way of changing its record.
pub(super) fn revision(document: &Document) -> String {
    let identity = (document.kind.as_str(), &document.name, document.created, &document.spec);
    // Texts and numbers; they always serialise, members in the order of their names.
    let text = serde_json::to_vec(&identity).unwrap_or_default();
    hex(&digest(&SHA256, &text).as_ref()[..16])
}

/// The `If-Match` header of a write.
pub(super) struct IfMatch(Vec<String>);

impl IfMatch {
    /// Reads the header; `None` where there is none.
    pub fn read(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut tags = Vec::new();
        for value in headers.get_all(header::IF_MATCH) {
            let text = value.to_str().map_err(|_| bad_if_match())?;
            tags.extend(text.split(',').map(|tag| tag.trim().to_owned()));
        }
        if tags.iter().any(|tag| tag != "*" && !is_entity_tag(tag)) {
            return Err(bad_if_match());
        }
        Ok((!tags.is_empty()).then_some(Self(tags)))
    }

    /// The header, which this write cannot do without.
    pub fn required(headers: &HeaderMap) -> Result<Self, ApiError> {
        Self::read(headers)?.ok_or(ApiError::PreconditionRequired)
    }

    /// Refuses any other revision. Weak tags never match (RFC 9110, 13.1.1).
    pub fn check(&self, document: &Document) -> Result<(), ApiError> {
        let revision = revision(document);
        let matches = |tag: &String| {
            tag == "*" || tag.strip_prefix('"').and_then(|t| t.strip_suffix('"')) == Some(&revision)
        };
        if self.0.iter().any(matches) { Ok(()) } else { Err(ApiError::Changed) }
    }
}

fn is_entity_tag(tag: &str) -> bool {
    let opaque = tag.strip_prefix("W/").unwrap_or(tag);
    opaque.len() >= 2 && opaque.starts_with('"') && opaque.ends_with('"')
}

fn bad_if_match() -> ApiError {
    ApiError::parameter("If-Match", "write the ETag as it was given, in double quotes")
}
