//! Bayesian model averaging (Hoeting, Madigan, Raftery and Volinsky, Statistical Science 14, 1999, section 1).
//!
//! The probability of a label is the mean of the models' own, each weighted by the probability that the model is right
//! given the evidence. Three kinds of evidence count here:
//!
//! - what training measured, for each label (the weights file);
//! - how well each model has agreed with all of them together about this fighter lately: its predictions are the likelihood
//!   of what they agreed on, and old evidence is forgotten;
//! - what this fighter does at this distance from the other: how much more often than at others.

use serde::{Deserialize, Serialize};

use crate::weights::Weights;

/// Least probability a model is taken to have given to anything: one mistake does not damn it.
const LEAST: f64 = 0.01;
/// Seconds of windows that count as one piece of evidence: windows that overlap say the same.
const APART: f64 = 1.0;
/// Most that evidence of agreement may part two models: e to this.
const MOST: f64 = 3.0;
/// Moves after which what a fighter did at a distance counts as much as the assumption that distance does not matter.
const DOUBT: f64 = 12.0;

/// Bounds between the distances at which people fight, torso lengths: near, hands, feet, far.
const RANGES: [f32; 3] = [1.6, 2.3, 3.2];
/// The ranges, and one for a distance that is not known.
const ZONES: usize = RANGES.len() + 2;

/// The zone of a distance; the last where it is NaN.
pub fn zone(distance: f32) -> usize {
    if distance.is_nan() { ZONES - 1 } else { RANGES.iter().filter(|bound| distance >= **bound).count() }
}

/// Several opinions made one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fused {
    /// Probability of each label.
    pub probabilities: Vec<f64>,
    /// What each model of the weights file counted for, together 1; 0 for one without an opinion.
    pub weights: Vec<f64>,
}

/// How far each model is trusted about one fighter, and what the fighter did at which distance.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Trust {
    /// Logarithm of the evidence for each model.
    evidence: Vec<f64>,
    /// Which models were ever asked.
    pub asked: Vec<bool>,
    /// Moves seen in each zone, by label.
    done: Vec<Vec<f64>>,
}

impl Trust {
    /// Makes one opinion of several, in a zone; `None` of none.
    pub fn fuse(&self, weights: &Weights, opinions: &[(usize, Vec<f64>)], zone: usize) -> Option<Fused> {
        let mut fused = self.average(weights, opinions)?;
        let lift = self.lift(weights, zone);
        let cold = 1.0 / weights.temperature;
        for (p, lift) in fused.probabilities.iter_mut().zip(lift) {
            *p = (*p * lift).powf(cold);
        }
        normalise(&mut fused.probabilities);
        Some(fused)
    }

    /// The weighted mean itself.
    fn average(&self, weights: &Weights, opinions: &[(usize, Vec<f64>)]) -> Option<Fused> {
        let mut fused =
            Fused { probabilities: vec![0.0; weights.labels.len()], weights: vec![0.0; weights.models.len()] };
        let best = opinions.iter().map(|(model, _)| self.of(*model)).fold(f64::NEG_INFINITY, f64::max);
        for (label, p) in fused.probabilities.iter_mut().enumerate() {
            // Those who are silent leave their share to the others.
            let share = |model: usize| weights.evidence[model][label] * (self.of(model) - best).exp();
            let all: f64 = opinions.iter().map(|(model, _)| share(*model)).sum();
            for (model, own) in opinions {
                let part = share(*model) / all * own[label];
                *p += part;
                fused.weights[*model] += part;
            }
        }
        normalise(&mut fused.probabilities);
        normalise(&mut fused.weights);
        (!opinions.is_empty()).then_some(fused)
    }

    fn of(&self, model: usize) -> f64 {
        self.evidence.get(model).copied().unwrap_or_default()
    }

    /// Learns how well each model agreed with all together. `step` is the time since the last opinions, `memory` the time
    /// after which a piece of evidence counts for a third, seconds; 0 learns nothing.
    pub fn agree(&mut self, weights: &Weights, opinions: &[(usize, Vec<f64>)], step: f64, memory: f64) {
        self.evidence.resize(weights.models.len(), 0.0);
        self.asked.resize(weights.models.len(), false);
        opinions.iter().for_each(|(model, _)| self.asked[*model] = true);
        if memory <= 0.0 || opinions.len() < 2 {
            return;
        }
        let Some(consensus) = self.average(weights, opinions) else { return };
        let keep = (-step / memory).exp();
        self.evidence.iter_mut().for_each(|evidence| *evidence *= keep);
        for (model, own) in opinions {
            let agreed: f64 = own.iter().zip(&consensus.probabilities).map(|(own, all)| own * all).sum();
            self.evidence[*model] += (step / APART).min(1.0) * agreed.max(LEAST).ln();
        }
        let best = opinions.iter().map(|(model, _)| self.of(*model)).fold(f64::NEG_INFINITY, f64::max);
        self.evidence.iter_mut().for_each(|evidence| *evidence = (*evidence - best).clamp(-MOST, 0.0));
    }

    /// Learns what a fighter did in a zone.
    pub fn learn(&mut self, weights: &Weights, probabilities: &[f64], zone: usize) {
        self.done.resize(ZONES, vec![]);
        for done in &mut self.done {
            done.resize(weights.labels.len(), 0.0);
            // The last hundred moves count.
            done.iter_mut().for_each(|count| *count *= 0.99);
        }
        self.done[zone].iter_mut().zip(probabilities).for_each(|(count, p)| *count += p);
    }

    /// How much more often each label comes in a zone than elsewhere, for this fighter: a third to three times. What is no
    /// move is as likely everywhere.
    fn lift(&self, weights: &Weights, zone: usize) -> Vec<f64> {
        let none = vec![1.0; weights.labels.len()];
        let Some(here) = self.done.get(zone).filter(|_| zone + 1 < ZONES) else { return none };
        let count = here.len() as f64;
        let everywhere: Vec<f64> =
            (0..here.len()).map(|label| self.done.iter().map(|done| done[label]).sum()).collect();
        let (all, all_here): (f64, f64) = (everywhere.iter().sum(), here.iter().sum());
        let lift = |label: usize| {
            let usual = (everywhere[label] + 1.0) / (all + count);
            ((here[label] + DOUBT * usual) / (all_here + DOUBT) / usual).clamp(1.0 / 3.0, 3.0)
        };
        (0..here.len()).map(|label| if label == weights.idle { 1.0 } else { lift(label) }).collect()
    }
}

fn normalise(values: &mut [f64]) {
    let sum: f64 = values.iter().sum();
    if sum > 0.0 {
        values.iter_mut().for_each(|value| *value /= sum);
    }
}
