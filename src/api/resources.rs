//! The four kinds of record: list, create, read, replace, remove. The kind is a parameter; what only registries
//! have, their credential, is in [`super::credentials`].

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde_json::Value;

use super::audit::{self, Act};
use super::auth::{Caller, Verb};
use super::call::{Answer, Call, QUESTION_MAX, RECORD_MAX};
use super::credentials;
use super::error::ApiError;
use super::manifest::{Draft, IfMatch, Manifest, respond, respond_empty};
use super::page::{List, Window};
use super::writer::{ATTEMPTS, Writer};
use crate::domain::conflicts::removal_conflicts;
use crate::domain::record::{Kind, Record};
use crate::store::{CredentialChange, Precondition, RecordStore, StoreError, rules};
use crate::types::{Document, convert, names};

/// One kind of record as the API serves it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resource {
    pub kind: Kind,
    /// Last part of the collection's path, and the plural of the custom resource.
    pub plural: &'static str,
}

/// Every kind that the API serves.
pub(super) const RESOURCES: [Resource; 4] = [
    Resource { kind: Kind::Registry, plural: "registries" },
    Resource { kind: Kind::RegistrySpace, plural: "registryspaces" },
    Resource { kind: Kind::Workspace, plural: "workspaces" },
    Resource { kind: Kind::PullPolicy, plural: "pullpolicies" },
];

pub(super) async fn list(kind: Kind, call: Call) -> Answer {
    call.caller.check_kind(kind, None).await?;
    let window = Window::read(kind, &call.query(&Window::PARAMETERS)?)?;
    let List { items, next } = window.fetch(&call.state, kind, &call.caller).await?;
    Ok(Json(List { items: items.into_iter().map(Manifest::from).collect(), next }).into_response())
}

pub(super) async fn read(kind: Kind, call: Call) -> Answer {
    call.caller.check_kind(kind, Some(call.param("name"))).await?;
    call.query(&[])?;
    let (document, _) = visible(call.state.store.as_ref(), &call.caller, kind, call.param("name")).await?;
    respond(StatusCode::OK, document)
}

pub(super) async fn create(resource: Resource, mut call: Call) -> Answer {
    let kind = resource.kind;
    call.caller.check_write_kind(kind, Verb::Create, None).await?;
    call.query(&[])?;
    if kind == Kind::Registry && !call.caller.has_role() {
        // Whose it will be decides; nothing is built before that is known, and nothing large is read.
        if call.is_large() && !call.caller.creates_any_registry().await? {
            return Err(ApiError::TooLarge(QUESTION_MAX));
        }
        if let Some(name) = call.text_at(&["metadata", "name"]).await? {
            call.is_about(&name);
        }
        let workspace = call.text_at(&["spec", "workspace"]).await?;
        call.caller.check_create_registry(workspace.as_deref()).await?;
    }
    let draft = Draft::read(kind, call.json(RECORD_MAX).await?, None)?;
    let name = match draft.name {
        Some(name) => name,
        None if kind == Kind::RegistrySpace => {
            let text = |field: &str| draft.spec.get(field).and_then(Value::as_str).unwrap_or_default();
            names::space(text("registry"), text("path"))
        }
        None => return Err(ApiError::invalid("metadata.name", "give the record a name")),
    };
    call.is_about(&name);
    let created = Timestamp::now().as_second();
    let mut document = Document { created, ..Document::new(kind, name.as_str(), draft.spec) };
    call.caller.check_write(Verb::Create, &name, &convert::record(&document)).await?;
    if let Some(problem) = rules::reserved(&document) {
        return Err(ApiError::Invalid(vec![problem]));
    }
    let mut writer = call.state.writer().await?;
    let change = credential_change(&writer, None, &mut document, draft.credential).await?;
    // Before what is recorded of that name is compared: the caller may have no right to know of it.
    if writer.store().get(kind, &name).await?.is_some() {
        return Err(ApiError::taken());
    }
    check_beside(&writer, &document)?;
    let stored = writer.put(document, Precondition::Absent, change).await?;
    let mut response = respond(StatusCode::CREATED, stored)?;
    let location = HeaderValue::try_from(format!("/api/v1/{}/{name}", resource.plural));
    let location = location.map_err(|_| ApiError::Internal("a name that no header can carry".to_owned()))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

pub(super) async fn replace(kind: Kind, mut call: Call) -> Answer {
    call.caller.check_write_kind(kind, Verb::Update, Some(call.param("name"))).await?;
    call.query(&[])?;
    let if_match = IfMatch::required(&call.headers)?;
    let name = call.param("name").to_owned();
    let (current, seen) = visible(call.state.store.as_ref(), &call.caller, kind, &name).await?;
    if_match.check(&current)?;
    call.caller.check_write(Verb::Update, &name, &seen).await?;
    let draft = Draft::read(kind, call.json(RECORD_MAX).await?, Some(&name))?;
    // Without the status, which is not the client's fault where it cannot be read.
    let wanted =
        |current: &Document| Document { spec: draft.spec.clone(), status: Value::Null, ..current.clone() };
    call.caller.check_move(&name, &seen, &convert::record(&wanted(&current))).await?;
    let mut writer = call.state.writer().await?;
    for _ in 0..ATTEMPTS {
        let (current, old) = writer.again(kind, &name, &seen).await?;
        if_match.check(&current)?;
        let mut document = wanted(&current);
        let given = draft.credential.clone();
        let change = credential_change(&writer, Some((&current, &old)), &mut document, given).await?;
        check_beside(&writer, &document)?;
        document.status = status_beside(&current, &document);
        if matches!(change, CredentialChange::Set(_)) {
            credentials::ask_for_a_look(&mut document);
        }
        let precondition = Precondition::Version(current.version);
        match writer.put(document, precondition, change).await {
            Err(StoreError::Changed { .. }) => {}
            outcome => return respond(StatusCode::OK, outcome?),
        }
    }
    Err(ApiError::Changed)
}

pub(super) async fn remove(kind: Kind, call: Call) -> Answer {
    call.caller.check_write_kind(kind, Verb::Delete, Some(call.param("name"))).await?;
    let force =
        if kind == Kind::Registry { call.switch("force")? } else { call.query(&[]).map(|_| false)? };
    let if_match = IfMatch::required(&call.headers)?;
    let name = call.param("name");
    let (current, seen) = visible(call.state.store.as_ref(), &call.caller, kind, name).await?;
    if_match.check(&current)?;
    call.caller.check_write(Verb::Delete, name, &seen).await?;
    let mut writer = call.state.writer().await?;
    let (mut current, _) = writer.again(kind, name, &seen).await?;
    if_match.check(&current)?;
    let problems = removal_conflicts(writer.records(), kind, name);
    if !problems.is_empty() && !force {
        return Err(ApiError::Conflict(problems));
    }
    for _ in 0..ATTEMPTS {
        match writer.delete(&current).await {
            Err(StoreError::Changed { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(gone) => {
                let act = Act { action: "remove", kind: Kind::RegistrySpace.as_str() };
                for space in gone {
                    audit::log(Some(&call.caller), act, &space, "", StatusCode::NO_CONTENT);
                }
                return respond_empty(&current);
            }
        }
        (current, _) = writer.again(kind, name, &seen).await?;
        if_match.check(&current)?;
    }
    Err(ApiError::Changed)
}

/// A record that the caller may see; one that it may not is as absent.
pub(super) async fn visible(
    store: &dyn RecordStore,
    caller: &Caller,
    kind: Kind,
    name: &str,
) -> Result<(Document, Record), ApiError> {
    let Some(document) = store.get(kind, name).await? else {
        caller.look_for_nothing(kind, name).await?;
        return Err(ApiError::absent(kind, name));
    };
    let record = convert::record(&document);
    if caller.may_see(name, &record).await? {
        Ok((document, record))
    } else {
        Err(ApiError::absent(kind, name))
    }
}

/// Refuses a record that is invalid, or that what is recorded beside it rules out.
fn check_beside(writer: &Writer<'_>, document: &Document) -> Result<(), ApiError> {
    let problems = rules::problems(writer.records(), document);
    if problems.is_empty() { Ok(()) } else { Err(ApiError::Invalid(problems)) }
}

/// What a write does to the credential beside it: nothing, unless it is a registry's.
async fn credential_change(
    writer: &Writer<'_>,
    current: Option<(&Document, &Record)>,
    document: &mut Document,
    given: Option<Value>,
) -> Result<CredentialChange, ApiError> {
    if document.kind == Kind::Registry {
        credentials::settle(writer.store(), current, document, given).await
    } else {
        Ok(CredentialChange::Keep)
    }
}

/// The status that stays with a changed record. What was observed of one registry or project is not true of
/// another: a private project would pass for public because another of the record was.
fn status_beside(current: &Document, new: &Document) -> Value {
    let identity: &[&str] = match new.kind {
        Kind::Registry => &["type", "url", "imageHosts", "workspace"],
        Kind::RegistrySpace => &["registry", "path"],
        Kind::Workspace | Kind::PullPolicy => &[],
    };
    if identity.iter().all(|field| current.spec.get(field) == new.spec.get(field)) {
        return current.status.clone();
    }
    let mut kept = Value::Null;
    // Not observed of a registry: whose the record is, and what it has of the instance that it follows.
    for field in ["integrated", "followed"] {
        if let Some(value) = current.status.get(field) {
            kept[field] = value.clone();
        }
    }
    kept
}
