//! fight.yml, live, at the clip's own rate: each stage beside the budget of the system it replaces.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;
use sideline_api::{Error, Failure, Mode, OrFail, Registry, Result};
use sideline_engine::{
    gate::Limit,
    meter::{Quantiles, Report},
};

use crate::{house, progress::Show, run};

/// NeuroCombat's budget of a frame, milliseconds, by operator.
const BUDGET: [(&str, f64); 4] = [("capture", 5.0), ("pose", 15.0), ("tracker", 3.0), ("motion", 2.0)];

/// One stage.
#[derive(Debug, Serialize)]
pub struct Stage {
    /// Id of the node.
    pub node: String,
    /// Its work on a frame; of a source the mean CPU time.
    pub process_ms: Quantiles,
    /// From the capture of a frame to its outputs.
    pub latency_ms: Quantiles,
    /// The original's budget for the work, where it has one.
    pub budget_ms: Option<f64>,
}

/// The figures of each video, by its name.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Fights(BTreeMap<String, Fight>);

/// The figures of one video.
#[derive(Debug, Serialize)]
pub struct Fight {
    /// Frames the video offered.
    pub offered: u64,
    /// Frames handled.
    pub handled: u64,
    /// Share forgotten, percent.
    pub dropped_percent: f64,
    /// Frames a second at the slowest stage.
    pub fps: f64,
    /// Capture to motion.
    pub capture_to_motion_ms: Quantiles,
    /// Stages.
    pub stages: Vec<Stage>,
    /// CPU seconds for each second of video.
    pub cores: f64,
    /// Most memory, MB.
    pub peak_mb: u64,
}

/// Runs the flow, live, over one video or the two that are made of the demo's clip.
///
/// # Errors
/// When it cannot run, or fails.
pub fn run(flow: Option<&Path>, input: Option<&Path>, registry: &Registry) -> Result<Fights> {
    super::in_temporary_folder("fight", |folder| all(flow, input, registry, folder))
}

fn all(flow: Option<&Path>, input: Option<&Path>, registry: &Registry, folder: &Path) -> Result<Fights> {
    let models = house::models(flow.unwrap_or(Path::new(".")));
    let flow = flow.map_or_else(|| models.home().join("dataflows/fight.yml"), Path::to_owned);
    let videos = match input {
        Some(input) => vec![(input.display().to_string(), input.to_owned())],
        None => {
            let clip = models
                .clips()
                .iter()
                .find(|clip| clip.name == "athletes")
                .ok_or_else(|| Error::input("models.yml names no clip `athletes`: give a video with --input"))?;
            let clip = models.home().join(&clip.path);
            [(1280, 720), (1920, 1080)]
                .into_iter()
                .map(|(width, height)| Ok((format!("{height}p30"), lengthen(&clip, width, height, folder)?)))
                .collect::<Result<_>>()?
        }
    };
    let mut fights = BTreeMap::new();
    for (name, video) in videos {
        let out = folder.join("out");
        fights.insert(name, figures(&flow, &video, registry, &out)?);
        std::fs::remove_dir_all(&out).or_fail(Failure::Output, || out.display().to_string())?;
    }
    Ok(Fights(fights))
}

/// The clip, there and back, again and again, 500 frames at 30 a second, set into a wide picture: two people as a camera
/// at the ring sees them.
fn lengthen(clip: &Path, width: u32, height: u32, folder: &Path) -> Result<PathBuf> {
    let made = folder.join(format!("{height}p30.mp4"));
    let filter = format!(
        "fps=30,scale=-2:{height},pad={width}:{height}:(ow-iw)/2:0,split[a][b];[b]reverse[r];[a][r]concat=n=2:v=1,loop=loop=4:size=100"
    );
    let output = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(clip)
        .args(["-filter_complex", &filter, "-an", "-c:v", "libx264", "-preset", "veryfast"])
        .arg(&made)
        .output()
        .or_fail(Failure::Input, || "the command `ffmpeg`, which makes the video, cannot be run")?;
    if !output.status.success() {
        return Err(Error::input(format!("ffmpeg: {}", String::from_utf8_lossy(&output.stderr))));
    }
    Ok(made)
}

fn figures(flow: &Path, video: &Path, registry: &Registry, folder: &Path) -> Result<Fight> {
    let mut overrides = run::overrides(flow, &[], Some(Mode::Live));
    overrides.input = Some(video.display().to_string());
    let read = run::read(flow, registry, &overrides)?;
    let report = run::embedded(&read, registry, house::models(flow), "bench", folder, Limit::default(), Show::None)?;
    if let Some(failure) = report.failure {
        return Err(failure);
    }
    Ok(from(&report))
}

fn from(report: &Report) -> Fight {
    let offered: u64 = report.sources.iter().map(|source| source.decoded).sum();
    let handled: u64 = report.sources.iter().map(|source| source.admitted).sum();
    let budget = |operator: &str| BUDGET.iter().find(|(name, _)| *name == operator).map(|(_, ms)| *ms);
    // A source waits for its frames' due times: what it works is its CPU, the same for every frame.
    let sources = report.sources.iter().map(|source| {
        let ms = source.cpu_s * 1e3 / source.decoded.max(1) as f64;
        let work = Quantiles { p50: ms, p95: ms, p99: ms, max: ms };
        Stage { node: source.node.clone(), process_ms: work, latency_ms: work, budget_ms: budget("capture") }
    });
    let stages = sources.chain(report.nodes.iter().map(|node| Stage {
        node: node.node.clone(),
        process_ms: node.process_ms,
        latency_ms: node.latency_ms,
        budget_ms: budget(&node.operator),
    }));
    let motion = report.nodes.iter().find(|node| node.operator == "motion");
    Fight {
        offered,
        handled,
        dropped_percent: 100.0 * (offered - handled) as f64 / offered.max(1) as f64,
        fps: report.nodes.iter().map(|node| node.fps).fold(f64::INFINITY, f64::min),
        capture_to_motion_ms: motion.map(|node| node.latency_ms).unwrap_or_default(),
        stages: stages.collect(),
        cores: report.cpu_s / report.wall_s,
        peak_mb: report.peak_memory / 1_000_000,
    }
}

impl std::fmt::Display for Fights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts: Vec<String> = self.0.iter().map(|(name, fight)| format!("{name}\n{fight}")).collect();
        f.write_str(&texts.join("\n\n"))
    }
}

impl std::fmt::Display for Fight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} frames offered, {} handled, {:.1} % dropped, {:.1} fps",
            self.offered, self.handled, self.dropped_percent, self.fps
        )?;
        writeln!(
            f,
            "{:<20} {:>9} {:>9} {:>9} {:>8} {:>11}",
            "milliseconds", "work p50", "work p95", "budget", "ratio", "latency p95"
        )?;
        for stage in &self.stages {
            let budget = stage.budget_ms.map_or("-".into(), |ms| format!("{ms:.0}"));
            let ratio = stage.budget_ms.map_or("-".into(), |ms| format!("{:.2}", stage.process_ms.p50 / ms));
            writeln!(
                f,
                "{:<20} {:>9.2} {:>9.2} {budget:>9} {ratio:>8} {:>11.1}",
                stage.node, stage.process_ms.p50, stage.process_ms.p95, stage.latency_ms.p95
            )?;
        }
        let motion = self.capture_to_motion_ms;
        writeln!(
            f,
            "capture to motion: p50 {:.1}, p95 {:.1}, p99 {:.1} ms (goal 45)",
            motion.p50, motion.p95, motion.p99
        )?;
        write!(f, "{:.2} cores, {} MB", self.cores, self.peak_mb)
    }
}
