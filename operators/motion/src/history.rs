//! Recent poses of one track, and the motion computed from them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_sport::{
    body::{HIPS, TorsoScale, midpoint, torso_length},
    tables::{JOINTS, Motion, Pose},
};
use sideline_vision::savitzky_golay::{DerivativeWeights, derivative_weights};

use crate::{MotionConfig, angles::angles};

/// Samples kept for a fit even if they are older than the window: a quadratic has three coefficients.
const MIN_FIT_SAMPLES: usize = 3;

/// Recent poses of one track.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TrackHistory {
    /// Poses of the window, oldest first.
    samples: VecDeque<Sample>,
    /// Number of consecutive samples up to the newest in which each joint is visible.
    runs: Vec<usize>,
    /// Torso length, meters.
    scale: TorsoScale,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sample {
    /// Media time, ns.
    pts: i64,
    /// Positions of the 33 joints relative to the hips, meters.
    joints: Vec<[f32; 3]>,
}

impl TrackHistory {
    /// Returns the media time of the last pose, ns.
    pub fn last_seen(&self) -> i64 {
        self.samples.back().map_or(i64::MIN / 2, |sample| sample.pts)
    }

    /// Adds a pose and computes the motion of the track; `now` is media time, ns.
    pub fn update(&mut self, pose: &Pose, now: i64, config: &MotionConfig) -> Motion {
        let joints = hip_centered(pose, config.visibility);
        self.push_sample(&joints, now, (config.window * 1e9) as i64);
        let torso = self.scale.update(torso_length(&joints), now);

        let mut motion = Motion {
            track: pose.track,
            velocity: [[f32::NAN; 3]; JOINTS],
            acceleration: [[f32::NAN; 3]; JOINTS],
            joint_angles: angles(&joints),
            velocity_norm: f32::NAN,
        };
        // Joints with equally many samples share their weights; most frames have a single set.
        let mut weights_by_run: Vec<Option<DerivativeWeights>> = vec![None; self.samples.len() + 1];
        let mut squares = 0.0;
        for (joint, run) in self.runs.iter().enumerate().filter(|(_, run)| **run >= 2) {
            let first = self.samples.len() - run;
            let weights = weights_by_run[*run].get_or_insert_with(|| {
                let times = self.samples.range(first..).map(|sample| (sample.pts - now) as f64 * 1e-9);
                derivative_weights(&times.collect::<Vec<_>>())
            });
            let derivative = |weights: &[f64], axis: usize| {
                let terms = self.samples.range(first..).zip(weights).map(|(s, w)| w * f64::from(s.joints[joint][axis]));
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

    /// Adds a sample and removes those that no later fit uses.
    fn push_sample(&mut self, joints: &[[f32; 3]; JOINTS], now: i64, window: i64) {
        self.runs.resize(JOINTS, 0);
        // Of two poses with the same time the later one counts: a fit cannot use both.
        if self.samples.pop_back_if(|last| last.pts >= now).is_some() {
            self.runs.iter_mut().for_each(|run| *run = run.saturating_sub(1));
        }
        // A tolerance of half a millisecond: 0.1 s are four samples at 30 frames per second, however the times are
        // rounded.
        while self.samples.len() >= MIN_FIT_SAMPLES && self.samples[0].pts < now - window - 500_000 {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { pts: now, joints: joints.to_vec() });
        for (run, joint) in self.runs.iter_mut().zip(joints) {
            *run = if joint[0].is_nan() { 0 } else { (*run + 1).min(self.samples.len()) };
        }
    }
}

/// Returns the joints of a pose relative to the midpoint of the hips, meters; NaN for joints that are not visible.
///
/// The visibility of the hips does not matter for the midpoint: the model puts its origin there in any case.
fn hip_centered(pose: &Pose, visibility: f32) -> [[f32; 3]; JOINTS] {
    let center = midpoint(&pose.world, HIPS);
    std::array::from_fn(|joint| {
        let position: [f32; 3] = std::array::from_fn(|axis| pose.world[joint][axis] - center[axis]);
        // `>=` is false for NaN, so an unknown visibility is not visible.
        let is_visible = pose.joints[joint][3] >= visibility && position.iter().all(|value| value.is_finite());
        if is_visible { position } else { [f32::NAN; 3] }
    })
}
