//! What images' tags name, on demand: remembered for a while, asked for once however many ask, bounded.
//!
//! For people and for the words of a refusal. No decision about who may pull rests on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use moka::Expiry;
use moka::future::Cache;

use super::clients::{Clients, Unconnected};
use super::fault::Fault;
use crate::domain::record::{Name, Registry};

/// Answers that are remembered.
const ENTRIES: u64 = 10_000;
/// How long a digest is remembered: a tag may be moved, what a digest names stays.
const TAG: Duration = Duration::from_mins(1);
const DIGEST: Duration = Duration::from_hours(1);
/// How long it is remembered that there is no such image, which somebody may be about to push.
const ABSENT: Duration = Duration::from_secs(15);

/// What is asked: a registry's record, a repository and a tag or digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    pub registry: Name,
    /// Where it is, so that nothing is remembered of another one under its name.
    pub url: String,
    /// As the image names it; an Artifactory may be one repository by each host.
    pub host: String,
    pub repository: String,
    pub reference: String,
}

/// What a tag or digest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// `None`: there is no such image.
    pub digest: Option<String>,
    /// The registry has not even the project that the image would lie in.
    pub no_project: bool,
    /// When the registry was asked.
    pub asked: Instant,
}

/// Answers, and whom to ask.
pub struct Metadata {
    clients: Arc<Clients>,
    answers: Cache<Question, Named>,
}

struct Lives;

impl Expiry<Question, Named> for Lives {
    fn expire_after_create(&self, question: &Question, named: &Named, _: Instant) -> Option<Duration> {
        Some(match &named.digest {
            None => ABSENT,
            Some(_) if question.reference.contains(':') => DIGEST,
            Some(_) => TAG,
        })
    }
}

impl Metadata {
    pub fn new(clients: Arc<Clients>) -> Self {
        Self { clients, answers: memory() }
    }

    /// What a tag or digest names, from memory or by asking. Those who ask the same at the same time wait for one answer;
    /// that a registry fails is not remembered here, but by its breaker.
    ///
    /// # Errors
    /// The registry does not say, or cannot be asked.
    pub async fn resolve(&self, question: Question, registry: &Registry) -> Result<Named, Arc<Unconnected>> {
        let Question { registry: name, host, repository, reference, url: _ } = question.clone();
        let ask = async {
            let client = self.clients.of(&name, registry).await?;
            let (digest, no_project) = match client.resolve(&host, &repository, &reference).await {
                Err(Fault::NoProject(_)) => (None, true),
                answer => (answer?, false),
            };
            Ok::<_, Unconnected>(Named { digest, no_project, asked: Instant::now() })
        };
        self.answers.try_get_with(question, ask).await
    }

    /// What is remembered of a tag, without asking anybody.
    pub fn known(&self, question: &Question) -> Option<Named> {
        self.answers.get(question).now_or_never().flatten()
    }
}

fn memory() -> Cache<Question, Named> {
    Cache::builder().max_capacity(ENTRIES).expire_after(Lives).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_is_remembered_than_there_is_room_for() {
        let answers = memory();
        for number in 0..2 * ENTRIES {
            let question = Question {
                registry: "corp".into(),
                url: "https://corp.example.com".to_owned(),
                host: "corp.example.com".to_owned(),
                repository: "team/app".to_owned(),
                reference: number.to_string(),
            };
            answers.insert(question, Named { digest: None, no_project: false, asked: Instant::now() }).await;
        }
        answers.run_pending_tasks().await;
        assert!((1..=ENTRIES).contains(&answers.entry_count()), "{}", answers.entry_count());
    }
}
