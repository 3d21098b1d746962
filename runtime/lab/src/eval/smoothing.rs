//! `sideline-lab eval smoothing`: effect of the operator `smooth` on jitter and on strikes, compared with other filters.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;
use sideline::program::{RecordedTables, media_times_ns, outln, print_json};
use sideline_api::{Error, Result, Table, driver::read_config};
use sideline_eval::smoothing::{SmoothingMetrics, kalman, low_pass, measure, moving_average, parameter_at_jitter};
use sideline_smooth::{SmoothConfig, SmoothState, smooth};
use sideline_sport::{
    body::{JOINT_NAMES, image_joints, torso_length},
    tables::{JOINTS, Pose},
};
use sideline_vision::one_euro::{OneEuro, OneEuroParams};

use super::format_metric;

/// Frame rates of the simulated strikes, frames per second.
const FRAME_RATES: [f64; 2] = [30.0, 60.0];
/// Minimum number of frames of a track for its jitter to be measured.
const MIN_TRACK_FRAMES: usize = 30;

/// Result of `sideline-lab eval smoothing`.
#[derive(Serialize)]
struct Report {
    rates: Vec<RateResult>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recorded: Vec<JointJitter>,
}

#[derive(Serialize)]
struct RateResult {
    fps: f64,
    filters: Vec<FilterResult>,
}

#[derive(Serialize)]
struct FilterResult {
    filter: String,
    #[serde(flatten)]
    metrics: SmoothingMetrics,
}

/// Jitter of one joint of a recorded track, before and after smoothing.
#[derive(Serialize)]
struct JointJitter {
    track: u32,
    joint: &'static str,
    frames: usize,
    /// Median of second differences, torso lengths: 0 for steady movement; a few fast movements do not affect it.
    jitter_before: f64,
    jitter_after: f64,
}

/// Measures the filters and prints the result. `run` is a run with poses recorded without smoothing.
pub fn run(run: Option<&Path>, json: bool, set: &[String]) -> Result<u8> {
    let config: SmoothConfig = read_config(&super::parse_values(set)?, "smooth")?;
    let rates = FRAME_RATES.map(|fps| RateResult { fps, filters: filters(&config, fps) }).into();
    let report = Report { rates, recorded: run.map_or(Ok(vec![]), |run| recorded_jitter(run, &config))? };
    if json {
        print_json(&report)?;
    } else {
        print(&report);
    }
    Ok(0)
}

/// Applies the operator's filter to one coordinate, torso lengths.
fn one_euro(config: &SmoothConfig, signal: &[f64], fps: f64) -> Vec<f64> {
    let params = OneEuroParams { min_cutoff: config.min_cutoff, beta: config.beta, derivative_cutoff: config.d_cutoff };
    let mut filter = OneEuro::new(signal.first().copied().unwrap_or_default());
    let rest = signal.iter().skip(1).map(|sample| filter.update(*sample, 1.0 / fps, &params));
    signal.iter().take(1).copied().chain(rest).collect()
}

/// Measures the operator's filter, and the others tuned to the same jitter.
fn filters(config: &SmoothConfig, fps: f64) -> Vec<FilterResult> {
    let row = |filter: String, metrics| FilterResult { filter, metrics };
    let operator = measure(&|signal, fps| one_euro(config, signal, fps), fps);
    let cutoff = parameter_at_jitter(operator.jitter, fps, (0.05, 100.0), low_pass);
    let acceleration = parameter_at_jitter(operator.jitter, fps, (1e-3, 1e5), kalman);
    // Consecutive means of n samples differ by an n-th of the difference of samples n apart.
    let n = (1.0 / operator.jitter).round().max(1.0) as usize;
    vec![
        row("none".into(), measure(&|signal, _| signal.to_vec(), fps)),
        row("smooth (One-Euro)".into(), operator),
        row(format!("low-pass, {cutoff:.1} Hz"), measure(&|signal, fps| low_pass(signal, fps, cutoff), fps)),
        row(
            format!("Kalman, {acceleration:.0} torsos/s2"),
            measure(&|signal, fps| kalman(signal, fps, acceleration), fps),
        ),
        row(format!("mean of {n} frames"), measure(&|signal, _| moving_average(signal, n), fps)),
    ]
}

/// Measures the jitter of shoulders, hips and wrists of every track of a run with at least [`MIN_TRACK_FRAMES`] frames.
fn recorded_jitter(run: &Path, config: &SmoothConfig) -> Result<Vec<JointJitter>> {
    let table = RecordedTables::open(run)?.table("poses")?;
    let mut people = SmoothState::new();
    let mut tracks: BTreeMap<u32, Track> = BTreeMap::new();
    let mut before_and_after = |frame: &mut Vec<Pose>, pts: i64| {
        let raw = frame.clone();
        smooth(frame, &mut people, pts, config);
        for (raw, smoothed) in raw.iter().zip(frame.drain(..)).filter(|(raw, _)| raw.track > 0) {
            let (before, after) = (image_joints(raw, config.visibility), image_joints(&smoothed, config.visibility));
            let track = tracks.entry(raw.track).or_default();
            track.torsos.extend(Some(torso_length(&before)).filter(|torso| torso.is_finite()));
            track.positions.push(std::array::from_fn(|joint| {
                let (b, a) = (before[joint], after[joint]);
                [b[0], b[1], a[0], a[1]].map(f64::from)
            }));
        }
    };
    let (mut frame, mut pts) = (vec![], i64::MIN);
    for batch in table.batches()? {
        let batch = batch?;
        let times = media_times_ns(&batch)?;
        for (pose, time) in Pose::decode(&batch.into())?.into_iter().zip(times) {
            if time != pts && !frame.is_empty() {
                before_and_after(&mut frame, pts);
            }
            pts = time;
            frame.push(pose);
        }
    }
    before_and_after(&mut frame, pts);
    let rows: Vec<JointJitter> = tracks
        .iter()
        .filter(|(_, track)| track.positions.len() >= MIN_TRACK_FRAMES)
        .flat_map(|(number, track)| [11, 12, 23, 24, 15, 16].map(|joint| jitter(*number, joint, track)))
        .filter(|row| row.jitter_before.is_finite())
        .collect();
    if rows.is_empty() {
        return Err(Error::input(format!(
            "{}: no track has {MIN_TRACK_FRAMES} frames; there is nothing to measure",
            run.display()
        )));
    }
    Ok(rows)
}

/// Recorded track, in frame heights.
#[derive(Default)]
struct Track {
    torsos: Vec<f32>,
    /// x and y of each joint before smoothing, then after; NaN where not seen.
    positions: Vec<[[f64; 4]; JOINTS]>,
}

/// Calculates the jitter of a joint over consecutive rows in which it was seen.
fn jitter(number: u32, joint: usize, track: &Track) -> JointJitter {
    let mut torsos = track.torsos.clone();
    torsos.sort_by(f32::total_cmp);
    let torso = torsos.get(torsos.len() / 2).map_or(f64::NAN, |torso| f64::from(*torso));
    let median_jitter = |[x, y]: [usize; 2]| {
        let second_difference = |three: &[[[f64; 4]; JOINTS]], axis: usize| {
            three[0][joint][axis] - 2.0 * three[1][joint][axis] + three[2][joint][axis]
        };
        let differences = track
            .positions
            .windows(3)
            .map(|three| second_difference(three, x).hypot(second_difference(three, y)) / torso);
        let mut differences: Vec<f64> = differences.filter(|difference| difference.is_finite()).collect();
        differences.sort_by(f64::total_cmp);
        differences.get(differences.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let (jitter_before, jitter_after) = (median_jitter([0, 1]), median_jitter([2, 3]));
    JointJitter { track: number, joint: JOINT_NAMES[joint], frames: track.positions.len(), jitter_before, jitter_after }
}

fn print(report: &Report) {
    outln!("simulated strikes with noise; jitter relative to the unfiltered signal");
    for rate in &report.rates {
        outln!(
            "\n{:<26} {:>8} {:>9} {:>12} {:>8} {:>12}",
            format!("{} frames per second", rate.fps),
            "jitter",
            "lag, ms",
            "fastest, ms",
            "loss, %",
            "error, torso"
        );
        for FilterResult { filter, metrics } in &rate.filters {
            let SmoothingMetrics { jitter, lag_ms, fastest_lag_ms, loss, error } = metrics;
            outln!("{filter:<26} {jitter:>8.2} {lag_ms:>9.1} {fastest_lag_ms:>12.1} {loss:>8.1} {error:>12.3}");
        }
    }
    if !report.recorded.is_empty() {
        outln!(
            "\nrecorded: median second difference, torso lengths\n{:<8} {:<16} {:>8} {:>8}",
            "track",
            "joint",
            "before",
            "after"
        );
        for row in &report.recorded {
            let [before, after] = [row.jitter_before, row.jitter_after].map(|jitter| format_metric(jitter, 4));
            outln!("{:<8} {:<16} {before:>8} {after:>8}", row.track, row.joint);
        }
    }
}
