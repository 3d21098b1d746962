//! Gives every person and ball an identity that lasts.

#![forbid(unsafe_code)]

mod association;
mod fighters;
mod kalman;

pub use association::{Detection, TrackRow, TrackStage, TrackerState};
pub use fighters::Fighter;

/// The tracker's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackerConfig {
    /// Score from which a detection is sure.
    pub high_score: f32,
    /// Score below which a detection is passed over.
    pub low_score: f32,
    /// Score from which a sure detection may begin a track.
    pub new_score: f32,
    /// Least overlap.
    pub match_iou: f32,
    /// Least overlap unsure.
    pub low_iou: f32,
    /// Frames
    pub confirm: u32,
    /// Frames
    pub predict: u32,
    /// Frames a lost track is kept.
    pub buffer: u32,
    /// Fighters
    pub fighters: u32,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self { high_score: 0.6, low_score: 0.1, new_score: 0.7, match_iou: 0.2, low_iou: 0.5, confirm: 2, predict: 5, buffer: 30, fighters: 0 }
    }
}
