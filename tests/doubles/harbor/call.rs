//! What a handler is told of a call.

use std::convert::Infallible;
use std::sync::{Arc, MutexGuard};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};

use super::Held;
use super::caller::{Caller, require_known};
use super::refusal::Answer;
use super::state::{Project, Robot, State};

/// A call, without its body.
pub struct Call {
    held: Held,
    pub caller: Caller,
    /// The whole of it, also below a prefix.
    pub uri: Uri,
    headers: HeaderMap,
}

impl FromRequestParts<Held> for Call {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, held: &Held) -> Result<Self, Infallible> {
        Ok(Self {
            held: Arc::clone(held),
            caller: parts.extensions.get::<Caller>().unwrap().clone(),
            uri: parts.extensions.get::<Uri>().unwrap().clone(),
            headers: parts.headers.clone(),
        })
    }
}

impl Call {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.held.lock().unwrap()
    }

    /// The project that a path names, if the caller may do this to it. A name of digits alone is an id, unless the header
    /// says otherwise, which it can from 2.2 on (src/server/v2.0/handler/util.go, `parseProjectNameOrID`).
    pub fn project(&self, state: &State, name_or_id: &str, action: &str) -> Answer<Project> {
        let is_name = state.is_at_least(2, 2)
            && self.headers.get("x-is-resource-name").is_some_and(|value| value.as_bytes() == b"true");
        let project = match name_or_id.parse() {
            Ok(id) if !is_name => state.projects.get(&id),
            _ => state.project_named(name_or_id),
        };
        state.require_project(&self.caller, project, "project", action)
    }

    /// The robot of this id, if the caller may do this to it. Whether there is one is told to whoever is logged in.
    pub fn robot(&self, state: &State, id: i64, action: &str) -> Answer<Robot> {
        require_known(&self.caller)?;
        let robot = state.robot(id)?;
        state.require_robots(&self.caller, robot.level(), robot.project, action)?;
        Ok(robot)
    }
}
