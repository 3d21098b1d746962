//! Resume points: for each stream, the last frame for which all tables are complete, where another run can resume.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;
use sideline_api::{
    Failure, Header, OrFail, Result,
    serde_json::{self, Value},
};

use crate::dataset::write_error;

/// Name of the file in the recorder's folder. Its content is
/// `{"streams": {"capture": {"frame": 299, "pts": 9966000000}}}`.
pub const FILE_NAME: &str = "recorded.json";

/// Content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ResumePoints {
    /// By stream, the last frame whose rows are in complete files.
    pub streams: BTreeMap<String, FramePosition>,
}

impl ResumePoints {
    /// Parses the content of the file.
    ///
    /// # Errors
    /// A clause about the damage, for a message that names the file.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("it is empty (0 bytes)".into());
        }
        let json: Value = serde_json::from_str(text).map_err(|cause| format!("it is not valid JSON: {cause}"))?;
        let streams = json["streams"].as_object().ok_or("its entry `streams` is missing or not an object")?;
        let position = |(stream, position): (&String, &Value)| {
            let damage = |key: &str| format!("`{key}` of the stream `{stream}` is missing or not a whole number");
            let frame = position["frame"].as_u64().ok_or_else(|| damage("frame"))?;
            let pts = position["pts"].as_i64().ok_or_else(|| damage("pts"))?;
            Ok((stream.clone(), FramePosition { frame, pts }))
        };
        streams.iter().map(position).collect::<Result<_, String>>().map(|streams| Self { streams })
    }
}

/// Position of a frame in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FramePosition {
    /// Frame number.
    pub frame: u64,
    /// Media time, in nanoseconds.
    pub pts: i64,
}

/// Tracks recorded frames and writes the resume points.
pub(crate) struct ResumePointWriter {
    path: PathBuf,
    /// By stream, the last frame that was recorded.
    last_recorded: BTreeMap<String, FramePosition>,
    /// By stream, the last frame that is in complete files.
    resume_points: ResumePoints,
}

impl ResumePointWriter {
    /// Creates a writer without resume points, and removes the file of an earlier run.
    ///
    /// # Errors
    /// When that file cannot be removed.
    pub fn new(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE_NAME);
        match std::fs::remove_file(&path) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(write_error(&path, cause)),
            _ => Ok(Self { path, last_recorded: BTreeMap::new(), resume_points: ResumePoints::default() }),
        }
    }

    /// Notes that a frame was recorded on every input.
    pub fn add_frame(&mut self, header: &Header) {
        self.last_recorded.insert(header.stream.to_string(), FramePosition { frame: header.frame, pts: header.pts });
    }

    /// Makes the last recorded frames of these streams their resume points, since their rows are now in complete files.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn advance(&mut self, streams: &[&str]) -> Result<()> {
        for stream in streams {
            if let Some(frame) = self.last_recorded.get(*stream) {
                self.resume_points.streams.insert((*stream).into(), *frame);
            }
        }
        self.save()
    }

    /// Makes the last recorded frames of all streams their resume points, after all files were completed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn close(&mut self) -> Result<()> {
        self.resume_points.streams = std::mem::take(&mut self.last_recorded);
        self.save()
    }

    /// Writes the file atomically, since the process may be killed at any time.
    fn save(&self) -> Result<()> {
        let text =
            serde_json::to_string(&self.resume_points).or_fail(Failure::Output, || self.path.display().to_string())?;
        let part = self.path.with_extension("part");
        let written = std::fs::write(&part, text + "\n").and_then(|()| std::fs::rename(&part, &self.path));
        written.map_err(|cause| {
            // On a full disk it would only take up space.
            let _ = std::fs::remove_file(&part);
            write_error(&self.path, cause)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_described_without_the_names_of_types() {
        let text = r#"{"streams": {"left": {"frame": 299, "pts": -5}}}"#;
        let streams = BTreeMap::from([("left".to_owned(), FramePosition { frame: 299, pts: -5 })]);
        assert_eq!(ResumePoints::parse(text), Ok(ResumePoints { streams }));
        for (text, damage) in [
            ("", "it is empty (0 bytes)"),
            (&text[..20], "it is not valid JSON: EOF while parsing"),
            ("[]", "its entry `streams` is missing or not an object"),
            (r#"{"streams": {"left": 3}}"#, "`frame` of the stream `left` is missing or not a whole number"),
            (
                r#"{"streams": {"left": {"frame": 1, "pts": 0.5}}}"#,
                "`pts` of the stream `left` is missing or not a whole",
            ),
        ] {
            let found = ResumePoints::parse(text).unwrap_err();
            assert!(found.starts_with(damage), "{text}: {found}");
        }
    }
}
