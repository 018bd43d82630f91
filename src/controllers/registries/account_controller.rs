//! The accounts that namespaces pull with from one registry: at once when bindings change, and beside the reading of its
//! spaces, which may take long.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::desired::{self, Desired};
use super::ledger::Remembered;
use super::notices::Notice;
use super::report::{Accounts, Report};
use super::robots::{self, AccountProblem, Outcome, Pass, Robots};
use super::status::{self, Requests};
use super::tokens::{self, Tokens};
use super::{Registries, spaces_of};
use crate::domain::record::{Name, Owner, PullCredentials, Registry};
use crate::domain::records::{Records, Stored};
use crate::registry::artifactory::Artifactory;
use crate::registry::fault::Fault;
use crate::registry::{AccountRole, RegistryClient};
use crate::state::Interest;
use crate::types::v1alpha1::RobotStatus;

/// How long changes are collected before they are acted upon.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How soon an account is tried again that could not be changed; each time twice as late, up to the interval.
const RETRY: Duration = Duration::from_secs(1);
/// How often accounts are compared with what they should be while nothing is known to have changed.
const TICK: Duration = Duration::from_mins(5);
/// How often accounts in use log in, to see that they work, and no more often than in every other interval.
const PROOF: Duration = Duration::from_mins(1);

/// What a registry's own account was found to be good for.
#[derive(Clone)]
pub(super) struct IntegratedAccount {
    pub client: Arc<dyn RegistryClient>,
    pub tier: AccountRole,
}

/// See the module's text.
pub(super) struct AccountController {
    name: Name,
    shared: Registries,
    /// `None` before the registry answered once.
    standing: watch::Receiver<Option<IntegratedAccount>>,
    robots: Option<Robots>,
    remembered: Remembered,
    /// Of a workspace's Artifactory.
    tokens: Option<Tokens>,
    /// What was last asked for by an administrator.
    requests: Requests,
    desired: Desired,
    due: Instant,
    /// When accounts in use log in the next time, and how often they did.
    proof_at: Instant,
    proofs: usize,
    pause: Duration,
    /// Why accounts could not be kept, as was last logged.
    trouble: Option<Fault>,
    /// The same of those that are left.
    unread: Option<Fault>,
}

impl AccountController {
    pub fn new(name: Name, shared: Registries, standing: watch::Receiver<Option<IntegratedAccount>>) -> Self {
        Self {
            name,
            shared,
            standing,
            robots: None,
            remembered: Remembered::default(),
            tokens: None,
            requests: Requests::default(),
            desired: Desired::new(),
            due: Instant::now(),
            proof_at: Instant::now(),
            proofs: 0,
            pause: RETRY,
            trouble: None,
            unread: None,
        }
    }

    /// Works for as long as it is polled.
    pub async fn run(&mut self) {
        let mut news = self.shared.state.subscribe(Interest::registry(&self.name));
        let mut seen: Option<Arc<Stored<Registry>>> = None;
        // While a registry does not answer, what was last told is all that is known, and accounts expire.
        if let Some(told) = self.told().await.filter(|told| !told.is_empty()) {
            let records = self.shared.state.records();
            if let Some(registry) = records.registries().valid(&self.name) {
                self.measure(&registry.owner, &told);
            }
        }
        loop {
            news.take();
            let records = self.shared.state.records();
            let standing = self.standing.borrow_and_update().clone();
            if let Some(standing) = &standing
                && let Some(entry) = records.registries().get(&self.name)
                && let Some(registry) = entry.valid()
            {
                if seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, entry)) {
                    let requests = status::requests(&*self.shared.store, &self.name).await;
                    if requests.is_some_and(|requests| requests != self.requests) {
                        self.requests = requests.unwrap_or_default();
                        self.soon();
                    }
                    seen = Some(entry.clone());
                }
                let desired = self.desired(registry, &records, standing.tier);
                if desired != self.desired {
                    self.desired = desired;
                    self.soon();
                }
                if self.proof_at <= Instant::now() {
                    self.prove(standing).await;
                }
                if self.due <= Instant::now() {
                    self.due = Instant::now() + TICK;
                    let accounts = self.accounts(registry, &records, standing).await;
                    self.tell(registry, accounts).await;
                }
            }
            // Before the registry answered there is nothing to do.
            let idle = standing.is_none();
            tokio::select! {
                _ = news.next() => {}
                changed = self.standing.changed() => match changed {
                    Ok(()) => self.soon(),
                    Err(_) => return,
                },
                () = sleep_until(self.due.min(self.proof_at)), if !idle => {}
            }
        }
    }

    /// Has accounts in use log in. One that fails calls for a comparison at once.
    async fn prove(&mut self, standing: &IntegratedAccount) {
        self.proof_at = Instant::now() + PROOF.min(2 * self.shared.settings.interval);
        let (Some(robots), Some(harbor)) = (&self.robots, standing.client.harbor()) else { return };
        self.proofs = self.proofs.wrapping_add(1);
        match robots.all_work(harbor, &*self.shared.store, &self.desired, self.proofs).await {
            Ok(true) if !matches!(self.trouble, Some(Fault::AccountDisabled(_))) => {}
            // Or one that was disabled is enabled again.
            Ok(_) => self.due = Instant::now(),
            Err(error) => {
                tracing::warn!(registry = %self.name, %error, "the robot accounts cannot be read to see that they work");
            }
        }
    }

    fn soon(&mut self) {
        self.pause = RETRY;
        self.due = self.due.min(Instant::now() + DEBOUNCE);
    }

    /// The accounts that were last told, by this process or one before; `None` where that cannot be read.
    async fn told(&self) -> Option<Vec<RobotStatus>> {
        Some(status::read(&*self.shared.store, &self.name).await?.robots)
    }

    fn measure(&self, owner: &Owner, accounts: &[RobotStatus]) {
        let expiry = accounts.iter().filter_map(|robot| robot.expires_at).min();
        let metrics = &self.shared.metrics.registries;
        metrics.robots(&self.name, owner, accounts.len(), expiry.map(Timestamp::as_second));
    }

    async fn tell(&self, registry: &Registry, accounts: Option<Accounts>) {
        let Some(accounts) = accounts else { return };
        self.measure(&registry.owner, &accounts.robots);
        let report = Report { accounts: Some(accounts), ..Report::default() };
        let now = Timestamp::now();
        status::change(&*self.shared.store, &self.name, &registry.identity, |status, at| {
            report.tell(status, at, now);
        })
        .await;
    }

    /// Makes the robot accounts what the bindings call for; `None` where this registry has none.
    async fn accounts(
        &mut self,
        registry: &Registry,
        records: &Records,
        standing: &IntegratedAccount,
    ) -> Option<Accounts> {
        let client = &standing.client;
        if let Some(artifactory) = client.artifactory() {
            return self.token(artifactory, registry).await;
        }
        let harbor = client.harbor().filter(|_| registry.owner == Owner::Platform)?;
        // One of an address or a password that the record has no more makes no account for it.
        match self.shared.clients.of(&self.name, registry).await {
            Ok(current) if Arc::ptr_eq(&current, client) => {}
            _ => return None,
        }
        if self.robots.is_none() {
            self.robots = Some(Robots::new(self.installation().await?, self.name.clone()));
        }
        let Some(known) = self.told().await else {
            self.try_again();
            return None;
        };
        let level = match desired::level(standing.tier) {
            Ok(level) => level,
            Err(_) if registry.pull_credentials == PullCredentials::Integration => {
                return Some(Accounts::default());
            }
            Err(fault) => {
                return Some(Accounts { trouble: Some(fault), robots: known, ..Accounts::default() });
            }
        };
        let settings = self.shared.settings.clone();
        let wanted = desired::places(&self.desired, level);
        let store = self.shared.store.clone();
        let expected =
            self.remembered.expect(&*store, &self.name, registry, client, &wanted, settings.robot_days).await;
        let places = match expected {
            Ok(places) => places,
            Err(error) => {
                tracing::warn!(registry = %self.name, %error, "it cannot be remembered where robot accounts are; none is made");
                self.try_again();
                return None;
            }
        };
        let pass = Pass {
            harbor,
            store: &*self.shared.store,
            registry,
            recorded: &spaces_of(records, &self.name),
            level,
            places: &places,
            days: settings.robot_days,
            overlap: settings.overlap,
            renew_before: self.requests.rotation.map(Timestamp::as_second),
        };
        let accounts = match self.robots.as_ref()?.reconcile(&pass, &self.desired).await {
            Ok(Outcome { mut accounts, left, unread }) => {
                self.shared.metrics.registries.left(&self.name, left.len());
                if let Some(fault) = unread.as_ref().filter(|_| unread != self.unread) {
                    tracing::warn!(registry = %self.name, %fault, places = left.len(), "robot accounts that nobody needs any more may be left where they cannot be looked for");
                }
                self.unread = unread;
                // What is not forgotten is looked at again, and costs no more than that.
                if let Err(error) = self.remembered.settle(&*store, &wanted, &left).await {
                    tracing::warn!(registry = %self.name, %error, "places without robot accounts cannot be forgotten");
                }
                for robot in newly_disabled(&known, &accounts.robots) {
                    let fault = Fault::AccountDisabled(robot.name.clone());
                    let message = format!("account of workspace {}: {fault}", robot.workspace);
                    let registry = self.name.clone();
                    self.shared.notices.tell(Notice { registry, reason: fault.reason(), message });
                }
                let is_untold = |told: &RobotStatus| accounts.untold.iter().any(|id| robots::is_of(told, id));
                let kept: Vec<_> = known.into_iter().filter(is_untold).collect();
                accounts.robots.extend(kept);
                accounts
            }
            Err(AccountProblem::Registry(fault)) => {
                let left = places.difference(&wanted).count();
                self.shared.metrics.registries.left(&self.name, left);
                Accounts { level: Some(level), trouble: Some(fault), robots: known, ..Accounts::default() }
            }
            Err(AccountProblem::Store(error)) => {
                tracing::warn!(registry = %self.name, %error, "the robot accounts cannot be recorded");
                self.try_again();
                return None;
            }
        };
        if let Some(trouble) = &accounts.trouble {
            // Once, not once an attempt.
            if self.trouble.as_ref() != Some(trouble) {
                tracing::warn!(registry = %self.name, %trouble, "some robot accounts are not as they should be");
            }
            // Whether an administrator takes their word back is seen when the account logs in.
            if !matches!(trouble, Fault::AccountDisabled(_)) {
                self.try_again();
            }
            self.trouble = Some(trouble.clone());
        } else {
            self.trouble = None;
            self.pause = RETRY;
        }
        if accounts.retiring {
            self.due = self.due.min(Instant::now() + settings.overlap);
        }
        Some(accounts)
    }

    /// Keeps the token that a workspace's namespaces pull with.
    async fn token(&mut self, artifactory: &Artifactory, registry: &Registry) -> Option<Accounts> {
        let (store, settings) = (self.shared.store.clone(), self.shared.settings.clone());
        if self.tokens.is_none() {
            self.tokens = Some(Tokens::new(self.installation().await?, self.name.clone()));
        }
        let pass = tokens::Pass {
            artifactory,
            store: &*store,
            registry,
            life: settings.token_life,
            overlap: settings.overlap,
            renew_before: self.requests.rotation.map(Timestamp::as_second),
        };
        match self.tokens.as_mut()?.reconcile(&pass).await {
            Ok((accounts, next)) => {
                match &accounts.trouble {
                    None => {
                        self.trouble = None;
                        self.pause = RETRY;
                        if let Some(next) = next {
                            self.due = self.due.min(Instant::now() + next);
                        }
                    }
                    Some(fault) => {
                        if self.trouble.as_ref() != Some(fault) {
                            tracing::warn!(registry = %self.name, %fault, "the workspace's token cannot be kept");
                        }
                        self.trouble = Some(fault.clone());
                        self.try_again();
                    }
                }
                Some(accounts)
            }
            Err(error) => {
                tracing::warn!(registry = %self.name, %error, "the workspace's token cannot be recorded");
                self.try_again();
                None
            }
        }
    }

    async fn installation(&mut self) -> Option<String> {
        match self.shared.store.installation().await {
            Ok(installation) => Some(installation),
            Err(error) => {
                tracing::warn!(%error, "the installation's name cannot be read");
                self.try_again();
                None
            }
        }
    }

    fn try_again(&mut self) {
        self.due = Instant::now() + self.pause;
        self.pause = (2 * self.pause).min(self.shared.settings.interval);
    }

    /// Which accounts the bindings call for, with the rights of the registry's own.
    fn desired(&self, registry: &Registry, records: &Records, tier: AccountRole) -> Desired {
        if registry.owner != Owner::Platform {
            return Desired::new();
        }
        desired::level(tier).map_or_else(
            |_| Desired::new(),
            |level| desired::desired(&self.name, registry, records, &spaces_of(records, &self.name), level),
        )
    }

    /// The record is gone: its tokens go too, as far as they can. Those that stay expire. What there is of robot accounts
    /// is remembered, and removed by [`super::leftovers`].
    pub async fn leave(mut self) {
        let Some(IntegratedAccount { client, .. }) = self.standing.borrow().clone() else { return };
        if let (Some(tokens), Some(artifactory)) = (self.tokens.take(), client.artifactory()) {
            tokens.remove_all(artifactory).await;
        }
    }
}

/// The accounts that were disabled since they were last told of, also by another process.
fn newly_disabled<'a>(
    before: &'a [RobotStatus],
    now: &'a [RobotStatus],
) -> impl Iterator<Item = &'a RobotStatus> {
    let known = |robot: &RobotStatus| before.iter().any(|told| told.disabled && told.name == robot.name);
    now.iter().filter(move |robot| robot.disabled && !known(robot))
}
