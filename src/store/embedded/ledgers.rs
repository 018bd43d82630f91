//! Where accounts may be that pullgate made at registries, in the open database.

use rusqlite::params;

use super::records::{Failure, Outcome, Records};
use crate::domain::record::Name;
use crate::store::{Ledger, StoreError};

impl Records {
    /// One that cannot be read does not hide the others.
    pub(super) fn ledgers(&mut self) -> Outcome<Vec<Ledger>> {
        let Self { connection, key, .. } = self;
        let mut statement =
            connection.prepare_cached("SELECT registry, audience, spec, places, sealed FROM ledgers")?;
        let rows = statement.query_map([], |row| {
            let texts: [String; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
            Ok((texts, row.get::<_, Vec<u8>>(4)?))
        })?;
        let mut ledgers = Vec::new();
        for row in rows {
            let ([registry, audience, spec, places], sealed) = row?;
            let credential = key.open_labelled(&label(&registry, &audience), &sealed).ok();
            let read = (credential, serde_json::from_str(&spec).ok(), serde_json::from_str(&places).ok());
            if let (Some(credential), Some(spec), Some(places)) = read {
                ledgers.push(Ledger { registry: Name::from(registry), spec, credential, places });
            } else {
                tracing::error!(%registry, "what is remembered of a registry's accounts is damaged; those that are left there expire");
            }
        }
        Ok(ledgers)
    }

    pub(super) fn set_ledger(&mut self, ledger: &Ledger) -> Outcome<()> {
        let Ledger { registry, spec, credential, places } = ledger;
        let audience = &credential.audience;
        if places.is_empty() {
            self.connection
                .prepare_cached("DELETE FROM ledgers WHERE registry = ?1 AND audience = ?2")?
                .execute(params![registry.as_str(), audience])?;
            return Ok(());
        }
        let sealed = self.key.seal_labelled(&label(registry, audience), credential).map_err(|_| {
            Failure::Refused(StoreError::Unavailable(
                "no random numbers to seal a credential with".to_owned(),
            ))
        })?;
        let (spec, places) = (serde_json::to_string(spec)?, serde_json::to_string(places)?);
        self.connection
            .prepare_cached(
                "INSERT INTO ledgers (registry, audience, spec, places, sealed) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (registry, audience) DO UPDATE
                 SET spec = excluded.spec, places = excluded.places, sealed = excluded.sealed",
            )?
            .execute(params![registry.as_str(), audience, spec, places, sealed])?;
        Ok(())
    }
}

/// Under which the credential of a ledger is sealed.
fn label(registry: &str, audience: &str) -> String {
    serde_json::json!(["ledger", registry, audience]).to_string()
}
