//! Reading back what the recorder left in the folder of a run, whole or cut off.
//!
//! A table `NAME.parquet` is one file after a run that ended, and a folder of complete files while it runs and after a
//! kill. `NAME.skipped.parquet` lists its skipped frames.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use arrow_array::{Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::SchemaRef;
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
};
use sideline_api::{Error, Failure, OrFail, Result, config::did_you_mean};

/// Rows handed out at once: poses and motion of these are some megabytes.
const ROWS: usize = 1024;

/// Files of a run that are no tables of the recorder's.
const OTHERS: [&str; 2] = ["timing", "export"];

/// The tables of a run.
pub struct Tables {
    folder: PathBuf,
    tables: BTreeMap<String, Recorded>,
}

/// One table as it was recorded.
#[derive(Clone)]
pub struct Recorded {
    /// Its name: that of the recorder's input.
    pub name: String,
    /// The files that hold it, in order; none when a run was cut off before the first was complete.
    files: Vec<PathBuf>,
    /// False where the run was cut off: the last rows are missing.
    pub whole: bool,
}

impl Tables {
    /// The tables in the folder of a run.
    ///
    /// # Errors
    /// When it is not the folder of a run, or nothing was recorded there.
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.join("run.json").is_file() {
            return Err(Error::input(format!(
                "{} is not the folder of a run: it has no run.json; runs are written to `--output`, else to `runs` \
                 beside the flow",
                folder.display()
            )));
        }
        let mut tables = BTreeMap::new();
        let entries = std::fs::read_dir(folder).or_fail(Failure::Input, || folder.display().to_string())?;
        for entry in entries {
            let path = entry.or_fail(Failure::Input, || folder.display().to_string())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(name) = name.strip_suffix(".parquet").filter(|name| !name.starts_with('.')) else { continue };
            if !OTHERS.contains(&name) {
                tables.insert(name.to_owned(), Recorded::at(name, &path)?);
            }
        }
        if !tables.keys().any(|name| !name.ends_with(SKIPPED)) {
            return Err(Error::input(format!(
                "{}: no table was recorded as Parquet there; wire a `recorder` into the flow and leave its key \
                 `parquet` true",
                folder.display()
            )));
        }
        Ok(Self { folder: folder.to_owned(), tables })
    }

    /// Names of the tables, without those of skipped frames, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.tables.keys().map(String::as_str).filter(|name| !name.ends_with(SKIPPED))
    }

    /// A table.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn named(&self, name: &str) -> Result<Recorded> {
        self.tables.get(name).cloned().ok_or_else(|| {
            Error::input(format!(
                "{}: no table `{name}` was recorded{}",
                self.folder.display(),
                did_you_mean(name, self.names())
            ))
        })
    }

    /// The frames a table skipped; `None` when it skipped none.
    pub fn skipped(&self, name: &str) -> Option<Recorded> {
        self.tables.get(&format!("{name}{SKIPPED}")).cloned()
    }
}

const SKIPPED: &str = ".skipped";

impl Recorded {
    fn at(name: &str, path: &Path) -> Result<Self> {
        let whole = path.is_file();
        let files = if whole {
            vec![path.to_owned()]
        } else {
            (0..).map(|part| path.join(format!("part-{part:05}.parquet"))).take_while(|part| part.is_file()).collect()
        };
        Ok(Self { name: name.to_owned(), files, whole })
    }

    /// The columns; `None` when nothing was complete before the run was cut off.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn schema(&self) -> Result<Option<SchemaRef>> {
        self.files.first().map(|file| Ok(builder(file)?.schema().clone())).transpose()
    }

    /// All rows, some at a time.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn batches(&self) -> Result<Batches> {
        self.columns(None)
    }

    /// All rows of some columns.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn columns(&self, columns: Option<&'static [&'static str]>) -> Result<Batches> {
        Ok(Batches { files: self.files.clone().into_iter(), open: None, columns })
    }
}

/// The rows of a table, some at a time.
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
    let mut builder = builder(path)?.with_batch_size(ROWS);
    if let Some(columns) = columns {
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    builder.build().or_fail(Failure::Input, || path.display().to_string())
}

/// The media time of each row, ns.
///
/// # Errors
/// When the table is none of the recorder's.
pub fn times(batch: &RecordBatch) -> Result<Vec<i64>> {
    Ok(column::<Int64Array>(batch, "pts")?.values().to_vec())
}

/// Stream and frame of each row.
///
/// # Errors
/// When the table is none of the recorder's.
pub fn keys(batch: &RecordBatch) -> Result<(&StringArray, &UInt64Array)> {
    Ok((column(batch, "stream")?, column(batch, "frame")?))
}

/// A column of a known type.
///
/// # Errors
/// When there is none of that name and type.
pub fn column<'a, T: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T> {
    let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref());
    column.ok_or_else(|| Error::input(format!("column `{name}` is missing or of another type: no table of a recorder")))
}
