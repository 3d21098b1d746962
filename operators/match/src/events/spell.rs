//! Spell of possession: a run of frames in which one player has the ball.

use serde::{Deserialize, Serialize};
use sideline_sport::tables::{Event, EventKind, Place, Unit};

use super::FrameContext;
use crate::scene::distance_m;

/// A frame and its media time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FrameTime {
    /// Number of the frame.
    pub frame: u64,
    /// Media time, s.
    pub seconds: f64,
}

/// See the [module](self).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spell {
    pub track: u32,
    /// Index of the team, from 0.
    pub team: Option<usize>,
    pub start: FrameTime,
    pub last: FrameTime,
    /// Position of the ball in the first frame.
    pub origin: [f32; 2],
    /// Position of the ball in the last frame.
    pub position: [f32; 2],
    /// Units per meter at the last position.
    pub scale: f32,
    pub is_metric: bool,
    /// Number of frames.
    frames: u32,
    /// Number of frames in which the ball was measured.
    measured_frames: u32,
}

impl Spell {
    pub fn new(track: u32, team: Option<usize>, at: FrameTime, ball: &Place) -> Self {
        let position = [ball.x, ball.y];
        Self {
            track,
            team,
            start: at,
            last: at,
            origin: position,
            position,
            scale: ball.scale,
            is_metric: ball.unit == Unit::Meters,
            frames: 1,
            measured_frames: u32::from(ball.measured),
        }
    }

    pub fn extend(&mut self, at: FrameTime, ball: &Place) {
        self.last = at;
        self.position = [ball.x, ball.y];
        self.scale = ball.scale;
        self.frames += 1;
        self.measured_frames += u32::from(ball.measured);
    }

    /// Returns this spell extended by a later one of the same player.
    pub fn resumed_by(self, new: &Self) -> Self {
        let (frames, measured_frames) = (self.frames + new.frames, self.measured_frames + new.measured_frames);
        Self { last: new.last, position: new.position, scale: new.scale, frames, measured_frames, ..self }
    }

    /// Returns the confidence that this player had the ball, 0 to 1: it grows with the number of frames and the share
    /// of measured ones.
    pub fn confidence(&self) -> f32 {
        let measured_share = self.measured_frames as f32 / self.frames as f32;
        measured_share * (0.5 + 0.5 * (self.frames as f32 / 10.0).min(1.0))
    }

    /// Returns the carry of this spell; `None` where the ball moved too little.
    pub fn carry(&self, frame: &FrameContext) -> Option<Event> {
        let distance = distance_m(self.origin, self.position, self.scale);
        // `>=` also rejects an unknown distance (NaN).
        (distance >= frame.config.carry_distance).then(|| {
            let ends = (self.origin, self.position);
            self.event(EventKind::Carry, self.start, self.last, ends, true, self.track, self.confidence(), frame)
        })
    }
}
