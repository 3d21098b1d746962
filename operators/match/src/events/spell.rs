//! A run of frames in which one player has the ball.

use serde::{Deserialize, Serialize};
use sideline_api::tables::{Event, METRES, Place};

use super::Frame;
use crate::sides::metres;

/// A frame and its media time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Number of the frame.
    pub frame: u64,
    /// Media time, s.
    pub seconds: f64,
}

/// See the [module](self).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spell {
    pub track: u32,
    /// Number of the team, from 0.
    pub team: Option<usize>,
    pub start: Moment,
    pub last: Moment,
    /// Where the ball was at the start, and last.
    pub origin: [f32; 2],
    pub place: [f32; 2],
    /// Units in a metre at the last place.
    pub scale: f32,
    pub metric: bool,
    /// Frames, and those in which the ball was measured.
    frames: u32,
    measured: u32,
}

impl Spell {
    pub fn begin(track: u32, team: Option<usize>, at: Moment, ball: &Place) -> Self {
        let place = [ball.x, ball.y];
        Self {
            track,
            team,
            start: at,
            last: at,
            origin: place,
            place,
            scale: ball.scale,
            metric: ball.unit == METRES,
            frames: 1,
            measured: u32::from(ball.measured),
        }
    }

    pub fn go_on(&mut self, at: Moment, ball: &Place) {
        self.last = at;
        self.place = [ball.x, ball.y];
        self.scale = ball.scale;
        self.frames += 1;
        self.measured += u32::from(ball.measured);
    }

    /// This spell with what a new one of the same player adds.
    pub fn resumed(self, new: &Self) -> Self {
        let (frames, measured) = (self.frames + new.frames, self.measured + new.measured);
        Self { last: new.last, place: new.place, scale: new.scale, frames, measured, ..self }
    }

    /// How sure it is that this player had the ball, 0..1: the longer, and the more of it was seen.
    pub fn confidence(&self) -> f32 {
        let seen = self.measured as f32 / self.frames as f32;
        seen * (0.5 + 0.5 * (self.frames as f32 / 10.0).min(1.0))
    }

    /// The carry that it was, if the ball went far enough.
    pub fn carry(&self, frame: &Frame) -> Option<Event> {
        let way = metres(self.origin, self.place, self.scale);
        // Not `<`: a way that is not known is none.
        (way >= frame.config.carry_distance).then(|| {
            let ends = (self.origin, self.place);
            self.event("carry", self.start, self.last, ends, true, self.track, self.confidence(), frame)
        })
    }
}
