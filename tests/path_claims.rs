//! Which repositories a workspace's claim of a path covers: those below it and the one of exactly that name, for the
//! workspace's own namespaces and for their neighbours alike.

use pullgate::domain::decision::{Reason, Request, decide};
use pullgate::domain::image::ImageRef;
use pullgate::domain::origin::ImageOrigin;
use pullgate::domain::snapshot::{Settings, Snapshot};

use crate::support::records::{records, registry, workspace};

fn snapshot(host: &str, path: &str) -> Snapshot {
    let all = records([
        registry("w").docker().host(host).of("a").paths(&[path]).into(),
        workspace("a", &["a-prod"]).into(),
        workspace("b", &["b-prod"]).into(),
    ]);
    Snapshot::build(&all, &Settings::default())
}

/// Whether a member pulls an image from its own workspace's registry, and a neighbour has to ask the registry.
fn covers(snapshot: &Snapshot, image: &str) -> bool {
    let judge = |namespace: &str| {
        let decision = decide(&snapshot.scope(namespace), &Request { image, always: Some(true), now: 0 });
        (decision.reason, decision.needs_always)
    };
    let (member, neighbour) = (judge("a-prod"), judge("b-prod"));
    let covered = member == (Reason::WorkspaceRegistry, true);
    assert_eq!(neighbour, (Reason::Unmanaged, covered), "{image}");
    assert!(covered || member == (Reason::Unmanaged, false), "{image}: {member:?}");
    let origin = snapshot.origin(&ImageRef::parse(image).unwrap());
    assert_eq!(origin != ImageOrigin::Unmanaged, covered, "{image}: {origin:?}");
    covered
}

fn keys(snapshot: &Snapshot) -> Vec<String> {
    assert!(snapshot.scope("b-prod").pull_entries().is_empty());
    snapshot.scope("a-prod").pull_entries().into_keys().collect()
}

#[test]
fn a_path_covers_the_repository_of_its_own_name() {
    for (path, inside, outside) in [
        ("acme", ["acme:1", "acme/app:1", "acme/deep/er:1"], ["acme-evil:1", "acme-evil/app:1", "other:1"]),
        ("acme/", ["acme:1", "acme/app:1", "acme/deep/er:1"], ["acme-evil:1", "acme-evil/app:1", "other:1"]),
        ("org/repo", ["org/repo:1", "org/repo/app:1", "org/repo/x/y:1"], ["org:1", "org/repo2:1", "repo:1"]),
    ] {
        let snapshot = snapshot("r.a.io", path);
        assert!(inside.iter().all(|image| covers(&snapshot, &format!("r.a.io/{image}"))), "{path}");
        assert!(!outside.iter().any(|image| covers(&snapshot, &format!("r.a.io/{image}"))), "{path}");
        let path = path.trim_end_matches('/');
        assert_eq!(keys(&snapshot), [format!("r.a.io/v2/{path}"), format!("r.a.io/v2/{path}/")]);
    }
}

/// On Docker Hub a name of one segment is an official image, and no part of the organisation of that name.
#[test]
fn on_docker_hub_one_segment_is_an_official_image() {
    let acme = snapshot("docker.io", "acme");
    assert!(covers(&acme, "acme/app:1") && covers(&acme, "docker.io/acme/app:1"));
    for official in ["acme:1", "docker.io/acme:1", "index.docker.io/acme:1", "docker.io/library/acme:1"] {
        assert!(!covers(&acme, official), "{official}");
    }
    assert_eq!(keys(&acme), ["docker.io/v2/acme/"]);

    let official = snapshot("docker.io", "library/nginx");
    for image in ["nginx", "nginx:1", "docker.io/nginx:1", "library/nginx:1", "docker.io/library/nginx:1"] {
        assert!(covers(&official, image), "{image}");
    }
    assert!(!covers(&official, "nginx/app:1") && !covers(&official, "nginx2:1"));
    let all_official = snapshot("docker.io", "library");
    assert!(covers(&all_official, "nginx:1") && !covers(&all_official, "acme/app:1"));
}
