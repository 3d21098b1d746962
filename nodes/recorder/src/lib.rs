//! `recorder`: writes every table wired to it as Parquet and JSON Lines, and sound as WAV.
//!
//! An input `poses` is recorded as `poses.parquet` and `poses.jsonl` in the run folder. They have the columns `stream`,
//! `session`, `frame` and `pts` (media time, ns), then those of the table. A frame without rows adds none. A skipped
//! frame is a row with its reason in `poses.skipped.parquet` and `.jsonl`, which exist only if a frame was skipped. NaN
//! ('not seen') is `null` in JSON.
//!
//! - **While the run is active, and after a kill,** `poses.parquet` is a folder of complete Parquet files, one for each
//!   `row_group` frames, which pandas, Polars and PyArrow read under the same name (DuckDB: `poses.parquet/*.parquet`).
//!   It becomes one file at the end of the run. JSON Lines are written at every frame in live mode, else at every
//!   second of media time; after a kill the last line may be incomplete, on a full disk it is removed.
//! - **Reproducible bytes:** row groups end by frame count, and no date, version or measured time is written. Each
//!   input has its own files, so the order of rows never depends on which of two cameras was faster.
//! - **Restarts:** a recorder that is restarted within a run continues its files. Another run replaces them at its
//!   first frame; a run that fails before that leaves them unchanged. A hidden file `.INPUT.run` names the run that
//!   made the files; files of these names without it are no run's, and the recorder refuses to replace them.
//!
//! An input of sound is recorded as `speech.wav` instead of a table, aligned to the media time of the frames: see
//! [`wav`].
//!
//! `recorded.json` holds the resume point of each stream, the last frame for which all tables are complete, where
//! `sideline run --start-at` resumes.
//!
//! Messages of a side input are recorded on arrival, with the frame that they name.
#![forbid(unsafe_code)]

pub mod dataset;
mod json_lines;
mod recording;
pub mod resume_points;
pub mod wav;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use sideline_api::{
    Config, Context, Error, Inputs, Mode, Operator, Outputs, PortType, Resources, Result, Spec, WiredInput,
};

use recording::{Options, Recording};
pub use recording::{check_replaceable, foreign_file_error, recorded_files, remove_recorded};
use resume_points::ResumePointWriter;

/// Writes every table wired to it as Parquet and JSON Lines, and sound as WAV.
#[derive(Clone, Debug, Config)]
pub struct RecorderConfig {
    /// Writes Parquet.
    #[config(default = true)]
    pub parquet: bool,
    /// Writes JSON Lines.
    #[config(default = true)]
    pub jsonl: bool,
    /// Number of frames in a Parquet row group. Raising it makes the files smaller; lowering it loses fewer frames when
    /// the process is killed.
    #[config(default = 300, range(1, 1_000_000))]
    pub row_group: u64,
    /// Subfolder of the run folder for the files; empty for the run folder itself. Two recorders with inputs of the
    /// same name need different folders.
    #[config(default = "")]
    pub folder: PathBuf,
}

/// Names of files that the runtime writes to the run folder, which no input may have.
const RESERVED_NAMES: [&str; 3] = ["timing", "run", "export"];

/// The operator `recorder`; see the documentation of the [crate].
pub struct Recorder {
    /// Recordings of the wired inputs, in their order.
    recordings: Vec<Recording>,
    /// False before the first frame. A run that fails before it leaves the recordings of an earlier run unchanged.
    has_begun: bool,
    /// Folder of the files.
    folder: PathBuf,
    /// `None` after a failure and after a restart, when a frame may be missing.
    resume_points: Option<ResumePointWriter>,
    row_group: u64,
    /// Progress since the last row group, by stream, so that it does not matter which of two sources is ahead.
    streams: BTreeMap<Arc<str>, StreamProgress>,
    /// The first failure, which `close` returns whatever `on_error` is set to.
    first_error: Option<Error>,
}

/// Progress of a stream since its last row group.
#[derive(Default)]
struct StreamProgress {
    /// Number of frames.
    frames: u64,
    /// For each input, true if it has frames of this stream.
    has_input: Vec<bool>,
}

impl Operator for Recorder {
    type Config = RecorderConfig;
    type State = ();

    fn spec() -> Spec {
        // Heavy: a slow disk must not block the lane of a model.
        Spec::operator("recorder").heavy().any_inputs(PortType::Any)
    }

    fn new(config: RecorderConfig, resources: &Resources) -> Result<Self> {
        if !config.parquet && !config.jsonl {
            return Err(Error::config("keys `parquet` and `jsonl` are both false: nothing would be written"));
        }
        if resources.inputs.is_empty() {
            return Err(Error::config("the recorder has no input: add one to `inputs:`, such as `poses: pose/poses`"));
        }
        let folder = resources.run_dir.join(&config.folder);
        std::fs::create_dir_all(&folder).map_err(|cause| dataset::write_error(&folder, cause))?;
        let options = Options {
            parquet: config.parquet,
            json_lines: config.jsonl,
            flush_interval_ns: if resources.mode == Mode::Live { 0 } else { 1_000_000_000 },
        };
        resources.inputs.iter().try_for_each(check_input)?;
        check_replaceable(&folder, resources.inputs.iter().map(|input| input.name.as_str()))?;
        let recordings: Vec<Recording> = resources
            .inputs
            .iter()
            .map(|input| Recording::lock(&folder, &resources.run, input, options))
            .collect::<Result<_>>()?;
        Ok(Self {
            recordings,
            has_begun: false,
            folder,
            resume_points: None,
            row_group: config.row_group,
            streams: BTreeMap::new(),
            first_error: None,
        })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
        let recorded = self.begin().and_then(|()| self.record(input)).and_then(|()| {
            // A closing message follows the last frame and is not a frame.
            if let Some(resume_points) = self.resume_points.as_mut().filter(|_| !cx.header.is_closing) {
                resume_points.add_frame(cx.header);
            }
            let progress = self.streams.entry(cx.header.stream.clone()).or_default();
            progress.frames += 1;
            progress.has_input.resize(self.recordings.len(), false);
            progress.has_input.iter_mut().zip(input.all()).for_each(|(has, (_, aligned))| *has |= aligned.is_some());
            if progress.frames < self.row_group {
                return Ok(());
            }
            let inputs = progress.has_input.clone();
            self.end_row_groups(&inputs)
        });
        self.keep_first_error(recorded)
    }

    // Records closing messages, and messages of side inputs since the last frame.
    fn stream_ended(&mut self, _: &Context, input: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
        let recorded = self.begin().and_then(|()| self.record(input));
        self.keep_first_error(recorded)
    }

    fn close(&mut self) -> Result<()> {
        let mut outcome = self.first_error.take().map_or(Ok(()), Err);
        // Every recording is closed, even if another one fails.
        for recording in self.recordings.drain(..) {
            let closed = recording.close();
            outcome = outcome.and(closed);
        }
        outcome.and_then(|()| self.resume_points.as_mut().map_or(Ok(()), ResumePointWriter::close))
    }
}

impl Recorder {
    /// Creates the files, at the first frame or at the end of a stream without frames.
    fn begin(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Ok(());
        }
        if !self.recordings.iter().any(Recording::resumes) {
            self.resume_points = Some(ResumePointWriter::new(&self.folder)?);
        }
        self.recordings.iter_mut().try_for_each(Recording::begin)
    }

    fn record(&mut self, input: &Inputs) -> Result<()> {
        let mut outcome = Ok(());
        for (recording, (port, aligned)) in self.recordings.iter_mut().zip(input.all()) {
            for message in aligned.into_iter().chain(input.side(&port.name)) {
                // A failure of one input does not stop the recording of the others.
                let recorded = recording.record(message);
                outcome = outcome.and(recorded);
            }
        }
        outcome
    }

    /// Ends the row groups of the selected inputs at the same frame, and advances the resume points of the streams
    /// whose inputs are all selected.
    fn end_row_groups(&mut self, inputs: &[bool]) -> Result<()> {
        for (recording, _) in self.recordings.iter_mut().zip(inputs).filter(|(_, selected)| **selected) {
            recording.end_row_groups()?;
        }
        let mut complete = vec![];
        for (stream, progress) in &mut self.streams {
            if progress.has_input.iter().zip(inputs).all(|(has, selected)| !has || *selected) {
                progress.frames = 0;
                complete.push(&**stream);
            }
        }
        self.resume_points.as_mut().map_or(Ok(()), |resume_points| resume_points.advance(&complete))
    }

    /// Keeps the first error, and stops the resume points after an error.
    fn keep_first_error(&mut self, outcome: Result<()>) -> Result<()> {
        if let Err(error) = &outcome {
            self.resume_points = None;
            self.first_error.get_or_insert_with(|| error.clone());
        }
        outcome
    }
}

/// Checks that an input can be recorded, before any file is created.
fn check_input(input: &WiredInput) -> Result<()> {
    let WiredInput { name, from, ty, .. } = input;
    if *ty == PortType::Frame {
        return Err(Error::config(format!(
            "input `{name}`: {from} sends frames, but the recorder writes tables; wire frames to `encode`"
        )));
    }
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
        return Err(Error::config(format!(
            "input `{name}`: the name of an input becomes a file name; use only letters, digits, `_` and `-`"
        )));
    }
    if RESERVED_NAMES.contains(&name.as_str()) {
        return Err(Error::config(format!(
            "input `{name}`: the runtime writes a file of that name; choose another name"
        )));
    }
    Ok(())
}
