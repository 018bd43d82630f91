//! The work for one registry: a pass every interval, and at once when its record changes. Its accounts are kept beside
//! that, see [`super::keeper`].
//!
//! To read everything takes a login for each call, and logins are dear: while nothing is to be done, a pass only looks
//! whether something changed ([`RegistryClient::unchanged`]), most of the time without a login.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::access::Access;
use super::account_controller::{AccountController, IntegratedAccount};
use super::hidden::Hidden;
use super::reading::{Discovery, Reading};
use super::refusals::Refusals;
use super::report::{Counts, Report};
use super::spaces::Outcome;
use super::status::{self, Requests};
use super::wishes::{self, Wishes};
use super::{Registries, spaces_of};
use crate::domain::record::{Name, Owner, Registry, RegistryType};
use crate::domain::records::{Records, Stored};
use crate::registry::clients::{self, Unconnected};
use crate::registry::fault::Fault;
use crate::registry::{AccountRole, Checked, RegistryClient};
use crate::state::Interest;

/// How long changes are collected before they are acted upon.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How soon the registry is asked again that was changed.
const AGAIN: Duration = Duration::from_millis(500);
/// How soon a credential is read again that the store did not give, and a registry asked again that may be well in a moment:
/// each time twice as late, up to the interval.
const RETRY: Duration = Duration::from_secs(1);
/// The longest pause that a registry may ask for.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// How often what a registry holds is measured; of a Harbor that is a login for each hundred projects.
const MEASURE: Duration = Duration::from_mins(5);
const MEASURE_HARBOR: Duration = Duration::from_mins(30);
/// In every so many passes all is read, whatever the looks in between show, and no more seldom than that.
const READ_EACH: u32 = 30;
const READ: Duration = Duration::from_mins(15);
/// In every so many passes a person's account logs in, and no more seldom than that. A robot's does in each: that costs
/// a Harbor a sixth.
const LOGIN_EACH: u32 = 5;
const LOGIN: Duration = Duration::from_secs(150);

/// See the module's text.
pub(super) struct Worker {
    name: Name,
    shared: Registries,
    standing: watch::Sender<Option<IntegratedAccount>>,
    /// The record that is worked for, and its client.
    connection: Option<(Registry, Arc<dyn RegistryClient>)>,
    /// What was last asked for by an administrator.
    requests: Requests,
    measure_at: Instant,
    /// Stands for what administrators want that is not so yet.
    wishes: u64,
    /// The last pass calls for another one at once.
    again: bool,
    /// How soon to look again at what may end in a moment.
    pause: Duration,
    /// All spaces were recorded once.
    discovered: bool,
    /// The next discovery is told in the log: the first one, and what an administrator asked for.
    announce: bool,
    /// When the discovery began whose beginning was told.
    begun: Option<Instant>,
    /// Why the registry could not be worked with, as was last logged.
    trouble: Option<&'static str>,
    refusals: Arc<Mutex<Refusals>>,
    hidden: Mutex<Hidden>,
    /// What was found when there was last nothing left to do.
    rest: Option<Rest>,
    /// The registry was changed for an administrator, and is to be read.
    changed: Arc<Notify>,
}

/// What holds while nothing changes.
struct Rest {
    counts: Option<Counts>,
    /// When everything is read again.
    until: Instant,
    /// When the account logs in again.
    login_at: Instant,
}

impl Worker {
    pub fn new(name: Name, shared: Registries) -> Self {
        Self {
            name,
            shared,
            standing: watch::Sender::new(None),
            connection: None,
            requests: Requests::default(),
            measure_at: Instant::now(),
            wishes: 0,
            again: false,
            pause: RETRY,
            discovered: false,
            announce: true,
            begun: None,
            trouble: None,
            refusals: Arc::default(),
            hidden: Mutex::default(),
            rest: None,
            changed: Arc::default(),
        }
    }

    /// Works until the registry's record is gone.
    pub async fn run(mut self) {
        let mut keeper =
            AccountController::new(self.name.clone(), self.shared.clone(), self.standing.subscribe());
        let wishes = Wishes {
            name: self.name.clone(),
            shared: self.shared.clone(),
            standing: self.standing.subscribe(),
            refusals: self.refusals.clone(),
            changed: self.changed.clone(),
        };
        tokio::select! {
            () = self.work() => {}
            () = keeper.run() => {}
            () = wishes.run() => {}
        }
        self.shared.metrics.registries.forget(&self.name);
        self.shared.clients.forget(&self.name);
        keeper.leave().await;
    }

    async fn work(&mut self) {
        let mut news = self.shared.state.subscribe(Interest::registry(&self.name));
        let mut seen: Option<Arc<Stored<Registry>>> = None;
        let mut pass_at = Instant::now();
        let changed = self.changed.clone();
        loop {
            news.take();
            let records = self.shared.state.records();
            let Some(entry) = records.registries().get(&self.name) else { return };
            if let Some(registry) = entry.valid() {
                if seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, entry)) {
                    if self.is_news(registry).await {
                        self.rest = None;
                        pass_at = pass_at.min(Instant::now() + DEBOUNCE);
                    }
                    seen = Some(entry.clone());
                }
                let wishes = wishes::digest(registry, &records, &self.name);
                if wishes != self.wishes {
                    self.wishes = wishes;
                    self.rest = None;
                    pass_at = pass_at.min(Instant::now() + DEBOUNCE);
                }
                if pass_at <= Instant::now() {
                    pass_at = Instant::now() + self.pass(registry, &records).await;
                }
            }
            tokio::select! {
                _ = news.next() => {}
                () = changed.notified() => {
                    self.rest = None;
                    pass_at = pass_at.min(Instant::now() + DEBOUNCE);
                }
                () = sleep_until(pass_at) => {}
            }
        }
    }

    /// Whether the registry's record says something new, and not only what was told of it.
    async fn is_news(&mut self, registry: &Registry) -> bool {
        let Some(requests) = status::requests(&*self.shared.store, &self.name).await else { return true };
        let asked = requests != self.requests;
        if asked {
            self.requests = requests;
            self.measure_at = Instant::now();
            self.announce = true;
            self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.hidden.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        // Where the password was wrong, another one may be stored now: to look costs the registry nothing.
        let rejected = self.trouble.is_some_and(|reason| reason.starts_with("Credentials"));
        asked || rejected || self.connection.as_ref().is_none_or(|(known, _)| !same_work(known, registry))
    }

    /// Asks the registry everything that is due; how long until it is asked again.
    async fn pass(&mut self, registry: &Registry, records: &Records) -> Duration {
        let interval = self.shared.settings.interval;
        let client = match self.client(registry).await {
            Ok(client) => client,
            Err(Unconnected::Registry(fault)) => {
                let followed = self.requests.sync;
                self.tell(registry, Report { checked: Some(Err(fault)), followed, ..Report::default() })
                    .await;
                return interval;
            }
            Err(Unconnected::Store(error)) => {
                tracing::warn!(registry = %self.name, %error, "the registry's credential cannot be read");
                return RETRY;
            }
        };
        if let Some(report) = self.at_rest(client.as_ref(), registry, records).await {
            self.tell(registry, report).await;
            return interval;
        }
        self.rest = None;
        let mut report = Report { followed: self.requests.sync, ..Report::default() };
        let mut next = interval;
        match client.check().await {
            Ok(checked) => {
                let standing = IntegratedAccount { client: client.clone(), tier: checked.tier };
                self.standing.send_if_modified(|known| {
                    let same = known.as_ref().is_some_and(|known| {
                        known.tier == standing.tier && Arc::ptr_eq(&known.client, &standing.client)
                    });
                    if !same {
                        *known = Some(standing);
                    }
                    // After trouble, accounts are kept at once and not when their own pause is over.
                    !same || self.trouble.is_some()
                });
                self.look(client.as_ref(), registry, records, checked, &mut report).await;
                if self.again {
                    next = AGAIN.min(interval);
                }
            }
            Err(fault) => {
                next = match &fault {
                    Fault::RateLimited { retry_after: Some(asked) } => interval.max(*asked).min(PAUSE_MAX),
                    _ => interval,
                };
                report.checked = Some(Err(fault));
            }
        }
        let fault = match (&report.checked, &report.discovered) {
            (Some(Err(fault)), _) | (_, Some(Err(fault))) => Some(fault),
            _ => None,
        };
        if fault.is_some_and(Fault::ends_soon) {
            next = next.min(self.pause);
            self.pause = (2 * self.pause).min(interval);
        } else {
            self.pause = RETRY;
        }
        self.tell(registry, report).await;
        next
    }

    /// What a registry that answers has.
    async fn look(
        &mut self,
        client: &dyn RegistryClient,
        registry: &Registry,
        records: &Records,
        checked: Checked,
        report: &mut Report,
    ) {
        let tier = checked.tier;
        report.checked = Some(Ok(checked));
        // Of what nobody recorded yet nothing is measured: decisions wait for the records.
        let recorded = spaces_of(records, &self.name);
        let first = recorded.is_empty() && !self.discovered;
        let measure = self.measure_at <= Instant::now() && !first;
        // Once, however many passes it takes.
        if std::mem::take(&mut self.announce) && self.begun.is_none() {
            self.begun = Some(Instant::now());
            tracing::info!(registry = %self.name, recorded = recorded.len(), "a discovery of the registry's spaces begins");
        }
        let (refusals, hidden) = (&*self.refusals, &self.hidden);
        let (name, shared, recorded) = (&self.name, &self.shared, &*recorded);
        let reading = Reading { name, shared, refusals, hidden, client, registry, recorded, tier, measure };
        match reading.discover().await {
            Ok(Discovery { counts, access, usage, outcome }) => {
                let Outcome { changed, failed, unmeasured, unfinished } = outcome;
                if let Some(begun) = self.begun.take() {
                    let Counts { spaces, public, bound, .. } = counts.unwrap_or_default();
                    let took = begun.elapsed();
                    tracing::info!(registry = %self.name, spaces, public, bound, ?took, "the discovery ended");
                }
                report.discovered = counts.map(Ok);
                report.access = Some(Access(access));
                report.usage = usage;
                // What was changed there is read again soon, and not believed before; once, should it change back.
                self.again = (changed || first) && !self.again;
                self.discovered = true;
                if unmeasured {
                    self.measure_at = Instant::now();
                } else if measure {
                    let harbor = registry.kind == RegistryType::Harbor;
                    self.measure_at = Instant::now() + if harbor { MEASURE_HARBOR } else { MEASURE };
                }
                if !self.again && failed == 0 && !unfinished {
                    let read = READ.min(READ_EACH * self.shared.settings.interval);
                    let (until, login_at) = (Instant::now() + read, self.next_login(tier));
                    self.rest = Some(Rest { counts, until, login_at });
                }
            }
            Err(fault) => report.discovered = Some(Err(fault)),
        }
    }

    /// What there is to tell where nothing changed and nothing is to be done; `None` where everything is to be read.
    async fn at_rest(
        &mut self,
        client: &dyn RegistryClient,
        registry: &Registry,
        records: &Records,
    ) -> Option<Report> {
        let now = Instant::now();
        let rest = self.rest.as_ref().filter(|rest| now < rest.until && now < self.measure_at)?;
        let (logs_in, counts) = (rest.login_at <= now, rest.counts);
        {
            let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if wishes::wished(registry, records, &self.name).any(|(record, _)| !refusals.waits(record, now)) {
                return None;
            }
        }
        let checked = client.unchanged(logs_in).await?;
        if logs_in {
            let login_at = self.next_login(checked.tier);
            self.rest.as_mut()?.login_at = login_at;
        }
        // Without a login, what is private was not looked at.
        let discovered = counts.filter(|_| logs_in).map(Ok);
        let followed = self.requests.sync;
        Some(Report { checked: Some(Ok(checked)), discovered, followed, ..Report::default() })
    }

    fn next_login(&self, tier: AccountRole) -> Instant {
        let pause = match tier {
            AccountRole::Robot(_) => Duration::ZERO,
            _ => LOGIN.min(LOGIN_EACH * self.shared.settings.interval),
        };
        Instant::now() + pause
    }

    /// The client of the record as it is now, with the credential that is stored now.
    async fn client(&mut self, registry: &Registry) -> Result<Arc<dyn RegistryClient>, Unconnected> {
        let client = self.shared.clients.of(&self.name, registry).await?;
        if self.connection.as_ref().is_none_or(|(_, known)| !Arc::ptr_eq(known, &client)) {
            self.measure_at = Instant::now();
            self.rest = None;
            self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.hidden.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        self.connection = Some((registry.clone(), client.clone()));
        Ok(client)
    }

    /// Says in the registry's status, and in the metrics, what a pass found.
    async fn tell(&mut self, registry: &Registry, report: Report) {
        let metrics = &self.shared.metrics.registries;
        if let Some(checked) = &report.checked {
            let succeeded = checked.is_ok() && report.succeeded();
            metrics.asked(&self.name, &registry.owner, succeeded, Timestamp::now().as_second());
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
        status::change(&*self.shared.store, &self.name, &registry.identity, |status, at| {
            report.tell(status, at, now);
        })
        .await;
    }
}

/// Whether what is to be done for two versions of a record is the same.
fn same_work(one: &Registry, other: &Registry) -> bool {
    // Of a workspace's registry it follows from the status, which is pullgate's own.
    let pull = |r: &Registry| (r.owner == Owner::Platform).then_some(r.pull_credentials);
    one.identity == other.identity && pull(one) == pull(other) && clients::same_way(one, other)
}
