//! What a change of the records touches.

use std::collections::BTreeSet;

use crate::domain::record::Name;

/// What changed of the records between two moments, for whoever keeps something that follows from them. May say more
/// than what changed, never less.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each says of another thing whether it changed")]
pub struct Touched {
    /// All may be different, as after a gap; the rest says nothing then.
    pub everything: bool,
    /// Registries of which the record, or a space, changed.
    pub registries: BTreeSet<Name>,
    /// Those of them whose own records changed.
    pub registry_records: BTreeSet<Name>,
    /// Workspaces of which the record, a binding or a registry changed.
    pub workspaces: BTreeSet<Name>,
    /// Those of them whose own records changed.
    pub workspace_records: BTreeSet<Name>,
    /// A workspace came or went, or its record became valid or invalid.
    pub workspace_set: bool,
    /// Namespaces of which a listing or the UID changed.
    pub namespaces: BTreeSet<Name>,
    /// Some space's record changed.
    pub spaces: bool,
    /// Some pull policy changed.
    pub policies: bool,
}

impl Touched {
    /// Whatever there is.
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    pub(super) fn namespace(name: Name) -> Self {
        Self { namespaces: BTreeSet::from([name]), ..Self::default() }
    }

    /// Whether nothing changed.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what another change touched.
    pub fn add(&mut self, other: Self) {
        if self.everything || other.everything {
            *self = Self::everything();
            return;
        }
        self.registries.extend(other.registries);
        self.registry_records.extend(other.registry_records);
        self.workspaces.extend(other.workspaces);
        self.workspace_records.extend(other.workspace_records);
        self.namespaces.extend(other.namespaces);
        self.workspace_set |= other.workspace_set;
        self.spaces |= other.spaces;
        self.policies |= other.policies;
    }
}
