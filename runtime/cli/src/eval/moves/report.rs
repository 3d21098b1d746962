//! What the judges made of each set, as figures, text and JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;
use sideline_api::Result;
use sideline_eval::moves::{
    Kind, RATE, Recording,
    score::{Answer, Figures, Rows, Told, rows, score},
    vicon_baseline,
};

use super::judges::{About, Heard, Judges};
use crate::eval::figure;

/// A row of moves tells of a move whose peak is at most this far from its own, s.
const WITHIN: f64 = 0.1;

/// What is said of a set; the figures of the last judge, which is the fusion where there is one, stand at the top.
#[derive(Serialize)]
pub struct SetReport {
    pub kind: &'static str,
    /// Whose figures stand here.
    pub judge: String,
    #[serde(flatten)]
    pub figures: Figures,
    persons: usize,
    recordings: usize,
    /// Judges whose training saw this set: their figures here say nothing of people they have not seen. Of generated bouts
    /// it saw others.
    trained_on_it: Vec<String>,
    /// People who were in the training of any of them.
    trained_persons: usize,
    /// Where some people were in it and others not: the figures of the same judge on those others alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_out: Option<Figures>,
    /// The figures of every judge.
    judges: BTreeMap<String, Figures>,
    /// Vicon: the eight classes of a published way to split it, the judge choosing among their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    eight_classes: Option<Figures>,
    /// Sets of two people: the same judge, not told how they stand to each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    without_interaction: Option<Figures>,
    /// Sets in which every move is known: how well the rows of moves tell them.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<Rows>,
}

/// Sets by their names.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Report(pub BTreeMap<&'static str, SetReport>);

/// What one set of judges said of one set of recordings.
struct Answers {
    /// For each judge.
    of: Vec<Vec<Answer>>,
    /// For the last judge, those about the recordings of the baseline.
    baseline: Vec<Answer>,
    /// For the last judge, those about people whom no model has seen in training.
    held_out: Vec<Answer>,
    labels: Vec<String>,
    rows: Rows,
}

/// Lets the judges hear the recordings of one set. `deaf` are the same judges without interaction, for sets of two people.
pub fn judge(recordings: &[&Recording], judges: &mut Judges, deaf: Option<&mut Judges>) -> Result<Option<SetReport>> {
    let Some(set) = recordings.first().map(|recording| recording.set) else { return Ok(None) };
    let answers = answers(recordings, judges, true)?;
    let labels: Vec<&str> = answers.labels.iter().map(String::as_str).collect();
    let names = judges.names();
    let figures: Vec<Figures> = answers.of.iter().map(|of| score(of, &labels, None)).collect();
    let (Some(judge), Some(last)) = (names.last(), figures.last()) else { return Ok(None) };
    let persons: BTreeSet<&String> = recordings.iter().flat_map(|recording| &recording.subjects).collect();
    let two = recordings.iter().any(|recording| recording.people.len() > 1);
    let without_interaction = match deaf.filter(|_| two) {
        Some(deaf) => self::answers(recordings, deaf, false)?.of.last().map(|of| score(of, &labels, None)),
        None => None,
    };
    let eight: Vec<&str> = {
        let truths = answers.baseline.iter().flat_map(|answer| answer.truth);
        truths.copied().collect::<BTreeSet<_>>().into_iter().collect()
    };
    let of_set = |about: &&About| persons.iter().any(|person| about.has_seen(set.name, person));
    let trained = persons.iter().filter(|person| judges.models().any(|about| about.has_seen(set.name, person))).count();
    let mixed = trained > 0 && !answers.held_out.is_empty();
    Ok(Some(SetReport {
        kind: set.kind.name(),
        judge: judge.clone(),
        figures: last.clone(),
        persons: persons.len(),
        recordings: recordings.len(),
        trained_on_it: judges.models().filter(of_set).map(|about| about.name.clone()).collect(),
        eight_classes: (!eight.is_empty()).then(|| score(&answers.baseline, &labels, Some(&eight))),
        trained_persons: trained,
        held_out: mixed.then(|| score(&answers.held_out, &labels, None)),
        judges: names.iter().cloned().zip(figures).collect(),
        without_interaction,
        rows: (answers.rows.made > 0).then_some(answers.rows),
    }))
}

fn answers(recordings: &[&Recording], judges: &mut Judges, rows: bool) -> Result<Answers> {
    let (window, focus) = judges.window();
    let count = judges.names().len();
    let mut answers =
        Answers { of: vec![vec![]; count], baseline: vec![], held_out: vec![], labels: vec![], rows: Rows::default() };
    for recording in recordings {
        // Rows are told of every frame; windows are judged as far apart as everywhere.
        let every = rows && judges.tell_moves() && recording.knows_every_move();
        let heard = judges.hear(recording, if every { 1 } else { recording.set.step })?;
        for opinion in
            heard.opinions.iter().filter(|opinion| !every || opinion.frame % recording.set.step as usize == 0)
        {
            let Some(person) = recording.people.get(opinion.person) else { continue };
            let truth = person.about(opinion.frame + 1 - window..=opinion.frame, focus);
            if truth.is_empty() {
                continue;
            }
            if answers.labels.is_empty() {
                answers.labels = opinion.labels.split_whitespace().map(Into::into).collect();
            }
            let answer = Answer { truth, probabilities: opinion.probabilities.clone() };
            if opinion.judge + 1 == count && vicon_baseline(recording) {
                answers.baseline.push(answer.clone());
            }
            if opinion.judge + 1 == count && !seen(judges, recording) {
                answers.held_out.push(answer.clone());
            }
            answers.of[opinion.judge].push(answer);
        }
        if every {
            answers.rows.add(&told(recording, &heard, window));
        }
    }
    Ok(answers)
}

/// Whether any model has seen somebody of a recording in training.
fn seen(judges: &Judges, recording: &Recording) -> bool {
    let known = |about: &About| recording.subjects.iter().any(|person| about.has_seen(recording.set.name, person));
    judges.models().any(known)
}

/// How well the rows tell the moves of a recording, those left out that were over before a window was whole.
fn told(recording: &Recording, heard: &Heard, window: usize) -> Rows {
    let seconds = |frame: u64| frame as f64 / RATE;
    let early = window as f64 / RATE;
    let mut made = vec![];
    for (person, who) in recording.people.iter().enumerate() {
        for span in &who.spans {
            if let (Some(peak), Some(label)) = (span.peak, span.labels.first()) {
                made.push(Told { person, label, peak: seconds(peak as u64) });
            }
        }
    }
    let mut told: Vec<Told> = heard
        .moves
        .iter()
        .map(|row| Told { person: row.track.saturating_sub(1) as usize, label: &row.label, peak: seconds(row.peak) })
        .collect();
    made.retain(|one| one.peak > early);
    told.retain(|one| one.peak > early);
    rows(&made, &told, WITHIN)
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, set)) in self.0.iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            write!(out, "{name}, {}: {} persons, {} recordings", set.kind, set.persons, set.recordings)?;
            match set.trained_on_it.as_slice() {
                [] => writeln!(out)?,
                models if set.kind == Kind::Synthetic.name() => {
                    writeln!(out, "; other bouts of the generator were in the training of {}", models.join(", "))?
                }
                models => {
                    let (seen, all) = (set.trained_persons, set.persons);
                    writeln!(
                        out,
                        "; NOT held out, {seen} of {all} persons were in the training of {}",
                        models.join(", ")
                    )?
                }
            }
            set.fmt(out)?;
        }
        Ok(())
    }
}

impl fmt::Display for SetReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "  {:<46} {:>8} {:>10} {:>9} {:>7} {:>10}",
            "", "windows", "accuracy %", "macro-F1", "ECE", "not judged"
        )?;
        let line = |out: &mut fmt::Formatter<'_>, name: &str, figures: &Figures| {
            let Figures { windows, unjudged, accuracy, macro_f1, ece, .. } = figures;
            let [accuracy, macro_f1] = [accuracy, macro_f1].map(|share| figure(100.0 * share, 1));
            let ece = figure(*ece, 3);
            writeln!(out, "  {name:<46} {windows:>8} {accuracy:>10} {macro_f1:>9} {ece:>7} {unjudged:>10}")
        };
        for (name, figures) in &self.judges {
            line(out, name, figures)?;
        }
        if let Some(figures) = &self.held_out {
            line(out, &format!("{}, persons not in the training", self.judge), figures)?;
        }
        if let Some(figures) = &self.without_interaction {
            line(out, &format!("{} without interaction", self.judge), figures)?;
        }
        if let Some(figures) = &self.eight_classes {
            line(out, &format!("{}, eight classes, among their labels", self.judge), figures)?;
        }
        if let Some(rows) = &self.rows {
            let [precision, recall, names] =
                [rows.precision, rows.recall, rows.right_names].map(|share| figure(100.0 * share, 1));
            writeln!(
                out,
                "  rows of moves within {:.0} ms: precision {precision} %, recall {recall} %, {names} % of them named \
                 rightly ({} moves, {} rows)",
                1e3 * WITHIN,
                rows.made,
                rows.told
            )?;
        }
        confusion(out, &self.judge, &self.figures)
    }
}

/// A row for each class, a column for each class that was answered, by its number.
fn confusion(out: &mut fmt::Formatter<'_>, judge: &str, figures: &Figures) -> fmt::Result {
    let columns = columns(figures);
    let width = columns.iter().map(|name| name.len()).max().unwrap_or_default().max(12);
    write!(
        out,
        "  {:<w$} {:>7} {:>6} {:>6} {:>6}   taken for",
        judge,
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
        if let Some(class) = figures.classes.get(*name) {
            let [precision, recall, f1] = [class.precision, class.recall, class.f1].map(|share| 100.0 * share);
            write!(out, " {:>7} {precision:>6.1} {recall:>6.1} {f1:>6.1}            ", class.windows)?;
            for column in &columns {
                let count = figures.confusion.get(*name).and_then(|row| row.get(*column)).copied().unwrap_or_default();
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

/// The classes of the set, then what else was answered.
pub fn columns(figures: &Figures) -> Vec<&str> {
    let mut columns: Vec<&str> = figures.classes.keys().map(String::as_str).collect();
    let others: BTreeSet<&str> = figures.confusion.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
    let others: Vec<&str> = others.into_iter().filter(|name| !columns.contains(name)).collect();
    columns.extend(others);
    columns
}
