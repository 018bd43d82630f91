//! What a Harbor knows: projects, users, robots and its settings.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use axum::http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Options;
use crate::doubles::forwarding::Forward;
use crate::doubles::jwt::Signer;

/// A project. Its visibility is a text in its metadata, as Harbor keeps it.
#[derive(Debug, Clone)]
pub struct Project {
    pub id: i64,
    pub name: String,
    pub metadata: BTreeMap<String, String>,
    /// Above 0 for a proxy cache.
    pub registry_id: i64,
    /// Without the project's name.
    pub repositories: BTreeSet<String>,
    /// Bytes.
    pub used: i64,
    /// Bytes, -1 without a limit.
    pub hard: i64,
    /// Its vulnerability policy keeps every image back.
    pub blocked: bool,
    pub created: Timestamp,
}

impl Project {
    pub fn is_public(&self) -> bool {
        self.metadata.get("public").is_some_and(|public| public.eq_ignore_ascii_case("true") || public == "1")
    }
}

/// Where a robot's permissions hold. Projects are kept by id: one made again under its name is another
/// (src/controller/robot, `toScope`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    System,
    AllProjects,
    Project(i64),
}

/// What a robot may do in one scope.
#[derive(Debug, Clone)]
pub struct Permission {
    pub scope: Scope,
    /// Resource and action.
    pub access: Vec<(String, String)>,
}

impl Permission {
    pub fn covers(&self, project: i64) -> bool {
        self.scope == Scope::AllProjects || self.scope == Scope::Project(project)
    }
}

#[derive(Debug, Clone)]
pub struct Robot {
    pub id: i64,
    /// As it is stored: without the prefix, and `project+name` on project level.
    pub stored_name: String,
    /// 0 on system level.
    pub project: i64,
    pub description: String,
    /// Days, -1 for ever.
    pub duration: i64,
    pub created: Timestamp,
    /// Unix seconds, -1 never.
    pub expires_at: i64,
    pub disabled: bool,
    pub secret: String,
    pub permissions: Vec<Permission>,
}

impl Robot {
    pub fn level(&self) -> &'static str {
        if self.project == 0 { "system" } else { "project" }
    }
    pub fn has_expired(&self) -> bool {
        self.expires_at != -1 && self.expires_at <= Timestamp::now().as_second()
    }
}

#[derive(Debug, Clone)]
pub struct User {
    pub id: i64,
    pub password: String,
    pub sysadmin: bool,
    /// System administrator through a group of the identity provider.
    pub sysadmin_by_group: bool,
    pub admin_of: BTreeSet<i64>,
}

pub struct State {
    pub options: Options,
    /// Of Harbor itself, as it wants to be called.
    pub external_url: String,
    pub projects: BTreeMap<i64, Project>,
    pub robots: BTreeMap<i64, Robot>,
    pub users: BTreeMap<String, User>,
    /// When somebody of this name last failed to log in.
    pub failures: HashMap<String, Instant>,
    pub read_only: bool,
    /// Since when the database does not answer, and after how long `GET /health` says so.
    pub database_away: Option<(Instant, Duration)>,
    /// The error of each component that has one.
    pub ill: BTreeMap<String, String>,
    /// Of the tokens for `/v2`.
    pub signer: Signer,
    /// Where the images are.
    pub registry: Option<Forward>,
    /// What happens behind the caller's back before the next call with this method to a path that begins so.
    pub interventions: Vec<(Method, String, Intervention)>,
    ids: i64,
}

pub type Intervention = Box<dyn FnOnce(&mut State) + Send>;

impl State {
    pub fn new(options: Options, external_url: String) -> Self {
        let admin = User {
            id: 1,
            password: options.admin_password.clone(),
            sysadmin: true,
            sysadmin_by_group: false,
            admin_of: BTreeSet::new(),
        };
        let registry = options.registry.as_deref().map(Forward::to);
        Self {
            options,
            external_url,
            projects: BTreeMap::new(),
            robots: BTreeMap::new(),
            users: BTreeMap::from([("admin".to_owned(), admin)]),
            failures: HashMap::new(),
            read_only: false,
            database_away: None,
            ill: BTreeMap::new(),
            signer: Signer::new(),
            registry,
            interventions: Vec::new(),
            ids: 1,
        }
    }

    /// No id is ever given twice.
    pub fn next_id(&mut self) -> i64 {
        self.ids += 1;
        self.ids
    }

    pub fn add_project(&mut self, name: &str, public: bool) -> i64 {
        let id = self.next_id();
        let metadata = BTreeMap::from([("public".to_owned(), public.to_string())]);
        let project = Project {
            id,
            name: name.to_owned(),
            metadata,
            registry_id: 0,
            repositories: BTreeSet::new(),
            used: 0,
            hard: -1,
            blocked: false,
            created: Timestamp::now(),
        };
        self.projects.insert(id, project);
        id
    }

    pub fn project_named(&self, name: &str) -> Option<&Project> {
        self.projects.values().find(|project| project.name == name)
    }

    /// Lets happen what was to happen before this call.
    pub fn intervene(&mut self, method: &Method, path: &str) {
        let is_due =
            |(on, below, _): &(Method, String, Intervention)| on == method && path.starts_with(below);
        if let Some(at) = self.interventions.iter().position(is_due) {
            let (.., intervention) = self.interventions.remove(at);
            intervention(self);
        }
    }

    /// Deletes a project with all that is in it and makes another one of its name; its id.
    pub fn remake_project(&mut self, name: &str) -> i64 {
        let id = self.project_named(name).unwrap_or_else(|| panic!("no project {name}")).id;
        self.remove_project(id);
        self.add_project(name, false)
    }

    /// Takes a project away, and the robots that are its own; those of the system keep a permission for an id that
    /// nothing has (src/server/v2.0/handler/project.go, `DeleteProject`).
    pub fn remove_project(&mut self, id: i64) {
        self.projects.remove(&id);
        self.robots.retain(|_, robot| robot.project != id);
        for user in self.users.values_mut() {
            user.admin_of.remove(&id);
        }
    }

    /// A robot's name as Harbor tells it: the prefix is put before it whenever it is read.
    pub fn full_name(&self, robot: &Robot) -> String {
        format!("{}{}", self.options.robot_prefix, robot.stored_name)
    }

    /// A robot as `GET /robots/{id}` shows it. Permissions for projects that are gone are left out.
    pub fn robot_json(&self, robot: &Robot) -> Value {
        let permissions: Vec<_> = robot.permissions.iter().filter_map(|p| self.permission_json(p)).collect();
        let mut shown = json!({
            "id": robot.id, "name": self.full_name(robot), "level": robot.level(),
            "duration": robot.duration, "expires_at": robot.expires_at, "disable": robot.disabled,
            "editable": true, "permissions": permissions,
            "creation_time": robot.created.to_string(), "update_time": robot.created.to_string(),
        });
        if !robot.description.is_empty() {
            shown["description"] = json!(robot.description);
        }
        shown
    }

    fn permission_json(&self, permission: &Permission) -> Option<Value> {
        let (kind, namespace) = match permission.scope {
            Scope::System => ("system", "/"),
            Scope::AllProjects => ("project", "*"),
            Scope::Project(id) => ("project", self.projects.get(&id)?.name.as_str()),
        };
        let access: Vec<_> =
            permission.access.iter().map(|(r, a)| json!({"resource": r, "action": a})).collect();
        Some(json!({"kind": kind, "namespace": namespace, "access": access}))
    }
}
