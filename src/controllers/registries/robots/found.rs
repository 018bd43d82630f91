//! Which accounts of a Harbor are pullgate's, by their names and descriptions.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{AccountProblem, Pass, Robots, SYSTEM};
use crate::controllers::registries::desired::Desired;
use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::domain::record::{Name, UnixSeconds};
use crate::registry::fault::Fault;
use crate::registry::harbor::{Harbor, Robot};
use crate::store::{RecordStore, StoreError};
use crate::types::v1alpha1::RobotLevel;

/// What an account's description says, for people, and for accounts of version 0.1.0, whose names do not say it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    /// The installation that made it.
    pub pullgate: String,
    pub registry: Name,
    pub workspace: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<Name>,
    /// When it was made, by the clock of whoever made it.
    pub since: UnixSeconds,
}

/// An account of ours and when it was made.
#[derive(Debug, Clone)]
pub(in super::super) struct Ours {
    pub robot: Robot,
    pub since: UnixSeconds,
    /// Where it was found.
    pub place: i64,
}

impl Robots {
    /// Every account of this installation for this registry by whom it is for, the newest first; and where none could be
    /// looked for, and why not in the first of these places.
    pub(super) async fn ours(
        &self,
        pass: &Pass<'_>,
        desired: &Desired,
        stored: &[RobotId],
    ) -> Result<(HashMap<String, Vec<Ours>>, BTreeSet<i64>, Option<Fault>), AccountProblem> {
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
        let (mut left, mut unread) = (BTreeSet::new(), None);
        for place in pass.places.difference(&needed).filter(|place| !gone.contains(place)) {
            match self.listed(pass.harbor, *place).await {
                Ok(robots) => found.extend(robots.into_iter().map(|robot| (robot.id, (*place, robot)))),
                Err(fault) => {
                    left.insert(*place);
                    unread.get_or_insert(fault);
                }
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
        Ok((ours, left, unread))
    }

    /// The accounts in a project, or of the system, whose names may be ours. A project that is not there has none.
    pub(super) async fn listed(&self, harbor: &Harbor, place: i64) -> Result<Vec<Robot>, Fault> {
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
