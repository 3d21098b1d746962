//! The recording of one input: its rows, and the frames that were skipped on it.

use std::{
    collections::HashMap,
    fs::{File, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use sideline_api::{
    Body, Error, Header, Message, Payload, PortType, Reason, Result, TableType, WiredInput,
    arrow::{
        array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, StructArray, UInt32Array, UInt64Array},
        schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef},
    },
    serde_json,
    table::ColumnDescription,
};

use crate::{
    dataset::{self, Dataset, write_error},
    json_lines::JsonLines,
    resume_points,
    wav::{WavFiles, is_sound},
};

/// Formats of the recorded files, from the configuration and the mode of the recorder.
#[derive(Clone, Copy)]
pub struct Options {
    /// Writes Parquet.
    pub parquet: bool,
    /// Writes JSON Lines.
    pub json_lines: bool,
    /// Media time between writes of JSON Lines, in nanoseconds.
    pub flush_interval_ns: i64,
}

/// The files of one input.
pub struct Recording {
    name: String,
    folder: PathBuf,
    options: Options,
    /// Name of the run.
    run: String,
    /// True if the files of the folder are continued, false if they are replaced.
    resumes: bool,
    /// Type of the table, if it is known before the first row.
    table: Option<TableType>,
    /// `None` before the first row, if the type of the input is not known earlier.
    rows: Option<TableWriter>,
    /// Replaces `rows` for an input of sound.
    wav_files: Option<WavFiles>,
    /// `None` before the first skipped frame.
    skipped: Option<TableWriter>,
    /// Locked file with the name of the run, so that no two recorders write the same files.
    run_file: File,
}

impl Recording {
    /// Locks the files of an input, without changing them before [`Recording::begin`].
    ///
    /// # Errors
    /// When the files cannot be locked, another recorder writes them, or a column of the table cannot be recorded.
    pub fn lock(folder: &Path, run: &str, input: &WiredInput, options: Options) -> Result<Self> {
        let table = match input.ty {
            PortType::Table(table) => Some(table),
            _ => None,
        };
        if let Some(table) = table.filter(|table| !is_sound(&table.fields)) {
            let schema = schema(&input.name, &table.fields, Some(table))?;
            if options.json_lines {
                JsonLines::check(&lines_path(folder, &input.name), &schema)?;
            }
        }
        let (run_file, resumes) = lock_run_file(folder, run, &input.name)?;
        Ok(Self {
            name: input.name.clone(),
            folder: folder.to_owned(),
            options,
            run: run.into(),
            resumes,
            table,
            rows: None,
            wav_files: None,
            skipped: None,
            run_file,
        })
    }

    /// Creates the files, and removes those of an earlier run.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn begin(&mut self) -> Result<()> {
        if !self.resumes {
            if read_run(&self.folder, &self.name).is_some() {
                recorded_paths(&self.folder, &self.name)?.iter().try_for_each(|path| dataset::remove(path))?;
            }
            let path = run_file_path(&self.folder, &self.name);
            let run_file = &mut self.run_file;
            run_file
                .set_len(0)
                .and_then(|()| run_file.rewind())
                .and_then(|()| run_file.write_all(self.run.as_bytes()))
                .map_err(|cause| write_error(&path, cause))?;
        }
        match self.table {
            Some(table) => self.open(&table.description().fields),
            None => Ok(()),
        }
    }

    /// Returns true if files that this run wrote before are continued.
    pub fn resumes(&self) -> bool {
        self.resumes
    }

    /// Records one message.
    ///
    /// # Errors
    /// When the message cannot be written or is a frame.
    pub fn record(&mut self, message: &Message) -> Result<()> {
        let header = &message.header;
        match &message.body {
            Body::Data(Payload::Table(rows)) => self.write_rows(header, rows)?,
            Body::Skipped(reason) => self.write_skip(header, reason)?,
            Body::Data(Payload::Frame(_)) => {
                return Err(Error::config(format!(
                    "input `{}`: received a frame, but the recorder writes tables; wire frames to `encode`",
                    self.name
                )));
            }
            Body::End { .. } => {}
        }
        Ok(())
    }

    /// Ends the row groups, so that all rows so far survive a kill of the process.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn end_row_groups(&mut self) -> Result<()> {
        self.rows.iter_mut().chain(&mut self.skipped).try_for_each(TableWriter::end_row_group)
    }

    /// Opens the files for rows with these columns.
    fn open(&mut self, fields: &Fields) -> Result<()> {
        if is_sound(fields) {
            self.wav_files = Some(WavFiles::open(&self.folder, &self.name, self.resumes)?);
        } else {
            self.rows = Some(self.open_table(&self.name, fields, self.table)?);
        }
        Ok(())
    }

    fn write_rows(&mut self, header: &Header, rows: &StructArray) -> Result<()> {
        if self.rows.is_none() && self.wav_files.is_none() {
            self.open(rows.fields())?;
        }
        match (&mut self.rows, &mut self.wav_files) {
            (Some(table), _) => {
                table.add_names(rows.fields());
                table.write(header, rows.len(), rows.columns())
            }
            (None, Some(wav_files)) => wav_files.write(header, rows),
            (None, None) => Ok(()),
        }
    }

    fn write_skip(&mut self, header: &Header, reason: &Reason) -> Result<()> {
        if self.skipped.is_none() {
            let text = |name| Field::new(name, DataType::Utf8, false);
            let fields = Fields::from(vec![text("input"), text("reason")]);
            self.skipped = Some(self.open_table(&skipped_name(&self.name), &fields, None)?);
        }
        let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        match &mut self.skipped {
            Some(table) => table.write(header, 1, &[text(&self.name), text(&reason.to_string())]),
            None => Ok(()),
        }
    }

    fn open_table(&self, name: &str, fields: &Fields, table: Option<TableType>) -> Result<TableWriter> {
        TableWriter::open(&self.folder, name, schema(name, fields, table)?, self.options, self.resumes)
    }

    /// Writes the remaining rows and closes the files.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn close(self) -> Result<()> {
        let mut outcome = Ok(());
        for table in self.rows.into_iter().chain(self.skipped) {
            let closed = table.close();
            outcome = outcome.and(closed);
        }
        outcome
    }
}

/// Returns the table name for the skipped frames of an input.
fn skipped_name(input: &str) -> String {
    format!("{input}.skipped")
}

/// Returns the path of the hidden file with the name of the run that recorded an input.
fn run_file_path(folder: &Path, input: &str) -> PathBuf {
    folder.join(format!(".{input}.run"))
}

fn lines_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.jsonl"))
}

/// Returns the name of the run that recorded an input to a folder, from the run file; `None` if no run has.
fn read_run(folder: &Path, input: &str) -> Option<String> {
    // Empty if the run ended before its first frame.
    std::fs::read_to_string(run_file_path(folder, input)).ok().filter(|run| !run.is_empty())
}

/// Returns the existing files and folders that have a name of the recording of an input, whoever made them.
fn recorded_paths(folder: &Path, input: &str) -> Result<Vec<PathBuf>> {
    let mut paths = vec![];
    for name in [input.to_owned(), skipped_name(input)] {
        paths.extend(Dataset::paths(&folder.join(format!("{name}.parquet"))));
        paths.push(lines_path(folder, &name));
    }
    paths.retain(|path| exists(path));
    paths.extend(WavFiles::list(folder, input)?);
    Ok(paths)
}

/// Returns true if there is a file, a folder or a link at a path.
fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Returns each input that a run has recorded to a folder, and the name of that run.
fn recorded_inputs(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut inputs = vec![];
    for entry in std::fs::read_dir(folder).map_err(|cause| write_error(folder, cause))? {
        let name = entry.map_err(|cause| write_error(folder, cause))?.file_name();
        let input = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".run"));
        // Names of inputs have no dot; the run file of a video has one.
        let Some(input) = input.filter(|input| !input.contains('.')) else { continue };
        inputs.extend(read_run(folder, input).map(|run| (input.to_owned(), run)));
    }
    Ok(inputs)
}

/// Checks that a recording of these inputs would replace no file that no run has made: each input has a run file
/// (`.INPUT.run`), or there is no file of its names.
///
/// # Errors
/// `Output`, with the file and the remedy, if it would; or if the folder cannot be read.
pub fn check_replaceable<'a>(folder: &Path, inputs: impl IntoIterator<Item = &'a str>) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for input in inputs {
        if read_run(folder, input).is_none()
            && let Some(path) = recorded_paths(folder, input)?.first()
        {
            return Err(foreign_file_error(path));
        }
    }
    let resume_points = folder.join(resume_points::FILE_NAME);
    if exists(&resume_points) && recorded_inputs(folder)?.is_empty() {
        return Err(foreign_file_error(&resume_points));
    }
    Ok(())
}

/// Returns the error for a file that no run has made where a run would write a file of the same name.
pub fn foreign_file_error(path: &Path) -> Error {
    Error::output(format!(
        "{}: no run has made this, and a result of this run would replace it; move it away, or name another folder \
         (`--output`, SIDELINE_RUN_DIR)",
        path.display()
    ))
}

/// Returns the files and folders that a run has recorded to a folder: those of the inputs whose run file has its name.
///
/// # Errors
/// When the folder cannot be read.
pub fn recorded_files(folder: &Path, run: &str) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    let inputs = recorded_inputs(folder)?;
    for (input, _) in inputs.iter().filter(|(_, recorded_by)| recorded_by == run) {
        files.extend(recorded_paths(folder, input)?);
    }
    let resume_points = folder.join(resume_points::FILE_NAME);
    // Another run that records to the same folder replaces the file.
    if !inputs.is_empty() && inputs.iter().all(|(_, recorded_by)| recorded_by == run) && exists(&resume_points) {
        files.push(resume_points);
    }
    Ok(files)
}

/// Removes what a run has recorded to a folder. The run files of inputs that another recorder has locked stay: it
/// overwrites them when it begins.
///
/// # Errors
/// When the folder cannot be read or a file cannot be removed.
pub fn remove_recorded(folder: &Path, run: &str) -> Result<()> {
    let inputs = recorded_inputs(folder)?;
    recorded_files(folder, run)?.iter().try_for_each(|path| dataset::remove(path))?;
    for (input, _) in inputs.iter().filter(|(_, recorded_by)| recorded_by == run) {
        let path = run_file_path(folder, input);
        let file = File::open(&path).map_err(|cause| write_error(&path, cause))?;
        if file.try_lock().is_ok() {
            dataset::remove(&path)?;
        }
    }
    Ok(())
}

/// Locks the run file of an input, and returns it with true if this run wrote the files before, which is the case after
/// a restart of the recorder.
///
/// The run file is hidden and holds the name of the run. It is separate from the tables, which do not depend on that
/// name.
fn lock_run_file(folder: &Path, run: &str, input: &str) -> Result<(File, bool)> {
    let path = run_file_path(folder, input);
    let fail = |cause| write_error(&path, cause);
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::config(format!(
                "input `{input}`: another recorder writes `{input}` into {}; give one of the two a `folder`",
                folder.display()
            )));
        }
        Err(TryLockError::Error(cause)) => return Err(fail(cause)),
    }
    let mut previous_run = String::new();
    file.read_to_string(&mut previous_run).map_err(fail)?;
    Ok((file, previous_run == run))
}

/// Writes a table in both formats.
struct TableWriter {
    schema: SchemaRef,
    dataset: Option<Dataset>,
    lines: Option<JsonLines>,
}

impl TableWriter {
    fn open(folder: &Path, name: &str, schema: SchemaRef, options: Options, resumes: bool) -> Result<Self> {
        let dataset = match options.parquet {
            true => Some(Dataset::open(folder.join(format!("{name}.parquet")), schema.clone(), resumes)?),
            false => None,
        };
        let lines = match options.json_lines {
            true => Some(JsonLines::open(lines_path(folder, name), &schema, options.flush_interval_ns)?),
            false => None,
        };
        Ok(Self { schema, dataset, lines })
    }

    /// Adds the names of items that the first rows bring with them, such as those of a model's classes.
    fn add_names(&mut self, fields: &Fields) {
        let Some(dataset) = self.dataset.as_mut().filter(|dataset| !dataset.has_rows()) else { return };
        let named = |field: &FieldRef| -> FieldRef {
            let names = fields.find(field.name()).and_then(|(_, field)| field.metadata().get(NAMES));
            let Some(names) = names.filter(|names| field.metadata().get(NAMES) != Some(names)) else {
                return field.clone();
            };
            let mut metadata = field.metadata().clone();
            metadata.insert(NAMES.to_owned(), names.clone());
            Arc::new(Field::clone(field).with_metadata(metadata))
        };
        let fields: Vec<FieldRef> = self.schema.fields().iter().map(named).collect();
        if fields[..] != self.schema.fields()[..] {
            self.schema = Arc::new(Schema::new(fields));
            dataset.set_schema(self.schema.clone());
        }
    }

    fn write(&mut self, header: &Header, rows: usize, columns: &[ArrayRef]) -> Result<()> {
        if rows > 0 {
            let mut all: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&*header.stream, rows))),
                Arc::new(UInt32Array::from_value(header.session, rows)),
                Arc::new(Int64Array::from_value(header.frame as i64, rows)),
                Arc::new(Int64Array::from_value(header.pts, rows)),
            ];
            let recorded = &self.schema.fields()[all.len()..];
            all.extend(columns.iter().zip(recorded).map(|(column, field)| to_recorded(column, field.data_type())));
            let batch = RecordBatch::try_new(self.schema.clone(), all).map_err(|cause| {
                Error::other(format!("frame {}: the columns of the table have changed: {cause}", header.frame))
            })?;
            if let Some(dataset) = &mut self.dataset {
                dataset.append(&batch)?;
            }
            if let Some(lines) = &mut self.lines {
                lines.append(&batch)?;
            }
        }
        self.lines.as_mut().map_or(Ok(()), |lines| lines.flush_if_due(header.pts))
    }

    fn end_row_group(&mut self) -> Result<()> {
        self.lines.as_mut().map_or(Ok(()), JsonLines::flush)?;
        self.dataset.as_mut().map_or(Ok(()), Dataset::end_row_group)
    }

    fn close(self) -> Result<()> {
        let lines = self.lines.map_or(Ok(()), JsonLines::close);
        self.dataset.map_or(Ok(()), Dataset::close).and(lines)
    }
}

/// Key in the metadata of a column for the names of the items of a list, or of the values of a number.
const NAMES: &str = "names";

/// Units of the columns that hold frame numbers or numbers of frames. They are recorded as signed numbers: the difference of two
/// unsigned ones wraps in pandas and Polars.
const FRAME_UNITS: [&str; 2] = ["frame", "frames"];

/// Returns the schema of a recorded table: the columns of the recorder, then those of the table. The metadata of a column hold its
/// `unit`, the `names` of the items of a list as JSON, one list of names for each dimension, and the `message_type`, which is the type
/// in messages if it is another one.
///
/// # Errors
/// When the table has a column with the name of one of the recorder's.
fn schema(name: &str, fields: &Fields, table: Option<TableType>) -> Result<SchemaRef> {
    let in_unit = |field: Field, unit: &str| field.with_metadata([("unit".to_owned(), unit.to_owned())].into());
    let own = [
        Field::new("stream", DataType::Utf8, false),
        Field::new("session", DataType::UInt32, false),
        in_unit(Field::new("frame", DataType::Int64, false), "frame"),
        in_unit(Field::new("pts", DataType::Int64, false), "ns"),
    ];
    if let Some(taken) = own.iter().find(|column| fields.find(column.name()).is_some()) {
        return Err(Error::config(format!(
            "table `{name}` has a column `{0}`, which is also a column of the recorder: rename it (a row about another \
             frame calls its frame `at`)",
            taken.name()
        )));
    }
    let described = fields.iter().map(|field| {
        let columns = table.map(|table| &table.description().columns[..]).unwrap_or_default();
        recorded_field(field, columns.iter().find(|column| column.name == *field.name()))
    });
    let all: Vec<FieldRef> = own.into_iter().chain(described).map(Arc::new).collect();
    Ok(Arc::new(Schema::new(all)))
}

/// Returns the field of a recorded column, with the metadata of its description.
fn recorded_field(field: &Field, column: Option<&ColumnDescription>) -> Field {
    let Some(column) = column else { return field.clone() };
    let mut metadata = HashMap::new();
    if !column.unit.is_empty() {
        metadata.insert("unit".to_owned(), column.unit.clone());
    }
    if !column.names.is_empty() {
        metadata.insert(NAMES.to_owned(), serde_json::json!(column.names).to_string());
    }
    let mut data_type = field.data_type().clone();
    if data_type == DataType::UInt64 && FRAME_UNITS.contains(&column.unit.as_str()) {
        metadata.insert("message_type".to_owned(), data_type.to_string());
        data_type = DataType::Int64;
    }
    Field::new(field.name(), data_type, field.is_nullable()).with_metadata(metadata)
}

/// Converts a column of frame numbers to signed numbers, where they are recorded as such.
fn to_recorded(column: &ArrayRef, recorded: &DataType) -> ArrayRef {
    match column.as_any().downcast_ref::<UInt64Array>() {
        Some(numbers) if *recorded == DataType::Int64 => {
            let signed = numbers.values().iter().map(|number| *number as i64).collect();
            Arc::new(Int64Array::new(signed, numbers.nulls().cloned()))
        }
        _ => column.clone(),
    }
}
