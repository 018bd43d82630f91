//! A Harbor for tests, as nasty as the real one: it does what clients stumble over as goharbor/harbor 2.1 to 2.16 does
//! it, read in its source, and seen of a running 2.16. The API here, with `/v2` in front of a real registry.
//!
//! It lacks what nobody here asks for: artifacts, webhooks, replication, scans, members and the portal.

mod call;
mod caller;
mod handle;
mod payload;
mod projects;
mod query;
mod refusal;
mod robots;
mod state;
mod system;
mod tokens;
mod v2;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State as Of};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};

use self::caller::Caller;
use self::refusal::Refusal;
use self::state::State;
use super::certificates::Leaf;

pub use self::handle::{Harbor, can_pull};

/// The state that all handlers share.
type Held = Arc<Mutex<State>>;

const API: &str = "/api/v2.0";

/// How a Harbor is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// `2.1.0` to `2.16.0`; it changes what there is.
    pub version: &'static str,
    /// With TLS, this certificate.
    pub tls: Option<Leaf>,
    /// Of the user `admin`.
    pub admin_password: String,
    /// What Harbor takes to be its own address, in the realm of its tokens too; its real one where absent.
    pub external_url: Option<String>,
    pub robot_prefix: String,
    /// The open registry behind `/v2`, `127.0.0.1:PORT`. Without one there are no images.
    pub registry: Option<String>,
    /// Whether projects have quotas.
    pub quotas: bool,
    /// Otherwise any user may create projects, as it is after an installation.
    pub only_admins_create_projects: bool,
    /// Whether `registry_id` is shown as 0 where a project is no proxy cache; left out otherwise.
    pub zero_registry_id: bool,
    /// Minutes that a token lives (`token_expiration`).
    pub token_minutes: i64,
    /// How long a failed login takes, and locks its user.
    pub frozen: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: "2.12.0",
            tls: None,
            admin_password: "Harbor12345".to_owned(),
            external_url: None,
            robot_prefix: "robot$".to_owned(),
            registry: None,
            quotas: true,
            only_admins_create_projects: false,
            zero_registry_id: false,
            token_minutes: 30,
            frozen: Duration::from_millis(1500),
        }
    }
}

impl State {
    /// Whether this Harbor's version is at least this.
    fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut parts = self.options.version.split('.').map(|part| part.parse::<u32>().unwrap());
        (parts.next().unwrap(), parts.next().unwrap()) >= (major, minor)
    }
}

fn router(state: Held) -> Router {
    let api = Router::new()
        .merge(projects::routes())
        .merge(robots::routes().route_layer(from_fn_with_state(Arc::clone(&state), since_2_2)))
        .merge(system::routes());
    Router::new()
        .nest(API, api)
        .merge(tokens::routes())
        .merge(v2::routes())
        .fallback(async || Refusal::not_found("path"))
        .layer(from_fn_with_state(Arc::clone(&state), gate))
        .with_state(state)
}

async fn since_2_2(Of(state): Of<Held>, request: Request, next: Next) -> Response {
    if state.lock().unwrap().is_at_least(2, 2) {
        next.run(request).await
    } else {
        Refusal::not_found("path").into_response()
    }
}

/// What Harbor answers while its database is away: what it has in memory, 401 to whoever would have to be known, and else
/// that it failed. Tokens it gives all the same, see [`tokens`].
fn without_database(state: &Held, request: &Request) -> Option<Refusal> {
    state.lock().unwrap().database_away?;
    let (path, method) = (request.uri().path(), request.method());
    match path.strip_prefix(API) {
        Some("/systeminfo" | "/health" | "/ping") => None,
        Some("/projects") if *method == Method::HEAD => Some(Refusal::unauthorized()),
        Some(path) if path.starts_with("/projects") => Some(Refusal::internal()),
        // A robot is looked for before it is asked who calls.
        Some(path) if path.starts_with("/robots") && [Method::POST, Method::DELETE].contains(method) => {
            Some(Refusal::internal())
        }
        None if path == "/service/token" => None,
        _ => Some(Refusal::unauthorized()),
    }
}

/// What happens before any handler, in Harbor's order (src/server/middleware): the session, CSRF, who calls, read-only
/// mode. Every answer sets a session cookie, and whoever sends it back is taken for a browser.
async fn gate(Of(state): Of<Held>, mut request: Request, next: Next) -> Response {
    state.lock().unwrap().intervene(request.method(), request.uri().path());
    let writes = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let cookies = request.headers().get_all(header::COOKIE).iter();
    let browses = cookies.filter_map(|value| value.to_str().ok()).any(|cookies| {
        cookies
            .split(';')
            .any(|cookie| ["sid", "_gorilla_csrf"].contains(&cookie.split('=').next().unwrap().trim()))
    });
    let mut response = if writes && browses {
        Refusal::csrf().into_response()
    } else {
        let caller = Caller::of(request.headers(), &state).await;
        if writes && state.lock().unwrap().read_only {
            Refusal::read_only().into_response()
        } else {
            request.extensions_mut().insert(caller);
            let uri = request.uri().clone();
            request.extensions_mut().insert(uri);
            match without_database(&state, &request) {
                None => next.run(request).await,
                Some(refusal) => refusal.into_response(),
            }
        }
    };
    let headers = response.headers_mut();
    let session = HeaderValue::from_static("sid=5f2c1d; Path=/; HttpOnly");
    headers.append(header::SET_COOKIE, session);
    let csrf = HeaderValue::from_static("_gorilla_csrf=MTYx; Path=/; HttpOnly; SameSite=Strict");
    headers.append(header::SET_COOKIE, csrf);
    headers.insert("x-request-id", HeaderValue::from_static("b1946ac9-2492-4d23"));
    response
}
