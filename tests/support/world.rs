//! A platform of any size, for benchmarks and for tests of size, and reviews of a given length.

use pullgate::domain::records::Records;
use serde_json::{Value, json};

use super::records::{records, registry, space, workspace};

/// Workspaces, each with ten namespaces, as large platforms have them.
pub const WORKSPACES: usize = 1_000;
pub const NAMESPACES: usize = 10 * WORKSPACES;

/// A Harbor with this many spaces, most private and bound to one or two of [`WORKSPACES`] workspaces.
pub fn world(spaces: usize) -> Records {
    let named = |w: usize| format!("workspace-{w}");
    let mut all: Vec<_> = vec![registry("corp").into()];
    all.extend((0..WORKSPACES).map(|w| {
        let namespaces: Vec<_> = (0..10).map(|n| format!("team-{w}-ns-{n}")).collect();
        workspace(&named(w), &namespaces.iter().map(String::as_str).collect::<Vec<_>>()).into()
    }));
    all.extend((0..spaces).map(|s| {
        let (first, second) = (named(s % WORKSPACES), named((s * 7 + 1) % WORKSPACES));
        let space = space("corp", &path(s));
        match s % 10 {
            0 => space.public().into(),
            1..=3 => space.bound(&[&first, &second]).into(),
            _ => space.bound(&[&first]).into(),
        }
    }));
    records(all)
}

fn path(space: usize) -> String {
    format!("project-{space}")
}

/// Images across the spaces of [`world`], and the namespaces to judge them in: half bound, the rest not.
pub fn questions(spaces: usize, count: usize) -> Vec<(String, String)> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    (0..count)
        .map(|n| {
            let space = random(spaces);
            let workspace = if n % 2 == 0 { space % WORKSPACES } else { random(WORKSPACES) };
            let namespace = format!("team-{workspace}-ns-{}", random(10));
            (namespace, format!("harbor.example.com/{}/web:1.{}", path(space), n % 100))
        })
        .collect()
}

/// A review as the API server sends it, recorded and then padded with what real pods carry (managed fields,
/// environment) to about this many bytes.
pub fn review(bytes: usize, namespace: &str, image: &str) -> Vec<u8> {
    let recorded = include_str!("../data/reviews/validate-create-pods.json");
    let mut review: Value = serde_json::from_str(recorded).unwrap();
    let request = &mut review["request"];
    request["namespace"] = json!(namespace);
    let object = &mut request["object"];
    object["metadata"]["namespace"] = json!(namespace);
    object["metadata"]["managedFields"] = json!([{
        "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
        "time": "2026-11-22T03:50:36Z", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, "f:prometheus.io/scrape": {}}, "f:generateName": {},
            "f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}}}},
    }]);
    for containers in ["initContainers", "containers"] {
        for container in object["spec"][containers].as_array_mut().unwrap() {
            container["image"] = json!(image);
            container["imagePullPolicy"] = json!("Always");
        }
    }
    object["spec"]["imagePullSecrets"] = json!([{"name": "pullgate-pull"}]);
    let mut n = 0;
    loop {
        let text = serde_json::to_vec(&review).unwrap();
        if text.len() >= bytes {
            return text;
        }
        let env = review["request"]["object"]["spec"]["containers"][0]["env"].as_array_mut().unwrap();
        let missing = (bytes - text.len()) / 90;
        for _ in 0..=missing {
            env.push(json!({"name": format!("SETTING_{n}"), "value": format!("postgres://db-{n}.team.svc:5432/app?x=\"{n}\"")}));
            n += 1;
        }
    }
}
