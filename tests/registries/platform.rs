//! A platform in this process: a store, the index over it, and the work with registries.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use pullgate::controllers::registries::notices::{Notice, Notices};
use pullgate::controllers::registries::{Registries, Settings};
use pullgate::domain::decision::{Reason, Request, decide};
use pullgate::domain::pull_secret::{CredentialId, RobotId};
use pullgate::domain::record::{Entry, Kind, Record};
use pullgate::metrics::Metrics;
use pullgate::registry::clients::Clients;
use pullgate::runtime::Readiness;
use pullgate::state::{self, State};
use pullgate::store::{Credential, CredentialChange, Precondition, RecordStore};
use pullgate::types::{Document, convert};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::doubles::harbor::Harbor;
use crate::support::memory_store::MemoryStore;
pub use crate::support::waiting::within;

/// How long something may take that takes a few calls.
pub const SOON: Duration = Duration::from_secs(5);
/// How often registries are asked here.
pub const INTERVAL: Duration = Duration::from_millis(300);

pub struct Platform {
    pub store: Arc<dyn RecordStore>,
    pub state: State,
    pub metrics: Arc<Metrics>,
    /// Ended with the platform.
    tasks: JoinSet<()>,
    settings: Settings,
    /// What was told once, by every process.
    pub told: Arc<Mutex<Vec<Notice>>>,
}

impl Platform {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings =
            Settings { interval: INTERVAL, overlap: Duration::from_secs(1), ..Settings::default() };
        change(&mut settings);
        let store = MemoryStore::default();
        // What follows it publishes, and once.
        store.lagging.store(true, Ordering::SeqCst);
        Self::with(Arc::new(store), settings)
    }

    pub fn with(store: Arc<dyn RecordStore>, settings: Settings) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let state = State::default();
        let mut platform =
            Self { store, state, metrics, tasks: JoinSet::new(), settings, told: Arc::default() };
        platform.resume();
        platform
    }

    /// Ends all work at once, as a crash does. What was recorded stays.
    pub async fn crash(&mut self) {
        self.tasks.shutdown().await;
        self.state = State::default();
        self.metrics = Arc::new(Metrics::new().unwrap());
    }

    pub fn resume(&mut self) {
        let (store, state, metrics) = (self.store.clone(), self.state.clone(), self.metrics.clone());
        let pending = Readiness::default().wait_for("the state");
        let (settings, tells) = (pullgate::domain::snapshot::Settings::default(), state.clone());
        self.tasks.spawn(state::follow(store.clone(), None, settings, tells, metrics.clone(), pending));
        let clients = Arc::new(Clients::new(store.clone(), self.settings.allowed.clone()));
        let ((notices, mut received), told) = (Notices::channel(), self.told.clone());
        self.tasks.spawn(async move {
            while let Some(notice) = received.recv().await {
                told.lock().unwrap().push(notice);
            }
        });
        let settings = self.settings.clone();
        let registries = Registries { store, state, metrics, clients, settings, notices };
        self.tasks.spawn(async move { match registries.keep().await {} });
    }

    /// Records a registry with a credential.
    pub async fn integrate(&self, name: &str, spec: Value, username: &str, password: &str) {
        let mut document = Document::new(Kind::Registry, name, spec);
        document.spec["credential"] = json!({"name": format!("registry-{name}")});
        let Record::Registry(Entry::Valid(registry)) = convert::record(&document) else {
            panic!("not valid: {:?}", convert::parse(&document));
        };
        let (username, password, audience) = (username.into(), password.into(), registry.audience());
        let credential = CredentialChange::Set(Credential { username, password, audience });
        let (at, document) = match self.store.get(Kind::Registry, name).await.unwrap() {
            None => (Precondition::Absent, document),
            Some(old) => {
                (Precondition::Version(old.version.clone()), Document { spec: document.spec, ..old })
            }
        };
        self.store.put(document, at, credential).await.unwrap();
    }

    /// Integrates a Harbor of the platform as `corp`, as its admin.
    pub async fn integrate_harbor(&self, harbor: &Harbor) {
        self.integrate("corp", json!({"type": "Harbor", "url": harbor.url()}), "admin", "Harbor12345").await;
    }

    pub async fn put(&self, kind: Kind, name: &str, spec: Value) {
        let document = Document::new(kind, name, spec);
        self.store.put(document, Precondition::Absent, CredentialChange::Keep).await.unwrap();
    }

    pub async fn workspace(&self, name: &str, namespaces: &[&str]) {
        self.put(Kind::Workspace, name, json!({"namespaces": namespaces})).await;
    }

    /// Changes what an administrator says, against whatever is observed at the same time.
    pub async fn edit(&self, kind: Kind, name: &str, change: impl Fn(&mut Value)) {
        loop {
            let mut document = self.store.get(kind, name).await.unwrap().unwrap();
            change(&mut document.spec);
            let at = Precondition::Version(document.version.clone());
            match self.store.put(document, at, CredentialChange::Keep).await {
                Err(pullgate::store::StoreError::Changed { .. }) => {}
                outcome => return drop(outcome.unwrap()),
            }
        }
    }

    pub async fn bind(&self, space: &str, workspaces: &[&str]) {
        self.edit(Kind::RegistrySpace, space, |spec| spec["workspaces"] = json!(workspaces)).await;
    }

    pub async fn document(&self, kind: Kind, name: &str) -> Option<Document> {
        self.store.get(kind, name).await.unwrap()
    }

    pub async fn status(&self, kind: Kind, name: &str) -> Value {
        self.document(kind, name).await.map(|document| document.status).unwrap_or_default()
    }

    /// Status, reason and message of a condition.
    pub async fn condition(&self, kind: Kind, name: &str, of: &str) -> [String; 3] {
        let status = self.status(kind, name).await;
        let found = status["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == of);
        let text = |member: &str| {
            let value = found.and_then(|condition| condition[member].as_str());
            value.unwrap_or_default().to_owned()
        };
        [text("status"), text("reason"), text("message")]
    }

    /// How a pod's image is decided now.
    pub fn reason(&self, namespace: &str, image: &str) -> Reason {
        let snapshot = self.state.snapshot_full();
        let now = Timestamp::now().as_second();
        decide(&snapshot.scope(namespace), &Request { image, always: Some(true), now }).reason
    }

    /// The names of all recorded spaces.
    pub async fn spaces(&self) -> Vec<String> {
        let page = self.store.list(Kind::RegistrySpace, None, 100_000).await.unwrap();
        page.items.into_iter().map(|document| document.name.into()).collect()
    }

    /// User name and password of a workspace's robot account.
    pub async fn robot(&self, workspace: &str, space: Option<&str>) -> Option<(String, String)> {
        let id =
            RobotId { registry: "corp".into(), workspace: workspace.into(), space: space.map(Into::into) };
        let stored = self.store.credential(&CredentialId::Robot(id)).await.unwrap()?;
        Some((stored.username, stored.password.expose_secret().to_owned()))
    }
}

/// Waits for what has to come about soon; how long it took.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    within(SOON, what, &mut holds).await
}
