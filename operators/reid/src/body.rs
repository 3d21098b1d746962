//! Sample points on the parts of a person's body, and the test for which of them another person may hide.
//!
//! Parts follow the borders of clothes: chest, waist, thighs, shins, upper arms, hands (gloves), head. Left and right
//! are one part, because a person who turns round shows the same. With joints the points lie along the bones, without
//! joints in thirds of the box. A point on another person's body counts as hidden: the color there may be of either
//! person.

use sideline_sport::tables::{Detection, Pose};

/// Point or vector, pixels.
type Point = [f32; 2];

/// Number of parts.
pub const PARTS: usize = 7;
/// Weights of the parts, in the order chest, waist, thighs, shins, upper arms, hands, head. They reflect the size of
/// the part and its share of clothes.
pub const WEIGHTS: [f32; PARTS] = [1.0, 0.9, 0.8, 0.5, 0.5, 0.5, 0.3];

/// Joints between which the parts lie, left then right, by MediaPipe's numbers.
const EARS: [usize; 2] = [7, 8];
const SHOULDERS: [usize; 2] = [11, 12];
const ELBOWS: [usize; 2] = [13, 14];
const WRISTS: [usize; 2] = [15, 16];
const HIPS: [usize; 2] = [23, 24];
const KNEES: [usize; 2] = [25, 26];
const ANKLES: [usize; 2] = [27, 28];

/// Visibility from which the position of a joint is used.
const MIN_VISIBILITY: f32 = 0.3;
/// Half the width of an arm or a shin, in torso lengths.
const LIMB_HALF_WIDTH: f32 = 0.07;
/// Half the width of a thigh, in torso lengths.
const THIGH_HALF_WIDTH: f32 = 0.12;
/// Distance from its bones within which a body may cover a point, in torso lengths.
const BODY_RADIUS: f32 = 0.2;
/// Rows and columns of points on the chest, and on the waist.
const TRUNK_GRID: (usize, usize) = (8, 8);
/// Points along a limb and across it.
const LIMB_GRID: (usize, usize) = (8, 3);
/// Box height below which the quality falls in proportion, pixels: a small person shows too few details to be
/// recognized.
const FULL_QUALITY_HEIGHT_PX: f32 = 96.0;

/// Body of a person in one frame.
pub enum Body {
    /// Joints in pixels.
    Joints(Box<Skeleton>),
    /// Box in pixels: left, top, right, bottom.
    Box([f32; 4]),
}

/// Joints in pixels; `None` for one that is not visible.
pub struct Skeleton {
    corners: [f32; 4],
    joints: [Option<Point>; 33],
    /// Length of the torso, pixels.
    torso: f32,
}

/// Sample point of a part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Index of the part.
    pub part: usize,
    /// Position, pixels.
    pub at: Point,
}

impl Body {
    /// Converts a pose of a frame of `width` x `height` pixels; uses only the box if shoulders or hips are not visible.
    pub fn from_pose(pose: &Pose, width: f32, height: f32) -> Self {
        let joints = pose.joints.map(|[x, y, _, visibility]| {
            // NaN, a joint that the model does not estimate, fails the comparison.
            let is_visible = visibility >= MIN_VISIBILITY && x.is_finite() && y.is_finite();
            is_visible.then_some([x * width, y * height])
        });
        let corners = [pose.x1, pose.y1, pose.x2, pose.y2];
        match (middle(&joints, SHOULDERS), middle(&joints, HIPS)) {
            (Some(neck), Some(hips)) if distance(neck, hips) >= 1.0 => {
                // A torso seen from above or bent over looks short: the box gives a lower limit.
                let torso = distance(neck, hips).max(0.2 * (corners[3] - corners[1]));
                Body::Joints(Box::new(Skeleton { corners, joints, torso }))
            }
            _ => Body::Box(corners),
        }
    }

    /// Converts the box of a detection.
    pub fn from_detection(row: &Detection) -> Self {
        Body::Box([row.x1, row.y1, row.x2, row.y2])
    }

    /// Returns left, top, right and bottom, pixels.
    pub fn corners(&self) -> [f32; 4] {
        match self {
            Body::Joints(skeleton) => skeleton.corners,
            Body::Box(corners) => *corners,
        }
    }

    /// Fills `into` with all sample points of this person, as if nothing hid them.
    pub fn sample_points(&self, into: &mut Vec<Sample>) {
        into.clear();
        match self {
            Body::Joints(skeleton) => skeleton.sample_points(into),
            Body::Box(corners) => box_sample_points(corners, into),
        }
    }

    /// True if this person's body may cover a point.
    pub fn covers(&self, at: Point) -> bool {
        let [x1, y1, x2, y2] = self.corners();
        let inside = at[0] >= x1 && at[0] <= x2 && at[1] >= y1 && at[1] <= y2;
        match self {
            Body::Box(_) => inside,
            Body::Joints(skeleton) => inside && skeleton.covers(at),
        }
    }
}

/// Returns the visible share of a person, 0 to 1, weighted by part: `visible` of `all` points of each part count, and
/// people below [`FULL_QUALITY_HEIGHT_PX`] have less. A part without points (a joint that is not visible) counts as
/// hidden.
pub fn quality(visible: &[usize; PARTS], all: &[usize; PARTS], boxed: bool, height: f32) -> f32 {
    let mut sum = 0.0;
    // A box has no points on the smaller parts.
    let parts = if boxed { 3 } else { PARTS };
    for part in 0..parts {
        if all[part] > 0 {
            sum += WEIGHTS[part] * visible[part] as f32 / all[part] as f32;
        }
    }
    sum / WEIGHTS[..parts].iter().sum::<f32>() * (height / FULL_QUALITY_HEIGHT_PX).clamp(0.0, 1.0)
}

impl Skeleton {
    fn sample_points(&self, into: &mut Vec<Sample>) {
        let at = |joint: usize| self.joints[joint];
        if let [Some(l), Some(r), Some(hl), Some(hr)] = [SHOULDERS[0], SHOULDERS[1], HIPS[0], HIPS[1]].map(at) {
            // From a tenth of the width inside one side to a tenth inside the other: a torso seen from the side is
            // narrow, but its middle is still clothes.
            for (part, from, to) in [(0, 0.1, 0.5), (1, 0.6, 1.1)] {
                grid(TRUNK_GRID, |along, across| {
                    let (down, side) = (from + (to - from) * along, 0.1 + 0.8 * across);
                    let at = blend(blend(l, r, side), blend(hl, hr, side), down);
                    into.push(Sample { part, at });
                });
            }
        }
        for side in 0..2 {
            let bones = [
                (2, HIPS[side], KNEES[side], (0.25, 0.9), THIGH_HALF_WIDTH),
                (3, KNEES[side], ANKLES[side], (0.15, 0.9), LIMB_HALF_WIDTH),
                (4, SHOULDERS[side], ELBOWS[side], (0.15, 0.9), LIMB_HALF_WIDTH),
                // The fist lies beyond the wrist.
                (5, ELBOWS[side], WRISTS[side], (0.75, 1.3), LIMB_HALF_WIDTH),
            ];
            for (part, from, to, (begin, end), half_width) in bones {
                let (Some(from), Some(to)) = (at(from), at(to)) else { continue };
                let normal = normal(from, to, half_width * self.torso);
                grid(LIMB_GRID, |u, v| {
                    let on_bone = blend(from, to, begin + (end - begin) * u);
                    let offset = 2.0 * v - 1.0;
                    into.push(Sample { part, at: [on_bone[0] + offset * normal[0], on_bone[1] + offset * normal[1]] });
                });
            }
        }
        if let (Some(ears), Some(neck)) = (middle(&self.joints, EARS), middle(&self.joints, SHOULDERS)) {
            let normal = normal(neck, ears, 0.12 * self.torso);
            grid(LIMB_GRID, |u, v| {
                let on_axis = blend(neck, ears, 0.8 + 0.7 * u);
                let offset = 2.0 * v - 1.0;
                into.push(Sample { part: 6, at: [on_axis[0] + offset * normal[0], on_axis[1] + offset * normal[1]] });
            });
        }
    }

    fn covers(&self, at: Point) -> bool {
        const BONES: [[usize; 2]; 14] = [
            [11, 12],
            [11, 23],
            [12, 24],
            [11, 24],
            [12, 23],
            [23, 24],
            [23, 25],
            [25, 27],
            [24, 26],
            [26, 28],
            [11, 13],
            [13, 15],
            [12, 14],
            [14, 16],
        ];
        let radius = BODY_RADIUS * self.torso;
        let covers_bone = |[a, b]: [usize; 2]| match (self.joints[a], self.joints[b]) {
            (Some(a), Some(b)) => distance_to_segment(at, a, b) < radius,
            _ => false,
        };
        let covers_head = self.joints[0].is_some_and(|nose| distance(nose, at) < 2.0 * radius);
        covers_head || BONES.into_iter().any(covers_bone)
    }
}

/// Adds the points on chest, waist and legs (parts 0, 1 and 2) of an upright person in a box.
fn box_sample_points(&[x1, y1, x2, y2]: &[f32; 4], into: &mut Vec<Sample>) {
    for (part, from, to) in [(0, 0.18, 0.42), (1, 0.45, 0.58), (2, 0.6, 0.9)] {
        grid(TRUNK_GRID, |along, across| {
            let (down, side) = (from + (to - from) * along, 0.25 + 0.5 * across);
            into.push(Sample { part, at: [x1 + (x2 - x1) * side, y1 + (y2 - y1) * down] });
        });
    }
}

/// Calls `put` with the relative positions, 0 to 1, of a grid of `rows` x `columns` points.
fn grid((rows, columns): (usize, usize), mut put: impl FnMut(f32, f32)) {
    for row in 0..rows {
        for column in 0..columns {
            put((row as f32 + 0.5) / rows as f32, (column as f32 + 0.5) / columns as f32);
        }
    }
}

fn middle(joints: &[Option<Point>; 33], [left, right]: [usize; 2]) -> Option<Point> {
    Some(blend(joints[left]?, joints[right]?, 0.5))
}

fn blend(a: Point, b: Point, share: f32) -> Point {
    [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share]
}

fn distance(a: Point, b: Point) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// Returns the vector of the given length perpendicular to a bone.
fn normal(from: Point, to: Point, length: f32) -> Point {
    let bone = distance(from, to).max(1e-3);
    [-(to[1] - from[1]) / bone * length, (to[0] - from[0]) / bone * length]
}

fn distance_to_segment(at: Point, a: Point, b: Point) -> f32 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let squared = (dx * dx + dy * dy).max(1e-6);
    let share = (((at[0] - a[0]) * dx + (at[1] - a[1]) * dy) / squared).clamp(0.0, 1.0);
    distance(at, blend(a, b, share))
}
