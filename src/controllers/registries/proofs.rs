//! Whether what was handed out works. An administrator of the Harbor may refresh a secret, disable an account, or change the
//! prefix of all names, and nobody is told: so accounts in use log in every now and then, which costs Harbor little.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use super::desired::Desired;
use super::robots::Robots;
use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::registry::fault::Fault;
use crate::registry::harbor::Harbor;
use crate::store::{RecordStore, StoreError};

/// Accounts that log in at one time, others each time.
const AT_ONCE: usize = 50;
/// How long an account that was seen to work is believed to, while others are changed.
const FRESH: Duration = Duration::from_secs(20);
/// How soon an account is replaced again whose secret fails; each time twice as late.
const FIRST_PAUSE: Duration = Duration::from_mins(1);
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// What is known of the accounts of one registry.
#[derive(Debug, Default)]
pub(super) struct Proofs(Mutex<HashMap<RobotId, Proof>>);

#[derive(Debug, Default)]
struct Proof {
    /// The name by which it was last seen to work, and when.
    works: Option<(String, Instant)>,
    /// When one was last replaced because its secret failed, and how soon that may be done again.
    replaced: Option<(Instant, Duration)>,
}

impl Proofs {
    fn known(&self) -> MutexGuard<'_, HashMap<RobotId, Proof>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets accounts that nobody needs.
    pub fn retain(&self, desired: &Desired) {
        self.known().retain(|id, _| desired.contains_key(id));
    }

    /// Whether an account works; without asking where that was seen just now.
    pub async fn prove(
        &self,
        harbor: &Harbor,
        id: &RobotId,
        name: &str,
        password: &SecretString,
    ) -> Result<bool, Fault> {
        let fresh = self.known().get(id).and_then(|proof| proof.works.clone());
        if fresh.is_some_and(|(known, at)| known == name && at.elapsed() < FRESH) {
            return Ok(true);
        }
        let works = harbor.accepts(name, password).await?;
        if works {
            self.proven(id, name);
        }
        Ok(works)
    }

    /// An account was seen to work.
    pub fn proven(&self, id: &RobotId, name: &str) {
        let works = Some((name.to_owned(), Instant::now()));
        self.known().entry(id.clone()).or_default().works = works;
    }

    /// An account does not work any more, or nobody knows.
    pub fn doubt(&self, id: &RobotId) {
        if let Some(proof) = self.known().get_mut(id) {
            proof.works = None;
        }
    }

    /// Refuses to replace an account for its secret again and again.
    pub fn may_replace(&self, id: &RobotId, name: &str) -> Result<(), Fault> {
        let replaced = self.known().get(id).and_then(|proof| proof.replaced);
        if replaced.is_some_and(|(at, pause)| at.elapsed() < pause) {
            return Err(Fault::AccountRefused(name.to_owned()));
        }
        Ok(())
    }

    /// An account was replaced because its secret failed.
    pub fn replaced(&self, id: &RobotId) {
        let mut known = self.known();
        let replaced = &mut known.entry(id.clone()).or_default().replaced;
        // What held for long enough begins anew.
        let before = replaced.filter(|(at, _)| at.elapsed() < 2 * PAUSE_MAX);
        let pause = before.map_or(FIRST_PAUSE, |(_, pause)| (2 * pause).min(PAUSE_MAX));
        *replaced = Some((Instant::now(), pause));
    }
}

impl Robots {
    /// Whether all that is handed out works, of many accounts some in turn, as far as can be told now.
    ///
    /// # Errors
    /// The store's.
    pub async fn all_work(
        &self,
        harbor: &Harbor,
        store: &dyn RecordStore,
        desired: &Desired,
        turn: usize,
    ) -> Result<bool, StoreError> {
        let first = if desired.len() > AT_ONCE { (turn * AT_ONCE) % desired.len() } else { 0 };
        let mut all = true;
        for id in desired.keys().cycle().skip(first).take(AT_ONCE.min(desired.len())) {
            let Some(stored) = store.credential(&CredentialId::Robot(id.clone())).await? else { continue };
            match harbor.accepts(&stored.username, &stored.password).await {
                Ok(true) => self.proofs.proven(id, &stored.username),
                Ok(false) => {
                    self.proofs.doubt(id);
                    all = false;
                }
                // Harbor's trouble is told by whoever reads its projects.
                Err(_) => {}
            }
        }
        Ok(all)
    }
}
