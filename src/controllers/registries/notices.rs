//! What is told of a registry once, when it comes about, beside what its status says for as long as it is so.

use tokio::sync::mpsc;

use crate::domain::record::Name;

/// Notices that may wait for whoever passes them on.
const WAITING: usize = 64;

/// Something that came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub registry: Name,
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// Where notices go: in a cluster they become Events of the registry's record. Elsewhere nobody takes them, and the log has
/// them.
#[derive(Debug, Clone, Default)]
pub struct Notices(Option<mpsc::Sender<Notice>>);

impl Notices {
    /// Notices for whoever receives them.
    pub fn channel() -> (Self, mpsc::Receiver<Notice>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(Some(sender)), receiver)
    }

    pub(super) fn tell(&self, notice: Notice) {
        tracing::warn!(registry = %notice.registry, reason = notice.reason, "{}", notice.message);
        // Nobody waits for it: the status says the same.
        if let Some(Err(error)) = self.0.as_ref().map(|sender| sender.try_send(notice)) {
            tracing::warn!(%error, "no Event is written of what a registry's status says");
        }
    }
}
