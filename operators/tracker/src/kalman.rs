//! Where a box is and how it moves: a Kalman filter over centre, width and height, in pixels and seconds.
//!
//! Width and height are filtered themselves, not area and aspect (BoT-SORT, Aharon et al. 2022). No coordinate's noise is
//! tied to another's, so the usual 8 x 8 filter is exactly four filters of position and velocity. Noise grows with time,
//! not with frames: a stream of 15, 30 or 60 frames a second, or one with holes, gives the same motion.

use serde::{Deserialize, Serialize};

/// A box by its centre and size, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CentredBox {
    /// Centre, from the left.
    pub(crate) cx: f64,
    /// Centre, from the top.
    pub(crate) cy: f64,
    /// Width.
    pub(crate) w: f64,
    /// Height.
    pub(crate) h: f64,
}

impl CentredBox {
    /// From corners; `None` if one is not finite or the box has less than a pixel either way.
    pub(crate) fn from_corners(x1: f32, y1: f32, x2: f32, y2: f32) -> Option<Self> {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(f64::from);
        let (w, h) = (x2 - x1, y2 - y1);
        let sound = [x1, y1, x2, y2].iter().all(|edge| edge.abs() < 1e6) && w >= 1.0 && h >= 1.0;
        sound.then_some(Self { cx: x1 + w / 2.0, cy: y1 + h / 2.0, w, h })
    }

    /// Left, top, right, bottom.
    pub(crate) fn edges(&self) -> [f64; 4] {
        let (w, h) = (self.w / 2.0, self.h / 2.0);
        [self.cx - w, self.cy - h, self.cx + w, self.cy + h]
    }

    /// The same as tables hold them.
    pub(crate) fn corners(&self) -> [f32; 4] {
        self.edges().map(|edge| edge as f32)
    }

    /// Intersection over union, 0 to 1.
    pub(crate) fn iou(&self, other: &Self) -> f64 {
        let shared = self.shared(other);
        shared / (self.w * self.h + other.w * other.h - shared)
    }

    /// Area of the intersection.
    pub(crate) fn shared(&self, other: &Self) -> f64 {
        let side = |a: f64, a_size: f64, b: f64, b_size: f64| {
            ((a + a_size / 2.0).min(b + b_size / 2.0) - (a - a_size / 2.0).max(b - b_size / 2.0)).max(0.0)
        };
        side(self.cx, self.w, other.cx, other.w) * side(self.cy, self.h, other.cy, other.h)
    }

    fn values(&self) -> [f64; 4] {
        [self.cx, self.cy, self.w, self.h]
    }
}

/// Standard deviation of a measured edge, in heights of the box.
const MEASURED: f64 = 0.04;
/// How fast position strays beside velocity, heights per square-root second.
const POSITION_DRIFT: f64 = 0.2;
/// How fast velocity strays, heights per second per square-root second.
const VELOCITY_DRIFT: f64 = 1.0;
/// How much of both strays in width and height, against the centre: people change place faster than size.
const SIZE_DRIFT: f64 = 0.5;
/// Standard deviation of an unknown velocity, heights per second.
const FIRST_VELOCITY: f64 = 1.9;

/// The filter of one box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BoxFilter {
    /// Centre x, centre y, width, height.
    axes: [Axis; 4],
}

impl BoxFilter {
    /// Starts at a measured box, with unknown velocity.
    pub(crate) fn new(measured: &CentredBox) -> Self {
        Self { axes: measured.values().map(|value| Axis::new(value, measured.h)) }
    }

    /// Moves on by `seconds`.
    pub(crate) fn predict(&mut self, seconds: f64) {
        let scale = self.axes[3].position;
        let (centre, sizes) = self.axes.split_at_mut(2);
        centre.iter_mut().for_each(|axis| axis.predict(seconds, scale));
        for size in sizes {
            size.predict(seconds, scale * SIZE_DRIFT);
            if size.position < 1.0 {
                (size.position, size.velocity) = (1.0, 0.0);
            }
        }
    }

    /// Takes in a measured box. One whose detector is not sure of it (`score`, 0 to 1) is trusted less: its error is taken to
    /// be up to twice as great (after GIAOTracker's NSA filter, Du et al. 2021).
    pub(crate) fn update(&mut self, measured: &CentredBox, score: f64) {
        let scale = measured.h * (2.0 - score.clamp(0.0, 1.0));
        self.axes.iter_mut().zip(measured.values()).for_each(|(axis, value)| axis.update(value, scale));
    }

    /// Displaces the centre, pixels, and adds to its velocity, pixels a second.
    pub(crate) fn displace(&mut self, by: [f64; 2], faster: [f64; 2]) {
        for ((axis, by), faster) in self.axes.iter_mut().zip(by).zip(faster) {
            axis.position += by;
            axis.velocity += faster;
        }
    }

    /// How surprising it would be to see the centre there: squared distance from the estimate, in variances of both.
    pub(crate) fn surprise(&self, measured: &CentredBox) -> f64 {
        let noise = (MEASURED * measured.h).powi(2);
        let centre = self.axes.iter().zip(measured.values()).take(2);
        centre.map(|(axis, value)| (value - axis.position).powi(2) / (axis.position_variance + noise)).sum()
    }

    /// Holds the size: a box out of sight goes on moving, and neither grows nor shrinks.
    pub(crate) fn hold_size(&mut self) {
        self.axes[2].velocity = 0.0;
        self.axes[3].velocity = 0.0;
    }

    /// The estimate.
    pub(crate) fn estimate(&self) -> CentredBox {
        let [cx, cy, w, h] = self.axes.each_ref().map(|axis| axis.position);
        CentredBox { cx, cy, w: w.max(1.0), h: h.max(1.0) }
    }
}

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
            position_variance: (2.0 * MEASURED * scale).powi(2),
            covariance: 0.0,
            velocity_variance: (FIRST_VELOCITY * scale).powi(2),
        }
    }

    /// White noise on acceleration, integrated over the step, and a random walk of the position beside it.
    fn predict(&mut self, t: f64, scale: f64) {
        let velocity_noise = (VELOCITY_DRIFT * scale).powi(2);
        let position_noise = (POSITION_DRIFT * scale).powi(2);
        self.position += self.velocity * t;
        self.position_variance += 2.0 * t * self.covariance
            + t * t * self.velocity_variance
            + velocity_noise * t.powi(3) / 3.0
            + position_noise * t;
        self.covariance += t * self.velocity_variance + velocity_noise * t * t / 2.0;
        self.velocity_variance += velocity_noise * t;
    }

    fn update(&mut self, measured: f64, scale: f64) {
        let total = self.position_variance + (MEASURED * scale).powi(2);
        let surprise = measured - self.position;
        let (gain, velocity_gain) = (self.position_variance / total, self.covariance / total);
        self.position += gain * surprise;
        self.velocity += velocity_gain * surprise;
        self.velocity_variance -= velocity_gain * self.covariance;
        self.position_variance *= 1.0 - gain;
        self.covariance *= 1.0 - gain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walker(seconds: f64) -> CentredBox {
        CentredBox { cx: 100.0 + 80.0 * seconds, cy: 200.0, w: 40.0, h: 100.0 }
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
    fn learns_the_same_velocity_at_any_frame_rate() {
        for rate in [10, 25, 60, 120] {
            let [vx, vy] = [0, 1].map(|axis: usize| after_two_seconds(rate).axes[axis].velocity);
            assert!((vx - 80.0).abs() < 2.0 && vy.abs() < 1e-9, "{rate}: {vx} {vy}");
        }
    }

    #[test]
    fn one_long_step_foresees_what_many_short_ones_do() {
        let mut once = after_two_seconds(25);
        let mut often = once.clone();
        once.predict(0.4);
        (0..10).for_each(|_| often.predict(0.04));
        for (a, b) in once.axes.iter().zip(&often.axes) {
            assert!((a.position - b.position).abs() < 1e-9);
            assert!((a.position_variance - b.position_variance).abs() < 1e-6 * a.position_variance);
        }
    }

    #[test]
    fn an_unsure_box_moves_the_estimate_less() {
        let after = |score| {
            let mut filter = after_two_seconds(25);
            let before = filter.estimate().cx;
            filter.update(&CentredBox { cx: before + 10.0, ..walker(2.0) }, score);
            filter.estimate().cx - before
        };
        assert!(0.0 < after(0.2) && after(0.2) < 0.7 * after(1.0), "{} {}", after(0.2), after(1.0));
    }

    #[test]
    fn a_place_out_of_sight_becomes_less_surprising_with_time() {
        let mut filter = after_two_seconds(25);
        let surprise = |filter: &BoxFilter| {
            let expected = filter.estimate();
            filter.surprise(&CentredBox { cx: expected.cx + 30.0, ..expected })
        };
        let at_once = surprise(&filter);
        filter.predict(0.5);
        assert!(surprise(&filter) < 0.5 * at_once);
    }

    #[test]
    fn a_shrinking_box_never_turns_inside_out() {
        let mut filter = BoxFilter::new(&walker(0.0));
        for size in [60.0, 30.0, 10.0] {
            filter.predict(0.04);
            filter.update(&CentredBox { w: size, h: size, ..walker(0.0) }, 1.0);
        }
        (0..100).for_each(|_| filter.predict(0.1));
        let last = filter.estimate();
        assert!(last.w >= 1.0 && last.h >= 1.0);
    }

    #[test]
    fn boxes_that_are_none_are_refused() {
        for corners in [
            [f32::NAN, 0.0, 5.0, 5.0],
            [0.0, 0.0, f32::INFINITY, 5.0],
            [5.0, 0.0, 0.0, 5.0],
            [0.0, 3.0, 5.0, 3.0],
            [0.0, 0.0, 0.5, 9.0],
        ] {
            let [x1, y1, x2, y2] = corners;
            assert_eq!(CentredBox::from_corners(x1, y1, x2, y2), None, "{corners:?}");
        }
    }
}
