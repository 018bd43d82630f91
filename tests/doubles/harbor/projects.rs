//! `/projects` (goharbor/harbor, src/server/v2.0/handler/project.go).

use std::collections::BTreeMap;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Held;
use super::call::Call;
use super::caller::{Caller, require_known};
use super::payload::{Payload, is_name};
use super::query::Query;
use super::refusal::{Answer, Refusal};
use super::state::{Project, State};

/// The metadata that Harbor knows; other members are dropped without a word.
const KNOWN: [&str; 7] = [
    "public",
    "enable_content_trust",
    "prevent_vul",
    "severity",
    "auto_scan",
    "reuse_sys_cve_allowlist",
    "retention_id",
];

/// A body of `POST` and `PUT`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ProjectReq {
    project_name: String,
    metadata: Option<BTreeMap<String, Option<String>>>,
    public: Option<bool>,
    storage_limit: Option<i64>,
    registry_id: Option<i64>,
}

impl ProjectReq {
    fn metadata(&self) -> impl Iterator<Item = (String, String)> {
        let given = self.metadata.iter().flatten();
        given
            .filter(|(name, _)| KNOWN.contains(&name.as_str()))
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
    }
}

pub fn routes() -> Router<Held> {
    Router::new()
        .route("/projects", post(create).get(list).head(exists))
        .route("/projects/{project}", get(one).put(update).delete(delete))
        .route("/projects/{project}/summary", get(summary))
}

impl State {
    /// The projects that a caller is shown: all to system administrators and to robots that may list projects of the whole
    /// system; to others the public ones, their own, and those that a robot has permissions in.
    fn is_listed(&self, caller: &Caller, project: &Project) -> bool {
        project.is_public()
            || self.is_sysadmin(caller)
            || self.is_admin_of(caller, project)
            || self.require_system(caller, "project", "list").is_ok()
            || matches!(caller, Caller::Robot(id) if self.robots.get(id).is_some_and(|robot| {
                robot.permissions.iter().any(|permission| permission.covers(project.id))
            }))
    }

    fn project_json(&self, caller: &Caller, project: &Project) -> Value {
        let roles = if self.is_admin_of(caller, project) { vec![1] } else { Vec::new() };
        let mut shown = json!({
            "project_id": project.id, "name": project.name, "owner_id": 1, "owner_name": "admin",
            "creation_time": project.created.to_string(), "update_time": project.created.to_string(),
            "repo_count": project.repositories.len(), "metadata": project.metadata,
            "current_user_role_id": roles.first().unwrap_or(&0), "current_user_role_ids": roles,
            "cve_allowlist": {"id": 0, "items": [], "project_id": project.id},
        });
        if project.registry_id > 0 {
            shown["registry_id"] = json!(project.registry_id);
        } else if self.options.zero_registry_id {
            shown["registry_id"] = json!(0);
        }
        shown
    }
}

async fn list(call: Call) -> Answer {
    let query = Query::of(&call.uri)?;
    let (name, public) = (query.get("name").map(str::to_lowercase), query.boolean("public")?);
    let with_detail = query.boolean("with_detail")?.unwrap_or(true);
    let state = call.state();
    let mut shown: Vec<_> = state
        .projects
        .values()
        .filter(|project| state.is_listed(&call.caller, project))
        .filter(|project| name.as_ref().is_none_or(|name| project.name.contains(name)))
        .filter(|project| public.is_none_or(|public| project.is_public() == public))
        .filter(|project| query.lets("name", &project.name))
        .filter(|project| query.lets("public", &project.is_public().to_string()))
        .collect();
    match query.get("sort") {
        // No two are made at one time, and numbers are given in the order of making.
        Some("-creation_time") => shown.sort_by_key(|project| std::cmp::Reverse(project.id)),
        _ => shown.sort_by(|a, b| a.name.cmp(&b.name)),
    }
    let show = |project: &Project| {
        let mut json = state.project_json(&call.caller, project);
        // Without details there is no metadata, and so no visibility.
        if !with_detail {
            json["metadata"] = json!({});
        }
        json
    };
    Ok(query.answer(shown, show))
}

/// Whoever is logged in is told whether there is one, also of one that they do not see.
async fn exists(call: Call) -> Answer<StatusCode> {
    let query = Query::of(&call.uri)?;
    let name =
        query.get("project_name").ok_or_else(|| Refusal::parameter("project_name in query is required"))?;
    require_known(&call.caller)?;
    call.state().project_named(name).map(|_| StatusCode::OK).ok_or_else(|| Refusal::not_found("project"))
}

async fn create(call: Call, Payload(wanted): Payload<ProjectReq>) -> Answer {
    if wanted.project_name.len() > 255 {
        return Err(Refusal::parameter("project.project_name in body should be at most 255 chars long"));
    }
    require_known(&call.caller)?;
    let mut state = call.state();
    let by_anybody = !state.options.only_admins_create_projects;
    if !(state.is_sysadmin(&call.caller) || (by_anybody && matches!(call.caller, Caller::User(_)))) {
        state.require_system(&call.caller, "project", "create")?;
    }
    let mut metadata: BTreeMap<_, _> = wanted.metadata().collect();
    metadata.entry("public".to_owned()).or_insert_with(|| wanted.public.unwrap_or(false).to_string());
    if !["true", "false"].contains(&metadata["public"].as_str()) {
        return Err(Refusal::bad_request("metadata.public should only be 'true' or 'false'"));
    }
    if wanted.registry_id.is_some_and(|id| id <= 0) {
        return Err(Refusal::bad_request("invalid value of registry_id, it should be geater than 0"));
    }
    if !is_name(&wanted.project_name) {
        return Err(Refusal::bad_request("project name is not in lower case or contains illegal characters"));
    }
    if state.project_named(&wanted.project_name).is_some() {
        return Err(Refusal::conflict(format!("The project named {}", wanted.project_name)));
    }
    let id = state.add_project(&wanted.project_name, false);
    let project = state.projects.get_mut(&id).unwrap();
    project.metadata = metadata;
    project.registry_id = wanted.registry_id.unwrap_or(0);
    project.hard = wanted.storage_limit.filter(|limit| *limit != 0).unwrap_or(-1);
    if let Caller::User(name) = &call.caller {
        state.users.get_mut(name).unwrap().admin_of.insert(id);
    }
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("{}/{id}", call.uri.path()))]).into_response())
}

async fn one(call: Call, Path(name): Path<String>) -> Answer {
    let state = call.state();
    let project = call.project(&state, &name, "read")?;
    Ok(Json(state.project_json(&call.caller, &project)).into_response())
}

async fn update(
    call: Call,
    Path(name): Path<String>,
    Payload(wanted): Payload<ProjectReq>,
) -> Answer<StatusCode> {
    let mut state = call.state();
    let id = call.project(&state, &name, "update")?.id;
    // What is not named stays as it is.
    state.projects.get_mut(&id).unwrap().metadata.extend(wanted.metadata());
    Ok(StatusCode::OK)
}

async fn delete(call: Call, Path(name): Path<String>) -> Answer<StatusCode> {
    let mut state = call.state();
    let project = call.project(&state, &name, "delete")?;
    if !project.repositories.is_empty() {
        let message = "the project contains repositories, can not be deleted";
        return Err(Refusal::precondition(message));
    }
    state.remove_project(project.id);
    Ok(StatusCode::OK)
}

async fn summary(call: Call, Path(name): Path<String>) -> Answer<Response> {
    let state = call.state();
    let project = call.project(&state, &name, "read")?;
    let quota = if state.options.quotas && state.may(&call.caller, &project, "quota", "read") {
        json!({"hard": {"storage": project.hard}, "used": {"storage": project.used}})
    } else {
        Value::Null
    };
    Ok(Json(json!({"repo_count": project.repositories.len(), "quota": quota})).into_response())
}
