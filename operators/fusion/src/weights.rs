//! The weights file: what the models tell apart, and how much each is to be believed about what.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use sideline_api::{Error, Result, tables::Scores, yaml};

/// A part of the body that can make a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limb {
    /// A fist or palm.
    Hand,
    /// An elbow.
    Elbow,
    /// A knee.
    Knee,
    /// A foot.
    Foot,
    /// The head, and the trunk with it.
    Head,
}

impl Limb {
    /// As in the weights file.
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
#[serde(deny_unknown_fields)]
struct File {
    labels: Vec<String>,
    idle: String,
    gate: f64,
    temperature: f64,
    #[serde(default = "usual_focus")]
    focus: f64,
    #[serde(default)]
    limbs: BTreeMap<String, Vec<Limb>>,
    models: BTreeMap<String, Model>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    evidence: Vec<f64>,
}

/// Nine frames at thirty a second.
fn usual_focus() -> f64 {
    0.3
}

/// How several models' opinions become one.
#[derive(Clone, Debug)]
pub struct Weights {
    /// What is told apart.
    pub labels: Vec<String>,
    /// The same in one text, as tables have it.
    pub text: String,
    /// Number of the label that is no move.
    pub idle: usize,
    /// Confidence below which a move is `unsure`.
    pub gate: f64,
    /// Of the fused probabilities.
    pub temperature: f64,
    /// From a move's peak to the end of the window that judges it best, ns.
    pub focus: i64,
    /// Names of the models, in the order of the alphabet.
    pub models: Vec<String>,
    /// For each model and label: its share of the evidence.
    pub evidence: Vec<Vec<f64>>,
    /// For each label: what it can be made with; empty for anything.
    limbs: Vec<Vec<Limb>>,
    /// Where all this was read.
    path: String,
}

impl Weights {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, is no such file (with its line), or makes no sense; the text names the file, the key, and
    /// what would.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let wrong = |what: String| Error::config(format!("{name}: {what}"));
        let text = yaml::read_text(path).map_err(|e| Error::input(format!("{name}: {e}")))?;
        let file: File = yaml::from_str(&text).map_err(|broken| {
            let told = broken.in_file(&name);
            Error::config(format!("{told}; models/moves/fusion.yml of the repository shows what such a file has"))
        })?;
        let labels = file.labels;
        if labels.len() < 2 || labels.iter().any(|label| label.is_empty() || label.contains(char::is_whitespace)) {
            return Err(wrong("`labels` are two or more words".into()));
        }
        let twice = (1..labels.len()).find(|i| labels[..*i].contains(&labels[*i]));
        if let Some(i) = twice {
            return Err(wrong(format!("`labels` has `{}` twice", labels[i])));
        }
        let find = |key: &str, label: &str| {
            labels.iter().position(|known| known == label).ok_or_else(|| {
                wrong(format!("`{key}` names `{label}`, which is none of the labels {}", labels.join(" ")))
            })
        };
        let idle = find("idle", &file.idle)?;
        let number = |key: &str, value: f64, least: f64, most: f64| {
            if (least..=most).contains(&value) {
                Ok(value)
            } else {
                Err(wrong(format!("`{key}` is {value}; it goes from {least} to {most}")))
            }
        };
        let (gate, temperature) =
            (number("gate", file.gate, 0.0, 1.0)?, number("temperature", file.temperature, 0.05, 20.0)?);
        let focus = (number("focus", file.focus, 0.0, 1.0)? * 1e9) as i64;
        let mut limbs = vec![vec![]; labels.len()];
        for (label, with) in file.limbs {
            limbs[find("limbs", &label)?] = with;
        }
        if file.models.is_empty() {
            return Err(wrong("`models` is empty: name each model that is asked, with its `evidence`".into()));
        }
        let (mut models, mut evidence) = (vec![], vec![]);
        for (model, Model { evidence: shares }) in file.models {
            if shares.len() != labels.len() {
                let (has, needs) = (shares.len(), labels.len());
                return Err(wrong(format!("`models.{model}.evidence` has {has} numbers for {needs} labels")));
            }
            if !shares.iter().all(|share| share.is_finite() && *share > 0.0) {
                return Err(wrong(format!("`models.{model}.evidence` has a number that is not above 0")));
            }
            models.push(model);
            evidence.push(shares);
        }
        let text = labels.join(" ");
        Ok(Self { labels, text, idle, gate, temperature, focus, models, evidence, limbs, path: name })
    }

    /// True when a label can be made with this limb.
    pub fn fits(&self, label: usize, limb: Limb) -> bool {
        self.limbs[label].is_empty() || self.limbs[label].contains(&limb)
    }

    /// An opinion in the order of the file: number of the model and probability of each label; `None` where nothing was
    /// judged.
    ///
    /// # Errors
    /// When the file does not know the model, or its labels are others, or its numbers are no probabilities; the text names
    /// `input`, the track, and both sides.
    pub fn opinion(&self, input: &str, row: &Scores) -> Result<Option<(usize, Vec<f64>)>> {
        let wrong = |what: String| Error::other(format!("input `{input}`, track {}: {what}", row.track));
        let Some(model) = self.models.iter().position(|name| *name == row.model) else {
            let (path, known) = (&self.path, self.models.join(", "));
            return Err(wrong(format!(
                "model `{}` is not in {path}, which has {known}: add it under `models` with its `evidence`, or name \
                 another file in the key `weights`",
                row.model
            )));
        };
        if row.probabilities.is_empty() {
            return Ok(None);
        }
        // Mostly the order is the file's own.
        let places: Option<Vec<usize>> = if row.labels == self.text {
            Some((0..self.labels.len()).collect())
        } else {
            let theirs: Vec<&str> = row.labels.split_whitespace().collect();
            let place = |label: &String| theirs.iter().position(|their| their == label);
            self.labels.iter().map(place).collect::<Option<_>>().filter(|_| theirs.len() == self.labels.len())
        };
        let Some(places) = places else {
            return Err(wrong(format!(
                "model `{}` tells apart `{}`, but {} has `{}`: both come from one training",
                row.model, row.labels, self.path, self.text
            )));
        };
        let values: Vec<f64> =
            places.iter().filter_map(|place| row.probabilities.get(*place)).map(|p| f64::from(*p)).collect();
        let sum: f64 = values.iter().sum();
        let whole = row.probabilities.len() == self.labels.len() && (sum - 1.0).abs() < 0.01;
        if !whole || values.iter().any(|p| *p < 0.0) {
            return Err(wrong(format!(
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
