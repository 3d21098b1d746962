//! Which detection is which track: ByteTrack's two rounds (Zhang et al. 2022) on motion alone, with OC-SORT's
//! observation-centric parts (Cao et al. 2023).
//!
//! One frame goes: predict every track; give the sure detections to tracks by overlap, direction and score; give the
//! unsure ones to tracks still without; give what is left to tracks by the place they were last seen; then begin tracks.

use serde::{Deserialize, Serialize};

use crate::TrackerConfig;
use crate::fighters::{Fighter, Fighters};
use crate::kalman::{BoxFilter, CentredBox};

/// A detection: corners in pixels, score 0 to 1, class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
    /// How sure the detector is, 0 to 1.
    pub score: f32,
    /// What it is. Only detections of a track's own class continue it.
    pub class: u16,
}

/// What is known of a track in this frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackStage {
    /// Seen, but not often enough yet to be believed.
    Tentative,
    /// Seen in this frame.
    Confirmed,
    /// Not seen in this frame, but so recently that its box is a fair guess.
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

/// All a tracker knows: what is stored and restored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrackerState {
    frames: u64,
    last_id: u32,
    /// In the order of their birth.
    tracks: Vec<Track>,
    fighters: Fighters,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Track {
    pub(crate) id: u32,
    pub(crate) class: u16,
    pub(crate) confirmed: bool,
    pub(crate) unseen: u32,
    pub(crate) age: u32,
    score: f32,
    hits: u32,
    /// Seconds since it was last seen.
    unseen_seconds: f64,
    filter: BoxFilter,
    /// The filter as it was when the track was last seen.
    anchor: BoxFilter,
    /// The last boxes seen, newest first.
    seen: Vec<CentredBox>,
    detection: Option<usize>,
}

/// Boxes seen over which a track's direction is taken.
const DIRECTION_SPAN: usize = 4;
/// What full agreement in direction is worth, in IoU.
const DIRECTION_WEIGHT: f64 = 0.2;
/// What a place where it was last seen must overlap, in the last round.
const LAST_PLACE_IOU: f64 = 0.3;

impl TrackerState {
    /// Takes in the detections of one frame, `seconds` after the one before, and writes a row per track to `rows`.
    ///
    /// Detections that are not boxes (NaN, empty, inside out) or have no score are passed over.
    pub fn step(&mut self, config: &TrackerConfig, detections: &[Detection], seconds: f64, rows: &mut Vec<TrackRow>) {
        let seconds = if seconds.is_finite() { seconds.clamp(0.0, 10.0) } else { 0.0 };
        self.tracks.iter_mut().for_each(|track| track.predict(seconds));

        let sound = |(index, detection): (usize, &Detection)| {
            let Detection { x1, y1, x2, y2, score, class } = *detection;
            let place = CentredBox::from_corners(x1, y1, x2, y2)?;
            (score >= config.low_score).then_some(Candidate { index, place, score: score.min(1.0), class })
        };
        let (mut sure, mut unsure): (Vec<_>, Vec<_>) =
            detections.iter().enumerate().filter_map(sound).partition(|candidate| candidate.score >= config.high_score);

        let floor = f64::from(config.match_iou);
        self.round(&mut sure, |track| track.confirmed, |track, candidate| {
            let overlap = track.filter.estimate().iou(&candidate.place) * f64::from(candidate.score);
            (overlap > floor).then(|| overlap - floor + DIRECTION_WEIGHT * track.agreement(&candidate.place))
        });
        let floor = f64::from(config.low_iou);
        self.round(&mut unsure, |track| track.confirmed && track.unseen <= 1, |track, candidate| {
            let overlap = track.filter.estimate().iou(&candidate.place);
            (overlap > floor).then_some(overlap - floor)
        });
        self.round(&mut sure, |_| true, |track, candidate| {
            let overlap = track.seen[0].iou(&candidate.place);
            (overlap > LAST_PLACE_IOU).then_some(overlap - LAST_PLACE_IOU)
        });

        // At the beginning of a stream all that is there is believed: there was no frame in which it could have been seen.
        let believed = self.frames == 0 || config.confirm <= 1;
        for candidate in sure.iter().filter(|candidate| candidate.score >= config.new_score) {
            self.last_id += 1;
            self.tracks.push(Track::new(self.last_id, candidate, believed));
        }
        for track in &mut self.tracks {
            track.confirmed |= track.hits >= config.confirm;
        }
        let keep = |track: &Track| track.unseen == 0 || (track.confirmed && track.unseen <= config.buffer);
        self.tracks.retain(keep);
        self.frames += 1;

        self.fighters.step(config, &self.tracks, seconds);
        rows.clear();
        rows.extend(self.tracks.iter().map(|track| track.row(config, self.fighters.name_of(track.id))));
    }

    /// Pairs the candidates with those tracks not seen yet in this frame that are `eligible`, for the greatest gain in
    /// sum; `gain` is above 0, or none where a pair is out of the question. Candidates that found a track are taken out.
    fn round(
        &mut self,
        candidates: &mut Vec<Candidate>,
        eligible: impl Fn(&Track) -> bool,
        gain: impl Fn(&Track, &Candidate) -> Option<f64>,
    ) {
        let free = |track: &&mut Track| track.detection.is_none() && eligible(track);
        let mut tracks: Vec<&mut Track> = self.tracks.iter_mut().filter(free).collect();
        let mut gains = Vec::with_capacity(tracks.len() * candidates.len());
        for track in &tracks {
            gains.extend(candidates.iter().map(|candidate| {
                if track.class == candidate.class { gain(track, candidate).unwrap_or(0.0) } else { 0.0 }
            }));
        }
        let mut found = vec![false; candidates.len()];
        // The only errors are a NaN and an infinity; boxes are finite.
        let (rows, columns) = lsap::solve(tracks.len(), candidates.len(), &gains, true).unwrap_or_default();
        for (track, candidate) in rows.into_iter().zip(columns) {
            if gains[track * candidates.len() + candidate] > 0.0 {
                tracks[track].see(&candidates[candidate]);
                found[candidate] = true;
            }
        }
        let mut found = found.into_iter();
        candidates.retain(|_| found.next() == Some(false));
    }
}

struct Candidate {
    index: usize,
    place: CentredBox,
    score: f32,
    class: u16,
}

impl Track {
    fn new(id: u32, candidate: &Candidate, confirmed: bool) -> Self {
        let filter = BoxFilter::new(&candidate.place);
        Self {
            id,
            class: candidate.class,
            confirmed,
            unseen: 0,
            age: 0,
            score: candidate.score,
            hits: 1,
            unseen_seconds: 0.0,
            anchor: filter.clone(),
            filter,
            seen: vec![candidate.place],
            detection: Some(candidate.index),
        }
    }

    fn predict(&mut self, seconds: f64) {
        if self.unseen > 0 {
            self.filter.hold_size();
        }
        self.filter.predict(seconds);
        self.unseen += 1;
        self.unseen_seconds += seconds;
        self.age += 1;
        self.detection = None;
    }

    fn see(&mut self, candidate: &Candidate) {
        if self.unseen > 1 {
            self.filter = self.anchor.clone();
            self.filter.bridge(&self.seen[0], &candidate.place, self.unseen, self.unseen_seconds);
        } else {
            self.filter.update(&candidate.place);
        }
        self.anchor = self.filter.clone();
        self.seen.insert(0, candidate.place);
        self.seen.truncate(DIRECTION_SPAN);
        self.score = candidate.score;
        self.hits += 1;
        (self.unseen, self.unseen_seconds) = (0, 0.0);
        self.detection = Some(candidate.index);
    }

    /// Observation-centric momentum: 0.5 where `place` lies straight on from where the track came, -0.5 straight back.
    fn agreement(&self, place: &CentredBox) -> f64 {
        let (newest, oldest) = (&self.seen[0], &self.seen[self.seen.len() - 1]);
        let came = (newest.cx - oldest.cx, newest.cy - oldest.cy);
        let goes = (place.cx - oldest.cx, place.cy - oldest.cy);
        let lengths = came.0.hypot(came.1) * goes.0.hypot(goes.1);
        if lengths < 1e-6 {
            return 0.0;
        }
        let cosine = ((came.0 * goes.0 + came.1 * goes.1) / lengths).clamp(-1.0, 1.0);
        0.5 - cosine.acos() / std::f64::consts::PI
    }

    pub(crate) fn place(&self) -> CentredBox {
        self.filter.estimate()
    }

    fn row(&self, config: &TrackerConfig, fighter: Option<Fighter>) -> TrackRow {
        let stage = match self.unseen {
            _ if !self.confirmed => TrackStage::Tentative,
            0 => TrackStage::Confirmed,
            unseen if unseen <= config.predict => TrackStage::Predicted,
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
