//! Body model of rigid limbs: calculates the 33 joints from a [`Posture`].
//!
//! Segment lengths are shares of the stature, after Drillis and Contini (Body Segment Parameters, New York University,
//! 1966; in Winter, Biomechanics and Motor Control of Human Movement, figure 4.1). Arms and legs bend so that their
//! ends reach the requested positions, within reach; limbs never stretch.

use super::{
    posture::{Axis, Channel, Posture, Side},
    space::{Point, Rotation, add, cross, length, mul, normalize, soft_max, soft_min, sub, transport},
};

/// Center of the hips to center of the shoulders: 0.818 - 0.530 of the stature.
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
/// Height of the ankle above the sole.
pub const ANKLE: f64 = 0.039;
/// Height of the hips above the ground in an upright stance.
pub const HIP_HEIGHT: f64 = ANKLE + SHANK + THIGH;

/// Half of the distance between the shoulders, and between the hips.
const SHOULDER_HALF: f64 = 0.103;
const HIP_HALF: f64 = 0.055;
/// Distance from the ankle to the tip of the foot and to the heel, along the ground.
const TOE: f64 = 0.112;
const HEEL: f64 = 0.04;
/// Wrist to the knuckles.
const HAND: f64 = 0.055;

/// Stand of a foot: position of the ankle above the ground, in the frame of the body (left, up, forward), and
/// direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Foot {
    /// Position of the ankle, statures.
    pub ankle: Point,
    /// Direction of the foot, radians to the left of the body's front.
    pub yaw: f64,
}

/// Calculates the joints in the order of the tables, statures: left, up, forward of the point on the ground below the
/// body. The body stands left foot first; [`mirror_joints`] converts to the other stance.
pub fn joints(posture: &Posture, feet: [Foot; 2]) -> [Point; 33] {
    use Channel::{HeadPitch, PelvisPitch, PelvisRoll, PelvisYaw, TrunkPitch, TrunkRoll, TrunkYaw};
    let value = |channel| posture.get(channel);
    let pelvis = Rotation::yaw(value(PelvisYaw))
        .compose(&Rotation::pitch(value(PelvisPitch)))
        .compose(&Rotation::roll(value(PelvisRoll)));
    let twist = Rotation::yaw(value(TrunkYaw))
        .compose(&Rotation::pitch(value(TrunkPitch)))
        .compose(&Rotation::roll(value(TrunkRoll)));
    let chest = pelvis.compose(&twist);

    let feet = [Side::Lead, Side::Rear].map(|side| place_foot(posture, side, feet[side as usize]));
    let sides = [1.0, -1.0];
    let offsets = sides.map(|side| pelvis.rotate([side * HIP_HALF, 0.0, 0.0]));
    let ground = [value(Channel::Pelvis(Axis::Left)), 0.0, value(Channel::Pelvis(Axis::Forward))];
    // A standing leg cannot stretch: a wide stance lowers the hips.
    let mut height = HIP_HEIGHT + value(Channel::Pelvis(Axis::Up));
    for (foot, offset) in feet.iter().zip(offsets) {
        let [l, u, f] = sub(foot.ankle, add(ground, offset));
        let reach = 0.985 * (THIGH + SHANK);
        // The higher a foot is lifted, the less it limits the height of the hips.
        let lifted = 4.0 * (foot.ankle[1] - ANKLE).max(0.0);
        height = soft_min(height, u + lifted + (reach * reach - l * l - f * f).max(0.01).sqrt(), 0.01);
    }
    let center = add(ground, [0.0, height, 0.0]);
    let hips = offsets.map(|offset| add(center, offset));
    let neck = add(center, chest.rotate([0.0, TORSO, 0.0]));
    let shoulders = sides.map(|side| add(neck, chest.rotate([side * SHOULDER_HALF, 0.0, 0.0])));

    let mut all = [[0.0; 3]; 33];
    place_head(
        &mut all,
        neck,
        &chest,
        0.35 * (value(PelvisYaw) + value(TrunkYaw)),
        value(HeadPitch) + 0.4 * value(TrunkPitch),
    );
    for (i, side) in [Side::Lead, Side::Rear].into_iter().enumerate() {
        let outward = sides[i];
        let hand = [Axis::Left, Axis::Up, Axis::Forward].map(|axis| value(Channel::Hand(side, axis)));
        let wrist = add(shoulders[i], chest.rotate(avoid_root(hand, 0.1)));
        let swivel = value(Channel::Elbow(side));
        // An arm held forward has its elbow below; the elbow follows every swing of the arm.
        let bend_direction = BendDirection {
            along: chest.rotate([0.0, 0.0, 1.0]),
            bend: chest.rotate([outward * swivel.sin(), -swivel.cos(), 0.0]),
        };
        let (elbow, wrist) = bend_limb(shoulders[i], wrist, [UPPER_ARM, FOREARM], &bend_direction);
        let along = normalize(sub(wrist, elbow));
        let across = normalize(cross(along, transport(bend_direction.bend, bend_direction.along, along)));
        all[11 + i] = shoulders[i];
        all[13 + i] = elbow;
        all[15 + i] = wrist;
        // The thumb's side of a fist faces inwards and up. Joints: little finger, index finger, thumb.
        for (joint, forward, lateral) in [(17, HAND, -0.02), (19, HAND + 0.005, 0.015), (21, 0.6 * HAND, 0.022)] {
            all[joint + i] = add(wrist, add(mul(along, forward), mul(across, outward * lateral)));
        }

        let foot = &feet[i];
        let knee_yaw = 0.5 * (foot.yaw + value(PelvisYaw)) + outward * value(Channel::Knee(side));
        let bend_direction =
            BendDirection { along: [0.0, -1.0, 0.0], bend: Rotation::yaw(knee_yaw).rotate([0.0, 0.0, 1.0]) };
        let ankle = add(hips[i], avoid_root(sub(foot.ankle, hips[i]), 0.18));
        let (knee, ankle) = bend_limb(hips[i], ankle, [THIGH, SHANK], &bend_direction);
        let sole = Rotation::yaw(foot.yaw).compose(&Rotation::pitch(foot.pitch));
        all[23 + i] = hips[i];
        all[25 + i] = knee;
        all[27 + i] = ankle;
        all[29 + i] = add(ankle, sole.rotate([0.0, -ANKLE, -HEEL]));
        all[31 + i] = add(ankle, sole.rotate([0.0, -ANKLE, TOE]));
    }
    all
}

/// Places eyes, ears, nose and mouth around the center of the ears.
fn place_head(all: &mut [Point; 33], neck: Point, chest: &Rotation, yaw_left: f64, nod: f64) {
    let rotation = Rotation::yaw(yaw_left).compose(&Rotation::pitch(nod));
    let center = add(neck, add(chest.rotate([0.0, 0.052, 0.0]), rotation.rotate([0.0, 0.062, 0.01])));
    let offsets = [
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
    for (joint, offset) in all.iter_mut().zip(offsets) {
        *joint = add(center, rotation.rotate(offset));
    }
}

/// Pose of a foot.
struct FootPose {
    ankle: Point,
    yaw: f64,
    pitch: f64,
}

/// Applies a posture to a standing foot: the heel rises over the toes, or the whole foot leaves the ground.
fn place_foot(posture: &Posture, side: Side, foot: Foot) -> FootPose {
    let pitch = posture.get(Channel::Heel(side));
    let yaw = foot.yaw + posture.get(Channel::FootYaw(side));
    let shift = [Axis::Left, Axis::Up, Axis::Forward].map(|axis| posture.get(Channel::Foot(side, axis)));
    // The heel rotates about the tip of the foot, which stays in place.
    let tip = add(foot.ankle, Rotation::yaw(foot.yaw).rotate([0.0, -ANKLE, TOE]));
    let ankle = sub(tip, Rotation::yaw(yaw).compose(&Rotation::pitch(pitch)).rotate([0.0, -ANKLE, TOE]));
    FootPose { ankle: add(ankle, shift), yaw, pitch }
}

/// Moves the end of a limb away from its root: a path that would lead through the root passes in front of it, at the
/// distance `min_distance`.
fn avoid_root([l, u, f]: Point, min_distance: f64) -> Point {
    let through = (-(l * l + u * u) / (min_distance * min_distance)).exp();
    [l, u, f + through * (soft_max(f, min_distance, 0.05) - f)]
}

/// Direction in which a limb bends when it points along `along`; both are unit vectors at a right angle.
struct BendDirection {
    along: Point,
    bend: Point,
}

/// Bends a limb of two segments from `root` towards `end`; returns its middle joint and its end. An end out of reach is
/// approached smoothly, as far as the limb reaches.
fn bend_limb(root: Point, end: Point, [a, b]: [f64; 2], bend_direction: &BendDirection) -> (Point, Point) {
    let direction = sub(end, root);
    let full = a + b;
    let wanted = length(direction) / full;
    // The limb resists from nine tenths of its length on and never snaps straight.
    let share = if wanted > 0.9 { 0.9 + 0.095 * ((wanted - 0.9) / 0.095).tanh() } else { wanted };
    // It does not fold completely either.
    let min_reach = 0.3;
    let reach =
        full * if share < 2.0 * min_reach { min_reach + (share / 2.0 / min_reach).powi(2) * min_reach } else { share };
    let along = normalize(direction);
    let side = transport(bend_direction.bend, bend_direction.along, along);
    let projection = (a * a - b * b + reach * reach) / (2.0 * reach);
    let height = (a * a - projection * projection).max(0.0).sqrt();
    (add(root, add(mul(along, projection), mul(side, height))), add(root, mul(along, reach)))
}

/// Mirrors a body: exchanges left and right.
pub fn mirror_joints(joints: &[Point; 33]) -> [Point; 33] {
    let pairs = [(1, 4), (2, 5), (3, 6), (7, 8), (9, 10)].into_iter().chain((11..32).step_by(2).map(|i| (i, i + 1)));
    let mut all = joints.map(|[l, u, f]| [-l, u, f]);
    pairs.for_each(|(left, right)| all.swap(left, right));
    all
}
