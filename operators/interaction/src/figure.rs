//! Geometry of one person in one frame: joints in the picture, direction of the chest, reach.

use sideline_sport::{
    body::{HIPS, SHOULDERS, image_joints, midpoint},
    tables::{JOINTS, Pose},
};

const NOSE: usize = 0;
/// End points of the limbs, from which the reach is measured: wrists, index fingertips, ankles, toes.
const LIMB_ENDS: [usize; 8] = [15, 16, 19, 20, 27, 28, 31, 32];

/// Minimum length of the lines through shoulders and hips projected onto the ground, as a share of their length. Below
/// it the body lies on its side, and the chest points up or down.
const MIN_LEVEL_SHARE: f64 = 0.3;

/// Person in the picture.
pub struct Figure {
    /// Joints in frame heights; NaN for those that are not visible.
    joints: [[f32; 3]; JOINTS],
    /// Direction of the chest over the ground, a unit vector: to the right in the picture, away from the camera.
    chest: Option<[f64; 2]>,
}

/// Point of the picture, frame heights.
type Point = [f64; 2];

impl Figure {
    /// Converts a pose; joints below `visibility` become NaN.
    pub fn from_pose(pose: &Pose, visibility: f32) -> Self {
        Self { joints: image_joints(pose, visibility), chest: chest(pose, visibility) }
    }

    /// Returns the joints in frame heights; NaN for those that are not visible.
    pub fn joints(&self) -> &[[f32; 3]; JOINTS] {
        &self.joints
    }

    fn at(&self, joint: usize) -> Point {
        [f64::from(self.joints[joint][0]), f64::from(self.joints[joint][1])]
    }

    /// Returns the midpoint of the hips; NaN if a hip is not visible.
    pub fn hips(&self) -> Point {
        let [x, y, _] = midpoint(&self.joints, HIPS);
        [x.into(), y.into()]
    }

    /// Returns the angle between the direction of the chest and the direction to a point of the picture, 0 to pi; NaN
    /// if unknown. `min_offset` is the minimum horizontal distance of the point from the hips, frame heights: below it
    /// the direction is undefined.
    pub fn facing(&self, to: Point, min_offset: f64) -> f64 {
        let across = to[0] - self.hips()[0];
        match self.chest {
            Some([right, away]) if across.abs() >= min_offset => {
                // Both are assumed equally far from the camera, so the direction is straight to the right or to
                // the left.
                away.abs().atan2(right * across.signum())
            }
            _ => f64::NAN,
        }
    }

    /// Returns the distance from the nearest hand or foot to the trunk or head of another person, frame heights; NaN if
    /// none is visible.
    pub fn reach(&self, other: &Self) -> f64 {
        LIMB_ENDS.iter().map(|end| other.distance_to_body(self.at(*end))).fold(f64::NAN, f64::min)
    }

    /// Returns the distance of a point from trunk and head, 0 inside the trunk; NaN if a shoulder or hip is not
    /// visible.
    fn distance_to_body(&self, point: Point) -> f64 {
        let [left, right] = SHOULDERS.map(|joint| self.at(joint));
        let [left_hip, right_hip] = HIPS.map(|joint| self.at(joint));
        let trunk = [left, right, right_hip, left_hip];
        if trunk.as_flattened().iter().chain(&point).any(|value| value.is_nan()) {
            return f64::NAN;
        }
        if contains(&trunk, point) {
            return 0.0;
        }
        let edges = (0..4).map(|i| (trunk[i], trunk[(i + 1) % 4]));
        let neck = [(left[0] + right[0]) / 2.0, (left[1] + right[1]) / 2.0];
        edges.chain([(neck, self.at(NOSE))]).map(|(a, b)| distance_to_segment(point, a, b)).fold(f64::NAN, f64::min)
    }
}

/// Returns the direction of the chest over the ground: perpendicular to the lines from right to left through shoulders
/// and hips.
fn chest(pose: &Pose, visibility: f32) -> Option<[f64; 2]> {
    let across: [f64; 3] = std::array::from_fn(|axis| {
        let line = |[left, right]: [usize; 2]| f64::from(pose.world[left][axis]) - f64::from(pose.world[right][axis]);
        line(SHOULDERS) + line(HIPS)
    });
    let is_visible = SHOULDERS.into_iter().chain(HIPS).all(|joint| pose.joints[joint][3] >= visibility);
    let level = across[0].hypot(across[2]);
    // x to the right, y down, z away from the camera: a person who faces the camera has the left hand at the right of
    // the picture and the chest towards -z.
    (is_visible && level > MIN_LEVEL_SHARE * level.hypot(across[1])).then(|| [across[2] / level, -across[0] / level])
}

/// True if a polygon contains a point, by the crossings of a ray (Shimrat, Algorithm 112, CACM 5, 1962).
fn contains(corners: &[Point; 4], [x, y]: Point) -> bool {
    let crosses = |i: usize| {
        let ([x1, y1], [x2, y2]) = (corners[i], corners[(i + 1) % 4]);
        (y1 > y) != (y2 > y) && x < x1 + (x2 - x1) * (y - y1) / (y2 - y1)
    };
    (0..4).filter(|i| crosses(*i)).count() % 2 == 1
}

/// Returns the distance of a point from the segment between two others; NaN if one is NaN.
fn distance_to_segment([x, y]: Point, [x1, y1]: Point, [x2, y2]: Point) -> f64 {
    let (dx, dy) = (x2 - x1, y2 - y1);
    let length = dx * dx + dy * dy;
    let along = if length > 0.0 { (((x - x1) * dx + (y - y1) * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
    (x - x1 - along * dx).hypot(y - y1 - along * dy)
}
