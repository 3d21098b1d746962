//! Files that the nodes of a run write to its folder, as far as their names follow from the configuration of the nodes.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sideline_address::is_address;
use sideline_api::{Error, Failure, OrFail, Result};
use sideline_graph::{Flow, FlowNode};
use sideline_recorder::foreign_file_error;

use crate::record::{self, reserve_path, result_path};

/// Names of the times of all frames: of a run in one process, and the folder of those of processes under dora.
const TIMING: (&str, &str) = ("timing.parquet", "timing");

/// The nodes of a run that write files to its folder.
pub struct RunOutputs(Vec<OutputNode>);

/// A node of a run.
struct OutputNode {
    id: String,
    operator: String,
    /// Key `folder`, of a recorder.
    folder: Option<PathBuf>,
    /// Key `output`, of an `encode` that does not write to a server.
    output: Option<PathBuf>,
}

impl RunOutputs {
    /// Returns the nodes of a flow.
    pub fn from_flow(flow: &Flow) -> Self {
        Self(flow.nodes.iter().map(|node| OutputNode::new(&node.id, &node.operator, |key| text(node, key))).collect())
    }

    /// Returns the nodes in the record of a run, `run.json`.
    pub fn from_record(record: &Value) -> Self {
        let nodes = record["nodes"].as_array().into_iter().flatten().filter_map(|node| {
            let value = |key: &str| node["config"][key]["value"].as_str();
            Some(OutputNode::new(node["id"].as_str()?, node["operator"].as_str()?, value))
        });
        Self(nodes.collect())
    }

    /// Returns true for the name of a report that an operator of the run writes beside the tables.
    pub fn is_report(&self, name: &str) -> bool {
        // The name of a stream follows a hyphen.
        let has_stem = |stem: &str, extension: &str| {
            let rest = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
            rest.is_some_and(|stream| stream.is_empty() || stream.starts_with('-'))
        };
        self.0.iter().any(|node| match node.operator.as_str() {
            "capture" => has_stem(&format!("media-{}", node.id), ".json"),
            "stats" => {
                has_stem("summary", ".json")
                    || sideline_sport::tables::TeamName::TEAMS
                        .iter()
                        .any(|team| has_stem(&format!("heat_{team}"), ".png"))
            }
            _ => false,
        })
    }

    /// Returns the folders of the recorders of a run.
    pub fn table_folders(&self, run_folder: &Path) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> =
            self.0.iter().filter_map(|node| node.folder.as_ref()).map(|folder| run_folder.join(folder)).collect();
        folders.sort();
        folders.dedup();
        folders
    }

    /// Returns the paths of the videos of a run. Those that are named after a stream, or numbered, are beside them.
    fn videos(&self, run_folder: &Path) -> Vec<PathBuf> {
        self.0.iter().filter_map(|node| node.output.as_ref()).map(|output| run_folder.join(output)).collect()
    }
}

impl OutputNode {
    fn new<'a>(id: &str, operator: &str, value: impl Fn(&str) -> Option<&'a str>) -> Self {
        let folder = (operator == "recorder").then(|| value("folder").unwrap_or_default().into());
        let output = (operator == "encode").then(|| value("output")).flatten().filter(|output| !is_address(output));
        Self { id: id.into(), operator: operator.into(), folder, output: output.map(Into::into) }
    }
}

/// Returns the text that a key of a node is set to.
pub fn text<'a>(node: &'a FlowNode, key: &str) -> Option<&'a str> {
    node.resolved.iter().find(|(name, _)| *name == key)?.1.as_str()
}

/// An earlier run whose results are in a folder.
pub struct EarlierRun {
    folder: PathBuf,
    name: String,
    processes: Vec<String>,
    outputs: RunOutputs,
}

impl EarlierRun {
    /// Reads the record of the run in a folder; `None` if there is none.
    ///
    /// # Errors
    /// If the record cannot be read, or no run has made it.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(record::FILE_NAME);
        let text = match std::fs::read_to_string(&path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.or_fail(Failure::Output, || path.display().to_string())?,
        };
        let record: Value = serde_json::from_str(&text).unwrap_or_default();
        let name = record["run"].as_str().ok_or_else(|| foreign_file_error(&path))?;
        let processes = record["processes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(Some(Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            processes: processes.map(Into::into).collect(),
            outputs: RunOutputs::from_record(&record),
        }))
    }

    /// Returns the name of the run.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns true for the name of a file that the run has written to its folder, other than a table or a video.
    pub fn is_report(&self, name: &str) -> bool {
        name == TIMING.0 || self.outputs.is_report(name)
    }

    /// Returns the files and folders that the run made in its folder, except its record; first the results.
    ///
    /// # Errors
    /// If a folder that the run wrote to cannot be read.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        let processes = self.processes.iter();
        let mut files: Vec<PathBuf> = processes
            .flat_map(|process| {
                let timing = self.folder.join(TIMING.1).join(format!("{process}.parquet"));
                [result_path(&self.folder, process), reserve_path(&self.folder, process), timing]
            })
            .filter(|path| path.exists())
            .collect();
        for path in entries(&self.folder)? {
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| self.is_report(name)) {
                files.push(path);
            }
        }
        for folder in self.table_folders()? {
            files.extend(sideline_recorder::recorded_files(&folder, &self.name)?);
        }
        for video in self.outputs.videos(&self.folder) {
            if self.contains(video.parent().unwrap_or(&self.folder))? {
                files.extend(marked_videos(&video, Some(&self.name)));
            }
        }
        Ok(files)
    }

    /// Removes the files and folders that the run made in its folder, except its record.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub fn remove_files(&self) -> Result<()> {
        // The results are removed first: a stale one would make the incomplete tables of a killed run look complete.
        self.files()?.iter().try_for_each(|path| remove(path))?;
        for folder in self.table_folders()? {
            sideline_recorder::remove_recorded(&folder, &self.name)?;
        }
        for folder in [record::RESULTS, TIMING.1] {
            // Not if it holds other files.
            let _ = std::fs::remove_dir(self.folder.join(folder));
        }
        Ok(())
    }

    /// Returns the existing folders, in the folder of the run, with tables of the run.
    fn table_folders(&self) -> Result<Vec<PathBuf>> {
        let mut folders = vec![self.folder.clone()];
        for folder in self.outputs.table_folders(&self.folder) {
            if folder != self.folder && self.contains(&folder)? {
                folders.push(folder);
            }
        }
        Ok(folders)
    }

    /// Returns true for an existing folder that is in the folder of the run: a link may lead elsewhere.
    fn contains(&self, folder: &Path) -> Result<bool> {
        let absolute = |path: &Path| path.canonicalize().or_fail(Failure::Output, || path.display().to_string());
        Ok(folder.exists() && absolute(folder)?.starts_with(absolute(&self.folder)?))
    }
}

/// Returns the videos that a run, or any run for `None`, made for an output of `encode` in the folder of the run.
#[cfg(feature = "media")]
pub fn marked_videos(output: &Path, run: Option<&str>) -> Vec<PathBuf> {
    let marked = sideline_encode::MarkedVideos::read(output);
    marked.filter(|marked| run.is_none_or(|run| run == marked.run)).map(|marked| marked.files).unwrap_or_default()
}

/// Returns no videos: this build has no operator `encode`.
#[cfg(not(feature = "media"))]
pub fn marked_videos(_: &Path, _: Option<&str>) -> Vec<PathBuf> {
    vec![]
}

/// Checks that a run in one process would replace no file in its folder that no run has made.
///
/// # Errors
/// `Output`, with the file and the remedy, if it would; or if a folder cannot be read.
pub fn check_replaceable(flow: &Flow, folder: &Path, process: &str, earlier: Option<&EarlierRun>) -> Result<()> {
    if earlier.is_none() {
        for path in [result_path(folder, process), folder.join(TIMING.0)] {
            if std::fs::symlink_metadata(&path).is_ok() {
                return Err(foreign_file_error(&path));
            }
        }
    }
    let outputs = RunOutputs::from_flow(flow);
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if outputs.is_report(&name) && !earlier.is_some_and(|earlier| earlier.is_report(&name)) {
            return Err(foreign_file_error(&path));
        }
    }
    for node in flow.nodes.iter().filter(|node| node.operator == "recorder") {
        let tables = folder.join(text(node, "folder").unwrap_or_default());
        sideline_recorder::check_replaceable(&tables, node.inputs.iter().map(|input| input.wired.name.as_str()))?;
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let place = || folder.display().to_string();
    let entries = std::fs::read_dir(folder).or_fail(Failure::Output, place)?;
    entries.map(|entry| entry.map(|entry| entry.path()).or_fail(Failure::Output, place)).collect()
}

/// Removes a file or a folder of an earlier run.
fn remove(path: &Path) -> Result<()> {
    sideline_recorder::dataset::remove(path).map_err(|error| {
        Error::output(format!(
            "{}; remove the results of the earlier run there, or name another folder with `--output`",
            error.message
        ))
    })
}
