//! `every: auto`: adapts the detection interval so that the detector keeps up with a live stream.
//!
//! The duration of a detector run is measured, averaged and compared with the time between frames.

use sideline_api::StreamName;
use sideline_vision::frame_interval::{FrameIntervalEstimator, FrameTiming, MAX_LOAD, TARGET_LOAD};

/// Minimum time since the last change before the interval is raised, s.
const MIN_TIME_BEFORE_RAISE_S: f64 = 1.0;
/// Minimum time since the last change before the interval is lowered, s.
const MIN_TIME_BEFORE_LOWER_S: f64 = 3.0;
/// Maximum detection interval, frames: beyond it tracking fails, and dropping frames at the source is better.
const MAX_INTERVAL: u32 = 30;
/// Time between frames before it is measured, s.
const DEFAULT_FRAME_TIME_S: f64 = 1.0 / 30.0;

/// Timing of a processed frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameWork {
    /// Media time, ns.
    pub pts: i64,
    /// Frames that the source had dropped by then.
    pub dropped: u64,
    /// Wall-clock time at which the frame was finished, ns.
    pub now: i64,
    /// Duration of the detector run, ns; `None` where the detector did not run.
    pub run_ns: Option<i64>,
}

/// A change of the detection interval and its cause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntervalChange {
    /// Interval so far, frames.
    pub from: u32,
    /// Interval from now on, frames.
    pub to: u32,
    /// Mean duration of a detector run, ms.
    pub run_ms: f64,
    /// Mean time between frames of all streams, ms.
    pub frame_interval_ms: f64,
}

/// Chooses the detection interval.
#[derive(Debug)]
pub struct AdaptiveInterval {
    frames: u32,
    frame_interval: FrameIntervalEstimator,
    /// Mean duration of a detector run, ns.
    mean_run_ns: f64,
    /// Seconds since the last change.
    seconds_since_change: f64,
}

impl AdaptiveInterval {
    /// Creates a controller with the interval that suits a stream of 30 frames/s; `run_ns` is the duration of a
    /// detector run at the start, ns.
    pub fn new(run_ns: f64) -> Self {
        let mut interval = Self {
            frames: 1,
            frame_interval: FrameIntervalEstimator::new(DEFAULT_FRAME_TIME_S * 1e9),
            mean_run_ns: run_ns,
            seconds_since_change: 0.0,
        };
        interval.frames = interval.target();
        interval
    }

    /// Returns the detection interval, frames.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Updates with a processed frame; returns the change of the interval, if any.
    pub fn update(&mut self, stream: &StreamName, work: FrameWork) -> Option<IntervalChange> {
        let FrameWork { pts, dropped, now, .. } = work;
        let step = self.frame_interval.observe(stream, FrameTiming { pts, dropped, now })?;
        self.seconds_since_change += step.seconds;
        if let Some(run_ns) = work.run_ns {
            let weight = (step.weight * f64::from(self.frames)).min(1.0);
            self.mean_run_ns += weight * (run_ns as f64 - self.mean_run_ns);
        }
        let to = self.target();
        let is_overloaded = self.mean_run_ns / f64::from(self.frames) > MAX_LOAD * self.frame_interval.interval_ns();
        let is_due = (to > self.frames && is_overloaded && self.seconds_since_change >= MIN_TIME_BEFORE_RAISE_S)
            || (to < self.frames && self.seconds_since_change >= MIN_TIME_BEFORE_LOWER_S);
        is_due.then(|| {
            let from = std::mem::replace(&mut self.frames, to);
            self.seconds_since_change = 0.0;
            IntervalChange {
                from,
                to,
                run_ms: self.mean_run_ns * 1e-6,
                frame_interval_ms: self.frame_interval.interval_ns() * 1e-6,
            }
        })
    }

    /// Returns the smallest interval at which detector runs take the target share of the time.
    fn target(&self) -> u32 {
        (self.mean_run_ns / (TARGET_LOAD * self.frame_interval.interval_ns()))
            .ceil()
            .clamp(1.0, f64::from(MAX_INTERVAL)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// A simulated machine with a given duration of a detector run.
    struct Machine {
        interval: AdaptiveInterval,
        run_ms: i64,
        now: i64,
        dropped: u64,
        frame: u32,
    }

    impl Machine {
        fn new(run_ms: i64) -> Self {
            Self { interval: AdaptiveInterval::new((run_ms * MS) as f64), run_ms, now: 0, dropped: 0, frame: 0 }
        }

        /// Processes frames for some seconds and returns the changed intervals.
        fn run(&mut self, seconds: i64, fps: i64) -> Vec<u32> {
            let (end, frame_time) = (self.now + seconds * 1000 * MS, 1000 * MS / fps);
            let mut chosen = vec![];
            while self.now < end {
                let is_due = self.frame == 0;
                self.frame = (self.frame + 1) % self.interval.frames();
                let run_ns = is_due.then_some(self.run_ms * MS);
                let work = FrameWork { pts: self.now, dropped: self.dropped, now: self.now, run_ns };
                chosen.extend(self.interval.update(&"pitch".into(), work).map(|change| change.to));
                self.frame %= self.interval.frames();
                self.now += frame_time;
            }
            chosen
        }
    }

    #[test]
    fn the_initial_interval_suits_thirty_frames_per_second() {
        // 45 ms per run at 33 ms per frame: every third frame costs 15 ms per frame, every second 22.
        let mut machine = Machine::new(45);
        assert_eq!(machine.interval.frames(), 3);
        assert!(machine.run(30, 30).is_empty());
        assert_eq!(Machine::new(10).interval.frames(), 1);
    }

    #[test]
    fn the_interval_follows_the_frame_rate() {
        assert_eq!(Machine::new(45).run(20, 10), [1]);
        assert_eq!(Machine::new(45).run(20, 60), [5]);
    }

    #[test]
    fn load_raises_the_interval_within_seconds_and_idle_time_lowers_it() {
        let mut machine = Machine::new(15);
        assert!(machine.run(5, 30).is_empty());
        machine.run_ms = 90;
        let loaded = machine.run(10, 30);
        // 90 ms every fourth frame are 22 ms of the 33 per frame.
        assert_eq!(loaded.last(), Some(&4), "{loaded:?}");
        machine.run_ms = 15;
        let free = machine.run(30, 30);
        assert_eq!(free.last(), Some(&1), "{free:?}");
    }

    #[test]
    fn two_streams_share_the_time() {
        let mut interval = AdaptiveInterval::new(15e6);
        assert_eq!(interval.frames(), 1);
        let mut last = None;
        for frame in 0..300_i64 {
            let (pts, now) = (frame * 33 * MS, frame * 33 * MS);
            for stream in ["left", "right"] {
                let work = FrameWork { pts, dropped: 0, now, run_ns: Some(15 * MS) };
                last = interval.update(&stream.into(), work).or(last);
            }
        }
        assert_eq!(last.map(|change| change.to), Some(2));
    }
}
