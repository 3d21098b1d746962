//! `every: auto`: how seldom a model must look to keep up with a live stream.
//!
//! What a look costs is measured and averaged, against the time between frames.

use sideline_api::{
    StreamName,
    rhythm::{Beat, COMFORTABLE, Rhythm, TOO_MUCH},
};

/// Seconds before a choice is changed for a rarer look, and for a more frequent one.
const BEFORE_RARER: f64 = 1.0;
const BEFORE_OFTEN: f64 = 3.0;
/// Most frames between looks: beyond, nothing is followed any more, and the source forgets frames instead.
const MOST: u32 = 30;
/// What is taken for the time between frames until it is known, seconds.
const USUAL: f64 = 1.0 / 30.0;

/// A frame that was handled.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Media time, ns.
    pub pts: i64,
    /// Frames that the source had forgotten by then.
    pub forgotten: u64,
    /// Wall clock when it was done, ns.
    pub now: i64,
    /// Nanoseconds that the look took; `None` where none was due.
    pub took_ns: Option<i64>,
}

/// Another stride from now on, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Every how many frames the model looked.
    pub from: u32,
    /// Every how many it will.
    pub to: u32,
    /// Milliseconds a look takes.
    pub took_ms: f64,
    /// Milliseconds from frame to frame, of all streams.
    pub interval_ms: f64,
}

/// Chooses every how many frames the model looks.
#[derive(Debug)]
pub struct Pace {
    every: u32,
    rhythm: Rhythm,
    /// What a look takes on average, ns.
    look: f64,
    /// Seconds since the last change.
    since: f64,
}

impl Pace {
    /// Begins with what fits a stream of thirty frames a second. `look_ns`: what a look took at the start.
    pub fn new(look_ns: f64) -> Self {
        let mut pace = Self { every: 1, rhythm: Rhythm::new(USUAL * 1e9), look: look_ns, since: 0.0 };
        pace.every = pace.comfortable();
        pace
    }

    /// Every how many frames the model looks.
    pub fn every(&self) -> u32 {
        self.every
    }

    /// Takes in a frame; says when the stride changes.
    pub fn took(&mut self, stream: &StreamName, work: Work) -> Option<Change> {
        let Work { pts, forgotten, now, .. } = work;
        let step = self.rhythm.heard(stream, Beat { pts, forgotten, now })?;
        self.since += step.seconds;
        if let Some(took) = work.took_ns {
            let share = (step.share * f64::from(self.every)).min(1.0);
            self.look += share * (took as f64 - self.look);
        }
        let to = self.comfortable();
        let rarer = self.look / f64::from(self.every) > TOO_MUCH * self.rhythm.interval();
        let due =
            (to > self.every && rarer && self.since >= BEFORE_RARER) || (to < self.every && self.since >= BEFORE_OFTEN);
        due.then(|| {
            let from = std::mem::replace(&mut self.every, to);
            self.since = 0.0;
            Change { from, to, took_ms: self.look * 1e-6, interval_ms: self.rhythm.interval() * 1e-6 }
        })
    }

    /// The smallest stride at which looks take a comfortable share of the time.
    fn comfortable(&self) -> u32 {
        (self.look / (COMFORTABLE * self.rhythm.interval())).ceil().clamp(1.0, f64::from(MOST)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// A machine on which a look takes so many milliseconds.
    struct Machine {
        pace: Pace,
        look_ms: i64,
        now: i64,
        forgotten: u64,
        frame: u32,
    }

    impl Machine {
        fn new(look_ms: i64) -> Self {
            Self { pace: Pace::new((look_ms * MS) as f64), look_ms, now: 0, forgotten: 0, frame: 0 }
        }

        /// Runs and gives the strides that were chosen.
        fn run(&mut self, seconds: i64, fps: i64) -> Vec<u32> {
            let (end, interval) = (self.now + seconds * 1000 * MS, 1000 * MS / fps);
            let mut chosen = vec![];
            while self.now < end {
                let looks = self.frame == 0;
                self.frame = (self.frame + 1) % self.pace.every();
                let took_ns = looks.then_some(self.look_ms * MS);
                let work = Work { pts: self.now, forgotten: self.forgotten, now: self.now, took_ns };
                chosen.extend(self.pace.took(&"pitch".into(), work).map(|change| change.to));
                self.frame %= self.pace.every();
                self.now += interval;
            }
            chosen
        }
    }

    #[test]
    fn it_begins_with_what_fits_thirty_frames_a_second_and_stays() {
        // 45 ms of 33: every third look takes 15 ms a frame, every second 22.
        let mut machine = Machine::new(45);
        assert_eq!(machine.pace.every(), 3);
        assert!(machine.run(30, 30).is_empty());
        assert_eq!(Machine::new(10).pace.every(), 1);
    }

    #[test]
    fn a_slower_camera_is_looked_at_more_often_and_a_faster_one_more_seldom() {
        assert_eq!(Machine::new(45).run(20, 10), [1]);
        assert_eq!(Machine::new(45).run(20, 60), [5]);
    }

    #[test]
    fn load_makes_it_look_more_seldom_within_seconds_and_often_again_later() {
        let mut machine = Machine::new(15);
        assert!(machine.run(5, 30).is_empty());
        machine.look_ms = 90;
        let loaded = machine.run(10, 30);
        // 90 ms every fourth frame are 22 of 33.
        assert_eq!(loaded.last(), Some(&4), "{loaded:?}");
        machine.look_ms = 15;
        let free = machine.run(30, 30);
        assert_eq!(free.last(), Some(&1), "{free:?}");
    }

    #[test]
    fn two_streams_share_the_time() {
        let mut pace = Pace::new(15e6);
        assert_eq!(pace.every(), 1);
        let mut last = None;
        for frame in 0..300_i64 {
            let (pts, now) = (frame * 33 * MS, frame * 33 * MS);
            for stream in ["left", "right"] {
                let work = Work { pts, forgotten: 0, now, took_ns: Some(15 * MS) };
                last = pace.took(&stream.into(), work).or(last);
            }
        }
        assert_eq!(last.map(|change| change.to), Some(2));
    }
}
