//! Callers that the cluster knows: whose a bearer token is, and what its roles let them do.
//!
//! The API server is asked through one seam, [`Reviews`], and its answers are remembered for a few seconds: a token with
//! everything that its holder was told they may do, and all of it forgotten at once. So what is taken away, be it the
//! token, a group or a role, counts no longer than that, in whatever order the questions came. A token is kept no longer
//! than its request, only its digest is; a question that was not answered is never remembered.

mod api_server;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use moka::Expiry;
use moka::future::Cache;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

pub use api_server::ApiServer;

use super::auth::Permission;

/// How long answers are remembered, from when the first of them was asked for. The API server itself goes on taking a token
/// for 10 s after it looked at it (its cache of tokens that were good), and both add up: a role that was taken away counts
/// for 4 s, a token that was for 14.
const MEMORY: Duration = Duration::from_secs(4);
/// How long a token that was somebody's takes no turn among those that are not known: a flood of them must not keep
/// callers out who were there before. And how many of the others are asked about at one time, and wait for how long.
const KNOWN: Duration = Duration::from_hours(1);
const STRANGERS_MAX: usize = 16;
const TURN: Duration = Duration::from_secs(5);
/// Tokens and answers that are remembered.
const SESSIONS_MAX: u64 = 10_000;
const ANSWERS_MAX: u64 = 50_000;

/// Characters that the name of a record or a workspace may have.
const NAME_MAX: usize = 253;

/// Somebody whom the cluster knows, as `TokenReview` tells and `SubjectAccessReview` takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: Option<String>,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The API server gave no answer. What it is about is for the log alone.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// What is asked of the API server.
#[async_trait]
pub trait Reviews: Send + Sync + 'static {
    /// Whose token it is; `None`: nobody's, or not for this server.
    async fn user(&self, token: &str) -> Result<Option<User>, Unanswered>;

    /// Whether the user's roles let them.
    async fn allows(&self, user: &User, permission: &Permission) -> Result<bool, Unanswered>;
}

/// SHA-256 of a token.
type Digest = [u8; 32];

/// The cluster's users and roles.
pub struct Cluster {
    reviews: Box<dyn Reviews>,
    memory: Duration,
    sessions: Cache<Digest, Session>,
    answers: Cache<(u64, Permission), Answer>,
    /// Numbers sessions, so that an answer of one is never taken for another's.
    numbers: AtomicU64,
    /// Tokens that were somebody's not long ago.
    known: Cache<Digest, ()>,
    /// Turns of the others.
    strangers: Semaphore,
}

/// What is known of a token, and until when.
#[derive(Debug, Clone)]
struct Session {
    number: u64,
    user: Option<Arc<User>>,
    until: Instant,
}

/// Whether something may be done, in a session.
#[derive(Debug, Clone, Copy)]
struct Answer {
    allowed: bool,
    until: Instant,
}

/// Nothing outlives its session, whenever it was asked.
struct WithTheSession;

impl Expiry<Digest, Session> for WithTheSession {
    fn expire_after_create(&self, _: &Digest, session: &Session, _: Instant) -> Option<Duration> {
        Some(session.until.saturating_duration_since(Instant::now()))
    }
}

impl Expiry<(u64, Permission), Answer> for WithTheSession {
    fn expire_after_create(&self, _: &(u64, Permission), answer: &Answer, _: Instant) -> Option<Duration> {
        Some(answer.until.saturating_duration_since(Instant::now()))
    }
}

/// A user, and the token that proves it for as long as their request takes.
pub(super) struct Identity {
    pub name: String,
    token: SecretString,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Asks through `reviews`.
    pub fn new(reviews: impl Reviews) -> Self {
        Self::remembering(MEMORY, reviews)
    }

    /// Remembers answers for another time than the usual one.
    pub fn remembering(memory: Duration, reviews: impl Reviews) -> Self {
        Self {
            reviews: Box::new(reviews),
            memory,
            sessions: Cache::builder().max_capacity(SESSIONS_MAX).expire_after(WithTheSession).build(),
            answers: Cache::builder().max_capacity(ANSWERS_MAX).expire_after(WithTheSession).build(),
            numbers: AtomicU64::new(0),
            known: Cache::builder().max_capacity(SESSIONS_MAX).time_to_live(KNOWN).build(),
            strangers: Semaphore::new(STRANGERS_MAX),
        }
    }

    /// Whose token it is.
    pub(super) async fn identify(&self, token: &str) -> Result<Option<Identity>, Unanswered> {
        let user = self.session(token).await?.user;
        Ok(user.map(|user| Identity { name: user.name.clone(), token: token.into() }))
    }

    /// Whether the user may. Remembered for the token, whose rights may be fewer than the user's.
    ///
    /// A long request outlives its session: then the token is asked about again, and nothing is allowed by what was
    /// true when the request began.
    pub(super) async fn allows(&self, who: &Identity, permission: Permission) -> Result<bool, Unanswered> {
        for _ in 0..2 {
            let session = self.session(who.token.expose_secret()).await?;
            let Some(user) = &session.user else { return Ok(false) };
            let allowed = self.asked(&session, user, permission.clone()).await?;
            if !allowed || Instant::now() < session.until {
                return Ok(allowed);
            }
        }
        Err(Unanswered("the API server's answers take as long as they hold".to_owned()))
    }

    async fn asked(
        &self,
        session: &Session,
        user: &User,
        permission: Permission,
    ) -> Result<bool, Unanswered> {
        // Nothing has such a name, and names come from callers: they would fill the memory.
        if permission.name.as_ref().is_some_and(|name| name.len() > NAME_MAX) {
            return self.reviews.allows(user, &permission).await;
        }
        let key = (session.number, permission);
        let ask = async {
            let allowed = self.reviews.allows(user, &key.1).await?;
            Ok(Answer { allowed, until: session.until })
        };
        Ok(self.answers.try_get_with(key.clone(), ask).await.map_err(shared)?.allowed)
    }

    /// What is known of a token. One question at a time for each, however many ask; errors are not kept.
    async fn session(&self, token: &str) -> Result<Session, Unanswered> {
        let mut key = Digest::default();
        key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let ask = async {
            let _turn = if self.known.contains_key(&key) {
                None
            } else {
                let turn = tokio::time::timeout(TURN, self.strangers.acquire()).await;
                Some(turn.map_err(|_| Unanswered("too many tokens that are not known".to_owned()))?)
            };
            // Before it is asked: what the answer says may have ended while it was on its way.
            let until = Instant::now() + self.memory;
            let user = self.reviews.user(token).await?.map(Arc::new);
            if user.is_some() {
                self.known.insert(key, ()).await;
            }
            Ok(Session { number: self.numbers.fetch_add(1, Ordering::Relaxed), user, until })
        };
        self.sessions.try_get_with(key, ask).await.map_err(shared)
    }
}

fn shared(error: Arc<Unanswered>) -> Unanswered {
    Arc::unwrap_or_clone(error)
}
