//! Time of a call of an operator in Python, measured by running a flow with one and reading its report.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde::Serialize;
use serde_json::Value;
use sideline_api::{Error, Failure, OrFail, Result};

use super::Percentiles;
use crate::sideline_program;

/// Operator that views a 1080p frame and sends a row.
const OPERATOR: &str = "\
import sideline


@sideline.operator(reads={'frames': sideline.frames}, writes={'rows': sideline.table('pixels', y=int)})
def pixel(frames):
    return [{'y': frames.y[540, 960]}]
";
/// Flow with the operator and, beside it, one in Rust.
const FLOW: &str = "\
nodes:
  - {id: synthetic, path: sideline, args: run synthetic, env: {FRAMES: 3000, WIDTH: 1920, HEIGHT: 1080},
     inputs: {done_recorder: recorder/done}, outputs: [frames]}
  - {id: python, path: sideline, args: run pixel.py, inputs: {frames: synthetic/frames}, outputs: [rows]}
  - {id: recorder, path: sideline, args: run recorder, inputs: {rows: python/rows}, outputs: [done]}
";

/// Times of calls in one run.
#[derive(Debug, Serialize)]
pub struct Calls {
    /// Time of a call of the operator in Python with its outputs, microseconds.
    pub python_us: Percentiles,
    /// Time of a call of the recorder, an operator in Rust, in the same run, microseconds.
    pub recorder_us: Percentiles,
}

/// Measures the calls.
///
/// # Errors
/// If there is no Python with the package `sideline`, or the run fails.
pub fn measure_calls() -> Result<Calls> {
    super::in_temporary_folder("python", run_flow)
}

fn run_flow(folder: &Path) -> Result<Calls> {
    for (name, text) in [("pixel.py", OPERATOR), ("flow.yml", FLOW)] {
        std::fs::write(folder.join(name), text).or_fail(Failure::Output, || folder.display().to_string())?;
    }
    let mut command = Command::new(sideline_program::find()?);
    command.args(["run", "flow.yml", "--json", "--progress", "none", "--output", "out"]);
    let output =
        command.current_dir(folder).stdin(Stdio::null()).output().or_fail(Failure::Other, || "this program")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let first = text.lines().find(|line| line.contains("error")).unwrap_or("the run failed");
        return Err(Error::config(first.trim()));
    }
    let report: Value = serde_json::from_slice(&output.stdout).or_fail(Failure::Other, || "the report of a run")?;
    let calls = |id: &str| {
        let node = report["nodes"].as_array().and_then(|nodes| nodes.iter().find(|node| node["node"] == id));
        let us = |quantile: &str| node.and_then(|node| node["process_ms"][quantile].as_f64()).map(|ms| ms * 1e3);
        match (us("p50"), us("p99")) {
            (Some(p50), Some(p99)) => Ok(Percentiles { p50, p99 }),
            _ => Err(Error::other(format!("the report has no times of node `{id}`"))),
        }
    };
    Ok(Calls { python_us: calls("python")?, recorder_us: calls("recorder")? })
}
