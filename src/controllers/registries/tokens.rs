//! The token that the namespaces of a workspace pull with from its own Artifactory, in place of the credential with which it
//! was integrated. It only pulls, only from what the workspace claims, and for some days.
//!
//! Where no token can be had, the workspace's own credential is handed out, as of any registry of a workspace. The
//! registry's status says which of the two it is, and decides it: a token is stored before the status says so, and the
//! status takes that back before the token goes. The status keeps the ids of all that are not taken back yet.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::report::Accounts;
use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::domain::record::bounds::TOKENS;
use crate::domain::record::{Kind, Name, Owner, Registry, UnixSeconds};
use crate::registry::RegistryClient as _;
use crate::registry::artifactory::{Artifactory, NewToken, scope, token_id};
use crate::registry::fault::Fault;
use crate::store::{Credential, RecordStore, StoreError};
use crate::types::conditions::ConditionUpdate;
use crate::types::v1alpha1::{RegistryStatus, RobotLevel, RobotStatus};

/// Tokens that nobody uses which are taken back at a time.
const SWEPT: usize = 100;

/// The tokens of one registry.
#[derive(Debug)]
pub(super) struct Tokens {
    /// Whose tokens these are.
    installation: String,
    registry: Name,
    /// Since when tokens are known to be out of use, by their ids.
    retiring: HashMap<String, Instant>,
    /// What a crash left behind was looked for.
    swept: bool,
    /// The ids of all that there are.
    held: Vec<String>,
}

/// What a pass needs to know.
pub(super) struct Pass<'p> {
    pub artifactory: &'p Artifactory,
    pub store: &'p dyn RecordStore,
    pub registry: &'p Registry,
    pub life: Duration,
    pub overlap: Duration,
    /// Tokens made before then are to be replaced.
    pub renew_before: Option<UnixSeconds>,
}

/// What a token's description says.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// The installation that made it.
    pullgate: String,
    registry: Name,
    workspace: Name,
}

/// What the namespaces are to have.
enum Use {
    Token(RobotStatus),
    /// The workspace's own credential, and why; with what may pass, where something may.
    Own(String, Option<Fault>),
    /// What they have, since nothing better is known.
    Same(Fault),
}

impl Tokens {
    pub fn new(installation: String, registry: Name) -> Self {
        Self { installation, registry, retiring: HashMap::new(), swept: false, held: Vec::new() }
    }

    /// Keeps a token where one can be had; when to look at it again, if anything is to be done by then.
    ///
    /// # Errors
    /// The store's.
    pub async fn reconcile(&mut self, pass: &Pass<'_>) -> Result<(Accounts, Option<Duration>), StoreError> {
        let (Owner::Workspace(workspace), Some(document)) =
            (&pass.registry.owner, pass.store.get(Kind::Registry, &self.registry).await?)
        else {
            return Ok((Accounts::default(), None));
        };
        let told: RegistryStatus = serde_json::from_value(document.status).unwrap_or_default();
        let keys: Vec<Name> = match pass.artifactory.spaces(&|_, _| {}).await {
            Ok(spaces) => spaces.unwrap_or_default().into_iter().map(|space| space.path).collect(),
            Err(fault) => return Ok((unchanged(&told, fault), None)),
        };
        let (access, hosts) = (pass.artifactory.access(), &pass.registry.hosts);
        let prefixes = keys.iter().flat_map(|key| access.images(hosts, key)).collect();
        let claimed = access.claimed(hosts, &pass.registry.paths, &keys);

        let id = RobotId { registry: self.registry.clone(), workspace: workspace.clone(), space: None };
        let stored = pass.store.credential(&CredentialId::Robot(id.clone())).await?;
        let mut known: Vec<_> = told.robots.iter().filter(|token| token.id.is_some()).cloned().collect();
        let at = in_use(stored.as_ref(), &told, pass.life, &mut known);
        self.sweep(pass, stored.as_ref(), &known).await;
        let current = at.map(|at| known[at].clone()).zip(stored.as_ref());
        let current = current.filter(|(_, stored)| {
            stored.audience == pass.registry.audience()
                && Some(&*stored.username) == pass.artifactory.http().username()
        });
        let used = self.used(pass, &id, &claimed, current, known.len()).await?;

        let mut accounts = Accounts { access: Some((access.method(), prefixes)), ..Accounts::default() };
        let mut next = None;
        match &used {
            Use::Token(token) => {
                accounts.level = Some(RobotLevel::System);
                accounts.saying = Some(ConditionUpdate::yes("ScopedToken"));
                next = due_in(token);
                accounts.robots.push(token.clone());
                known.retain(|other| other.id != token.id);
            }
            Use::Own(why, trouble) => {
                accounts.trouble.clone_from(trouble);
                let text = format!("the workspace's namespaces have its own credential: {why}");
                accounts.saying = Some(ConditionUpdate::yes("OwnCredential").because(text));
            }
            Use::Same(fault) => {
                accounts = Accounts { access: accounts.access, ..unchanged(&told, fault.clone()) };
                // Whatever is in use now must not be taken back.
                self.note(&accounts);
                return Ok((accounts, None));
            }
        }
        // What the status says is in use is left alone until it says otherwise.
        let withdrawn = accounts.level.is_none() && told.robot_level.is_some();
        self.retire(pass, known, withdrawn, &mut accounts).await;
        if accounts.retiring {
            next = Some(next.map_or(pass.overlap, |next: Duration| next.min(pass.overlap)));
        }
        let over = accounts.level.is_none() && !withdrawn && accounts.robots.is_empty();
        if over && stored.is_some() {
            pass.store.set_robot(&id, None).await?;
        }
        self.note(&accounts);
        Ok((accounts, next))
    }

    fn note(&mut self, accounts: &Accounts) {
        self.held = accounts.robots.iter().filter_map(|token| token.id.clone()).collect();
        let held = &self.held;
        self.retiring.retain(|id, _| held.contains(id));
    }

    /// Decides what the namespaces are to have, and makes a token where one is due.
    async fn used(
        &mut self,
        pass: &Pass<'_>,
        id: &RobotId,
        claimed: &[&Name],
        current: Option<(RobotStatus, &Credential)>,
        held: usize,
    ) -> Result<Use, StoreError> {
        let (Some(username), Some(probe)) = (pass.artifactory.http().username(), claimed.first()) else {
            return Ok(Use::Own("it sees no docker repository among those that it claims".to_owned(), None));
        };
        let Some(scope) = scope(claimed) else {
            return Ok(Use::Own(
                "it claims too many repositories for one token; spec.paths makes them fewer".to_owned(),
                None,
            ));
        };
        // A colon would end the name where the kubelet splits it from the password.
        if username.contains(':') {
            return Ok(Use::Own("its user name holds a colon".to_owned(), None));
        }
        let (mut good, mut dead) = (None, false);
        if let Some((token, stored)) = current {
            dead = token.expires_at.is_some_and(|end| end <= Timestamp::now());
            if !dead && token.scope.as_ref() == Some(&scope) {
                match pass.artifactory.opens(&stored.password, probe).await {
                    Ok(true) => good = Some(token),
                    Ok(false) => {
                        dead = true;
                        tracing::warn!(registry = %self.registry, "the registry takes a token no more; another one is made");
                    }
                    Err(fault) => return Ok(Use::Same(fault)),
                }
            }
        }
        let good = match good {
            Some(token) if !is_due(pass, &token) => return Ok(Use::Token(token)),
            good => good,
        };
        // Each is told in the status until it ends or is taken back, and who refuses both would fill it.
        let made = if held < TOKENS {
            self.make(pass, id, username, &scope, probe).await?
        } else {
            Err(Fault::TooMany(TOKENS, "tokens that it does not take back"))
        };
        Ok(match (made, good) {
            // Where none may be made any more, the old one is good for the rest of its life.
            (Ok(token), _) | (Err(Fault::NotPermitted(_) | Fault::TooMany(..)), Some(token)) => {
                Use::Token(token)
            }
            (Err(fault @ Fault::NotPermitted(_)), None) => Use::Own(fault.to_string(), None),
            (Err(fault), None) if dead => Use::Own(fault.to_string(), Some(fault)),
            (Err(fault), _) => Use::Same(fault),
        })
    }

    /// Makes a token, sees that it works, and stores it.
    async fn make(
        &mut self,
        pass: &Pass<'_>,
        id: &RobotId,
        username: &str,
        scope: &str,
        probe: &Name,
    ) -> Result<Result<RobotStatus, Fault>, StoreError> {
        let mark = Mark {
            pullgate: self.installation.clone(),
            registry: self.registry.clone(),
            workspace: id.workspace.clone(),
        };
        // Texts; they always serialise.
        let description = serde_json::to_string(&mark).unwrap_or_default();
        let new = NewToken { username, scope, life: pass.life, description: &description };
        let since = Timestamp::now();
        let minted = match pass.artifactory.mint(&new).await {
            Ok(minted) => minted,
            Err(fault) => {
                // It may have been made, and the answer lost.
                self.swept &= matches!(fault, Fault::NotPermitted(_));
                return Ok(Err(fault));
            }
        };
        // Nothing is handed out that was not seen to work, by the name that nodes will use.
        let fault = match pass.artifactory.lets_pull(username, &minted.token, probe).await {
            Ok(true) => None,
            Ok(false) => Some(Fault::NotPermitted("have tokens that pull: a new one was refused".into())),
            Err(fault) => Some(fault),
        };
        if let Some(fault) = fault {
            self.swept &= pass.artifactory.revoke(&minted.id).await.is_ok();
            return Ok(Err(fault));
        }
        let credential = Credential {
            username: username.to_owned(),
            password: minted.token,
            audience: pass.registry.audience(),
        };
        if let Err(error) = pass.store.set_robot(id, Some(credential)).await {
            self.swept = false;
            return Err(error);
        }
        tracing::info!(registry = %self.registry, workspace = %id.workspace, token = minted.id, scope, "a token is in use");
        let end = minted.expires_in.map(|life| since.as_second().saturating_add(life));
        Ok(Ok(RobotStatus {
            name: username.to_owned(),
            covers: None,
            workspace: id.workspace.to_string(),
            space: None,
            since,
            expires_at: end.and_then(|end| Timestamp::from_second(end).ok()),
            disabled: false,
            id: Some(minted.id),
            scope: Some(scope.to_owned()),
        }))
    }

    /// Takes tokens back that are out of use, once everybody had the time to take another one.
    async fn retire(
        &mut self,
        pass: &Pass<'_>,
        tokens: Vec<RobotStatus>,
        withdrawn: bool,
        accounts: &mut Accounts,
    ) {
        for token in tokens {
            let Some(id) = token.id.clone() else { continue };
            if token.expires_at.is_some_and(|end| end <= Timestamp::now()) {
                continue;
            }
            let noticed = *self.retiring.entry(id.clone()).or_insert_with(Instant::now);
            if withdrawn || noticed.elapsed() < pass.overlap {
                accounts.retiring = true;
                accounts.robots.push(token);
                continue;
            }
            match pass.artifactory.revoke(&id).await {
                Ok(()) => tracing::info!(registry = %self.registry, token = id, "a token was taken back"),
                Err(fault) => {
                    tracing::warn!(registry = %self.registry, token = id, %fault, "a token cannot be taken back; it expires");
                    accounts.robots.push(token);
                }
            }
        }
    }

    /// Takes back what a crash left behind, where the registry tells of its tokens. Elsewhere they expire.
    async fn sweep(&mut self, pass: &Pass<'_>, stored: Option<&Credential>, known: &[RobotStatus]) {
        // Of one that says nothing of itself it is not known which it is.
        let unknown = stored.is_some() && known.is_empty();
        if self.swept || unknown {
            return;
        }
        let listed = match pass.artifactory.tokens().await {
            Ok(listed) => listed,
            Err(fault) => {
                tracing::debug!(registry = %self.registry, %fault, "the registry does not list its tokens");
                self.swept = !fault.passes();
                return;
            }
        };
        let ours = listed.into_iter().filter(|token| {
            serde_json::from_str(&token.description)
                .is_ok_and(|mark: Mark| mark.pullgate == self.installation && mark.registry == self.registry)
        });
        let unused: Vec<_> =
            ours.filter(|token| !known.iter().any(|known| known.id.as_ref() == Some(&token.id))).collect();
        // The rest the next time: what is in use must not wait for a list of any length.
        self.swept = unused.len() <= SWEPT;
        for token in unused.into_iter().take(SWEPT) {
            tracing::info!(registry = %self.registry, token = token.id, "taking back a token that nobody uses");
            self.swept &= pass.artifactory.revoke(&token.id).await.is_ok();
        }
    }

    /// Takes every token back, of a registry whose record is gone.
    pub async fn remove_all(self, artifactory: &Artifactory) {
        for id in self.held {
            if let Err(fault) = artifactory.revoke(&id).await {
                tracing::warn!(registry = %self.registry, token = id, %fault, "a token of a registry that is recorded no more is left; it expires");
            }
        }
    }
}

/// What was told, and what hinders to know better.
fn unchanged(told: &RegistryStatus, fault: Fault) -> Accounts {
    Accounts {
        level: told.robot_level,
        robots: told.robots.clone(),
        trouble: Some(fault),
        ..Accounts::default()
    }
}

/// Which of the known tokens is the stored one. One that was stored and not told, since a crash came between, is known
/// from here on.
fn in_use(
    stored: Option<&Credential>,
    told: &RegistryStatus,
    life: Duration,
    known: &mut Vec<RobotStatus>,
) -> Option<usize> {
    let stored = stored?;
    let Some(id) = token_id(&stored.password) else {
        return (told.robot_level.is_some() && !known.is_empty()).then_some(0);
    };
    let at = known.iter().position(|token| token.id.as_ref() == Some(&id));
    if at.is_none() {
        known.push(RobotStatus {
            name: stored.username.clone(),
            covers: None,
            workspace: String::new(),
            space: None,
            since: Timestamp::now(),
            // At the latest.
            expires_at: Timestamp::now().checked_add(life).ok(),
            disabled: false,
            id: Some(id),
            scope: None,
        });
    }
    at
}

/// Whether a token is to be replaced: on demand, or in the last third of its life.
fn is_due(pass: &Pass<'_>, token: &RobotStatus) -> bool {
    due_in(token).is_some_and(|left| left.is_zero())
        || pass.renew_before.is_some_and(|before| token.since.as_second() < before)
}

/// How long until then; `None`: its life has no end.
fn due_in(token: &RobotStatus) -> Option<Duration> {
    let (now, end) = (Timestamp::now(), token.expires_at?);
    let last_third = end.duration_since(token.since) / 3;
    Some(Duration::try_from(end.duration_since(now) - last_third).unwrap_or_default())
}
