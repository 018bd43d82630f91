//! Four watches as one stream of events.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use futures::stream::{self, BoxStream, SelectAll, StreamExt};
use kube::api::ListParams;
use kube::runtime::utils::WatchStreamExt;
use kube::runtime::watcher::{self, DefaultBackoff, watcher};

use super::KubernetesStore;
use super::object::RecordObject;
use crate::cluster::client::watching;
use crate::domain::record::{Kind, Name};
use crate::store::{Event, StoreError};

/// Objects asked for at a time. A list of 100,000 in pages of the usual 500 takes 200 round trips.
const PAGE: u32 = 5_000;
/// How often a store that failed is asked whether it is back.
const PROBE: Duration = Duration::from_secs(1);

type WatchEvent = (Kind, Result<watcher::Event<RecordObject>, watcher::Error>);

/// Everything, then every change. A watch that has to list again tells what is there once more, and what is gone:
/// decisions go on meanwhile.
pub(super) fn watch(store: &KubernetesStore) -> BoxStream<'static, Result<Event, StoreError>> {
    let streams = Kind::ALL.map(|kind| {
        let config = watching().page_size(PAGE);
        let events = watcher(store.read(kind), config).backoff(DefaultBackoff::default());
        events.map(move |told| (kind, told)).boxed()
    });
    let watch = Watch {
        store: store.clone(),
        told: stream::select_all(streams),
        kinds: Kind::ALL.map(KnownNames::new).into(),
        ready: VecDeque::from([Ok(Event::Restarted)]),
        probe: None,
    };
    stream::unfold(watch, async |mut watch| Some((watch.next().await?, watch))).boxed()
}

struct Watch {
    store: KubernetesStore,
    told: SelectAll<BoxStream<'static, WatchEvent>>,
    kinds: Vec<KnownNames>,
    /// What is to be passed on.
    ready: VecDeque<Result<Event, StoreError>>,
    /// Asks whether the API server is back, while something fails; kept, or a busy stream would always begin it anew.
    probe: Option<BoxFuture<'static, ()>>,
}

/// What is known of a kind: after a gap, what is missing from the list was deleted.
struct KnownNames {
    kind: Kind,
    names: BTreeSet<Name>,
    /// What the list under way has named.
    listed: Option<BTreeSet<Name>>,
    synced: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Event, StoreError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            tokio::select! {
                told = self.told.next() => {
                    let (kind, told) = told?;
                    self.take(kind, told);
                }
                () = async {
                    match &mut self.probe {
                        Some(probe) => probe.await,
                        None => pending().await,
                    }
                } => {
                    self.probe = None;
                    self.note_in_step();
                }
            }
        }
    }

    fn take(&mut self, kind: Kind, told: Result<watcher::Event<RecordObject>, watcher::Error>) {
        let Some(known) = self.kinds.iter_mut().find(|known| known.kind == kind) else { return };
        match told {
            Err(error) => {
                let store = self.store.clone();
                self.probe = Some(async move { answers(&store).await }.boxed());
                let message = format!("{} cannot be watched: {error}", super::plural(kind));
                self.ready.push_back(Err(StoreError::Unavailable(message)));
            }
            Ok(event) => {
                if known.take(event, &mut self.ready) {
                    self.note_in_step();
                }
            }
        }
    }

    /// `Synced` means that everything is known, now.
    fn note_in_step(&mut self) {
        if self.probe.is_none() && self.kinds.iter().all(|known| known.synced) {
            self.ready.push_back(Ok(Event::Synced));
        }
    }
}

impl KnownNames {
    fn new(kind: Kind) -> Self {
        Self { kind, names: BTreeSet::new(), listed: None, synced: false }
    }

    /// Passes an event on; whether a list ended with it.
    fn take(
        &mut self,
        event: watcher::Event<RecordObject>,
        ready: &mut VecDeque<Result<Event, StoreError>>,
    ) -> bool {
        match event {
            watcher::Event::Init => self.listed = Some(BTreeSet::new()),
            watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                let document = object.into_document(self.kind);
                self.listed.as_mut().unwrap_or(&mut self.names).insert(document.name.clone());
                ready.push_back(Ok(Event::Put(document)));
            }
            watcher::Event::Delete(object) => {
                let name = object.name();
                self.names.remove(&name);
                ready.push_back(Ok(Event::Deleted(self.kind, name)));
            }
            watcher::Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone = self.names.difference(&listed).cloned();
                ready.extend(gone.map(|name| Ok(Event::Deleted(self.kind, name))));
                self.names = listed;
                self.synced = true;
                return true;
            }
        }
        false
    }
}

/// Returns when the API server answers again. A watch that goes on where it was says nothing until something
/// changes, which may be never.
async fn answers(store: &KubernetesStore) {
    loop {
        tokio::time::sleep(PROBE).await;
        if store.records(Kind::Registry).list_metadata(&ListParams::default().limit(1)).await.is_ok() {
            return;
        }
    }
}
