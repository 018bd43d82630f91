//! What a pass over a registry found, and how its status says so.

use jiff::{SignedDuration, Timestamp};

use super::access::{self, Access};
use crate::domain::pull_secret::RobotId;
use crate::domain::record::bounds::{COVERED, DAYS, HOURS, PREFIX, PREFIXES, USERNAME};
use crate::domain::record::shortened;
use crate::registry::fault::{Doubt, Fault};
use crate::registry::harbor::{self, rights};
use crate::registry::{AccountRole, Checked, Usage};
use crate::types::conditions::{self, ConditionUpdate};
use crate::types::v1alpha1::{
    AccountAccess, Condition, DockerMethod, RegistryStatus, RobotLevel, RobotStatus, StorageSample,
};

/// How old what a status says of the last success may be while nothing changes.
const HEARTBEAT: SignedDuration = SignedDuration::from_mins(5);

const REACHABLE: &str = "Reachable";
const HEALTHY: &str = "Healthy";
const CREDENTIALS: &str = "CredentialsValid";
const DISCOVERED: &str = "Discovered";
const PULL: &str = "PullCredentials";
/// The conditions that speak of a registry, and not of its record.
pub(super) const OBSERVED: [&str; 5] = [REACHABLE, HEALTHY, CREDENTIALS, DISCOVERED, PULL];

/// How many spaces there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub spaces: usize,
    pub public: usize,
    pub bound: usize,
    /// Where every space says how many it has.
    pub repositories: Option<i64>,
}

/// What became of the robot accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Accounts {
    pub level: Option<RobotLevel>,
    pub robots: Vec<RobotStatus>,
    /// Why some are not as they should be.
    pub trouble: Option<Fault>,
    /// The first of them, where the trouble is not that of all.
    pub troubled: Option<RobotId>,
    /// Those of which nothing could be learned for that reason.
    pub untold: Vec<RobotId>,
    /// An account waits for its end.
    pub retiring: bool,
    /// What to say where there is no trouble, if anything other than of a Harbor's accounts.
    pub saying: Option<ConditionUpdate>,
    /// Of an Artifactory: how docker comes to it, and what its images start with.
    pub access: Option<(Option<DockerMethod>, Vec<String>)>,
}

/// What a pass found; `None`: it was not looked for.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub checked: Option<Result<Checked, Fault>>,
    pub discovered: Option<Result<Counts, Fault>>,
    pub access: Option<Access>,
    pub usage: Option<Usage>,
    pub accounts: Option<Accounts>,
    /// The request that the pass followed.
    pub followed: Option<Timestamp>,
}

impl Report {
    /// Whether the registry did all that was asked of it.
    pub fn succeeded(&self) -> bool {
        matches!(self.checked, Some(Ok(_))) && !matches!(self.discovered, Some(Err(_)))
    }

    /// Changes a status to what was found. Times that only go on are written when something else is, or when they are
    /// old: a poll that finds nothing new writes nothing.
    pub fn tell(&self, status: &mut RegistryStatus, generation: i64, now: Timestamp) {
        let before = status.clone();
        if let Some(Access(access)) = &self.access {
            status.access.clone_from(access);
        }
        match &self.checked {
            Some(Ok(checked)) => {
                conditions::set(
                    &mut status.conditions,
                    REACHABLE,
                    ConditionUpdate::yes("Answers"),
                    generation,
                );
                conditions::set(&mut status.conditions, HEALTHY, health(checked), generation);
                let account = credentials(checked, status.access.as_ref());
                conditions::set(&mut status.conditions, CREDENTIALS, account, generation);
                status.version = Some(checked.version.clone()).filter(|version| !version.is_empty());
                status.anonymous_pull = checked.anonymous;
            }
            Some(Err(fault)) => {
                failed(&mut status.conditions, fault, generation);
                // It asks for a login: whatever it was before, it is not for everybody now.
                if let (Fault::ForeignRealm(_), Some(anonymous)) = (fault, &mut status.anonymous_pull) {
                    *anonymous = false;
                }
            }
            None => {}
        }
        match &self.discovered {
            Some(Ok(counts)) => {
                conditions::set(
                    &mut status.conditions,
                    DISCOVERED,
                    ConditionUpdate::yes("Complete"),
                    generation,
                );
                status.spaces = number(counts.spaces);
                status.public_spaces = number(counts.public);
                status.bound_spaces = number(counts.bound);
                status.repositories = counts.repositories.or(status.repositories);
            }
            Some(Err(fault)) => {
                let saying = ConditionUpdate::no(fault.reason(), fault.to_string());
                conditions::set(&mut status.conditions, DISCOVERED, saying, generation);
            }
            None => {}
        }
        if let Some(usage) = &self.usage {
            status.storage = usage.storage;
            status.repositories = usage.repositories.or(status.repositories);
            status.tags = usage.tags;
            status.token_life = usage.token_life.or(status.token_life);
            if let Some(bytes) = usage.storage {
                sample(&mut status.storage_history, StorageSample { at: now, bytes });
            }
        }
        if let Some(accounts) = &self.accounts {
            let saying = match (&accounts.trouble, accounts.level) {
                (Some(fault), _) => Some(ConditionUpdate::no(fault.reason(), accounts.told(fault))),
                (None, _) if accounts.saying.is_some() => accounts.saying.clone(),
                (None, Some(RobotLevel::System)) => Some(ConditionUpdate::yes("SystemRobots")),
                (None, Some(RobotLevel::Project)) => Some(ConditionUpdate::yes("ProjectRobots")),
                (None, None) => None,
            };
            match saying {
                Some(saying) => conditions::set(&mut status.conditions, PULL, saying, generation),
                None => conditions::clear(&mut status.conditions, PULL),
            }
            status.robot_level = accounts.level;
            status.robots.clone_from(&accounts.robots);
            bound(&mut status.robots);
            if let Some((method, prefixes)) = &accounts.access {
                status.docker_method = *method;
                let told = prefixes.iter().filter(|prefix| prefix.chars().count() <= PREFIX);
                status.image_prefixes = told.take(PREFIXES).cloned().collect();
            }
        }
        status.progress = None;
        status.sync_done = self.followed.or(status.sync_done);
        let old = |at: Option<Timestamp>| at.is_none_or(|at| now.duration_since(at) >= HEARTBEAT);
        if self.succeeded() && (*status != before || old(before.last_success)) {
            status.last_success = Some(now);
        }
        if matches!(self.discovered, Some(Ok(_))) && (*status != before || old(before.last_discovery)) {
            status.last_discovery = Some(now);
        }
    }
}

impl Accounts {
    /// The trouble, and whose it is.
    fn told(&self, fault: &Fault) -> String {
        match &self.troubled {
            None => fault.to_string(),
            Some(RobotId { workspace, space: None, .. }) => {
                format!("account of workspace {workspace}: {fault}")
            }
            Some(RobotId { workspace, space: Some(space), .. }) => {
                format!("account of workspace {workspace} for space {space}: {fault}")
            }
        }
    }
}

/// Shortens names, and leaves out what too many accounts cover: a record has its limit.
fn bound(robots: &mut [RobotStatus]) {
    let mut told = 0;
    for robot in robots {
        robot.name = shortened(std::mem::take(&mut robot.name), USERNAME);
        told += robot.covers.as_ref().map_or(0, Vec::len);
        if told > COVERED {
            robot.covers = None;
        }
    }
}

fn health(checked: &Checked) -> ConditionUpdate {
    if checked.read_only {
        return ConditionUpdate::no("ReadOnly", Fault::ReadOnly.to_string());
    }
    if checked.unhealthy.is_empty() {
        return ConditionUpdate::yes("Healthy");
    }
    ConditionUpdate::no(
        "Unhealthy",
        format!("not healthy by its own account: {}", checked.unhealthy.join(", ")),
    )
}

fn credentials(checked: &Checked, access: Option<&AccountAccess>) -> ConditionUpdate {
    match checked.tier {
        AccountRole::SystemAdmin => ConditionUpdate::yes("SystemAdmin"),
        AccountRole::User => ConditionUpdate::yes("NotAnAdmin").because(access.map_or_else(
            || {
                "the account is no system admin: only what its roles allow is seen and done, and totals are not known"
                    .to_owned()
            },
            access::told,
        )),
        AccountRole::Robot(rights) => {
            let missing = rights.missing();
            let too_old = harbor::numbers(&checked.version).is_some_and(|found| found < rights::OLDEST);
            match (missing, too_old) {
                (None, _) => ConditionUpdate::yes("Robot"),
                (Some(_), true) => ConditionUpdate::yes("RobotLimited").because(format!(
                    "this is a robot account, and before version {} Harbor lets none make others: integrate it with a \
                     system admin's account for full work",
                    rights::OLDEST_TEXT
                )),
                (Some(missing), false) => ConditionUpdate::yes("RobotLimited").because(format!(
                    "this robot account may not {missing}; `pullgate harbor-account` prints the request for one that may"
                )),
            }
        }
        AccountRole::Anonymous => ConditionUpdate::yes("Anonymous"),
    }
}

fn failed(conditions: &mut Vec<Condition>, fault: &Fault, generation: i64) {
    let saying = ConditionUpdate::no(fault.reason(), fault.to_string());
    if let Fault::CredentialsNotChecked(doubt) = fault {
        let unknown = |reason| ConditionUpdate::unknown(reason).because(fault.to_string());
        conditions::set(conditions, CREDENTIALS, unknown(fault.reason()), generation);
        conditions::set(conditions, REACHABLE, ConditionUpdate::yes("Answers"), generation);
        let health = match doubt {
            Doubt::Ill(_) => ConditionUpdate::no("Unhealthy", fault.to_string()),
            _ => ConditionUpdate::unknown("NotAsked"),
        };
        conditions::set(conditions, HEALTHY, health, generation);
        return;
    }
    if fault.of_credentials() {
        // To be reminded of it is no news.
        if *fault != Fault::CredentialsHeldBack {
            conditions::set(conditions, CREDENTIALS, saying, generation);
        }
        conditions::set(conditions, REACHABLE, ConditionUpdate::yes("Answers"), generation);
        conditions::set(conditions, HEALTHY, ConditionUpdate::unknown("NotAsked"), generation);
        return;
    }
    conditions::set(conditions, REACHABLE, saying, generation);
    for unknown in [HEALTHY, CREDENTIALS] {
        conditions::set(conditions, unknown, ConditionUpdate::unknown("NotReachable"), generation);
    }
}

/// Adds a sample, and thins out the older ones: one an hour for two days, one a day before.
fn sample(history: &mut Vec<StorageSample>, new: StorageSample) {
    let hour = |sample: &StorageSample| sample.at.as_second() / 3600;
    if history.last().is_none_or(|last| hour(last) != hour(&new)) {
        history.push(new);
    }
    let recent = history.len().saturating_sub(HOURS);
    let mut day = None;
    let mut position = 0;
    history.retain(|sample| {
        position += 1;
        let today = sample.at.as_second() / 86_400;
        position > recent || day.replace(today) != Some(today)
    });
    let beyond = history.len().saturating_sub(HOURS + DAYS);
    history.drain(..beyond);
}

fn number(count: usize) -> Option<i64> {
    i64::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_course_of_the_storage_is_bounded_and_keeps_its_beginning_by_the_day() {
        let mut history = Vec::new();
        for minute in (0..200 * 24 * 60).step_by(5) {
            let at = Timestamp::from_second(1_800_000_000 + minute * 60).unwrap();
            sample(&mut history, StorageSample { at, bytes: minute });
        }
        assert_eq!(history.len(), HOURS + DAYS);
        assert!(history.is_sorted_by(|one, next| one.at < next.at));
        let newest = &history[DAYS..];
        assert!(newest.windows(2).all(|two| two[1].at.as_second() - two[0].at.as_second() == 3600));
        let days = &history[..DAYS];
        assert!(days.windows(2).all(|two| two[1].at.as_second() - two[0].at.as_second() >= 86_400 - 3600));
    }
}
