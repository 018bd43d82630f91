//! The spaces that are recorded for one registry.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{Map, Named, Stored};
use crate::domain::record::{Entry, Space};

/// The records that name one registry, invalid ones too, by their names and by the paths of their spaces.
#[derive(Debug, Clone, Default)]
pub struct RegistrySpaces {
    all: Named<Space>,
    /// Of each path the first record that came.
    by_path: Map<ByPath, ()>,
    /// Further records of a path: a contradiction, or what is left of an earlier registry of the name.
    twins: Named<Space>,
}

/// A valid record by its path.
#[derive(Debug, Clone)]
struct ByPath(Arc<Stored<Space>>);

impl RegistrySpaces {
    /// All records, by name.
    pub fn all(&self) -> &Named<Space> {
        &self.all
    }

    /// The valid records of a path: one, or several that contradict each other.
    pub fn at<'s, 'p>(&'s self, path: &'p str) -> impl Iterator<Item = &'s Space> + use<'s, 'p> {
        let first = self.by_path.get_key_value(path).map(|(first, ())| first.space());
        let twins = (!self.twins.is_empty()).then(|| self.twins.values().filter_map(|twin| twin.valid()));
        first.into_iter().chain(twins.into_iter().flatten().filter(move |twin| twin.path == path))
    }

    pub(super) fn insert(&mut self, stored: &Arc<Stored<Space>>) {
        self.all.insert(stored.clone());
        if let Entry::Valid(space) = &stored.entry {
            if self.by_path.contains_key(space.path.as_str()) {
                self.twins.insert(stored.clone());
            } else {
                self.by_path.insert(ByPath(stored.clone()), ());
            }
        }
    }

    pub(super) fn remove(&mut self, stored: &Stored<Space>) {
        self.all.remove(&stored.name);
        if self.twins.remove(&stored.name).is_some() {
            return;
        }
        let Entry::Valid(Space { path, .. }) = &stored.entry else { return };
        self.by_path.remove(path.as_str());
        let next = self.twins.values().find(|twin| twin.valid().is_some_and(|twin| twin.path == *path));
        if let Some(next) = next.cloned() {
            self.twins.remove(&next.name);
            self.by_path.insert(ByPath(next), ());
        }
    }
}

impl ByPath {
    fn space(&self) -> &Space {
        match &self.0.entry {
            Entry::Valid(space) => space,
            Entry::Invalid(_) => unreachable!("only valid spaces have a path"),
        }
    }
}

impl Borrow<str> for ByPath {
    fn borrow(&self) -> &str {
        &self.space().path
    }
}

impl Hash for ByPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.space().path.as_str().hash(state);
    }
}

impl PartialEq for ByPath {
    fn eq(&self, other: &Self) -> bool {
        self.space().path == other.space().path
    }
}

impl Eq for ByPath {}
