//! Asks every registry what it has and how it is, records it, and keeps the robot accounts that namespaces pull with.
//! Runs on the leader alone, or on the one replica without a cluster.
//!
//! A task for each registry, so that one which is slow or down holds up no other. A registry that does not answer changes
//! nothing that was recorded of it but what is said of its health.

mod access;
mod account_controller;
mod account_names;
mod desired;
mod hidden;
mod ledger;
mod leftovers;
pub mod notices;
mod plan;
mod progress;
mod proofs;
mod reading;
mod refusals;
mod report;
mod rights;
mod robots;
mod spaces;
mod status;
mod tokens;
mod wishes;
mod worker;

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::task::{Id, JoinSet};

pub use self::desired::needed_places;
use self::leftovers::Leftovers;
use self::notices::Notices;
pub use self::plan::{Observation, Plan, Recorded};
use self::worker::Worker;
use crate::domain::record::{Name, Space};
use crate::domain::records::Records;
use crate::metrics::Metrics;
use crate::registry::clients::Clients;
use crate::state::{Interest, State};
use crate::store::RecordStore;

/// What an operator sets for all registries.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often a registry is asked what it has.
    pub interval: Duration,
    /// Addresses beside the public ones that registries of workspaces may have.
    pub allowed: Arc<[IpNet]>,
    /// How long a robot account lives, in days.
    pub robot_days: i64,
    /// How long the account that a new one took the place of is still good.
    pub overlap: Duration,
    /// How long a token of a workspace's Artifactory lives. It is replaced in the last third of that, so pulls go on while
    /// pullgate is away for as long.
    pub token_life: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let (interval, overlap) = (Duration::from_secs(30), Duration::from_mins(2));
        let token_life = Duration::from_hours(7 * 24);
        Self { interval, allowed: Arc::new([]), robot_days: 90, overlap, token_life }
    }
}

/// What the controller works with.
#[derive(Clone)]
pub struct Registries {
    pub store: Arc<dyn RecordStore>,
    pub state: State,
    pub metrics: Arc<Metrics>,
    pub clients: Arc<Clients>,
    pub settings: Settings,
    pub notices: Notices,
}

/// What is recorded of the spaces of a registry, by the records' names.
fn spaces_of(records: &Records, registry: &str) -> Vec<Recorded> {
    let record = records.registries().valid(registry);
    let of = |space: &Space| record.is_none_or(|record| space.belongs_to(record));
    let spaces = records.spaces_of(registry).into_iter().flat_map(|spaces| spaces.all().iter());
    let found = spaces.filter(|(_, stored)| stored.valid().is_some_and(of));
    found.map(|(name, stored)| (name.clone(), stored.clone())).collect()
}

impl Registries {
    /// Works for as long as it is polled; dropping it stops every task.
    pub async fn keep(self) -> Infallible {
        let mut changes = self.state.subscribe(Interest::Registries);
        let mut leftovers = pin!(Leftovers::new(self.clone()).run());
        let (mut workers, mut working) = (JoinSet::new(), HashMap::<Name, Id>::new());
        loop {
            // Before something is known there are none.
            for name in self.state.records().registries().keys() {
                if !working.contains_key(name) {
                    let worker = Worker::new(name.clone(), self.clone());
                    working.insert(name.clone(), workers.spawn(worker.run()).id());
                }
            }
            tokio::select! {
                never = &mut leftovers => match never {},
                _ = changes.next() => {}
                Some(ended) = workers.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => {
                            tracing::error!(%error, "the work for a registry failed and begins anew");
                            error.id()
                        }
                    };
                    working.retain(|_, worker| *worker != id);
                }
            }
        }
    }
}
