//! Real time for what is played: when each media time is due by the clock of the wall.

/// A step ahead by more, ns, is not waited for: nobody wants to look at a gap of an hour for an hour.
const LONGEST_PAUSE_NS: i64 = 60_000_000_000;

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Wall clock at media time 0, ns.
    zero_ns: i64,
    /// Furthest media time that was asked for, ns.
    reached_ns: i64,
}

impl Pace {
    /// Starts at a media time, which is due at `now_ns`.
    pub fn start(time_ns: i64, now_ns: i64) -> Self {
        Self { zero_ns: now_ns - time_ns, reached_ns: time_ns }
    }

    /// Returns when a media time is due. Behind a step of more than a minute, that is one `interval_ns` behind what was due
    /// before.
    pub fn due(&mut self, time_ns: i64, interval_ns: i64) -> i64 {
        let step_ns = time_ns.saturating_sub(self.reached_ns);
        if step_ns > LONGEST_PAUSE_NS {
            self.zero_ns = self.zero_ns.saturating_sub(step_ns - interval_ns);
        }
        self.reached_ns = self.reached_ns.max(time_ns);
        self.zero_ns.saturating_add(time_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn a_long_gap_is_not_waited_for() {
        let mut pace = Pace::start(5 * S, 100 * S);
        assert_eq!(pace.due(5 * S, S), 100 * S);
        assert_eq!(pace.due(6 * S, S), 101 * S);
        assert_eq!(pace.due(36 * S, S), 131 * S, "a still picture");
        assert_eq!(pace.due(3_000 * S, S), 132 * S);
        assert_eq!(pace.due(2_999 * S, S), 131 * S, "coded out of order");
        assert_eq!(pace.due(3_001 * S, S), 133 * S);
    }
}
