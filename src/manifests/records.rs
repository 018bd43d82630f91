//! Record manifests: the same conversion as the store's, every problem told with its file and line.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Fault, Faults, Manifest};
use crate::domain::record::{Kind, Name, Problem, UnixSeconds};
use crate::domain::records::Records;
use crate::types::v1alpha1::API_VERSION;
use crate::types::{Document, convert};

/// A record that was never stored is younger than all that were: it takes no host and no namespace from them.
const NOT_YET_MADE: UnixSeconds = UnixSeconds::MAX;
const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// The records that manifests hold. Namespaces may stand among them, for pinned workspaces.
pub fn collect(manifests: &[Manifest], faults: &mut Faults) -> Records {
    let mut records = Records::default();
    let mut places: BTreeMap<(&str, Name), &Manifest> = BTreeMap::new();
    for manifest in manifests {
        let name = match manifest.metadata("name") {
            Ok(Some(name)) => Name::from(name),
            Ok(None) => {
                faults.0.push(manifest.fault("metadata.name", "it must be there"));
                continue;
            }
            Err(fault) => {
                faults.0.push(fault);
                continue;
            }
        };
        if let Some(first) = places.insert((&manifest.kind, name.clone()), manifest) {
            let (kind, file, line) = (&manifest.kind, &first.file, first.line());
            let message = format!("{kind} {name} is there already, at {file}:{line}");
            faults.0.push(manifest.fault_of_all(message));
            continue;
        }
        if let Err(found) = add(manifest, &name, &mut records) {
            faults.0.extend(found);
        }
    }
    records
}

fn add(manifest: &Manifest, name: &Name, records: &mut Records) -> Result<(), Vec<Fault>> {
    if (manifest.api_version.as_str(), manifest.kind.as_str()) == ("v1", "Namespace") {
        if let Some(uid) = manifest.metadata("uid").map_err(|fault| vec![fault])? {
            records.put_namespace(name.clone(), uid.to_owned());
        }
        return Ok(());
    }
    let kind = kind(manifest).map_err(|fault| vec![fault])?;
    let named = |field: &str, message: &str| {
        let mut fault = manifest.fault(field, plain(message));
        fault.message = format!("{} {name}: {}", kind.as_str(), fault.message);
        fault
    };
    let mut found: Vec<Fault> = manifest
        .root
        .keys()
        .filter(|(key, _)| !FIELDS.contains(key))
        .map(|(key, _)| named(key, "there is no such field"))
        .collect();
    let created = match manifest.metadata("creationTimestamp").map(|text| text.map(str::parse::<Timestamp>)) {
        Ok(None) => NOT_YET_MADE,
        Ok(Some(Ok(time))) => time.as_second(),
        Ok(Some(Err(_))) | Err(_) => {
            found.push(named("metadata.creationTimestamp", "it must be a time, as 2026-01-31T12:00:00Z"));
            NOT_YET_MADE
        }
    };
    let field = |key: &str| manifest.root.get(key).map_or(Value::Null, super::Node::to_value);
    let (spec, mut status) = (field("spec"), field("status"));
    if !spec.is_object() {
        found.push(named("spec", "it must be there, as a mapping"));
        return Err(found);
    }
    if kind == Kind::Registry {
        taken_for_granted(&mut status);
    }
    let document = Document { created, status, ..Document::new(kind, name.clone(), spec) };
    match convert::parse(&document) {
        Ok(record) => drop(records.put(name.clone(), record)),
        Err(problems) => {
            found.extend(problems.iter().map(|Problem { field, message }| named(field, message)));
        }
    }
    found.sort_by_key(|fault| fault.line);
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Nobody asks a registry here: one without a password is taken for what it is meant to be, unless its status knows better.
fn taken_for_granted(status: &mut Value) {
    if status.is_null() {
        *status = json!({});
    }
    if let Some(status) = status.as_object_mut() {
        status.entry("anonymousPull").or_insert(Value::Bool(true));
        status.entry("lastSuccess").or_insert_with(|| json!("1970-01-01T00:00:00Z"));
    }
}

fn kind(manifest: &Manifest) -> Result<Kind, Fault> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == manifest.kind);
    match kind {
        Some(kind) if manifest.api_version == API_VERSION => Ok(kind),
        Some(_) if manifest.api_version.starts_with("pullgate.io/") => {
            let message = format!("{} is not known here; write {API_VERSION}", manifest.api_version);
            Err(manifest.fault("apiVersion", message))
        }
        _ => Err(manifest.fault(
            "kind",
            format!(
                "{} {} is no record; records are Registry, RegistrySpace, Workspace and PullPolicy of \
                 {API_VERSION}, and v1 Namespace beside them",
                manifest.api_version, manifest.kind
            ),
        )),
    }
}

/// What serde says, without the names of Rust types: `expected struct RegistrySpec`.
pub fn plain(message: &str) -> Cow<'_, str> {
    let Some((found, expected)) = message.rsplit_once("expected ") else { return message.into() };
    let expected = match expected.split(' ').next() {
        Some("struct") => "a mapping",
        Some("enum") => "a word",
        _ => return message.into(),
    };
    format!("{found}expected {expected}").into()
}
