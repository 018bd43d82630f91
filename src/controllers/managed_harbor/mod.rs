//! Keeps a record for every Harbor that the platform itself runs in the cluster. Runs on the leader alone.
//!
//! Looks only into the namespaces that an administrator named: whoever may make a HarborCluster or a Deployment there
//! integrates a registry for the whole platform. Never asks a Harbor anything: whether it answers and takes the password is
//! found out as for every other registry.
//!
//! Level-triggered: each pass compares all instances with all records that follow one and writes the difference. Nothing is
//! removed but the record of an instance that a complete list no longer had, twice.

pub mod harbor_cluster;
pub mod helm;
pub mod instance;
mod look;
pub mod record;
mod removal;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use tokio::time::Instant;

use self::instance::{Installer, Instance, Source};
use self::look::Seen;
use crate::cluster::client;
use crate::domain::pull_secret::CredentialId;
use crate::domain::record::{Kind, Name};
use crate::domain::records::Records;
use crate::metrics::Metrics;
use crate::runtime::Schedule;
use crate::state::{self, Interest};
use crate::store::{CredentialChange, Precondition, RecordStore, StoreError, rules};
use crate::types::conditions::ConditionUpdate;
use crate::types::{Document, convert};

/// How long changes are collected before a pass.
const DEBOUNCE: Duration = Duration::from_secs(1);
/// How soon a pass follows the first in which something failed; each further one twice as late.
const RETRY: Duration = Duration::from_secs(2);
/// How often everything is compared while nothing is known to have changed.
const TICK: Duration = Duration::from_mins(1);
/// How long an instance must be away before its record goes. An upgrade may delete a Deployment and make it again.
const GONE_AFTER: Duration = Duration::from_secs(15);
/// Records read at a time.
const PAGE: usize = 500;

/// What the controller works with.
pub struct ManagedHarbors {
    client: Client,
    namespaces: BTreeSet<String>,
    store: Arc<dyn RecordStore>,
    state: state::State,
    metrics: Arc<Metrics>,
    /// Since when an instance is away.
    away: BTreeMap<Source, Instant>,
    /// What was logged, so that it is not with every pass.
    said: BTreeSet<String>,
}

/// How an instance and its record are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    InStep,
    Unhealthy,
    Conflict,
}

/// What a pass found.
#[derive(Default)]
struct Pass {
    states: Vec<State>,
    said: BTreeSet<String>,
    failed: bool,
    /// Another pass is due by then, whatever happens.
    again: Option<Instant>,
}

impl Pass {
    /// Something that an administrator should know; logged when it is new.
    fn say(&mut self, text: String) {
        self.said.insert(text);
    }
}

impl ManagedHarbors {
    /// Looks into `namespaces`.
    pub fn new(
        client: Client,
        namespaces: BTreeSet<String>,
        store: Arc<dyn RecordStore>,
        state: state::State,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (away, said) = (BTreeMap::new(), BTreeSet::new());
        Self { client, namespaces, store, state, metrics, away, said }
    }

    /// Keeps records and credentials in step, for as long as it is polled.
    pub async fn keep(mut self) -> Infallible {
        let mut changes = self.state.subscribe(Interest::Registries);
        let mut objects = self.changes();
        let mut schedule = Schedule::new(DEBOUNCE, RETRY, TICK).every(TICK);
        let mut ready = false;
        loop {
            tokio::select! {
                Some(()) = objects.next() => schedule.soon(),
                _ = changes.next() => {
                    ready = true;
                    schedule.soon();
                }
                () = schedule.due(), if ready => {
                    let Pass { failed, again, .. } = self.pass().await;
                    if !failed && again.is_none() && self.namespaces.is_empty() {
                        // Nothing is looked at: what there was to say of earlier records has been said.
                        return pending().await;
                    }
                    schedule.looked(failed);
                    if let Some(again) = again {
                        schedule.by(again);
                    }
                }
            }
        }
    }

    /// Says that something may have changed that an instance says of itself.
    fn changes(&self) -> BoxStream<'static, ()> {
        let each = self.namespaces.iter().flat_map(|namespace| {
            let cluster = || self.client.clone();
            let clusters = harbor_cluster::resource();
            let clusters = Api::<DynamicObject>::namespaced_with(cluster(), namespace, &clusters);
            let cores = Api::<Deployment>::namespaced(cluster(), namespace);
            let secrets = Api::<PartialObjectMeta<Secret>>::namespaced(cluster(), namespace);
            let maps = Api::<PartialObjectMeta<ConfigMap>>::namespaced(cluster(), namespace);
            [
                client::events(clusters, client::watching()).map(drop).boxed(),
                client::events(cores, client::watching().labels(helm::LABELS)).map(drop).boxed(),
                client::events(secrets, client::watching()).map(drop).boxed(),
                client::events(maps, client::watching()).map(drop).boxed(),
            ]
        });
        stream::select_all(each).boxed()
    }

    async fn pass(&mut self) -> Pass {
        let mut pass = Pass::default();
        let looks = self
            .namespaces
            .iter()
            .map(async |namespace| (namespace.clone(), look::look(&self.client, namespace).await));
        let seen: BTreeMap<String, Seen> = future::join_all(looks).await.into_iter().collect();
        for (namespace, seen) in &seen {
            for fault in &seen.faults {
                pass.failed = true;
                pass.say(format!("namespace {namespace} is not looked at for Harbors: {fault}"));
            }
        }
        // After the looks: a record that is made meanwhile has its instance among what was seen, or is left alone.
        match self.documents().await {
            Ok(documents) => self.compare(&seen, documents, &mut pass).await,
            Err(error) => {
                pass.failed = true;
                pass.say(format!("the records cannot be read: {error}"));
            }
        }
        for text in pass.said.difference(&self.said) {
            tracing::warn!("{text}");
        }
        self.said.clone_from(&pass.said);
        let count = |state| pass.states.iter().filter(|s| **s == state).count();
        let (in_step, unhealthy) = (count(State::InStep), count(State::Unhealthy));
        self.metrics.leader.managed_harbors(in_step, unhealthy, count(State::Conflict));
        pass
    }

    async fn compare(
        &mut self,
        seen: &BTreeMap<String, Seen>,
        documents: BTreeMap<Name, Document>,
        pass: &mut Pass,
    ) {
        let mut records = Records::default();
        for (name, document) in &documents {
            records.put(name.clone(), convert::record(document));
        }
        // Those with a record first: what they have is theirs, whoever comes before them in the order.
        let mut instances: Vec<_> = seen.values().flat_map(|seen| &seen.instances).collect();
        instances.sort_by_key(|i| (!documents.contains_key(&i.source.record()), i.source.clone()));
        for instance in &instances {
            match self.follow(instance, &documents, &mut records, pass).await {
                Ok(state) => pass.states.push(state),
                Err(error) => note(pass, &format!("{} cannot be recorded", instance.source), &error),
            }
        }
        let there: BTreeSet<&Source> = instances.iter().map(|instance| &instance.source).collect();
        self.away.retain(|source, _| !there.contains(source));
        for document in documents.values() {
            let automatic = record::is_automatic(document);
            let outcome = match record::source(document) {
                // A name that somebody gave it, or what was put back from elsewhere before its instance, is left alone.
                Some(source) if automatic && source.record() == document.name && !there.contains(&source) => {
                    self.without_instance(document, source, seen, pass).await
                }
                None if automatic => {
                    self.write(Some(document), record::released(document), CredentialChange::Keep).await
                }
                _ => continue,
            };
            if let Err(error) = outcome {
                note(pass, &format!("registry {} cannot be written", document.name), &error);
            }
        }
    }

    /// Brings the record of an instance in step with it.
    async fn follow(
        &self,
        instance: &Instance,
        documents: &BTreeMap<Name, Document>,
        records: &mut Records,
        pass: &mut Pass,
    ) -> Result<State, StoreError> {
        let (source, name) = (&instance.source, instance.source.record());
        let before = documents.get(&name);
        if before.is_some_and(|before| record::source(before).as_ref() != Some(source)) {
            pass.say(format!(
                "{source} is not integrated: there is a registry {name} already that does not follow it"
            ));
            return Ok(State::Conflict);
        }
        let trouble = instance.trouble();
        if let Some((_, why)) = trouble {
            pass.say(format!("{source} is not in step: {why}"));
        }
        if before.is_none() && instance.url.is_err() {
            return Ok(State::Unhealthy);
        }
        let id = CredentialId::Integration { registry: name.clone() };
        let stored = if before.is_some() { self.store.credential(&id).await? } else { None };
        let (document, change) = record::following(before, instance, stored.as_ref());
        if before.is_none_or(|before| before.spec != document.spec) {
            let problems = rules::problems(records, &document);
            if !problems.is_empty() {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                let problems = problems.join("; ");
                pass.say(format!("{source} is not integrated: {problems}"));
                if let Some(before) = before {
                    let saying = record::saying(before, ConditionUpdate::no("Conflict", problems));
                    self.write(Some(before), saying, CredentialChange::Keep).await?;
                }
                return Ok(State::Conflict);
            }
            records.put(name.clone(), convert::record(&document));
        }
        if before.is_none() {
            tracing::info!(%source, registry = %name, "a Harbor of the cluster is integrated");
        }
        self.write(before, document, change).await?;
        Ok(if trouble.is_some() { State::Unhealthy } else { State::InStep })
    }

    /// What becomes of a record whose instance was not seen.
    async fn without_instance(
        &mut self,
        document: &Document,
        source: Source,
        seen: &BTreeMap<String, Seen>,
        pass: &mut Pass,
    ) -> Result<(), StoreError> {
        let Some(seen) = seen.get(&source.namespace) else {
            let message = format!("namespace {} is not among those that are looked at", source.namespace);
            return self.say(document, ConditionUpdate::unknown("NotWatched").because(message)).await;
        };
        if source.installer == Installer::HarborCluster && seen.no_operator {
            let message = "the cluster knows no HarborCluster; remove the record if the Harbor has gone";
            return self.say(document, ConditionUpdate::unknown("NoOperator").because(message)).await;
        }
        if !seen.complete.contains(&source.installer) || seen.unread.contains(&source) {
            // Nothing is known of it for the moment, which is said in the log.
            return Ok(());
        }
        let since = *self.away.entry(source.clone()).or_insert_with(Instant::now);
        let end = since + GONE_AFTER;
        if Instant::now() < end {
            pass.again = Some(pass.again.map_or(end, |again| again.min(end)));
            let message = format!("{source} is not there any more; the record goes with it");
            return self.say(document, ConditionUpdate::no("Gone", message)).await;
        }
        match removal::remove(&*self.store, document).await {
            Err(StoreError::NotFound { .. }) => {}
            other => other?,
        }
        self.away.remove(&source);
        Ok(())
    }

    async fn say(&self, before: &Document, saying: ConditionUpdate) -> Result<(), StoreError> {
        self.write(Some(before), record::saying(before, saying), CredentialChange::Keep).await
    }

    /// Writes a record, unless it is so already.
    async fn write(
        &self,
        before: Option<&Document>,
        document: Document,
        change: CredentialChange,
    ) -> Result<(), StoreError> {
        let at = match before {
            Some(before) if *before == document && matches!(change, CredentialChange::Keep) => return Ok(()),
            Some(before) => Precondition::Version(before.version.clone()),
            None => Precondition::Absent,
        };
        self.store.put(document, at, change).await.map(drop)
    }

    /// All registries, as they are stored: what is published may lag behind.
    async fn documents(&self) -> Result<BTreeMap<Name, Document>, StoreError> {
        let mut all = BTreeMap::new();
        loop {
            let after = all.keys().next_back().cloned();
            let page = self.store.list(Kind::Registry, after.as_deref(), PAGE).await?;
            all.extend(page.items.into_iter().map(|document| (document.name.clone(), document)));
            if !page.more {
                return Ok(all);
            }
        }
    }
}

/// Somebody else's write in between is no fault: the next pass sees it.
fn note(pass: &mut Pass, what: &str, error: &StoreError) {
    match error {
        StoreError::Changed { .. } | StoreError::Exists { .. } => {
            let soon = Instant::now() + DEBOUNCE;
            pass.again = Some(pass.again.map_or(soon, |again| again.min(soon)));
        }
        error => {
            pass.failed = true;
            pass.say(format!("{what}: {error}"));
        }
    }
}
