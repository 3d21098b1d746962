//! The other method: particles in place of one Gaussian (a bootstrap filter, Gordon, Salmond and Smith 1993).
//!
//! Each particle may be kicked by itself, so that what may have happened to the ball in a gap is many places, not one
//! wide one. Their mean and covariance are what the rest of the operator sees.

use serde::{Deserialize, Serialize};
use sideline_api::Random;

use crate::{
    motion::{Matrix, Motion, apply, transition},
    trail::KICK_SPEED,
};

/// Share of particles that are kicked in a frame.
const KICKED: f64 = 0.02;

/// Some hundred places where the ball may be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cloud {
    /// Place, velocity, acceleration of x and of y.
    particles: Vec<[[f64; 3]; 2]>,
}

impl Cloud {
    /// As many particles around an estimate.
    pub fn around(motion: &Motion, count: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let spread = triangle(&motion.covariance);
        let particle = |_| {
            motion.axes.map(|mean| {
                let normal = [(); 3].map(|()| normal(&mut random));
                let by = apply(&spread, &normal);
                std::array::from_fn(|i| mean[i] + by[i])
            })
        };
        Self { particles: (0..count.max(2)).map(particle).collect() }
    }

    /// Moves every particle on by some frames.
    pub fn predict(&mut self, frames: f64, noise: f64, seed: u64) {
        let mut random = Random::new(seed ^ 0x5eed);
        let step = transition(frames);
        let (push, kicked) = ((noise * frames).sqrt(), KICKED * frames);
        for particle in &mut self.particles {
            let kick = if random.share() < kicked { KICK_SPEED } else { 0.0 };
            for axis in particle {
                axis[1] += kick * normal(&mut random);
                axis[2] += push * normal(&mut random);
                *axis = apply(&step, axis);
            }
        }
    }

    /// Weighs the particles by a measured place and draws them anew, evenly by weight; where none is near it, around what the
    /// Kalman filter made of it.
    pub fn update(&mut self, place: [f64; 2], noise: f64, otherwise: &Motion, kicked: bool, seed: u64) {
        let weight = |particle: &[[f64; 3]; 2]| {
            let (dx, dy) = (particle[0][0] - place[0], particle[1][0] - place[1]);
            (-(dx * dx + dy * dy) / (2.0 * noise)).exp()
        };
        let weights: Vec<f64> = self.particles.iter().map(weight).collect();
        let (sum, squares) = weights.iter().fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
        let count = self.particles.len();
        // Fewer than a twentieth of them count: the cloud knows less of it than a Gaussian.
        if kicked || sum < 1e-9 || sum * sum / squares < count as f64 / 20.0 {
            *self = Self::around(otherwise, count, seed);
            return;
        }
        let mut random = Random::new(seed ^ 0xd4a3);
        let step = sum / count as f64;
        let (mut mark, mut passed, mut drawn) = (step * random.share(), 0.0, Vec::with_capacity(count));
        for (particle, weight) in self.particles.iter().zip(&weights) {
            passed += weight;
            while mark < passed && drawn.len() < count {
                drawn.push(*particle);
                mark += step;
            }
        }
        // Rounding may leave the last place free.
        while drawn.len() < count {
            drawn.push(self.particles[count - 1]);
        }
        self.particles = drawn;
    }

    /// Mean and covariance: of both axes together, as the Kalman filter has them.
    pub fn motion(&self) -> Motion {
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
        Motion { axes, covariance }
    }
}

/// The lower triangle whose square is the matrix (Cholesky).
fn triangle(a: &Matrix) -> Matrix {
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

/// About normal, from four even numbers: sums are the same on every machine.
fn normal(random: &mut Random) -> f64 {
    ((0..4).map(|_| random.share()).sum::<f64>() - 2.0) * 3f64.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_stands_for_the_estimate_it_was_made_of() {
        let mut motion = Motion::at([100.0, 50.0], 9.0);
        motion.predict(2.0, 0.01);
        let of = Cloud::around(&motion, 4000, 7).motion();
        assert!((of.axes[0][0] - 100.0).abs() < 1.0 && (of.axes[1][0] - 50.0).abs() < 1.0, "{:?}", of.axes);
        assert!((of.variance() / motion.variance() - 1.0).abs() < 0.1, "{} {}", of.variance(), motion.variance());
    }

    #[test]
    fn particles_gather_where_the_ball_is_seen_and_learn_its_velocity() {
        let mut cloud = Cloud::around(&Motion::at([0.0, 0.0], 9.0), 400, 1);
        for frame in 1..40 {
            cloud.predict(1.0, 0.01, frame);
            let place = [5.0 * frame as f64, 0.0];
            let mut otherwise = cloud.motion();
            otherwise.update(place, 4.0);
            cloud.update(place, 4.0, &otherwise, false, frame);
        }
        let motion = cloud.motion();
        assert!((motion.place()[0] - 195.0).abs() < 5.0 && (motion.velocity()[0] - 5.0).abs() < 1.5, "{motion:?}");
    }

    #[test]
    fn a_seed_gives_the_same_particles() {
        let made = || {
            let mut cloud = Cloud::around(&Motion::at([0.0, 0.0], 9.0), 50, 3);
            cloud.predict(1.0, 0.01, 4);
            cloud.motion()
        };
        assert_eq!(made(), made());
    }
}
