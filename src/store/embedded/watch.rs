//! A watcher: everything in chunks, then every change.
//!
//! Each chunk shows the store at one version, a later one with every chunk. A change of what earlier chunks told is
//! told in its place between them; a change beyond is not, because the chunk that comes to it shows it. So a load
//! holds no transaction and no more than a chunk, and is exact when it ends.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, unfold};
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};
use tokio::sync::mpsc;

use super::rows::Place;
use super::{Command, ask};
use crate::domain::record::{Kind, Name};
use crate::store::{Event, StoreError};
use crate::types::Document;

/// Records read in one go; some milliseconds, in which nothing else is answered.
const CHUNK: i64 = 500;

/// How long a watcher waits before it reads again what could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// A committed change, as the writing thread tells it.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// The store's version after it.
    pub(super) version: i64,
    pub(super) told: StoreEvent,
}

#[derive(Debug, Clone)]
pub(super) enum StoreEvent {
    Put(Arc<Document>),
    Deleted(Kind, Name),
    /// So much that reading it again is better than telling it.
    Reloaded,
}

/// Everything and then every change; ends when the store is gone.
pub(super) fn watch(
    commands: mpsc::WeakSender<Command>,
    changes: broadcast::Receiver<Change>,
) -> BoxStream<'static, Result<Event, StoreError>> {
    let watcher = Watcher {
        commands,
        changes,
        held: None,
        ready: VecDeque::from([Event::Restarted]),
        loading: Some(Load::default()),
        failed: false,
    };
    unfold(watcher, async |mut watcher| Some((watcher.next().await?, watcher))).boxed()
}

struct Watcher {
    /// Weak, so that a watcher does not keep the store open.
    commands: mpsc::WeakSender<Command>,
    changes: broadcast::Receiver<Change>,
    /// A change that was received and belongs after the current chunk.
    held: Option<Change>,
    ready: VecDeque<Event>,
    loading: Option<Load>,
    failed: bool,
}

#[derive(Default)]
struct Load {
    /// The last place that was told.
    at: Option<Place>,
    /// Told once everything is, because until then there are only `Put`s.
    deleted: BTreeSet<(Kind, Name)>,
}

/// Changes were missed, or there were too many to tell.
struct Gap;

/// The store is gone.
struct Ended;

impl Watcher {
    async fn next(&mut self) -> Option<Result<Event, StoreError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if std::mem::take(&mut self.failed) {
                tokio::time::sleep(RETRY).await;
            }
            let step = if self.loading.is_some() { self.load().await } else { self.follow().await };
            match step {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    self.failed = true;
                    return Some(Err(error));
                }
                Err(Ended) => return None,
            }
        }
    }

    /// Reads one chunk and makes its events ready, after those of changes that came before it.
    async fn load(&mut self) -> Result<Result<(), StoreError>, Ended> {
        let Some(load) = &mut self.loading else { return Ok(Ok(())) };
        let after = load.at.clone();
        let commands = self.commands.upgrade().ok_or(Ended)?;
        let chunk = match ask(&commands, move |records| records.chunk(after, CHUNK)).await {
            Ok(chunk) => chunk,
            Err(_) if commands.is_closed() => return Err(Ended),
            Err(error) => return Ok(Err(error)),
        };
        if self.catch_up(chunk.version).is_err() {
            self.restart();
            return Ok(Ok(()));
        }
        self.ready.extend(chunk.documents.into_iter().map(Event::Put));
        match (chunk.end, &mut self.loading) {
            (Some(end), Some(load)) => load.at = Some(end),
            (_, loading) => {
                self.ready.push_back(Event::Synced);
                let deleted = loading.take().unwrap_or_default().deleted;
                self.ready.extend(deleted.into_iter().map(|(kind, name)| Event::Deleted(kind, name)));
            }
        }
        Ok(Ok(()))
    }

    /// Makes the changes up to a chunk's version ready, as far as earlier chunks came. All of them have arrived: the
    /// thread that read the chunk sent them before. What is received later is newer than every chunk.
    fn catch_up(&mut self, version: i64) -> Result<(), Gap> {
        loop {
            let change = match self.held.take() {
                Some(change) => change,
                None => match self.changes.try_recv() {
                    Ok(change) => change,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
                    Err(TryRecvError::Lagged(_)) => return Err(Gap),
                },
            };
            if change.version > version {
                self.held = Some(change);
                return Ok(());
            }
            let Some(load @ Load { at: Some(_), .. }) = &mut self.loading else { continue };
            match change.told {
                StoreEvent::Put(document) if load.passed(document.kind, &document.name) => {
                    load.deleted.remove(&(document.kind, document.name.clone()));
                    self.ready.push_back(Event::Put(Arc::unwrap_or_clone(document)));
                }
                StoreEvent::Deleted(kind, name) if load.passed(kind, &name) => {
                    load.deleted.insert((kind, name));
                }
                StoreEvent::Put(_) | StoreEvent::Deleted(..) => {}
                StoreEvent::Reloaded => return Err(Gap),
            }
        }
    }

    /// Waits for the next change.
    async fn follow(&mut self) -> Result<Result<(), StoreError>, Ended> {
        let change = match self.held.take() {
            Some(change) => Ok(change),
            None => self.changes.recv().await,
        };
        match change {
            Err(RecvError::Closed) => return Err(Ended),
            Err(RecvError::Lagged(_)) => self.restart(),
            Ok(change) => match change.told {
                StoreEvent::Put(document) => self.ready.push_back(Event::Put(Arc::unwrap_or_clone(document))),
                StoreEvent::Deleted(kind, name) => self.ready.push_back(Event::Deleted(kind, name)),
                StoreEvent::Reloaded => self.restart(),
            },
        }
        Ok(Ok(()))
    }

    fn restart(&mut self) {
        self.loading = Some(Load::default());
        self.ready = VecDeque::from([Event::Restarted]);
    }
}

impl Load {
    /// Whether the place was told already, in the table's order: bytes of kind and name.
    fn passed(&self, kind: Kind, name: &str) -> bool {
        let place = |(of_kind, of_name): &Place| kind.as_str().cmp(of_kind).then_with(|| name.cmp(of_name));
        self.at.as_ref().is_some_and(|at| place(at) != Ordering::Greater)
    }
}
