//! What a body does: a number for each thing it can move, and pulses that change them for a while.

use super::space::minimum_jerk;

/// The foremost and the other side of a body that stands one foot before the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Of the foot in front.
    Lead = 0,
    /// Of the foot behind.
    Rear = 1,
}

impl Side {
    /// The sign of outwards along [`Axis::Left`], in a body that leads with the left.
    pub fn out(self) -> f64 {
        [1.0, -1.0][self as usize]
    }

    /// The other one.
    pub fn other(self) -> Self {
        [Side::Rear, Side::Lead][self as usize]
    }
}

/// Direction of a shift, as the body sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// To the left.
    Left = 0,
    /// Up.
    Up = 1,
    /// Forward.
    Forward = 2,
}

/// A thing that a body can move. Shifts are shares of the stature, turns are radians.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Shift of the pelvis from where it is over the middle of the stance.
    Pelvis(Axis),
    /// Turn of the pelvis to the left.
    PelvisYaw,
    /// Lean of the pelvis forward.
    PelvisPitch,
    /// Lean of the pelvis to the left.
    PelvisRoll,
    /// Turn of the chest to the left, against the pelvis.
    TrunkYaw,
    /// Lean of the chest forward, against the pelvis.
    TrunkPitch,
    /// Lean of the chest to the left, against the pelvis.
    TrunkRoll,
    /// Nod of the head.
    HeadPitch,
    /// Place of a wrist from its shoulder, as the chest sees it.
    Hand(Side, Axis),
    /// Where the elbow points, from down (0) over outwards (a quarter turn) to up.
    Elbow(Side),
    /// Shift of a foot from where it stands.
    Foot(Side, Axis),
    /// How steep a foot is, tip down; one that stands lifts its heel so.
    Heel(Side),
    /// Turn of a foot to the left.
    FootYaw(Side),
    /// Turn of the knee outwards.
    Knee(Side),
}

/// Numbers in a [`Posture`].
const CHANNELS: usize = 30;

impl Channel {
    fn index(self) -> usize {
        let of = |base: usize, side: Side, axis: Axis| base + 3 * side as usize + axis as usize;
        match self {
            Channel::Pelvis(axis) => axis as usize,
            Channel::PelvisYaw => 3,
            Channel::PelvisPitch => 4,
            Channel::PelvisRoll => 5,
            Channel::TrunkYaw => 6,
            Channel::TrunkPitch => 7,
            Channel::TrunkRoll => 8,
            Channel::HeadPitch => 9,
            Channel::Hand(side, axis) => of(10, side, axis),
            Channel::Foot(side, axis) => of(16, side, axis),
            Channel::Elbow(side) => 22 + side as usize,
            Channel::Heel(side) => 24 + side as usize,
            Channel::FootYaw(side) => 26 + side as usize,
            Channel::Knee(side) => 28 + side as usize,
        }
    }
}

/// A number for each [`Channel`].
#[derive(Clone, Debug, PartialEq)]
pub struct Posture([f64; CHANNELS]);

impl Default for Posture {
    fn default() -> Self {
        Self([0.0; CHANNELS])
    }
}

impl Posture {
    /// The number of a channel.
    pub fn get(&self, channel: Channel) -> f64 {
        self.0[channel.index()]
    }

    /// Adds to the number of a channel.
    pub fn add(&mut self, channel: Channel, amount: f64) {
        self.0[channel.index()] += amount;
    }
}

/// A change of one channel that comes and goes, on minimum-jerk courses. Times are seconds from the move's begin.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    /// What changes.
    pub channel: Channel,
    /// By how much at most.
    pub amount: f64,
    /// From when to when it comes.
    pub rise: [f64; 2],
    /// From when to when it goes.
    pub fall: [f64; 2],
}

impl Pulse {
    /// The change at a time.
    pub fn at(&self, time: f64) -> f64 {
        let along = |[from, to]: [f64; 2]| minimum_jerk((time - from) / (to - from).max(1e-6));
        self.amount * (along(self.rise) - along(self.fall))
    }
}
