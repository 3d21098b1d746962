//! Restart policy (`on_error: restart`): when an operator that failed is created again, and the states kept for it.

use crate::{StreamName, context::Mode};

/// Number of successful calls after which an operator counts as recovered.
const RECOVERY_CALLS: u32 = 30;
/// Maximum number of consecutive restarts; the failure after the last one ends the run.
const MAX_CONSECUTIVE_RESTARTS: u32 = 10;
/// Backoff before the second of consecutive restarts, seconds; it doubles with each further one.
const INITIAL_BACKOFF_S: f64 = 0.5;
/// Maximum backoff, seconds.
const MAX_BACKOFF_S: f64 = 30.0;

/// Action after a failure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RestartAction {
    /// Restart the operator now.
    Now,
    /// Restart it after a backoff.
    Wait {
        /// Length of the backoff.
        seconds: f64,
    },
    /// End the run.
    GiveUp {
        /// Number of consecutive failures.
        failures: u32,
    },
}

/// Restart policy of one operator with the saved states.
pub struct Restarts {
    mode: Mode,
    consecutive_failures: u32,
    successes: u32,
    /// Time at which a pending restart is due, nanoseconds since 1970.
    due: Option<i64>,
    /// Serialized state of each stream.
    states: Vec<(StreamName, Vec<u8>)>,
}

impl Restarts {
    pub fn new(mode: Mode) -> Self {
        Self { mode, consecutive_failures: 0, successes: 0, due: None, states: vec![] }
    }

    /// Records a successful call.
    pub fn record_success(&mut self) {
        if self.consecutive_failures > 0 {
            self.successes += 1;
            if self.successes >= RECOVERY_CALLS {
                (self.consecutive_failures, self.successes) = (0, 0);
            }
        }
    }

    /// Records a call that failed at `now`, nanoseconds since 1970, and returns the action.
    pub fn record_failure(&mut self, now: i64) -> RestartAction {
        (self.consecutive_failures, self.successes) = (self.consecutive_failures + 1, 0);
        if self.consecutive_failures > MAX_CONSECUTIVE_RESTARTS {
            return RestartAction::GiveUp { failures: self.consecutive_failures };
        }
        // A backoff would make the rows of a `complete` run depend on the clock.
        if self.consecutive_failures == 1 || self.mode == Mode::Complete {
            return RestartAction::Now;
        }
        let factor = f64::from(1u32 << (self.consecutive_failures - 2).min(16));
        let seconds = (INITIAL_BACKOFF_S * factor).min(MAX_BACKOFF_S);
        self.due = Some(now + (seconds * 1e9) as i64);
        RestartAction::Wait { seconds }
    }

    /// Returns true while a restart is pending.
    pub fn is_waiting(&self) -> bool {
        self.due.is_some()
    }

    /// Returns true if a pending restart is due.
    pub fn is_due(&self, now: i64) -> bool {
        self.due.is_some_and(|due| now >= due)
    }

    /// Stores the serialized state of a stream for the next instance of the operator.
    pub fn store_state(&mut self, stream: StreamName, state: Vec<u8>) {
        self.discard_state(&stream);
        self.states.push((stream, state));
    }

    /// Discards the state of a stream that has ended.
    pub fn discard_state(&mut self, stream: &StreamName) {
        self.states.retain(|(known, _)| known != stream);
    }

    /// Takes the stored states; no restart is pending afterwards.
    pub fn take_states(&mut self) -> Vec<(StreamName, Vec<u8>)> {
        self.due = None;
        std::mem::take(&mut self.states)
    }

    /// Cancels a pending restart.
    pub fn cancel(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_in_live_mode_and_the_tenth_restart_is_the_last() {
        let mut restarts = Restarts::new(Mode::Live);
        let actions: Vec<RestartAction> = (0..11).map(|_| restarts.record_failure(0)).collect();
        assert_eq!(actions[0], RestartAction::Now);
        let backoffs: Vec<f64> = actions
            .iter()
            .filter_map(|action| if let RestartAction::Wait { seconds } = action { Some(*seconds) } else { None })
            .collect();
        assert_eq!(backoffs, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(actions[10], RestartAction::GiveUp { failures: 11 });
    }

    #[test]
    fn thirty_successful_calls_reset_the_backoff() {
        let mut restarts = Restarts::new(Mode::Live);
        assert_eq!(restarts.record_failure(0), RestartAction::Now);
        assert_eq!(restarts.record_failure(0), RestartAction::Wait { seconds: 0.5 });
        (0..29).for_each(|_| restarts.record_success());
        assert_eq!(restarts.record_failure(0), RestartAction::Wait { seconds: 1.0 });
        (0..30).for_each(|_| restarts.record_success());
        assert_eq!(restarts.record_failure(0), RestartAction::Now);
    }
}
