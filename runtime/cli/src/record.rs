//! The folder of a run: `run.json` says what was run, `result/<process>.json` how each process ended.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sideline_api::{
    Device, Error, Failure, OrFail, Result,
    address::conceal,
    find_file,
    models::{Models, own_file, sha256},
};
use sideline_engine::{
    Change,
    meter::{Report, Status},
};
use sideline_graph::FlowNode;
use sideline_system::owner::unique_part;

/// Which processes a run consists of, and what is recorded of each node at the start.
pub struct Start<'a> {
    /// Name of the run.
    pub run: &'a str,
    /// The flow's file, or its name.
    pub flow: &'a str,
    /// Ids of the processes that leave a result.
    pub processes: Vec<String>,
    /// Nodes of the whole flow.
    pub nodes: &'a [FlowNode],
    /// Where models run.
    pub device: Device,
    /// The run that this one goes on from.
    pub continues: Option<Value>,
    /// The folder of each process, where they have several.
    pub folders: BTreeMap<String, PathBuf>,
}

/// Writes `run.json`.
///
/// # Errors
/// When it cannot be written.
pub fn write_start(folder: &Path, start: &Value) -> Result<()> {
    write_json(&folder.join(RUN), start)
}

/// Writes `run.json` unless another process of the run did.
///
/// # Errors
/// When it cannot be written.
pub fn write_start_once(folder: &Path, start: &Value) -> Result<()> {
    let path = folder.join(RUN);
    if path.exists() {
        return Ok(());
    }
    let part = folder.join(format!(".{RUN}.{}", std::process::id()));
    write_text(&part, start)?;
    // A link is made only where there is nothing of the name; a file system without links leaves the last one's.
    let linked = match std::fs::hard_link(&part, &path) {
        Err(cause) if cause.kind() != ErrorKind::AlreadyExists => std::fs::rename(&part, &path),
        _ => std::fs::remove_file(&part),
    };
    linked.or_fail(Failure::Output, || path.display().to_string())
}

/// What `run.json` says at the start.
pub fn started(start: &Start<'_>, models: &Models) -> Value {
    let mut nodes = Vec::new();
    for node in start.nodes {
        let config: serde_json::Map<String, Value> = node
            .resolved
            .iter()
            .map(|(key, value)| {
                let origin = node.values.get(key).map_or_else(|| "default".into(), |(_, origin)| origin.to_string());
                ((*key).to_owned(), json!({"value": value, "from": origin}))
            })
            .collect();
        let used: Vec<Value> = node
            .models
            .iter()
            .filter_map(|name| match own_file(name) {
                Some(path) => {
                    let path = find_file(path, &node.search).ok()?;
                    Some(json!({"name": name, "version": "", "sha256": sha256(&path).ok()?}))
                }
                None => {
                    let model = models.models().iter().find(|model| model.name == *name)?;
                    Some(json!({"name": model.name, "version": model.version, "sha256": model.sha256}))
                }
            })
            .collect();
        nodes.push(json!({"id": node.id, "operator": node.operator, "config": config, "models": used}));
    }
    let mut value = json!({
        "run": start.run,
        "flow": start.flow,
        "processes": start.processes,
        "device": start.device,
        "continues": start.continues,
        "versions": versions(),
        "nodes": nodes,
    });
    if !start.folders.is_empty() {
        let text = |(process, folder): (&String, &PathBuf)| (process.clone(), json!(folder.to_string_lossy()));
        value["folders"] = start.folders.iter().map(text).collect::<serde_json::Map<_, _>>().into();
    }
    value
}

/// What `run.json` says of a flow that no process could read.
pub fn unread(run: &str, flow: &str, processes: &[String]) -> Value {
    json!({"run": run, "flow": flow, "processes": processes, "versions": versions(), "nodes": []})
}

/// Name of the file about the start.
const RUN: &str = "run.json";
/// A hidden file that keeps room on the disk: where the run fails because it is full, its result is still written.
const ROOM: &str = ".room";
/// Bytes of room: a result of some hundred nodes, and run.json with it.
const ROOM_BYTES: usize = 256 * 1024;

/// Keeps room on the disk for how the run ends.
///
/// # Errors
/// When there is none.
pub fn keep_room(folder: &Path, process: &str) -> Result<()> {
    let results = folder.join("result");
    std::fs::create_dir_all(&results).or_fail(Failure::Output, || results.display().to_string())?;
    let room = room(folder, process);
    // Not zeros, which some file systems do not store.
    std::fs::write(&room, vec![b' '; ROOM_BYTES]).or_fail(Failure::Output, || room.display().to_string())
}

fn room(folder: &Path, process: &str) -> PathBuf {
    folder.join("result").join(format!("{ROOM}-{process}"))
}

/// Versions that a result may depend on.
fn versions() -> Value {
    let mut versions = json!({"sideline": env!("CARGO_PKG_VERSION")});
    #[cfg(feature = "media")]
    {
        versions["ffmpeg"] = json!(sideline_media::version());
    }
    versions["target"] = json!(format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS));
    versions
}

/// Writes `result/<process>.json`; in a run of one process its figures go into `run.json` too.
///
/// # Errors
/// When it cannot be written.
pub fn write_result(folder: &Path, process: &str, report: &Report) -> Result<()> {
    let mut value = serde_json::to_value(report).or_fail(Failure::Output, || "the report")?;
    #[cfg(feature = "onnx")]
    {
        value["onnxruntime"] = json!(sideline_inference::environment::build());
    }
    write_process(folder, process, value)
}

/// Writes the result of a process that could not start, to the same places.
///
/// # Errors
/// When it cannot be written.
pub fn write_failure(folder: &Path, process: &str, error: &Error) -> Result<()> {
    let value = json!({
        "status": Status::Partial, "stopped_at_frame": null, "failure": error, "sources": [], "nodes": [],
    });
    write_process(folder, process, value)
}

/// Writes into `run.json` which keys were changed while the run was on, at once: a run that is killed was changed too.
///
/// # Errors
/// When it cannot be written.
pub fn write_changes(folder: &Path, changes: &[Change]) -> Result<()> {
    let path = folder.join(RUN);
    let text = std::fs::read_to_string(&path).or_fail(Failure::Output, || path.display().to_string())?;
    let mut run: Value = serde_json::from_str(&text).or_fail(Failure::Output, || path.display().to_string())?;
    run["changes"] = json!(changes);
    write_json(&path, &run)
}

fn write_process(folder: &Path, process: &str, value: Value) -> Result<()> {
    let results = folder.join("result");
    std::fs::create_dir_all(&results).or_fail(Failure::Output, || results.display().to_string())?;
    // From here on its room is the result's.
    let _ = std::fs::remove_file(room(folder, process));
    write_json(&results.join(format!("{process}.json")), &value)?;
    let run = folder.join(RUN);
    let started = std::fs::read_to_string(&run).ok().and_then(|text| {
        let read = serde_json::from_str::<Value>(&text);
        read.inspect_err(|cause| tracing::warn!(%cause, file = %run.display(), "the figures of the end are left out"))
            .ok()
    });
    if let Some(mut started) = started.filter(|started| started["processes"] == json!([process])) {
        let mut value = value;
        // They stand beside the values that they changed.
        if let Some(changes) = value.as_object_mut().and_then(|value| value.remove("changes")) {
            started["changes"] = changes;
        }
        started["result"] = value;
        write_json(&run, &started)?;
    }
    Ok(())
}

/// Whole or not at all, so that a reader never sees half a file; and without the secrets of addresses.
fn write_json(path: &Path, value: &Value) -> Result<()> {
    let part = unique_part(path);
    let written = write_text(&part, value)
        .and_then(|()| std::fs::rename(&part, path).or_fail(Failure::Output, || path.display().to_string()));
    if written.is_err() {
        // Half of it would only take up what little room there is.
        let _ = std::fs::remove_file(&part);
    }
    written
}

fn write_text(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).or_fail(Failure::Output, || path.display().to_string())?;
    std::fs::write(path, format!("{}\n", conceal(&text))).or_fail(Failure::Output, || path.display().to_string())
}

/// What is read back of a process's result.
#[derive(Clone, Debug, Deserialize)]
struct ProcessResult {
    status: Status,
    stopped_at_frame: Option<u64>,
    failure: Option<Error>,
    sources: Vec<Value>,
    nodes: Vec<Value>,
}

/// The processes of a run taken together.
#[derive(Clone, Debug, Serialize)]
pub struct Merged {
    /// How the run ended.
    pub status: Status,
    /// For `stopped`: frames admitted by then.
    pub stopped_at_frame: Option<u64>,
    /// The failure that decides the exit code, and the process it is from.
    pub failure: Option<(String, Error)>,
    /// How each process ended; `missing` for one without a result.
    pub processes: BTreeMap<String, String>,
    /// Every source.
    pub sources: Vec<Value>,
    /// Every operator.
    pub nodes: Vec<Value>,
}

impl Merged {
    /// The exit code of the run.
    pub fn exit_code(&self) -> u8 {
        self.failure.as_ref().map_or(0, |(_, error)| error.failure.exit_code())
    }
}

/// Reads a run's folder: the first failure wins, a process without a result is failure 6.
///
/// # Errors
/// When the folder holds no run.
pub fn merge(folder: &Path) -> Result<Merged> {
    let path = folder.join(RUN);
    let text = std::fs::read_to_string(&path)
        .or_fail(Failure::Input, || format!("{} is not the folder of a run", folder.display()))?;
    let run: Value = serde_json::from_str(&text).or_fail(Failure::Input, || path.display().to_string())?;
    let processes: Vec<String> =
        serde_json::from_value(run["processes"].clone()).or_fail(Failure::Input, || path.display().to_string())?;
    let mut merged = Merged {
        status: Status::Done,
        stopped_at_frame: None,
        failure: None,
        processes: BTreeMap::new(),
        sources: vec![],
        nodes: vec![],
    };
    let mut failures: Vec<(std::time::SystemTime, String, Error)> = Vec::new();
    let mut missing = Vec::new();
    for process in processes {
        let elsewhere = run["folders"][&process].as_str().map(PathBuf::from);
        let Some((result, written)) = read_result(folder, elsewhere.as_deref(), &process)? else {
            merged.processes.insert(process.clone(), "missing".into());
            missing.push(process);
            continue;
        };
        merged.processes.insert(process.clone(), format!("{:?}", result.status).to_lowercase());
        if result.status == Status::Stopped && merged.status == Status::Done {
            merged.status = Status::Stopped;
        }
        // Only the process of a source knows; of several the one that came furthest, as in one process.
        merged.stopped_at_frame =
            merged.stopped_at_frame.max(result.stopped_at_frame.filter(|_| !result.sources.is_empty()));
        merged.sources.extend(result.sources);
        merged.nodes.extend(result.nodes);
        if let Some(failure) = result.failure {
            failures.push((written, process, failure));
        }
    }
    // A process that died without a word is the cause of what its neighbours report.
    if let Some(process) = missing.first() {
        let error = Error::other(format!(
            "process `{process}` left no result: it was killed, or never started; see its log (under dora `dora logs`)"
        ));
        merged.failure = Some((process.clone(), error));
    } else {
        // What its neighbours suffered of it may have been written down before a failure's own story.
        failures.sort_by_key(|(written, _, error)| (error.consequence, *written));
        merged.failure = failures.into_iter().next().map(|(_, process, error)| (process, error));
    }
    if merged.failure.is_some() {
        merged.status = Status::Partial;
    }
    Ok(merged)
}

/// Frames of each stream that a run admitted, with those of the runs that it went on from: the numbers below that are frames.
/// Streams of a process that left no result are not among them.
pub fn admitted(folder: &Path, run: &Value) -> BTreeMap<String, u64> {
    let mut admitted = BTreeMap::new();
    for process in run["processes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let elsewhere = run["folders"][process].as_str().map(PathBuf::from);
        let Ok(Some((result, _))) = read_result(folder, elsewhere.as_deref(), process) else { continue };
        for stream in result.sources.iter().flat_map(|source| source["streams"].as_array().into_iter().flatten()) {
            let (Some(name), Some(frames)) = (stream["stream"].as_str(), stream["admitted"].as_u64()) else { continue };
            let before = run["continues"]["after"][name]["frame"].as_u64().map_or(0, |last| last + 1);
            admitted.insert(name.to_owned(), before + frames);
        }
    }
    admitted
}

/// The result of a process, and when it was written: in the run's folder, or in one that it has for itself.
fn read_result(
    folder: &Path,
    elsewhere: Option<&Path>,
    process: &str,
) -> Result<Option<(ProcessResult, std::time::SystemTime)>> {
    for folder in std::iter::once(folder).chain(elsewhere) {
        let path = folder.join("result").join(format!("{process}.json"));
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let written = std::fs::metadata(&path).and_then(|m| m.modified()).unwrap_or(std::time::UNIX_EPOCH);
        let result = serde_json::from_str(&text).or_fail(Failure::Input, || path.display().to_string())?;
        return Ok(Some((result, written)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(results: &[(&str, Option<&str>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("result")).unwrap();
        let names: Vec<&str> = results.iter().map(|r| r.0).collect();
        std::fs::write(folder.path().join("run.json"), json!({"processes": names}).to_string()).unwrap();
        for (name, failure) in results.iter().filter(|r| r.1 != Some("missing")) {
            let failure = failure.map(|message| {
                json!({"failure": "input", "message": message, "consequence": message.contains("producer failed")})
            });
            let status = if failure.is_some() { "partial" } else { "done" };
            let text =
                json!({"status": status, "stopped_at_frame": null, "failure": failure, "sources": [], "nodes": []});
            std::fs::write(folder.path().join("result").join(format!("{name}.json")), text.to_string()).unwrap();
        }
        folder
    }

    #[test]
    fn all_done_is_done() {
        let merged = merge(folder(&[("a", None), ("b", None)]).path()).unwrap();
        assert_eq!((merged.status, merged.exit_code()), (Status::Done, 0));
    }

    #[test]
    fn the_cause_wins_over_those_who_suffered_from_it() {
        let folder =
            folder(&[("a", Some("node `a`: closed, its producer failed")), ("b", Some("the cable was pulled"))]);
        let merged = merge(folder.path()).unwrap();
        assert_eq!((merged.failure.as_ref().unwrap().0.as_str(), merged.exit_code()), ("b", 3));
    }

    #[test]
    fn a_process_without_a_result_is_failure_six() {
        let merged = merge(folder(&[("a", None), ("b", Some("missing"))]).path()).unwrap();
        assert_eq!(merged.exit_code(), 6);
        assert!(merged.failure.unwrap().1.message.contains("process `b` left no result"));
        assert!(merge(Path::new("/nowhere")).unwrap_err().message.contains("not the folder of a run"));
    }
}
