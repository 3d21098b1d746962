//! Match analysis: from tracks and the ball to positions on the pitch, possession, events, formations and statistics.
//!
//! Five operators in a row, which read tables only:
//!
//! - `pitch` places people and the ball: in meters with a calibration file, else in pixels, with the number of pixels
//!   per meter estimated from the height of people.
//! - `possession` determines the player in possession, `events` derives passes and other events, `formation` the shape
//!   of each team, and `stats` the totals.
//!
//! One set of thresholds in meters serves both units: lengths in pixels are divided by the `scale` of the place.
//! Results that one camera without calibration does not allow (goals, lines, depth) are left out, and `summary.json`
//! says so.
#![forbid(unsafe_code)]

pub mod calibration;
mod direction;
pub mod events;
pub mod formation;
pub mod homography;
pub mod pitch;
pub mod possession;
mod scene;
mod shape;
pub mod stats;

pub use events::Events;
pub use formation::Formation;
pub use pitch::Pitch;
pub use possession::Possession;
pub use stats::Stats;
