//! How a ball moves: a Kalman filter over place, velocity and acceleration.
//!
//! Acceleration fades with time as in Singer's model (IEEE Trans. AES 6, 1970): what pushes a ball acts for a moment, and a
//! place that is foreseen over a gap does not run away with the square of time. x and y have the same noises and never
//! mix, so the 6 x 6 filter is exactly two filters of three that share one covariance.
//!
//! All is in px of a picture 1080 high and in frames of 1/30 s.

use serde::{Deserialize, Serialize};

/// A 3 x 3 matrix over place, velocity, acceleration.
pub type Matrix = [[f64; 3]; 3];

/// Frames in which an acceleration fades to a third.
const FADING: f64 = 6.0;
/// Standard deviations of a first velocity and acceleration.
const FIRST: [f64; 2] = [8.0, 1.0];
/// Most that a velocity and an acceleration can be: faster is no ball.
const MOST: [f64; 2] = [120.0, 40.0];

/// Where a ball is thought to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Motion {
    /// Place, velocity, acceleration of x and of y.
    pub axes: [[f64; 3]; 2],
    /// Their covariance, of either axis.
    pub covariance: Matrix,
}

impl Motion {
    /// Begins at a measured place.
    pub fn at(place: [f64; 2], noise: f64) -> Self {
        let [v, a] = FIRST.map(|deviation| deviation * deviation);
        Self {
            axes: place.map(|value| [value, 0.0, 0.0]),
            covariance: [[noise, 0.0, 0.0], [0.0, v, 0.0], [0.0, 0.0, a]],
        }
    }

    /// The place.
    pub fn place(&self) -> [f64; 2] {
        self.axes.map(|axis| axis[0])
    }

    /// Velocity, px a frame.
    pub fn velocity(&self) -> [f64; 2] {
        self.axes.map(|axis| axis[1])
    }

    /// Variance of the place, of either axis.
    pub fn variance(&self) -> f64 {
        self.covariance[0][0]
    }

    /// Moves on by some frames; `noise` is the variance that the acceleration gains in a frame.
    pub fn predict(&mut self, frames: f64, noise: f64) {
        let f = transition(frames);
        for axis in &mut self.axes {
            *axis = apply(&f, axis);
        }
        self.covariance = product(&product(&f, &self.covariance), &transposed(&f));
        add(&mut self.covariance, &drift(frames, noise));
    }

    /// Doubts the velocity, as after a kick some time within the last `frames`: `speed` is the standard deviation of what
    /// it gained.
    pub fn kick(&mut self, frames: f64, speed: f64) {
        let v = speed * speed;
        let (pv, p) = (v * frames / 2.0, v * frames * frames / 3.0);
        add(&mut self.covariance, &[[p, pv, 0.0], [pv, v, 0.0], [0.0, 0.0, FIRST[1] * FIRST[1]]]);
    }

    /// Takes in a measured place of this variance.
    pub fn update(&mut self, place: [f64; 2], noise: f64) {
        let column = self.covariance.map(|row| row[0]);
        let total = column[0] + noise;
        for (axis, measured) in self.axes.iter_mut().zip(place) {
            let surprise = measured - axis[0];
            for (value, share) in axis.iter_mut().zip(column) {
                *value += share / total * surprise;
            }
            for (value, most) in axis[1..].iter_mut().zip(MOST) {
                *value = value.clamp(-most, most);
            }
        }
        let row = self.covariance[0];
        for (values, share) in self.covariance.iter_mut().zip(column) {
            for (value, of) in values.iter_mut().zip(row) {
                *value -= share / total * of;
            }
        }
    }
}

/// What `frames` make of place, velocity and acceleration.
pub fn transition(frames: f64) -> Matrix {
    let kept = (-frames / FADING).exp();
    let faster = FADING * (1.0 - kept);
    [[1.0, frames, FADING * (frames - faster)], [0.0, 1.0, faster], [0.0, 0.0, kept]]
}

/// The covariance that a random walk of the acceleration adds in some frames.
pub fn drift(frames: f64, noise: f64) -> Matrix {
    let t = frames;
    let [pp, pv, pa] = [t.powi(5) / 20.0, t.powi(4) / 8.0, t.powi(3) / 6.0].map(|value| value * noise);
    let [vv, va, aa] = [t.powi(3) / 3.0, t * t / 2.0, t].map(|value| value * noise);
    [[pp, pv, pa], [pv, vv, va], [pa, va, aa]]
}

/// A matrix times a column.
pub fn apply(a: &Matrix, x: &[f64; 3]) -> [f64; 3] {
    a.map(|row| row[0] * x[0] + row[1] * x[1] + row[2] * x[2])
}

/// A matrix times another.
pub fn product(a: &Matrix, b: &Matrix) -> Matrix {
    a.map(|row| std::array::from_fn(|j| (0..3).map(|k| row[k] * b[k][j]).sum()))
}

/// Rows for columns.
pub fn transposed(a: &Matrix) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
}

fn add(a: &mut Matrix, b: &Matrix) {
    a.as_flattened_mut().iter_mut().zip(b.as_flattened()).for_each(|(a, b)| *a += b);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows a place that is given for each time.
    fn follow(times: &[f64], place: impl Fn(f64) -> [f64; 2]) -> Motion {
        let mut motion = Motion::at(place(times[0]), 3.0);
        for two in times.windows(2) {
            motion.predict(two[1] - two[0], 0.01);
            motion.update(place(two[1]), 3.0);
        }
        motion
    }

    #[test]
    fn learns_a_velocity_at_any_frame_rate() {
        for step in [0.5, 1.0, 2.0] {
            let times: Vec<f64> = (0..60).map(|i| f64::from(i) * step).collect();
            let motion = follow(&times, |t| [100.0 + 6.0 * t, 500.0 - 2.0 * t]);
            let [vx, vy] = motion.velocity();
            assert!((vx - 6.0).abs() < 0.2 && (vy + 2.0).abs() < 0.1, "{step}: {vx} {vy}");
        }
    }

    #[test]
    fn a_long_step_foresees_what_short_ones_do() {
        let times: Vec<f64> = (0..40).map(f64::from).collect();
        let mut once = follow(&times, |t| [t * t * 0.1, 0.0]);
        let mut often = once.clone();
        once.predict(6.0, 0.0);
        (0..12).for_each(|_| often.predict(0.5, 0.0));
        for (a, b) in once.axes[0].iter().zip(often.axes[0]) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        assert!((once.variance() - often.variance()).abs() < 1e-6 * once.variance());
    }

    #[test]
    fn a_kick_lets_the_next_place_count() {
        let times: Vec<f64> = (0..40).map(f64::from).collect();
        let still = follow(&times, |_| [0.0, 0.0]);
        let after = |kick: bool| {
            let mut motion = still.clone();
            motion.predict(1.0, 0.01);
            if kick {
                motion.kick(1.0, 15.0);
            }
            motion.update([15.0, 0.0], 3.0);
            motion.velocity()[0]
        };
        assert!(after(false) < 3.0 && after(true) > 10.0, "{} {}", after(false), after(true));
    }
}
