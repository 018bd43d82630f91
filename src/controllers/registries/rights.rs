//! What robot accounts may pull from. Harbor takes names of projects and keeps their numbers, so that a write gives a right
//! to whatever bears the name by then: numbers are compared right before and right after, and what was given to another
//! project is taken back.

use std::collections::HashSet;

use super::desired::Project;
use super::robots::{AccountProblem, Ours, Pass, Robots};
use crate::domain::record::Name;
use crate::registry::fault::Fault;

/// What became of the rights of some accounts.
#[derive(Debug, Default)]
pub(super) struct Rights {
    /// Projects that they may pull from, by name.
    pub allowed: Vec<Name>,
    /// Accounts by Harbor's number that should have other rights, and that the integrating account may not change.
    pub stuck: HashSet<i64>,
    /// One was made anew under its name; nobody has a right to it.
    pub made_anew: Option<Name>,
}

impl Robots {
    /// Lets accounts pull from these projects and no others. One that is left without any is deleted.
    pub(super) async fn cover(
        &self,
        pass: &Pass<'_>,
        projects: &[Project],
        ours: &mut Vec<Ours>,
    ) -> Result<Rights, AccountProblem> {
        let names: Vec<Name> = projects.iter().map(|project| project.name.clone()).collect();
        if ours.iter().all(|ours| self.is_covered(ours, &names)) {
            return Ok(Rights { allowed: names, ..Rights::default() });
        }
        let mut rights = Rights { allowed: names, ..Rights::default() };
        self.confirm(pass, projects, &mut rights).await?;
        loop {
            let mut kept = Vec::with_capacity(ours.len());
            for ours in ours.drain(..) {
                if self.is_covered(&ours, &rights.allowed) {
                    kept.push(ours);
                    continue;
                }
                if rights.allowed.is_empty() {
                    // Harbor knows no account without rights.
                    pass.harbor.remove_robot(ours.robot.id).await?;
                    continue;
                }
                self.unconfirmed().insert(ours.robot.id);
                match pass.harbor.cover(&ours.robot, &rights.allowed).await {
                    Ok(()) => {}
                    Err(Fault::NotPermitted(_)) => drop(rights.stuck.insert(ours.robot.id)),
                    Err(fault) => return Err(fault.into()),
                }
                kept.push(ours);
            }
            *ours = kept;
            if ours.is_empty() || self.confirm(pass, projects, &mut rights).await? {
                let mut unconfirmed = self.unconfirmed();
                for Ours { robot, .. } in ours.iter_mut().filter(|o| !rights.stuck.contains(&o.robot.id)) {
                    unconfirmed.remove(&robot.id);
                    robot.set_projects(&rights.allowed);
                }
                return Ok(rights);
            }
        }
    }

    /// Takes projects off the list that are not what they were recorded as; whether all that were on it are.
    pub(super) async fn confirm(
        &self,
        pass: &Pass<'_>,
        projects: &[Project],
        rights: &mut Rights,
    ) -> Result<bool, Fault> {
        let ids = pass.harbor.project_ids(&rights.allowed.iter().collect::<Vec<_>>()).await?;
        let before = rights.allowed.len();
        let recorded = |name: &Name| projects.iter().find(|project| project.name == *name).map(|p| p.id);
        for name in &rights.allowed {
            if ids.get(name).is_some_and(|id| Some(*id) != recorded(name)) {
                rights.made_anew.get_or_insert_with(|| name.clone());
            }
        }
        rights.allowed.retain(|name| ids.get(name).copied() == recorded(name));
        Ok(rights.allowed.len() == before)
    }

    /// Whether an account is known to have just these rights.
    fn is_covered(&self, ours: &Ours, names: &[Name]) -> bool {
        ours.robot.covers(names) && !self.unconfirmed().contains(&ours.robot.id)
    }
}
