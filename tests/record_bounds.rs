//! How large a record may be, by the one conversion that the API, the record webhook and `check` share.

use std::time::{Duration, Instant};

use pullgate::domain::record::bounds::{self, Bound};
use pullgate::domain::record::{Entry, Kind, Record};
use pullgate::domain::records::Records;
use pullgate::domain::snapshot::{Settings, Snapshot};
use pullgate::types::{Document, convert, crd};
use serde_json::{Value, json};

fn spec(kind: Kind) -> Value {
    match kind {
        Kind::Registry => json!({"type": "Docker", "url": "https://x.example.com", "workspace": "alpha"}),
        Kind::RegistrySpace => json!({"registry": "corp", "path": "team"}),
        Kind::Workspace => json!({"namespaces": []}),
        Kind::PullPolicy => json!({"unmanaged": {"default": "Deny"}}),
    }
}

/// Puts a value where a bound's field is.
fn set(spec: &mut Value, field: &str, value: Value) {
    let place = field.split('.').fold(spec, |value, name| &mut value[name]);
    *place = value;
}

/// An entry of its own of what a bound's list may hold.
fn entry(bound: &Bound, n: usize) -> String {
    if ["imageHosts", "unmanaged.allow"].contains(&bound.field) {
        format!("h{n}.example.com")
    } else {
        format!("a{n}")
    }
}

fn fields(kind: Kind, spec: &Value) -> Vec<String> {
    let problems = convert::parse(&Document::new(kind, "x", spec.clone())).err().unwrap_or_default();
    problems.into_iter().map(|problem| problem.field).collect()
}

#[test]
fn every_list_and_text_has_its_bound_in_the_conversion_and_in_the_schema() {
    let definitions = crd::definitions();
    for kind in Kind::ALL {
        let definition = definitions.iter().find(|d| d["spec"]["names"]["kind"] == kind.as_str()).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        for bound in bounds::of(kind) {
            let pointer = format!("/properties/{}", bound.field.replace('.', "/properties/"));
            let stated = schema.pointer(&pointer).unwrap_or_else(|| panic!("{kind:?} {}", bound.field));
            let field = format!("spec.{}", bound.field);
            let mut large = spec(kind);
            if let Some(entries) = bound.entries {
                assert_eq!(stated["maxItems"], entries.max, "{field}");
                assert_eq!(stated["items"]["maxLength"], bound.length, "{field}");
                let list = |count| (0..count).map(|n| entry(bound, n)).collect::<Vec<_>>();
                set(&mut large, bound.field, json!(list(entries.max + 1)));
                assert_eq!(fields(kind, &large), [field.as_str()]);
                set(&mut large, bound.field, json!(list(entries.max)));
                assert!(fields(kind, &large).is_empty(), "{field}: {:?}", fields(kind, &large));
                set(&mut large, bound.field, json!([entry(bound, 0), entry(bound, 1), entry(bound, 0)]));
                assert_eq!(fields(kind, &large), [format!("{field}[2]")], "each once");
                set(&mut large, bound.field, json!(["a".repeat(bound.length + 1)]));
                assert_eq!(fields(kind, &large), [format!("{field}[0]")]);
            } else {
                assert_eq!(stated["maxLength"], bound.length, "{field}");
                set(&mut large, bound.field, json!("a".repeat(bound.length + 1)));
                assert!(fields(kind, &large).contains(&field), "{:?}", fields(kind, &large));
            }
        }
    }
}

/// A schema's strings and lists that nothing bounds.
fn unbounded(schema: &Value, path: &str, found: &mut Vec<String>) {
    let closed = schema.get("enum").is_some() || schema.get("format").is_some();
    match schema["type"].as_str() {
        Some("string") if !closed && schema.get("maxLength").is_none() => found.push(path.to_owned()),
        Some("array") if schema.get("maxItems").is_none() => found.push(path.to_owned()),
        _ => {}
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        unbounded(property, &format!("{path}.{name}"), found);
    }
    if let Some(items) = schema.get("items") {
        unbounded(items, &format!("{path}[]"), found);
    }
}

#[test]
fn no_field_of_a_spec_is_without_a_bound() {
    for definition in crd::definitions() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut found = Vec::new();
        unbounded(schema, "spec", &mut found);
        assert!(found.is_empty(), "{}: {found:?}", definition["spec"]["names"]["kind"]);
    }
}

#[test]
fn hosts_are_the_same_in_any_spelling_and_paths_with_a_slash() {
    let mut record = spec(Kind::Registry);
    record["imageHosts"] = json!(["h.example.com", "H.example.com:0443"]);
    record["paths"] = json!(["acme", "acme/"]);
    assert_eq!(fields(Kind::Registry, &record), ["spec.imageHosts[1]", "spec.paths[1]"]);
}

#[test]
fn a_stored_record_beyond_the_bounds_is_invalid_and_costs_little() {
    let mut records = Records::default();
    for platform in [false, true] {
        let mut large = spec(Kind::Registry);
        large["imageHosts"] = json!((0..5000).map(|n| format!("a.{n}.example")).collect::<Vec<_>>());
        large["paths"] = json!((0..5000).map(|n| format!("p{n}")).collect::<Vec<_>>());
        if platform {
            large.as_object_mut().unwrap().remove("workspace");
        }
        let start = Instant::now();
        let record = convert::record(&Document::new(Kind::Registry, "large", large));
        let Record::Registry(Entry::Invalid(invalid)) = &record else { panic!("{record:?}") };
        // What the platform held must not be for everybody now; what a tenant claimed is nobody's.
        assert_eq!(invalid.hosts.len(), if platform { 5001 } else { 0 });
        assert!(invalid.problems.len() <= bounds::PROBLEMS + 1);
        records.put(format!("large-{platform}").into(), record);
        assert!(!Snapshot::build(&records, &Settings::default()).size().registries.eq(&0));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
