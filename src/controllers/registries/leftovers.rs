//! Removes the accounts of registries that are recorded no more, or at another address now: also where the record went while
//! pullgate was down, or the registry is. What cannot be removed is remembered and tried again ever later, until it is
//! removed, its accounts have ended, or an administrator forgets it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Registries;
use super::ledger::keep_only;
use super::robots::Robots;
use crate::domain::record::{Entry, Kind, Name, Record, Registry};
use crate::registry::address::AddressPolicy;
use crate::registry::fault::Fault;
use crate::registry::{self, http::Target};
use crate::state::Interest;
use crate::store::{Ledger, StoreError};
use crate::types::{Document, convert};

/// How often what is remembered is read while no record changes.
const TICK: Duration = Duration::from_mins(1);
/// How long after a removal it is looked once more, since a call that was under way may have made an account meanwhile.
const SETTLE: Duration = Duration::from_secs(25);
/// The longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// Removes what registries were left with.
pub(super) struct Leftovers {
    shared: Registries,
    /// By registry and audience.
    attempts: HashMap<(Name, String), Attempt>,
}

/// How the last attempt went.
struct Attempt {
    again: Instant,
    pause: Duration,
    /// Nothing was left.
    clean: bool,
}

/// The audiences of the registries that are recorded; `None`: the record is invalid, and may be mended.
type Recorded = BTreeMap<Name, Option<String>>;

impl Leftovers {
    pub fn new(shared: Registries) -> Self {
        Self { shared, attempts: HashMap::new() }
    }

    /// Works for as long as it is polled.
    pub async fn run(mut self) -> Infallible {
        let mut changes = self.shared.state.subscribe(Interest::Registries);
        // What is not known yet would look as if it were recorded no more.
        changes.next().await;
        let (mut seen, mut due) = (None, Instant::now());
        loop {
            let recorded = self.recorded();
            if seen.as_ref() != Some(&recorded) || due <= Instant::now() {
                if let Err(error) = self.pass(&recorded).await {
                    tracing::warn!(%error, "it cannot be read which accounts registries were left with");
                }
                let next = self.attempts.values().map(|attempt| attempt.again).min();
                due = next.map_or(Instant::now() + TICK, |next| next.min(Instant::now() + TICK));
                seen = Some(recorded);
            }
            tokio::select! {
                _ = changes.next() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    fn recorded(&self) -> Recorded {
        let records = self.shared.state.records();
        let recorded = records.registries().iter();
        recorded.map(|(name, stored)| (name.clone(), stored.valid().map(Registry::audience))).collect()
    }

    async fn pass(&mut self, recorded: &Recorded) -> Result<(), StoreError> {
        let ledgers = self.shared.store.ledgers().await?;
        let key = |ledger: &Ledger| (ledger.registry.clone(), ledger.credential.audience.clone());
        let metrics = self.shared.metrics.clone();
        self.attempts.retain(|known, _| {
            let is_kept = ledgers.iter().any(|ledger| key(ledger) == *known);
            if !is_kept {
                // An administrator forgot it.
                metrics.registries.left(&known.0, 0);
            }
            is_kept
        });
        for mut ledger in ledgers {
            let (registry, audience) = key(&ledger);
            match recorded.get(&registry) {
                // Whoever works for the record sees to it, or will when it is valid again.
                Some(None) => continue,
                Some(Some(of)) if *of == audience => {
                    self.attempts.remove(&(registry, audience));
                    continue;
                }
                _ => {}
            }
            let before = self.attempts.get(&(registry.clone(), audience.clone()));
            if before.is_some_and(|attempt| attempt.again > Instant::now()) {
                continue;
            }
            let (was_clean, pause) = before.map_or((false, None), |a| (a.clean, Some(a.pause)));
            let (left, trouble) = self.remove(&ledger).await?;
            let is_clean = left.is_empty() && trouble.is_none();
            let here: BTreeSet<i64> = ledger.places.keys().copied().collect();
            // Once more, before it is forgotten.
            let kept = if is_clean && !was_clean { here.clone() } else { left };
            if keep_only(&mut ledger, &BTreeSet::new(), &kept) {
                self.shared.store.set_ledger(&ledger).await?;
            }
            let metrics = &self.shared.metrics.registries;
            metrics.left(&registry, if trouble.is_some() { ledger.places.len() } else { 0 });
            if is_clean && !recorded.contains_key(&registry) {
                for robot in self.shared.store.robots(&registry).await? {
                    self.shared.store.set_robot(&robot, None).await?;
                }
            }
            if ledger.places.is_empty() {
                tracing::info!(%registry, "no accounts are left at a registry that is recorded no more, or that may pull for long");
                self.attempts.remove(&(registry, audience));
                continue;
            }
            if let Some(fault) = trouble.filter(|_| pause.is_none()) {
                // Once, not once an attempt.
                tracing::warn!(%registry, %fault, "accounts of a registry that is recorded no more are left there; they are removed when it can be done");
            }
            let first = self.shared.settings.interval;
            let pause =
                if is_clean { first } else { pause.map_or(first, |pause| (2 * pause).min(PAUSE_MAX)) };
            let again = Instant::now() + if is_clean { SETTLE } else { pause };
            self.attempts.insert((registry, audience), Attempt { again, pause, clean: is_clean });
        }
        Ok(())
    }

    /// Removes the accounts that a ledger tells of; where some are left, and why.
    async fn remove(&self, ledger: &Ledger) -> Result<(BTreeSet<i64>, Option<Fault>), StoreError> {
        let places: BTreeSet<i64> = ledger.places.keys().copied().collect();
        let document = Document::new(Kind::Registry, ledger.registry.clone(), ledger.spec.clone());
        let Record::Registry(Entry::Valid(registry)) = convert::record(&document) else {
            let unknown = Fault::Settings("the registry's record as it was cannot be read".to_owned());
            return Ok((places, Some(unknown)));
        };
        let client = Target::new(&registry, Some(ledger.credential.clone()), AddressPolicy::Anywhere)
            .and_then(|target| registry::client(registry.kind, target));
        let client = match client {
            Ok(client) => client,
            Err(fault) => return Ok((places, Some(fault))),
        };
        let Some(harbor) = client.harbor() else { return Ok((BTreeSet::new(), None)) };
        let robots = Robots::new(self.shared.store.installation().await?, ledger.registry.clone());
        let audience = &ledger.credential.audience;
        robots.remove_all(harbor, &*self.shared.store, &places, audience).await
    }
}
