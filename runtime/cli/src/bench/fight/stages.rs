//! The flow, live, at the clip's own rate: each stage beside the budget of the system it replaces.

use serde::Serialize;
use sideline_api::Result;
use sideline_engine::meter::Quantiles;

use super::{
    clip::Clip,
    measure::{Measured, Report, Setting},
};

/// NeuroCombat's budget of a frame, milliseconds, by operator.
const BUDGET: [(&str, f64); 4] = [("capture", 5.0), ("pose", 15.0), ("tracker", 3.0), ("motion", 2.0)];

/// One stage.
#[derive(Debug, Serialize)]
pub struct Stage {
    /// Id of the node.
    node: String,
    /// Its work on a frame; of a source the mean CPU time.
    process_ms: Quantiles,
    /// From the capture of a frame to its outputs.
    latency_ms: Quantiles,
    /// The original's budget for the work, where it has one.
    budget_ms: Option<f64>,
}

/// The figures of one video.
#[derive(Debug, Serialize)]
pub struct Stages {
    /// The video.
    video: String,
    /// The whole.
    #[serde(flatten)]
    whole: Measured,
    /// Share forgotten, percent.
    dropped_percent: f64,
    /// Stages.
    stages: Vec<Stage>,
    /// CPU seconds for each second of video.
    cores: f64,
}

/// Runs the flow, live.
///
/// # Errors
/// Those of the run.
pub fn run(setting: &Setting, clip: &Clip) -> Result<Stages> {
    let (report, poses) = setting.run(&setting.flow, &["--input", &clip.path.to_string_lossy()], Some(clip.fps))?;
    Ok(from(&clip.name, &report, poses))
}

fn from(video: &str, report: &Report, poses: u64) -> Stages {
    let whole = report.measured(poses);
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
    Stages {
        video: video.into(),
        dropped_percent: whole.dropped_percent(),
        whole,
        stages: stages.collect(),
        cores: report.cpu_s / report.wall_s,
    }
}

impl std::fmt::Display for Stages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Measured { offered, handled, fps, latency_ms: motion, peak_bytes, .. } = &self.whole;
        writeln!(f, "{}, live", self.video)?;
        let dropped = self.dropped_percent;
        writeln!(f, "{offered} frames offered, {handled} handled, {dropped:.1} % dropped, {fps:.1} fps")?;
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
        writeln!(
            f,
            "capture to motion: p50 {:.1}, p95 {:.1}, p99 {:.1} ms (goal: p95 45)",
            motion.p50, motion.p95, motion.p99
        )?;
        write!(f, "{:.2} cores, {} MB", self.cores, peak_bytes / 1_000_000)
    }
}
