//! How good a tracker is: CLEAR MOT, IDF1 and HOTA over data in the MOTChallenge layout. And what smoothing costs.
//!
//! [`Sequence::read_all`] reads the sequences below a folder, with their own detections or with [`Noise`] over the true
//! boxes. [`run_tracking`] feeds them to a tracker, frame by frame, and compares what it answers with the ground truth;
//! [`Sort`] and [`ByteTrack`] are there to be compared with. [`score`] compares two lists that are already there. Figures
//! are percentages; counts of several sequences are pooled before a ratio is taken, as the official tools do.
//!
//! [`moves`] reads recordings of people whose moves are known, [`bout`] makes fights in which every move is known.
//! [`football`] reads matches in which the ball and everybody is known, and makes detections from them.
//! [`smoothing`] says what a filter of joints does to jitter and to strikes.
//!
//! The figures equal those of `motmetrics` 1.4 (CLEAR, IDF1; IoU distance at most 0.5) and `trackeval` 1.3 (HOTA); the
//! tests hold them against a result file whose figures are published.

#![forbid(unsafe_code)]

pub mod bout;
mod byte_track;
mod clear;
mod driver;
pub mod football;
mod hota;
mod identity;
mod motchallenge;
pub mod moves;
mod noise;
pub mod smoothing;
mod sort;

pub use byte_track::ByteTrack;
pub use clear::Clear;
pub use driver::{DetectedFrame, Figures, Report, Tracked, run_tracking, score};
pub use hota::Hota;
pub use identity::Identity;
pub use motchallenge::{Boxes, Detection, EvalError, Frames, Labelled, Rect, Sequence, read_boxes, read_ground_truth};
pub use noise::Noise;
pub use sideline_api::Random;
pub use sort::Sort;

/// Returns `part / whole`; NaN, which JSON writes as `null`, where there is nothing to take a part of: what was not measured
/// is unknown, neither perfect nor nothing.
#[must_use]
pub fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { f64::NAN }
}

/// Returns a text without the byte order mark that Windows programs begin files with.
pub(crate) fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The least IoU at which CLEAR and IDF1 let a track box stand for an object.
pub const MATCH_IOU: f64 = 0.5;
