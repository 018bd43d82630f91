//! Records of one kind, by name.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Bound, Deref};
use std::sync::Arc;

use imbl::OrdSet;

use crate::domain::record::{Entry, Name};

/// A record under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    pub name: Name,
    /// Grows with each write of the record; 0 in one that was never stored.
    pub revision: u64,
    pub entry: Entry<T>,
}

impl<T> Deref for Stored<T> {
    type Target = Entry<T>;

    fn deref(&self) -> &Entry<T> {
        &self.entry
    }
}

/// Records of one kind in the order of their names. A copy costs nothing, and a change of it what it touches.
pub struct Named<T>(OrdSet<ByName<T>>);

/// Eight bytes a record, since there may be 100,000 in several of these.
struct ByName<T>(Arc<Stored<T>>);

impl<T> Named<T> {
    /// The record of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Stored<T>>> {
        self.0.get(name).map(|by_name| &by_name.0)
    }

    /// The record of that name, where it is valid.
    pub fn valid(&self, name: &str) -> Option<&T> {
        self.get(name)?.valid()
    }

    /// Whether there is a record of that name, valid or not.
    pub fn contains_key(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Name, &Arc<Stored<T>>)> {
        self.0.iter().map(|ByName(stored)| (&stored.name, stored))
    }

    /// Those whose names come after this one.
    pub fn after<'s>(&'s self, name: Option<&str>) -> impl Iterator<Item = &'s Arc<Stored<T>>> + use<'s, T> {
        let start = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range::<_, str>((start, Bound::Unbounded)).map(|ByName(stored)| stored)
    }

    /// Their names.
    pub fn keys(&self) -> impl Iterator<Item = &Name> {
        self.iter().map(|(name, _)| name)
    }

    /// All of them, by name.
    pub fn values(&self) -> impl Iterator<Item = &Arc<Stored<T>>> {
        self.0.iter().map(|ByName(stored)| stored)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether nothing changed between the two; false tells nothing.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }

    /// Adds a record; the one of its name that it takes the place of.
    pub(super) fn insert(&mut self, stored: Arc<Stored<T>>) -> Option<Arc<Stored<T>>> {
        self.0.insert(ByName(stored)).map(|ByName(old)| old)
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Arc<Stored<T>>> {
        self.0.remove(name).map(|ByName(old)| old)
    }
}

impl<'s, T> IntoIterator for &'s Named<T> {
    type Item = (&'s Name, &'s Arc<Stored<T>>);
    type IntoIter = Box<dyn Iterator<Item = Self::Item> + 's>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl<T> Clone for Named<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(OrdSet::new())
    }
}

impl<T: fmt::Debug> fmt::Debug for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.values().map(|stored| (&stored.name, &stored.entry))).finish()
    }
}

impl<T> Clone for ByName<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Borrow<str> for ByName<T> {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl<T> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl<T> Eq for ByName<T> {}

impl<T> PartialOrd for ByName<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for ByName<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name.as_str().cmp(&other.0.name)
    }
}
