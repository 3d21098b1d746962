//! Geometry of the human body in the tables: names of the 33 joints, and the torso length, the unit of lengths on a body.
//!
//! A length in torso lengths depends neither on the size of the image nor on the distance of the camera nor on the size of
//! the person.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::tables::{ANGLES, JOINTS, Pose};

/// Names of the joints, in the order of the tables: MediaPipe's BlazePose topology.
pub const JOINT_NAMES: [&str; JOINTS] = [
    "nose",
    "left_eye_inner",
    "left_eye",
    "left_eye_outer",
    "right_eye_inner",
    "right_eye",
    "right_eye_outer",
    "left_ear",
    "right_ear",
    "mouth_left",
    "mouth_right",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_pinky",
    "right_pinky",
    "left_index",
    "right_index",
    "left_thumb",
    "right_thumb",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
    "left_heel",
    "right_heel",
    "left_foot_index",
    "right_foot_index",
];

/// Names of the joint angles, in the order of the column `joint_angles` of [`Motion`](crate::tables::Motion).
pub const ANGLE_NAMES: [&str; ANGLES] = [
    "left_elbow",
    "right_elbow",
    "left_armpit",
    "right_armpit",
    "left_shoulder",
    "right_shoulder",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_groin",
    "right_groin",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
    "left_neck",
    "right_neck",
    "left_head",
    "right_head",
];

/// Indices of the shoulders, left and right.
pub const SHOULDERS: [usize; 2] = [11, 12];
/// Indices of the hips, left and right.
pub const HIPS: [usize; 2] = [23, 24];

/// Returns the midpoint of two joints; NaN if one of them is NaN.
pub fn midpoint(joints: &[[f32; 3]; JOINTS], [a, b]: [usize; 2]) -> [f32; 3] {
    std::array::from_fn(|axis| (joints[a][axis] + joints[b][axis]) / 2.0)
}

/// Returns the torso length, from the midpoint of the shoulders to that of the hips, in the unit of the joints; NaN if one
/// of the four joints has no x or y. Without depth (z is NaN) it is the length in the image plane.
pub fn torso_length(joints: &[[f32; 3]; JOINTS]) -> f32 {
    let (top, bottom) = (midpoint(joints, SHOULDERS), midpoint(joints, HIPS));
    let flat = (top[0] - bottom[0]).hypot(top[1] - bottom[1]);
    let depth = top[2] - bottom[2];
    if depth.is_finite() { flat.hypot(depth) } else { flat }
}

/// Returns x, y, z of the joints in the image, all in frame heights, so that the unit is the same along every axis. NaN for
/// joints that are less visible than `min_visibility`.
pub fn image_joints(pose: &Pose, min_visibility: f32) -> [[f32; 3]; JOINTS] {
    // Not `<`: a visibility of NaN counts as not visible.
    pose.joints.map(|[x, y, z, visibility]| match visibility >= min_visibility {
        true => [x * pose.aspect, y, z * pose.aspect],
        false => [f32::NAN; 3],
    })
}

/// Media time over which the median is taken, ns.
const MEDIAN_WINDOW_NS: i64 = 2_000_000_000;

/// Scale of a person: the median torso length of the last two seconds. The median is robust when the person bends, which
/// shortens the torso in the image for a moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TorsoScale {
    /// Media time (ns) and torso length of the observations in the window.
    lengths: VecDeque<(i64, f32)>,
}

impl TorsoScale {
    /// Adds a torso length (NaN for none) and returns the median over the window; NaN if the window is empty.
    ///
    /// `now` is media time in nanoseconds and never decreases.
    pub fn update(&mut self, length: f32, now: i64) -> f64 {
        while self.lengths.front().is_some_and(|(pts, _)| now - pts > MEDIAN_WINDOW_NS) {
            self.lengths.pop_front();
        }
        if length.is_finite() && length > 0.0 {
            self.lengths.push_back((now, length));
        }
        let mut lengths: Vec<f32> = self.lengths.iter().map(|(_, length)| *length).collect();
        if lengths.is_empty() {
            return f64::NAN;
        }
        let half = lengths.len() / 2;
        f64::from(*lengths.select_nth_unstable_by(half, f32::total_cmp).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torso_length_is_three_dimensional_only_where_depth_is_known() {
        let mut joints = [[0.0; 3]; JOINTS];
        for (joint, x) in SHOULDERS.into_iter().zip([-1.0, 1.0]) {
            joints[joint] = [x, -3.0, 4.0];
        }
        assert_eq!(torso_length(&joints), 5.0);
        joints[11][2] = f32::NAN;
        assert_eq!(torso_length(&joints), 3.0);
        joints[11][0] = f32::NAN;
        assert!(torso_length(&joints).is_nan());
    }

    #[test]
    fn the_scale_ignores_short_bends_and_drops_lengths_older_than_two_seconds() {
        let mut scale = TorsoScale::default();
        assert!(scale.update(f32::NAN, 0).is_nan());
        for (now, length, expected) in [(0, 2.0, 2.0), (1, 2.0, 2.0), (2, 0.5, 2.0), (3, f32::NAN, 2.0)] {
            assert_eq!(scale.update(length, now), expected);
        }
        assert_eq!(scale.update(1.0, 4_000_000_000), 1.0, "more than two seconds later");
        assert!(scale.update(f32::NAN, 9_000_000_000).is_nan());
    }

    #[test]
    fn image_joints_have_the_same_unit_along_both_axes() {
        let mut joints = [[0.5, 0.5, 0.0, 1.0]; JOINTS];
        joints[1] = [0.6, 0.5, 0.1, 0.2];
        let pose = Pose { aspect: 2.0, joints, ..Pose::default() };
        let joints = image_joints(&pose, 0.5);
        assert_eq!(joints[0], [1.0, 0.5, 0.0]);
        assert!(joints[1].iter().all(|value| value.is_nan()), "visibility 0.2 is below 0.5");
    }
}
