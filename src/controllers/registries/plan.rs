//! What is to be done about the spaces of a registry: all that it has against all that is recorded. No I/O.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::record::{Name, Small, Space, Visibility};
use crate::domain::records::Stored;
use crate::registry::Found;

/// A recorded space and its record's name.
pub type Recorded = (Name, Arc<Stored<Space>>);

/// What a status should say of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    pub visibility: Option<Visibility>,
    pub project: Option<i64>,
    /// The project that the bindings are for; 0: not for any that was seen.
    pub confirmed: Option<i64>,
    pub suspended: bool,
    pub missing: bool,
    pub repositories: Option<i64>,
    pub storage: Option<i64>,
}

/// A number that no project has: Harbor counts from 1.
const NONE: i64 = 0;

/// What is to be done, by the records' names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Nobody recorded them yet.
    pub create: Vec<Found>,
    /// What is recorded of them is no longer so; the last is the visibility that was recorded.
    pub observe: Vec<(Name, Observation, Option<Visibility>)>,
    /// An administrator declared them to be what they are not.
    pub push: Vec<(Name, Name, Visibility)>,
    /// An administrator recorded them, and the registry never had them.
    pub make: Vec<(Name, Name, Visibility)>,
    /// They were there, and are not on the list: to be asked for one by one.
    pub missing: Vec<(Name, Name)>,
}

impl Observation {
    /// What is recorded of a space.
    pub fn recorded(space: &Space) -> Self {
        Self {
            visibility: space.observed,
            project: space.project.get(),
            confirmed: space.confirmed.get(),
            suspended: space.suspended,
            missing: space.missing,
            repositories: space.repositories.get(),
            storage: space.storage.get(),
        }
    }

    /// What is to be recorded of a space that was found. `storage`: bytes, where they were asked for.
    fn of(space: &Space, found: &Found, storage: Option<i64>) -> Self {
        let (seen, bound) = (space.project.get(), !space.workspaces.is_empty());
        let another = matches!((seen, found.id), (Some(seen), Some(id)) if seen != id);
        // Whoever made a project again under its name would else inherit who may pull from it.
        let suspended = bound
            && match (space.confirmed.get(), found.id) {
                (Some(confirmed), Some(id)) => confirmed != id,
                _ => space.suspended || another,
            };
        // Noted in the spec, which a restore keeps. Of what an earlier version suspended, the project is not known.
        let noted = match (another, space.suspended) {
            (true, _) => seen,
            (false, true) => Some(NONE),
            (false, false) => found.id,
        };
        Self {
            visibility: found.visibility,
            project: found.id,
            confirmed: space.confirmed.get().or(noted.filter(|_| bound)),
            suspended,
            missing: false,
            repositories: found.repositories,
            storage: storage.or(space.storage.get().filter(|_| !another)),
        }
    }

    /// What is to be recorded of a space that is there and not on the list: whatever it was, it is not public.
    pub fn unseen(space: &Space) -> Self {
        Self { visibility: Some(Visibility::Private), ..Self::recorded(space) }
    }

    /// What is to be recorded of a space that the registry says it has no more. Public it is to nobody.
    pub fn gone(space: &Space) -> Self {
        let gone = Self { visibility: Some(Visibility::Private), missing: true, ..Self::recorded(space) };
        Self { repositories: None, storage: None, ..gone }
    }
}

impl Plan {
    /// `found` is all that the registry has, each once, by path; `storage` are bytes by its own number.
    /// `of`: the identity number of the registry's record that it was read for.
    pub fn new(mut found: Vec<Found>, recorded: &[Recorded], storage: &HashMap<i64, i64>, of: Small) -> Self {
        let mut plan = Self::default();
        found.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        let mut known = vec![false; found.len()];
        for (name, entry) in recorded {
            let Some(space) = entry.valid() else { continue };
            // Of two records of one space each is told the same.
            match found.binary_search_by(|found| found.path.cmp(&space.path)) {
                Ok(at) => {
                    known[at] = true;
                    let here = &found[at];
                    plan.compare(name, space, here, here.id.and_then(|id| storage.get(&id).copied()), of);
                }
                Err(_) if space.project.get().is_none() => {
                    let visibility = space.visibility.unwrap_or(Visibility::Private);
                    plan.make.push((name.clone(), space.path.clone(), visibility));
                }
                Err(_) if space.missing && is_wanted(space) => {}
                Err(_) => plan.missing.push((name.clone(), space.path.clone())),
            }
        }
        let mut known = known.into_iter();
        found.retain(|_| known.next() == Some(false));
        plan.create = found;
        plan
    }

    fn compare(&mut self, name: &Name, space: &Space, found: &Found, storage: Option<i64>, of: Small) {
        let observation = Observation::of(space, found, storage);
        if observation != Observation::recorded(space) || space.observed_of != of {
            self.observe.push((name.clone(), observation, space.observed));
        }
        if let (Some(declared), Some(flag)) = (space.visibility, found.visibility)
            && declared != flag
        {
            self.push.push((name.clone(), space.path.clone(), declared));
        }
    }
}

/// Whether an administrator said something of a space that its record's end would forget.
pub fn is_wanted(space: &Space) -> bool {
    !space.workspaces.is_empty() || space.visibility.is_some()
}
