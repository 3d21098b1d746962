//! The processes of a flow over dora.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Bench, processes, working_directory};

/// The node that a process is, as dora told it.
pub fn node_of(pid: u32) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    sideline_dora_texts::node_id(&String::from_utf8_lossy(&environment)).map(String::from)
}

/// Process ids of the nodes that run in a folder, by their names.
pub fn nodes_in(folder: &Path) -> BTreeMap<String, u32> {
    let here = folder.canonicalize().unwrap();
    let ours = processes(&["sideline", "run"]).into_iter().filter(|pid| working_directory(*pid) == Some(here.clone()));
    ours.filter_map(|pid| Some((node_of(pid)?, pid))).collect()
}

/// Memory of a process that is in RAM and its own, in bytes: without what it shares, as the frames of other nodes.
pub fn own_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The folder of the only run below `runs`, once a process has made it.
pub fn run_folder(bench: &Bench) -> Option<PathBuf> {
    bench.path().join("runs").read_dir().ok()?.flatten().map(|entry| entry.path()).next()
}
