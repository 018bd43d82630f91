//! Adding and removing one binding of a space, so that nobody has to replace the list that others change too.

use axum::http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::call::{Answer, Call};
use super::error::ApiError;
use super::manifest::{respond, respond_empty};
use super::writer::ATTEMPTS;
use crate::domain::record::{Kind, Problem};
use crate::store::{CredentialChange, Precondition, RecordStore, StoreError, rules};
use crate::types::Document;
use crate::types::v1alpha1::RegistryStatus;

/// Lets the namespaces of a workspace pull a space's images. Done twice, it is done.
pub(super) async fn bind(call: Call) -> Answer {
    respond_empty(&change(call, true).await?)
}

/// Takes a binding away; one that is not there is no fault, nor is a workspace that is no more. Answers with the space as it
/// is now: who may still pull from it.
pub(super) async fn unbind(call: Call) -> Answer {
    let store = call.state.store.clone();
    let space = change(call, false).await?;
    let warning = still_good(&*store, &space).await;
    let mut response = respond(StatusCode::OK, space)?;
    response.headers_mut().extend(warning.map(|warning| (header::WARNING, warning)));
    Ok(response)
}

/// What outlives an unbinding, as the API server warns (RFC 7234, 5.5): the registry does not take back a token that it gave.
async fn still_good(store: &dyn RecordStore, space: &Document) -> Option<HeaderValue> {
    let registry = store.get(Kind::Registry, space.spec["registry"].as_str()?).await.ok().flatten()?;
    let status: RegistryStatus = serde_json::from_value(registry.status).ok()?;
    let minutes = status.token_life?.div_euclid(60).max(1);
    let text = format!(
        "299 - \"tokens that were fetched before are good for up to {minutes} minutes (token_expiration of the Harbor)\""
    );
    HeaderValue::try_from(text).ok()
}

async fn change(call: Call, wanted: bool) -> Result<Document, ApiError> {
    call.caller.check_bind(call.param("name")).await?;
    call.query(&[])?;
    let (space, workspace) = (call.param("name"), call.param("workspace"));
    let kind = Kind::RegistrySpace;
    let mut writer = call.state.writer().await?;
    for _ in 0..ATTEMPTS {
        let current = writer.store().get(kind, space).await?.ok_or_else(|| ApiError::absent(kind, space))?;
        if is_bound(&current, workspace) == wanted {
            return Ok(current);
        }
        let document = edited(&current, workspace, wanted);
        if wanted {
            // Taking access away is never refused.
            if !writer.records().workspaces().contains_key(workspace) {
                return Err(ApiError::absent(Kind::Workspace, workspace));
            }
            let problems = rules::binding_problems(writer.records(), &current, &document);
            if !problems.is_empty() {
                return Err(ApiError::Invalid(problems));
            }
        }
        let precondition = Precondition::Version(current.version);
        match writer.put(document, precondition, CredentialChange::Keep).await {
            Ok(stored) => return Ok(stored),
            Err(StoreError::Changed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::Conflict(vec![Problem::new(
        "spec.workspaces",
        "others keep changing this space; try again",
    )]))
}

fn is_bound(space: &Document, workspace: &str) -> bool {
    bindings(space).any(|bound| bound == workspace)
}

fn bindings(space: &Document) -> impl Iterator<Item = &Value> {
    space.spec.get("workspaces").and_then(Value::as_array).into_iter().flatten()
}

fn edited(space: &Document, workspace: &str, bound: bool) -> Document {
    let mut list: Vec<Value> = bindings(space).filter(|w| *w != workspace).cloned().collect();
    let first = bound && list.is_empty();
    if bound {
        list.push(workspace.into());
    }
    let mut document = space.clone();
    if let Some(spec) = document.spec.as_object_mut() {
        spec.insert("workspaces".to_owned(), json!(list));
        if first {
            // The project that the administrator sees, not one that earlier bindings were for.
            match space.status.get("projectId") {
                Some(project) => drop(spec.insert("projectId".to_owned(), project.clone())),
                None => drop(spec.remove("projectId")),
            }
        }
    }
    document
}
