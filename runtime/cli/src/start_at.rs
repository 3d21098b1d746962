//! `sideline run FLOW --start-at RUN`: the frames that another run has not handled.
//!
//! The recorder of a run says up to which frame of each stream its tables are whole (`recorded.json`), also after a kill.
//! The new run's frames follow on that number. Its operators begin with new state: tracks get new numbers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sideline_api::{Error, Failure, OrFail, Registry, Result, address::conceal};
use sideline_engine::{gate::After, meter::Report};
use sideline_graph::Flow;
use sideline_recorder::whole::{self, Recorded};

use crate::record;

/// Keys of a source that say which frames it makes: with others the numbers would mean other frames.
const IDENTITY: [&str; 5] = ["source", "sources", "stream", "fps", "loop"];

/// Media time before the first frame wanted at which a source begins to read, ns: what is between is passed over.
const EARLIER: i64 = 500_000_000;

/// Where a run goes on.
#[derive(Debug)]
pub struct Continued {
    /// The folder of the run before.
    folder: PathBuf,
    /// Its name.
    run: String,
    /// The last frame of each stream that is whole in all its tables.
    pub after: BTreeMap<String, After>,
    /// Configuration of each node, as run.json has it.
    nodes: Vec<Value>,
}

impl Continued {
    /// Reads how far a run came.
    ///
    /// # Errors
    /// When the folder holds no run, or nothing of it is whole.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("run.json");
        let text = std::fs::read_to_string(&path).or_fail(Failure::Input, || {
            format!("--start-at: {} is not the folder of a run: it has no run.json", folder.display())
        })?;
        let json: Value = serde_json::from_str(&text).or_fail(Failure::Input, || path.display().to_string())?;
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        let mut after: Option<BTreeMap<String, After>> = None;
        for path in recorded_files(folder)? {
            let text =
                std::fs::read_to_string(&path).or_fail(Failure::Input, || format!("--start-at: {}", path.display()))?;
            let Recorded { streams } =
                serde_json::from_str(&text).or_fail(Failure::Input, || format!("--start-at: {}", path.display()))?;
            let streams: BTreeMap<String, After> = streams
                .into_iter()
                .map(|(stream, last)| (stream, After { frame: last.frame, pts: last.pts }))
                .collect();
            after = Some(match after {
                None => streams,
                Some(before) => least(before, &streams),
            });
        }
        let after = after.map(|after| within(after, &record::admitted(folder, &json)));
        let after = after.filter(|after| !after.is_empty()).ok_or_else(|| {
            Error::input(format!(
                "--start-at: no frame of {} is whole in its tables: nothing to go on from. A run without a `recorder`, or \
                 killed before its first `row_group` was complete, is begun anew without `--start-at`",
                folder.display()
            ))
        })?;
        let nodes = json["nodes"].as_array().cloned().unwrap_or_default();
        Ok(Self { folder: folder.to_owned(), run: text("run"), after, nodes })
    }

    /// Where sources begin to read, as settings: node, key, seconds. Those without a key `start` read from their beginning.
    pub fn starts(&self, registry: &Registry) -> Vec<(String, String, Value)> {
        let Some(first) = self.after.values().map(|after| after.pts).min() else { return vec![] };
        let mut starts = vec![];
        for (id, config) in self.sources(registry) {
            // With `fps` it is the frames before that decide which are left out.
            if config.get("start").is_none() || !config["fps"]["value"].is_null() {
                continue;
            }
            let before = config["start"]["value"].as_f64().unwrap_or(0.0);
            let seconds = ((first - EARLIER) as f64 * 1e-9).max(before);
            if seconds > 0.0 {
                starts.push((id.to_owned(), "start".to_owned(), seconds.into()));
            }
        }
        starts
    }

    fn sources(&self, registry: &Registry) -> impl Iterator<Item = (&str, &Value)> {
        let is_source = |name: &str| registry.get(name).is_ok_and(|entry| entry.spec.source);
        self.nodes
            .iter()
            .filter(move |node| node["operator"].as_str().is_some_and(is_source))
            .filter_map(|node| Some((node["id"].as_str()?, &node["config"])))
    }

    /// Makes sure that the flow reads what the run before has read, and writes its results elsewhere.
    ///
    /// # Errors
    /// Names the key that differs.
    pub fn check(&self, flow: &Flow, folder: &Path, registry: &Registry) -> Result<()> {
        if folder.canonicalize().is_ok_and(|folder| Some(folder) == self.folder.canonicalize().ok()) {
            return Err(Error::config(format!(
                "--start-at: {} would be written over: give this run another `--output`",
                self.folder.display()
            )));
        }
        for (id, config) in self.sources(registry) {
            let Some(node) = flow.nodes.iter().find(|node| node.id == id) else {
                return Err(Error::config(format!(
                    "--start-at: the source `{id}` of {} is not in {}: name the flow of that run",
                    self.folder.display(),
                    flow.path.display()
                )));
            };
            for (key, now) in node.resolved.iter().filter(|(key, _)| IDENTITY.contains(&key.as_str())) {
                let before = &config[key]["value"];
                // run.json has no secrets of addresses.
                let now = &serde_json::from_str(&conceal(&now.to_string())).unwrap_or_else(|_| now.clone());
                if before != now {
                    return Err(Error::config(format!(
                        "--start-at: {} was made with `{key}` {before} of `{id}`, this would go on with {now}: its frames \
                         have other numbers; give the same, or begin anew without `--start-at`",
                        self.folder.display()
                    )));
                }
            }
            if config["loop"]["value"] == json!(true) {
                return Err(Error::config(format!(
                    "--start-at: `{id}` of {} begins again at its end (`loop`): there is no place to go on from",
                    self.folder.display()
                )));
            }
        }
        Ok(())
    }

    /// What the user is told.
    pub fn text(&self) -> String {
        let places: Vec<String> = self
            .after
            .iter()
            .map(|(stream, after)| format!("frame {} of `{stream}` ({:.3} s)", after.frame, after.pts as f64 * 1e-9))
            .collect();
        format!("goes on after {} of {}; operators begin with new state", places.join(", "), self.folder.display())
    }

    /// What run.json says of it.
    pub fn json(&self) -> Value {
        json!({"run": self.run, "folder": self.folder.to_string_lossy(), "after": self.after, "state": "new"})
    }

    /// A run that found nothing left to do is told so.
    ///
    /// # Errors
    /// When no frame was left.
    pub fn something_was_left(&self, report: &Report) -> Result<()> {
        if report.failure.is_none() && report.sources.iter().all(|source| source.admitted == 0) {
            return Err(Error::input(format!("--start-at: nothing is left: it {}", self.text())));
        }
        Ok(())
    }
}

/// No stream is further than its source: what came with a number behind the last frame was the closing message. `admitted`:
/// frames of each stream, those of the runs before included, where the run came to tell.
fn within(after: BTreeMap<String, After>, admitted: &BTreeMap<String, u64>) -> BTreeMap<String, After> {
    let within = |(stream, last): (String, After)| match admitted.get(&stream) {
        None => Some((stream, last)),
        Some(frames) => Some((stream, After { frame: last.frame.min(frames.checked_sub(1)?), ..last })),
    };
    after.into_iter().filter_map(within).collect()
}

/// Of two recorders the one that is less far; a stream that only one of them has is not whole.
fn least(before: BTreeMap<String, After>, now: &BTreeMap<String, After>) -> BTreeMap<String, After> {
    let both = before.into_iter().filter_map(|(stream, a)| {
        let b = *now.get(&stream)?;
        Some((stream, if b.frame < a.frame { b } else { a }))
    });
    both.collect()
}

/// `recorded.json` of each recorder: in the run's folder, or in that of the recorder's key `folder`.
fn recorded_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).or_fail(Failure::Input, || folder.display().to_string())? {
            let path = entry.or_fail(Failure::Input, || folder.display().to_string())?.path();
            if path.is_dir() && path.extension().is_none() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == whole::FILE) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run whose source admitted 40 frames, and whose recorder had a closing message behind them.
    fn run(continues: &Value, admitted: u64, recorded: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, value: Value| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value.to_string()).unwrap();
        };
        write("run.json", json!({"run": "first", "processes": ["run"], "continues": continues, "nodes": []}));
        let sources = json!([{"node": "capture", "streams": [{"stream": "capture", "admitted": admitted}]}]);
        let result = json!({"status": "stopped", "stopped_at_frame": admitted, "failure": null, "sources": sources, "nodes": []});
        write("result/run.json", result);
        write("recorded.json", json!({"streams": {"capture": {"frame": recorded, "pts": 1_300_000_000}}}));
        folder
    }

    #[test]
    fn a_closing_message_is_no_frame_of_the_run_before() {
        let folder = run(&Value::Null, 40, 40);
        let last = After { frame: 39, pts: 1_300_000_000 };
        assert_eq!(Continued::read(folder.path()).unwrap().after["capture"], last);
        // Where not all was recorded, that is what counts.
        let folder = run(&Value::Null, 40, 31);
        assert_eq!(Continued::read(folder.path()).unwrap().after["capture"].frame, 31);
        // A run that went on itself counts the frames before it.
        let folder = run(&json!({"after": {"capture": {"frame": 39, "pts": 0}}}), 20, 60);
        assert_eq!(Continued::read(folder.path()).unwrap().after["capture"].frame, 59);
    }

    #[test]
    fn a_run_that_was_killed_has_what_its_recorder_says() {
        let folder = run(&Value::Null, 40, 29);
        std::fs::remove_dir_all(folder.path().join("result")).unwrap();
        assert_eq!(Continued::read(folder.path()).unwrap().after["capture"].frame, 29);
    }

    #[test]
    fn a_closing_message_alone_is_nothing_to_go_on_from() {
        let error = Continued::read(run(&Value::Null, 0, 0).path()).unwrap_err();
        assert!(error.message.contains("nothing to go on from"), "{error}");
    }
}
