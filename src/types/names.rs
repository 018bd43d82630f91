//! Names that pullgate gives.

use crate::domain::record::is_project_name;
use crate::hex::short_digest;

/// Characters that a label of a DNS name may have (RFC 1123).
const LABEL_MAX: usize = 63;
/// Characters that a record's name may have.
const NAME_MAX: usize = 253;
/// What the names of records begin with that follow a Harbor in the cluster.
const MANAGED: &str = "managed-";
/// Hexadecimal digits that keep shortened names apart.
const HASH: usize = 8;

/// The name of a space that was recorded without one: `REGISTRY.PATH`, or a like name where that is none. What is
/// wrong with the two is for the record's validation to say.
pub fn space(registry: &str, path: &str) -> String {
    let plain = format!("{registry}.{path}");
    let fits = path.len() <= LABEL_MAX && plain.len() <= NAME_MAX;
    let valid = is_project_name(path);
    if fits && valid && path.bytes().all(is_inner) {
        return plain;
    }
    // Paths may hold '_', and be longer than a label.
    let hash = short_hash(&plain);
    let kept = |b: u8| is_inner(b) && (valid || b != b'.');
    let slug: String = path.bytes().map(|b| if kept(b) { char::from(b) } else { '-' }).collect();
    let slug = slug.get(..slug.len().min(LABEL_MAX - HASH - 1)).unwrap_or_default();
    let label = format!("{slug}-{hash}");
    let label = label.trim_start_matches('-');
    if registry.len() + 1 + label.len() <= NAME_MAX {
        format!("{registry}.{label}")
    } else {
        format!("space-{hash}")
    }
}

/// The name by which a registry's record refers to its credential: `registry-NAME`, or one that no other
/// registry's can be where that is too long for a name.
pub fn credential(registry: &str) -> String {
    let plain = format!("registry-{registry}");
    let fits = plain.len() <= NAME_MAX && plain.split('.').all(|label| label.len() <= LABEL_MAX);
    if fits { plain } else { format!("long-registry-{}{}", short_hash(registry), short_hash(&plain)) }
}

/// The name of the record of a Harbor that runs in the cluster: `managed-NAMESPACE-NAME`, or a like name where that is
/// too long. Two instances may come to one name; the record says whose it is.
pub fn managed(namespace: &str, name: &str) -> String {
    let plain = format!("{MANAGED}{namespace}-{name}");
    if plain.len() <= NAME_MAX && plain.split('.').all(|label| label.len() <= LABEL_MAX) {
        return plain;
    }
    let slug: String = plain.chars().map(|c| if c == '.' { '-' } else { c }).collect();
    let slug: String = slug.chars().take(LABEL_MAX - HASH - 1).collect();
    format!("{slug}-{}", short_hash(&plain))
}

/// The name of the record that follows a Harbor in the cluster, as `spec.source` names that: `INSTALLER NAMESPACE/NAME`.
pub fn of_source(source: &str) -> Option<String> {
    let (namespace, name) = source.split_once(' ')?.1.split_once('/')?;
    Some(managed(namespace, name))
}

/// Whether only the record of a Harbor in the cluster may be called so: nobody can take its name away before it is there.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(MANAGED)
}

fn is_inner(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.'
}

fn short_hash(text: &str) -> String {
    short_digest(&[text], HASH / 2)
}
