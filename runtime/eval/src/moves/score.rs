//! Metrics of move classification: accuracy, F1 of each class, confusion matrix, calibration error.
//!
//! **Classes** are the distinct ground-truth label sets of a dataset: `push`, or `jab|cross|hook` where the data do not
//! distinguish between these. A predicted label counts for the class that contains it: the window's true class if that
//! does, else the first that does. A label that no class of the dataset contains counts for itself. The prediction is
//! the class with the greatest sum of label probabilities. Macro-F1, the plain mean of the classes' F1, therefore
//! requires no distinction that the data do not make.
//!
//! **Calibration**: the confidence of a prediction is the sum of the probabilities of its class's labels. The expected
//! calibration error (Guo et al., ICML 2017) is the mean difference between confidence and accuracy in 15 bins of equal
//! width, weighted by the number of predictions.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Labels;
use crate::ratio;

/// Number of bins of the calibration error.
const BINS: usize = 15;

/// Ground truth and prediction of one window.
#[derive(Clone, Debug)]
pub struct WindowPrediction {
    /// Ground-truth labels.
    pub truth: Labels,
    /// Probability of each label, in the order of the classifier's labels; empty if the window was not classified.
    pub probabilities: Vec<f32>,
}

/// Metrics of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClassMetrics {
    /// Classified windows of the class.
    pub windows: usize,
    /// Share of the predictions of this class that are correct; 0 without any.
    pub precision: f64,
    /// Share of its windows that are predicted correctly.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
}

/// Metrics of the predictions for one dataset. Shares are 0 to 1, and NaN where no window was classified.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassificationMetrics {
    /// Windows that were classified.
    pub windows: usize,
    /// Windows that were not classified because too little of the body was seen.
    #[serde(rename = "unjudged")]
    pub unclassified: usize,
    /// Share of correct predictions.
    pub accuracy: f64,
    /// Unweighted mean of the classes' F1.
    pub macro_f1: f64,
    /// Expected calibration error (ECE).
    pub ece: f64,
    /// Metrics of each class of the dataset.
    pub classes: BTreeMap<String, ClassMetrics>,
    /// Confusion matrix: number of windows by true class (outer key) and predicted class (inner key).
    pub confusion: BTreeMap<String, BTreeMap<String, usize>>,
}

/// Scores predictions against the ground truth. `labels` are the classifier's, in the order of its probabilities. With
/// `only`, the prediction is restricted to these labels.
#[must_use]
pub fn score(predictions: &[WindowPrediction], labels: &[&str], only: Option<&[&str]>) -> ClassificationMetrics {
    let truths: BTreeSet<Labels> = predictions.iter().map(|prediction| prediction.truth).collect();
    let mut confusion: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let mut bins = [(0.0, 0.0, 0usize); BINS];
    let (mut windows, mut correct) = (0, 0);
    for prediction in predictions.iter().filter(|prediction| !prediction.probabilities.is_empty()) {
        let allowed = |label: &str| only.is_none_or(|only| only.contains(&label));
        let candidates = || labels.iter().zip(&prediction.probabilities).filter(|(label, _)| allowed(label));
        // Probabilities of the classes, and of labels that no class contains.
        let mut probabilities: Vec<(Option<Labels>, &str, f64)> = vec![];
        for (label, probability) in candidates() {
            let class = class_of_label(label, prediction.truth, &truths);
            match probabilities.iter_mut().find(|(other, _, _)| class.is_some() && *other == class) {
                Some((_, _, sum)) => *sum += f64::from(*probability),
                None => probabilities.push((class, label, f64::from(*probability))),
            }
        }
        let total: f64 = probabilities.iter().map(|(_, _, probability)| probability).sum();
        let Some((class, label, probability)) = probabilities.into_iter().max_by(|a, b| a.2.total_cmp(&b.2)) else {
            continue;
        };
        let confidence = probability / total;
        let is_correct = class == Some(prediction.truth);
        let bin = &mut bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
        *bin = (bin.0 + confidence, bin.1 + f64::from(u8::from(is_correct)), bin.2 + 1);
        windows += 1;
        correct += usize::from(is_correct);
        let column = class.map_or_else(|| label.to_owned(), |class| class.join("|"));
        *confusion.entry(prediction.truth.join("|")).or_default().entry(column).or_default() += 1;
    }
    let classes: BTreeMap<String, ClassMetrics> = truths
        .iter()
        .map(|truth| truth.join("|"))
        .map(|name| (name.clone(), class_metrics(&confusion, &name)))
        .collect();
    let per_window = |sum: f64| ratio(sum, windows as f64);
    // Classes without classified windows have an F1 of 0 by definition. Without any classified window, macro-F1 is
    // unknown.
    let f1 = classes.values().map(|class| class.f1).sum();
    ClassificationMetrics {
        windows,
        unclassified: predictions.len() - windows,
        accuracy: per_window(correct as f64),
        macro_f1: if windows > 0 { ratio(f1, classes.len() as f64) } else { f64::NAN },
        ece: per_window(bins.iter().map(|(confidence, correct, _)| (confidence - correct).abs()).sum()),
        classes,
        confusion,
    }
}

/// Returns the class that a predicted label counts for.
fn class_of_label(label: &str, truth: Labels, truths: &BTreeSet<Labels>) -> Option<Labels> {
    if truth.contains(&label) {
        return Some(truth);
    }
    truths.iter().copied().find(|class| class.contains(&label))
}

fn class_metrics(confusion: &BTreeMap<String, BTreeMap<String, usize>>, name: &str) -> ClassMetrics {
    let windows: usize = confusion.get(name).map_or(0, |row| row.values().sum());
    let predicted: usize = confusion.values().filter_map(|row| row.get(name)).sum();
    let correct = confusion.get(name).and_then(|row| row.get(name)).copied().unwrap_or_default() as f64;
    let share = |total: usize| if total > 0 { correct / total as f64 } else { 0.0 };
    let (precision, recall) = (share(predicted), share(windows));
    let f1 = if correct > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
    ClassMetrics { windows, precision, recall, f1 }
}

/// Move of a person, reported or true.
#[derive(Clone, Debug, PartialEq)]
pub struct MoveEvent<'a> {
    /// Index of the person.
    pub person: usize,
    /// Label of the move.
    pub label: &'a str,
    /// Time of the greatest speed, s.
    pub peak: f64,
}

/// Accuracy of reported moves against the true ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct EventMetrics {
    /// True moves.
    #[serde(rename = "made")]
    pub true_moves: usize,
    /// Reported moves.
    #[serde(rename = "told")]
    pub reported_moves: usize,
    /// Reported moves matched with a true move of the same person within the tolerance, one to one.
    #[serde(rename = "met")]
    pub matched: usize,
    /// Matched moves with the correct label.
    #[serde(rename = "named")]
    pub correctly_labeled: usize,
    /// Share of the reported moves that are matched; NaN without any.
    pub precision: f64,
    /// Share of the true moves that are matched; NaN without any.
    pub recall: f64,
    /// Share of the matched moves with the correct label; NaN without any.
    #[serde(rename = "right_names")]
    pub label_accuracy: f64,
}

impl EventMetrics {
    /// Adds the counts of another recording.
    pub fn add(&mut self, other: &Self) {
        let counts =
            |metrics: &Self| [metrics.true_moves, metrics.reported_moves, metrics.matched, metrics.correctly_labeled];
        let sums: [usize; 4] = std::array::from_fn(|index| counts(self)[index] + counts(other)[index]);
        *self = Self::from_counts(sums);
    }

    /// Takes the numbers of true, reported, matched and correctly labeled moves.
    fn from_counts([true_moves, reported_moves, matched, correctly_labeled]: [usize; 4]) -> Self {
        let share = |part: usize, whole: usize| ratio(part as f64, whole as f64);
        let (precision, recall) = (share(matched, reported_moves), share(matched, true_moves));
        let label_accuracy = share(correctly_labeled, matched);
        Self { true_moves, reported_moves, matched, correctly_labeled, precision, recall, label_accuracy }
    }
}

/// Matches reported with true moves of the same person at most `within` seconds apart: the nearest pair first, each
/// move once.
#[must_use]
pub fn match_events(true_moves: &[MoveEvent], reported: &[MoveEvent], within: f64) -> EventMetrics {
    let mut pairs: Vec<(f64, usize, usize)> = vec![];
    for (t, truth) in true_moves.iter().enumerate() {
        for (r, report) in reported.iter().enumerate().filter(|(_, report)| report.person == truth.person) {
            let difference = (truth.peak - report.peak).abs();
            // A tenth of a millisecond of tolerance for rounding: times are those of frames.
            if difference <= within + 1e-4 {
                pairs.push((difference, t, r));
            }
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let (mut is_found, mut is_used) = (vec![false; true_moves.len()], vec![false; reported.len()]);
    let mut correctly_labeled = 0;
    for (_, t, r) in pairs {
        if !is_found[t] && !is_used[r] {
            (is_found[t], is_used[r]) = (true, true);
            correctly_labeled += usize::from(true_moves[t].label == reported[r].label);
        }
    }
    let matched = is_found.iter().filter(|is_found| **is_found).count();
    EventMetrics::from_counts([true_moves.len(), reported.len(), matched, correctly_labeled])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [&str; 4] = ["idle", "jab", "cross", "push"];

    fn prediction(truth: Labels, probabilities: [f32; 4]) -> WindowPrediction {
        WindowPrediction { truth, probabilities: probabilities.to_vec() }
    }

    #[test]
    fn metrics_equal_those_calculated_by_hand() {
        const PUNCH: Labels = &["jab", "cross"];
        let predictions = [
            prediction(PUNCH, [0.1, 0.2, 0.6, 0.1]),
            prediction(PUNCH, [0.0, 0.5, 0.4, 0.1]),
            prediction(PUNCH, [0.0, 0.1, 0.1, 0.8]),
            prediction(&["push"], [0.0, 0.0, 0.05, 0.95]),
            prediction(&["push"], [0.7, 0.1, 0.1, 0.1]),
            WindowPrediction { truth: &["push"], probabilities: vec![] },
        ];
        let metrics = score(&predictions, &LABELS, None);
        assert_eq!((metrics.windows, metrics.unclassified), (5, 1));
        assert!((metrics.accuracy - 0.6).abs() < 1e-9);
        let (punch, push) = (&metrics.classes["jab|cross"], &metrics.classes["push"]);
        assert_eq!((punch.precision, punch.recall), (1.0, 2.0 / 3.0));
        assert_eq!((push.precision, push.recall), (0.5, 0.5));
        assert!((metrics.macro_f1 - (0.8 + 0.5) / 2.0).abs() < 1e-9);
        assert_eq!(metrics.confusion["push"]["idle"], 1, "a prediction that no class of the dataset contains");
        // Correct: 0.8, 0.9 and 0.95; wrong: 0.8 and 0.7. Both of 0.8 share a bin, the others are alone in theirs.
        let expected = ((0.8 + 0.8 - 1.0) + (1.0 - 0.9) + (1.0 - 0.95) + 0.7) / 5.0;
        assert!((metrics.ece - expected).abs() < 1e-6, "{}", metrics.ece);
    }

    #[test]
    fn metrics_without_classified_windows_are_nan() {
        let metrics = score(&[WindowPrediction { truth: &["push"], probabilities: vec![] }], &LABELS, None);
        assert_eq!((metrics.windows, metrics.unclassified), (0, 1));
        assert!([metrics.accuracy, metrics.macro_f1, metrics.ece].iter().all(|metric| metric.is_nan()), "{metrics:?}");
        let events = match_events(&[], &[MoveEvent { person: 0, label: "jab", peak: 1.0 }], 0.1);
        assert!(events.precision == 0.0 && events.recall.is_nan() && events.label_accuracy.is_nan(), "{events:?}");
    }

    #[test]
    fn predictions_may_be_restricted_to_some_labels() {
        let predictions = [prediction(&["push"], [0.6, 0.0, 0.0, 0.4])];
        assert_eq!(score(&predictions, &LABELS, None).accuracy, 0.0);
        let metrics = score(&predictions, &LABELS, Some(&["jab", "cross", "push"]));
        assert_eq!(
            (metrics.accuracy, metrics.ece),
            (1.0, 0.0),
            "probabilities are normalized over the remaining labels"
        );
    }

    #[test]
    fn reported_and_true_moves_are_matched_one_to_one() {
        let event = |person, label, peak| MoveEvent { person, label, peak };
        let true_moves = [event(0, "jab", 1.0), event(0, "cross", 1.3), event(1, "push", 1.0)];
        let reported = [
            event(0, "jab", 1.05),
            event(0, "jab", 1.08),
            event(0, "jab", 1.35),
            event(1, "push", 1.2),
            event(1, "duck", 1.0),
        ];
        let metrics = match_events(&true_moves, &reported, 0.1);
        assert_eq!(
            (metrics.true_moves, metrics.reported_moves, metrics.matched, metrics.correctly_labeled),
            (3, 5, 3, 1)
        );
        assert_eq!((metrics.precision, metrics.recall), (0.6, 1.0));
    }
}
