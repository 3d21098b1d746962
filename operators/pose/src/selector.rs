//! Model selection for `model: auto`: the most accurate landmark model that keeps up with a live stream.
//!
//! The time of a frame consists of that of the landmark model and the rest (the detector). Both are measured, averaged over
//! about a second, and compared with the interval between frames. The time of another model is predicted from the ratio of
//! the models' times at the start, so the current load of the machine applies to it as well.

use sideline_api::StreamName;
use sideline_vision::frame_interval::{FrameIntervalEstimator, FrameTiming, MAX_LOAD, TARGET_LOAD};

use crate::model::Model;

/// Time after which an overloaded model is replaced by a lighter one, s.
const DOWNGRADE_AFTER_S: f64 = 1.0;
/// Time after which a heavier model is tried, s.
const UPGRADE_AFTER_S: f64 = 3.0;
/// Longest time after which a heavier model is tried again, s: the wait is doubled each time one proves too heavy.
const MAX_UPGRADE_WAIT_S: f64 = 60.0;
/// Mean number of people per frame below which the time of a heavier model cannot be predicted.
const MIN_PEOPLE: f64 = 0.5;

/// Measured times of a frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameCost {
    /// Media time, ns.
    pub pts: i64,
    /// Frames that the source had dropped before this one.
    pub dropped: u64,
    /// Wall-clock time at which the frame was finished, ns.
    pub now: i64,
    /// Time of the landmark model, ns.
    pub landmark_ns: i64,
    /// Total time, ns.
    pub total_ns: i64,
    /// Number of crops.
    pub people: usize,
}

/// Switch to another model, with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSwitch {
    /// Model so far.
    pub from: Model,
    /// Model from the next frame on.
    pub to: Model,
    /// Interval between frames of all streams, ms.
    pub interval_ms: f64,
    /// Measured time of a frame with the previous model, ms.
    pub took_ms: f64,
    /// Predicted time of a frame with the new model, ms.
    pub predicted_ms: f64,
    /// Mean number of crops per frame.
    pub people: f64,
}

/// Selector of the landmark model.
#[derive(Debug)]
pub struct ModelSelector {
    /// Models, fastest first, with their times per person at the start, ns.
    models: Vec<(Model, f64)>,
    current: usize,
    /// Interval between frames of all streams.
    frame_interval: FrameIntervalEstimator,
    /// Mean time of the landmark model per frame, ns.
    landmark_ns: f64,
    /// Mean time of everything else per frame, ns.
    other_ns: f64,
    /// Mean number of crops per frame.
    people: f64,
    /// Time since the last switch, s.
    since_switch_s: f64,
    /// Time after which a heavier model is tried, s.
    upgrade_wait_s: f64,
}

impl ModelSelector {
    /// Creates a selector that begins with the fastest model. `models` are ordered fastest first, with their times per person,
    /// ns.
    pub fn new(models: Vec<(Model, f64)>) -> Self {
        Self {
            models,
            current: 0,
            frame_interval: FrameIntervalEstimator::new(0.0),
            landmark_ns: 0.0,
            other_ns: 0.0,
            people: 0.0,
            since_switch_s: 0.0,
            upgrade_wait_s: UPGRADE_AFTER_S,
        }
    }

    /// Returns the index of the current model.
    pub fn current(&self) -> usize {
        self.current
    }

    /// Adds the times of a frame. Returns a switch if another model is to run from the next frame on.
    pub fn observe(&mut self, stream: &StreamName, cost: FrameCost) -> Option<ModelSwitch> {
        let FrameCost { pts, dropped, now, .. } = cost;
        let increment = self.frame_interval.observe(stream, FrameTiming { pts, dropped, now })?;
        self.since_switch_s += increment.seconds;
        for (mean, new) in [
            (&mut self.landmark_ns, cost.landmark_ns as f64),
            (&mut self.other_ns, (cost.total_ns - cost.landmark_ns) as f64),
            (&mut self.people, cost.people as f64),
        ] {
            *mean += increment.weight * (new - *mean);
        }
        self.choose()
    }

    fn choose(&mut self) -> Option<ModelSwitch> {
        if self.current > 0 && self.since_switch_s >= MAX_UPGRADE_WAIT_S {
            // The current model keeps up for long: earlier overloads no longer delay upgrades.
            self.upgrade_wait_s = UPGRADE_AFTER_S;
        }
        let measured_ns = self.predicted_ns(self.current);
        let interval_ns = self.frame_interval.interval_ns();
        let is_overloaded = measured_ns > MAX_LOAD * interval_ns;
        let to = if is_overloaded && self.current > 0 && self.since_switch_s >= DOWNGRADE_AFTER_S {
            self.upgrade_wait_s = (2.0 * self.upgrade_wait_s).min(MAX_UPGRADE_WAIT_S);
            self.heaviest_within(..self.current, MAX_LOAD).unwrap_or(0)
        } else if self.people >= MIN_PEOPLE && self.since_switch_s >= self.upgrade_wait_s {
            self.heaviest_within(self.current + 1.., TARGET_LOAD)?
        } else {
            return None;
        };
        let predicted_ns = self.predicted_ns(to);
        let ms = 1e-6;
        let switch = ModelSwitch {
            from: self.models[self.current].0,
            to: self.models[to].0,
            interval_ms: interval_ns * ms,
            took_ms: measured_ns * ms,
            predicted_ms: predicted_ns * ms,
            people: self.people,
        };
        self.landmark_ns = predicted_ns - self.other_ns;
        self.current = to;
        self.since_switch_s = 0.0;
        Some(switch)
    }

    /// Returns the predicted time of a frame with a model, ns; the measured one for the current model.
    fn predicted_ns(&self, model: usize) -> f64 {
        self.other_ns + self.landmark_ns * self.models[model].1 / self.models[self.current].1
    }

    /// Returns the heaviest model of a range whose predicted time is at most `load`, a share of the frame interval.
    fn heaviest_within(&self, range: impl std::ops::RangeBounds<usize>, load: f64) -> Option<usize> {
        let limit_ns = load * self.frame_interval.interval_ns();
        (0..self.models.len()).rev().find(|i| range.contains(i) && self.predicted_ns(*i) <= limit_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// A simulated machine: the models take 5, 9 and 45 ms per person, and the rest of a frame 1 ms, each multiplied by `load`.
    struct Machine {
        selector: ModelSelector,
        load: f64,
        now: i64,
        pts: i64,
        dropped: u64,
    }

    impl Machine {
        fn new() -> Self {
            let selector = ModelSelector::new(vec![(Model::Lite, 5e6), (Model::Full, 9e6), (Model::Heavy, 45e6)]);
            Self { selector, load: 1.0, now: 0, pts: 0, dropped: 0 }
        }

        fn frame(&mut self, people: usize, fps: i64) -> Option<ModelSwitch> {
            let each = [5.0, 9.0, 45.0][self.selector.current()] * self.load * MS as f64;
            let landmark_ns = (each * people as f64) as i64;
            let total_ns = landmark_ns + (self.load * MS as f64) as i64;
            // Frames that arrive during the processing are dropped, except for the newest.
            let interval = 1_000_000_000 / fps;
            let passed = (total_ns / interval).max(1);
            self.dropped += passed as u64 - 1;
            self.pts += passed * interval;
            self.now = self.pts;
            let (pts, dropped, now) = (self.pts, self.dropped, self.now);
            self.selector.observe(&"ring".into(), FrameCost { pts, dropped, now, landmark_ns, total_ns, people })
        }

        fn run(&mut self, seconds: f64, people: usize, fps: i64) -> Vec<(f64, ModelSwitch)> {
            let end = self.pts + (seconds * 1e9) as i64;
            let mut switches = vec![];
            while self.pts < end {
                switches.extend(self.frame(people, fps).map(|switch| (self.pts as f64 * 1e-9, switch)));
            }
            switches
        }
    }

    fn names(switches: &[(f64, ModelSwitch)]) -> Vec<&'static str> {
        switches.iter().map(|(_, switch)| switch.to.name()).collect()
    }

    #[test]
    fn it_upgrades_to_the_heaviest_model_that_keeps_up_and_stays() {
        let mut machine = Machine::new();
        let switches = machine.run(60.0, 2, 30);
        assert_eq!(names(&switches), ["full"]);
        let (at, switch) = &switches[0];
        assert!((3.0..3.2).contains(at), "{at}");
        let near = |a: f64, b: f64| (a - b).abs() < 0.1;
        assert!(near(switch.interval_ms, 33.3) && near(switch.took_ms, 11.0) && near(switch.predicted_ms, 19.0));
        assert!(near(switch.people, 2.0));
        // One person at five frames a second: heavy keeps up, and is chosen directly.
        assert_eq!(names(&Machine::new().run(60.0, 1, 5)), ["heavy"]);
        // Two people at sixty: no heavier model keeps up.
        assert!(names(&Machine::new().run(60.0, 2, 60)).is_empty());
    }

    #[test]
    fn a_loaded_machine_downgrades_within_seconds_and_upgrades_again_later() {
        let mut machine = Machine::new();
        machine.run(10.0, 2, 30);
        machine.load = 2.0;
        let down = machine.run(10.0, 2, 30);
        assert_eq!(names(&down), ["lite"]);
        assert!(down[0].0 < 12.5, "{down:?}");
        machine.load = 1.0;
        assert_eq!(names(&machine.run(10.0, 2, 30)), ["full"]);
    }

    #[test]
    fn dropped_frames_count_so_that_a_slow_model_is_not_taken_for_a_slow_camera() {
        let mut machine = Machine::new();
        machine.run(10.0, 1, 5);
        assert_eq!(machine.selector.models[machine.selector.current()].0, Model::Heavy);
        // Thirty a second: heavy processes every second frame.
        assert_eq!(names(&machine.run(5.0, 1, 30)), ["full"]);
    }

    #[test]
    fn loads_within_the_hysteresis_cause_no_switch() {
        let mut machine = Machine::new();
        // Two people, 25 a second: full takes 19 of 40 ms; with more load up to 34 of 40 ms.
        assert_eq!(names(&machine.run(10.0, 2, 25)), ["full"]);
        for load in [1.3, 1.6, 1.75, 1.4] {
            machine.load = load;
            assert!(machine.run(10.0, 2, 25).is_empty(), "load {load}");
        }
    }

    #[test]
    fn a_model_that_proved_too_heavy_is_tried_less_and_less_often() {
        let mut machine = Machine::new();
        let mut ups = vec![];
        // Worst case: the machine is idle with lite, and loaded with full.
        while machine.pts < 120_000_000_000 {
            machine.load = if machine.selector.current() == 0 { 1.0 } else { 1.7 };
            if machine.frame(2, 30).is_some_and(|switch| switch.to == Model::Full) {
                ups.push(machine.pts / 1_000_000_000);
            }
        }
        assert!(ups.len() <= 6, "{ups:?}");
        assert!(ups.windows(3).all(|t| t[2] - t[1] > t[1] - t[0]), "{ups:?}");
    }

    #[test]
    fn frames_without_people_cause_no_upgrade() {
        let mut machine = Machine::new();
        assert!(machine.run(30.0, 0, 30).is_empty());
        assert_eq!(names(&machine.run(5.0, 2, 30)), ["full"]);
    }

    #[test]
    fn two_streams_share_the_time_budget() {
        let mut machine = Machine::new();
        for i in 1..600_i64 {
            let (pts, now) = (i * 40 * MS, i * 40 * MS);
            for stream in ["left", "right"] {
                let cost = FrameCost { pts, dropped: 0, now, landmark_ns: 10 * MS, total_ns: 11 * MS, people: 2 };
                assert_eq!(machine.selector.observe(&stream.into(), cost), None, "19 of 20 ms is too much");
            }
        }
    }
}
