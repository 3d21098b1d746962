//! Kalman filter of one box: a constant-velocity model over center, width and height, in pixels and seconds.
//!
//! Width and height are filtered directly, not area and aspect ratio (BoT-SORT, Aharon et al. 2022). The noise of no
//! coordinate is correlated with that of another, so the usual 8 x 8 filter is exactly four independent filters of
//! position and velocity. Process noise grows with time, not with the number of frames: a stream at 15, 30 or 60 frames
//! per second, or one with gaps, gives the same motion.

use serde::{Deserialize, Serialize};

/// Axis-aligned box given by its center and size, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CenterBox {
    /// Horizontal position of the center, from the left edge of the picture.
    pub(crate) cx: f64,
    /// Vertical position of the center, from the top edge of the picture.
    pub(crate) cy: f64,
    /// Width.
    pub(crate) w: f64,
    /// Height.
    pub(crate) h: f64,
}

impl CenterBox {
    /// Converts corners; `None` if a coordinate is not finite or a side is shorter than one pixel.
    pub(crate) fn from_corners(x1: f32, y1: f32, x2: f32, y2: f32) -> Option<Self> {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(f64::from);
        let (w, h) = (x2 - x1, y2 - y1);
        let is_valid = [x1, y1, x2, y2].iter().all(|edge| edge.abs() < 1e6) && w >= 1.0 && h >= 1.0;
        is_valid.then_some(Self { cx: x1 + w / 2.0, cy: y1 + h / 2.0, w, h })
    }

    /// Returns left, top, right and bottom.
    pub(crate) fn edges(&self) -> [f64; 4] {
        let (w, h) = (self.w / 2.0, self.h / 2.0);
        [self.cx - w, self.cy - h, self.cx + w, self.cy + h]
    }

    /// Returns [`Self::edges`] in the precision of the tables.
    pub(crate) fn corners(&self) -> [f32; 4] {
        self.edges().map(|edge| edge as f32)
    }

    /// Returns the intersection over union, 0 to 1.
    pub(crate) fn iou(&self, other: &Self) -> f64 {
        let intersection = self.intersection(other);
        intersection / (self.w * self.h + other.w * other.h - intersection)
    }

    /// Returns the area of the intersection, square pixels.
    pub(crate) fn intersection(&self, other: &Self) -> f64 {
        let side = |a: f64, a_size: f64, b: f64, b_size: f64| {
            ((a + a_size / 2.0).min(b + b_size / 2.0) - (a - a_size / 2.0).max(b - b_size / 2.0)).max(0.0)
        };
        side(self.cx, self.w, other.cx, other.w) * side(self.cy, self.h, other.cy, other.h)
    }

    fn values(&self) -> [f64; 4] {
        [self.cx, self.cy, self.w, self.h]
    }
}

/// Standard deviation of a measured coordinate, in box heights.
const MEASUREMENT_SIGMA: f64 = 0.04;
/// Random walk of the position in addition to the velocity, box heights per square-root second.
const POSITION_NOISE: f64 = 0.2;
/// Random walk of the velocity (white-noise acceleration), box heights per second per square-root second.
const VELOCITY_NOISE: f64 = 1.0;
/// Factor on both noises for width and height, below 1 because people change place faster than size.
const SIZE_NOISE_FACTOR: f64 = 0.5;
/// Standard deviation of the velocity of a new track, box heights per second.
const INITIAL_VELOCITY_SIGMA: f64 = 1.9;

/// Kalman filter of one box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BoxFilter {
    /// Filters of center x, center y, width and height.
    axes: [Axis; 4],
}

impl BoxFilter {
    /// Starts at a measured box, with zero velocity and a wide velocity variance.
    pub(crate) fn new(measured: &CenterBox) -> Self {
        Self { axes: measured.values().map(|value| Axis::new(value, measured.h)) }
    }

    /// Predicts the state `seconds` ahead.
    pub(crate) fn predict(&mut self, seconds: f64) {
        let scale = self.axes[3].position;
        let (center, sizes) = self.axes.split_at_mut(2);
        center.iter_mut().for_each(|axis| axis.predict(seconds, scale));
        for size in sizes {
            size.predict(seconds, scale * SIZE_NOISE_FACTOR);
            if size.position < 1.0 {
                (size.position, size.velocity) = (1.0, 0.0);
            }
        }
    }

    /// Corrects the state by a measured box. The measurement noise grows as the detection's `score` (0 to 1) falls, up
    /// to twice the standard deviation at score 0 (noise scale adaptive filter of GIAOTracker, Du et al. 2021).
    pub(crate) fn update(&mut self, measured: &CenterBox, score: f64) {
        let scale = measured.h * (2.0 - score.clamp(0.0, 1.0));
        self.axes.iter_mut().zip(measured.values()).for_each(|(axis, value)| axis.update(value, scale));
    }

    /// Shifts the center by `shift` (pixels) and adds `velocity` (pixels per second) to its velocity.
    pub(crate) fn displace(&mut self, shift: [f64; 2], velocity: [f64; 2]) {
        for ((axis, shift), velocity) in self.axes.iter_mut().zip(shift).zip(velocity) {
            axis.position += shift;
            axis.velocity += velocity;
        }
    }

    /// Returns the squared Mahalanobis distance of the measured center from the predicted one; both variances count.
    pub(crate) fn squared_mahalanobis(&self, measured: &CenterBox) -> f64 {
        let noise = (MEASUREMENT_SIGMA * measured.h).powi(2);
        let center = self.axes.iter().zip(measured.values()).take(2);
        center.map(|(axis, value)| (value - axis.position).powi(2) / (axis.position_variance + noise)).sum()
    }

    /// Sets the velocity of the size to zero: an unmatched box keeps moving, but neither grows nor shrinks.
    pub(crate) fn hold_size(&mut self) {
        self.axes[2].velocity = 0.0;
        self.axes[3].velocity = 0.0;
    }

    /// Returns the current state as a box, at least one pixel wide and high.
    pub(crate) fn estimate(&self) -> CenterBox {
        let [cx, cy, w, h] = self.axes.each_ref().map(|axis| axis.position);
        CenterBox { cx, cy, w: w.max(1.0), h: h.max(1.0) }
    }
}

/// Constant-velocity Kalman filter of one coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Axis {
    position: f64,
    velocity: f64,
    position_variance: f64,
    covariance: f64,
    velocity_variance: f64,
}

impl Axis {
    fn new(position: f64, scale: f64) -> Self {
        Self {
            position,
            velocity: 0.0,
            position_variance: (2.0 * MEASUREMENT_SIGMA * scale).powi(2),
            covariance: 0.0,
            velocity_variance: (INITIAL_VELOCITY_SIGMA * scale).powi(2),
        }
    }

    /// Predicts with white-noise acceleration, integrated over the step, plus a random walk of the position.
    fn predict(&mut self, t: f64, scale: f64) {
        let velocity_noise = (VELOCITY_NOISE * scale).powi(2);
        let position_noise = (POSITION_NOISE * scale).powi(2);
        self.position += self.velocity * t;
        self.position_variance += 2.0 * t * self.covariance
            + t * t * self.velocity_variance
            + velocity_noise * t.powi(3) / 3.0
            + position_noise * t;
        self.covariance += t * self.velocity_variance + velocity_noise * t * t / 2.0;
        self.velocity_variance += velocity_noise * t;
    }

    fn update(&mut self, measured: f64, scale: f64) {
        let innovation_variance = self.position_variance + (MEASUREMENT_SIGMA * scale).powi(2);
        let innovation = measured - self.position;
        let gain = self.position_variance / innovation_variance;
        let velocity_gain = self.covariance / innovation_variance;
        self.position += gain * innovation;
        self.velocity += velocity_gain * innovation;
        self.velocity_variance -= velocity_gain * self.covariance;
        self.position_variance *= 1.0 - gain;
        self.covariance *= 1.0 - gain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walker(seconds: f64) -> CenterBox {
        CenterBox { cx: 100.0 + 80.0 * seconds, cy: 200.0, w: 40.0, h: 100.0 }
    }

    fn after_two_seconds(rate: u32) -> BoxFilter {
        let mut filter = BoxFilter::new(&walker(0.0));
        for frame in 1..=2 * rate {
            filter.predict(1.0 / f64::from(rate));
            filter.update(&walker(f64::from(frame) / f64::from(rate)), 1.0);
        }
        filter
    }

    #[test]
    fn velocity_does_not_depend_on_the_frame_rate() {
        for rate in [10, 25, 60, 120] {
            let [vx, vy] = [0, 1].map(|axis: usize| after_two_seconds(rate).axes[axis].velocity);
            assert!((vx - 80.0).abs() < 2.0 && vy.abs() < 1e-9, "{rate}: {vx} {vy}");
        }
    }

    #[test]
    fn one_long_step_predicts_the_same_as_many_short_ones() {
        let mut single = after_two_seconds(25);
        let mut repeated = single.clone();
        single.predict(0.4);
        (0..10).for_each(|_| repeated.predict(0.04));
        for (a, b) in single.axes.iter().zip(&repeated.axes) {
            assert!((a.position - b.position).abs() < 1e-9);
            assert!((a.position_variance - b.position_variance).abs() < 1e-6 * a.position_variance);
        }
    }

    #[test]
    fn a_low_score_moves_the_estimate_less() {
        let after = |score| {
            let mut filter = after_two_seconds(25);
            let before = filter.estimate().cx;
            filter.update(&CenterBox { cx: before + 10.0, ..walker(2.0) }, score);
            filter.estimate().cx - before
        };
        assert!(0.0 < after(0.2) && after(0.2) < 0.7 * after(1.0), "{} {}", after(0.2), after(1.0));
    }

    #[test]
    fn squared_mahalanobis_distance_falls_while_a_track_is_unmatched() {
        let mut filter = after_two_seconds(25);
        let distance = |filter: &BoxFilter| {
            let expected = filter.estimate();
            filter.squared_mahalanobis(&CenterBox { cx: expected.cx + 30.0, ..expected })
        };
        let before = distance(&filter);
        filter.predict(0.5);
        assert!(distance(&filter) < 0.5 * before);
    }

    #[test]
    fn a_shrinking_box_keeps_a_positive_size() {
        let mut filter = BoxFilter::new(&walker(0.0));
        for size in [60.0, 30.0, 10.0] {
            filter.predict(0.04);
            filter.update(&CenterBox { w: size, h: size, ..walker(0.0) }, 1.0);
        }
        (0..100).for_each(|_| filter.predict(0.1));
        let last = filter.estimate();
        assert!(last.w >= 1.0 && last.h >= 1.0);
    }

    #[test]
    fn invalid_boxes_are_rejected() {
        for corners in [
            [f32::NAN, 0.0, 5.0, 5.0],
            [0.0, 0.0, f32::INFINITY, 5.0],
            [5.0, 0.0, 0.0, 5.0],
            [0.0, 3.0, 5.0, 3.0],
            [0.0, 0.0, 0.5, 9.0],
        ] {
            let [x1, y1, x2, y2] = corners;
            assert_eq!(CenterBox::from_corners(x1, y1, x2, y2), None, "{corners:?}");
        }
    }
}
