//! `replay`: replays the tables of a recorded run beside the frames that they belong to.
//!
//! Operators behind pose or detection can so be run again, with other settings or another version, without running the
//! models again. `sideline run FLOW --from NODE --recording RUN` replaces all operators before `NODE` by this one.
//!
//! The input `frames` must have the same frames as the recorded run: rows are found by stream and frame number, and a
//! frame with another media time is an error. Each recorded table is an output of the name that it has in the recording;
//! frames that were skipped then are skipped again with the same reason. Rows that follow a stream's last frame are sent
//! at its end. Sound is not replayed: it comes from the source.
#![forbid(unsafe_code)]

mod cursor;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Error, Inputs, Operator, OutputPort, Outputs, PortType, Resources, Result, Spec, StreamName,
    TableType, Values,
    arrow::schema::SchemaRef,
    config::{Key, Problem},
    factory::{self, Instance, OperatorFactory},
    port::intern,
};
use sideline_recording::{HEADER_COLUMNS, RecordedTables};

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
        let mut outputs = vec![];
        for name in names {
            let Some(schema) = recording.table(name)?.schema()? else {
                return Err(Error::input(format!(
                    "{}: table `{name}` has no complete part: the run was killed before its first row group was written",
                    self.recording.display()
                )));
            };
            let ty = table_type(name, &schema, types).ok_or_else(|| {
                Error::input(format!(
                    "{}: the columns of `{name}` are those of no table of this program: was it recorded by another version?",
                    self.recording.display()
                ))
            })?;
            outputs.push(OutputPort { name: intern(name), ty: PortType::Table(ty) });
        }
        Ok(outputs)
    }
}

/// Returns the type of a recorded table: among the types with its columns that of its name, else the first one.
fn table_type(name: &str, schema: &SchemaRef, types: &[TableType]) -> Option<TableType> {
    let recorded = schema.fields().get(HEADER_COLUMNS..)?;
    let has_columns = |ty: &&TableType| {
        let fields = &ty.description().fields;
        fields.len() == recorded.len()
            && fields.iter().zip(recorded).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
    };
    types
        .iter()
        .filter(|ty| ty.description().name == name)
        .find(has_columns)
        .or(types.iter().find(has_columns))
        .copied()
}

/// The operator `replay`; see the documentation of the [crate].
pub struct Replay {
    /// One cursor for each output, with the name of the output.
    cursors: Vec<(&'static str, Cursor)>,
    /// Streams of this run that were checked to be in the recording.
    checked: Vec<StreamName>,
}

impl Replay {
    /// Checks at the first frame of a stream that it is in the recording. A recording without any row fits every stream.
    fn check_stream(&mut self, stream: &StreamName) -> Result<()> {
        if self.checked.contains(stream) {
            return Ok(());
        }
        let mut recorded: Vec<&str> =
            self.cursors.iter().flat_map(|(_, cursor)| cursor.streams()).map(String::as_str).collect();
        recorded.sort_unstable();
        recorded.dedup();
        if !recorded.is_empty() && !recorded.contains(&&**stream) {
            return Err(Error::input(format!(
                "stream `{stream}` is not in the recording, which has {}: replay it beside the input that it was made from",
                recorded.join(", ")
            )));
        }
        self.checked.push(stream.clone());
        Ok(())
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
        let mut cursors = vec![];
        for name in &resources.outputs {
            cursors.push((intern(name), Cursor::open(&recording, name)?));
        }
        Ok(Self { cursors, checked: vec![] })
    }

    fn process(&mut self, cx: &Context, _: &Inputs, _: &mut ReplayState, out: &mut Outputs) -> Result<()> {
        self.check_stream(&cx.header.stream)?;
        for (output, cursor) in &mut self.cursors {
            if let Some(reason) = cursor.skip_reason(cx.header)? {
                out.skip(output, reason)?;
            } else if let Some(rows) = cursor.rows(cx.header)? {
                out.table(output, rows)?;
            }
        }
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, _: &Inputs, _: &mut ReplayState, out: &mut Outputs) -> Result<()> {
        for (output, cursor) in &mut self.cursors {
            if let Some(rows) = cursor.closing_rows(cx.header)? {
                out.table(output, rows)?;
            }
        }
        Ok(())
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
