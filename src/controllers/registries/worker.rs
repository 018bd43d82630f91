//! The work for one registry: a pass every interval, at once when its record changes, and over its robot accounts alone
//! when bindings do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{Either, select};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::plan::{Plan, Recorded};
use super::report::{Accounts, Counts, Report};
use super::robots::{self, Desired, Pass, Robots, Trouble};
use super::spaces::{Outcome, Spaces, is_public};
use super::tokens::{self, Tokens};
use super::{Registries, View};
use crate::domain::record::{Entry, Kind, Name, Owner, PullCredentials, Registry, RegistryType, Visibility};
use crate::registry::artifactory::Artifactory;
use crate::registry::clients::{self, Unconnected};
use crate::registry::fault::Fault;
use crate::registry::{Checked, Found, RegistryClient, Tier, Usage};
use crate::store::manifest::{Progress, RegistryStatus};
use crate::store::{CredentialChange, Precondition, StoreError};

/// How long changes are collected before they are acted upon.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How soon the registry is asked again that was changed.
const AGAIN: Duration = Duration::from_millis(500);
/// How soon a robot account is tried again that could not be changed; each time twice as late, up to the interval.
const RETRY: Duration = Duration::from_secs(1);
/// How often what a registry holds is measured, and its accounts are compared with what they should be.
const MEASURE: Duration = Duration::from_mins(5);
/// How long a discovery goes on before its progress is told, and how often.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module's text.
pub(super) struct Worker {
    name: Name,
    shared: Registries,
    views: watch::Receiver<Arc<View>>,
    /// The record that is worked for, and its client.
    connection: Option<(Registry, Arc<dyn RegistryClient>)>,
    robots: Option<Robots>,
    /// Of a workspace's Artifactory.
    tokens: Option<Tokens>,
    /// What the last pass found out about the account.
    tier: Option<Tier>,
    /// What was last asked for by an administrator.
    requests: Requests,
    measure_at: Instant,
    robots_at: Option<Instant>,
    robots_pause: Duration,
    desired: Desired,
    wishes: Vec<Wish>,
    /// The last pass calls for another one at once.
    again: bool,
    /// All spaces were recorded once.
    discovered: bool,
    /// Why the registry could not be worked with, as was last logged.
    trouble: Option<&'static str>,
}

/// What a discovery found.
#[derive(Default)]
struct Discovery {
    /// `None` where registries of the type have no spaces.
    counts: Option<Counts>,
    usage: Option<Usage>,
    /// The registry was changed on the way.
    changed: bool,
}

/// What somebody asked for in the registry's status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Requests {
    sync: Option<Timestamp>,
    rotation: Option<Timestamp>,
}

/// What an administrator says of a space that is not so yet.
type Wish = (Name, Option<Visibility>, Option<i64>);

impl Worker {
    pub fn new(name: Name, shared: Registries, views: watch::Receiver<Arc<View>>) -> Self {
        Self {
            name,
            shared,
            views,
            connection: None,
            robots: None,
            tokens: None,
            tier: None,
            requests: Requests::default(),
            measure_at: Instant::now(),
            robots_at: None,
            robots_pause: RETRY,
            desired: Desired::new(),
            wishes: Vec::new(),
            again: false,
            discovered: false,
            trouble: None,
        }
    }

    /// Works until the registry's record is gone.
    pub async fn run(mut self) {
        let mut seen: Option<Arc<Entry<Registry>>> = None;
        let mut pass_at = Instant::now();
        loop {
            let view = self.views.borrow_and_update().clone();
            let Some(entry) = view.records.registries.get(&self.name) else { return self.leave().await };
            if let Some(registry) = entry.valid() {
                let recorded = view.spaces_of(&self.name);
                if seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, entry)) {
                    if self.is_news(registry).await {
                        pass_at = pass_at.min(Instant::now() + DEBOUNCE);
                    }
                    seen = Some(entry.clone());
                }
                let wishes = wishes(registry, recorded);
                if wishes != self.wishes {
                    self.wishes = wishes;
                    pass_at = pass_at.min(Instant::now() + DEBOUNCE);
                }
                let desired = self.desired(registry, &view);
                if desired != self.desired {
                    self.desired = desired;
                    self.robots_pause = RETRY;
                    self.robots_at = Some(Instant::now() + DEBOUNCE);
                }
                if pass_at <= Instant::now() {
                    pass_at = Instant::now() + self.pass(registry, &view).await;
                } else if self.robots_at.is_some_and(|at| at <= Instant::now()) {
                    let accounts = self.accounts(registry, &view).await;
                    self.tell(Report { accounts, ..Report::default() }).await;
                }
            }
            let next = self.robots_at.map_or(pass_at, |at| at.min(pass_at));
            tokio::select! {
                changed = self.views.changed() => if changed.is_err() { return },
                () = sleep_until(next) => {}
            }
        }
    }

    /// Whether the registry's record says something new, and not only what was told of it.
    async fn is_news(&mut self, registry: &Registry) -> bool {
        let Ok(Some(document)) = self.shared.store.get(Kind::Registry, &self.name).await else { return true };
        let status: RegistryStatus = serde_json::from_value(document.status).unwrap_or_default();
        let requests = Requests { sync: status.sync_requested, rotation: status.rotation_requested };
        let asked = requests != self.requests;
        if asked {
            self.requests = requests;
            self.measure_at = Instant::now();
        }
        // Where the password was wrong, another one may be stored now: to look costs the registry nothing.
        let rejected = self.trouble == Some(Fault::CredentialsRejected.reason());
        asked || rejected || self.connection.as_ref().is_none_or(|(known, _)| !same_work(known, registry))
    }

    /// Asks the registry everything that is due; how long until it is asked again.
    async fn pass(&mut self, registry: &Registry, view: &View) -> Duration {
        let interval = self.shared.settings.interval;
        let client = match self.client(registry).await {
            Ok(client) => client,
            Err(Unconnected::Registry(fault)) => {
                let followed = self.requests.sync;
                self.tell(Report { checked: Some(Err(fault)), followed, ..Report::default() }).await;
                return interval;
            }
            Err(Unconnected::Store(error)) => {
                tracing::warn!(registry = %self.name, %error, "the registry's credential cannot be read");
                return RETRY;
            }
        };
        let mut report = Report { followed: self.requests.sync, ..Report::default() };
        let mut next = interval;
        match client.check().await {
            Ok(checked) => {
                self.tier = Some(checked.tier);
                self.look(client.as_ref(), registry, view, checked, &mut report).await;
                if self.again {
                    next = AGAIN.min(interval);
                }
            }
            Err(fault) => {
                next = match &fault {
                    Fault::RateLimited { retry_after: Some(asked) } => interval.max(*asked).min(MEASURE),
                    _ => interval,
                };
                report.checked = Some(Err(fault));
            }
        }
        self.tell(report).await;
        next
    }

    /// What a registry that answers has.
    async fn look(
        &mut self,
        client: &dyn RegistryClient,
        registry: &Registry,
        view: &View,
        checked: Checked,
        report: &mut Report,
    ) {
        let tier = checked.tier;
        report.checked = Some(Ok(checked));
        // Of what nobody recorded yet nothing is measured: decisions wait for the records.
        let first = view.spaces_of(&self.name).is_empty() && !self.discovered;
        let measure = self.measure_at <= Instant::now() && !first;
        match self.discover(client, registry, view, tier, measure).await {
            Ok(Discovery { counts, usage, changed }) => {
                report.discovered = counts.map(Ok);
                report.usage = usage;
                // What was changed there is read again soon, and not believed before; once, should it change back.
                self.again = (changed || first) && !self.again;
                self.discovered = true;
                if measure {
                    self.measure_at = Instant::now() + MEASURE;
                }
            }
            Err(fault) => report.discovered = Some(Err(fault)),
        }
        let none = self.robots.is_none() && self.tokens.is_none();
        if measure || none || self.robots_at.is_some_and(|at| at <= Instant::now()) {
            // By what is recorded now, discovery included.
            report.accounts =
                self.accounts(registry, &View::new(self.shared.published.records.load_full())).await;
        }
    }

    /// Reads all spaces and what they hold, and records both.
    async fn discover(
        &self,
        client: &dyn RegistryClient,
        registry: &Registry,
        view: &View,
        tier: Tier,
        measure: bool,
    ) -> Result<Discovery, Fault> {
        let (total, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = async {
            let heard = |_, of| total.store(of, Ordering::Relaxed);
            let found = client.spaces(&heard).await?;
            let usage = if measure {
                self.usage(client, tier, found.as_deref().unwrap_or_default()).await
            } else {
                None
            };
            let Some(found) = found else { return Ok(Discovery { usage, ..Discovery::default() }) };
            let by_space = usage.as_ref().map(|usage| usage.by_space.clone()).unwrap_or_default();
            let recorded = view.spaces_of(&self.name);
            let counts = count(&found, recorded);
            // What a workspace integrates is for it alone: nothing is bound, and nobody fills the store with it.
            if registry.owner == Owner::Platform {
                let spaces = Spaces {
                    registry: &self.name,
                    store: &*self.shared.store,
                    harbor: client.harbor(),
                    done: &done,
                };
                let Outcome { changed, failed } =
                    spaces.carry_out(Plan::new(found, recorded, &by_space)).await;
                if failed > 0 {
                    tracing::warn!(registry = %self.name, failed, "some spaces could not be recorded; the next pass tries again");
                }
                return Ok(Discovery { counts: Some(counts), usage, changed });
            }
            Ok(Discovery { counts: Some(counts), usage, changed: false })
        };
        let since = Timestamp::now();
        let telling = async {
            loop {
                sleep(PATIENCE).await;
                let of =
                    |number: &AtomicUsize| i64::try_from(number.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
                let progress = Progress { since, done: of(&done), total: of(&total) };
                tracing::info!(registry = %self.name, done = progress.done, total = progress.total, "reading the registry's spaces");
                self.change(|status, _| status.progress = Some(progress)).await;
            }
        };
        match select(Box::pin(work), Box::pin(telling)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((never, _)) => never,
        }
    }

    async fn usage(&self, client: &dyn RegistryClient, tier: Tier, found: &[Found]) -> Option<Usage> {
        let asked = client.usage(tier, found).await;
        asked.inspect_err(|fault| tracing::warn!(registry = %self.name, %fault, "the registry does not tell what it holds")).ok()
    }

    /// Makes the robot accounts what the bindings call for; `None` where this registry has none.
    async fn accounts(&mut self, registry: &Registry, view: &View) -> Option<Accounts> {
        self.robots_at = None;
        let client = self.connection.as_ref()?.1.clone();
        if let Some(artifactory) = client.artifactory() {
            return self.token(artifactory, registry).await;
        }
        let harbor = client.harbor().filter(|_| registry.owner == Owner::Platform)?;
        if self.robots.is_none() {
            let installation = self.shared.store.installation().await;
            let unread =
                |error: &StoreError| tracing::warn!(%error, "the installation's name cannot be read");
            self.robots = Some(Robots::new(installation.inspect_err(unread).ok()?, self.name.clone()));
        }
        let desired = self.desired(registry, view);
        let level = match robots::level(self.tier?) {
            Ok(level) => level,
            Err(_) if registry.pull_credentials == PullCredentials::Integration => {
                return Some(Accounts::default());
            }
            Err(fault) => return Some(Accounts { trouble: Some(fault), ..Accounts::default() }),
        };
        let settings = &self.shared.settings;
        let pass = Pass {
            harbor,
            store: &*self.shared.store,
            registry,
            recorded: view.spaces_of(&self.name),
            level,
            days: settings.robot_days,
            overlap: settings.overlap,
            renew_before: self.requests.rotation.map(Timestamp::as_second),
        };
        let accounts = match self.robots.as_ref()?.reconcile(&pass, &desired).await {
            Ok(accounts) => accounts,
            Err(Trouble::Registry(fault)) => {
                Accounts { level: Some(level), trouble: Some(fault), ..Accounts::default() }
            }
            Err(Trouble::Store(error)) => {
                tracing::warn!(registry = %self.name, %error, "the robot accounts cannot be recorded");
                self.try_robots_again();
                return None;
            }
        };
        if let Some(trouble) = &accounts.trouble {
            tracing::warn!(registry = %self.name, %trouble, "some robot accounts are not as they should be");
            self.try_robots_again();
        } else {
            self.robots_pause = RETRY;
            if accounts.retiring {
                self.robots_at = Some(Instant::now() + settings.overlap);
            }
        }
        Some(accounts)
    }

    /// Keeps the token that a workspace's namespaces pull with.
    async fn token(&mut self, artifactory: &Artifactory, registry: &Registry) -> Option<Accounts> {
        let (store, settings) = (self.shared.store.clone(), self.shared.settings.clone());
        if self.tokens.is_none() {
            let unread =
                |error: &StoreError| tracing::warn!(%error, "the installation's name cannot be read");
            let installation = store.installation().await.inspect_err(unread).ok()?;
            self.tokens = Some(Tokens::new(installation, self.name.clone()));
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
                        self.robots_pause = RETRY;
                        self.robots_at = next.map(|next| Instant::now() + next);
                    }
                    Some(fault) => {
                        tracing::warn!(registry = %self.name, %fault, "the workspace's token cannot be kept");
                        self.try_robots_again();
                    }
                }
                Some(accounts)
            }
            Err(error) => {
                tracing::warn!(registry = %self.name, %error, "the workspace's token cannot be recorded");
                self.try_robots_again();
                None
            }
        }
    }

    fn try_robots_again(&mut self) {
        self.robots_at = Some(Instant::now() + self.robots_pause);
        self.robots_pause = (2 * self.robots_pause).min(self.shared.settings.interval);
    }

    /// Which accounts the bindings call for; none before it is known what the registry's own account may do.
    fn desired(&self, registry: &Registry, view: &View) -> Desired {
        let level = self.tier.and_then(|tier| robots::level(tier).ok());
        level.map_or_else(Desired::new, |level| {
            robots::desired(&self.name, registry, &view.records, view.spaces_of(&self.name), level)
        })
    }

    /// The client of the record as it is now, with the credential that is stored now.
    async fn client(&mut self, registry: &Registry) -> Result<Arc<dyn RegistryClient>, Unconnected> {
        let client = self.shared.clients.of(&self.name, registry).await?;
        if self.connection.as_ref().is_none_or(|(_, known)| !Arc::ptr_eq(known, &client)) {
            self.tier = None;
            self.measure_at = Instant::now();
        }
        self.connection = Some((registry.clone(), client.clone()));
        Ok(client)
    }

    /// Says in the registry's status, and in the metrics, what a pass found.
    async fn tell(&mut self, report: Report) {
        let metrics = &self.shared.metrics.registries;
        if let Some(checked) = &report.checked {
            metrics.asked(&self.name, checked.is_ok() && report.succeeded(), Timestamp::now().as_second());
        }
        if let Some(accounts) = &report.accounts {
            let expiry = accounts.robots.iter().filter_map(|robot| robot.expires_at).min();
            metrics.robots(&self.name, accounts.robots.len(), expiry.map(Timestamp::as_second));
        }
        let trouble = match &report {
            Report { checked: Some(Err(fault)), .. } | Report { discovered: Some(Err(fault)), .. } => {
                Some(fault)
            }
            _ => None,
        };
        match (trouble, report.checked.is_some()) {
            (Some(Fault::CredentialsHeldBack), _) => {}
            // Once, not once a pass.
            (Some(fault), _) if self.trouble != Some(fault.reason()) => {
                tracing::warn!(registry = %self.name, %fault, "the registry cannot be worked with; what is recorded of it stays in force");
                self.trouble = Some(fault.reason());
            }
            (None, true) if self.trouble.take().is_some() => {
                tracing::info!(registry = %self.name, "the registry can be worked with again");
            }
            _ => {}
        }
        let now = Timestamp::now();
        self.change(|status, generation| report.tell(status, generation, now)).await;
    }

    async fn change(&self, edit: impl Fn(&mut RegistryStatus, i64)) {
        // Another writer may be faster; what it wrote stays.
        for _ in 0..4 {
            match self.try_change(&edit).await {
                Err(StoreError::Changed { .. }) => {}
                Err(error) => {
                    return tracing::warn!(registry = %self.name, %error, "the registry's status cannot be written");
                }
                Ok(()) => return,
            }
        }
    }

    async fn try_change(&self, edit: &impl Fn(&mut RegistryStatus, i64)) -> Result<(), StoreError> {
        let store = &*self.shared.store;
        let Some(document) = store.get(Kind::Registry, &self.name).await? else { return Ok(()) };
        let mut status: RegistryStatus = serde_json::from_value(document.status.clone()).unwrap_or_default();
        let before = status.clone();
        edit(&mut status, document.generation);
        if status == before {
            return Ok(());
        }
        let at = Precondition::Version(document.version.clone());
        // These types always serialise.
        let status = serde_json::to_value(&status).unwrap_or_default();
        store.put(crate::store::Document { status, ..document }, at, CredentialChange::Keep).await.map(drop)
    }

    /// The record is gone: its accounts go too, as far as they can. Those that stay expire.
    async fn leave(mut self) {
        self.shared.metrics.registries.forget(&self.name);
        self.shared.clients.forget(&self.name);
        if let (Some((_, client)), Some(tokens)) = (&self.connection, self.tokens.take())
            && let Some(artifactory) = client.artifactory()
        {
            return tokens.remove_all(artifactory).await;
        }
        let (Some((registry, client)), Some(robots), Some(tier)) =
            (self.connection.take(), self.robots.take(), self.tier)
        else {
            return;
        };
        let (Some(harbor), Ok(level)) = (client.harbor(), robots::level(tier)) else { return };
        let pass = Pass {
            harbor,
            store: &*self.shared.store,
            registry: &registry,
            recorded: &[],
            level,
            days: self.shared.settings.robot_days,
            overlap: Duration::ZERO,
            renew_before: None,
        };
        if let Err(error) = robots.remove_all(&pass).await {
            tracing::warn!(registry = %self.name, %error, "robot accounts of a registry that is recorded no more are left; they expire");
        }
    }
}

/// Whether what is to be done for two versions of a record is the same.
fn same_work(one: &Registry, other: &Registry) -> bool {
    // Of a workspace's registry it follows from the status, which is pullgate's own.
    let pull = |r: &Registry| (r.owner == Owner::Platform).then_some(r.pull_credentials);
    pull(one) == pull(other) && clients::same_way(one, other)
}

/// What is not so yet and somebody wants: projects to be made, or to be of another visibility.
fn wishes(registry: &Registry, recorded: &[Recorded]) -> Vec<Wish> {
    if registry.owner != Owner::Platform || registry.kind != RegistryType::Harbor {
        return Vec::new();
    }
    let unmet = recorded.iter().filter_map(|(name, entry)| {
        let space = entry.valid()?;
        let differs = space.visibility.is_some() && space.visibility != space.observed && !space.missing;
        let confirmed = space.suspended && space.confirmed.is_some();
        (space.project.is_none() || differs || confirmed)
            .then(|| (name.clone(), space.visibility, space.confirmed))
    });
    unmet.collect()
}

fn count(found: &[Found], recorded: &[Recorded]) -> Counts {
    let bound =
        recorded.iter().filter(|(_, entry)| entry.valid().is_some_and(|space| !space.workspaces.is_empty()));
    Counts {
        spaces: found.len(),
        public: found.iter().filter(|found| is_public(found)).count(),
        bound: bound.count(),
        repositories: found.iter().map(|found| found.repositories).sum(),
    }
}
