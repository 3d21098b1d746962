//! SORT (Bewley et al. 2016) as its authors published it: the tracker to beat.
//!
//! The published filter has a 7 x 7 covariance, but nothing in it couples one coordinate with another, so it is exactly
//! three filters of position and velocity (centre x, centre y, area) and one of position alone (aspect).

use sideline_api::assignment::assign;

use crate::driver::{DetectedFrame, Tracked};
use crate::motchallenge::Rect;

/// Frames a track may go unseen (published default).
const MAX_AGE: u32 = 1;
/// Frames in a row before a track is given out (published default).
const MIN_HITS: u32 = 3;
/// Least IoU of a match (published default).
const LEAST_IOU: f64 = 0.3;

/// SORT with its published parameters; begins anew at frame 1.
#[derive(Clone, Debug, Default)]
pub struct Sort {
    tracks: Vec<Track>,
    last_id: u32,
}

#[derive(Clone, Debug)]
struct Track {
    id: u32,
    /// Centre x, centre y, area, aspect.
    filters: [Filter; 4],
    unseen: u32,
    streak: u32,
}

impl Sort {
    /// The tracks seen in this frame, where their filters put them.
    pub fn update(&mut self, frame: DetectedFrame<'_>) -> Vec<Tracked> {
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
            if ious[detection * self.tracks.len() + track] >= LEAST_IOU {
                self.tracks[track].update(&frame.detections[detection].rect);
                free[detection] = false;
            }
        }
        for (detection, _) in frame.detections.iter().zip(free).filter(|(_, free)| *free) {
            self.last_id += 1;
            self.tracks.push(Track::new(self.last_id, &detection.rect));
        }
        let shown = self
            .tracks
            .iter()
            .filter(|track| track.unseen == 0 && (track.streak >= MIN_HITS || frame.number <= MIN_HITS as usize));
        let shown = shown.map(|track| Tracked { id: track.id, rect: track.rect() }).collect();
        self.tracks.retain(|track| track.unseen <= MAX_AGE);
        shown
    }
}

impl Track {
    fn new(id: u32, rect: &Rect) -> Self {
        let [x, y, area, aspect] = measure(rect);
        let filters = [
            Filter::new(x, 1.0, 1.0, 0.01),
            Filter::new(y, 1.0, 1.0, 0.01),
            Filter::new(area, 10.0, 1.0, 0.0001),
            Filter { velocity_variance: 0.0, ..Filter::new(aspect, 10.0, 1.0, 0.0) },
        ];
        Self { id, filters, unseen: 0, streak: 0 }
    }

    fn predict(&mut self) {
        if self.filters[2].position + self.filters[2].velocity <= 0.0 {
            self.filters[2].velocity = 0.0;
        }
        self.filters.iter_mut().for_each(Filter::predict);
        if self.unseen > 0 {
            self.streak = 0;
        }
        self.unseen += 1;
    }

    fn update(&mut self, rect: &Rect) {
        self.unseen = 0;
        self.streak += 1;
        self.filters.iter_mut().zip(measure(rect)).for_each(|(filter, value)| filter.update(value));
    }

    fn rect(&self) -> Rect {
        let [x, y, area, aspect] = self.filters.each_ref().map(|filter| filter.position);
        // An area below zero cannot be drawn; SORT's code gets NaN here and drops the track, which an empty box does too.
        let w = (area * aspect).max(0.0).sqrt();
        let h = if w > 0.0 { area / w } else { 0.0 };
        Rect { x: x - w / 2.0, y: y - h / 2.0, w, h }
    }
}

fn measure(rect: &Rect) -> [f64; 4] {
    [rect.x + rect.w / 2.0, rect.y + rect.h / 2.0, rect.w * rect.h, rect.w / rect.h.max(1e-6)]
}

/// Position and velocity per frame.
#[derive(Clone, Debug)]
struct Filter {
    position: f64,
    velocity: f64,
    variance: f64,
    covariance: f64,
    velocity_variance: f64,
    measured_variance: f64,
    position_noise: f64,
    velocity_noise: f64,
}

impl Filter {
    fn new(position: f64, measured_variance: f64, position_noise: f64, velocity_noise: f64) -> Self {
        Self {
            position,
            velocity: 0.0,
            variance: 10.0,
            covariance: 0.0,
            velocity_variance: 10_000.0,
            measured_variance,
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
        let total = self.variance + self.measured_variance;
        let surprise = measured - self.position;
        let (gain, velocity_gain) = (self.variance / total, self.covariance / total);
        self.position += gain * surprise;
        self.velocity += velocity_gain * surprise;
        self.velocity_variance -= velocity_gain * self.covariance;
        self.covariance *= 1.0 - gain;
        self.variance *= 1.0 - gain;
    }
}
