//! A test's hold on its Harbor: what it looks at and does behind the API's back.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::http::Method;
use jiff::SignedDuration;
use serde_json::Value;

use super::state::{Intervention, Project, Robot, State, User};
use super::{API, Held, Options, router};
use crate::doubles::faults::Fault;
use crate::doubles::serving::Served;

/// A running Harbor. Its address, its journal and its faults are those of the server that it is.
pub struct Harbor {
    served: Served,
    state: Held,
}

impl Deref for Harbor {
    type Target = Served;
    fn deref(&self) -> &Served {
        &self.served
    }
}

impl Harbor {
    /// One with the user `admin` and nothing else.
    pub fn start(options: Options) -> Self {
        let mut held = None;
        let served = Served::start(options.tls, |address| {
            let scheme = if options.tls.is_some() { "https" } else { "http" };
            let own = format!("{scheme}://{address}");
            let external_url = options.external_url.clone().unwrap_or(own);
            let state = Arc::new(Mutex::new(State::new(options, external_url)));
            held = Some(Arc::clone(&state));
            router(state)
        });
        Self { served, state: held.unwrap() }
    }

    /// The address of a call of the API.
    pub fn api(&self, path: &str) -> String {
        format!("{}{API}{path}", self.url())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change<T>(&self, project: &str, change: impl FnOnce(&mut Project) -> T) -> T {
        let mut state = self.state();
        let found = state.projects.values_mut().find(|found| found.name == project);
        change(found.unwrap_or_else(|| panic!("no project {project}")))
    }

    /// Its id.
    pub fn add_project(&self, name: &str, public: bool) -> i64 {
        self.state().add_project(name, public)
    }

    /// Private ones, `project-0000` and so on.
    pub fn add_projects(&self, count: usize) {
        let mut state = self.state();
        for number in 0..count {
            state.add_project(&format!("project-{number:04}"), false);
        }
    }

    /// A proxy cache of another registry.
    pub fn add_proxy_project(&self, name: &str, registry_id: i64) {
        self.add_project(name, false);
        self.change(name, |project| project.registry_id = registry_id);
    }

    /// With all that is in it, which the API would refuse.
    pub fn delete_project(&self, name: &str) {
        let mut state = self.state();
        let id = state.project_named(name).unwrap_or_else(|| panic!("no project {name}")).id;
        state.remove_project(id);
    }

    /// Makes a project public or private.
    pub fn flip(&self, name: &str, public: bool) {
        self.change(name, |project| project.metadata.insert("public".to_owned(), public.to_string()));
    }

    pub fn project(&self, name: &str) -> Option<Project> {
        self.state().project_named(name).cloned()
    }

    pub fn set_repositories(&self, project: &str, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.change(project, |project| project.repositories = names);
    }

    /// Bytes that a project's images take.
    pub fn set_used(&self, project: &str, bytes: i64) {
        self.change(project, |project| project.used = bytes);
    }

    /// Whether a project's vulnerability policy keeps its images back.
    pub fn set_blocked(&self, project: &str, blocked: bool) {
        self.change(project, |project| project.blocked = blocked);
    }

    /// All robots, by id.
    pub fn robots(&self) -> Vec<Robot> {
        self.state().robots.values().cloned().collect()
    }

    /// A robot as the API shows it.
    pub fn robot(&self, id: i64) -> Option<Value> {
        let state = self.state();
        state.robots.get(&id).map(|robot| state.robot_json(robot))
    }

    /// Makes a robot of the system as an administrator does who sends this body; its name and secret.
    pub async fn make_robot(&self, body: &Value) -> (String, String) {
        let password = self.state().users["admin"].password.clone();
        // Another test may have chosen the same one already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
        let call = client.post(self.api("/robots")).basic_auth("admin", Some(password)).json(body);
        let made: Value = call.send().await.unwrap().json().await.unwrap();
        let text = |member: &str| made[member].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        (text("name"), text("secret"))
    }

    /// As if all robots had been made so many days earlier.
    pub fn age_robots(&self, days: i64) {
        for robot in self.state().robots.values_mut() {
            robot.created -= SignedDuration::from_hours(24 * days);
            if robot.expires_at != -1 {
                robot.expires_at -= 24 * 3600 * days;
            }
        }
    }

    fn change_robot<T>(&self, id: i64, change: impl FnOnce(&mut Robot) -> T) -> T {
        change(self.state().robots.get_mut(&id).unwrap_or_else(|| panic!("no robot {id}")))
    }

    /// As an administrator does with the switch of the portal.
    pub fn disable_robot(&self, id: i64) {
        self.change_robot(id, |robot| robot.disabled = true);
    }

    pub fn enable_robot(&self, id: i64) {
        self.change_robot(id, |robot| robot.disabled = false);
    }

    /// Another secret, as an administrator makes with the portal's "refresh secret"; the old one is void.
    pub fn refresh_robot(&self, id: i64) {
        self.change_robot(id, |robot| "Refreshed12345".clone_into(&mut robot.secret));
    }

    pub fn describe_robot(&self, id: i64, description: &str) {
        self.change_robot(id, |robot| description.clone_into(&mut robot.description));
    }

    /// Deletes a project with all that is in it and makes another one of its name; its id.
    pub fn remake_project(&self, name: &str) -> i64 {
        self.state().remake_project(name)
    }

    /// The same just before the next call with this method to `/robots` and what is below, after the caller looked and
    /// before Harbor resolves names.
    pub fn remake_project_before(&self, method: &Method, name: &str) {
        let name = name.to_owned();
        let remake: Intervention = Box::new(move |state| {
            state.remake_project(&name);
        });
        self.state().interventions.push((method.clone(), format!("{API}/robots"), remake));
    }

    /// The switch just before the next `GET` of this path of the API, so after whoever asks listed the robots.
    pub fn disable_robot_before(&self, path: &str, id: i64) {
        let disable: Intervention = Box::new(move |state| state.robots.get_mut(&id).unwrap().disabled = true);
        self.state().interventions.push((Method::GET, format!("{API}{path}"), disable));
    }

    /// Every robot has another name from now on.
    pub fn set_robot_prefix(&self, prefix: &str) {
        prefix.clone_into(&mut self.state().options.robot_prefix);
    }

    /// A user without any right, to log in as.
    pub fn add_user(&self, name: &str, password: &str) {
        let mut state = self.state();
        let id = state.next_id();
        let user = User {
            id,
            password: password.to_owned(),
            sysadmin: false,
            sysadmin_by_group: false,
            admin_of: std::iter::empty().collect(),
        };
        state.users.insert(name.to_owned(), user);
    }

    pub fn make_project_admin(&self, user: &str, project: &str) {
        let mut state = self.state();
        let id = state.project_named(project).unwrap_or_else(|| panic!("no project {project}")).id;
        state.users.get_mut(user).unwrap().admin_of.insert(id);
    }

    pub fn revoke_sysadmin(&self, user: &str) {
        let mut state = self.state();
        let user = state.users.get_mut(user).unwrap();
        (user.sysadmin, user.sysadmin_by_group) = (false, false);
    }

    /// As the identity provider's group of administrators does.
    pub fn make_sysadmin_by_group(&self, user: &str) {
        self.state().users.get_mut(user).unwrap().sysadmin_by_group = true;
    }

    pub fn set_admin_password(&self, password: &str) {
        password.clone_into(&mut self.state().users.get_mut("admin").unwrap().password);
    }

    /// Whether nobody of this name can log in for now.
    pub fn is_locked(&self, user: &str) -> bool {
        self.state().is_locked(user)
    }

    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// Takes the database away. `GET /health` says for so long that it is healthy: a real one looks every ten seconds.
    /// With `None` it is back.
    pub fn set_database_away(&self, noticed_after: Option<Duration>) {
        self.state().database_away = noticed_after.map(|after| (Instant::now(), after));
    }

    /// As if somebody had failed to log in under this name just now.
    pub fn lock(&self, user: &str) {
        self.state().failures.insert(user.to_owned(), Instant::now());
    }

    pub fn set_version(&self, version: &'static str) {
        self.state().options.version = version;
    }

    pub fn set_quotas(&self, quotas: bool) {
        self.state().options.quotas = quotas;
    }

    /// Gives a component of `GET /health` an error.
    pub fn make_ill(&self, component: &str, error: &str) {
        self.state().ill.insert(component.to_owned(), error.to_owned());
    }

    /// The next creation of a robot is carried out, and nobody is told.
    pub fn lose_next_robot(&self) {
        self.lose_next(&Method::POST);
    }

    /// The same for the next call with this method to `/robots`.
    pub fn lose_next(&self, method: &Method) {
        self.faults.next_on(1, method, &format!("{API}/robots"), Fault::ClosedAfterwards);
    }
}

/// Whether somebody who logs in so may pull from a project, by a token and what it opens.
pub async fn can_pull(harbor: &Harbor, (username, password): (&str, &str), project: &str) -> bool {
    // The process's provider; another part may have chosen the same one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::new();
    let url = format!(
        "{}/service/token?service=harbor-registry&scope=repository:{project}/some:pull",
        harbor.url()
    );
    let answer = client.get(url).basic_auth(username, Some(password)).send().await.unwrap();
    if !answer.status().is_success() {
        return false;
    }
    let token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    let url = format!("{}/v2/{project}/some/tags/list", harbor.url());
    let status = client.get(url).bearer_auth(token).send().await.unwrap().status();
    assert!(matches!(status.as_u16(), 200 | 401 | 403 | 404), "{status}");
    matches!(status.as_u16(), 200 | 404)
}
