//! How the process lives: signals, readiness that is earned, tasks that must not end, and a drained shutdown.

mod schedule;

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum_server::Handle;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

pub use self::schedule::Schedule;

/// Allows the process as many open files as it may have at all, as Go's programs do. Containers often start with 1,024,
/// which is fewer than the connections that the listeners keep.
pub fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// What is still missing before the process may be sent requests.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeSet<&'static str>>>);

/// A part that is not ready until it is dropped.
#[derive(Debug)]
pub struct Pending {
    part: &'static str,
    readiness: Readiness,
}

/// Name under which a shutdown makes the process not ready.
const DRAINING: &str = "shutting down";

impl Readiness {
    /// Names a part that must become ready first.
    pub fn wait_for(&self, part: &'static str) -> Pending {
        self.change(|missing| missing.insert(part));
        Pending { part, readiness: self.clone() }
    }

    /// The parts that are not ready; none: ready.
    pub fn missing(&self) -> Vec<&'static str> {
        self.change(|missing| missing.iter().copied().collect())
    }

    /// Never ready again: no new requests, please.
    pub fn drain(&self) {
        self.change(|missing| missing.insert(DRAINING));
    }

    fn change<T>(&self, with: impl FnOnce(&mut BTreeSet<&'static str>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.readiness.change(|missing| missing.remove(self.part));
    }
}

/// A task ended that had to go on, or a listener failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("{task} ended unexpectedly: {cause}")]
    Ended { task: &'static str, cause: String },
    #[error("cannot listen for signals: {0}")]
    Signals(#[from] std::io::Error),
}

/// The tasks and listeners of a process.
#[derive(Debug, Default)]
pub struct Runtime {
    tasks: JoinSet<(&'static str, String)>,
    listeners: Vec<Handle<SocketAddr>>,
    stopping: watch::Sender<bool>,
    closing: JoinSet<()>,
}

/// Tells that the process is shutting down.
#[derive(Debug, Clone)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Whether it is. Takes no lock: it is asked on the way of every request.
    pub fn begun(&self) -> bool {
        // The only change that there ever is.
        self.0.has_changed().unwrap_or(true)
    }

    /// Returns once it is.
    pub async fn wait(mut self) {
        // Without a sender there is no process to go on with.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

impl Runtime {
    /// Says when a shutdown has begun.
    pub fn stopping(&self) -> Stopping {
        Stopping(self.stopping.subscribe())
    }

    /// Starts a task that must not end.
    pub fn supervise(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            task.await;
            (name, "it returned".to_owned())
        });
    }

    /// Starts a task that must not end before it is told to, and has the time of a shutdown to put things in order.
    pub fn supervise_to_the_end<F>(&mut self, name: &'static str, task: impl FnOnce(Stopping) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (ended, over) = oneshot::channel();
        let task = task(self.stopping());
        self.closing.spawn(async move {
            task.await;
            let _ = ended.send(());
        });
        self.tasks.spawn(async move {
            let cause = if over.await.is_ok() { "it returned" } else { "it failed" };
            (name, cause.to_owned())
        });
    }

    /// Starts a listener, which ends with the handle that it is given.
    pub fn listen<F, S>(&mut self, name: &'static str, serve: S)
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
        S: FnOnce(Handle<SocketAddr>) -> F,
    {
        let handle = Handle::new();
        let serving = serve(handle.clone());
        self.listeners.push(handle);
        self.tasks.spawn(async move {
            let cause = serving.await.map_or_else(|error| error.to_string(), |()| "it returned".to_owned());
            (name, cause)
        });
    }

    /// Runs until a signal or until a task ends. After a signal: not ready at once, `settle` for the load balancers
    /// to notice and for clients to close the connections that they use, then no new connections, and up to `grace`
    /// for the open requests. A second signal ends at once.
    ///
    /// # Errors
    /// A task ended, with its name.
    pub async fn run(
        mut self,
        readiness: &Readiness,
        settle: Duration,
        grace: Duration,
    ) -> Result<(), RuntimeError> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut signalled = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        tokio::select! {
            ended = self.tasks.join_next() => return Err(ended_early(ended)),
            signal = signalled() => tracing::info!(signal, "shutting down; a second signal ends at once"),
        }
        readiness.drain();
        self.stopping.send_replace(true);
        let closing = &mut self.closing;
        let drained = async {
            tokio::time::sleep(settle).await;
            for listener in &self.listeners {
                listener.graceful_shutdown(Some(grace));
            }
            while self.listeners.iter().any(|l| l.connection_count() > 0) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            while closing.join_next().await.is_some() {}
        };
        tokio::select! {
            _ = tokio::time::timeout(settle + grace, drained) => tracing::info!("all requests answered"),
            signal = signalled() => tracing::warn!(signal, "ended at once"),
        }
        Ok(())
    }
}

fn ended_early(ended: Option<Result<(&'static str, String), tokio::task::JoinError>>) -> RuntimeError {
    match ended {
        Some(Ok((task, cause))) => RuntimeError::Ended { task, cause },
        Some(Err(panic)) => RuntimeError::Ended { task: "a task", cause: panic.to_string() },
        None => RuntimeError::Ended { task: "the process", cause: "it has nothing to do".to_owned() },
    }
}
