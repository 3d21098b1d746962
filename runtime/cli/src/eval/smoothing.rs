//! `sideline eval smoothing`: what the operator `smooth` does to jitter and to strikes, beside other filters.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;
use sideline_api::{
    Error, Result, Table,
    body::{JOINT_NAMES, in_picture, torso},
    driver::read_config,
    one_euro::{Cutoffs, OneEuro},
    tables::{JOINTS, Pose},
};
use sideline_eval::smoothing::{Smoothing, at_jitter, kalman, low_pass, moving_average, smoothing};
use sideline_smooth::{People, SmoothConfig, smooth};

use super::figure;
use crate::{commands::print_json, recorded};

/// Frames a second at which strikes are filmed.
const RATES: [f64; 2] = [30.0, 60.0];
/// Frames of a track below which nothing is said of it.
const FEW: usize = 30;

#[derive(Serialize)]
struct Report {
    rates: Vec<Rate>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recorded: Vec<Recorded>,
}

#[derive(Serialize)]
struct Rate {
    fps: f64,
    filters: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    filter: String,
    #[serde(flatten)]
    figures: Smoothing,
}

/// Jitter of one joint of a recorded track, before and after.
#[derive(Serialize)]
struct Recorded {
    track: u32,
    joint: &'static str,
    frames: usize,
    /// Median of second differences, torso lengths: 0 for steady movement, and a few fast ones do not count.
    jitter_before: f64,
    jitter_after: f64,
}

/// Measures and prints; `run` is a run whose poses were recorded unsmoothed.
pub fn run(run: Option<&Path>, json: bool, set: &[String]) -> Result<u8> {
    let config: SmoothConfig = read_config(&super::values(set)?, "smooth")?;
    let rates = RATES.map(|fps| Rate { fps, filters: filters(&config, fps) }).into();
    let report = Report { rates, recorded: run.map_or(Ok(vec![]), |run| recorded_jitter(run, &config))? };
    if json {
        print_json(&report)?;
    } else {
        print(&report);
    }
    Ok(0)
}

/// The operator's filter on one coordinate, torso lengths.
fn one_euro(config: &SmoothConfig, signal: &[f64], fps: f64) -> Vec<f64> {
    let cutoffs = Cutoffs { least: config.min_cutoff, rise: config.beta, speed: config.d_cutoff };
    let mut filter = OneEuro::at(signal.first().copied().unwrap_or_default());
    let rest = signal.iter().skip(1).map(|sample| filter.step(*sample, 1.0 / fps, &cutoffs));
    signal.iter().take(1).copied().chain(rest).collect()
}

/// Ours, and the others set to leave as much jitter as ours.
fn filters(config: &SmoothConfig, fps: f64) -> Vec<Row> {
    let row = |filter: String, figures| Row { filter, figures };
    let ours = smoothing(&|signal, fps| one_euro(config, signal, fps), fps);
    let cutoff = at_jitter(ours.jitter, fps, (0.05, 100.0), low_pass);
    let push = at_jitter(ours.jitter, fps, (1e-3, 1e5), kalman);
    // The differences of neighbouring means are those of samples n apart, by n.
    let n = (1.0 / ours.jitter).round().max(1.0) as usize;
    vec![
        row("none".into(), smoothing(&|signal, _| signal.to_vec(), fps)),
        row("smooth (One-Euro)".into(), ours),
        row(format!("low-pass, {cutoff:.1} Hz"), smoothing(&|signal, fps| low_pass(signal, fps, cutoff), fps)),
        row(format!("Kalman, {push:.0} torsos/s2"), smoothing(&|signal, fps| kalman(signal, fps, push), fps)),
        row(format!("mean of {n} frames"), smoothing(&|signal, _| moving_average(signal, n), fps)),
    ]
}

/// Jitter of the shoulders, hips and wrists of every track of a run that was there for a second or more.
fn recorded_jitter(run: &Path, config: &SmoothConfig) -> Result<Vec<Recorded>> {
    let table = recorded::Tables::open(run)?.named("poses")?;
    let mut people = People::new();
    let mut tracks: BTreeMap<u32, Track> = BTreeMap::new();
    let mut before_and_after = |frame: &mut Vec<Pose>, pts: i64| {
        let raw = frame.clone();
        smooth(frame, &mut people, pts, config);
        for (raw, smoothed) in raw.iter().zip(frame.drain(..)).filter(|(raw, _)| raw.track > 0) {
            let (before, after) = (in_picture(raw, config.visibility), in_picture(&smoothed, config.visibility));
            let track = tracks.entry(raw.track).or_default();
            track.torsos.extend(Some(torso(&before)).filter(|torso| torso.is_finite()));
            track.places.push(std::array::from_fn(|joint| {
                let (b, a) = (before[joint], after[joint]);
                [b[0], b[1], a[0], a[1]].map(f64::from)
            }));
        }
    };
    let (mut frame, mut pts) = (vec![], i64::MIN);
    for batch in table.batches()? {
        let batch = batch?;
        let times = recorded::times(&batch)?;
        for (pose, time) in Pose::decode(&batch.into())?.into_iter().zip(times) {
            if time != pts && !frame.is_empty() {
                before_and_after(&mut frame, pts);
            }
            pts = time;
            frame.push(pose);
        }
    }
    before_and_after(&mut frame, pts);
    let rows: Vec<Recorded> = tracks
        .iter()
        .filter(|(_, track)| track.places.len() >= FEW)
        .flat_map(|(number, track)| [11, 12, 23, 24, 15, 16].map(|joint| jitter(*number, joint, track)))
        .filter(|row| row.jitter_before.is_finite())
        .collect();
    if rows.is_empty() {
        return Err(Error::input(format!("{}: no track is there for {FEW} frames: nothing to measure", run.display())));
    }
    Ok(rows)
}

/// What a run recorded of a track, in frame heights.
#[derive(Default)]
struct Track {
    torsos: Vec<f32>,
    /// x and y of each joint before, x and y after; NaN where not seen.
    places: Vec<[[f64; 4]; JOINTS]>,
}

/// Second differences between neighbouring rows of a track in which the joint was seen.
fn jitter(number: u32, joint: usize, track: &Track) -> Recorded {
    let mut torsos = track.torsos.clone();
    torsos.sort_by(f32::total_cmp);
    let torso = torsos.get(torsos.len() / 2).map_or(f64::NAN, |torso| f64::from(*torso));
    let of = |[x, y]: [usize; 2]| {
        let bend = |three: &[[[f64; 4]; JOINTS]], axis: usize| {
            three[0][joint][axis] - 2.0 * three[1][joint][axis] + three[2][joint][axis]
        };
        let bends = track.places.windows(3).map(|three| bend(three, x).hypot(bend(three, y)) / torso);
        let mut bends: Vec<f64> = bends.filter(|bend| bend.is_finite()).collect();
        bends.sort_by(f64::total_cmp);
        bends.get(bends.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let (jitter_before, jitter_after) = (of([0, 1]), of([2, 3]));
    Recorded { track: number, joint: JOINT_NAMES[joint], frames: track.places.len(), jitter_before, jitter_after }
}

fn print(report: &Report) {
    outln!("strikes of known course with noise, made from a seed; jitter is a share of the unfiltered");
    for rate in &report.rates {
        outln!(
            "\n{:<26} {:>8} {:>9} {:>12} {:>8} {:>12}",
            format!("{} frames a second", rate.fps),
            "jitter",
            "lag, ms",
            "fastest, ms",
            "loss, %",
            "error, torso"
        );
        for Row { filter, figures } in &rate.filters {
            let Smoothing { jitter, lag_ms, fastest_lag_ms, loss, error } = figures;
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
            let [before, after] = [row.jitter_before, row.jitter_after].map(|jitter| figure(jitter, 4));
            outln!("{:<8} {:<16} {before:>8} {after:>8}", row.track, row.joint);
        }
    }
}
