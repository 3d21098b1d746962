//! Whether a row of motion is a body's, and the track's own.

use sideline_api::tables::{JOINTS, Motion};

use crate::tracks::MOTION;

/// Where a moment's accelerations begin.
const ACCELERATION: usize = MOTION / 2;
/// The left shoulder: from here on MediaPipe's joints are left and right in turn.
const SHOULDER: usize = 11;
/// Left and right were exchanged where their velocities' sums are less than this share of the velocities. On clips of two
/// athletes and of boxing: 0.14 to 0.25 where they were, 0.7 to 0.9 where a track began.
const OPPOSITE: f32 = 0.4;

/// What a row of motion is of.
pub enum Reading {
    /// A body that moves: [`MOTION`] values, without joints that were misread.
    Body(Vec<f32>),
    /// A body of which the pose model exchanged left and right: nothing of the row is true.
    Exchanged,
    /// Another body than before.
    Jump,
}

impl Reading {
    /// Tells what a row is of; joints faster than `max_speed` (torso lengths per second) were misread.
    pub fn of(row: &Motion, max_speed: f32) -> Self {
        let mut values = vec![f32::NAN; MOTION];
        let (mut known, mut leaping) = (0, 0);
        for (joint, (velocity, acceleration)) in row.velocity.iter().zip(&row.acceleration).enumerate() {
            let speed = norm(velocity);
            known += usize::from(!speed.is_nan());
            leaping += usize::from(speed > max_speed / 2.0);
            if speed > max_speed {
                continue;
            }
            let finite = |value: &f32| if value.is_finite() { *value } else { f32::NAN };
            for axis in 0..3 {
                values[3 * joint + axis] = finite(&velocity[axis]);
                values[ACCELERATION + 3 * joint + axis] = finite(&acceleration[axis]);
            }
        }
        if 2 * leaping <= known {
            return Reading::Body(values);
        }
        // Who changes places with whom goes the other's way back: the sum of both velocities is about nothing.
        let (mut sums, mut speeds) = (0.0, 0.0);
        for left in (SHOULDER..JOINTS - 1).step_by(2) {
            let (left, right) = (row.velocity[left], row.velocity[left + 1]);
            let sum = norm(&[left[0] + right[0], left[1] + right[1], left[2] + right[2]]);
            if sum.is_finite() {
                sums += sum;
                speeds += norm(&left) + norm(&right);
            }
        }
        if sums < OPPOSITE * speeds { Reading::Exchanged } else { Reading::Jump }
    }
}

fn norm(vector: &[f32; 3]) -> f32 {
    vector.iter().map(|value| value * value).sum::<f32>().sqrt()
}
