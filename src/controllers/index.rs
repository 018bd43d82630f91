//! Follows the record store and publishes the snapshot that every decision reads.
//!
//! The last snapshot stays in force while the store is away; its age is a metric. A relist is collected beside
//! the records in force and takes their place as a whole, so that no decision ever sees half a store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::record::{Name, Records};
use crate::domain::snapshot::{Settings, Snapshot};
use crate::metrics::Metrics;
use crate::runtime::Pending;
use crate::store::{Event, RecordStore, StoreError, convert};
use arc_swap::ArcSwap;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::{mpsc, watch};

/// How long changes are collected before the snapshot is built anew.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// How often the snapshot is marked as in step while nothing changes.
const TICK: Duration = Duration::from_secs(5);

/// Events that wait for the index; while it builds, the store waits.
const EVENTS_WAITING: usize = 1024;

/// What the index publishes.
#[derive(Debug, Clone)]
pub struct Published {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The records that the snapshot was built from.
    pub records: Arc<ArcSwap<Records>>,
    /// How many were published; 0: nothing of the store is known yet.
    pub count: watch::Sender<u64>,
}

/// What becomes known of the cluster's namespaces, for workspaces that pin them and for pull secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceEvent {
    /// All that exist, with their UIDs.
    Listed(BTreeMap<Name, String>),
    Put(Name, String),
    Deleted(Name),
}

/// What the index follows.
enum Change {
    Store(Result<Event, StoreError>),
    Namespace(NamespaceEvent),
}

impl Default for Published {
    /// A snapshot of no records; not to be served before the first one is built.
    fn default() -> Self {
        Self {
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
            records: Arc::new(ArcSwap::from_pointee(Records::default())),
            count: watch::Sender::new(0),
        }
    }
}

/// Follows `store`, and the cluster's namespaces where there is a cluster, for as long as it is polled. Only events are
/// taken here: a thread of its own copies and indexes, since 100,000 records would hold up a thread that answers
/// requests. `pending` is dropped with the first snapshot that knows both.
pub async fn follow(
    store: Arc<dyn RecordStore>,
    namespaces: Option<BoxStream<'static, NamespaceEvent>>,
    settings: Settings,
    published: Published,
    metrics: Arc<Metrics>,
    pending: Pending,
) {
    let (shared_hosts, workspace_quota) = (settings.shared_hosts.clone(), settings.workspace_quota);
    let index = Index {
        settings,
        published,
        metrics,
        records: Arc::new(Records { shared_hosts, workspace_quota, ..Records::default() }),
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
    settings: Settings,
    published: Published,
    metrics: Arc<Metrics>,
    /// In step with the store, at most a debounce ahead of what is published.
    records: Arc<Records>,
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
        let mut due: Option<tokio::time::Instant> = None;
        loop {
            let deadline = due.unwrap_or_else(|| tokio::time::Instant::now() + TICK);
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline), if due.is_some() => {
                    due = None;
                    self.publish();
                    pending.take();
                }
                event = events.recv() => match event {
                    None => return,
                    Some(Change::Namespace(event)) => {
                        self.take_namespace(event);
                        if self.knows_all() {
                            due.get_or_insert_with(|| tokio::time::Instant::now() + DEBOUNCE);
                        }
                    }
                    Some(Change::Store(Ok(event))) => {
                        if self.take(event) && self.knows_all() {
                            due.get_or_insert_with(|| tokio::time::Instant::now() + DEBOUNCE);
                        }
                    }
                    Some(Change::Store(Err(error))) => {
                        self.in_step = false;
                        tracing::error!(%error, "the record store cannot be followed; decisions go on from the last snapshot");
                    }
                },
                _ = tick.tick(), if self.in_step => self.metrics.snapshot.synced_at.set(now()),
            }
        }
    }

    /// Takes in an event; whether the records in force changed by it.
    fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Restarted => {
                self.in_step = false;
                self.relisted = Some(Records::default());
                return false;
            }
            Event::Synced => {
                self.in_step = true;
                self.knows_records = true;
                let Some(mut records) = self.relisted.take() else { return false };
                // The store knows nothing of them.
                records.namespace_uids.clone_from(&self.records.namespace_uids);
                records.shared_hosts.clone_from(&self.records.shared_hosts);
                records.workspace_quota = self.records.workspace_quota;
                self.records = Arc::new(records);
                return true;
            }
            Event::Put(document) => {
                let record = convert::record(&document);
                self.collecting().put(document.name, record);
            }
            Event::Deleted(kind, name) => self.collecting().remove(kind, &name),
        }
        self.relisted.is_none()
    }

    fn take_namespace(&mut self, event: NamespaceEvent) {
        let known = &mut Arc::make_mut(&mut self.records).namespace_uids;
        match event {
            NamespaceEvent::Listed(all) => {
                *known = all;
                self.knows_namespaces = true;
            }
            NamespaceEvent::Put(name, uid) => drop(known.insert(name, uid)),
            NamespaceEvent::Deleted(name) => drop(known.remove(&name)),
        }
    }

    fn knows_all(&self) -> bool {
        self.knows_records && self.knows_namespaces
    }

    fn collecting(&mut self) -> &mut Records {
        // Copies what is published once a burst of changes, and not again until the next is published.
        self.relisted.as_mut().unwrap_or_else(|| Arc::make_mut(&mut self.records))
    }

    fn publish(&self) {
        let start = Instant::now();
        let snapshot = Snapshot::build(&self.records, &self.settings);
        let metrics = &self.metrics.snapshot;
        metrics.built(snapshot.size(), start.elapsed().as_secs_f64(), now());
        metrics.synced_at.set(now());
        metrics.invalid.set(i64::try_from(self.records.invalid()).unwrap_or(i64::MAX));
        self.published.records.store(self.records.clone());
        self.published.snapshot.store(Arc::new(snapshot));
        self.published.count.send_modify(|count| *count += 1);
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
