//! What stands beside manifests in people's directories and is none: Kustomizations and their patches, the values of
//! charts. It is named for what it is and left out; no file that is meant for a cluster falls under it.

use std::collections::BTreeMap;

use super::tree::Node;
use super::{Fault, Manifest, Reading};
use crate::admission::preview::{PodSource, makes};

const RENDER_CHART: &str = "judge what it makes: helm template … | pullgate check -f -";
const RENDER_KUSTOMIZATION: &str = "judge what it makes: kustomize build … | pullgate check -f -";

/// Files that Kustomizations name as patches, by path, with the Kustomization that names each.
#[derive(Debug, Default)]
pub struct Kustomized(BTreeMap<String, String>);

/// What a document is that is no manifest; `None` where it is one, or nothing that is known.
pub fn recognise(file: &str, root: &Node) -> Option<String> {
    let name = file.rsplit('/').next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    if is_kustomization(stem, root) {
        return Some(format!("this is a Kustomization, no object; {RENDER_KUSTOMIZATION}"));
    }
    if root.get("$patch").is_some() {
        return Some(patch("a strategic merge patch", None));
    }
    if root.is_list() {
        let operation = |entry: &Node| {
            ["op", "path"].iter().all(|field| entry.get(field).is_some_and(|f| f.text().is_some()))
        };
        let operations = !root.entries().is_empty() && root.entries().iter().all(operation);
        return operations.then(|| patch("a JSON 6902 patch", None));
    }
    if root.get("kind").is_some() || !root.is_map() {
        return None;
    }
    if stem == "Chart" && root.get("name").is_some() {
        return Some(format!("this is the description of a Helm chart, no object; {RENDER_CHART}"));
    }
    if root.get("apiVersion").is_some() {
        return None;
    }
    if stem.split(['-', '_', '.']).any(|word| word.eq_ignore_ascii_case("values")) {
        return Some(format!("these are the values of a Helm chart, no object; {RENDER_CHART}"));
    }
    if root.get("$schema").is_some() {
        return Some("this is a JSON schema, no object".to_owned());
    }
    root.get("services")?.is_map().then(|| "this is a Compose file, no object".to_owned())
}

impl Kustomized {
    /// Takes note of the patches that a document names, where it is a Kustomization.
    pub fn note(&mut self, file: &str, root: &Node) {
        let name = file.rsplit('/').next().unwrap_or_default();
        if !is_kustomization(name.rsplit_once('.').map_or(name, |(stem, _)| stem), root) {
            return;
        }
        let directory = file.strip_suffix(name).unwrap_or_default();
        for field in ["patches", "patchesStrategicMerge", "patchesJson6902", "replacements", "configurations"]
        {
            let entries = root.get(field).map(Node::entries).unwrap_or_default();
            for path in entries.iter().filter_map(|entry| entry.get("path").unwrap_or(entry).text()) {
                self.0.insert(normal(&format!("{directory}{path}")), file.to_owned());
            }
        }
    }

    /// Moves what the Kustomizations name from the manifests, and from the faults, to what is left out.
    pub fn take_out(&self, reading: &mut Reading) {
        let named = |file: &str| self.0.get(&normal(file)).map(String::as_str);
        let Reading { manifests, faults, left_out, .. } = reading;
        for manifest in
            manifests.extract_if(.., |manifest| named(&manifest.file).is_some() || is_patch_by_name(manifest))
        {
            left_out.push(manifest.fault_of_all(patch("a patch", named(&manifest.file))));
        }
        for fault in faults.0.extract_if(.., |fault| named(&fault.file).is_some()) {
            let message = patch("a patch", named(&fault.file));
            left_out.push(Fault { message, ..fault });
        }
    }
}

fn patch(what: &str, kustomization: Option<&str>) -> String {
    let of = kustomization.map(|file| format!(" of {file}")).unwrap_or_default();
    format!("this is {what}{of}, no object; {RENDER_KUSTOMIZATION}")
}

fn is_kustomization(stem: &str, root: &Node) -> bool {
    let text = |field| root.get(field).and_then(Node::text);
    match (text("apiVersion"), text("kind")) {
        (Some(version), Some("Kustomization" | "Component")) => {
            version.starts_with("kustomize.config.k8s.io/")
        }
        // It may leave out both, which kustomize fills in.
        (None, None | Some("Kustomization")) => root.is_map() && stem.eq_ignore_ascii_case("kustomization"),
        _ => false,
    }
}

/// Whether a workload is called a patch and names no image, which no cluster would take.
fn is_patch_by_name(manifest: &Manifest) -> bool {
    let name = manifest.file.rsplit('/').next().unwrap_or_default();
    name.to_ascii_lowercase().contains("patch")
        && matches!(makes(&manifest.api_version, &manifest.kind), PodSource::Pod | PodSource::Template(_))
        && !names_images(&manifest.root)
}

/// Whether an `image` stands anywhere within.
fn names_images(node: &Node) -> bool {
    node.children().any(|(key, child)| key == Some("image") || names_images(child))
}

/// A path without `.` and, where it can be said without a look at the file system, `..`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            "" if !parts.is_empty() => {}
            ".." if !matches!(parts.last(), None | Some(&(".." | ""))) => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_by_where_they_lead() {
        for (path, expected) in [
            ("a/./b/../c.yaml", "a/c.yaml"),
            ("./a.yaml", "a.yaml"),
            ("../../a", "../../a"),
            ("/a//b/../../c", "/c"),
            ("a/../../b", "../b"),
        ] {
            assert_eq!(normal(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_object_is_named() {
        let told = |file: &str, text: &str| recognise(file, &serde_saphyr::from_str::<Node>(text).unwrap());
        for (file, text, what) in [
            ("a/kustomization.yaml", "resources: [a.yaml]", "Kustomization"),
            ("a/kustomization.yml", "kind: Kustomization\nresources: [a.yaml]", "Kustomization"),
            ("a/x.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component", "Kustomization"),
            ("a.yaml", "[{op: add, path: /a, value: 1}]", "JSON 6902 patch"),
            ("a.yaml", "apiVersion: v1\nkind: Pod\n$patch: delete", "strategic merge patch"),
            ("values.yaml", "a: 1", "values of a Helm chart"),
            ("prod-values.yaml", "a: 1", "values of a Helm chart"),
            ("Chart.yaml", "apiVersion: v2\nname: a\nversion: 1.0.0", "Helm chart"),
            ("compose.yaml", "services: {a: {image: b}}", "Compose"),
        ] {
            assert!(told(file, text).is_some_and(|told| told.contains(what)), "{file} {text}");
        }
        for (file, text) in [
            ("kustomization.yaml", "apiVersion: v1\nkind: Pod"),
            ("values.yaml", "apiVersion: v1\nkind: Pod"),
            ("values.yaml", "kind: Pod"),
            ("x.yaml", "a: 1"),
            ("x.yaml", "[]"),
            ("x.yaml", "[{op: add}]"),
            ("x.yaml", "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization"),
        ] {
            assert_eq!(told(file, text), None, "{file} {text}");
        }
    }
}
