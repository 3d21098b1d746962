//! Fighter of a generated bout: stature, stance, sway, schedule of moves, and steps.

use std::f64::consts::TAU;

use super::{
    body::{ANKLE, Foot, joints, mirror_joints},
    moves::{Move, stance},
    posture::{
        Axis::{Forward, Left, Up},
        Channel::{self, Elbow, Heel, PelvisYaw, TrunkPitch, TrunkRoll, TrunkYaw},
        Posture, Side,
    },
    space::{Point, Rotation, Trajectory, add, length, minimum_jerk, mul, sub},
};
use crate::Random;

/// Position of a body over the ground, from trajectories that two fighters share.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Distance between the fighters, m.
    pub distance: Trajectory,
    /// Direction from the first to the second fighter, radians to the left of forward.
    pub angle: Trajectory,
    /// Midpoint between the fighters: left and forward, m.
    pub midpoint: [Trajectory; 2],
    /// Position along the line between the fighters: -0.5 for the first, 0.5 for the second, 0 for a single one.
    pub side: f64,
}

impl Ground {
    /// Returns the position over the ground, and the heading in radians to the left.
    fn position(&self, time: f64) -> (Point, f64) {
        let (offset, angle) = (self.side * self.distance.value_at(time), self.angle.value_at(time));
        let [left, forward] = [0, 1].map(|k| self.midpoint[k].value_at(time));
        let heading = if self.side > 0.0 { angle + TAU / 2.0 } else { angle };
        ([left + offset * angle.sin(), 0.0, forward + offset * angle.cos()], heading)
    }
}

/// Periodic movement of one channel.
#[derive(Clone, Copy, Debug)]
struct Sway {
    channel: Channel,
    amount: f64,
    /// Frequency, Hz.
    frequency: f64,
    phase: f64,
}

/// Step of a foot from one stand to the next. A stand is left, forward (m), and yaw.
#[derive(Clone, Copy, Debug)]
struct Step {
    from: Point,
    to: Point,
    begin: f64,
    end: f64,
    lift: f64,
}

/// Fighter with the complete schedule of moves and steps.
#[derive(Clone, Debug)]
pub struct Fighter {
    /// Height, m.
    pub stature: f64,
    /// True for a fighter who leads with the right.
    pub is_southpaw: bool,
    /// Factor of the speed of the strikes, about 1.
    pub vigor: f64,
    /// Posture between moves.
    pub guard: Posture,
    /// Half of the distance between the feet, front to rear, statures.
    half_stance: f64,
    sways: Vec<Sway>,
    /// Moves with their start times, s.
    pub moves: Vec<(f64, Move)>,
    steps: [Vec<Step>; 2],
}

impl Fighter {
    /// Draws stature, stance and sway.
    pub fn draw(random: &mut Random) -> Self {
        let mut guard = Posture::default();
        let kind = random.uniform();
        // Most stand in a guard, some carry their hands low, some stand upright with their arms down.
        let (half_stance, blade) = match kind {
            k if k < 0.8 => (random.between(0.07, 0.13), random.between(0.3, 0.85)),
            _ => (random.between(0.0, 0.05), random.between(-0.05, 0.2)),
        };
        guard.add(PelvisYaw, -0.7 * blade);
        guard.add(TrunkYaw, -0.3 * blade);
        guard.add(TrunkPitch, random.between(0.03, 0.2));
        guard.add(Channel::Pelvis(Up), -random.between(0.005, 0.035));
        guard.add(Heel(Side::Rear), random.between(0.0, 0.3) * half_stance / 0.1);
        for side in [Side::Lead, Side::Rear] {
            let lead = side == Side::Lead;
            let hand = match kind {
                k if k < 0.65 => {
                    let forward = if lead { random.between(0.12, 0.2) } else { random.between(0.08, 0.14) };
                    [-side.outward() * random.between(0.02, 0.07), random.between(-0.04, 0.05), forward]
                }
                k if k < 0.85 => {
                    [-side.outward() * random.between(0.0, 0.05), random.between(-0.2, -0.1), random.between(0.1, 0.17)]
                }
                _ => [
                    side.outward() * random.between(0.01, 0.05),
                    random.between(-0.32, -0.27),
                    random.between(0.0, 0.06),
                ],
            };
            for (axis, value) in [Left, Up, Forward].into_iter().zip(hand) {
                guard.add(Channel::Hand(side, axis), value);
            }
            guard.add(Elbow(side), random.between(0.1, 0.5));
        }
        let bounce = random.between(0.0, 0.011);
        let mut sway = |channel, amount: f64, min_frequency: f64, max_frequency: f64| Sway {
            channel,
            amount: amount * random.between(0.3, 1.0),
            frequency: random.between(min_frequency, max_frequency),
            phase: random.uniform() * TAU,
        };
        let mut sways = vec![
            sway(Channel::Pelvis(Up), bounce, 1.3, 2.4),
            sway(Channel::Pelvis(Left), 0.018, 0.2, 0.6),
            sway(Channel::Pelvis(Forward), 0.018, 0.2, 0.7),
            sway(TrunkYaw, 0.09, 0.2, 0.6),
            sway(PelvisYaw, 0.05, 0.2, 0.5),
            sway(TrunkRoll, 0.05, 0.2, 0.6),
            // Breathing.
            sway(TrunkPitch, 0.015, 0.25, 0.5),
            sway(TrunkPitch, 0.04, 0.1, 0.4),
        ];
        for side in [Side::Lead, Side::Rear] {
            for axis in [Left, Up, Forward] {
                sways.push(sway(Channel::Hand(side, axis), 0.015, 0.2, 0.8));
                sways.push(sway(Channel::Hand(side, axis), 0.006, 1.0, 2.4));
            }
        }
        Self {
            stature: random.between(1.58, 1.95),
            is_southpaw: random.uniform() < 0.35,
            vigor: random.between(0.85, 1.08),
            guard,
            half_stance,
            sways,
            moves: vec![],
            steps: [vec![], vec![]],
        }
    }

    /// Returns the end of the last move so far, s.
    pub fn end_of_moves(&self) -> f64 {
        self.moves.iter().map(|(start, a_move)| start + a_move.end).fold(0.0, f64::max)
    }

    fn posture(&self, time: f64) -> Posture {
        let mut posture = self.guard.clone();
        for sway in &self.sways {
            posture.add(sway.channel, sway.amount * (TAU * sway.frequency * time + sway.phase).sin());
        }
        for (begin, a_move) in &self.moves {
            a_move.apply(&mut posture, time - begin);
        }
        posture
    }

    /// Returns the joints in the scene at a time: left, up, forward, m.
    pub fn joints(&self, time: f64, ground: &Ground) -> [Point; 33] {
        let body = self.body(time, ground);
        let body = if self.is_southpaw { mirror_joints(&body) } else { body };
        let (position, heading) = ground.position(time);
        let rotation = Rotation::yaw(heading);
        body.map(|joint| add(position, rotation.rotate(mul(joint, self.stature))))
    }

    /// Returns the joints of a body that leads with the left, in statures relative to its position.
    pub fn body(&self, time: f64, ground: &Ground) -> [Point; 33] {
        let (position, heading) = ground.position(time);
        let to_body = Rotation::yaw(-heading);
        let mirror = if self.is_southpaw { -1.0 } else { 1.0 };
        let feet = [0, 1].map(|foot| {
            let ([x, z, yaw], lift) = self.foot(foot, time);
            let [l, _, f] = mul(to_body.rotate(sub([x, 0.0, z], position)), 1.0 / self.stature);
            let (stand, lifted) = ([mirror * l, f], stance(0.1)[foot].ankle);
            // A foot in the air moves with the body, regardless of its stand.
            let air = self.moves.iter().map(|(begin, a_move)| a_move.air_share(foot, time - begin)).fold(0.0, f64::max);
            let [l, f] = [stand[0] + air * (lifted[0] - stand[0]), stand[1] + air * (lifted[2] - stand[1])];
            Foot { ankle: [l, ANKLE + lift, f], yaw: mirror * (yaw - heading) }
        });
        joints(&self.posture(time), feet)
    }

    /// Returns the stand of a foot at a time, and its height above it, statures.
    fn foot(&self, foot: usize, time: f64) -> (Point, f64) {
        let steps = &self.steps[foot];
        let next = steps.partition_point(|step| step.begin <= time);
        let step = steps[next.saturating_sub(1)];
        let share = minimum_jerk((time - step.begin) / (step.end - step.begin));
        (add(step.from, mul(sub(step.to, step.from), share)), 16.0 * step.lift * (share * (1.0 - share)).powi(2))
    }

    /// Plans the steps that keep the feet below the body. A standing foot does not slide; there are no steps during a
    /// kick.
    pub fn plan_steps(&mut self, seconds: f64, ground: &Ground, random: &mut Random) {
        let mirror = if self.is_southpaw { -1.0 } else { 1.0 };
        let target_stand = |foot: usize, time: f64| -> Point {
            let (position, heading) = ground.position(time);
            let stance = stance(self.half_stance)[foot];
            let [l, _, f] = stance.ankle;
            let offset = Rotation::yaw(heading).rotate([mirror * l * self.stature, 0.0, f * self.stature]);
            [position[0] + offset[0], position[2] + offset[2], heading + mirror * stance.yaw]
        };
        let kicks: Vec<[f64; 2]> = self
            .moves
            .iter()
            .filter(|(_, a_move)| a_move.lifts_a_foot())
            .map(|(begin, a_move)| [*begin, begin + a_move.end])
            .collect();
        let mut steps = [0, 1].map(|foot| {
            let stand = target_stand(foot, 0.0);
            vec![Step { from: stand, to: stand, begin: -1.0, end: -0.5, lift: 0.0 }]
        });
        let tick = 1.0 / 60.0;
        let mut next_foot = 0;
        for i in 0..(seconds / tick) as usize {
            let time = i as f64 * tick;
            let error = |foot: usize, steps: &[Vec<Step>; 2]| {
                let [x, z, yaw] = sub(target_stand(foot, time + 0.12), steps[foot][steps[foot].len() - 1].to);
                length([x, z, 0.25 * yaw])
            };
            let is_standing = |foot: usize, steps: &[Vec<Step>; 2]| steps[foot][steps[foot].len() - 1].end <= time;
            // The foot that is further from its target steps first, and the two alternate.
            let foot =
                if error(next_foot, &steps) >= 0.6 * error(1 - next_foot, &steps) { next_foot } else { 1 - next_foot };
            let distance = error(foot, &steps);
            let duration = (0.15 + 0.25 * distance).min(0.32);
            let is_kicking = kicks.iter().any(|[from, to]| time < *to && time + duration > *from);
            if distance > 0.1
                && !is_kicking
                && is_standing(foot, &steps)
                && (is_standing(1 - foot, &steps) || distance > 0.4)
            {
                let from = steps[foot][steps[foot].len() - 1].to;
                let lift = random.between(0.012, 0.03);
                steps[foot].push(Step {
                    from,
                    to: target_stand(foot, time + duration + 0.08),
                    begin: time,
                    end: time + duration,
                    lift,
                });
                next_foot = 1 - foot;
            }
        }
        self.steps = steps;
    }
}
