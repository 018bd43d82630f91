//! Adding and removing one binding of a space, so that nobody has to replace the list that others change too.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::call::{Answer, Call};
use super::error::ApiError;
use super::manifest::{respond, respond_empty};
use super::writer::ATTEMPTS;
use crate::domain::record::{Kind, Problem};
use crate::store::{CredentialChange, Document, Precondition, StoreError, rules};

/// Lets the namespaces of a workspace pull a space's images. Done twice, it is done.
pub(super) async fn bind(call: Call) -> Answer {
    respond_empty(&change(call, true).await?)
}

/// Takes a binding away; one that is not there is no fault, nor is a workspace that is no more. Answers with the space as it
/// is now: who may still pull from it.
pub(super) async fn unbind(call: Call) -> Answer {
    respond(StatusCode::OK, change(call, false).await?)
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
            if !writer.records().workspaces.contains_key(workspace) {
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
            match space.status.get("registryId") {
                Some(project) => drop(spec.insert("projectId".to_owned(), project.clone())),
                None => drop(spec.remove("projectId")),
            }
        }
    }
    document
}
