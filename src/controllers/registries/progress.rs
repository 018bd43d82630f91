//! How far a discovery is: every space is read, and recorded where something of it is new.

use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;

use crate::types::v1alpha1::Progress;

/// Counts for whoever looks meanwhile.
#[derive(Debug, Default)]
pub(super) struct Counter {
    total: AtomicUsize,
    read: AtomicUsize,
    recorded: AtomicUsize,
}

impl Counter {
    /// So many spaces were read, of so many.
    pub fn read(&self, read: usize, total: usize) {
        self.read.store(read, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// All were read, and of so many of them something is to be recorded.
    pub fn to_record(&self, pending: usize) {
        let total = self.total.load(Ordering::Relaxed);
        self.read.store(total, Ordering::Relaxed);
        self.recorded.store(total.saturating_sub(pending), Ordering::Relaxed);
    }

    /// So many more were recorded.
    pub fn recorded(&self, more: usize) {
        self.recorded.fetch_add(more, Ordering::Relaxed);
    }

    /// What to tell of a discovery that began then. What was read and may have to be recorded counts half.
    pub fn progress(&self, since: Timestamp) -> Progress {
        let of = |number: &AtomicUsize| i64::try_from(number.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let total = of(&self.total);
        let done = i64::midpoint(of(&self.read).min(total), of(&self.recorded).min(total));
        Progress { since, done, total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_grows_up_to_all() {
        let counter = Counter::default();
        let mut told = Vec::new();
        let mut tell = |counter: &Counter| {
            let Progress { done, total, .. } = counter.progress(Timestamp::UNIX_EPOCH);
            told.push((done, total));
        };
        tell(&counter);
        counter.read(100, 250);
        tell(&counter);
        counter.read(250, 250);
        tell(&counter);
        counter.to_record(50);
        tell(&counter);
        counter.recorded(50);
        tell(&counter);
        assert_eq!(told, [(0, 0), (50, 250), (125, 250), (225, 250), (250, 250)]);
    }
}
