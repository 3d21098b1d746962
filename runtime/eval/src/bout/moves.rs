//! A move as pulses of a posture, at the speed it is to have.
//!
//! A move is drawn for a body that leads with the left and for a time of its way out; [`draw`] then finds the time that
//! gives the limb the speed it is to have.

use super::{
    body::{ANKLE, Foot, joints},
    draft::Draft,
    posture::{Posture, Pulse, Side},
    space::{Point, length, minimum_jerk, minus, plus, times},
    strikes::MOVES,
};
use crate::Random;

/// What a move strikes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limb {
    /// A fist or palm.
    Hand(Side),
    /// An elbow.
    Elbow(Side),
    /// A knee.
    Knee(Side),
    /// A foot.
    Foot(Side),
    /// The head, or all of the body with it.
    Head,
}

impl Limb {
    /// Where it is against what it moves beside: the middle of the hips; for the head the middle of the feet, since hips
    /// take part in its moves.
    pub fn place(self, joints: &[Point; 33]) -> Point {
        let middle = |a: usize| times(plus(joints[a], joints[a + 1]), 0.5);
        let (joint, beside) = match self {
            Limb::Hand(side) => (15 + side as usize, middle(23)),
            Limb::Elbow(side) => (13 + side as usize, middle(23)),
            Limb::Knee(side) => (25 + side as usize, middle(23)),
            Limb::Foot(side) => (27 + side as usize, middle(23)),
            Limb::Head => (0, middle(27)),
        };
        minus(joints[joint], beside)
    }

    /// Its name in the tables; `left` says which side is the lead's.
    pub fn name(self, left: Side) -> &'static str {
        let of = |side: Side, names: [&'static str; 2]| names[usize::from(side != left)];
        match self {
            Limb::Hand(side) => of(side, ["left_hand", "right_hand"]),
            Limb::Elbow(side) => of(side, ["left_elbow", "right_elbow"]),
            Limb::Knee(side) => of(side, ["left_knee", "right_knee"]),
            Limb::Foot(side) => of(side, ["left_foot", "right_foot"]),
            Limb::Head => "head",
        }
    }
}

/// A move as it will be made. Times are seconds from its begin.
#[derive(Clone, Debug)]
pub struct Move {
    /// What it is; empty for a feint, which is no move.
    pub label: &'static str,
    /// What it strikes with.
    pub limb: Limb,
    /// Both hands strike: the faster one counts.
    pub both: bool,
    /// What it does to the body.
    pub pulses: Vec<Pulse>,
    /// When the limb is on its way out.
    pub out: [f64; 2],
    /// When all is as before.
    pub end: f64,
}

impl Move {
    /// Adds what it does to a posture at a time from its begin.
    pub fn bend(&self, posture: &mut Posture, time: f64) {
        if (0.0..self.end).contains(&time) {
            self.pulses.iter().for_each(|pulse| posture.add(pulse.channel, pulse.at(time)));
        }
    }

    /// True when a foot leaves its place on the ground.
    pub fn lifts(&self) -> bool {
        matches!(self.limb, Limb::Foot(_) | Limb::Knee(_))
    }

    /// How far it has a foot (0 the lead's) leave its stand for the air, 0 to 1, at a time from its begin.
    pub fn in_air(&self, foot: usize, time: f64) -> f64 {
        match self.limb {
            Limb::Foot(side) | Limb::Knee(side) if side as usize == foot => {
                let [go, there] = self.out;
                let way = |from: f64, to: f64| minimum_jerk((time - from) / (to - from));
                way(go, there) - way(self.end - 0.7 * (self.end - there), self.end)
            }
            _ => 0.0,
        }
    }

    /// A feint of it: a part of the way, slower, and back.
    fn feint(mut self, part: f64, slower: f64) -> Self {
        for pulse in &mut self.pulses {
            pulse.amount *= part;
            pulse.rise = pulse.rise.map(|t| t * slower);
            pulse.fall = pulse.fall.map(|t| t * slower);
        }
        Self { label: "", out: self.out.map(|t| t * slower), end: self.end * slower, ..self }
    }
}

/// Draws the move of that number in [`MOVES`], from a posture and for a body of this stature, m.
pub fn draw(number: usize, random: &mut Random, guard: &Posture, stature: f64, vigour: f64) -> Move {
    let kind = &MOVES[number];
    let [slow, fast] = kind.speed;
    let speed = random.between(slow, fast) * vigour / stature;
    let seed = Random::new((random.share() * 1e15) as u64);
    let (mut time, mut longer) = (0.2, 1.0);
    let mut made = Draft::make(kind, seed.clone(), guard, time, longer);
    for _ in 0..3 {
        time = (time * fastest(&made, guard, made.out) / speed).clamp(0.08, 0.42);
        // Nobody winds up nearly as fast as they strike.
        longer *= (fastest(&made, guard, [0.0, made.out[0]]) / (0.55 * speed)).clamp(1.0, 3.0);
        made = Draft::make(kind, seed.clone(), guard, time, longer);
    }
    made
}

/// Draws a feint: the beginning of a strike of the hands, without its speed.
pub fn draw_feint(random: &mut Random, guard: &Posture, stature: f64) -> Move {
    let number = random.below(4);
    let (part, slower) = (random.between(0.15, 0.4), random.between(1.2, 2.0));
    draw(number, random, guard, stature, 0.85).feint(part, slower)
}

/// The greatest speed of a move's limb from one time to another, statures per second, made on the spot.
fn fastest(made: &Move, guard: &Posture, [from, to]: [f64; 2]) -> f64 {
    let feet = stance(0.1);
    let step = 1.0 / 240.0;
    let at = |time: f64| {
        let mut posture = guard.clone();
        made.bend(&mut posture, time);
        made.limb.place(&joints(&posture, feet))
    };
    let count = ((to - from) / step).ceil() as usize;
    let places: Vec<Point> = (0..=count).map(|i| at(from + i as f64 * step)).collect();
    places.windows(2).map(|pair| length(minus(pair[1], pair[0])) / step).fold(0.1, f64::max)
}

/// Feet one before the other, half of `long` each way; statures.
pub fn stance(long: f64) -> [Foot; 2] {
    let wide = 0.085;
    [
        Foot { ankle: [wide, ANKLE, long], yaw: -0.15 },
        Foot { ankle: [-wide, ANKLE, -long], yaw: -0.15 - 3.5 * long.max(0.0) },
    ]
}
