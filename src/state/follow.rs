//! Follows the record store and publishes the state that every reader has.
//!
//! What was last published stays in force while the store is away; its age is a metric. A relist is collected beside
//! the records in force and takes their place as a whole, so that no decision ever sees half a store.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::State;
use crate::domain::record::Name;
use crate::domain::records::{Records, Touched};
use crate::domain::snapshot::{Settings, Snapshot};
use crate::metrics::Metrics;
use crate::runtime::Pending;
use crate::store::{Event, RecordStore, StoreError};
use crate::types::convert;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use imbl::OrdMap;
use tokio::sync::mpsc;

/// How long after a publication the next one follows at the earliest: what comes in between is published together. A change
/// that comes alone is published at once.
const PAUSE: Duration = Duration::from_millis(10);
/// How often the snapshot is marked as in step while nothing changes.
const TICK: Duration = Duration::from_secs(5);

/// Events that wait for the index; while it builds, the store waits.
const EVENTS_WAITING: usize = 1024;

/// What becomes known of the cluster's namespaces, for workspaces that pin them and for pull secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceEvent {
    /// All that exist, with their UIDs.
    Listed(OrdMap<Name, String>),
    Put(Name, String),
    Deleted(Name),
}

/// What the index follows.
enum Change {
    Store(Result<Event, StoreError>),
    Namespace(NamespaceEvent),
}

/// Follows `store`, and the cluster's namespaces where there is a cluster, for as long as it is polled. Only events are
/// taken here: a thread of its own copies and indexes, since 100,000 records would hold up a thread that answers
/// requests. `pending` is dropped with the first snapshot that knows both.
pub async fn follow(
    store: Arc<dyn RecordStore>,
    namespaces: Option<BoxStream<'static, NamespaceEvent>>,
    settings: Settings,
    state: State,
    metrics: Arc<Metrics>,
    pending: Pending,
) {
    let index = Index {
        snapshot: Snapshot::build(&Records::default(), &settings),
        records: Records::new(settings.shared_hosts, settings.workspace_quota),
        state,
        metrics,
        touched: Touched::default(),
        relisted: None,
        in_step: false,
        knows_records: false,
        knows_namespaces: namespaces.is_none(),
    };
    let (sender, receiver) = mpsc::channel(EVENTS_WAITING);
    // It ends with its sender, when this function is dropped.
    let thread = thread::Builder::new().name("index".to_owned()).spawn(move || index.run(receiver, pending));
    if let Err(error) = thread {
        tracing::error!(%error, "no thread for the index");
        return;
    }
    let namespaces = namespaces.unwrap_or_else(|| stream::pending().boxed()).map(Change::Namespace);
    let mut changes = stream::select(store.watch().map(Change::Store), namespaces);
    while let Some(change) = changes.next().await {
        if sender.send(change).await.is_err() {
            tracing::error!("the index failed");
            return;
        }
    }
}

struct Index {
    state: State,
    metrics: Arc<Metrics>,
    /// What was last published.
    snapshot: Snapshot,
    /// In step with the store, at most a pause ahead of what is published.
    records: Records,
    /// What changed since the last publication.
    touched: Touched,
    /// Collects a relist that is under way.
    relisted: Option<Records>,
    in_step: bool,
    /// Whether the store's records, and the namespaces, were ever all there.
    knows_records: bool,
    knows_namespaces: bool,
}

impl Index {
    fn run(self, events: mpsc::Receiver<Change>, pending: Pending) {
        match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(timers) => timers.block_on(self.take_all(events, pending)),
            Err(error) => tracing::error!(%error, "no timers for the index"),
        }
    }

    async fn take_all(mut self, mut events: mpsc::Receiver<Change>, pending: Pending) {
        let mut pending = Some(pending);
        let mut tick = tokio::time::interval(TICK);
        let mut next = tokio::time::Instant::now();
        loop {
            let due = self.knows_all() && !self.touched.is_nothing();
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(next), if due => {
                    self.publish();
                    next = tokio::time::Instant::now() + PAUSE;
                    pending.take();
                }
                event = events.recv() => match event {
                    None => return,
                    Some(Change::Namespace(event)) => self.take_namespace(event),
                    Some(Change::Store(Ok(event))) => self.take(event),
                    Some(Change::Store(Err(error))) => {
                        self.in_step = false;
                        tracing::error!(%error, "the record store cannot be followed; decisions go on from the last snapshot");
                    }
                },
                _ = tick.tick(), if self.in_step => self.metrics.snapshot.synced_at.set(now()),
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Restarted => {
                self.in_step = false;
                self.relisted =
                    Some(Records::new(self.records.shared_hosts.clone(), self.records.workspace_quota));
            }
            Event::Synced => {
                self.in_step = true;
                self.knows_records = true;
                let Some(mut records) = self.relisted.take() else { return };
                // The store knows nothing of them.
                records.set_namespaces(self.records.namespace_uids().clone());
                self.records = records;
                self.touched.add(Touched::everything());
            }
            Event::Put(document) => {
                let (record, revision) = (convert::record(&document), document.revision());
                self.change(|records| records.put_at(document.name, revision, record));
            }
            Event::Deleted(kind, name) => self.change(|records| records.remove(kind, &name)),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Records) -> Touched) {
        match &mut self.relisted {
            Some(records) => drop(change(records)),
            None => self.touched.add(change(&mut self.records)),
        }
    }

    fn take_namespace(&mut self, event: NamespaceEvent) {
        let records = &mut self.records;
        let touched = match event {
            NamespaceEvent::Listed(all) => {
                self.knows_namespaces = true;
                records.set_namespaces(all)
            }
            NamespaceEvent::Put(name, uid) => records.put_namespace(name, uid),
            NamespaceEvent::Deleted(name) => records.remove_namespace(&name),
        };
        self.touched.add(touched);
    }

    fn knows_all(&self) -> bool {
        self.knows_records && self.knows_namespaces
    }

    fn publish(&mut self) {
        let start = Instant::now();
        let touched = std::mem::take(&mut self.touched);
        self.snapshot = self.snapshot.updated(self.records.clone(), &touched);
        let metrics = &self.metrics.snapshot;
        metrics.built(self.snapshot.size(), start.elapsed().as_secs_f64(), now());
        metrics.synced_at.set(now());
        metrics.invalid.set(i64::try_from(self.records.invalid()).unwrap_or(i64::MAX));
        self.state.publish(self.snapshot.clone(), &touched);
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
