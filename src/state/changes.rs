//! What changed, told to those whom it concerns.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::record::Name;
use crate::domain::records::Touched;

/// Which changes concern a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interest {
    /// All.
    Everything,
    /// Those of any registry's own record.
    Registries,
    /// Those of one registry, of its spaces, and of which workspaces there are.
    Registry(Name),
}

/// A reader's subscription.
pub struct Changes(Arc<Mailbox>);

/// What a reader has not been told yet. One value, however much changes before it looks.
pub(super) struct Mailbox {
    interest: Interest,
    touched: Mutex<Touched>,
    filled: Notify,
}

impl Changes {
    pub(super) fn new(interest: Interest) -> Self {
        Self(Arc::new(Mailbox { interest, touched: Mutex::default(), filled: Notify::new() }))
    }

    pub(super) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.0
    }

    /// What changed since it was last told; waits until something did. Nothing is lost where the waiting is given up.
    pub async fn next(&mut self) -> Touched {
        loop {
            let touched = self.take();
            if !touched.is_nothing() {
                return touched;
            }
            self.0.filled.notified().await;
        }
    }

    /// The same without waiting.
    pub fn take(&mut self) -> Touched {
        mem::take(&mut *self.0.touched.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Mailbox {
    pub fn put(&self, touched: &Touched) {
        if self.interest.covers(touched) {
            self.touched.lock().unwrap_or_else(PoisonError::into_inner).add(touched.clone());
            self.filled.notify_one();
        }
    }
}

impl Interest {
    fn covers(&self, touched: &Touched) -> bool {
        touched.everything
            || match self {
                Self::Everything => true,
                Self::Registries => !touched.registry_records.is_empty(),
                Self::Registry(name) => touched.registries.contains(name) || touched.workspace_set,
            }
    }
}
