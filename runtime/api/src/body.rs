//! The human body as the tables have it: names of the 33 joints, and the torso, in whose length bodies are measured.
//!
//! A length in torsos does not depend on the picture's size, on how far the camera is, or on whether a child or a
//! heavyweight moves.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::tables::{JOINTS, Pose};

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

/// The shoulders, left and right.
pub const SHOULDERS: [usize; 2] = [11, 12];
/// The hips, left and right.
pub const HIPS: [usize; 2] = [23, 24];

/// The point between two joints; NaN where one of them is.
pub fn middle(joints: &[[f32; 3]; JOINTS], [a, b]: [usize; 2]) -> [f32; 3] {
    std::array::from_fn(|axis| (joints[a][axis] + joints[b][axis]) / 2.0)
}

/// Length of the torso, middle of the shoulders to middle of the hips, in the unit of the joints; NaN where one of the
/// four is not seen. Without depth (z is NaN) it is the length across the picture.
pub fn torso(joints: &[[f32; 3]; JOINTS]) -> f32 {
    let (top, bottom) = (middle(joints, SHOULDERS), middle(joints, HIPS));
    let flat = (top[0] - bottom[0]).hypot(top[1] - bottom[1]);
    let depth = top[2] - bottom[2];
    if depth.is_finite() { flat.hypot(depth) } else { flat }
}

/// The joints in the picture: x, y, z, all in frame heights, so that one unit is the same along every axis. NaN where a
/// joint is seen less surely than `visibility`.
pub fn in_picture(pose: &Pose, visibility: f32) -> [[f32; 3]; JOINTS] {
    // Not `<`: NaN is not visible either.
    pose.joints.map(|[x, y, z, seen]| match seen >= visibility {
        true => [x * pose.aspect, y, z * pose.aspect],
        false => [f32::NAN; 3],
    })
}

/// Media time for which torso lengths are remembered, ns.
const MEMORY: i64 = 2_000_000_000;

/// How large a person is: the median torso of the last two seconds, since a body that bends is not one that shrinks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Scale {
    /// Media time (ns) and length of each torso seen.
    torsos: VecDeque<(i64, f32)>,
}

impl Scale {
    /// Takes in the torso's length now (NaN when not seen); the length to measure with, NaN before it was seen once.
    ///
    /// `now` is media time in nanoseconds and never goes back.
    pub fn see(&mut self, torso: f32, now: i64) -> f64 {
        while self.torsos.front().is_some_and(|(pts, _)| now - pts > MEMORY) {
            self.torsos.pop_front();
        }
        if torso.is_finite() && torso > 0.0 {
            self.torsos.push_back((now, torso));
        }
        let mut lengths: Vec<f32> = self.torsos.iter().map(|(_, length)| *length).collect();
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
    fn a_torso_is_measured_with_and_without_depth() {
        let mut joints = [[0.0; 3]; JOINTS];
        for (joint, x) in SHOULDERS.into_iter().zip([-1.0, 1.0]) {
            joints[joint] = [x, -3.0, 4.0];
        }
        assert_eq!(torso(&joints), 5.0);
        joints[11][2] = f32::NAN;
        assert_eq!(torso(&joints), 3.0);
        joints[11][0] = f32::NAN;
        assert!(torso(&joints).is_nan());
    }

    #[test]
    fn a_bend_does_not_change_the_scale_and_the_old_is_forgotten() {
        let mut scale = Scale::default();
        assert!(scale.see(f32::NAN, 0).is_nan());
        for (now, torso, expected) in [(0, 2.0, 2.0), (1, 2.0, 2.0), (2, 0.5, 2.0), (3, f32::NAN, 2.0)] {
            assert_eq!(scale.see(torso, now), expected);
        }
        assert_eq!(scale.see(1.0, 4_000_000_000), 1.0, "more than two seconds later");
        assert!(scale.see(f32::NAN, 9_000_000_000).is_nan());
    }

    #[test]
    fn one_unit_is_the_same_along_both_axes_of_the_picture() {
        let mut joints = [[0.5, 0.5, 0.0, 1.0]; JOINTS];
        joints[1] = [0.6, 0.5, 0.1, 0.2];
        let (fighter, model) = (String::new(), String::new());
        let pose = Pose {
            track: 1,
            fighter,
            x1: 0.0,
            y1: 0.0,
            x2: 1.0,
            y2: 1.0,
            score: 1.0,
            model,
            aspect: 2.0,
            joints,
            world: [[0.0; 3]; JOINTS],
        };
        let places = in_picture(&pose, 0.5);
        assert_eq!(places[0], [1.0, 0.5, 0.0]);
        assert!(places[1].iter().all(|value| value.is_nan()), "hardly seen");
    }
}
