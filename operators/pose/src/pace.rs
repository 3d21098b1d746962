//! `model: auto`: the most exact model that keeps up with a live stream.
//!
//! What a frame costs is what its looks for joints cost, and the rest (the detector). Both are measured and averaged over
//! about a second, against the time between frames. What another model would cost follows from how the models compared
//! when they were all run once at the start: so the load of the machine counts for it as for the one that runs.

use sideline_api::{
    StreamName,
    rhythm::{Beat, COMFORTABLE, Rhythm, TOO_MUCH},
};

use crate::model::Model;

/// Seconds before a model that proved too heavy is left, and before a heavier one is tried.
const BEFORE_DOWN: f64 = 1.0;
const BEFORE_UP: f64 = 3.0;
/// Most seconds for which a heavier model is not tried again: each time one proves too heavy the wait is doubled.
const LONGEST_WAIT: f64 = 60.0;
/// With fewer people than this in a frame nothing shows what a heavier model would cost.
const SOMEBODY: f64 = 0.5;

/// What one frame took, and when.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Media time, ns.
    pub pts: i64,
    /// Frames that the source had forgotten by then.
    pub forgotten: u64,
    /// Wall clock when it was done, ns.
    pub now: i64,
    /// Nanoseconds that looks for joints took.
    pub looks_ns: i64,
    /// Nanoseconds in all.
    pub all_ns: i64,
    /// Crops looked at.
    pub people: usize,
}

/// Another model from now on, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The one that ran.
    pub from: Model,
    /// The one that will.
    pub to: Model,
    /// Milliseconds from frame to frame, of all streams.
    pub interval_ms: f64,
    /// Milliseconds a frame takes with the one that ran.
    pub took_ms: f64,
    /// Milliseconds a frame will take.
    pub will_take_ms: f64,
    /// People looked at in a frame.
    pub people: f64,
}

/// Chooses among models.
#[derive(Debug)]
pub struct Pace {
    /// Fastest first, with the nanoseconds that a person took at the start.
    models: Vec<(Model, f64)>,
    current: usize,
    rhythm: Rhythm,
    looks: f64,
    besides: f64,
    people: f64,
    /// Seconds since the last change.
    since: f64,
    /// Seconds before a heavier one is tried.
    wait: f64,
}

impl Pace {
    /// Begins with the fastest. `models`: fastest first, with the nanoseconds that a person takes.
    pub fn new(models: Vec<(Model, f64)>) -> Self {
        Self {
            models,
            current: 0,
            rhythm: Rhythm::new(0.0),
            looks: 0.0,
            besides: 0.0,
            people: 0.0,
            since: 0.0,
            wait: BEFORE_UP,
        }
    }

    /// Which model runs, by its place in the list.
    pub fn current(&self) -> usize {
        self.current
    }

    /// Takes in what a frame took; says when another model is to run from the next one on.
    pub fn took(&mut self, stream: &StreamName, work: Work) -> Option<Change> {
        let Work { pts, forgotten, now, .. } = work;
        let step = self.rhythm.heard(stream, Beat { pts, forgotten, now })?;
        self.since += step.seconds;
        for (mean, new) in [
            (&mut self.looks, work.looks_ns as f64),
            (&mut self.besides, (work.all_ns - work.looks_ns) as f64),
            (&mut self.people, work.people as f64),
        ] {
            *mean += step.share * (new - *mean);
        }
        self.choose()
    }

    fn choose(&mut self) -> Option<Change> {
        if self.current > 0 && self.since >= LONGEST_WAIT {
            // It has proved good: what was too heavy once is no longer held against it.
            self.wait = BEFORE_UP;
        }
        let took = self.cost(self.current);
        let to = if took > TOO_MUCH * self.rhythm.interval() && self.current > 0 && self.since >= BEFORE_DOWN {
            self.wait = (2.0 * self.wait).min(LONGEST_WAIT);
            self.heaviest(..self.current, TOO_MUCH).unwrap_or(0)
        } else if self.people >= SOMEBODY && self.since >= self.wait {
            self.heaviest(self.current + 1.., COMFORTABLE)?
        } else {
            return None;
        };
        let will_take = self.cost(to);
        let ms = 1e-6;
        let change = Change {
            from: self.models[self.current].0,
            to: self.models[to].0,
            interval_ms: self.rhythm.interval() * ms,
            took_ms: took * ms,
            will_take_ms: will_take * ms,
            people: self.people,
        };
        self.looks = will_take - self.besides;
        self.current = to;
        self.since = 0.0;
        Some(change)
    }

    /// Nanoseconds that a frame would take with a model.
    fn cost(&self, model: usize) -> f64 {
        self.besides + self.looks * self.models[model].1 / self.models[self.current].1
    }

    /// The heaviest of some models that needs no more than a share of the time between frames.
    fn heaviest(&self, of: impl std::ops::RangeBounds<usize>, share: f64) -> Option<usize> {
        (0..self.models.len()).rev().find(|i| of.contains(i) && self.cost(*i) <= share * self.rhythm.interval())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// A machine on which a person takes 5, 9 and 45 ms, times `load`, and the rest of a frame 1 ms.
    struct Machine {
        pace: Pace,
        load: f64,
        now: i64,
        pts: i64,
        forgotten: u64,
    }

    impl Machine {
        fn new() -> Self {
            let pace = Pace::new(vec![(Model::Lite, 5e6), (Model::Full, 9e6), (Model::Heavy, 45e6)]);
            Self { pace, load: 1.0, now: 0, pts: 0, forgotten: 0 }
        }

        fn frame(&mut self, people: usize, fps: i64) -> Option<Change> {
            let each = [5.0, 9.0, 45.0][self.pace.current()] * self.load * MS as f64;
            let looks_ns = (each * people as f64) as i64;
            let all_ns = looks_ns + (self.load * MS as f64) as i64;
            // What comes while it works is forgotten, but for the newest.
            let interval = 1_000_000_000 / fps;
            let passed = (all_ns / interval).max(1);
            self.forgotten += passed as u64 - 1;
            self.pts += passed * interval;
            self.now = self.pts;
            let (pts, forgotten, now) = (self.pts, self.forgotten, self.now);
            self.pace.took(&"ring".into(), Work { pts, forgotten, now, looks_ns, all_ns, people })
        }

        fn run(&mut self, seconds: f64, people: usize, fps: i64) -> Vec<(f64, Change)> {
            let end = self.pts + (seconds * 1e9) as i64;
            let mut changes = vec![];
            while self.pts < end {
                changes.extend(self.frame(people, fps).map(|change| (self.pts as f64 * 1e-9, change)));
            }
            changes
        }
    }

    fn names(changes: &[(f64, Change)]) -> Vec<&'static str> {
        changes.iter().map(|(_, change)| change.to.name()).collect()
    }

    #[test]
    fn it_goes_up_to_the_heaviest_that_keeps_up_and_stays() {
        let mut machine = Machine::new();
        let changes = machine.run(60.0, 2, 30);
        assert_eq!(names(&changes), ["full"]);
        let (at, change) = &changes[0];
        assert!((3.0..3.2).contains(at), "{at}");
        let near = |a: f64, b: f64| (a - b).abs() < 0.1;
        assert!(near(change.interval_ms, 33.3) && near(change.took_ms, 11.0) && near(change.will_take_ms, 19.0));
        assert!(near(change.people, 2.0));
        // One person at five frames a second: there is time for heavy, and lite is not passed through.
        assert_eq!(names(&Machine::new().run(60.0, 1, 5)), ["heavy"]);
        // Four at sixty: there is time for none heavier.
        assert!(names(&Machine::new().run(60.0, 2, 60)).is_empty());
    }

    #[test]
    fn a_loaded_machine_makes_it_go_down_within_seconds_and_up_again_later() {
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
    fn forgotten_frames_count_as_frames_so_that_being_slow_does_not_look_like_a_slow_camera() {
        let mut machine = Machine::new();
        machine.run(10.0, 1, 5);
        assert_eq!(machine.pace.models[machine.pace.current()].0, Model::Heavy);
        // Thirty a second: heavy handles every second one.
        assert_eq!(names(&machine.run(5.0, 1, 30)), ["full"]);
    }

    #[test]
    fn between_the_two_shares_nothing_changes() {
        let mut machine = Machine::new();
        // Two people, 25 a second: full takes 19 of 40 ms; with more load up to 34 of 40 ms.
        assert_eq!(names(&machine.run(10.0, 2, 25)), ["full"]);
        for load in [1.3, 1.6, 1.75, 1.4] {
            machine.load = load;
            assert!(machine.run(10.0, 2, 25).is_empty(), "load {load}");
        }
    }

    #[test]
    fn what_proved_too_heavy_is_tried_less_and_less_often() {
        let mut machine = Machine::new();
        let mut ups = vec![];
        // Lite finds the machine idle, full finds it loaded: the worst there is.
        while machine.pts < 120_000_000_000 {
            machine.load = if machine.pace.current() == 0 { 1.0 } else { 1.7 };
            if machine.frame(2, 30).is_some_and(|change| change.to == Model::Full) {
                ups.push(machine.pts / 1_000_000_000);
            }
        }
        assert!(ups.len() <= 6, "{ups:?}");
        assert!(ups.windows(3).all(|t| t[2] - t[1] > t[1] - t[0]), "{ups:?}");
    }

    #[test]
    fn an_empty_ring_is_no_reason_for_a_heavier_model() {
        let mut machine = Machine::new();
        assert!(machine.run(30.0, 0, 30).is_empty());
        assert_eq!(names(&machine.run(5.0, 2, 30)), ["full"]);
    }

    #[test]
    fn two_streams_share_the_time() {
        let mut machine = Machine::new();
        for i in 1..600_i64 {
            let (pts, now) = (i * 40 * MS, i * 40 * MS);
            for stream in ["left", "right"] {
                let work = Work { pts, forgotten: 0, now, looks_ns: 10 * MS, all_ns: 11 * MS, people: 2 };
                assert_eq!(machine.pace.took(&stream.into(), work), None, "19 of 20 ms is too much");
            }
        }
    }
}
