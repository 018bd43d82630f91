//! Leaves a registry alone that has failed several times in a row, a little longer each time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::fault::Fault;

/// Failures in a row after which the registry is left alone.
const TOLERATED: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A circuit breaker: closed it lets calls pass, open it refuses them, and after the pause it lets one try.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// No calls before then, and why not.
    open: Option<(Instant, Fault)>,
}

impl Breaker {
    /// Whether a call may be made now.
    ///
    /// # Errors
    /// Not for a while, since the last one failed so.
    pub fn admit(&self) -> Result<(), Fault> {
        self.with(|state| match &mut state.open {
            Some((until, last)) if *until > Instant::now() => Err(last.clone()),
            Some((until, _)) => {
                // This one tries; others wait for what becomes of it.
                *until = Instant::now() + FIRST_PAUSE;
                Ok(())
            }
            None => Ok(()),
        })
    }

    /// The registry answered as a working one does, with whatever status.
    pub fn answered(&self) {
        self.with(|state| *state = State::default());
    }

    /// The registry did not answer, or could not do its work.
    pub fn failed(&self, how: &Fault) {
        self.with(|state| {
            state.failures = state.failures.saturating_add(1);
            if let Some(beyond) = state.failures.checked_sub(TOLERATED) {
                let pause = FIRST_PAUSE.saturating_mul(1 << beyond.min(8)).min(LONGEST_PAUSE);
                state.open = Some((Instant::now() + pause, how.clone()));
            }
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::Words;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_lets_one_try_and_closes_with_an_answer() {
        let (breaker, fault) = (Breaker::default(), Fault::Failing(500, Words::default()));
        for _ in 0..TOLERATED - 1 {
            breaker.failed(&fault);
        }
        breaker.answered();
        for _ in 0..TOLERATED {
            assert_eq!(breaker.admit(), Ok(()));
            breaker.failed(&fault);
        }
        assert_eq!(breaker.admit(), Err(fault.clone()));
        tokio::time::advance(FIRST_PAUSE).await;
        assert_eq!(breaker.admit(), Ok(()), "one tries");
        assert!(breaker.admit().is_err(), "and no second one");
        breaker.failed(&Fault::Interrupted);
        tokio::time::advance(FIRST_PAUSE).await;
        assert_eq!(breaker.admit(), Err(Fault::Interrupted), "twice as long");
        for _ in 0..40 {
            breaker.failed(&fault);
        }
        tokio::time::advance(LONGEST_PAUSE / 2).await;
        assert_eq!(breaker.admit(), Err(fault));
        tokio::time::advance(LONGEST_PAUSE / 2).await;
        assert_eq!(breaker.admit(), Ok(()));
        breaker.answered();
        assert_eq!(breaker.admit(), Ok(()));
        assert_eq!(breaker.admit(), Ok(()));
    }
}
