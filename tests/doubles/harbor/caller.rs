//! Who calls, and what they may do (goharbor/harbor, src/server/middleware/security and src/core/auth).

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::http::HeaderMap;

use super::refusal::{Answer, Refusal};
use super::state::{Permission, Project, Scope, State};
use crate::doubles::basic::basic;

/// Whoever calls. Wrong credentials make nobody a caller of their own: they are [`Caller::Anonymous`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    Anonymous,
    /// By name.
    User(String),
    /// By id.
    Robot(i64),
}

/// What everybody may do in a public project (src/common/rbac/project/rbac_role.go).
const PUBLIC: [(&str, &str); 5] = [
    ("project", "read"),
    ("repository", "list"),
    ("repository", "pull"),
    ("artifact", "list"),
    ("artifact", "read"),
];

impl Caller {
    /// Tells who calls. After a failed login it sleeps, and until then nobody of that name logs in, not even with the
    /// right password (src/core/auth/authenticator.go, `Login`). Robots are looked up before that and know no lock;
    /// but one whose secret is wrong goes on to be taken for a user, and sleeps as one. Without a database nobody is
    /// known, and nobody is locked for it.
    pub async fn of(headers: &HeaderMap, state: &Arc<Mutex<State>>) -> Self {
        let Some((name, password)) = basic(headers) else { return Self::Anonymous };
        let frozen = {
            let mut state = state.lock().unwrap();
            if state.database_away.is_some() {
                return Self::Anonymous;
            }
            if let Some(robot) = state.robots.values().find(|robot| {
                let rightful = !robot.disabled && !robot.has_expired() && robot.secret == password;
                rightful && state.full_name(robot) == name
            }) {
                return Self::Robot(robot.id);
            }
            if state.is_locked(&name) {
                return Self::Anonymous;
            }
            if state.users.get(&name).is_some_and(|user| user.password == password) {
                return Self::User(name);
            }
            state.failures.insert(name, Instant::now());
            state.options.frozen
        };
        tokio::time::sleep(frozen).await;
        Self::Anonymous
    }
}

impl State {
    /// Whether logins of this name fail whatever the password is.
    pub fn is_locked(&self, name: &str) -> bool {
        self.failures.get(name).is_some_and(|at| at.elapsed() <= self.options.frozen)
    }

    pub fn is_sysadmin(&self, caller: &Caller) -> bool {
        matches!(caller, Caller::User(name)
            if self.users.get(name).is_some_and(|user| user.sysadmin || user.sysadmin_by_group))
    }

    pub fn is_admin_of(&self, caller: &Caller, project: &Project) -> bool {
        matches!(caller, Caller::User(name)
            if self.users.get(name).is_some_and(|user| user.admin_of.contains(&project.id)))
    }

    /// Whether somebody may do this to a resource of this project.
    pub fn may(&self, caller: &Caller, project: &Project, resource: &str, action: &str) -> bool {
        self.is_sysadmin(caller)
            || self.is_admin_of(caller, project)
            || (project.is_public() && PUBLIC.contains(&(resource, action)))
            || self.robot_may(caller, resource, action, |permission| permission.covers(project.id))
    }

    fn robot_may(
        &self,
        caller: &Caller,
        resource: &str,
        action: &str,
        holds: impl Fn(&Permission) -> bool,
    ) -> bool {
        let Caller::Robot(id) = caller else { return false };
        let permissions = self.robots.get(id).map(|robot| robot.permissions.as_slice()).unwrap_or_default();
        permissions
            .iter()
            .filter(|permission| holds(permission))
            .any(|permission| permission.access.iter().any(|(r, a)| r == resource && a == action))
    }

    /// Refuses whoever may not do this to the whole system.
    pub fn require_system(&self, caller: &Caller, resource: &str, action: &str) -> Answer<()> {
        require_known(caller)?;
        let may = self.is_sysadmin(caller)
            || self.robot_may(caller, resource, action, |permission| permission.scope == Scope::System);
        if may { Ok(()) } else { Err(Refusal::forbidden()) }
    }

    /// The project, if the caller may do this to it. One that is missing is told to system administrators alone.
    pub fn require_project(
        &self,
        caller: &Caller,
        project: Option<&Project>,
        resource: &str,
        action: &str,
    ) -> Answer<Project> {
        match project {
            Some(project) if self.may(caller, project, resource, action) => Ok(project.clone()),
            None if self.is_sysadmin(caller) => Err(Refusal::not_found("project")),
            _ => {
                require_known(caller)?;
                Err(Refusal::forbidden())
            }
        }
    }
}

/// Refuses whoever is not logged in.
pub fn require_known(caller: &Caller) -> Answer<()> {
    if *caller == Caller::Anonymous { Err(Refusal::unauthorized()) } else { Ok(()) }
}
