//! Evaluation of trackers, ball followers, virtual cameras, joint filters and move classifiers against ground truth.
//!
//! Multi-object tracking is scored with CLEAR MOT, IDF1 and HOTA on data in the MOTChallenge layout.
//! [`Sequence::read_all`] reads the sequences below a folder, with their own detections or with [`Noise`] applied to
//! the true boxes. [`run_tracking`] feeds them to a tracker frame by frame and scores its output against the ground
//! truth; [`Sort`] and [`ByteTrack`] are reference trackers to compare with, and [`crossing_crowd`] generates
//! detections of people who cross each other. [`score`] compares two existing lists of boxes. Ratios are percentages.
//! Counts of several sequences are pooled before a ratio is taken, as the official tools do.
//!
//! - [`moves`] reads motion recordings with labeled moves; [`bout`] generates fights in which every move is labeled.
//! - [`football`] reads matches with ground truth for the ball and all players, and simulates detections of them.
//! - [`smoothing`] measures the effect of a joint filter on jitter and on strikes.
//!
//! The metrics equal those of `motmetrics` 1.4 (CLEAR, IDF1; IoU distance at most 0.5) and `trackeval` 1.3 (HOTA). The
//! tests compare them with the published scores of a result file.

#![forbid(unsafe_code)]

pub mod bout;
mod byte_track;
mod clear;
mod crowd;
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
pub use clear::ClearCounts;
pub use crowd::crossing_crowd;
pub use driver::{DetectedFrame, TrackedBox, TrackingMetrics, TrackingReport, run_tracking, score};
pub use hota::HotaCounts;
pub use identity::IdentityCounts;
pub use motchallenge::{
    BoxSource, Detection, EvalError, Frames, LabeledBox, Rect, Sequence, read_boxes, read_ground_truth,
};
pub use noise::Noise;
pub use sideline_api::Random;
pub use sort::Sort;

/// Returns `part / whole`, or NaN (`null` in JSON) when `whole` is not positive: a ratio that was not measured is
/// unknown, neither perfect nor zero.
#[must_use]
pub fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { f64::NAN }
}

/// Strips the byte order mark that Windows programs write at the start of text files.
pub(crate) fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Minimum IoU at which CLEAR MOT and IDF1 match a track box with an object.
pub const MATCH_IOU: f64 = 0.5;
