//! Burst detection: finds the short intervals in which a limb is much faster than usual.
//!
//! Arms, legs and head are observed separately. A burst starts when the limb is faster than its minimum speed and than
//! a multiple of its own resting level (a running median of its speed). It ends when the limb is slower than half of
//! that, or turns back. Speeds are relative to the hips, with two exceptions: the speed of a leg is relative to the
//! other leg, and that of the head to the feet. Otherwise hips that drop or lunge would move all of these at once.

use serde::{Deserialize, Serialize};
use sideline_sport::tables::Motion;

use crate::weights::Limb;

/// Kinematic chain whose speed is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chain {
    /// Left hand and elbow.
    LeftArm,
    /// Right hand and elbow.
    RightArm,
    /// Left foot and knee.
    LeftLeg,
    /// Right foot and knee.
    RightLeg,
    /// Head, and the trunk with it.
    Head,
}

impl Chain {
    /// All chains, in the order of their numbers.
    pub const ALL: [Chain; 5] = [Chain::LeftArm, Chain::RightArm, Chain::LeftLeg, Chain::RightLeg, Chain::Head];

    /// Returns the limbs that can strike, from the end of the chain to its middle.
    pub fn limbs(self) -> &'static [Limb] {
        match self {
            Chain::LeftArm | Chain::RightArm => &[Limb::Hand, Limb::Elbow],
            Chain::LeftLeg | Chain::RightLeg => &[Limb::Foot, Limb::Knee],
            Chain::Head => &[Limb::Head],
        }
    }

    /// Returns the value of the column `limb` for one of its limbs, such as `left_hand`.
    pub fn limb_name(self, limb: Limb) -> String {
        match self {
            Chain::Head => limb.name().into(),
            Chain::LeftArm | Chain::LeftLeg => format!("left_{}", limb.name()),
            Chain::RightArm | Chain::RightLeg => format!("right_{}", limb.name()),
        }
    }
}

/// Frame number and media time of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameTime {
    /// Frame number.
    pub frame: u64,
    /// Media time, ns.
    pub pts: i64,
}

impl FrameTime {
    /// Returns the seconds from an earlier frame to this one.
    pub fn seconds_since(self, earlier: FrameTime) -> f64 {
        (self.pts - earlier.pts) as f64 * 1e-9
    }
}

/// Burst of one chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    /// Chain that moved.
    pub chain: Chain,
    /// First fast frame.
    pub start: FrameTime,
    /// Fastest frame.
    pub peak: FrameTime,
    /// Last fast frame; the newest one while the burst lasts.
    pub end: FrameTime,
    /// True once the burst has ended.
    pub has_ended: bool,
    /// Speed at the peak, torso lengths per second.
    pub speed: f32,
    /// Direction at the peak, a unit vector.
    pub direction: [f32; 3],
    /// Displacement from the start, torso lengths.
    pub displacement: [f32; 3],
    /// Speeds in each frame, torso lengths per second: of the chain's end (hand, foot, head) and of its middle (elbow,
    /// knee).
    pub speeds: Vec<(FrameTime, [f32; 2])>,
    /// Decision about the burst.
    pub outcome: Outcome,
}

/// Decision about a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Not decided yet.
    Pending,
    /// A move, whose row has been sent.
    Move,
    /// No move of its own: a preparation, a return, part of another move, or no move by the models.
    NoMove,
}

impl Burst {
    /// Returns the maximum speed of one of the chain's limbs (0 the end, 1 the middle), and its time. The time is the
    /// weighted center of the frames with nearly that speed, because the fastest single frame of a slow move is mostly
    /// noise.
    pub fn limb_peak(&self, limb: usize) -> (f32, FrameTime) {
        let max = self.speeds.iter().map(|(_, speeds)| speeds[limb]).fold(0.0, f32::max);
        let fast = || self.speeds.iter().filter(|(_, speeds)| speeds[limb] >= PEAK_SHARE * max);
        let weight = |speed: f32| f64::from(speed - 0.9 * PEAK_SHARE * max);
        let total: f64 = fast().map(|(_, speeds)| weight(speeds[limb])).sum();
        let offsets = fast().map(|(at, speeds)| at.seconds_since(self.start) * weight(speeds[limb]));
        let center = offsets.sum::<f64>() / total.max(1e-9);
        let distance = |at: &FrameTime| (at.seconds_since(self.start) - center).abs();
        let nearest = self.speeds.iter().map(|(at, _)| *at).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        (max, nearest.unwrap_or(self.peak))
    }

    /// Returns the length of the displacement, torso lengths.
    pub fn distance(&self) -> f32 {
        length(self.displacement)
    }

    /// Returns the cosine of the angle between the displacements of two bursts: below 0 they are opposed.
    pub fn cosine(&self, other: &Burst) -> f32 {
        let dot: f32 = self.displacement.iter().zip(other.displacement).map(|(a, b)| a * b).sum();
        dot / (self.distance() * other.distance()).max(1e-6)
    }
}

/// Velocity of a chain in one frame.
#[derive(Clone, Copy, Debug)]
struct ChainVelocity {
    /// Unit vector; zero without motion.
    direction: [f32; 3],
    /// Torso lengths per second.
    speed: f32,
    /// Speeds of the chain's end and of its middle.
    limb_speeds: [f32; 2],
}

/// Minimum speeds of a burst, torso lengths per second.
#[derive(Clone, Copy, Debug)]
pub struct SpeedThresholds {
    /// Minimum for arms.
    pub hand: f32,
    /// Minimum for legs.
    pub foot: f32,
    /// Minimum for the head.
    pub head: f32,
    /// Minimum as a multiple of the resting level.
    pub above_rest: f32,
    /// Speed above which a joint was misread.
    pub max_speed: f32,
}

impl SpeedThresholds {
    /// Returns the absolute minimum speed of a chain's bursts.
    pub fn min_speed(&self, chain: Chain) -> f32 {
        match chain {
            Chain::LeftArm | Chain::RightArm => self.hand,
            Chain::LeftLeg | Chain::RightLeg => self.foot,
            Chain::Head => self.head,
        }
    }
}

/// Seconds in which the resting level can change by a factor of e.
const REST_TIME_CONSTANT_S: f32 = 3.0;
/// Cosine of the turn from the direction at the peak (about 105 degrees) beyond which a burst ends: the limb returns.
const MIN_TURN_COSINE: f32 = -0.25;
/// Share of the maximum speed from which a frame belongs to the peak.
const PEAK_SHARE: f32 = 0.8;
/// Ratio of the elbow's speed to the hand's above which the elbow itself strikes.
const ELBOW_STRIKE_RATIO: f32 = 1.4;
/// Share of the starting threshold below which a burst ends.
const END_SHARE: f32 = 0.5;
/// Maximum duration of a burst, s: longer motion is walking or camera shake.
const MAX_BURST_S: f64 = 1.0;
/// Seconds without visible joints after which a burst ends.
const MAX_HIDDEN_S: f64 = 0.1;

/// Burst detector of one chain of one fighter.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BurstDetector {
    /// Resting level, torso lengths per second; 0 before the first frame.
    rest_level: f32,
    current: Option<Burst>,
}

impl BurstDetector {
    /// Returns the burst that has not ended yet.
    pub fn current(&self) -> Option<&Burst> {
        self.current.as_ref()
    }

    /// Processes a frame, `step` seconds after the previous one; returns the burst that ends with it.
    pub fn update(
        &mut self,
        chain: Chain,
        motion: &Motion,
        at: FrameTime,
        step: f32,
        thresholds: &SpeedThresholds,
    ) -> Option<Burst> {
        let min_speed = thresholds.min_speed(chain);
        let Some(now) = chain_velocity(chain, motion, thresholds.max_speed) else {
            // The chain is hidden: a short gap continues the burst, a longer one ends it.
            return self.current.take_if(|burst| at.seconds_since(burst.end) > MAX_HIDDEN_S).map(ended);
        };
        // A slow running median: the level rises by a small factor if the speed exceeds it, and falls by it otherwise.
        let nudge = (step / REST_TIME_CONSTANT_S).min(0.2);
        self.rest_level = (self.rest_level * if now.speed > self.rest_level { nudge.exp() } else { (-nudge).exp() })
            .clamp(0.1 * min_speed, 2.0 * min_speed);
        let start_speed = min_speed.max(thresholds.above_rest * self.rest_level);
        let mut finished = None;
        if let Some(burst) = &self.current {
            let cosine: f32 = burst.direction.iter().zip(now.direction).map(|(a, b)| a * b).sum();
            let is_too_long = at.seconds_since(burst.start) > MAX_BURST_S;
            if now.speed < END_SHARE * start_speed || cosine < MIN_TURN_COSINE || is_too_long {
                finished = self.current.take().map(ended);
            }
        }
        match &mut self.current {
            Some(burst) => {
                let seconds = at.seconds_since(burst.end) as f32;
                burst.end = at;
                (0..3).for_each(|axis| burst.displacement[axis] += now.direction[axis] * now.speed * seconds);
                burst.speeds.push((at, now.limb_speeds));
                if now.speed > burst.speed {
                    (burst.speed, burst.peak, burst.direction) = (now.speed, at, now.direction);
                }
            }
            None if now.speed >= start_speed => {
                self.current = Some(Burst {
                    chain,
                    start: at,
                    peak: at,
                    end: at,
                    has_ended: false,
                    speed: now.speed,
                    direction: now.direction,
                    displacement: now.direction.map(|value| value * now.speed * step),
                    speeds: vec![(at, now.limb_speeds)],
                    outcome: Outcome::Pending,
                });
            }
            None => {}
        }
        finished
    }

    /// Sets the outcome of the current burst, if it is this one.
    pub fn set_outcome(&mut self, burst: &Burst, outcome: Outcome) {
        let is_same = |current: &&mut Burst| current.chain == burst.chain && current.start == burst.start;
        if let Some(current) = self.current.as_mut().filter(is_same) {
            current.outcome = outcome;
        }
    }

    /// Ends the current burst and returns it.
    pub fn finish(&mut self) -> Option<Burst> {
        self.current.take().map(ended)
    }
}

fn ended(mut burst: Burst) -> Burst {
    burst.has_ended = true;
    burst
}

/// Returns the joints at the end of a chain. Their mean velocity has less noise than that of a single joint.
fn end_joints(chain: Chain) -> &'static [usize] {
    match chain {
        Chain::LeftArm => &[17, 19, 21, 15],
        Chain::RightArm => &[18, 20, 22, 16],
        Chain::LeftLeg => &[29, 31, 27],
        Chain::RightLeg => &[30, 32, 28],
        Chain::Head => &[7, 8, 0],
    }
}

/// Returns the velocity of a chain in a frame; `None` if no joint at its end is known. A joint faster than `max_speed`
/// is ignored.
fn chain_velocity(chain: Chain, motion: &Motion, max_speed: f32) -> Option<ChainVelocity> {
    let joint_velocity = |joint: usize| {
        // Without an acceleration the velocity is a difference of two samples, and mostly noise.
        let (velocity, acceleration) = (motion.velocity[joint], motion.acceleration[joint]);
        let is_known = velocity.iter().chain(&acceleration).all(|value| value.is_finite());
        (is_known && length(velocity) <= max_speed).then_some(velocity)
    };
    let end_velocity = |chain: Chain| {
        let known: Vec<[f32; 3]> = end_joints(chain).iter().filter_map(|joint| joint_velocity(*joint)).collect();
        let mean = |axis: usize| known.iter().map(|v| v[axis]).sum::<f32>() / known.len() as f32;
        (!known.is_empty()).then(|| [0, 1, 2].map(mean))
    };
    let mut velocity = end_velocity(chain)?;
    let mut middle = [0.0; 3];
    match chain {
        Chain::LeftArm => middle = joint_velocity(13).unwrap_or_default(),
        Chain::RightArm => middle = joint_velocity(14).unwrap_or_default(),
        Chain::LeftLeg | Chain::RightLeg => {
            let (knee, other) = if chain == Chain::LeftLeg { (25, Chain::RightLeg) } else { (26, Chain::LeftLeg) };
            let standing = end_velocity(other).unwrap_or_default();
            // The slower foot usually stands, so its leg has no speed of its own.
            if length(standing) > length(velocity) {
                return Some(ChainVelocity { direction: [0.0; 3], speed: 0.0, limb_speeds: [0.0; 2] });
            }
            velocity = difference(velocity, standing);
            middle = joint_velocity(knee).map_or([0.0; 3], |v| difference(v, standing));
        }
        Chain::Head => {
            let feet = [end_velocity(Chain::LeftLeg), end_velocity(Chain::RightLeg)].into_iter().flatten();
            let standing = feet.min_by(|a, b| length(*a).total_cmp(&length(*b))).unwrap_or_default();
            velocity = difference(velocity, standing);
        }
    }
    let limb_speeds = [length(velocity), length(middle)];
    // In an elbow strike the hand may hardly move.
    if matches!(chain, Chain::LeftArm | Chain::RightArm) && limb_speeds[1] > ELBOW_STRIKE_RATIO * limb_speeds[0] {
        velocity = middle;
    }
    let speed = length(velocity);
    let direction = if speed > 0.0 { velocity.map(|value| value / speed) } else { [0.0; 3] };
    Some(ChainVelocity { direction, speed, limb_speeds })
}

fn difference(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn length([x, y, z]: [f32; 3]) -> f32 {
    (x * x + y * y + z * z).sqrt()
}
