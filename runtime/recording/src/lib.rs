//! Readers of the tables that the recorder wrote to the folder of a run, also of an interrupted run.
//!
//! A table `NAME.parquet` is a single file after a run has ended, and a folder of complete files during the run and after a
//! kill. `NAME.skipped.parquet` lists the skipped frames of the table.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, StructArray, UInt64Array};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
};
use serde::Deserialize;
use sideline_api::{Error, Failure, OrFail, Result, config::did_you_mean, serde_json};

/// Rows per batch: of the widest tables, poses and motion, these are some megabytes.
const BATCH_ROWS: usize = 1024;

/// Names of the Parquet files in a run's folder that are not tables of the recorder.
const OTHER_FILES: [&str; 2] = ["timing", "export"];

/// Content of `recorded.json`.
#[derive(Deserialize)]
struct ResumePoints {
    streams: BTreeMap<String, FramePosition>,
}

/// Position of a frame in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct FramePosition {
    /// Frame number.
    pub frame: u64,
    /// Media time, in nanoseconds.
    pub pts: i64,
}

/// The tables of a run.
pub struct RecordedTables {
    folder: PathBuf,
    tables: BTreeMap<String, RecordedTable>,
}

/// One recorded table.
#[derive(Clone)]
pub struct RecordedTable {
    /// Name of the table, which is that of the recorder's input.
    pub name: String,
    /// Files of the table, in order; none if a run was interrupted before the first one was complete.
    files: Vec<PathBuf>,
    /// False if the run was interrupted: the last rows are missing.
    pub is_complete: bool,
}

impl RecordedTables {
    /// Opens the tables in the folder of a run.
    ///
    /// # Errors
    /// If it is not the folder of a run, or holds no recorded table.
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.join("run.json").is_file() {
            return Err(Error::input(format!(
                "{} is not the folder of a run: it has no run.json; runs are written to `--output`, else to `runs` \
                 beside the flow",
                folder.display()
            )));
        }
        Self::open_folder(folder)
    }

    /// Opens the tables in a folder that need not be that of a run: a recorder may write to a subfolder.
    ///
    /// # Errors
    /// If the folder cannot be read, or holds no recorded table.
    pub fn open_folder(folder: &Path) -> Result<Self> {
        let mut tables = BTreeMap::new();
        let entries = std::fs::read_dir(folder).or_fail(Failure::Input, || folder.display().to_string())?;
        for entry in entries {
            let path = entry.or_fail(Failure::Input, || folder.display().to_string())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(name) = name.strip_suffix(".parquet").filter(|name| !name.starts_with('.')) else { continue };
            if !OTHER_FILES.contains(&name) {
                tables.insert(name.to_owned(), RecordedTable::open(name, &path)?);
            }
        }
        if !tables.keys().any(|name| !name.ends_with(SKIPPED_SUFFIX)) {
            return Err(Error::input(format!(
                "{}: no table was recorded as Parquet there; add a `recorder` to the flow, and leave its key `parquet` \
                 true",
                folder.display()
            )));
        }
        Ok(Self { folder: folder.to_owned(), tables })
    }

    /// Returns the names of the tables, without those of skipped frames, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.tables.keys().map(String::as_str).filter(|name| !name.ends_with(SKIPPED_SUFFIX))
    }

    /// Returns a table.
    ///
    /// # Errors
    /// If there is no table of this name.
    pub fn table(&self, name: &str) -> Result<RecordedTable> {
        self.tables.get(name).cloned().ok_or_else(|| {
            Error::input(format!(
                "{}: no table `{name}` was recorded{}",
                self.folder.display(),
                did_you_mean(name, self.names())
            ))
        })
    }

    /// Returns the last frame of each stream that is complete in all tables, from `recorded.json`; `None` without that file, which
    /// a recorder that failed or was restarted before its first row group does not write.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn last_frames(&self) -> Result<Option<BTreeMap<String, FramePosition>>> {
        let path = self.folder.join("recorded.json");
        if !path.is_file() {
            return Ok(None);
        }
        let place = || path.display().to_string();
        let text = std::fs::read_to_string(&path).or_fail(Failure::Input, place)?;
        let ResumePoints { streams } = serde_json::from_str(&text).or_fail(Failure::Input, place)?;
        Ok(Some(streams))
    }

    /// Returns the table of the frames that a table skipped; `None` if it skipped none.
    pub fn skipped_frames(&self, name: &str) -> Option<RecordedTable> {
        self.tables.get(&format!("{name}{SKIPPED_SUFFIX}")).cloned()
    }
}

/// Suffix of the name of a table of skipped frames.
const SKIPPED_SUFFIX: &str = ".skipped";

impl RecordedTable {
    fn open(name: &str, path: &Path) -> Result<Self> {
        let is_complete = path.is_file();
        let files = if is_complete {
            vec![path.to_owned()]
        } else {
            (0..).map(|part| path.join(format!("part-{part:05}.parquet"))).take_while(|part| part.is_file()).collect()
        };
        Ok(Self { name: name.to_owned(), files, is_complete })
    }

    /// Returns the schema; `None` if no part was complete before the run was interrupted.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn schema(&self) -> Result<Option<SchemaRef>> {
        self.files.first().map(|file| Ok(builder(file)?.schema().clone())).transpose()
    }

    /// Returns all rows, in batches.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn batches(&self) -> Result<Batches> {
        self.columns(None)
    }

    /// Returns some columns of all rows, in batches; `None` for all columns.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn columns(&self, columns: Option<&'static [&'static str]>) -> Result<Batches> {
        Ok(Batches { files: self.files.clone().into_iter(), open: None, columns })
    }
}

/// Iterator over the rows of a table, in batches.
pub struct Batches {
    files: std::vec::IntoIter<PathBuf>,
    open: Option<(PathBuf, ParquetRecordBatchReader)>,
    columns: Option<&'static [&'static str]>,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((path, reader)) = &mut self.open
                && let Some(batch) = reader.next()
            {
                return Some(batch.or_fail(Failure::Input, || path.display().to_string()));
            }
            let path = self.files.next()?;
            match reader(&path, self.columns) {
                Ok(reader) => self.open = Some((path, reader)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).or_fail(Failure::Input, || path.display().to_string())?;
    ParquetRecordBatchReaderBuilder::try_new(file).or_fail(Failure::Input, || path.display().to_string())
}

fn reader(path: &Path, columns: Option<&[&str]>) -> Result<ParquetRecordBatchReader> {
    let mut builder = builder(path)?.with_batch_size(BATCH_ROWS);
    if let Some(columns) = columns {
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    builder.build().or_fail(Failure::Input, || path.display().to_string())
}

/// Number of columns before those of the table: `stream`, `session`, `frame` and `pts`.
pub const HEADER_COLUMNS: usize = 4;

/// Returns the media time of each row, ns.
///
/// # Errors
/// If the table was not written by a recorder.
pub fn media_times_ns(batch: &RecordBatch) -> Result<Vec<i64>> {
    Ok(column::<Int64Array>(batch, "pts")?.values().to_vec())
}

/// Returns the stream and the frame number of each row.
///
/// # Errors
/// If the table was not written by a recorder.
pub fn stream_and_frame(batch: &RecordBatch) -> Result<(&StringArray, Vec<u64>)> {
    Ok((column(batch, "stream")?, frame_numbers(batch, "frame")?))
}

/// Returns a column of frame numbers.
///
/// # Errors
/// If there is no column of this name and type, or a number is negative.
pub fn frame_numbers(batch: &RecordBatch, name: &str) -> Result<Vec<u64>> {
    // Unsigned in recordings of earlier versions.
    if let Ok(frames) = column::<UInt64Array>(batch, name) {
        return Ok(frames.values().to_vec());
    }
    let frames = column::<Int64Array>(batch, name)?.values().iter();
    frames.map(|frame| u64::try_from(*frame).map_err(|_| negative_frame(name, *frame))).collect()
}

fn negative_frame(column: &str, number: i64) -> Error {
    Error::input(format!("column `{column}`: {number} is no frame number; the recording is damaged"))
}

/// Key in the metadata of a recorded column for the type that it has in messages, if that is another one. Frame numbers are signed
/// in recordings and unsigned in messages.
pub const MESSAGE_TYPE: &str = "message_type";

/// Returns the columns of a recorded table as they are in messages: without the columns of the header, with the types in messages,
/// and without metadata.
pub fn table_fields(schema: &Schema) -> Fields {
    schema.fields().iter().skip(HEADER_COLUMNS).map(|field| message_field(field)).collect()
}

fn message_field(field: &Field) -> FieldRef {
    let data_type = match field.metadata().get(MESSAGE_TYPE) {
        Some(name) if *name == DataType::UInt64.to_string() => DataType::UInt64,
        _ => field.data_type().clone(),
    };
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

/// Returns recorded rows, without the columns of the header, as they are in messages.
///
/// # Errors
/// If a frame number is negative.
pub fn table_rows(batch: &RecordBatch) -> Result<StructArray> {
    let fields = table_fields(&batch.schema());
    let columns = batch.columns().iter().skip(HEADER_COLUMNS).zip(&fields);
    let columns = columns.map(|(column, field)| to_message(column, field)).collect::<Result<Vec<_>>>()?;
    StructArray::try_new_with_length(fields, columns, None, batch.num_rows())
        .or_fail(Failure::Input, || "a recorded table".to_owned())
}

/// Converts a recorded column to the type that it has in messages.
fn to_message(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let Some(numbers) =
        column.as_any().downcast_ref::<Int64Array>().filter(|_| field.data_type() != column.data_type())
    else {
        return Ok(column.clone());
    };
    if let Some(negative) = numbers.iter().flatten().find(|number| *number < 0) {
        return Err(negative_frame(field.name(), negative));
    }
    let unsigned = numbers.values().iter().map(|number| *number as u64).collect();
    Ok(Arc::new(UInt64Array::new(unsigned, numbers.nulls().cloned())))
}

/// Returns a column of a given type.
///
/// # Errors
/// If there is no column of this name and type.
pub fn column<'a, T: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T> {
    let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref());
    column.ok_or_else(|| {
        Error::input(format!("column `{name}` is missing or of another type: the table was not written by a recorder"))
    })
}
