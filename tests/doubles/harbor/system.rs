//! What tells of the whole Harbor: health, version, totals, quotas and who is logged in.

use axum::extract::State as Of;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Held;
use super::call::Call;
use super::caller::{Caller, require_known};
use super::query::Query;
use super::refusal::{Answer, Refusal};
use super::state::Project;

/// In the order of `GET /health` (src/controller/health).
const COMPONENTS: [&str; 7] =
    ["core", "database", "jobservice", "portal", "redis", "registry", "registryctl"];

pub fn routes() -> Router<Held> {
    Router::new()
        .route("/ping", get(async || "Pong"))
        .route("/health", get(health))
        .route("/systeminfo", get(info))
        .route("/systeminfo/volumes", get(volumes))
        .route("/statistics", get(statistics))
        .route("/quotas", get(quotas))
        .route("/users/current", get(current_user))
}

/// 200 whatever the health is, and at once: what was found when the parts were last looked at (src/controller/health,
/// `PeriodicHealthChecker`).
async fn health(Of(state): Of<Held>) -> Json<Value> {
    let (away, mut ill) = {
        let state = state.lock().unwrap();
        (state.database_away, state.ill.clone())
    };
    if away.is_some_and(|(since, noticed_after)| since.elapsed() >= noticed_after) {
        ill.insert("database".to_owned(), "dial error".to_owned());
    }
    let components: Vec<_> = COMPONENTS
        .iter()
        .map(|name| match ill.get(*name) {
            Some(error) => json!({"name": name, "status": "unhealthy", "error": error}),
            None => json!({"name": name, "status": "healthy"}),
        })
        .collect();
    let status = if ill.is_empty() { "healthy" } else { "unhealthy" };
    Json(json!({"status": status, "components": components}))
}

/// The version is a tag and a commit, and not for everybody.
async fn info(call: Call) -> Json<Value> {
    let state = call.state();
    let mut shown = json!({"auth_mode": "db_auth", "self_registration": false, "banner_message": ""});
    if call.caller != Caller::Anonymous {
        shown["harbor_version"] = json!(format!("v{}-5a6c4bd8", state.options.version));
        shown["external_url"] = json!(state.external_url);
        shown["registry_url"] = json!(state.external_url.split("://").last());
        shown["read_only"] = json!(state.read_only);
        shown["project_creation_restriction"] =
            json!(if state.options.only_admins_create_projects { "adminonly" } else { "everyone" });
        shown["has_ca_root"] = json!(false);
        shown["current_time"] = json!(Timestamp::now().to_string());
    }
    Json(shown)
}

async fn volumes(call: Call) -> Answer<Json<Value>> {
    let state = call.state();
    state.require_system(&call.caller, "system-volumes", "read")?;
    Ok(Json(json!({"storage": [{"total": 1_000_000_000_000_u64, "free": 400_000_000_000_u64}]})))
}

/// Only system administrators are told the totals; others get zeros for them (src/server/v2.0/handler/statistic.go).
async fn statistics(call: Call) -> Answer<Json<Value>> {
    require_known(&call.caller)?;
    let state = call.state();
    let repositories = |of: &dyn Fn(&Project) -> bool| {
        let counted: Vec<_> = state.projects.values().filter(|project| of(project)).collect();
        (counted.len(), counted.iter().map(|project| project.repositories.len()).sum::<usize>())
    };
    let sysadmin = state.is_sysadmin(&call.caller);
    let (public, public_repositories) = repositories(&Project::is_public);
    let (private, private_repositories) = repositories(&|project| {
        !project.is_public() && (sysadmin || state.is_admin_of(&call.caller, project))
    });
    let total = |count: usize| if sysadmin { count } else { 0 };
    let mut shown = json!({
        "public_project_count": public, "public_repo_count": public_repositories,
        "private_project_count": private, "private_repo_count": private_repositories,
        "total_project_count": total(public + private),
        "total_repo_count": total(public_repositories + private_repositories),
    });
    if state.is_at_least(2, 3) {
        let used: i64 = state.projects.values().map(|project| project.used).sum();
        shown["total_storage_consumption"] = json!(if sysadmin { used } else { 0 });
    }
    Ok(Json(shown))
}

async fn quotas(call: Call) -> Answer<Response> {
    let state = call.state();
    state.require_system(&call.caller, "quota", "list")?;
    let query = Query::of(&call.uri)?;
    let of_projects = query.get("reference").is_none_or(|reference| reference == "project");
    let one = query.get("reference_id");
    let shown = state
        .projects
        .values()
        .filter(|_| of_projects && state.options.quotas)
        .filter(|project| one.is_none_or(|id| id == project.id.to_string()))
        .map(|project| {
            json!({
                "id": project.id, "ref": {"id": project.id, "name": project.name, "owner_name": "admin"},
                "hard": {"storage": project.hard}, "used": {"storage": project.used},
            })
        })
        .collect();
    Ok(query.answer(shown, |quota| quota))
}

/// A robot is known and yet nobody here.
async fn current_user(call: Call) -> Answer {
    require_known(&call.caller)?;
    let state = call.state();
    let Caller::User(name) = &call.caller else {
        return Err(Refusal::precondition("get current user not available for security context: robot"));
    };
    let user = &state.users[name];
    Ok(Json(json!({
        "user_id": user.id, "username": name, "realname": name, "email": format!("{name}@example.com"),
        "sysadmin_flag": user.sysadmin, "admin_role_in_auth": user.sysadmin_by_group,
        "creation_time": "2024-01-01T00:00:00.000Z", "update_time": "2024-01-01T00:00:00.000Z",
    }))
    .into_response())
}
