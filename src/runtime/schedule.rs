//! When a task that goes on for ever looks again.

use std::future::pending;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep_until};

/// Soon after a change, ever later after failures, and now and then in any case.
#[derive(Debug)]
pub struct Schedule {
    debounce: Duration,
    tick: Option<Duration>,
    retry: ExponentialBuilder,
    /// Goes on from one failure to the next.
    pauses: ExponentialBackoff,
    due: Option<Instant>,
}

impl Schedule {
    /// Looks at once, and `debounce` after a change. After a failure it takes `retry` at least, after each further one twice
    /// as long, and `longest` at most; by chance up to twice as long as that, so that tasks which failed together do not come
    /// together.
    pub fn new(debounce: Duration, retry: Duration, longest: Duration) -> Self {
        let retry = ExponentialBuilder::new().with_min_delay(retry).with_max_delay(longest / 2);
        let retry = retry.with_factor(2.0).with_jitter().without_max_times();
        Self { debounce, tick: None, pauses: retry.build(), retry, due: Some(Instant::now()) }
    }

    /// Looks this long after a look, also when nothing is known to have changed.
    #[must_use]
    pub fn every(self, tick: Duration) -> Self {
        Self { tick: Some(tick), ..self }
    }

    /// Something changed.
    pub fn soon(&mut self) {
        self.by(Instant::now() + self.debounce);
    }

    /// Looks at this time at the latest.
    pub fn by(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// It was looked.
    pub fn looked(&mut self, failed: bool) {
        let pause = if failed {
            self.pauses.next()
        } else {
            self.pauses = self.retry.build();
            self.tick
        };
        self.due = pause.map(|pause| Instant::now() + pause);
    }

    /// Waits until it is time to look; giving up the waiting changes nothing.
    pub async fn due(&self) {
        match self.due {
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// How long until it is due; an hour at most.
    async fn waited(schedule: &Schedule) -> Duration {
        let start = Instant::now();
        let _ = tokio::time::timeout(s(3600), schedule.due()).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn it_looks_at_once_soon_after_changes_and_now_and_then() {
        let mut schedule = Schedule::new(s(1), s(2), s(60)).every(s(300));
        assert!(waited(&schedule).await < s(1));
        schedule.looked(false);
        schedule.soon();
        tokio::time::advance(Duration::from_millis(900)).await;
        schedule.soon();
        assert!(waited(&schedule).await < Duration::from_millis(200), "a change after it puts nothing off");
        schedule.looked(false);
        let tick = waited(&schedule).await;
        assert!(tick >= s(300) && tick < s(301), "{tick:?}");
        let mut schedule = Schedule::new(s(1), s(2), s(60));
        schedule.looked(false);
        assert!(waited(&schedule).await >= s(3600), "nothing is due");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_put_it_off_ever_longer_until_one_look_succeeds() {
        let mut schedule = Schedule::new(s(1), s(2), s(60)).every(s(300));
        let mut pauses = Vec::new();
        for _ in 0..10 {
            schedule.looked(true);
            pauses.push(waited(&schedule).await);
        }
        assert!(pauses[0] >= s(2) && pauses[0] <= s(5), "{pauses:?}");
        assert!(pauses[1] >= s(4) && pauses[2] >= s(8), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= s(61)) && pauses[9] >= s(30), "{pauses:?}");
        // A change is looked at all the same.
        schedule.looked(true);
        schedule.soon();
        assert!(waited(&schedule).await <= s(2));
        schedule.looked(false);
        schedule.looked(true);
        assert!(waited(&schedule).await <= s(5), "it begins anew");
    }
}
