//! What a robot account may do that integrates a Harbor, and what it would need.
//!
//! From 2.12 on a robot can be allowed to make and delete others, with no more rights than it has itself. To change one
//! (`PUT`, `PATCH`) can be allowed to none, so accounts are replaced instead.

use serde_json::{Value, json};

use super::Harbor;
use super::robots::Robot;
use crate::registry::fault::Fault;

/// Where such accounts can be made, as numbers and for people.
pub const OLDEST: (u32, u32) = (2, 12);
pub const OLDEST_TEXT: &str = "2.12";
/// Days that the account lives which [`account`] asks for: for ever, since nobody renews it.
const NEVER: i64 = -1;

/// Something that an account is to do here, and how Harbor calls the right to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Right {
    /// `system`, or `project` for all projects.
    kind: &'static str,
    resource: &'static str,
    action: &'static str,
    /// What it is for.
    to: &'static str,
}

const fn right(kind: &'static str, resource: &'static str, action: &'static str, to: &'static str) -> Right {
    Right { kind, resource, action, to }
}

const SYSTEM: &str = "system";
const PROJECT: &str = "project";

/// All that pullgate uses.
const RIGHTS: [Right; 10] = [
    right(SYSTEM, "robot", "create", "make pull accounts"),
    right(SYSTEM, "robot", "list", "list pull accounts"),
    right(SYSTEM, "robot", "read", "read pull accounts"),
    right(SYSTEM, "robot", "delete", "delete pull accounts"),
    right(SYSTEM, "project", "list", "list all projects"),
    right(SYSTEM, "project", "create", "make projects"),
    right(SYSTEM, "quota", "list", "read what projects hold"),
    right(PROJECT, "project", "read", "read projects"),
    right(PROJECT, "project", "update", "make projects public or private"),
    right(PROJECT, "repository", "pull", "let pull accounts pull"),
];

/// What is used only where an earlier integrating account, of a project admin, left pull accounts in projects. One that
/// lacks it does all else.
const OF_LEFTOVERS: [Right; 2] = [
    right(PROJECT, "robot", "list", "list pull accounts of projects"),
    right(PROJECT, "robot", "delete", "delete pull accounts of projects"),
];

/// Which of the rights that pullgate uses a robot account has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rights {
    /// A bit for each of [`RIGHTS`].
    held: u16,
    /// Harbor told them. It does to whoever may list accounts.
    told: bool,
}

impl Rights {
    fn of(robot: &Robot) -> Self {
        let held = |(bit, right): (usize, &Right)| {
            u16::from(robot.may(right.kind, right.resource, right.action)) << bit
        };
        Self { held: RIGHTS.iter().enumerate().map(held).sum(), told: true }
    }

    fn has(self, kind: &str, resource: &str, action: &str) -> bool {
        let wanted = |right: &Right| (right.kind, right.resource, right.action) == (kind, resource, action);
        RIGHTS.iter().enumerate().any(|(bit, right)| wanted(right) && self.held & (1 << bit) != 0)
    }

    /// What it may not, in words, with Harbor's name of the right; `None` where nothing lacks.
    pub fn missing(self) -> Option<String> {
        let is_list = |right: &Right| (right.kind, right.resource, right.action) == (SYSTEM, "robot", "list");
        let missing = RIGHTS
            .iter()
            .enumerate()
            .filter(|(bit, right)| if self.told { self.held & (1 << bit) == 0 } else { is_list(right) });
        let missing: Vec<String> =
            missing.map(|(_, r)| format!("{} ({} {}:{})", r.to, r.kind, r.resource, r.action)).collect();
        let rest = if self.told { "" } else { ", and without that Harbor does not tell what else it may" };
        (!missing.is_empty()).then(|| format!("{}{rest}", missing.join(", ")))
    }

    /// Whether it can keep pull accounts of the whole system.
    pub fn keeps_accounts(self) -> bool {
        ["create", "list", "delete"].into_iter().all(|action| self.has(SYSTEM, "robot", action))
            && self.has(PROJECT, "repository", "pull")
    }

    /// Whether what projects hold can be asked for at once.
    pub fn reads_quotas(self) -> bool {
        self.has(SYSTEM, "quota", "list")
    }
}

impl Harbor {
    /// What the robot account may do that is the integrating one. It is told to whoever may list accounts; to others
    /// nothing of it is.
    pub(super) async fn rights(&self) -> Result<Rights, Fault> {
        let name = self.http.username().unwrap_or_default();
        // Accounts are found by their own part, and where the prefix ends only Harbor knows: after its last sign that no
        // name may hold, or, where it has none, anywhere.
        let own = name.rsplit(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)).next();
        for part in [own.unwrap_or_default(), ""] {
            match self.robots(part, None).await {
                Ok(robots) => {
                    if let Some(robot) = robots.iter().find(|robot| robot.name == name) {
                        return Ok(Rights::of(robot));
                    }
                }
                Err(Fault::NotPermitted(_)) => return Ok(Rights::default()),
                Err(fault) => return Err(fault),
            }
        }
        // An account of one project: what it may there is no right to the system.
        Ok(Rights { held: 0, told: true })
    }
}

/// The body of `POST /api/v2.0/robots` for an account that may do all that pullgate uses, and nothing else.
pub fn account(name: &str) -> Value {
    let access = |kind: &str| -> Vec<Value> {
        let of = RIGHTS.iter().chain(&OF_LEFTOVERS).filter(|right| right.kind == kind);
        of.map(|right| json!({"resource": right.resource, "action": right.action})).collect()
    };
    json!({
        "name": name,
        "description": "pullgate integrates this Harbor with it",
        "level": "system",
        "duration": NEVER,
        "permissions": [
            {"kind": SYSTEM, "namespace": "/", "access": access(SYSTEM)},
            {"kind": PROJECT, "namespace": "*", "access": access(PROJECT)},
        ],
    })
}
