//! The robot accounts of a Harbor: made for whom a private space is bound to, following the bindings, seen to work, replaced
//! before they expire, and deleted with the last binding.
//!
//! Harbor's own list is the state: each account says in its name which installation made it and for whom. So nothing is
//! lost with a crash. An account that was made and not recorded is adopted with a new secret; one that nobody needs any
//! more is deleted; one that is somebody else's is never touched.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::account_names::{AccountNames, owner};
use super::desired::{Desired, Project};
use super::plan::Recorded;
use super::proofs::Proofs;
use super::report::Accounts;
use super::rights::Rights;
use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::domain::record::{Name, Registry, UnixSeconds};
use crate::registry::fault::Fault;
use crate::registry::harbor::{Harbor, NewRobot, Robot, RobotAccount};
use crate::registry::http::CALLS;
use crate::store::manifest::{RobotLevel, RobotStatus};
use crate::store::{Credential, RecordStore, StoreError};

/// Accounts of one workspace at a time: the one in use, and those before it that somebody may still pull with. Whoever asks
/// for more within the overlap shortens that of the oldest.
const LIVING: usize = 4;

/// Where accounts of the system are, among the numbers of projects that have accounts of their own.
pub(super) const SYSTEM: i64 = 0;

/// The accounts of one registry.
#[derive(Debug)]
pub(super) struct Robots {
    names: AccountNames,
    /// Whose accounts these are.
    installation: String,
    registry: Name,
    /// Since when accounts are known to have a successor, by Harbor's own number.
    retiring: Mutex<HashMap<i64, Instant>>,
    /// Accounts whose rights may be others than Harbor's list says: of what was just written nobody looked at the projects.
    unconfirmed: Mutex<HashSet<i64>>,
    pub(super) proofs: Proofs,
}

/// What a pass needs to know.
pub(super) struct Pass<'p> {
    pub harbor: &'p Harbor,
    pub store: &'p dyn RecordStore,
    pub registry: &'p Registry,
    pub recorded: &'p [Recorded],
    pub level: RobotLevel,
    /// Numbers of projects where there may be accounts, beside those that are desired; [`SYSTEM`] is one.
    pub places: &'p BTreeSet<i64>,
    pub days: i64,
    pub overlap: Duration,
    /// Accounts made before then are to be replaced.
    pub renew_before: Option<UnixSeconds>,
}

/// What an account's description says, for people, and for accounts of version 0.1.0, whose names do not say it.
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

/// An account of ours and when it was made.
#[derive(Debug, Clone)]
pub(super) struct Ours {
    pub robot: Robot,
    since: UnixSeconds,
    /// Where it was found.
    place: i64,
}

/// What became of the account of a workspace.
struct Kept {
    status: RobotStatus,
    /// Another one waits for its end.
    retiring: bool,
    trouble: Option<Fault>,
}

/// What became of all accounts.
pub(super) struct Outcome {
    pub accounts: Accounts,
    /// Where there may be accounts that nobody needs and that could not be removed.
    pub left: BTreeSet<i64>,
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
        Self {
            names: AccountNames::new(&installation, &registry),
            installation,
            registry,
            retiring: Mutex::default(),
            unconfirmed: Mutex::default(),
            proofs: Proofs::default(),
        }
    }

    /// Makes what is there what it should be, as far as it can: one account's trouble is not another's.
    ///
    /// # Errors
    /// What is there could not be read.
    pub async fn reconcile(&self, pass: &Pass<'_>, desired: &Desired) -> Result<Outcome, Trouble> {
        let stored = pass.store.robots(&self.registry).await?;
        let (mut ours, mut left) = self.ours(pass, desired, &stored).await?;
        let work: Vec<_> = desired
            .iter()
            .map(|(id, projects)| (id.clone(), projects.clone(), ours.remove(&owner(id)).unwrap_or_default()))
            .collect();
        let kept = stream::iter(work)
            .map(|(id, projects, ours)| async move {
                let outcome = self.keep(pass, &id, &projects, ours).await;
                (id, outcome)
            })
            .buffered(CALLS);
        let mut accounts = Accounts { level: Some(pass.level), ..Accounts::default() };
        let (mut trouble, mut disabled) = (None, None);
        let kept: Vec<_> = kept.collect().await;
        for (id, outcome) in kept {
            match outcome {
                Ok(Kept { status, retiring, trouble: fault }) => {
                    accounts.robots.push(status);
                    accounts.retiring |= retiring;
                    match fault {
                        // Nothing is to be done about it here; what else there is comes first.
                        Some(off @ Fault::AccountDisabled(_)) => drop(disabled.get_or_insert((id, off))),
                        Some(fault) => drop(trouble.get_or_insert((Some(id), Trouble::Registry(fault)))),
                        None => {}
                    }
                }
                Err(error) => {
                    accounts.untold.push(id.clone());
                    trouble.get_or_insert((Some(id), error));
                }
            }
        }
        // Last, so that what is needed does not wait for what is not.
        for Ours { robot, place, .. } in ours.into_values().flatten() {
            tracing::info!(registry = %self.registry, robot = robot.name, "deleting a robot account that nobody needs");
            if let Err(fault) = pass.harbor.remove_robot(robot.id).await {
                left.insert(place);
                trouble.get_or_insert((None, fault.into()));
            }
        }
        for id in stored.iter().filter(|id| !desired.contains_key(*id)) {
            pass.store.set_robot(id, None).await?;
        }
        let disabled = disabled.map(|(id, fault)| (Some(id), Trouble::Registry(fault)));
        match trouble.or(disabled) {
            Some((id, Trouble::Registry(fault))) => {
                accounts.trouble = Some(fault);
                accounts.troubled = id;
            }
            Some((_, error @ Trouble::Store(_))) => return Err(error),
            None => {}
        }
        self.proofs.retain(desired);
        Ok(Outcome { accounts, left })
    }

    /// Every account of this installation for this registry by whom it is for, the newest first; and where none could be
    /// looked for.
    async fn ours(
        &self,
        pass: &Pass<'_>,
        desired: &Desired,
        stored: &[RobotId],
    ) -> Result<(HashMap<String, Vec<Ours>>, BTreeSet<i64>), Trouble> {
        let mut needed = BTreeSet::new();
        match pass.level {
            RobotLevel::System => drop(needed.insert(SYSTEM)),
            RobotLevel::Project => {
                needed.extend(desired.values().flatten().map(|project| project.id));
                let spaces: BTreeSet<&Name> = stored.iter().filter_map(|id| id.space.as_ref()).collect();
                let recorded = pass.recorded.iter().filter_map(|(_, entry)| entry.valid());
                let of_stored = recorded.filter(|space| spaces.contains(&space.path) && !space.missing);
                needed.extend(of_stored.filter_map(|space| space.project.get()));
            }
        }
        let mut found = BTreeMap::new();
        for place in &needed {
            for robot in self.listed(pass.harbor, *place).await? {
                found.insert(robot.id, (*place, robot));
            }
        }
        // A project takes its accounts along, and only a system admin is told that it is not there.
        let recorded = pass.recorded.iter().filter_map(|(_, entry)| entry.valid());
        let gone: BTreeSet<i64> =
            recorded.filter(|space| space.missing).filter_map(|space| space.project.get()).collect();
        let mut left = BTreeSet::new();
        for place in pass.places.difference(&needed).filter(|place| !gone.contains(place)) {
            match self.listed(pass.harbor, *place).await {
                Ok(robots) => found.extend(robots.into_iter().map(|robot| (robot.id, (*place, robot)))),
                Err(_) => drop(left.insert(*place)),
            }
        }
        let mut in_use = None;
        let mut ours: HashMap<String, Vec<Ours>> = HashMap::new();
        for (place, robot) in found.into_values() {
            let Some(told) = self.names.read(&robot.name) else { continue };
            let since = if let Some(since) = told.since.or_else(|| self.marked(&robot)) {
                since
            } else {
                // One of 0.1.0 that somebody wrote something else into is known where it is in use.
                if in_use.is_none() {
                    in_use = Some(self.in_use(pass.store, stored, None).await?);
                }
                let known = self.names.own(&robot.name).zip(in_use.as_ref());
                if !known.is_some_and(|(own, in_use)| in_use.contains(own)) {
                    continue;
                }
                robot.made_at()
            };
            ours.entry(told.owner).or_default().push(Ours { robot, since, place });
        }
        for robots in ours.values_mut() {
            robots.sort_by_key(|ours| std::cmp::Reverse((ours.since, ours.robot.id)));
        }
        Ok((ours, left))
    }

    /// The accounts in a project, or of the system, whose names may be ours. A project that is not there has none.
    async fn listed(&self, harbor: &Harbor, place: i64) -> Result<Vec<Robot>, Fault> {
        match harbor.robots(self.names.tag(), (place != SYSTEM).then_some(place)).await {
            Err(Fault::NotFound) if place != SYSTEM => Ok(Vec::new()),
            robots => robots,
        }
    }

    /// The parts of their names that pullgate gave to accounts that are handed out, for any audience but this one.
    async fn in_use(
        &self,
        store: &dyn RecordStore,
        stored: &[RobotId],
        but: Option<&str>,
    ) -> Result<HashSet<String>, StoreError> {
        let mut names = HashSet::new();
        for id in stored {
            let credential = store.credential(&CredentialId::Robot(id.clone())).await?;
            let credential = credential.filter(|credential| Some(&*credential.audience) != but);
            let own = credential.as_ref().and_then(|credential| self.names.own(&credential.username));
            names.extend(own.map(str::to_owned));
        }
        Ok(names)
    }

    /// When an account was made whose description says that it is ours.
    fn marked(&self, robot: &Robot) -> Option<UnixSeconds> {
        let mark = serde_json::from_str::<Mark>(&robot.description).ok()?;
        (mark.pullgate == self.installation && mark.registry == self.registry).then_some(mark.since)
    }

    /// Keeps the accounts of one workspace.
    async fn keep(
        &self,
        pass: &Pass<'_>,
        id: &RobotId,
        projects: &[Project],
        mut ours: Vec<Ours>,
    ) -> Result<Kept, Trouble> {
        // First of all: what may no longer be pulled, no account may pull any more.
        let rights = self.cover(pass, projects, &mut ours).await?;
        let made_anew = rights.made_anew.as_ref().map(|name| Fault::MadeAnew(name.to_string()));
        let now = Timestamp::now();
        let stored = pass.store.credential(&CredentialId::Robot(id.clone())).await?;
        let stored = stored.filter(|stored| stored.audience == pass.registry.audience());
        let own = stored.as_ref().and_then(|stored| self.names.own(&stored.username)).map(str::to_owned);
        let is_current = |ours: &&Ours| own.is_some() && self.names.own(&ours.robot.name) == own.as_deref();
        let current = ours.iter().find(is_current).cloned();
        // An administrator's word on the account holds until they take it back, or somebody asks for another one.
        let switched_off = current.as_ref().or_else(|| ours.first().filter(|_| stored.is_none()));
        if let Some(off) = switched_off.filter(|ours| ours.robot.disable && !is_asked_for(pass, ours)) {
            let status = RobotStatus { disabled: true, ..status(id, &off.robot, &[], off.since) };
            let trouble = Some(Fault::AccountDisabled(off.robot.name.clone()));
            return Ok(Kept { status, retiring: false, trouble });
        }
        let in_use = current.as_ref().map(|current| current.robot.id);
        let retiring = self.retire(pass, &mut ours, in_use).await?;
        let mut refused = false;
        let alive = current
            .as_ref()
            .filter(|current| current.robot.expires_at().is_none_or(|end| end > now.as_second()));
        if let Some((current, stored)) = alive.zip(stored) {
            let status = |trouble| {
                let status = status(id, &current.robot, &rights.allowed, current.since);
                Kept { status, retiring, trouble }
            };
            match self.proofs.prove(pass.harbor, id, &current.robot.name, &stored.password).await {
                Ok(true) => {
                    if stored.username != current.robot.name {
                        usable(&current.robot.name)?;
                        let credential = Credential { username: current.robot.name.clone(), ..stored };
                        pass.store.set_robot(id, Some(credential)).await?;
                    }
                    let stuck = rights.stuck.contains(&current.robot.id);
                    if !stuck && !is_due(pass, current, now) {
                        return Ok(status(made_anew));
                    }
                }
                Ok(false) => {
                    self.proofs.may_replace(id, &current.robot.name)?;
                    tracing::warn!(registry = %self.registry, workspace = %id.workspace, robot = current.robot.name, "the registry refuses the account's secret; another account takes its place");
                    refused = true;
                }
                Err(fault) => return Ok(status(Some(fault))),
            }
        }
        let adopts = alive.is_none() && rights.stuck.is_empty();
        let (account, since) = self.replace(pass, id, projects, &rights, &mut ours, adopts, in_use).await?;
        if refused {
            self.proofs.replaced(id);
        }
        let retiring = self.retire(pass, &mut ours, Some(account.id)).await?;
        let status = RobotStatus {
            name: account.name,
            expires_at: (account.expires_at >= 0).then_some(account.expires_at).and_then(at),
            ..told(id, &rights.allowed, since)
        };
        Ok(Kept { status, retiring, trouble: made_anew })
    }

    /// Puts another account in the place of what a workspace has, seen to work before anybody gets it. What may not be
    /// changed and has more rights than it should ends at once, the others when everybody had the time to take the new one.
    #[expect(clippy::too_many_arguments, reason = "what is known of one workspace's accounts")]
    async fn replace(
        &self,
        pass: &Pass<'_>,
        id: &RobotId,
        projects: &[Project],
        rights: &Rights,
        ours: &mut Vec<Ours>,
        adopts: bool,
        in_use: Option<i64>,
    ) -> Result<(RobotAccount, UnixSeconds), Trouble> {
        let Some(probe) = probe(pass, &rights.allowed) else {
            let missing = rights.made_anew.as_ref().map(|name| Fault::MadeAnew(name.to_string()));
            return Err(missing.unwrap_or(Fault::NotFound).into());
        };
        let (account, since) = self.make(pass, id, projects, rights, ours, adopts, in_use).await?;
        usable(&account.name)?;
        // Nothing is handed out that was not seen to work.
        if !pass.harbor.can_pull(&account, probe).await? {
            return Err(
                Fault::NotPermitted("have robot accounts that pull: a new one was refused".into()).into()
            );
        }
        let credential = Credential {
            username: account.name.clone(),
            password: account.secret.clone(),
            audience: pass.registry.audience(),
        };
        pass.store.set_robot(id, Some(credential)).await?;
        self.proofs.proven(id, &account.name);
        tracing::info!(registry = %self.registry, workspace = %id.workspace, robot = account.name, "a robot account is in use");
        for at in (0..ours.len()).rev() {
            let robot = &ours[at].robot;
            if rights.stuck.contains(&robot.id) && robot.id != account.id && robot.exceeds(&rights.allowed) {
                pass.harbor.remove_robot(robot.id).await?;
                ours.remove(at);
            }
        }
        Ok((account, since))
    }

    /// An account with a secret that is known: a new one, or where none is in use one that a crash left behind.
    #[expect(clippy::too_many_arguments, reason = "what is known of one workspace's accounts")]
    async fn make(
        &self,
        pass: &Pass<'_>,
        id: &RobotId,
        projects: &[Project],
        rights: &Rights,
        ours: &mut Vec<Ours>,
        adopts: bool,
        in_use: Option<i64>,
    ) -> Result<(RobotAccount, UnixSeconds), Trouble> {
        let now = Timestamp::now().as_second();
        let is_leftover = |ours: &&Ours| {
            let robot = &ours.robot;
            let alive = !robot.disable && robot.expires_at().is_none_or(|end| end > now);
            alive && Some(robot.id) != in_use && !is_asked_for(pass, ours)
        };
        if let Some(Ours { robot, since, .. }) = ours.iter().find(is_leftover).filter(|_| adopts) {
            match pass.harbor.refresh(robot).await {
                Err(Fault::NotPermitted(_)) => {}
                refreshed => return Ok((refreshed?, *since)),
            }
        }
        while ours.len() >= LIVING
            && let Some(oldest) = ours.iter().rposition(|ours| Some(ours.robot.id) != in_use)
        {
            let Ours { robot, .. } = ours.remove(oldest);
            tracing::info!(registry = %self.registry, workspace = %id.workspace, robot = robot.name, most = LIVING, "the workspace has as many accounts as one may have; the oldest ends before its overlap");
            pass.harbor.remove_robot(robot.id).await?;
        }
        let mark = Mark {
            pullgate: self.installation.clone(),
            registry: self.registry.clone(),
            workspace: id.workspace.clone(),
            space: id.space.clone(),
            since: now,
        };
        // Texts and a number; they always serialise.
        let description = serde_json::to_string(&mark).unwrap_or_default();
        let name = self.names.mint(id, now);
        let (level, days) = (pass.level, pass.days);
        let new = NewRobot { name: &name, level, description: &description, days, projects: &rights.allowed };
        let account = pass.harbor.mint(&new).await?;
        let mut given = Rights { allowed: rights.allowed.clone(), ..Rights::default() };
        if !self.confirm(pass, projects, &mut given).await? {
            // Nobody has its secret, whatever becomes of it.
            self.unconfirmed().insert(account.id);
            pass.harbor.remove_robot(account.id).await?;
            return Err(given
                .made_anew
                .map_or(Fault::NotFound, |name| Fault::MadeAnew(name.to_string()))
                .into());
        }
        Ok((account, now))
    }

    /// Deletes the accounts beside the one in use, once everybody had the time to take that; whether some still wait.
    async fn retire(
        &self,
        pass: &Pass<'_>,
        ours: &mut Vec<Ours>,
        current: Option<i64>,
    ) -> Result<bool, Fault> {
        // Without one in use, any of them may be what namespaces have.
        let Some(current) = current else { return Ok(false) };
        let mut at = 0;
        while let Some(Ours { robot, .. }) = ours.get(at) {
            let over = robot.id != current && {
                let noticed = *self.retiring().entry(robot.id).or_insert_with(Instant::now);
                noticed.elapsed() >= pass.overlap
            };
            if over {
                pass.harbor.remove_robot(robot.id).await?;
                self.retiring().remove(&robot.id);
                ours.remove(at);
            } else {
                at += 1;
            }
        }
        self.retiring().remove(&current);
        Ok(ours.iter().any(|ours| ours.robot.id != current))
    }

    fn retiring(&self) -> MutexGuard<'_, HashMap<i64, Instant>> {
        self.retiring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unconfirmed(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes every account of this registry in these places, which were made for this audience; where some may be left,
    /// and why. One that is handed out for another audience stays: that may lead to the same Harbor.
    pub async fn remove_all(
        &self,
        harbor: &Harbor,
        store: &dyn RecordStore,
        places: &BTreeSet<i64>,
        audience: &str,
    ) -> Result<(BTreeSet<i64>, Option<Fault>), StoreError> {
        let (mut left, mut trouble) = (BTreeSet::new(), None);
        for place in places {
            let robots = match self.listed(harbor, *place).await {
                Ok(robots) => robots,
                Err(fault) => {
                    left.insert(*place);
                    trouble = Some(fault);
                    continue;
                }
            };
            let in_use = self.in_use(store, &store.robots(&self.registry).await?, Some(audience)).await?;
            for robot in robots {
                let Some(told) = self.names.read(&robot.name) else { continue };
                if told.since.is_none() && self.marked(&robot).is_none() {
                    continue;
                }
                if self.names.own(&robot.name).is_some_and(|own| in_use.contains(own)) {
                    left.insert(*place);
                    continue;
                }
                match harbor.remove_robot(robot.id).await {
                    Ok(()) => {
                        tracing::info!(registry = %self.registry, robot = robot.name, "a robot account that was left is deleted");
                    }
                    Err(fault) => {
                        left.insert(*place);
                        trouble = Some(fault);
                    }
                }
            }
        }
        Ok((left, trouble))
    }
}

/// A colon would end the name where the kubelet splits it from the password.
fn usable(name: &str) -> Result<(), Fault> {
    if name.contains(':') {
        return Err(Fault::Settings(
            "Harbor's prefix of robot names holds a colon, at which nodes split user name and password; change it"
                .to_owned(),
        ));
    }
    Ok(())
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
    late || is_asked_for(pass, current)
}

/// Whether somebody asked for other accounts since it was made.
fn is_asked_for(pass: &Pass<'_>, ours: &Ours) -> bool {
    pass.renew_before.is_some_and(|before| ours.since < before)
}

/// Whether this is told of that workspace's account.
pub(super) fn is_of(told: &RobotStatus, id: &RobotId) -> bool {
    told.workspace == *id.workspace && told.space.as_deref() == id.space.as_deref()
}

/// What to tell of an account that Harbor lists.
fn status(id: &RobotId, robot: &Robot, projects: &[Name], since: UnixSeconds) -> RobotStatus {
    RobotStatus {
        name: robot.name.clone(),
        expires_at: robot.expires_at().and_then(at),
        ..told(id, projects, since)
    }
}

fn told(id: &RobotId, projects: &[Name], since: UnixSeconds) -> RobotStatus {
    RobotStatus {
        name: String::new(),
        workspace: id.workspace.to_string(),
        space: id.space.as_ref().map(ToString::to_string),
        covers: Some(projects.iter().map(ToString::to_string).collect()),
        since: at(since).unwrap_or_default(),
        expires_at: None,
        disabled: false,
        id: None,
        scope: None,
    }
}

fn at(seconds: UnixSeconds) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}
