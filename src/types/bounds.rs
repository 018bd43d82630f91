//! Holds a spec to the bounds of its kind, before anything is made of it.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::domain::record::bounds::{self, Bound, Same};
use crate::domain::record::{Host, Kind, Problem};

/// What makes a spec larger than one may be. Costs little, however large it is.
pub(super) fn excess(kind: Kind, spec: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    for bound in bounds::of(kind) {
        let field = format!("spec.{}", bound.field);
        match (find(spec, bound.field), bound.entries) {
            (Some(Value::Array(list)), Some(entries)) if list.len() > entries.max => {
                let message = format!("it has {} entries, and may have {}", list.len(), entries.max);
                problems.push(Problem::new(field, message));
            }
            (Some(Value::Array(list)), Some(_)) => {
                let long =
                    list.iter().enumerate().filter_map(|(i, entry)| Some((i, too_long(entry, bound)?)));
                problems.extend(long.map(|(i, message)| Problem::new(format!("{field}[{i}]"), message)));
            }
            (Some(value), None) => {
                problems.extend(too_long(value, bound).map(|message| Problem::new(field, message)));
            }
            _ => {}
        }
    }
    if problems.is_empty() && bytes(spec, bounds::SPEC) > bounds::SPEC {
        let message = format!("it is over {} KiB, the most that a record may have", bounds::SPEC / 1024);
        problems.push(Problem::new("spec", message));
    }
    problems
}

/// Entries of a spec's lists that say again what an earlier one said.
pub(super) fn repeats(kind: Kind, spec: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    for bound in bounds::of(kind) {
        let (Some(Value::Array(list)), Some(entries)) = (find(spec, bound.field), bound.entries) else {
            continue;
        };
        let mut known = HashMap::with_capacity(list.len());
        let texts = list.iter().enumerate().filter_map(|(i, entry)| Some((i, entry.as_str()?)));
        for (i, text) in texts {
            let first = *known.entry(identity(text, entries.same)).or_insert(i);
            if first != i {
                let field = format!("spec.{}", bound.field);
                let message = format!("it says the same as {field}[{first}]; name each once");
                problems.push(Problem::new(format!("{field}[{i}]"), message));
            }
        }
    }
    problems
}

/// Puts the bounds of a kind into the schema of its spec.
pub(super) fn put_into(schema: &mut Value, kind: Kind) {
    for bound in bounds::of(kind) {
        let pointer = format!("/properties/{}", bound.field.replace('.', "/properties/"));
        let Some(Value::Object(field)) = schema.pointer_mut(&pointer) else { continue };
        match bound.entries {
            None => drop(field.insert("maxLength".to_owned(), bound.length.into())),
            Some(entries) => {
                field.insert("maxItems".to_owned(), entries.max.into());
                let items = field.entry("items").or_insert_with(|| json!({"type": "string"}));
                items["maxLength"] = bound.length.into();
            }
        }
    }
}

fn find<'s>(spec: &'s Value, field: &str) -> Option<&'s Value> {
    field.split('.').try_fold(spec, |value, name| value.get(name))
}

fn too_long(value: &Value, bound: &Bound) -> Option<String> {
    let text = value.as_str()?;
    // Characters, as the API server counts them; never more than bytes.
    let long = text.len() > bound.length && text.chars().count() > bound.length;
    long.then(|| format!("it is over {} characters long", bound.length))
}

fn identity(text: &str, same: Same) -> Cow<'_, str> {
    match same {
        Same::Text => text.into(),
        Same::Host => Host::parse(text).map_or(text.into(), |host| host.canonical().into_string().into()),
        Same::Path => text.strip_suffix('/').unwrap_or(text).into(),
    }
}

/// How many bytes a value has as JSON, as far as `enough`.
fn bytes(value: &Value, enough: usize) -> usize {
    fn all<'v>(values: impl Iterator<Item = (usize, &'v Value)>, enough: usize) -> usize {
        let mut sum = 2;
        for (extra, value) in values {
            if sum > enough {
                break;
            }
            sum += 1 + extra + bytes(value, enough - sum);
        }
        sum
    }
    let members =
        |object: &Map<String, Value>| all(object.iter().map(|(name, value)| (name.len() + 3, value)), enough);
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() + 2,
        Value::Array(list) => all(list.iter().map(|value| (0, value)), enough),
        Value::Object(object) => members(object),
    }
}
