//! Control of an active run: status, changes of live settings, and stop. A run in one process listens on a Unix socket that only
//! its user can open. Requests and replies are JSON objects, one per line: `{"do": "status"}`,
//! `{"do": "set", "node": ..., "key": ..., "value": ...}`, `{"do": "stop"}`. Under dora each process with a source listens for
//! a stop.
//!
//! The sockets of all runs of a user are in one folder and named after the runs, so that `sideline set` finds them. A killed run
//! leaves its socket behind, and a client that finds it without a listener removes it. Both sides check the owner of the folder
//! and of the socket, and the user at the other end: a value that is sent may be a secret, and one that is received controls
//! the run.

mod client;
mod protocol;
mod server;

use std::path::PathBuf;

use sideline_api::{Error, Result};
use sideline_system::owner;

pub use client::{list_runs, set, stop};
pub use protocol::{RunInfo, StatusReport};
pub use server::Server;

/// Greatest length of a socket's path, bytes: 107 on Linux, 103 on some other systems.
const MAX_PATH_BYTES: usize = 103;

/// File extension of the sockets of runs in one process.
const RUN_EXTENSION: &str = "sock";
/// File extension of the sockets of processes with a source, in runs under dora.
const NODE_EXTENSION: &str = "node";

/// Returns the socket path of a run in one process; creates its folder if it is missing.
///
/// # Errors
/// If there is no folder that only this user can open.
pub fn socket_path(run: &str) -> Result<PathBuf> {
    path_in_private_folder(format!("{run}.{RUN_EXTENSION}"))
}

/// Returns the socket path of a node with a source, in a run under dora.
///
/// # Errors
/// As [`socket_path`].
#[cfg(feature = "dora")]
pub fn node_socket_path(run: &str, node: &str) -> Result<PathBuf> {
    path_in_private_folder(format!("{run}.{node}.{NODE_EXTENSION}"))
}

fn path_in_private_folder(name: String) -> Result<PathBuf> {
    let folders = owner::runtime_folders();
    let fits = |folder: &&PathBuf| folder.join(&name).as_os_str().len() <= MAX_PATH_BYTES;
    let fitting: Vec<PathBuf> = folders.iter().filter(fits).cloned().collect();
    if fitting.is_empty() {
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        return Err(Error::output(format!("{name} in {}: the path is too long for a socket", folders.join(", "))));
    }
    owner::first_private_folder(fitting).map(|folder| folder.join(name)).map_err(Error::output)
}
