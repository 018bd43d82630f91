//! The one read model: every record of one moment with its joins, and the index of decisions that follows from them.
//!
//! [`follow()`] keeps it in step with the store, on every replica. Webhooks, API and controllers read it and nothing else;
//! what they read is one immutable value, so that a reader waits for nobody, and nobody for a reader. A reader that acts on
//! changes subscribes to those that concern it.

mod changes;
mod follow;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;
use tokio::time::timeout;

pub use self::changes::{Changes, Interest};
pub use self::follow::{NamespaceEvent, follow};
use crate::domain::record::{Kind, Name};
use crate::domain::records::{Records, Touched};
use crate::domain::snapshot::Snapshot;

/// A handle to what is published; see the module's text.
#[derive(Clone, Default)]
pub struct State(Arc<Inner>);

struct Inner {
    snapshot: ArcSwap<Snapshot>,
    /// How often something was published; 0: nothing of the store is known yet.
    count: watch::Sender<u64>,
    readers: Mutex<Vec<Weak<changes::Mailbox>>>,
}

impl State {
    /// One that shows a snapshot and follows nothing.
    pub fn of(snapshot: Snapshot) -> Self {
        let state = Self::default();
        state.publish(snapshot, &Touched::everything());
        state
    }

    /// The index of decisions as it is now, for the length of one request.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.0.snapshot.load()
    }

    /// The same, to be kept.
    pub fn snapshot_full(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// The records as they are now; a copy costs nothing.
    pub fn records(&self) -> Records {
        self.0.snapshot.load().records().clone()
    }

    /// Tells of changes from now on, and first of all that there is, once something is known.
    pub fn subscribe(&self, interest: Interest) -> Changes {
        let mut readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = Changes::new(interest);
        if *self.0.count.borrow() > 0 {
            changes.mailbox().put(&Touched::everything());
        }
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(changes.mailbox()));
        changes
    }

    /// Waits until a record is known as it was written at `revision`, or as somebody wrote it later; false where that took
    /// longer than `patience`.
    pub async fn has_seen(&self, kind: Kind, name: &str, revision: u64, patience: Duration) -> bool {
        self.shows(patience, |records| {
            revision_of(records, kind, name).is_some_and(|known| known >= revision)
        })
        .await
    }

    /// The same of a record that was removed at `revision`.
    pub async fn has_lost(&self, kind: Kind, name: &str, revision: u64, patience: Duration) -> bool {
        self.shows(patience, |records| revision_of(records, kind, name).is_none_or(|known| known > revision))
            .await
    }

    /// Publishes what a store holds, in place of whatever was published.
    pub fn publish(&self, snapshot: Snapshot, touched: &Touched) {
        self.0.snapshot.store(Arc::new(snapshot));
        self.0.count.send_modify(|count| *count += 1);
        let readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        for reader in readers.iter().filter_map(Weak::upgrade) {
            reader.put(touched);
        }
    }

    async fn shows(&self, patience: Duration, what: impl Fn(&Records) -> bool) -> bool {
        let mut count = self.0.count.subscribe();
        let shown = count.wait_for(|_| what(self.0.snapshot.load().records()));
        timeout(patience, shown).await.is_ok()
    }
}

/// The revision of a record that is there.
fn revision_of(records: &Records, kind: Kind, name: &str) -> Option<u64> {
    match kind {
        Kind::Registry => records.registries().get(name).map(|stored| stored.revision),
        Kind::RegistrySpace => records.spaces().get(name).map(|stored| stored.revision),
        Kind::Workspace => records.workspaces().get(name).map(|stored| stored.revision),
        Kind::PullPolicy => records.policies().get(name).map(|stored| stored.revision),
    }
}

impl Default for Inner {
    fn default() -> Self {
        let snapshot = ArcSwap::from_pointee(Snapshot::default());
        Self { snapshot, count: watch::Sender::new(0), readers: Mutex::default() }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("count", &*self.0.count.borrow()).finish_non_exhaustive()
    }
}

impl Interest {
    /// All that concerns the registry of a name.
    pub fn registry(name: &Name) -> Self {
        Self::Registry(name.clone())
    }
}
