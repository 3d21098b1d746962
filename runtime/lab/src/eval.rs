//! `sideline-lab eval`: quality of operators, measured against ground truth.

#[cfg(all(feature = "media", feature = "onnx"))]
pub mod detect;
pub mod football;
#[cfg(feature = "onnx")]
pub mod moves;
pub mod smoothing;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use sideline::program::{parse_scalar, print_json, stdout};
use sideline_api::{Error, Result, Values, config::Origin, driver::read_config};
use sideline_eval::{
    BoxSource, ByteTrack, DetectedFrame, Noise, Rect, Sequence, Sort, TrackedBox, TrackingMetrics, TrackingReport,
    run_tracking,
};
use sideline_sport::tables::TrackState;
use sideline_tracker::{Detection, TrackRow, TrackerConfig, TrackerState};

use crate::args::EvalTracker;

/// Formats a metric with this many decimals; `unknown` where it could not be measured, as JSON has `null`.
pub(crate) fn format_metric(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "unknown".into() }
}

/// Evaluates the tracker on every sequence of a folder, compared with SORT and ByteTrack on the same boxes.
pub fn tracker(options: &EvalTracker) -> Result<u8> {
    let config = read_config(&parse_values(&options.set)?, "tracker")?;
    let mut noise = Noise { seed: options.seed, ..Noise::default() };
    for setting in &options.noise {
        let (key, value) = split(setting, "miss=0.1")?;
        noise.set(key, value).map_err(|problem| Error::config(format!("--noise: {problem}")))?;
    }
    let report = compare(&options.dir, options.boxes.map(BoxSource::from), &noise, &config)?;
    if options.json {
        print_json(&report)?;
    } else {
        stdout(&report.to_string());
    }
    Ok(0)
}

/// Parses `--set KEY=VALUE` for one operator.
fn parse_values(set: &[String]) -> Result<Values> {
    let mut values = Values::new();
    for setting in set {
        let (key, value) = split(setting, "lost_buffer_s=2")?;
        values.set(key, parse_scalar(value), Origin::CommandLine);
    }
    Ok(values)
}

fn split<'a>(setting: &'a str, example: &str) -> Result<(&'a str, &'a str)> {
    setting.split_once('=').ok_or_else(|| Error::config(format!("`{setting}` is not KEY=VALUE, as in `{example}`")))
}

/// Metrics of the tracker and its peers. As JSON: the tracker's metrics by sequence and `overall`, then `peers`, each
/// with the same, `boxes` (the source of each sequence's boxes) and `noise`, if any was generated.
#[derive(Serialize)]
struct Comparison {
    #[serde(flatten)]
    ours: TrackingReport,
    peers: Peers,
    boxes: BTreeMap<String, BoxSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    noise: Option<Noise>,
}

#[derive(Serialize)]
struct Peers {
    sort: TrackingReport,
    bytetrack: TrackingReport,
}

fn compare(dir: &Path, boxes: Option<BoxSource>, noise: &Noise, config: &TrackerConfig) -> Result<Comparison> {
    let sequences = Sequence::read_all(dir, boxes, noise).map_err(|error| Error::input(error.to_string()))?;
    if sequences.iter().all(|sequence| sequence.truth.iter().all(Vec::is_empty)) {
        return Err(Error::input(format!(
            "{}: no ground-truth box in any gt/gt.txt (rows whose seventh value is 0 do not count): there is nothing to measure \
             against",
            dir.display()
        )));
    }
    let (mut sort, mut byte_track) = (Sort::default(), ByteTrack::default());
    let has_noise = sequences.iter().any(|sequence| sequence.box_source == BoxSource::Noisy);
    Ok(Comparison {
        ours: run_tracker(&sequences, config),
        peers: Peers {
            sort: run_tracking(&sequences, &mut |frame| sort.update(frame)),
            bytetrack: run_tracking(&sequences, &mut |frame| byte_track.update(frame)),
        },
        boxes: sequences.iter().map(|sequence| (sequence.name.clone(), sequence.box_source)).collect(),
        noise: has_noise.then_some(*noise),
    })
}

fn run_tracker(sequences: &[Sequence], config: &TrackerConfig) -> TrackingReport {
    let mut state = TrackerState::default();
    let mut rows = Vec::new();
    run_tracking(sequences, &mut |frame: DetectedFrame<'_>| {
        // The state is reset at the first frame of a sequence.
        if frame.number == 1 {
            state = TrackerState::default();
        }
        let detections: Vec<Detection> = frame.detections.iter().map(to_tracker_detection).collect();
        state.step(config, Some(&detections), frame.seconds, &mut rows);
        // Tentative tracks may be false positives, and lost ones have no position: neither is output.
        rows.iter()
            .filter(|row| matches!(row.state, TrackState::Confirmed | TrackState::Predicted))
            .map(to_tracked_box)
            .collect()
    })
}

/// Converts a box of the evaluation to the tracker's type.
pub fn to_tracker_detection(detection: &sideline_eval::Detection) -> Detection {
    let rect = detection.rect;
    Detection {
        x1: rect.x as f32,
        y1: rect.y as f32,
        x2: (rect.x + rect.w) as f32,
        y2: (rect.y + rect.h) as f32,
        score: detection.score as f32,
        class: 0,
    }
}

fn to_tracked_box(row: &TrackRow) -> TrackedBox {
    let [x1, y1, x2, y2] = row.corners.map(f64::from);
    TrackedBox { id: row.id, rect: Rect { x: x1, y: y1, w: x2 - x1, h: y2 - y1 } }
}

/// Formats a metric for a narrow column; `-` where it could not be measured.
fn format_short(value: f64) -> String {
    if value.is_finite() { format!("{value:.1}") } else { "-".into() }
}

/// Name of a column, and the format of its metric.
type Column = (&'static str, fn(&TrackingMetrics) -> String);

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trackers = [("ours", &self.ours), ("SORT", &self.peers.sort), ("ByteTrack", &self.peers.bytetrack)];
        let columns: [Column; 4] = [
            ("HOTA", |metrics| format_short(metrics.hota)),
            ("IDF1", |metrics| format_short(metrics.idf1)),
            ("MOTA", |metrics| format_short(metrics.mota)),
            ("switches", |metrics| metrics.idsw.to_string()),
        ];
        write!(out, "{:<24}", "")?;
        for (name, _) in columns {
            write!(out, "  {name:<20}")?;
        }
        write!(out, "\n{:<24}", "sequence")?;
        for _ in columns {
            write!(out, "  {:>5} {:>5} {:>8}", "ours", "SORT", "ByteTr.")?;
        }
        writeln!(out)?;
        let names = self.ours.sequences.keys().map(String::as_str);
        for name in names.chain(["overall"]) {
            write!(out, "{name:<24}")?;
            for (_, format) in columns {
                let [ours, sort, byte_track] =
                    trackers.map(|(_, report)| report.get(name).map_or_else(String::new, format));
                write!(out, "  {ours:>5} {sort:>5} {byte_track:>8}")?;
            }
            writeln!(out)?;
        }
        let unknown: Vec<&str> = self
            .ours
            .sequences
            .iter()
            .filter(|(_, metrics)| metrics.objects == 0)
            .map(|(name, _)| name.as_str())
            .collect();
        if !unknown.is_empty() {
            writeln!(out, "-: unknown, there is no ground-truth box in {}", unknown.join(", "))?;
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
                format_short(f.motp),
                f.idsw,
                f.fp,
                f.r#fn,
                f.fm
            )?;
        }
        let count = |kind| self.boxes.values().filter(|boxes| **boxes == kind).count();
        let (given, noisy) = (count(BoxSource::Given), count(BoxSource::Noisy));
        match (given, &self.noise) {
            (_, None) => writeln!(out, "\nboxes: from det/det.txt"),
            (0, Some(noise)) => writeln!(out, "\nboxes: ground truth with noise, seed {}", noise.seed),
            (_, Some(noise)) => writeln!(
                out,
                "\nboxes: {given} sequences from det/det.txt, {noisy} from ground truth with noise, seed {}",
                noise.seed
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates a folder of sequences, each with its ground truth.
    fn sequence_folder(truths: &[(&str, &str)]) -> tempfile::TempDir {
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

    /// Returns the ground truth of two people who stand for thirty frames.
    fn standing() -> String {
        (1..=30).map(|frame| format!("{frame},1,10,20,40,90,1\n{frame},2,300,20,40,90,1\n")).collect()
    }

    #[test]
    fn json_and_text_contain_the_metrics_of_the_peers() {
        let folder = sequence_folder(&[("a", &standing())]);
        let report = comparison(folder.path()).unwrap();
        let json = serde_json::to_value(&report).unwrap();
        for metrics in [&json["overall"], &json["peers"]["sort"]["overall"], &json["peers"]["bytetrack"]["a"]] {
            assert!(metrics["hota"].as_f64().is_some_and(|hota| hota > 0.0), "{json}");
            assert_eq!(metrics["objects"], 60, "{json}");
        }
        let text = report.to_string();
        assert!(text.contains("\nSORT ") && text.contains("\nByteTrack "), "{text}");
    }

    #[test]
    fn metrics_without_ground_truth_are_unknown_and_a_folder_without_any_is_refused() {
        let folder = sequence_folder(&[("a", &standing()), ("empty", "1,1,10,20,40,90,0\n")]);
        let report = comparison(folder.path()).unwrap();
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["empty"]["mota"].is_null() && json["overall"]["mota"].is_number(), "{json}");
        let text = report.to_string();
        assert!(text.contains("-: unknown, there is no ground-truth box in empty"), "{text}");
        let refused = comparison(&folder.path().join("empty")).err().unwrap();
        assert!(refused.message.contains("there is nothing to measure against"), "{refused}");
    }

    #[test]
    fn metrics_that_were_not_measured_are_called_unknown() {
        assert_eq!((format_metric(12.345, 1).as_str(), format_metric(f64::NAN, 1).as_str()), ("12.3", "unknown"));
    }
}
