//! The custom resource definitions, from the written form of records. `pullgate crds` prints them.

use kube_core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::bounds;
use super::v1alpha1::{
    PullPolicySpec, PullPolicyStatus, RegistrySpec, RegistryStatus, SpaceSpec, SpaceStatus, WorkspaceSpec,
    WorkspaceStatus,
};
use crate::domain::record::Kind;

/// The API group of every record.
pub const GROUP: &str = "pullgate.io";
/// The one version that is served and stored.
pub const VERSION: &str = "v1alpha1";

/// What a kind is called in paths.
pub fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Registry => "registries",
        Kind::RegistrySpace => "registryspaces",
        Kind::Workspace => "workspaces",
        Kind::PullPolicy => "pullpolicies",
    }
}

/// All definitions, `apiextensions.k8s.io/v1`.
pub fn definitions() -> Vec<Value> {
    Kind::ALL.into_iter().map(definition).collect()
}

fn definition(kind: Kind) -> Value {
    let (plural, word) = (plural(kind), kind.as_str());
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{GROUP}")},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": word,
                "listKind": format!("{word}List"),
                "plural": plural,
                "singular": word.to_lowercase(),
                "shortNames": short_names(kind),
                "categories": ["pullgate"],
            },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": schema(kind)},
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns(kind),
            }],
        },
    })
}

fn short_names(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Registry => &["reg"],
        Kind::RegistrySpace => &["rspace"],
        Kind::Workspace => &["wsp"],
        Kind::PullPolicy => &["pullpol"],
    }
}

/// What `kubectl get` shows: name, path and, where it is no text, type.
fn columns(kind: Kind) -> Value {
    const AGE: (&str, &str, &str) = ("Age", ".metadata.creationTimestamp", "date");
    let columns: &[(&str, &str, &str)] = match kind {
        Kind::Registry => &[
            ("Type", ".spec.type", "string"),
            ("URL", ".spec.url", "string"),
            ("Workspace", ".spec.workspace", "string"),
            ("Ready", ".status.conditions[?(@.type==\"Ready\")].status", "string"),
            ("Reason", ".status.conditions[?(@.type==\"Ready\")].reason", "string"),
            ("Spaces", ".status.spaces", "integer"),
            AGE,
        ],
        Kind::RegistrySpace => &[
            ("Registry", ".spec.registry", "string"),
            ("Path", ".spec.path", "string"),
            ("Visibility", ".status.visibility", "string"),
            ("Workspaces", ".spec.workspaces", "string"),
            ("Repositories", ".status.repositories", "integer"),
            ("Observed", ".status.observedAt", "date"),
            AGE,
        ],
        Kind::Workspace => &[
            ("Namespaces", ".spec.namespaces", "string"),
            ("Pinned", ".spec.pinNamespaces", "boolean"),
            ("Conflicts", ".status.conflicts", "string"),
            AGE,
        ],
        Kind::PullPolicy => &[
            ("Mode", ".spec.mode", "string"),
            ("Unmanaged", ".spec.unmanaged.default", "string"),
            ("Namespaces", ".spec.namespaces", "string"),
            ("Workspaces", ".spec.workspaces", "string"),
            AGE,
        ],
    };
    let column =
        |(name, path, kind): &(&str, &str, &str)| json!({"name": name, "jsonPath": path, "type": kind});
    columns.iter().map(column).collect()
}

fn schema(kind: Kind) -> Value {
    let (mut spec, status) = match kind {
        Kind::Registry => (schema_of::<RegistrySpec>(), schema_of::<RegistryStatus>()),
        Kind::RegistrySpace => (schema_of::<SpaceSpec>(), schema_of::<SpaceStatus>()),
        Kind::Workspace => (schema_of::<WorkspaceSpec>(), schema_of::<WorkspaceStatus>()),
        Kind::PullPolicy => (schema_of::<PullPolicySpec>(), schema_of::<PullPolicyStatus>()),
    };
    let rules: Vec<_> =
        rules(kind).iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect();
    bounds::put_into(&mut spec, kind);
    if !rules.is_empty() {
        spec["x-kubernetes-validations"] = rules.into();
    }
    json!({
        "type": "object",
        "description": spec["description"],
        "required": ["spec"],
        "properties": {"spec": spec, "status": status},
    })
}

/// The rules that the API server itself can hold, for records that are written while pullgate is away. The record
/// webhook has them all, in the same words.
fn rules(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Registry => &[
            (
                "has(self.workspace) || self.type != 'Artifactory'",
                "the platform integrates Harbor and Docker; Artifactory is for workspaces",
            ),
            (
                "has(self.workspace) || !has(self.paths) || size(self.paths) == 0",
                "only a workspace's registry claims part of a host",
            ),
            (
                "!has(self.visibility) || (self.type == 'Docker' && !has(self.workspace))",
                "only a Docker registry of the platform is declared public or private as a whole",
            ),
            (
                "!has(self.pullCredentials) || (self.type == 'Harbor' && !has(self.workspace))",
                "only a Harbor of the platform has it",
            ),
            (
                "!has(self.source) || (self.type == 'Harbor' && !has(self.workspace))",
                "only a Harbor of the platform follows one that runs in the cluster",
            ),
        ],
        Kind::RegistrySpace => {
            &[("!self.path.contains('/')", "a space is one lower-case path segment, as team-a")]
        }
        Kind::PullPolicy => &[(
            "self.unmanaged.default == 'Deny' || !has(self.unmanaged.allow) || size(self.unmanaged.allow) == 0",
            "it narrows nothing while default is Allow; set default: Deny",
        )],
        Kind::Workspace => &[],
    }
}

/// A structural schema, as the API server demands them.
fn schema_of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(OptionalIntOrString)
        .into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

/// Drops what JSON Schema has and structural schemas do not: titles, formats of Rust's numbers, and a closed list of
/// members, which the API server keeps by pruning.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let holds_properties = members.get("properties").is_some_and(Value::is_object);
            if holds_properties || members.get("type").is_some_and(Value::is_string) {
                drop_titles(members);
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(list) => list.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn drop_titles(schema: &mut Map<String, Value>) {
    schema.remove("title");
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.remove("additionalProperties");
    }
}
