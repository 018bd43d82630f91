//! Says in the status of records what is in force of them: whether they are valid, what another record keeps them from,
//! and which namespaces a workspace has. Runs on the leader alone.
//!
//! Writes only where something is to be said that is not there yet. Of spaces, of which there may be 100,000, only
//! those that are invalid, or were.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::index::Published;
use super::pull_secrets::Troubles;
use crate::domain::conflicts::{Contested, contested, shadowed};
use crate::domain::record::bounds::PROBLEMS;
use crate::domain::record::{Entry, Kind, Name, Named, Problem, Records, Workspace};
use crate::store::manifest::{
    Condition, Member, PullPolicyStatus, RegistryStatus, SpaceStatus, WorkspaceStatus,
};
use crate::store::{CredentialChange, Document, Event, Precondition, RecordStore, StoreError, conditions};

/// How long changes are collected before a pass.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// How soon a pass follows one in which something failed.
const RETRY: Duration = Duration::from_secs(2);
/// Statuses written at a time.
const WRITES: usize = 8;
/// The condition that says whether a record is in force.
const VALID: &str = "Valid";

/// A record's kind and name.
type Key = (Kind, Name);

/// What a status should say.
#[derive(Debug, Clone, Default)]
pub struct Saying {
    problems: Vec<Problem>,
    /// Of a workspace that can be read.
    membership: Option<Membership>,
    /// The record that this speaks of, which is another one after each write; `None` for a space.
    record: Option<Arc<dyn Any + Send + Sync>>,
}

impl PartialEq for Saying {
    fn eq(&self, other: &Self) -> bool {
        let same_record = match (&self.record, &other.record) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same_record && self.problems == other.problems && self.membership == other.membership
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Membership {
    /// Without the time, which is that of the writing.
    members: Vec<Member>,
    conflicts: Vec<String>,
    /// Those of the conflicts in which no claim is known to be older, so that none is recorded.
    undecided: BTreeSet<Name>,
}

/// What the controller works with.
pub struct Statuses {
    pub store: Arc<dyn RecordStore>,
    pub published: Published,
    pub troubles: watch::Receiver<Troubles>,
}

impl Statuses {
    /// Keeps statuses true, for as long as it is polled.
    pub async fn keep(mut self) -> Infallible {
        let mut count = self.published.count.subscribe();
        let mut said: Option<BTreeMap<Key, Saying>> = None;
        let mut due = Some(Instant::now());
        loop {
            let ready = *count.borrow() > 0;
            let at = due.unwrap_or_else(Instant::now);
            tokio::select! {
                Ok(()) = count.changed() => { due.get_or_insert(Instant::now() + DEBOUNCE); }
                Ok(()) = self.troubles.changed() => { due.get_or_insert(Instant::now() + DEBOUNCE); }
                () = sleep_until(at), if ready && due.is_some() => {
                    let outcome = self.pass(&mut said).await;
                    due = outcome.is_err().then(|| Instant::now() + RETRY);
                    if let Err(error) = outcome {
                        tracing::warn!(%error, "a status cannot be written");
                    }
                }
            }
        }
    }

    async fn pass(&self, said: &mut Option<BTreeMap<Key, Saying>>) -> Result<(), StoreError> {
        let said = match said {
            Some(said) => said,
            None => said.insert(self.said_before().await?),
        };
        let (records, troubles) = (self.published.records.load_full(), self.troubles.borrow().clone());
        let adopted = self.adopt(&records).await;
        let desired = desired(&records, &troubles);
        // What was wrong with a space and is no longer, or has gone with it.
        let over: Vec<Key> = said.keys().filter(|key| !desired.contains_key(key)).cloned().collect();
        let news = desired.into_iter().filter(|(key, saying)| said.get(key) != Some(saying));
        let news: Vec<_> = news.chain(over.into_iter().map(|key| (key, Saying::default()))).collect();
        let written = stream::iter(news).map(|(key, saying)| async move {
            let outcome = self.say(&key, &saying).await;
            (key, saying, outcome)
        });
        let mut written = Box::pin(written.buffer_unordered(WRITES));
        let mut worst = adopted;
        while let Some((key, saying, outcome)) = written.next().await {
            match outcome {
                Ok(()) if key.0 == Kind::RegistrySpace && saying == Saying::default() => {
                    said.remove(&key);
                }
                Ok(()) => drop(said.insert(key, saying)),
                Err(error) => worst = Err(error),
            }
        }
        worst
    }

    /// Has spaces go with their registry that do not yet: those of somebody who wrote them by hand, and of 0.1.0.
    async fn adopt(&self, records: &Records) -> Result<(), StoreError> {
        let orphans = records.spaces.iter().filter(|(_, entry)| {
            let (registry, owner) = match &***entry {
                Entry::Valid(space) => (Some(&space.registry), space.owner),
                Entry::Invalid(invalid) => (invalid.registry.as_ref(), invalid.owner),
            };
            owner.get().is_none()
                && registry.is_some_and(|registry| records.registries.contains_key(registry))
        });
        let adopt = |name: Name| async move { self.store.adopt(&name).await };
        let orphans: Vec<_> = orphans.map(|(name, _)| name.clone()).collect();
        let adopted: Vec<_> = stream::iter(orphans).map(adopt).buffer_unordered(WRITES).collect().await;
        adopted.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }

    /// Spaces of which an earlier leader said that they are invalid. A watch tells of all once, a page at a time and in
    /// order; listing page by page would begin anew with each.
    async fn said_before(&self) -> Result<BTreeMap<Key, Saying>, StoreError> {
        let mut said = BTreeMap::new();
        let mut events = self.store.watch();
        while let Some(event) = events.next().await {
            match event? {
                Event::Put(document) if document.kind == Kind::RegistrySpace => {
                    let conditions = document.status.get("conditions").and_then(Value::as_array);
                    let refused = |c: &Value| c["type"] == VALID && c["status"] == "False";
                    if conditions.is_some_and(|all| all.iter().any(refused)) {
                        said.insert((document.kind, document.name), Saying::default());
                    }
                }
                Event::Synced => break,
                _ => {}
            }
        }
        Ok(said)
    }

    /// Writes a status, if it does not say so already.
    async fn say(&self, (kind, name): &Key, saying: &Saying) -> Result<(), StoreError> {
        let Some(document) = self.store.get(*kind, name).await? else { return Ok(()) };
        let status = match kind {
            Kind::Registry => edited::<RegistryStatus>(&document, saying),
            Kind::RegistrySpace => edited::<SpaceStatus>(&document, saying),
            Kind::Workspace => edited::<WorkspaceStatus>(&document, saying),
            Kind::PullPolicy => edited::<PullPolicyStatus>(&document, saying),
        };
        if status == document.status {
            return Ok(());
        }
        let at = Precondition::Version(document.version.clone());
        self.store.put(Document { status, ..document }, at, CredentialChange::Keep).await.map(drop)
    }
}

/// What the statuses of records should say.
pub fn desired(records: &Records, troubles: &Troubles) -> BTreeMap<Key, Saying> {
    fn own<T: Send + Sync + 'static>(kind: Kind, of: &Named<T>) -> impl Iterator<Item = (Key, Saying)> {
        of.iter().map(move |(name, entry)| {
            let problems = match &**entry {
                Entry::Valid(_) => Vec::new(),
                Entry::Invalid(invalid) => invalid.problems.clone(),
            };
            let record: Arc<dyn Any + Send + Sync> = entry.clone();
            ((kind, name.clone()), Saying { problems, membership: None, record: Some(record) })
        })
    }
    let invalid_spaces = records.spaces.iter().filter_map(|(name, entry)| match &**entry {
        Entry::Valid(_) => None,
        Entry::Invalid(invalid) => {
            let saying = Saying { problems: invalid.problems.clone(), ..Saying::default() };
            Some(((Kind::RegistrySpace, name.clone()), saying))
        }
    });
    let mut all: BTreeMap<Key, Saying> = own(Kind::Registry, &records.registries)
        .chain(own(Kind::Workspace, &records.workspaces))
        .chain(own(Kind::PullPolicy, &records.policies))
        .chain(invalid_spaces)
        .collect();
    for (name, problems) in shadowed(records) {
        all.entry((Kind::Registry, name.clone())).or_default().problems.extend(problems);
    }
    let contested = contested(records);
    for (name, entry) in &records.workspaces {
        let Some(workspace) = entry.valid() else { continue };
        let conflicts = contested.get(name).map(Vec::as_slice).unwrap_or_default();
        let saying = all.entry((Kind::Workspace, name.clone())).or_default();
        saying.problems.extend(conflicts.iter().take(PROBLEMS).map(|Contested { namespace, undecided }| {
            let message = if *undecided {
                format!(
                    "namespace {namespace} is listed by another workspace too, and neither claim is known to be the \
                     older one, as after a restore: it belongs to none of them until one takes it off its list"
                )
            } else {
                format!("namespace {namespace} belongs to another workspace, whose claim is older")
            };
            Problem::new("spec.namespaces", message)
        }));
        saying.membership = Some(membership(workspace, records, troubles, conflicts));
    }
    all
}

fn membership(
    workspace: &Workspace,
    records: &Records,
    troubles: &Troubles,
    conflicts: &[Contested<'_>],
) -> Membership {
    let member = |namespace: &Name| {
        let (first, current) = (workspace.pins.get(namespace), records.namespace_uids.get(namespace));
        // A pinned name stays with the namespace that bore it first; without the pin, whoever bears it now.
        let uid = if workspace.pin { first.or(current) } else { current.or(first) };
        let pull_secret = troubles.get(namespace).copied();
        Member { namespace: namespace.clone(), uid: uid.cloned(), since: None, pull_secret }
    };
    Membership {
        members: workspace.namespaces.iter().map(member).collect(),
        conflicts: conflicts.iter().map(|contested| contested.namespace.to_string()).collect(),
        undecided: conflicts.iter().filter(|c| c.undecided).map(|c| c.namespace.clone()).collect(),
    }
}

/// The parts of a status that this controller says.
trait Status: Default + Serialize + DeserializeOwned {
    fn common(&mut self) -> (&mut Option<i64>, &mut Vec<Condition>);

    fn set_membership(&mut self, _: &Membership) {}
}

macro_rules! status {
    ($($status:ty),*) => {$(
        impl Status for $status {
            fn common(&mut self) -> (&mut Option<i64>, &mut Vec<Condition>) {
                (&mut self.observed_generation, &mut self.conditions)
            }
        }
    )*};
}

status!(RegistryStatus, SpaceStatus, PullPolicyStatus);

impl Status for WorkspaceStatus {
    fn common(&mut self) -> (&mut Option<i64>, &mut Vec<Condition>) {
        (&mut self.observed_generation, &mut self.conditions)
    }

    fn set_membership(&mut self, membership: &Membership) {
        let now = Timestamp::now();
        let before: HashMap<Name, Option<Timestamp>> =
            self.members.drain(..).map(|member| (member.namespace, member.since)).collect();
        let since = |Member { namespace, .. }: &Member| {
            let new = (!membership.undecided.contains(namespace)).then_some(now);
            before.get(namespace).copied().flatten().or(new)
        };
        let members = membership.members.iter().map(|m| Member { since: since(m), ..m.clone() }).collect();
        self.members = members;
        self.conflicts.clone_from(&membership.conflicts);
    }
}

/// The status of a document, saying what it should. One that cannot be read is written anew.
fn edited<S: Status>(document: &Document, saying: &Saying) -> Value {
    let mut status: S = serde_json::from_value(document.status.clone()).unwrap_or_default();
    if let Some(membership) = &saying.membership {
        status.set_membership(membership);
    }
    let (observed, conditions) = status.common();
    *observed = (document.generation > 0).then_some(document.generation);
    conditions::set(conditions, VALID, condition(saying), document.generation);
    // These types always serialise.
    serde_json::to_value(&status).unwrap_or_default()
}

fn condition(saying: &Saying) -> conditions::Saying {
    if saying.problems.is_empty() {
        return conditions::Saying::yes("InForce");
    }
    let problems: Vec<_> = saying.problems.iter().map(ToString::to_string).collect();
    conditions::Saying::no("NotInForce", problems.join("; "))
}
