//! Time budget per frame: the measured interval between frames, from which an operator chooses how much work it does.

use std::collections::BTreeMap;

use sideline_api::StreamName;

/// Share of the frame interval that an operator's work should take at most; the rest is left to the other operators.
pub const TARGET_LOAD: f64 = 0.6;
/// Share of the frame interval above which an operator reduces its work. The distance to [`TARGET_LOAD`] is a hysteresis
/// that keeps choices stable.
pub const MAX_LOAD: f64 = 0.85;
/// Time constant of the averages, seconds of media.
const AVERAGING_S: f64 = 1.0;
/// Seconds without a frame after which a stream no longer counts.
const STREAM_TIMEOUT_S: f64 = 1.0;

/// Times of a processed frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameTiming {
    /// Media time, ns.
    pub pts: i64,
    /// Number of frames of the stream that the source had dropped before this one.
    pub dropped: u64,
    /// Wall-clock time at which the frame was finished, ns.
    pub now: i64,
}

/// Estimator of the interval between frames over all active streams. Dropped frames count as frames: otherwise a slow
/// operator would be taken for a slow camera.
#[derive(Clone, Debug)]
pub struct FrameIntervalEstimator {
    /// Last frame of each stream.
    streams: BTreeMap<StreamName, FrameTiming>,
    /// Seconds of media observed so far.
    observed_s: f64,
    interval_ns: f64,
}

/// Contribution of a frame to moving averages.
#[derive(Clone, Copy, Debug)]
pub struct Increment {
    /// Seconds of media between the previous frame and this one, divided by the number of streams.
    pub seconds: f64,
    /// Weight of the frame in a moving average: the plain mean during the first second, exponential decay afterwards.
    pub weight: f64,
}

impl FrameIntervalEstimator {
    /// Creates an estimator that returns `interval_ns` until the first observation.
    pub fn new(interval_ns: f64) -> Self {
        Self { streams: BTreeMap::new(), observed_s: 0.0, interval_ns }
    }

    /// Adds a frame. Returns `None` for the first frame of a stream and for one whose media time has not advanced.
    pub fn observe(&mut self, stream: &StreamName, frame: FrameTiming) -> Option<Increment> {
        let previous = self.streams.insert(stream.clone(), frame);
        self.streams.retain(|_, last| (frame.now - last.now) as f64 <= STREAM_TIMEOUT_S * 1e9);
        let previous = previous?;
        let streams = self.streams.len().max(1) as f64;
        let frames = 1 + frame.dropped.saturating_sub(previous.dropped);
        let elapsed = (frame.pts - previous.pts) as f64;
        let interval_ns = elapsed / frames as f64 / streams;
        if interval_ns <= 0.0 {
            return None;
        }
        let seconds = (elapsed * 1e-9 / streams).min(AVERAGING_S);
        self.observed_s += seconds;
        let weight = (seconds / self.observed_s.min(AVERAGING_S)).min(1.0);
        self.interval_ns += weight * (interval_ns - self.interval_ns);
        Some(Increment { seconds, weight })
    }

    /// Returns the mean interval between frames of all streams together, ns.
    pub fn interval_ns(&self) -> f64 {
        self.interval_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn dropped_frames_and_further_streams_shorten_the_interval() {
        let mut estimator = FrameIntervalEstimator::new(0.0);
        let timing = |frame: i64, dropped| FrameTiming { pts: frame * 40 * MS, dropped, now: frame * 40 * MS };
        assert!(estimator.observe(&"a".into(), timing(0, 0)).is_none());
        assert_eq!(estimator.observe(&"a".into(), timing(1, 0)).unwrap().weight, 1.0);
        assert_eq!(estimator.interval_ns(), 40e6);
        assert!(estimator.observe(&"a".into(), timing(1, 0)).is_none(), "no time has passed");
        // Two frame intervals have passed, and one frame was dropped: the interval stays at 40 ms.
        let increment = estimator.observe(&"a".into(), timing(3, 1)).unwrap();
        assert!((increment.weight - 2.0 / 3.0).abs() < 1e-9, "{increment:?}");
        assert!((estimator.interval_ns() - 40e6).abs() < 1.0, "{}", estimator.interval_ns());
        // A second stream halves the interval.
        assert!(estimator.observe(&"b".into(), timing(4, 0)).is_none());
        (5..200).for_each(|frame| {
            estimator.observe(&"a".into(), timing(frame, 1));
            estimator.observe(&"b".into(), timing(frame, 0));
        });
        assert!((estimator.interval_ns() - 20e6).abs() < 1e6, "{}", estimator.interval_ns());
    }
}
