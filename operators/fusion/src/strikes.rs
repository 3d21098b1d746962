//! Which bursts are strikes of their own: not a preparation, not a way back, not what the rest of the body does with it.

use crate::{
    average::Fused,
    bursts::{Burst, Chain, Fate, Moment},
    weights::{Limb, Weights},
};

/// Bursts of several limbs with peaks as near as this are one move, s.
const TOGETHER: f64 = 0.13;
/// So near, a burst much weaker than another limb's goes with it, s.
const BESIDE: f64 = 0.33;
/// Much weaker: below this share.
const WEAK: f64 = 0.5;
/// A preparation is slower than this share of the strike that follows it, which goes another way.
const PREPARING: f32 = 0.7;
/// Longest pause between a preparation and its strike, and between two parts of one way back, s.
const PAUSE: f64 = 0.15;
/// A way back is at most so much faster than the way out.
const BACK: f32 = 1.3;
/// The same after what was no strike, such as a hand that went with the other's: what comes back faster is one.
const FOLLOWED: f32 = 0.9;
/// Longest that a limb stays out before it comes back, s.
const STAYS: f64 = 2.5;
/// Windows know of moves as far back as this: a much weaker burst within it is judged by the stronger one's move, s.
const ECHO: f64 = 0.75;

/// Same label, other limb: much weaker is below this share.
const ECHOES: f64 = 0.65;
/// So long a window may still speak of a move that is over, s: what is weaker than this share of it and has its label is
/// a step or a feint. The shipped models' windows are up to two seconds long.
const LINGERS: f64 = 1.7;
const LINGERING: f64 = 0.75;
/// Longest time from a way of preparation that pauses to the strike, s.
const FORTH: f64 = 0.35;
/// Same label, same limb, another way: weaker is below this share.
const BACKWARDS: f64 = 0.9;
/// Same label, other limb: as near as this one move, s.
const BOTH: f64 = 0.25;
/// Probability that a move is made with another limb than its label says: models see limbs that poses mix up.
const OTHER: f64 = 0.1;
/// Where it is likelier than this that there was no move, there was none.
const NONE: f64 = 0.4;

/// A burst that may be a move.
#[derive(Clone, Debug)]
pub struct Strike {
    /// When it began, its preparation included.
    pub start: Moment,
    /// When it was over, the way back included where it is known.
    pub end: Moment,
    /// What struck.
    pub limb: Limb,
    /// When it was fastest.
    pub peak: Moment,
    /// How fast, torso lengths per second.
    pub speed: f32,
    /// Speed, in multiples of the least that makes a burst of its limb; less where the label is one of other limbs.
    pub strength: f64,
    /// What was judged about it, as the models have it; empty where nothing was, or not yet.
    pub judged: Vec<f64>,
    /// The same, with labels of other limbs hardly counted.
    pub fused: Option<Fused>,
}

/// For each burst (by the time of their peaks) the strike that it may be: what prepares a faster one and what brings a limb
/// back are none. `refractory` is the least time from a strike to the next of the same limb, s.
pub fn outwards(all: &[Burst], least: impl Fn(Chain) -> f32, refractory: f64, travel: f32) -> Vec<Option<Strike>> {
    let mut strikes: Vec<Option<Strike>> = vec![None; all.len()];
    for chain in Chain::ALL {
        // What is fast in one frame alone is noise.
        let far = |burst: &Burst| !burst.over || (burst.far() >= travel && burst.end != burst.start);
        let own: Vec<usize> = (0..all.len()).filter(|i| all[*i].chain == chain && far(&all[*i])).collect();
        // The last strike, and whether the limb has come back since; the end of the last preparation or way back.
        let mut out: Option<(usize, bool)> = None;
        let mut prepared: Option<Moment> = None;
        let mut back: Option<Moment> = None;
        for (k, &i) in own.iter().enumerate() {
            let burst = &all[i];
            let next = own.get(k + 1).map(|next| &all[*next]);
            let prepares = next.is_some_and(|next| {
                next.start.since(burst.end) <= PAUSE && burst.along(next) < 0.3 && burst.speed < PREPARING * next.speed
            });
            let returns = out.is_some_and(|(last, returned)| {
                let away = !returned && burst.start.since(all[last].end) <= STAYS;
                let goes_on = back.is_some_and(|back| burst.start.since(back) <= PAUSE);
                let most = if all[last].fate == Fate::Nothing { FOLLOWED } else { BACK };
                (away || goes_on) && burst.along(&all[last]) < -0.2 && burst.speed <= most * all[last].speed
            });
            if burst.fate != Fate::Move && returns {
                if let Some((last, returned)) = &mut out {
                    *returned = true;
                    if let Some(strike) = &mut strikes[*last] {
                        strike.end = burst.end;
                    }
                }
                back = Some(burst.end);
                continue;
            }
            if burst.fate != Fate::Move && prepares {
                prepared.get_or_insert(burst.start);
                continue;
            }
            let start = prepared.take().filter(|start| burst.start.since(*start) < 1.0).unwrap_or(burst.start);
            let strength = f64::from(burst.speed / least(chain));
            if burst.fate != Fate::Nothing {
                let (limb, end, peak, speed) = (chain.limbs()[0], burst.end, burst.peak, burst.speed);
                let (judged, fused) = (vec![], None);
                strikes[i] = Some(Strike { start, end, limb, peak, speed, strength, judged, fused });
            }
            out = Some((i, false));
            back = None;
        }
        // Of two that one limb cannot both have made the faster one stays.
        for pair in own.windows(2) {
            let [first, second] = [pair[0], pair[1]];
            if strikes[first].is_some()
                && strikes[second].is_some()
                && all[second].peak.since(all[first].peak) < refractory
            {
                let weaker = match (all[first].fate, all[first].speed < all[second].speed) {
                    (Fate::Open, true) => first,
                    _ => second,
                };
                strikes[weaker] = None;
            }
        }
    }
    strikes
}

/// What the labels say of a burst of this chain: probabilities in which labels of other limbs hardly count, how well the
/// chain goes with the labels (0 to 1), and whether there was a move at all.
pub fn with_limb(chain: Chain, judged: &[f64], weights: &Weights) -> (Vec<f64>, f64, bool) {
    let fits = |label: usize| label == weights.idle || chain.limbs().iter().any(|limb| weights.fits(label, *limb));
    let mut p: Vec<f64> =
        judged.iter().enumerate().map(|(label, p)| if fits(label) { *p } else { OTHER * p }).collect();
    let all: f64 = p.iter().sum();
    let idle = judged[weights.idle];
    let share = ((all - idle) / (1.0 - idle).max(1e-9)).clamp(OTHER, 1.0);
    p.iter_mut().for_each(|p| *p /= all.max(1e-9));
    let none = p[weights.idle];
    (p, share, none < NONE)
}

/// Leaves of bursts that are one move the strongest.
pub fn apart(all: &[Burst], strikes: &mut [Option<Strike>], weights: &Weights) {
    let label = |strike: &Strike| {
        let p = &strike.judged;
        (0..p.len()).filter(|label| *label != weights.idle).max_by(|a, b| p[*a].total_cmp(&p[*b]))
    };
    let fits = |label: usize, i: usize| all[i].chain.limbs().iter().any(|limb| weights.fits(label, *limb));
    let strength = |strikes: &[Option<Strike>], i: usize| strikes[i].as_ref().map_or(0.0, |strike| strike.strength);
    let mut order: Vec<usize> = (0..all.len()).filter(|i| strikes[*i].is_some()).collect();
    // What has a row already comes first: it cannot be taken back.
    order.sort_by(|a, b| {
        let rank = |i: usize| (all[i].fate == Fate::Move, strength(strikes, i));
        let ((sent_a, a), (sent_b, b)) = (rank(*a), rank(*b));
        sent_b.cmp(&sent_a).then(b.total_cmp(&a))
    });
    let mut kept: Vec<usize> = vec![];
    for i in order {
        let Some(strike) = &strikes[i] else { continue };
        let takes = |other: &usize| {
            let Some(stronger) = &strikes[*other] else { return false };
            let off = strike.peak.since(stronger.peak);
            let weak = strike.strength < WEAK * stronger.strength;
            let same = label(strike).filter(|own| Some(*own) == label(stronger));
            let (burst, struck) = (&all[i], &all[*other]);
            let ratio = strike.strength / stronger.strength;
            let echo = same.is_some_and(|label| match burst.chain == struck.chain {
                // A part of the preparation or the way back, not a second strike the same way.
                true => ratio < BACKWARDS && off > -FORTH && burst.along(struck) < 0.5,
                false => ratio < ECHOES || !fits(label, i) || off.abs() < BOTH,
            });
            let lingers = same.is_some() && ratio < LINGERING && (0.0..LINGERS).contains(&off);
            off.abs() < TOGETHER || (weak && off.abs() < BESIDE) || (echo && off.abs() < ECHO) || lingers
        };
        if all[i].fate != Fate::Move && kept.iter().any(takes) {
            strikes[i] = None;
        } else {
            kept.push(i);
        }
    }
}
