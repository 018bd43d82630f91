//! Makes, repairs and removes the pull secret of every namespace. Runs on the leader alone.
//!
//! Level-triggered: each pass compares all that should be with all that is and writes the difference, so a change
//! that was missed and a write that failed are mended by the next one. A credential that cannot be read for the
//! moment changes nothing. What a Secret looks like is [`secret`]'s.

mod secret;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, PartialObjectMeta, Preconditions};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::index::Published;
use crate::cluster::client;
use crate::domain::pull_secret::PULL_SECRET;
use crate::domain::record::{Name, Records};
use crate::domain::snapshot::Snapshot;
use crate::metrics::Metrics;
use crate::pull_secret::{DockerConfig, LookedUp};
use crate::store::manifest::Trouble;
use crate::store::{RecordStore, StoreError};
use secret::{Desired, Found};

/// How long changes are collected before a pass.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// How soon a pass follows the first in which something failed; each further one twice as late.
const RETRY: Duration = Duration::from_secs(2);
/// How often everything is compared while nothing is known to have changed.
const TICK: Duration = Duration::from_mins(5);
/// Secrets written at a time.
const WRITES: usize = 16;

/// Namespaces without the pull secret that they should have.
pub type Troubles = Arc<BTreeMap<Name, Trouble>>;

/// What the controller works with.
#[derive(Clone)]
pub struct PullSecrets {
    pub client: Client,
    /// pullgate's own namespace; its UID owns the Secrets, so that they go with it.
    pub namespace: String,
    pub store: Arc<dyn RecordStore>,
    pub published: Published,
    pub metrics: Arc<Metrics>,
    pub troubles: watch::Sender<Troubles>,
}

impl PullSecrets {
    /// Keeps the Secrets as they should be, for as long as it is polled.
    pub async fn keep(self) -> Infallible {
        let mut count = self.published.count.subscribe();
        let mut secrets = self.watch_secrets();
        let mut credentials = self.watch_credentials();
        let (mut present, mut listed) = (Present::default(), None);
        let mut looked_up = LookedUp::default();
        let (mut due, mut pause) = (Instant::now(), Duration::ZERO);
        // Nothing is written before both sides are known: what is not known yet would look superfluous.
        loop {
            let ready = present.known && *count.borrow() > 0;
            tokio::select! {
                Some(event) = secrets.next() => {
                    if present.take(event, &mut listed) {
                        due = due.min(Instant::now() + DEBOUNCE);
                    }
                }
                Some(()) = credentials.next() => {
                    looked_up = LookedUp::default();
                    due = due.min(Instant::now() + DEBOUNCE);
                }
                changed = count.changed() => match changed {
                    Ok(()) => due = due.min(Instant::now() + DEBOUNCE),
                    // The process ends.
                    Err(_) => pending().await,
                },
                () = sleep_until(due), if ready => {
                    let failed = self.pass(&mut present, &mut looked_up).await;
                    pause = if failed { (2 * pause).clamp(RETRY, TICK) } else { Duration::ZERO };
                    due = Instant::now() + if failed { pause } else { TICK };
                }
            }
        }
    }

    fn watch_secrets(&self) -> BoxStream<'static, watcher::Event<Secret>> {
        let name = format!("metadata.name={PULL_SECRET}");
        client::events(Api::all(self.client.clone()), client::watching().fields(&name))
    }

    /// Says that some Secret of the own namespace changed, which may be a credential.
    fn watch_credentials(&self) -> BoxStream<'static, ()> {
        let secrets = Api::<PartialObjectMeta<Secret>>::namespaced(self.client.clone(), &self.namespace);
        client::events(secrets, client::watching()).map(drop).boxed()
    }

    /// Compares and writes; whether something failed.
    async fn pass(&self, present: &mut Present, looked_up: &mut LookedUp) -> bool {
        let (records, snapshot) = (self.published.records.load_full(), self.published.snapshot.load_full());
        let owner = records.namespace_uids.get(self.namespace.as_str());
        let owner = owner.map(|uid| (self.namespace.as_str(), uid.as_str()));
        let mut tally = Tally::default();
        let mut superfluous: HashMap<Name, Found> = present.found.clone();
        for namespaces in groups(&records, &snapshot) {
            let desired = self.desired(&snapshot, &records, &namespaces, looked_up, owner).await;
            let Ok(desired) =
                desired.inspect_err(|error| tracing::error!(%error, "a credential cannot be read"))
            else {
                // Whatever they have stays as it is until the credentials can be read.
                tally.failed |= true;
                superfluous.retain(|namespace, _| !namespaces.contains(&namespace));
                continue;
            };
            let Some(desired) = desired else { continue };
            let work = namespaces.into_iter().filter_map(|namespace| {
                let found = superfluous.remove(namespace);
                tally.note(namespace, found.as_ref());
                let wrong = found.as_ref().is_none_or(|found| found.ours && !found.is(&desired));
                wrong.then(|| (namespace.clone(), found))
            });
            let work: Vec<(Name, Option<Found>)> = work.collect();
            let desired = &desired;
            let written = stream::iter(work).map(|(namespace, found)| async move {
                let outcome = self.write(&namespace, found.as_ref(), desired).await;
                (namespace, outcome)
            });
            let mut written = Box::pin(written.buffer_unordered(WRITES));
            while let Some((namespace, outcome)) = written.next().await {
                match outcome {
                    Ok(Some(found)) => drop(present.found.insert(namespace, found)),
                    Ok(None) => {}
                    Err(error) => tally.fail(&namespace, &error),
                }
            }
        }
        for (namespace, found) in superfluous.into_iter().filter(|(_, found)| found.ours) {
            match self.remove(&namespace, &found).await {
                Ok(()) => drop(present.found.remove(&namespace)),
                Err(error) => tally.fail(&namespace, &error),
            }
        }
        self.report(tally)
    }

    /// The Secret that all of these namespaces should have; `None` where they are entitled to nothing.
    async fn desired(
        &self,
        snapshot: &Snapshot,
        records: &Records,
        namespaces: &[&Name],
        looked_up: &mut LookedUp,
        owner: Option<(&str, &str)>,
    ) -> Result<Option<Desired>, StoreError> {
        let Some(first) = namespaces.first() else { return Ok(None) };
        let entries = snapshot.scope(first).pull_entries();
        let entries = looked_up.resolve(&*self.store, records, entries).await?;
        let config = DockerConfig::of(&entries);
        Ok((!config.is_empty()).then(|| Desired::new(&config, owner)))
    }

    /// Writes one Secret; what is there then, or nothing where the next pass must go on.
    async fn write(
        &self,
        namespace: &Name,
        found: Option<&Found>,
        desired: &Desired,
    ) -> Result<Option<Found>, kube::Error> {
        if let Some(found) = found
            && found.unchangeable
        {
            self.remove(namespace, found).await?;
        }
        let secrets = Api::<Secret>::namespaced(self.client.clone(), namespace);
        let found = found.filter(|found| !found.unchangeable);
        match secrets.patch(PULL_SECRET, &Desired::parameters(found), &desired.patch(found)).await {
            Ok(secret) => Ok(Some(Found::read(&secret))),
            // Somebody was faster, or the namespace has gone: the watches tell.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, namespace: &Name, found: &Found) -> Result<(), kube::Error> {
        let at =
            Preconditions { uid: Some(found.uid.clone()), resource_version: Some(found.version.clone()) };
        let secrets = Api::<Secret>::namespaced(self.client.clone(), namespace);
        match secrets.delete(PULL_SECRET, &DeleteParams::default().preconditions(at)).await {
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    }

    fn report(&self, tally: Tally) -> bool {
        let (total, troubles) = (tally.total, Arc::new(tally.troubles));
        let count = |kind| troubles.values().filter(|trouble| **trouble == kind).count();
        let (foreign, failures) = (count(Trouble::Foreign), count(Trouble::Failed));
        self.metrics.leader.pull_secrets(total.saturating_sub(foreign + failures), foreign, failures);
        self.troubles.send_if_modified(|before| {
            let news = troubles.iter().filter(|(namespace, trouble)| before.get(*namespace) != Some(trouble));
            for (namespace, _) in news.filter(|(_, trouble)| **trouble == Trouble::Foreign) {
                tracing::warn!(%namespace, "somebody else made the Secret {PULL_SECRET}; it is left alone, and pods there get no credentials until it is removed");
            }
            let changed = **before != *troubles;
            before.clone_from(&troubles);
            changed
        });
        tally.failed || failures > 0
    }
}

/// Namespaces that exist, are judged at all, and have the same entries: those of a workspace, and those of none.
fn groups<'r>(records: &'r Records, snapshot: &Snapshot) -> Vec<Vec<&'r Name>> {
    let mut groups: BTreeMap<Option<&str>, Vec<&Name>> = BTreeMap::new();
    for namespace in records.namespace_uids.keys() {
        let scope = snapshot.scope(namespace);
        if !scope.exempt() && scope.entitled() {
            groups.entry(scope.workspace()).or_default().push(namespace);
        }
    }
    groups.into_values().collect()
}

/// What a pass found.
#[derive(Default)]
struct Tally {
    /// Namespaces that should have a Secret.
    total: usize,
    troubles: BTreeMap<Name, Trouble>,
    failed: bool,
}

impl Tally {
    fn note(&mut self, namespace: &Name, found: Option<&Found>) {
        self.total += 1;
        if found.is_some_and(|found| !found.ours) {
            self.troubles.insert(namespace.clone(), Trouble::Foreign);
        }
    }

    fn fail(&mut self, namespace: &Name, error: &kube::Error) {
        // The API server's message may quote what it was sent.
        let reason = match error {
            kube::Error::Api(status) => format!("{} ({})", status.reason, status.code),
            _ => "the API server did not answer".to_owned(),
        };
        tracing::error!(%namespace, reason, "the Secret {PULL_SECRET} cannot be written");
        self.failed = true;
        self.troubles.insert(namespace.clone(), Trouble::Failed);
    }
}

/// The Secrets that there are.
#[derive(Default)]
struct Present {
    found: HashMap<Name, Found>,
    /// Whether all of them were listed.
    known: bool,
}

impl Present {
    /// Takes an event in; whether it tells of something that was not known.
    fn take(&mut self, event: Event<Secret>, listed: &mut Option<HashMap<Name, Found>>) -> bool {
        match event {
            Event::Init => {
                *listed = Some(HashMap::new());
                false
            }
            Event::InitDone => {
                let listed = listed.take().unwrap_or_default();
                let news = !self.known || listed != self.found;
                (self.found, self.known) = (listed, true);
                news
            }
            Event::InitApply(secret) | Event::Apply(secret) => {
                let namespace = Name::from(secret.namespace().unwrap_or_default());
                let found = Found::read(&secret);
                match listed {
                    Some(listed) => {
                        listed.insert(namespace, found);
                        false
                    }
                    // What this controller wrote comes back as an event, too.
                    None => self.found.insert(namespace, found.clone()) != Some(found),
                }
            }
            Event::Delete(secret) => {
                let namespace = Name::from(secret.namespace().unwrap_or_default());
                // This controller may have made another one since.
                let known =
                    self.found.get(&namespace).filter(|found| Some(&found.uid) == secret.uid().as_ref());
                known.is_some() && self.found.remove(&namespace).is_some()
            }
        }
    }
}
