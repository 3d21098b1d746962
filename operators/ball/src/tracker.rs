//! Track-oriented multiple hypothesis tracking (MHT) of one ball (Reid 1979; Blackman, "Multiple Hypothesis Tracking
//! for Multiple Target Tracking", 2004).
//!
//! Each frame extends every hypothesis with the candidates in its gate, and starts a new one with each candidate that
//! no hypothesis claims. Hypotheses with low scores are pruned, and equal ones are merged. One hypothesis is active:
//! its state is the output. An alternative becomes active when the active one is lost, or when its score is higher by a
//! margin; so the tracker leaves a false ball. [`BallMode`] describes how reliable the active hypothesis is.

use serde::{Deserialize, Serialize};
use sideline_sport::tables::BallMode;

use crate::{
    BallConfig, Method,
    corrections::History,
    hypothesis::{Candidate, Hypothesis},
    particles::ParticleSet,
    to_frames,
};

/// Maximum number of alternative hypotheses; it bounds the work per frame.
const MAX_ALTERNATIVES: usize = 15;
/// Score at or below which an alternative is pruned.
const PRUNE_SCORE: f64 = -3.0;
/// Margin by which the score of an alternative must exceed that of the active hypothesis to replace it.
const SWITCH_MARGIN: f64 = 6.0;
/// Margin in mode `chaos`.
const CHAOS_SWITCH_MARGIN: f64 = 8.0;
/// Margin while the active hypothesis has fewer than [`MIN_HITS_SINCE_KICK`] hits since its last kick.
const UNCONFIRMED_SWITCH_MARGIN: f64 = 0.5;
/// Hits after a kick until the active hypothesis counts as confirmed again: a kick without later hits may be a false
/// alarm.
const MIN_HITS_SINCE_KICK: u32 = 3;
/// Log-likelihood ratio that a candidate must exceed to be associated with a hypothesis.
const MIN_ASSOCIATION_LLR: f64 = -4.0;
/// Log-likelihood ratio above which an association is unambiguous. Below it the candidate may be another object's, so
/// the hypothesis also branches into a miss.
const UNAMBIGUOUS_LLR: f64 = 3.0;
/// Associations whose log-likelihood ratio is within this of the best one's become branches, too.
const BRANCH_LLR_MARGIN: f64 = 2.0;
/// Hypotheses with the same association are merged if their positions (px) and velocities (px/frame) differ by less
/// than this.
const MERGE_DISTANCE: f64 = 3.0;
/// Consecutive processed frames without a hit before the ball is lost, whatever the time: the detector may run seldom.
const MIN_MISSES_UNTIL_LOST: u32 = 3;
/// Time in which the center of the search for a lost ball moves from its last position to the center of the frame,
/// frames of 1/30 s.
const SEARCH_RECENTER_FRAMES: f64 = 60.0;
/// Growth of the search radius, px per frame of 1/30 s.
const SEARCH_GROWTH_PX_PER_FRAME: f64 = 20.0;

/// Input of one frame.
pub struct Scan<'a> {
    /// Number of the frame.
    pub frame: u64,
    /// Frames of 1/30 s since the frame before.
    pub elapsed_frames: f64,
    /// Candidates; `None` where the detector did not process the frame.
    pub candidates: Option<&'a [Candidate]>,
    /// Width of the frame, scaled to a height of 1080 px.
    pub width: f64,
    /// Seed of the particle filter's random numbers.
    pub seed: u64,
}

/// State of the tracker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tracker {
    /// The hypothesis that is the output.
    pub active: Option<Hypothesis>,
    /// Reliability of the active hypothesis.
    pub mode: BallMode,
    /// Detection score of the candidate associated in this frame; `None` where none was.
    pub hit_score: Option<f64>,
    /// Input of the fixed-lag smoother.
    pub history: History,
    alternatives: Vec<Hypothesis>,
    /// Remaining duration of mode `chaos`, frames of 1/30 s.
    chaos_frames: f64,
    /// Resting position.
    rest_position: [f64; 2],
    /// Frames of 1/30 s within `lock_radius` of it.
    rest_frames: f64,
    /// Moving average of the candidates' detection scores.
    mean_score: Option<f64>,
}

impl Tracker {
    /// Processes one frame.
    pub fn update(&mut self, scan: &Scan, config: &BallConfig) {
        let capacity = config.history_frames();
        self.history.push_frame(scan.frame, scan.elapsed_frames, capacity);
        self.chaos_frames = (self.chaos_frames - scan.elapsed_frames).max(0.0);
        self.hit_score = None;
        for hypothesis in self.active.iter_mut().chain(&mut self.alternatives) {
            hypothesis.predict(scan.elapsed_frames, config, scan.seed);
        }
        if let Some(active) = &mut self.active {
            clamp_to_frame(active, scan.width);
        }
        if let Some(candidates) = scan.candidates {
            self.update_mean_score(candidates);
            self.branch(candidates, scan, config);
            self.switch_active(scan, config);
        }
        self.update_mode(scan, config);
    }

    fn mean_score(&self) -> f64 {
        self.mean_score.unwrap_or(0.5)
    }

    fn update_mean_score(&mut self, candidates: &[Candidate]) {
        for candidate in candidates {
            let mean = self.mean_score.get_or_insert(candidate.score);
            *mean += 0.02 * (candidate.score - *mean);
        }
    }

    /// Branches every hypothesis into its likely associations. The likeliest branch of the active hypothesis stays
    /// active.
    fn branch(&mut self, candidates: &[Candidate], scan: &Scan, config: &BallConfig) {
        let (mean_score, stillness) = (self.mean_score(), self.stillness(config));
        let capacity = config.history_frames();
        let mut claimed = vec![false; candidates.len()];
        let mut branches = |hypothesis: &Hypothesis, gate: f64, max_distance: f64, stillness: f64| {
            let predicted = hypothesis.motion.position();
            let mut associations: Vec<_> = (candidates.iter().enumerate())
                .filter(|(_, candidate)| distance(candidate.center, predicted) <= max_distance)
                .filter_map(|(at, candidate)| {
                    let variance = hypothesis.measurement_variance(stillness, candidate.radius, config);
                    Some((at, variance, hypothesis.evaluate(candidate, variance, gate, mean_score, config)?))
                })
                .filter(|(.., association)| association.log_likelihood_ratio > MIN_ASSOCIATION_LLR)
                .collect();
            associations.sort_by(|a, b| b.2.log_likelihood_ratio.total_cmp(&a.2.log_likelihood_ratio));
            let best =
                associations.first().map_or(f64::NEG_INFINITY, |(.., association)| association.log_likelihood_ratio);
            let mut branches = vec![];
            for (at, variance, association) in associations
                .into_iter()
                .take_while(|(.., association)| association.log_likelihood_ratio > best - BRANCH_LLR_MARGIN)
            {
                claimed[at] |= association.log_likelihood_ratio > UNAMBIGUOUS_LLR;
                let mut branch = hypothesis.clone();
                branch.associate(&candidates[at], association, variance, scan.frame, capacity, scan.seed);
                branches.push((branch, Some(at)));
            }
            if best < UNAMBIGUOUS_LLR {
                let mut branch = hypothesis.clone();
                branch.record_miss();
                branches.push((branch, None));
            }
            branches
        };
        let mut all: Vec<(Hypothesis, Option<usize>)> = vec![];
        let mut active = None;
        if let Some(previous) = self.active.take() {
            let gate = if self.mode == BallMode::Normal { config.gate } else { config.recovering_gate };
            let max_distance = match self.mode {
                BallMode::Chaos => config.chaos_reach,
                BallMode::Locked => config.lock_reach,
                _ => f64::INFINITY,
            };
            let mut extended = branches(&previous, gate, max_distance, stillness);
            extended.sort_by(|(a, _), (b, _)| b.score.total_cmp(&a.score));
            let mut extended = extended.into_iter();
            active = extended.next();
            all.extend(extended);
        }
        for alternative in std::mem::take(&mut self.alternatives) {
            all.extend(branches(&alternative, config.recovering_gate, f64::INFINITY, 0.0));
        }
        let unclaimed = candidates.iter().enumerate().filter(|(at, _)| !claimed[*at]);
        all.extend(
            unclaimed.map(|(at, candidate)| (Hypothesis::new(candidate, scan.frame, mean_score, config), Some(at))),
        );
        all.retain(|(alternative, _)| {
            alternative.score > PRUNE_SCORE && alternative.frames_since_hit < to_frames(config.lost_after_s)
        });
        all.sort_by(|(a, _), (b, _)| b.score.total_cmp(&a.score));
        let mut kept: Vec<(Hypothesis, Option<usize>)> = vec![];
        for branch in all {
            if kept.len() < MAX_ALTERNATIVES && !active.iter().chain(&kept).any(|other| is_duplicate(other, &branch)) {
                kept.push(branch);
            }
        }
        if let Some((hypothesis, candidate)) = active {
            self.hit_score = candidate.map(|at| candidates[at].score);
            self.active = Some(hypothesis);
        }
        self.alternatives = kept
            .into_iter()
            .map(|(mut alternative, _)| {
                alternative.particles = None;
                alternative
            })
            .collect();
    }

    /// Makes the best alternative active where it should replace the active hypothesis.
    fn switch_active(&mut self, scan: &Scan, config: &BallConfig) {
        let is_confirmed = |alternative: &Hypothesis| {
            alternative.hit_count >= config.confirm_hits && alternative.consecutive_misses == 0
        };
        let (last_position, frames_since_hit) = match &self.active {
            Some(active) => (Some(active.motion.position()), active.frames_since_hit),
            None => (None, 0.0),
        };
        let is_active_lost = self.active.as_ref().is_none_or(|active| is_lost(active, config));
        // The search starts at the last position and moves to the center of the frame while it widens.
        let search_llr = |alternative: &Hypothesis| {
            let Some(from) = last_position else { return 0.0 };
            let progress =
                ((frames_since_hit - to_frames(config.lost_after_s)) / SEARCH_RECENTER_FRAMES).clamp(0.0, 1.0);
            let middle = [scan.width / 2.0, 540.0];
            let search_center = [0, 1].map(|axis| from[axis] + progress * (middle[axis] - from[axis]));
            let deviation = distance(alternative.motion.position(), search_center)
                / (config.jump + SEARCH_GROWTH_PX_PER_FRAME * frames_since_hit);
            -(deviation * deviation / 2.0).min(6.0)
        };
        let total_score =
            |alternative: &Hypothesis| alternative.score + if is_active_lost { search_llr(alternative) } else { 0.0 };
        let best = (0..self.alternatives.len()).filter(|at| is_confirmed(&self.alternatives[*at]));
        let best =
            best.max_by(|a, b| total_score(&self.alternatives[*a]).total_cmp(&total_score(&self.alternatives[*b])));
        let Some(best) = best else { return };
        // In mode `chaos` a distant alternative needs a larger margin.
        let margin = if self.mode == BallMode::Chaos { CHAOS_SWITCH_MARGIN } else { SWITCH_MARGIN };
        let (active, alternative) = (self.active.as_ref(), &self.alternatives[best]);
        let is_better = active.is_none_or(|active| {
            let margin = if active.hits_since_kick < MIN_HITS_SINCE_KICK { UNCONFIRMED_SWITCH_MARGIN } else { margin };
            alternative.score > active.score + margin
        });
        if !(is_active_lost && total_score(alternative) > 0.0 || is_better) {
            return;
        }
        // Farther from the last hit than the ball can have moved since: one of the two hypotheses was not the ball.
        let is_jump = active.and_then(|active| active.hits.back()).is_some_and(|last| {
            distance(alternative.motion.position(), last.position) > config.jump * frames_since_hit.max(1.0)
        });
        if is_jump && !is_active_lost {
            self.chaos_frames = to_frames(config.chaos_s);
        }
        let mut promoted = self.alternatives.swap_remove(best);
        if config.method == Method::Particle {
            promoted.particles = Some(ParticleSet::sample(&promoted.motion, config.particles, scan.seed));
        }
        self.history.replace_hits(&promoted.hits);
        self.hit_score = promoted.hits.back().map(|hit| hit.score);
        if let Some(mut demoted) = self.active.replace(promoted).filter(|demoted| !is_lost(demoted, config)) {
            demoted.particles = None;
            self.alternatives.push(demoted);
        }
    }

    /// Returns the time at rest as a share of `lock_s`, 0 to 1.
    fn stillness(&self, config: &BallConfig) -> f64 {
        (self.rest_frames / to_frames(config.lock_s).max(1.0)).min(1.0)
    }

    /// Records the hit, updates the resting position and sets the mode.
    fn update_mode(&mut self, scan: &Scan, config: &BallConfig) {
        let Some(active) = &self.active else { return };
        if let (Some(_), Some(hit)) = (self.hit_score, active.hits.back()) {
            self.history.record_hit(hit);
        }
        let position = active.motion.position();
        if distance(position, self.rest_position) > config.lock_radius {
            (self.rest_position, self.rest_frames) = (position, 0.0);
        } else {
            self.rest_frames += scan.elapsed_frames;
        }
        self.mode = match () {
            () if is_lost(active, config) => BallMode::Lost,
            () if self.chaos_frames > 0.0 => BallMode::Chaos,
            () if active.frames_since_hit <= to_frames(config.warn_after_s)
                && self.rest_frames >= to_frames(config.lock_s) =>
            {
                BallMode::Locked
            }
            () if active.frames_since_hit > 0.0 || active.consecutive_hits <= config.normal_after => {
                BallMode::Recovering
            }
            () => BallMode::Normal,
        };
    }
}

/// Returns true for branches that describe one target: equal association, nearly equal position and velocity.
fn is_duplicate(a: &(Hypothesis, Option<usize>), b: &(Hypothesis, Option<usize>)) -> bool {
    a.1 == b.1
        && distance(a.0.motion.position(), b.0.motion.position()) < MERGE_DISTANCE
        && distance(a.0.motion.velocity(), b.0.motion.velocity()) < MERGE_DISTANCE
}

fn is_lost(hypothesis: &Hypothesis, config: &BallConfig) -> bool {
    hypothesis.frames_since_hit > to_frames(config.lost_after_s)
        && hypothesis.consecutive_misses >= MIN_MISSES_UNTIL_LOST
}

/// Stops a ball at the border that is predicted outside the frame.
fn clamp_to_frame(hypothesis: &mut Hypothesis, width: f64) {
    for (axis, length) in hypothesis.motion.axes.iter_mut().zip([width, 1080.0]) {
        if axis[0] < 0.0 || axis[0] > length {
            *axis = [axis[0].clamp(0.0, length), 0.0, 0.0];
        }
    }
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}
