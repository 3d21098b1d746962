//! State of one fighter: recent predictions, bursts of the limbs, and the moves decided from both.
//!
//! A model's window ends at the newest frame, and the model judges the move whose peak lies `focus` before that end. So
//! the prediction about a burst arrives `focus` after its peak. A burst is decided once, when the predictions around
//! that time have arrived: it becomes a move with a row, or no move.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_sport::tables::{Fighter, Motion, Move};
use uuid::Uuid;

use crate::{
    FusionConfig,
    averaging::{FusedPrediction, ModelTrust, distance_zone},
    bursts::{Burst, BurstDetector, Chain, FrameTime, Outcome},
    strikes::{Strike, outward_strikes, suppress_duplicates, weigh_by_limb},
    weights::{Limb, Weights},
};

/// Seconds for which predictions and bursts are kept: longer than a limb stays out before it returns, plus the focus of
/// a window.
const RETENTION_S: f64 = 4.0;
/// Predictions within this time of the focus of a move are averaged, s.
const FOCUS_TOLERANCE_S: f64 = 0.07;
/// Maximum distance from the focus of the single prediction that is used if none lies within the tolerance, s.
const MAX_FOCUS_OFFSET_S: f64 = 0.25;
/// Maximum distance from the focus at the end of a stream, when the predictions at the focus never arrive, s.
const MAX_FOCUS_OFFSET_AT_END_S: f64 = 0.4;
/// Maximum time that a decision waits for the burst to end, after the predictions about it have arrived, s.
const MAX_WAIT_S: f64 = 0.4;
/// Probability from which a label decides which limb of a chain struck.
const MIN_LIMB_LABEL_PROBABILITY: f64 = 0.5;

/// Fused prediction of one frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct TimedPrediction {
    /// Media time of the frame, ns.
    pts: i64,
    fused: FusedPrediction,
    /// Zone of the distance from the other fighter.
    zone: usize,
}

/// State of one fighter; see the [module](self) documentation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FighterState {
    /// Name; none until the fighter is named.
    pub name: Fighter,
    /// Last frame with motion of this fighter; `None` before the first one.
    last_seen: Option<FrameTime>,
    /// Evidence about the models from this fighter.
    pub trust: ModelTrust,
    /// Recent predictions, oldest first.
    predictions: VecDeque<TimedPrediction>,
    /// Burst detectors, in the order of [`Chain::ALL`].
    detectors: [BurstDetector; Chain::ALL.len()],
    /// Bursts that have ended, in the order of their ends.
    bursts: VecDeque<Burst>,
}

/// Inputs that all fighters of a frame share.
pub struct FrameContext<'a> {
    /// Frame number and media time.
    pub at: FrameTime,
    /// Name of the stream and number of its session; part of a move's id.
    pub stream: (&'a str, u32),
    /// Contents of the weights file.
    pub weights: &'a Weights,
    /// Configuration of the operator.
    pub config: &'a FusionConfig,
}

impl FighterState {
    /// Updates the state with the motion of a frame, the models' predictions (index of the model, probability of each
    /// label), and the distance from the other fighter (torso lengths; NaN if unknown). Returns the fused prediction,
    /// if there were predictions.
    pub fn observe(
        &mut self,
        frame: &FrameContext,
        motion: &Motion,
        predictions: &[(usize, Vec<f64>)],
        distance: f32,
    ) -> Option<FusedPrediction> {
        let (at, weights, config) = (frame.at, frame.weights, frame.config);
        let step = self.absent_s(at);
        self.last_seen = Some(at);
        let thresholds = config.speed_thresholds();
        for (chain, detector) in Chain::ALL.into_iter().zip(&mut self.detectors) {
            self.bursts.extend(detector.update(chain, motion, at, step as f32, &thresholds));
        }
        self.trust.update(weights, predictions, step, config.memory);
        let zone = distance_zone(distance);
        // An index beyond the zones gives no context.
        let context_zone = if config.context { zone } else { usize::MAX };
        let fused = self.trust.fuse(weights, predictions, context_zone)?;
        self.predictions.push_back(TimedPrediction { pts: at.pts, fused: fused.clone(), zone });
        Some(fused)
    }

    /// Returns the seconds from the last frame with motion of this fighter to a frame; 0 before the first one.
    pub fn absent_s(&self, at: FrameTime) -> f64 {
        self.last_seen.map_or(0.0, |last_seen| at.seconds_since(last_seen))
    }

    /// Ends the current bursts of all chains: the fighter is absent, or the stream is over.
    pub fn finish_bursts(&mut self) {
        let finished = self.detectors.iter_mut().filter_map(BurstDetector::finish);
        self.bursts.extend(finished);
    }

    /// Decides the bursts that are due, and returns the rows of those that are moves, in the order of their peaks. With
    /// `is_last`, at the last frame of a fighter, all pending bursts are decided without waiting.
    pub fn decide_moves(&mut self, track: u32, frame: &FrameContext, is_last: bool) -> Vec<Move> {
        let is_due = |burst: &Burst| {
            let waited = frame.seconds_since_focus(burst) - FOCUS_TOLERANCE_S;
            let is_complete = waited >= 0.0 && (burst.has_ended || waited > MAX_WAIT_S);
            burst.outcome == Outcome::Pending && (is_last || is_complete)
        };
        self.remove_old(frame.at);
        let current = || self.detectors.iter().filter_map(BurstDetector::current);
        if !self.bursts.iter().chain(current()).any(is_due) {
            return vec![];
        }
        // Bursts that have not ended take part in the comparison, as far as they are known.
        let mut all: Vec<Burst> = self.bursts.iter().chain(current()).cloned().collect();
        all.sort_by_key(|burst| (burst.peak.pts, burst.chain as usize));
        let strikes = self.find_strikes(&all, frame, is_last);
        let mut rows = vec![];
        for (burst, strike) in all.iter().zip(&strikes) {
            if !is_due(burst) {
                continue;
            }
            let row = strike.as_ref().map(|strike| self.move_row(burst, strike, frame, track));
            let outcome = if row.is_some() { Outcome::Move } else { Outcome::NoMove };
            rows.extend(row);
            self.set_outcome(burst, outcome);
        }
        rows
    }

    /// Removes predictions and bursts that no later comparison needs.
    fn remove_old(&mut self, now: FrameTime) {
        let is_old = |pts: i64| (now.pts - pts) as f64 * 1e-9 > RETENTION_S;
        self.bursts.retain(|burst| !is_old(burst.end.pts));
        while self.predictions.front().is_some_and(|prediction| is_old(prediction.pts)) {
            self.predictions.pop_front();
        }
    }

    /// Stores the outcome of a burst, which has ended or is still current.
    fn set_outcome(&mut self, burst: &Burst, outcome: Outcome) {
        let is_same = |other: &&mut Burst| other.chain == burst.chain && other.start == burst.start;
        if let Some(ended) = self.bursts.iter_mut().find(is_same) {
            ended.outcome = outcome;
            return;
        }
        self.detectors.iter_mut().for_each(|detector| detector.set_outcome(burst, outcome));
    }

    /// Returns, for each burst, its strike if it is one of its own.
    fn find_strikes(&self, all: &[Burst], frame: &FrameContext, is_last: bool) -> Vec<Option<Strike>> {
        let (config, weights) = (frame.config, frame.weights);
        let thresholds = config.speed_thresholds();
        let min_speed = |chain: Chain| thresholds.min_speed(chain);
        let gate = config.gate.unwrap_or(weights.gate);
        let mut strikes = outward_strikes(all, min_speed, config.refractory, config.travel);
        for (burst, slot) in all.iter().zip(&mut strikes) {
            let Some(strike) = slot else { continue };
            let Some(mut fused) = self.prediction_at(burst.peak.pts + weights.focus, is_last) else { continue };
            let (p, fitting_share, is_move) = weigh_by_limb(burst.chain, &fused.probabilities, weights);
            strike.raw_probabilities = std::mem::replace(&mut fused.probabilities, p);
            // Windows that end before the focus show that two bursts are one move, but not reliably which move it is.
            if !is_last && frame.seconds_since_focus(burst) < FOCUS_TOLERANCE_S {
                continue;
            }
            let p = &fused.probabilities;
            let label = most_likely_move(p, weights);
            let limb_label = (p[label] >= MIN_LIMB_LABEL_PROBABILITY).then_some(label);
            strike.limb = striking_limb(burst, limb_label, weights);
            if let Some(part) = burst.chain.limbs().iter().position(|limb| *limb == strike.limb) {
                (strike.speed, strike.peak) = burst.limb_peak(part);
                strike.strength = f64::from(strike.speed / min_speed(burst.chain));
            }
            // The rest of the arm may be fast while the limb that the label names is not.
            let is_fast = strike.strength >= 1.0;
            // If the models are certain of a move that this chain cannot make, the burst belongs to another chain's
            // move.
            let raw_label = most_likely_move(&strike.raw_probabilities, weights);
            let is_of_other_chain = strike.raw_probabilities[raw_label] >= gate && p[label] < gate;
            strike.strength *= fitting_share;
            strike.prediction = Some(fused);
            let is_own_move = is_move && is_fast && !is_of_other_chain;
            if !is_own_move && burst.outcome != Outcome::Move {
                *slot = None;
            }
        }
        suppress_duplicates(all, &mut strikes, weights);
        strikes
    }

    /// Returns the mean of the predictions around a media time (ns), else the nearest one; `None` if that is too far
    /// away.
    fn prediction_at(&self, pts: i64, is_last: bool) -> Option<FusedPrediction> {
        let offset = |prediction: &TimedPrediction| (prediction.pts - pts).abs() as f64 * 1e-9;
        let near = self.predictions.iter().filter(|prediction| offset(prediction) <= FOCUS_TOLERANCE_S);
        let near: Vec<&FusedPrediction> = near.map(|prediction| &prediction.fused).collect();
        if near.is_empty() {
            let nearest = self.predictions.iter().min_by(|a, b| offset(a).total_cmp(&offset(b)))?;
            let max_offset = if is_last { MAX_FOCUS_OFFSET_AT_END_S } else { MAX_FOCUS_OFFSET_S };
            return (offset(nearest) <= max_offset).then(|| nearest.fused.clone());
        }
        let mean = |values: fn(&FusedPrediction) -> &Vec<f64>| -> Vec<f64> {
            let count = near.len() as f64;
            let sum = |i: usize| near.iter().map(|fused| values(fused)[i]).sum::<f64>();
            (0..values(near[0]).len()).map(|i| sum(i) / count).collect()
        };
        Some(FusedPrediction { probabilities: mean(|f| &f.probabilities), weights: mean(|f| &f.weights) })
    }

    /// Builds the row of a move, and records a labeled one in the fighter's statistics.
    fn move_row(&mut self, burst: &Burst, strike: &Strike, frame: &FrameContext, track: u32) -> Move {
        let weights = frame.weights;
        let count = weights.labels.len();
        let (p, model_shares) = match &strike.prediction {
            Some(fused) => (fused.probabilities.clone(), fused.weights.clone()),
            None => (vec![1.0 / count as f64; count], vec![]),
        };
        let label = most_likely_move(&p, weights);
        let gate = frame.config.gate.unwrap_or(weights.gate);
        let is_labeled = strike.prediction.is_some() && p[label] >= gate;
        let (peak, speed) = (strike.peak, strike.speed);
        // A first move may peak before the first prediction; then its distance is not recorded.
        let at_peak = self.predictions.iter().rfind(|prediction| prediction.pts <= peak.pts);
        let zone = at_peak.map(|prediction| prediction.zone);
        if let Some(zone) = zone.filter(|_| is_labeled) {
            self.trust.record_move(weights, &p, zone);
        }
        let models: Vec<usize> = (0..model_shares.len()).filter(|model| self.trust.has_predicted[*model]).collect();
        Move {
            id: move_id(frame.stream, track, peak, speed),
            track,
            fighter: self.name,
            label: if is_labeled { weights.labels[label].clone() } else { Move::UNSURE_LABEL.into() },
            start: strike.start.frame.min(peak.frame),
            peak: peak.frame,
            end: strike.end.frame.max(peak.frame),
            limb: burst.chain.limb_name(strike.limb),
            confidence: p[label] as f32,
            speed,
            labels: weights.label_text.clone(),
            probabilities: p.iter().map(|p| *p as f32).collect(),
            models: models.iter().map(|model| weights.models[*model].as_str()).collect::<Vec<_>>().join(" "),
            weights: models.iter().map(|model| model_shares[*model] as f32).collect(),
        }
    }
}

impl FrameContext<'_> {
    /// Returns the seconds from the time of the prediction about a burst's peak to this frame; negative before that
    /// time.
    fn seconds_since_focus(&self, burst: &Burst) -> f64 {
        (self.at.pts - burst.peak.pts - self.weights.focus) as f64 * 1e-9
    }
}

/// Returns the most likely label that is a move.
fn most_likely_move(p: &[f64], weights: &Weights) -> usize {
    let moves = (0..p.len()).filter(|label| *label != weights.idle);
    moves.max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap_or(weights.idle)
}

/// Returns the limb of a chain that struck: the one that fits the label, else the fastest.
fn striking_limb(burst: &Burst, label: Option<usize>, weights: &Weights) -> Limb {
    let limbs = burst.chain.limbs();
    let fitting = limbs.iter().copied().find(|limb| label.is_some_and(|label| weights.fits(label, *limb)));
    let fastest = if burst.limb_peak(1).0 > burst.limb_peak(0).0 { limbs.last() } else { limbs.first() };
    fitting.or(fastest.copied()).unwrap_or(Limb::Hand)
}

/// Returns the id of a move, a UUID of version 5 (RFC 9562), which is the same in every run over the same recording.
/// Time and speed of the peak are part of it, so that recordings with equal stream names have different ids.
fn move_id((stream, session): (&str, u32), track: u32, peak: FrameTime, speed: f32) -> String {
    let name = format!("sideline move {stream} {session} {track} {} {} {:08x}", peak.frame, peak.pts, speed.to_bits());
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use sideline_api::serde_json;
    use sideline_sport::tables::JOINTS;

    use super::*;

    fn weights() -> Weights {
        Weights::read(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/moves/fusion.yml")))
            .unwrap()
    }

    /// Processes a frame of hands that strike in turn, twice per second, with models that predict `jab` with certainty.
    fn step(fighter: &mut FighterState, frame: u64, weights: &Weights, config: &FusionConfig) -> Vec<Move> {
        step_at(fighter, FrameTime { frame, pts: frame as i64 * 33_333_333 }, weights, config)
    }

    fn step_at(fighter: &mut FighterState, at: FrameTime, weights: &Weights, config: &FusionConfig) -> Vec<Move> {
        let frame = at.frame;
        let mut velocity = [[0.0; 3]; JOINTS];
        let speed = match frame % 15 {
            phase @ 2..=6 => 14.0 - 4.0 * (phase as f32 - 4.0).abs(),
            phase @ 8..=13 => -8.0 + 2.0 * (phase as f32 - 10.0).abs(),
            _ => 0.0,
        };
        for joint in [15, 17, 19, 21] {
            velocity[joint + (frame / 15 % 2) as usize] = [0.0, 0.0, -speed];
        }
        let motion = Motion { track: 1, velocity, ..Motion::default() };
        let frame = FrameContext { at, stream: ("test", 0), weights, config };
        let mut jab = vec![0.01; weights.labels.len()];
        let label = weights.labels.iter().position(|label| label == "jab").unwrap();
        jab[label] = 1.01 - 0.01 * jab.len() as f64;
        let predictions: Vec<_> = (0..weights.models.len()).map(|model| (model, jab.clone())).collect();
        fighter.observe(&frame, &motion, &predictions, 2.0);
        fighter.decide_moves(1, &frame, false)
    }

    #[test]
    fn a_restored_state_gives_the_same_moves() {
        let (weights, config) = (weights(), FusionConfig::default());
        // Within a strike, with other bursts pending.
        for cut in [150, 154, 157, 161] {
            let mut fighter = FighterState::default();
            let mut restored = None;
            let mut rows = [vec![], vec![]];
            for frame in 0..400 {
                if frame == cut {
                    let text = serde_json::to_string(&fighter).unwrap();
                    restored = Some(serde_json::from_str::<FighterState>(&text).unwrap());
                }
                let row = step(&mut fighter, frame, &weights, &config);
                if let Some(restored) = &mut restored {
                    rows[0].extend(row);
                    rows[1].extend(step(restored, frame, &weights, &config));
                }
            }
            let [original, restored] = rows;
            assert!(original.len() > 10 && original.iter().all(|row| row.label == "jab"), "{original:?}");
            assert_eq!(original, restored);
        }
    }

    #[test]
    fn a_stream_that_begins_at_time_0_gives_the_same_state_as_one_that_begins_later() {
        let (weights, config) = (weights(), FusionConfig::default());
        let detectors = |begin: i64| {
            let mut fighter = FighterState::default();
            for frame in 0..2 {
                let at = FrameTime { frame, pts: begin + frame as i64 * 33_333_333 };
                step_at(&mut fighter, at, &weights, &config);
            }
            serde_json::to_value(&fighter.detectors).unwrap()
        };
        assert_eq!(detectors(0), detectors(1_000_000_000));
    }

    #[test]
    fn the_state_stays_bounded() {
        let (weights, config) = (weights(), FusionConfig::default());
        let mut fighter = FighterState::default();
        let mut sizes = vec![];
        for frame in 0..3_000 {
            step(&mut fighter, frame, &weights, &config);
            sizes.push((fighter.predictions.len(), fighter.bursts.len()));
        }
        let max = |sizes: &[(usize, usize)]| sizes.iter().copied().fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        assert_eq!(max(&sizes[300..1_000]), max(&sizes[2_000..]));
    }
}
