//! An Artifactory: who is told what, tokens that pull from one repository, and the suspension of those who guess.

use reqwest::Method;
use serde_json::{Value, json};

use super::asking::{NOBODY, Told, client, delete, get, send, told};
use crate::doubles::artifactory::{Artifactory, Options};
use crate::doubles::certificates::Leaf;
use crate::doubles::registry::{Access, Registry, pull, push};

const ADMIN: &str = "admin:Art1factory";
const JO: &str = "jo:Pa55word";
const TOKENS: &str = "/access/api/v1/tokens";
const GB: u64 = 1 << 30;

/// One with the docker repositories `team-a` and `team-b`, and `jo:Pa55word` who may read the first.
fn artifactory(options: Options) -> Artifactory {
    let artifactory = Artifactory::start(options);
    artifactory.add_repository("team-a", "Docker", 59 * GB + GB / 2);
    artifactory.add_repository("team-b", "Docker", 512);
    artifactory.add_repository("jars", "Maven", 3 * 1024 * 1024);
    artifactory.add_user("jo", "Pa55word", &["team-a", "jars"]);
    artifactory
}

async fn api(artifactory: &Artifactory, who: &str, path: &str) -> Told {
    get(artifactory, who, &format!("/artifactory/api/{path}")).await
}

async fn make(artifactory: &Artifactory, who: &str, wanted: &Value) -> Told {
    send(artifactory, who, Method::POST, TOKENS, wanted).await
}

/// What a token for one repository asks for.
fn reader(user: &str, key: &str, seconds: i64) -> Value {
    json!({"username": user, "scope": format!("artifact:{key}/**:r"), "expires_in": seconds, "description": "pullgate"})
}

#[tokio::test]
async fn it_tells_of_itself_and_of_what_may_be_read() {
    let artifactory = artifactory(Options::default());
    assert_eq!(api(&artifactory, NOBODY, "system/ping").await.is(200).text, "OK");
    api(&artifactory, NOBODY, "system/version").await.is(401);
    assert_eq!(api(&artifactory, JO, "system/version").await.is(200).json()["version"], "7.77.9");
    let refused = api(&artifactory, "jo:guess", "system/ping").await.is(401);
    assert_eq!(refused.json()["errors"][0], json!({"status": 401, "message": "Bad credentials"}));

    let keys = async |who: &str, query: &str| {
        let listed = api(&artifactory, who, &format!("repositories{query}")).await.is(200).json();
        listed.as_array().unwrap().iter().map(|r| r["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys(ADMIN, "").await, ["jars", "team-a", "team-b"]);
    assert_eq!(keys(ADMIN, "?packageType=docker").await, ["team-a", "team-b"]);
    assert_eq!(keys(JO, "?packageType=docker").await, ["team-a"]);
    let listed = api(&artifactory, JO, "repositories?packageType=docker").await.json();
    let url = format!("{}/artifactory/team-a", artifactory.url());
    assert_eq!(listed, json!([{"key": "team-a", "type": "LOCAL", "packageType": "Docker", "url": url}]));
}

#[tokio::test]
async fn storage_and_the_way_of_docker_are_for_administrators() {
    for in_bytes in [true, false] {
        let artifactory = artifactory(Options { used_space_in_bytes: in_bytes, ..Options::default() });
        api(&artifactory, JO, "storageinfo").await.is(403);
        let rows =
            api(&artifactory, ADMIN, "storageinfo").await.is(200).json()["repositoriesSummaryList"].take();
        let used =
            |key: &str| rows.as_array().unwrap().iter().find(|row| row["repoKey"] == key).unwrap().clone();
        for (key, text, bytes) in [
            ("team-a", "59.50 GB", 59 * GB + GB / 2),
            ("team-b", "512 bytes", 512),
            ("jars", "3.00 MB", 3 * 1024 * 1024),
            ("TOTAL", "59.50 GB", 59 * GB + GB / 2 + 512 + 3 * 1024 * 1024),
        ] {
            assert_eq!(used(key)["usedSpace"], text);
            assert_eq!(used(key).get("usedSpaceInBytes"), in_bytes.then_some(&json!(bytes)));
        }
    }
    let artifactory = artifactory(Options::default());
    let path = "system/configuration/webServer";
    api(&artifactory, JO, path).await.is(403);
    for method in ["REPOPATHPREFIX", "SUBDOMAIN", "PORTPERREPO"] {
        artifactory.set_docker_method(Some(method));
        assert_eq!(api(&artifactory, ADMIN, path).await.is(200).json()["dockerReverseProxyMethod"], method);
    }
    artifactory.set_docker_method(None);
    api(&artifactory, ADMIN, path).await.is(404);
}

#[tokio::test]
async fn five_wrong_passwords_suspend_a_user() {
    let artifactory = artifactory(Options::default());
    for _ in 0..4 {
        api(&artifactory, "jo:guess", "system/ping").await.is(401);
    }
    // The right one starts the count anew.
    api(&artifactory, JO, "system/ping").await.is(200);
    for _ in 0..5 {
        api(&artifactory, "jo:guess", "system/ping").await.is(401);
    }
    for path in ["/artifactory/api/system/ping", "/v2/", "/v2/token"] {
        let refused = get(&artifactory, JO, path).await.is(403);
        assert!(refused.text.contains("recurrent login failures"), "{}", refused.text);
    }
    make(&artifactory, JO, &json!({})).await.refuses(403, "FORBIDDEN");
    api(&artifactory, ADMIN, "system/ping").await.is(200);
    artifactory.forgive("jo");
    api(&artifactory, JO, "system/ping").await.is(200);
}

#[tokio::test]
async fn who_may_have_which_token() {
    let artifactory = artifactory(Options::default());
    let made = make(&artifactory, ADMIN, &reader("jo", "team-a", 86400)).await.is(200).json();
    assert_eq!(made["expires_in"], 86400);
    let kept = artifactory.tokens().pop().unwrap();
    assert_eq!((json!(kept.id), kept.subject.as_str()), (made["token_id"].clone(), "jo"));
    assert_eq!((kept.scope.as_str(), kept.description.as_str()), ("artifact:team-a/**:r", "pullgate"));

    make(&artifactory, JO, &json!({"expires_in": 600})).await.is(200);
    for forbidden in [reader("jo", "team-a", 600), json!({"username": "admin"})] {
        make(&artifactory, JO, &forbidden).await.refuses(403, "FORBIDDEN");
    }
    make(&artifactory, NOBODY, &json!({})).await.refuses(401, "UNAUTHORIZED");
    make(&artifactory, "jo:guess", &json!({})).await.refuses(401, "UNAUTHORIZED");
    make(&artifactory, ADMIN, &json!({"expires_in": "long"})).await.refuses(400, "BAD_REQUEST");
    for scope in ["artifact:team-a:r", "artifact:team-a/**:x", "all", ""] {
        make(&artifactory, ADMIN, &json!({"scope": scope})).await.refuses(400, "INVALID_SCOPE");
    }
    let scope = |keys: usize| vec!["artifact:0123456789/**:r"; keys].join(" ");
    make(&artifactory, ADMIN, &json!({"scope": scope(20)})).await.is(200);
    make(&artifactory, ADMIN, &json!({"scope": scope(21)})).await.refuses(400, "INVALID_SCOPE");
    let for_ever = make(&artifactory, ADMIN, &json!({"expires_in": 0})).await.is(200).json();
    assert_eq!(for_ever.get("expires_in"), None);
    artifactory.forbid_tokens();
    make(&artifactory, ADMIN, &json!({})).await.refuses(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_token_is_a_password_of_its_subject_alone_and_pulls_from_its_repository_alone() {
    let registry = Registry::start(&Access::Open);
    let artifactory = artifactory(Options { registry: Some(registry.host.clone()), ..Options::default() });
    let host = artifactory.host();
    assert!(push(&host, "team-a/app", "1", Some(ADMIN)) && push(&host, "team-b/app", "1", Some(ADMIN)));
    let made = make(&artifactory, ADMIN, &reader("ci", "team-a", 86400)).await.json();
    let token = made["access_token"].as_str().unwrap();
    let (ci, jo) = (format!("ci:{token}"), format!("jo:{token}"));
    assert!(pull(&host, "team-a/app", "1", Some(&ci)));
    assert!(!pull(&host, "team-b/app", "1", Some(&ci)));
    assert!(!push(&host, "team-a/app", "2", Some(&ci)));
    assert!(!pull(&host, "team-a/app", "1", Some(&jo)), "not the subject");
    assert!(pull(&host, "team-a/app", "1", Some(JO)));
    assert!(!pull(&host, "team-a/app", "1", None));

    let manifest = "/v2/team-a/app/manifests/1";
    let as_bearer = async || {
        told(client(&artifactory).get(artifactory.url() + manifest).bearer_auth(token)).await.unwrap()
    };
    let oci = "application/vnd.oci.image.manifest.v1+json";
    let request = client(&artifactory).get(artifactory.url() + manifest).header("accept", oci);
    told(request.bearer_auth(token)).await.unwrap().is(200);
    get(&artifactory, JO, "/v2/").await.is(200);
    get(&artifactory, JO, "/v2/_catalog").await.refuses(403, "DENIED");
    get(&artifactory, ADMIN, "/v2/missing/app/manifests/1").await.refuses(404, "NAME_UNKNOWN");
    get(&artifactory, JO, "/v2/team-b/app/manifests/1").await.refuses(403, "DENIED");
    let challenge = get(&artifactory, NOBODY, manifest).await.refuses(401, "UNAUTHORIZED");
    let realm = format!("Bearer realm=\"{}/v2/token\",service=\"{host}\"", artifactory.url());
    assert_eq!(challenge.header("www-authenticate"), format!("{realm},scope=\"repository:team-a/app:pull\""));

    artifactory.age_tokens(86400);
    as_bearer().await.refuses(401, "UNAUTHORIZED");
    assert!(!pull(&host, "team-a/app", "1", Some(&ci)));
}

#[tokio::test]
async fn a_token_is_taken_back_unless_it_is_a_short_one() {
    let artifactory = artifactory(Options { tls: Some(Leaf::Good), ..Options::default() });
    let works = async |made: &Value| {
        let who = format!("ci:{}", made["access_token"].as_str().unwrap());
        get(&artifactory, &who, "/v2/token").await.status == 200
    };
    let path = |made: &Value| format!("{TOKENS}/{}", made["token_id"].as_str().unwrap());
    let made = make(&artifactory, ADMIN, &reader("ci", "team-a", 86400)).await.json();
    assert!(works(&made).await);
    delete(&artifactory, JO, &path(&made)).await.refuses(403, "FORBIDDEN");
    delete(&artifactory, ADMIN, &path(&made)).await.is(200);
    assert!(!works(&made).await);
    delete(&artifactory, ADMIN, &path(&made)).await.refuses(404, "NOT_FOUND");
    assert!(artifactory.tokens().is_empty());
    let short = make(&artifactory, ADMIN, &reader("ci", "team-a", 600)).await.json();
    delete(&artifactory, ADMIN, &path(&short)).await.refuses(404, "NOT_FOUND");
    assert!(works(&short).await);
    // Without a registry behind it there are no images.
    get(&artifactory, ADMIN, "/v2/team-a/app/manifests/1").await.refuses(404, "MANIFEST_UNKNOWN");
}
