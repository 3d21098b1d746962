//! A table as Parquet: a folder of complete files while it is written, and one file of the same name in the end.
//!
//! The footer of a Parquet file is at its end, so a file whose writer was killed cannot be read. Here every row group
//! is a separate file, renamed into the folder when it is complete. At the end the compressed row groups are copied
//! into one file that replaces the folder.

use std::{
    fs::{self, File},
    io::{BufWriter, Error as IoError, ErrorKind},
    path::{Path, PathBuf},
};

use parquet::{
    arrow::{ArrowSchemaConverter, ArrowWriter, arrow_reader::ArrowReaderMetadata},
    basic::{Compression, Encoding, Type},
    column::writer::ColumnCloseResult,
    errors::ParquetError,
    file::properties::{EnabledStatistics, WriterProperties},
};
use sideline_api::{
    Error, Result,
    arrow::{
        array::RecordBatch,
        schema::{DataType, FieldRef, SchemaRef},
    },
};

/// A Parquet dataset that is appended to.
pub struct Dataset {
    /// Path of the folder while the dataset is open, of the file after it is closed.
    path: PathBuf,
    schema: SchemaRef,
    properties: WriterProperties,
    /// Number of the next part file.
    part: usize,
    /// The current row group, in memory.
    row_group: Option<ArrowWriter<Vec<u8>>>,
}

impl Dataset {
    /// Creates a dataset, or with `resumes` reopens the one at `path`.
    ///
    /// # Errors
    /// When the folder cannot be created, or holds a table with other columns.
    pub fn open(path: PathBuf, schema: SchemaRef, resumes: bool) -> Result<Self> {
        let properties = properties(&schema).map_err(|cause| write_error(&path, cause))?;
        let mut dataset = Self { path, schema, properties, part: 0, row_group: None };
        if resumes {
            dataset.reopen()?;
        }
        match fs::create_dir(&dataset.path) {
            Err(cause) if cause.kind() != ErrorKind::AlreadyExists => return Err(write_error(&dataset.path, cause)),
            _ => {}
        }
        dataset.part = dataset.parts().len();
        Ok(dataset)
    }

    /// Turns the file of a closed dataset into the first part of a folder.
    fn reopen(&mut self) -> Result<()> {
        let (path, old) = (&self.path.clone(), hidden_path(&self.path, "old"));
        let fail = |cause| write_error(path, cause);
        // The process was killed between the two renames of `close`.
        if !path.exists() && old.exists() {
            fs::rename(&old, path).map_err(fail)?;
        }
        if path.is_file() {
            let found = ArrowReaderMetadata::load(&File::open(path).map_err(fail)?, Default::default());
            let found = found.map_err(|cause| write_error(path, cause))?.schema().clone();
            let columns = |schema: &SchemaRef| -> Vec<(String, DataType, bool)> {
                let column = |field: &FieldRef| (field.name().clone(), field.data_type().clone(), field.is_nullable());
                schema.fields().iter().map(column).collect()
            };
            if columns(&found) != columns(&self.schema) {
                return Err(Error::config(format!(
                    "{}: holds a table with other columns; record to another folder",
                    path.display()
                )));
            }
            // With the names that its first rows brought.
            self.schema = found;
            fs::rename(path, &old).map_err(fail)?;
            fs::create_dir(path).map_err(fail)?;
            fs::rename(&old, self.part_path(0)).map_err(fail)?;
        }
        Ok(())
    }

    /// Removes a dataset, open (a folder) or closed (a file).
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(path: &Path) -> Result<()> {
        Self::paths(path).iter().try_for_each(|path| remove(path))
    }

    /// Returns the paths that the dataset at `path` may use: its own, and those of its incomplete files.
    pub fn paths(path: &Path) -> [PathBuf; 3] {
        [path.to_owned(), hidden_path(path, "old"), hidden_path(path, "new")]
    }

    /// True once a row was appended.
    pub fn has_rows(&self) -> bool {
        self.part > 0 || self.row_group.is_some()
    }

    /// Replaces the schema, before the first row, by one whose columns have other metadata.
    pub fn set_schema(&mut self, schema: SchemaRef) {
        self.schema = schema;
    }

    /// Appends rows to the current row group.
    ///
    /// # Errors
    /// When Parquet cannot represent them.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        let writer = match &mut self.row_group {
            Some(writer) => writer,
            empty => empty.insert(
                ArrowWriter::try_new(vec![], self.schema.clone(), Some(self.properties.clone()))
                    .map_err(|cause| write_error(&self.path, cause))?,
            ),
        };
        writer.write(batch).map_err(|cause| write_error(&self.path, cause))
    }

    /// Ends the current row group and writes it as a complete file; does nothing if it has no rows.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn end_row_group(&mut self) -> Result<()> {
        let Some(writer) = self.row_group.take() else { return Ok(()) };
        let to = self.part_path(self.part);
        let draft = hidden_path(&self.path, "new");
        let bytes = writer.into_inner().map_err(|cause| write_error(&to, cause))?;
        let written = fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, &to));
        remove_if_failed(&draft, &written);
        written.map_err(|cause| write_error(&to, cause))?;
        self.part += 1;
        Ok(())
    }

    /// Writes the last row group and merges all parts into one file.
    ///
    /// # Errors
    /// When a file cannot be written. The parts stay readable in that case.
    pub fn close(mut self) -> Result<()> {
        self.end_row_group()?;
        let (new, old) = (hidden_path(&self.path, "new"), hidden_path(&self.path, "old"));
        let merged = self.merge(&new);
        remove_if_failed(&new, &merged);
        merged.map_err(|cause| write_error(&self.path, cause))?;
        fs::rename(&self.path, &old)
            .and_then(|()| fs::rename(&new, &self.path))
            .and_then(|()| fs::remove_dir_all(&old))
            .map_err(|cause| write_error(&self.path, cause))
    }

    /// Copies the row groups of all parts to one file without recompressing them.
    fn merge(&self, to: &Path) -> Result<(), ParquetError> {
        let file = BufWriter::new(File::create(to)?);
        let writer = ArrowWriter::try_new(file, self.schema.clone(), Some(self.properties.clone()))?;
        let (mut writer, _) = writer.into_serialized_writer()?;
        for part in self.parts() {
            let part = File::open(part)?;
            let metadata = ArrowReaderMetadata::load(&part, Default::default())?;
            for group in metadata.metadata().row_groups() {
                let mut copy = writer.next_row_group()?;
                for column in group.columns() {
                    let column = ColumnCloseResult {
                        bytes_written: column.compressed_size() as u64,
                        rows_written: group.num_rows() as u64,
                        metadata: column.clone(),
                        bloom_filter: None,
                        column_index: None,
                        offset_index: None,
                    };
                    copy.append_column(&part, column)?;
                }
                copy.close()?;
            }
        }
        writer.close()?;
        Ok(())
    }

    fn part_path(&self, part: usize) -> PathBuf {
        self.path.join(format!("part-{part:05}.parquet"))
    }

    /// Returns the existing part files, in order.
    fn parts(&self) -> Vec<PathBuf> {
        (0..).map(|part| self.part_path(part)).take_while(|path| path.exists()).collect()
    }
}

/// Returns the writer properties. They are fixed, so that equal rows give equal bytes with every build.
fn properties(schema: &SchemaRef) -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_created_by("sideline".into())
        .set_compression(Compression::ZSTD(Default::default()))
        // Statistics per row group suffice, since it has few pages. Page indexes would be lost in the merge.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    for column in ArrowSchemaConverter::new().convert(schema)?.columns() {
        if matches!(column.physical_type(), Type::FLOAT | Type::DOUBLE) {
            // Measured values rarely repeat, so a dictionary does not help; split by bytes, the exponents compress
            // well.
            properties = properties
                .set_column_dictionary_enabled(column.path().clone(), false)
                .set_column_encoding(column.path().clone(), Encoding::BYTE_STREAM_SPLIT);
        }
    }
    Ok(properties.build())
}

/// Removes an incomplete file after a failure: on a full disk it would only take up space.
fn remove_if_failed<T, E>(path: &Path, written: &Result<T, E>) {
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
}

/// Removes a file, or a folder with its contents, if it exists.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    // The metadata of a link are its own: it is removed, and what it leads to stays.
    let is_folder = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    match if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(write_error(path, cause)),
        _ => Ok(()),
    }
}

/// Returns a hidden path next to `path`, for an incomplete file.
fn hidden_path(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}

/// Returns the error for a file that cannot be written, with path, cause and remedy.
pub fn write_error(path: &Path, cause: impl Into<IoError>) -> Error {
    let cause = cause.into();
    let remedy = match error_kind(&cause) {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; free some space, or write to another disk (`--output`, SIDELINE_RUN_DIR)"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "; write to a folder of your own (`--output`, SIDELINE_RUN_DIR)"
        }
        ErrorKind::NotFound => "; was the folder of the run removed while it ran?",
        _ => "",
    };
    Error::output(format!("{}: {cause}{remedy}", path.display()))
}

/// Returns the kind of an error, also of a system error wrapped by Parquet's.
fn error_kind(cause: &IoError) -> ErrorKind {
    match cause.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(ParquetError::External(inner)) => inner.downcast_ref::<IoError>().map_or(cause.kind(), IoError::kind),
        _ => cause.kind(),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, sync::Arc};

    use sideline_api::arrow::{
        array::Int64Array,
        schema::{DataType, Field, Schema},
    };

    use super::*;

    #[test]
    fn no_incomplete_file_is_left_when_the_disk_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counts.parquet");
        let draft = folder.path().join(".counts.parquet.new");
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![1]))]).unwrap();
        let mut dataset = Dataset::open(path.clone(), schema, false).unwrap();
        dataset.append(&batch).unwrap();
        dataset.end_row_group().unwrap();
        dataset.append(&batch).unwrap();
        // Writes to this device fail as on a full disk.
        symlink("/dev/full", &draft).unwrap();
        let error = dataset.end_row_group().unwrap_err();
        assert!(error.message.contains("free some space") && fs::symlink_metadata(&draft).is_err(), "{error}");
        symlink("/dev/full", &draft).unwrap();
        let error = dataset.close().unwrap_err();
        assert!(error.message.contains("free some space") && fs::symlink_metadata(&draft).is_err(), "{error}");
        assert!(path.join("part-00000.parquet").is_file(), "the complete part stays readable");
    }
}
