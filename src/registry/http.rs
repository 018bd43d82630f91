//! One registry's HTTP: what limits every call, and where its credential may go.
//!
//! No redirects, no cookies (Harbor refuses a write that brings its session cookie back as forged), no proxy of the
//! environment (it would connect to what was not vetted). A call is bounded in time and size, a registry in calls at a
//! time, and one that fails is left alone for a while. A credential goes to its record's address and to the token server
//! that the record names, and nowhere else.

mod call;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use url::Url;

pub use self::call::{Answer, Call, Login, Target};
use super::address::AddressPolicy;
use super::breaker::Breaker;
use super::fault::{Doubt, Fault};
use super::http_clients::HttpClients;
use super::words::{self, Words};
use crate::store;

/// Calls to one registry at a time.
pub const CALLS: usize = 4;
/// How long a call may take, to the last byte of its answer.
pub(super) const ANSWER: Duration = Duration::from_secs(20);
/// How long it is waited for what a failing registry says of that.
const EXPLAIN: Duration = Duration::from_secs(2);
/// How large an answer may be. A page of a hundred projects has some 100 KB.
const LARGEST: usize = 8 << 20;
/// Answers beyond this take turns, [`LARGE_ANSWERS`] at a time of all that workspaces integrated: tenants may integrate any
/// number that answer with as much as is taken. The platform's own wait for nobody.
const SMALL: usize = 1 << 20;
static LARGE_ANSWERS: Semaphore = Semaphore::const_new(8);
/// How often a call is tried that may be repeated.
const ATTEMPTS: usize = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A longer pause than this, which the registry asks for, is left to the next pass.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a rejected user name and password are not tried again. Harbor locks the user for a moment and Artifactory
/// for good after some failures.
const HOLD_BACK: Duration = Duration::from_mins(1);
/// How long a credential that held before may be refused before it counts as rejected, where a registry does not say why.
const DOUBTED: Duration = Duration::from_secs(3);

/// The HTTP of one registry; see the module's text.
#[derive(Debug)]
pub struct Http {
    client: Arc<Client>,
    target: Target,
    calls: Semaphore,
    breaker: Breaker,
    login: Mutex<LoginState>,
}

/// What is known of the own credential. A client is made anew when another one is stored.
#[derive(Debug, Default)]
struct LoginState {
    /// Until when it is not sent.
    held_back: Option<Instant>,
    /// A refusal is looked into where the registry is checked, and says nothing elsewhere.
    judged_by_check: bool,
    /// The registry took it before.
    held: bool,
    /// Since when it is refused, and perhaps not for the password.
    doubted: Option<std::time::Instant>,
}

impl Http {
    /// Connects to nothing yet. Connections are shared with the registries that are connected to in the same way.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub fn new(target: Target, clients: &HttpClients) -> Result<Self, Fault> {
        let client = clients.to(&target)?;
        let (calls, breaker) = (Semaphore::new(CALLS), Breaker::default());
        Ok(Self { client, target, calls, breaker, login: Mutex::default() })
    }

    /// An address below the registry's own. `path` is put there as it is, with what it escapes.
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.target.url.clone();
        url.set_path(path);
        url
    }

    /// Whether the registry's record has a credential.
    pub fn has_credential(&self) -> bool {
        self.target.credential.is_some()
    }

    /// The user name of the registry's own credential.
    pub fn username(&self) -> Option<&str> {
        Some(&self.target.credential.as_ref()?.username)
    }

    /// How to log in as the registry's record says.
    pub fn own(&self) -> Login {
        if self.has_credential() { Login::Own } else { Login::Anonymous }
    }

    /// Leaves it to whoever calls [`Http::reject`] to say that the credential is wrong.
    #[must_use]
    pub fn judged_by_check(self) -> Self {
        self.login().judged_by_check = true;
        self
    }

    /// The registry took the own credential.
    pub fn accepted(&self) {
        let mut login = self.login();
        (login.held, login.doubted) = (true, None);
    }

    /// Whether the registry took this very credential before.
    pub fn held_before(&self) -> bool {
        self.login().held
    }

    /// The registry rejected the own credential: it is not sent for a while.
    pub fn reject(&self) -> Fault {
        self.hold_back();
        Fault::CredentialsRejected
    }

    /// The registry refused the own credential, and does not say why. One that held before is looked at again.
    pub fn refused(&self) -> Fault {
        let LoginState { judged_by_check, held, .. } = *self.login();
        if judged_by_check || (held && self.doubt() < DOUBTED) {
            return Fault::CredentialsNotChecked(Doubt::HeldBefore);
        }
        self.reject()
    }

    /// The own credential was refused, and perhaps not for the password; for how long it has been so.
    pub fn doubt(&self) -> Duration {
        self.login().doubted.get_or_insert_with(std::time::Instant::now).elapsed()
    }

    /// The registry keeps the own account out: to go on trying would prolong that.
    pub fn suspended(&self, words: Words) -> Fault {
        self.hold_back();
        Fault::Suspended(words)
    }

    fn hold_back(&self) {
        let mut login = self.login();
        login.held_back = Some(Instant::now() + HOLD_BACK);
        login.doubted = None;
    }

    fn login(&self) -> MutexGuard<'_, LoginState> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a token server that is neither at the registry's own address nor the one that its record names.
    ///
    /// # Errors
    /// [`Fault::ForeignRealm`].
    pub fn vet_realm(&self, realm: &Url) -> Result<(), Fault> {
        let approved = [Some(&self.target.url), self.target.realm.as_ref()];
        if approved.into_iter().flatten().any(|url| url.origin() == realm.origin()) {
            return Ok(());
        }
        Err(Fault::ForeignRealm(realm.host_str().unwrap_or_default().to_owned()))
    }

    /// Makes a call, again where that is harmless and may help.
    ///
    /// # Errors
    /// No answer, or one that says nothing but that the registry fails.
    pub async fn call(&self, call: Call) -> Result<Answer, Fault> {
        if call.method == Method::POST || call.method == Method::PATCH {
            return self.once(&call).await;
        }
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_times(ATTEMPTS - 1)
            .with_jitter();
        let again = |fault: &Fault, planned: Option<Duration>| match fault {
            Fault::RateLimited { retry_after: Some(asked) } => {
                planned.map(|pause| pause.max(*asked)).filter(|pause| *pause <= LONGEST_PAUSE)
            }
            _ => planned,
        };
        (|| self.once(&call)).retry(pauses).when(Fault::passes).adjust(again).await
    }

    /// Makes a call once.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(super) async fn once(&self, call: &Call) -> Result<Answer, Fault> {
        let authorization = self.authorization(call)?;
        let host = call.url.host_str().unwrap_or_default();
        // A name is vetted when it is resolved; an address in its place is resolved by nobody.
        self.target.reach.vet(&call.url).map_err(|_| Fault::AddressForbidden(host.to_owned()))?;
        let _call = self.calls.acquire().await.map_err(|_| Fault::Interrupted)?;
        self.breaker.admit().map_err(|last| Fault::Paused(Box::new(last)))?;
        let mut request =
            self.client.request(call.method.clone(), call.url.clone()).header(ACCEPT, call.accept);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some((name, value)) = &call.header {
            request = request.header(name, value);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let outcome = self.answer(request, call).await;
        match &outcome {
            Err(Fault::RateLimited { .. } | Fault::Redirected(_) | Fault::TooLarge(_)) | Ok(_) => {
                self.breaker.answered();
            }
            Err(fault) => self.breaker.failed(fault),
        }
        outcome
    }

    async fn answer(&self, request: reqwest::RequestBuilder, call: &Call) -> Result<Answer, Fault> {
        let host = call.url.host_str().unwrap_or_default();
        let fault = |error: reqwest::Error| Fault::of_transport(&error, host, ANSWER);
        let mut response = request.send().await.map_err(fault)?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            return Err(Fault::Redirected(origin_of(&headers, &call.url)));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Fault::RateLimited { retry_after: retry_after(&headers, Timestamp::now()) });
        }
        if status.is_server_error() {
            let mut body = Vec::new();
            let read = async {
                while body.len() < words::READ
                    && let Ok(Some(chunk)) = response.chunk().await
                {
                    body.extend_from_slice(&chunk);
                }
            };
            // What failed is known; whoever is slow to say why has said nothing.
            let _ = timeout(EXPLAIN, read).await;
            return Err(Fault::Failing(status.as_u16(), self.words(&body, call)));
        }
        let (mut body, mut turn) = (Vec::new(), None);
        while let Some(chunk) = response.chunk().await.map_err(fault)? {
            let length = body.len() + chunk.len();
            if length > LARGEST {
                return Err(Fault::TooLarge(LARGEST));
            }
            if length > SMALL && turn.is_none() && self.target.reach != AddressPolicy::Anywhere {
                let waited = timeout(ANSWER, LARGE_ANSWERS.acquire()).await;
                turn = Some(waited.map_err(|_| Fault::TimedOut(ANSWER))?);
            }
            body.extend_from_slice(&chunk);
        }
        let words = if status.is_client_error() { self.words(&body, call) } else { Words::default() };
        Ok(Answer { status, headers, body, words })
    }

    /// What a refusal says, without what the call was made with.
    fn words(&self, body: &[u8], call: &Call) -> Words {
        let own = self.target.credential.as_ref();
        let own = own.into_iter().flat_map(|own| [own.basic(), own.password.clone()]);
        let shown = match &call.login {
            Login::Anonymous | Login::Own => Vec::new(),
            Login::As { username, password } => vec![store::basic(username, password), password.clone()],
            Login::Bearer(token) => vec![token.clone()],
        };
        let secrets: Vec<_> = own.chain(shown).collect();
        Words::of(&body[..body.len().min(words::READ)], &secrets)
    }

    /// The header that logs in. The one place where a credential is put into a call, and where it may go is decided.
    fn authorization(&self, call: &Call) -> Result<Option<HeaderValue>, Fault> {
        if let Login::Anonymous = call.login {
            return Ok(None);
        }
        self.vet_realm(&call.url)?;
        let text = match &call.login {
            Login::Anonymous => return Ok(None),
            Login::Bearer(token) => SecretString::from(format!("Bearer {}", token.expose_secret())),
            Login::As { username, password } => basic(&store::basic(username, password)),
            Login::Own => {
                let until = self.login().held_back;
                if until.is_some_and(|until| until > Instant::now()) {
                    return Err(Fault::CredentialsHeldBack);
                }
                let credential = self.target.credential.as_ref().ok_or(Fault::CredentialsMissing)?;
                basic(&credential.basic())
            }
        };
        let mut value = HeaderValue::from_str(text.expose_secret())
            .map_err(|_| Fault::Settings("a credential that no header can carry".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// The header's text of what [`store::basic`] encodes.
fn basic(encoded: &SecretString) -> SecretString {
    format!("Basic {}", encoded.expose_secret()).into()
}

/// Where a redirect goes, by scheme, host and port alone: the rest may carry anything.
fn origin_of(headers: &HeaderMap, asked: &Url) -> String {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(to) = location.and_then(|to| asked.join(to).ok()) else { return "no address".to_owned() };
    let (Some(host), Some(port)) = (to.host_str(), to.port_or_known_default()) else {
        return "no address of HTTP".to_owned();
    };
    let origin = format!("{}://{host}:{port}", to.scheme());
    if to.origin() == asked.origin() { format!("another path of {origin}") } else { origin }
}

/// What `Retry-After` asks for, in seconds or as a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_until_a_date() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let asked = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            retry_after(&headers, now)
        };
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("Sun, 22 Nov 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(asked("Sun, 22 Nov 2026 11:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-3"), None);
    }
}
