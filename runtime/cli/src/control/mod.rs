//! Control of a run under way: a run in one process can be asked for its status, and told to change a key. It listens on
//! a Unix socket that only its user can open. One JSON object a line, each way: `{"do": "status"}`,
//! `{"do": "set", "node": ..., "key": ..., "value": ...}`.
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

pub use client::{runs, set};
pub use protocol::{About, Status};
pub use server::Server;

/// A socket's path has at most 107 bytes, on some systems 103.
const LONGEST_PATH: usize = 103;

/// The socket of a run; its folder is made where it is missing.
///
/// # Errors
/// Where no folder can be had that this user alone can open.
pub fn address(run: &str) -> Result<PathBuf> {
    let name = format!("{run}.sock");
    let folders = owner::runtime_folders();
    let fits = |folder: &&PathBuf| folder.join(&name).as_os_str().len() <= LONGEST_PATH;
    let fitting: Vec<PathBuf> = folders.iter().filter(fits).cloned().collect();
    if fitting.is_empty() {
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        return Err(Error::output(format!("{name} in {}: too long for a socket's path", folders.join(", "))));
    }
    owner::first_private(fitting).map(|folder| folder.join(name)).map_err(Error::output)
}
