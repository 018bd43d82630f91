//! A [`RecordStore`] in memory, as its documentation has it, that can publish what it holds after each write, and can be
//! made to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::stream::{BoxStream, StreamExt as _};
use pullgate::domain::pull_secret::{CredentialId, RobotId};
use pullgate::domain::record::{Kind, Name};
use pullgate::domain::records::{Records, Touched};
use pullgate::domain::snapshot::{Settings, Snapshot};
use pullgate::state::State;
use pullgate::store::{
    Credential, CredentialChange, Event, Ledger, Page, Precondition, RecordStore, StoreError,
};
use pullgate::types::{Document, convert};

pub const REFUSAL: &str =
    r#"admission webhook "naming.example.com" denied the request: ask the platform team"#;

#[derive(Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
    pub state: State,
    /// Nothing is published while it is set, as where what follows the store lags.
    pub lagging: AtomicBool,
    /// Everything fails while it is set.
    pub broken: AtomicBool,
    /// Every write fails so while it is set.
    pub failing: Mutex<Option<StoreError>>,
    /// Credentials that cannot be read.
    pub damaged: Mutex<BTreeSet<CredentialId>>,
    /// Every write is refused with [`REFUSAL`] while it is set, as by a rule of a cluster.
    pub refusing: AtomicBool,
    /// The next write panics after it was done.
    pub panics: AtomicBool,
}

#[derive(Default)]
struct Inner {
    documents: BTreeMap<(Kind, Name), Document>,
    credentials: BTreeMap<CredentialId, Credential>,
    ledgers: BTreeMap<(Name, String), Ledger>,
    version: u64,
    watchers: Vec<UnboundedSender<Result<Event, StoreError>>>,
}

impl Inner {
    fn tell(&mut self, event: &Event) {
        self.watchers.retain(|watcher| watcher.unbounded_send(Ok(event.clone())).is_ok());
    }
}

impl MemoryStore {
    fn open(&self) -> Result<MutexGuard<'_, Inner>, StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("/var/lib/pullgate/records.db: disk I/O error".into()));
        }
        Ok(self.inner.lock().unwrap())
    }

    /// As [`Self::open`], for a write of a record.
    fn open_for(&self, kind: Kind, name: &str) -> Result<MutexGuard<'_, Inner>, StoreError> {
        if self.refusing.load(Ordering::SeqCst) {
            return Err(StoreError::Refused { kind, name: name.into(), text: REFUSAL.to_owned() });
        }
        if let Some(failure) = &*self.failing.lock().unwrap() {
            return Err(failure.clone());
        }
        self.open()
    }

    /// Publishes what is there, as what follows a store does.
    pub fn publish(&self) {
        self.publish_from(&self.inner.lock().unwrap());
    }

    fn publish_from(&self, inner: &Inner) {
        let mut records = Records::default();
        for document in inner.documents.values() {
            records.put_at(document.name.clone(), document.revision(), convert::record(document));
        }
        let settings = Settings {
            exempt_namespaces: vec!["kube-system".into()],
            public_max_age: None,
            ..Settings::default()
        };
        self.state.publish(Snapshot::build(&records, &settings), &Touched::everything());
    }

    fn written(&self, inner: &Inner) {
        if !self.lagging.load(Ordering::SeqCst) {
            self.publish_from(inner);
        }
    }

    /// Writes a document as somebody beside the API does: a controller, `kubectl`, an older version.
    pub fn seed(&self, kind: Kind, name: &str, spec: serde_json::Value, status: serde_json::Value) {
        let mut inner = self.inner.lock().unwrap();
        inner.version += 1;
        let version = inner.version.to_string();
        let document =
            Document { version, created: 1_700_000_000, status, ..Document::new(kind, name, spec) };
        inner.documents.insert((kind, name.into()), document);
        self.written(&inner);
    }

    /// Everything that is stored, to compare before and after.
    pub fn dump(&self) -> Vec<Document> {
        self.inner.lock().unwrap().documents.values().cloned().collect()
    }

    pub fn stored_credential(&self, registry: &str) -> Option<Credential> {
        let id = CredentialId::Integration { registry: registry.into() };
        self.inner.lock().unwrap().credentials.get(&id).cloned()
    }
}

#[async_trait]
impl RecordStore for MemoryStore {
    fn watch(&self) -> BoxStream<'static, Result<Event, StoreError>> {
        let (sender, receiver) = unbounded();
        let mut inner = self.inner.lock().unwrap();
        let known = inner.documents.values().cloned().map(Event::Put);
        for event in std::iter::once(Event::Restarted).chain(known).chain([Event::Synced]) {
            sender.unbounded_send(Ok(event)).unwrap();
        }
        inner.watchers.push(sender);
        receiver.boxed()
    }

    async fn get(&self, kind: Kind, name: &str) -> Result<Option<Document>, StoreError> {
        Ok(self.open()?.documents.get(&(kind, name.into())).cloned())
    }

    async fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let inner = self.open()?;
        let mut following = inner
            .documents
            .values()
            .filter(|d| d.kind == kind && after.is_none_or(|after| d.name.as_str() > after))
            .cloned();
        let items = following.by_ref().take(limit).collect();
        Ok(Page { items, more: following.next().is_some() })
    }

    async fn put(
        &self,
        mut document: Document,
        precondition: Precondition,
        credential: CredentialChange,
    ) -> Result<Document, StoreError> {
        // Other tasks get their turn between a reading and the write that it is for.
        tokio::task::yield_now().await;
        let (kind, name) = (document.kind, document.name.clone());
        let mut inner = self.open_for(kind, &name)?;
        let key = (kind, name.clone());
        match (precondition, inner.documents.get(&key)) {
            (Precondition::Absent, None) => {}
            (Precondition::Absent, Some(_)) => return Err(StoreError::Exists { kind, name }),
            (Precondition::Version(_), None) => return Err(StoreError::NotFound { kind, name }),
            (Precondition::Version(version), Some(stored)) if version == stored.version => {
                document.created = stored.created;
            }
            (Precondition::Version(_), Some(_)) => return Err(StoreError::Changed { kind, name }),
        }
        inner.version += 1;
        document.version = inner.version.to_string();
        inner.documents.insert(key, document.clone());
        let id = CredentialId::Integration { registry: name };
        match credential {
            CredentialChange::Keep => {}
            CredentialChange::Set(credential) => drop(inner.credentials.insert(id, credential)),
            CredentialChange::Remove => drop(inner.credentials.remove(&id)),
        }
        inner.tell(&Event::Put(document.clone()));
        self.written(&inner);
        drop(inner);
        assert!(!self.panics.swap(false, Ordering::SeqCst), "at /var/lib/pullgate/records.db");
        Ok(document)
    }

    async fn delete(&self, kind: Kind, name: &str, version: &str) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        let mut inner = self.open_for(kind, name)?;
        let key = (kind, Name::from(name));
        match inner.documents.get(&key) {
            None => return Err(StoreError::NotFound { kind, name: name.into() }),
            Some(stored) if stored.version != version => {
                return Err(StoreError::Changed { kind, name: name.into() });
            }
            Some(_) => {}
        }
        let spaces =
            inner.documents.keys().filter(|(of, _)| kind == Kind::Registry && *of == Kind::RegistrySpace);
        let gone = spaces.filter(|key| inner.documents[*key].spec["registry"] == name).cloned();
        let gone: Vec<_> = std::iter::once(key).chain(gone).collect();
        inner.credentials.retain(|id, _| match (id, kind) {
            (CredentialId::Integration { registry }, Kind::Registry) => registry != name,
            (CredentialId::Robot(robot), Kind::Registry) => robot.registry != name,
            (CredentialId::Robot(robot), Kind::Workspace) => robot.workspace != name,
            _ => true,
        });
        for key in gone {
            inner.documents.remove(&key);
            inner.tell(&Event::Deleted(key.0, key.1));
        }
        self.written(&inner);
        Ok(())
    }

    async fn adopt(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn credential(&self, id: &CredentialId) -> Result<Option<Credential>, StoreError> {
        if self.damaged.lock().unwrap().contains(id) {
            return Err(StoreError::Damaged(
                "the credential in /var/lib/pullgate/records.db is damaged".into(),
            ));
        }
        Ok(self.open()?.credentials.get(id).cloned())
    }

    async fn put_all(&self, documents: Vec<(Document, Precondition)>) -> Vec<Result<Document, StoreError>> {
        let mut written = Vec::new();
        for (document, at) in documents {
            written.push(self.put(document, at, CredentialChange::Keep).await);
        }
        written
    }

    async fn set_robot(&self, robot: &RobotId, credential: Option<Credential>) -> Result<(), StoreError> {
        let mut inner = self.open()?;
        for (kind, name) in [(Kind::Registry, &robot.registry), (Kind::Workspace, &robot.workspace)] {
            if credential.is_some() && !inner.documents.contains_key(&(kind, name.clone())) {
                return Err(StoreError::NotFound { kind, name: name.clone() });
            }
        }
        let id = CredentialId::Robot(robot.clone());
        match credential {
            Some(credential) => drop(inner.credentials.insert(id, credential)),
            None => drop(inner.credentials.remove(&id)),
        }
        Ok(())
    }

    async fn robots(&self, registry: &str) -> Result<Vec<RobotId>, StoreError> {
        let inner = self.open()?;
        let robots = inner.credentials.keys().filter_map(|id| match id {
            CredentialId::Robot(robot) if robot.registry == registry => Some(robot.clone()),
            _ => None,
        });
        Ok(robots.collect())
    }

    async fn ledgers(&self) -> Result<Vec<Ledger>, StoreError> {
        Ok(self.open()?.ledgers.values().cloned().collect())
    }

    async fn set_ledger(&self, ledger: &Ledger) -> Result<(), StoreError> {
        let mut inner = self.open()?;
        let key = (ledger.registry.clone(), ledger.credential.audience.clone());
        if ledger.places.is_empty() {
            inner.ledgers.remove(&key);
        } else {
            inner.ledgers.insert(key, ledger.clone());
        }
        Ok(())
    }

    async fn installation(&self) -> Result<String, StoreError> {
        Ok("installation-of-the-test".to_owned())
    }
}
