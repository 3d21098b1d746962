//! How much time there is for a frame: measured where an operator chooses how much it does, by what it has time for.

use std::collections::BTreeMap;

use crate::StreamName;

/// Work takes no more than this share of the time between frames: the rest of the machine has work too.
pub const COMFORTABLE: f64 = 0.6;
/// Above this share less is done. Far enough above [`COMFORTABLE`] that a choice lasts.
pub const TOO_MUCH: f64 = 0.85;
/// Seconds for which averages are taken.
const MEMORY: f64 = 1.0;
/// Of streams not heard of for longer (seconds) no time is kept free.
const SILENT: f64 = 1.0;

/// A frame that was handled.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// Media time, ns.
    pub pts: i64,
    /// Frames that the source had forgotten by then.
    pub forgotten: u64,
    /// Wall clock when it was done, ns.
    pub now: i64,
}

/// The time between frames of all streams that are alive. Frames that were forgotten count: they had their time too, or
/// being slow would look like a slow camera.
#[derive(Clone, Debug)]
pub struct Rhythm {
    /// Of each stream the last frame.
    streams: BTreeMap<StreamName, Beat>,
    /// Seconds of averages so far.
    known: f64,
    interval: f64,
}

/// What a frame adds to averages.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Seconds of media that it stands for.
    pub seconds: f64,
    /// Its weight in an average: at first the mean of all there is, later a decaying one.
    pub share: f64,
}

impl Rhythm {
    /// `interval`: what is taken for the time between frames until it is known, ns.
    pub fn new(interval: f64) -> Self {
        Self { streams: BTreeMap::new(), known: 0.0, interval }
    }

    /// Takes in a frame; `None` where it tells nothing: it is the first of its stream, or its time did not go on.
    pub fn heard(&mut self, stream: &StreamName, beat: Beat) -> Option<Step> {
        let before = self.streams.insert(stream.clone(), beat);
        self.streams.retain(|_, last| (beat.now - last.now) as f64 <= SILENT * 1e9);
        let before = before?;
        let streams = self.streams.len().max(1) as f64;
        let frames = 1 + beat.forgotten.saturating_sub(before.forgotten);
        let passed = (beat.pts - before.pts) as f64;
        let interval = passed / frames as f64 / streams;
        if interval <= 0.0 {
            return None;
        }
        let seconds = (passed * 1e-9 / streams).min(MEMORY);
        self.known += seconds;
        let share = (seconds / self.known.min(MEMORY)).min(1.0);
        self.interval += share * (interval - self.interval);
        Some(Step { seconds, share })
    }

    /// Nanoseconds from frame to frame, of all streams.
    pub fn interval(&self) -> f64 {
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn forgotten_frames_and_other_streams_shorten_the_time_for_each() {
        let mut rhythm = Rhythm::new(0.0);
        let beat = |frame: i64, forgotten| Beat { pts: frame * 40 * MS, forgotten, now: frame * 40 * MS };
        assert!(rhythm.heard(&"a".into(), beat(0, 0)).is_none());
        assert_eq!(rhythm.heard(&"a".into(), beat(1, 0)).unwrap().share, 1.0);
        assert_eq!(rhythm.interval(), 40e6);
        assert!(rhythm.heard(&"a".into(), beat(1, 0)).is_none(), "no time has passed");
        // Of two frames one was forgotten: in the mean of three frames' time two had 40 ms, ...
        let step = rhythm.heard(&"a".into(), beat(3, 1)).unwrap();
        assert!((step.share - 2.0 / 3.0).abs() < 1e-9 && (rhythm.interval() - 40e6).abs() < 1.0, "{step:?}");
        // ... and a second stream leaves each half of it.
        assert!(rhythm.heard(&"b".into(), beat(4, 0)).is_none());
        (5..200).for_each(|frame| {
            rhythm.heard(&"a".into(), beat(frame, 1));
            rhythm.heard(&"b".into(), beat(frame, 0));
        });
        assert!((rhythm.interval() - 20e6).abs() < 1e6, "{}", rhythm.interval());
    }
}
