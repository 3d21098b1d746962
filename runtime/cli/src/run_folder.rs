//! The folder of a run in one process. One run at a time writes to it, and the results of an earlier run are kept until the
//! new one has begun. Files that no run has made are never replaced.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde_json::Value;
use sideline_address::is_address;
use sideline_api::{Error, Failure, OrFail, Result, find_file, stream_file_name};
use sideline_graph::{Flow, FlowNode};

use crate::{
    record::StagedStart,
    run_outputs::{EarlierRun, check_replaceable, marked_videos, text},
};

/// The hidden file that is locked during a run; it holds the name of the run and its process id.
const LOCK: &str = ".run.lock";

/// A folder locked for one run.
pub struct RunFolder {
    path: PathBuf,
    /// The earlier run whose results are in the folder.
    earlier: Option<EarlierRun>,
    contents: Mutex<Contents>,
    /// Lock file. The operating system releases the lock however the process ends.
    _lock: File,
}

/// Results in the folder of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Those of an earlier run, all of them.
    Earlier,
    /// A part of those of an earlier run: one could not be removed.
    PartlyEarlier,
    /// Those of this run.
    Current,
}

impl RunFolder {
    /// Creates the folder if it is missing, and locks it for a run.
    ///
    /// # Errors
    /// If it cannot be created, or another run writes to it.
    pub fn acquire(path: &Path, run: &str) -> Result<Self> {
        std::fs::create_dir_all(path).or_fail(Failure::Output, || {
            format!("the run's folder {} cannot be created; name another one with `--output`", path.display())
        })?;
        let lock = lock(path, run)?;
        let earlier = EarlierRun::read(path)?;
        let contents = if earlier.is_some() { Contents::Earlier } else { Contents::Current };
        Ok(Self { path: path.to_owned(), earlier, contents: Mutex::new(contents), _lock: lock })
    }

    /// Returns the results in the folder.
    pub fn contents(&self) -> Contents {
        *self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_contents(&self, contents: Contents) {
        *self.contents.lock().unwrap_or_else(PoisonError::into_inner) = contents;
    }

    /// Checks that a run of a flow would replace no file that no run has made, and none that it reads.
    ///
    /// # Errors
    /// `Output` or `Config`, with the file and the remedy, if it would; or if a folder cannot be read.
    pub fn check_files_kept(&self, flow: &Flow, process: &str) -> Result<()> {
        if let Some(earlier) = &self.earlier {
            let files = earlier.files()?;
            for (node, source) in sources(flow) {
                if files.iter().any(|file| is_same_or_inside(&source, file)) {
                    return Err(replaced_source_error(node, &source));
                }
            }
        }
        check_replaceable(flow, &self.path, process, self.earlier.as_ref())
    }

    /// Replaces the results of an earlier run, and prints that it does, by the record of this one. It is called once this run
    /// has begun, so that the results of two runs are never mixed. Disk space for the result is reserved before anything is
    /// removed, so that on a full disk the results of the earlier run stay whole.
    ///
    /// # Errors
    /// If there is no disk space, or a file cannot be removed.
    pub fn begin(&self, process: &str, start: &Value) -> Result<()> {
        let staged = StagedStart::write(&self.path, process, start)?;
        if let Some(earlier) = &self.earlier {
            errln!("{}: replaces the results of run {}", self.path.display(), earlier.name());
            self.set_contents(Contents::PartlyEarlier);
            earlier.remove_files()?;
        }
        staged.commit()?;
        self.set_contents(Contents::Current);
        Ok(())
    }
}

/// Checks that no source of a flow would be overwritten by a video of that flow.
///
/// # Errors
/// Names the source and the cause.
pub fn check_sources_not_overwritten(flow: &Flow, folder: &Path) -> Result<()> {
    let sources: Vec<(&FlowNode, PathBuf)> = sources(flow).collect();
    let streams: Vec<String> = flow.sources().into_iter().flat_map(stream_names).collect();
    let outputs = flow.nodes.iter().filter(|node| node.operator == "encode").filter_map(|node| text(node, "output"));
    for output in outputs.filter(|output| !is_address(output)).map(Path::new) {
        // In the folder of the run, `encode` replaces only videos of an earlier run.
        let is_elsewhere = output.is_absolute();
        let videos = match is_elsewhere {
            true => overwritten_videos(output, &streams),
            false => marked_videos(&folder.join(output), None),
        };
        for (node, source) in &sources {
            let Some(video) = videos.iter().find(|video| is_same_file(source, video)) else { continue };
            if !is_elsewhere {
                return Err(replaced_source_error(node, source));
            }
            let link = match video.canonicalize().is_ok_and(|video| video == *source) {
                true => String::new(),
                false => format!(", since {} is the same file", video.display()),
            };
            return Err(Error::config(format!(
                "node `{}`: its source {} would be overwritten by the video made from it{link}: give `output` of `encode` \
                 another name",
                node.id,
                source.display()
            )));
        }
    }
    Ok(())
}

fn replaced_source_error(node: &FlowNode, source: &Path) -> Error {
    Error::config(format!(
        "node `{}`: its source {} would be replaced, as the result of an earlier run: name another folder with `--output`",
        node.id,
        source.display()
    ))
}

/// Returns the existing files that `encode` may overwrite outside the folder of the run: `NAME.mp4`, for a further stream
/// `NAME-STREAM.mp4`, and each with a number, `NAME-2.mp4`, where the frame size changes. HLS segments have numbers, too.
fn overwritten_videos(output: &Path, streams: &[String]) -> Vec<PathBuf> {
    let stem = output.file_stem().unwrap_or_default().to_string_lossy();
    let is_written = |path: &Path| {
        let is_video = path.extension().is_some_and(|extension| {
            extension == output.extension().unwrap_or_default() || extension == "ts" || extension == "mp4"
        });
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let Some(rest) = name.strip_prefix(&*stem).filter(|_| is_video) else { return false };
        let streams = streams.iter().map(|stream| format!("-{stream}"));
        streams.chain([String::new()]).any(|stream| {
            let number = rest.strip_prefix(&*stream);
            number.is_some_and(|n| n.chars().all(|c| c.is_ascii_digit() || c == '-'))
        })
    };
    let entries = output.parent().and_then(|folder| folder.read_dir().ok()).into_iter().flatten().flatten();
    let named = entries.map(|entry| entry.path()).filter(|path| is_written(path));
    named.chain([output.to_owned()]).collect()
}

/// Returns the names of the streams of a source, as they are written in file names.
fn stream_names(node: &FlowNode) -> Vec<String> {
    let listed = list(node).map(|entry| match split_entry(entry) {
        (Some(name), _) => name.to_owned(),
        (None, path) => Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    });
    let single = text(node, "stream").filter(|name| !name.is_empty()).unwrap_or(&node.id);
    listed.chain([single.to_owned()]).map(|name| stream_file_name(&name)).collect()
}

/// Returns the files and folders that the sources of a flow read.
fn sources(flow: &Flow) -> impl Iterator<Item = (&FlowNode, PathBuf)> {
    flow.sources().into_iter().flat_map(|node| files_of(node).map(move |file| (node, file)))
}

/// Returns the absolute paths of the files that a source reads. Missing files are left out: the source itself reports them.
fn files_of(node: &FlowNode) -> impl Iterator<Item = PathBuf> {
    let named = list(node).map(|entry| split_entry(entry).1);
    let all = named.chain(text(node, "source")).filter(|path| !is_address(path));
    all.filter_map(|path| find_file(path.as_ref(), &node.search).ok()?.canonicalize().ok())
}

/// Returns the entries of the key `sources`.
fn list(node: &FlowNode) -> impl Iterator<Item = &str> {
    let lists = node.resolved.iter().filter(|(key, _)| *key == "sources").filter_map(|(_, value)| value.as_array());
    lists.flatten().filter_map(Value::as_str)
}

/// Splits an entry `NAME=PATH` or `PATH` of the key `sources`. After a slash, `=` is part of the path.
fn split_entry(entry: &str) -> (Option<&str>, &str) {
    match entry.split_once('=') {
        Some((name, path)) if !name.contains('/') => (Some(name.trim()), path.trim()),
        _ => (None, entry),
    }
}

/// Returns true if two paths lead to one file: it may have several names, by hard and symbolic links.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let identify = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino())).ok();
    identify(a).is_some_and(|identity| identify(b) == Some(identity))
}

/// Returns true if a file is the same as another path, or in the folder at that path.
fn is_same_or_inside(file: &Path, other: &Path) -> bool {
    is_same_file(file, other) || other.canonicalize().is_ok_and(|other| file.starts_with(other))
}

fn lock(folder: &Path, run: &str) -> Result<File> {
    let path = folder.join(LOCK);
    let place = || format!("{}: cannot be locked for this run; name another folder with `--output`", path.display());
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.or_fail(Failure::Output, place)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Briefly empty while the other run acquires the lock.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim().split_once(' ').map(|(run, pid)| format!(" {run}, process {pid},"));
            return Err(Error::output(format!(
                "{}: another run{} writes there; wait for it to end, or name another folder with `--output`",
                folder.display(),
                holder.unwrap_or_default()
            )));
        }
        Err(TryLockError::Error(cause)) => return Err(cause).or_fail(Failure::Output, place),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{run} {}", std::process::id()))
        .or_fail(Failure::Output, place)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    fn write_files(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    /// Contents of `run.json` of a run that recorded to its folder, and to subfolders.
    fn record(run: &str, folders: &[&str]) -> String {
        let recorders = folders.iter().map(|folder| {
            let config = json!({"folder": {"value": folder, "from": "default"}});
            json!({"id": format!("recorder_{folder}"), "operator": "recorder", "config": config})
        });
        let video = json!({"output": {"value": "video/overlay.mp4"}});
        let others = [
            json!({"id": "camera", "operator": "capture", "config": {}}),
            json!({"id": "stats", "operator": "stats", "config": {}}),
            json!({"id": "encode", "operator": "encode", "config": video}),
        ];
        json!({"run": run, "processes": ["run"], "nodes": others.into_iter().chain(recorders).collect::<Value>()})
            .to_string()
    }

    #[test]
    fn a_second_run_in_a_folder_is_refused_with_the_name_and_process_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunFolder::acquire(folder.path(), "first").unwrap();
        let refused = RunFolder::acquire(folder.path(), "second").err().unwrap();
        let holder = format!("another run first, process {}, writes there", std::process::id());
        assert!(refused.failure == Failure::Output && refused.message.contains(&holder), "{refused}");
        drop(first);
        RunFolder::acquire(folder.path(), "third").unwrap();
    }

    #[test]
    fn results_of_an_earlier_run_are_removed_once_a_run_begins_and_other_files_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("run.json", &*record("earlier", &["", "second"])),
            ("result/run.json", "{}"),
            ("result/.room-run", " "),
            ("timing.parquet", "old"),
            ("media-camera.json", "{}"),
            ("media-camera-left.json", "{}"),
            ("summary.json", "{}"),
            ("summary-left.json", "{}"),
            ("heat_team_1-left.png", "old"),
            (".counts.run", "earlier"),
            ("counts.jsonl", "old"),
            ("counts.parquet/part-00000.parquet", "old"),
            ("recorded.json", "{}"),
            ("second/.poses.run", "earlier"),
            ("second/poses.jsonl", "old"),
            ("video/.overlay.mp4.run", "earlier\n\"overlay.mp4\"\n"),
            ("video/overlay.mp4", "old"),
            // Another run has replaced a table.
            (".events.run", "another"),
            ("events.jsonl", "another's"),
            // Folders with tables of other runs below this one.
            ("fight-1/run.json", &*record("another", &[""])),
            ("fight-1/.poses.run", "another"),
            ("fight-1/poses.jsonl", "another's"),
            ("archive/.poses.run", "another"),
            ("archive/poses.jsonl", "another's"),
            ("notes.txt", "the user's"),
            ("export.csv", "the user's"),
            ("media-cut.json", "the user's"),
            ("heat_wave.png", "the user's"),
            ("result/thesis.txt", "the user's"),
            ("result/notes.json", "the user's"),
            ("video/overlay-2.mp4", "the user's"),
        ];
        write_files(folder.path(), &files);
        let before = names(folder.path());
        let run = RunFolder::acquire(folder.path(), "later").unwrap();
        assert_eq!(run.contents(), Contents::Earlier);
        let acquired = names(folder.path());
        assert_eq!(acquired.iter().filter(|name| *name != LOCK).cloned().collect::<Vec<_>>(), before);
        run.begin("run", &json!({"run": "later"})).unwrap();
        assert_eq!(run.contents(), Contents::Current);
        let kept = [
            ".events.run",
            LOCK,
            "archive",
            "events.jsonl",
            "export.csv",
            "fight-1",
            "heat_wave.png",
            "media-cut.json",
            "notes.txt",
            "recorded.json",
            "result",
            "run.json",
            "second",
            "video",
        ];
        assert_eq!(names(folder.path()), kept);
        assert_eq!(names(&folder.path().join("result")), [".room-run", "notes.json", "thesis.txt"]);
        assert!(
            folder.path().join("result/.room-run").metadata().unwrap().len() > 1,
            "space for the result is reserved"
        );
        assert_eq!(names(&folder.path().join("fight-1")), [".poses.run", "poses.jsonl", "run.json"]);
        assert_eq!(names(&folder.path().join("archive")), [".poses.run", "poses.jsonl"]);
        assert!(names(&folder.path().join("second")).is_empty());
        assert_eq!(names(&folder.path().join("video")), ["overlay-2.mp4"]);
        assert!(std::fs::read_to_string(folder.path().join("run.json")).unwrap().contains("later"));
    }

    #[test]
    fn a_folder_without_an_earlier_run_is_not_searched() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            [("archive/.poses.run", "another"), ("archive/poses.jsonl", "another's"), ("notes.txt", "the user's")];
        write_files(folder.path(), &files);
        let run = RunFolder::acquire(folder.path(), "run").unwrap();
        run.begin("run", &json!({"run": "run"})).unwrap();
        assert_eq!(names(&folder.path().join("archive")), [".poses.run", "poses.jsonl"]);
        assert_eq!(names(folder.path()), [LOCK, "archive", "notes.txt", "result", "run.json"]);
    }

    #[test]
    fn folders_of_an_earlier_run_that_lead_elsewhere_are_left_alone() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_files(other.path(), &[(".poses.run", "earlier"), ("poses.jsonl", "the archive")]);
        std::os::unix::fs::symlink(other.path(), folder.path().join("link")).unwrap();
        let folders = ["link", other.path().to_str().unwrap(), "missing"];
        write_files(folder.path(), &[("run.json", &*record("earlier", &folders))]);
        let run = RunFolder::acquire(folder.path(), "later").unwrap();
        run.begin("run", &json!({"run": "later"})).unwrap();
        assert_eq!(names(other.path()), [".poses.run", "poses.jsonl"]);
    }

    #[test]
    fn an_earlier_run_stays_whole_if_there_is_no_space_for_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("run.json", &*record("earlier", &[""])),
            // No folder can be created here, as on a full disk.
            ("result", "in the way"),
            (".counts.run", "earlier"),
            ("counts.jsonl", "old"),
        ];
        write_files(folder.path(), &files);
        let run = RunFolder::acquire(folder.path(), "later").unwrap();
        let refused = run.begin("run", &json!({"run": "later"})).unwrap_err();
        assert!(refused.failure == Failure::Output && refused.message.contains("result"), "{refused}");
        assert_eq!(run.contents(), Contents::Earlier);
        assert_eq!(names(folder.path()), [".counts.run", LOCK, "counts.jsonl", "result", "run.json"]);
        assert!(std::fs::read_to_string(folder.path().join("run.json")).unwrap().contains("earlier"));
    }

    #[test]
    fn a_record_that_no_run_has_made_is_refused() {
        for text in ["", "{\"scripts\": {}}", "[1, 2]"] {
            let folder = tempfile::tempdir().unwrap();
            write_files(folder.path(), &[("run.json", text)]);
            let refused = RunFolder::acquire(folder.path(), "run").err().unwrap();
            assert!(refused.failure == Failure::Output && refused.message.contains("run.json: no run has made this"));
            assert!(refused.message.contains("move it away, or name another folder"), "{refused}");
            assert_eq!(std::fs::read_to_string(folder.path().join("run.json")).unwrap(), text);
        }
    }

    #[test]
    fn only_videos_that_may_be_overwritten_are_compared_with_the_sources() {
        let folder = tempfile::tempdir().unwrap();
        let written = ["x.mp4", "x-2.mp4", "x-left.mp4", "x-left-3.mp4"];
        let others = ["x-raw.mp4", "x-leftover.mp4", "xy.mp4", "y.mp4", "x.txt"];
        for name in written.iter().chain(&others) {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let mut found = overwritten_videos(&folder.path().join("x.mp4"), &["left".into()]);
        found.sort();
        found.dedup();
        let mut expected = written.map(|name| folder.path().join(name));
        expected.sort();
        assert_eq!(found, expected);
    }
}
