//! `sideline run` started by dora: one node of a flow. What the descriptor says of it decides what it is.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use sideline_api::{Error, Failure, OrFail, Registry, Result};
use sideline_dora::Node;
use sideline_engine::{Running, gate::Limit, meter::Report};
use sideline_graph::{Flow, ProcessKind};

use crate::{
    control,
    folder::spare_sources,
    house, print, record,
    run::{engine_options, finish, first_cause, join, judged, listen, overrides, runs, without_frames},
    stop::Stop,
    timing::TimingFile,
};

/// Runs the node to its end; the exit code. Whatever happens once dora has been spoken to, its result is written.
///
/// # Errors
/// What ended it.
pub fn run(registry: &Registry) -> Result<u8> {
    let stop = Stop::listen()?;
    let node = Node::connect()?;
    let (id, run) = (node.id(), node.run());
    // On one host dora starts a node in the folder of the flow's file.
    let place = std::env::current_dir().or_fail(Failure::Other, || "working directory")?;
    let descriptor = node.descriptor()?;
    let read = Flow::from_descriptor(&descriptor, "flow", &place, registry, &overrides(&place, &[], None));
    let flow = match read {
        Ok(flow) => flow,
        Err(problems) => {
            let descriptor = serde_json::to_value(&descriptor).or_fail(Failure::Config, || "the flow")?;
            let folder = Unread(&descriptor).folder(&id, &run);
            let start = record::unread(&run, "flow", &Unread(&descriptor).processes(&id));
            return Err(failed(&folder, &id, &start, join(&problems, Failure::Config)));
        }
    };
    let models = house::models(&place);
    let folders = folders(&flow, &run);
    let folder = folders.get(&id).cloned().unwrap_or_else(|| runs(&flow, None).join(&run));
    let several = folders.values().any(|other| *other != folder);
    let start = record::Start {
        run: &run,
        flow: &flow.name,
        processes: folders.keys().cloned().collect(),
        nodes: &flow.nodes,
        device: flow.device,
        continues: None,
        folders: if several { rooted(&folders) } else { BTreeMap::new() },
    };
    let start = record::started(&start, &models);
    let plan = flow.plan_for_node(&id).map_err(|problems| join(&problems, Failure::Config));
    let plan = match spare_sources(&flow, &folder).and(plan) {
        Ok(plan) => plan,
        Err(error) => return Err(failed(&folder, &id, &start, error)),
    };
    let nodes = plan.nodes.iter().map(|node| node.id.clone()).collect();
    let timing = TimingFile::new(folder.join("timing").join(format!("{id}.parquet")), nodes);
    if let Err(error) = prepare(&folder, &id, &start, &timing) {
        return Err(failed(&folder, &id, &start, error));
    }
    let options = engine_options(&flow, &run, &folder, models, Limit::default(), &stop, &timing);
    let mut handle = None;
    let mut server = None;
    let started = |running: &Arc<Running>| {
        handle = Some(Arc::clone(running));
        if running.has_source() {
            server = listen(control::node_address(&run, &id), &flow, &run, &folder, running);
        }
    };
    let report = match node.host(plan, registry, options, started) {
        Ok(report) => judged(report, true),
        Err(_) if stop.asked() => without_frames(&flow),
        Err(error) => return Err(failed(&folder, &id, &start, error)),
    };
    if let Some(running) = handle {
        finish(running, &timing);
    }
    let ended = ended(&folder, &id, report);
    // Closed last: whoever waits for the end finds the result.
    drop(server);
    ended
}

/// Makes the folder of the run and what belongs to this process in it. It is the run's alone: dora gives each another id.
fn prepare(folder: &Path, id: &str, start: &Value, timing: &TimingFile) -> Result<()> {
    let timings = folder.join("timing");
    std::fs::create_dir_all(&timings).or_fail(Failure::Output, || timings.display().to_string())?;
    record::write_start_once(folder, start)?;
    record::keep_room(folder, id)?;
    timing.begin()
}

/// Writes how the node ended, and tells it; the exit code.
fn ended(folder: &Path, id: &str, report: Report) -> Result<u8> {
    let written = record::write_result(folder, id, &report);
    print::stderr(&report.table());
    match (report.failure, written) {
        (failure, Err(unwritten)) => Err(first_cause(failure, unwritten)),
        (Some(failure), Ok(())) => Err(failure),
        (None, Ok(())) => Ok(0),
    }
}

/// Writes down why the node could not run, so that `sideline result` has it; the failure again.
fn failed(folder: &Path, id: &str, start: &Value, error: Error) -> Error {
    let written = std::fs::create_dir_all(folder)
        .or_fail(Failure::Output, || folder.display().to_string())
        .and_then(|()| record::write_start_once(folder, start))
        .and_then(|()| record::write_failure(folder, id, &error));
    match written {
        Ok(()) => error,
        Err(unwritten) => first_cause(Some(error), unwritten),
    }
}

/// The folder of each of our processes: a node on another host may keep its runs elsewhere.
fn folders(flow: &Flow, run: &str) -> BTreeMap<String, PathBuf> {
    let ours = flow.processes.iter().filter(|process| process.kind != ProcessKind::Foreign);
    ours.map(|process| (process.id.clone(), runs(flow, process.run_dir.as_deref()).join(run))).collect()
}

/// The folders as `run.json` names them, whichever folder it lies in.
fn rooted(folders: &BTreeMap<String, PathBuf>) -> BTreeMap<String, PathBuf> {
    let rooted = |folder: &PathBuf| std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
    folders.iter().map(|(process, folder)| (process.clone(), rooted(folder))).collect()
}

/// A descriptor that is wrong as a flow: what can be told of it all the same.
struct Unread<'a>(&'a Value);

impl Unread<'_> {
    /// The folder of the run, as [`runs`] finds it.
    fn folder(&self, id: &str, run: &str) -> PathBuf {
        let runs = |env: &Value| env["SIDELINE_RUN_DIR"].as_str().map(PathBuf::from);
        let own = self.nodes().find(|node| node["id"] == id).and_then(|node| runs(&node["env"]));
        own.or_else(|| runs(&self.0["env"])).unwrap_or_else(|| "runs".into()).join(run)
    }

    /// The nodes that run the same program as this one: they leave results.
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
    fn of_a_flow_that_cannot_be_read_folder_and_processes_are_known() {
        let flow = json!({
            "env": {"SIDELINE_RUN_DIR": "results"},
            "nodes": [
                {"id": "capture", "path": "sideline"},
                {"id": "detect", "path": "sideline", "env": {"SIDELINE_RUN_DIR": "elsewhere"}},
                {"id": "alarm", "path": "alarm.py"},
            ],
        });
        let unread = Unread(&flow);
        assert_eq!(unread.folder("capture", "1"), Path::new("results/1"));
        assert_eq!(unread.folder("detect", "1"), Path::new("elsewhere/1"));
        assert_eq!(unread.processes("detect"), ["capture", "detect"]);
        assert_eq!(Unread(&json!({"nodes": []})).folder("capture", "1"), Path::new("runs/1"));
    }
}
