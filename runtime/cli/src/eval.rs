//! `sideline eval`: how good an operator is, against true answers.

pub mod detect;
pub mod football;
pub mod moves;
pub mod smoothing;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use sideline_api::{Error, Result, Values, config::Origin, driver::read_config};
use sideline_eval::{
    Boxes, ByteTrack, DetectedFrame, Figures, Noise, Rect, Report, Sequence, Sort, Tracked, run_tracking,
};
use sideline_tracker::{Detection, TrackRow, TrackStage, TrackerConfig, TrackerState};

use crate::args::{EvalTracker, scalar};
use crate::commands::print_json;

/// Writes a figure with this many decimals; `unknown` where there was nothing to measure it on, as JSON has `null`.
pub(crate) fn figure(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "unknown".into() }
}

/// The tracker on every sequence of a folder, beside SORT and ByteTrack on the same boxes.
pub fn tracker(options: &EvalTracker) -> Result<u8> {
    let config = read_config(&values(&options.set)?, "tracker")?;
    let mut noise = Noise { seed: options.seed, ..Noise::default() };
    for setting in &options.noise {
        let (key, value) = split(setting, "miss=0.1")?;
        noise.set(key, value).map_err(|problem| Error::config(format!("--noise: {problem}")))?;
    }
    let report = compare(&options.dir, options.boxes.map(Boxes::from), &noise, &config)?;
    if options.json {
        print_json(&report)?;
    } else {
        crate::print::stdout(&report.to_string());
    }
    Ok(0)
}

/// `--set key=value` of one operator.
fn values(set: &[String]) -> Result<Values> {
    let mut values = Values::new();
    for setting in set {
        let (key, value) = split(setting, "lost_buffer_s=2")?;
        values.set(key, scalar(value), Origin::CommandLine);
    }
    Ok(values)
}

fn split<'a>(setting: &'a str, example: &str) -> Result<(&'a str, &'a str)> {
    setting.split_once('=').ok_or_else(|| Error::config(format!("`{setting}` is not KEY=VALUE, as in `{example}`")))
}

/// Ours and its peers. As JSON: our figures by sequence and `overall`, then `peers`, each with the same, `boxes` (where
/// each sequence's came from) and `noise`, if any was made.
#[derive(Serialize)]
struct Comparison {
    #[serde(flatten)]
    ours: Report,
    peers: Peers,
    boxes: BTreeMap<String, Boxes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    noise: Option<Noise>,
}

#[derive(Serialize)]
struct Peers {
    sort: Report,
    bytetrack: Report,
}

fn compare(dir: &Path, boxes: Option<Boxes>, noise: &Noise, config: &TrackerConfig) -> Result<Comparison> {
    let sequences = Sequence::read_all(dir, boxes, noise).map_err(|error| Error::input(error.to_string()))?;
    if sequences.iter().all(|sequence| sequence.truth.iter().all(Vec::is_empty)) {
        return Err(Error::input(format!(
            "{}: no true box in any gt/gt.txt (a row whose seventh value is 0 does not count): there is nothing to measure \
             against",
            dir.display()
        )));
    }
    let (mut sort, mut byte_track) = (Sort::default(), ByteTrack::default());
    let made = sequences.iter().any(|sequence| sequence.boxes == Boxes::Noisy);
    Ok(Comparison {
        ours: track(&sequences, config),
        peers: Peers {
            sort: run_tracking(&sequences, &mut |frame| sort.update(frame)),
            bytetrack: run_tracking(&sequences, &mut |frame| byte_track.update(frame)),
        },
        boxes: sequences.iter().map(|sequence| (sequence.name.clone(), sequence.boxes)).collect(),
        noise: made.then_some(*noise),
    })
}

fn track(sequences: &[Sequence], config: &TrackerConfig) -> Report {
    let mut state = TrackerState::default();
    let mut rows = Vec::new();
    run_tracking(sequences, &mut |frame: DetectedFrame<'_>| {
        // A sequence begins anew at its first frame.
        if frame.number == 1 {
            state = TrackerState::default();
        }
        let detections: Vec<Detection> = frame.detections.iter().map(detection).collect();
        state.step(config, Some(&detections), frame.seconds, &mut rows);
        // Tentative tracks may be ghosts and lost ones are nowhere: they are not counted as answers.
        rows.iter()
            .filter(|row| matches!(row.stage, TrackStage::Confirmed | TrackStage::Predicted))
            .map(answer)
            .collect()
    })
}

/// A box of the evaluation as the tracker takes it.
pub fn detection(box_: &sideline_eval::Detection) -> Detection {
    let rect = box_.rect;
    Detection {
        x1: rect.x as f32,
        y1: rect.y as f32,
        x2: (rect.x + rect.w) as f32,
        y2: (rect.y + rect.h) as f32,
        score: box_.score as f32,
        class: 0,
    }
}

fn answer(row: &TrackRow) -> Tracked {
    let [x1, y1, x2, y2] = row.corners.map(f64::from);
    Tracked { id: row.id, rect: Rect { x: x1, y: y1, w: x2 - x1, h: y2 - y1 } }
}

/// Writes a figure for a column that has no room for words.
fn narrow(value: f64) -> String {
    if value.is_finite() { format!("{value:.1}") } else { "-".into() }
}

/// A column's name, and how a figure is written in it.
type Measure = (&'static str, fn(&Figures) -> String);

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trackers = [("ours", &self.ours), ("SORT", &self.peers.sort), ("ByteTrack", &self.peers.bytetrack)];
        let measures: [Measure; 4] = [
            ("HOTA", |figures| narrow(figures.hota)),
            ("IDF1", |figures| narrow(figures.idf1)),
            ("MOTA", |figures| narrow(figures.mota)),
            ("switches", |figures| figures.idsw.to_string()),
        ];
        write!(out, "{:<24}", "")?;
        for (name, _) in measures {
            write!(out, "  {name:<20}")?;
        }
        write!(out, "\n{:<24}", "sequence")?;
        for _ in measures {
            write!(out, "  {:>5} {:>5} {:>8}", "ours", "SORT", "ByteTr.")?;
        }
        writeln!(out)?;
        let names = self.ours.sequences.keys().map(String::as_str);
        for name in names.chain(["overall"]) {
            write!(out, "{name:<24}")?;
            for (_, show) in measures {
                let [ours, sort, byte_track] =
                    trackers.map(|(_, report)| report.of(name).map_or_else(String::new, show));
                write!(out, "  {ours:>5} {sort:>5} {byte_track:>8}")?;
            }
            writeln!(out)?;
        }
        let unknown: Vec<&str> =
            self.ours.sequences.iter().filter(|(_, of)| of.objects == 0).map(|(name, _)| name.as_str()).collect();
        if !unknown.is_empty() {
            writeln!(out, "-: unknown, there is no true box in {}", unknown.join(", "))?;
        }
        writeln!(
            out,
            "\n{:<24}  {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>8} {:>8} {:>8} {:>6}",
            "overall", "HOTA", "DetA", "AssA", "IDF1", "MOTA", "MOTP", "switches", "false", "missed", "breaks"
        )?;
        for (name, report) in trackers {
            let f = &report.overall;
            writeln!(
                out,
                "{name:<24}  {:>6.1} {:>6.1} {:>6.1} {:>6.1} {:>6.1} {:>6} {:>8} {:>8} {:>8} {:>6}",
                f.hota,
                f.deta,
                f.assa,
                f.idf1,
                f.mota,
                narrow(f.motp),
                f.idsw,
                f.fp,
                f.r#fn,
                f.fm
            )?;
        }
        let count = |kind| self.boxes.values().filter(|boxes| **boxes == kind).count();
        let (given, noisy) = (count(Boxes::Given), count(Boxes::Noisy));
        match (given, &self.noise) {
            (_, None) => writeln!(out, "\nboxes: those of det/det.txt"),
            (0, Some(noise)) => writeln!(out, "\nboxes: made from the true ones with noise, seed {}", noise.seed),
            (_, Some(noise)) => writeln!(
                out,
                "\nboxes: {given} sequences those of det/det.txt, {noisy} made from the true ones with noise, seed {}",
                noise.seed
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of sequences, each with its ground truth.
    fn sequences(truths: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, truth) in truths {
            let gt = folder.path().join(name).join("gt");
            std::fs::create_dir_all(&gt).unwrap();
            std::fs::write(gt.join("gt.txt"), truth).unwrap();
        }
        folder
    }

    fn comparison(folder: &Path) -> Result<Comparison> {
        compare(folder, None, &Noise::default(), &TrackerConfig::default())
    }

    /// Two people who stand for thirty frames.
    fn standing() -> String {
        (1..=30).map(|frame| format!("{frame},1,10,20,40,90,1\n{frame},2,300,20,40,90,1\n")).collect()
    }

    #[test]
    fn the_peers_figures_are_in_the_json_as_in_the_text() {
        let folder = sequences(&[("a", &standing())]);
        let report = comparison(folder.path()).unwrap();
        let json = serde_json::to_value(&report).unwrap();
        for figures in [&json["overall"], &json["peers"]["sort"]["overall"], &json["peers"]["bytetrack"]["a"]] {
            assert!(figures["hota"].as_f64().is_some_and(|hota| hota > 0.0), "{json}");
            assert_eq!(figures["objects"], 60, "{json}");
        }
        let text = report.to_string();
        assert!(text.contains("\nSORT ") && text.contains("\nByteTrack "), "{text}");
    }

    #[test]
    fn a_sequence_without_a_true_box_is_unknown_and_a_folder_of_such_is_refused() {
        let folder = sequences(&[("a", &standing()), ("empty", "1,1,10,20,40,90,0\n")]);
        let report = comparison(folder.path()).unwrap();
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["empty"]["mota"].is_null() && json["overall"]["mota"].is_number(), "{json}");
        let text = report.to_string();
        assert!(text.contains("-: unknown, there is no true box in empty"), "{text}");
        let refused = comparison(&folder.path().join("empty")).err().unwrap();
        assert!(refused.message.contains("there is nothing to measure against"), "{refused}");
    }

    #[test]
    fn what_was_not_measured_is_called_unknown() {
        assert_eq!((figure(12.345, 1).as_str(), figure(f64::NAN, 1).as_str()), ("12.3", "unknown"));
    }
}
