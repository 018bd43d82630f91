//! The robot accounts of a Harbor: made for whom a private space is bound to, following the bindings, replaced before they
//! expire, and deleted with the last binding.
//!
//! Harbor's own list is the state: each account says in its description for whom it was made, and by which installation.
//! So nothing is lost with a crash. An account that was made and not recorded is adopted with a new secret; one that
//! nobody needs any more is deleted; one that is somebody else's is never touched, whatever its name.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::desired::Desired;
use super::plan::Recorded;
use super::report::Accounts;
use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::domain::record::{Name, Registry, UnixSeconds};
use crate::hex::short_digest;
use crate::registry::fault::Fault;
use crate::registry::harbor::{Harbor, NewRobot, Robot, RobotAccount};
use crate::registry::http::CALLS;
use crate::store::manifest::{RobotLevel, RobotStatus};
use crate::store::{Credential, RecordStore, StoreError};

/// Accounts of one workspace at a time: the one in use, its successor, and what crashes left behind.
const NAMES: usize = 9;

/// Bytes of the digests in their names.
const DIGEST: usize = 8;

/// The accounts of one registry.
#[derive(Debug)]
pub(super) struct Robots {
    /// Whose accounts these are.
    installation: String,
    registry: Name,
    /// Since when accounts are known to have a successor, by Harbor's own number.
    retiring: Mutex<HashMap<i64, Instant>>,
}

/// What a pass needs to know.
pub(super) struct Pass<'p> {
    pub harbor: &'p Harbor,
    pub store: &'p dyn RecordStore,
    pub registry: &'p Registry,
    pub recorded: &'p [Recorded],
    pub level: RobotLevel,
    pub days: i64,
    pub overlap: Duration,
    /// Accounts made before then are to be replaced.
    pub renew_before: Option<UnixSeconds>,
}

/// What an account's description says. Written by pullgate alone, and compared as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    /// The installation that made it.
    pullgate: String,
    registry: Name,
    workspace: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    space: Option<Name>,
    /// When it was made, by the clock of whoever made it.
    since: UnixSeconds,
}

/// An account of ours and what it says of itself.
#[derive(Debug, Clone)]
struct Ours {
    robot: Robot,
    since: UnixSeconds,
}

/// What kept a pass from its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Registry(#[from] Fault),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Robots {
    pub fn new(installation: String, registry: Name) -> Self {
        Self { installation, registry, retiring: Mutex::default() }
    }

    /// Makes what is there what it should be, as far as it can: one account's trouble is not another's.
    ///
    /// # Errors
    /// What is there could not be read.
    pub async fn reconcile(&self, pass: &Pass<'_>, desired: &Desired) -> Result<Accounts, Trouble> {
        let stored = pass.store.robots(&self.registry).await?;
        let mut ours = self.ours(pass, desired, &stored).await?;
        let work: Vec<_> = desired
            .iter()
            .map(|(id, projects)| (id.clone(), projects.clone(), ours.remove(id).unwrap_or_default()))
            .collect();
        let kept = stream::iter(work)
            .map(|(id, projects, ours)| async move {
                let outcome = self.keep(pass, &id, &projects, ours).await;
                (id, outcome)
            })
            .buffered(CALLS);
        let mut accounts = Accounts { level: Some(pass.level), ..Accounts::default() };
        let mut trouble = None;
        let kept: Vec<_> = kept.collect().await;
        for (id, outcome) in kept {
            match outcome {
                Ok((status, retiring)) => {
                    accounts.robots.push(status);
                    accounts.retiring |= retiring;
                }
                Err(error) => {
                    accounts.untold.push(id.clone());
                    trouble.get_or_insert((id, error));
                }
            }
        }
        // Last, so that what is needed does not wait for what is not.
        for robot in ours.into_values().flatten() {
            tracing::info!(registry = %self.registry, robot = robot.robot.name, "deleting a robot account that nobody needs");
            pass.harbor.remove_robot(robot.robot.id).await?;
        }
        for id in stored.iter().filter(|id| !desired.contains_key(*id)) {
            pass.store.set_robot(id, None).await?;
        }
        match trouble {
            Some((id, Trouble::Registry(fault))) => {
                accounts.trouble = Some(fault);
                accounts.troubled = Some(id);
            }
            Some((_, error @ Trouble::Store(_))) => return Err(error),
            None => {}
        }
        Ok(accounts)
    }

    /// Every account of this installation for this registry, the newest first.
    async fn ours(
        &self,
        pass: &Pass<'_>,
        desired: &Desired,
        stored: &[RobotId],
    ) -> Result<HashMap<RobotId, Vec<Ours>>, Fault> {
        let tag = self.tag();
        let mut found = Vec::new();
        match pass.level {
            RobotLevel::System => found.extend(pass.harbor.robots(&tag, None).await?),
            RobotLevel::Project => {
                let spaces = desired.keys().chain(stored).filter_map(|id| id.space.as_ref());
                let spaces: std::collections::BTreeSet<&Name> = spaces.collect();
                let projects = pass
                    .recorded
                    .iter()
                    .filter_map(|(_, entry)| entry.valid())
                    .filter(|space| spaces.contains(&space.path) && !space.missing);
                for project in projects.filter_map(|space| space.project.get()) {
                    found.extend(pass.harbor.robots(&tag, Some(project)).await?);
                }
            }
        }
        let mut ours: HashMap<RobotId, Vec<Ours>> = HashMap::new();
        for robot in found {
            // Its text alone says whose it is; somebody else may use the same name.
            let Ok(mark) = serde_json::from_str::<Mark>(&robot.description) else { continue };
            if mark.pullgate == self.installation && mark.registry == self.registry {
                let id = RobotId { registry: mark.registry, workspace: mark.workspace, space: mark.space };
                ours.entry(id).or_default().push(Ours { robot, since: mark.since });
            }
        }
        for robots in ours.values_mut() {
            robots.sort_by_key(|ours| std::cmp::Reverse((ours.since, ours.robot.id)));
        }
        Ok(ours)
    }

    /// Keeps the accounts of one workspace; what is in use in the end, and whether another waits for its end.
    async fn keep(
        &self,
        pass: &Pass<'_>,
        id: &RobotId,
        projects: &[Name],
        ours: Vec<Ours>,
    ) -> Result<(RobotStatus, bool), Trouble> {
        // First of all: what may no longer be pulled, no account may pull any more.
        for Ours { robot, .. } in ours.iter().filter(|ours| !ours.robot.covers(projects)) {
            pass.harbor.cover(robot, projects).await?;
        }
        let now = Timestamp::now();
        let stored = pass.store.credential(&CredentialId::Robot(id.clone())).await?;
        let stored = stored.filter(|stored| stored.audience == pass.registry.audience());
        let current = ours.iter().find(|ours| {
            let robot = &ours.robot;
            stored.as_ref().is_some_and(|stored| stored.username == robot.name)
                && !robot.disable
                && robot.expires_at().is_none_or(|end| end > now.as_second())
        });
        if let Some(current) = current
            && !is_due(pass, current, now)
        {
            let retiring = self.retire(pass, &ours, current.robot.id).await?;
            return Ok((
                status(id, &current.robot.name, projects, current.since, current.robot.expires_at()),
                retiring,
            ));
        }
        let (account, since) = self.make(pass, id, projects, &ours, current.is_some()).await?;
        // A colon would end the name where the kubelet splits it from the password.
        if account.name.contains(':') {
            return Err(Fault::Settings(
                "Harbor's prefix of robot names holds a colon, at which nodes split user name and password; change it"
                    .to_owned(),
            )
            .into());
        }
        // Nothing is handed out that was not seen to work.
        let Some(probe) = probe(pass, projects) else { return Err(Fault::NotFound.into()) };
        if !pass.harbor.can_pull(&account, probe).await? {
            return Err(Fault::NotPermitted("have robot accounts that pull: a new one was refused").into());
        }
        let credential = Credential {
            username: account.name.clone(),
            password: account.secret.clone(),
            audience: pass.registry.audience(),
        };
        pass.store.set_robot(id, Some(credential)).await?;
        tracing::info!(registry = %self.registry, workspace = %id.workspace, robot = account.name, "a robot account is in use");
        let expires_at = (account.expires_at >= 0).then_some(account.expires_at);
        let retiring = self.retire(pass, &ours, account.id).await?;
        Ok((status(id, &account.name, projects, since, expires_at), retiring))
    }

    /// An account with a secret that is known: a new one, or where none is in use one that a crash left behind.
    async fn make(
        &self,
        pass: &Pass<'_>,
        id: &RobotId,
        projects: &[Name],
        ours: &[Ours],
        in_use: bool,
    ) -> Result<(RobotAccount, UnixSeconds), Trouble> {
        let leftover = ours.iter().find(|ours| !ours.robot.disable).filter(|_| !in_use);
        if let Some(Ours { robot, since }) = leftover
            && robot.expires_at().is_none_or(|end| end > Timestamp::now().as_second())
            && pass.renew_before.is_none_or(|before| *since >= before)
        {
            return Ok((pass.harbor.refresh(robot).await?, *since));
        }
        let since = Timestamp::now().as_second();
        let mark = Mark {
            pullgate: self.installation.clone(),
            registry: self.registry.clone(),
            workspace: id.workspace.clone(),
            space: id.space.clone(),
            since,
        };
        // Texts and a number; they always serialise.
        let description = serde_json::to_string(&mark).unwrap_or_default();
        let own = self.own_name(id);
        for number in 1..=NAMES {
            let name = format!("{own}-{number}");
            if ours.iter().any(|ours| ours.robot.is_called(&name)) {
                continue;
            }
            let (level, days) = (pass.level, pass.days);
            let new = NewRobot { name: &name, level, description: &description, days, projects };
            match pass.harbor.mint(&new).await {
                // Somebody else's.
                Err(Fault::Conflict) => {}
                outcome => return Ok((outcome?, since)),
            }
        }
        Err(Fault::Conflict.into())
    }

    /// Deletes the accounts beside the one in use, once everybody had the time to take that; whether some still wait.
    async fn retire(&self, pass: &Pass<'_>, ours: &[Ours], current: i64) -> Result<bool, Fault> {
        let mut waiting = false;
        for robot in ours.iter().map(|ours| &ours.robot).filter(|robot| robot.id != current) {
            let noticed = *self.retiring().entry(robot.id).or_insert_with(Instant::now);
            if noticed.elapsed() < pass.overlap {
                waiting = true;
                continue;
            }
            pass.harbor.remove_robot(robot.id).await?;
            self.retiring().remove(&robot.id);
        }
        self.retiring().remove(&current);
        Ok(waiting)
    }

    fn retiring(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Instant>> {
        self.retiring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes every account of this registry, whose record is gone.
    ///
    /// # Errors
    /// Some may be left; Harbor ends them when they expire.
    pub async fn remove_all(&self, pass: &Pass<'_>) -> Result<(), Trouble> {
        self.reconcile(pass, &Desired::new()).await.map(drop)
    }

    /// What the names of all accounts of this registry begin with.
    fn tag(&self) -> String {
        format!("pullgate-{}", short_digest(&[&self.installation, &self.registry], DIGEST))
    }

    /// The name of a workspace's accounts, without prefix and number. Of digests, because a workspace's name may hold
    /// what Harbor's grammar does not.
    fn own_name(&self, id: &RobotId) -> String {
        let space = id.space.as_deref().unwrap_or_default();
        format!("{}-{}", self.tag(), short_digest(&[&id.workspace, space], DIGEST))
    }
}

/// The project by which an account is tried: none that asks another registry first, if there is any.
fn probe<'p>(pass: &Pass<'_>, projects: &'p [Name]) -> Option<&'p Name> {
    let is_cache = |project: &&Name| {
        let mut spaces = pass.recorded.iter().filter_map(|(_, entry)| entry.valid());
        spaces.any(|space| space.path == **project && space.proxy_cache)
    };
    projects.iter().find(|project| !is_cache(project)).or_else(|| projects.first())
}

/// Whether an account is to be replaced: on demand, or in the last third of its life.
fn is_due(pass: &Pass<'_>, current: &Ours, now: Timestamp) -> bool {
    let late = current
        .robot
        .expires_at()
        .is_some_and(|end| end.saturating_sub(now.as_second()) < current.robot.life() / 3);
    late || pass.renew_before.is_some_and(|before| current.since < before)
}

/// Whether this is told of that workspace's account.
pub(super) fn is_of(told: &RobotStatus, id: &RobotId) -> bool {
    told.workspace == *id.workspace && told.space.as_deref() == id.space.as_deref()
}

fn status(
    id: &RobotId,
    name: &str,
    projects: &[Name],
    since: UnixSeconds,
    expires_at: Option<UnixSeconds>,
) -> RobotStatus {
    let at = |seconds| Timestamp::from_second(seconds).ok();
    RobotStatus {
        name: name.to_owned(),
        workspace: id.workspace.to_string(),
        space: id.space.as_ref().map(ToString::to_string),
        covers: Some(projects.iter().map(ToString::to_string).collect()),
        since: at(since).unwrap_or_default(),
        expires_at: expires_at.and_then(at),
        id: None,
        scope: None,
    }
}
