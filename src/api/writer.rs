//! Writes, one after the other, each checked against what was acknowledged before it.

use std::time::Duration;

use tokio::sync::MutexGuard;

use super::ApiState;
use super::auth::same_owner;
use super::error::ApiError;
use crate::domain::record::{Kind, Name, Record};
use crate::domain::records::Records;
use crate::state::State;
use crate::store::{CredentialChange, Precondition, RecordStore, StoreError};
use crate::types::{Document, convert};

/// How long a write waits at most until it can be seen by reads and by the next write, after it was done.
const PATIENCE: Duration = Duration::from_secs(2);

/// Attempts against writers outside of this process, and against what the controllers observe meanwhile.
pub(super) const ATTEMPTS: usize = 8;

/// The last write, where it could not be seen yet.
#[derive(Debug)]
pub(super) enum Unseen {
    Written(Kind, Name, u64),
    Removed(Kind, Name, u64),
    /// It failed, or never returned; the store may have written all the same.
    Unknown(Kind, Name),
}

/// The right to write, held by one request at a time. Writes of other replicas and of `kubectl` are seen as soon as they
/// are published; what slips through in between is resolved by the snapshot to the narrower access.
pub(super) struct Writer<'s> {
    store: &'s dyn RecordStore,
    state: &'s State,
    records: Records,
    unseen: MutexGuard<'s, Option<Unseen>>,
}

impl ApiState {
    /// Waits for the writes before this one.
    pub(super) async fn writer(&self) -> Result<Writer<'_>, ApiError> {
        let (store, state) = (self.store.as_ref(), &self.state);
        let mut unseen = self.unseen.lock().await;
        if let Some(before) = &*unseen {
            if !before.is_seen(store, state).await? {
                let text = "what was written last cannot be seen yet; the record store cannot be followed at the moment";
                return Err(StoreError::Unavailable(text.to_owned()).into());
            }
            *unseen = None;
        }
        Ok(Writer { store, state, records: state.records(), unseen })
    }
}

impl Unseen {
    async fn is_seen(&self, store: &dyn RecordStore, state: &State) -> Result<bool, StoreError> {
        Ok(match self {
            Self::Written(kind, name, revision) => state.has_seen(*kind, name, *revision, PATIENCE).await,
            Self::Removed(kind, name, revision) => state.has_lost(*kind, name, *revision, PATIENCE).await,
            Self::Unknown(kind, name) => match store.get(*kind, name).await? {
                Some(stored) => state.has_seen(*kind, name, stored.revision(), PATIENCE).await,
                None => state.has_lost(*kind, name, u64::MAX, PATIENCE).await,
            },
        })
    }
}

impl Writer<'_> {
    /// Every record, own writes included.
    pub fn records(&self) -> &Records {
        &self.records
    }

    pub fn store(&self) -> &dyn RecordStore {
        self.store
    }

    /// A record that was `seen` before, when the caller's right to it was asked for: the others must not wait for the
    /// cluster's answer. The right holds as long as the record has the same owner.
    pub async fn again(&self, kind: Kind, name: &str, seen: &Record) -> Result<(Document, Record), ApiError> {
        let document = self.store.get(kind, name).await?.ok_or_else(|| ApiError::absent(kind, name))?;
        let record = convert::record(&document);
        if same_owner(name, seen, &record) { Ok((document, record)) } else { Err(ApiError::Changed) }
    }

    pub async fn put(
        &mut self,
        document: Document,
        precondition: Precondition,
        credential: CredentialChange,
    ) -> Result<Document, StoreError> {
        *self.unseen = Some(Unseen::Unknown(document.kind, document.name.clone()));
        let stored = self.store.put(document, precondition, credential).await?;
        self.show(Unseen::Written(stored.kind, stored.name.clone(), stored.revision())).await?;
        Ok(stored)
    }

    /// Removes a record; the spaces that went with it.
    pub async fn delete(&mut self, document: &Document) -> Result<Vec<Name>, StoreError> {
        let Document { kind, name, version, .. } = document;
        let spaces = (*kind == Kind::Registry).then(|| self.records.spaces_of(name)).flatten();
        let spaces: Vec<_> = spaces.map(|spaces| spaces.all().keys().cloned().collect()).unwrap_or_default();
        *self.unseen = Some(Unseen::Unknown(*kind, name.clone()));
        self.store.delete(*kind, name, version).await?;
        self.show(Unseen::Removed(*kind, name.clone(), document.revision())).await?;
        Ok(spaces)
    }

    /// Waits until a write can be seen. It is done, whether it can or not.
    async fn show(&mut self, written: Unseen) -> Result<(), StoreError> {
        let seen = written.is_seen(self.store, self.state).await?;
        *self.unseen = (!seen).then_some(written);
        self.records = self.state.records();
        Ok(())
    }
}
