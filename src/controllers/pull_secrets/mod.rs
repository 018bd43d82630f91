//! Makes, repairs and removes the pull secret of every namespace. Runs on the leader alone.
//!
//! Level-triggered: a pass compares what should be with what is and writes the difference, for the namespaces that a change
//! touches, and every few minutes for all, so that what was missed or failed is mended by the next one. A credential that cannot be read for the
//! moment changes nothing. What a Secret looks like is `secret`'s.

mod secret;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, PartialObjectMeta, Preconditions};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use crate::cluster::client;
use crate::credentials::{DockerConfig, LookedUp};
use crate::domain::pull_secret::PULL_SECRET;
use crate::domain::record::Name;
use crate::domain::records::{Records, Touched};
use crate::domain::snapshot::Snapshot;
use crate::metrics::Metrics;
use crate::runtime::Schedule;
use crate::state::{Interest, State};
use crate::store::{RecordStore, StoreError};
use crate::types::v1alpha1::PullSecretProblem;
use secret::{Desired, Found};

/// How long changes are collected before a pass.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// How soon a pass follows the first in which something failed.
const RETRY: Duration = Duration::from_secs(2);
/// How often everything is compared while nothing is known to have changed.
const TICK: Duration = Duration::from_mins(5);
/// Secrets written at a time.
const WRITES: usize = 16;

/// Namespaces without the pull secret that they should have.
pub type PullSecretProblems = Arc<BTreeMap<Name, PullSecretProblem>>;

/// Reconciles the pull secret of every namespace; its dependencies.
#[derive(Clone)]
pub struct PullSecrets {
    pub client: Client,
    /// pullgate's own namespace; its UID owns the Secrets, so that they go with it.
    pub namespace: String,
    pub store: Arc<dyn RecordStore>,
    pub state: State,
    pub metrics: Arc<Metrics>,
    pub troubles: watch::Sender<PullSecretProblems>,
}

impl PullSecrets {
    /// Keeps the Secrets as they should be, for as long as it is polled.
    pub async fn keep(self) -> Infallible {
        let mut changes = self.state.subscribe(Interest::Everything);
        let mut secrets = self.watch_secrets();
        let mut credentials = self.watch_credentials();
        let (mut present, mut listed) = (Present::default(), None);
        let mut looked_up = LookedUp::default();
        let mut schedule = Schedule::new(DEBOUNCE, RETRY, TICK).every(TICK);
        let (mut touched, mut compared) = (Namespaces::All, Compared::default());
        let mut known = false;
        // Nothing is written before both sides are known: what is not known yet would look superfluous.
        loop {
            let ready = present.known && known;
            tokio::select! {
                Some(event) = secrets.next() => {
                    let news = present.take(event, &mut listed);
                    if !news.is_empty() {
                        touched.add(news);
                        schedule.soon();
                    }
                }
                Some(()) = credentials.next() => {
                    looked_up = LookedUp::default();
                    touched = Namespaces::All;
                    schedule.soon();
                }
                news = changes.next() => {
                    known = true;
                    let news = self.namespaces(&news);
                    if !news.is_empty() {
                        touched.add(news);
                        schedule.soon();
                    }
                }
                () = schedule.due(), if ready => {
                    if touched.is_empty() {
                        // It is time to compare all.
                        touched = Namespaces::All;
                    }
                    let failed = self.pass(&touched, &mut present, &mut looked_up, &mut compared).await;
                    touched = if failed { Namespaces::All } else { Namespaces::default() };
                    schedule.looked(failed);
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

    /// The namespaces whose Secret may be another one after a change.
    fn namespaces(&self, touched: &Touched) -> Namespaces {
        // A registry's record says how it is pulled from, and pullgate's own namespace who owns the Secrets.
        let all = touched.everything
            || !touched.registry_records.is_empty()
            || touched.namespaces.contains(self.namespace.as_str());
        if all {
            return Namespaces::All;
        }
        let records = self.state.records();
        let mut some = touched.namespaces.clone();
        for workspace in &touched.workspaces {
            some.extend(
                records.workspaces().valid(workspace).into_iter().flat_map(|w| w.namespaces.iter().cloned()),
            );
        }
        Namespaces::Some(some)
    }

    /// Compares and writes; whether something failed.
    async fn pass(
        &self,
        touched: &Namespaces,
        present: &mut Present,
        looked_up: &mut LookedUp,
        compared: &mut Compared,
    ) -> bool {
        let snapshot = self.state.snapshot_full();
        let records = snapshot.records();
        let owner = records.namespace_uids().get(self.namespace.as_str());
        let owner = owner.map(|uid| (self.namespace.as_str(), uid.as_str()));
        let mut failed = false;
        compared.0.retain(|namespace, _| !touched.contain(namespace));
        let mut superfluous: HashMap<Name, Found> =
            present.found.iter().filter(|(namespace, _)| touched.contain(namespace)).map(owned).collect();
        for namespaces in groups(touched, &snapshot) {
            let desired = self.desired(&snapshot, records, &namespaces, looked_up, owner).await;
            let Ok(desired) =
                desired.inspect_err(|error| tracing::error!(%error, "a credential cannot be read"))
            else {
                // Whatever they have stays as it is until the credentials can be read.
                failed = true;
                superfluous.retain(|namespace, _| !namespaces.contains(&namespace));
                continue;
            };
            let Some(desired) = desired else { continue };
            let work = namespaces.into_iter().filter_map(|namespace| {
                let found = superfluous.remove(namespace);
                compared.note(namespace, found.as_ref());
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
                    Err(error) => compared.fail(&namespace, &error),
                }
            }
        }
        for (namespace, found) in superfluous.into_iter().filter(|(_, found)| found.ours) {
            match self.remove(&namespace, &found).await {
                Ok(()) => drop(present.found.remove(&namespace)),
                Err(error) => {
                    failed = true;
                    compared.fail(&namespace, &error);
                }
            }
        }
        self.report(compared) || failed
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

    /// Tells what was found; whether some Secret could not be written.
    fn report(&self, compared: &Compared) -> bool {
        let troubles =
            compared.0.iter().filter_map(|(namespace, trouble)| Some((namespace.clone(), (*trouble)?)));
        let troubles: PullSecretProblems = Arc::new(troubles.collect());
        let count = |kind| troubles.values().filter(|trouble| **trouble == kind).count();
        let (foreign, failures) = (count(PullSecretProblem::Foreign), count(PullSecretProblem::Failed));
        let in_step = compared.0.len().saturating_sub(foreign + failures);
        self.metrics.leader.pull_secrets(in_step, foreign, failures);
        self.troubles.send_if_modified(|before| {
            let news = troubles.iter().filter(|(namespace, trouble)| before.get(*namespace) != Some(trouble));
            for (namespace, _) in news.filter(|(_, trouble)| **trouble == PullSecretProblem::Foreign) {
                tracing::warn!(%namespace, "somebody else made the Secret {PULL_SECRET}; it is left alone, and pods there get no credentials until it is removed");
            }
            let changed = **before != *troubles;
            before.clone_from(&troubles);
            changed
        });
        failures > 0
    }
}

/// Which namespaces are to be compared.
enum Namespaces {
    All,
    Some(BTreeSet<Name>),
}

impl Default for Namespaces {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Namespaces {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Some(some) if some.is_empty())
    }

    fn contain(&self, namespace: &Name) -> bool {
        match self {
            Self::All => true,
            Self::Some(some) => some.contains(namespace),
        }
    }

    fn add(&mut self, others: Self) {
        match (self, others) {
            (Self::All, _) => {}
            (this, Self::All) => *this = Self::All,
            (Self::Some(some), Self::Some(others)) => some.extend(others),
        }
    }
}

/// Those of the namespaces that exist, are judged at all, and have the same entries: those of a workspace, and those of none.
fn groups<'r>(touched: &'r Namespaces, snapshot: &'r Snapshot) -> Vec<Vec<&'r Name>> {
    let existing = snapshot.records().namespace_uids();
    let namespaces: Vec<&Name> = match touched {
        Namespaces::All => existing.keys().collect(),
        Namespaces::Some(some) => some.iter().filter(|namespace| existing.contains_key(*namespace)).collect(),
    };
    let mut groups: BTreeMap<Option<&str>, Vec<&Name>> = BTreeMap::new();
    for namespace in namespaces {
        let scope = snapshot.scope(namespace);
        if !scope.exempt() && scope.entitled() {
            groups.entry(scope.workspace()).or_default().push(namespace);
        }
    }
    groups.into_values().collect()
}

fn owned((namespace, found): (&Name, &Found)) -> (Name, Found) {
    (namespace.clone(), found.clone())
}

/// The namespaces that should have a Secret, and what keeps them from it.
#[derive(Default)]
struct Compared(BTreeMap<Name, Option<PullSecretProblem>>);

impl Compared {
    fn note(&mut self, namespace: &Name, found: Option<&Found>) {
        let foreign = found.is_some_and(|found| !found.ours);
        self.0.insert(namespace.clone(), foreign.then_some(PullSecretProblem::Foreign));
    }

    fn fail(&mut self, namespace: &Name, error: &kube::Error) {
        // The API server's message may quote what it was sent.
        let reason = match error {
            kube::Error::Api(status) => format!("{} ({})", status.reason, status.code),
            _ => "the API server did not answer".to_owned(),
        };
        tracing::error!(%namespace, reason, "the Secret {PULL_SECRET} cannot be written");
        self.0.insert(namespace.clone(), Some(PullSecretProblem::Failed));
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
    /// Takes an event in; the namespaces of which it tells something that was not known.
    fn take(&mut self, event: Event<Secret>, listed: &mut Option<HashMap<Name, Found>>) -> Namespaces {
        let nothing = Namespaces::default();
        match event {
            Event::Init => {
                *listed = Some(HashMap::new());
                nothing
            }
            Event::InitDone => {
                let listed = listed.take().unwrap_or_default();
                let news = !self.known || listed != self.found;
                (self.found, self.known) = (listed, true);
                if news { Namespaces::All } else { nothing }
            }
            Event::InitApply(secret) | Event::Apply(secret) => {
                let namespace = Name::from(secret.namespace().unwrap_or_default());
                let found = Found::read(&secret);
                if let Some(listed) = listed {
                    listed.insert(namespace, found);
                    return nothing;
                }
                // What this controller wrote comes back as an event, too.
                let news = self.found.insert(namespace.clone(), found.clone()) != Some(found);
                if news { Namespaces::Some(BTreeSet::from([namespace])) } else { nothing }
            }
            Event::Delete(secret) => {
                let namespace = Name::from(secret.namespace().unwrap_or_default());
                // This controller may have made another one since.
                let known = self.found.get(&namespace);
                if known.is_none_or(|found| Some(&found.uid) != secret.uid().as_ref()) {
                    return nothing;
                }
                self.found.remove(&namespace);
                Namespaces::Some(BTreeSet::from([namespace]))
            }
        }
    }
}
