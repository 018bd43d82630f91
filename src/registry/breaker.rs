//! Leaves a registry alone that has failed several times in a row, a little longer each time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which the registry is left alone.
const TOLERATED: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A circuit breaker: closed it lets calls pass, open it refuses them, and after the pause it lets one try.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// No calls before then.
    until: Option<Instant>,
}

impl Breaker {
    /// Whether a call may be made now; else how long to wait.
    ///
    /// # Errors
    /// How long no call may be made.
    pub fn admit(&self) -> Result<(), Duration> {
        self.with(|state| {
            let now = Instant::now();
            match state.until.and_then(|until| until.checked_duration_since(now)).filter(|d| !d.is_zero()) {
                Some(left) => Err(left),
                None => {
                    if state.until.is_some() {
                        // The one that tries; others wait for what becomes of it.
                        state.until = Some(now + FIRST_PAUSE);
                    }
                    Ok(())
                }
            }
        })
    }

    /// The registry answered as a working one does, with whatever status.
    pub fn answered(&self) {
        self.with(|state| *state = State::default());
    }

    /// The registry did not answer, or could not do its work.
    pub fn failed(&self) {
        self.with(|state| {
            state.failures = state.failures.saturating_add(1);
            if let Some(beyond) = state.failures.checked_sub(TOLERATED) {
                let pause = FIRST_PAUSE.saturating_mul(1 << beyond.min(8)).min(LONGEST_PAUSE);
                state.until = Some(Instant::now() + pause);
            }
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_lets_one_try_and_closes_with_an_answer() {
        let breaker = Breaker::default();
        for _ in 0..TOLERATED - 1 {
            breaker.failed();
        }
        breaker.answered();
        for _ in 0..TOLERATED {
            assert_eq!(breaker.admit(), Ok(()));
            breaker.failed();
        }
        assert_eq!(breaker.admit(), Err(FIRST_PAUSE));
        tokio::time::advance(FIRST_PAUSE).await;
        assert_eq!(breaker.admit(), Ok(()), "one tries");
        assert!(breaker.admit().is_err(), "and no second one");
        breaker.failed();
        assert_eq!(breaker.admit(), Err(2 * FIRST_PAUSE));
        for _ in 0..40 {
            breaker.failed();
        }
        assert_eq!(breaker.admit(), Err(LONGEST_PAUSE));
        tokio::time::advance(LONGEST_PAUSE).await;
        assert_eq!(breaker.admit(), Ok(()));
        breaker.answered();
        assert_eq!(breaker.admit(), Ok(()));
        assert_eq!(breaker.admit(), Ok(()));
    }
}
