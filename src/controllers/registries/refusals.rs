//! What a registry refused to do for a space, and when it is asked for it again: each time twice as late.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::record::{Name, Visibility};

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_mins(30);

/// What is wanted of a space: that it be there, or be of a visibility.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub path: Name,
    pub visibility: Visibility,
    /// It is not there yet.
    pub make: bool,
}

/// Refusals by the names of the spaces' records.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<Name, Refusal>);

#[derive(Debug)]
struct Refusal {
    wish: Wish,
    pause: Duration,
    until: Instant,
}

impl Refusals {
    /// Whether the registry is to be asked, since it did not refuse just that a while ago.
    pub fn is_due(&self, record: &Name, wish: &Wish, now: Instant) -> bool {
        self.0.get(record).is_none_or(|refusal| refusal.wish != *wish || refusal.until <= now)
    }

    /// Whether the registry refused something for this record a while ago, and is not to be asked again yet.
    pub fn waits(&self, record: &Name, now: Instant) -> bool {
        self.0.get(record).is_some_and(|refusal| refusal.until > now)
    }

    /// Takes note of a refusal, after the `first` one of that wish for so long; whether it is news.
    pub fn refused(&mut self, record: &Name, wish: Wish, first: Duration, now: Instant) -> bool {
        let before = self.0.remove(record).filter(|refusal| refusal.wish == wish);
        let is_news = before.is_none();
        let pause = before.map_or(first, |refusal| 2 * refusal.pause).min(PAUSE_MAX);
        self.0.insert(record.clone(), Refusal { wish, pause, until: now + pause });
        is_news
    }

    /// Forgets what is wanted no more, or was done.
    pub fn retain(&mut self, is_wanted: impl Fn(&Name) -> bool) {
        self.0.retain(|record, _| is_wanted(record));
    }

    /// Forgets all, so that everything is asked for again.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_another_wish_does_not_wait() {
        let (record, first) = (Name::from("corp.a"), Duration::from_secs(1));
        let wish = Wish { path: "a".into(), visibility: Visibility::Public, make: true };
        let mut refusals = Refusals::default();
        let mut now = Instant::now();
        assert!(refusals.is_due(&record, &wish, now));
        let mut pauses = Vec::new();
        for attempt in 0..12 {
            assert_eq!(refusals.refused(&record, wish.clone(), first, now), attempt == 0);
            let start = now;
            while !refusals.is_due(&record, &wish, now) {
                now += first;
            }
            pauses.push((now - start).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1800]);
        refusals.refused(&record, wish.clone(), first, now);
        let other = Wish { visibility: Visibility::Private, ..wish.clone() };
        assert!(refusals.is_due(&record, &other, now) && !refusals.is_due(&record, &wish, now));
        refusals.retain(|_| false);
        assert!(refusals.is_due(&record, &wish, now));
    }
}
