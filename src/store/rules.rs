//! What stands between a document and being written: its own faults, and what other records rule out.
//!
//! The management API and the record webhook both ask here, so that what one door refuses the other refuses too.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use crate::domain::conflicts::conflicts;
use crate::domain::record::{Kind, Problem};
use crate::domain::records::Records;
use crate::types::{Document, convert, names};

/// Everything that speaks against writing `document` beside `records`, which may hold its earlier version.
pub fn problems(records: &Records, document: &Document) -> Vec<Problem> {
    let record = match convert::parse(document) {
        Ok(record) => record,
        Err(faults) => return faults,
    };
    // Where the hosts come from the URL, that is the field to mend.
    let derived = document.spec.get("imageHosts").and_then(Value::as_array).is_none_or(Vec::is_empty);
    let field = |p: Problem| {
        if derived && p.field.starts_with("spec.imageHosts") {
            Problem::new("spec.url", p.message)
        } else {
            p
        }
    };
    Problem::first_of(conflicts(records, &document.name, &record).into_iter().map(field).collect())
}

/// Everything that speaks against making `document` beside `records`.
pub fn creation_problems(records: &Records, document: &Document) -> Vec<Problem> {
    reserved(document).map_or_else(|| problems(records, document), |problem| vec![problem])
}

/// Refuses a name that only the record of a Harbor in the cluster has, whatever else there is. An administrator who hands a
/// record over, or puts one back, says in it which Harbor it follows.
pub fn reserved(document: &Document) -> Option<Problem> {
    let source = document.spec.get("source").and_then(Value::as_str);
    let follows = source.and_then(names::of_source).is_some_and(|name| *name == *document.name);
    (document.kind == Kind::Registry && names::is_reserved(&document.name) && !follows).then(|| {
        let message =
            "names that begin with managed- are reserved for Harbors that run in the cluster; choose another one";
        Problem::new("metadata.name", message)
    })
}

/// Everything that speaks against changing `before` into `after`, whoever does it.
///
/// The narrow changes are judged as narrowly as the operations of the management API that make them: taking access
/// away is never refused, and what was wrong before is not a binding's fault.
pub fn change_problems(records: &Records, before: &Document, after: &Document) -> Vec<Problem> {
    match (after.kind, changed_fields(&before.spec, &after.spec).as_deref()) {
        (_, Some([])) => Vec::new(),
        (Kind::RegistrySpace, Some(["workspaces"])) => {
            let (old, new) = (workspaces(before), workspaces(after));
            let old: HashSet<&Value> = old.into_iter().flatten().collect();
            let unbinds = new.is_some_and(|new| new.iter().all(|w| old.contains(w)));
            if unbinds { Vec::new() } else { binding_problems(records, before, after) }
        }
        (Kind::Registry, Some(["credential"])) => match after.spec.get("credential") {
            None => Vec::new(),
            Some(_) => convert::parse(after).err().unwrap_or_default(),
        },
        _ => problems(records, after),
    }
}

/// Everything that speaks against binding the workspaces that `after` has and `before` has not.
pub fn binding_problems(records: &Records, before: &Document, after: &Document) -> Vec<Problem> {
    let record = match convert::parse(after) {
        Ok(record) => record,
        Err(faults) => return faults,
    };
    let mut problems = conflicts(records, &after.name, &record);
    let known: BTreeSet<_> = conflicts(records, &before.name, &convert::record(before)).into_iter().collect();
    problems.retain(|p| forbids_binding(p) || !known.contains(p));
    Problem::first_of(problems)
}

/// A space that nothing may be bound to, whatever its list was before: its registry is a Docker one or gone.
fn forbids_binding(problem: &Problem) -> bool {
    problem.field == "spec.registry" || problem.field == "spec.workspaces"
}

fn workspaces(space: &Document) -> Option<&[Value]> {
    match space.spec.get("workspaces") {
        None => Some(&[]),
        Some(list) => list.as_array().map(Vec::as_slice),
    }
}

/// Names of the members that differ; `None` where one of the two is no object.
fn changed_fields<'s>(one: &'s Value, other: &'s Value) -> Option<Vec<&'s str>> {
    let (one, other) = (one.as_object()?, other.as_object()?);
    let names: BTreeSet<&str> = one.keys().chain(other.keys()).map(String::as_str).collect();
    Some(names.into_iter().filter(|name| one.get(*name) != other.get(*name)).collect())
}

/// A fault that serde found, as its author knows the field: serde names a missing field in its message only, and an
/// unknown one of the outermost object too, and it names Rust types ("expected struct X").
pub fn in_plain_words(Problem { field, message }: Problem) -> Problem {
    let named = ["missing field `", "unknown field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split_once('`'))
        .map(|(name, _)| name);
    let field = match named {
        Some(name) if field.is_empty() || field == "." => name.to_owned(),
        Some(name) if field.rsplit('.').next() != Some(name) => format!("{field}.{name}"),
        _ => field,
    };
    let message = match message.split_once("expected struct ") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
            format!("{before}expected an object{rest}")
        }
        None => message,
    };
    Problem { field, message }
}
