//! `sideline run` started by dora: runs one node of a flow, as described by dora's descriptor.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use sideline_api::{Error, Failure, OrFail, Registry, Result, models::Models};
use sideline_dora::{Assignment, Descriptor, Node};
use sideline_engine::{Running, gate::RunLimit, meter::Report};
use sideline_graph::{Flow, ProcessKind};

use crate::{
    control, home, plugins, print, record,
    run::{
        build_overrides, engine_options, fail_without_frames, finish_timing, first_failure, join_diagnostics,
        runs_folder, start_control_server, stopped_report,
    },
    run_folder::check_sources_not_overwritten,
    stop_signal::StopSignal,
    timing::TimingFile,
};

/// Runs the node until it ends; returns the exit code. Its result is written in any case, also if it cannot join the dataflow.
///
/// # Errors
/// The failure of the node.
pub fn run(registry: &Registry) -> Result<u8> {
    let stop = StopSignal::listen()?;
    let node = match Node::connect() {
        Ok(node) => node,
        Err(error) => return Err(record_connect_failure(registry, error)),
    };
    let (id, run) = (node.id(), node.run_id());
    let NodeFlow { folder, start, registry, flow } = NodeFlow::read(&node.descriptor()?, &id, &run, registry)?;
    let (flow, models) = match flow {
        Ok(read) => read,
        Err(error) => return Err(record_start_failure(&folder, &id, &start, error)),
    };
    let plan = flow.plan_for_node(&id).map_err(|problems| join_diagnostics(&problems, Failure::Config));
    let plan = match check_sources_not_overwritten(&flow, &folder).and(plan) {
        Ok(plan) => plan,
        Err(error) => return Err(record_start_failure(&folder, &id, &start, error)),
    };
    let nodes = plan.nodes.iter().map(|node| node.id.clone()).collect();
    let timing = TimingFile::new(folder.join("timing").join(format!("{id}.parquet")), nodes);
    if let Err(error) = prepare(&folder, &id, &start, &timing) {
        return Err(record_start_failure(&folder, &id, &start, error));
    }
    let options = engine_options(&flow, &run, &folder, models, RunLimit::default(), &stop, &timing);
    let mut handle = None;
    let mut server = None;
    let started = |running: &Arc<Running>| {
        handle = Some(Arc::clone(running));
        if running.has_source() {
            server = start_control_server(control::node_socket_path(&run, &id), &flow, &run, &folder, running);
        }
    };
    let report = match node.host(plan, &registry, options, started) {
        Ok(report) => fail_without_frames(report, true),
        Err(_) if stop.is_requested() => stopped_report(&flow),
        Err(error) => return Err(record_start_failure(&folder, &id, &start, error)),
    };
    if let Some(running) = handle {
        finish_timing(running, &timing);
    }
    let outcome = write_outcome(&folder, &id, report);
    // Closed after the result is written, so that a client that waits for the end finds it.
    drop(server);
    outcome
}

/// Creates the folder of the run and the files of this process in it. No other run uses it, since dora's run ids are unique.
fn prepare(folder: &Path, id: &str, start: &Value, timing: &TimingFile) -> Result<()> {
    let timings = folder.join("timing");
    std::fs::create_dir_all(&timings).or_fail(Failure::Output, || timings.display().to_string())?;
    record::write_start_once(folder, start)?;
    record::reserve_disk_space(folder, id)?;
    timing.begin()
}

/// Writes the result of the node, and prints its report; returns the exit code.
fn write_outcome(folder: &Path, id: &str, report: Report) -> Result<u8> {
    let written = record::write_result(folder, id, &report);
    print::stderr(&report.table());
    match (report.failure, written) {
        (failure, Err(write_error)) => Err(first_failure(failure, write_error)),
        (Some(failure), Ok(())) => Err(failure),
        (None, Ok(())) => Ok(0),
    }
}

/// Flow of a node, and the record of its run.
struct NodeFlow {
    /// Folder of the run.
    folder: PathBuf,
    /// Contents of `run.json`.
    start: Value,
    /// Registry with the plugins that the flow names by their paths.
    registry: Registry,
    /// Flow and installed models, or the errors of the flow.
    flow: Result<(Flow, Models)>,
}

impl NodeFlow {
    /// Reads the flow of the node `id` from dora's descriptor.
    ///
    /// # Errors
    /// If the descriptor cannot be converted, or there is no working directory. Errors of the flow are in `flow`.
    fn read(descriptor: &Descriptor, id: &str, run: &str, registry: &Registry) -> Result<Self> {
        // dora starts a node on the same host in the folder of the flow's file.
        let flow_folder = std::env::current_dir().or_fail(Failure::Other, || "working directory")?;
        let overrides = build_overrides(&flow_folder, &[], None);
        let names = Flow::operator_names_in_descriptor(descriptor, &flow_folder, registry);
        let registry = plugins::with_libraries(registry, names, &flow_folder);
        let flow = match Flow::from_descriptor(descriptor, "flow", &flow_folder, &registry, &overrides) {
            Ok(flow) => flow,
            Err(problems) => {
                let descriptor = serde_json::to_value(descriptor).or_fail(Failure::Config, || "the flow")?;
                let unreadable = UnreadableFlow(&descriptor);
                return Ok(Self {
                    folder: unreadable.folder(id, run),
                    start: record::unreadable_flow_json(run, "flow", &unreadable.processes(id)),
                    registry,
                    flow: Err(join_diagnostics(&problems, Failure::Config)),
                });
            }
        };
        let models = home::load_models(&flow_folder);
        let folders = folders(&flow, run);
        let folder = folders.get(id).cloned().unwrap_or_else(|| runs_folder(&flow, None).join(run));
        let has_several = folders.values().any(|other| *other != folder);
        let start = record::RunStart {
            run,
            flow: &flow.name,
            processes: folders.keys().cloned().collect(),
            nodes: &flow.nodes,
            device: flow.device,
            continues: None,
            folders: if has_several { absolute(&folders) } else { BTreeMap::new() },
        };
        let start = record::start_json(&start, &models);
        Ok(Self { folder, start, registry, flow: Ok((flow, models)) })
    }
}

/// Writes the result of a node that could not join the dataflow; returns the error. The folder of the run is known from the
/// environment.
fn record_connect_failure(registry: &Registry, error: Error) -> Error {
    let Some(Assignment { id, run_id, descriptor }) = Assignment::from_environment() else { return error };
    match NodeFlow::read(&descriptor, &id, &run_id, registry) {
        // An error of the flow is the better explanation: it has a place, and every node reports it.
        Ok(NodeFlow { folder, start, flow, .. }) => {
            record_start_failure(&folder, &id, &start, flow.err().unwrap_or(error))
        }
        Err(_) => error,
    }
}

/// Writes the result of a node that could not start, for `sideline result`; returns the error.
fn record_start_failure(folder: &Path, id: &str, start: &Value, error: Error) -> Error {
    let written = std::fs::create_dir_all(folder)
        .or_fail(Failure::Output, || folder.display().to_string())
        .and_then(|()| record::write_start_once(folder, start))
        .and_then(|()| record::write_failure(folder, id, &error));
    match written {
        Ok(()) => error,
        Err(write_error) => first_failure(Some(error), write_error),
    }
}

/// Returns the folder of each Sideline process: a node on another host may have another folder of runs.
fn folders(flow: &Flow, run: &str) -> BTreeMap<String, PathBuf> {
    let ours = flow.processes.iter().filter(|process| process.kind != ProcessKind::Foreign);
    ours.map(|process| (process.id.clone(), runs_folder(flow, process.run_dir.as_deref()).join(run))).collect()
}

/// Makes the folders absolute for `run.json`, which may lie in any of them.
fn absolute(folders: &BTreeMap<String, PathBuf>) -> BTreeMap<String, PathBuf> {
    let absolute = |folder: &PathBuf| std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
    folders.iter().map(|(process, folder)| (process.clone(), absolute(folder))).collect()
}

/// The descriptor of a flow with errors, from which folder and processes can still be read.
struct UnreadableFlow<'a>(&'a Value);

impl UnreadableFlow<'_> {
    /// Returns the folder of the run, as [`runs_folder`] would.
    fn folder(&self, id: &str, run: &str) -> PathBuf {
        let runs = |env: &Value| env["SIDELINE_RUN_DIR"].as_str().map(PathBuf::from);
        let own = self.nodes().find(|node| node["id"] == id).and_then(|node| runs(&node["env"]));
        own.or_else(|| runs(&self.0["env"])).unwrap_or_else(|| "runs".into()).join(run)
    }

    /// Returns the ids of the nodes that run the same program as this one, and so write results.
    fn processes(&self, id: &str) -> Vec<String> {
        let program = self.nodes().find(|node| node["id"] == id).map(|node| &node["path"]);
        let ours = self.nodes().filter(|node| Some(&node["path"]) == program);
        ours.filter_map(|node| node["id"].as_str().map(str::to_owned)).collect()
    }

    fn nodes(&self) -> impl Iterator<Item = &Value> {
        self.0["nodes"].as_array().into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn folder_and_processes_of_an_unreadable_flow_are_found() {
        let flow = json!({
            "env": {"SIDELINE_RUN_DIR": "results"},
            "nodes": [
                {"id": "capture", "path": "sideline"},
                {"id": "detect", "path": "sideline", "env": {"SIDELINE_RUN_DIR": "elsewhere"}},
                {"id": "alarm", "path": "alarm.py"},
            ],
        });
        let unreadable = UnreadableFlow(&flow);
        assert_eq!(unreadable.folder("capture", "1"), Path::new("results/1"));
        assert_eq!(unreadable.folder("detect", "1"), Path::new("elsewhere/1"));
        assert_eq!(unreadable.processes("detect"), ["capture", "detect"]);
        assert_eq!(UnreadableFlow(&json!({"nodes": []})).folder("capture", "1"), Path::new("runs/1"));
    }
}
