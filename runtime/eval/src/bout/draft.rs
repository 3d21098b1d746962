//! Builder of a move: its times, and the pulses that rise with its extension and fall with its retraction.

use super::{
    body::HIP_HEIGHT,
    moves::{Move, stance},
    posture::{
        Axis::{Forward, Left, Up},
        Channel::{self, Elbow, PelvisYaw, TrunkYaw},
        Posture, Pulse,
        Side::{self, Lead},
    },
    space::{Point, Rotation, add, sub},
    strikes::MoveKind,
};
use crate::Random;

/// Builder of a move. The limb extends from `extension_start` to `extension_end`, stays until `retraction_start` and
/// has returned at `end`.
pub struct Draft<'a> {
    pub random: Random,
    /// Posture before and after the move.
    pub guard: &'a Posture,
    /// Changes added so far.
    pub pulses: Vec<Pulse>,
    /// True if both hands strike.
    pub uses_both_hands: bool,
    /// Duration of the extension, s.
    pub extension_duration: f64,
    windup_factor: f64,
    /// Times from the start of the move, s.
    pub extension_start: f64,
    pub extension_end: f64,
    pub retraction_start: f64,
    pub end: f64,
}

impl<'a> Draft<'a> {
    /// Builds a move whose extension takes `extension_duration` seconds. `windup_factor` lengthens its windup.
    pub fn build(
        kind: &MoveKind,
        random: Random,
        guard: &'a Posture,
        extension_duration: f64,
        windup_factor: f64,
    ) -> Move {
        let mut draft = Self {
            random,
            guard,
            pulses: vec![],
            uses_both_hands: false,
            extension_duration,
            windup_factor,
            extension_start: 0.0,
            extension_end: 0.0,
            retraction_start: 0.0,
            end: 0.0,
        };
        let limb = (kind.build)(&mut draft);
        let extension = [draft.extension_start + 0.1 * extension_duration, draft.extension_end];
        Move {
            label: kind.label,
            limb,
            uses_both_hands: draft.uses_both_hands,
            pulses: draft.pulses,
            extension,
            end: draft.end,
        }
    }

    /// Draws a number from a range.
    pub fn between(&mut self, min: f64, max: f64) -> f64 {
        self.random.between(min, max)
    }

    /// Returns true with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.random.uniform() < probability
    }

    /// Sets the times: windup and stay in seconds, the retraction in multiples of the extension.
    pub fn set_times(&mut self, windup: [f64; 2], stay: [f64; 2], retraction: [f64; 2]) {
        // The hips may start a quarter of the extension's duration before the limb. From hanging hands, the windup is
        // longer.
        let hands_hang = self.guard.get(Channel::Hand(Lead, Up)) < -0.2;
        let windup =
            self.random.between(windup[0], windup[1]) * if hands_hang { 1.6 } else { 1.0 } * self.windup_factor;
        self.extension_start = (0.25 * self.extension_duration).max(windup);
        self.extension_end = self.extension_start + self.extension_duration;
        self.retraction_start = self.extension_end + self.random.between(stay[0], stay[1]);
        self.end = self.retraction_start
            + self.extension_duration.max(0.12) * self.random.between(retraction[0], retraction[1]);
    }

    /// Adds a change that rises with the limb's extension and falls with its retraction.
    pub fn pulse(&mut self, channel: Channel, amount: f64) {
        self.pulses.push(Pulse {
            channel,
            amount,
            rise: [self.extension_start, self.extension_end],
            fall: [self.retraction_start, self.end],
        });
    }

    /// Adds a change that rises during a part of the extension, given in shares of it, and falls with the retraction.
    pub fn pulse_during(&mut self, channel: Channel, amount: f64, [from, to]: [f64; 2]) {
        let at = |share: f64| (self.extension_start + share * self.extension_duration).max(0.0);
        self.pulses.push(Pulse { channel, amount, rise: [at(from), at(to)], fall: [self.retraction_start, self.end] });
    }

    /// Adds a change that rises during the windup and falls during the extension.
    pub fn windup_pulse(&mut self, channel: Channel, amount: f64) {
        let fall = [self.extension_start, self.extension_start + 0.7 * self.extension_duration];
        self.pulses.push(Pulse { channel, amount, rise: [0.0, self.extension_start], fall });
    }

    /// Adds a change that rises and falls during the extension, which bends a straight path into an arc.
    pub fn arc_pulse(&mut self, channel: Channel, amount: f64) {
        let halfway = self.extension_start + 0.5 * self.extension_duration;
        self.pulses.push(Pulse {
            channel,
            amount,
            rise: [self.extension_start, halfway],
            fall: [halfway, self.extension_end],
        });
    }

    /// Rotates hips and chest by a total angle to the left, the hips first.
    pub fn rotate_torso(&mut self, angle: f64) {
        self.pulse_during(PelvisYaw, 0.45 * angle, [-0.25, 0.9]);
        self.pulse_during(TrunkYaw, 0.55 * angle, [-0.1, 1.0]);
    }

    /// Returns the rotation of the chest to the left in guard.
    pub fn guard_torso_yaw(&self) -> f64 {
        self.guard.get(PelvisYaw) + self.guard.get(TrunkYaw)
    }

    /// Returns the shift of a hand that brings it to `target` (left, up, forward of its shoulder, in the frame of the
    /// whole body), in the frame of a chest that is rotated by `rotation` from the guard.
    pub fn hand_offset(&self, side: Side, target: Point, rotation: f64) -> Point {
        let target = Rotation::yaw(-self.guard_torso_yaw() - rotation).rotate(target);
        sub(target, self.guard_hand(side))
    }

    /// Moves a hand to `target` during the extension; arguments as in [`Draft::hand_offset`].
    pub fn move_hand(&mut self, side: Side, target: Point, rotation: f64) {
        let offset = self.hand_offset(side, target, rotation);
        for (axis, amount) in [Left, Up, Forward].into_iter().zip(offset) {
            self.pulse(Channel::Hand(side, axis), amount);
        }
    }

    /// Swivels the elbow outwards to an angle.
    pub fn swivel_elbow(&mut self, side: Side, swivel: f64) {
        let amount = swivel - self.guard.get(Elbow(side));
        self.pulse_during(Elbow(side), amount, [-0.1, 0.75]);
    }

    /// Returns the rotation that brings a side's shoulder forward, until the chest faces `past` beyond the front.
    pub fn torso_rotation(&self, side: Side, past: f64) -> f64 {
        -side.outward() * past - self.guard_torso_yaw()
    }

    /// Moves a foot to a position relative to the center of the hips, in the frame of the whole body. It rises during
    /// one part of the extension and goes forward during another.
    pub fn move_foot(&mut self, side: Side, from_hips: Point, rise: [f64; 2], forth: [f64; 2]) {
        let stand = stance(0.1)[side as usize].ankle;
        let [l, u, f] = sub(add([0.0, HIP_HEIGHT - 0.02, 0.0], from_hips), stand);
        self.pulse_during(Channel::Foot(side, Up), u, rise);
        self.pulse_during(Channel::Foot(side, Forward), f, forth);
        self.pulse_during(Channel::Foot(side, Left), l, forth);
    }

    /// Returns the position of a hand in guard, relative to its shoulder.
    pub fn guard_hand(&self, side: Side) -> Point {
        [Left, Up, Forward].map(|axis| self.guard.get(Channel::Hand(side, axis)))
    }

    /// Moves a hand during the windup to a position relative to its shoulder, in the frame of the chest.
    pub fn wind_up_hand(&mut self, side: Side, position: Point) {
        let offset = sub(position, self.guard_hand(side));
        for (axis, amount) in [Left, Up, Forward].into_iter().zip(offset) {
            self.windup_pulse(Channel::Hand(side, axis), amount);
        }
    }
}
