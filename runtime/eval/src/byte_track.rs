//! ByteTrack (Zhang et al. 2022, arXiv:2110.06864), Algorithm 1 as its authors' code runs it: a reference tracker.
//!
//! Parameters are the paper's (section 4.1): detection threshold 0.6, low-confidence detections from 0.1, matches
//! rejected below IoU 0.2 (0.5 in the second association stage, as in the code), new tracks from 0.1 above the
//! threshold, lost tracks kept for 30 frames. As in the code, the first stage weights the IoU by the detection score,
//! the velocity of the height of a lost track is set to zero, and an unconfirmed track (one match so far) is not
//! predicted before it is matched. Only the rule that drops boxes wider than 1.6 times their height is left out: it is
//! meant for upright pedestrians, and players dive.
//!
//! The published filter is 8 x 8 (DeepSORT's), but nothing in it couples one coordinate with another. It is therefore
//! exactly four filters of position and velocity.

use sideline_vision::assignment::assign;

use crate::driver::{DetectedFrame, TrackedBox};
use crate::motchallenge::{Detection, Rect};

/// Score above which a detection is high-confidence and takes part in the first association stage.
const TRACK_THRESH: f64 = 0.6;
/// Score above which a detection is low-confidence and takes part in the second association stage.
const LOW_THRESH: f64 = 0.1;
/// Minimum score of an unmatched detection to start a track.
const NEW_THRESH: f64 = TRACK_THRESH + 0.1;
/// Maximum distance (1 - IoU x score) in the first association stage.
const MATCH_THRESH: f64 = 0.8;
/// Maximum distance (1 - IoU) in the second association stage.
const LOW_MATCH_THRESH: f64 = 0.5;
/// Maximum distance (1 - IoU x score) for unconfirmed tracks.
const UNCONFIRMED_THRESH: f64 = 0.7;
/// Frames that a lost track is kept.
const TRACK_BUFFER: usize = 30;
/// Distance (1 - IoU) below which a lost and a tracked box are duplicates; the track with the longer life is kept.
const DUPLICATE_THRESH: f64 = 0.15;

/// ByteTrack with its published parameters. Resets its state at frame 1.
#[derive(Clone, Debug, Default)]
pub struct ByteTrack {
    /// Tracks matched in the last frame: activated and unconfirmed ones.
    tracked: Vec<Track>,
    lost: Vec<Track>,
    last_id: u32,
}

#[derive(Clone, Debug)]
struct Track {
    id: u32,
    is_activated: bool,
    is_lost: bool,
    first_frame: usize,
    last_frame: usize,
    filter: Filter,
}

impl ByteTrack {
    /// Runs one step; returns the filtered boxes of the activated tracks that were matched in this frame.
    pub fn update(&mut self, frame: DetectedFrame<'_>) -> Vec<TrackedBox> {
        if frame.number == 1 {
            *self = Self::default();
        }
        let number = frame.number;
        let mut high: Vec<&Detection> = frame.detections.iter().filter(|d| d.score > TRACK_THRESH).collect();
        let low = |d: &&Detection| d.score > LOW_THRESH && d.score < TRACK_THRESH;
        let mut low: Vec<&Detection> = frame.detections.iter().filter(low).collect();

        let (mut pool, unconfirmed): (Vec<Track>, Vec<Track>) =
            std::mem::take(&mut self.tracked).into_iter().partition(|track| track.is_activated);
        pool.append(&mut self.lost);
        for track in &mut pool {
            track.filter.predict(track.is_lost);
        }

        let (mut matched, unmatched) = associate(pool, &mut high, MATCH_THRESH, true, number);
        let (tracked, lost): (Vec<Track>, Vec<Track>) = unmatched.into_iter().partition(|track| !track.is_lost);
        self.lost = lost;
        let (second, newly_lost) = associate(tracked, &mut low, LOW_MATCH_THRESH, false, number);
        matched.extend(second);
        self.lost.extend(newly_lost.into_iter().map(|track| Track { is_lost: true, ..track }));
        let (confirmed, _removed) = associate(unconfirmed, &mut high, UNCONFIRMED_THRESH, true, number);
        matched.extend(confirmed);
        for detection in high.into_iter().filter(|detection| detection.score >= NEW_THRESH) {
            self.last_id += 1;
            matched.push(Track {
                id: self.last_id,
                is_activated: number == 1,
                is_lost: false,
                first_frame: number,
                last_frame: number,
                filter: Filter::new(&detection.rect),
            });
        }
        self.lost.retain(|track| number - track.last_frame <= TRACK_BUFFER);
        self.tracked = matched;
        self.remove_duplicates();
        let reported = self.tracked.iter().filter(|track| track.is_activated);
        reported.map(|track| TrackedBox { id: track.id, rect: track.filter.rect() }).collect()
    }

    fn remove_duplicates(&mut self) {
        let mut is_duplicate = (vec![false; self.tracked.len()], vec![false; self.lost.len()]);
        for (t, tracked) in self.tracked.iter().enumerate() {
            for (l, lost) in self.lost.iter().enumerate() {
                if 1.0 - tracked.filter.rect().iou(&lost.filter.rect()) < DUPLICATE_THRESH {
                    let age = |track: &Track| track.last_frame - track.first_frame;
                    if age(tracked) > age(lost) {
                        is_duplicate.1[l] = true;
                    } else {
                        is_duplicate.0[t] = true;
                    }
                }
            }
        }
        let (mut tracked, mut lost) = (is_duplicate.0.into_iter(), is_duplicate.1.into_iter());
        self.tracked.retain(|_| tracked.next() == Some(false));
        self.lost.retain(|_| lost.next() == Some(false));
    }
}

/// Runs one association stage: assigns detections to tracks for the smallest sum of distances, none above
/// `max_distance`. Matched detections are removed from `detections`. Returns the matched tracks, updated, and the
/// unmatched tracks.
fn associate(
    tracks: Vec<Track>,
    detections: &mut Vec<&Detection>,
    max_distance: f64,
    with_score: bool,
    number: usize,
) -> (Vec<Track>, Vec<Track>) {
    let gain = |track: &Rect, detection: &Detection| {
        let score = if with_score { detection.score } else { 1.0 };
        (max_distance - (1.0 - track.iou(&detection.rect) * score)).max(0.0)
    };
    let boxes: Vec<Rect> = tracks.iter().map(|track| track.filter.rect()).collect();
    let gains: Vec<f64> = boxes.iter().flat_map(|rect| detections.iter().map(|d| gain(rect, d))).collect();
    let mut pairs = vec![None; tracks.len()];
    for (track, detection) in assign(tracks.len(), detections.len(), &gains) {
        pairs[track] = Some(detection).filter(|_| gains[track * detections.len() + detection] > 0.0);
    }
    let (mut matched, mut unmatched, mut taken) = (Vec::new(), Vec::new(), vec![false; detections.len()]);
    for (mut track, pair) in tracks.into_iter().zip(pairs) {
        match pair {
            Some(detection) => {
                taken[detection] = true;
                track.filter.update(&detections[detection].rect);
                matched.push(Track { is_activated: true, is_lost: false, last_frame: number, ..track });
            }
            None => unmatched.push(track),
        }
    }
    let mut taken = taken.into_iter();
    detections.retain(|_| taken.next() == Some(false));
    (matched, unmatched)
}

/// Standard deviations of a position and of a velocity per frame, as shares of the box height. Those of the aspect
/// ratio are constants.
const POSITION_SIGMA: f64 = 1.0 / 20.0;
const VELOCITY_SIGMA: f64 = 1.0 / 160.0;

/// Kalman filter of center x, center y, aspect ratio (width / height) and height.
#[derive(Clone, Debug)]
struct Filter {
    axes: [Axis; 4],
}

/// Constant-velocity Kalman filter of one coordinate; velocities are per frame.
#[derive(Clone, Copy, Debug)]
struct Axis {
    position: f64,
    velocity: f64,
    variance: f64,
    covariance: f64,
    velocity_variance: f64,
}

impl Filter {
    fn new(rect: &Rect) -> Self {
        let measured = to_measurement(rect);
        let axis = |index: usize| {
            let (position, velocity) = match index {
                2 => (1e-2, 1e-5),
                _ => (2.0 * POSITION_SIGMA * measured[3], 10.0 * VELOCITY_SIGMA * measured[3]),
            };
            Axis {
                position: measured[index],
                velocity: 0.0,
                variance: position * position,
                covariance: 0.0,
                velocity_variance: velocity * velocity,
            }
        };
        Self { axes: [0, 1, 2, 3].map(axis) }
    }

    fn predict(&mut self, lost: bool) {
        if lost {
            self.axes[3].velocity = 0.0;
        }
        let height = self.axes[3].position;
        for (index, axis) in self.axes.iter_mut().enumerate() {
            let (position, velocity) =
                if index == 2 { (1e-2, 1e-5) } else { (POSITION_SIGMA * height, VELOCITY_SIGMA * height) };
            axis.position += axis.velocity;
            axis.variance += 2.0 * axis.covariance + axis.velocity_variance + position * position;
            axis.covariance += axis.velocity_variance;
            axis.velocity_variance += velocity * velocity;
        }
    }

    fn update(&mut self, rect: &Rect) {
        let height = self.axes[3].position;
        for (index, (axis, measured)) in self.axes.iter_mut().zip(to_measurement(rect)).enumerate() {
            let noise = if index == 2 { 1e-1 } else { POSITION_SIGMA * height };
            let innovation_variance = axis.variance + noise * noise;
            let (gain, velocity_gain) = (axis.variance / innovation_variance, axis.covariance / innovation_variance);
            let innovation = measured - axis.position;
            axis.position += gain * innovation;
            axis.velocity += velocity_gain * innovation;
            axis.velocity_variance -= velocity_gain * axis.covariance;
            axis.covariance *= 1.0 - gain;
            axis.variance *= 1.0 - gain;
        }
    }

    fn rect(&self) -> Rect {
        let [x, y, aspect, h] = self.axes.map(|axis| axis.position);
        let w = aspect * h;
        Rect { x: x - w / 2.0, y: y - h / 2.0, w, h }
    }
}

/// Returns center x, center y, aspect ratio and height of a box.
fn to_measurement(rect: &Rect) -> [f64; 4] {
    [rect.x + rect.w / 2.0, rect.y + rect.h / 2.0, rect.w / rect.h.max(1e-6), rect.h]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(x: f64, score: f64) -> Detection {
        Detection { rect: Rect { x, y: 100.0, w: 40.0, h: 100.0 }, score }
    }

    /// Feeds frames to a new tracker; returns the identities reported in each frame, from left to right.
    fn reported_ids(frames: &[Vec<Detection>]) -> Vec<Vec<u32>> {
        let mut tracker = ByteTrack::default();
        let each = frames.iter().enumerate().map(|(index, detections)| {
            let mut tracks =
                tracker.update(DetectedFrame { sequence: "", number: index + 1, seconds: 0.04, detections });
            tracks.sort_by(|a, b| a.rect.x.total_cmp(&b.rect.x));
            tracks.into_iter().map(|track| track.id).collect()
        });
        each.collect()
    }

    #[test]
    fn tracks_are_activated_in_the_first_frame_or_at_their_second_match() {
        let both = vec![person(0.0, 0.9), person(300.0, 0.9)];
        assert_eq!(reported_ids(&[vec![both[0]], both.clone(), both.clone()]), [vec![1], vec![1], vec![1, 2]]);
        // A track that is not matched again is removed; the object gets a new number when it is detected again.
        assert_eq!(reported_ids(&[vec![], vec![both[0]], vec![], vec![both[0]], vec![both[0]]])[4], [2]);
    }

    #[test]
    fn low_confidence_detections_continue_tracks_but_start_none() {
        let low = vec![person(0.0, 0.3), person(300.0, 0.3)];
        assert_eq!(reported_ids(&[vec![person(0.0, 0.9)], low.clone(), low]), [vec![1], vec![1], vec![1]]);
        // A score between the threshold and 0.7 counts as high confidence but does not start a track either.
        assert_eq!(reported_ids(&[vec![person(0.0, 0.65)]]), [vec![0u32; 0]]);
    }

    #[test]
    fn a_lost_track_is_recovered_within_30_frames_by_high_confidence_detections_only() {
        for (hidden, score, expected) in [(30, 0.9, vec![1]), (31, 0.9, vec![]), (5, 0.4, vec![])] {
            let mut frames = vec![vec![person(0.0, 0.9)]; 5];
            frames.extend(vec![vec![]; hidden]);
            frames.push(vec![person(0.0, score)]);
            assert_eq!(reported_ids(&frames).pop().unwrap(), expected, "{hidden} frames, score {score}");
        }
    }

    /// First two steps of the published filter, calculated by hand for a height of 100: predicted variance 10² + 6.25²
    /// + 5², measurement variance 5².
    #[test]
    fn the_filter_matches_the_published_one() {
        let mut filter = Filter::new(&person(0.0, 1.0).rect);
        filter.predict(false);
        filter.update(&person(10.0, 1.0).rect);
        let variance = 100.0 + 39.0625 + 25.0;
        assert!((filter.axes[0].position - 20.0 - 10.0 * variance / (variance + 25.0)).abs() < 1e-9);
        assert!((filter.axes[0].velocity - 10.0 * 39.0625 / (variance + 25.0)).abs() < 1e-9);
    }
}
