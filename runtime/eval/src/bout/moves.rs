//! Moves as pulses of a posture, at a given speed.
//!
//! A move is drawn for a body that leads with the left and for a duration of its extension; [`draw`] then finds the
//! duration that gives the limb the requested speed.

use super::{
    body::{ANKLE, Foot, joints},
    draft::Draft,
    posture::{Posture, Pulse, Side},
    space::{Point, add, length, minimum_jerk, mul, sub},
    strikes::MOVES,
};
use crate::Random;

/// Striking limb of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limb {
    /// Fist or palm.
    Hand(Side),
    /// Elbow.
    Elbow(Side),
    /// Knee.
    Knee(Side),
    /// Foot.
    Foot(Side),
    /// Head, or the whole body with it.
    Head,
}

impl Limb {
    /// Returns the position of the limb relative to its reference: the center of the hips; for the head the center of
    /// the feet, since hips take part in its moves.
    pub fn relative_position(self, joints: &[Point; 33]) -> Point {
        let center = |a: usize| mul(add(joints[a], joints[a + 1]), 0.5);
        let (joint, reference) = match self {
            Limb::Hand(side) => (15 + side as usize, center(23)),
            Limb::Elbow(side) => (13 + side as usize, center(23)),
            Limb::Knee(side) => (25 + side as usize, center(23)),
            Limb::Foot(side) => (27 + side as usize, center(23)),
            Limb::Head => (0, center(27)),
        };
        sub(joints[joint], reference)
    }

    /// Returns the name used in tables. `left` is the side of the body that is anatomically left.
    pub fn name(self, left: Side) -> &'static str {
        let select = |side: Side, names: [&'static str; 2]| names[usize::from(side != left)];
        match self {
            Limb::Hand(side) => select(side, ["left_hand", "right_hand"]),
            Limb::Elbow(side) => select(side, ["left_elbow", "right_elbow"]),
            Limb::Knee(side) => select(side, ["left_knee", "right_knee"]),
            Limb::Foot(side) => select(side, ["left_foot", "right_foot"]),
            Limb::Head => "head",
        }
    }
}

/// Move of a fighter. Times are seconds from its start.
#[derive(Clone, Debug)]
pub struct Move {
    /// Label; empty for a feint, which does not count as a move.
    pub label: &'static str,
    /// Striking limb.
    pub limb: Limb,
    /// True if both hands strike; the faster one counts as the limb.
    pub uses_both_hands: bool,
    /// Changes of the posture.
    pub pulses: Vec<Pulse>,
    /// Start and end of the limb's extension.
    pub extension: [f64; 2],
    /// End, with the body back in its guard.
    pub end: f64,
}

impl Move {
    /// Adds the move to a posture, at a time from its start.
    pub fn apply(&self, posture: &mut Posture, time: f64) {
        if (0.0..self.end).contains(&time) {
            self.pulses.iter().for_each(|pulse| posture.add(pulse.channel, pulse.value_at(time)));
        }
    }

    /// Returns true if a foot leaves the ground.
    pub fn lifts_a_foot(&self) -> bool {
        matches!(self.limb, Limb::Foot(_) | Limb::Knee(_))
    }

    /// Returns the share of the way from its stand into the air, 0 to 1, of a foot (0 is the lead foot) at a time from
    /// the start of the move.
    pub fn air_share(&self, foot: usize, time: f64) -> f64 {
        match self.limb {
            Limb::Foot(side) | Limb::Knee(side) if side as usize == foot => {
                let [extension_start, extension_end] = self.extension;
                let progress = |from: f64, to: f64| minimum_jerk((time - from) / (to - from));
                progress(extension_start, extension_end)
                    - progress(self.end - 0.7 * (self.end - extension_end), self.end)
            }
            _ => 0.0,
        }
    }

    /// Turns the move into a feint: a share of its amplitude, slower by a factor.
    fn into_feint(mut self, amplitude: f64, slowdown: f64) -> Self {
        for pulse in &mut self.pulses {
            pulse.amount *= amplitude;
            pulse.rise = pulse.rise.map(|t| t * slowdown);
            pulse.fall = pulse.fall.map(|t| t * slowdown);
        }
        Self { label: "", extension: self.extension.map(|t| t * slowdown), end: self.end * slowdown, ..self }
    }
}

/// Draws a move by its index in [`MOVES`], from a guard and for a body of this stature, m. `vigor` is a factor of its
/// speed.
pub fn draw(index: usize, random: &mut Random, guard: &Posture, stature: f64, vigor: f64) -> Move {
    let kind = &MOVES[index];
    let [slow, fast] = kind.speed;
    let speed = random.between(slow, fast) * vigor / stature;
    let seed = Random::new((random.uniform() * 1e15) as u64);
    let (mut duration, mut windup_factor) = (0.2, 1.0);
    let mut drawn = Draft::build(kind, seed.clone(), guard, duration, windup_factor);
    for _ in 0..3 {
        duration = (duration * peak_speed(&drawn, guard, drawn.extension) / speed).clamp(0.08, 0.42);
        // A windup is much slower than the strike.
        windup_factor *= (peak_speed(&drawn, guard, [0.0, drawn.extension[0]]) / (0.55 * speed)).clamp(1.0, 3.0);
        drawn = Draft::build(kind, seed.clone(), guard, duration, windup_factor);
    }
    drawn
}

/// Draws a feint: the start of a strike with the hands, at reduced speed.
pub fn draw_feint(random: &mut Random, guard: &Posture, stature: f64) -> Move {
    let index = random.below(4);
    let (amplitude, slowdown) = (random.between(0.15, 0.4), random.between(1.2, 2.0));
    draw(index, random, guard, stature, 0.85).into_feint(amplitude, slowdown)
}

/// Returns the greatest speed of a move's limb between two times, statures per second, for a body that stands still.
fn peak_speed(a_move: &Move, guard: &Posture, [from, to]: [f64; 2]) -> f64 {
    let feet = stance(0.1);
    let step = 1.0 / 240.0;
    let position = |time: f64| {
        let mut posture = guard.clone();
        a_move.apply(&mut posture, time);
        a_move.limb.relative_position(&joints(&posture, feet))
    };
    let count = ((to - from) / step).ceil() as usize;
    let positions: Vec<Point> = (0..=count).map(|i| position(from + i as f64 * step)).collect();
    positions.windows(2).map(|pair| length(sub(pair[1], pair[0])) / step).fold(0.1, f64::max)
}

/// Returns the stands of the feet, one in front of the other, `half_length` from the center each; statures.
pub fn stance(half_length: f64) -> [Foot; 2] {
    let half_width = 0.085;
    [
        Foot { ankle: [half_width, ANKLE, half_length], yaw: -0.15 },
        Foot { ankle: [-half_width, ANKLE, -half_length], yaw: -0.15 - 3.5 * half_length.max(0.0) },
    ]
}
