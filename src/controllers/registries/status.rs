//! The status of a registry's record: several write parts of it, each against what the others wrote.

use jiff::Timestamp;

use super::report::OBSERVED;
use crate::domain::record::{Entry, Kind, Record};
use crate::store::{CredentialChange, Precondition, RecordStore, StoreError};
use crate::types::v1alpha1::RegistryStatus;
use crate::types::{Document, convert};

/// Attempts against other writers.
const ATTEMPTS: usize = 8;

/// What somebody asked for in the registry's status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Requests {
    pub sync: Option<Timestamp>,
    pub rotation: Option<Timestamp>,
}

/// What is told now; `None` where that cannot be read.
pub(super) async fn read(store: &dyn RecordStore, name: &str) -> Option<RegistryStatus> {
    let document = store.get(Kind::Registry, name).await.ok().flatten()?;
    Some(serde_json::from_value(document.status).unwrap_or_default())
}

/// What is asked for now; `None` where that cannot be read.
pub(super) async fn requests(store: &dyn RecordStore, name: &str) -> Option<Requests> {
    let status = read(store, name).await?;
    Some(Requests { sync: status.sync_requested, rotation: status.rotation_requested })
}

/// Changes the status, where the change makes a difference, to what was observed of the record whose identity is `of`:
/// of a record that names other addresses by now nothing is said, and what was said of others before is forgotten. `edit`
/// gets the generation of the spec too.
pub(super) async fn change(
    store: &dyn RecordStore,
    name: &str,
    of: &str,
    edit: impl Fn(&mut RegistryStatus, i64) + Send + Sync,
) {
    for _ in 0..ATTEMPTS {
        match attempt(store, name, of, &edit).await {
            // Another writer was faster; what it wrote stays.
            Err(StoreError::Changed { .. }) => {}
            Err(error) => {
                return tracing::warn!(registry = name, %error, "the registry's status cannot be written");
            }
            Ok(()) => return,
        }
    }
}

async fn attempt(
    store: &dyn RecordStore,
    name: &str,
    of: &str,
    edit: &(impl Fn(&mut RegistryStatus, i64) + Send + Sync),
) -> Result<(), StoreError> {
    let Some(document) = store.get(Kind::Registry, name).await? else { return Ok(()) };
    let mut status: RegistryStatus = serde_json::from_value(document.status.clone()).unwrap_or_default();
    let Record::Registry(Entry::Valid(registry)) = convert::record(&document) else { return Ok(()) };
    if registry.identity != of {
        return Ok(());
    }
    let before = status.clone();
    if status.observed_of.as_deref().is_some_and(|before| before != of) {
        status = forgotten(status);
    }
    status.observed_of = Some(of.to_owned());
    edit(&mut status, document.generation);
    if status == before {
        return Ok(());
    }
    let at = Precondition::Version(document.version.clone());
    // These types always serialise.
    let status = serde_json::to_value(&status).unwrap_or_default();
    store.put(Document { status, ..document }, at, CredentialChange::Keep).await.map(drop)
}

/// What is left of a status where the record names other addresses: what people asked for, and the accounts that are still
/// to be removed.
fn forgotten(status: RegistryStatus) -> RegistryStatus {
    let mut conditions = status.conditions;
    conditions.retain(|condition| !OBSERVED.contains(&condition.r#type.as_str()));
    RegistryStatus {
        observed_generation: status.observed_generation,
        conditions,
        integrated: status.integrated,
        followed: status.followed,
        robot_level: status.robot_level,
        robots: status.robots,
        sync_requested: status.sync_requested,
        sync_done: status.sync_done,
        rotation_requested: status.rotation_requested,
        ..RegistryStatus::default()
    }
}
