//! What a record looks like on the wire: its specs and statuses, the custom resource definitions, the conversion to what
//! [`crate::domain`] knows, names, conditions and bounds. Knows nothing of where records live.

mod bounds;
pub mod conditions;
pub mod convert;
pub mod crd;
pub mod names;
pub mod v1alpha1;

use serde_json::Value;

use crate::domain::record::{Kind, Name, UnixSeconds};

/// A record as it is stored: its text is the manifest's, so that what a newer version wrote is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub kind: Kind,
    pub name: Name,
    /// Opaque; changes with every write. Empty in a document that was never stored.
    pub version: String,
    pub created: UnixSeconds,
    /// Grows with every change of the spec; 0 where the store does not count.
    pub generation: i64,
    /// Tells the object from a later one of its name; empty where the store removes what belongs to a record with it.
    pub uid: Name,
    /// Of a space: `uid` of the registry that it goes with; `None` where that is not recorded yet.
    pub owner: Option<Name>,
    pub spec: Value,
    /// `Null` where nobody observed anything yet.
    pub status: Value,
}

impl Document {
    /// One that was never stored.
    pub fn new(kind: Kind, name: impl Into<Name>, spec: Value) -> Self {
        let (version, name) = (String::new(), name.into());
        let (uid, owner) = (Name::default(), Some(Name::default()));
        Self { kind, name, version, created: 0, generation: 0, uid, owner, spec, status: Value::Null }
    }
}

impl Document {
    /// `version` as a number that grows with each write, as SQLite counts and as the API server does (since Kubernetes 1.35 it
    /// promises that resource versions compare so, KEP-5504); 0 where it was never stored.
    pub fn revision(&self) -> u64 {
        self.version.parse().unwrap_or_default()
    }
}
