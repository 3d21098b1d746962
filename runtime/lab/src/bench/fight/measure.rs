//! One run of the flow in a process of its own, and the metrics read from its report.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};
use sideline_api::{Error, Failure, OrFail, Result};
use sideline_engine::{counts::FrameCounts, meter::Quantiles};

use crate::sideline_program;

/// Setup shared by all measurements.
#[derive(Clone)]
pub struct RunSetup {
    /// Path of the flow.
    pub flow: PathBuf,
    /// Sideline home, with the models and the peer.
    pub home: PathBuf,
    /// Folder for temporary videos and results.
    pub folder: PathBuf,
    /// Maximum number of frames of each measurement.
    pub frames: u64,
    program: PathBuf,
}

/// Metrics of one run, of Sideline or of the peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunMetrics {
    /// Frames offered by the video.
    pub offered: u64,
    /// Frames processed.
    pub handled: u64,
    /// Throughput at the slowest stage, frames per second.
    pub fps: f64,
    /// Latency from capture, or the due time if that is later, to motion.
    pub latency_ms: Quantiles,
    /// Processor time, s.
    pub cpu_s: f64,
    /// Peak memory, bytes.
    pub peak_bytes: u64,
    /// Rows of `poses` over all frames: people detected.
    pub poses: u64,
}

impl RunMetrics {
    /// Returns the share of dropped frames, percent.
    pub fn dropped_percent(&self) -> f64 {
        100.0 * self.offered.saturating_sub(self.handled) as f64 / self.offered.max(1) as f64
    }

    /// Returns the mean number of people per frame.
    pub fn people(&self) -> f64 {
        self.poses as f64 / self.handled.max(1) as f64
    }

    /// Returns the processor time per frame, milliseconds.
    pub fn cpu_ms(&self) -> f64 {
        1e3 * self.cpu_s / self.handled.max(1) as f64
    }
}

/// Parts of a run's report that are used here; see `sideline_engine::meter::Report`.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// Sources.
    pub sources: Vec<SourcePart>,
    /// Operators.
    pub nodes: Vec<NodePart>,
    /// Wall-clock duration, s.
    pub wall_s: f64,
    /// Processor time, seconds.
    pub cpu_s: f64,
    /// Peak memory, bytes.
    pub peak_memory: u64,
}

/// Source in a report.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct SourcePart {
    pub node: String,
    #[serde(flatten)]
    pub counts: FrameCounts,
    pub cpu_s: f64,
}

/// Operator in a report.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct NodePart {
    pub node: String,
    pub operator: String,
    pub fps: f64,
    pub process_ms: Quantiles,
    pub latency_ms: Quantiles,
}

impl Report {
    /// Returns the metrics of the whole run. `poses` is the number of rows in the tables of poses.
    pub fn metrics(&self, poses: u64) -> RunMetrics {
        let motion = self.nodes.iter().find(|node| node.operator == "motion");
        RunMetrics {
            offered: self.sources.iter().map(|source| source.counts.decoded).sum(),
            handled: self.sources.iter().map(|source| source.counts.admitted).sum(),
            fps: self.nodes.iter().map(|node| node.fps).fold(f64::INFINITY, f64::min),
            latency_ms: motion.map(|node| node.latency_ms).unwrap_or_default(),
            cpu_s: self.cpu_s,
            peak_bytes: self.peak_memory,
            poses,
        }
    }
}

impl RunSetup {
    /// Creates the setup for a flow.
    ///
    /// # Errors
    /// There is no program `sideline`.
    pub fn new(flow: &Path, home: &Path, folder: &Path, frames: u64) -> Result<Self> {
        let program = sideline_program::find()?;
        Ok(RunSetup { flow: flow.into(), home: home.into(), folder: folder.into(), frames, program })
    }

    /// Returns the same setup with at most `frames` frames.
    pub fn with_frames(&self, frames: u64) -> Self {
        RunSetup { frames: frames.min(self.frames), ..self.clone() }
    }

    /// Runs the flow on a video: live at the frame rate `live`, for the duration of `frames` at that rate, or every
    /// frame.
    ///
    /// # Errors
    /// The run fails.
    pub fn run_flow(&self, video: &Path, live: Option<f64>) -> Result<RunMetrics> {
        let (report, poses) = self.run_with_report(&self.flow, &["--input", &video.display().to_string()], live)?;
        Ok(report.metrics(poses))
    }

    /// Runs a flow with additional arguments; returns its report and the number of rows in all its tables of poses.
    ///
    /// # Errors
    /// The run fails.
    pub fn run_with_report(&self, flow: &Path, arguments: &[&str], live: Option<f64>) -> Result<(Report, u64)> {
        let out = self.folder.join("out");
        let mut command = Command::new(&self.program);
        command.arg("run").arg(flow).args(arguments).args(["--json", "--progress", "none", "--output"]).arg(&out);
        match live {
            // The limit is media time: dropped frames count as well.
            Some(fps) => command.args(["--mode", "live", "--duration", &format!("{}", self.frames as f64 / fps)]),
            None => command.args(["--mode", "complete", "--frames", &self.frames.to_string()]),
        };
        // A copied flow is outside of Sideline home.
        let command = command.env("SIDELINE_HOME", &self.home).stdin(Stdio::null());
        let output = command.output().or_fail(Failure::Other, || "this program")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let failure = output.status.code().and_then(failure_of).unwrap_or(Failure::Other);
            return Err(Error::new(failure, text.trim().trim_start_matches("error: ")));
        }
        let report = serde_json::from_slice(&output.stdout).or_fail(Failure::Other, || "the report of a run")?;
        let poses = count_rows(&out, "poses")?;
        std::fs::remove_dir_all(&out).or_fail(Failure::Output, || out.display().to_string())?;
        Ok((report, poses))
    }
}

/// Returns the failure that an exit code stands for.
fn failure_of(code: i32) -> Option<Failure> {
    use Failure::{Config, Gpu, Input, Model, Output};
    [Config, Model, Input, Output, Gpu].into_iter().find(|failure| i32::from(failure.exit_code()) == code)
}

/// Counts the lines of the table `TABLE.jsonl` in a folder.
pub fn count_rows(folder: &Path, table: &str) -> Result<u64> {
    let place = || folder.display().to_string();
    let mut lines = 0;
    for entry in std::fs::read_dir(folder).or_fail(Failure::Output, place)? {
        let path = entry.or_fail(Failure::Output, place)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == format!("{table}.jsonl") {
            let text = std::fs::read(&path).or_fail(Failure::Output, || path.display().to_string())?;
            lines += text.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
    }
    Ok(lines)
}
