//! The embedded store: SQLite in one file, for trying pullgate out and for use without a cluster.
//!
//! One thread owns the only connection and takes commands from a queue: writes happen in one order, watchers are
//! told in that order, and the async runtime never waits for a disk. A long load queues up chunk by chunk, so that
//! other readers take their turn between.

mod error;
mod failure;
mod files;
mod ledgers;
mod records;
mod rows;
mod schema;
mod seal;
mod watch;

use std::collections::HashSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf, absolute};

use async_trait::async_trait;
use futures::stream::BoxStream;
use rusqlite::{Connection, OptionalExtension};
use secrecy::zeroize::Zeroizing;
use tokio::sync::{broadcast, mpsc, oneshot};

pub use self::error::OpenError;
use self::records::{Failure, Records};
use self::seal::Key;
use self::watch::Change;
use super::{
    Credential, CredentialChange, Document, Event, Ledger, Page, Precondition, RecordStore, StoreError,
};
use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::domain::record::{Kind, Name};
use crate::secret_file;

/// Changes that a watcher may be behind before it reads everything again.
const BACKLOG: usize = 1024;

/// Records of a bulk write that are written in one transaction; others take their turn between.
const CHUNK: usize = 500;

/// Commands that wait; further callers wait to ask.
const QUEUE: usize = 256;

/// What is sealed beside the credentials, to tell a wrong key from a damaged credential.
const KEY_CHECK: &str = "key check";

type Command = Box<dyn FnOnce(&mut Records) + Send>;

/// Records and sealed credentials in a SQLite file that no other process has open.
#[derive(Debug)]
pub struct EmbeddedStore {
    path: PathBuf,
    commands: mpsc::Sender<Command>,
    /// Weak: watchers end when the thread does, also when it does so by itself.
    changes: broadcast::WeakSender<Change>,
    ended: oneshot::Receiver<Infallible>,
}

impl EmbeddedStore {
    /// Opens the database and the key file; makes what is missing, both with mode 0600. Blocks, up to some seconds
    /// where a predecessor still has the file or must be recovered from.
    ///
    /// # Errors
    /// Whatever is wrong with the two files. A database that is refused is left as it was.
    pub fn open(path: &Path, key_file: &Path) -> Result<Self, OpenError> {
        // SQLite reads a name that starts with "file:" as a URI; an absolute one does not.
        let path = absolute(path).map_err(files::io(path, "find"))?;
        let key_file = absolute(key_file).map_err(files::io(key_file, "find"))?;
        let key = Key::load(&key_file)?;
        if !secret_file::exists(&path).map_err(files::io(&path, "open"))? {
            schema::create(&path)?;
        }
        for file in [path.clone(), files::beside(&path, "-wal")] {
            secret_file::close_to_others(&file).map_err(files::io(&file, "use"))?;
        }
        let mut connection = schema::inspect(&path)?;
        let key = verified(&connection, key, &path, &key_file)?;
        let refused = |error| schema::refusal(&path, error);
        schema::adopt(&mut connection).map_err(refused)?;
        remember(&connection, &key, &path)?;

        let (commands, mut queue) = mpsc::channel::<Command>(QUEUE);
        let (changes, _) = broadcast::channel(BACKLOG);
        let (alive, ended) = oneshot::channel();
        let weak = changes.downgrade();
        let mut records =
            Records { connection, key, path: path.clone(), changes, unreadable: HashSet::new() };
        let work = move || {
            while let Some(command) = queue.blocking_recv() {
                command(&mut records);
            }
            drop(records);
            drop::<oneshot::Sender<Infallible>>(alive);
        };
        let thread = std::thread::Builder::new().name("store".to_owned());
        thread.spawn(work).map_err(files::io(&path, "start the thread for"))?;
        Ok(Self { path, commands, changes: weak, ended })
    }

    /// Writes many records in one transaction, over what is there under their names; credentials stay. Watchers see
    /// one restart. New records keep their `created` where it is positive, so that records which move from another
    /// store keep who was first. Nothing else is answered meanwhile.
    ///
    /// # Errors
    /// Nothing was written then.
    pub async fn import(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        ask(&self.commands, move |records| records.import(&documents)).await
    }

    /// Finishes what was asked and closes the file; then another process can open it.
    pub async fn close(self) {
        let Self { path: _, commands, changes: _, ended } = self;
        drop(commands);
        // Nothing is ever sent: the other end is dropped after the file was closed.
        ended.await.ok();
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The key that fits the database; made now where nothing was sealed yet.
fn verified(
    connection: &Connection,
    key: Option<Key>,
    path: &Path,
    key_file: &Path,
) -> Result<Key, OpenError> {
    let refused = |error| schema::refusal(path, error);
    let check = key_check(connection).map_err(refused)?;
    let sealed: bool = connection
        .query_row("SELECT EXISTS (SELECT 1 FROM credentials)", [], |row| row.get(0))
        .map_err(refused)?;
    let (path, key_file) = (path.to_owned(), key_file.to_owned());
    match (key, check) {
        (None, _) if sealed => Err(OpenError::KeyMissing { key_file, path }),
        (None, _) => Key::create(&key_file),
        (Some(_), None) if sealed => {
            Err(OpenError::Damaged { path, found: "credentials without the key check".to_owned() })
        }
        (Some(key), None) => Ok(key),
        (Some(key), Some(check)) => match key.open(KEY_CHECK, &check) {
            Ok(_) => Ok(key),
            Err(_) => Err(OpenError::KeyWrong { key_file, path }),
        },
    }
}

/// Seals the key check where it is missing or of a key that is gone.
fn remember(connection: &Connection, key: &Key, path: &Path) -> Result<(), OpenError> {
    let refused = |error| schema::refusal(path, error);
    let check = key_check(connection).map_err(refused)?;
    if check.is_some_and(|check| key.open(KEY_CHECK, &check).is_ok()) {
        return Ok(());
    }
    let sealed = key
        .seal(KEY_CHECK, Zeroizing::new(Vec::new()))
        .map_err(|_| OpenError::NoRandomness { path: path.to_owned() })?;
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    connection.execute(sql, rusqlite::params![KEY_CHECK, sealed]).map_err(refused)?;
    Ok(())
}

fn key_check(connection: &Connection) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [KEY_CHECK], |row| row.get(0)).optional()
}

/// Has the store's thread answer a question. One that was asked is carried out, also when nobody waits any more.
async fn ask<T: Send + 'static>(
    commands: &mpsc::Sender<Command>,
    question: impl FnOnce(&mut Records) -> Result<T, Failure> + Send + 'static,
) -> Result<T, StoreError> {
    let (answer, answered) = oneshot::channel();
    let command: Command = Box::new(move |records| {
        let outcome = question(records).map_err(|failure| records.explain(failure));
        answer.send(outcome).ok();
    });
    let gone = || StoreError::Unavailable("the embedded store has stopped; restart pullgate".to_owned());
    commands.send(command).await.map_err(|_| gone())?;
    answered.await.map_err(|_| gone())?
}

#[async_trait]
impl RecordStore for EmbeddedStore {
    fn watch(&self) -> BoxStream<'static, Result<Event, StoreError>> {
        match self.changes.upgrade() {
            // Subscribed before anything is read, so that nothing falls between.
            Some(changes) => watch::watch(self.commands.downgrade(), changes.subscribe()),
            None => Box::pin(futures::stream::empty()),
        }
    }

    async fn get(&self, kind: Kind, name: &str) -> Result<Option<Document>, StoreError> {
        let name = Name::from(name);
        ask(&self.commands, move |records| records.get(kind, &name)).await
    }

    async fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let after = Name::from(after.unwrap_or_default());
        ask(&self.commands, move |records| records.list(kind, &after, limit)).await
    }

    async fn put(
        &self,
        document: Document,
        precondition: Precondition,
        credential: CredentialChange,
    ) -> Result<Document, StoreError> {
        ask(&self.commands, move |records| records.put(document, &precondition, &credential)).await
    }

    async fn delete(&self, kind: Kind, name: &str, version: &str) -> Result<(), StoreError> {
        let (name, version) = (Name::from(name), version.to_owned());
        ask(&self.commands, move |records| records.delete(kind, &name, &version)).await
    }

    /// A registry's spaces are removed with it, whatever they say.
    async fn adopt(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn credential(&self, id: &CredentialId) -> Result<Option<Credential>, StoreError> {
        let id = id.clone();
        ask(&self.commands, move |records| records.credential(&id)).await
    }

    async fn put_all(&self, documents: Vec<(Document, Precondition)>) -> Vec<Result<Document, StoreError>> {
        let mut written = Vec::with_capacity(documents.len());
        let mut documents = documents.into_iter().peekable();
        while documents.peek().is_some() {
            let chunk: Vec<_> = documents.by_ref().take(CHUNK).collect();
            let count = chunk.len();
            match ask(&self.commands, move |records| records.put_all(chunk)).await {
                Ok(outcomes) => written.extend(outcomes),
                Err(error) => written.extend((0..count).map(|_| Err(error.clone()))),
            }
        }
        written
    }

    async fn set_robot(&self, robot: &RobotId, credential: Option<Credential>) -> Result<(), StoreError> {
        let robot = robot.clone();
        ask(&self.commands, move |records| records.set_robot(&robot, credential.as_ref())).await
    }

    async fn robots(&self, registry: &str) -> Result<Vec<RobotId>, StoreError> {
        let registry = Name::from(registry);
        ask(&self.commands, move |records| records.robots(&registry)).await
    }

    async fn ledgers(&self) -> Result<Vec<Ledger>, StoreError> {
        ask(&self.commands, Records::ledgers).await
    }

    async fn set_ledger(&self, ledger: &Ledger) -> Result<(), StoreError> {
        let ledger = ledger.clone();
        ask(&self.commands, move |records| records.set_ledger(&ledger)).await
    }

    /// Else all that was written last is in the log beside the file.
    async fn gather(&self) {
        if let Err(error) = ask(&self.commands, Records::empty_log).await {
            tracing::warn!(%error, "copy the store with the files beside it: its log could not be emptied");
        }
    }

    async fn installation(&self) -> Result<String, StoreError> {
        ask(&self.commands, Records::installation).await
    }
}
