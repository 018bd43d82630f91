//! `/robots`, from 2.2 on (goharbor/harbor, src/server/v2.0/handler/robot.go and src/controller/robot).

use std::fmt::Write as _;

use aws_lc_rs::rand;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use axum::{Json, Router};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;

use super::Held;
use super::call::Call;
use super::caller::{Caller, require_known};
use super::payload::{Payload, is_name};
use super::query::{Match, Query};
use super::refusal::{Answer, Refusal};
use super::state::{Permission, Robot, Scope, State};

/// What a robot can be allowed in a project, as far as anybody here needs it (src/common/rbac/const.go).
const PROJECT_ACCESS: [(&str, &str); 14] = [
    ("project", "read"),
    ("project", "update"),
    ("quota", "read"),
    ("repository", "pull"),
    ("repository", "push"),
    ("repository", "list"),
    ("repository", "read"),
    ("repository", "delete"),
    ("artifact", "list"),
    ("artifact", "read"),
    ("robot", "list"),
    ("robot", "read"),
    ("robot", "create"),
    ("robot", "delete"),
];
/// The same for the whole system.
const SYSTEM_ACCESS: [(&str, &str); 8] = [
    ("project", "list"),
    ("project", "create"),
    ("quota", "list"),
    ("robot", "list"),
    ("robot", "read"),
    ("robot", "create"),
    ("robot", "delete"),
    ("system-volumes", "read"),
];
/// What a robot can be allowed from 2.12 on. To change robots is not among it.
const SINCE_2_12: [(&str, &str); 3] = [("robot", "create"), ("robot", "delete"), ("project", "create")];

/// A body of `POST` and `PUT`. In `POST` a `secret` and a `disable` are read by nobody.
#[derive(Deserialize, Default)]
#[serde(default)]
struct RobotReq {
    name: String,
    description: String,
    level: String,
    duration: Option<i64>,
    disable: bool,
    permissions: Vec<PermissionReq>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PermissionReq {
    kind: String,
    namespace: String,
    access: Vec<Access>,
}

#[derive(Deserialize)]
struct Access {
    resource: String,
    action: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SecretReq {
    secret: String,
}

pub fn routes() -> Router<Held> {
    Router::new()
        .route("/robots", get(list).post(create))
        .route("/robots/{id}", get(one).put(replace).patch(refresh).delete(delete))
}

impl RobotReq {
    fn check(&self, duration: i64, since_2_12: bool) -> Answer<()> {
        let wrong = |what: &str| Err(Refusal::bad_request(format!("bad request {what}")));
        if duration != -1 && !(1..i64::from(i32::MAX)).contains(&duration) {
            return wrong("error duration input: duration must be either -1(Never) or a positive integer");
        }
        if !["system", "project"].contains(&self.level.as_str()) {
            return wrong("error level input");
        }
        if self.permissions.is_empty() {
            return wrong("empty permission");
        }
        if self.permissions.iter().any(|permission| permission.access.is_empty()) {
            return wrong("empty access");
        }
        if self.level == "project" && self.permissions.len() > 1 {
            return wrong("permission");
        }
        for permission in &self.permissions {
            let known = match permission.kind.as_str() {
                "system" => SYSTEM_ACCESS.as_slice(),
                "project" => PROJECT_ACCESS.as_slice(),
                _ => return wrong("permission level"),
            };
            let is_known = |a: &Access| {
                let access = (a.resource.as_str(), a.action.as_str());
                known.contains(&access) && (since_2_12 || !SINCE_2_12.contains(&access))
            };
            if !permission.access.iter().all(is_known) {
                return wrong("permission");
            }
        }
        Ok(())
    }
}

impl State {
    /// Refuses whoever may not do this to robots of this level; 0 is the project that is missing or none.
    pub fn require_robots(&self, caller: &Caller, level: &str, project: i64, action: &str) -> Answer<()> {
        if level == "system" {
            return self.require_system(caller, "robot", action);
        }
        self.require_project(caller, self.projects.get(&project), "robot", action).map(|_| ())
    }

    pub fn robot(&self, id: i64) -> Answer<Robot> {
        self.robots.get(&id).cloned().ok_or_else(|| Refusal::not_found(format!("robot {id}")))
    }

    /// A robot passes on what it has and no more (src/server/v2.0/handler/robot.go, `isValidPermissionScope`).
    fn require_subset(&self, caller: &Caller, wanted: &[Permission]) -> Answer<()> {
        let Caller::Robot(id) = caller else { return Ok(()) };
        let own = &self.robots[id].permissions;
        let covers = |mine: &Permission, scope| {
            mine.scope == scope || (mine.scope == Scope::AllProjects && matches!(scope, Scope::Project(_)))
        };
        let may = |scope, access| own.iter().any(|mine| covers(mine, scope) && mine.access.contains(access));
        if wanted.iter().all(|wanted| wanted.access.iter().all(|access| may(wanted.scope, access))) {
            Ok(())
        } else {
            Err(Refusal::forbidden())
        }
    }

    /// Every namespace must be there.
    fn permissions(&self, wanted: &[PermissionReq]) -> Answer<Vec<Permission>> {
        let scope =
            |permission: &PermissionReq| match (permission.kind.as_str(), permission.namespace.as_str()) {
                ("system", "/") => Ok(Scope::System),
                ("system", _) => Err(Refusal::bad_request("unknown namespace")),
                (_, "*") => Ok(Scope::AllProjects),
                (_, name) => {
                    let project = self.project_named(name);
                    project
                        .map(|project| Scope::Project(project.id))
                        .ok_or_else(|| Refusal::not_found("project"))
                }
            };
        let access = |a: &Access| (a.resource.clone(), a.action.clone());
        wanted
            .iter()
            .map(|p| Ok(Permission { scope: scope(p)?, access: p.access.iter().map(access).collect() }))
            .collect()
    }

    fn project_of_permission(&self, wanted: &RobotReq) -> i64 {
        let name = wanted.permissions.first().map(|permission| permission.namespace.as_str());
        name.and_then(|name| self.project_named(name)).map_or(0, |project| project.id)
    }
}

async fn create(call: Call, Payload(wanted): Payload<RobotReq>) -> Answer {
    if !is_name(&wanted.name) {
        return Err(Refusal::bad_request("robot name is not in lower case or contains illegal characters"));
    }
    let duration = wanted.duration.unwrap_or(0);
    let mut state = call.state();
    wanted.check(duration, state.is_at_least(2, 12))?;
    let project = if wanted.level == "project" { state.project_of_permission(&wanted) } else { 0 };
    state.require_robots(&call.caller, &wanted.level, project, "create")?;
    let permissions = state.permissions(&wanted.permissions)?;
    state.require_subset(&call.caller, &permissions)?;
    let stored_name = match state.projects.get(&project) {
        Some(project) => format!("{}+{}", project.name, wanted.name),
        None => wanted.name,
    };
    if state.robots.values().any(|robot| robot.stored_name == stored_name) {
        return Err(Refusal::conflict(format!("robot account {stored_name}")));
    }
    let created = Timestamp::now();
    let robot = Robot {
        id: state.next_id(),
        stored_name,
        project,
        description: wanted.description,
        duration,
        created,
        expires_at: expiry(created, duration),
        disabled: false,
        secret: new_secret(),
        permissions,
    };
    let location = format!("{}/{}", call.uri.path(), robot.id);
    let shown = json!({
        "id": robot.id, "name": state.full_name(&robot), "secret": robot.secret,
        "creation_time": created.to_string(), "expires_at": robot.expires_at,
    });
    state.robots.insert(robot.id, robot);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(shown)).into_response())
}

/// Without a `Level` these are those of the system. With `Level=system` too from 2.13 on, and before they are all: it asks
/// for the right to list them, but no robot is left out for its level. With `Level=project` a `ProjectID` is needed.
async fn list(call: Call) -> Answer {
    require_known(&call.caller)?;
    let query = Query::of(&call.uri)?;
    let state = call.state();
    let project = match (query.keyword("Level"), query.keyword("ProjectID")) {
        (None, _) => Some(0),
        (Some(Match::Exact(level)), _) if level == "system" => state.is_at_least(2, 13).then_some(0),
        (Some(Match::Exact(level)), Some(Match::Exact(id))) if level == "project" => {
            Some(id.parse().map_err(|_| Refusal::bad_request("Project ID must be int type."))?)
        }
        (Some(Match::Exact(level)), None) if level == "project" => {
            return Err(Refusal::bad_request("must with project ID when to query project robots"));
        }
        _ => return Err(Refusal::bad_request("bad request error level input")),
    };
    let level = if project.is_some_and(|project| project != 0) { "project" } else { "system" };
    state.require_robots(&call.caller, level, project.unwrap_or(0), "list")?;
    let mut shown: Vec<_> = state
        .robots
        .values()
        .filter(|robot| project.is_none_or(|project| robot.project == project))
        .filter(|robot| query.lets("name", &robot.stored_name))
        .collect();
    shown.sort_by(|a, b| a.stored_name.cmp(&b.stored_name));
    Ok(query.answer(shown, |robot| state.robot_json(robot)))
}

async fn one(call: Call, Path(id): Path<i64>) -> Answer {
    let state = call.state();
    let robot = call.robot(&state, id, "read")?;
    Ok(Json(state.robot_json(&robot)).into_response())
}

async fn delete(call: Call, Path(id): Path<i64>) -> Answer<StatusCode> {
    let mut state = call.state();
    call.robot(&state, id, "delete")?;
    state.robots.remove(&id);
    Ok(StatusCode::OK)
}

/// A secret that the caller chose is taken and not repeated; else a new one is made. The old one ends at once.
async fn refresh(call: Call, Path(id): Path<i64>, Payload(wanted): Payload<SecretReq>) -> Answer {
    let mut state = call.state();
    call.robot(&state, id, "update")?;
    let (secret, told) = match wanted.secret {
        chosen if chosen.is_empty() => {
            let made = new_secret();
            (made.clone(), made)
        }
        chosen if is_secret(&chosen) => (chosen, String::new()),
        _ => {
            let message = "the secret must be 8-128, inclusively, characters long with at least 1 uppercase \
                letter, 1 lowercase letter and 1 number";
            return Err(Refusal::bad_request(message));
        }
    };
    state.robots.get_mut(&id).unwrap().secret = secret;
    Ok(Json(json!({"secret": told})).into_response())
}

/// What the body does not hold is gone. Expiry counts from the creation.
async fn replace(call: Call, Path(id): Path<i64>, Payload(wanted): Payload<RobotReq>) -> Answer<StatusCode> {
    require_known(&call.caller)?;
    let mut state = call.state();
    let mut robot = state.robot(id)?;
    let duration = wanted.duration.unwrap_or(robot.duration);
    wanted.check(duration, state.is_at_least(2, 12))?;
    let project = state.project_of_permission(&wanted);
    if robot.project != 0 {
        if project == 0 {
            return Err(Refusal::not_found("project"));
        }
        if project != robot.project {
            return Err(Refusal::bad_request("cannot update the project id of robot"));
        }
    }
    state.require_robots(&call.caller, &wanted.level, project, "update")?;
    if wanted.level != robot.level() || wanted.name != state.full_name(&robot) {
        return Err(Refusal::bad_request("cannot update the level or name of robot"));
    }
    robot.permissions = state.permissions(&wanted.permissions)?;
    if duration != robot.duration {
        robot.duration = duration;
        robot.expires_at = expiry(robot.created, duration);
    }
    robot.description = wanted.description;
    robot.disabled = wanted.disable;
    state.robots.insert(id, robot);
    Ok(StatusCode::OK)
}

/// Unix seconds, -1 never.
fn expiry(created: Timestamp, days: i64) -> i64 {
    if days == -1 { -1 } else { (created + SignedDuration::from_hours(24 * days)).as_second() }
}

fn is_secret(secret: &str) -> bool {
    (8..=128).contains(&secret.len())
        && secret.bytes().any(|c| c.is_ascii_lowercase())
        && secret.bytes().any(|c| c.is_ascii_uppercase())
        && secret.bytes().any(|c| c.is_ascii_digit())
}

fn new_secret() -> String {
    let mut random = [0; 15];
    rand::fill(&mut random).unwrap();
    random.iter().fold("aA1".to_owned(), |mut secret, byte| {
        write!(secret, "{byte:02x}").unwrap();
        secret
    })
}
