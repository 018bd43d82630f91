//! Reading and writing records in the open database. Everything here blocks and runs on the store's own thread.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::broadcast;

use super::failure;
use super::rows::{COLUMNS, Place, Unreadable, digest_of, read, read_all};
use super::seal::{self, Key, Unsealable};
use super::watch::{Change, StoreEvent};
use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::domain::record::{Kind, Name, UnixSeconds};
use crate::store::{Credential, CredentialChange, Page, Precondition, StoreError};
use crate::types::Document;

/// The open database. Its thread is the only one that uses it, so a version read before or after some rows, outside
/// a transaction too, is their version.
pub(super) struct Records {
    pub(super) connection: Connection,
    pub(super) key: Key,
    pub(super) path: PathBuf,
    pub(super) changes: broadcast::Sender<Change>,
    pub(super) unreadable: Unreadable,
}

/// A part of all records.
pub(super) struct Chunk {
    pub(super) documents: Vec<Document>,
    /// The last place in it; `None`: there was nothing left to read.
    pub(super) end: Option<Place>,
    /// The store's version when it was read.
    pub(super) version: i64,
}

/// Why a command failed, before the file is named.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(StoreError),
    Database(rusqlite::Error),
    Text(serde_json::Error),
    Sealed(CredentialId),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Text(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

pub(super) type Outcome<T> = Result<T, Failure>;

impl Records {
    /// The failure as the store's users see it.
    pub(super) fn explain(&self, failure: Failure) -> StoreError {
        let path = self.path.display();
        match failure {
            Failure::Refused(error) => error,
            Failure::Database(error) => failure::of(&error, &self.path),
            Failure::Text(error) => {
                StoreError::Unavailable(format!("a record cannot be written to {path}: {error}"))
            }
            Failure::Sealed(id) => {
                let label = seal::row(&id);
                StoreError::Damaged(format!(
                    "the credential {label} in {path} is damaged; give user name and password again"
                ))
            }
        }
    }

    pub(super) fn get(&mut self, kind: Kind, name: &str) -> Outcome<Option<Document>> {
        let Self { connection, unreadable, .. } = self;
        let sql = format!("SELECT {COLUMNS} FROM records WHERE kind = ?1 AND name = ?2");
        let mut statement = connection.prepare_cached(&sql)?;
        let found = statement.query_row(params![kind.as_str(), name], |row| read(row, unreadable));
        Ok(found.optional()?.and_then(|(_, document)| document))
    }

    pub(super) fn list(&mut self, kind: Kind, after: &str, limit: usize) -> Outcome<Page> {
        let Self { connection, unreadable, .. } = self;
        let sql =
            format!("SELECT {COLUMNS} FROM records WHERE kind = ?1 AND name > ?2 ORDER BY name LIMIT ?3");
        let mut statement = connection.prepare_cached(&sql)?;
        let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let rows = read_all(&mut statement, params![kind.as_str(), after, one_more], unreadable)?;
        let mut items: Vec<_> = rows.into_iter().filter_map(|(_, document)| document).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        Ok(Page { items, more })
    }

    /// Up to `limit` records of all kinds after a place.
    pub(super) fn chunk(&mut self, after: Option<Place>, limit: i64) -> Outcome<Chunk> {
        let Self { connection, unreadable, .. } = self;
        let (kind, name) = after.unwrap_or_default();
        let sql = format!(
            "SELECT {COLUMNS} FROM records WHERE (kind, name) > (?1, ?2) ORDER BY kind, name LIMIT ?3"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = read_all(&mut statement, params![kind, name.as_str(), limit], unreadable)?;
        let version = connection
            .prepare_cached("SELECT value FROM meta WHERE key = 'version'")?
            .query_row([], |row| row.get(0))?;
        let end = rows.last().map(|(place, _)| place.clone());
        let documents = rows.into_iter().filter_map(|(_, document)| document).collect();
        Ok(Chunk { documents, end, version })
    }

    pub(super) fn put(
        &mut self,
        document: Document,
        precondition: &Precondition,
        credential: &CredentialChange,
    ) -> Outcome<Document> {
        let Document { kind, ref name, .. } = document;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (version, created) = write_if(&transaction, &document, precondition)?;
        let id = CredentialId::Integration { registry: name.clone() };
        match credential {
            CredentialChange::Keep => {}
            _ if kind != Kind::Registry => {
                let text = format!("only a Registry has a credential, not the {} {name}", kind.as_str());
                return Err(StoreError::Unavailable(text).into());
            }
            CredentialChange::Set(credential) => store(&transaction, &self.key, &id, credential)?,
            CredentialChange::Remove => forget(&transaction, &id)?,
        }
        transaction.commit()?;
        let stored = Document { version: version.to_string(), created, ..document };
        self.tell(version, StoreEvent::Put(Arc::new(stored.clone())));
        Ok(stored)
    }

    /// Writes many records in one transaction; those whose precondition does not hold are left out.
    pub(super) fn put_all(
        &mut self,
        documents: Vec<(Document, Precondition)>,
    ) -> Outcome<Vec<Result<Document, StoreError>>> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(documents.len());
        let mut told = Vec::with_capacity(documents.len());
        for (document, precondition) in documents {
            outcomes.push(match write_if(&transaction, &document, &precondition) {
                Ok((version, created)) => {
                    let stored = Document { version: version.to_string(), created, ..document };
                    told.push((version, stored.clone()));
                    Ok(stored)
                }
                Err(Failure::Refused(refusal)) => Err(refusal),
                Err(failure) => return Err(failure),
            });
        }
        transaction.commit()?;
        for (version, stored) in told {
            self.tell(version, StoreEvent::Put(Arc::new(stored)));
        }
        Ok(outcomes)
    }

    pub(super) fn delete(&mut self, kind: Kind, name: &Name, version: &str) -> Outcome<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        expect(kind, name, version, version_of(&transaction, kind, name)?)?;
        let mut removed = vec![(kind, name.clone())];
        if kind == Kind::Registry {
            removed
                .extend(spaces_of(&transaction, name)?.into_iter().map(|name| (Kind::RegistrySpace, name)));
        }
        let mut told = Vec::with_capacity(removed.len());
        for (kind, name) in removed {
            transaction
                .prepare_cached("DELETE FROM records WHERE kind = ?1 AND name = ?2")?
                .execute(params![kind.as_str(), name.as_str()])?;
            told.push((next_version(&transaction)?, StoreEvent::Deleted(kind, name)));
        }
        transaction.commit()?;
        for (version, told) in told {
            self.tell(version, told);
        }
        Ok(())
    }

    pub(super) fn credential(&mut self, id: &CredentialId) -> Outcome<Option<Credential>> {
        let mut statement = self.connection.prepare_cached("SELECT sealed FROM credentials WHERE id = ?1")?;
        let sealed = |row: &rusqlite::Row| Ok(row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec());
        let sealed: Option<Vec<u8>> = statement.query_row([seal::row(id)], sealed).optional()?;
        let opened = sealed.map(|sealed| self.key.open_credential(id, &sealed)).transpose();
        opened.map_err(|Unsealable| Failure::Sealed(id.clone()))
    }

    pub(super) fn set_robot(&mut self, robot: &RobotId, credential: Option<&Credential>) -> Outcome<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let id = CredentialId::Robot(robot.clone());
        match credential {
            None => forget(&transaction, &id)?,
            Some(credential) => {
                for (kind, name) in [(Kind::Registry, &robot.registry), (Kind::Workspace, &robot.workspace)] {
                    if version_of(&transaction, kind, name)?.is_none() {
                        return Err(StoreError::NotFound { kind, name: name.clone() }.into());
                    }
                }
                store(&transaction, &self.key, &id, credential)?;
            }
        }
        Ok(transaction.commit()?)
    }

    pub(super) fn robots(&mut self, registry: &Name) -> Outcome<Vec<RobotId>> {
        let sql = "SELECT workspace, space FROM credentials
                   WHERE registry_kind = 'Registry' AND registry = ?1 AND workspace IS NOT NULL
                   ORDER BY workspace, space";
        let mut statement = self.connection.prepare_cached(sql)?;
        let robot = |row: &rusqlite::Row| {
            let (workspace, space): (String, Option<String>) = (row.get(0)?, row.get(1)?);
            let (workspace, space) = (workspace.into(), space.map(Name::from));
            Ok(RobotId { registry: registry.clone(), workspace, space })
        };
        Ok(statement.query_map([registry.as_str()], robot)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Made when it is first asked for.
    pub(super) fn installation(&mut self) -> Outcome<String> {
        self.connection
            .prepare_cached(
                "INSERT OR IGNORE INTO meta (key, value) VALUES ('installation', lower(hex(randomblob(16))))",
            )?
            .execute([])?;
        let sql = "SELECT value FROM meta WHERE key = 'installation'";
        Ok(self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
    }

    /// Writes what is in the log into the file.
    pub(super) fn empty_log(&mut self) -> Outcome<()> {
        // Busy (1 in the first column) only where another process reads: the log then stays, and is read at the next start.
        Ok(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    pub(super) fn import(&mut self, documents: &[Document]) -> Outcome<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut last = None;
        for document in documents {
            let created = if document.created > 0 { document.created } else { now() };
            last = Some(write(&transaction, document, created)?.0);
        }
        transaction.commit()?;
        if let Some(version) = last {
            self.tell(version, StoreEvent::Reloaded);
        }
        Ok(())
    }

    /// Tells the watchers, before the writer gets its answer and before anything else is read.
    fn tell(&self, version: i64, told: StoreEvent) {
        // That nobody watches is no fault.
        self.changes.send(Change { version, told }).ok();
    }
}

fn now() -> UnixSeconds {
    Timestamp::now().as_second()
}

fn version_of(transaction: &Transaction, kind: Kind, name: &str) -> rusqlite::Result<Option<i64>> {
    transaction
        .prepare_cached("SELECT version FROM records WHERE kind = ?1 AND name = ?2")?
        .query_row(params![kind.as_str(), name], |row| row.get(0))
        .optional()
}

/// The spaces that name a registry, invalid ones too.
fn spaces_of(transaction: &Transaction, registry: &Name) -> rusqlite::Result<Vec<Name>> {
    let sql = "SELECT name FROM records
               WHERE kind = 'RegistrySpace' AND json_valid(spec) AND json_extract(spec, '$.registry') = ?1";
    let mut statement = transaction.prepare_cached(sql)?;
    let names = statement.query_map([registry.as_str()], |row| row.get::<_, String>(0))?;
    names.map(|name| name.map(Name::from)).collect()
}

fn expect(kind: Kind, name: &Name, version: &str, found: Option<i64>) -> Result<(), StoreError> {
    match found {
        None => Err(StoreError::NotFound { kind, name: name.clone() }),
        Some(found) if found.to_string() != version => Err(StoreError::Changed { kind, name: name.clone() }),
        Some(_) => Ok(()),
    }
}

/// Writes a record where its precondition holds.
fn write_if(
    transaction: &Transaction,
    document: &Document,
    precondition: &Precondition,
) -> Outcome<(i64, UnixSeconds)> {
    let Document { kind, name, .. } = document;
    let found = version_of(transaction, *kind, name)?;
    match (precondition, found) {
        (Precondition::Absent, None) => {}
        (Precondition::Absent, Some(_)) => {
            return Err(StoreError::Exists { kind: *kind, name: name.clone() }.into());
        }
        (Precondition::Version(version), found) => expect(*kind, name, version, found)?,
    }
    write(transaction, document, now())
}

/// One counter over the whole store, so that versions tell the order of all changes, deletions too.
fn next_version(transaction: &Transaction) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached("UPDATE meta SET value = value + 1 WHERE key = 'version' RETURNING value")?
        .query_row([], |row| row.get(0))
}

/// Writes a record; its version and the time of its creation, which is `created` only where it is new.
fn write(transaction: &Transaction, document: &Document, created: i64) -> Outcome<(i64, UnixSeconds)> {
    let Document { kind, name, spec, status, .. } = document;
    let status = (!status.is_null()).then(|| serde_json::to_string(status)).transpose()?;
    let spec = serde_json::to_string(spec)?;
    let version = next_version(transaction)?;
    // REPLACE would delete the row first, and its credentials with it.
    let created = transaction
        .prepare_cached(
            "INSERT INTO records (kind, name, version, created, spec, status)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (kind, name) DO UPDATE
             SET version = excluded.version, spec = excluded.spec, status = excluded.status
             RETURNING created",
        )?
        .query_row(params![kind.as_str(), name.as_str(), version, created, spec, status], |row| row.get(0))?;
    let row = params![kind.as_str(), name.as_str()];
    let sql = format!("SELECT {COLUMNS} FROM records WHERE kind = ?1 AND name = ?2");
    let digest = transaction.prepare_cached(&sql)?.query_row(row, digest_of)?;
    transaction
        .prepare_cached("UPDATE records SET digest = ?3 WHERE kind = ?1 AND name = ?2")?
        .execute(params![kind.as_str(), name.as_str(), digest])?;
    Ok((version, created))
}

fn store(transaction: &Transaction, key: &Key, id: &CredentialId, credential: &Credential) -> Outcome<()> {
    let sealed = key.seal_credential(id, credential).map_err(|Unsealable| Failure::Sealed(id.clone()))?;
    let (registry, workspace, space) = match id {
        CredentialId::Integration { registry } => (registry, None, None),
        CredentialId::Robot(RobotId { registry, workspace, space }) => {
            (registry, Some(workspace.as_str()), space.as_deref())
        }
    };
    transaction
        .prepare_cached(
            "INSERT INTO credentials (id, registry, workspace, space, sealed) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed",
        )?
        .execute(params![seal::row(id), registry.as_str(), workspace, space, sealed])?;
    Ok(())
}

fn forget(transaction: &Transaction, id: &CredentialId) -> Outcome<()> {
    transaction.prepare_cached("DELETE FROM credentials WHERE id = ?1")?.execute([seal::row(id)])?;
    Ok(())
}
