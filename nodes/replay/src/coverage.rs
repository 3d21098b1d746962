//! Frames of a recorded run, which distinguish a frame that was not recorded from one without rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use sideline_api::{
    Header, Result,
    serde_json::{self, Value},
};
use sideline_recording::{FramePosition, RecordedTables, media_times_ns, stream_and_frame};

/// Frames of a recorded run.
pub struct Coverage {
    streams: BTreeMap<String, StreamCoverage>,
    /// True if frames are found by their media time: the source of the recorded run dropped frames, or this one may drop some, so
    /// that one frame has different numbers in both.
    by_time: bool,
    /// False if the recorded run was interrupted: rows after the last frames are missing.
    is_complete: bool,
}

/// Frames of one stream.
#[derive(Default)]
struct StreamCoverage {
    /// Number of the first frame: above 0 in a run that continued another one.
    first: u64,
    /// The last frame, if it is known.
    last: Option<FramePosition>,
    /// Last frame with a row in any table.
    last_with_rows: u64,
    /// Media times of the frames with rows or skips, ns; empty unless frames are found by time.
    times: BTreeSet<i64>,
}

impl Coverage {
    /// Reads the frames of a recording, whose run has the folder `run`. `is_live`: this run may drop frames.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(recording: &RecordedTables, run: &Path, is_live: bool) -> Result<Self> {
        let by_time = is_live || has_drops(run);
        let mut streams: BTreeMap<String, StreamCoverage> = BTreeMap::new();
        for (stream, last) in recording.last_frames()?.unwrap_or_default() {
            streams.entry(stream).or_default().last = Some(last);
        }
        let mut is_complete = true;
        for name in recording.names() {
            for table in [Some(recording.table(name)?), recording.skipped_frames(name)].into_iter().flatten() {
                is_complete &= table.is_complete;
                for batch in table.columns(Some(&["stream", "frame", "pts"]))? {
                    let batch = batch?;
                    let (names, frames) = stream_and_frame(&batch)?;
                    let times = media_times_ns(&batch)?;
                    for ((name, frame), time) in names.iter().flatten().zip(frames).zip(times) {
                        if !streams.contains_key(name) {
                            streams.insert(name.into(), StreamCoverage::default());
                        }
                        let Some(stream) = streams.get_mut(name) else { continue };
                        stream.last_with_rows = stream.last_with_rows.max(frame);
                        if by_time {
                            stream.times.insert(time);
                        }
                    }
                }
            }
        }
        for (name, last) in last_continued_frames(run) {
            streams.entry(name).or_default().first = last + 1;
        }
        Ok(Self { streams, by_time, is_complete })
    }

    /// Returns the names of the streams.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.streams.keys().map(String::as_str)
    }

    /// Returns the key by which the rows of a frame are found.
    pub fn key(&self, frame: u64, pts: i64) -> i64 {
        if self.by_time { pts } else { i64::try_from(frame).unwrap_or(i64::MAX) }
    }

    /// True if the recorded run has this frame, with or without rows. A recording without any row has every frame.
    pub fn has_frame(&self, header: &Header) -> bool {
        let Some(stream) = self.streams.get(&*header.stream) else { return self.streams.is_empty() };
        if self.by_time {
            return stream.times.contains(&header.pts);
        }
        let last = stream.last.map_or(stream.last_with_rows, |last| last.frame);
        (stream.first..=last).contains(&header.frame)
    }

    /// True if rows with this frame number are closing rows, which have the number after the last frame of their stream. False if
    /// the last frame is not known.
    pub fn is_closing(&self, stream: &str, frame: u64) -> bool {
        let Some(stream) = self.streams.get(stream).filter(|_| self.is_complete) else { return false };
        // A recorder that was restarted does not update the last frame.
        stream.last_with_rows == frame && stream.last.is_some_and(|last| frame == last.frame + 1)
    }

    /// True if a stream that ended with this header had all frames of the recorded stream.
    pub fn is_replayed(&self, header: &Header) -> bool {
        let last = self.streams.get(&*header.stream).and_then(|stream| stream.last);
        last.is_none_or(|last| if self.by_time { header.pts >= last.pts } else { header.frame > last.frame })
    }
}

/// True if a source of the run dropped frames, according to the results of its processes.
fn has_drops(run: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(run.join("result")) else { return false };
    let results = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    results.filter_map(|text| serde_json::from_str(&text).ok()).any(|result: Value| {
        let sources = result["sources"].as_array();
        sources.into_iter().flatten().any(|source| source["forgotten"].as_u64().is_some_and(|dropped| dropped > 0))
    })
}

/// Returns for each stream the last frame of the run that this one continued.
fn last_continued_frames(run: &Path) -> Vec<(String, u64)> {
    let record = std::fs::read_to_string(run.join("run.json")).ok().and_then(|text| serde_json::from_str(&text).ok());
    let after = record.map(|record: Value| record["continues"]["after"].clone());
    let streams = after.as_ref().and_then(Value::as_object).into_iter().flatten();
    streams.filter_map(|(stream, last)| Some((stream.clone(), last["frame"].as_u64()?))).collect()
}
