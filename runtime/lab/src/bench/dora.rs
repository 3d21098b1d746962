//! Latency of a hop between two dora nodes, measured by running a flow of five nodes and reading its timing files.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use arrow_array::Int64Array;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sideline_api::{Error, Failure, OrFail, Result};

use crate::sideline_program;

/// Nodes behind the source, in the order in which frames pass them.
const NODES: [&str; 4] = ["one", "two", "three", "counter"];
/// Frames of the run; the first tenth is not measured.
const FRAMES: usize = 1000;

/// Measures the time of every hop, ns; `None` without `dora` on PATH.
pub fn measure_hops() -> Result<Option<Vec<u64>>> {
    let version = Command::new("dora").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    super::in_temporary_folder("hops", run_flow).map(Some)
}

fn run_flow(folder: &Path) -> Result<Vec<u64>> {
    std::fs::write(folder.join("hops.yml"), flow_text()).or_fail(Failure::Output, || folder.display().to_string())?;
    // Dora searches PATH for `sideline`: the folder of the one that was found comes first.
    let program = sideline_program::find()?;
    let old = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(program.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&old)))
            .or_fail(Failure::Other, || "PATH")?;
    let output = Command::new("dora")
        .args(["run", "hops.yml"])
        .current_dir(folder)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .or_fail(Failure::Other, || "dora")?;
    if !output.status.success() {
        return Err(Error::other(format!("`dora run` failed: {}", String::from_utf8_lossy(&output.stderr))));
    }
    let runs = folder.join("runs");
    let run = std::fs::read_dir(&runs)
        .ok()
        .and_then(|mut runs| runs.next()?.ok())
        .ok_or_else(|| Error::other(format!("{} contains no run", runs.display())))?
        .path();
    let starts: Vec<BTreeMap<u64, i64>> = NODES
        .iter()
        .map(|node| read_start_times(&run.join("timing").join(format!("{node}.parquet"))))
        .collect::<Result<_>>()?;
    // Shared memory is still being negotiated during the first frames.
    let measured = FRAMES as u64 / 10..FRAMES as u64;
    Ok(starts
        .windows(2)
        .flat_map(|pair| {
            measured.clone().filter_map(|frame| Some((pair[1].get(&frame)? - pair[0].get(&frame)?).max(0) as u64))
        })
        .collect())
}

fn flow_text() -> String {
    let mut text = format!(
        "nodes:
  - {{id: synthetic, path: sideline, args: run synthetic, outputs: [frames], inputs: {{done_counter: counter/done}},
     env: {{FRAMES: {FRAMES}, WIDTH: 16, HEIGHT: 16, FPS: 200, PACE: true}}}}
"
    );
    for (from, to) in [("synthetic", "one"), ("one", "two"), ("two", "three")] {
        text += &format!(
            "  - {{id: {to}, path: sideline, args: run rehearse, inputs: {{frames: {from}/frames}}, outputs: [frames]}}\n"
        );
    }
    text + "  - {id: counter, path: sideline, args: run counter, inputs: {frames: three/frames}, outputs: [done]}\n"
}

/// Reads the start time of each frame from a node's timing file, ns since 1970.
fn read_start_times(path: &Path) -> Result<BTreeMap<u64, i64>> {
    let place = || path.display().to_string();
    let file = std::fs::File::open(path).or_fail(Failure::Other, place)?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .or_fail(Failure::Other, place)?;
    let mut starts = BTreeMap::new();
    for batch in reader {
        let batch = batch.or_fail(Failure::Other, place)?;
        let frames = batch.column_by_name("frame").and_then(|c| c.as_any().downcast_ref::<Int64Array>());
        let started = batch.column_by_name("started").and_then(|c| c.as_any().downcast_ref::<Int64Array>());
        let (Some(frames), Some(started)) = (frames, started) else {
            return Err(Error::other(format!("{}: not a timing file", path.display())));
        };
        starts.extend(frames.values().iter().map(|frame| *frame as u64).zip(started.values().iter().copied()));
    }
    Ok(starts)
}
