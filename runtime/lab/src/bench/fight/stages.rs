//! The flow, live, at the clip's own frame rate: each stage compared with the budget of the system that it replaces.

use serde::Serialize;
use sideline_api::Result;
use sideline_engine::meter::Quantiles;

use super::{
    clip::Clip,
    measure::{Report, RunMetrics, RunSetup},
};

/// NeuroCombat's budget per frame, milliseconds, by operator.
const BUDGETS_MS: [(&str, f64); 4] = [("capture", 5.0), ("pose", 15.0), ("tracker", 3.0), ("motion", 2.0)];

/// Cost of one stage.
#[derive(Debug, Serialize)]
pub struct StageCost {
    /// ID of the node.
    node: String,
    /// Work per frame; for a source the mean processor time.
    process_ms: Quantiles,
    /// Latency from the capture of a frame to the outputs of the stage.
    latency_ms: Quantiles,
    /// Budget of NeuroCombat for the work, if it has one.
    budget_ms: Option<f64>,
}

/// Result for one video.
#[derive(Debug, Serialize)]
pub struct StageReport {
    /// Name of the video.
    video: String,
    /// Metrics of the whole run.
    #[serde(flatten)]
    run: RunMetrics,
    /// Share of dropped frames, percent.
    dropped_percent: f64,
    /// Cost of each stage.
    stages: Vec<StageCost>,
    /// Processor seconds per second of the run.
    cores: f64,
}

/// Runs the flow live.
///
/// # Errors
/// The run fails.
pub fn run(setup: &RunSetup, clip: &Clip) -> Result<StageReport> {
    let (report, poses) =
        setup.run_with_report(&setup.flow, &["--input", &clip.path.to_string_lossy()], Some(clip.fps))?;
    Ok(stage_report(&clip.name, &report, poses))
}

fn stage_report(video: &str, report: &Report, poses: u64) -> StageReport {
    let run = report.metrics(poses);
    let budget = |operator: &str| BUDGETS_MS.iter().find(|(name, _)| *name == operator).map(|(_, ms)| *ms);
    // A source waits for the due times of its frames: its work is its processor time, taken as equal for every frame.
    let sources = report.sources.iter().map(|source| {
        let ms = source.cpu_s * 1e3 / source.counts.decoded.max(1) as f64;
        let work = Quantiles { p50: ms, p95: ms, p99: ms, max: ms };
        StageCost { node: source.node.clone(), process_ms: work, latency_ms: work, budget_ms: budget("capture") }
    });
    let stages = sources.chain(report.nodes.iter().map(|node| StageCost {
        node: node.node.clone(),
        process_ms: node.process_ms,
        latency_ms: node.latency_ms,
        budget_ms: budget(&node.operator),
    }));
    StageReport {
        video: video.into(),
        dropped_percent: run.dropped_percent(),
        run,
        stages: stages.collect(),
        cores: report.cpu_s / report.wall_s,
    }
}

impl std::fmt::Display for StageReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RunMetrics { offered, handled, fps, latency_ms: motion, peak_bytes, .. } = &self.run;
        writeln!(f, "{}, live", self.video)?;
        let dropped = self.dropped_percent;
        writeln!(f, "{offered} frames offered, {handled} processed, {dropped:.1} % dropped, {fps:.1} fps")?;
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
