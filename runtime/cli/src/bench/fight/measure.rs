//! One run of the flow in a process of its own, and what is read from its report.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};
use sideline_api::{Error, Failure, OrFail, Result};
use sideline_engine::meter::Quantiles;

/// What all measurements share.
#[derive(Clone)]
pub struct Setting {
    /// The flow.
    pub flow: PathBuf,
    /// The house: models, and the peer.
    pub home: PathBuf,
    /// Where videos and results go meanwhile.
    pub folder: PathBuf,
    /// Most frames of each measurement.
    pub frames: u64,
    program: PathBuf,
}

/// What one run did, ours or the peer's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Frames the video offered.
    pub offered: u64,
    /// Frames handled.
    pub handled: u64,
    /// Frames a second at the slowest stage.
    pub fps: f64,
    /// From capture, or the due time if that is later, to motion.
    pub latency_ms: Quantiles,
    /// Processor time, seconds.
    pub cpu_s: f64,
    /// Most memory, bytes.
    pub peak_bytes: u64,
    /// People seen, over all frames.
    pub poses: u64,
}

impl Measured {
    /// Share of the frames that was dropped, percent.
    pub fn dropped_percent(&self) -> f64 {
        100.0 * self.offered.saturating_sub(self.handled) as f64 / self.offered.max(1) as f64
    }

    /// People in a frame, on average.
    pub fn people(&self) -> f64 {
        self.poses as f64 / self.handled.max(1) as f64
    }

    /// Processor time of a frame, milliseconds.
    pub fn cpu_ms(&self) -> f64 {
        1e3 * self.cpu_s / self.handled.max(1) as f64
    }
}

/// The parts of a run's report that are read here; see `sideline_engine::meter::Report`.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// Sources.
    pub sources: Vec<SourcePart>,
    /// Operators.
    pub nodes: Vec<NodePart>,
    /// From start to end, seconds.
    pub wall_s: f64,
    /// Processor time, seconds.
    pub cpu_s: f64,
    /// Most memory, bytes.
    pub peak_memory: u64,
}

/// A source in a report.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct SourcePart {
    pub node: String,
    pub decoded: u64,
    pub admitted: u64,
    pub cpu_s: f64,
}

/// An operator in a report.
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
    /// The figures of the whole; `poses` were counted elsewhere.
    pub fn measured(&self, poses: u64) -> Measured {
        let motion = self.nodes.iter().find(|node| node.operator == "motion");
        Measured {
            offered: self.sources.iter().map(|source| source.decoded).sum(),
            handled: self.sources.iter().map(|source| source.admitted).sum(),
            fps: self.nodes.iter().map(|node| node.fps).fold(f64::INFINITY, f64::min),
            latency_ms: motion.map(|node| node.latency_ms).unwrap_or_default(),
            cpu_s: self.cpu_s,
            peak_bytes: self.peak_memory,
            poses,
        }
    }
}

impl Setting {
    /// For this flow.
    ///
    /// # Errors
    /// When this program does not know its own place.
    pub fn new(flow: &Path, home: &Path, folder: &Path, frames: u64) -> Result<Self> {
        let program = std::env::current_exe().or_fail(Failure::Other, || "this program's own path")?;
        Ok(Setting { flow: flow.into(), home: home.into(), folder: folder.into(), frames, program })
    }

    /// The same with fewer frames.
    pub fn with_frames(&self, frames: u64) -> Self {
        Setting { frames: frames.min(self.frames), ..self.clone() }
    }

    /// Runs the flow on a video, live for at most as long as `frames` take at `fps`, else every frame.
    ///
    /// # Errors
    /// Those of the run.
    pub fn ours(&self, video: &Path, live: Option<f64>) -> Result<Measured> {
        let (report, poses) = self.run(&self.flow, &["--input", &video.display().to_string()], live)?;
        Ok(report.measured(poses))
    }

    /// Runs a flow with more arguments; its report, and the rows of all its tables of poses.
    ///
    /// # Errors
    /// Those of the run.
    pub fn run(&self, flow: &Path, arguments: &[&str], live: Option<f64>) -> Result<(Report, u64)> {
        let out = self.folder.join("out");
        let mut command = Command::new(&self.program);
        command.arg("run").arg(flow).args(arguments).args(["--json", "--progress", "none", "--output"]).arg(&out);
        match live {
            // By media time: frames that were dropped count too.
            Some(fps) => command.args(["--mode", "live", "--duration", &format!("{}", self.frames as f64 / fps)]),
            None => command.args(["--mode", "complete", "--frames", &self.frames.to_string()]),
        };
        // A copied flow lies outside of the house.
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

/// The failure that an exit code stands for.
fn failure_of(code: i32) -> Option<Failure> {
    use Failure::{Config, Gpu, Input, Model, Output};
    [Config, Model, Input, Output, Gpu].into_iter().find(|failure| i32::from(failure.exit_code()) == code)
}

/// Lines of the tables `poses.jsonl` and `poses.*.jsonl` in a folder.
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
