//! Bursts: a limb is much faster than the body usually is, for a moment.
//!
//! Arms, legs and head are watched each for itself. A burst begins where the limb is faster than `least` and than a multiple
//! of its own resting level (the median of its speed lately), and ends where it is slower than half of that, or turns
//! back. All speeds are of joints beside the hips, but for two: a leg's is beside the other leg and the head's beside the
//! feet, since hips that drop or lunge would else move all of these at once.

use serde::{Deserialize, Serialize};
use sideline_api::tables::Motion;

use crate::weights::Limb;

/// What is watched: an arm, a leg, the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chain {
    /// Hand and elbow.
    LeftArm,
    /// Hand and elbow.
    RightArm,
    /// Foot and knee.
    LeftLeg,
    /// Foot and knee.
    RightLeg,
    /// The head, and the trunk with it.
    Head,
}

impl Chain {
    /// All of them.
    pub const ALL: [Chain; 5] = [Chain::LeftArm, Chain::RightArm, Chain::LeftLeg, Chain::RightLeg, Chain::Head];

    /// What can move with it, the end first.
    pub fn limbs(self) -> &'static [Limb] {
        match self {
            Chain::LeftArm | Chain::RightArm => &[Limb::Hand, Limb::Elbow],
            Chain::LeftLeg | Chain::RightLeg => &[Limb::Foot, Limb::Knee],
            Chain::Head => &[Limb::Head],
        }
    }

    /// The name of one of its limbs, as tables have it.
    pub fn name(self, limb: Limb) -> String {
        match self {
            Chain::Head => limb.name().into(),
            Chain::LeftArm | Chain::LeftLeg => format!("left_{}", limb.name()),
            Chain::RightArm | Chain::RightLeg => format!("right_{}", limb.name()),
        }
    }
}

/// A moment: frame and media time, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Frame.
    pub frame: u64,
    /// Media time, ns.
    pub pts: i64,
}

impl Moment {
    /// Seconds from an earlier moment to this one.
    pub fn since(self, earlier: Moment) -> f64 {
        (self.pts - earlier.pts) as f64 * 1e-9
    }
}

/// A limb's short fast way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    /// What moved.
    pub chain: Chain,
    /// The first fast frame.
    pub start: Moment,
    /// The fastest.
    pub peak: Moment,
    /// The last fast one; the newest so far while it lasts.
    pub end: Moment,
    /// It is over.
    pub over: bool,
    /// How fast it was at its peak, torso lengths per second.
    pub speed: f32,
    /// Where to, at the peak; length 1.
    pub way: [f32; 3],
    /// Where it got to from where it began, torso lengths.
    pub travel: [f32; 3],
    /// Each frame of it, with the speeds of the chain's end (hand, foot, head) and of its middle (elbow, knee), torso lengths
    /// per second.
    pub speeds: Vec<(Moment, [f32; 2])>,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// Not yet decided.
    Open,
    /// A move: it has a row.
    Move,
    /// None: a preparation, a way back, part of another's move, or what the models call no move.
    Nothing,
}

impl Burst {
    /// The greatest speed of one of the chain's limbs (0 the end, 1 the middle), and when: the middle of the frames in which
    /// it was nearly as fast, since the very greatest of a slow move is mostly noise.
    pub fn fastest(&self, limb: usize) -> (f32, Moment) {
        let most = self.speeds.iter().map(|(_, speeds)| speeds[limb]).fold(0.0, f32::max);
        let near = || self.speeds.iter().filter(|(_, speeds)| speeds[limb] >= NEARLY * most);
        let weight = |speed: f32| f64::from(speed - 0.9 * NEARLY * most);
        let all: f64 = near().map(|(_, speeds)| weight(speeds[limb])).sum();
        let since = near().map(|(at, speeds)| at.since(self.start) * weight(speeds[limb])).sum::<f64>() / all.max(1e-9);
        let off = |at: &Moment| (at.since(self.start) - since).abs();
        let middle = self.speeds.iter().map(|(at, _)| *at).min_by(|a, b| off(a).total_cmp(&off(b)));
        (most, middle.unwrap_or(self.peak))
    }

    /// How far it got, torso lengths.
    pub fn far(&self) -> f32 {
        length(self.travel)
    }

    /// The cosine between where it got to and where another did: below 0 they are opposed.
    pub fn along(&self, other: &Burst) -> f32 {
        let dot: f32 = self.travel.iter().zip(other.travel).map(|(a, b)| a * b).sum();
        dot / (self.far() * other.far()).max(1e-6)
    }
}

/// How a chain moves now.
#[derive(Clone, Copy, Debug)]
struct Speed {
    way: [f32; 3],
    speed: f32,
    parts: [f32; 2],
}

/// From which speed a burst is one, torso lengths per second.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For arms.
    pub hand: f32,
    /// For legs.
    pub foot: f32,
    /// For the head.
    pub head: f32,
    /// Multiple of the resting level.
    pub above_rest: f32,
    /// Above it a joint was misread.
    pub misread: f32,
}

impl Limits {
    /// The least speed of a chain's bursts.
    pub fn least(&self, chain: Chain) -> f32 {
        match chain {
            Chain::LeftArm | Chain::RightArm => self.hand,
            Chain::LeftLeg | Chain::RightLeg => self.foot,
            Chain::Head => self.head,
        }
    }
}

/// Seconds in which the resting level can become e times what it was.
const REST_SECONDS: f32 = 3.0;
/// A burst that turns by more than about 105 degrees from its way at the peak is over: the limb comes back.
const TURNED: f32 = -0.25;
/// Nearly as fast as the fastest.
const NEARLY: f32 = 0.8;
/// An elbow that is so much faster than its fist strikes itself.
const ELBOW: f32 = 1.4;
/// A burst is over below this share of the speed from which it is one.
const OVER: f32 = 0.5;
/// Longest burst, s: what is fast for longer is walking or a camera's shake.
const LONGEST: f64 = 1.0;

/// One chain of one fighter.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Watch {
    /// The resting level, torso lengths per second; 0 before the first frame.
    rest: f32,
    /// The burst under way.
    now: Option<Burst>,
}

impl Watch {
    /// The burst under way.
    pub fn current(&self) -> Option<&Burst> {
        self.now.as_ref()
    }

    /// Takes in a frame; the burst that it ends, if it ends one. `step` is the time since the last, seconds.
    pub fn see(&mut self, chain: Chain, motion: &Motion, at: Moment, step: f32, limits: &Limits) -> Option<Burst> {
        let least = limits.least(chain);
        let Some(now) = speed(chain, motion, limits.misread) else {
            // Unseen it may go on; seen again it begins anew.
            return self.now.take_if(|burst| at.since(burst.end) > 0.1).map(over);
        };
        // A median that follows slowly: up where it was exceeded, down where not.
        let nudge = (step / REST_SECONDS).min(0.2);
        self.rest = (self.rest * if now.speed > self.rest { nudge.exp() } else { (-nudge).exp() })
            .clamp(0.1 * least, 2.0 * least);
        let from = least.max(limits.above_rest * self.rest);
        let mut ended = None;
        if let Some(burst) = &self.now {
            let cosine: f32 = burst.way.iter().zip(now.way).map(|(a, b)| a * b).sum();
            let long = at.since(burst.start) > LONGEST;
            if now.speed < OVER * from || cosine < TURNED || long {
                ended = self.now.take().map(over);
            }
        }
        match &mut self.now {
            Some(burst) => {
                let long = at.since(burst.end) as f32;
                burst.end = at;
                (0..3).for_each(|axis| burst.travel[axis] += now.way[axis] * now.speed * long);
                burst.speeds.push((at, now.parts));
                if now.speed > burst.speed {
                    (burst.speed, burst.peak, burst.way) = (now.speed, at, now.way);
                }
            }
            None if now.speed >= from => {
                let Speed { way, speed, parts } = now;
                let travel = way.map(|value| value * speed * step);
                let (start, peak, end, speeds) = (at, at, at, vec![(at, parts)]);
                self.now =
                    Some(Burst { chain, start, peak, end, over: false, speed, way, travel, speeds, fate: Fate::Open });
            }
            None => {}
        }
        ended
    }

    /// Writes down what became of the burst under way, if it is this one.
    pub fn settle(&mut self, burst: &Burst, fate: Fate) {
        if let Some(now) = self.now.as_mut().filter(|now| now.chain == burst.chain && now.start == burst.start) {
            now.fate = fate;
        }
    }

    /// Ends what is under way: the fighter is gone.
    pub fn end(&mut self) -> Option<Burst> {
        self.now.take().map(over)
    }
}

fn over(mut burst: Burst) -> Burst {
    burst.over = true;
    burst
}

/// Joints that move with a chain's end: the mean of those that are seen has less of the noise of each.
fn ends(chain: Chain) -> &'static [usize] {
    match chain {
        Chain::LeftArm => &[17, 19, 21, 15],
        Chain::RightArm => &[18, 20, 22, 16],
        Chain::LeftLeg => &[29, 31, 27],
        Chain::RightLeg => &[30, 32, 28],
        Chain::Head => &[7, 8, 0],
    }
}

/// How a chain moves in a frame; `None` where its end is not seen.
fn speed(chain: Chain, motion: &Motion, misread: f32) -> Option<Speed> {
    let at = |joint: usize| {
        // Without an acceleration the velocity is a difference of two samples: mostly noise.
        let (velocity, acceleration) = (motion.velocity[joint], motion.acceleration[joint]);
        let known = velocity.iter().chain(&acceleration).all(|value| value.is_finite());
        (known && length(velocity) <= misread).then_some(velocity)
    };
    let mean = |chain: Chain| {
        let known: Vec<[f32; 3]> = ends(chain).iter().filter_map(|joint| at(*joint)).collect();
        let mean = |axis: usize| known.iter().map(|v| v[axis]).sum::<f32>() / known.len() as f32;
        (!known.is_empty()).then(|| [0, 1, 2].map(mean))
    };
    let mut way = mean(chain)?;
    let mut inner = [0.0; 3];
    match chain {
        Chain::LeftArm => inner = at(13).unwrap_or_default(),
        Chain::RightArm => inner = at(14).unwrap_or_default(),
        Chain::LeftLeg | Chain::RightLeg => {
            let (knee, other) = if chain == Chain::LeftLeg { (25, Chain::RightLeg) } else { (26, Chain::LeftLeg) };
            let stands = mean(other).unwrap_or_default();
            // Of two feet the slower one stands, as a rule.
            if length(stands) > length(way) {
                return Some(Speed { way: [0.0; 3], speed: 0.0, parts: [0.0; 2] });
            }
            way = minus(way, stands);
            inner = at(knee).map_or([0.0; 3], |v| minus(v, stands));
        }
        Chain::Head => {
            let feet = [mean(Chain::LeftLeg), mean(Chain::RightLeg)].into_iter().flatten();
            way = minus(way, feet.min_by(|a, b| length(*a).total_cmp(&length(*b))).unwrap_or_default());
        }
    }
    let parts = [length(way), length(inner)];
    // A fist may stay where it is while the elbow strikes.
    if matches!(chain, Chain::LeftArm | Chain::RightArm) && parts[1] > ELBOW * parts[0] {
        way = inner;
    }
    let speed = length(way);
    let unit = if speed > 0.0 { way.map(|value| value / speed) } else { [0.0; 3] };
    Some(Speed { way: unit, speed, parts })
}

fn minus(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn length([x, y, z]: [f32; 3]) -> f32 {
    (x * x + y * y + z * z).sqrt()
}
