//! Which points of the picture lie on which part of a person, and which of them are hidden.
//!
//! A part is where clothes change: chest, waist, thighs, shins, upper arms, hands (gloves), head. Left and right are one
//! part: whoever turns round shows the same. With joints the points lie along the bones, without them in thirds of the
//! box. A point in front of (or behind) another person's body is hidden: whose colour it shows cannot be told.

use sideline_api::tables::{Detection, Pose};

/// A point or a vector, px.
type Point = [f32; 2];

/// Number of parts.
pub const PARTS: usize = 7;
/// What each part counts for, in the order chest, waist, thighs, shins, upper arms, hands, head: how large it is, and how
/// much of it is clothes.
pub const WEIGHTS: [f32; PARTS] = [1.0, 0.9, 0.8, 0.5, 0.5, 0.5, 0.3];

/// MediaPipe's numbers of the joints that parts hang on, left then right.
const EARS: [usize; 2] = [7, 8];
const SHOULDERS: [usize; 2] = [11, 12];
const ELBOWS: [usize; 2] = [13, 14];
const WRISTS: [usize; 2] = [15, 16];
const HIPS: [usize; 2] = [23, 24];
const KNEES: [usize; 2] = [25, 26];
const ANKLES: [usize; 2] = [27, 28];

/// Visibility from which a joint is where the model says.
const VISIBLE: f32 = 0.3;
/// Half the width of an arm or a shin, and of a thigh, in torso lengths.
const LIMB: f32 = 0.07;
const THIGH: f32 = 0.12;
/// How far a body reaches from its bones, in torso lengths: what lies nearer to another's bones may be theirs.
const FLESH: f32 = 0.2;
/// Rows and columns of points on the chest, and on the waist; along a limb and across it.
const TRUNK_GRID: (usize, usize) = (8, 8);
const LIMB_GRID: (usize, usize) = (8, 3);
/// Height, px, below which a person shows too little to be known by.
const TALL_ENOUGH: f32 = 96.0;

/// A person of one frame.
pub enum Body {
    /// With joints, in pixels: x, y, and whether it is seen.
    Joints(Box<Skeleton>),
    /// A box: left, top, right, bottom.
    Box([f32; 4]),
}

/// Joints in pixels.
pub struct Skeleton {
    corners: [f32; 4],
    joints: [Option<Point>; 33],
    /// Length of the trunk.
    torso: f32,
}

/// A point of a part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Which part, from 0.
    pub part: usize,
    /// Where, px.
    pub at: Point,
}

impl Body {
    /// From joints, or from the box where the trunk is not known.
    pub fn of_pose(pose: &Pose, width: f32, height: f32) -> Self {
        let joints = pose.joints.map(|[x, y, _, visibility]| {
            // NaN fails the comparison: a joint the model does not know.
            let seen = visibility >= VISIBLE && x.is_finite() && y.is_finite();
            seen.then_some([x * width, y * height])
        });
        let corners = [pose.x1, pose.y1, pose.x2, pose.y2];
        match (middle(&joints, SHOULDERS), middle(&joints, HIPS)) {
            (Some(neck), Some(hips)) if distance(neck, hips) >= 1.0 => {
                // Seen from above or bent over a trunk looks short; the box says how large the person is.
                let torso = distance(neck, hips).max(0.2 * (corners[3] - corners[1]));
                Body::Joints(Box::new(Skeleton { corners, joints, torso }))
            }
            _ => Body::Box(corners),
        }
    }

    /// From a box.
    pub fn of_detection(row: &Detection) -> Self {
        Body::Box([row.x1, row.y1, row.x2, row.y2])
    }

    /// Left, top, right, bottom, px.
    pub fn corners(&self) -> [f32; 4] {
        match self {
            Body::Joints(skeleton) => skeleton.corners,
            Body::Box(corners) => *corners,
        }
    }

    /// Every point at which this person would be looked at, had nobody and nothing been in the way.
    pub fn samples(&self, into: &mut Vec<Sample>) {
        into.clear();
        match self {
            Body::Joints(skeleton) => skeleton.samples(into),
            Body::Box(corners) => box_samples(corners, into),
        }
    }

    /// True where a point may show this person's body.
    pub fn covers(&self, at: Point) -> bool {
        let [x1, y1, x2, y2] = self.corners();
        let inside = at[0] >= x1 && at[0] <= x2 && at[1] >= y1 && at[1] <= y2;
        match self {
            Body::Box(_) => inside,
            Body::Joints(skeleton) => inside && skeleton.covers(at),
        }
    }
}

/// How much of a person was seen, 0 to 1: `seen` of `all` points of each part, and whether they are tall enough. A part
/// without points (a joint out of sight) was not seen.
pub fn quality(seen: &[usize; PARTS], all: &[usize; PARTS], boxed: bool, height: f32) -> f32 {
    let mut sum = 0.0;
    // A box has no points on the smaller parts.
    let parts = if boxed { 3 } else { PARTS };
    for part in 0..parts {
        if all[part] > 0 {
            sum += WEIGHTS[part] * seen[part] as f32 / all[part] as f32;
        }
    }
    sum / WEIGHTS[..parts].iter().sum::<f32>() * (height / TALL_ENOUGH).clamp(0.0, 1.0)
}

impl Skeleton {
    fn samples(&self, into: &mut Vec<Sample>) {
        let at = |joint: usize| self.joints[joint];
        if let [Some(l), Some(r), Some(hl), Some(hr)] = [SHOULDERS[0], SHOULDERS[1], HIPS[0], HIPS[1]].map(at) {
            // Between the sides, a tenth in from each; from the side a trunk is narrow, and its middle is still cloth.
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
                (2, HIPS[side], KNEES[side], (0.25, 0.9), THIGH),
                (3, KNEES[side], ANKLES[side], (0.15, 0.9), LIMB),
                (4, SHOULDERS[side], ELBOWS[side], (0.15, 0.9), LIMB),
                // The fist is beyond the wrist.
                (5, ELBOWS[side], WRISTS[side], (0.75, 1.3), LIMB),
            ];
            for (part, from, to, (begin, end), half) in bones {
                let (Some(from), Some(to)) = (at(from), at(to)) else { continue };
                let across = across(from, to, half * self.torso);
                grid(LIMB_GRID, |u, v| {
                    let on_bone = blend(from, to, begin + (end - begin) * u);
                    let aside = 2.0 * v - 1.0;
                    into.push(Sample { part, at: [on_bone[0] + aside * across[0], on_bone[1] + aside * across[1]] });
                });
            }
        }
        if let (Some(ears), Some(neck)) = (middle(&self.joints, EARS), middle(&self.joints, SHOULDERS)) {
            let aside = across(neck, ears, 0.12 * self.torso);
            grid(LIMB_GRID, |u, v| {
                let up = blend(neck, ears, 0.8 + 0.7 * u);
                into.push(Sample {
                    part: 6,
                    at: [up[0] + (2.0 * v - 1.0) * aside[0], up[1] + (2.0 * v - 1.0) * aside[1]],
                });
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
        let near = FLESH * self.torso;
        let bone = |[a, b]: [usize; 2]| match (self.joints[a], self.joints[b]) {
            (Some(a), Some(b)) => distance_to_segment(at, a, b) < near,
            _ => false,
        };
        let head = self.joints[0].is_some_and(|nose| distance(nose, at) < 2.0 * near);
        head || BONES.into_iter().any(bone)
    }
}

/// Chest, waist and legs of an upright person in a box: parts 0, 1 and 2.
fn box_samples(&[x1, y1, x2, y2]: &[f32; 4], into: &mut Vec<Sample>) {
    for (part, from, to) in [(0, 0.18, 0.42), (1, 0.45, 0.58), (2, 0.6, 0.9)] {
        grid(TRUNK_GRID, |along, across| {
            let (down, side) = (from + (to - from) * along, 0.25 + 0.5 * across);
            into.push(Sample { part, at: [x1 + (x2 - x1) * side, y1 + (y2 - y1) * down] });
        });
    }
}

/// Calls with the places, 0 to 1, of a lattice of `rows` x `columns`.
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

/// The vector of a length at right angles to a bone.
fn across(from: Point, to: Point, length: f32) -> Point {
    let bone = distance(from, to).max(1e-3);
    [-(to[1] - from[1]) / bone * length, (to[0] - from[0]) / bone * length]
}

fn distance_to_segment(at: Point, a: Point, b: Point) -> f32 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let squared = (dx * dx + dy * dy).max(1e-6);
    let share = (((at[0] - a[0]) * dx + (at[1] - a[1]) * dy) / squared).clamp(0.0, 1.0);
    distance(at, blend(a, b, share))
}
