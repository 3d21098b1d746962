//! Estimated hips and shoulders of a person with markers only on head, arms and legs.
//!
//! Segment lengths as shares of the body height are those of Drillis and Contini (Body Segment Parameters, 1966) as in
//! Winter, Biomechanics and Motor Control of Human Movement, 4th ed., table 4.1 and figure 4.1: the knee is at 0.285 of
//! the height above the ground, the hip at 0.530, the shoulder at 0.818. A thigh is therefore 0.245 and the torso
//! 0.288.

use super::{HEAD, KNEES, Markers, RawRecording, median};
use crate::moves::{FRAME_RATE, HIPS, Joints, SHOULDERS};

/// Length of a thigh, of the torso, and height of the knees above the ground, as shares of the body height.
const THIGH: f64 = 0.245;
const TORSO: f64 = 0.288;
const KNEE_HEIGHT: f64 = 0.285;

/// Estimates a person's height, mm: the median height of the head's marker in the recording in which they stand;
/// without one, the 75th percentile over all recordings.
pub fn height(raws: &[RawRecording]) -> f64 {
    let heads =
        |raw: &RawRecording| raw.lines.iter().map(|line| line[HEAD][2]).filter(|z| z.is_finite()).collect::<Vec<_>>();
    let standing =
        raws.iter().find(|raw| raw.class.eq_ignore_ascii_case("standing")).map(|raw| median(&mut heads(raw)));
    standing.filter(|height| height.is_finite()).unwrap_or_else(|| {
        let mut all: Vec<f64> = raws.iter().flat_map(heads).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() * 3 / 4).copied().unwrap_or(f64::NAN)
    })
}

/// Estimates the center of the hips: on the line from the center of the knees to the head, at the same share of it as
/// in a standing person. Its height follows the lower knee, since a knee that is raised to strike does not lift the
/// hips. NaN where the head or a knee is not seen.
pub fn hips(markers: &Markers) -> [f64; 3] {
    let (head, [left, right]) = (markers[HEAD], KNEES.map(|knee| markers[knee]));
    std::array::from_fn(|axis| {
        let knees = match axis {
            2 if left[2] < right[2] => left[2],
            2 => right[2],
            _ => (left[axis] + right[axis]) / 2.0,
        };
        knees + THIGH / (1.0 - KNEE_HEIGHT) * (head[axis] - knees)
    })
}

/// Converts frames with estimated hips and unknown shoulders into poses that the operators can normalize.
///
/// The operators express joints relative to the center of the hips and divide them by the torso length, for which they
/// need hips and shoulders. But these were not measured here, and no model must learn from their movement. They are
/// therefore visible in one frame per second only, with the torso length that follows from the height: the operators
/// keep a torso for two seconds, while a velocity needs a joint in two consecutive frames. In the other frames all
/// joints are relative to the hips, which are at the origin.
pub fn normalize(mut frames: Vec<Joints>, height: f64) -> Vec<Joints> {
    let torso = (TORSO * height * 1e-3) as f32;
    let mut last_visible = None;
    for (number, joints) in frames.iter_mut().enumerate() {
        let hips = joints[HIPS[0]];
        for joint in joints.iter_mut() {
            *joint = std::array::from_fn(|axis| joint[axis] - hips[axis]);
        }
        let is_visible = hips[0].is_finite() && last_visible.is_none_or(|last| number - last >= FRAME_RATE as usize);
        if is_visible {
            last_visible = Some(number);
        }
        for (joint, y) in HIPS.into_iter().map(|hip| (hip, 0.0)).chain(SHOULDERS.map(|shoulder| (shoulder, -torso))) {
            joints[joint] = if is_visible { [0.0, y, 0.0] } else { [f32::NAN; 3] };
        }
    }
    frames
}
