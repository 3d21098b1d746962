//! Bayesian model averaging (Hoeting, Madigan, Raftery and Volinsky, Statistical Science 14, 1999, section 1).
//!
//! The probability of a label is the mean of the models' probabilities, each weighted by the posterior probability of
//! the model given the evidence. Three kinds of evidence count:
//!
//! - the evidence that training measured for each label (the weights file);
//! - the recent agreement of each model with the average of all, for one fighter: the average is taken as the
//!   observation, and a model's prediction gives its likelihood. Old evidence decays;
//! - the moves that this fighter makes at this distance from the other, relative to other distances.

use serde::{Deserialize, Serialize};

use crate::weights::Weights;

/// Minimum likelihood of an observation under a model: a single mistake does not rule the model out.
const MIN_LIKELIHOOD: f64 = 0.01;
/// Seconds of overlapping windows that count as one piece of evidence, because they see the same motion.
const EVIDENCE_PERIOD_S: f64 = 1.0;
/// Maximum difference in log evidence between two models from agreement.
const MAX_LOG_EVIDENCE_GAP: f64 = 3.0;
/// Moves after which a fighter's own statistics at a distance weigh as much as the prior that distance does not matter.
const PRIOR_MOVES: f64 = 12.0;
/// Factor on the counts of earlier moves at each new one: about the last hundred moves count.
const MOVE_COUNT_DECAY: f64 = 0.99;

/// Upper bounds of the distance zones, torso lengths: close, punching range, kicking range; beyond is far.
const ZONE_BOUNDS: [f32; 3] = [1.6, 2.3, 3.2];
/// Number of zones, with one for an unknown distance.
const ZONES: usize = ZONE_BOUNDS.len() + 2;

/// Returns the zone of a distance; the last zone for NaN.
pub fn distance_zone(distance: f32) -> usize {
    if distance.is_nan() { ZONES - 1 } else { ZONE_BOUNDS.iter().filter(|bound| distance >= **bound).count() }
}

/// Average of several predictions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FusedPrediction {
    /// Probability of each label.
    pub probabilities: Vec<f64>,
    /// Share of each model of the weights file in the average, sum 1; 0 for a model without a prediction.
    pub weights: Vec<f64>,
}

/// Evidence about the models from one fighter, and that fighter's moves by distance.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ModelTrust {
    /// Log evidence of each model from agreement, 0 for the best.
    log_evidence: Vec<f64>,
    /// True for each model that has ever made a prediction.
    pub has_predicted: Vec<bool>,
    /// Decayed counts of moves in each zone, by label.
    moves_by_zone: Vec<Vec<f64>>,
}

impl ModelTrust {
    /// Averages predictions (index of the model, probability of each label) at a distance zone; `None` if there are
    /// none.
    pub fn fuse(&self, weights: &Weights, predictions: &[(usize, Vec<f64>)], zone: usize) -> Option<FusedPrediction> {
        let mut fused = self.average(weights, predictions)?;
        let lift = self.context_lift(weights, zone);
        let exponent = 1.0 / weights.temperature;
        for (p, lift) in fused.probabilities.iter_mut().zip(lift) {
            *p = (*p * lift).powf(exponent);
        }
        normalize(&mut fused.probabilities);
        Some(fused)
    }

    /// Computes the weighted mean, without distance and temperature.
    fn average(&self, weights: &Weights, predictions: &[(usize, Vec<f64>)]) -> Option<FusedPrediction> {
        let mut fused = FusedPrediction {
            probabilities: vec![0.0; weights.labels.len()],
            weights: vec![0.0; weights.models.len()],
        };
        let best = self.best_log_evidence(predictions);
        for (label, p) in fused.probabilities.iter_mut().enumerate() {
            // Only the models with a prediction share the weight.
            let weight = |model: usize| weights.evidence[model][label] * (self.log_evidence(model) - best).exp();
            let total: f64 = predictions.iter().map(|(model, _)| weight(*model)).sum();
            for (model, own) in predictions {
                let part = weight(*model) / total * own[label];
                *p += part;
                fused.weights[*model] += part;
            }
        }
        normalize(&mut fused.probabilities);
        normalize(&mut fused.weights);
        (!predictions.is_empty()).then_some(fused)
    }

    fn log_evidence(&self, model: usize) -> f64 {
        self.log_evidence.get(model).copied().unwrap_or_default()
    }

    fn best_log_evidence(&self, predictions: &[(usize, Vec<f64>)]) -> f64 {
        predictions.iter().map(|(model, _)| self.log_evidence(*model)).fold(f64::NEG_INFINITY, f64::max)
    }

    /// Updates the evidence of each model by its agreement with the average. `step` is the time since the last frame,
    /// `memory` the time constant of the decay, both in seconds; 0 disables the update.
    pub fn update(&mut self, weights: &Weights, predictions: &[(usize, Vec<f64>)], step: f64, memory: f64) {
        self.log_evidence.resize(weights.models.len(), 0.0);
        self.has_predicted.resize(weights.models.len(), false);
        predictions.iter().for_each(|(model, _)| self.has_predicted[*model] = true);
        if memory <= 0.0 || predictions.len() < 2 {
            return;
        }
        let Some(consensus) = self.average(weights, predictions) else { return };
        let decay = (-step / memory).exp();
        self.log_evidence.iter_mut().for_each(|evidence| *evidence *= decay);
        for (model, own) in predictions {
            let likelihood: f64 = own.iter().zip(&consensus.probabilities).map(|(own, all)| own * all).sum();
            self.log_evidence[*model] += (step / EVIDENCE_PERIOD_S).min(1.0) * likelihood.max(MIN_LIKELIHOOD).ln();
        }
        let best = self.best_log_evidence(predictions);
        let relative = |evidence: f64| (evidence - best).clamp(-MAX_LOG_EVIDENCE_GAP, 0.0);
        self.log_evidence.iter_mut().for_each(|evidence| *evidence = relative(*evidence));
    }

    /// Counts a move in a distance zone, by the probabilities of its labels.
    pub fn record_move(&mut self, weights: &Weights, probabilities: &[f64], zone: usize) {
        self.moves_by_zone.resize(ZONES, vec![]);
        for counts in &mut self.moves_by_zone {
            counts.resize(weights.labels.len(), 0.0);
            counts.iter_mut().for_each(|count| *count *= MOVE_COUNT_DECAY);
        }
        self.moves_by_zone[zone].iter_mut().zip(probabilities).for_each(|(count, p)| *count += p);
    }

    /// Returns, for each label, the ratio of its frequency in a zone to that in all zones, for this fighter: 1/3 to 3.
    /// The idle label has a ratio of 1.
    fn context_lift(&self, weights: &Weights, zone: usize) -> Vec<f64> {
        let neutral = vec![1.0; weights.labels.len()];
        let Some(here) = self.moves_by_zone.get(zone).filter(|_| zone + 1 < ZONES) else { return neutral };
        let labels = here.len() as f64;
        let everywhere: Vec<f64> =
            (0..here.len()).map(|label| self.moves_by_zone.iter().map(|counts| counts[label]).sum()).collect();
        let (total, total_here): (f64, f64) = (everywhere.iter().sum(), here.iter().sum());
        let lift = |label: usize| {
            let usual = (everywhere[label] + 1.0) / (total + labels);
            ((here[label] + PRIOR_MOVES * usual) / (total_here + PRIOR_MOVES) / usual).clamp(1.0 / 3.0, 3.0)
        };
        (0..here.len()).map(|label| if label == weights.idle { 1.0 } else { lift(label) }).collect()
    }
}

/// Scales values to the sum 1; leaves them if their sum is not positive.
fn normalize(values: &mut [f64]) {
    let sum: f64 = values.iter().sum();
    if sum > 0.0 {
        values.iter_mut().for_each(|value| *value /= sum);
    }
}
