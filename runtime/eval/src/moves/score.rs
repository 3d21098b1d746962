//! How good answers about windows are: accuracy, F1 of each class, confusion, calibration.
//!
//! **Classes** are what a set's truth can be: `push`, or `jab|cross|hook` where the data do not tell these apart. Any of
//! its labels meets such a truth, and a label counts for the class that holds it: the truth's own where that does, else the
//! first that does; one that no class of the set holds stands for itself. The answer is the class whose labels are likeliest
//! together. So macro-F1, the plain mean of
//! the classes' F1, asks of nobody what the data cannot tell.
//!
//! **Calibration**: an answer's confidence is the sum of the probabilities of its class's labels. The expected calibration
//! error (Guo et al., ICML 2017) is the mean gap between confidence and share of right answers in 15 bins of equal width,
//! weighted by answers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Labels;
use crate::ratio;

/// Bins of the calibration error.
const BINS: usize = 15;

/// A window whose truth is known, and what was said of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What it was.
    pub truth: Labels,
    /// Probability of each label, in the order of the judge's labels; empty where it was not judged.
    pub probabilities: Vec<f32>,
}

/// What was said of a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Class {
    /// Windows of it that were judged.
    pub windows: usize,
    /// Share of the answers of this class that are right; 0 where there are none.
    pub precision: f64,
    /// Share of its windows that were found.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
}

/// How good the answers to one set are. Shares are 0..1, and NaN where no window was judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Windows that were judged.
    pub windows: usize,
    /// Windows that nobody judged: too little of the body was seen.
    pub unjudged: usize,
    /// Share of right answers.
    pub accuracy: f64,
    /// Mean F1 of the classes.
    pub macro_f1: f64,
    /// Expected calibration error.
    pub ece: f64,
    /// Each class of the set.
    pub classes: BTreeMap<String, Class>,
    /// Windows of each class (outer) that were answered by each (inner).
    pub confusion: BTreeMap<String, BTreeMap<String, usize>>,
}

/// Compares answers with the truth; `labels` are the judge's, in the order of its probabilities. With `only`, the judge is
/// asked to choose among these labels alone.
#[must_use]
pub fn score(answers: &[Answer], labels: &[&str], only: Option<&[&str]>) -> Figures {
    let truths: BTreeSet<Labels> = answers.iter().map(|answer| answer.truth).collect();
    let mut confusion: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let mut bins = [(0.0, 0.0, 0usize); BINS];
    let (mut windows, mut right) = (0, 0);
    for answer in answers.iter().filter(|answer| !answer.probabilities.is_empty()) {
        let allowed = |label: &str| only.is_none_or(|only| only.contains(&label));
        let given = || labels.iter().zip(&answer.probabilities).filter(|(label, _)| allowed(label));
        // Of the classes, and of labels that no class holds, the likeliest: what the data cannot tell apart is added up.
        let mut shares: Vec<(Option<Labels>, &str, f64)> = vec![];
        for (label, share) in given() {
            let class = class(label, answer.truth, &truths);
            match shares.iter_mut().find(|(known, _, _)| class.is_some() && *known == class) {
                Some((_, _, sum)) => *sum += f64::from(*share),
                None => shares.push((class, label, f64::from(*share))),
            }
        }
        let whole: f64 = shares.iter().map(|(_, _, share)| share).sum();
        let Some((class, said, share)) = shares.into_iter().max_by(|a, b| a.2.total_cmp(&b.2)) else { continue };
        let confidence = share / whole;
        let met = class == Some(answer.truth);
        let bin = &mut bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
        *bin = (bin.0 + confidence, bin.1 + f64::from(u8::from(met)), bin.2 + 1);
        windows += 1;
        right += usize::from(met);
        let column = class.map_or_else(|| said.to_owned(), |class| class.join("|"));
        *confusion.entry(answer.truth.join("|")).or_default().entry(column).or_default() += 1;
    }
    let classes: BTreeMap<String, Class> =
        truths.iter().map(|truth| truth.join("|")).map(|name| (name.clone(), of_class(&confusion, &name))).collect();
    let of_windows = |sum: f64| ratio(sum, windows as f64);
    // Of classes none of whose windows was judged, F1 is 0 by definition: that says nothing.
    let f1 = classes.values().map(|class| class.f1).sum();
    Figures {
        windows,
        unjudged: answers.len() - windows,
        accuracy: of_windows(right as f64),
        macro_f1: if windows > 0 { ratio(f1, classes.len() as f64) } else { f64::NAN },
        ece: of_windows(bins.iter().map(|(confidence, right, _)| (confidence - right).abs()).sum()),
        classes,
        confusion,
    }
}

/// The class that an answer is of.
fn class(said: &str, truth: Labels, truths: &BTreeSet<Labels>) -> Option<Labels> {
    if truth.contains(&said) {
        return Some(truth);
    }
    truths.iter().copied().find(|class| class.contains(&said))
}

fn of_class(confusion: &BTreeMap<String, BTreeMap<String, usize>>, name: &str) -> Class {
    let windows: usize = confusion.get(name).map_or(0, |row| row.values().sum());
    let answered: usize = confusion.values().filter_map(|row| row.get(name)).sum();
    let right = confusion.get(name).and_then(|row| row.get(name)).copied().unwrap_or_default() as f64;
    let share = |of: usize| if of > 0 { right / of as f64 } else { 0.0 };
    let (precision, recall) = (share(answered), share(windows));
    let f1 = if right > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
    Class { windows, precision, recall, f1 }
}

/// A move that is told, or one that was made: who, what, and when it was fastest, s.
#[derive(Clone, Debug, PartialEq)]
pub struct Told<'a> {
    /// Number of the person.
    pub person: usize,
    /// Which move.
    pub label: &'a str,
    /// When.
    pub peak: f64,
}

/// How well rows of moves tell what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rows {
    /// Moves that were made.
    pub made: usize,
    /// Rows that tell of one.
    pub told: usize,
    /// Rows that have a move of that person within the time, each of its own.
    pub met: usize,
    /// Those of them that name it rightly.
    pub named: usize,
    /// `met` of `told`; NaN where there are none.
    pub precision: f64,
    /// `met` of `made`; NaN where there are none.
    pub recall: f64,
    /// `named` of `met`; NaN where there are none.
    pub right_names: f64,
}

impl Rows {
    /// Adds those of another recording.
    pub fn add(&mut self, other: &Self) {
        let counts = |rows: &Self| [rows.made, rows.told, rows.met, rows.named];
        let [made, told, met, named]: [usize; 4] = std::array::from_fn(|at| counts(self)[at] + counts(other)[at]);
        *self = Self::of(made, told, met, named);
    }

    fn of(made: usize, told: usize, met: usize, named: usize) -> Self {
        let share = |part: usize, whole: usize| ratio(part as f64, whole as f64);
        let (precision, recall, right_names) = (share(met, told), share(met, made), share(named, met));
        Self { made, told, met, named, precision, recall, right_names }
    }
}

/// Matches rows with moves of the same person at most `within` seconds apart, the nearest first, each once.
#[must_use]
pub fn rows(made: &[Told], told: &[Told], within: f64) -> Rows {
    let mut pairs: Vec<(f64, usize, usize)> = vec![];
    for (m, one) in made.iter().enumerate() {
        for (t, row) in told.iter().enumerate().filter(|(_, row)| row.person == one.person) {
            let apart = (one.peak - row.peak).abs();
            // A tenth of a millisecond: times are frames.
            if apart <= within + 1e-4 {
                pairs.push((apart, m, t));
            }
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let (mut found, mut used) = (vec![false; made.len()], vec![false; told.len()]);
    let mut named = 0;
    for (_, m, t) in pairs {
        if !found[m] && !used[t] {
            (found[m], used[t]) = (true, true);
            named += usize::from(made[m].label == told[t].label);
        }
    }
    Rows::of(made.len(), told.len(), found.iter().filter(|found| **found).count(), named)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [&str; 4] = ["idle", "jab", "cross", "push"];

    fn answer(truth: Labels, probabilities: [f32; 4]) -> Answer {
        Answer { truth, probabilities: probabilities.to_vec() }
    }

    #[test]
    fn figures_are_those_that_a_hand_computes() {
        const PUNCH: Labels = &["jab", "cross"];
        let answers = [
            answer(PUNCH, [0.1, 0.2, 0.6, 0.1]),
            answer(PUNCH, [0.0, 0.5, 0.4, 0.1]),
            answer(PUNCH, [0.0, 0.1, 0.1, 0.8]),
            answer(&["push"], [0.0, 0.0, 0.05, 0.95]),
            answer(&["push"], [0.7, 0.1, 0.1, 0.1]),
            Answer { truth: &["push"], probabilities: vec![] },
        ];
        let figures = score(&answers, &LABELS, None);
        assert_eq!((figures.windows, figures.unjudged), (5, 1));
        assert!((figures.accuracy - 0.6).abs() < 1e-9);
        let (punch, push) = (&figures.classes["jab|cross"], &figures.classes["push"]);
        assert_eq!((punch.precision, punch.recall), (1.0, 2.0 / 3.0));
        assert_eq!((push.precision, push.recall), (0.5, 0.5));
        assert!((figures.macro_f1 - (0.8 + 0.5) / 2.0).abs() < 1e-9);
        assert_eq!(figures.confusion["push"]["idle"], 1, "an answer that no class of the set holds");
        // Each alone in its bin: 0.8 and 0.9 and 0.95 right, 0.8 and 0.7 wrong; both of 0.8 in one.
        let expected = ((0.8 + 0.8 - 1.0) + (1.0 - 0.9) + (1.0 - 0.95) + 0.7) / 5.0;
        assert!((figures.ece - expected).abs() < 1e-6, "{}", figures.ece);
    }

    #[test]
    fn what_nobody_judged_is_unknown() {
        let figures = score(&[Answer { truth: &["push"], probabilities: vec![] }], &LABELS, None);
        assert_eq!((figures.windows, figures.unjudged), (0, 1));
        assert!([figures.accuracy, figures.macro_f1, figures.ece].iter().all(|figure| figure.is_nan()), "{figures:?}");
        let told = rows(&[], &[Told { person: 0, label: "jab", peak: 1.0 }], 0.1);
        assert!(told.precision == 0.0 && told.recall.is_nan() && told.right_names.is_nan(), "{told:?}");
    }

    #[test]
    fn a_judge_may_be_asked_among_some_labels() {
        let answers = [answer(&["push"], [0.6, 0.0, 0.0, 0.4])];
        assert_eq!(score(&answers, &LABELS, None).accuracy, 0.0);
        let figures = score(&answers, &LABELS, Some(&["jab", "cross", "push"]));
        assert_eq!((figures.accuracy, figures.ece), (1.0, 0.0), "what is left is all of it");
    }

    #[test]
    fn a_row_meets_one_move_and_a_move_one_row() {
        let told = |person, label, peak| Told { person, label, peak };
        let made = [told(0, "jab", 1.0), told(0, "cross", 1.3), told(1, "push", 1.0)];
        let rows_told = [
            told(0, "jab", 1.05),
            told(0, "jab", 1.08),
            told(0, "jab", 1.35),
            told(1, "push", 1.2),
            told(1, "duck", 1.0),
        ];
        let rows = rows(&made, &rows_told, 0.1);
        assert_eq!((rows.made, rows.told, rows.met, rows.named), (3, 5, 3, 1));
        assert_eq!((rows.precision, rows.recall), (0.6, 1.0));
    }
}
