//! Processes of a flow over dora.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Bench, processes, working_directory};

/// Returns the id of the node that a process hosts, from the environment set by dora.
pub fn node_id_of(pid: u32) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    sideline_dora_texts::node_id(&String::from_utf8_lossy(&environment)).map(String::from)
}

/// Returns the process ids of the nodes that run in a folder, by node id.
pub fn nodes_in(folder: &Path) -> BTreeMap<String, u32> {
    let here = folder.canonicalize().unwrap();
    let own = processes(&["sideline", "run"]).into_iter().filter(|pid| working_directory(*pid) == Some(here.clone()));
    own.filter_map(|pid| Some((node_id_of(pid)?, pid))).collect()
}

/// Returns the private resident memory of a process, bytes: without shared memory such as the frames of other nodes.
pub fn private_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Returns the folder of the only run in `runs`, once a process has created it.
pub fn run_folder(bench: &Bench) -> Option<PathBuf> {
    bench.path().join("runs").read_dir().ok()?.flatten().map(|entry| entry.path()).next()
}
