//! `timing.parquet`: for every frame and operator when its inputs were there, when it began and ended.
//!
//! As a table of the recorder it is a folder of complete files while the run lasts, and after a kill; then one file.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use arrow_array::{Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use crossbeam_channel::{Receiver, Sender, bounded};
use sideline_api::{Failure, OrFail, Result};
use sideline_engine::TimingRow;
use sideline_recorder::dataset::Dataset;

/// Batches that may wait for the disk. Where it is slower than the run, the run waits for it, as it does for its tables.
const WAITING: usize = 256;
/// Rows in each file of the folder: what a kill loses at most.
const ROWS: usize = 16_384;

/// A thread that writes what it is sent, from the beginning of the run on.
pub struct TimingFile {
    path: PathBuf,
    /// Ids of the plan's nodes.
    nodes: Vec<String>,
    sender: Mutex<Option<Sender<Vec<TimingRow>>>>,
    /// Until the run begins.
    rows: Mutex<Option<Receiver<Vec<TimingRow>>>>,
    writer: Mutex<Option<JoinHandle<Result<()>>>>,
}

impl TimingFile {
    /// A file that is yet to be made; `nodes` are the ids of the plan's nodes.
    pub fn new(path: PathBuf, nodes: Vec<String>) -> Self {
        let (sender, rows) = bounded(WAITING);
        Self { path, nodes, sender: Mutex::new(Some(sender)), rows: Mutex::new(Some(rows)), writer: Mutex::default() }
    }

    /// The receiver of rows; none once the file is finished.
    pub fn sender(&self) -> Option<Sender<Vec<TimingRow>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the file, in place of that of an earlier run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(&self) -> Result<()> {
        let Some(rows) = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        let schema = schema();
        Dataset::remove(&self.path)?;
        let mut file = Dataset::open(self.path.clone(), schema.clone(), false)?;
        let nodes = self.nodes.clone();
        let write = move || {
            let mut waiting = 0;
            for batch in rows {
                file.append(&table(&schema, &nodes, &batch)?)?;
                waiting += batch.len();
                if waiting >= ROWS {
                    file.cut()?;
                    waiting = 0;
                }
            }
            file.close()
        };
        let writer = std::thread::Builder::new().name("timing".into()).spawn(write);
        let writer = writer.or_fail(Failure::Other, || "the timing thread")?;
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(())
    }

    /// Writes what is left. Every other sender must be gone.
    ///
    /// # Errors
    /// When the file could not be written.
    pub fn finish(&self) -> Result<()> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        match self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(writer) => {
                writer.join().unwrap_or_else(|_| Err(sideline_api::Error::other("the timing thread panicked")))
            }
            None => Ok(()),
        }
    }
}

fn schema() -> SchemaRef {
    let ns = |name| Field::new(name, DataType::Int64, false);
    Arc::new(Schema::new(vec![
        Field::new("node", DataType::Utf8, false),
        Field::new("stream", DataType::Utf8, false),
        Field::new("frame", DataType::UInt64, false),
        ns("captured"),
        ns("ready"),
        ns("started"),
        ns("ended"),
    ]))
}

fn table(schema: &SchemaRef, nodes: &[String], batch: &[TimingRow]) -> Result<RecordBatch> {
    let integers = |f: fn(&TimingRow) -> i64| Arc::new(Int64Array::from_iter_values(batch.iter().map(f)));
    let columns: Vec<arrow_array::ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(batch.iter().map(|row| &nodes[row.node.0]))),
        Arc::new(StringArray::from_iter_values(batch.iter().map(|row| &row.stream))),
        Arc::new(UInt64Array::from_iter_values(batch.iter().map(|row| row.frame))),
        integers(|row| row.captured),
        integers(|row| row.ready),
        integers(|row| row.started),
        integers(|row| row.ended),
    ];
    RecordBatch::try_new(schema.clone(), columns).or_fail(Failure::Output, || "the timing table")
}

#[cfg(test)]
mod tests {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn rows(path: &std::path::Path) -> usize {
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
        reader.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum()
    }

    fn batch() -> Vec<TimingRow> {
        let row = |frame| TimingRow {
            node: sideline_graph::plan::NodeId(0),
            stream: "camera".into(),
            frame,
            captured: 1,
            ready: 2,
            started: 3,
            ended: 4,
        };
        (0..512).map(row).collect()
    }

    #[test]
    fn a_run_that_never_begins_leaves_the_file_of_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timing.parquet");
        std::fs::write(&path, "of an earlier run").unwrap();
        let timing = TimingFile::new(path.clone(), vec!["node".into()]);
        timing.finish().unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "of an earlier run");
    }

    #[test]
    fn parts_are_complete_files_until_the_end_makes_one_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timing.parquet");
        std::fs::write(&path, "of an earlier run").unwrap();
        let timing = TimingFile::new(path.clone(), vec!["node".into()]);
        timing.begin().unwrap();
        let sender = timing.sender().unwrap();
        // More than wait at most: the writer takes them while they are sent.
        let batches = 2 * WAITING;
        (0..batches).for_each(|_| sender.send(batch()).unwrap());
        // At most `WAITING` batches are on their way, so these parts are there, as they would be after a kill.
        let sent = (batches - WAITING - 1) * 512;
        for part in 0..sent / ROWS {
            assert_eq!(rows(&path.join(format!("part-{part:05}.parquet"))), ROWS);
        }
        drop(sender);
        timing.finish().unwrap();
        assert_eq!(rows(&path), batches * 512);
    }
}
