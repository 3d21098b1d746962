//! Real-time pacing: maps the media times of a file to wall-clock due times.

/// Longest step in media time that is waited for, ns: a longer gap, such as an hour without frames, is skipped.
const LONGEST_PAUSE_NS: i64 = 60_000_000_000;

/// Due times of one stream; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    /// Wall clock at media time 0, ns.
    zero_ns: i64,
    /// Latest media time so far, ns.
    reached_ns: i64,
}

impl Pacer {
    /// Starts at a media time, which is due at `now_ns`.
    pub fn start(time_ns: i64, now_ns: i64) -> Self {
        Self { zero_ns: now_ns - time_ns, reached_ns: time_ns }
    }

    /// Returns the due time of a media time, wall clock in ns. After a step of more than a minute that is one `interval_ns`
    /// after the latest due time.
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
    fn a_gap_of_more_than_a_minute_is_not_waited_for() {
        let mut pacer = Pacer::start(5 * S, 100 * S);
        assert_eq!(pacer.due(5 * S, S), 100 * S);
        assert_eq!(pacer.due(6 * S, S), 101 * S);
        assert_eq!(pacer.due(36 * S, S), 131 * S, "half a minute without a frame is waited for");
        assert_eq!(pacer.due(3_000 * S, S), 132 * S);
        assert_eq!(pacer.due(2_999 * S, S), 131 * S, "a packet in decoding order may precede the latest time");
        assert_eq!(pacer.due(3_001 * S, S), 133 * S);
    }
}
