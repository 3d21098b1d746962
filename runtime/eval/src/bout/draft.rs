//! A move in the making: the times of its way out and back, and the changes that come and go with them.

use super::{
    body::HIP_HEIGHT,
    moves::{Move, stance},
    posture::{
        Axis::{Forward, Left, Up},
        Channel::{self, Elbow, PelvisYaw, TrunkYaw},
        Posture, Pulse,
        Side::{self, Lead},
    },
    space::{Point, Turn, minus, plus},
    strikes::Kind,
};
use crate::Random;

/// A move in the making. Its limb goes out from `go` to `there`, stays until `back` and has returned at `end`.
pub struct Draft<'a> {
    pub random: Random,
    pub guard: &'a Posture,
    pub pulses: Vec<Pulse>,
    /// Both hands strike.
    pub both: bool,
    pub time: f64,
    longer: f64,
    pub go: f64,
    pub there: f64,
    pub back: f64,
    pub end: f64,
}

impl<'a> Draft<'a> {
    /// Makes a move whose way out takes `time` seconds, and whose preparation takes `longer` than usual, a factor.
    pub fn make(kind: &Kind, random: Random, guard: &'a Posture, time: f64, longer: f64) -> Move {
        let mut draft =
            Self { random, guard, pulses: vec![], both: false, time, longer, go: 0.0, there: 0.0, back: 0.0, end: 0.0 };
        let limb = (kind.make)(&mut draft);
        let out = [draft.go + 0.1 * time, draft.there];
        Move { label: kind.label, limb, both: draft.both, pulses: draft.pulses, out, end: draft.end }
    }

    pub fn between(&mut self, least: f64, most: f64) -> f64 {
        self.random.between(least, most)
    }

    pub fn chance(&mut self, share: f64) -> bool {
        self.random.share() < share
    }

    /// Sets the times: preparation and stay in seconds, the way back in multiples of the way out.
    pub fn timed(&mut self, prepare: [f64; 2], stay: [f64; 2], return_: [f64; 2]) {
        // The hips may go a quarter of the way's time before the limb.
        // From hanging hands all is further.
        let hanging = self.guard.get(Channel::Hand(Lead, Up)) < -0.2;
        let prepare = self.random.between(prepare[0], prepare[1]) * if hanging { 1.6 } else { 1.0 } * self.longer;
        self.go = (0.25 * self.time).max(prepare);
        self.there = self.go + self.time;
        self.back = self.there + self.random.between(stay[0], stay[1]);
        self.end = self.back + self.time.max(0.12) * self.random.between(return_[0], return_[1]);
    }

    /// A change that comes with the limb's way out and goes with its way back.
    pub fn with(&mut self, channel: Channel, amount: f64) {
        self.pulses.push(Pulse { channel, amount, rise: [self.go, self.there], fall: [self.back, self.end] });
    }

    /// A change that comes in a part of the way out, in shares of it, and goes with the way back.
    pub fn part(&mut self, channel: Channel, amount: f64, [from, to]: [f64; 2]) {
        let at = |share: f64| (self.go + share * self.time).max(0.0);
        self.pulses.push(Pulse { channel, amount, rise: [at(from), at(to)], fall: [self.back, self.end] });
    }

    /// A change that has come when the way out begins, and goes during it.
    pub fn before(&mut self, channel: Channel, amount: f64) {
        let fall = [self.go, self.go + 0.7 * self.time];
        self.pulses.push(Pulse { channel, amount, rise: [0.0, self.go], fall });
    }

    /// A change that comes and goes during the way out: what makes an arc of a straight way.
    pub fn arc(&mut self, channel: Channel, amount: f64) {
        let middle = self.go + 0.5 * self.time;
        self.pulses.push(Pulse { channel, amount, rise: [self.go, middle], fall: [middle, self.there] });
    }

    /// Turns hips and chest by an angle to the left in all, the hips first.
    pub fn turn(&mut self, angle: f64) {
        self.part(PelvisYaw, 0.45 * angle, [-0.25, 0.9]);
        self.part(TrunkYaw, 0.55 * angle, [-0.1, 1.0]);
    }

    /// How far the chest is turned to the left in guard.
    pub fn bladed(&self) -> f64 {
        self.guard.get(PelvisYaw) + self.guard.get(TrunkYaw)
    }

    /// How a hand has to be moved, as the chest sees it when it has turned by `turned` from the guard, to be at `target`:
    /// left, up, forward of its shoulder, as the whole body sees it.
    pub fn way(&self, side: Side, target: Point, turned: f64) -> Point {
        let target = Turn::yaw(-self.bladed() - turned).of(target);
        minus(target, self.held(side))
    }

    pub fn hand(&mut self, side: Side, target: Point, turned: f64) {
        let way = self.way(side, target, turned);
        for (axis, amount) in [Left, Up, Forward].into_iter().zip(way) {
            self.with(Channel::Hand(side, axis), amount);
        }
    }

    /// Turns the elbow to point so far outwards.
    pub fn elbow_to(&mut self, side: Side, swivel: f64) {
        let amount = swivel - self.guard.get(Elbow(side));
        self.part(Elbow(side), amount, [-0.1, 0.75]);
    }

    /// The angle of a turn that brings a side's shoulder forward, so that the chest then looks `past` the front.
    pub fn swing(&self, side: Side, past: f64) -> f64 {
        -side.out() * past - self.bladed()
    }

    /// Moves a foot from where it stands to a place from the middle between the hips, as the whole body sees it: it rises
    /// in one part of the way, goes forward in another.
    pub fn foot(&mut self, side: Side, from_hips: Point, rise: [f64; 2], forth: [f64; 2]) {
        let stands = stance(0.1)[side as usize].ankle;
        let [l, u, f] = minus(plus([0.0, HIP_HEIGHT - 0.02, 0.0], from_hips), stands);
        self.part(Channel::Foot(side, Up), u, rise);
        self.part(Channel::Foot(side, Forward), f, forth);
        self.part(Channel::Foot(side, Left), l, forth);
    }

    /// Where a hand is held in guard, from its shoulder.
    pub fn held(&self, side: Side) -> Point {
        [Left, Up, Forward].map(|axis| self.guard.get(Channel::Hand(side, axis)))
    }

    /// Brings a hand to a place from its shoulder, as the chest sees it, before the way out begins.
    pub fn hand_before(&mut self, side: Side, place: Point) {
        let way = minus(place, self.held(side));
        for (axis, amount) in [Left, Up, Forward].into_iter().zip(way) {
            self.before(Channel::Hand(side, axis), amount);
        }
    }
}
