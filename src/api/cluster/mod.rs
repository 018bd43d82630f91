//! Callers that the cluster knows: whose a bearer token is, and what its roles let them do.
//!
//! The API server is asked through one seam, [`Reviews`], and its answers are remembered for a few seconds. A token is
//! never kept, only its digest; a question that was not answered is never remembered.

mod api_server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use moka::future::Cache;

pub use api_server::ApiServer;

use super::auth::Permission;

/// How long an answer is remembered: as long as somebody may go on whose token or role was taken away.
const MEMORY: Duration = Duration::from_secs(10);
/// Tokens and answers that are remembered.
const USERS_MAX: u64 = 10_000;
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
    users: Cache<Digest, Option<Arc<User>>>,
    answers: Cache<(Digest, Permission), bool>,
}

/// A user with the token that proved it.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub user: Arc<User>,
    token: Digest,
}

impl Cluster {
    /// Asks through `reviews`.
    pub fn new(reviews: impl Reviews) -> Self {
        Self::remembering(MEMORY, reviews)
    }

    /// Remembers answers for another time than the usual 10 seconds.
    pub fn remembering(time: Duration, reviews: impl Reviews) -> Self {
        Self {
            reviews: Box::new(reviews),
            users: Cache::builder().max_capacity(USERS_MAX).time_to_live(time).build(),
            answers: Cache::builder().max_capacity(ANSWERS_MAX).time_to_live(time).build(),
        }
    }

    /// Whose token it is.
    pub(super) async fn identify(&self, token: &str) -> Result<Option<Identity>, Unanswered> {
        let mut key = Digest::default();
        key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        // One question at a time for a token, however many ask; errors are not kept.
        let ask = async { Ok(self.reviews.user(token).await?.map(Arc::new)) };
        let user = self.users.try_get_with(key, ask).await.map_err(shared)?;
        Ok(user.map(|user| Identity { user, token: key }))
    }

    /// Whether the user may. Remembered for the token, whose rights may be fewer than the user's.
    pub(super) async fn allows(&self, who: &Identity, permission: Permission) -> Result<bool, Unanswered> {
        // Nothing has such a name, and names come from callers: they would fill the memory.
        if permission.name.as_ref().is_some_and(|name| name.len() > NAME_MAX) {
            return self.reviews.allows(&who.user, &permission).await;
        }
        let key = (who.token, permission);
        let ask = self.reviews.allows(&who.user, &key.1);
        self.answers.try_get_with(key.clone(), ask).await.map_err(shared)
    }
}

fn shared(error: Arc<Unanswered>) -> Unanswered {
    Arc::unwrap_or_clone(error)
}
