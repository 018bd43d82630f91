//! The robot accounts of a Harbor: made for whom a private space is bound to, following the bindings, seen to work, replaced
//! before they expire, and deleted with the last binding.
//!
//! Harbor's own list is the state: each account says in its name which installation made it and for whom. So nothing is
//! lost with a crash. An account that was made and not recorded is adopted with a new secret; one that nobody needs any
//! more is deleted; one that is somebody else's is never touched.

mod found;
mod replace;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::time::Instant;

pub(super) use self::found::Ours;
use self::replace::{Needs, usable};
use super::account_names::{AccountNames, owner};
use super::desired::{Desired, Project};
use super::plan::Recorded;
use super::proofs::Proofs;
use super::report::Accounts;
use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::domain::record::{Name, Registry, UnixSeconds};
use crate::registry::fault::Fault;
use crate::registry::harbor::{Harbor, Robot};
use crate::registry::http::CALLS;
use crate::store::{Credential, RecordStore, StoreError};
use crate::types::v1alpha1::{RobotLevel, RobotStatus};

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
    /// Why none could be looked for in the first of these places.
    pub unread: Option<Fault>,
}

/// What kept a pass from its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccountProblem {
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
    pub async fn reconcile(&self, pass: &Pass<'_>, desired: &Desired) -> Result<Outcome, AccountProblem> {
        let stored = pass.store.robots(&self.registry).await?;
        let (mut ours, mut left, unread) = self.ours(pass, desired, &stored).await?;
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
                        Some(fault) => {
                            let _ = trouble.get_or_insert((Some(id), AccountProblem::Registry(fault)));
                        }
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
        let disabled = disabled.map(|(id, fault)| (Some(id), AccountProblem::Registry(fault)));
        match trouble.or(disabled) {
            Some((id, AccountProblem::Registry(fault))) => {
                accounts.trouble = Some(fault);
                accounts.troubled = id;
            }
            Some((_, error @ AccountProblem::Store(_))) => return Err(error),
            None => {}
        }
        self.proofs.retain(desired);
        Ok(Outcome { accounts, left, unread })
    }

    /// Keeps the accounts of one workspace.
    async fn keep(
        &self,
        pass: &Pass<'_>,
        id: &RobotId,
        projects: &[Project],
        mut ours: Vec<Ours>,
    ) -> Result<Kept, AccountProblem> {
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
        let needs = Needs { id, projects, rights: &rights, adopts, in_use };
        let (account, since) = self.replace(pass, &needs, &mut ours).await?;
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

    fn retiring(&self) -> MutexGuard<'_, HashMap<i64, Instant>> {
        self.retiring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unconfirmed(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
