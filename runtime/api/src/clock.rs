//! Clock of the operators: wall-clock time in a run, a manually advanced clock in tests. Operators read no other.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Source of the current time.
pub trait Clock: Send + Sync {
    /// Returns the current time in nanoseconds since 1970.
    fn now(&self) -> i64;
}

/// Wall clock of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
    }
}

/// Clock for tests, which starts at 0 and moves only by [`Self::advance`].
#[derive(Debug, Default)]
pub struct VirtualClock(AtomicI64);

impl VirtualClock {
    /// Moves the clock forward by `nanoseconds`.
    pub fn advance(&self, nanoseconds: i64) {
        self.0.fetch_add(nanoseconds, Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}
