//! State of one track, and its row in the output table.

use serde::{Deserialize, Serialize};
use sideline_sport::tables::TrackState;

use crate::TrackerConfig;
use crate::appearance::TrackAppearance;
use crate::association::{Candidate, ROUNDING_S};
use crate::kalman::{BoxFilter, CenterBox};

/// Gate on the squared Mahalanobis distance between a detection and the predicted center (two standard deviations).
const MAX_SQUARED_MAHALANOBIS: f64 = 4.0;
/// Minimum ratio of a detection's height to the track's inside the gate; the maximum is the inverse.
const MIN_HEIGHT_RATIO: f64 = 0.7;
/// Matches before the boxes of an unmatched track are predicted: its velocity estimate is not reliable earlier.
const MIN_HITS_TO_PREDICT: u32 = 10;

/// One track in one frame. Every track has a row in every frame from its first detection until it is removed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackRow {
    /// Identity, from 1; never reused.
    pub id: u32,
    /// State in this frame.
    pub state: TrackState,
    /// Left, top, right and bottom of the filtered box, pixels.
    pub corners: [f32; 4],
    /// Confidence of the last detection, 0 to 1.
    pub score: f32,
    /// Class of its detections.
    pub class: u16,
    /// Frames since the first detection; 0 in that frame.
    pub age: u32,
    /// Index of the detection of this frame that was matched to the track.
    pub detection: Option<usize>,
}

/// State of one track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Track {
    pub(crate) id: u32,
    pub(crate) class: u16,
    pub(crate) confirmed: bool,
    /// Seconds since the track was confirmed; 0 before, and in the frame of the confirmation.
    #[serde(default)]
    pub(crate) confirmed_s: f64,
    /// Frames with detections since the last match.
    pub(crate) missed_frames: u32,
    /// Seconds from the last match to the last frame with detections.
    pub(crate) missed_s: f64,
    /// Seconds from the first match to the last.
    pub(crate) matched_s: f64,
    pub(crate) age: u32,
    /// Seconds since the first detection.
    pub(crate) age_s: f64,
    score: f32,
    /// Frames in which it was matched.
    pub(crate) hits: u32,
    filter: BoxFilter,
    /// Box of the last matched detection, moved with the camera since.
    pub(crate) last_box: CenterBox,
    pub(crate) detection: Option<usize>,
    pub(crate) appearance: TrackAppearance,
}

impl Track {
    pub(crate) fn new(id: u32, candidate: &Candidate, confirmed: bool) -> Self {
        let filter = BoxFilter::new(&candidate.bbox);
        Self {
            id,
            class: candidate.class,
            confirmed,
            confirmed_s: 0.0,
            missed_frames: 0,
            missed_s: 0.0,
            matched_s: 0.0,
            age: 0,
            age_s: 0.0,
            score: candidate.score,
            hits: 1,
            filter,
            last_box: candidate.bbox,
            detection: Some(candidate.index),
            appearance: TrackAppearance::new(),
        }
    }

    /// Predicts the box `seconds` ahead and clears the match of the last frame.
    pub(crate) fn predict(&mut self, seconds: f64) {
        if self.missed_frames > 0 {
            self.filter.hold_size();
        }
        self.filter.predict(seconds);
        self.age += 1;
        self.age_s += seconds;
        self.confirmed_s += if self.confirmed { seconds } else { 0.0 };
        self.detection = None;
    }

    /// Counts a frame with detections, `seconds` after the previous one, as missed. A match resets the count.
    pub(crate) fn mark_missed(&mut self, seconds: f64) {
        self.missed_frames += 1;
        self.missed_s += seconds;
    }

    /// Updates the track with its matched detection.
    pub(crate) fn update(&mut self, candidate: &Candidate) {
        self.filter.update(&candidate.bbox, f64::from(candidate.score));
        self.last_box = candidate.bbox;
        self.score = candidate.score;
        self.hits += 1;
        self.matched_s += self.missed_s;
        (self.missed_frames, self.missed_s) = (0, 0.0);
        self.detection = Some(candidate.index);
    }

    /// Compensates camera motion: shifts the center by `shift` (pixels) and adds `velocity` (pixels per second).
    pub(crate) fn displace(&mut self, shift: [f64; 2], velocity: [f64; 2]) {
        self.filter.displace(shift, velocity);
        self.last_box.cx += shift[0];
        self.last_box.cy += shift[1];
    }

    /// Returns the gate on the squared Mahalanobis distance minus that distance: above 0 inside the gate. 0 if the
    /// height differs too much, or the center lies `reach` box heights or more from the predicted one.
    pub(crate) fn gate_margin(&self, candidate: &Candidate, reach: f64) -> f64 {
        let (predicted, detected) = (self.bbox(), &candidate.bbox);
        let is_near = (detected.cx - predicted.cx).hypot(detected.cy - predicted.cy) < reach * predicted.h;
        let same_size = (MIN_HEIGHT_RATIO..=1.0 / MIN_HEIGHT_RATIO).contains(&(detected.h / predicted.h));
        if is_near && same_size { MAX_SQUARED_MAHALANOBIS - self.filter.squared_mahalanobis(detected) } else { 0.0 }
    }

    /// Returns the filtered box.
    pub(crate) fn bbox(&self) -> CenterBox {
        self.filter.estimate()
    }

    /// Builds the row of this frame; `leaving` if the box touches a border of the picture.
    pub(crate) fn row(&self, config: &TrackerConfig, leaving: bool) -> TrackRow {
        let recent = self.missed_s <= config.predict_s + ROUNDING_S;
        let state = match self.missed_frames {
            _ if !self.confirmed => TrackState::Tentative,
            0 if self.detection.is_some() => TrackState::Confirmed,
            0 => TrackState::Predicted,
            _ if recent && self.hits >= MIN_HITS_TO_PREDICT && !leaving => TrackState::Predicted,
            _ => TrackState::Lost,
        };
        TrackRow {
            id: self.id,
            state,
            corners: self.bbox().corners(),
            score: self.score,
            class: self.class,
            age: self.age,
            detection: self.detection,
        }
    }
}
