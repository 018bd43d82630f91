//! What administrators want of the spaces of a Harbor is done at once, beside the reading of all spaces, which may take long.
//! Each wish once: what does not come true so is left to the next reading, which looks at what there is.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use super::Registries;
use super::account_controller::IntegratedAccount;
use super::progress::Counter;
use super::refusals::{Refusals, Wish};
use super::spaces::{Outcome, Spaces};
use crate::domain::conflicts::spaces_of;
use crate::domain::record::{Name, Owner, Registry, RegistryType, Space, Visibility};
use crate::domain::records::Records;
use crate::registry::harbor::Harbor;
use crate::state::Interest;

/// Fulfils the wishes for one registry.
pub(super) struct Wishes {
    pub name: Name,
    pub shared: Registries,
    pub standing: watch::Receiver<Option<IntegratedAccount>>,
    pub refusals: Arc<Mutex<Refusals>>,
    /// Told when the registry was changed, so that it is read.
    pub changed: Arc<Notify>,
}

impl Wishes {
    /// Works for as long as it is polled.
    pub async fn run(mut self) {
        let mut news = self.shared.state.subscribe(Interest::registry(&self.name));
        let mut tried: HashMap<Name, Wish> = HashMap::new();
        loop {
            news.take();
            let records = self.shared.state.records();
            let standing = self.standing.borrow_and_update().clone();
            if let Some(standing) = &standing
                && let Some(registry) = records.registries().valid(&self.name)
                && registry.owner == Owner::Platform
                && let Some(harbor) = standing.client.harbor()
            {
                let wishes = wishes(&records, &self.name, registry);
                tried.retain(|record, wish| {
                    wishes.iter().any(|(name, wanted, _)| name == record && wanted == wish)
                });
                let new: Vec<_> =
                    wishes.into_iter().filter(|(record, ..)| !tried.contains_key(record)).collect();
                if !new.is_empty() && self.is_current(registry, standing).await {
                    for (record, wish, project) in new {
                        tried.insert(record.clone(), wish.clone());
                        self.fulfil(harbor, &registry.identity, &record, wish, project).await;
                    }
                }
            }
            tokio::select! {
                _ = news.next() => {}
                changed = self.standing.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Whether the client that was seen to work is that of the record as it is now.
    async fn is_current(&self, registry: &Registry, standing: &IntegratedAccount) -> bool {
        let client = self.shared.clients.of(&self.name, registry).await;
        client.is_ok_and(|client| Arc::ptr_eq(&client, &standing.client))
    }

    async fn fulfil(&self, harbor: &Harbor, identity: &str, record: &Name, wish: Wish, project: Option<i64>) {
        // One that was made anew under its name is not what the administrator spoke of.
        if let Some(project) = project {
            let ids = harbor.project_ids(&[&wish.path]).await;
            if ids.is_ok_and(|ids| ids.get(&wish.path) != Some(&project)) {
                return;
            }
        }
        let spaces = Spaces {
            registry: &self.name,
            identity,
            store: &*self.shared.store,
            harbor: Some(harbor),
            counter: &Counter::default(),
            refusals: &self.refusals,
            hidden: &Mutex::default(),
            interval: self.shared.settings.interval,
        };
        let mut outcome = Outcome::default();
        spaces.fulfil(harbor, record, wish, &mut outcome).await;
        if outcome.changed {
            self.changed.notify_one();
        }
    }
}

/// What is wanted of spaces and is not so yet, by the names of their records, and the number of the project that is there.
fn wishes(records: &Records, name: &Name, registry: &Registry) -> Vec<(Name, Wish, Option<i64>)> {
    let mut wishes = Vec::new();
    for (record, space) in spaces_of(records, name).filter(|(_, space)| !space.missing) {
        let project = space.project.get();
        let visibility = match (project, space.visibility) {
            (Some(_), Some(wanted)) if space.observed != Some(wanted) => wanted,
            // Before all were read once, it is not known which are not there.
            (None, wanted) if registry.discovered_at.is_some() => wanted.unwrap_or(Visibility::Private),
            _ => continue,
        };
        let wish = Wish { path: space.path.clone(), visibility, make: project.is_none() };
        wishes.push((record.clone(), wish, project));
    }
    wishes
}

/// Hash of the spaces whose declared state differs from the observed one. A number, since of a registry that never answered
/// that is every space.
pub(super) fn digest(registry: &Registry, records: &Records, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (record, space) in wished(registry, records, name) {
        let public = space.visibility.map(|visibility| visibility == Visibility::Public);
        (record, public, space.confirmed.get()).hash(&mut hasher);
    }
    hasher.finish()
}

/// Spaces whose declared state differs from the observed one: projects to be made, to be of another visibility, or whose
/// bindings were confirmed.
pub(super) fn wished<'r>(
    registry: &Registry,
    records: &'r Records,
    name: &'r str,
) -> impl Iterator<Item = (&'r Name, &'r Space)> {
    let is_ours = registry.owner == Owner::Platform && registry.kind == RegistryType::Harbor;
    let spaces = is_ours.then(|| records.spaces_of(name)).flatten().into_iter();
    let spaces = spaces.flat_map(|spaces| spaces.all().iter());
    spaces.filter_map(|(record, stored)| Some((record, stored.valid()?))).filter(move |(_, space)| {
        let differs = space.visibility.is_some() && space.visibility != space.observed && !space.missing;
        let confirmed = space.suspended && space.confirmed.get().is_some();
        space.project.get().is_none() || differs || confirmed
    })
}
