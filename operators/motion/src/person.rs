//! What is remembered of one track, and the row that follows from it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_api::{
    body::{HIPS, Scale, middle, torso},
    fit::{Weights, weights},
    tables::{JOINTS, Motion, Pose},
};

use crate::{MotionConfig, angles::angles};

/// Samples that a fit never goes without, where they are there: a quadratic has three coefficients.
const LEAST: usize = 3;

/// A track's recent past.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Person {
    /// Poses of the window, oldest first.
    samples: VecDeque<Sample>,
    /// For each joint the number of samples, newest first and in a row, in which it was seen.
    runs: Vec<usize>,
    /// The torso's length in metres.
    scale: Scale,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sample {
    /// Media time, ns.
    pts: i64,
    /// 33 joints, hip-centred, metres.
    joints: Vec<[f32; 3]>,
}

impl Person {
    /// Media time at which the track was last seen, ns.
    pub fn seen(&self) -> i64 {
        self.samples.back().map_or(i64::MIN / 2, |sample| sample.pts)
    }

    /// Takes in a pose and says how the track moves.
    pub fn see(&mut self, pose: &Pose, now: i64, config: &MotionConfig) -> Motion {
        let joints = hip_centred(pose, config.visibility);
        self.remember(&joints, now, (config.window * 1e9) as i64);
        let torso = self.scale.see(torso(&joints), now);

        let mut motion = Motion {
            track: pose.track,
            fighter: pose.fighter.clone(),
            velocity: [[f32::NAN; 3]; JOINTS],
            acceleration: [[f32::NAN; 3]; JOINTS],
            joint_angles: angles(&joints),
            velocity_norm: f32::NAN,
        };
        // Joints that were seen equally long have the same weights: mostly there is one set.
        let mut known: Vec<Option<Weights>> = vec![None; self.samples.len() + 1];
        let mut squares = 0.0;
        for (joint, run) in self.runs.iter().enumerate().filter(|(_, run)| **run >= 2) {
            let past = self.samples.len() - run;
            let weights = known[*run].get_or_insert_with(|| {
                let times = self.samples.range(past..).map(|sample| (sample.pts - now) as f64 * 1e-9);
                weights(&times.collect::<Vec<_>>())
            });
            let derivative = |weights: &[f64], axis: usize| {
                let terms = self.samples.range(past..).zip(weights).map(|(s, w)| w * f64::from(s.joints[joint][axis]));
                terms.sum::<f64>() / torso
            };
            for axis in 0..3 {
                let velocity = derivative(&weights.velocity, axis);
                motion.velocity[joint][axis] = velocity as f32;
                squares += velocity * velocity;
                if !weights.acceleration.is_empty() {
                    motion.acceleration[joint][axis] = derivative(&weights.acceleration, axis) as f32;
                }
            }
        }
        if self.runs.iter().any(|run| *run >= 2) {
            motion.velocity_norm = squares.sqrt() as f32;
        }
        motion
    }

    /// Adds a sample and lets go of those that no fit will use again.
    fn remember(&mut self, joints: &[[f32; 3]; JOINTS], now: i64, window: i64) {
        self.runs.resize(JOINTS, 0);
        // Two poses at one time: the later one counts, a fit cannot tell them apart.
        if self.samples.pop_back_if(|last| last.pts >= now).is_some() {
            self.runs.iter_mut().for_each(|run| *run = run.saturating_sub(1));
        }
        // Half a millisecond of tolerance: 0.1 s are four samples at 30 frames a second, however the times are rounded.
        while self.samples.len() >= LEAST && self.samples[0].pts < now - window - 500_000 {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { pts: now, joints: joints.to_vec() });
        for (run, joint) in self.runs.iter_mut().zip(joints) {
            *run = if joint[0].is_nan() { 0 } else { (*run + 1).min(self.samples.len()) };
        }
    }
}

/// Joints of a pose from the middle of the hips, metres; NaN where not seen.
///
/// The hips' own visibility does not matter for the middle: it is where the model puts its origin anyway.
fn hip_centred(pose: &Pose, visibility: f32) -> [[f32; 3]; JOINTS] {
    let centre = middle(&pose.world, HIPS);
    std::array::from_fn(|joint| {
        let place: [f32; 3] = std::array::from_fn(|axis| pose.world[joint][axis] - centre[axis]);
        // Not `<`: NaN is not visible either.
        let seen = pose.joints[joint][3] >= visibility && place.iter().all(|value| value.is_finite());
        if seen { place } else { [f32::NAN; 3] }
    })
}
