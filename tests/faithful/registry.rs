//! The real registry in its three modes, and the server that gives out its tokens.

use serde_json::json;

use super::asking::{ADMIN, NOBODY, Told, get, told};
use crate::doubles::certificates::Leaf;
use crate::doubles::faults::Fault;
use crate::doubles::forwarding::Front;
use crate::doubles::registry::{Access, Registry, pull, push};
use crate::doubles::token_server::{Asked, Telling, TokenServer};

/// A registry with tokens, and `bob:s3cret` who may do all in `team-a/`.
fn with_tokens() -> (TokenServer, Registry) {
    let tokens = TokenServer::start();
    tokens.add_user("bob", "s3cret", &["team-a/"]);
    let registry = Registry::start(&Access::Tokens(&tokens));
    tokens.front(&registry);
    (tokens, registry)
}

async fn ask(tokens: &TokenServer, who: &str, scope: &str) -> Told {
    get(tokens, who, &format!("/token?service=registry+of+the+test&scope={scope}")).await
}

/// How the registry answers to this token.
async fn with_token(tokens: &TokenServer, registry: &Registry, token: &str, path: &str) -> Told {
    let request = super::asking::client(tokens).get(format!("{}{path}", registry.url()));
    told(request.bearer_auth(token)).await.unwrap()
}

#[tokio::test]
async fn one_is_open_and_one_has_a_password() {
    let open = Registry::start(&Access::Open);
    assert!(push(&open.host, "team-a/app", "1", None));
    assert!(pull(&open.host, "team-a/app", "1", None));
    let closed = Registry::start(&Access::Password("pusher", "s3cret:with-colon"));
    assert!(!push(&closed.host, "team-a/app", "1", None));
    assert!(push(&closed.host, "team-a/app", "1", Some("pusher:s3cret:with-colon")));
    assert!(!pull(&closed.host, "team-a/app", "1", None));
    assert!(!pull(&closed.host, "team-a/app", "1", Some("pusher:s3cret")));
}

#[tokio::test]
async fn one_trusts_a_token_server_on_another_host_or_on_its_own() {
    let (tokens, registry) = with_tokens();
    let bob = Some("bob:s3cret");
    for host in [&registry.host, &tokens.host()] {
        assert!(push(host, "team-a/app", "1", bob));
        assert!(!push(host, "team-b/app", "1", bob), "with fewer rights than it asked for");
        assert!(pull(host, "team-a/app", "1", bob));
        assert!(!pull(host, "team-a/app", "1", Some("bob:guess")));
        assert!(!pull(host, "team-a/app", "1", None));
    }
    tokens.set_public(&["team-a/app"]);
    assert!(pull(&registry.host, "team-a/app", "1", None));
    assert!(!push(&registry.host, "team-a/app", "2", None));
    let asked = tokens.asked();
    let pull_asked = |user: Option<&str>| Asked {
        user: user.map(str::to_owned),
        scopes: vec!["repository:team-a/app:pull".to_owned()],
    };
    assert!(asked.contains(&pull_asked(None)) && asked.contains(&pull_asked(Some("bob"))), "{asked:?}");
    let challenge = get(&tokens, NOBODY, "/v2/").await.is(401);
    let realm = format!("Bearer realm=\"{}\",service=\"registry of the test\"", tokens.realm());
    assert_eq!(challenge.header("www-authenticate"), realm);
}

#[tokio::test]
async fn a_token_is_told_in_several_ways_and_may_hold_nothing() {
    let (tokens, registry) = with_tokens();
    ask(&tokens, ADMIN, "").await.is(401);
    let empty = ask(&tokens, "bob:s3cret", "repository:team-b/app:pull").await.is(200).json();
    assert_eq!(empty["expires_in"], 300);
    let refused =
        with_token(&tokens, &registry, empty["token"].as_str().unwrap(), "/v2/team-b/app/tags/list").await;
    assert!(refused.refuses(401, "UNAUTHORIZED").header("www-authenticate").contains("insufficient_scope"));

    tokens.tell(Telling { field: "access_token", expires_in: None });
    let told = ask(&tokens, "bob:s3cret", "repository:team-a/app:pull").await.is(200).json();
    assert_eq!((told.get("token"), told.get("expires_in")), (None, None));
    let token = told["access_token"].as_str().unwrap();
    with_token(&tokens, &registry, token, "/v2/").await.is(200);
    with_token(&tokens, &registry, token, "/v2/team-a/app/tags/list").await.refuses(404, "NAME_UNKNOWN");
    with_token(&tokens, &registry, token, "/v2/_catalog").await.is(401);

    tokens.add_user("root", "s3cret", &[""]);
    let told = ask(&tokens, "root:s3cret", "registry:catalog:*").await.is(200).json();
    let catalog =
        with_token(&tokens, &registry, told["access_token"].as_str().unwrap(), "/v2/_catalog").await;
    assert_eq!(catalog.is(200).json(), json!({"repositories": []}));

    tokens.set_life(-90);
    let ended = ask(&tokens, "bob:s3cret", "repository:team-a/app:pull").await.is(200).json();
    with_token(&tokens, &registry, ended["access_token"].as_str().unwrap(), "/v2/").await.is(401);
}

#[tokio::test]
async fn a_real_registry_gets_tls_a_journal_and_faults_by_one_in_front() {
    let registry = Registry::start(&Access::Password("bob", "s3cret"));
    let front = Front::start(Some(Leaf::Good), &registry.host);
    assert!(push(&front.host(), "team-a/app", "1", Some("bob:s3cret")));
    assert!(pull(&registry.host, "team-a/app", "1", Some("bob:s3cret")));
    get(&front, "bob:s3cret", "/v2/_catalog").await.is(200);
    get(&front, NOBODY, "/v2/_catalog").await.is(401);
    assert_eq!(front.journal.calls("/v2/_catalog"), 2);
    front.faults.on("/v2/", Fault::TooManyFor(1));
    get(&front, "bob:s3cret", "/v2/_catalog").await.refuses(429, "TOOMANYREQUESTS");
}
