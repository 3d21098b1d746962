//! Ball motion model: a Kalman filter over position, velocity and acceleration.
//!
//! The acceleration decays exponentially, as in Singer's model (IEEE Trans. AES 6, 1970): a force acts on a ball only
//! briefly, so the predicted position does not grow with the square of time over a gap. x and y have the same noise and
//! are independent, so the 6 x 6 filter is exactly two filters of order three that share one covariance.
//!
//! Lengths are in px of a frame 1080 high, times in frames of 1/30 s.

use serde::{Deserialize, Serialize};

/// A 3 x 3 matrix over position, velocity and acceleration of one axis.
pub type Matrix = [[f64; 3]; 3];

/// Time constant of the acceleration's exponential decay, frames of 1/30 s.
const ACCELERATION_TIME_CONSTANT: f64 = 6.0;
/// Standard deviations of the initial velocity (px/frame) and acceleration (px/frame²).
const INITIAL_STD: [f64; 2] = [8.0, 1.0];
/// Bounds of velocity (px/frame) and acceleration (px/frame²) per axis: faster objects are not balls.
const STATE_BOUNDS: [f64; 2] = [120.0, 40.0];

/// Estimate of the ball's motion: mean and covariance of the Kalman state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MotionEstimate {
    /// Position, velocity and acceleration of x and of y.
    pub axes: [[f64; 3]; 2],
    /// Covariance of one axis; both axes have the same.
    pub covariance: Matrix,
}

impl MotionEstimate {
    /// Creates the estimate of a ball at rest at a measured position; `variance` is the measurement noise, px².
    pub fn from_position(position: [f64; 2], variance: f64) -> Self {
        let [v, a] = INITIAL_STD.map(|deviation| deviation * deviation);
        Self {
            axes: position.map(|value| [value, 0.0, 0.0]),
            covariance: [[variance, 0.0, 0.0], [0.0, v, 0.0], [0.0, 0.0, a]],
        }
    }

    /// Returns the position, px.
    pub fn position(&self) -> [f64; 2] {
        self.axes.map(|axis| axis[0])
    }

    /// Returns the velocity, px/frame.
    pub fn velocity(&self) -> [f64; 2] {
        self.axes.map(|axis| axis[1])
    }

    /// Returns the variance of the position on one axis, px².
    pub fn position_variance(&self) -> f64 {
        self.covariance[0][0]
    }

    /// Predicts the state `frames` later; `process_noise` is the variance that the acceleration gains per frame,
    /// (px/frame²)².
    pub fn predict(&mut self, frames: f64, process_noise: f64) {
        let f = transition(frames);
        for axis in &mut self.axes {
            *axis = multiply_vector(&f, axis);
        }
        self.covariance = multiply(&multiply(&f, &self.covariance), &transpose(&f));
        add_assign(&mut self.covariance, &process_noise_covariance(frames, process_noise));
    }

    /// Inflates the covariance for a kick at a uniformly distributed time within the last `frames`; `speed_std` is the
    /// standard deviation of the added speed per axis, px/frame.
    pub fn inflate_for_kick(&mut self, frames: f64, speed_std: f64) {
        let v = speed_std * speed_std;
        let (pv, p) = (v * frames / 2.0, v * frames * frames / 3.0);
        add_assign(&mut self.covariance, &[[p, pv, 0.0], [pv, v, 0.0], [0.0, 0.0, INITIAL_STD[1] * INITIAL_STD[1]]]);
    }

    /// Updates the state with a measured position; `variance` is the measurement noise, px².
    pub fn update(&mut self, position: [f64; 2], variance: f64) {
        let column = self.covariance.map(|row| row[0]);
        let innovation_variance = column[0] + variance;
        for (axis, measured) in self.axes.iter_mut().zip(position) {
            let innovation = measured - axis[0];
            for (value, covariance) in axis.iter_mut().zip(column) {
                *value += covariance / innovation_variance * innovation;
            }
            for (value, bound) in axis[1..].iter_mut().zip(STATE_BOUNDS) {
                *value = value.clamp(-bound, bound);
            }
        }
        let row = self.covariance[0];
        for (values, gain_numerator) in self.covariance.iter_mut().zip(column) {
            for (value, covariance) in values.iter_mut().zip(row) {
                *value -= gain_numerator / innovation_variance * covariance;
            }
        }
    }
}

/// Returns the state transition matrix of `frames`.
pub fn transition(frames: f64) -> Matrix {
    let decay = (-frames / ACCELERATION_TIME_CONSTANT).exp();
    let velocity_gain = ACCELERATION_TIME_CONSTANT * (1.0 - decay);
    [[1.0, frames, ACCELERATION_TIME_CONSTANT * (frames - velocity_gain)], [0.0, 1.0, velocity_gain], [0.0, 0.0, decay]]
}

/// Returns the process noise covariance that a random walk of the acceleration adds in `frames`.
pub fn process_noise_covariance(frames: f64, process_noise: f64) -> Matrix {
    let t = frames;
    let [pp, pv, pa] = [t.powi(5) / 20.0, t.powi(4) / 8.0, t.powi(3) / 6.0].map(|value| value * process_noise);
    let [vv, va, aa] = [t.powi(3) / 3.0, t * t / 2.0, t].map(|value| value * process_noise);
    [[pp, pv, pa], [pv, vv, va], [pa, va, aa]]
}

/// Multiplies a matrix by a column vector.
pub fn multiply_vector(a: &Matrix, x: &[f64; 3]) -> [f64; 3] {
    a.map(|row| row[0] * x[0] + row[1] * x[1] + row[2] * x[2])
}

/// Multiplies two matrices.
pub fn multiply(a: &Matrix, b: &Matrix) -> Matrix {
    a.map(|row| std::array::from_fn(|j| (0..3).map(|k| row[k] * b[k][j]).sum()))
}

/// Transposes a matrix.
pub fn transpose(a: &Matrix) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
}

fn add_assign(a: &mut Matrix, b: &Matrix) {
    a.as_flattened_mut().iter_mut().zip(b.as_flattened()).for_each(|(a, b)| *a += b);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters the positions that a function gives for a list of times.
    fn filter_positions(times: &[f64], position: impl Fn(f64) -> [f64; 2]) -> MotionEstimate {
        let mut motion = MotionEstimate::from_position(position(times[0]), 3.0);
        for two in times.windows(2) {
            motion.predict(two[1] - two[0], 0.01);
            motion.update(position(two[1]), 3.0);
        }
        motion
    }

    #[test]
    fn velocity_is_estimated_at_any_frame_rate() {
        for step in [0.5, 1.0, 2.0] {
            let times: Vec<f64> = (0..60).map(|i| f64::from(i) * step).collect();
            let motion = filter_positions(&times, |t| [100.0 + 6.0 * t, 500.0 - 2.0 * t]);
            let [vx, vy] = motion.velocity();
            assert!((vx - 6.0).abs() < 0.2 && (vy + 2.0).abs() < 0.1, "{step}: {vx} {vy}");
        }
    }

    #[test]
    fn one_long_prediction_equals_many_short_ones() {
        let times: Vec<f64> = (0..40).map(f64::from).collect();
        let mut single = filter_positions(&times, |t| [t * t * 0.1, 0.0]);
        let mut repeated = single.clone();
        single.predict(6.0, 0.0);
        (0..12).for_each(|_| repeated.predict(0.5, 0.0));
        for (a, b) in single.axes[0].iter().zip(repeated.axes[0]) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        assert!((single.position_variance() - repeated.position_variance()).abs() < 1e-6 * single.position_variance());
    }

    #[test]
    fn a_kick_raises_the_gain_of_the_next_measurement() {
        let times: Vec<f64> = (0..40).map(f64::from).collect();
        let at_rest = filter_positions(&times, |_| [0.0, 0.0]);
        let after = |kick: bool| {
            let mut motion = at_rest.clone();
            motion.predict(1.0, 0.01);
            if kick {
                motion.inflate_for_kick(1.0, 15.0);
            }
            motion.update([15.0, 0.0], 3.0);
            motion.velocity()[0]
        };
        assert!(after(false) < 3.0 && after(true) > 10.0, "{} {}", after(false), after(true));
    }
}
