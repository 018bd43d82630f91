//! Writes, one after the other, each checked against what was acknowledged before it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::MutexGuard;

use super::ApiState;
use super::auth::same_owner;
use super::error::ApiError;
use crate::domain::record::{Entry, Kind, Name, Named, Record, Records, Space};
use crate::store::{CredentialChange, Document, Precondition, RecordStore, StoreError, convert};

/// The records as checks across them must see them.
///
/// What the index publishes lags behind the store by its debounce, so a check against it alone could miss the
/// write that this API acknowledged a moment ago. Therefore the keys that were written here are remembered, and
/// are read from the store until what is published agrees with it. Only keys are kept, never values: what
/// somebody else writes to the same record is seen too, and nothing stale can stay. Writes of other replicas and
/// of `kubectl` to other records are seen as soon as they are published; what slips through in between is
/// resolved by the snapshot to the narrower access.
#[derive(Debug, Default)]
pub(super) struct View {
    /// What `records` was made from.
    base: Option<Arc<Records>>,
    /// Shares the published value until something is written.
    records: Arc<Records>,
    written: BTreeSet<(Kind, Name)>,
}

impl View {
    async fn refresh(&mut self, store: &dyn RecordStore, published: Arc<Records>) -> Result<(), StoreError> {
        if self.base.as_ref().is_some_and(|base| Arc::ptr_eq(base, &published)) {
            return Ok(());
        }
        let mut records = Arc::clone(&published);
        let mut unpublished = BTreeSet::new();
        for (kind, name) in &self.written {
            let stored = store.get(*kind, name).await?.map(|document| convert::record(&document));
            if stored == published_record(&published, *kind, name) {
                continue;
            }
            match stored {
                Some(record) => Arc::make_mut(&mut records).put(name.clone(), record),
                None => Arc::make_mut(&mut records).remove(*kind, name),
            }
            unpublished.insert((*kind, name.clone()));
        }
        *self = Self { base: Some(published), records, written: unpublished };
        Ok(())
    }
}

fn published_record(records: &Records, kind: Kind, name: &str) -> Option<Record> {
    fn entry<T: Clone>(of: &Named<T>, name: &str) -> Option<Entry<T>> {
        of.get(name).map(|entry| Entry::clone(entry))
    }
    match kind {
        Kind::Registry => entry(&records.registries, name).map(Record::Registry),
        Kind::RegistrySpace => entry(&records.spaces, name).map(Record::Space),
        Kind::Workspace => entry(&records.workspaces, name).map(Record::Workspace),
        Kind::PullPolicy => entry(&records.policies, name).map(Record::PullPolicy),
    }
}

/// Spaces that name a registry, invalid ones too.
fn named_by_spaces(records: &Records, registry: &str) -> Vec<Name> {
    let names = |entry: &Entry<Space>| match entry {
        Entry::Valid(space) => space.registry == registry,
        Entry::Invalid(invalid) => invalid.registry.as_deref() == Some(registry),
    };
    records.spaces.iter().filter(|(_, entry)| names(entry)).map(|(name, _)| name.clone()).collect()
}

/// Attempts against writers outside of this process, and against what the controllers observe meanwhile.
pub(super) const ATTEMPTS: usize = 8;

/// The right to write, held by one request at a time.
pub(super) struct Writer<'s> {
    store: &'s dyn RecordStore,
    view: MutexGuard<'s, View>,
}

impl ApiState {
    /// Waits for the writes before this one.
    pub(super) async fn writer(&self) -> Result<Writer<'_>, ApiError> {
        let mut view = self.view.lock().await;
        view.refresh(self.store.as_ref(), self.records.load_full()).await?;
        Ok(Writer { store: self.store.as_ref(), view })
    }
}

impl Writer<'_> {
    /// Every record, own writes included.
    pub fn records(&self) -> &Records {
        &self.view.records
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
        let key = (document.kind, document.name.clone());
        let noted = self.note(key);
        let stored = self.store.put(document, precondition, credential).await?;
        Arc::make_mut(&mut self.view.records).put(stored.name.clone(), convert::record(&stored));
        self.view.base = noted;
        Ok(stored)
    }

    /// Removes a record; the spaces that went with it.
    pub async fn delete(&mut self, kind: Kind, name: &str, version: &str) -> Result<Vec<Name>, StoreError> {
        let spaces = if kind == Kind::Registry { named_by_spaces(self.records(), name) } else { Vec::new() };
        let noted = self.note((kind, name.into()));
        self.view.written.extend(spaces.iter().map(|space| (Kind::RegistrySpace, space.clone())));
        self.store.delete(kind, name, version).await?;
        let records = Arc::make_mut(&mut self.view.records);
        records.remove(kind, name);
        for space in &spaces {
            records.remove(Kind::RegistrySpace, space);
        }
        self.view.base = noted;
        Ok(spaces)
    }

    /// Before a write: where it fails, or never returns, the store may have written, or somebody else has. Then
    /// `base` stays empty, and the next writer looks.
    fn note(&mut self, key: (Kind, Name)) -> Option<Arc<Records>> {
        self.view.written.insert(key);
        self.view.base.take()
    }
}
