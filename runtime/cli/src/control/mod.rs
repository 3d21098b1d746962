//! A run in one process can be asked how it is, and told to change a key: it listens on a Unix socket that only its user
//! can open. One JSON object a line, each way: `{"do": "status"}`, `{"do": "set", "node": ..., "key": ..., "value": ...}`.
//!
//! The sockets of all runs of a user lie in one folder, named for their runs, so that `sideline set` finds the one that is
//! on. A killed run leaves its socket behind; nobody answers there, so whoever looks removes it.

mod client;
mod server;

use std::{
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sideline_api::{Error, Failure, OrFail, Result};
use sideline_engine::{Change, status::Look};

pub use client::{runs, set};
pub use server::Server;

/// A socket's path has at most 107 bytes, on some systems 103.
const LONGEST: usize = 103;

/// What is asked of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Request {
    /// How is it? The rates are those since this connection last asked, else since the start of the run.
    Status,
    /// Change a key.
    Set {
        /// Id of the node, or of a module.
        node: String,
        /// The key.
        key: String,
        /// Its new value.
        value: Value,
    },
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// How it is.
    Status(Box<Status>),
    /// What was changed.
    Changed(Vec<Change>),
    /// Why not.
    Refused(Error),
}

/// Which run this is, and how it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Which run.
    #[serde(flatten)]
    pub about: About,
    /// How it is.
    #[serde(flatten)]
    pub look: Look,
}

/// Which run this is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub run: String,
    /// The flow's file, from the root.
    pub flow: PathBuf,
    /// The run's folder, from the root.
    pub folder: PathBuf,
    /// Its process.
    pub pid: u32,
}

/// Where the sockets of this user may lie: in the folder that the system keeps for what runs, else in that for temporary
/// files, under the user's number.
fn folders() -> Vec<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime =
        runtime.filter(|folder| folder.is_absolute() && folder.is_dir()).map(|folder| folder.join("sideline"));
    let temporary =
        [std::env::temp_dir(), PathBuf::from("/tmp")].map(|folder| folder.join(format!("sideline-runs-{user}")));
    let mut folders: Vec<PathBuf> = runtime.into_iter().chain(temporary).collect();
    folders.dedup();
    folders
}

/// The socket of a run; its folder is made where it is missing.
///
/// # Errors
/// Where no folder can be had that this user alone can open.
pub fn address(run: &str) -> Result<PathBuf> {
    let mut last = None;
    for folder in folders() {
        let address = folder.join(format!("{run}.sock"));
        if address.as_os_str().len() > LONGEST {
            last.get_or_insert_with(|| Error::output(format!("{}: too long for a socket's path", address.display())));
            continue;
        }
        match own(&folder) {
            Ok(()) => return Ok(address),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::output("there is no folder for temporary files")))
}

/// Makes a folder that nobody else can look into, or looks whether it is one.
fn own(folder: &Path) -> Result<()> {
    let place = || folder.display().to_string();
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(cause) if cause.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(cause).or_fail(Failure::Output, place);
        }
        _ => {}
    }
    // In a folder that all may write to somebody else may have put it there, or a link to somewhere.
    let found = std::fs::symlink_metadata(folder).or_fail(Failure::Output, place)?;
    let user = rustix::process::getuid().as_raw();
    if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
        let text = "is open to others, so a run there could be steered by them: remove it, or `chmod 700` it";
        return Err(Error::output(format!("{} {text}", place())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_that_others_can_open_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let sockets = folder.path().join("sideline");
        own(&sockets).unwrap();
        assert_eq!(sockets.metadata().unwrap().mode() & 0o777, 0o700);
        own(&sockets).unwrap();
        std::fs::set_permissions(&sockets, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(own(&sockets).unwrap_err().message.contains("chmod 700"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(own(&link).is_err(), "a link may lead anywhere");
    }
}
