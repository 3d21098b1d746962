//! SORT (Bewley et al. 2016) with its published parameters: a reference tracker.
//!
//! The published Kalman filter has a 7 x 7 covariance, but nothing in it couples one coordinate with another. It is
//! therefore exactly three filters of position and velocity (center x, center y, area) and one of position alone
//! (aspect ratio).

use sideline_vision::assignment::assign;

use crate::driver::{DetectedFrame, TrackedBox};
use crate::motchallenge::Rect;

/// Frames without a match after which a track is deleted (`max_age`, published default).
const MAX_AGE: u32 = 1;
/// Consecutive matches before a track is reported (`min_hits`, published default).
const MIN_HITS: u32 = 3;
/// Minimum IoU of a match (`iou_threshold`, published default).
const IOU_THRESHOLD: f64 = 0.3;

/// SORT with its published parameters. Resets its state at frame 1.
#[derive(Clone, Debug, Default)]
pub struct Sort {
    tracks: Vec<Track>,
    last_id: u32,
}

#[derive(Clone, Debug)]
struct Track {
    id: u32,
    /// Center x, center y, area, aspect ratio (width / height).
    filters: [Filter; 4],
    frames_since_match: u32,
    hit_streak: u32,
}

impl Sort {
    /// Runs one step; returns the filtered boxes of the tracks that were matched in this frame.
    pub fn update(&mut self, frame: DetectedFrame<'_>) -> Vec<TrackedBox> {
        if frame.number == 1 {
            *self = Self::default();
        }
        self.tracks.iter_mut().for_each(Track::predict);
        let ious: Vec<f64> = frame
            .detections
            .iter()
            .flat_map(|detection| self.tracks.iter().map(|track| detection.rect.iou(&track.rect())))
            .collect();
        let mut free = vec![true; frame.detections.len()];
        for (detection, track) in assign(frame.detections.len(), self.tracks.len(), &ious) {
            if ious[detection * self.tracks.len() + track] >= IOU_THRESHOLD {
                self.tracks[track].update(&frame.detections[detection].rect);
                free[detection] = false;
            }
        }
        for (detection, _) in frame.detections.iter().zip(free).filter(|(_, free)| *free) {
            self.last_id += 1;
            self.tracks.push(Track::new(self.last_id, &detection.rect));
        }
        let reported = self.tracks.iter().filter(|track| {
            track.frames_since_match == 0 && (track.hit_streak >= MIN_HITS || frame.number <= MIN_HITS as usize)
        });
        let reported = reported.map(|track| TrackedBox { id: track.id, rect: track.rect() }).collect();
        self.tracks.retain(|track| track.frames_since_match <= MAX_AGE);
        reported
    }
}

impl Track {
    fn new(id: u32, rect: &Rect) -> Self {
        let [x, y, area, aspect] = to_measurement(rect);
        let filters = [
            Filter::new(x, 1.0, 1.0, 0.01),
            Filter::new(y, 1.0, 1.0, 0.01),
            Filter::new(area, 10.0, 1.0, 0.0001),
            Filter { velocity_variance: 0.0, ..Filter::new(aspect, 10.0, 1.0, 0.0) },
        ];
        Self { id, filters, frames_since_match: 0, hit_streak: 0 }
    }

    fn predict(&mut self) {
        if self.filters[2].position + self.filters[2].velocity <= 0.0 {
            self.filters[2].velocity = 0.0;
        }
        self.filters.iter_mut().for_each(Filter::predict);
        if self.frames_since_match > 0 {
            self.hit_streak = 0;
        }
        self.frames_since_match += 1;
    }

    fn update(&mut self, rect: &Rect) {
        self.frames_since_match = 0;
        self.hit_streak += 1;
        self.filters.iter_mut().zip(to_measurement(rect)).for_each(|(filter, value)| filter.update(value));
    }

    fn rect(&self) -> Rect {
        let [x, y, area, aspect] = self.filters.each_ref().map(|filter| filter.position);
        // A negative area has no box. SORT's own code gets NaN here and drops the track, which an empty box does as
        // well.
        let w = (area * aspect).max(0.0).sqrt();
        let h = if w > 0.0 { area / w } else { 0.0 };
        Rect { x: x - w / 2.0, y: y - h / 2.0, w, h }
    }
}

/// Returns center x, center y, area and aspect ratio of a box.
fn to_measurement(rect: &Rect) -> [f64; 4] {
    [rect.x + rect.w / 2.0, rect.y + rect.h / 2.0, rect.w * rect.h, rect.w / rect.h.max(1e-6)]
}

/// Constant-velocity Kalman filter of one coordinate; velocities are per frame.
#[derive(Clone, Debug)]
struct Filter {
    position: f64,
    velocity: f64,
    variance: f64,
    covariance: f64,
    velocity_variance: f64,
    measurement_variance: f64,
    position_noise: f64,
    velocity_noise: f64,
}

impl Filter {
    fn new(position: f64, measurement_variance: f64, position_noise: f64, velocity_noise: f64) -> Self {
        Self {
            position,
            velocity: 0.0,
            variance: 10.0,
            covariance: 0.0,
            velocity_variance: 10_000.0,
            measurement_variance,
            position_noise,
            velocity_noise,
        }
    }

    fn predict(&mut self) {
        self.position += self.velocity;
        self.variance += 2.0 * self.covariance + self.velocity_variance + self.position_noise;
        self.covariance += self.velocity_variance;
        self.velocity_variance += self.velocity_noise;
    }

    fn update(&mut self, measured: f64) {
        let innovation_variance = self.variance + self.measurement_variance;
        let innovation = measured - self.position;
        let (gain, velocity_gain) = (self.variance / innovation_variance, self.covariance / innovation_variance);
        self.position += gain * innovation;
        self.velocity += velocity_gain * innovation;
        self.velocity_variance -= velocity_gain * self.covariance;
        self.covariance *= 1.0 - gain;
        self.variance *= 1.0 - gain;
    }
}
