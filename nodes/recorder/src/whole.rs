//! Up to which frame all tables are whole: where another run can go on.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sideline_api::{Failure, Header, OrFail, Result, serde_json};

use crate::dataset::failed;

/// Name of the file, in the recorder's folder: `{"streams": {"capture": {"frame": 299, "pts": 9966000000}}}`.
pub const FILE: &str = "recorded.json";

/// What the file says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Recorded {
    /// By stream the last frame whose rows are all there.
    pub streams: BTreeMap<String, Frame>,
}

/// A frame of a stream.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Frame {
    /// Its number.
    pub frame: u64,
    /// Its media time, ns.
    pub pts: i64,
}

/// Writes down how far the tables are whole.
pub(crate) struct Whole {
    path: PathBuf,
    /// What came so far.
    seen: BTreeMap<String, Frame>,
    /// What of it is in complete files.
    recorded: Recorded,
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
            _ => Ok(Self { path, seen: BTreeMap::new(), recorded: Recorded::default() }),
        }
    }

    /// This frame was recorded on every input.
    pub fn recorded(&mut self, header: &Header) {
        self.seen.insert(header.stream.to_string(), Frame { frame: header.frame, pts: header.pts });
    }

    /// All that was recorded of these streams so far is in complete files.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, streams: &[&str]) -> Result<()> {
        for stream in streams {
            if let Some(frame) = self.seen.get(*stream) {
                self.recorded.streams.insert((*stream).into(), *frame);
            }
        }
        self.save()
    }

    /// All files are complete.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn close(&mut self) -> Result<()> {
        self.recorded.streams = std::mem::take(&mut self.seen);
        self.save()
    }

    /// Written whole or not at all: a kill may come at any time.
    fn save(&self) -> Result<()> {
        let text =
            serde_json::to_string(&self.recorded).or_fail(Failure::Output, || self.path.display().to_string())?;
        let part = self.path.with_extension("part");
        std::fs::write(&part, text + "\n")
            .and_then(|()| std::fs::rename(&part, &self.path))
            .map_err(|cause| failed(&self.path, cause))
    }
}
