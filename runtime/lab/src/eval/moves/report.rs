//! Metrics of the classifiers on each dataset, as text and JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;
use sideline_api::Result;
use sideline_eval::moves::{
    DatasetKind, FRAME_RATE, Recording, is_vicon_baseline,
    score::{ClassificationMetrics, EventMetrics, MoveEvent, WindowPrediction, match_events, score},
};

use super::classifiers::{ClassifierInfo, Classifiers, RecordingOutputs};
use crate::eval::format_metric;

/// Maximum difference between the peaks of a reported and a true move that are matched, s.
const PEAK_TOLERANCE_S: f64 = 0.1;

/// Result for one dataset. The metrics of the last classifier, which is the fusion if there is one, are at the top
/// level.
#[derive(Serialize)]
pub struct DatasetReport {
    /// Origin of the movements.
    pub kind: &'static str,
    /// Classifier of the metrics at the top level.
    #[serde(rename = "judge")]
    pub classifier: String,
    #[serde(flatten)]
    pub metrics: ClassificationMetrics,
    persons: usize,
    recordings: usize,
    /// Classifiers that were trained on this dataset: their metrics here do not measure performance on unseen people.
    /// Of generated bouts, other ones were in the training.
    trained_on_it: Vec<String>,
    /// Persons who were in the training data of any classifier.
    trained_persons: usize,
    /// If only some persons were in the training data: metrics of the same classifier on the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_out: Option<ClassificationMetrics>,
    /// Metrics of every classifier.
    #[serde(rename = "judges")]
    by_classifier: BTreeMap<String, ClassificationMetrics>,
    /// Vicon: metrics on the eight classes of the published baseline, with predictions restricted to their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    eight_classes: Option<ClassificationMetrics>,
    /// Datasets of two people: metrics of the same classifier without the table `interaction`.
    #[serde(skip_serializing_if = "Option::is_none")]
    without_interaction: Option<ClassificationMetrics>,
    /// Datasets with complete labels: accuracy of the reported moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "rows")]
    events: Option<EventMetrics>,
}

/// Results by dataset.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Report(pub BTreeMap<&'static str, DatasetReport>);

/// Predictions of a set of classifiers on one dataset.
struct DatasetPredictions {
    /// Predictions by classifier.
    by_classifier: Vec<Vec<WindowPrediction>>,
    /// Predictions of the last classifier on the recordings of the Vicon baseline.
    baseline: Vec<WindowPrediction>,
    /// Predictions of the last classifier on persons who were in no training data.
    held_out: Vec<WindowPrediction>,
    labels: Vec<String>,
    events: EventMetrics,
}

/// Evaluates the classifiers on the recordings of one dataset. `without_interaction` are the same classifiers without
/// the table of that name, used for datasets of two people.
pub fn evaluate(
    recordings: &[&Recording],
    classifiers: &mut Classifiers,
    without_interaction: Option<&mut Classifiers>,
) -> Result<Option<DatasetReport>> {
    let Some(dataset) = recordings.first().map(|recording| recording.dataset) else { return Ok(None) };
    let predictions = predict(recordings, classifiers, true)?;
    let labels: Vec<&str> = predictions.labels.iter().map(String::as_str).collect();
    let names = classifiers.names();
    let metrics: Vec<ClassificationMetrics> =
        predictions.by_classifier.iter().map(|predictions| score(predictions, &labels, None)).collect();
    let (Some(classifier), Some(last)) = (names.last(), metrics.last()) else { return Ok(None) };
    let persons: BTreeSet<&String> = recordings.iter().flat_map(|recording| &recording.subjects).collect();
    let has_two_people = recordings.iter().any(|recording| recording.people.len() > 1);
    let without_interaction = match without_interaction.filter(|_| has_two_people) {
        Some(without_interaction) => predict(recordings, without_interaction, false)?
            .by_classifier
            .last()
            .map(|predictions| score(predictions, &labels, None)),
        None => None,
    };
    let baseline_labels: Vec<&str> = {
        let truths = predictions.baseline.iter().flat_map(|prediction| prediction.truth);
        truths.copied().collect::<BTreeSet<_>>().into_iter().collect()
    };
    let is_trained_on = |info: &&ClassifierInfo| persons.iter().any(|person| info.was_trained_on(dataset.name, person));
    let trained = persons
        .iter()
        .filter(|person| classifiers.models().any(|info| info.was_trained_on(dataset.name, person)))
        .count();
    let is_partly_held_out = trained > 0 && !predictions.held_out.is_empty();
    Ok(Some(DatasetReport {
        kind: dataset.kind.name(),
        classifier: classifier.clone(),
        metrics: last.clone(),
        persons: persons.len(),
        recordings: recordings.len(),
        trained_on_it: classifiers.models().filter(is_trained_on).map(|info| info.name.clone()).collect(),
        eight_classes: (!baseline_labels.is_empty())
            .then(|| score(&predictions.baseline, &labels, Some(&baseline_labels))),
        trained_persons: trained,
        held_out: is_partly_held_out.then(|| score(&predictions.held_out, &labels, None)),
        by_classifier: names.iter().cloned().zip(metrics).collect(),
        without_interaction,
        events: (predictions.events.true_moves > 0).then_some(predictions.events),
    }))
}

fn predict(recordings: &[&Recording], classifiers: &mut Classifiers, with_events: bool) -> Result<DatasetPredictions> {
    let (window, focus) = classifiers.window();
    let count = classifiers.names().len();
    let mut predictions = DatasetPredictions {
        by_classifier: vec![vec![]; count],
        baseline: vec![],
        held_out: vec![],
        labels: vec![],
        events: EventMetrics::default(),
    };
    for recording in recordings {
        // Moves are reported from predictions in every frame; metrics of windows use the same step for all datasets.
        let every_frame = with_events && classifiers.reports_moves() && recording.has_complete_labels();
        let outputs = classifiers.process(recording, if every_frame { 1 } else { recording.dataset.step })?;
        for output in outputs
            .predictions
            .iter()
            .filter(|output| !every_frame || output.frame % recording.dataset.step as usize == 0)
        {
            let Some(person) = recording.people.get(output.person) else { continue };
            let truth = person.window_labels(output.frame + 1 - window..=output.frame, focus);
            if truth.is_empty() {
                continue;
            }
            if predictions.labels.is_empty() {
                predictions.labels = output.labels.split_whitespace().map(Into::into).collect();
            }
            let prediction = WindowPrediction { truth, probabilities: output.probabilities.clone() };
            if output.classifier + 1 == count && is_vicon_baseline(recording) {
                predictions.baseline.push(prediction.clone());
            }
            if output.classifier + 1 == count && !was_trained_on(classifiers, recording) {
                predictions.held_out.push(prediction.clone());
            }
            predictions.by_classifier[output.classifier].push(prediction);
        }
        if every_frame {
            predictions.events.add(&score_events(recording, &outputs, window));
        }
    }
    Ok(predictions)
}

/// Returns true if any person of a recording was in the training data of any model.
fn was_trained_on(classifiers: &Classifiers, recording: &Recording) -> bool {
    let is_known = |info: &ClassifierInfo| {
        recording.subjects.iter().any(|person| info.was_trained_on(recording.dataset.name, person))
    };
    classifiers.models().any(is_known)
}

/// Scores the reported moves of a recording. Moves before the first complete window are left out.
fn score_events(recording: &Recording, outputs: &RecordingOutputs, window: usize) -> EventMetrics {
    let seconds = |frame: u64| frame as f64 / FRAME_RATE;
    let first_window_end = window as f64 / FRAME_RATE;
    let mut true_moves = vec![];
    for (index, person) in recording.people.iter().enumerate() {
        for span in &person.spans {
            if let (Some(peak), Some(label)) = (span.peak, span.labels.first()) {
                true_moves.push(MoveEvent { person: index, label, peak: seconds(peak as u64) });
            }
        }
    }
    let mut reported: Vec<MoveEvent> = outputs
        .moves
        .iter()
        .map(|row| MoveEvent {
            person: row.track.saturating_sub(1) as usize,
            label: &row.label,
            peak: seconds(row.peak),
        })
        .collect();
    true_moves.retain(|event| event.peak > first_window_end);
    reported.retain(|event| event.peak > first_window_end);
    match_events(&true_moves, &reported, PEAK_TOLERANCE_S)
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, dataset)) in self.0.iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            write!(out, "{name}, {}: {} persons, {} recordings", dataset.kind, dataset.persons, dataset.recordings)?;
            match dataset.trained_on_it.as_slice() {
                [] => writeln!(out)?,
                models if dataset.kind == DatasetKind::Synthetic.name() => {
                    writeln!(out, "; other generated bouts were in the training data of {}", models.join(", "))?
                }
                models => {
                    let (trained, all) = (dataset.trained_persons, dataset.persons);
                    writeln!(
                        out,
                        "; NOT held out, {trained} of {all} persons were in the training data of {}",
                        models.join(", ")
                    )?
                }
            }
            dataset.fmt(out)?;
        }
        Ok(())
    }
}

impl fmt::Display for DatasetReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "  {:<46} {:>8} {:>10} {:>9} {:>7} {:>12}",
            "", "windows", "accuracy %", "macro-F1", "ECE", "unclassified"
        )?;
        let line = |out: &mut fmt::Formatter<'_>, name: &str, metrics: &ClassificationMetrics| {
            let ClassificationMetrics { windows, unclassified, accuracy, macro_f1, ece, .. } = metrics;
            let [accuracy, macro_f1] = [accuracy, macro_f1].map(|share| format_metric(100.0 * share, 1));
            let ece = format_metric(*ece, 3);
            writeln!(out, "  {name:<46} {windows:>8} {accuracy:>10} {macro_f1:>9} {ece:>7} {unclassified:>12}")
        };
        for (name, metrics) in &self.by_classifier {
            line(out, name, metrics)?;
        }
        if let Some(metrics) = &self.held_out {
            line(out, &format!("{}, persons not in the training data", self.classifier), metrics)?;
        }
        if let Some(metrics) = &self.without_interaction {
            line(out, &format!("{} without interaction", self.classifier), metrics)?;
        }
        if let Some(metrics) = &self.eight_classes {
            line(out, &format!("{}, eight classes, restricted to their labels", self.classifier), metrics)?;
        }
        if let Some(events) = &self.events {
            let [precision, recall, labels] =
                [events.precision, events.recall, events.label_accuracy].map(|share| format_metric(100.0 * share, 1));
            writeln!(
                out,
                "  reported moves within {:.0} ms: precision {precision} %, recall {recall} %, {labels} % of matches with \
                 the correct label ({} true moves, {} reported)",
                1e3 * PEAK_TOLERANCE_S,
                events.true_moves,
                events.reported_moves
            )?;
        }
        write_confusion(out, &self.classifier, &self.metrics)
    }
}

/// Writes the confusion matrix: a row for each class, a column for each predicted class, by its number.
fn write_confusion(out: &mut fmt::Formatter<'_>, classifier: &str, metrics: &ClassificationMetrics) -> fmt::Result {
    let columns = columns(metrics);
    let width = columns.iter().map(|name| name.len()).max().unwrap_or_default().max(12);
    write!(
        out,
        "  {:<w$} {:>7} {:>6} {:>6} {:>6}   predicted as",
        classifier,
        "windows",
        "prec.",
        "recall",
        "F1",
        w = width + 3
    )?;
    for number in 1..=columns.len() {
        write!(out, "{number:>5}")?;
    }
    writeln!(out)?;
    for (number, name) in columns.iter().enumerate() {
        write!(out, "  {:>2} {name:<width$}", number + 1)?;
        if let Some(class) = metrics.classes.get(*name) {
            let [precision, recall, f1] = [class.precision, class.recall, class.f1].map(|share| 100.0 * share);
            write!(out, " {:>7} {precision:>6.1} {recall:>6.1} {f1:>6.1}               ", class.windows)?;
            for column in &columns {
                let count = metrics.confusion.get(*name).and_then(|row| row.get(*column)).copied().unwrap_or_default();
                match count {
                    0 => write!(out, "{:>5}", ".")?,
                    count => write!(out, "{count:>5}")?,
                }
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Returns the classes of the dataset, followed by all other predicted labels.
pub fn columns(metrics: &ClassificationMetrics) -> Vec<&str> {
    let mut columns: Vec<&str> = metrics.classes.keys().map(String::as_str).collect();
    let others: BTreeSet<&str> = metrics.confusion.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
    let others: Vec<&str> = others.into_iter().filter(|name| !columns.contains(name)).collect();
    columns.extend(others);
    columns
}
