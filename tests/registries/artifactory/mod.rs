//! A workspace's Artifactory: what it has, how docker comes to it, and the token that the workspace's namespaces pull with.

mod found;
mod secrets;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pullgate::controllers::registries::Settings;
use pullgate::credentials::LookedUp;
use pullgate::domain::record::{Kind, RegistryType, Tls};
use pullgate::registry::address::AddressPolicy;
use pullgate::registry::http::Target;
use pullgate::registry::{self, RegistryClient};
use pullgate::store::{Credential, CredentialChange, Precondition};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use url::Url;

use super::platform::{INTERVAL, Platform};
use crate::doubles::artifactory::{Artifactory, Options};
use crate::support::memory_store::MemoryStore;

const PASSWORD: &str = "Art1factory";
const OVERLAP: Duration = Duration::from_millis(500);

/// One with the docker repositories `team-a` and `team-b`, and `jo` who may read the first.
fn artifactory(options: Options) -> Artifactory {
    let artifactory = Artifactory::start(options);
    artifactory.add_repository("team-a", "Docker", 3 << 30);
    artifactory.add_repository("team-b", "Docker", 512);
    artifactory.add_repository("jars", "Maven", 1 << 40);
    artifactory.add_user("jo", "Pa55word", &["team-a", "jars"]);
    artifactory
}

fn settings() -> Settings {
    let allowed = Arc::new(["127.0.0.0/8".parse().unwrap()]);
    Settings { interval: INTERVAL, overlap: OVERLAP, allowed, ..Settings::default() }
}

/// A platform with the workspace `a`, whose registry `corp` this is.
async fn platform(artifactory: &Artifactory, username: &str, password: &str, spec: Value) -> Platform {
    with(settings(), artifactory, username, password, spec).await
}

async fn with(
    settings: Settings,
    artifactory: &Artifactory,
    username: &str,
    password: &str,
    more: Value,
) -> Platform {
    let platform = Platform::with(Arc::new(MemoryStore::default()), settings);
    platform.workspace("a", &["a-prod"]).await;
    let mut spec = json!({"type": "Artifactory", "url": artifactory.url(), "workspace": "a"});
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    platform.integrate("corp", spec, username, password).await;
    platform
}

async fn status(platform: &Platform) -> Value {
    platform.status(Kind::Registry, "corp").await
}

/// What the pull secret of a namespace would hold now, by its keys.
async fn given(platform: &Platform, namespace: &str) -> BTreeMap<String, (String, String)> {
    let snapshot = platform.state.snapshot_full();
    let entries = snapshot.scope(namespace).pull_entries();
    let resolved = LookedUp::default().resolve(&*platform.store, snapshot.records(), entries).await.unwrap();
    let credentials = resolved.into_iter().filter_map(|entry| Some((entry.key, entry.credential.ok()?)));
    credentials.map(|(key, c)| (key, (c.username, c.password.expose_secret().to_owned()))).collect()
}

/// The credential that namespaces of workspace `a` have for the registry.
async fn own(platform: &Platform) -> (String, String) {
    let given = given(platform, "a-prod").await;
    let first = given.values().next().cloned().unwrap();
    assert!(given.values().all(|other| *other == first), "{:?}", given.keys());
    first
}

/// Changes the status as somebody else does.
async fn tell(platform: &Platform, change: impl Fn(&mut Value)) {
    loop {
        let mut document = platform.document(Kind::Registry, "corp").await.unwrap();
        change(&mut document.status);
        let at = Precondition::Version(document.version.clone());
        if platform.store.put(document, at, CredentialChange::Keep).await.is_ok() {
            return;
        }
    }
}

/// Asks for a pass that looks at everything.
async fn sync(platform: &Platform) {
    tell(platform, |status| status["syncRequested"] = json!(Timestamp::now())).await;
}

async fn has_token(platform: &Platform) -> bool {
    status(platform).await["robotLevel"] == "System" && platform.robot("a", None).await.is_some()
}

fn client(artifactory: &Artifactory) -> Arc<dyn RegistryClient> {
    let url = artifactory.url();
    let credential =
        Credential { username: "admin".to_owned(), password: PASSWORD.into(), audience: String::new() };
    let target = Target {
        url: Url::parse(&url).unwrap(),
        realm: None,
        tls: Tls::default(),
        reach: AddressPolicy::Anywhere,
        credential: Some(credential),
    };
    registry::client(RegistryType::Artifactory, target).unwrap()
}
