//! The record of a run in its folder: `run.json` with its flow and configuration, `result/<process>.json` with the outcome of
//! each process.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sideline_address::redact_addresses;
use sideline_api::{
    Device, Error, Failure, OrFail, Result, find_file,
    models::{Models, sha256, user_model_path},
};
use sideline_engine::{
    SettingChange,
    meter::{Report, RunStatus, StopCause, describe_stop},
};
use sideline_graph::FlowNode;
use sideline_recorder::dataset::write_error;
use sideline_system::owner::unique_part_path;

/// Contents of `run.json` at the start of a run.
pub struct RunStart<'a> {
    /// Name of the run.
    pub run: &'a str,
    /// File or name of the flow.
    pub flow: &'a str,
    /// Ids of the processes that write a result.
    pub processes: Vec<String>,
    /// Nodes of the whole flow.
    pub nodes: &'a [FlowNode],
    /// Device that models run on.
    pub device: Device,
    /// The run that this one continues.
    pub continues: Option<Value>,
    /// Folder of each process, if they do not share one.
    pub folders: BTreeMap<String, PathBuf>,
}

/// Writes `run.json`.
///
/// # Errors
/// If it cannot be written.
pub fn write_start(folder: &Path, start: &Value) -> Result<()> {
    write_json(&folder.join(FILE_NAME), start)
}

/// The record of a run that replaces an earlier one in its folder, and the disk space for its result, under temporary names.
/// They are removed if it is dropped.
pub struct StagedStart {
    record: StagedFile,
    reserve: StagedFile,
}

impl StagedStart {
    /// Writes the files. The results of the earlier run stay whole.
    ///
    /// # Errors
    /// If there is no space, or a file cannot be written.
    pub fn write(folder: &Path, process: &str, start: &Value) -> Result<Self> {
        let reserve = stage_reserve(folder, process)?;
        let record = folder.join(FILE_NAME);
        let text = json_text(&record, start)?;
        Ok(Self { record: StagedFile::write(record, text.as_bytes())?, reserve })
    }

    /// Gives the files their names.
    ///
    /// # Errors
    /// If one cannot be renamed.
    pub fn commit(self) -> Result<()> {
        self.reserve.commit()?;
        self.record.commit()
    }
}

/// A file under a temporary name. It is removed if it is dropped: on a full disk it would only take up space.
struct StagedFile {
    part: PathBuf,
    path: PathBuf,
}

impl StagedFile {
    fn write(path: PathBuf, bytes: &[u8]) -> Result<Self> {
        let staged = Self { part: unique_part_path(&path), path };
        std::fs::write(&staged.part, bytes).map_err(|cause| write_error(&staged.path, cause))?;
        Ok(staged)
    }

    fn commit(self) -> Result<()> {
        std::fs::rename(&self.part, &self.path).map_err(|cause| write_error(&self.path, cause))
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // After the rename there is no such file.
        let _ = std::fs::remove_file(&self.part);
    }
}

/// Writes `run.json` unless another process of the run has written it.
///
/// # Errors
/// If it cannot be written.
#[cfg(feature = "dora")]
pub fn write_start_once(folder: &Path, start: &Value) -> Result<()> {
    let path = folder.join(FILE_NAME);
    if path.exists() {
        return Ok(());
    }
    let part = folder.join(format!(".{FILE_NAME}.{}", std::process::id()));
    std::fs::write(&part, json_text(&path, start)?).map_err(|cause| write_error(&path, cause))?;
    // Linking fails if the name exists. On a file system without links the last process to write wins.
    let linked = match std::fs::hard_link(&part, &path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::AlreadyExists => std::fs::rename(&part, &path),
        _ => std::fs::remove_file(&part),
    };
    linked.map_err(|cause| write_error(&path, cause))
}

/// Returns the contents of `run.json` at the start.
pub fn start_json(start: &RunStart<'_>, models: &Models) -> Value {
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
            .filter_map(|name| match user_model_path(name) {
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

/// Returns the contents of `run.json` for a flow that could not be read.
#[cfg(feature = "dora")]
pub fn unreadable_flow_json(run: &str, flow: &str, processes: &[String]) -> Value {
    json!({"run": run, "flow": flow, "processes": processes, "versions": versions(), "nodes": []})
}

/// Name of the file with the flow and its configuration.
pub const FILE_NAME: &str = "run.json";
/// Name of the folder of the results of the processes.
pub const RESULTS: &str = "result";
/// Name of the hidden file that reserves disk space, so that a run that fails on a full disk can still write its result.
const RESERVE: &str = ".room";
/// Size of the reserved space, bytes: enough for a result of some hundred nodes, and run.json with it.
const RESERVE_BYTES: usize = 256 * 1024;

/// Reserves disk space for the result of a process.
///
/// # Errors
/// If there is no space, or the file cannot be written.
#[cfg(feature = "dora")]
pub fn reserve_disk_space(folder: &Path, process: &str) -> Result<()> {
    stage_reserve(folder, process)?.commit()
}

fn stage_reserve(folder: &Path, process: &str) -> Result<StagedFile> {
    create_result_folder(folder)?;
    // Some file systems allocate no space for zeros.
    StagedFile::write(reserve_path(folder, process), &[b' '; RESERVE_BYTES])
}

fn create_result_folder(folder: &Path) -> Result<()> {
    let results = folder.join(RESULTS);
    std::fs::create_dir_all(&results).map_err(|cause| write_error(&results, cause))
}

/// Returns the path of the result of a process.
pub fn result_path(folder: &Path, process: &str) -> PathBuf {
    folder.join(RESULTS).join(format!("{process}.json"))
}

/// Returns the path of the hidden file that reserves disk space for the result of a process.
pub fn reserve_path(folder: &Path, process: &str) -> PathBuf {
    folder.join(RESULTS).join(format!("{RESERVE}-{process}"))
}

/// Returns the versions that a result may depend on.
fn versions() -> Value {
    let mut versions = json!({"sideline": env!("CARGO_PKG_VERSION")});
    #[cfg(feature = "media")]
    {
        versions["ffmpeg"] = json!(sideline_media::version());
    }
    versions["target"] = json!(format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS));
    versions
}

/// Writes `result/<process>.json`; for a run in one process also to the entry `result` of `run.json`.
///
/// # Errors
/// If it cannot be written.
pub fn write_result(folder: &Path, process: &str, report: &Report) -> Result<()> {
    let value = serde_json::to_value(report).or_fail(Failure::Output, || "the report")?;
    #[cfg(feature = "onnx")]
    let value = {
        let mut value = value;
        value["onnxruntime"] = json!(sideline_inference::environment::build_info());
        value
    };
    write_process(folder, process, value)
}

/// Writes the result of a process that could not start, to the same files as [`write_result`].
///
/// # Errors
/// If it cannot be written.
pub fn write_failure(folder: &Path, process: &str, error: &Error) -> Result<()> {
    let value = json!({
        "status": RunStatus::Partial, "stopped_at_frame": null, "stop_cause": null, "failure": error, "sources": [], "nodes": [],
    });
    write_process(folder, process, value)
}

/// Writes the changes of live settings to `run.json`. It is called at each change, so that the record of a killed run has them.
///
/// # Errors
/// If it cannot be written.
pub fn write_changes(folder: &Path, changes: &[SettingChange]) -> Result<()> {
    let path = folder.join(FILE_NAME);
    let text = std::fs::read_to_string(&path).or_fail(Failure::Output, || path.display().to_string())?;
    let mut run: Value = serde_json::from_str(&text).or_fail(Failure::Output, || path.display().to_string())?;
    run["changes"] = json!(changes);
    write_json(&path, &run)
}

fn write_process(folder: &Path, process: &str, value: Value) -> Result<()> {
    create_result_folder(folder)?;
    // Frees the reserved space for the result.
    let _ = std::fs::remove_file(reserve_path(folder, process));
    write_json(&result_path(folder, process), &value)?;
    let run = folder.join(FILE_NAME);
    let started = std::fs::read_to_string(&run).ok().and_then(|text| {
        let read = serde_json::from_str::<Value>(&text);
        read.inspect_err(|cause| tracing::warn!(%cause, file = %run.display(), "the result is not added to it")).ok()
    });
    if let Some(mut started) = started.filter(|started| started["processes"] == json!([process])) {
        let mut value = value;
        // The changes are kept beside the configuration, not in the result.
        if let Some(changes) = value.as_object_mut().and_then(|value| value.remove("changes")) {
            started["changes"] = changes;
        }
        started["result"] = value;
        write_json(&run, &started)?;
    }
    Ok(())
}

/// Writes a file atomically, so that a reader never sees a part of it, and with the secrets of addresses redacted.
fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = json_text(path, value)?;
    StagedFile::write(path.to_owned(), text.as_bytes())?.commit()
}

/// Returns the text of a JSON file, with the secrets of addresses redacted.
fn json_text(path: &Path, value: &Value) -> Result<String> {
    let text = serde_json::to_string_pretty(value).or_fail(Failure::Output, || path.display().to_string())?;
    Ok(format!("{}\n", redact_addresses(&text)))
}

/// The fields of a process's result that are read back.
#[derive(Clone, Debug, Deserialize)]
struct ProcessResult {
    status: RunStatus,
    /// Missing in results of earlier versions.
    #[serde(default)]
    stop_cause: Option<StopCause>,
    failure: Option<Error>,
    sources: Vec<Value>,
    nodes: Vec<Value>,
}

/// The result of a run, merged from its processes.
#[derive(Clone, Debug, Serialize)]
pub struct MergedResult {
    /// Final status of the run.
    pub status: RunStatus,
    /// For a stopped run: number of frames that every sink had finished, summed over all streams.
    pub stopped_at_frame: Option<u64>,
    /// For a stopped run: the only process of several that received a stop signal.
    pub stopped_by: Option<String>,
    /// The failure that determines the exit code, with its process.
    pub failure: Option<(String, Error)>,
    /// Final status of each process; `missing` for one without a result.
    pub processes: BTreeMap<String, String>,
    /// Reports of all sources.
    pub sources: Vec<Value>,
    /// Reports of all operators.
    pub nodes: Vec<Value>,
}

impl MergedResult {
    /// Returns the exit code of the run.
    pub fn exit_code(&self) -> u8 {
        self.failure.as_ref().map_or(0, |(_, error)| error.failure.exit_code())
    }

    /// Describes the status in a message to the user.
    pub fn describe(&self) -> String {
        match (&self.failure, self.status) {
            (Some((process, error)), _) => format!("PARTIAL, by `{process}`: {}", error.message),
            (None, RunStatus::Stopped) => {
                let by = self.stopped_by.as_ref().map(|process| format!(" (by a signal to `{process}`)"));
                describe_stop(self.stopped_at_frame) + &by.unwrap_or_default()
            }
            (None, _) => "done".into(),
        }
    }
}

/// Merges the results in a run's folder. The earliest failure that is not a consequence of another one determines the exit
/// code; a process without a result is a failure with exit code 6. If a process was stopped and every failure is a consequence,
/// the run was stopped.
///
/// # Errors
/// If the folder holds no run, or a file cannot be parsed.
pub fn merge(folder: &Path) -> Result<MergedResult> {
    let path = folder.join(FILE_NAME);
    let text = std::fs::read_to_string(&path)
        .or_fail(Failure::Input, || format!("{} is not the folder of a run", folder.display()))?;
    let run: Value = serde_json::from_str(&text).or_fail(Failure::Input, || path.display().to_string())?;
    let processes: Vec<String> =
        serde_json::from_value(run["processes"].clone()).or_fail(Failure::Input, || path.display().to_string())?;
    let mut merged = MergedResult {
        status: RunStatus::Done,
        stopped_at_frame: None,
        stopped_by: None,
        failure: None,
        processes: BTreeMap::new(),
        sources: vec![],
        nodes: vec![],
    };
    let mut failures: Vec<(std::time::SystemTime, String, Error)> = Vec::new();
    let (mut missing, mut signaled) = (Vec::new(), Vec::new());
    let has_several = processes.len() > 1;
    for process in processes {
        let own_folder = run["folders"][&process].as_str().map(PathBuf::from);
        let Some((result, written)) = read_result(folder, own_folder.as_deref(), &process)? else {
            merged.processes.insert(process.clone(), "missing".into());
            missing.push(process);
            continue;
        };
        merged.processes.insert(process.clone(), format!("{:?}", result.status).to_lowercase());
        if result.status == RunStatus::Stopped && merged.status == RunStatus::Done {
            merged.status = RunStatus::Stopped;
        }
        if result.stop_cause == Some(StopCause::Signal) {
            signaled.push(process.clone());
        }
        merged.sources.extend(result.sources);
        merged.nodes.extend(result.nodes);
        if let Some(failure) = result.failure {
            failures.push((written, process, failure));
        }
    }
    // A process that ended without a result is the cause of the failures that its neighbors report.
    if let Some(process) = missing.first() {
        let error = Error::other(format!(
            "process `{process}` left no result: it was killed, or never started; see its log (under dora `dora logs`)"
        ));
        merged.failure = Some((process.clone(), error));
    } else {
        // Neighbors may write their result before the process that failed first, so consequences are sorted last.
        failures.sort_by_key(|(written, _, error)| (error.is_consequence, *written));
        merged.failure = failures.into_iter().next().map(|(_, process, error)| (process, error));
    }
    if merged.status == RunStatus::Stopped {
        // The neighbors of a process that was stopped may see it leave before they are told of the stop.
        merged.failure = merged.failure.filter(|(_, error)| !error.is_consequence);
        merged.stopped_at_frame = finished_frames(&merged.sources);
        merged.stopped_by = if has_several && signaled.len() == 1 { signaled.pop() } else { None };
    }
    if merged.failure.is_some() {
        merged.status = RunStatus::Partial;
    }
    Ok(merged)
}

/// Returns the number of frames that every sink has finished, summed over the reports of all sources; `None` without sources.
fn finished_frames(sources: &[Value]) -> Option<u64> {
    let count = |source: &Value, key: &str| source[key].as_u64().unwrap_or(0);
    let finished = |source: &Value| count(source, "admitted").saturating_sub(count(source, "unfinished"));
    (!sources.is_empty()).then(|| sources.iter().map(finished).fold(0, u64::saturating_add))
}

/// Returns the number of frames of each stream that a run and those it continued have admitted: all lower numbers are frames.
/// Streams of a process without a result are not included.
pub fn admitted_frames(folder: &Path, run: &Value) -> BTreeMap<String, u64> {
    let mut admitted = BTreeMap::new();
    for process in run["processes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let own_folder = run["folders"][process].as_str().map(PathBuf::from);
        let Ok(Some((result, _))) = read_result(folder, own_folder.as_deref(), process) else { continue };
        for stream in result.sources.iter().flat_map(|source| source["streams"].as_array().into_iter().flatten()) {
            let (Some(name), Some(frames)) = (stream["stream"].as_str(), stream["admitted"].as_u64()) else { continue };
            let before = run["continues"]["after"][name]["frame"].as_u64().map_or(0, |last| last + 1);
            admitted.insert(name.to_owned(), before + frames);
        }
    }
    admitted
}

/// Reads the result of a process and its modification time, from the run's folder or from the process's own folder; `None` if
/// there is no result.
fn read_result(
    folder: &Path,
    own_folder: Option<&Path>,
    process: &str,
) -> Result<Option<(ProcessResult, std::time::SystemTime)>> {
    for folder in std::iter::once(folder).chain(own_folder) {
        let path = result_path(folder, process);
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
    fn a_run_whose_processes_are_done_is_done() {
        let merged = merge(folder(&[("a", None), ("b", None)]).path()).unwrap();
        assert_eq!((merged.status, merged.exit_code()), (RunStatus::Done, 0));
    }

    #[test]
    fn the_cause_takes_precedence_over_its_consequences() {
        let folder =
            folder(&[("a", Some("node `a`: closed, its producer failed")), ("b", Some("the cable was pulled"))]);
        let merged = merge(folder.path()).unwrap();
        assert_eq!((merged.failure.as_ref().unwrap().0.as_str(), merged.exit_code()), ("b", 3));
    }

    /// Folder of a run of two processes with these results.
    fn folder_of(results: &[(&str, Value)]) -> tempfile::TempDir {
        let folder = folder(&results.iter().map(|(name, _)| (*name, None)).collect::<Vec<_>>());
        for (name, result) in results {
            std::fs::write(folder.path().join("result").join(format!("{name}.json")), result.to_string()).unwrap();
        }
        folder
    }

    fn stopped(cause: &str, sources: Value) -> Value {
        json!({"status": "stopped", "stop_cause": cause, "failure": null, "sources": sources, "nodes": []})
    }

    #[test]
    fn a_stopped_run_reports_the_finished_frames_of_all_sources_and_the_process_that_received_the_signal() {
        let cam = json!([{"admitted": 9, "unfinished": 2}, {"admitted": 5, "unfinished": 0}]);
        let results = [("cam", stopped("peer", cam)), ("rec", stopped("signal", json!([])))];
        let merged = merge(folder_of(&results).path()).unwrap();
        assert_eq!((merged.status, merged.exit_code()), (RunStatus::Stopped, 0));
        assert_eq!(merged.describe(), "stopped after 12 frames (by a signal to `rec`)");
        let results = [("cam", stopped("request", json!([{"admitted": 1, "unfinished": 0}])))];
        assert_eq!(merge(folder_of(&results).path()).unwrap().describe(), "stopped after 1 frame");
    }

    #[test]
    fn a_stopped_process_takes_precedence_over_consequences_and_not_over_causes() {
        let failed = |is_consequence: bool| {
            let failure = json!({"failure": "other", "message": "a node ended", "consequence": is_consequence});
            let sources = json!([{"admitted": 9, "unfinished": 4}]);
            json!({"status": "partial", "stopped_at_frame": null, "failure": failure, "sources": sources, "nodes": []})
        };
        let results = [("cam", failed(true)), ("rec", stopped("signal", json!([])))];
        let merged = merge(folder_of(&results).path()).unwrap();
        assert_eq!((merged.status, merged.exit_code()), (RunStatus::Stopped, 0));
        assert_eq!(merged.describe(), "stopped after 5 frames (by a signal to `rec`)");
        let results = [("cam", failed(false)), ("rec", stopped("signal", json!([])))];
        let merged = merge(folder_of(&results).path()).unwrap();
        assert_eq!((merged.status, merged.exit_code()), (RunStatus::Partial, 6));
        assert_eq!(merged.describe(), "PARTIAL, by `cam`: a node ended");
    }

    #[test]
    fn a_process_without_a_result_is_exit_code_6() {
        let merged = merge(folder(&[("a", None), ("b", Some("missing"))]).path()).unwrap();
        assert_eq!(merged.exit_code(), 6);
        assert!(merged.failure.unwrap().1.message.contains("process `b` left no result"));
        assert!(merge(Path::new("/nowhere")).unwrap_err().message.contains("not the folder of a run"));
    }
}
