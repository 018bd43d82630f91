//! Putting one account of a workspace in the place of another: made, seen to work, handed out, and the others retired.

use jiff::Timestamp;
use tokio::time::Instant;

use super::found::{Mark, Ours};
use super::{AccountProblem, Pass, Robots, is_asked_for};
use crate::controllers::registries::desired::Project;
use crate::controllers::registries::rights::Rights;
use crate::domain::pull_secret::RobotId;
use crate::domain::record::{Name, UnixSeconds};
use crate::registry::fault::Fault;
use crate::registry::harbor::{NewRobot, RobotAccount};
use crate::store::Credential;

/// Accounts of one workspace at a time: the one in use, and those before it that somebody may still pull with. Whoever asks
/// for more within the overlap shortens that of the oldest.
const LIVING: usize = 4;

/// What a workspace's new account is for.
pub(super) struct Needs<'n> {
    pub id: &'n RobotId,
    pub projects: &'n [Project],
    pub rights: &'n Rights,
    /// Whether one that a crash left behind may be taken.
    pub adopts: bool,
    /// Harbor's number of the account that is handed out.
    pub in_use: Option<i64>,
}

impl Robots {
    /// Puts another account in the place of what a workspace has, seen to work before anybody gets it. What may not be
    /// changed and has more rights than it should ends at once, the others when everybody had the time to take the new one.
    pub(super) async fn replace(
        &self,
        pass: &Pass<'_>,
        needs: &Needs<'_>,
        ours: &mut Vec<Ours>,
    ) -> Result<(RobotAccount, UnixSeconds), AccountProblem> {
        let &Needs { id, rights, .. } = needs;
        let Some(probe) = probe(pass, &rights.allowed) else {
            let missing = rights.made_anew.as_ref().map(|name| Fault::MadeAnew(name.to_string()));
            return Err(missing.unwrap_or(Fault::NotFound).into());
        };
        let (account, since) = self.make(pass, needs, ours).await?;
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
    async fn make(
        &self,
        pass: &Pass<'_>,
        needs: &Needs<'_>,
        ours: &mut Vec<Ours>,
    ) -> Result<(RobotAccount, UnixSeconds), AccountProblem> {
        let &Needs { id, projects, rights, adopts, in_use } = needs;
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
    pub(super) async fn retire(
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
}

/// A colon would end the name where the kubelet splits it from the password.
pub(super) fn usable(name: &str) -> Result<(), Fault> {
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
