//! Which digest a tag names, for the words of a refusal that demands one.
//!
//! The webhook waits for no registry: it tells what is remembered, and has what is not asked for in the background, so
//! that the next attempt is told. Only images that may be pulled get here, so nothing of another tenant's is told, as
//! long as it is the API server that says in which namespace the image is to run. Whoever else could name any namespace,
//! learn what private tags name, and have registries called with their owners' credentials; so this is for listeners
//! that let in nobody but the API server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::domain::decision::Decision;
use crate::domain::image::ImageRef;
use crate::domain::record::Name;
use crate::domain::snapshot::Scope;
use crate::registry::metadata::{Metadata, Question};
use crate::state::State;

/// Registries that are asked at a time because somebody was refused; more such questions are not asked.
const QUESTIONS: usize = 8;
/// How often one registry is asked within [`WINDOW`], whoever is refused.
const QUESTIONS_PER_WINDOW: u32 = 30;
const WINDOW: Duration = Duration::from_mins(1);
/// Registries that are counted before those not asked of late are forgotten.
const COUNTED: usize = 1024;

/// Tells digests, and asks for those it does not know; see the module's text.
pub struct Pinning {
    metadata: Arc<Metadata>,
    state: State,
    questions: Arc<Semaphore>,
    asked: Mutex<Asked>,
}

/// How often each registry was asked since when.
#[derive(Default)]
struct Asked(HashMap<Name, (Instant, u32)>);

impl Pinning {
    /// For webhooks that only the API server can call.
    pub fn new(metadata: Arc<Metadata>, state: State) -> Self {
        let questions = Arc::new(Semaphore::new(QUESTIONS));
        Self { metadata, state, questions, asked: Mutex::default() }
    }

    /// Tells the digest to write to an image that lacks nothing else, where it is known.
    pub(super) fn suggest(&self, scope: &Scope<'_>, image: &str, decision: &mut Decision<'_>) {
        if !decision.lacks_digest() {
            return;
        }
        let Ok(image) = ImageRef::parse(image) else { return };
        let snapshot = self.state.snapshot();
        let Some(name) = scope.registry_of(&image) else { return };
        let Some(registry) = snapshot.records().registries().valid(name) else { return };
        let question = Question {
            registry: name.clone(),
            url: registry.url.clone(),
            host: image.domain.to_owned(),
            repository: image.path.to_string(),
            reference: image.tag.unwrap_or("latest").to_owned(),
        };
        if let Some(named) = self.metadata.known(&question) {
            if let Some(digest) = named.digest {
                decision.suggest(digest);
            }
            return;
        }
        let Ok(permit) = self.questions.clone().try_acquire_owned() else { return };
        if !self.asked.lock().unwrap_or_else(PoisonError::into_inner).again(name, Instant::now()) {
            return;
        }
        let (metadata, registry) = (self.metadata.clone(), registry.clone());
        tokio::spawn(async move {
            // Where it fails whoever is refused is told nothing, and the registry's health says why.
            let _ = metadata.resolve(question, &registry).await;
            drop(permit);
        });
    }
}

impl Asked {
    /// Whether a registry may be asked once more, which is counted.
    fn again(&mut self, registry: &Name, now: Instant) -> bool {
        let over = |since: Instant| now.saturating_duration_since(since) >= WINDOW;
        if self.0.len() >= COUNTED && !self.0.contains_key(registry) {
            self.0.retain(|_, (since, _)| !over(*since));
            if self.0.len() >= COUNTED {
                return false;
            }
        }
        let (since, times) = self.0.entry(registry.clone()).or_insert((now, 0));
        if over(*since) {
            (*since, *times) = (now, 0);
        }
        let may = *times < QUESTIONS_PER_WINDOW;
        *times += u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_asked_so_often_in_a_minute_and_the_next_one_no_less() {
        let (mut asked, start) = (Asked::default(), Instant::now());
        let mut times = |registry: &str, after: u64| {
            let now = start + Duration::from_secs(after);
            (0..1_000).filter(|_| asked.again(&registry.into(), now)).count()
        };
        assert_eq!(times("corp", 0), 30);
        assert_eq!(times("other", 1), 30);
        assert_eq!([times("corp", 59), times("other", 59)], [0, 0]);
        assert_eq!([times("corp", 60), times("other", 60)], [30, 0]);
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let (mut asked, start) = (Asked::default(), Instant::now());
        let mut fill = |from: usize, now: Instant| {
            (from..from + 2 * COUNTED).filter(|n| asked.again(&format!("registry-{n}").into(), now)).count()
        };
        assert_eq!(fill(0, start), COUNTED);
        assert_eq!(fill(4 * COUNTED, start + WINDOW), COUNTED, "those of the minute before are forgotten");
    }
}
