//! One person of a pair, in one frame: where the body is, where the chest points.

use sideline_api::{
    body::{HIPS, SHOULDERS, in_picture, middle},
    tables::{JOINTS, Pose},
};

const NOSE: usize = 0;
/// Wrists, tips of the index fingers, ankles, toes: what reaches the other.
const ENDS: [usize; 8] = [15, 16, 19, 20, 27, 28, 31, 32];

/// Least part of the lines through shoulders and hips that lies over the ground, of their length: with less the body
/// lies on its side, and the chest points up or down.
const LEVEL: f64 = 0.3;

/// A person as the picture has it.
pub struct Figure {
    /// Joints in frame heights; NaN where not seen.
    joints: [[f32; 3]; JOINTS],
    /// Where the chest points over the ground: to the right in the picture, away from the camera; length 1.
    chest: Option<[f64; 2]>,
}

/// A point of the picture, frame heights.
type Point = [f64; 2];

impl Figure {
    /// The figure of a pose; joints seen less surely than `visibility` are left out.
    pub fn of(pose: &Pose, visibility: f32) -> Self {
        Self { joints: in_picture(pose, visibility), chest: chest(pose, visibility) }
    }

    /// Joints in frame heights; NaN where not seen.
    pub fn joints(&self) -> &[[f32; 3]; JOINTS] {
        &self.joints
    }

    fn at(&self, joint: usize) -> Point {
        [f64::from(self.joints[joint][0]), f64::from(self.joints[joint][1])]
    }

    /// Middle of the hips; NaN where not seen.
    pub fn hips(&self) -> Point {
        let [x, y, _] = middle(&self.joints, HIPS);
        [x.into(), y.into()]
    }

    /// The angle between where the chest points and the direction to a point of the picture: 0 to pi, NaN when unknown.
    /// `near` is the least way across the picture, frame heights, that makes a direction.
    pub fn facing(&self, to: Point, near: f64) -> f64 {
        let across = to[0] - self.hips()[0];
        match self.chest {
            Some([right, away]) if across.abs() >= near => {
                // Equally deep in the picture: the other is straight to the right or to the left.
                away.abs().atan2(right * across.signum())
            }
            _ => f64::NAN,
        }
    }

    /// From the nearest hand or foot to the trunk or head of another, frame heights; NaN where none is seen.
    pub fn reach(&self, other: &Self) -> f64 {
        ENDS.iter().map(|end| other.distance_to_body(self.at(*end))).fold(f64::NAN, f64::min)
    }

    /// How far a point is from trunk and head, 0 inside the trunk; NaN where shoulders or hips are not seen.
    fn distance_to_body(&self, point: Point) -> f64 {
        let [left, right] = SHOULDERS.map(|joint| self.at(joint));
        let [left_hip, right_hip] = HIPS.map(|joint| self.at(joint));
        let trunk = [left, right, right_hip, left_hip];
        if trunk.as_flattened().iter().chain(&point).any(|value| value.is_nan()) {
            return f64::NAN;
        }
        if inside(&trunk, point) {
            return 0.0;
        }
        let edges = (0..4).map(|i| (trunk[i], trunk[(i + 1) % 4]));
        let neck = [(left[0] + right[0]) / 2.0, (left[1] + right[1]) / 2.0];
        edges.chain([(neck, self.at(NOSE))]).map(|(a, b)| distance_to_line(point, a, b)).fold(f64::NAN, f64::min)
    }
}

/// Where the chest points over the ground: square to the lines from right to left through shoulders and hips.
fn chest(pose: &Pose, visibility: f32) -> Option<[f64; 2]> {
    let across: [f64; 3] = std::array::from_fn(|axis| {
        let line = |[left, right]: [usize; 2]| f64::from(pose.world[left][axis]) - f64::from(pose.world[right][axis]);
        line(SHOULDERS) + line(HIPS)
    });
    let seen = SHOULDERS.into_iter().chain(HIPS).all(|joint| pose.joints[joint][3] >= visibility);
    let level = across[0].hypot(across[2]);
    // x to the right, y down, z away from the camera: who faces the camera has the left hand at the right of the picture
    // and the chest towards -z.
    (seen && level > LEVEL * level.hypot(across[1])).then(|| [across[2] / level, -across[0] / level])
}

/// Whether a point is inside a polygon, by the crossings of a ray (Shimrat, Algorithm 112, CACM 5, 1962).
fn inside(corners: &[Point; 4], [x, y]: Point) -> bool {
    let crosses = |i: usize| {
        let ([x1, y1], [x2, y2]) = (corners[i], corners[(i + 1) % 4]);
        (y1 > y) != (y2 > y) && x < x1 + (x2 - x1) * (y - y1) / (y2 - y1)
    };
    (0..4).filter(|i| crosses(*i)).count() % 2 == 1
}

/// Distance of a point from the line between two others; NaN where one is.
fn distance_to_line([x, y]: Point, [x1, y1]: Point, [x2, y2]: Point) -> f64 {
    let (dx, dy) = (x2 - x1, y2 - y1);
    let length = dx * dx + dy * dy;
    let along = if length > 0.0 { (((x - x1) * dx + (y - y1) * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
    (x - x1 - along * dx).hypot(y - y1 - along * dy)
}
