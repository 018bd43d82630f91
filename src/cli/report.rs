//! What `check` finds out of each object, before anybody decides how to show it.

use std::collections::BTreeMap;

use anstyle::Style;
use serde::Serialize;

use super::output::{CYAN, GREEN, RED, YELLOW};
use crate::admission::answer;
use crate::admission::images::{Object, Place};
use crate::admission::json::Reader;
use crate::admission::preview::{ImagePreview, PodSource, group, makes, preview};
use crate::domain::decision::Decision;
use crate::domain::record::{Mode, UnixSeconds};
use crate::domain::snapshot::Snapshot;
use crate::manifests::{Fault, Faults, Manifest, Reading};

/// What becomes of every object that makes pods.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub summary: Summary,
    pub results: Vec<ObjectReport>,
    /// What is no object and not meant to be one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Fault>,
    /// What cannot be read or judged.
    #[serde(skip_serializing_if = "Faults::is_empty")]
    pub faults: Faults,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub objects: usize,
    pub images: usize,
    pub allow: usize,
    pub deny: usize,
    pub warn: usize,
    pub audit: usize,
    /// Objects that make no pods, by kind.
    pub skipped: BTreeMap<String, usize>,
    /// Objects whose pods, if any, come later from their controllers; by kind and API group.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub not_judged: BTreeMap<String, usize>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReport {
    pub file: String,
    pub line: u64,
    pub namespace: String,
    pub kind: String,
    pub name: String,
    pub injects_pull_secret: bool,
    pub images: Vec<ImageReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageReport {
    pub line: u64,
    pub place: &'static str,
    pub name: String,
    pub image: String,
    pub verdict: Verdict,
    pub reason: &'static str,
    pub explanation: String,
    pub sets_always: bool,
    /// The whole sentence, where the image is not allowed.
    #[serde(skip)]
    pub sentence: Option<String>,
}

/// What a decision comes to under the pull policy's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Allow,
    Deny,
    /// Not allowed; the pod is admitted with a warning.
    Warn,
    /// Not allowed; the pod is admitted and the denial counted.
    Audit,
}

impl Verdict {
    pub fn of(decision: &Decision<'_>) -> Self {
        match decision.mode {
            _ if decision.allowed() => Self::Allow,
            Mode::Enforce => Self::Deny,
            Mode::Warn => Self::Warn,
            Mode::Audit => Self::Audit,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Warn => "warn",
            Self::Audit => "audit",
        }
    }

    pub fn style(self) -> Style {
        match self {
            Self::Allow => GREEN,
            Self::Deny => RED,
            Self::Warn => YELLOW,
            Self::Audit => CYAN,
        }
    }
}

impl Report {
    /// Judges every manifest that was read; those without a namespace are taken to be for `namespace`.
    pub fn of(reading: Reading, namespace: &str, snapshot: &Snapshot, now: UnixSeconds) -> Self {
        let Reading { manifests, faults, left_out, .. } = reading;
        let mut report = Self { left_out, faults, ..Self::default() };
        for manifest in &manifests {
            let summary = &mut report.summary;
            match makes(&manifest.api_version, &manifest.kind) {
                PodSource::Nothing => *summary.skipped.entry(manifest.kind.clone()).or_default() += 1,
                PodSource::Unknown => *summary.not_judged.entry(kind_and_group(manifest)).or_default() += 1,
                PodSource::Outdated(served) => {
                    let (found, kind) = (&manifest.api_version, &manifest.kind);
                    let message = format!("clusters serve no {kind} as {found}; write {served}");
                    report.faults.0.push(manifest.fault("apiVersion", message));
                }
                PodSource::Pod => report.judge(manifest, &[], namespace, snapshot, now),
                PodSource::Template(path) => report.judge(manifest, path, namespace, snapshot, now),
            }
        }
        report
    }

    fn judge(
        &mut self,
        manifest: &Manifest,
        path: &[&str],
        namespace: &str,
        snapshot: &Snapshot,
        now: UnixSeconds,
    ) {
        match judge(manifest, path, namespace, snapshot, now) {
            Ok(object) => self.add(object),
            Err(fault) => self.faults.0.push(fault),
        }
    }

    fn add(&mut self, object: ObjectReport) {
        let summary = &mut self.summary;
        summary.objects += 1;
        summary.images += object.images.len();
        for image in &object.images {
            *match image.verdict {
                Verdict::Allow => &mut summary.allow,
                Verdict::Deny => &mut summary.deny,
                Verdict::Warn => &mut summary.warn,
                Verdict::Audit => &mut summary.audit,
            } += 1;
        }
        self.results.push(object);
    }
}

/// As kubectl names kinds that are not Kubernetes' own: `Service.serving.knative.dev`.
fn kind_and_group(manifest: &Manifest) -> String {
    match group(&manifest.api_version) {
        "" => manifest.kind.clone(),
        group => format!("{}.{group}", manifest.kind),
    }
}

/// Judges one manifest, with the pod, or its template, under `path`.
fn judge(
    manifest: &Manifest,
    path: &[&str],
    namespace: &str,
    snapshot: &Snapshot,
    now: UnixSeconds,
) -> Result<ObjectReport, Fault> {
    let name = match (manifest.metadata("name")?, manifest.metadata("generateName")?) {
        (Some(name), _) => name.to_owned(),
        (None, Some(start)) => format!("{start}*"),
        (None, None) => return Err(manifest.fault("metadata.name", "it must be there, or generateName")),
    };
    let namespace = manifest.metadata("namespace")?.unwrap_or(namespace);

    let at = |field: &str| [path, &[field]].concat().join(".");
    let missing = |field: &str| manifest.fault(&at(field), "it must be there");
    let node = path.iter().try_fold(&manifest.root, |node, key| node.get(key));
    let text = node.ok_or_else(|| missing("spec"))?.to_typed_value().to_string();
    let object = Reader::whole(&text, Object::read)
        .map_err(|error| manifest.fault(&at(&error.path()), error.what().to_owned()))?;
    let pod = object.pod().ok_or_else(|| missing("spec"))?;
    if !pod.images().any(|image| image.place == Place::Container) {
        return Err(manifest.fault(&at("spec.containers"), "there must be one at least"));
    }

    let preview = preview(&snapshot.scope(namespace), pod, now);
    let image = |found: &ImagePreview<'_>| ImageReport {
        line: manifest.root.line_at(&at(&field(found))),
        place: found.image.place.as_str(),
        name: found.image.name.to_owned(),
        image: found.image.image.to_owned(),
        verdict: Verdict::of(&found.decision),
        reason: found.decision.reason.as_str(),
        explanation: found.decision.explanation().to_string(),
        sets_always: found.sets_always,
        sentence: (!found.decision.allowed()).then(|| answer::sentence(&found.image, &found.decision)),
    };
    Ok(ObjectReport {
        file: manifest.file.to_string(),
        line: manifest.line(),
        namespace: namespace.to_owned(),
        kind: manifest.kind.clone(),
        name,
        injects_pull_secret: preview.adds_pull_secret,
        images: preview.images.iter().map(image).collect(),
    })
}

/// Where in a pod the image stands.
fn field(found: &ImagePreview<'_>) -> String {
    let index = found.image.index;
    match found.image.place {
        Place::InitContainer => format!("spec.initContainers[{index}].image"),
        Place::Container => format!("spec.containers[{index}].image"),
        Place::EphemeralContainer => format!("spec.ephemeralContainers[{index}].image"),
        Place::Volume => format!("spec.volumes[{index}].image.reference"),
    }
}
