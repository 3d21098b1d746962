//! `sideline run FLOW --start-at RUN`: continues an earlier run with the frames that it did not process.
//!
//! In `recorded.json` the recorder of a run notes the last frame of each stream up to which its tables are complete, also after
//! a kill. The frame numbers of the new run continue from there. Its operators start with new state: tracks get new numbers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sideline_address::redact_addresses;
use sideline_api::{Error, Failure, OrFail, Registry, Result, escape_stream_name};
use sideline_engine::{
    gate::ResumePoint,
    meter::{Report, RunStatus},
};
use sideline_graph::Flow;
use sideline_recorder::resume_points::{self, ResumePoints};

use crate::{record, run_outputs::RunOutputs};

/// Keys of a source that determine its frame numbers: with other values the same number would be another frame.
const FRAME_NUMBERING_KEYS: [&str; 5] = ["source", "sources", "stream", "fps", "loop"];

/// Lead before the first frame wanted at which sources start to read, ns of media time. The gate leaves out the frames in it.
const LEAD_IN_NS: i64 = 500_000_000;

/// The run that a new one continues.
#[derive(Debug)]
pub struct PreviousRun {
    /// Folder of the run.
    folder: PathBuf,
    /// Name of the run.
    run: String,
    /// The last frame of each stream that is complete in all tables.
    pub resume_points: BTreeMap<String, ResumePoint>,
    /// Configuration of each node, from run.json.
    nodes: Vec<Value>,
}

impl PreviousRun {
    /// Reads the record and the progress of a run.
    ///
    /// # Errors
    /// If the folder holds no run, or no frame of it is complete.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("run.json");
        let text = std::fs::read_to_string(&path).or_fail(Failure::Input, || {
            format!("--start-at: {} is not the folder of a run: it has no run.json", folder.display())
        })?;
        let json: Value = serde_json::from_str(&text)
            .map_err(|cause| damaged_error(&path, &format!("it is not valid JSON: {cause}")))?;
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        let mut points: Option<BTreeMap<String, ResumePoint>> = None;
        for path in recorded_files(folder, &json) {
            let bytes = std::fs::read(&path).or_fail(Failure::Input, || format!("--start-at: {}", path.display()))?;
            let text = String::from_utf8(bytes).map_err(|_| damaged_error(&path, "it is not text"))?;
            let ResumePoints { streams } =
                ResumePoints::parse(&text).map_err(|damage| damaged_error(&path, &damage))?;
            let streams: BTreeMap<String, ResumePoint> = streams
                .into_iter()
                .map(|(stream, last)| (stream, ResumePoint { frame: last.frame, pts: last.pts }))
                .collect();
            points = Some(match points {
                None => streams,
                Some(points) => earlier_points(points, &streams),
            });
        }
        let points = points.map(|points| limit_to_admitted(points, &record::admitted_frames(folder, &json)));
        let resume_points = points.filter(|points| !points.is_empty()).ok_or_else(|| {
            Error::input(format!(
                "--start-at: no frame of {} is complete in its tables, so it cannot be continued. Repeat a run without a \
                 `recorder`, or one that was killed before its first `row_group` was complete, without `--start-at`",
                folder.display()
            ))
        })?;
        let nodes = json["nodes"].as_array().cloned().unwrap_or_default();
        Ok(Self { folder: folder.to_owned(), run: text("run"), resume_points, nodes })
    }

    /// Returns the start times of the sources as settings: node, key `start`, seconds. Sources without that key read from
    /// their beginning.
    pub fn source_starts(&self, registry: &Registry) -> Vec<(String, String, Value)> {
        let Some(first) = self.resume_points.values().map(|point| point.pts).min() else { return vec![] };
        let mut starts = vec![];
        for (id, config) in self.sources(registry) {
            // With `fps`, the frames that are left out depend on those before, so the source reads from its beginning.
            if config.get("start").is_none() || !config["fps"]["value"].is_null() {
                continue;
            }
            let configured = config["start"]["value"].as_f64().unwrap_or(0.0);
            let seconds = ((first - LEAD_IN_NS) as f64 * 1e-9).max(configured);
            if seconds > 0.0 {
                starts.push((id.to_owned(), "start".to_owned(), seconds.into()));
            }
        }
        starts
    }

    fn sources(&self, registry: &Registry) -> impl Iterator<Item = (&str, &Value)> {
        let is_source = |name: &str| registry.get(name).is_ok_and(|entry| entry.spec.is_source);
        self.nodes
            .iter()
            .filter(move |node| node["operator"].as_str().is_some_and(is_source))
            .filter_map(|node| Some((node["id"].as_str()?, &node["config"])))
    }

    /// Checks that the flow reads the same frames as the earlier run, and writes its results to another folder.
    ///
    /// # Errors
    /// If a key that determines the frame numbers differs, or the folder is the same.
    pub fn check(&self, flow: &Flow, folder: &Path, registry: &Registry) -> Result<()> {
        if folder.canonicalize().is_ok_and(|folder| Some(folder) == self.folder.canonicalize().ok()) {
            return Err(Error::config(format!(
                "--start-at: {} would be overwritten: give this run another `--output`",
                self.folder.display()
            )));
        }
        for (id, config) in self.sources(registry) {
            let Some(node) = flow.nodes.iter().find(|node| node.id == id) else {
                return Err(Error::config(format!(
                    "--start-at: the source `{id}` of {} is not in {}: give the flow of that run",
                    self.folder.display(),
                    flow.path.display()
                )));
            };
            for (key, now) in node.resolved.iter().filter(|(key, _)| FRAME_NUMBERING_KEYS.contains(&key.as_str())) {
                let before = &config[key]["value"];
                // In run.json the secrets of addresses are redacted.
                let now = &serde_json::from_str(&redact_addresses(&now.to_string())).unwrap_or_else(|_| now.clone());
                if before != now {
                    return Err(Error::config(format!(
                        "--start-at: {} was made with `{key}` {before} of `{id}`, and this run has {now}, with other frame \
                         numbers: give the same value, or run without `--start-at`",
                        self.folder.display()
                    )));
                }
            }
            if config["loop"]["value"] == json!(true) {
                return Err(Error::config(format!(
                    "--start-at: `{id}` of {} loops (`loop`), and a looping source cannot be continued",
                    self.folder.display()
                )));
            }
        }
        Ok(())
    }

    /// Describes the continuation in a message to the user.
    pub fn describe(&self) -> String {
        let points: Vec<String> = self
            .resume_points
            .iter()
            .map(|(stream, point)| {
                let stream = escape_stream_name(stream);
                format!("frame {} of `{stream}` ({:.3} s)", point.frame, point.pts as f64 * 1e-9)
            })
            .collect();
        format!("continues after {} of {}; operators start with new state", points.join(", "), self.folder.display())
    }

    /// Returns the entry `continues` of run.json.
    pub fn to_json(&self) -> Value {
        json!({"run": self.run, "folder": self.folder.to_string_lossy(), "after": self.resume_points, "state": "new"})
    }

    /// Turns the report of the new run into a failure if the earlier run left no frame to process.
    pub fn fail_without_frames_left(&self, report: Report) -> Report {
        if report.status != RunStatus::Done || report.sources.iter().any(|source| source.counts.admitted > 0) {
            return report;
        }
        let failure = Error::input(format!("--start-at: no frame is left: this run {}", self.describe()));
        Report { status: RunStatus::Partial, failure: Some(failure), reproducible: false, ..report }
    }
}

/// Limits each resume point to the frames that the source admitted: a closing message has a number after the last frame.
/// `admitted` counts the frames of each stream, those of earlier runs included; it lacks the streams of processes without a
/// result.
fn limit_to_admitted(
    points: BTreeMap<String, ResumePoint>,
    admitted: &BTreeMap<String, u64>,
) -> BTreeMap<String, ResumePoint> {
    let limit = |(stream, last): (String, ResumePoint)| match admitted.get(&stream) {
        None => Some((stream, last)),
        Some(frames) => Some((stream, ResumePoint { frame: last.frame.min(frames.checked_sub(1)?), ..last })),
    };
    points.into_iter().filter_map(limit).collect()
}

/// Returns the earlier resume point of each stream from those of two recorders. A stream that only one of them recorded is not
/// complete, and is left out.
fn earlier_points(
    first: BTreeMap<String, ResumePoint>,
    second: &BTreeMap<String, ResumePoint>,
) -> BTreeMap<String, ResumePoint> {
    let both = first.into_iter().filter_map(|(stream, a)| {
        let b = *second.get(&stream)?;
        Some((stream, if b.frame < a.frame { b } else { a }))
    });
    both.collect()
}

/// Returns `recorded.json` of each recorder in the record of a run: in the run's folder, or in the folder from the recorder's key
/// `folder`. A recorder without the file is left out.
fn recorded_files(folder: &Path, record: &Value) -> Vec<PathBuf> {
    // Processes under dora may have other folders.
    let others = record["folders"].as_object().into_iter().flat_map(|folders| folders.values());
    let others = others.filter_map(|folder| folder.as_str().map(PathBuf::from));
    let outputs = RunOutputs::from_record(record);
    let folders = [folder.to_owned()].into_iter().chain(others);
    let mut found: Vec<PathBuf> = folders.flat_map(|folder| outputs.table_folders(&folder)).collect();
    found.iter_mut().for_each(|folder| folder.push(resume_points::FILE_NAME));
    found.retain(|path| path.is_file());
    found.sort();
    found.dedup();
    found
}

/// Returns the error for a file of the earlier run that cannot be used.
fn damaged_error(path: &Path, damage: &str) -> Error {
    Error::input(format!(
        "--start-at: {} is damaged: {damage}. Run without `--start-at`, which processes all frames again",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the folder of a run whose source admitted a number of frames, and whose recorder noted a last frame number.
    fn run(continues: &Value, admitted: u64, recorded: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, value: Value| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value.to_string()).unwrap();
        };
        let nodes = json!([{"id": "recorder", "operator": "recorder", "config": {"folder": {"value": ""}}}]);
        write("run.json", json!({"run": "first", "processes": ["run"], "continues": continues, "nodes": nodes}));
        let sources = json!([{"node": "capture", "streams": [{"stream": "capture", "admitted": admitted}]}]);
        let result = json!({"status": "stopped", "stopped_at_frame": admitted, "failure": null, "sources": sources, "nodes": []});
        write("result/run.json", result);
        write("recorded.json", json!({"streams": {"capture": {"frame": recorded, "pts": 1_300_000_000}}}));
        folder
    }

    #[test]
    fn a_closing_message_does_not_count_as_a_frame() {
        let folder = run(&Value::Null, 40, 40);
        let last = ResumePoint { frame: 39, pts: 1_300_000_000 };
        assert_eq!(PreviousRun::read(folder.path()).unwrap().resume_points["capture"], last);
        // If fewer frames were recorded than admitted, the recorded ones count.
        let folder = run(&Value::Null, 40, 31);
        assert_eq!(PreviousRun::read(folder.path()).unwrap().resume_points["capture"].frame, 31);
        // The frames of a run that itself continued another one include those of that run.
        let folder = run(&json!({"after": {"capture": {"frame": 39, "pts": 0}}}), 20, 60);
        assert_eq!(PreviousRun::read(folder.path()).unwrap().resume_points["capture"].frame, 59);
    }

    #[test]
    fn a_killed_run_without_a_result_is_continued_after_its_last_recorded_frame() {
        let folder = run(&Value::Null, 40, 29);
        std::fs::remove_dir_all(folder.path().join("result")).unwrap();
        assert_eq!(PreviousRun::read(folder.path()).unwrap().resume_points["capture"].frame, 29);
    }

    #[test]
    fn a_run_with_only_a_closing_message_cannot_be_continued() {
        let error = PreviousRun::read(run(&Value::Null, 0, 0).path()).unwrap_err();
        assert!(error.message.contains("cannot be continued"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_named_with_the_damage_and_the_remedy() {
        for (file, text, damage) in [
            ("recorded.json", "", "it is empty (0 bytes)"),
            ("recorded.json", "{\"streams\": {\"capture\": 3}}", "`frame` of the stream `capture` is missing"),
            ("run.json", "{\"run\": ", "it is not valid JSON"),
        ] {
            let folder = run(&Value::Null, 40, 40);
            std::fs::write(folder.path().join(file), text).unwrap();
            let error = PreviousRun::read(folder.path()).unwrap_err();
            assert_eq!(error.failure, Failure::Input);
            let remedy = "Run without `--start-at`";
            assert!([file, damage, remedy].iter().all(|part| error.message.contains(part)), "{error}");
            assert!(!["struct", "expected map"].iter().any(|part| error.message.contains(part)), "{error}");
        }
    }

    #[test]
    fn only_folders_that_the_run_recorded_to_are_read() {
        let folder = run(&Value::Null, 40, 31);
        // The folder of another run below this one.
        let other = folder.path().join("archive");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("recorded.json"), json!({"streams": {"other": {"frame": 1, "pts": 0}}}).to_string())
            .unwrap();
        let resume_points = PreviousRun::read(folder.path()).unwrap().resume_points;
        assert_eq!(resume_points.into_keys().collect::<Vec<_>>(), ["capture"]);
    }
}
