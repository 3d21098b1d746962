//! Up to which frame all tables are whole: where another run can go on.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;
use sideline_api::{Failure, Header, OrFail, Result, serde_json};

use crate::dataset::failed;

/// Name of the file, in the recorder's folder: `{"streams": {"capture": {"frame": 299, "pts": 9966000000}}}`.
const FILE: &str = "recorded.json";

/// Writes down how far the tables are whole.
pub struct Whole {
    path: PathBuf,
    last: Last,
}

#[derive(Default, Serialize)]
struct Last {
    streams: BTreeMap<String, Frame>,
}

#[derive(Serialize)]
struct Frame {
    /// Number of the last frame whose rows are all there.
    frame: u64,
    /// Its media time, ns.
    pts: i64,
}

impl Whole {
    /// Nothing is whole yet; what an earlier run wrote is forgotten.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        match std::fs::remove_file(&path) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(failed(&path, cause)),
            _ => Ok(Self { path, last: Last::default() }),
        }
    }

    /// This frame was recorded on every input.
    pub fn recorded(&mut self, header: &Header) {
        self.last.streams.insert(header.stream.to_string(), Frame { frame: header.frame, pts: header.pts });
    }

    /// All that was recorded so far is in complete files. Written whole or not at all: a kill may come at any time.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> Result<()> {
        let text = serde_json::to_string(&self.last).or_fail(Failure::Output, || self.path.display().to_string())?;
        let part = self.path.with_extension("part");
        std::fs::write(&part, text + "\n")
            .and_then(|()| std::fs::rename(&part, &self.path))
            .map_err(|cause| failed(&self.path, cause))
    }
}
