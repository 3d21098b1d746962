//! The match: from tracks and the ball to places, possession, events, formations and statistics.
//!
//! Five operators in a row, each of which reads tables alone:
//!
//! - `pitch` says where everybody stands and the ball lies: in metres by a calibration file, else in pixels, with how many
//!   pixels a metre has there by how tall people look.
//! - `possession` says who has the ball, `events` what was done with it, `formation` how the teams stand, `stats` what it
//!   comes to.
//!
//! One set of thresholds in metres serves both units: lengths in pixels are divided by the place's `scale`. What one camera
//! without calibration cannot know (goals, lines, depth) is left out, and `summary.json` says so.
#![forbid(unsafe_code)]

pub mod bench;
pub mod calibration;
mod direction;
pub mod events;
pub mod formation;
pub mod homography;
pub mod pitch;
pub mod possession;
mod shape;
mod sides;
pub mod stats;

pub use events::Events;
pub use formation::FormationOperator;
pub use pitch::Pitch;
pub use possession::PossessionOperator;
pub use stats::Stats;
