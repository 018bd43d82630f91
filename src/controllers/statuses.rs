//! Says in the status of records what is in force of them: whether they are valid, what another record keeps them from,
//! and which namespaces a workspace has. Runs on the leader alone.
//!
//! Looks at what a change touches, and writes only where something is to be said that is not there yet. Of spaces, of which
//! there may be 100,000, only those that are invalid, or were.

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

use super::pull_secrets::PullSecretProblems;
use crate::domain::conflicts::{Contested, contested, shadowed};
use crate::domain::record::bounds::PROBLEMS;
use crate::domain::record::{Entry, Kind, Name, Problem, Workspace};
use crate::domain::records::{Named, Records, Stored, Touched, registry_of};
use crate::runtime::Schedule;
use crate::state::{Interest, State};
use crate::store::{CredentialChange, Event, Precondition, RecordStore, StoreError};
use crate::types::v1alpha1::{
    Condition, Member, PullPolicyStatus, RegistryStatus, SpaceStatus, WorkspaceStatus,
};
use crate::types::{Document, conditions};

/// How long changes are collected before a pass.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// How soon a pass follows the first in which something failed, and at the latest any other.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_mins(1);
/// Statuses written at a time.
const WRITES: usize = 8;
/// The condition that says whether a record is in force.
const VALID: &str = "Valid";

/// A record's kind and name.
type Key = (Kind, Name);

/// What a status should say.
#[derive(Debug, Clone, Default)]
pub struct DesiredStatus {
    problems: Vec<Problem>,
    /// Of a workspace that can be read.
    membership: Option<Membership>,
    /// The record that this speaks of, which is another one after each write; `None` for a space.
    record: Option<Arc<dyn Any + Send + Sync>>,
}

impl PartialEq for DesiredStatus {
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

/// Reconciles what statuses say of records; its dependencies.
pub struct Statuses {
    pub store: Arc<dyn RecordStore>,
    pub state: State,
    pub troubles: watch::Receiver<PullSecretProblems>,
}

impl Statuses {
    /// Keeps statuses true, for as long as it is polled.
    pub async fn keep(mut self) -> Infallible {
        let mut changes = self.state.subscribe(Interest::Everything);
        // What is not known yet has no status.
        let mut touched = changes.next().await;
        let mut said: Option<BTreeMap<Key, DesiredStatus>> = None;
        let mut schedule = Schedule::new(DEBOUNCE, RETRY, RETRY_MAX);
        let mut told = PullSecretProblems::default();
        loop {
            tokio::select! {
                news = changes.next() => {
                    touched.add(news);
                    schedule.soon();
                }
                Ok(()) = self.troubles.changed() => schedule.soon(),
                () = schedule.due() => {
                    let troubles = self.troubles.borrow_and_update().clone();
                    touched.namespaces.extend(differing(&told, &troubles));
                    told = troubles;
                    let outcome = self.pass(&mut said, &touched, &told).await;
                    schedule.looked(outcome.is_err());
                    touched = if outcome.is_err() { Touched::everything() } else { Touched::default() };
                    if let Err(error) = outcome {
                        tracing::warn!(%error, "a status cannot be written");
                    }
                }
            }
        }
    }

    async fn pass(
        &self,
        said: &mut Option<BTreeMap<Key, DesiredStatus>>,
        touched: &Touched,
        troubles: &PullSecretProblems,
    ) -> Result<(), StoreError> {
        let said = match said {
            Some(said) => said,
            None => said.insert(self.said_before().await?),
        };
        let records = self.state.records();
        let adopted = if touched.everything || touched.spaces || !touched.registry_records.is_empty() {
            self.adopt(&records).await
        } else {
            Ok(())
        };
        let scope = Scope::of(&records, touched);
        let desired = desired(&records, troubles, &scope);
        // What was wrong with a space and is no longer, or has gone with it.
        let over = said.keys().filter(|key| scope.covers(key) && !desired.contains_key(key));
        let over: Vec<Key> = over.cloned().collect();
        let news = desired.into_iter().filter(|(key, saying)| said.get(key) != Some(saying));
        let news: Vec<_> = news.chain(over.into_iter().map(|key| (key, DesiredStatus::default()))).collect();
        let written = stream::iter(news).map(|(key, saying)| async move {
            let outcome = self.say(&key, &saying).await;
            (key, saying, outcome)
        });
        let mut written = Box::pin(written.buffer_unordered(WRITES));
        let mut worst = adopted;
        while let Some((key, saying, outcome)) = written.next().await {
            match outcome {
                Ok(()) if saying == DesiredStatus::default() => drop(said.remove(&key)),
                Ok(()) => drop(said.insert(key, saying)),
                Err(error) => worst = Err(error),
            }
        }
        worst
    }

    /// Has spaces go with their registry that do not yet: those of somebody who wrote them by hand, and of 0.1.0.
    async fn adopt(&self, records: &Records) -> Result<(), StoreError> {
        let orphans = records.unowned_spaces().iter().filter(|(_, stored)| {
            let registry = registry_of(&stored.entry);
            registry.is_some_and(|registry| records.registries().contains_key(registry))
        });
        let adopt = |name: Name| async move { self.store.adopt(&name).await };
        let orphans: Vec<_> = orphans.map(|(name, _)| name.clone()).collect();
        let adopted: Vec<_> = stream::iter(orphans).map(adopt).buffer_unordered(WRITES).collect().await;
        adopted.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }

    /// Spaces of which an earlier leader said that they are invalid. A watch tells of all once, a page at a time and in
    /// order; listing page by page would begin anew with each.
    async fn said_before(&self) -> Result<BTreeMap<Key, DesiredStatus>, StoreError> {
        let mut said = BTreeMap::new();
        let mut events = self.store.watch();
        while let Some(event) = events.next().await {
            match event? {
                Event::Put(document) if document.kind == Kind::RegistrySpace => {
                    let conditions = document.status.get("conditions").and_then(Value::as_array);
                    let refused = |c: &Value| c["type"] == VALID && c["status"] == "False";
                    if conditions.is_some_and(|all| all.iter().any(refused)) {
                        said.insert((document.kind, document.name), DesiredStatus::default());
                    }
                }
                Event::Synced => break,
                _ => {}
            }
        }
        Ok(said)
    }

    /// Writes a status, if it does not say so already.
    async fn say(&self, (kind, name): &Key, saying: &DesiredStatus) -> Result<(), StoreError> {
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

/// Which records are looked at.
struct Scope {
    registries: bool,
    policies: bool,
    spaces: bool,
    /// `None`: all.
    workspaces: Option<BTreeSet<Name>>,
}

impl Scope {
    fn of(records: &Records, touched: &Touched) -> Self {
        if touched.everything {
            return Self { registries: true, policies: true, spaces: true, workspaces: None };
        }
        let mut workspaces = touched.workspace_records.clone();
        // Who lists a namespace that another one lists, too.
        for namespace in &touched.namespaces {
            workspaces.extend(records.listing(namespace).map(|(name, _)| name.clone()));
        }
        Self {
            // Which of them holds a host depends on the others, and there are few.
            registries: !touched.registry_records.is_empty(),
            policies: touched.policies,
            spaces: touched.spaces,
            workspaces: Some(workspaces),
        }
    }

    fn covers(&self, (kind, name): &Key) -> bool {
        match kind {
            Kind::Registry => self.registries,
            Kind::RegistrySpace => self.spaces,
            Kind::PullPolicy => self.policies,
            Kind::Workspace => self.workspaces.as_ref().is_none_or(|some| some.contains(name)),
        }
    }
}

/// What the statuses of these records should say.
fn desired(records: &Records, troubles: &PullSecretProblems, scope: &Scope) -> BTreeMap<Key, DesiredStatus> {
    fn said<T: Send + Sync + 'static>(kind: Kind, stored: &Arc<Stored<T>>) -> (Key, DesiredStatus) {
        let problems = match &stored.entry {
            Entry::Valid(_) => Vec::new(),
            Entry::Invalid(invalid) => invalid.problems.clone(),
        };
        // Of a space, of which only what is wrong is said, the words are all that counts.
        let record: Option<Arc<dyn Any + Send + Sync>> =
            (kind != Kind::RegistrySpace).then(|| stored.clone() as Arc<dyn Any + Send + Sync>);
        ((kind, stored.name.clone()), DesiredStatus { problems, membership: None, record })
    }
    fn all<T: Send + Sync + 'static>(
        kind: Kind,
        of: &Named<T>,
    ) -> impl Iterator<Item = (Key, DesiredStatus)> {
        of.values().map(move |stored| said(kind, stored))
    }
    let mut desired = BTreeMap::new();
    if scope.registries {
        desired.extend(all(Kind::Registry, records.registries()));
        for (name, problems) in shadowed(records) {
            desired.entry((Kind::Registry, name.clone())).or_default().problems.extend(problems);
        }
    }
    if scope.policies {
        desired.extend(all(Kind::PullPolicy, records.policies()));
    }
    if scope.spaces {
        desired.extend(all(Kind::RegistrySpace, records.invalid_spaces()));
    }
    let workspaces: Vec<&Arc<Stored<Workspace>>> = match &scope.workspaces {
        None => records.workspaces().values().collect(),
        Some(some) => some.iter().filter_map(|name| records.workspaces().get(name)).collect(),
    };
    for stored in workspaces {
        let (key, mut saying) = said(Kind::Workspace, stored);
        if let Some(workspace) = stored.valid() {
            let conflicts = contested(records, &stored.name, workspace);
            saying.problems.extend(conflicts.iter().take(PROBLEMS).map(conflict));
            saying.membership = Some(membership(workspace, records, troubles, &conflicts));
        }
        desired.insert(key, saying);
    }
    desired
}

fn conflict(Contested { namespace, undecided }: &Contested<'_>) -> Problem {
    let message = if *undecided {
        format!(
            "namespace {namespace} is listed by another workspace too, and neither claim is known to be the \
             older one, as after a restore: it belongs to none of them until one takes it off its list"
        )
    } else {
        format!("namespace {namespace} belongs to another workspace, whose claim is older")
    };
    Problem::new("spec.namespaces", message)
}

/// Namespaces of which the two say something else.
fn differing(one: &PullSecretProblems, other: &PullSecretProblems) -> Vec<Name> {
    let names = one.keys().chain(other.keys());
    names.filter(|name| one.get(*name) != other.get(*name)).cloned().collect()
}

fn membership(
    workspace: &Workspace,
    records: &Records,
    troubles: &PullSecretProblems,
    conflicts: &[Contested<'_>],
) -> Membership {
    let member = |namespace: &Name| {
        let (first, current) = (workspace.pins.get(namespace), records.namespace_uids().get(namespace));
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

    /// A condition that somebody else sets once more is known.
    fn awaits() -> Option<&'static str> {
        None
    }
}

impl Status for RegistryStatus {
    fn common(&mut self) -> (&mut Option<i64>, &mut Vec<Condition>) {
        (&mut self.observed_generation, &mut self.conditions)
    }

    fn awaits() -> Option<&'static str> {
        Some("Reachable")
    }
}

impl Status for SpaceStatus {
    fn common(&mut self) -> (&mut Option<i64>, &mut Vec<Condition>) {
        (&mut self.observed_generation, &mut self.conditions)
    }
}

impl Status for PullPolicyStatus {
    fn common(&mut self) -> (&mut Option<i64>, &mut Vec<Condition>) {
        (&mut self.observed_generation, &mut self.conditions)
    }
}

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
fn edited<S: Status>(document: &Document, saying: &DesiredStatus) -> Value {
    let mut status: S = serde_json::from_value(document.status.clone()).unwrap_or_default();
    if let Some(membership) = &saying.membership {
        status.set_membership(membership);
    }
    let (observed, conditions) = status.common();
    *observed = (document.generation > 0).then_some(document.generation);
    conditions::set(conditions, VALID, condition(saying), document.generation);
    let unasked =
        S::awaits().filter(|awaited| conditions.iter().all(|condition| condition.r#type != *awaited));
    if let Some(awaited) = unasked {
        let saying = conditions::ConditionUpdate::unknown("NotAskedYet");
        conditions::set(conditions, awaited, saying, document.generation);
    }
    // These types always serialise.
    serde_json::to_value(&status).unwrap_or_default()
}

fn condition(saying: &DesiredStatus) -> conditions::ConditionUpdate {
    if saying.problems.is_empty() {
        return conditions::ConditionUpdate::yes("InForce");
    }
    let problems: Vec<_> = saying.problems.iter().map(ToString::to_string).collect();
    conditions::ConditionUpdate::no("NotInForce", problems.join("; "))
}
