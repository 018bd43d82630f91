//! Which robot accounts the bindings of a registry call for. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Recorded;
use super::robots::SYSTEM;
use super::spaces_of;
use crate::domain::pull_secret::RobotId;
use crate::domain::record::{Name, PullCredentials, Registry, Visibility};
use crate::domain::records::Records;
use crate::registry::AccountRole;
use crate::registry::fault::Fault;
use crate::types::v1alpha1::RobotLevel;

/// A project as it was recorded. Harbor takes names and keeps numbers: one made again under its name is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Project {
    pub name: Name,
    pub id: i64,
}

/// Which projects each account has to cover, by their names.
pub(super) type Desired = BTreeMap<RobotId, Vec<Project>>;

/// Which accounts the bindings of a registry call for; none where its own credential is handed out.
pub(super) fn desired(
    name: &Name,
    registry: &Registry,
    records: &Records,
    recorded: &[Recorded],
    level: RobotLevel,
) -> Desired {
    let mut desired = Desired::new();
    if registry.pull_credentials == PullCredentials::Integration {
        return desired;
    }
    for space in recorded.iter().filter_map(|(_, entry)| entry.valid()) {
        // Of a project that is not there, Harbor refuses the whole account.
        let there = !space.missing && !space.is_suspended(Some(registry));
        let Some(id) = space.project.get().filter(|_| there) else { continue };
        if !space.is_of(Some(registry)) || space.effective_visibility() == Visibility::Public {
            continue;
        }
        let project = Project { name: space.path.clone(), id };
        for workspace in &space.workspaces {
            if records.workspaces().valid(workspace).is_some() {
                let only = (level == RobotLevel::Project).then(|| space.path.clone());
                let id = RobotId { registry: name.clone(), workspace: workspace.clone(), space: only };
                desired.entry(id).or_default().push(project.clone());
            }
        }
    }
    for projects in desired.values_mut() {
        projects.sort_unstable();
        projects.dedup_by(|next, kept| next.name == kept.name);
    }
    desired
}

/// Where accounts are that are desired: numbers of projects, or [`SYSTEM`].
pub(super) fn places(desired: &Desired, level: RobotLevel) -> BTreeSet<i64> {
    match level {
        RobotLevel::System if desired.is_empty() => BTreeSet::new(),
        RobotLevel::System => BTreeSet::from([SYSTEM]),
        RobotLevel::Project => desired.values().flatten().map(|project| project.id).collect(),
    }
}

/// The same by what is recorded.
pub fn needed_places(
    name: &Name,
    registry: &Registry,
    records: &Records,
    level: RobotLevel,
) -> BTreeSet<i64> {
    places(&desired(name, registry, records, &spaces_of(records, name), level), level)
}

/// What accounts can be made with the rights of an account.
///
/// # Errors
/// None can.
pub(super) fn level(tier: AccountRole) -> Result<RobotLevel, Fault> {
    match tier {
        AccountRole::SystemAdmin => Ok(RobotLevel::System),
        AccountRole::User => Ok(RobotLevel::Project),
        AccountRole::Robot(rights) if rights.keeps_accounts() => Ok(RobotLevel::System),
        AccountRole::Robot(_) | AccountRole::Anonymous => Err(Fault::NotPermitted(
            "make robot accounts; integrate the Harbor with a robot account that may (`pullgate harbor-account` prints the \
             request for one, Harbor 2.12 and later), with a system admin's or a project admin's account, or set \
             spec.pullCredentials: Integration to hand out this one"
                .into(),
        )),
    }
}
