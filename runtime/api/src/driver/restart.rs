//! `on_error: restart`: when an operator that failed is made again, and the states that wait for it.

use crate::{StreamName, context::Mode};

/// Successful frames after which an operator counts as recovered.
const RECOVERED_AFTER: u32 = 30;
/// Restarts in a row that are tried before the run ends with the failure.
const MOST: u32 = 10;
/// Pause before the second restart in a row, seconds; each further one waits twice as long.
const FIRST_PAUSE_S: f64 = 0.5;
/// Longest pause, seconds.
const LONGEST_PAUSE_S: f64 = 30.0;

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Make the operator now.
    Now,
    /// Make it after so many seconds.
    Wait {
        /// Length of the pause.
        seconds: f64,
    },
    /// End the run.
    GiveUp {
        /// Failures in a row.
        failures: u32,
    },
}

/// See the [module](self).
pub struct Restarts {
    mode: Mode,
    in_a_row: u32,
    successes: u32,
    /// While a restart waits: when it is due, nanoseconds since 1970.
    due: Option<i64>,
    states: Vec<(StreamName, Vec<u8>)>,
}

impl Restarts {
    pub fn new(mode: Mode) -> Self {
        Self { mode, in_a_row: 0, successes: 0, due: None, states: vec![] }
    }

    /// A call succeeded.
    pub fn succeeded(&mut self) {
        if self.in_a_row > 0 {
            self.successes += 1;
            if self.successes >= RECOVERED_AFTER {
                (self.in_a_row, self.successes) = (0, 0);
            }
        }
    }

    /// A call failed at `now`, nanoseconds since 1970.
    pub fn failed(&mut self, now: i64) -> Next {
        (self.in_a_row, self.successes) = (self.in_a_row + 1, 0);
        if self.in_a_row > MOST {
            return Next::GiveUp { failures: self.in_a_row };
        }
        // A pause would make the rows of a `complete` run depend on the clock.
        if self.in_a_row == 1 || self.mode == Mode::Complete {
            return Next::Now;
        }
        let seconds = (FIRST_PAUSE_S * f64::from(1u32 << (self.in_a_row - 2).min(16))).min(LONGEST_PAUSE_S);
        self.due = Some(now + (seconds * 1e9) as i64);
        Next::Wait { seconds }
    }

    /// True while a restart waits.
    pub fn is_waiting(&self) -> bool {
        self.due.is_some()
    }

    /// True when a waiting restart is due.
    pub fn is_due(&self, now: i64) -> bool {
        self.due.is_some_and(|due| now >= due)
    }

    /// Keeps the saved state of a stream for the operator that is made next.
    pub fn keep(&mut self, stream: StreamName, state: Vec<u8>) {
        self.forget(&stream);
        self.states.push((stream, state));
    }

    /// Drops the state of a stream that has ended.
    pub fn forget(&mut self, stream: &StreamName) {
        self.states.retain(|(known, _)| known != stream);
    }

    /// Hands over the kept states; no restart waits any more.
    pub fn take(&mut self) -> Vec<(StreamName, Vec<u8>)> {
        self.due = None;
        std::mem::take(&mut self.states)
    }

    /// Makes no operator again.
    pub fn give_up(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_in_live_mode_and_the_tenth_restart_is_the_last() {
        let mut restarts = Restarts::new(Mode::Live);
        let next: Vec<Next> = (0..11).map(|_| restarts.failed(0)).collect();
        assert_eq!(next[0], Next::Now);
        let pauses: Vec<f64> = next
            .iter()
            .filter_map(|next| if let Next::Wait { seconds } = next { Some(*seconds) } else { None })
            .collect();
        assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(next[10], Next::GiveUp { failures: 11 });
    }

    #[test]
    fn thirty_successes_make_the_next_failure_the_first_again() {
        let mut restarts = Restarts::new(Mode::Live);
        assert_eq!((restarts.failed(0), restarts.failed(0)), (Next::Now, Next::Wait { seconds: 0.5 }));
        (0..29).for_each(|_| restarts.succeeded());
        assert_eq!(restarts.failed(0), Next::Wait { seconds: 1.0 });
        (0..30).for_each(|_| restarts.succeeded());
        assert_eq!(restarts.failed(0), Next::Now);
    }
}
