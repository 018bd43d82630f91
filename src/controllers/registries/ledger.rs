//! Remembers where a registry's accounts may be before any is made there, and how to get there, until none is left: a record
//! and its credential may go while the registry is down, or pullgate is.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::pull_secret::CredentialId;
use crate::domain::record::{Kind, Name, Registry, UnixSeconds};
use crate::registry::RegistryClient;
use crate::store::{Ledger, RecordStore, StoreError};

const DAY: UnixSeconds = 24 * 3600;

/// What is remembered of one registry, as it was last stored.
#[derive(Default)]
pub(super) struct Remembered {
    ledger: Option<Ledger>,
    /// The client with whose credential it was stored.
    client: Option<Arc<dyn RegistryClient>>,
}

impl Remembered {
    /// Remembers where accounts are about to be, that live so many days; all places where there may be some.
    ///
    /// # Errors
    /// The store's; no account may be made then.
    pub async fn expect(
        &mut self,
        store: &dyn RecordStore,
        name: &Name,
        registry: &Registry,
        client: &Arc<dyn RegistryClient>,
        wanted: &BTreeSet<i64>,
        days: i64,
    ) -> Result<BTreeSet<i64>, StoreError> {
        let audience = registry.audience();
        let of = |ledger: &Ledger| ledger.registry == *name && ledger.credential.audience == audience;
        let same = self.client.as_ref().is_some_and(|known| Arc::ptr_eq(known, client));
        let known = self.ledger.take().filter(|ledger| of(ledger) && same);
        let mut stored = known.is_some();
        let mut ledger = if let Some(ledger) = known {
            ledger
        } else {
            let id = CredentialId::Integration { registry: name.clone() };
            let credential = store.credential(&id).await?.filter(|found| found.audience == audience);
            let before = store.ledgers().await?.into_iter().find(of);
            let places = before.map(|ledger| ledger.places).unwrap_or_default();
            let Some(credential) = credential else { return Ok(places.into_keys().collect()) };
            Ledger { registry: name.clone(), spec: serde_json::Value::Null, credential, places }
        };
        if let Some(document) = store.get(Kind::Registry, name).await?
            && document.spec != ledger.spec
        {
            ledger.spec = document.spec;
            stored = false;
        }
        let end = end(days);
        for place in wanted {
            // Once a day, not once a comparison.
            if ledger.places.get(place).is_none_or(|until| *until < end.saturating_sub(DAY)) {
                ledger.places.insert(*place, end);
                stored = false;
            }
        }
        if !stored && !ledger.places.is_empty() {
            store.set_ledger(&ledger).await?;
        }
        let places = ledger.places.keys().copied().collect();
        (self.ledger, self.client) = (Some(ledger), Some(client.clone()));
        Ok(places)
    }

    /// Forgets places but these, and those whose accounts have ended.
    ///
    /// # Errors
    /// The store's; they are still remembered then.
    pub async fn settle(
        &mut self,
        store: &dyn RecordStore,
        wanted: &BTreeSet<i64>,
        left: &BTreeSet<i64>,
    ) -> Result<(), StoreError> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        if keep_only(ledger, wanted, left) {
            store.set_ledger(ledger).await?;
        }
        Ok(())
    }
}

/// Takes places off a ledger but these, and those whose accounts have ended; whether there were any.
pub(super) fn keep_only(ledger: &mut Ledger, wanted: &BTreeSet<i64>, left: &BTreeSet<i64>) -> bool {
    let (before, now) = (ledger.places.len(), Timestamp::now().as_second());
    ledger.places.retain(|place, until| wanted.contains(place) || (left.contains(place) && *until > now));
    ledger.places.len() != before
}

/// When an account that is made now ends, at the latest.
fn end(days: i64) -> UnixSeconds {
    if days < 0 {
        UnixSeconds::MAX
    } else {
        Timestamp::now().as_second().saturating_add(days.saturating_mul(DAY))
    }
}
