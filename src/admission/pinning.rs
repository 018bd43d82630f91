//! Which digest a tag names, for the words of a refusal that demands one.
//!
//! The webhook waits for no registry: it tells what is remembered, and has what is not asked for in the background, so
//! that the next attempt is told. Only images that may be pulled get here, so nothing of another tenant's is told.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::domain::decision::Decision;
use crate::domain::image::ImageRef;
use crate::domain::record::{Entry, Records};
use crate::domain::snapshot::Scope;
use crate::registry::metadata::{Metadata, Question};

/// Registries that are asked at a time because somebody was refused; more such questions are not asked.
const QUESTIONS: usize = 8;

/// See the module's text.
pub struct Pinning {
    metadata: Arc<Metadata>,
    records: Arc<ArcSwap<Records>>,
    questions: Arc<Semaphore>,
}

impl Pinning {
    pub fn new(metadata: Arc<Metadata>, records: Arc<ArcSwap<Records>>) -> Self {
        Self { metadata, records, questions: Arc::new(Semaphore::new(QUESTIONS)) }
    }

    /// Tells the digest to write to an image that lacks nothing else, where it is known.
    pub(super) fn suggest(&self, scope: &Scope<'_>, image: &str, decision: &mut Decision<'_>) {
        let Ok(image) = ImageRef::parse(image) else { return };
        let records = self.records.load();
        let Some(name) = scope.registry_of(&image) else { return };
        let Some(Entry::Valid(registry)) = records.registries.get(name).map(|entry| &**entry) else { return };
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
        let (metadata, registry) = (self.metadata.clone(), registry.clone());
        tokio::spawn(async move {
            // Where it fails whoever is refused is told nothing, and the registry's health says why.
            let _ = metadata.resolve(question, &registry).await;
            drop(permit);
        });
    }
}
