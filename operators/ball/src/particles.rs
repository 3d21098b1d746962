//! Particle filter in place of one Gaussian (a bootstrap filter: Gordon, Salmond and Smith 1993).
//!
//! Each particle may be kicked on its own, so the possible positions after a gap stay a multimodal set instead of one
//! wide Gaussian. The other modules see their mean and covariance.

use serde::{Deserialize, Serialize};
use sideline_api::Random;

use crate::{
    hypothesis::KICK_SPEED_STD,
    motion::{Matrix, MotionEstimate, multiply_vector, transition},
};

/// Probability per frame of 1/30 s that a particle is kicked.
const KICK_PROBABILITY_PER_FRAME: f64 = 0.02;

/// A set of equally weighted samples of the ball's motion.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ParticleSet {
    /// Position, velocity and acceleration of x and of y.
    particles: Vec<[[f64; 3]; 2]>,
}

impl ParticleSet {
    /// Draws `count` particles from the Gaussian of an estimate.
    pub fn sample(motion: &MotionEstimate, count: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let factor = cholesky(&motion.covariance);
        let particle = |_| {
            motion.axes.map(|mean| {
                let normals = [(); 3].map(|()| draw_normal(&mut random));
                let deviation = multiply_vector(&factor, &normals);
                std::array::from_fn(|i| mean[i] + deviation[i])
            })
        };
        Self { particles: (0..count.max(2)).map(particle).collect() }
    }

    /// Predicts every particle `frames` later; `process_noise` is the variance that the acceleration gains per frame.
    pub fn predict(&mut self, frames: f64, process_noise: f64, seed: u64) {
        let mut random = Random::new(seed ^ 0x5eed);
        let transition_matrix = transition(frames);
        let (acceleration_std, kick_probability) =
            ((process_noise * frames).sqrt(), KICK_PROBABILITY_PER_FRAME * frames);
        for particle in &mut self.particles {
            let kick_std = if random.uniform() < kick_probability { KICK_SPEED_STD } else { 0.0 };
            for axis in particle {
                axis[1] += kick_std * draw_normal(&mut random);
                axis[2] += acceleration_std * draw_normal(&mut random);
                *axis = multiply_vector(&transition_matrix, axis);
            }
        }
    }

    /// Weights the particles by a measured position and resamples them systematically. Where too few are near it, or
    /// after a kick, draws them from `fallback`, the Kalman filter's estimate.
    pub fn update(&mut self, position: [f64; 2], variance: f64, fallback: &MotionEstimate, kicked: bool, seed: u64) {
        let weight = |particle: &[[f64; 3]; 2]| {
            let (dx, dy) = (particle[0][0] - position[0], particle[1][0] - position[1]);
            (-(dx * dx + dy * dy) / (2.0 * variance)).exp()
        };
        let weights: Vec<f64> = self.particles.iter().map(weight).collect();
        let (sum, squares) = weights.iter().fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
        let count = self.particles.len();
        // The effective sample size is below a twentieth: the particles describe the posterior worse than a Gaussian.
        if kicked || sum < 1e-9 || sum * sum / squares < count as f64 / 20.0 {
            *self = Self::sample(fallback, count, seed);
            return;
        }
        let mut random = Random::new(seed ^ 0xd4a3);
        let step = sum / count as f64;
        let (mut pointer, mut cumulative, mut resampled) = (step * random.uniform(), 0.0, Vec::with_capacity(count));
        for (particle, weight) in self.particles.iter().zip(&weights) {
            cumulative += weight;
            while pointer < cumulative && resampled.len() < count {
                resampled.push(*particle);
                pointer += step;
            }
        }
        // Rounding may leave the last slot empty.
        while resampled.len() < count {
            resampled.push(self.particles[count - 1]);
        }
        self.particles = resampled;
    }

    /// Returns mean and covariance; one covariance for both axes, as in the Kalman filter.
    pub fn estimate(&self) -> MotionEstimate {
        let count = self.particles.len() as f64;
        let mut axes = [[0.0; 3]; 2];
        for particle in &self.particles {
            for (mean, value) in axes.as_flattened_mut().iter_mut().zip(particle.as_flattened()) {
                *mean += value / count;
            }
        }
        let mut covariance = Matrix::default();
        for particle in &self.particles {
            for (axis, mean) in particle.iter().zip(&axes) {
                for i in 0..3 {
                    for j in 0..3 {
                        covariance[i][j] += (axis[i] - mean[i]) * (axis[j] - mean[j]) / (2.0 * count);
                    }
                }
            }
        }
        MotionEstimate { axes, covariance }
    }
}

/// Returns the Cholesky factor: the lower triangular matrix L with L Lᵀ = `a`.
fn cholesky(a: &Matrix) -> Matrix {
    let mut l = Matrix::default();
    for i in 0..3 {
        for j in 0..=i {
            let rest = a[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
            l[i][j] = match () {
                () if i == j => rest.max(0.0).sqrt(),
                () if l[j][j] > 0.0 => rest / l[j][j],
                () => 0.0,
            };
        }
    }
    l
}

/// Draws an approximately standard normal number as a sum of four uniform ones, which is the same on every machine.
fn draw_normal(random: &mut Random) -> f64 {
    ((0..4).map(|_| random.uniform()).sum::<f64>() - 2.0) * 3f64.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn particles_reproduce_the_estimate_they_were_drawn_from() {
        let mut motion = MotionEstimate::from_position([100.0, 50.0], 9.0);
        motion.predict(2.0, 0.01);
        let estimate = ParticleSet::sample(&motion, 4000, 7).estimate();
        assert!(
            (estimate.axes[0][0] - 100.0).abs() < 1.0 && (estimate.axes[1][0] - 50.0).abs() < 1.0,
            "{:?}",
            estimate.axes
        );
        assert!(
            (estimate.position_variance() / motion.position_variance() - 1.0).abs() < 0.1,
            "{} {}",
            estimate.position_variance(),
            motion.position_variance()
        );
    }

    #[test]
    fn particles_converge_on_the_measured_position_and_velocity() {
        let mut particles = ParticleSet::sample(&MotionEstimate::from_position([0.0, 0.0], 9.0), 400, 1);
        for frame in 1..40 {
            particles.predict(1.0, 0.01, frame);
            let position = [5.0 * frame as f64, 0.0];
            let mut fallback = particles.estimate();
            fallback.update(position, 4.0);
            particles.update(position, 4.0, &fallback, false, frame);
        }
        let motion = particles.estimate();
        assert!((motion.position()[0] - 195.0).abs() < 5.0 && (motion.velocity()[0] - 5.0).abs() < 1.5, "{motion:?}");
    }

    #[test]
    fn equal_seeds_give_equal_particles() {
        let made = || {
            let mut particles = ParticleSet::sample(&MotionEstimate::from_position([0.0, 0.0], 9.0), 50, 3);
            particles.predict(1.0, 0.01, 4);
            particles.estimate()
        };
        assert_eq!(made(), made());
    }
}
