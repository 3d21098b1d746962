//! A body of rigid limbs: from a [`Posture`] to the places of the 33 joints.
//!
//! Lengths are shares of the stature, after Drillis and Contini (Body Segment Parameters, New York University, 1966; in
//! Winter, Biomechanics and Motor Control of Human Movement, figure 4.1). Arms and legs are bent so that their ends are
//! where they are to be, within reach, so limbs never stretch.

use super::{
    posture::{Axis, Channel, Posture, Side},
    space::{Point, Turn, carried, cross, length, minus, plus, soft_max, soft_min, times, unit},
};

/// Middle of the hips to middle of the shoulders: 0.818 - 0.530 of the stature.
pub const TORSO: f64 = 0.288;
/// Shoulder to elbow.
pub const UPPER_ARM: f64 = 0.186;
/// Elbow to wrist.
pub const FOREARM: f64 = 0.146;
/// Shoulder to wrist, straight.
pub const ARM: f64 = UPPER_ARM + FOREARM;
/// Hip to knee.
pub const THIGH: f64 = 0.245;
/// Knee to ankle.
pub const SHANK: f64 = 0.246;
/// Ankle over the sole.
pub const ANKLE: f64 = 0.039;
/// Hips over the ground of one who stands straight.
pub const HIP_HEIGHT: f64 = ANKLE + SHANK + THIGH;

const SHOULDER_HALF: f64 = 0.103;
const HIP_HALF: f64 = 0.055;
/// Ankle to the tip of the foot over the ground, and to the heel.
const TOE: f64 = 0.112;
const HEEL: f64 = 0.04;
/// Wrist to the knuckles.
const HAND: f64 = 0.055;

/// Where a foot stands: ankle over the ground, in the frame of the body (left, up, forward), and where it points, radians to
/// the left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Foot {
    /// The ankle, statures.
    pub ankle: Point,
    /// Radians to the left of the body's front.
    pub yaw: f64,
}

/// The joints in the order of the tables, statures: left, up, forward of the point on the ground that the body stands
/// over. The body stands left foot first; [`mirrored`] makes the other stance of it.
pub fn joints(posture: &Posture, feet: [Foot; 2]) -> [Point; 33] {
    use Channel::{HeadPitch, PelvisPitch, PelvisRoll, PelvisYaw, TrunkPitch, TrunkRoll, TrunkYaw};
    let p = |channel| posture.get(channel);
    let pelvis = Turn::yaw(p(PelvisYaw)).after(&Turn::pitch(p(PelvisPitch))).after(&Turn::roll(p(PelvisRoll)));
    let twist = Turn::yaw(p(TrunkYaw)).after(&Turn::pitch(p(TrunkPitch))).after(&Turn::roll(p(TrunkRoll)));
    let chest = pelvis.after(&twist);

    let feet = [Side::Lead, Side::Rear].map(|side| lifted(posture, side, feet[side as usize]));
    let sides = [1.0, -1.0];
    let offsets = sides.map(|side| pelvis.of([side * HIP_HALF, 0.0, 0.0]));
    let ground = [p(Channel::Pelvis(Axis::Left)), 0.0, p(Channel::Pelvis(Axis::Forward))];
    // A leg that stands cannot be longer than it is: who stands wide stands lower.
    let mut height = HIP_HEIGHT + p(Channel::Pelvis(Axis::Up));
    for (foot, offset) in feet.iter().zip(offsets) {
        let [l, u, f] = minus(foot.ankle, plus(ground, offset));
        let reach = 0.985 * (THIGH + SHANK);
        // The higher a foot is lifted, the less it holds the body down.
        let lifted = 4.0 * (foot.ankle[1] - ANKLE).max(0.0);
        height = soft_min(height, u + lifted + (reach * reach - l * l - f * f).max(0.01).sqrt(), 0.01);
    }
    let centre = plus(ground, [0.0, height, 0.0]);
    let hips = offsets.map(|offset| plus(centre, offset));
    let neck = plus(centre, chest.of([0.0, TORSO, 0.0]));
    let shoulders = sides.map(|side| plus(neck, chest.of([side * SHOULDER_HALF, 0.0, 0.0])));

    let mut all = [[0.0; 3]; 33];
    head(&mut all, neck, &chest, 0.35 * (p(PelvisYaw) + p(TrunkYaw)), p(HeadPitch) + 0.4 * p(TrunkPitch));
    for (i, side) in [Side::Lead, Side::Rear].into_iter().enumerate() {
        let out = sides[i];
        let held = [Axis::Left, Axis::Up, Axis::Forward].map(|axis| p(Channel::Hand(side, axis)));
        let wrist = plus(shoulders[i], chest.of(before(held, 0.1)));
        let swivel = p(Channel::Elbow(side));
        // An arm held forward has its elbow below; wherever it swings, it takes that along.
        let rest = Rest { along: chest.of([0.0, 0.0, 1.0]), bend: chest.of([out * swivel.sin(), -swivel.cos(), 0.0]) };
        let (elbow, wrist) = bent(shoulders[i], wrist, [UPPER_ARM, FOREARM], &rest);
        let along = unit(minus(wrist, elbow));
        let across = unit(cross(along, carried(rest.bend, rest.along, along)));
        all[11 + i] = shoulders[i];
        all[13 + i] = elbow;
        all[15 + i] = wrist;
        // The thumb's side of a fist looks in and up; little finger, index finger, thumb.
        for (joint, way, off) in [(17, HAND, -0.02), (19, HAND + 0.005, 0.015), (21, 0.6 * HAND, 0.022)] {
            all[joint + i] = plus(wrist, plus(times(along, way), times(across, out * off)));
        }

        let foot = &feet[i];
        let turned = 0.5 * (foot.yaw + p(PelvisYaw)) + out * p(Channel::Knee(side));
        let rest = Rest { along: [0.0, -1.0, 0.0], bend: Turn::yaw(turned).of([0.0, 0.0, 1.0]) };
        let ankle = plus(hips[i], before(minus(foot.ankle, hips[i]), 0.18));
        let (knee, ankle) = bent(hips[i], ankle, [THIGH, SHANK], &rest);
        let sole = Turn::yaw(foot.yaw).after(&Turn::pitch(foot.pitch));
        all[23 + i] = hips[i];
        all[25 + i] = knee;
        all[27 + i] = ankle;
        all[29 + i] = plus(ankle, sole.of([0.0, -ANKLE, -HEEL]));
        all[31 + i] = plus(ankle, sole.of([0.0, -ANKLE, TOE]));
    }
    all
}

/// Eyes, ears, nose and mouth round the middle of the ears.
fn head(all: &mut [Point; 33], neck: Point, chest: &Turn, yaw_left: f64, nod: f64) {
    let turn = Turn::yaw(yaw_left).after(&Turn::pitch(nod));
    let centre = plus(neck, plus(chest.of([0.0, 0.052, 0.0]), turn.of([0.0, 0.062, 0.01])));
    let places = [
        [0.0, -0.003, 0.06],
        [0.01, 0.018, 0.05],
        [0.018, 0.018, 0.047],
        [0.027, 0.018, 0.042],
        [-0.01, 0.018, 0.05],
        [-0.018, 0.018, 0.047],
        [-0.027, 0.018, 0.042],
        [0.043, 0.0, 0.0],
        [-0.043, 0.0, 0.0],
        [0.014, -0.024, 0.05],
        [-0.014, -0.024, 0.05],
    ];
    for (joint, place) in all.iter_mut().zip(places) {
        *joint = plus(centre, turn.of(place));
    }
}

/// A foot as it is held now.
struct Held {
    ankle: Point,
    yaw: f64,
    pitch: f64,
}

/// A standing foot and what the posture does to it: the heel rises over the toes, or the whole foot leaves the ground.
fn lifted(posture: &Posture, side: Side, foot: Foot) -> Held {
    let pitch = posture.get(Channel::Heel(side));
    let yaw = foot.yaw + posture.get(Channel::FootYaw(side));
    let way = [Axis::Left, Axis::Up, Axis::Forward].map(|axis| posture.get(Channel::Foot(side, axis)));
    // The heel rises about the tip of the foot, which stays.
    let tip = plus(foot.ankle, Turn::yaw(foot.yaw).of([0.0, -ANKLE, TOE]));
    let ankle = minus(tip, Turn::yaw(yaw).after(&Turn::pitch(pitch)).of([0.0, -ANKLE, TOE]));
    Held { ankle: plus(ankle, way), yaw, pitch }
}

/// The way to a limb's end, led past its root: what would come through it goes round `near` before it.
fn before([l, u, f]: Point, near: f64) -> Point {
    let through = (-(l * l + u * u) / (near * near)).exp();
    [l, u, f + through * (soft_max(f, near, 0.05) - f)]
}

/// How a limb bends when it is held along a direction; both have length 1 and are square to each other.
struct Rest {
    along: Point,
    bend: Point,
}

/// Bends a limb of two parts from `root` towards `end`: its middle joint and its end. An end out of reach is approached as
/// far as the limb goes, and softly.
fn bent(root: Point, end: Point, [a, b]: [f64; 2], rest: &Rest) -> (Point, Point) {
    let way = minus(end, root);
    let full = a + b;
    let wanted = length(way) / full;
    // From nine tenths of its length a limb resists: it never snaps straight.
    let share = if wanted > 0.9 { 0.9 + 0.095 * ((wanted - 0.9) / 0.095).tanh() } else { wanted };
    // Nor does it fold to nothing.
    let least = 0.3;
    let reach = full * if share < 2.0 * least { least + (share / 2.0 / least).powi(2) * least } else { share };
    let along = unit(way);
    let side = carried(rest.bend, rest.along, along);
    let foot = (a * a - b * b + reach * reach) / (2.0 * reach);
    let height = (a * a - foot * foot).max(0.0).sqrt();
    (plus(root, plus(times(along, foot), times(side, height))), plus(root, times(along, reach)))
}

/// The same body in a mirror: left is right.
pub fn mirrored(joints: &[Point; 33]) -> [Point; 33] {
    let pairs = [(1, 4), (2, 5), (3, 6), (7, 8), (9, 10)].into_iter().chain((11..32).step_by(2).map(|i| (i, i + 1)));
    let mut all = joints.map(|[l, u, f]| [-l, u, f]);
    pairs.for_each(|(left, right)| all.swap(left, right));
    all
}
