//! Plausibility check of a row of motion: misread joints, swapped sides, and jumps to another body.

use sideline_sport::tables::{JOINTS, Motion};

use crate::tracks::MOTION;

/// Index of the first acceleration in a sample.
const ACCELERATION: usize = MOTION / 2;
/// The left shoulder: from here on MediaPipe's joints alternate between left and right.
const FIRST_PAIRED_JOINT: usize = 11;
/// Ratio of the summed vector sums of left and right velocities to the summed speeds, below which the sides were
/// swapped. On clips of two athletes and of boxing it was 0.14 to 0.25 for swapped sides, and 0.7 to 0.9 where a track
/// moved to another body.
const MAX_SWAPPED_RATIO: f32 = 0.4;

/// Result of the check of a row of motion.
pub enum MotionCheck {
    /// Motion of one body: [`MOTION`] values, NaN for misread joints.
    Plausible(Vec<f32>),
    /// The pose model swapped left and right: no value of the row is usable.
    SidesSwapped,
    /// The track moved to another body.
    Jump,
}

impl MotionCheck {
    /// Checks a row; a joint faster than `max_speed` (torso lengths per second) was misread.
    pub fn new(row: &Motion, max_speed: f32) -> Self {
        let mut values = vec![f32::NAN; MOTION];
        let (mut known, mut fast) = (0, 0);
        for (joint, (velocity, acceleration)) in row.velocity.iter().zip(&row.acceleration).enumerate() {
            let speed = norm(velocity);
            known += usize::from(!speed.is_nan());
            fast += usize::from(speed > max_speed / 2.0);
            if speed > max_speed {
                continue;
            }
            let finite = |value: &f32| if value.is_finite() { *value } else { f32::NAN };
            for axis in 0..3 {
                values[3 * joint + axis] = finite(&velocity[axis]);
                values[ACCELERATION + 3 * joint + axis] = finite(&acceleration[axis]);
            }
        }
        if 2 * fast <= known {
            return MotionCheck::Plausible(values);
        }
        // Joints that change places move in opposite directions, so the sum of their velocities is about zero.
        let (mut sums, mut speeds) = (0.0, 0.0);
        for left in (FIRST_PAIRED_JOINT..JOINTS - 1).step_by(2) {
            let (left, right) = (row.velocity[left], row.velocity[left + 1]);
            let sum = norm(&[left[0] + right[0], left[1] + right[1], left[2] + right[2]]);
            if sum.is_finite() {
                sums += sum;
                speeds += norm(&left) + norm(&right);
            }
        }
        if sums < MAX_SWAPPED_RATIO * speeds { MotionCheck::SidesSwapped } else { MotionCheck::Jump }
    }
}

fn norm(vector: &[f32; 3]) -> f32 {
    vector.iter().map(|value| value * value).sum::<f32>().sqrt()
}
