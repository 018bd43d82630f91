//! A record store whose failures are counted.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::{
    Credential, CredentialChange, Document, Event, Ledger, Page, Precondition, RecordStore, StoreError,
};
use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::domain::record::Kind;
use crate::metrics::{Metrics, StoreOperation};

/// Passes everything on, and counts what the store could not do. A refusal (somebody else was faster, a rule is broken)
/// is an answer.
pub struct Counted {
    store: Arc<dyn RecordStore>,
    metrics: Arc<Metrics>,
}

impl Counted {
    /// Counts the failures of `store`.
    pub fn new(store: Arc<dyn RecordStore>, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics }
    }

    fn note<T>(&self, operation: StoreOperation, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if outcome.as_ref().is_err_and(StoreError::is_failure) {
            self.metrics.store.failed(operation);
        }
        outcome
    }
}

#[async_trait]
impl RecordStore for Counted {
    fn watch(&self) -> BoxStream<'static, Result<Event, StoreError>> {
        let metrics = self.metrics.clone();
        let count = move |event: &Result<Event, StoreError>| {
            if event.is_err() {
                metrics.store.failed(StoreOperation::Watch);
            }
        };
        self.store.watch().inspect(count).boxed()
    }

    async fn get(&self, kind: Kind, name: &str) -> Result<Option<Document>, StoreError> {
        self.note(StoreOperation::Read, self.store.get(kind, name).await)
    }

    async fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.note(StoreOperation::Read, self.store.list(kind, after, limit).await)
    }

    async fn put(
        &self,
        document: Document,
        precondition: Precondition,
        credential: CredentialChange,
    ) -> Result<Document, StoreError> {
        self.note(StoreOperation::Write, self.store.put(document, precondition, credential).await)
    }

    async fn delete(&self, kind: Kind, name: &str, version: &str) -> Result<(), StoreError> {
        self.note(StoreOperation::Write, self.store.delete(kind, name, version).await)
    }

    async fn gather(&self) {
        self.store.gather().await;
    }

    async fn adopt(&self, space: &str) -> Result<(), StoreError> {
        self.note(StoreOperation::Write, self.store.adopt(space).await)
    }

    async fn credential(&self, id: &CredentialId) -> Result<Option<Credential>, StoreError> {
        self.note(StoreOperation::Read, self.store.credential(id).await)
    }

    async fn put_all(&self, documents: Vec<(Document, Precondition)>) -> Vec<Result<Document, StoreError>> {
        let written = self.store.put_all(documents).await;
        written.into_iter().map(|outcome| self.note(StoreOperation::Write, outcome)).collect()
    }

    async fn set_robot(&self, robot: &RobotId, credential: Option<Credential>) -> Result<(), StoreError> {
        self.note(StoreOperation::Write, self.store.set_robot(robot, credential).await)
    }

    async fn robots(&self, registry: &str) -> Result<Vec<RobotId>, StoreError> {
        self.note(StoreOperation::Read, self.store.robots(registry).await)
    }

    async fn ledgers(&self) -> Result<Vec<Ledger>, StoreError> {
        self.note(StoreOperation::Read, self.store.ledgers().await)
    }

    async fn set_ledger(&self, ledger: &Ledger) -> Result<(), StoreError> {
        self.note(StoreOperation::Write, self.store.set_ledger(ledger).await)
    }

    async fn installation(&self) -> Result<String, StoreError> {
        self.note(StoreOperation::Read, self.store.installation().await)
    }
}
