//! Hips and shoulders of a person who has markers on head, arms and legs alone.
//!
//! Shares of the height are those of Drillis and Contini (Body Segment Parameters, 1966) as in Winter, Biomechanics and
//! Motor Control of Human Movement, 4th ed., table 4.1 and figure 4.1: the knee is 0.285 of the height above the ground,
//! the hip 0.530, the shoulder 0.818. So a thigh is 0.245 and the torso 0.288.

use super::{HEAD, KNEES, Markers, Raw, median};
use crate::moves::{HIPS, Joints, RATE, SHOULDERS};

const THIGH: f64 = 0.245;
const TORSO: f64 = 0.288;
/// Height of the knees.
const KNEE: f64 = 0.285;

/// A person's height, mm: that of the head's marker, most of the time, in the recording in which they stand; else the
/// height below which the head is three quarters of the time.
pub fn height(raws: &[Raw]) -> f64 {
    let heads = |raw: &Raw| raw.lines.iter().map(|line| line[HEAD][2]).filter(|z| z.is_finite()).collect::<Vec<_>>();
    let standing =
        raws.iter().find(|raw| raw.class.eq_ignore_ascii_case("standing")).map(|raw| median(&mut heads(raw)));
    standing.filter(|height| height.is_finite()).unwrap_or_else(|| {
        let mut all: Vec<f64> = raws.iter().flat_map(heads).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() * 3 / 4).copied().unwrap_or(f64::NAN)
    })
}

/// The middle of the hips: on the way from the middle of the knees to the head, as far along it as when one stands. The
/// lower knee tells how high: one that is raised to strike does not lift the hips. NaN where the head or a knee is not
/// seen.
pub fn hips(markers: &Markers) -> [f64; 3] {
    let (head, [left, right]) = (markers[HEAD], KNEES.map(|knee| markers[knee]));
    std::array::from_fn(|axis| {
        let knees = match axis {
            2 if left[2] < right[2] => left[2],
            2 => right[2],
            _ => (left[axis] + right[axis]) / 2.0,
        };
        knees + THIGH / (1.0 - KNEE) * (head[axis] - knees)
    })
}

/// Makes frames whose hips are an estimate and whose shoulders are not known into what the product can measure.
///
/// Joints are taken from the middle of the hips and divided by the torso's length, for which the product wants to see
/// hips and shoulders. But nobody saw them, and nothing must be learnt from how they move: they are shown in one frame a
/// second alone, with the torso that the height tells. The product remembers a torso for two seconds; a velocity needs a
/// joint in two frames in a row. In the other frames all joints stand about the hips, which are at the origin.
pub fn show(mut frames: Vec<Joints>, height: f64) -> Vec<Joints> {
    let torso = (TORSO * height * 1e-3) as f32;
    let mut shown = None;
    for (number, joints) in frames.iter_mut().enumerate() {
        let hips = joints[HIPS[0]];
        for joint in joints.iter_mut() {
            *joint = std::array::from_fn(|axis| joint[axis] - hips[axis]);
        }
        let show = hips[0].is_finite() && shown.is_none_or(|last| number - last >= RATE as usize);
        if show {
            shown = Some(number);
        }
        for (joint, y) in HIPS.into_iter().map(|hip| (hip, 0.0)).chain(SHOULDERS.map(|shoulder| (shoulder, -torso))) {
            joints[joint] = if show { [0.0, y, 0.0] } else { [f32::NAN; 3] };
        }
    }
    frames
}
