//! One fighter: how tall, how they stand and sway, what they do and when, and where their feet are.

use std::f64::consts::TAU;

use super::{
    body::{ANKLE, Foot, joints, mirrored},
    moves::{Move, stance},
    posture::{
        Axis::{Forward, Left, Up},
        Channel::{self, Elbow, Heel, PelvisYaw, TrunkPitch, TrunkRoll, TrunkYaw},
        Posture, Side,
    },
    space::{Course, Point, Turn, length, minimum_jerk, minus, plus, times},
};
use crate::Random;

/// Where a body is over the ground: courses that two share.
#[derive(Clone, Debug)]
pub struct Ground {
    /// From one to the other, m.
    pub distance: Course,
    /// Direction from the first to the second, radians to the left of forward.
    pub angle: Course,
    /// The middle between them: left and forward, m.
    pub middle: [Course; 2],
    /// Part of the way from the middle: -0.5 for the first, 0.5 for the second, 0 for one alone.
    pub side: f64,
}

impl Ground {
    /// Where the body stands, and where it looks: radians to the left.
    fn at(&self, time: f64) -> (Point, f64) {
        let (way, angle) = (self.side * self.distance.at(time), self.angle.at(time));
        let [left, forward] = [0, 1].map(|k| self.middle[k].at(time));
        let heading = if self.side > 0.0 { angle + TAU / 2.0 } else { angle };
        ([left + way * angle.sin(), 0.0, forward + way * angle.cos()], heading)
    }
}

/// A channel that swings by itself.
#[derive(Clone, Copy, Debug)]
struct Sway {
    channel: Channel,
    amount: f64,
    /// Times a second.
    often: f64,
    phase: f64,
}

/// A foot on its way from one stand to the next. A stand is left, forward (m), and yaw.
#[derive(Clone, Copy, Debug)]
struct Step {
    from: Point,
    to: Point,
    begin: f64,
    end: f64,
    lift: f64,
}

/// A fighter and all they will do.
#[derive(Clone, Debug)]
pub struct Fighter {
    /// Metres.
    pub stature: f64,
    /// Leads with the right.
    pub southpaw: bool,
    /// How fast their strikes are, about 1.
    pub vigour: f64,
    /// The posture between moves.
    pub guard: Posture,
    /// Half of the way from foot to foot, statures.
    long: f64,
    sways: Vec<Sway>,
    /// Moves with the time they begin, s.
    pub moves: Vec<(f64, Move)>,
    steps: [Vec<Step>; 2],
}

impl Fighter {
    /// Draws a body, a stance and its restlessness.
    pub fn draw(random: &mut Random) -> Self {
        let mut guard = Posture::default();
        let kind = random.share();
        // Most fight from a guard, some carry their hands low, some stand as people do.
        let (long, blade) = match kind {
            k if k < 0.8 => (random.between(0.07, 0.13), random.between(0.3, 0.85)),
            _ => (random.between(0.0, 0.05), random.between(-0.05, 0.2)),
        };
        guard.add(PelvisYaw, -0.7 * blade);
        guard.add(TrunkYaw, -0.3 * blade);
        guard.add(TrunkPitch, random.between(0.03, 0.2));
        guard.add(Channel::Pelvis(Up), -random.between(0.005, 0.035));
        guard.add(Heel(Side::Rear), random.between(0.0, 0.3) * long / 0.1);
        for side in [Side::Lead, Side::Rear] {
            let lead = side == Side::Lead;
            let at = match kind {
                k if k < 0.65 => {
                    let forward = if lead { random.between(0.12, 0.2) } else { random.between(0.08, 0.14) };
                    [-side.out() * random.between(0.02, 0.07), random.between(-0.04, 0.05), forward]
                }
                k if k < 0.85 => {
                    [-side.out() * random.between(0.0, 0.05), random.between(-0.2, -0.1), random.between(0.1, 0.17)]
                }
                _ => [side.out() * random.between(0.01, 0.05), random.between(-0.32, -0.27), random.between(0.0, 0.06)],
            };
            for (axis, value) in [Left, Up, Forward].into_iter().zip(at) {
                guard.add(Channel::Hand(side, axis), value);
            }
            guard.add(Elbow(side), random.between(0.1, 0.5));
        }
        let bounce = random.between(0.0, 0.011);
        let mut swing = |channel, amount: f64, least: f64, most: f64| Sway {
            channel,
            amount: amount * random.between(0.3, 1.0),
            often: random.between(least, most),
            phase: random.share() * TAU,
        };
        let mut sways = vec![
            swing(Channel::Pelvis(Up), bounce, 1.3, 2.4),
            swing(Channel::Pelvis(Left), 0.018, 0.2, 0.6),
            swing(Channel::Pelvis(Forward), 0.018, 0.2, 0.7),
            swing(TrunkYaw, 0.09, 0.2, 0.6),
            swing(PelvisYaw, 0.05, 0.2, 0.5),
            swing(TrunkRoll, 0.05, 0.2, 0.6),
            // Breath.
            swing(TrunkPitch, 0.015, 0.25, 0.5),
            swing(TrunkPitch, 0.04, 0.1, 0.4),
        ];
        for side in [Side::Lead, Side::Rear] {
            for axis in [Left, Up, Forward] {
                sways.push(swing(Channel::Hand(side, axis), 0.015, 0.2, 0.8));
                sways.push(swing(Channel::Hand(side, axis), 0.006, 1.0, 2.4));
            }
        }
        Self {
            stature: random.between(1.58, 1.95),
            southpaw: random.share() < 0.35,
            vigour: random.between(0.85, 1.08),
            guard,
            long,
            sways,
            moves: vec![],
            steps: [vec![], vec![]],
        }
    }

    /// When they have done what they do so far, s.
    pub fn free(&self) -> f64 {
        self.moves.iter().map(|(begin, made)| begin + made.end).fold(0.0, f64::max)
    }

    fn posture(&self, time: f64) -> Posture {
        let mut posture = self.guard.clone();
        for sway in &self.sways {
            posture.add(sway.channel, sway.amount * (TAU * sway.often * time + sway.phase).sin());
        }
        for (begin, made) in &self.moves {
            made.bend(&mut posture, time - begin);
        }
        posture
    }

    /// The joints in the scene at a time: left, up, forward, m.
    pub fn joints(&self, time: f64, ground: &Ground) -> [Point; 33] {
        let body = self.body(time, ground);
        let body = if self.southpaw { mirrored(&body) } else { body };
        let (at, heading) = ground.at(time);
        let turn = Turn::yaw(heading);
        body.map(|joint| plus(at, turn.of(times(joint, self.stature))))
    }

    /// The joints of a body that leads with the left, statures from where it stands.
    pub fn body(&self, time: f64, ground: &Ground) -> [Point; 33] {
        let (at, heading) = ground.at(time);
        let back = Turn::yaw(-heading);
        let mirror = if self.southpaw { -1.0 } else { 1.0 };
        let feet = [0, 1].map(|foot| {
            let ([x, z, yaw], lift) = self.foot(foot, time);
            let [l, _, f] = times(back.of(minus([x, 0.0, z], at)), 1.0 / self.stature);
            let (from, to) = ([mirror * l, f], stance(0.1)[foot].ankle);
            // In the air a foot goes with the body, wherever it stood.
            let air = self.moves.iter().map(|(begin, made)| made.in_air(foot, time - begin)).fold(0.0, f64::max);
            let [l, f] = [from[0] + air * (to[0] - from[0]), from[1] + air * (to[2] - from[1])];
            Foot { ankle: [l, ANKLE + lift, f], yaw: mirror * (yaw - heading) }
        });
        joints(&self.posture(time), feet)
    }

    /// Where a foot is, and how high, statures.
    fn foot(&self, foot: usize, time: f64) -> (Point, f64) {
        let steps = &self.steps[foot];
        let next = steps.partition_point(|step| step.begin <= time);
        let step = steps[next.saturating_sub(1)];
        let share = minimum_jerk((time - step.begin) / (step.end - step.begin));
        (plus(step.from, times(minus(step.to, step.from), share)), 16.0 * step.lift * (share * (1.0 - share)).powi(2))
    }

    /// Plans the steps that keep the feet below the body. A foot that stands does not slide; who kicks does not step.
    pub fn walk(&mut self, seconds: f64, ground: &Ground, random: &mut Random) {
        let mirror = if self.southpaw { -1.0 } else { 1.0 };
        let home = |foot: usize, time: f64| -> Point {
            let (at, heading) = ground.at(time);
            let stands = stance(self.long)[foot];
            let [l, _, f] = stands.ankle;
            let way = Turn::yaw(heading).of([mirror * l * self.stature, 0.0, f * self.stature]);
            [at[0] + way[0], at[2] + way[2], heading + mirror * stands.yaw]
        };
        let kicks: Vec<[f64; 2]> = self
            .moves
            .iter()
            .filter(|(_, made)| made.lifts())
            .map(|(begin, made)| [*begin, begin + made.end])
            .collect();
        let mut steps = [0, 1].map(|foot| {
            let at = home(foot, 0.0);
            vec![Step { from: at, to: at, begin: -1.0, end: -0.5, lift: 0.0 }]
        });
        let tick = 1.0 / 60.0;
        let mut turn = 0;
        for i in 0..(seconds / tick) as usize {
            let time = i as f64 * tick;
            let off = |foot: usize, steps: &[Vec<Step>; 2]| {
                let [x, z, yaw] = minus(home(foot, time + 0.12), steps[foot][steps[foot].len() - 1].to);
                length([x, z, 0.25 * yaw])
            };
            let stands = |foot: usize, steps: &[Vec<Step>; 2]| steps[foot][steps[foot].len() - 1].end <= time;
            // The foot that is further off goes first, and the two take turns.
            let foot = if off(turn, &steps) >= 0.6 * off(1 - turn, &steps) { turn } else { 1 - turn };
            let far = off(foot, &steps);
            let long = (0.15 + 0.25 * far).min(0.32);
            let kicking = kicks.iter().any(|[from, to]| time < *to && time + long > *from);
            if far > 0.1 && !kicking && stands(foot, &steps) && (stands(1 - foot, &steps) || far > 0.4) {
                let from = steps[foot][steps[foot].len() - 1].to;
                let lift = random.between(0.012, 0.03);
                steps[foot].push(Step {
                    from,
                    to: home(foot, time + long + 0.08),
                    begin: time,
                    end: time + long,
                    lift,
                });
                turn = 1 - foot;
            }
        }
        self.steps = steps;
    }
}
