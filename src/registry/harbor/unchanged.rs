//! Whether a Harbor is as it was when all its projects were last read, asked with as few logins as can be.
//!
//! A login of a person's account costs Harbor 0.2 to 0.3 s of CPU (600,000 rounds of PBKDF2 from 2.16 on), and each call
//! with a password is one. Public projects are shown to everybody, so that one which became public or private is noticed
//! without. Of private ones a single call tells how many there are and which are the newest: whatever was made, deleted
//! or made again changes one of the two. Such a list is empty to nobody else than an account that failed to log in, or
//! that has none.
//!
//! All that is ever concluded here is that nothing changed. What differs, and what cannot be told, calls for
//! [`RegistryClient::check`](crate::registry::RegistryClient::check) and a reading of all. A project whose member the
//! account became while it lost another is noticed by the next such reading alone.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Harbor;
use super::login::{Look, Refusal};
use crate::domain::record::{Name, Visibility};
use crate::registry::fault::Fault;
use crate::registry::http::Login;
use crate::registry::{Checked, Found};

/// Of so many private projects that were made last the numbers are compared.
const NEWEST: usize = 10;

/// What the last reading found.
#[derive(Debug, Default)]
pub(super) struct Memory {
    checked: Option<Checked>,
    public: BTreeSet<(Name, i64)>,
    /// `None`: not all were read since the check.
    private: Option<BTreeSet<(Name, i64)>>,
    /// A login that seems to have been refused while it was looked for changes.
    refused: Option<Refusal>,
}

impl Memory {
    /// A login held, and all that follows is compared with what is read next.
    pub fn checked(&mut self, checked: &Checked) {
        *self = Self { checked: Some(checked.clone()), ..Self::default() };
    }

    /// All projects were read.
    pub fn read(&mut self, found: &[Found]) {
        let of = |public: bool| {
            let is_public = |found: &&Found| (found.visibility == Some(Visibility::Public)) == public;
            found.iter().filter(is_public).filter_map(|found| Some((found.path.clone(), found.id?))).collect()
        };
        (self.public, self.private) = (of(true), Some(of(false)));
    }

    /// The next pass asks for everything. A refused login is told once.
    pub fn forget(&mut self) -> Option<Refusal> {
        std::mem::take(self).refused
    }
}

impl Harbor {
    /// See [`RegistryClient::unchanged`](crate::registry::RegistryClient::unchanged).
    pub(super) async fn is_unchanged(&self, logs_in: bool) -> Option<Checked> {
        let (checked, public, private) = {
            let memory = self.memory();
            (memory.checked.clone()?, memory.public.clone(), memory.private.clone()?)
        };
        let unhealthy = self.unhealthy().await.ok()?;
        if self.shown_to_everybody().await.ok()? != public {
            return None;
        }
        if logs_in && !self.has_private(&private).await.ok()? {
            return None;
        }
        // Another call may have been refused meanwhile.
        self.memory().private.is_some().then_some(Checked { unhealthy, ..checked })
    }

    async fn shown_to_everybody(&self) -> Result<BTreeSet<(Name, i64)>, Fault> {
        let query = [("public", "true"), ("with_detail", "false")];
        let found = self.listed(&query, Login::Anonymous, &|_, _| {}).await?;
        Ok(found.into_iter().filter_map(|found| Some((found.path, found.id?))).collect())
    }

    /// Whether the account sees these private projects and no others, as far as their number and the newest show it.
    async fn has_private(&self, known: &BTreeSet<(Name, i64)>) -> Result<bool, Fault> {
        let query = [("public", "false"), ("with_detail", "false"), ("sort", "-creation_time")];
        let asked = Instant::now();
        let (newest, total) = self.page(&query, 1, NEWEST, self.http.own()).await?;
        if total == 0 && !known.is_empty() {
            self.memory().refused = Some(Refusal::after(asked.elapsed()));
        }
        let is_known = |found: &Found| found.id.is_some_and(|id| known.contains(&(found.path.clone(), id)));
        if total != known.len() || !newest.iter().all(is_known) {
            return Ok(false);
        }
        if newest.is_empty() {
            return match self.look().await? {
                Look::Accepted(_) => Ok(true),
                Look::Refused(refusal) => {
                    self.memory().refused = Some(refusal);
                    Ok(false)
                }
            };
        }
        Ok(true)
    }
}
