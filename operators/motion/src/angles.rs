//! Angles at the joints of a body.

use sideline_sport::tables::JOINTS;

/// Angles of a row, in order: name, and the joints `[a, b, c]` (MediaPipe's numbers) between which the angle opens at
/// `b`. 0 is folded, pi is straight.
pub const ANGLES: [(&str, [usize; 3]); sideline_sport::tables::ANGLES] = [
    ("left_elbow", [11, 13, 15]),
    ("right_elbow", [12, 14, 16]),
    ("left_armpit", [13, 11, 23]),
    ("right_armpit", [14, 12, 24]),
    ("left_shoulder", [12, 11, 13]),
    ("right_shoulder", [11, 12, 14]),
    ("left_wrist", [13, 15, 19]),
    ("right_wrist", [14, 16, 20]),
    ("left_hip", [11, 23, 25]),
    ("right_hip", [12, 24, 26]),
    ("left_groin", [24, 23, 25]),
    ("right_groin", [23, 24, 26]),
    ("left_knee", [23, 25, 27]),
    ("right_knee", [24, 26, 28]),
    ("left_ankle", [25, 27, 31]),
    ("right_ankle", [26, 28, 32]),
    ("left_neck", [7, 11, 23]),
    ("right_neck", [8, 12, 24]),
    ("left_head", [0, 11, 12]),
    ("right_head", [0, 12, 11]),
];

/// Computes the angles of a body, radians; NaN if a joint is NaN, or if `a` or `c` coincides with `b`.
pub fn angles(joints: &[[f32; 3]; JOINTS]) -> [f32; ANGLES.len()] {
    ANGLES.map(|(_, [a, b, c])| {
        let limb = |to: usize| std::array::from_fn::<f64, 3, _>(|k| f64::from(joints[to][k]) - f64::from(joints[b][k]));
        angle_between(limb(a), limb(c)) as f32
    })
}

/// Returns the angle between two vectors, 0 to pi; NaN if one has no length. The arctangent of sine and cosine is
/// accurate near 0 and pi, where an arccosine is not.
fn angle_between(a: [f64; 3], b: [f64; 3]) -> f64 {
    let cross = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    if dot(a, a) == 0.0 || dot(b, b) == 0.0 {
        return f64::NAN;
    }
    dot(cross, cross).sqrt().atan2(dot(a, b))
}
