//! A Harbor's robot accounts, which pull and do nothing else.
//!
//! The name that was given gets a prefix that an administrator may change at any time, so the name of the answer counts,
//! and accounts are found by their own part. A secret is told once.

use std::collections::HashMap;

use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Harbor;
use crate::domain::record::Name;
use crate::registry::fault::Fault;
use crate::registry::http::{Call, Login};
use crate::types::v1alpha1::RobotLevel;

/// Accounts of a page.
const PAGE: usize = 100;
/// Pages that are read at the most.
const PAGES: usize = 100;
/// Projects whose numbers are asked for one by one; of more, all are read.
const ONE_BY_ONE: usize = 3;
/// A repository that is nowhere: to pull it is granted or not, and it is not found.
const PROBE: &str = "pullgate-probe";

/// An account as Harbor lists it.
#[derive(Debug, Clone, Deserialize)]
pub struct Robot {
    pub id: i64,
    /// With the prefix, and for a project's account with the project's name.
    pub name: String,
    #[serde(default)]
    pub description: String,
    level: String,
    #[serde(default)]
    pub disable: bool,
    duration: i64,
    /// Unix seconds; below 0: never.
    expires_at: i64,
    #[serde(default)]
    permissions: Vec<Permission>,
}

#[derive(Debug, Clone, Deserialize)]
struct Permission {
    kind: String,
    namespace: Name,
    #[serde(default)]
    access: Vec<Access>,
}

#[derive(Debug, Clone, Deserialize)]
struct Access {
    resource: String,
    action: String,
}

/// What a new account is to be.
#[derive(Debug, Clone)]
pub struct NewRobot<'a> {
    /// Without prefix.
    pub name: &'a str,
    pub level: RobotLevel,
    pub description: &'a str,
    /// Days that it lives.
    pub days: i64,
    /// Projects that it may pull from; for [`RobotLevel::Project`] exactly one.
    pub projects: &'a [Name],
}

/// An account and its secret, which Harbor tells once.
#[derive(Debug, Clone)]
pub struct RobotAccount {
    pub id: i64,
    pub name: String,
    pub secret: SecretString,
    /// Unix seconds; below 0: never.
    pub expires_at: i64,
}

#[derive(Deserialize)]
struct Made {
    id: i64,
    name: String,
    secret: SecretString,
    expires_at: i64,
}

#[derive(Deserialize)]
struct Refreshed {
    secret: SecretString,
}

impl Robot {
    /// When Harbor takes it no more, in Unix seconds; `None`: never.
    pub fn expires_at(&self) -> Option<i64> {
        (self.expires_at >= 0).then_some(self.expires_at)
    }

    /// How long it lives from its making on, in seconds.
    pub fn life(&self) -> i64 {
        self.duration.max(0).saturating_mul(24 * 3600)
    }

    /// Whether it may do this to the whole system, or to all projects.
    pub(super) fn may(&self, kind: &str, resource: &str, action: &str) -> bool {
        let everywhere = |p: &&Permission| p.kind == kind && ["/", "*"].contains(&&*p.namespace);
        let mut access = self.permissions.iter().filter(everywhere).flat_map(|p| &p.access);
        access.any(|a| a.resource == resource && a.action == action)
    }

    /// Whether it may pull from exactly these projects, which are sorted, and do nothing else.
    pub fn covers(&self, projects: &[Name]) -> bool {
        let mut named: Vec<&Name> = self.permissions.iter().map(|p| &p.namespace).collect();
        named.sort_unstable();
        named.into_iter().eq(projects) && self.permissions.iter().all(is_pull)
    }

    /// When it was made, in Unix seconds, as its end tells; 0 where it has none.
    pub fn made_at(&self) -> i64 {
        self.expires_at().map_or(0, |end| end - self.life())
    }

    /// Takes note of what it may pull from since a change.
    pub fn set_projects(&mut self, projects: &[Name]) {
        let access = || vec![Access { resource: "repository".to_owned(), action: "pull".to_owned() }];
        let permission = |namespace: &Name| Permission {
            kind: "project".to_owned(),
            namespace: namespace.clone(),
            access: access(),
        };
        self.permissions = projects.iter().map(permission).collect();
    }

    /// Whether it may do anything in another project than these, or anything but pull.
    pub fn exceeds(&self, projects: &[Name]) -> bool {
        !self.permissions.iter().all(|p| is_pull(p) && projects.contains(&p.namespace))
    }
}

fn is_pull(permission: &Permission) -> bool {
    permission.kind == "project"
        && matches!(permission.access.as_slice(), [a] if a.resource == "repository" && a.action == "pull")
}

impl Harbor {
    /// Accounts whose names hold `name`, prefixes aside: those of a project, or without one those of the system, among which
    /// Harbor lists those of projects too before version 2.13.
    ///
    /// # Errors
    /// A page could not be read.
    pub async fn robots(&self, name: &str, project: Option<i64>) -> Result<Vec<Robot>, Fault> {
        let (q, to) = match project {
            None if name.is_empty() => ("Level=system".to_owned(), "list robot accounts"),
            None => (format!("Level=system,name=~{name}"), "list robot accounts"),
            // A robot that may list those of the system needs another right for these.
            Some(id) => (
                format!("Level=project,ProjectID={id},name=~{name}"),
                "list robot accounts in projects (project robot:list)",
            ),
        };
        let mut robots = Vec::new();
        for page in 1..=PAGES {
            let (page, size) = (page.to_string(), PAGE.to_string());
            let query = [("q", q.as_str()), ("page", page.as_str()), ("page_size", size.as_str())];
            let more: Vec<Robot> = self.read(self.get("/robots", &query), to).await?;
            let last = more.len() < PAGE;
            robots.extend(more);
            if last {
                return Ok(robots);
            }
        }
        Err(Fault::TooMany(PAGES * PAGE, "robot accounts of this installation"))
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`Fault::Conflict`] where there is one of that name. After any other the account may be there all the same.
    pub async fn mint(&self, new: &NewRobot<'_>) -> Result<RobotAccount, Fault> {
        let level = level(new.level);
        let body = json!({
            "name": new.name,
            "level": level,
            "description": new.description,
            "duration": new.days,
            "permissions": permissions(new.projects),
        });
        let call = self.request(Method::POST, "/robots", &[]).body(body);
        let answer = self.own(call, "make robot accounts").await?;
        let Made { id, name, secret, expires_at } = answer.json("robots")?;
        Ok(RobotAccount { id, name, secret, expires_at })
    }

    /// Lets an account pull from these projects and no others. At least one; every one must exist.
    ///
    /// # Errors
    /// It covers what it covered, or whether it changed is not known.
    pub async fn cover(&self, robot: &Robot, projects: &[Name]) -> Result<(), Fault> {
        // All is replaced: what is left out would be lost, and level and name must be as they are. As they are now: an
        // administrator may have disabled it since it was listed, and would find it enabled again.
        let path = format!("/robots/{}", robot.id);
        let robot: Robot = self.read(self.get(&path, &[]), "change robot accounts").await?;
        let body = json!({
            "id": robot.id,
            "name": robot.name,
            "level": robot.level,
            "description": robot.description,
            "duration": robot.duration,
            "disable": robot.disable,
            "permissions": permissions(projects),
        });
        let call = self.request(Method::PUT, &path, &[]).body(body);
        self.own(call, "change robot accounts").await.map(drop)
    }

    /// Gives an account another secret; the old one is void at once, and the time of its expiry stays.
    ///
    /// # Errors
    /// Which secret it has is not known.
    pub async fn refresh(&self, robot: &Robot) -> Result<RobotAccount, Fault> {
        let call = self.request(Method::PATCH, &format!("/robots/{}", robot.id), &[]);
        let answer = self.own(call.body(json!({"secret": ""})), "change robot accounts").await?;
        let Refreshed { secret } = answer.json("robots")?;
        Ok(RobotAccount { id: robot.id, name: robot.name.clone(), secret, expires_at: robot.expires_at })
    }

    /// Deletes an account; one that is gone is no fault.
    ///
    /// # Errors
    /// It may still be there.
    pub async fn remove_robot(&self, id: i64) -> Result<(), Fault> {
        let call = self.request(Method::DELETE, &format!("/robots/{id}"), &[]);
        match self.own(call, "delete robot accounts").await {
            Err(Fault::NotFound) | Ok(_) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Whether Harbor takes an account's secret. A refusal counts only where Harbor says that it can look secrets up: while
    /// its database is away it refuses every one.
    ///
    /// # Errors
    /// That cannot be told now.
    pub async fn accepts(&self, username: &str, password: &SecretString) -> Result<bool, Fault> {
        if self.logs_in(username, password).await? {
            return Ok(true);
        }
        self.can_check().await.map_err(Fault::CredentialsNotChecked)?;
        self.logs_in(username, password).await
    }

    async fn logs_in(&self, username: &str, password: &SecretString) -> Result<bool, Fault> {
        let login = Login::As { username: username.to_owned(), password: password.clone() };
        match self.http.call(self.get("/users/current", &[]).login(login)).await?.status {
            StatusCode::UNAUTHORIZED => Ok(false),
            // A robot is no user.
            StatusCode::PRECONDITION_FAILED | StatusCode::OK => Ok(true),
            status => Err(Fault::Rejected(status.as_u16())),
        }
    }

    /// The numbers of these projects; those that are not there, or not to be seen, are left out.
    ///
    /// # Errors
    /// They could not be asked for.
    pub async fn project_ids(&self, names: &[&Name]) -> Result<HashMap<Name, i64>, Fault> {
        let mut ids = HashMap::new();
        if names.len() > ONE_BY_ONE {
            let found = self.projects(&|_, _| {}).await?;
            let found = found.into_iter().filter(|found| names.contains(&&found.path));
            ids.extend(found.filter_map(|found| Some((found.path, found.id?))));
        }
        // What a list lacks may be there all the same: to an account that fails to log in it is that of nobody.
        for name in names {
            if ids.contains_key(*name) {
                continue;
            }
            match self.project_id(name).await {
                Ok(id) => drop(ids.insert((*name).clone(), id)),
                Err(Fault::NotFound | Fault::NotPermitted(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(ids)
    }

    /// Whether an account can pull from a project: with a real token, and a real question with it, since a token is
    /// given also where nothing is granted.
    ///
    /// # Errors
    /// It was not answered.
    pub async fn can_pull(&self, account: &RobotAccount, project: &str) -> Result<bool, Fault> {
        #[derive(Deserialize)]
        struct Token {
            token: SecretString,
        }
        let mut url = self.http.url("/service/token");
        let scope = format!("repository:{project}/{PROBE}:pull");
        url.query_pairs_mut().append_pair("service", "harbor-registry").append_pair("scope", &scope);
        let login = Login::As { username: account.name.clone(), password: account.secret.clone() };
        let answer = self.http.call(Call::new(Method::GET, url).login(login)).await?;
        if !answer.status.is_success() {
            return Ok(false);
        }
        let Token { token } = answer.json("service/token")?;
        let probe = self.http.url(&format!("/v2/{project}/{PROBE}/tags/list"));
        let answer = self.http.call(Call::new(Method::GET, probe).login(Login::Bearer(token))).await?;
        Ok(matches!(answer.status, StatusCode::OK | StatusCode::NOT_FOUND))
    }
}

fn level(level: RobotLevel) -> &'static str {
    match level {
        RobotLevel::System => "system",
        RobotLevel::Project => "project",
    }
}

fn permissions(projects: &[Name]) -> Value {
    let pull = json!([{"resource": "repository", "action": "pull"}]);
    projects.iter().map(|project| json!({"kind": "project", "namespace": project, "access": pull})).collect()
}
