//! ByteTrack (Zhang et al. 2022), Algorithm 1 as its authors' code runs it: the other tracker to beat.
//!
//! Parameters are the paper's (section 4.1): detection threshold 0.6, low detections from 0.1, matches rejected below IoU
//! 0.2 (0.5 in the second round, as in the code), new tracks from 0.1 above the threshold, lost tracks kept 30 frames. As
//! in the code, the first round's IoU is weighted by the score, boxes unseen keep their height, and a track that has been
//! seen but once is matched where it was seen. Only the rule that drops boxes wider than 1.6 times their height is left
//! out: it is meant for pedestrians, and players dive.
//!
//! The published filter is 8 x 8 (DeepSORT's), but nothing in it couples one coordinate with another, so it is exactly
//! four filters of position and velocity.

use sideline_api::assignment::assign;

use crate::driver::{DetectedFrame, Tracked};
use crate::motchallenge::{Detection, Rect};

/// Score above which a detection takes part in the first round.
const TRACK_THRESH: f64 = 0.6;
/// Score above which it takes part in the second.
const LOW_THRESH: f64 = 0.1;
/// Score from which one that is left begins a track.
const NEW_THRESH: f64 = TRACK_THRESH + 0.1;
/// Greatest distance (1 - IoU x score) in the first round.
const MATCH_THRESH: f64 = 0.8;
/// Greatest distance (1 - IoU) in the second.
const LOW_MATCH_THRESH: f64 = 0.5;
/// Greatest distance for tracks seen but once.
const UNCONFIRMED_THRESH: f64 = 0.7;
/// Frames a lost track is kept.
const TRACK_BUFFER: usize = 30;
/// A lost and a living track nearer than this (1 - IoU) are one; the longer lived stays.
const DUPLICATE: f64 = 0.15;

/// ByteTrack with its published parameters; begins anew at frame 1.
#[derive(Clone, Debug, Default)]
pub struct ByteTrack {
    /// Seen in the last frame: activated ones, and those seen but once.
    tracked: Vec<Track>,
    lost: Vec<Track>,
    last_id: u32,
}

#[derive(Clone, Debug)]
struct Track {
    id: u32,
    activated: bool,
    lost: bool,
    first_frame: usize,
    last_frame: usize,
    filter: Filter,
}

impl ByteTrack {
    /// The activated tracks that were seen in this frame, where their filters put them.
    pub fn update(&mut self, frame: DetectedFrame<'_>) -> Vec<Tracked> {
        if frame.number == 1 {
            *self = Self::default();
        }
        let number = frame.number;
        let mut high: Vec<&Detection> = frame.detections.iter().filter(|d| d.score > TRACK_THRESH).collect();
        let low = |d: &&Detection| d.score > LOW_THRESH && d.score < TRACK_THRESH;
        let mut low: Vec<&Detection> = frame.detections.iter().filter(low).collect();

        let (mut pool, unconfirmed): (Vec<Track>, Vec<Track>) =
            std::mem::take(&mut self.tracked).into_iter().partition(|track| track.activated);
        pool.append(&mut self.lost);
        for track in &mut pool {
            track.filter.predict(track.lost);
        }

        let (mut seen, unseen) = round(pool, &mut high, MATCH_THRESH, true, number);
        let (tracked, lost): (Vec<Track>, Vec<Track>) = unseen.into_iter().partition(|track| !track.lost);
        self.lost = lost;
        let (second, missed) = round(tracked, &mut low, LOW_MATCH_THRESH, false, number);
        seen.extend(second);
        self.lost.extend(missed.into_iter().map(|track| Track { lost: true, ..track }));
        let (confirmed, _given_up) = round(unconfirmed, &mut high, UNCONFIRMED_THRESH, true, number);
        seen.extend(confirmed);
        for detection in high.into_iter().filter(|detection| detection.score >= NEW_THRESH) {
            self.last_id += 1;
            seen.push(Track {
                id: self.last_id,
                activated: number == 1,
                lost: false,
                first_frame: number,
                last_frame: number,
                filter: Filter::new(&detection.rect),
            });
        }
        self.lost.retain(|track| number - track.last_frame <= TRACK_BUFFER);
        self.tracked = seen;
        self.remove_duplicates();
        let shown = self.tracked.iter().filter(|track| track.activated);
        shown.map(|track| Tracked { id: track.id, rect: track.filter.rect() }).collect()
    }

    fn remove_duplicates(&mut self) {
        let mut doubled = (vec![false; self.tracked.len()], vec![false; self.lost.len()]);
        for (t, tracked) in self.tracked.iter().enumerate() {
            for (l, lost) in self.lost.iter().enumerate() {
                if 1.0 - tracked.filter.rect().iou(&lost.filter.rect()) < DUPLICATE {
                    let lived = |track: &Track| track.last_frame - track.first_frame;
                    if lived(tracked) > lived(lost) {
                        doubled.1[l] = true;
                    } else {
                        doubled.0[t] = true;
                    }
                }
            }
        }
        let (mut tracked, mut lost) = (doubled.0.into_iter(), doubled.1.into_iter());
        self.tracked.retain(|_| tracked.next() == Some(false));
        self.lost.retain(|_| lost.next() == Some(false));
    }
}

/// Pairs tracks and detections for the least distance in sum, none beyond `most`; detections that found a track are
/// taken out. Gives the tracks with one, updated, and those without.
fn round(
    tracks: Vec<Track>,
    detections: &mut Vec<&Detection>,
    most: f64,
    with_score: bool,
    number: usize,
) -> (Vec<Track>, Vec<Track>) {
    let gain = |track: &Rect, detection: &Detection| {
        let score = if with_score { detection.score } else { 1.0 };
        (most - (1.0 - track.iou(&detection.rect) * score)).max(0.0)
    };
    let places: Vec<Rect> = tracks.iter().map(|track| track.filter.rect()).collect();
    let gains: Vec<f64> = places.iter().flat_map(|place| detections.iter().map(|d| gain(place, d))).collect();
    let mut pairs = vec![None; tracks.len()];
    for (track, detection) in assign(tracks.len(), detections.len(), &gains) {
        pairs[track] = Some(detection).filter(|_| gains[track * detections.len() + detection] > 0.0);
    }
    let (mut seen, mut unseen, mut taken) = (Vec::new(), Vec::new(), vec![false; detections.len()]);
    for (mut track, pair) in tracks.into_iter().zip(pairs) {
        match pair {
            Some(detection) => {
                taken[detection] = true;
                track.filter.update(&detections[detection].rect);
                seen.push(Track { activated: true, lost: false, last_frame: number, ..track });
            }
            None => unseen.push(track),
        }
    }
    let mut taken = taken.into_iter();
    detections.retain(|_| taken.next() == Some(false));
    (seen, unseen)
}

/// Noise of a position and of a velocity (per frame), in heights of the box; those of the aspect are plain numbers.
const POSITION: f64 = 1.0 / 20.0;
const VELOCITY: f64 = 1.0 / 160.0;

/// Centre x, centre y, aspect (width / height), height.
#[derive(Clone, Debug)]
struct Filter {
    axes: [Axis; 4],
}

/// Position and velocity per frame, and their covariance.
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
        let measured = measure(rect);
        let axis = |index: usize| {
            let (position, velocity) = match index {
                2 => (1e-2, 1e-5),
                _ => (2.0 * POSITION * measured[3], 10.0 * VELOCITY * measured[3]),
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
            let (position, velocity) = if index == 2 { (1e-2, 1e-5) } else { (POSITION * height, VELOCITY * height) };
            axis.position += axis.velocity;
            axis.variance += 2.0 * axis.covariance + axis.velocity_variance + position * position;
            axis.covariance += axis.velocity_variance;
            axis.velocity_variance += velocity * velocity;
        }
    }

    fn update(&mut self, rect: &Rect) {
        let height = self.axes[3].position;
        for (index, (axis, measured)) in self.axes.iter_mut().zip(measure(rect)).enumerate() {
            let noise = if index == 2 { 1e-1 } else { POSITION * height };
            let total = axis.variance + noise * noise;
            let (gain, velocity_gain) = (axis.variance / total, axis.covariance / total);
            let surprise = measured - axis.position;
            axis.position += gain * surprise;
            axis.velocity += velocity_gain * surprise;
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

fn measure(rect: &Rect) -> [f64; 4] {
    [rect.x + rect.w / 2.0, rect.y + rect.h / 2.0, rect.w / rect.h.max(1e-6), rect.h]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(x: f64, score: f64) -> Detection {
        Detection { rect: Rect { x, y: 100.0, w: 40.0, h: 100.0 }, score }
    }

    /// Feeds frames from the first and gives the identities shown in each, left to right.
    fn shown(frames: &[Vec<Detection>]) -> Vec<Vec<u32>> {
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
    fn the_first_frame_counts_at_once_and_later_ones_when_seen_twice() {
        let both = vec![person(0.0, 0.9), person(300.0, 0.9)];
        assert_eq!(shown(&[vec![both[0]], both.clone(), both.clone()]), [vec![1], vec![1], vec![1, 2]]);
        // Once seen and gone again: given up, and a new number when it is back.
        assert_eq!(shown(&[vec![], vec![both[0]], vec![], vec![both[0]], vec![both[0]]])[4], [2]);
    }

    #[test]
    fn a_low_score_continues_a_track_and_begins_none() {
        let low = vec![person(0.0, 0.3), person(300.0, 0.3)];
        assert_eq!(shown(&[vec![person(0.0, 0.9)], low.clone(), low]), [vec![1], vec![1], vec![1]]);
        // Between the threshold and 0.7 one is matched first and begins none either.
        assert_eq!(shown(&[vec![person(0.0, 0.65)]]), [vec![0u32; 0]]);
    }

    #[test]
    fn a_lost_track_is_found_within_thirty_frames_by_a_high_score_only() {
        for (hidden, score, expected) in [(30, 0.9, vec![1]), (31, 0.9, vec![]), (5, 0.4, vec![])] {
            let mut frames = vec![vec![person(0.0, 0.9)]; 5];
            frames.extend(vec![vec![]; hidden]);
            frames.push(vec![person(0.0, score)]);
            assert_eq!(shown(&frames).pop().unwrap(), expected, "{hidden} frames, score {score}");
        }
    }

    /// The first two steps of the published filter, worked out by hand for a height of 100: predicted variance 10² + 6.25²
    /// + 5², measured 5².
    #[test]
    fn the_filter_weighs_as_published() {
        let mut filter = Filter::new(&person(0.0, 1.0).rect);
        filter.predict(false);
        filter.update(&person(10.0, 1.0).rect);
        let variance = 100.0 + 39.0625 + 25.0;
        assert!((filter.axes[0].position - 20.0 - 10.0 * variance / (variance + 25.0)).abs() < 1e-9);
        assert!((filter.axes[0].velocity - 10.0 * 39.0625 / (variance + 25.0)).abs() < 1e-9);
    }
}
