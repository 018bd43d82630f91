//! A Harbor's robot accounts, which pull and do nothing else.
//!
//! The name that was given gets a prefix that an administrator may change at any time, so the name of the answer counts,
//! and accounts are found by their own part. A secret is told once.

use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Harbor;
use crate::domain::record::Name;
use crate::registry::fault::Fault;
use crate::registry::http::{Call, Login};
use crate::store::manifest::RobotLevel;

/// Accounts of a page.
const PAGE: usize = 100;
/// Pages that are read at the most.
const PAGES: usize = 100;
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

    /// Whether it may pull from exactly these projects, which are sorted, and do nothing else.
    pub fn covers(&self, projects: &[Name]) -> bool {
        let mut named: Vec<&Name> = self.permissions.iter().map(|p| &p.namespace).collect();
        named.sort_unstable();
        let pulls = |p: &Permission| {
            p.kind == "project"
                && matches!(p.access.as_slice(), [a] if a.resource == "repository" && a.action == "pull")
        };
        named.into_iter().eq(projects) && self.permissions.iter().all(pulls)
    }

    /// Whether its own name is this one, whatever the prefix.
    pub fn is_called(&self, name: &str) -> bool {
        self.name
            .strip_suffix(name)
            .is_some_and(|prefix| !prefix.ends_with(|c: char| c.is_ascii_alphanumeric()))
    }
}

impl Harbor {
    /// System-level accounts whose names hold `name`, or those of a project.
    ///
    /// # Errors
    /// A page could not be read.
    pub async fn robots(&self, name: &str, project: Option<i64>) -> Result<Vec<Robot>, Fault> {
        let q = match project {
            None => format!("Level=system,name=~{name}"),
            Some(id) => format!("Level=project,ProjectID={id},name=~{name}"),
        };
        let mut robots = Vec::new();
        for page in 1..=PAGES {
            let (page, size) = (page.to_string(), PAGE.to_string());
            let query = [("q", q.as_str()), ("page", page.as_str()), ("page_size", size.as_str())];
            let more: Vec<Robot> = self.read(self.get("/robots", &query), "list robot accounts").await?;
            let last = more.len() < PAGE;
            // Whatever level was asked for, others may be among them.
            let level = if project.is_some() { RobotLevel::Project } else { RobotLevel::System };
            robots.extend(more.into_iter().filter(|robot| robot.level == self::level(level)));
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
        // All is replaced: what is left out would be lost, and level and name must be as they are.
        let body = json!({
            "id": robot.id,
            "name": robot.name,
            "level": robot.level,
            "description": robot.description,
            "duration": robot.duration,
            "disable": false,
            "permissions": permissions(projects),
        });
        let call = self.request(Method::PUT, &format!("/robots/{}", robot.id), &[]).body(body);
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
