//! The fourteen moves, each with what tells it from the others, and with much that varies.

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
    space::minus,
};

/// A kind of move.
pub struct Kind {
    /// Its label.
    pub label: &'static str,
    /// The least and the greatest speed of its limb, m/s.
    pub speed: [f64; 2],
    /// From how near to how far it is done, m between the hips.
    pub distance: [f64; 2],
    /// Fills a draft with it; what it strikes with.
    pub make: fn(&mut Draft) -> Limb,
}

const FEET: [f64; 2] = [1.1, 1.4];
const HANDS: [f64; 2] = [0.8, 1.1];
const NEAR: [f64; 2] = [0.5, 0.7];

const fn kind(label: &'static str, speed: [f64; 2], distance: [f64; 2], make: fn(&mut Draft) -> Limb) -> Kind {
    Kind { label, speed, distance, make }
}

/// Every move that is drawn.
pub const MOVES: [Kind; 14] = [
    kind("jab", [5.0, 9.5], HANDS, |draft| draft.jab()),
    kind("cross", [5.5, 10.5], HANDS, |draft| draft.cross()),
    kind("hook", [5.0, 10.0], HANDS, |draft| draft.hook()),
    kind("uppercut", [5.0, 9.0], HANDS, |draft| draft.uppercut()),
    kind("elbow", [3.5, 7.0], NEAR, |draft| draft.elbow()),
    kind("hammer_fist", [5.0, 9.5], HANDS, |draft| draft.hammer_fist()),
    kind("slap", [5.0, 9.5], HANDS, |draft| draft.slap()),
    kind("push", [2.5, 5.5], HANDS, |draft| draft.push()),
    kind("knee", [3.5, 6.5], NEAR, |draft| draft.knee()),
    kind("front_kick", [6.0, 11.0], FEET, |draft| draft.front_kick()),
    kind("side_kick", [6.0, 11.0], FEET, |draft| draft.side_kick()),
    kind("headbutt", [2.2, 4.2], NEAR, |draft| draft.headbutt()),
    kind("clinch", [2.0, 4.0], NEAR, |draft| draft.clinch()),
    kind("duck", [1.2, 2.4], HANDS, |draft| draft.duck()),
];

impl Draft<'_> {
    fn jab(&mut self) -> Limb {
        self.timed([0.0, 0.06], [0.0, 0.03], [1.0, 1.5]);
        let turned = -degrees(self.between(6.0, 22.0));
        self.turn(turned);
        let target = [self.between(-0.06, 0.04), self.between(-0.1, 0.1), ARM * self.between(0.86, 1.02)];
        self.hand(Lead, target, turned);
        let swivel = degrees(self.between(25.0, 60.0));
        self.elbow_to(Lead, swivel);
        let lunge = self.between(0.01, 0.07);
        self.with(Channel::Pelvis(Forward), lunge);
        Limb::Hand(Lead)
    }

    fn cross(&mut self) -> Limb {
        self.timed([0.0, 0.08], [0.0, 0.04], [1.0, 1.5]);
        let past = degrees(self.between(15.0, 45.0));
        let turned = self.swing(Rear, past);
        self.turn(turned);
        let target = [self.between(-0.02, 0.08), self.between(-0.1, 0.08), ARM * self.between(0.86, 1.02)];
        self.hand(Rear, target, turned);
        let swivel = degrees(self.between(25.0, 65.0));
        self.elbow_to(Rear, swivel);
        let (lunge, heel) = (self.between(0.02, 0.07), self.between(0.3, 0.75));
        self.with(Channel::Pelvis(Forward), lunge);
        self.with(Heel(Rear), heel);
        self.with(FootYaw(Rear), 0.5);
        Limb::Hand(Rear)
    }

    fn hook(&mut self) -> Limb {
        let side = if self.chance(0.7) { Lead } else { Rear };
        self.timed([0.05, 0.15], [0.0, 0.03], [1.1, 1.6]);
        let past = degrees(self.between(15.0, 45.0));
        let wind = side.out() * degrees(self.between(8.0, 20.0));
        self.before(TrunkYaw, wind);
        let turned = self.swing(side, past) - side.out() * degrees(self.between(5.0, 20.0));
        self.turn(turned);
        // The arm stays bent by about a right angle: the chest carries it round.
        let inwards = -side.out() * ARM * self.between(0.15, 0.4);
        let target = [inwards, self.between(-0.05, 0.08), ARM * self.between(0.55, 0.72)];
        self.hand(side, target, turned);
        let (out, drop) = (self.between(0.05, 0.13), self.between(-0.05, 0.0));
        self.before(Channel::Hand(side, Left), side.out() * out);
        self.before(Channel::Hand(side, Up), drop);
        self.arc(Channel::Hand(side, Left), side.out() * 0.6 * out);
        let swivel = degrees(self.between(72.0, 98.0));
        self.elbow_to(side, swivel);
        let heel = self.between(0.2, 0.6);
        self.with(Heel(side), heel);
        Limb::Hand(side)
    }

    fn uppercut(&mut self) -> Limb {
        let side = if self.chance(0.6) { Rear } else { Lead };
        self.timed([0.1, 0.22], [0.0, 0.04], [1.1, 1.6]);
        let (dip, drop) = (self.between(0.03, 0.08), self.between(0.1, 0.2));
        self.before(Channel::Pelvis(Up), -dip);
        self.before(Channel::Hand(side, Up), -drop);
        let lean = self.between(0.05, 0.2);
        self.before(TrunkPitch, lean);
        let turned = self.swing(side, degrees(15.0)) * self.between(0.5, 1.0);
        self.turn(turned);
        let inwards = -side.out() * self.between(0.0, 0.07);
        let target = [inwards, self.between(0.06, 0.17), ARM * self.between(0.42, 0.66)];
        self.hand(side, target, turned);
        // First below, then forward, then up.
        let forward = self.between(0.02, 0.07);
        self.arc(Channel::Hand(side, Forward), forward);
        let swivel = degrees(self.between(0.0, 22.0));
        self.elbow_to(side, swivel);
        let rise = self.between(0.01, 0.03);
        self.with(Channel::Pelvis(Up), rise);
        self.with(TrunkPitch, -0.5 * lean);
        self.with(Heel(side), 0.4);
        Limb::Hand(side)
    }

    fn elbow(&mut self) -> Limb {
        let side = if self.chance(0.6) { Rear } else { Lead };
        self.timed([0.04, 0.12], [0.0, 0.05], [1.1, 1.6]);
        let past = degrees(self.between(35.0, 65.0));
        let turned = self.swing(side, past) - side.out() * degrees(self.between(0.0, 15.0));
        self.turn(turned);
        // The fist stays by the chest; as the chest sees it, it goes to the other side.
        let there = [-side.out() * self.between(0.06, 0.14), self.between(-0.03, 0.08), self.between(0.07, 0.12)];
        for (axis, amount) in [Left, Up, Forward].into_iter().zip(minus(there, self.held(side))) {
            self.with(Channel::Hand(side, axis), amount);
        }
        let swivel = degrees(self.between(88.0, 130.0));
        self.elbow_to(side, swivel);
        let lunge = self.between(0.03, 0.08);
        self.with(Channel::Pelvis(Forward), lunge);
        self.with(Heel(side), 0.4);
        Limb::Elbow(side)
    }

    fn hammer_fist(&mut self) -> Limb {
        let side = if self.chance(0.7) { Rear } else { Lead };
        self.timed([0.22, 0.4], [0.0, 0.06], [1.2, 1.8]);
        let turned = self.swing(side, degrees(10.0)) * self.between(0.4, 0.9);
        self.turn(turned);
        let raised = [side.out() * self.between(0.0, 0.08), self.between(0.18, 0.28), self.between(-0.02, 0.08)];
        self.hand_before(side, raised);
        let swivel = degrees(self.between(55.0, 85.0));
        let lift = swivel - self.guard.get(Elbow(side));
        self.pulses.push(Pulse { channel: Elbow(side), amount: lift, rise: [0.0, self.go], fall: [self.go, self.end] });
        let target = [-side.out() * self.between(0.0, 0.06), self.between(-0.14, 0.0), ARM * self.between(0.65, 0.9)];
        self.hand(side, target, turned);
        self.arc(Channel::Hand(side, Forward), 0.07);
        let (back, lean) = (self.between(0.05, 0.18), self.between(0.12, 0.35));
        self.before(TrunkPitch, -back);
        self.with(TrunkPitch, lean);
        Limb::Hand(side)
    }

    fn slap(&mut self) -> Limb {
        let side = if self.chance(0.75) { Rear } else { Lead };
        self.timed([0.2, 0.36], [0.0, 0.05], [1.1, 1.7]);
        let past = degrees(self.between(5.0, 35.0));
        let wind = side.out() * degrees(self.between(10.0, 25.0));
        self.before(TrunkYaw, wind);
        let turned = self.swing(side, past);
        self.turn(turned);
        // From far out to the side, nearly straight, round to the front.
        let wide =
            [side.out() * ARM * self.between(0.6, 0.85), self.between(-0.1, 0.05), ARM * self.between(0.15, 0.4)];
        self.hand_before(side, wide);
        let inwards = -side.out() * ARM * self.between(0.1, 0.35);
        let target = [inwards, self.between(0.0, 0.1), ARM * self.between(0.72, 0.9)];
        self.hand(side, target, turned);
        self.arc(Channel::Hand(side, Left), side.out() * 0.22 * ARM);
        self.arc(Channel::Hand(side, Forward), 0.22 * ARM);
        let swivel = degrees(self.between(40.0, 75.0));
        self.elbow_to(side, swivel);
        Limb::Hand(side)
    }

    fn push(&mut self) -> Limb {
        self.both = true;
        self.timed([0.1, 0.25], [0.1, 0.45], [1.2, 2.0]);
        let turned = -self.bladed() * self.between(0.7, 1.0);
        self.turn(turned);
        let (up, far, apart) = (self.between(-0.08, 0.04), self.between(0.85, 1.0), self.between(-0.02, 0.05));
        let draw = self.between(0.03, 0.09);
        for side in [Lead, Rear] {
            self.before(Channel::Hand(side, Forward), -draw);
            self.hand(side, [-side.out() * apart, up, ARM * far], turned);
            let swivel = degrees(self.between(25.0, 55.0));
            self.elbow_to(side, swivel);
        }
        let (lunge, lean) = (self.between(0.03, 0.1), self.between(0.05, 0.22));
        self.with(Channel::Pelvis(Forward), lunge);
        self.with(TrunkPitch, lean);
        self.with(Heel(Rear), 0.4);
        Limb::Hand(Rear)
    }

    fn knee(&mut self) -> Limb {
        let side = if self.chance(0.75) { Rear } else { Lead };
        self.timed([0.16, 0.3], [0.0, 0.06], [1.1, 1.6]);
        let place = [side.out() * self.between(-0.02, 0.05), -self.between(0.2, 0.28), self.between(0.1, 0.2)];
        self.foot(side, place, [0.0, 1.0], [0.15, 1.0]);
        let (tip, lean, thrust) = (self.between(0.4, 0.9), self.between(0.1, 0.3), self.between(0.05, 0.12));
        self.with(Heel(side), tip);
        self.with(Heel(side.other()), 0.35);
        self.with(PelvisPitch, -lean);
        self.with(Channel::Pelvis(Forward), thrust);
        let turned = self.swing(side, degrees(10.0)) * self.between(0.5, 1.0);
        self.turn(turned);
        // Both hands pull down what they hold, from before the face to the knee.
        let (reach, low) = (self.between(0.5, 0.75), self.between(0.12, 0.25));
        for hand in [Lead, Rear] {
            let way = self.way(hand, [-hand.out() * 0.03, 0.04, ARM * reach], 0.0);
            for (axis, amount) in [Left, Up, Forward].into_iter().zip(way) {
                self.before(Channel::Hand(hand, axis), amount);
            }
            self.hand(hand, [-hand.out() * 0.02, -low, 0.55 * ARM * reach], turned);
        }
        Limb::Knee(side)
    }

    fn front_kick(&mut self) -> Limb {
        let side = if self.chance(0.6) { Rear } else { Lead };
        self.timed([0.06, 0.16], [0.0, 0.06], [1.1, 1.6]);
        let place = [side.out() * self.between(-0.03, 0.04), self.between(-0.18, 0.1), self.between(0.42, 0.5)];
        self.foot(side, place, [0.0, 0.85], [0.1, 1.0]);
        // The knee is up before the foot goes forward.
        let lift = self.between(0.02, 0.07);
        self.arc(Channel::Foot(side, Up), lift);
        let (tip, lean) = (self.between(-0.4, 0.2), self.between(0.12, 0.4));
        self.with(Heel(side), tip);
        self.with(PelvisPitch, -lean);
        self.with(TrunkPitch, 0.4 * lean);
        let turned = self.swing(side, 0.0) * self.between(0.5, 1.0);
        self.turn(turned);
        let drop = self.between(0.0, 0.12);
        self.with(Channel::Hand(side, Up), -drop);
        Limb::Foot(side)
    }

    fn side_kick(&mut self) -> Limb {
        let side = if self.chance(0.65) { Lead } else { Rear };
        self.timed([0.1, 0.22], [0.0, 0.07], [1.1, 1.7]);
        // The hip of the kicking leg turns to the front, the body leans away from it.
        let hip = -side.out() * degrees(self.between(62.0, 90.0));
        let turn = hip - self.guard.get(PelvisYaw);
        self.pulses.push(Pulse {
            channel: PelvisYaw,
            amount: turn,
            rise: [0.0, self.go + 0.7 * self.time],
            fall: [self.back, self.end],
        });
        let (lean, height) = (self.between(0.25, 0.6), self.between(-0.2, 0.1));
        self.part(PelvisRoll, -side.out() * lean, [-0.3, 0.9]);
        self.part(TrunkRoll, -side.out() * 0.3 * lean, [-0.3, 0.9]);
        let far = self.between(0.44, 0.52);
        self.foot(side, [0.0, height, far], [-0.2, 0.75], [0.1, 1.0]);
        let chamber = self.between(0.05, 0.12);
        self.arc(Channel::Foot(side, Up), 0.5 * chamber);
        self.before(Channel::Foot(side, Forward), -0.4 * chamber);
        let turned = -side.out() * degrees(70.0);
        self.with(FootYaw(side), turned);
        // The standing foot turns its heel to the front.
        self.with(FootYaw(side.other()), 0.8 * hip);
        let drop = self.between(0.05, 0.2);
        self.with(Channel::Hand(side, Up), -drop);
        Limb::Foot(side)
    }

    fn headbutt(&mut self) -> Limb {
        self.timed([0.12, 0.3], [0.0, 0.06], [1.1, 1.8]);
        let (back, lean, nod) = (self.between(0.1, 0.28), self.between(0.35, 0.65), self.between(0.2, 0.5));
        self.before(TrunkPitch, -back);
        self.before(HeadPitch, -0.5 * back);
        self.with(TrunkPitch, 0.65 * lean);
        self.with(PelvisPitch, 0.35 * lean);
        self.with(HeadPitch, nod);
        let (lunge, dip) = (self.between(0.03, 0.09), self.between(0.0, 0.03));
        self.with(Channel::Pelvis(Forward), lunge);
        self.with(Channel::Pelvis(Up), -dip);
        // Hands hold the other, or stay.
        if self.chance(0.5) {
            for side in [Lead, Rear] {
                let way = self.way(side, [-side.out() * 0.02, -0.08, 0.6 * ARM], 0.0);
                for (axis, amount) in [Left, Up, Forward].into_iter().zip(way) {
                    let (rise, fall) = ([0.0, self.go], [self.back, self.end]);
                    self.pulses.push(Pulse { channel: Channel::Hand(side, axis), amount: 0.8 * amount, rise, fall });
                }
            }
        }
        Limb::Head
    }

    fn clinch(&mut self) -> Limb {
        self.both = true;
        self.timed([0.06, 0.15], [0.8, 2.0], [1.5, 2.5]);
        self.end = self.end.max(self.back + 0.35);
        let turned = -self.bladed() * self.between(0.6, 1.0);
        self.turn(turned);
        let (up, far) = (self.between(0.0, 0.1), self.between(0.68, 0.88));
        for side in [Lead, Rear] {
            let cross = self.between(0.06, 0.13);
            self.hand(side, [-side.out() * cross, up, ARM * far], turned);
            self.arc(Channel::Hand(side, Left), side.out() * 0.1);
            let swivel = degrees(self.between(45.0, 75.0));
            self.elbow_to(side, swivel);
        }
        let (lunge, lean, nod) = (self.between(0.04, 0.1), self.between(0.1, 0.3), self.between(0.0, 0.3));
        self.with(Channel::Pelvis(Forward), lunge);
        self.with(TrunkPitch, lean);
        self.with(HeadPitch, nod);
        // They sway and wrestle while they hold.
        let mut from = self.there;
        while from + 0.5 < self.back {
            let half = self.between(0.2, 0.35);
            let (sway, twist) = (self.between(-0.03, 0.03), self.between(-0.12, 0.12));
            let (rise, fall) = ([from, from + half], [from + half, from + 2.0 * half]);
            self.pulses.push(Pulse { channel: Channel::Pelvis(Left), amount: sway, rise, fall });
            self.pulses.push(Pulse { channel: TrunkYaw, amount: twist, rise, fall });
            from += half;
        }
        let fastest = if self.bladed() > 0.0 { Lead } else { Rear };
        Limb::Hand(fastest)
    }

    fn duck(&mut self) -> Limb {
        self.timed([0.02, 0.08], [0.0, 0.25], [1.1, 1.8]);
        let (deep, lean, aside) = (self.between(0.13, 0.25), self.between(0.25, 0.6), self.between(-0.07, 0.07));
        self.with(Channel::Pelvis(Up), -deep);
        self.with(TrunkPitch, 0.6 * lean);
        self.with(PelvisPitch, 0.4 * lean);
        self.with(Channel::Pelvis(Left), aside);
        self.with(TrunkRoll, 2.0 * aside);
        self.with(Channel::Pelvis(Forward), -0.04);
        self.with(HeadPitch, -0.5 * lean);
        self.with(Heel(Rear), 0.5);
        for side in [Lead, Rear] {
            let open = self.between(0.0, 0.25);
            self.with(Knee(side), open);
        }
        Limb::Head
    }
}

fn degrees(angle: f64) -> f64 {
    angle * PI / 180.0
}
