//! An Artifactory for tests, with what its vendor's documentation says of it: the API, Access, and docker by the path.

mod api;
mod docker;
mod refusal;
mod tokens;
mod who;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;

use self::who::{Directory, User};
use super::certificates::Leaf;
use super::forwarding::Forward;
use super::jwt::Signer;
use super::serving::Served;

pub use self::tokens::Kept;

/// The state that all handlers share.
type Held = Arc<Mutex<State>>;

/// How an Artifactory is set up.
#[derive(Debug, Clone)]
pub struct Options {
    pub version: &'static str,
    /// With TLS, this certificate.
    pub tls: Option<Leaf>,
    /// Of the user `admin`.
    pub admin_password: String,
    /// The open registry behind `/v2`, `127.0.0.1:PORT`. Without one there are no images.
    pub registry: Option<String>,
    /// Whether anybody may make tokens.
    pub tokens: bool,
    /// Whether the tokens are listed, as newer ones do.
    pub lists_tokens: bool,
    /// Whether the storage is told in bytes too, as newer ones do.
    pub used_space_in_bytes: bool,
    /// How long a user who guessed passwords is kept out.
    pub suspension: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: "7.77.9",
            tls: None,
            admin_password: "Art1factory".to_owned(),
            registry: None,
            tokens: true,
            lists_tokens: true,
            used_space_in_bytes: true,
            suspension: Duration::from_mins(1),
        }
    }
}

struct Repository {
    kind: &'static str,
    package: &'static str,
    used: u64,
}

struct State {
    options: Options,
    url: String,
    registry: Option<Forward>,
    repositories: BTreeMap<String, Repository>,
    directory: Directory,
    kept: Vec<Kept>,
    made: u64,
    /// How docker comes to the repositories; nobody is told in the cloud.
    docker_method: Option<&'static str>,
    /// Of repositories that docker comes to by a port.
    ports: Vec<(String, u16)>,
}

/// A running Artifactory. Its address, its journal and its faults are those of the server that it is.
pub struct Artifactory {
    served: Served,
    state: Held,
}

impl Deref for Artifactory {
    type Target = Served;
    fn deref(&self) -> &Served {
        &self.served
    }
}

impl Artifactory {
    /// One with the user `admin` and nothing else.
    pub fn start(options: Options) -> Self {
        let admin =
            User { password: options.admin_password.clone(), admin: true, reads: BTreeSet::new(), wrong: 0 };
        let directory = Directory {
            users: BTreeMap::from([("admin".to_owned(), admin)]),
            signer: Signer::new(),
            revoked: BTreeSet::new(),
            suspended: BTreeMap::new(),
            suspension: options.suspension,
            aged: 0,
        };
        let tls = options.tls;
        let state = Arc::new(Mutex::new(State {
            url: String::new(),
            registry: options.registry.as_deref().map(Forward::to),
            repositories: BTreeMap::new(),
            directory,
            kept: Vec::new(),
            made: 0,
            docker_method: Some("REPOPATHPREFIX"),
            ports: Vec::new(),
            options,
        }));
        let routes = Router::new().merge(api::routes()).merge(tokens::routes()).merge(docker::routes());
        let routes = routes.with_state(Arc::clone(&state));
        let served = Served::start(tls, |_| routes);
        state.lock().unwrap().url = served.url();
        Self { served, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A local repository for this type of package, `Docker` or another, that uses so many bytes.
    pub fn add_repository(&self, key: &str, package: &'static str, used: u64) {
        self.state().repositories.insert(key.to_owned(), Repository { kind: "LOCAL", package, used });
    }

    /// Somebody who may read these repositories.
    pub fn add_user(&self, name: &str, password: &str, repositories: &[&str]) {
        let reads = repositories.iter().map(|key| (*key).to_owned()).collect();
        let user = User { password: password.to_owned(), admin: false, reads, wrong: 0 };
        self.state().directory.users.insert(name.to_owned(), user);
    }

    /// How docker comes to the repositories: `REPOPATHPREFIX`, `SUBDOMAIN` or `PORTPERREPO`; absent as in the cloud.
    /// Whatever it says, the path works here.
    pub fn set_docker_method(&self, method: Option<&'static str>) {
        self.state().docker_method = method;
    }

    /// The port by which docker comes to a repository, where it does so by ports.
    pub fn set_port(&self, key: &str, port: u16) {
        self.state().ports.push((key.to_owned(), port));
    }

    pub fn forbid_tokens(&self) {
        self.state().options.tokens = false;
    }

    pub fn allow_tokens(&self) {
        self.state().options.tokens = true;
    }

    /// Makes a token as somebody else may, or as a crash leaves it behind.
    pub fn leave_token(&self, description: &str) -> String {
        let mut state = self.state();
        state.made += 1;
        let id = format!("left-{}", state.made);
        let (subject, scope, description) =
            ("admin".to_owned(), "artifact:x/**:r".to_owned(), description.to_owned());
        state.kept.push(Kept { id: id.clone(), subject, scope, description });
        id
    }

    /// Takes a token back behind everybody's back.
    pub fn revoke(&self, id: &str) {
        let mut state = self.state();
        state.kept.retain(|kept| kept.id != id);
        state.directory.revoked.insert(id.to_owned());
    }

    /// Whether somebody who guessed passwords is kept out.
    pub fn is_suspended(&self, user: &str) -> bool {
        self.state().directory.suspended.contains_key(user)
    }

    /// Another password for somebody.
    pub fn set_password(&self, user: &str, password: &str) {
        password.clone_into(&mut self.state().directory.users.get_mut(user).unwrap().password);
    }

    /// The tokens that can still be taken back.
    pub fn tokens(&self) -> Vec<Kept> {
        self.state().kept.clone()
    }

    /// As if all tokens had been made so many seconds earlier.
    pub fn age_tokens(&self, seconds: i64) {
        self.state().directory.aged += seconds;
    }

    /// Lets a suspended user in again.
    pub fn forgive(&self, user: &str) {
        self.state().directory.suspended.remove(user);
    }
}
