//! Harbors that run in the cluster: found, integrated, followed, and gone with their bindings.

mod rights;
mod world;

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use pullgate::domain::record::Kind;
use reqwest::Method;
use serde_json::json;

use self::rights::Rights;
use self::world::{CLUSTER, HELM, NAMED, PEM, TENANT, World, definition, eventually, without_definition};
use crate::control_plane::{install, records};

#[tokio::test]
async fn harbors_are_found_followed_and_gone_with_their_bindings() {
    let world = World::looking().await;
    world.helm(NAMED, "https://harbor.example.com").await;
    world.cluster(NAMED, "https://core.example.com").await;
    world.core_is(true).await;
    // Found, and integrated.
    let found = world.reason(HELM, "InStep").await;
    assert_eq!(found["status"]["integrated"], "Automatic");
    assert_eq!(
        found["spec"],
        json!({"type": "Harbor", "url": "https://harbor.example.com", "tls": {"caBundle": PEM, "insecureSkipVerify": false},
               "credential": {"name": format!("registry-{HELM}")}, "source": format!("Helm {NAMED}/prod")})
    );
    let audience = "https://harbor.example.com harbor.example.com for the platform";
    assert_eq!(world.credential(HELM).await, Some(("first".to_owned(), audience.to_owned())));
    let found = world.reason(CLUSTER, "InStep").await;
    assert_eq!(found["spec"]["source"], format!("HarborCluster {NAMED}/main"));
    world.until_password(CLUSTER, "initial").await;
    world.metric("instep", 2).await;

    // Address, CA and password change.
    let other = PEM.replace("MIIB", "MIIC");
    world.address(NAMED, "https://registry.example.com").await;
    world.secret(NAMED, "prod-ingress", json!({ "ca.crt": other })).await;
    world.secret(NAMED, "prod-core", json!({"HARBOR_ADMIN_PASSWORD": "second"})).await;
    world
        .until(HELM, |f| {
            f["spec"]["url"] == "https://registry.example.com" && f["spec"]["tls"]["caBundle"] == *other
        })
        .await;
    world.until_password(HELM, "second").await;
    let spec = Patch::Merge(json!({"spec": {"externalURL": "https://moved.example.com"}}));
    world.clusters(NAMED).patch("main", &PatchParams::default(), &spec).await.unwrap();
    world.secret(NAMED, "main-admin", json!({"secret": "rotated"})).await;
    world.until(CLUSTER, |f| f["spec"]["url"] == "https://moved.example.com").await;
    world.until_password(CLUSTER, "rotated").await;
    // What an administrator changes: the address is put back, the rest stays.
    world.patch(HELM, json!({"imageHosts": ["registry.example.com", "r.example.com"], "url": "https://evil.example.com"})).await;
    let found = world.until(HELM, |f| f["spec"]["url"] == "https://registry.example.com").await;
    assert_eq!(found["spec"]["imageHosts"][1], "r.example.com");
    let audience = "https://registry.example.com r.example.com registry.example.com for the platform";
    eventually("the password is for both hosts", async || {
        world.credential(HELM).await == Some(("second".to_owned(), audience.to_owned()))
    })
    .await;
    // And a password that was changed in Harbor.
    let given = json!({"username": "admin", "password": "given"});
    world.server.call(Method::PUT, &format!("/registries/{HELM}/credential"), Some(given)).await;
    world.nudge().await;
    world.until_password(HELM, "given").await;

    // What is not well stays, and says why.
    world.cluster_is(NAMED, "unhealthy").await;
    let found = world.reason(CLUSTER, "Unhealthy").await;
    assert_eq!(found["managed"]["message"], "its status is unhealthy");
    world.core_is(false).await;
    world.reason(HELM, "Unhealthy").await;
    world.metric("unhealthy", 2).await;
    let secrets = Api::<Secret>::namespaced(world.client.clone(), NAMED);
    secrets.delete("main-admin", &DeleteParams::default()).await.unwrap();
    world.reason(CLUSTER, "NoPassword").await;
    world.until_password(CLUSTER, "rotated").await;
    // An upgrade that makes the Deployment anew costs nothing.
    world.create(Kind::Workspace, "payments", json!({"namespaces": []})).await;
    for path in ["team-a", "team-b"] {
        let bound = if path == "team-a" { json!(["payments"]) } else { json!([]) };
        let space = json!({"registry": HELM, "path": path, "workspaces": bound});
        world.create(Kind::RegistrySpace, &format!("{HELM}.{path}"), space).await;
    }
    let cores = Api::<Deployment>::namespaced(world.client.clone(), NAMED);
    cores.delete("prod-core", &DeleteParams::default()).await.unwrap();
    world.reason(HELM, "Gone").await;
    world.core(NAMED).await;
    world.reason(HELM, "Unhealthy").await;
    tokio::time::sleep(Duration::from_secs(18)).await;
    assert!(world.registry(HELM).await.is_some());
    // It goes.
    cores.delete("prod-core", &DeleteParams::default()).await.unwrap();
    world.gone(HELM).await;
    let spaces = records(&world.client, Kind::RegistrySpace).list(&ListParams::default()).await.unwrap();
    assert!(spaces.items.is_empty());
    eventually("its credential is gone", async || world.credential(HELM).await.is_none()).await;
    assert!(world.log().contains("team-a -> payments"), "{}", world.log());
    world.clusters(NAMED).delete("main", &DeleteParams::default()).await.unwrap();
    world.gone(CLUSTER).await;
    for password in ["first", "second", "initial", "rotated", "given"] {
        assert!(!world.log().contains(&format!("\"{password}\"")));
    }
}

#[tokio::test]
async fn tenants_and_administrators_are_left_alone() {
    let world = World::looking().await;
    // A tenant's, in a namespace that nobody named; and two records that were there before.
    world.helm(TENANT, "https://tenant.example.com").await;
    world.cluster(TENANT, "https://tenant-core.example.com").await;
    let mine = json!({"type": "Harbor", "url": "https://mine.example.com"});
    world.create(Kind::Registry, HELM, mine.clone()).await;
    world.create(Kind::Registry, "corp", json!({"type": "Docker", "url": "https://core.example.com"})).await;
    world.helm(NAMED, "https://harbor.example.com").await;
    world.cluster(NAMED, "https://Core.example.com:443").await;
    world.metric("conflict", 2).await;
    world.nudge().await;
    let names: Vec<_> = records(&world.client, Kind::Registry)
        .list(&ListParams::default())
        .await
        .unwrap()
        .into_iter()
        .filter_map(|object| object.metadata.name)
        .collect();
    assert_eq!(names, ["corp", HELM]);
    let found = world.registry(HELM).await.unwrap();
    assert_eq!(found.data["spec"]["url"], mine["url"]);
    assert!(found.data["spec"].get("source").is_none() && found.data["status"]["integrated"].is_null());
    assert_eq!(world.credential(HELM).await, None);
    assert!(world.log().contains("that does not follow it"), "{}", world.log());
    // Said once.
    assert_eq!(world.log().matches("corp holds the host").count(), 1, "{}", world.log());
    // Given way, it is integrated; handed over, too.
    records(&world.client, Kind::Registry).delete("corp", &DeleteParams::default()).await.unwrap();
    world.reason(CLUSTER, "InStep").await;
    world.patch(HELM, json!({"source": format!("Helm {NAMED}/prod")})).await;
    let found = world.until(HELM, |f| f["status"]["integrated"] == "Automatic").await;
    assert_eq!(found["spec"]["url"], "https://harbor.example.com");
    // Taken back, it is an administrator's, whatever becomes of the instance.
    world.patch(HELM, json!({"source": null, "url": "https://mine.example.com"})).await;
    let found = world.until(HELM, |f| f["status"]["integrated"] == "Manual").await;
    assert!(found["managed"].is_null(), "{found:#}");
    assert_eq!(found["spec"]["url"], "https://mine.example.com");
}

#[tokio::test]
async fn a_namespace_that_is_no_longer_named_keeps_its_records() {
    let mut world = World::looking().await;
    world.cluster(NAMED, "https://core.example.com").await;
    world.reason(CLUSTER, "InStep").await;
    world.restart(&[]).await;
    let found = world.reason(CLUSTER, "NotWatched").await;
    assert_eq!(found["managed"]["status"], "Unknown");
    world.clusters(NAMED).delete("main", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.registry(CLUSTER).await.is_some());
    world.restart(&["--managed-harbor-namespace", NAMED]).await;
    world.gone(CLUSTER).await;
}

#[tokio::test]
async fn where_there_is_no_operator_only_releases_of_the_chart_are_found() {
    let world = World::new(&["--managed-harbor-namespace", NAMED], &[], false).await;
    world.helm(NAMED, "https://harbor.example.com").await;
    world.until(HELM, |f| f["status"]["integrated"] == "Automatic").await;
    world.nudge().await;
    assert!(!world.log().to_lowercase().contains("harborcluster"), "{}", world.log());
    // It comes, and it goes with all that it knew: nobody can say whether the Harbors have gone.
    install(&world.client, vec![definition()]).await;
    world.cluster(NAMED, "https://core.example.com").await;
    world.reason(CLUSTER, "InStep").await;
    without_definition(&world.client).await;
    world.reason(CLUSTER, "NoOperator").await;
}

#[tokio::test]
async fn nothing_goes_because_nothing_can_be_read_and_the_charts_rights_suffice() {
    let (rights, directory) = (Rights::install().await, tempfile::tempdir().unwrap());
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(&kubeconfig, Rights::kubeconfig()).unwrap();
    let environment = [("KUBECONFIG", kubeconfig.to_str().unwrap())];
    let world = World::new(&["--managed-harbor-namespace", NAMED], &environment, true).await;
    rights.grant(true).await;
    world.helm(NAMED, "https://harbor.example.com").await;
    world.cluster(NAMED, "https://core.example.com").await;
    world.until(HELM, |f| f["status"]["integrated"] == "Automatic").await;
    world.reason(CLUSTER, "InStep").await;
    assert!(!world.log().contains("orbidden"), "{}", world.log());
    // The rights go, and then the instances.
    rights.grant(false).await;
    eventually("the log says so", async || world.log().contains("cannot be read: Forbidden (403)")).await;
    world.clusters(NAMED).delete("main", &DeleteParams::default()).await.unwrap();
    let cores = Api::<Deployment>::namespaced(world.client.clone(), NAMED);
    cores.delete("prod-core", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert!(world.registry(HELM).await.is_some() && world.registry(CLUSTER).await.is_some());
    rights.grant(true).await;
    world.gone(HELM).await;
    world.gone(CLUSTER).await;
}

#[tokio::test]
async fn in_step_nothing_is_written() {
    let world = World::looking().await;
    world.helm(NAMED, "https://harbor.example.com").await;
    world.cluster(NAMED, "https://core.example.com").await;
    world.core_is(true).await;
    world.reason(HELM, "InStep").await;
    world.reason(CLUSTER, "InStep").await;
    world.nudge().await;
    let secrets = Api::<Secret>::namespaced(world.client.clone(), "pullgate-system");
    let written = async || {
        let mut versions = Vec::new();
        for object in records(&world.client, Kind::Registry).list(&ListParams::default()).await.unwrap() {
            versions.push((object.metadata.name, object.metadata.resource_version));
        }
        for object in secrets.list(&ListParams::default()).await.unwrap() {
            versions.push((object.metadata.name, object.metadata.resource_version));
        }
        versions
    };
    let before = written().await;
    for _ in 0..3 {
        world.nudge().await;
    }
    assert_eq!(written().await, before);
}
