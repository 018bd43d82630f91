//! The PodSpec of the newest Kubernetes API that the build knows, walked: every field that could name an image is one
//! that `src/admission/images.rs` reads, or is known here to be something else.
//!
//! Raising `k8s-openapi` to a newer API makes these tests fail when Kubernetes gains a way to name an image.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplate, ReplicationController};
use pullgate::admission::images::{self, Object};
use pullgate::admission::json::Reader;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

/// Where a PodSpec names images, as far as `images.rs` reads it.
const READ: [&str; 4] = [
    "containers[].image",
    "ephemeralContainers[].image",
    "initContainers[].image",
    "volumes[].image.reference",
];

/// Texts of a PodSpec that have to do with images and name none that a node pulls.
/// `*`: any of the three kinds of container. With the reason.
const NO_IMAGES: [(&str, &str); 10] = [
    ("*.imagePullPolicy", "when to pull, set by the mutating webhook"),
    ("volumes[].image.pullPolicy", "when to pull, set by the mutating webhook"),
    ("imagePullSecrets[].name", "the name of a Secret"),
    ("volumes[].rbd.image", "a block device of Ceph"),
    ("*.command[]", "only says that the image has a default"),
    ("*.args[]", "only says that the image has a default"),
    ("*.workingDir", "only says that the image has a default"),
    ("*.securityContext.windowsOptions.runAsUserName", "only says that the image has a default"),
    ("securityContext.windowsOptions.runAsUserName", "only says that the image has a default"),
    ("*.volumeMounts[].bindMountOptions[]", "options of a mount, which image volumes do not take"),
];

const WHAT_TO_DO: &str = "Kubernetes has a field that may name an image. If a node pulls what it names, read it in \
    src/admission/images.rs (struct Spec and Pod::images), patch its pull policy in src/admission/patch.rs and add it \
    to READ here; if not, add it to NO_IMAGES with the reason.";

/// One text in a schema.
struct Text {
    /// As `containers[].image`.
    path: String,
    /// The type that has the field, as `io.k8s.api.core.v1.Container`.
    owner: String,
    description: String,
}

/// Every text that an object of type `T` can hold.
fn texts<T: JsonSchema>() -> Vec<Text> {
    let schema = SchemaGenerator::default().into_root_schema_for::<T>().to_value();
    let mut found = Vec::new();
    walk(&schema, &schema, "", &T::schema_name(), &mut Vec::new(), &mut found);
    assert!(
        found.len() > 100,
        "the schema of {} has {} texts: it is not read right",
        T::schema_name(),
        found.len()
    );
    found
}

fn walk(
    root: &Value,
    schema: &Value,
    path: &str,
    owner: &str,
    open: &mut Vec<String>,
    found: &mut Vec<Text>,
) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(&reference[1..]).unwrap_or_else(|| panic!("{reference} leads nowhere"));
        let name = reference.rsplit('/').next().unwrap().to_owned();
        // A type within itself would have to name images at any depth.
        assert!(!open.contains(&name), "{path}: {name} is recursive; decide how images.rs reads it");
        open.push(name.clone());
        walk(root, target, path, &name, open, found);
        open.pop();
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if is_text(property) {
            let description = property["description"].as_str().unwrap_or_default().to_owned();
            found.push(Text { path: path.clone(), owner: owner.to_owned(), description });
        }
        walk(root, property, &path, owner, open, found);
    }
    for (inner, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[inner].is_object() {
            if is_text(&schema[inner]) {
                let description = schema["description"].as_str().unwrap_or_default().to_owned();
                found.push(Text { path: format!("{path}{suffix}"), owner: owner.to_owned(), description });
            }
            walk(root, &schema[inner], &format!("{path}{suffix}"), owner, open, found);
        }
    }
    for combined in ["anyOf", "oneOf", "allOf"] {
        for variant in schema[combined].as_array().into_iter().flatten() {
            walk(root, variant, path, owner, open, found);
        }
    }
}

fn is_text(schema: &Value) -> bool {
    let kind = &schema["type"];
    *kind == "string" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("string")))
}

/// Whether a field may have to do with images, by its name, its type or what is said of it.
fn concerns_images(text: &Text) -> bool {
    let last = text.path.rsplit('.').next().unwrap_or_default().trim_end_matches("[]");
    let names = ["image", "reference", "artifact", "oci"];
    let mentions = [&text.path, &text.owner, &text.description].iter().any(|t| mentions_an_image(t));
    names.contains(&last.to_lowercase().as_str()) || mentions
}

/// `image` as a word or as a part of a name, in any case.
fn mentions_an_image(text: &str) -> bool {
    text.to_lowercase().contains("image")
}

/// Whether the path ends as one of those listed in [`NO_IMAGES`].
fn is_known_to_be_none(path: &str) -> bool {
    NO_IMAGES.iter().any(|(known, _)| match known.strip_prefix('*') {
        Some(field) => path.ends_with(field),
        None => path == *known || path.ends_with(&format!(".{known}")),
    })
}

/// The paths of an object's texts that may name an image to pull: not what its status tells, and not what is known to
/// be something else.
fn images_in<T: JsonSchema>() -> BTreeSet<String> {
    let asks = |text: &&Text| concerns_images(text) && !text.path.starts_with("status.");
    texts::<T>()
        .iter()
        .filter(asks)
        .map(|text| text.path.clone())
        .filter(|path| !is_known_to_be_none(path))
        .collect()
}

/// What is read of a pod's spec that lies at `spec`.
fn read_in(spec: &str) -> BTreeSet<String> {
    READ.iter().map(|path| format!("{spec}{path}")).collect()
}

#[test]
fn a_pod_names_images_exactly_where_they_are_read() {
    assert_eq!(images_in::<PodSpec>(), read_in(""), "{WHAT_TO_DO}");
    assert_eq!(images_in::<Pod>(), read_in("spec."), "{WHAT_TO_DO}");
}

#[test]
fn what_is_known_to_name_no_image_is_still_there() {
    let paths: BTreeSet<_> = texts::<PodSpec>().into_iter().map(|text| text.path).collect();
    for (known, _) in NO_IMAGES {
        assert!(
            paths.contains(&known.replace('*', "containers[]")),
            "{known} is gone: remove it from NO_IMAGES"
        );
    }
}

/// An object in which nothing is set but one text, at this path.
fn with_text(path: &str, text: &str) -> Value {
    path.rsplit('.').fold(json!(text), |inner, step| match step.strip_suffix("[]") {
        Some(list) => json!({list: [inner]}),
        None => json!({step: inner}),
    })
}

/// The images that `images.rs` finds in a pod.
fn found_in(pod: Option<images::Pod<'_>>) -> Vec<&str> {
    pod.into_iter().flat_map(images::Pod::images).map(|image| image.image).collect()
}

#[test]
fn every_image_of_a_pod_is_read() {
    for path in READ {
        let text = with_text(&format!("spec.{path}"), "x.io/y").to_string();
        let object = Reader::whole(&text, Object::read).unwrap();
        assert_eq!(found_in(object.pod()), ["x.io/y"], "{text} is not read by src/admission/images.rs");
    }
}

#[test]
fn what_makes_pods_names_images_exactly_where_they_are_read() {
    let kinds: [(&str, BTreeSet<String>, &str); 8] = [
        ("Deployment", images_in::<Deployment>(), "spec.template.spec."),
        ("ReplicaSet", images_in::<ReplicaSet>(), "spec.template.spec."),
        ("StatefulSet", images_in::<StatefulSet>(), "spec.template.spec."),
        ("DaemonSet", images_in::<DaemonSet>(), "spec.template.spec."),
        ("Job", images_in::<Job>(), "spec.template.spec."),
        ("CronJob", images_in::<CronJob>(), "spec.jobTemplate.spec.template.spec."),
        ("PodTemplate", images_in::<PodTemplate>(), "template.spec."),
        ("ReplicationController", images_in::<ReplicationController>(), "spec.template.spec."),
    ];
    for (kind, found, template) in kinds {
        let expected = read_in(template);
        assert_eq!(found, expected, "{kind}: {WHAT_TO_DO}");
        for path in expected {
            let text = with_text(&path, "x.io/y").to_string();
            let object = Reader::whole(&text, Object::read).unwrap();
            assert_eq!(found_in(object.template()), ["x.io/y"], "{kind}: {path} is not read");
        }
    }
}
