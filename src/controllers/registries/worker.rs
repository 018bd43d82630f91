//! The work for one registry: a pass every interval, and at once when its record changes. Its accounts are kept beside
//! that, see [`super::keeper`].

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::keeper::{Keeper, Standing};
use super::plan::{Plan, Recorded};
use super::progress::Counter;
use super::refusals::Refusals;
use super::report::{Counts, Report};
use super::spaces::{Outcome, Spaces, is_public};
use super::status::{self, Requests};
use super::wishes::Wishes;
use super::{Registries, spaces_of};
use crate::domain::record::{Entry, Name, Owner, Records, Registry, RegistryType, Visibility};
use crate::registry::clients::{self, Unconnected};
use crate::registry::fault::Fault;
use crate::registry::{Checked, Found, RegistryClient, Tier, Usage};
use crate::store::manifest::RegistryStatus;

/// How long changes are collected before they are acted upon.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How soon the registry is asked again that was changed.
const AGAIN: Duration = Duration::from_millis(500);
/// How soon a credential is read again that the store did not give, and a registry asked again that may be well in a moment:
/// each time twice as late, up to the interval.
const RETRY: Duration = Duration::from_secs(1);
/// How often what a registry holds is measured.
const MEASURE: Duration = Duration::from_mins(5);
/// How long a discovery goes on before its progress is told, and how often.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module's text.
pub(super) struct Worker {
    name: Name,
    shared: Registries,
    standing: watch::Sender<Option<Standing>>,
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
    /// The registry was changed for an administrator, and is to be read.
    changed: Arc<Notify>,
}

/// What a discovery found.
#[derive(Default)]
struct Discovery {
    /// `None` where registries of the type have no spaces.
    counts: Option<Counts>,
    usage: Option<Usage>,
    /// The registry was changed on the way.
    changed: bool,
    /// As in [`Outcome`].
    unmeasured: bool,
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
            changed: Arc::default(),
        }
    }

    /// Works until the registry's record is gone.
    pub async fn run(mut self) {
        let mut keeper = Keeper::new(self.name.clone(), self.shared.clone(), self.standing.subscribe());
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
        let mut count = self.shared.published.count.subscribe();
        let mut seen: Option<Arc<Entry<Registry>>> = None;
        let mut pass_at = Instant::now();
        let changed = self.changed.clone();
        loop {
            count.mark_unchanged();
            let records = self.shared.published.records.load_full();
            let Some(entry) = records.registries.get(&self.name) else { return };
            if let Some(registry) = entry.valid() {
                if seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, entry)) {
                    if self.is_news(registry).await {
                        pass_at = pass_at.min(Instant::now() + DEBOUNCE);
                    }
                    seen = Some(entry.clone());
                }
                let wishes = wishes(registry, &records, &self.name);
                if wishes != self.wishes {
                    self.wishes = wishes;
                    pass_at = pass_at.min(Instant::now() + DEBOUNCE);
                }
                if pass_at <= Instant::now() {
                    pass_at = Instant::now() + self.pass(registry, &records).await;
                }
            }
            drop(records);
            tokio::select! {
                Ok(()) = count.changed() => {}
                () = changed.notified() => pass_at = pass_at.min(Instant::now() + DEBOUNCE),
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
        let mut report = Report { followed: self.requests.sync, ..Report::default() };
        let mut next = interval;
        match client.check().await {
            Ok(checked) => {
                let standing = Standing { client: client.clone(), tier: checked.tier };
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
                    Fault::RateLimited { retry_after: Some(asked) } => interval.max(*asked).min(MEASURE),
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
        match self.discover(client, registry, &recorded, tier, measure).await {
            Ok(Discovery { counts, usage, changed, unmeasured }) => {
                if let Some(begun) = self.begun.take() {
                    let Counts { spaces, public, bound, .. } = counts.unwrap_or_default();
                    let took = begun.elapsed();
                    tracing::info!(registry = %self.name, spaces, public, bound, ?took, "the discovery ended");
                }
                report.discovered = counts.map(Ok);
                report.usage = usage;
                // What was changed there is read again soon, and not believed before; once, should it change back.
                self.again = (changed || first) && !self.again;
                self.discovered = true;
                if unmeasured {
                    self.measure_at = Instant::now();
                } else if measure {
                    self.measure_at = Instant::now() + MEASURE;
                }
            }
            Err(fault) => report.discovered = Some(Err(fault)),
        }
    }

    /// Reads all spaces and what they hold, and records both.
    async fn discover(
        &self,
        client: &dyn RegistryClient,
        registry: &Registry,
        recorded: &[Recorded],
        tier: Tier,
        measure: bool,
    ) -> Result<Discovery, Fault> {
        let counter = Counter::default();
        let work = async {
            let heard = |read, of| counter.read(read, of);
            let found = client.spaces(&heard).await?;
            let usage = if measure {
                self.usage(client, tier, found.as_deref().unwrap_or_default()).await
            } else {
                None
            };
            let Some(found) = found else { return Ok(Discovery { usage, ..Discovery::default() }) };
            let nothing = HashMap::new();
            let by_space = usage.as_ref().map_or(&nothing, |usage| &usage.by_space);
            let counts = count(&found, recorded);
            // What a workspace integrates is for it alone: nothing is bound, and nobody fills the store with it.
            if registry.owner == Owner::Platform {
                let spaces = Spaces {
                    registry: &self.name,
                    identity: &registry.identity,
                    store: &*self.shared.store,
                    harbor: client.harbor(),
                    counter: &counter,
                    refusals: &self.refusals,
                    interval: self.shared.settings.interval,
                };
                let Outcome { changed, failed, unmeasured } =
                    spaces.carry_out(Plan::new(found, recorded, by_space, &registry.identity)).await;
                if failed > 0 {
                    tracing::warn!(registry = %self.name, failed, "some spaces could not be recorded; the next pass tries again");
                }
                return Ok(Discovery { counts: Some(counts), usage, changed, unmeasured });
            }
            Ok(Discovery { counts: Some(counts), usage, ..Discovery::default() })
        };
        let since = Timestamp::now();
        let telling = async {
            loop {
                sleep(PATIENCE).await;
                let progress = counter.progress(since);
                let tell = |status: &mut RegistryStatus, _| status.progress = Some(progress);
                status::change(&*self.shared.store, &self.name, &registry.identity, tell).await;
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

    /// The client of the record as it is now, with the credential that is stored now.
    async fn client(&mut self, registry: &Registry) -> Result<Arc<dyn RegistryClient>, Unconnected> {
        let client = self.shared.clients.of(&self.name, registry).await?;
        if self.connection.as_ref().is_none_or(|(_, known)| !Arc::ptr_eq(known, &client)) {
            self.measure_at = Instant::now();
            self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clear();
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

/// Stands for what is not so yet and somebody wants: projects to be made, or to be of another visibility. A number, since
/// of a registry that never answered that is every space.
fn wishes(registry: &Registry, records: &Records, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    if registry.owner == Owner::Platform && registry.kind == RegistryType::Harbor {
        for (record, entry) in &records.spaces {
            let Some(space) = entry.valid().filter(|space| space.registry == name) else { continue };
            let differs = space.visibility.is_some() && space.visibility != space.observed && !space.missing;
            let confirmed = space.suspended && space.confirmed.get().is_some();
            if space.project.get().is_none() || differs || confirmed {
                let public = space.visibility.map(|visibility| visibility == Visibility::Public);
                (record, public, space.confirmed.get()).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
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
