//! How a registry that cannot be worked with is told from one that can, and where no credential ever goes.

use std::sync::Arc;

use ipnet::IpNet;
use pullgate::domain::record::{RegistryType, Tls};
use pullgate::registry::address::AddressPolicy;
use pullgate::registry::fault::Fault;
use pullgate::registry::harbor::NewRobot;
use pullgate::registry::http::Target;
use pullgate::registry::{self, AccountRole, RegistryClient};
use pullgate::store::Credential;
use pullgate::types::v1alpha1::RobotLevel;
use url::Url;

use crate::doubles::bait::Bait;
use crate::doubles::certificates::Leaf;
use crate::doubles::faults::Fault as Wrong;
use crate::doubles::harbor::{Harbor, Options};
use crate::doubles::journal::Seen;
use crate::doubles::registry::{Access, Registry};
use crate::doubles::serving::Refusing;
use crate::doubles::token_server::TokenServer;

const PASSWORD: &str = "Harbor12345";

/// Where to go and as whom; of the platform unless a test says otherwise.
pub(super) fn target(url: &str, login: Option<(&str, &str)>) -> Target {
    Target {
        url: Url::parse(url).unwrap(),
        realm: None,
        tls: Tls::default(),
        reach: AddressPolicy::Anywhere,
        credential: login.map(|(username, password)| Credential {
            username: username.into(),
            password: password.into(),
            audience: String::new(),
        }),
    }
}

pub(super) fn harbor_at(url: &str) -> Arc<dyn RegistryClient> {
    registry::client(RegistryType::Harbor, target(url, Some(("admin", PASSWORD)))).unwrap()
}

fn docker(target: Target) -> Arc<dyn RegistryClient> {
    registry::client(RegistryType::Docker, target).unwrap()
}

async fn reason(client: &dyn RegistryClient) -> &'static str {
    match client.check().await {
        Ok(checked) => panic!("it can be worked with: {checked:?}"),
        Err(fault) => {
            let text = fault.to_string();
            assert!(!text.contains(PASSWORD) && text.len() > 20, "{text}");
            fault.reason()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_fails_says_why() {
    assert_eq!(reason(&*harbor_at("http://no-such-host.invalid")).await, "NameResolution");
    let refusing = Refusing::start();
    assert_eq!(reason(&*harbor_at(&format!("http://{}", refusing.host()))).await, "ConnectionRefused");
    let harbor = Harbor::start(Options { tls: Some(Leaf::Good), ..Options::default() });
    let tls = Tls { ca: Some(harbor.ca().to_owned()), skip_verify: false };
    let good = Target { tls, ..target(&harbor.url(), Some(("admin", PASSWORD))) };
    registry::client(RegistryType::Harbor, good.clone()).unwrap().check().await.unwrap();
    let unread = Target { tls: Tls { ca: Some("no PEM".into()), skip_verify: false }, ..good };
    assert_eq!(registry::client(RegistryType::Harbor, unread).err().unwrap().reason(), "Settings");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_harbor_or_too_old_or_not_well_is_told() {
    let registry = Registry::start(&Access::Open);
    assert_eq!(reason(&*harbor_at(&registry.url())).await, "WrongType");
    let harbor = Harbor::start(Options::default());
    let client = harbor_at(&harbor.url());
    for version in ["2.1.0", "2.3.5"] {
        harbor.set_version(version);
        assert_eq!(reason(&*client).await, "TooOld", "{version}");
    }
    for version in ["2.4.0", "2.9.1", "2.15.0"] {
        harbor.set_version(version);
        let checked = client.check().await.unwrap();
        assert!(checked.version.contains(version) && checked.tier == AccountRole::SystemAdmin);
    }
    harbor.set_read_only(true);
    assert!(client.check().await.unwrap().read_only);
    harbor.make_ill("redis", "connection refused");
    assert_eq!(client.check().await.unwrap().unhealthy, ["redis"]);
    for (wrong, expected) in [
        (Wrong::Html, "WrongType"),
        (Wrong::HalfJson, "WrongType"),
        (Wrong::Status(500), "Failing"),
        (Wrong::BadGateway, "Failing"),
        (Wrong::TooManyFor(30), "RateLimited"),
        (Wrong::Truncated, "Interrupted"),
        (Wrong::Garbage, "Interrupted"),
        (Wrong::Closed, "Interrupted"),
        (Wrong::Endless, "TooLarge"),
        (Wrong::Redirect(302, "https://sso.example.com/login".into()), "Redirected"),
    ] {
        let harbor = Harbor::start(Options::default());
        harbor.faults.always(wrong.clone());
        assert_eq!(reason(&*harbor_at(&harbor.url())).await, expected, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_held_back() {
    let harbor = Harbor::start(Options::default());
    let wrong = target(&harbor.url(), Some(("admin", "wrong")));
    let client = registry::client(RegistryType::Harbor, wrong).unwrap();
    assert_eq!(client.check().await.unwrap_err(), Fault::CredentialsRejected);
    let start = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(client.check().await.unwrap_err(), Fault::CredentialsHeldBack);
    }
    assert!(start.elapsed().as_millis() < 1400, "each wrong password takes 1.5 s");
    let shown = harbor.journal.requests().into_iter().filter(|seen| seen.authorization().is_some());
    assert_eq!(shown.count(), 1);
    let nobody = registry::client(RegistryType::Harbor, target(&harbor.url(), None)).unwrap();
    assert_eq!(nobody.check().await.unwrap_err(), Fault::CredentialsMissing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_failure_is_tried_again_and_a_pause_that_is_asked_for_is_kept() {
    let harbor = Harbor::start(Options::default());
    let client = harbor_at(&harbor.url());
    for passing in [Wrong::Status(503), Wrong::Closed, Wrong::TooManyFor(1), Wrong::TooManyUntil(2)] {
        let paused = matches!(passing, Wrong::TooManyFor(_) | Wrong::TooManyUntil(_));
        harbor.faults.next(1, passing.clone());
        let start = std::time::Instant::now();
        client.check().await.unwrap_or_else(|fault| panic!("{passing:?}: {fault}"));
        assert!(!paused || start.elapsed().as_millis() >= 900, "{passing:?}");
    }
    assert!(!harbor.journal.requests().iter().any(Seen::has_cookie), "a session cookie was sent back");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed_and_carry_no_credential() {
    for status in [301, 302, 303, 307, 308] {
        let bait = Bait::start(None);
        let harbor = Harbor::start(Options::default());
        let client = harbor_at(&harbor.url());
        client.check().await.unwrap();
        harbor.faults.always(Wrong::Redirect(status, format!("{}/api/v2.0/users/current", bait.url())));
        assert_eq!(reason(&*client).await, "Redirected");
        assert!(matches!(client.resolve("host", "team/app", "1").await, Err(Fault::Redirected(_))));
        let (level, projects) = (RobotLevel::System, &["team".into()]);
        let new = NewRobot { name: "robot", level, description: "", days: 1, projects };
        assert!(matches!(client.harbor().unwrap().mint(&new).await, Err(Fault::Redirected(_))));
        assert!(matches!(client.harbor().unwrap().remove_robot(1).await, Err(Fault::Redirected(_))));
        assert!(bait.journal.requests().is_empty(), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_registry_is_open_or_asks_for_a_password_or_for_a_token() {
    let open = Registry::start(&Access::Open);
    let checked = docker(target(&open.url(), None)).check().await.unwrap();
    assert_eq!((checked.anonymous, checked.tier), (Some(true), AccountRole::Anonymous));

    let closed = Registry::start(&Access::Password("user", "secret"));
    let checked = docker(target(&closed.url(), None)).check().await.unwrap();
    assert_eq!(checked.anonymous, Some(false), "no password means public only where that is so");
    let checked = docker(target(&closed.url(), Some(("user", "secret")))).check().await.unwrap();
    assert_eq!(checked.anonymous, Some(false));
    let wrong = docker(target(&closed.url(), Some(("user", "wrong"))));
    assert_eq!(reason(&*wrong).await, "CredentialsRejected");
    assert_eq!(wrong.check().await.unwrap_err(), Fault::CredentialsHeldBack);

    let tokens = TokenServer::start();
    tokens.add_user("user", "secret", &["team/"]);
    let registry = Registry::start(&Access::Tokens(&tokens));
    tokens.front(&registry);
    let client = docker(target(&tokens.url(), Some(("user", "secret"))));
    client.check().await.unwrap();
    assert_eq!(reason(&*docker(target(&tokens.url(), Some(("user", "wrong"))))).await, "CredentialsRejected");

    let web = Harbor::start(Options::default());
    web.faults.always(Wrong::Html);
    assert_eq!(reason(&*docker(target(&web.url(), None))).await, "WrongType");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_server_elsewhere_gets_nothing_unless_the_record_names_it() {
    let tokens = TokenServer::start();
    tokens.add_user("user", "secret", &["team/"]);
    let registry = Registry::start(&Access::Tokens(&tokens));
    let elsewhere = target(&registry.url(), Some(("user", "secret")));
    assert_eq!(reason(&*docker(elsewhere.clone())).await, "ForeignRealm");
    assert!(tokens.asked().is_empty(), "not even without a credential");
    let nobody = docker(target(&registry.url(), None));
    assert_eq!(reason(&*nobody).await, "ForeignRealm");
    assert!(tokens.asked().is_empty());

    let realm = Url::parse(&tokens.realm()).unwrap();
    let named = docker(Target { realm: Some(realm.clone()), ..elsewhere.clone() });
    named.check().await.unwrap();
    assert!(!tokens.asked().is_empty());
    // Another port is another server.
    let mut other = realm;
    other.set_port(Some(1)).unwrap();
    assert_eq!(reason(&*docker(Target { realm: Some(other), ..elsewhere })).await, "ForeignRealm");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspaces_registry_reaches_public_addresses_and_allowed_ranges_alone() {
    let harbor = Harbor::start(Options::default());
    let port = harbor.host().rsplit(':').next().unwrap().to_owned();
    let reach = |ranges: &[&str]| AddressPolicy::Public {
        and: ranges.iter().map(|range| range.parse::<IpNet>().unwrap()).collect(),
    };
    let at = |url: &str, reach: AddressPolicy| {
        registry::client(RegistryType::Harbor, Target { reach, ..target(url, Some(("admin", PASSWORD))) })
            .unwrap()
    };
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
    ] {
        let client = at(&format!("http://{host}:{port}"), reach(&[]));
        assert_eq!(reason(&*client).await, "AddressForbidden", "{host}");
    }
    assert!(harbor.journal.requests().is_empty());
    at(&harbor.url(), reach(&["127.0.0.0/8"])).check().await.unwrap();
    at(&format!("http://localhost:{port}"), reach(&["127.0.0.1/32"])).check().await.unwrap();
    assert_eq!(reason(&*at(&harbor.url(), reach(&["10.0.0.0/8"]))).await, "AddressForbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tag_names_is_told_by_every_kind_of_registry() {
    use crate::doubles::registry::push;
    let (open, closed) =
        (Registry::start(&Access::Open), Registry::start(&Access::Password("user", "secret")));
    push(&open.host, "team/app", "1", None);
    push(&closed.host, "team/app", "1", Some("user:secret"));
    let harbor = Harbor::start(Options { registry: Some(open.host.clone()), ..Options::default() });
    harbor.add_project("team", false);
    let clients = [
        docker(target(&open.url(), None)),
        docker(target(&closed.url(), Some(("user", "secret")))),
        harbor_at(&harbor.url()),
    ];
    for client in clients {
        let digest = client.resolve("host", "team/app", "1").await.unwrap().unwrap();
        assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
        assert_eq!(client.resolve("host", "team/app", &digest).await.unwrap(), Some(digest));
        assert_eq!(client.resolve("host", "team/app", "2").await.unwrap(), None);
        assert_eq!(client.resolve("host", "team/none", "1").await.unwrap(), None);
    }
    let nobody = docker(target(&closed.url(), None));
    assert_eq!(nobody.resolve("host", "team/app", "1").await.unwrap_err(), Fault::CredentialsMissing);
}
