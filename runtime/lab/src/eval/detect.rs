//! `sideline-lab eval detect`: loss of accuracy when only every n-th frame is detected.
//!
//! Detector, tracker and ball process a clip once for each stride, as in a run with that `every`. Their output is
//! compared with the output at stride 1, which is not ground truth, but the upper limit of what a stride can preserve.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use sideline::program::{outln, print_json};
use sideline_api::{Body, Error, Header, Payload, Registry, Result, config::did_you_mean};
use sideline_eval::ratio;
use sideline_media::{DecodeOptions, Decoder};
use sideline_sport::tables::{Ball, BallMode, Track};
use sideline_vision::boxes::iou;

use super::format_metric;
use crate::{
    args::EvalDetect,
    bench::thread_cpu_ms,
    operator_runner::{OperatorFactory, OperatorRunner},
};

/// Maximum distance from the ball at stride 1 at which a ball counts as found, px at 1080 lines.
const BALL_TOLERANCE_PX: f32 = 20.0;
/// Minimum IoU with a person at stride 1 at which a person counts as found.
const PERSON_IOU: f32 = 0.5;
/// Nodes that take part.
const NODES: [&str; 3] = ["detect", "tracker", "ball"];
/// Tracker settings for the low scores of the packaged detector, used unless another model is set.
const LOW_SCORE_SETTINGS: [(&str, f64); 2] = [("high_score", 0.3), ("new_score", 0.35)];

/// Result of `sideline-lab eval detect`.
#[derive(Serialize)]
struct Report {
    clip: String,
    frames: usize,
    fps: f64,
    /// Processor time of the detector at stride 1, milliseconds per frame.
    #[serde(rename = "ms")]
    detect_ms: f64,
    /// At stride 1: tracks per frame, and share of frames with a ball, percent.
    people: f64,
    ball_coverage: f64,
    strides: Vec<StrideResult>,
}

/// Result for one stride. Shares are percentages of the output at stride 1.
#[derive(Serialize)]
struct StrideResult {
    every: u32,
    /// Processor time of the detector, milliseconds per frame.
    #[serde(rename = "ms")]
    detect_ms: f64,
    people_recall: f64,
    people_precision: f64,
    ball_within_20px: f64,
    ball_coverage: f64,
}

/// Output of tracker and ball for one frame.
struct FrameOutput {
    people: Vec<[f32; 4]>,
    ball: Option<[f32; 2]>,
}

/// Output of one pass through the clip.
struct Pass {
    frames: Vec<FrameOutput>,
    /// Processor time of the detector over all frames, milliseconds.
    total_detect_ms: f64,
    fps: f64,
    /// [`BALL_TOLERANCE_PX`] at the size of this clip, px.
    ball_tolerance_px: f32,
}

impl Pass {
    /// Returns the processor time of the detector, milliseconds per frame.
    fn detect_ms(&self) -> f64 {
        self.total_detect_ms / self.frames.len().max(1) as f64
    }
}

/// Evaluates all strides and prints the result.
pub fn run(options: &EvalDetect, registry: &Registry) -> Result<u8> {
    let report = measure(options, &OperatorFactory::new(registry))?;
    if options.json {
        print_json(&report)?;
    } else {
        print(&report);
    }
    Ok(0)
}

fn measure(options: &EvalDetect, factory: &OperatorFactory) -> Result<Report> {
    if let Some(setting) = options.set.iter().find(|setting| !NODES.contains(&setting.node.as_str())) {
        let suggestion = did_you_mean(&setting.node, NODES);
        return Err(Error::config(format!(
            "--set {}.{}: there is no such node here{suggestion}",
            setting.node, setting.key
        )));
    }
    if options.set.iter().any(|setting| (setting.node.as_str(), setting.key.as_str()) == ("detect", "every")) {
        return Err(Error::config("--set detect.every: every stride up to `--most` is measured here; leave it out"));
    }
    let reference = run_pass(factory, options, 1)?;
    let count = reference.frames.len();
    if count == 0 {
        return Err(Error::input(format!("{}: contains no frames", options.clip.display())));
    }
    let strides =
        (2..=options.max_stride).map(|every| Ok(compare(&reference, &run_pass(factory, options, every)?, every)));
    Ok(Report {
        clip: options.clip.display().to_string(),
        frames: count,
        fps: reference.fps,
        detect_ms: reference.detect_ms(),
        people: reference.frames.iter().map(|output| output.people.len()).sum::<usize>() as f64 / count as f64,
        ball_coverage: percent(reference.frames.iter().filter(|output| output.ball.is_some()).count(), count),
        strides: strides.collect::<Result<_>>()?,
    })
}

/// Returns the keys set for an operator. With the packaged detector, the tracker first gets [`LOW_SCORE_SETTINGS`].
fn keys_of<'o>(node: &str, options: &'o EvalDetect) -> Vec<(&'o str, Value)> {
    let is_packaged_model = !options.set.iter().any(|setting| setting.node == "detect" && setting.key == "model");
    let low_scores = LOW_SCORE_SETTINGS.iter().filter(|_| node == "tracker" && is_packaged_model);
    let set = options.set.iter().filter(|setting| setting.node == node);
    low_scores
        .map(|(key, value)| (*key, (*value).into()))
        .chain(set.map(|setting| (setting.key.as_str(), setting.value.clone())))
        .collect()
}

/// Calls `each` with every frame of a clip and its header; returns the frame rate.
fn for_each_frame(
    clip: &Path,
    max_frames: Option<usize>,
    mut each: impl FnMut(&Header, std::sync::Arc<sideline_api::Frame>) -> Result<()>,
) -> Result<f64> {
    let mut decoder = Decoder::open(clip, DecodeOptions::default())?;
    let mut number = 0;
    while max_frames.is_none_or(|max_frames| number < max_frames)
        && let Some(decoded) = decoder.next()?
    {
        let (frame, pts) = (number as u64, decoded.pts_ns);
        let header = Header::new("clip", frame, pts);
        each(&header, decoded.frame.into())?;
        number += 1;
    }
    // A clip of one frame has no interval.
    Ok(ratio(1e9, decoder.interval_ns() as f64))
}

/// Processes the clip with detection on every n-th frame.
fn run_pass(factory: &OperatorFactory, options: &EvalDetect, every: u32) -> Result<Pass> {
    let mut detect_keys = keys_of("detect", options);
    detect_keys.push(("every", every.into()));
    let mut detect = OperatorRunner::new(factory, "detect", "detect", &["frames"], &detect_keys)?;
    let mut tracker =
        OperatorRunner::new(factory, "tracker", "tracker", &["detections"], &keys_of("tracker", options))?;
    let mut ball = OperatorRunner::new(factory, "ball", "ball", &["frames", "balls"], &keys_of("ball", options))?;
    let mut pass = Pass { frames: Vec::new(), total_detect_ms: 0.0, fps: 0.0, ball_tolerance_px: BALL_TOLERANCE_PX };
    pass.fps = for_each_frame(&options.clip, options.frames, |header, frame| {
        pass.ball_tolerance_px = BALL_TOLERANCE_PX * frame.height() as f32 / 1080.0;
        let frame = Body::Data(Payload::Frame(frame));
        let start = thread_cpu_ms();
        detect.send("frames", header, frame.clone())?;
        pass.total_detect_ms += thread_cpu_ms() - start;
        detect.expect_next("detections")?;
        tracker.send("detections", header, detect.expect_next("people")?)?;
        let tracks: Vec<Track> = tracker.next_rows("tracks")?.unwrap_or_default();
        tracker.expect_next("tracked_poses")?;
        ball.send("frames", header, frame)?;
        ball.send("balls", header, detect.expect_next("balls")?)?;
        let rows: Vec<Ball> = ball.next_rows("ball")?.unwrap_or_default();
        ball.expect_next("corrections")?;
        let visible = tracks.iter().filter(|track| ["confirmed", "predicted"].contains(&track.state.as_str()));
        pass.frames.push(FrameOutput {
            people: visible.map(|track| [track.x1, track.y1, track.x2, track.y2]).collect(),
            ball: rows.first().filter(|row| row.mode != BallMode::Lost).map(|row| [row.x, row.y]),
        });
        Ok(())
    })?;
    Ok(pass)
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * ratio(part as f64, whole as f64)
}

fn compare(reference: &Pass, pass: &Pass, every: u32) -> StrideResult {
    let (mut matched, mut expected_people, mut found_people, mut balls, mut close, mut covered) = (0, 0, 0, 0, 0, 0);
    for (expected, output) in reference.frames.iter().zip(&pass.frames) {
        expected_people += expected.people.len();
        found_people += output.people.len();
        let mut unmatched = output.people.clone();
        for person in &expected.people {
            let nearest =
                (0..unmatched.len()).max_by(|a, b| iou(person, &unmatched[*a]).total_cmp(&iou(person, &unmatched[*b])));
            if let Some(i) = nearest.filter(|i| iou(person, &unmatched[*i]) >= PERSON_IOU) {
                unmatched.swap_remove(i);
                matched += 1;
            }
        }
        if let Some([x, y]) = expected.ball {
            balls += 1;
            covered += usize::from(output.ball.is_some());
            close += usize::from(output.ball.is_some_and(|[bx, by]| (bx - x).hypot(by - y) <= pass.ball_tolerance_px));
        }
    }
    StrideResult {
        every,
        detect_ms: pass.detect_ms(),
        people_recall: percent(matched, expected_people),
        people_precision: percent(matched, found_people),
        ball_within_20px: percent(close, balls),
        ball_coverage: percent(covered, balls),
    }
}

fn print(report: &Report) {
    outln!(
        "{}: {} frames, {} per second; {:.1} ms of processor time per frame; {:.1} people, a ball in {:.0} % of frames",
        report.clip,
        report.frames,
        format_metric(report.fps, 1),
        report.detect_ms,
        report.people,
        report.ball_coverage
    );
    outln!("Compared with detection on every frame, percent:");
    outln!(
        "{:>6} {:>12} {:>14} {:>17} {:>17} {:>14}",
        "every",
        "ms per frame",
        "people found",
        "people correct",
        "ball within 20px",
        "ball known"
    );
    for stride in &report.strides {
        let [recall, precision, near, coverage] =
            [stride.people_recall, stride.people_precision, stride.ball_within_20px, stride.ball_coverage]
                .map(|percent| format_metric(percent, 1));
        outln!("{:>6} {:>12.1} {recall:>14} {precision:>17} {near:>17} {coverage:>14}", stride.every, stride.detect_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_matched_once_and_near_balls_count_as_found() {
        let output = |people: &[[f32; 4]], ball| FrameOutput { people: people.to_vec(), ball };
        let pass = |frames| Pass { frames, total_detect_ms: 30.0, fps: 30.0, ball_tolerance_px: 20.0 };
        let person = [0.0, 0.0, 10.0, 20.0];
        let reference =
            [output(&[person, [50.0, 0.0, 60.0, 20.0]], Some([100.0, 100.0])), output(&[], Some([0.0, 0.0]))];
        let strided = [output(&[person, person], Some([100.0, 115.0])), output(&[person], None)];
        let stride = compare(&pass(reference.into()), &pass(strided.into()), 3);
        assert_eq!((stride.detect_ms, stride.people_recall), (15.0, 50.0));
        assert!((stride.people_precision - 100.0 / 3.0).abs() < 1e-9);
        assert_eq!((stride.ball_within_20px, stride.ball_coverage), (50.0, 50.0));
    }
}
