//! `recorder`: writes every table that is wired to it, for people and for programs.
//!
//! An input `poses` becomes `poses.parquet` and `poses.jsonl` in the run's folder: the columns `stream`, `session`,
//! `frame` and `pts` (media time, ns), then the table's own, a row for a row. A frame without rows leaves none. A frame
//! that was skipped is a row of `poses.skipped.parquet` and `.jsonl` with its reason; without skips there are no such
//! files. In JSON, which has no NaN, 'not seen' is `null`.
//!
//! - **While it runs, and after a kill,** `poses.parquet` is a folder of complete Parquet files, one for each
//!   `row_group` frames, which pandas, Polars and PyArrow read under the same name (DuckDB: `poses.parquet/*.parquet`).
//!   The end of the run turns it into one file. JSON Lines are written at every frame in live mode, else at every
//!   second of media time; after a kill the last line may be cut.
//! - **The same bytes again:** row groups are cut by frame count, and no date, version or measured time is written. Each
//!   input has files of its own, so the order of rows never depends on which of two cameras was faster.
//! - **A recorder that is made anew within a run** goes on where the files end; another run begins them anew, at its first
//!   frame: one that cannot begin leaves them as they are.
//!
//! An input of sound becomes `speech.wav` in place of a table, on the time line of the pictures: see [`wave`].
//!
//! `recorded.json` says of each stream up to which frame all tables are whole: where `sideline run --start-at` goes on.
//!
//! A side input is recorded in the frame its messages name, when they come.
#![forbid(unsafe_code)]

pub mod dataset;
mod lines;
mod recording;
pub mod wave;
pub mod whole;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use sideline_api::{
    Config, Context, Error, Inputs, Mode, Operator, Outputs, PortType, Resources, Result, Spec, WiredInput,
};

pub use recording::remove_recorded;
use recording::{Options, Recording};
use whole::Whole;

/// Writes every table wired to it as Parquet and JSON Lines, and sound as WAV.
#[derive(Clone, Debug, Config)]
pub struct RecorderConfig {
    /// Whether Parquet is written.
    #[config(default = true)]
    pub parquet: bool,
    /// Whether JSON Lines are written.
    #[config(default = true)]
    pub jsonl: bool,
    /// Frames in a row group of Parquet. A kill loses at most these; higher gives smaller files.
    #[config(default = 300, range(1, 1_000_000))]
    pub row_group: u64,
    /// Folder within the run's folder; empty for the run's own. Two recorders of equally named inputs need two.
    #[config(default = "")]
    pub folder: PathBuf,
}

/// Names in the run's folder that are the runtime's own.
const RESERVED: [&str; 3] = ["timing", "run", "export"];

/// See the documentation of the [crate].
pub struct Recorder {
    /// One for each wired input, in their order.
    recordings: Vec<Recording>,
    /// False until the first frame: a run that does not come so far leaves what an earlier one recorded.
    begun: bool,
    /// Folder of the files.
    folder: PathBuf,
    /// None once a frame may be missing: after a failure, and so when it was made anew.
    whole: Option<Whole>,
    row_group: u64,
    /// By stream, what came since its row groups were last cut: where one of two sources is ahead does not matter.
    streams: BTreeMap<Arc<str>, Came>,
    /// The first failure: it comes back at the end, whatever `on_error` made of it.
    failed: Option<Error>,
}

/// What came of a stream.
#[derive(Default)]
struct Came {
    /// Frames since the row groups were last cut.
    frames: u64,
    /// For each input whether it has frames of this stream.
    inputs: Vec<bool>,
}

impl Operator for Recorder {
    type Config = RecorderConfig;
    type State = ();

    fn spec() -> Spec {
        // Heavy: a disk that is slow to answer must not hold the thread of a model.
        Spec::operator("recorder").heavy().any_inputs(PortType::Any)
    }

    fn new(config: RecorderConfig, resources: &Resources) -> Result<Self> {
        if !config.parquet && !config.jsonl {
            return Err(Error::config("keys `parquet` and `jsonl` are both false: nothing would be written"));
        }
        if resources.inputs.is_empty() {
            return Err(Error::config(
                "nothing is wired to the recorder: give it `inputs:`, such as `poses: pose/poses`",
            ));
        }
        let folder = resources.run_dir.join(&config.folder);
        std::fs::create_dir_all(&folder).map_err(|cause| dataset::failed(&folder, cause))?;
        let options = Options {
            parquet: config.parquet,
            lines: config.jsonl,
            flush_after: if resources.mode == Mode::Live { 0 } else { 1_000_000_000 },
        };
        let recordings: Vec<Recording> = resources
            .inputs
            .iter()
            .map(|input| {
                check(input)?;
                Recording::take(&folder, &resources.run, input, options)
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            recordings,
            begun: false,
            folder,
            whole: None,
            row_group: config.row_group,
            streams: BTreeMap::new(),
            failed: None,
        })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
        let recorded = self.begin().and_then(|()| self.record(input)).and_then(|()| {
            // A closing message comes behind the last frame and is none.
            if let Some(whole) = self.whole.as_mut().filter(|_| !cx.header.closing) {
                whole.recorded(cx.header);
            }
            let came = self.streams.entry(cx.header.stream.clone()).or_default();
            came.frames += 1;
            came.inputs.resize(self.recordings.len(), false);
            came.inputs.iter_mut().zip(input.all()).for_each(|(has, (_, aligned))| *has |= aligned.is_some());
            if came.frames < self.row_group {
                return Ok(());
            }
            let inputs = came.inputs.clone();
            self.cut(&inputs)
        });
        self.noting(recorded)
    }

    // Closing messages, and what came on side inputs since the last frame.
    fn stream_ended(&mut self, _: &Context, input: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
        let recorded = self.begin().and_then(|()| self.record(input));
        self.noting(recorded)
    }

    fn close(&mut self) -> Result<()> {
        let mut outcome = self.failed.take().map_or(Ok(()), Err);
        // Each is closed, whatever became of the others.
        for recording in self.recordings.drain(..) {
            let closed = recording.close();
            outcome = outcome.and(closed);
        }
        outcome.and_then(|()| self.whole.as_mut().map_or(Ok(()), Whole::close))
    }
}

impl Recorder {
    /// Makes the files at the first frame, or at the end of a stream without any.
    fn begin(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        if !self.recordings.iter().any(Recording::resumes) {
            self.whole = Some(Whole::new(&self.folder)?);
        }
        self.recordings.iter_mut().try_for_each(Recording::begin)
    }

    fn record(&mut self, input: &Inputs) -> Result<()> {
        let mut outcome = Ok(());
        for (recording, (port, aligned)) in self.recordings.iter_mut().zip(input.all()) {
            for message in aligned.into_iter().chain(input.side(&port.name)) {
                // A failure of one input leaves the others whole.
                let recorded = recording.record(message);
                outcome = outcome.and(recorded);
            }
        }
        outcome
    }

    /// Ends the row groups of these inputs at the same frame. Streams that have no others are whole up to here.
    fn cut(&mut self, inputs: &[bool]) -> Result<()> {
        for (recording, _) in self.recordings.iter_mut().zip(inputs).filter(|(_, chosen)| **chosen) {
            recording.cut()?;
        }
        let mut whole = vec![];
        for (stream, came) in &mut self.streams {
            if came.inputs.iter().zip(inputs).all(|(has, cut)| !has || *cut) {
                came.frames = 0;
                whole.push(&**stream);
            }
        }
        self.whole.as_mut().map_or(Ok(()), |file| file.write(&whole))
    }

    fn noting(&mut self, outcome: Result<()>) -> Result<()> {
        if let Err(error) = &outcome {
            self.whole = None;
            self.failed.get_or_insert_with(|| error.clone());
        }
        outcome
    }
}

/// Refuses an input that cannot be recorded, before anything is.
fn check(input: &WiredInput) -> Result<()> {
    let WiredInput { name, from, ty, .. } = input;
    if *ty == PortType::Frame {
        return Err(Error::config(format!(
            "input `{name}`: {from} sends frames, the recorder writes tables; wire frames to `encode`"
        )));
    }
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
        return Err(Error::config(format!(
            "input `{name}`: its name becomes that of a file; use letters, digits, `_` and `-`"
        )));
    }
    if RESERVED.contains(&name.as_str()) {
        return Err(Error::config(format!("input `{name}`: the run has a file of that name already; choose another")));
    }
    Ok(())
}
