//! Control of a run under way: a run in one process can be asked for its status, and told to change a key. It listens on
//! a Unix socket that only its user can open. One JSON object a line, each way: `{"do": "status"}`,
//! `{"do": "set", "node": ..., "key": ..., "value": ...}`, `{"do": "stop"}`. Under dora each process with a source listens,
//! for a stop.
//!
//! The sockets of all runs of a user lie in one folder, named for their runs, so that `sideline set` finds them. A killed
//! run leaves its socket behind; nobody answers there, so whoever looks removes it. Both sides look whose the folder and
//! the socket are, and who is at the other end: a value that is set may be a secret, and one that is received steers.

mod client;
mod protocol;
mod server;

use std::path::PathBuf;

use sideline_api::{Error, Result};
use sideline_system::owner;

pub use client::{runs, set, stop};
pub use protocol::{About, Status};
pub use server::Server;

/// A socket's path has at most 107 bytes, on some systems 103.
const LONGEST_PATH: usize = 103;

/// Ending of the sockets of runs in one process.
const RUN: &str = "sock";
/// Ending of the sockets of the processes with a source of a run under dora.
const NODE: &str = "node";

/// Returns the socket of a run in one process; its folder is made where it is missing.
///
/// # Errors
/// Where no folder can be had that this user alone can open.
pub fn address(run: &str) -> Result<PathBuf> {
    place(format!("{run}.{RUN}"))
}

/// Returns the socket of a process with a source, a node of a run under dora.
///
/// # Errors
/// As [`address`].
#[cfg(feature = "dora")]
pub fn node_address(run: &str, node: &str) -> Result<PathBuf> {
    place(format!("{run}.{node}.{NODE}"))
}

fn place(name: String) -> Result<PathBuf> {
    let folders = owner::runtime_folders();
    let fits = |folder: &&PathBuf| folder.join(&name).as_os_str().len() <= LONGEST_PATH;
    let fitting: Vec<PathBuf> = folders.iter().filter(fits).cloned().collect();
    if fitting.is_empty() {
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        return Err(Error::output(format!("{name} in {}: too long for a socket's path", folders.join(", "))));
    }
    owner::first_private(fitting).map(|folder| folder.join(name)).map_err(Error::output)
}
