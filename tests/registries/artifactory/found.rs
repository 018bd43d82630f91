//! What an Artifactory has, and how its images are called.

use pullgate::domain::record::Kind;
use pullgate::registry::fault::Fault;
use serde_json::{Value, json};

use super::{PASSWORD, artifactory, client, platform, status};
use crate::doubles::artifactory::Options;
use crate::doubles::registry::{Access, Registry, push};
use crate::registries::platform::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn its_docker_repositories_are_counted_and_measured_in_both_forms() {
    for in_bytes in [true, false] {
        let artifactory = artifactory(Options { used_space_in_bytes: in_bytes, ..Options::default() });
        let platform = platform(&artifactory, "admin", PASSWORD, json!({})).await;
        eventually("it is measured", async || status(&platform).await["storage"] == (3_i64 << 30) + 512)
            .await;
        let status = status(&platform).await;
        assert_eq!((&status["spaces"], &status["version"]), (&json!(2), &json!("7.77.9")), "{status}");
        assert_eq!(status.get("repositories"), None, "it is not known");
        assert!(platform.spaces().await.is_empty(), "nobody binds a workspace's repositories");
        for of in ["Reachable", "CredentialsValid", "Discovered"] {
            assert_eq!(platform.condition(Kind::Registry, "corp", of).await[0], "True", "{of}");
        }
    }
    // Who is no administrator sees what it may read, and no storage.
    let artifactory = artifactory(Options::default());
    let platform = platform(&artifactory, "jo", "Pa55word", json!({})).await;
    eventually("it is discovered", async || status(&platform).await["spaces"] == 1).await;
    let reason = platform.condition(Kind::Registry, "corp", "CredentialsValid").await;
    assert_eq!(reason[..2], ["True", "NotAnAdmin"]);
    assert_eq!(status(&platform).await.get("storage"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_says_how_images_are_called_by_each_method() {
    for (method, word, called) in [
        (Some("REPOPATHPREFIX"), json!("Path"), ["127.0.0.1:PORT/team-a/", "127.0.0.1:PORT/team-b/"]),
        (Some("SUBDOMAIN"), json!("Subdomain"), ["team-a.127.0.0.1:PORT/", "team-b.127.0.0.1:PORT/"]),
        (Some("PORTPERREPO"), json!("Port"), ["127.0.0.1:5001/", "127.0.0.1:5002/"]),
        // Told to nobody in the cloud: the record's hosts say it.
        (None, Value::Null, ["127.0.0.1:PORT/team-a/", "127.0.0.1:PORT/team-b/"]),
    ] {
        let artifactory = artifactory(Options::default());
        artifactory.set_docker_method(method);
        artifactory.set_port("team-a", 5001);
        artifactory.set_port("team-b", 5002);
        let platform = platform(&artifactory, "admin", PASSWORD, json!({})).await;
        let port = artifactory.host().split_once(':').unwrap().1.to_owned();
        let called = called.map(|prefix| prefix.replace("PORT", &port));
        eventually("it is told", async || status(&platform).await["imagePrefixes"] == json!(called)).await;
        assert_eq!(status(&platform).await["dockerMethod"], word);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_resolved_by_each_method_at_the_registrys_own_address() {
    let images = Registry::start(&Access::Open);
    let artifactory = artifactory(Options { registry: Some(images.host.clone()), ..Options::default() });
    assert!(push(&artifactory.host(), "team-a/web/app", "1", Some("admin:Art1factory")));
    artifactory.set_port("team-a", 5001);
    let host = artifactory.host();
    for (method, host, repository) in [
        ("REPOPATHPREFIX", host.as_str(), "team-a/web/app"),
        ("SUBDOMAIN", "team-a.art.example.com", "web/app"),
        ("PORTPERREPO", "127.0.0.1:5001", "web/app"),
    ] {
        artifactory.set_docker_method(Some(method));
        let client = client(&artifactory);
        client.check().await.unwrap();
        artifactory.journal.clear();
        let digest = client.resolve(host, repository, "1").await.unwrap().unwrap();
        assert!(digest.starts_with("sha256:"), "{digest}");
        assert_eq!(client.resolve(host, repository, &digest).await.unwrap(), Some(digest.clone()));
        assert_eq!(client.resolve(host, repository, "2").await.unwrap(), None);
        let at = "/artifactory/api/docker/team-a/v2/web/app/manifests/1";
        assert!(artifactory.journal.calls(at) > 0, "{method}");
        assert_eq!(client.resolve(&artifactory.host(), "team-a", "1").await.unwrap(), None, "no image");
    }
    let client = client(&artifactory);
    client.check().await.unwrap();
    assert!(matches!(client.resolve("127.0.0.1:5009", "web/app", "1").await, Err(Fault::Settings(_))));
}
