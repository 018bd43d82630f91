//! Carries a plan out: records what a registry has, and tells the registry what an administrator wants of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::hidden::Hidden;
use super::plan::{Observation, Plan, is_wanted};
use super::progress::Counter;
use super::refusals::{Refusals, Wish};
use crate::domain::record::{Entry, Kind, Name, Record, Space, Visibility};
use crate::registry::Found;
use crate::registry::fault::Fault;
use crate::registry::harbor::Harbor;
use crate::store::{CredentialChange, Precondition, RecordStore, StoreError};
use crate::types::conditions::{self, ConditionUpdate};
use crate::types::v1alpha1::SpaceStatus;
use crate::types::{Document, convert, names};

/// Records written in one go.
const CHUNK: usize = 100;
/// A pause after each such write, for those who follow the store: what they have not taken in yet is held in memory.
const BREATH: Duration = Duration::from_millis(10);
/// Records changed at a time.
const WRITES: usize = 8;
/// Whether a space is in the registry as an administrator wants it.
const SYNCED: &str = "Synced";

/// Carries out what is to be done about the spaces of one registry.
pub(super) struct Spaces<'s> {
    pub registry: &'s Name,
    /// The identity of the record that the registry is worked with.
    pub identity: &'s str,
    pub store: &'s dyn RecordStore,
    pub harbor: Option<&'s Harbor>,
    pub counter: &'s Counter,
    pub refusals: &'s Mutex<Refusals>,
    pub hidden: &'s Mutex<Hidden>,
    /// How long the registry is not asked again for what it refused once.
    pub interval: Duration,
}

/// What became of a plan.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The registry was changed; it is to be read again.
    pub changed: bool,
    /// Records that could not be written; the next pass tries again.
    pub failed: usize,
    /// Of some spaces the next pass can record what they hold, and this one could not: they are new, or somebody else
    /// changed them at the same time.
    pub unmeasured: bool,
    /// The next pass asks for spaces that this one could not ask for, or got no answer about.
    pub unfinished: bool,
}

impl Spaces<'_> {
    pub async fn carry_out(&self, plan: Plan) -> Outcome {
        let mut outcome = Outcome::default();
        self.counter.to_record(plan.create.len() + plan.observe.len());
        self.create(plan.create, &mut outcome).await;
        self.observe(plan.observe, &mut outcome).await;
        let (missing, more) = self.hidden().choose(plan.missing);
        outcome.unfinished = more;
        for (name, path) in missing {
            match self.ask_for(&name, &path).await {
                Ok(settled) => outcome.unfinished |= !settled,
                Err(_) => outcome.failed += 1,
            }
        }
        let Some(harbor) = self.harbor else { return outcome };
        let make = |(name, path, visibility)| (name, Wish { path, visibility, make: true });
        let push = |(name, path, visibility)| (name, Wish { path, visibility, make: false });
        let wishes: BTreeMap<Name, Wish> =
            plan.make.into_iter().map(make).chain(plan.push.into_iter().map(push)).collect();
        self.refusals().retain(|name| wishes.contains_key(name));
        for (name, wish) in wishes {
            if self.refusals().is_due(&name, &wish, Instant::now()) {
                self.fulfil(harbor, &name, wish, &mut outcome).await;
            }
        }
        outcome
    }

    /// Asks the registry for what is wanted of a space, and says what came of it.
    pub async fn fulfil(&self, harbor: &Harbor, name: &Name, wish: Wish, outcome: &mut Outcome) {
        let Wish { path, visibility, make } = &wish;
        let told = if *make {
            tracing::info!(registry = %self.registry, space = %path, "making a project that was recorded");
            match harbor.create(path, *visibility).await {
                // Somebody else was faster, or another part of pullgate.
                Err(Fault::Conflict(_)) if matches!(harbor.space(path).await, Ok(Some(_))) => Ok(()),
                made => made,
            }
        } else {
            tracing::info!(registry = %self.registry, space = %path, ?visibility, "setting a project's visibility as recorded");
            harbor.set_visibility(path, *visibility).await
        };
        outcome.changed |= told.is_ok();
        let now = (told.is_ok() && !make).then_some(*visibility);
        self.say(name, path, &told, now, outcome).await;
        if let Err(fault) = told
            && fault.refuses()
        {
            let space = path.clone();
            if self.refusals().refused(name, wish, self.interval, Instant::now()) {
                tracing::warn!(registry = %self.registry, %space, %fault, "the registry refuses what is recorded of a project");
            }
        }
    }

    fn hidden(&self) -> MutexGuard<'_, Hidden> {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records spaces that nobody recorded.
    async fn create(&self, found: Vec<Found>, done: &mut Outcome) {
        for chunk in found.chunks(CHUNK) {
            let now = Timestamp::now();
            let documents =
                chunk.iter().map(|found| (self.document(found, now), Precondition::Absent)).collect();
            for (found, outcome) in chunk.iter().zip(self.store.put_all(documents).await) {
                match outcome {
                    Ok(_) => done.unmeasured = true,
                    Err(StoreError::Exists { .. }) if self.is_recorded(found).await => done.unmeasured = true,
                    Err(error) => {
                        done.failed += 1;
                        tracing::warn!(registry = %self.registry, space = %found.path, %error, "a space cannot be recorded");
                    }
                }
            }
            self.counter.recorded(chunk.len());
            sleep(BREATH).await;
        }
    }

    /// Says of many spaces what was observed of them.
    async fn observe(&self, observed: Vec<(Name, Observation, Option<Visibility>)>, done: &mut Outcome) {
        for chunk in observed.chunks(CHUNK) {
            let edited = stream::iter(chunk.to_vec()).map(|(name, mut observation, before)| async move {
                let confirmed = observation.confirmed;
                let edit = |space: &Space, status: &mut SpaceStatus| {
                    // Set meanwhile, after it was read.
                    if space.observed != before {
                        observation.visibility = space.observed;
                    }
                    write(space, status, &observation, self.identity);
                };
                self.edited(&name, confirmed, edit).await
            });
            let edited: Vec<_> = edited.buffered(WRITES).collect().await;
            done.failed += edited.iter().filter(|outcome| outcome.is_err()).count();
            let changed: Vec<_> = edited.into_iter().filter_map(|outcome| outcome.ok().flatten()).collect();
            for outcome in self.store.put_all(changed).await {
                // One that somebody else changes at the same time is left to the next pass.
                if let Err(error) = outcome {
                    done.failed += 1;
                    done.unmeasured |= matches!(error, StoreError::Changed { .. });
                    tracing::debug!(registry = %self.registry, %error, "a space's status cannot be written");
                }
            }
            self.counter.recorded(chunk.len());
            sleep(BREATH).await;
        }
    }

    /// Whether the record under the name that a space gets is its own, which the plan did not know of yet.
    async fn is_recorded(&self, found: &Found) -> bool {
        let name = names::space(self.registry, &found.path);
        let record = self.store.get(Kind::RegistrySpace, &name).await.ok().flatten();
        matches!(
            record.map(|document| convert::record(&document)),
            Some(Record::Space(Entry::Valid(space))) if space.registry == *self.registry && space.path == found.path
        )
    }

    fn document(&self, found: &Found, now: Timestamp) -> Document {
        let status = SpaceStatus {
            visibility: found.visibility,
            observed_of: Some(self.identity.to_owned()),
            observed_at: Some(now),
            project_id: found.id,
            repositories: found.repositories,
            proxy_cache: found.proxy_cache,
            ..SpaceStatus::default()
        };
        let spec = json!({"registry": self.registry, "path": found.path});
        let document = Document::new(Kind::RegistrySpace, names::space(self.registry, &found.path), spec);
        Document { status: serde_json::to_value(&status).unwrap_or_default(), ..document }
    }

    /// Asks for a space that was there and is not on the list: whether it is gone, or only not to be seen. `false`: that is
    /// not known, or it came back meanwhile.
    async fn ask_for(&self, name: &Name, path: &Name) -> Result<bool, StoreError> {
        if let Some(harbor) = self.harbor {
            let told = harbor.space(path).await;
            match told {
                Ok(None) => {}
                // Public ones are on everybody's list.
                Ok(Some(_)) | Err(Fault::NotPermitted(_)) => {
                    let unseen = |space: &Space, status: &mut SpaceStatus| {
                        write(space, status, &Observation::unseen(space), self.identity);
                    };
                    self.change(name, unseen).await?;
                    if told.is_err() {
                        self.hidden().note(name);
                    }
                    return Ok(told.is_err());
                }
                Err(_) => return Ok(false),
            }
        }
        let Some(document) = self.store.get(Kind::RegistrySpace, name).await? else { return Ok(true) };
        let Record::Space(Entry::Valid(space)) = convert::record(&document) else { return Ok(true) };
        if is_wanted(&space) {
            tracing::warn!(registry = %self.registry, space = %path, "a bound project is gone from the registry");
            let gone = |space: &Space, status: &mut SpaceStatus| {
                write(space, status, &Observation::gone(space), self.identity);
            };
            return self.change(name, gone).await.map(|()| true);
        }
        tracing::info!(registry = %self.registry, space = %path, "a project is gone from the registry");
        match self.store.delete(Kind::RegistrySpace, name, &document.version).await {
            Err(StoreError::NotFound { .. }) | Ok(()) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Says what became of an administrator's wish. `now`: the visibility that the registry took.
    async fn say(
        &self,
        name: &Name,
        path: &Name,
        told: &Result<(), Fault>,
        now: Option<Visibility>,
        outcome: &mut Outcome,
    ) {
        let saying = match told {
            Ok(()) => ConditionUpdate::yes("Done"),
            Err(fault) => {
                let message = match fault {
                    Fault::Conflict(words) => {
                        format!("the registry has a project {path} that the account does not see{words}")
                    }
                    other => format!("project {path}: {other}"),
                };
                ConditionUpdate::no(fault.reason(), message)
            }
        };
        let edit = |_: &Space, status: &mut SpaceStatus| {
            if now.is_some() {
                status.visibility = now;
                status.observed_of = Some(self.identity.to_owned());
            }
            conditions::set(&mut status.conditions, SYNCED, saying, 0);
        };
        let said = self.change(name, edit).await;
        outcome.failed += usize::from(said.is_err());
    }

    /// Changes the status of a space. One that somebody else changes at the same time is left to the next pass.
    async fn change(
        &self,
        name: &Name,
        edit: impl FnOnce(&Space, &mut SpaceStatus),
    ) -> Result<(), StoreError> {
        let Some((document, at)) = self.edited(name, None, edit).await? else { return Ok(()) };
        match self.store.put(document, at, CredentialChange::Keep).await {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => {
                tracing::warn!(registry = %self.registry, space = %name, %error, "a space's status cannot be written");
                Err(error)
            }
        }
    }

    /// The record of a space with another status, to be put over the one that was read; `None` where there is no such
    /// space, or nothing to change. `confirmed`: the project that its bindings are for, where they say of none.
    async fn edited(
        &self,
        name: &Name,
        confirmed: Option<i64>,
        edit: impl FnOnce(&Space, &mut SpaceStatus),
    ) -> Result<Option<(Document, Precondition)>, StoreError> {
        let Some(mut document) = self.store.get(Kind::RegistrySpace, name).await? else { return Ok(None) };
        let Record::Space(Entry::Valid(space)) = convert::record(&document) else { return Ok(None) };
        let confirmed = confirmed.filter(|_| space.confirmed.get().is_none() && !space.workspaces.is_empty());
        if let Some(project) = confirmed {
            document.spec["projectId"] = project.into();
        }
        let mut status: SpaceStatus = serde_json::from_value(document.status.clone()).unwrap_or_default();
        edit(&space, &mut status);
        let status: Value = serde_json::to_value(&status).unwrap_or_default();
        if status == document.status && confirmed.is_none() {
            return Ok(None);
        }
        let at = Precondition::Version(document.version.clone());
        Ok(Some((Document { status, ..document }, at)))
    }
}

fn write(space: &Space, status: &mut SpaceStatus, observation: &Observation, of: &str) {
    let Observation { visibility, project, suspended, missing, repositories, storage, confirmed: _ } =
        observation.clone();
    if suspended && !space.suspended {
        tracing::warn!(
            registry = %space.registry, space = %space.path,
            "a project was made anew under its name; its bindings are void until somebody confirms them"
        );
    }
    let before = status.clone();
    *status = SpaceStatus {
        observed_of: Some(of.to_owned()),
        visibility,
        project_id: project,
        suspended,
        missing,
        repositories,
        storage,
        ..std::mem::take(status)
    };
    let unmet = matches!((space.visibility, visibility), (Some(declared), Some(flag)) if declared != flag);
    let path = &space.path;
    let said = match (missing, suspended) {
        (true, _) => ConditionUpdate::no("Missing", format!("the registry has no project {path} any more")),
        (_, true) => ConditionUpdate::no(
            "MadeAnew",
            format!(
                "project {path} was deleted and made again under its name; set spec.projectId to status.projectId to \
                 confirm the bindings for it"
            ),
        ),
        _ => ConditionUpdate::yes("Done"),
    };
    let known = status.conditions.iter().any(|condition| condition.r#type == SYNCED);
    if !unmet && (known || said != ConditionUpdate::yes("Done")) {
        conditions::set(&mut status.conditions, SYNCED, said, 0);
    }
    // The time alone is no news.
    if *status != before {
        status.observed_at = Some(Timestamp::now());
    }
}

/// Whether a space is for everybody.
pub(super) fn is_public(found: &Found) -> bool {
    found.visibility == Some(Visibility::Public)
}
