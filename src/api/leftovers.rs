//! What pullgate left at registries: accounts that it made where a registry is recorded no more, or at another address now,
//! and that it could not remove yet.
//!
//! The leader goes on trying, for as long as it is remembered. A registry that never comes back is forgotten by an
//! administrator, who knows that its accounts pull until they end.

use axum::Json;
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::auth::Verb;
use super::call::{Answer, Call};
use super::error::ApiError;
use crate::domain::record::{Entry, Kind, Record};
use crate::store::{Ledger, RecordStore, StoreError, convert};

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
    /// A registry of that name is recorded, with other addresses.
    recorded: bool,
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
        left(&*call.state.store, None).await?.into_iter().map(|(_, leftover)| leftover).collect();
    items.sort_by(|one, other| (&one.registry, &one.url).cmp(&(&other.registry, &other.url)));
    Ok(Json(Leftovers { items }).into_response())
}

pub(super) async fn forget(call: Call) -> Answer {
    call.caller.check_leftovers(Verb::Delete).await?;
    call.query(&[])?;
    let (name, store) = (call.param("name"), &*call.state.store);
    let mut forgotten = Vec::new();
    for (mut ledger, leftover) in left(store, Some(name)).await? {
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
async fn left(store: &dyn RecordStore, name: Option<&str>) -> Result<Vec<(Ledger, Leftover)>, StoreError> {
    let mut found = Vec::new();
    for ledger in store.ledgers().await? {
        if name.is_some_and(|name| ledger.registry != name) {
            continue;
        }
        let document = store.get(Kind::Registry, &ledger.registry).await?;
        let recorded = match document.as_ref().map(convert::record) {
            None => false,
            Some(Record::Registry(Entry::Valid(now))) if now.audience() != ledger.credential.audience => true,
            // It is worked for, or will be when the record is valid again.
            Some(_) => continue,
        };
        let last = ledger.places.values().max().copied();
        let leftover = Leftover {
            registry: ledger.registry.to_string(),
            url: ledger.spec.get("url").and_then(Value::as_str).map(str::to_owned),
            recorded,
            places: ledger.places.len(),
            until: last.and_then(|end| Timestamp::from_second(end).ok()),
        };
        found.push((ledger, leftover));
    }
    Ok(found)
}
