//! Removes the record of an instance that has gone, with its spaces, and tells what was bound to them.

use serde_json::Value;

use crate::domain::record::{Kind, Name};
use crate::store::{RecordStore, StoreError};
use crate::types::Document;

/// Spaces read at a time.
const PAGE: usize = 10_000;
/// Bindings that are told one by one.
const TOLD: usize = 20;

/// What went.
struct Removed {
    spaces: usize,
    /// Bound spaces with their workspaces.
    bindings: Vec<(String, Vec<String>)>,
}

impl Removed {
    /// The bindings in words, the first ones by name.
    fn bindings_in_words(&self) -> String {
        let shown = self.bindings.iter().take(TOLD);
        let mut words: Vec<_> =
            shown.map(|(space, workspaces)| format!("{space} -> {}", workspaces.join(", "))).collect();
        if self.bindings.len() > TOLD {
            words.push(format!("and {} more", self.bindings.len() - TOLD));
        }
        words.join("; ")
    }
}

/// Removes a registry's record, and its spaces with it.
pub(super) async fn remove(store: &dyn RecordStore, registry: &Document) -> Result<(), StoreError> {
    let spaces = spaces_of(store, &registry.name).await?;
    let removed = told(&spaces);
    // Before it is done: what is removed cannot be read again.
    tracing::warn!(
        registry = %registry.name,
        instance = registry.spec["source"].as_str().unwrap_or_default(),
        spaces = removed.spaces,
        bound = removed.bindings.len(),
        bindings = removed.bindings_in_words(),
        "a Harbor of the cluster has gone; its record goes with its spaces and their bindings"
    );
    let (source, mut version) = (&registry.spec["source"], registry.version.clone());
    // What is observed of it may be written meanwhile. Once it follows something else, it is another record.
    while let Err(error) = store.delete(Kind::Registry, &registry.name, &version).await {
        let StoreError::Changed { .. } = error else { return Err(error) };
        match store.get(Kind::Registry, &registry.name).await? {
            Some(now) if now.spec["source"] == *source => version = now.version,
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// What goes with these spaces.
fn told(spaces: &[Document]) -> Removed {
    let texts = |space: &Document| -> Vec<String> {
        let workspaces = space.spec.get("workspaces").and_then(Value::as_array);
        workspaces.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let path = |space: &Document| space.spec["path"].as_str().unwrap_or(&space.name).to_owned();
    let bindings = spaces.iter().map(|space| (path(space), texts(space)));
    Removed {
        spaces: spaces.len(),
        bindings: bindings.filter(|(_, workspaces)| !workspaces.is_empty()).collect(),
    }
}

/// From the store, and the invalid ones too.
async fn spaces_of(store: &dyn RecordStore, registry: &str) -> Result<Vec<Document>, StoreError> {
    let (mut found, mut after) = (Vec::new(), None::<Name>);
    loop {
        let page = store.list(Kind::RegistrySpace, after.as_deref(), PAGE).await?;
        after = page.items.last().map(|space| space.name.clone());
        found.extend(page.items.into_iter().filter(|space| space.spec["registry"] == registry));
        if !page.more {
            return Ok(found);
        }
    }
}
