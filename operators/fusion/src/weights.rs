//! Weights file: the labels and limbs of moves, and the evidence for each model's predictions.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use sideline_api::{Error, Failure, OrFail, Result, yaml};
use sideline_sport::tables::Scores;

/// Part of the body that can make a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limb {
    /// Fist or palm.
    Hand,
    /// Elbow.
    Elbow,
    /// Knee.
    Knee,
    /// Foot.
    Foot,
    /// Head, and the trunk with it.
    Head,
}

impl Limb {
    /// Returns the name in the weights file.
    pub fn name(self) -> &'static str {
        match self {
            Limb::Hand => "hand",
            Limb::Elbow => "elbow",
            Limb::Knee => "knee",
            Limb::Foot => "foot",
            Limb::Head => "head",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with `labels`, `idle`, `gate`, `temperature` and `models`")]
struct WeightsFile {
    labels: Vec<String>,
    idle: String,
    gate: f64,
    temperature: f64,
    #[serde(default = "default_focus")]
    focus: f64,
    #[serde(default)]
    limbs: BTreeMap<String, Vec<Limb>>,
    models: BTreeMap<String, ModelEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with `evidence`")]
struct ModelEntry {
    evidence: Vec<f64>,
}

/// Returns the time of nine frames at 30 frames per second, s.
fn default_focus() -> f64 {
    0.3
}

/// Parameters by which several models' predictions are fused, and moves labeled.
#[derive(Clone, Debug)]
pub struct Weights {
    /// Labels of the models.
    pub labels: Vec<String>,
    /// Labels separated by spaces, as in the column `labels`.
    pub label_text: String,
    /// Index of the label that is no move.
    pub idle: usize,
    /// Confidence below which a move is `unsure`.
    pub gate: f64,
    /// Temperature of the fused probabilities: above 1 they are flattened.
    pub temperature: f64,
    /// Time from the peak of a move to the end of the window that judges it best, ns.
    pub focus: i64,
    /// Names of the models, in alphabetical order.
    pub models: Vec<String>,
    /// Share of the evidence, by model and label.
    pub evidence: Vec<Vec<f64>>,
    /// Limbs that can make the move of each label; empty for any.
    limbs: Vec<Vec<Limb>>,
    /// Path of the file, for errors.
    path: String,
}

impl Weights {
    /// Reads the file.
    ///
    /// # Errors
    /// If the file cannot be read or parsed (with the line), or its values are inconsistent. Messages name the file,
    /// the key, and valid values.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let invalid = |message: String| Error::config(format!("{name}: {message}"));
        let text = yaml::read_text(path).or_fail(Failure::Input, || &name)?;
        let file: WeightsFile = yaml::from_str(&text).map_err(|error| {
            let error = error.in_file(&name);
            Error::config(format!("{error}; models/moves/fusion.yml of the repository is an example of such a file"))
        })?;
        let labels = file.labels;
        if labels.len() < 2 || labels.iter().any(|label| label.is_empty() || label.contains(char::is_whitespace)) {
            return Err(invalid("`labels` must be two or more words".into()));
        }
        let duplicate = (1..labels.len()).find(|i| labels[..*i].contains(&labels[*i]));
        if let Some(i) = duplicate {
            return Err(invalid(format!("`labels` has `{}` twice", labels[i])));
        }
        let find = |key: &str, label: &str| {
            labels.iter().position(|known| known == label).ok_or_else(|| {
                invalid(format!("`{key}` names `{label}`, which is none of the labels {}", labels.join(" ")))
            })
        };
        let idle = find("idle", &file.idle)?;
        let check_range = |key: &str, value: f64, min: f64, max: f64| {
            if (min..=max).contains(&value) {
                Ok(value)
            } else {
                Err(invalid(format!("`{key}` is {value}; it must be {min} to {max}")))
            }
        };
        let gate = check_range("gate", file.gate, 0.0, 1.0)?;
        let temperature = check_range("temperature", file.temperature, 0.05, 20.0)?;
        let focus = (check_range("focus", file.focus, 0.0, 1.0)? * 1e9) as i64;
        let mut limbs = vec![vec![]; labels.len()];
        for (label, with) in file.limbs {
            limbs[find("limbs", &label)?] = with;
        }
        if file.models.is_empty() {
            return Err(invalid("`models` is empty: name each model, with its `evidence`".into()));
        }
        let (mut models, mut evidence) = (vec![], vec![]);
        for (model, ModelEntry { evidence: shares }) in file.models {
            if shares.len() != labels.len() {
                let (has, needs) = (shares.len(), labels.len());
                return Err(invalid(format!("`models.{model}.evidence` has {has} numbers for {needs} labels")));
            }
            if !shares.iter().all(|share| share.is_finite() && *share > 0.0) {
                return Err(invalid(format!("`models.{model}.evidence` has a number that is not above 0")));
            }
            models.push(model);
            evidence.push(shares);
        }
        let label_text = labels.join(" ");
        Ok(Self { labels, label_text, idle, gate, temperature, focus, models, evidence, limbs, path: name })
    }

    /// True if a limb can make the move of a label.
    pub fn fits(&self, label: usize, limb: Limb) -> bool {
        self.limbs[label].is_empty() || self.limbs[label].contains(&limb)
    }

    /// Reads a model's prediction: the index of the model, and the probabilities in the order of this file's labels;
    /// `None` if the row has none.
    ///
    /// # Errors
    /// If the model is not in the file, has other labels, or returned invalid probabilities. Messages name `input`, the
    /// track, and both sides.
    pub fn read_prediction(&self, input: &str, row: &Scores) -> Result<Option<(usize, Vec<f64>)>> {
        let invalid = |message: String| Error::other(format!("input `{input}`, track {}: {message}", row.track));
        let Some(model) = self.models.iter().position(|name| *name == row.model) else {
            let (path, known) = (&self.path, self.models.join(", "));
            return Err(invalid(format!(
                "model `{}` is not in {path}, which has {known}: add it under `models` with its `evidence`, or name \
                 another file in the key `weights`",
                row.model
            )));
        };
        if row.probabilities.is_empty() {
            return Ok(None);
        }
        // In most cases the order of the labels is that of the file.
        let indices: Option<Vec<usize>> = if row.labels == self.label_text {
            Some((0..self.labels.len()).collect())
        } else {
            let row_labels: Vec<&str> = row.labels.split_whitespace().collect();
            let index = |label: &String| row_labels.iter().position(|row_label| row_label == label);
            self.labels.iter().map(index).collect::<Option<_>>().filter(|_| row_labels.len() == self.labels.len())
        };
        let Some(indices) = indices else {
            return Err(invalid(format!(
                "model `{}` has the labels `{}`, but {} has `{}`: both must come from one training",
                row.model, row.labels, self.path, self.label_text
            )));
        };
        let values: Vec<f64> =
            indices.iter().filter_map(|index| row.probabilities.get(*index)).map(|p| f64::from(*p)).collect();
        let sum: f64 = values.iter().sum();
        let is_complete = row.probabilities.len() == self.labels.len() && (sum - 1.0).abs() < 0.01;
        if !is_complete || values.iter().any(|p| *p < 0.0) {
            return Err(invalid(format!(
                "model `{}` gave {} numbers with the sum {}; probabilities of {} labels were expected",
                row.model,
                row.probabilities.len(),
                row.probabilities.iter().sum::<f32>(),
                self.labels.len()
            )));
        }
        Ok(Some((model, values)))
    }
}
