//! Images of a Harbor: who gets a token for what, and who gets the image.

use reqwest::Method;
use serde_json::{Value, json};

use super::asking::{ADMIN, NOBODY, Told, client, get, head, request, send, told};
use super::harbor_robots::pull as pulls;
use crate::doubles::certificates::Leaf;
use crate::doubles::harbor::{Harbor, Options};
use crate::doubles::registry::{Access, Registry, pull, push};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// A Harbor with images in the projects `open` (public), `team-a` and `team-b`.
fn harbor() -> (Registry, Harbor) {
    let registry = Registry::start(&Access::Open);
    let options = Options {
        registry: Some(registry.host.clone()),
        frozen: std::time::Duration::from_millis(20),
        ..Options::default()
    };
    let harbor = Harbor::start(options);
    for (project, public) in [("open", true), ("team-a", false), ("team-b", false)] {
        harbor.add_project(project, public);
        assert!(push(&harbor.host(), &format!("{project}/app"), "1", Some(ADMIN)));
    }
    (registry, harbor)
}

/// A robot that pulls from these projects, as `user:password`.
async fn robot(harbor: &Harbor, name: &str, projects: &[&str]) -> String {
    let made =
        send(harbor, ADMIN, Method::POST, "/api/v2.0/robots", &pulls(name, projects)).await.is(201).json();
    format!("{}:{}", made["name"].as_str().unwrap(), made["secret"].as_str().unwrap())
}

async fn token(harbor: &Harbor, who: &str, scopes: &[&str]) -> Told {
    let parameters = [&["service=harbor-registry"], scopes].concat().join("&scope=");
    get(harbor, who, &format!("/service/token?{parameters}")).await
}

async fn manifest(harbor: &Harbor, token: &Value, path: &str) -> Told {
    let url = format!("{}/v2/{path}", harbor.url());
    told(client(harbor).get(url).bearer_auth(token.as_str().unwrap()).header("accept", OCI)).await.unwrap()
}

#[tokio::test]
async fn a_robot_pulls_from_its_projects_and_from_public_ones() {
    let (_registry, harbor) = harbor();
    let host = harbor.host();
    let of_a = robot(&harbor, "of-a", &["team-a"]).await;
    for (repository, robot_may, anybody_may) in
        [("open/app", true, true), ("team-a/app", true, false), ("team-b/app", false, false)]
    {
        assert_eq!(pull(&host, repository, "1", Some(&of_a)), robot_may, "{repository}");
        assert_eq!(pull(&host, repository, "1", None), anybody_may, "{repository}");
    }
    assert!(!push(&host, "team-a/app", "2", Some(&of_a)));
    // A wrong secret is nobody's, and nobody may pull this.
    assert!(pull(&host, "open/app", "1", Some("robot$of-a:Wr0ngsecret")));
    assert!(!pull(&host, "team-a/app", "1", Some("robot$of-a:Wr0ngsecret")));
    assert_eq!(harbor.project("team-a").unwrap().repositories.len(), 1);
    harbor.disable_robot(harbor.robots()[0].id);
    assert!(!pull(&host, "team-a/app", "1", Some(&of_a)));
}

#[tokio::test]
async fn without_an_authorization_even_public_images_are_behind_a_challenge() {
    let (_registry, harbor) = harbor();
    let bearer = format!("Bearer realm=\"{}/service/token\",service=\"harbor-registry\"", harbor.url());
    for (path, scope) in [
        ("", ""),
        ("open/app/manifests/1", ",scope=\"repository:open/app:pull\""),
        ("open/app/tags/list", ",scope=\"repository:open/app:pull\""),
        ("missing/app/manifests/1", ",scope=\"repository:missing/app:pull\""),
    ] {
        let told = get(&harbor, NOBODY, &format!("/v2/{path}")).await.refuses(401, "UNAUTHORIZED");
        assert_eq!(told.header("www-authenticate"), format!("{bearer}{scope}"));
    }
    // Whoever tried is asked for a password instead, or told nothing where there is no such project.
    let anonymous =
        token(&harbor, NOBODY, &["repository:team-a/app:pull"]).await.is(200).json()["token"].take();
    let told = manifest(&harbor, &anonymous, "team-a/app/manifests/1").await.refuses(401, "UNAUTHORIZED");
    assert_eq!(told.header("www-authenticate"), "Basic realm=\"harbor\"");
    let told = manifest(&harbor, &anonymous, "missing/app/manifests/1").await.refuses(401, "UNAUTHORIZED");
    assert_eq!(told.headers.get("www-authenticate").unwrap(), "");
    manifest(&harbor, &anonymous, "").await.is(401);
    get(&harbor, "admin:guess", "/v2/").await.refuses(401, "UNAUTHORIZED");
    get(&harbor, NOBODY, "/v2/_catalog").await.refuses(401, "UNAUTHORIZED");
    assert_eq!(get(&harbor, ADMIN, "/v2/_catalog").await.is(200).json()["repositories"][0], "open/app");
    get(&harbor, ADMIN, "/v2/app/manifests/1").await.refuses(400, "BAD_REQUEST");

    let elsewhere = Options { external_url: Some("https://harbor.example.com".into()), ..Options::default() };
    let told = get(&Harbor::start(elsewhere), NOBODY, "/v2/").await.is(401);
    assert!(told.header("www-authenticate").contains("realm=\"https://harbor.example.com/service/token\""));
}

#[tokio::test]
async fn a_token_holds_what_is_allowed_and_not_what_was_asked_for() {
    let (_registry, harbor) = harbor();
    token(&harbor, NOBODY, &[]).await.is(401);
    token(&harbor, "admin:guess", &[]).await.is(401);
    token(&harbor, ADMIN, &[]).await.is(200);
    // With a scope, wrong credentials are nobody's, and nobody gets a token.
    let scopes = ["repository:open/app:pull,push", "repository:team-a/app:pull"];
    let nobodys = token(&harbor, "admin:guess", &scopes).await.is(200).json();
    assert_eq!(nobodys["expires_in"], 1800);
    manifest(&harbor, &nobodys["token"], "open/app/manifests/1").await.is(200);
    manifest(&harbor, &nobodys["token"], "team-a/app/manifests/1").await.is(401);

    let of_a = robot(&harbor, "of-a", &["team-a"]).await;
    let robots =
        token(&harbor, &of_a, &["repository:team-a/app:pull repository:team-b/app:pull"]).await.json();
    manifest(&harbor, &robots["token"], "").await.is(200);
    manifest(&harbor, &robots["token"], "team-a/app/manifests/1").await.is(200);
    manifest(&harbor, &robots["token"], "team-b/app/manifests/1").await.is(401);
    manifest(&harbor, &json!("not.a.token"), "team-a/app/manifests/1").await.is(401);
    token(&harbor, ADMIN, &["repository:app:pull"]).await.refuses(500, "UNKNOWN");
    get(&harbor, ADMIN, "/service/token?service=other").await.is(400);
}

#[tokio::test]
async fn a_missing_tag_is_not_found_and_a_policy_keeps_images_back() {
    let (_registry, harbor) = harbor();
    let path = "/v2/team-a/app/manifests";
    let with_types = async |method, path: &str| {
        told(request(&harbor, ADMIN, method, path).header("accept", OCI)).await.unwrap()
    };
    get(&harbor, ADMIN, &format!("{path}/2")).await.refuses(404, "NOT_FOUND");
    get(&harbor, ADMIN, "/v2/team-a/missing/tags/list").await.refuses(404, "NOT_FOUND");
    get(&harbor, ADMIN, &format!("{path}/1")).await.is(404);
    let digest = with_types(Method::HEAD, &format!("{path}/1")).await.is(200);
    assert!(digest.header("docker-content-digest").starts_with("sha256:"));
    harbor.set_blocked("team-a", true);
    with_types(Method::GET, &format!("{path}/1")).await.refuses(412, "PROJECTPOLICYVIOLATION");
    // The policy is not asked on HEAD.
    with_types(Method::HEAD, &format!("{path}/1")).await.is(200);
    assert!(!pull(&harbor.host(), "team-a/app", "1", Some(ADMIN)));
    harbor.set_blocked("team-a", false);
    assert!(pull(&harbor.host(), "team-a/app", "1", Some(ADMIN)));
    harbor.set_read_only(true);
    assert!(!push(&harbor.host(), "team-a/app", "3", Some(ADMIN)));
}

#[tokio::test]
async fn it_works_over_tls_too() {
    let registry = Registry::start(&Access::Open);
    let options =
        Options { tls: Some(Leaf::Good), registry: Some(registry.host.clone()), ..Options::default() };
    let harbor = Harbor::start(options);
    harbor.add_project("open", true);
    assert!(push(&harbor.host(), "open/app", "1", Some(ADMIN)));
    assert!(pull(&harbor.host(), "open/app", "1", None));
    head(&harbor, ADMIN, "/v2/open/app/manifests/2").await.is(404);
}
