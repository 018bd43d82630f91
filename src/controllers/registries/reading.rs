//! Reading a registry: all its spaces and what they hold, against what is recorded of them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::{Either, select};
use jiff::Timestamp;
use tokio::time::sleep;

use super::hidden::Hidden;
use super::plan::{Plan, Recorded};
use super::progress::Counter;
use super::refusals::Refusals;
use super::report::Counts;
use super::spaces::{Outcome, Spaces, is_public};
use super::status;
use super::{Registries, access};
use crate::domain::record::{Name, Owner, Registry};
use crate::registry::fault::Fault;
use crate::registry::{AccountRole, Found, RegistryClient, Usage};
use crate::types::v1alpha1::{AccountAccess, RegistryStatus};

/// How long a discovery goes on before its progress is told, and how often.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is read, and what for.
pub(super) struct Reading<'r> {
    pub name: &'r Name,
    pub shared: &'r Registries,
    pub refusals: &'r Mutex<Refusals>,
    pub hidden: &'r Mutex<Hidden>,
    pub client: &'r dyn RegistryClient,
    pub registry: &'r Registry,
    pub recorded: &'r [Recorded],
    pub tier: AccountRole,
    /// Whether to ask what the spaces hold.
    pub measure: bool,
}

/// What a discovery found.
#[derive(Default)]
pub(super) struct Discovery {
    /// `None` where registries of the type have no spaces.
    pub counts: Option<Counts>,
    /// How far the account's rights go, where it has them by space.
    pub access: Option<AccountAccess>,
    pub usage: Option<Usage>,
    pub outcome: Outcome,
}

impl Reading<'_> {
    /// Reads all spaces and what they hold, records both, and tells how far it is where that takes long.
    pub async fn discover(&self) -> Result<Discovery, Fault> {
        let counter = Counter::default();
        let since = Timestamp::now();
        let telling = async {
            loop {
                sleep(PATIENCE).await;
                let progress = counter.progress(since);
                let tell = |status: &mut RegistryStatus, _| status.progress = Some(progress);
                status::change(&*self.shared.store, self.name, &self.registry.identity, tell).await;
            }
        };
        match select(Box::pin(self.read(&counter)), Box::pin(telling)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((never, _)) => never,
        }
    }

    async fn read(&self, counter: &Counter) -> Result<Discovery, Fault> {
        let heard = |read, of| counter.read(read, of);
        let found = self.client.spaces(&heard).await?;
        let usage = if self.measure { self.usage(found.as_deref().unwrap_or_default()).await } else { None };
        let Some(found) = found else { return Ok(Discovery { usage, ..Discovery::default() }) };
        let nothing = HashMap::new();
        let by_space = usage.as_ref().map_or(&nothing, |usage| &usage.by_space);
        let counts = Some(count(&found, self.recorded));
        let harbor = self.client.harbor();
        let access = harbor.and_then(|harbor| {
            access::of(self.tier, &found, self.recorded, |project| harbor.administers(project))
        });
        // What a workspace integrates is for it alone: nothing is bound, and nobody fills the store with it.
        if self.registry.owner != Owner::Platform {
            return Ok(Discovery { counts, access, usage, outcome: Outcome::default() });
        }
        let spaces = Spaces {
            registry: self.name,
            identity: &self.registry.identity,
            store: &*self.shared.store,
            harbor,
            counter,
            refusals: self.refusals,
            hidden: self.hidden,
            interval: self.shared.settings.interval,
        };
        let plan = Plan::new(found, self.recorded, by_space, self.registry.identity_number);
        let outcome = spaces.carry_out(plan).await;
        if outcome.failed > 0 {
            tracing::warn!(registry = %self.name, failed = outcome.failed, "some spaces could not be recorded; the next pass tries again");
        }
        Ok(Discovery { counts, access, usage, outcome })
    }

    async fn usage(&self, found: &[Found]) -> Option<Usage> {
        let asked = self.client.usage(self.tier, found).await;
        asked.inspect_err(|fault| tracing::warn!(registry = %self.name, %fault, "the registry does not tell what it holds")).ok()
    }
}

fn count(found: &[Found], recorded: &[Recorded]) -> Counts {
    let bound =
        recorded.iter().filter(|(_, entry)| entry.valid().is_some_and(|space| !space.workspaces.is_empty()));
    Counts {
        spaces: found.len(),
        public: found.iter().filter(|found| is_public(found)).count(),
        bound: bound.count(),
        repositories: found.iter().map(|found| found.repositories).sum(),
    }
}
