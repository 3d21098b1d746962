//! The fourteen moves, with their distinguishing features and random variation.

use std::f64::consts::PI;

use super::{
    body::ARM,
    draft::Draft,
    moves::Limb,
    posture::{
        Axis::{Forward, Left, Up},
        Channel::{
            self, Elbow, FootYaw, HeadPitch, Heel, Knee, PelvisPitch, PelvisRoll, PelvisYaw, TrunkPitch, TrunkRoll,
            TrunkYaw,
        },
        Pulse,
        Side::{Lead, Rear},
    },
    space::sub,
};

/// Kind of move.
pub struct MoveKind {
    /// Label.
    pub label: &'static str,
    /// Minimum and maximum speed of its limb, m/s.
    pub speed: [f64; 2],
    /// Minimum and maximum distance between the fighters' hips, m.
    pub distance: [f64; 2],
    /// Adds the move to a draft; returns the striking limb.
    pub build: fn(&mut Draft) -> Limb,
}

/// Distances of kicks, of strikes with the hands, and of moves at close range, m.
const KICK_DISTANCE_M: [f64; 2] = [1.1, 1.4];
const HAND_DISTANCE_M: [f64; 2] = [0.8, 1.1];
const CLOSE_DISTANCE_M: [f64; 2] = [0.5, 0.7];

const fn move_kind(
    label: &'static str,
    speed: [f64; 2],
    distance: [f64; 2],
    build: fn(&mut Draft) -> Limb,
) -> MoveKind {
    MoveKind { label, speed, distance, build }
}

/// All moves that are generated.
pub const MOVES: [MoveKind; 14] = [
    move_kind("jab", [5.0, 9.5], HAND_DISTANCE_M, |draft| draft.jab()),
    move_kind("cross", [5.5, 10.5], HAND_DISTANCE_M, |draft| draft.cross()),
    move_kind("hook", [5.0, 10.0], HAND_DISTANCE_M, |draft| draft.hook()),
    move_kind("uppercut", [5.0, 9.0], HAND_DISTANCE_M, |draft| draft.uppercut()),
    move_kind("elbow", [3.5, 7.0], CLOSE_DISTANCE_M, |draft| draft.elbow()),
    move_kind("hammer_fist", [5.0, 9.5], HAND_DISTANCE_M, |draft| draft.hammer_fist()),
    move_kind("slap", [5.0, 9.5], HAND_DISTANCE_M, |draft| draft.slap()),
    move_kind("push", [2.5, 5.5], HAND_DISTANCE_M, |draft| draft.push()),
    move_kind("knee", [3.5, 6.5], CLOSE_DISTANCE_M, |draft| draft.knee()),
    move_kind("front_kick", [6.0, 11.0], KICK_DISTANCE_M, |draft| draft.front_kick()),
    move_kind("side_kick", [6.0, 11.0], KICK_DISTANCE_M, |draft| draft.side_kick()),
    move_kind("headbutt", [2.2, 4.2], CLOSE_DISTANCE_M, |draft| draft.headbutt()),
    move_kind("clinch", [2.0, 4.0], CLOSE_DISTANCE_M, |draft| draft.clinch()),
    move_kind("duck", [1.2, 2.4], HAND_DISTANCE_M, |draft| draft.duck()),
];

impl Draft<'_> {
    fn jab(&mut self) -> Limb {
        self.set_times([0.0, 0.06], [0.0, 0.03], [1.0, 1.5]);
        let rotation = -degrees(self.between(6.0, 22.0));
        self.rotate_torso(rotation);
        let target = [self.between(-0.06, 0.04), self.between(-0.1, 0.1), ARM * self.between(0.86, 1.02)];
        self.move_hand(Lead, target, rotation);
        let swivel = degrees(self.between(25.0, 60.0));
        self.swivel_elbow(Lead, swivel);
        let lunge = self.between(0.01, 0.07);
        self.pulse(Channel::Pelvis(Forward), lunge);
        Limb::Hand(Lead)
    }

    fn cross(&mut self) -> Limb {
        self.set_times([0.0, 0.08], [0.0, 0.04], [1.0, 1.5]);
        let past = degrees(self.between(15.0, 45.0));
        let rotation = self.torso_rotation(Rear, past);
        self.rotate_torso(rotation);
        let target = [self.between(-0.02, 0.08), self.between(-0.1, 0.08), ARM * self.between(0.86, 1.02)];
        self.move_hand(Rear, target, rotation);
        let swivel = degrees(self.between(25.0, 65.0));
        self.swivel_elbow(Rear, swivel);
        let (lunge, heel) = (self.between(0.02, 0.07), self.between(0.3, 0.75));
        self.pulse(Channel::Pelvis(Forward), lunge);
        self.pulse(Heel(Rear), heel);
        self.pulse(FootYaw(Rear), 0.5);
        Limb::Hand(Rear)
    }

    fn hook(&mut self) -> Limb {
        let side = if self.chance(0.7) { Lead } else { Rear };
        self.set_times([0.05, 0.15], [0.0, 0.03], [1.1, 1.6]);
        let past = degrees(self.between(15.0, 45.0));
        let wind = side.outward() * degrees(self.between(8.0, 20.0));
        self.windup_pulse(TrunkYaw, wind);
        let rotation = self.torso_rotation(side, past) - side.outward() * degrees(self.between(5.0, 20.0));
        self.rotate_torso(rotation);
        // The arm stays bent by about a right angle and is moved by the chest.
        let inwards = -side.outward() * ARM * self.between(0.15, 0.4);
        let target = [inwards, self.between(-0.05, 0.08), ARM * self.between(0.55, 0.72)];
        self.move_hand(side, target, rotation);
        let (out, drop) = (self.between(0.05, 0.13), self.between(-0.05, 0.0));
        self.windup_pulse(Channel::Hand(side, Left), side.outward() * out);
        self.windup_pulse(Channel::Hand(side, Up), drop);
        self.arc_pulse(Channel::Hand(side, Left), side.outward() * 0.6 * out);
        let swivel = degrees(self.between(72.0, 98.0));
        self.swivel_elbow(side, swivel);
        let heel = self.between(0.2, 0.6);
        self.pulse(Heel(side), heel);
        Limb::Hand(side)
    }

    fn uppercut(&mut self) -> Limb {
        let side = if self.chance(0.6) { Rear } else { Lead };
        self.set_times([0.1, 0.22], [0.0, 0.04], [1.1, 1.6]);
        let (dip, drop) = (self.between(0.03, 0.08), self.between(0.1, 0.2));
        self.windup_pulse(Channel::Pelvis(Up), -dip);
        self.windup_pulse(Channel::Hand(side, Up), -drop);
        let lean = self.between(0.05, 0.2);
        self.windup_pulse(TrunkPitch, lean);
        let rotation = self.torso_rotation(side, degrees(15.0)) * self.between(0.5, 1.0);
        self.rotate_torso(rotation);
        let inwards = -side.outward() * self.between(0.0, 0.07);
        let target = [inwards, self.between(0.06, 0.17), ARM * self.between(0.42, 0.66)];
        self.move_hand(side, target, rotation);
        // The hand first drops, then goes forward, then up.
        let forward = self.between(0.02, 0.07);
        self.arc_pulse(Channel::Hand(side, Forward), forward);
        let swivel = degrees(self.between(0.0, 22.0));
        self.swivel_elbow(side, swivel);
        let rise = self.between(0.01, 0.03);
        self.pulse(Channel::Pelvis(Up), rise);
        self.pulse(TrunkPitch, -0.5 * lean);
        self.pulse(Heel(side), 0.4);
        Limb::Hand(side)
    }

    fn elbow(&mut self) -> Limb {
        let side = if self.chance(0.6) { Rear } else { Lead };
        self.set_times([0.04, 0.12], [0.0, 0.05], [1.1, 1.6]);
        let past = degrees(self.between(35.0, 65.0));
        let rotation = self.torso_rotation(side, past) - side.outward() * degrees(self.between(0.0, 15.0));
        self.rotate_torso(rotation);
        // The fist stays near the chest; in the frame of the chest it moves to the other side.
        let target = [-side.outward() * self.between(0.06, 0.14), self.between(-0.03, 0.08), self.between(0.07, 0.12)];
        for (axis, amount) in [Left, Up, Forward].into_iter().zip(sub(target, self.guard_hand(side))) {
            self.pulse(Channel::Hand(side, axis), amount);
        }
        let swivel = degrees(self.between(88.0, 130.0));
        self.swivel_elbow(side, swivel);
        let lunge = self.between(0.03, 0.08);
        self.pulse(Channel::Pelvis(Forward), lunge);
        self.pulse(Heel(side), 0.4);
        Limb::Elbow(side)
    }

    fn hammer_fist(&mut self) -> Limb {
        let side = if self.chance(0.7) { Rear } else { Lead };
        self.set_times([0.22, 0.4], [0.0, 0.06], [1.2, 1.8]);
        let rotation = self.torso_rotation(side, degrees(10.0)) * self.between(0.4, 0.9);
        self.rotate_torso(rotation);
        let raised = [side.outward() * self.between(0.0, 0.08), self.between(0.18, 0.28), self.between(-0.02, 0.08)];
        self.wind_up_hand(side, raised);
        let swivel = degrees(self.between(55.0, 85.0));
        let lift = swivel - self.guard.get(Elbow(side));
        self.pulses.push(Pulse {
            channel: Elbow(side),
            amount: lift,
            rise: [0.0, self.extension_start],
            fall: [self.extension_start, self.end],
        });
        let target =
            [-side.outward() * self.between(0.0, 0.06), self.between(-0.14, 0.0), ARM * self.between(0.65, 0.9)];
        self.move_hand(side, target, rotation);
        self.arc_pulse(Channel::Hand(side, Forward), 0.07);
        let (back, lean) = (self.between(0.05, 0.18), self.between(0.12, 0.35));
        self.windup_pulse(TrunkPitch, -back);
        self.pulse(TrunkPitch, lean);
        Limb::Hand(side)
    }

    fn slap(&mut self) -> Limb {
        let side = if self.chance(0.75) { Rear } else { Lead };
        self.set_times([0.2, 0.36], [0.0, 0.05], [1.1, 1.7]);
        let past = degrees(self.between(5.0, 35.0));
        let wind = side.outward() * degrees(self.between(10.0, 25.0));
        self.windup_pulse(TrunkYaw, wind);
        let rotation = self.torso_rotation(side, past);
        self.rotate_torso(rotation);
        // From far out to the side, nearly straight, around to the front.
        let wide =
            [side.outward() * ARM * self.between(0.6, 0.85), self.between(-0.1, 0.05), ARM * self.between(0.15, 0.4)];
        self.wind_up_hand(side, wide);
        let inwards = -side.outward() * ARM * self.between(0.1, 0.35);
        let target = [inwards, self.between(0.0, 0.1), ARM * self.between(0.72, 0.9)];
        self.move_hand(side, target, rotation);
        self.arc_pulse(Channel::Hand(side, Left), side.outward() * 0.22 * ARM);
        self.arc_pulse(Channel::Hand(side, Forward), 0.22 * ARM);
        let swivel = degrees(self.between(40.0, 75.0));
        self.swivel_elbow(side, swivel);
        Limb::Hand(side)
    }

    fn push(&mut self) -> Limb {
        self.uses_both_hands = true;
        self.set_times([0.1, 0.25], [0.1, 0.45], [1.2, 2.0]);
        let rotation = -self.guard_torso_yaw() * self.between(0.7, 1.0);
        self.rotate_torso(rotation);
        let (up, far, apart) = (self.between(-0.08, 0.04), self.between(0.85, 1.0), self.between(-0.02, 0.05));
        let draw = self.between(0.03, 0.09);
        for side in [Lead, Rear] {
            self.windup_pulse(Channel::Hand(side, Forward), -draw);
            self.move_hand(side, [-side.outward() * apart, up, ARM * far], rotation);
            let swivel = degrees(self.between(25.0, 55.0));
            self.swivel_elbow(side, swivel);
        }
        let (lunge, lean) = (self.between(0.03, 0.1), self.between(0.05, 0.22));
        self.pulse(Channel::Pelvis(Forward), lunge);
        self.pulse(TrunkPitch, lean);
        self.pulse(Heel(Rear), 0.4);
        Limb::Hand(Rear)
    }

    fn knee(&mut self) -> Limb {
        let side = if self.chance(0.75) { Rear } else { Lead };
        self.set_times([0.16, 0.3], [0.0, 0.06], [1.1, 1.6]);
        let place = [side.outward() * self.between(-0.02, 0.05), -self.between(0.2, 0.28), self.between(0.1, 0.2)];
        self.move_foot(side, place, [0.0, 1.0], [0.15, 1.0]);
        let (tip, lean, thrust) = (self.between(0.4, 0.9), self.between(0.1, 0.3), self.between(0.05, 0.12));
        self.pulse(Heel(side), tip);
        self.pulse(Heel(side.other()), 0.35);
        self.pulse(PelvisPitch, -lean);
        self.pulse(Channel::Pelvis(Forward), thrust);
        let rotation = self.torso_rotation(side, degrees(10.0)) * self.between(0.5, 1.0);
        self.rotate_torso(rotation);
        // Both hands pull the opponent down, from in front of the face to the knee.
        let (reach, low) = (self.between(0.5, 0.75), self.between(0.12, 0.25));
        for hand in [Lead, Rear] {
            let offset = self.hand_offset(hand, [-hand.outward() * 0.03, 0.04, ARM * reach], 0.0);
            for (axis, amount) in [Left, Up, Forward].into_iter().zip(offset) {
                self.windup_pulse(Channel::Hand(hand, axis), amount);
            }
            self.move_hand(hand, [-hand.outward() * 0.02, -low, 0.55 * ARM * reach], rotation);
        }
        Limb::Knee(side)
    }

    fn front_kick(&mut self) -> Limb {
        let side = if self.chance(0.6) { Rear } else { Lead };
        self.set_times([0.06, 0.16], [0.0, 0.06], [1.1, 1.6]);
        let place = [side.outward() * self.between(-0.03, 0.04), self.between(-0.18, 0.1), self.between(0.42, 0.5)];
        self.move_foot(side, place, [0.0, 0.85], [0.1, 1.0]);
        // The knee rises before the foot goes forward.
        let lift = self.between(0.02, 0.07);
        self.arc_pulse(Channel::Foot(side, Up), lift);
        let (tip, lean) = (self.between(-0.4, 0.2), self.between(0.12, 0.4));
        self.pulse(Heel(side), tip);
        self.pulse(PelvisPitch, -lean);
        self.pulse(TrunkPitch, 0.4 * lean);
        let rotation = self.torso_rotation(side, 0.0) * self.between(0.5, 1.0);
        self.rotate_torso(rotation);
        let drop = self.between(0.0, 0.12);
        self.pulse(Channel::Hand(side, Up), -drop);
        Limb::Foot(side)
    }

    fn side_kick(&mut self) -> Limb {
        let side = if self.chance(0.65) { Lead } else { Rear };
        self.set_times([0.1, 0.22], [0.0, 0.07], [1.1, 1.7]);
        // The hip of the kicking leg turns to the front, and the body leans away from it.
        let hip = -side.outward() * degrees(self.between(62.0, 90.0));
        let yaw = hip - self.guard.get(PelvisYaw);
        self.pulses.push(Pulse {
            channel: PelvisYaw,
            amount: yaw,
            rise: [0.0, self.extension_start + 0.7 * self.extension_duration],
            fall: [self.retraction_start, self.end],
        });
        let (lean, height) = (self.between(0.25, 0.6), self.between(-0.2, 0.1));
        self.pulse_during(PelvisRoll, -side.outward() * lean, [-0.3, 0.9]);
        self.pulse_during(TrunkRoll, -side.outward() * 0.3 * lean, [-0.3, 0.9]);
        let far = self.between(0.44, 0.52);
        self.move_foot(side, [0.0, height, far], [-0.2, 0.75], [0.1, 1.0]);
        let chamber = self.between(0.05, 0.12);
        self.arc_pulse(Channel::Foot(side, Up), 0.5 * chamber);
        self.windup_pulse(Channel::Foot(side, Forward), -0.4 * chamber);
        let rotation = -side.outward() * degrees(70.0);
        self.pulse(FootYaw(side), rotation);
        // The standing foot turns its heel to the front.
        self.pulse(FootYaw(side.other()), 0.8 * hip);
        let drop = self.between(0.05, 0.2);
        self.pulse(Channel::Hand(side, Up), -drop);
        Limb::Foot(side)
    }

    fn headbutt(&mut self) -> Limb {
        self.set_times([0.12, 0.3], [0.0, 0.06], [1.1, 1.8]);
        let (back, lean, nod) = (self.between(0.1, 0.28), self.between(0.35, 0.65), self.between(0.2, 0.5));
        self.windup_pulse(TrunkPitch, -back);
        self.windup_pulse(HeadPitch, -0.5 * back);
        self.pulse(TrunkPitch, 0.65 * lean);
        self.pulse(PelvisPitch, 0.35 * lean);
        self.pulse(HeadPitch, nod);
        let (lunge, dip) = (self.between(0.03, 0.09), self.between(0.0, 0.03));
        self.pulse(Channel::Pelvis(Forward), lunge);
        self.pulse(Channel::Pelvis(Up), -dip);
        // The hands hold the opponent, or stay in guard.
        if self.chance(0.5) {
            for side in [Lead, Rear] {
                let offset = self.hand_offset(side, [-side.outward() * 0.02, -0.08, 0.6 * ARM], 0.0);
                for (axis, amount) in [Left, Up, Forward].into_iter().zip(offset) {
                    let (rise, fall) = ([0.0, self.extension_start], [self.retraction_start, self.end]);
                    self.pulses.push(Pulse { channel: Channel::Hand(side, axis), amount: 0.8 * amount, rise, fall });
                }
            }
        }
        Limb::Head
    }

    fn clinch(&mut self) -> Limb {
        self.uses_both_hands = true;
        self.set_times([0.06, 0.15], [0.8, 2.0], [1.5, 2.5]);
        self.end = self.end.max(self.retraction_start + 0.35);
        let rotation = -self.guard_torso_yaw() * self.between(0.6, 1.0);
        self.rotate_torso(rotation);
        let (up, far) = (self.between(0.0, 0.1), self.between(0.68, 0.88));
        for side in [Lead, Rear] {
            let cross = self.between(0.06, 0.13);
            self.move_hand(side, [-side.outward() * cross, up, ARM * far], rotation);
            self.arc_pulse(Channel::Hand(side, Left), side.outward() * 0.1);
            let swivel = degrees(self.between(45.0, 75.0));
            self.swivel_elbow(side, swivel);
        }
        let (lunge, lean, nod) = (self.between(0.04, 0.1), self.between(0.1, 0.3), self.between(0.0, 0.3));
        self.pulse(Channel::Pelvis(Forward), lunge);
        self.pulse(TrunkPitch, lean);
        self.pulse(HeadPitch, nod);
        // Sway and torsion during the hold.
        let mut from = self.extension_end;
        while from + 0.5 < self.retraction_start {
            let half = self.between(0.2, 0.35);
            let (sway, twist) = (self.between(-0.03, 0.03), self.between(-0.12, 0.12));
            let (rise, fall) = ([from, from + half], [from + half, from + 2.0 * half]);
            self.pulses.push(Pulse { channel: Channel::Pelvis(Left), amount: sway, rise, fall });
            self.pulses.push(Pulse { channel: TrunkYaw, amount: twist, rise, fall });
            from += half;
        }
        let faster_side = if self.guard_torso_yaw() > 0.0 { Lead } else { Rear };
        Limb::Hand(faster_side)
    }

    fn duck(&mut self) -> Limb {
        self.set_times([0.02, 0.08], [0.0, 0.25], [1.1, 1.8]);
        let (deep, lean, aside) = (self.between(0.13, 0.25), self.between(0.25, 0.6), self.between(-0.07, 0.07));
        self.pulse(Channel::Pelvis(Up), -deep);
        self.pulse(TrunkPitch, 0.6 * lean);
        self.pulse(PelvisPitch, 0.4 * lean);
        self.pulse(Channel::Pelvis(Left), aside);
        self.pulse(TrunkRoll, 2.0 * aside);
        self.pulse(Channel::Pelvis(Forward), -0.04);
        self.pulse(HeadPitch, -0.5 * lean);
        self.pulse(Heel(Rear), 0.5);
        for side in [Lead, Rear] {
            let open = self.between(0.0, 0.25);
            self.pulse(Knee(side), open);
        }
        Limb::Head
    }
}

fn degrees(angle: f64) -> f64 {
    angle * PI / 180.0
}
