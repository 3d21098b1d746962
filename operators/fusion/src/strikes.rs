//! Selection of the bursts that are strikes of their own: not a preparation, not a return, not part of another limb's
//! strike.

use crate::{
    averaging::FusedPrediction,
    bursts::{Burst, Chain, FrameTime, Outcome},
    weights::{Limb, Weights},
};

/// Time between the peaks of two limbs within which they are one move, s.
const SAME_MOVE_S: f64 = 0.13;
/// Time within which a much weaker burst of another limb belongs to a strike, s.
const WEAK_BURST_S: f64 = 0.33;
/// Ratio of strengths below which a burst is much weaker.
const WEAK_RATIO: f64 = 0.5;
/// Maximum ratio of the speed of a preparation to that of the strike after it.
const MAX_PREPARATION_RATIO: f32 = 0.7;
/// Maximum cosine between the displacements of a preparation and its strike.
const MAX_PREPARATION_COSINE: f32 = 0.3;
/// Maximum pause between a preparation and its strike, and between two parts of one return, s.
const MAX_PAUSE_S: f64 = 0.15;
/// Maximum time from the start of a preparation to its strike, s.
const MAX_PREPARATION_S: f64 = 1.0;
/// Maximum ratio of the speed of a return to that of the strike.
const MAX_RETURN_RATIO: f32 = 1.3;
/// Maximum ratio of the speed of a return after a burst that was no move, such as that of a hand that went with the
/// other one: a faster return is a strike.
const MAX_RETURN_RATIO_AFTER_NO_MOVE: f32 = 0.9;
/// Maximum cosine between the displacements of a return and its strike.
const MAX_RETURN_COSINE: f32 = -0.2;
/// Maximum time for which a limb stays out before it returns, s.
const MAX_EXTENSION_S: f64 = 2.5;

/// Time between peaks within which a weaker burst with the same label is an echo: the window that judges it contains
/// the stronger move, s.
const ECHO_S: f64 = 0.75;
/// Ratio of strengths below which a burst of another limb is an echo.
const OTHER_LIMB_ECHO_RATIO: f64 = 0.65;
/// Ratio of strengths below which a burst of the same limb in another direction is an echo.
const SAME_LIMB_ECHO_RATIO: f64 = 0.9;
/// Cosine between displacements from which two bursts of one limb are strikes in the same direction.
const SAME_DIRECTION_COSINE: f32 = 0.5;
/// Maximum time by which an echo of the same limb, its preparation, peaks before the strike, s.
const MAX_ECHO_LEAD_S: f64 = 0.35;
/// Time between the peaks of two limbs within which bursts with the same label are one move, s.
const SAME_LABEL_S: f64 = 0.25;
/// Time for which a window may still show a move that is over, s: the windows of the shipped models are up to two
/// seconds long.
const WINDOW_MEMORY_S: f64 = 1.7;
/// Ratio of strengths below which a burst within that time, with the same label, is a step or a feint.
const WINDOW_MEMORY_RATIO: f64 = 0.75;
/// Weight of labels that go with other limbs: models recognize a move although the pose mixes up its limbs.
const OTHER_LIMB_WEIGHT: f64 = 0.1;
/// Idle probability from which there was no move.
const MAX_IDLE_PROBABILITY: f64 = 0.4;

/// Burst that may be a move.
#[derive(Clone, Debug)]
pub struct Strike {
    /// Start, preparation included.
    pub start: FrameTime,
    /// End, return included where it is known.
    pub end: FrameTime,
    /// Limb that struck.
    pub limb: Limb,
    /// Time of the maximum speed.
    pub peak: FrameTime,
    /// Maximum speed, torso lengths per second.
    pub speed: f32,
    /// Speed as a multiple of the minimum for its limb; reduced if the probable labels go with other limbs.
    pub strength: f64,
    /// Probabilities of the labels as the models have them; empty without a prediction, or before there is one.
    pub raw_probabilities: Vec<f64>,
    /// Prediction after labels of other limbs were weighted down; `None` before the right windows have come.
    pub prediction: Option<FusedPrediction>,
}

/// Returns, for each burst (in the order of the peaks), the strike that it may be; preparations of a faster burst and
/// returns of a limb are none. `min_speed` is the minimum speed of a chain's bursts, `refractory` the minimum time
/// between two strikes of a limb (s), and `min_distance` the minimum displacement (torso lengths).
pub fn outward_strikes(
    all: &[Burst],
    min_speed: impl Fn(Chain) -> f32,
    refractory: f64,
    min_distance: f32,
) -> Vec<Option<Strike>> {
    let mut strikes: Vec<Option<Strike>> = vec![None; all.len()];
    for chain in Chain::ALL {
        // A burst of a single frame is noise.
        let is_real =
            |burst: &Burst| !burst.has_ended || (burst.distance() >= min_distance && burst.end != burst.start);
        let own: Vec<usize> = (0..all.len()).filter(|i| all[*i].chain == chain && is_real(&all[*i])).collect();
        // The last outward burst, and if the limb has returned since.
        let mut last_out: Option<(usize, bool)> = None;
        let mut preparation_start: Option<FrameTime> = None;
        let mut return_end: Option<FrameTime> = None;
        for (k, &i) in own.iter().enumerate() {
            let burst = &all[i];
            let next = own.get(k + 1).map(|next| &all[*next]);
            let is_preparation = next.is_some_and(|next| {
                next.start.seconds_since(burst.end) <= MAX_PAUSE_S
                    && burst.cosine(next) < MAX_PREPARATION_COSINE
                    && burst.speed < MAX_PREPARATION_RATIO * next.speed
            });
            let is_return = last_out.is_some_and(|(last, has_returned)| {
                let is_out = !has_returned && burst.start.seconds_since(all[last].end) <= MAX_EXTENSION_S;
                let continues = return_end.is_some_and(|end| burst.start.seconds_since(end) <= MAX_PAUSE_S);
                let max_ratio = match all[last].outcome {
                    Outcome::NoMove => MAX_RETURN_RATIO_AFTER_NO_MOVE,
                    Outcome::Move | Outcome::Pending => MAX_RETURN_RATIO,
                };
                (is_out || continues)
                    && burst.cosine(&all[last]) < MAX_RETURN_COSINE
                    && burst.speed <= max_ratio * all[last].speed
            });
            if burst.outcome != Outcome::Move && is_return {
                if let Some((last, has_returned)) = &mut last_out {
                    *has_returned = true;
                    if let Some(strike) = &mut strikes[*last] {
                        strike.end = burst.end;
                    }
                }
                return_end = Some(burst.end);
                continue;
            }
            if burst.outcome != Outcome::Move && is_preparation {
                preparation_start.get_or_insert(burst.start);
                continue;
            }
            let prepared = preparation_start.take();
            let start = prepared.filter(|start| burst.start.seconds_since(*start) < MAX_PREPARATION_S);
            if burst.outcome != Outcome::NoMove {
                strikes[i] = Some(Strike {
                    start: start.unwrap_or(burst.start),
                    end: burst.end,
                    limb: chain.limbs()[0],
                    peak: burst.peak,
                    speed: burst.speed,
                    strength: f64::from(burst.speed / min_speed(chain)),
                    raw_probabilities: vec![],
                    prediction: None,
                });
            }
            last_out = Some((i, false));
            return_end = None;
        }
        // A limb cannot strike twice within the refractory time: the faster of the two remains.
        for pair in own.windows(2) {
            let [first, second] = [pair[0], pair[1]];
            if strikes[first].is_some()
                && strikes[second].is_some()
                && all[second].peak.seconds_since(all[first].peak) < refractory
            {
                let removed = match (all[first].outcome, all[first].speed < all[second].speed) {
                    (Outcome::Pending, true) => first,
                    _ => second,
                };
                strikes[removed] = None;
            }
        }
    }
    strikes
}

/// Combines the probabilities of the labels with the chain that moved. Returns the probabilities with labels of other
/// limbs weighted down, the share of the move labels that go with the chain (0 to 1), and true if there was a move at
/// all.
pub fn weigh_by_limb(chain: Chain, raw: &[f64], weights: &Weights) -> (Vec<f64>, f64, bool) {
    let fits = |label: usize| label == weights.idle || chain.limbs().iter().any(|limb| weights.fits(label, *limb));
    let mut p: Vec<f64> =
        raw.iter().enumerate().map(|(label, p)| if fits(label) { *p } else { OTHER_LIMB_WEIGHT * p }).collect();
    let total: f64 = p.iter().sum();
    let idle = raw[weights.idle];
    let share = ((total - idle) / (1.0 - idle).max(1e-9)).clamp(OTHER_LIMB_WEIGHT, 1.0);
    p.iter_mut().for_each(|p| *p /= total.max(1e-9));
    let is_move = p[weights.idle] < MAX_IDLE_PROBABILITY;
    (p, share, is_move)
}

/// Keeps the strongest of the strikes that are one move, and removes the others.
pub fn suppress_duplicates(all: &[Burst], strikes: &mut [Option<Strike>], weights: &Weights) {
    let label = |strike: &Strike| {
        let p = &strike.raw_probabilities;
        (0..p.len()).filter(|label| *label != weights.idle).max_by(|a, b| p[*a].total_cmp(&p[*b]))
    };
    let fits = |label: usize, i: usize| all[i].chain.limbs().iter().any(|limb| weights.fits(label, *limb));
    let strength = |strikes: &[Option<Strike>], i: usize| strikes[i].as_ref().map_or(0.0, |strike| strike.strength);
    let mut order: Vec<usize> = (0..all.len()).filter(|i| strikes[*i].is_some()).collect();
    // Moves whose rows have been sent come first, because these cannot be taken back; then the strongest.
    order.sort_by(|a, b| {
        let rank = |i: usize| (all[i].outcome == Outcome::Move, strength(strikes, i));
        let ((sent_a, a), (sent_b, b)) = (rank(*a), rank(*b));
        sent_b.cmp(&sent_a).then(b.total_cmp(&a))
    });
    let mut kept: Vec<usize> = vec![];
    for i in order {
        let Some(strike) = &strikes[i] else { continue };
        let includes = |other: &usize| {
            let Some(stronger) = &strikes[*other] else { return false };
            let offset = strike.peak.seconds_since(stronger.peak);
            let ratio = strike.strength / stronger.strength;
            let is_weak = strike.strength < WEAK_RATIO * stronger.strength;
            let shared_label = label(strike).filter(|own| Some(*own) == label(stronger));
            let (burst, stronger_burst) = (&all[i], &all[*other]);
            let is_echo = shared_label.is_some_and(|label| match burst.chain == stronger_burst.chain {
                // A part of the preparation or the return, not a second strike in the same direction.
                true => {
                    ratio < SAME_LIMB_ECHO_RATIO
                        && offset > -MAX_ECHO_LEAD_S
                        && burst.cosine(stronger_burst) < SAME_DIRECTION_COSINE
                }
                false => ratio < OTHER_LIMB_ECHO_RATIO || !fits(label, i) || offset.abs() < SAME_LABEL_S,
            });
            let is_remembered =
                shared_label.is_some() && ratio < WINDOW_MEMORY_RATIO && (0.0..WINDOW_MEMORY_S).contains(&offset);
            offset.abs() < SAME_MOVE_S
                || (is_weak && offset.abs() < WEAK_BURST_S)
                || (is_echo && offset.abs() < ECHO_S)
                || is_remembered
        };
        if all[i].outcome != Outcome::Move && kept.iter().any(includes) {
            strikes[i] = None;
        } else {
            kept.push(i);
        }
    }
}
