//! A table as Parquet: while it is written a folder of complete files, in the end one file, under the same name.
//!
//! Parquet's footer stands at its end, so a file whose writer was killed cannot be read. Here every row group is a file
//! of its own, renamed into the folder when it is complete. At the end the row groups are copied, still compressed,
//! into one file that takes the folder's place.

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
    arrow::{array::RecordBatch, schema::SchemaRef},
};

/// A Parquet file that grows.
pub struct Dataset {
    /// Folder while it grows, file in the end.
    path: PathBuf,
    schema: SchemaRef,
    properties: WriterProperties,
    /// Number of the part that is being made.
    part: usize,
    /// The row group that is being made, in memory.
    rows: Option<ArrowWriter<Vec<u8>>>,
}

impl Dataset {
    /// Begins a dataset, or goes on with what is at `path`.
    ///
    /// # Errors
    /// When the folder cannot be made, or holds a table of other columns.
    pub fn open(path: PathBuf, schema: SchemaRef, resumes: bool) -> Result<Self> {
        let properties = properties(&schema).map_err(|cause| failed(&path, cause))?;
        let mut dataset = Self { path, schema, properties, part: 0, rows: None };
        if resumes {
            dataset.reopen()?;
        }
        match fs::create_dir(&dataset.path) {
            Err(cause) if cause.kind() != ErrorKind::AlreadyExists => return Err(failed(&dataset.path, cause)),
            _ => {}
        }
        dataset.part = dataset.parts().len();
        Ok(dataset)
    }

    /// Makes a file that was closed the first part of a folder again.
    fn reopen(&self) -> Result<()> {
        let (path, old) = (&self.path, hidden(&self.path, "old"));
        let fail = |cause| failed(path, cause);
        // A kill while the folder made place for the file.
        if !path.exists() && old.exists() {
            fs::rename(&old, path).map_err(fail)?;
        }
        if path.is_file() {
            let found = ArrowReaderMetadata::load(&File::open(path).map_err(fail)?, Default::default());
            if found.map_err(|cause| failed(path, cause))?.schema().fields() != self.schema.fields() {
                return Err(Error::config(format!(
                    "{}: holds a table of other columns; record to another folder",
                    path.display()
                )));
            }
            fs::rename(path, &old).map_err(fail)?;
            fs::create_dir(path).map_err(fail)?;
            fs::rename(&old, self.part_path(0)).map_err(fail)?;
        }
        Ok(())
    }

    /// Removes what is at `path`, folder or file.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(path: &Path) -> Result<()> {
        for path in [path, &hidden(path, "old"), &hidden(path, "new")] {
            match if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
                Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(failed(path, cause)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds rows to the row group.
    ///
    /// # Errors
    /// When Parquet cannot hold them.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        let writer = match &mut self.rows {
            Some(writer) => writer,
            empty => empty.insert(
                ArrowWriter::try_new(vec![], self.schema.clone(), Some(self.properties.clone()))
                    .map_err(|cause| failed(&self.path, cause))?,
            ),
        };
        writer.write(batch).map_err(|cause| failed(&self.path, cause))
    }

    /// Writes the row group, if it has rows, as a complete file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn cut(&mut self) -> Result<()> {
        let Some(writer) = self.rows.take() else { return Ok(()) };
        let to = self.part_path(self.part);
        let draft = hidden(&self.path, "new");
        let bytes = writer.into_inner().map_err(|cause| failed(&to, cause))?;
        fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, &to)).map_err(|cause| failed(&to, cause))?;
        self.part += 1;
        Ok(())
    }

    /// Writes the last row group and makes one file of all.
    ///
    /// # Errors
    /// When it cannot be written: the parts then stay.
    pub fn close(mut self) -> Result<()> {
        self.cut()?;
        let (new, old) = (hidden(&self.path, "new"), hidden(&self.path, "old"));
        self.merge(&new).map_err(|cause| failed(&self.path, cause))?;
        fs::rename(&self.path, &old)
            .and_then(|()| fs::rename(&new, &self.path))
            .and_then(|()| fs::remove_dir_all(&old))
            .map_err(|cause| failed(&self.path, cause))
    }

    /// Copies the row groups of all parts as they are, compressed.
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

    /// The parts that are there, in order.
    fn parts(&self) -> Vec<PathBuf> {
        (0..).map(|part| self.part_path(part)).take_while(|path| path.exists()).collect()
    }
}

/// Fixed, so that the same rows make the same bytes with every build.
fn properties(schema: &SchemaRef) -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_created_by("sideline".into())
        .set_compression(Compression::ZSTD(Default::default()))
        // The statistics of a row group are enough: its pages are few. Indexes of pages would not survive the merge.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    for column in ArrowSchemaConverter::new().convert(schema)?.columns() {
        if matches!(column.physical_type(), Type::FLOAT | Type::DOUBLE) {
            // Measured values seldom repeat; with their bytes apart, exponents compress well.
            properties = properties
                .set_column_dictionary_enabled(column.path().clone(), false)
                .set_column_encoding(column.path().clone(), Encoding::BYTE_STREAM_SPLIT);
        }
    }
    Ok(properties.build())
}

/// A hidden name beside `path`, for what is not complete.
fn hidden(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}

/// A file could not be written: where, why, and what to do.
pub fn failed(path: &Path, cause: impl Into<IoError>) -> Error {
    let cause = cause.into();
    let mend = match kind(&cause) {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; free some space, or record to another disk (SIDELINE_RUN_DIR)"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "; record to a folder that may be written (SIDELINE_RUN_DIR)"
        }
        ErrorKind::NotFound => "; was the folder of the run removed while it ran?",
        _ => "",
    };
    Error::output(format!("{}: {cause}{mend}", path.display()))
}

/// What kind of failure it is, also where Parquet's error has wrapped the system's.
fn kind(cause: &IoError) -> ErrorKind {
    match cause.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(ParquetError::External(inner)) => inner.downcast_ref::<IoError>().map_or(cause.kind(), IoError::kind),
        _ => cause.kind(),
    }
}
