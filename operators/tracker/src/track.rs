//! One track: what is remembered of it, and what is said of it in a frame.

use serde::{Deserialize, Serialize};

use crate::TrackerConfig;
use crate::appearance::Looks;
use crate::association::{Candidate, ROUNDING_S};
use crate::fighters::Fighter;
use crate::kalman::{BoxFilter, CentredBox};

/// How far from where it is foreseen a track may be found again, squared, in variances (two deviations).
const LIKELY: f64 = 4.0;
/// Height of the box by which it is found against the track's, at least; at most, the inverse.
const ALIKE: f64 = 0.7;
/// Frames in which a track must have been seen before its boxes are guessed: until then its motion is not known.
const KNOWN: u32 = 10;

/// What is known of a track in this frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackStage {
    /// Seen, but not often enough yet to be believed.
    Tentative,
    /// Seen in this frame.
    Confirmed,
    /// Not seen in this frame, or the frame was not looked at, but so recently that its box is a fair guess.
    Predicted,
    /// Not seen for longer. It is kept, so that it has its identity back if it is found.
    Lost,
}

impl TrackStage {
    /// As the Tracks table writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tentative => "tentative",
            Self::Confirmed => "confirmed",
            Self::Predicted => "predicted",
            Self::Lost => "lost",
        }
    }
}

/// A track in one frame. Every track has one in every frame from its birth until it is given up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackRow {
    /// Identity, from 1, never used again.
    pub id: u32,
    /// The name, if it is one of the fighters.
    pub fighter: Option<Fighter>,
    /// What is known of it.
    pub stage: TrackStage,
    /// Left, top, right, bottom: the filtered estimate, pixels.
    pub corners: [f32; 4],
    /// Score of its last detection.
    pub score: f32,
    /// Class.
    pub class: u16,
    /// Frames since its birth; 0 in the first.
    pub age: u32,
    /// The detection of this frame that continued it, by index.
    pub detection: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Track {
    pub(crate) id: u32,
    pub(crate) class: u16,
    pub(crate) confirmed: bool,
    /// Frames that were looked at without finding it, since it was last seen.
    pub(crate) unseen: u32,
    /// Seconds since it was last seen, up to the last look.
    pub(crate) unseen_s: f64,
    /// Seconds from its first sighting to its last.
    pub(crate) seen_s: f64,
    pub(crate) age: u32,
    score: f32,
    /// Frames in which it was seen.
    pub(crate) hits: u32,
    filter: BoxFilter,
    pub(crate) last_place: CentredBox,
    pub(crate) detection: Option<usize>,
    pub(crate) looks: Looks,
}

impl Track {
    pub(crate) fn new(id: u32, candidate: &Candidate, confirmed: bool) -> Self {
        let filter = BoxFilter::new(&candidate.place);
        Self {
            id,
            class: candidate.class,
            confirmed,
            unseen: 0,
            unseen_s: 0.0,
            seen_s: 0.0,
            age: 0,
            score: candidate.score,
            hits: 1,
            filter,
            last_place: candidate.place,
            detection: Some(candidate.index),
            looks: Looks::newborn(),
        }
    }

    pub(crate) fn predict(&mut self, seconds: f64) {
        if self.unseen > 0 {
            self.filter.hold_size();
        }
        self.filter.predict(seconds);
        self.age += 1;
        self.detection = None;
    }

    /// Counts a look, this many seconds after the one before, in which it has not been found yet.
    pub(crate) fn miss(&mut self, seconds: f64) {
        self.unseen += 1;
        self.unseen_s += seconds;
    }

    pub(crate) fn see(&mut self, candidate: &Candidate) {
        self.filter.update(&candidate.place, f64::from(candidate.score));
        self.last_place = candidate.place;
        self.score = candidate.score;
        self.hits += 1;
        self.seen_s += self.unseen_s;
        (self.unseen, self.unseen_s) = (0, 0.0);
        self.detection = Some(candidate.index);
    }

    /// Moves it with the camera: centre by pixels, velocity by pixels a second.
    pub(crate) fn displace(&mut self, by: [f64; 2], faster: [f64; 2]) {
        self.filter.displace(by, faster);
        self.last_place.cx += by[0];
        self.last_place.cy += by[1];
    }

    /// How far within likelihood it is that it came to a place: above 0 if its size is right, the place within `reach`
    /// heights of where it is foreseen, and within what its filter thinks possible.
    pub(crate) fn likely_at(&self, candidate: &Candidate, reach: f64) -> f64 {
        let (foreseen, place) = (self.place(), &candidate.place);
        let near = (place.cx - foreseen.cx).hypot(place.cy - foreseen.cy) < reach * foreseen.h;
        let alike = (ALIKE..=1.0 / ALIKE).contains(&(place.h / foreseen.h));
        if near && alike { LIKELY - self.filter.surprise(place) } else { 0.0 }
    }

    /// Where its filter puts it.
    pub(crate) fn place(&self) -> CentredBox {
        self.filter.estimate()
    }

    /// What is said of it; `leaving` if it stands at the picture's border.
    pub(crate) fn row(&self, config: &TrackerConfig, fighter: Option<Fighter>, leaving: bool) -> TrackRow {
        let fresh = self.unseen_s <= config.predict_s + ROUNDING_S;
        let stage = match self.unseen {
            _ if !self.confirmed => TrackStage::Tentative,
            0 if self.detection.is_some() => TrackStage::Confirmed,
            0 => TrackStage::Predicted,
            _ if fresh && self.hits >= KNOWN && !leaving => TrackStage::Predicted,
            _ => TrackStage::Lost,
        };
        TrackRow {
            id: self.id,
            fighter,
            stage,
            corners: self.place().corners(),
            score: self.score,
            class: self.class,
            age: self.age,
            detection: self.detection,
        }
    }
}
