//! Posture of a body: a value for each degree of freedom, and pulses that change them for a while.

use super::space::minimum_jerk;

/// Side of a body in a fighting stance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Side of the front foot.
    Lead = 0,
    /// Side of the rear foot.
    Rear = 1,
}

impl Side {
    /// Returns the sign of the outward direction along [`Axis::Left`] in a body that leads with the left.
    pub fn outward(self) -> f64 {
        [1.0, -1.0][self as usize]
    }

    /// Returns the other side.
    pub fn other(self) -> Self {
        [Side::Rear, Side::Lead][self as usize]
    }
}

/// Direction of a shift in the frame of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// To the left.
    Left = 0,
    /// Up.
    Up = 1,
    /// Forward.
    Forward = 2,
}

/// Degree of freedom of a body. Shifts are shares of the stature, rotations are radians.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Shift of the pelvis from its place over the center of the stance.
    Pelvis(Axis),
    /// Rotation of the pelvis to the left.
    PelvisYaw,
    /// Lean of the pelvis forward.
    PelvisPitch,
    /// Lean of the pelvis to the left.
    PelvisRoll,
    /// Rotation of the chest to the left, relative to the pelvis.
    TrunkYaw,
    /// Lean of the chest forward, relative to the pelvis.
    TrunkPitch,
    /// Lean of the chest to the left, relative to the pelvis.
    TrunkRoll,
    /// Rotation of the head forward.
    HeadPitch,
    /// Position of a wrist relative to its shoulder, in the frame of the chest.
    Hand(Side, Axis),
    /// Swivel of the elbow: from down (0) over outwards (a quarter turn) to up.
    Elbow(Side),
    /// Shift of a foot from its stand.
    Foot(Side, Axis),
    /// Pitch of a foot, toes down; of a standing foot it lifts the heel.
    Heel(Side),
    /// Rotation of a foot to the left.
    FootYaw(Side),
    /// Rotation of the knee outwards.
    Knee(Side),
}

/// Number of values in a [`Posture`].
const CHANNELS: usize = 30;

impl Channel {
    fn index(self) -> usize {
        let offset = |base: usize, side: Side, axis: Axis| base + 3 * side as usize + axis as usize;
        match self {
            Channel::Pelvis(axis) => axis as usize,
            Channel::PelvisYaw => 3,
            Channel::PelvisPitch => 4,
            Channel::PelvisRoll => 5,
            Channel::TrunkYaw => 6,
            Channel::TrunkPitch => 7,
            Channel::TrunkRoll => 8,
            Channel::HeadPitch => 9,
            Channel::Hand(side, axis) => offset(10, side, axis),
            Channel::Foot(side, axis) => offset(16, side, axis),
            Channel::Elbow(side) => 22 + side as usize,
            Channel::Heel(side) => 24 + side as usize,
            Channel::FootYaw(side) => 26 + side as usize,
            Channel::Knee(side) => 28 + side as usize,
        }
    }
}

/// Value of each [`Channel`].
#[derive(Clone, Debug, PartialEq)]
pub struct Posture([f64; CHANNELS]);

impl Default for Posture {
    fn default() -> Self {
        Self([0.0; CHANNELS])
    }
}

impl Posture {
    /// Returns the value of a channel.
    pub fn get(&self, channel: Channel) -> f64 {
        self.0[channel.index()]
    }

    /// Adds to the value of a channel.
    pub fn add(&mut self, channel: Channel, amount: f64) {
        self.0[channel.index()] += amount;
    }
}

/// Temporary change of one channel along minimum-jerk paths. Times are seconds from the start of the move.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    /// Channel that changes.
    pub channel: Channel,
    /// Greatest change.
    pub amount: f64,
    /// Start and end of the rise.
    pub rise: [f64; 2],
    /// Start and end of the fall.
    pub fall: [f64; 2],
}

impl Pulse {
    /// Returns the change at a time.
    pub fn value_at(&self, time: f64) -> f64 {
        let progress = |[from, to]: [f64; 2]| minimum_jerk((time - from) / (to - from).max(1e-6));
        self.amount * (progress(self.rise) - progress(self.fall))
    }
}
