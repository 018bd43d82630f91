//! What pullgate left at registries: accounts that it made where a registry is recorded no more, or at another address now,
//! or that no binding calls for any more, and that it could not remove yet.
//!
//! The leader goes on trying, for as long as it is remembered. A registry that never comes back is forgotten by an
//! administrator, who knows that its accounts pull until they end. One that is recorded is not: its accounts are still
//! worked for.

use std::collections::BTreeSet;

use axum::Json;
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::Verb;
use super::call::{Answer, Call};
use super::error::ApiError;
use crate::controllers::registries::needed_places;
use crate::domain::record::{Entry, Kind, Record};
use crate::store::{Ledger, StoreError};
use crate::types::v1alpha1::{RegistryStatus, RobotLevel};
use crate::types::{Document, convert};

/// All that is remembered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Leftovers {
    /// By the registry's name.
    items: Vec<Leftover>,
}

/// What is left at one address of a registry.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Leftover {
    /// The name of the registry's record, as it was.
    #[schema(example = "corp")]
    registry: String,
    /// Where it was.
    url: Option<String>,
    /// A registry of that name is recorded.
    recorded: bool,
    /// It is, with these very addresses: no binding calls for the accounts any more, and they cannot be forgotten.
    current: bool,
    /// Projects where there may be accounts; the registry itself, with accounts for several projects, counts as one.
    places: usize,
    /// When the last account ends that may be there; absent: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// What was forgotten.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Forgotten {
    /// Accounts may be there still, and nobody removes them.
    forgotten: Vec<Leftover>,
}

pub(super) async fn list(call: Call) -> Answer {
    call.caller.check_leftovers(Verb::List).await?;
    call.query(&[])?;
    let mut items: Vec<Leftover> =
        left(&call.state, None).await?.into_iter().map(|(_, leftover)| leftover).collect();
    items.sort_by(|one, other| (&one.registry, &one.url).cmp(&(&other.registry, &other.url)));
    Ok(Json(Leftovers { items }).into_response())
}

pub(super) async fn forget(call: Call) -> Answer {
    call.caller.check_leftovers(Verb::Delete).await?;
    call.query(&[])?;
    let (name, store) = (call.param("name"), &*call.state.store);
    let mut forgotten = Vec::new();
    for (mut ledger, leftover) in left(&call.state, Some(name)).await? {
        if leftover.current {
            continue;
        }
        ledger.places.clear();
        store.set_ledger(&ledger).await?;
        tracing::warn!(registry = name, url = leftover.url, until = ?leftover.until, "what was left at a registry is forgotten; accounts that are still there pull until they end");
        forgotten.push(leftover);
    }
    if forgotten.is_empty() {
        return Err(ApiError::NotFound(format!(
            "nothing is left at a registry {name} that is recorded no more, or at another address now"
        )));
    }
    Ok(Json(Forgotten { forgotten }).into_response())
}

/// What is remembered beyond what a record is worked for by, of one registry or of all.
async fn left(state: &ApiState, name: Option<&str>) -> Result<Vec<(Ledger, Leftover)>, StoreError> {
    let (mut found, store, records) = (Vec::new(), &*state.store, state.state.records());
    for ledger in store.ledgers().await? {
        if name.is_some_and(|name| ledger.registry != name) {
            continue;
        }
        let document = store.get(Kind::Registry, &ledger.registry).await?;
        let mut needed = BTreeSet::new();
        let (recorded, current) = match document.as_ref().map(convert::record) {
            None => (false, false),
            Some(Record::Registry(Entry::Valid(now))) if now.audience() != ledger.credential.audience => {
                (true, false)
            }
            Some(Record::Registry(Entry::Valid(now))) => {
                // Before it is known what accounts there can be, none is left.
                let Some(level) = document.as_ref().and_then(level) else { continue };
                needed = needed_places(&ledger.registry, &now, &records, level);
                (true, true)
            }
            // It will be worked for when the record is valid again.
            Some(_) => continue,
        };
        let left = || ledger.places.iter().filter(|(place, _)| !needed.contains(place));
        if current && left().next().is_none() {
            continue;
        }
        let last = left().map(|(_, end)| *end).max();
        let leftover = Leftover {
            registry: ledger.registry.to_string(),
            url: ledger.spec.get("url").and_then(Value::as_str).map(str::to_owned),
            recorded,
            current,
            places: left().count(),
            until: last.and_then(|end| Timestamp::from_second(end).ok()),
        };
        found.push((ledger, leftover));
    }
    Ok(found)
}

fn level(registry: &Document) -> Option<RobotLevel> {
    serde_json::from_value::<RegistryStatus>(registry.status.clone()).ok()?.robot_level
}
