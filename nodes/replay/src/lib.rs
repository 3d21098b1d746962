//! `replay`: replays the tables of a recorded run beside the frames that they belong to.
//!
//! Operators behind pose or detection can so be run again, with other settings or another version, without running the
//! models again. `sideline run FLOW --from NODE --recording RUN` replaces all operators before `NODE` by this one.
//!
//! The input `frames` must have frames of the recorded run: rows are found by stream and frame number, and a frame with
//! another media time is an error. If one of the two runs may drop frames (`live` mode), so that their numbers differ, rows are
//! found by media time. Each recorded table is an output of the name that it has in the recording; frames that were skipped
//! then are skipped again with the same reason, and frames that the recording does not have with the reason `not_recorded`.
//! Rows that follow a stream's last frame are sent at its end, if all frames before them were replayed. Sound is not replayed:
//! it comes from the source.
//!
//! The report counts frames as `not_recorded`, and rows after the recorded end that were not sent as `closing_rows_left_out`.
#![forbid(unsafe_code)]

mod coverage;
mod cursor;

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Error, Inputs, Mode, Operator, OutputPort, Outputs, PortType, Reason, Resources, Result, Spec,
    StreamName, TableType, Values,
    arrow::schema::{DataType, Fields},
    config::{Key, Problem, did_you_mean},
    factory::{self, Instance, OperatorFactory},
    port::intern,
};
use sideline_recording::{RecordedTables, table_fields};

use coverage::Coverage;
use cursor::Cursor;

/// Replays recorded tables beside the frames that they belong to.
#[derive(Clone, Debug, Config)]
pub struct ReplayConfig {
    /// Folder of the recorded run; a relative path starts at the working directory. Empty replays nothing.
    #[config(default = "")]
    pub recording: PathBuf,
    /// Subfolder of the run in which the recorder wrote, its key `folder`; empty for the run folder itself.
    #[config(default = "")]
    pub folder: PathBuf,
    /// Names of the recorded tables to replay; empty for all.
    #[config(default = Vec::new())]
    pub tables: Vec<String>,
    /// Types of these tables, in the same order. If empty, they are found by the names and columns of the recorded tables.
    #[config(default = Vec::new())]
    pub types: Vec<String>,
}

impl ReplayConfig {
    /// Opens the recording. `None` without one.
    fn open(&self) -> Result<Option<RecordedTables>> {
        if self.recording.as_os_str().is_empty() {
            return Ok(None);
        }
        let tables = RecordedTables::open_folder(&self.recording.join(&self.folder));
        tables.map(Some).map_err(|error| error.at("key `recording`"))
    }

    /// Returns the outputs: the recorded tables with their types, in alphabetical order.
    fn outputs(&self, types: &[TableType]) -> Result<Vec<OutputPort>> {
        let Some(recording) = self.open()? else { return Ok(vec![]) };
        let names: Vec<&str> = match &self.tables[..] {
            [] => recording.names().collect(),
            names => names.iter().map(String::as_str).collect(),
        };
        if !self.types.is_empty() && self.types.len() != names.len() {
            return Err(Error::config(format!(
                "key `types` has {} names and key `tables` {}: give one type for each table, or none",
                self.types.len(),
                self.tables.len()
            )));
        }
        let mut outputs = vec![];
        for (at, name) in names.into_iter().enumerate() {
            let place = self.recording.display();
            let Some(schema) = recording.table(name)?.schema()? else {
                return Err(Error::input(format!(
                    "{place}: table `{name}` has no complete part: the run was killed before its first row group was written"
                )));
            };
            let fields = table_fields(&schema);
            let ty = match self.types.get(at) {
                Some(ty) => expected_type(ty, &fields, types)
                    .map_err(|error| error.at(format_args!("{place}: `{name}` was recorded with other columns")))?,
                None => table_type(name, &fields, types).ok_or_else(|| {
                    Error::input(format!(
                        "{place}: no table of this program has the columns of `{name}`: record the run again with this version, \
                         or install the plugin that sends the table"
                    ))
                })?,
            };
            outputs.push(OutputPort { name: intern(name), ty: PortType::Table(ty) });
        }
        Ok(outputs)
    }
}

/// Returns the type of that name.
///
/// # Errors
/// When there is none, or the recorded columns are others.
fn expected_type(ty: &str, recorded: &Fields, types: &[TableType]) -> Result<TableType> {
    let known = types.iter().find(|known| known.description().name == ty).copied();
    let known = known.ok_or_else(|| {
        let names = types.iter().map(|known| known.description().name.as_str());
        Error::config(format!("there is no table `{ty}`{}", did_you_mean(ty, names)))
    })?;
    known.check(&DataType::Struct(recorded.clone())).map(|()| known)
}

/// Returns the type of a recorded table: among the types with its columns that of its name, else the first one.
fn table_type(name: &str, recorded: &Fields, types: &[TableType]) -> Option<TableType> {
    let recorded = DataType::Struct(recorded.clone());
    let mut fitting = types.iter().filter(|ty| ty.check(&recorded).is_ok()).copied();
    let first = fitting.clone().next();
    fitting.find(|ty| ty.description().name == name).or(first)
}

/// Reason for which frames that the recording does not have are skipped, and the name of their count.
const NOT_RECORDED: &str = "not_recorded";

/// The operator `replay`; see the documentation of the [crate].
pub struct Replay {
    /// One cursor for each output, with the name of the output.
    cursors: Vec<(&'static str, Cursor)>,
    coverage: Arc<Coverage>,
    /// Streams of this run that were checked to be in the recording.
    checked: Vec<StreamName>,
    /// Streams with a frame that is not in the recording.
    incomplete: Vec<StreamName>,
    /// Frames that are not in the recording.
    not_recorded: u64,
    /// Recorded closing rows that were not sent because the recorded stream goes on after the end here.
    closing_rows_left_out: u64,
}

impl Replay {
    /// Checks at the first frame of a stream that it is in the recording. A recording without any row fits every stream.
    fn check_stream(&mut self, stream: &StreamName) -> Result<()> {
        if self.checked.contains(stream) {
            return Ok(());
        }
        let recorded: Vec<&str> = self.coverage.streams().collect();
        if !recorded.is_empty() && !recorded.contains(&&**stream) {
            return Err(Error::input(format!(
                "stream `{stream}` is not in the recording, which has {}: replay it beside the input that it was made from",
                recorded.join(", ")
            )));
        }
        self.checked.push(stream.clone());
        Ok(())
    }

    /// Counts a frame that is not in the recording, and warns of the first one.
    fn count_not_recorded(&mut self, cx: &Context) {
        self.not_recorded += 1;
        if !self.incomplete.contains(&cx.header.stream) {
            self.incomplete.push(cx.header.stream.clone());
            tracing::warn!(
                "frame {} of stream `{}` is not in the recording; it and others like it are skipped (`not_recorded`)",
                cx.header.frame,
                cx.header.stream
            );
        }
    }
}

/// State of one stream: nothing. Rows are found by their frame, so that a restart continues at the right one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReplayState;

impl Operator for Replay {
    type Config = ReplayConfig;
    type State = ReplayState;

    fn spec() -> Spec {
        Spec::operator("replay").heavy().required("frames", PortType::Frame)
    }

    fn new(config: ReplayConfig, resources: &Resources) -> Result<Self> {
        let Some(recording) = config.open()? else {
            return Err(Error::config("key `recording` is empty: name the folder of a recorded run"));
        };
        let coverage = Arc::new(Coverage::read(&recording, &config.recording, resources.mode == Mode::Live)?);
        let mut cursors = vec![];
        for name in &resources.outputs {
            cursors.push((intern(name), Cursor::open(&recording, name, &coverage)?));
        }
        Ok(Self { cursors, coverage, checked: vec![], incomplete: vec![], not_recorded: 0, closing_rows_left_out: 0 })
    }

    fn process(&mut self, cx: &Context, _: &Inputs, _: &mut ReplayState, out: &mut Outputs) -> Result<()> {
        self.check_stream(&cx.header.stream)?;
        let has_frame = self.coverage.has_frame(cx.header);
        let mut is_missing = false;
        for (output, cursor) in &mut self.cursors {
            if let Some(reason) = cursor.skip_reason(cx.header)? {
                out.skip(output, reason)?;
            } else if let Some(rows) = cursor.rows(cx.header)? {
                out.table(output, rows)?;
            } else if !has_frame {
                out.skip(output, Reason::Other(NOT_RECORDED.into()))?;
                is_missing = true;
            }
        }
        if is_missing {
            self.count_not_recorded(cx);
        }
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, _: &Inputs, _: &mut ReplayState, out: &mut Outputs) -> Result<()> {
        for (output, cursor) in &mut self.cursors {
            let (rows, left_out) = cursor.closing_rows(cx.header)?;
            self.closing_rows_left_out += left_out;
            if let Some(rows) = rows {
                out.table(output, rows)?;
            }
        }
        Ok(())
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![(NOT_RECORDED, self.not_recorded), ("closing_rows_left_out", self.closing_rows_left_out)]
    }
}

/// Factory of [`Replay`], whose outputs are the tables of the configured recording.
struct ReplayFactory<F> {
    operator: F,
    types: Vec<TableType>,
}

/// Returns the factory of `replay`. `types` are the tables that may have been recorded.
pub fn replay(types: Vec<TableType>) -> impl OperatorFactory {
    ReplayFactory { operator: factory::operator::<Replay>(), types }
}

impl<F: OperatorFactory> OperatorFactory for ReplayFactory<F> {
    fn spec(&self, values: &Values) -> Result<Spec> {
        let mut spec = self.operator.spec(values)?;
        // Problems of the configuration are reported by `check`.
        if let Ok(config) = ReplayConfig::from_values(values) {
            spec.outputs = config.outputs(&self.types)?;
        }
        Ok(spec)
    }
    fn about(&self) -> &str {
        self.operator.about()
    }
    fn keys(&self) -> &[Key] {
        self.operator.keys()
    }
    fn check(&self, values: &Values) -> Vec<Problem> {
        self.operator.check(values)
    }
    fn resolve(&self, values: &Values) -> Vec<(String, sideline_api::serde_json::Value)> {
        self.operator.resolve(values)
    }
    fn models(&self, values: &Values) -> Vec<String> {
        self.operator.models(values)
    }
    fn finite(&self, values: &Values) -> bool {
        self.operator.finite(values)
    }
    fn make(&self, values: &Values, resources: &Resources) -> Result<Instance> {
        self.operator.make(values, resources)
    }
}
