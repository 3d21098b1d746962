//! The folder of a run in one process: one run at a time writes to it, and what an earlier run left there stays as it is
//! until this one has begun.

use std::{
    fs::{File, TryLockError},
    io::{ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;
use sideline_api::{Error, Failure, OrFail, Result, address::is_address, find_file};
use sideline_graph::{Flow, FlowNode};

/// The hidden file that is locked while a run lasts; it holds the run's name and process.
const LOCK: &str = ".run.lock";

/// A folder that one run has for itself.
pub struct RunFolder {
    path: PathBuf,
    /// The run whose results are there.
    earlier: Option<String>,
    /// Held locked; the system unlocks it however the process ends.
    _lock: File,
}

impl RunFolder {
    /// Makes the folder where it is missing, and takes it for a run.
    ///
    /// # Errors
    /// When it cannot be made, or another run writes to it.
    pub fn take(path: &Path, run: &str) -> Result<Self> {
        std::fs::create_dir_all(path).or_fail(Failure::Output, || {
            format!("the run's folder {} cannot be made; name another with `--output`", path.display())
        })?;
        let lock = lock(path, run)?;
        Ok(Self { path: path.to_owned(), earlier: earlier(path), _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the run whose results are there.
    pub fn earlier(&self) -> Option<&str> {
        self.earlier.as_deref()
    }

    /// Removes what an earlier run left, and says so: now this one has begun, and nothing of both may be mixed. Files that no
    /// run made stay.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn replace(&self) -> Result<()> {
        if let Some(earlier) = &self.earlier {
            errln!("{}: replaces the results of run {earlier}", self.path.display());
        }
        // First of all how it ended: if this run is killed, its tables must not pass for whole.
        remove(&self.path.join("result"))?;
        let entries = entries(&self.path)?;
        for path in entries.iter().filter(|path| self.earlier.is_some() && is_report(path)) {
            remove(path)?;
        }
        self.remove_recorded(&self.path)
    }

    /// Removes tables and videos, also those of a recorder with a `folder` of its own.
    fn remove_recorded(&self, folder: &Path) -> Result<()> {
        sideline_recorder::remove_recorded(folder)?;
        #[cfg(feature = "media")]
        sideline_encode::remove_videos(folder)?;
        // A folder of another run below this one is its own.
        let is_run = |path: &Path| path.join("run.json").exists() || path.join(LOCK).exists();
        let ours = |path: &PathBuf| path.extension().is_none() && is_folder(path) && !is_run(path);
        let folders = entries(folder)?.into_iter().filter(ours);
        folders.into_iter().try_for_each(|folder| self.remove_recorded(&folder))
    }
}

/// Makes sure that no source of a flow is written over: by a video that has its name, or as the result of an earlier run that
/// this one replaces.
///
/// # Errors
/// Names the source and what would be written there.
pub fn spare_sources(flow: &Flow, folder: &Path) -> Result<()> {
    for (node, source) in flow.sources().into_iter().flat_map(|node| files_of(node).map(move |file| (node, file))) {
        let same = |other: &Path| other.canonicalize().is_ok_and(|other| other == source);
        let would_be = |what: &str, mend: &str| {
            let id = &node.id;
            Err(Error::config(format!("node `{id}`: its source {} would be {what}: {mend}", source.display())))
        };
        let videos = flow.nodes.iter().filter(|node| node.operator == "encode");
        if videos
            .filter_map(|node| text(node, "output"))
            .any(|video| Path::new(video).is_absolute() && same(video.as_ref()))
        {
            return would_be("written over by the video made of it", "give `output` of `encode` another name");
        }
        let mark = format!(".{}.run", source.file_name().unwrap_or_default().to_string_lossy());
        let is_result = source.with_file_name(mark).exists()
            && source.parent().is_some_and(|parent| folder.canonicalize().is_ok_and(|folder| folder == parent));
        if is_result {
            return would_be("replaced, as the result of an earlier run", "name another folder with `--output`");
        }
    }
    Ok(())
}

/// The files that a source reads, from the root. What is not there is the source's to tell.
fn files_of(node: &FlowNode) -> impl Iterator<Item = PathBuf> {
    let list = node.resolved.iter().filter(|(key, _)| *key == "sources").filter_map(|(_, value)| value.as_array());
    let named = list.flatten().filter_map(Value::as_str).map(|entry| match entry.split_once('=') {
        Some((name, path)) if !name.contains('/') => path,
        _ => entry,
    });
    let all = named.chain(text(node, "source")).filter(|path| !is_address(path));
    all.filter_map(|path| find_file(path.as_ref(), &node.search).ok()?.canonicalize().ok())
}

fn text<'a>(node: &'a FlowNode, key: &str) -> Option<&'a str> {
    node.resolved.iter().find(|(name, _)| *name == key)?.1.as_str()
}

/// Name of the run that left its results in a folder.
fn earlier(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("run.json")).ok()?;
    let run: Option<Value> = serde_json::from_str(&text).ok();
    let name = run.as_ref().and_then(|run| run["run"].as_str());
    Some(name.unwrap_or("of an unknown name").to_owned())
}

/// True for files that operators and runtime write beside the tables.
fn is_report(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [("media-", ".json"), ("summary", ".json"), ("heat_", ".png"), ("timing.parquet", "")]
        .iter()
        .any(|(begins, ends)| name.starts_with(begins) && name.ends_with(ends))
}

/// True for a folder itself: a link may lead to another's.
fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let place = || folder.display().to_string();
    let entries = std::fs::read_dir(folder).or_fail(Failure::Output, place)?;
    entries.map(|entry| entry.map(|entry| entry.path()).or_fail(Failure::Output, place)).collect()
}

fn remove(path: &Path) -> Result<()> {
    match if is_folder(path) { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) } {
        Err(cause) if cause.kind() != ErrorKind::NotFound => {
            Err(cause).or_fail(Failure::Output, || path.display().to_string())
        }
        _ => Ok(()),
    }
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
            // Empty for a moment, while the other takes it.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim().split_once(' ').map(|(run, pid)| format!(" {run}, process {pid},"));
            return Err(Error::output(format!(
                "{}: another run{} writes there; wait for its end, or name another folder with `--output`",
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
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = entries(folder)
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_second_run_into_a_folder_is_refused_and_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunFolder::take(folder.path(), "first").unwrap();
        let refused = RunFolder::take(folder.path(), "second").err().unwrap();
        let holder = format!("another run first, process {}, writes there", std::process::id());
        assert!(refused.failure == Failure::Output && refused.message.contains(&holder), "{refused}");
        drop(first);
        RunFolder::take(folder.path(), "third").unwrap();
    }

    #[test]
    fn what_an_earlier_run_left_is_removed_once_a_run_begins_and_files_of_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let left = [
            ("run.json", "{\"run\": \"earlier\"}"),
            ("result/run.json", "{}"),
            ("timing.parquet", "old"),
            ("media-camera.json", "{}"),
            ("summary-left.json", "{}"),
            ("heat_team_1.png", "old"),
            (".counts.run", "earlier"),
            ("counts.jsonl", "old"),
            ("counts.parquet/part-00000.parquet", "old"),
            ("recorded.json", "{}"),
            ("second/.poses.run", "earlier"),
            ("second/poses.jsonl", "old"),
            // A run of its own below this one.
            ("fight-1/run.json", "{\"run\": \"another\"}"),
            ("fight-1/.poses.run", "another"),
            ("fight-1/poses.jsonl", "another's"),
            ("notes.txt", "the user's"),
            ("export.csv", "the user's"),
        ];
        for (name, text) in left {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let before = names(folder.path());
        let run = RunFolder::take(folder.path(), "later").unwrap();
        assert_eq!(run.earlier(), Some("earlier"));
        let taken = names(folder.path());
        assert_eq!(taken.iter().filter(|name| *name != LOCK).cloned().collect::<Vec<_>>(), before);
        run.replace().unwrap();
        let kept = [".counts.run", LOCK, "export.csv", "fight-1", "notes.txt", "run.json", "second"];
        assert_eq!(names(folder.path()), kept);
        assert_eq!(names(&folder.path().join("fight-1")), [".poses.run", "poses.jsonl", "run.json"]);
        assert_eq!(names(&folder.path().join("second")), [".poses.run"]);
    }
}
