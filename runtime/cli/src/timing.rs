//! `timing.parquet`: for every frame and operator, the times at which its inputs were complete, it began and it ended.
//!
//! Like a table of the recorder, it is a folder of complete files during the run and after a kill, and a single file at the end.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use crossbeam_channel::{Receiver, Sender, bounded};
use sideline_api::{Failure, OrFail, Result};
use sideline_engine::TimingRow;
use sideline_recorder::dataset::Dataset;

/// Batches that may wait to be written. If the disk is slower than the run, the run waits, as it does for its tables.
const QUEUE_BATCHES: usize = 256;
/// Rows in each file of the folder: the most that a kill can lose.
const FILE_ROWS: usize = 16_384;

/// Writer of the timing table, on a thread of its own.
pub struct TimingFile {
    path: PathBuf,
    /// Ids of the plan's nodes.
    nodes: Vec<String>,
    sender: Mutex<Option<Sender<Vec<TimingRow>>>>,
    /// Receiver of the rows, until the writer thread is started.
    rows: Mutex<Option<Receiver<Vec<TimingRow>>>>,
    writer: Mutex<Option<JoinHandle<Result<()>>>>,
}

impl TimingFile {
    /// Returns a writer whose file is not created yet; `nodes` are the ids of the plan's nodes.
    pub fn new(path: PathBuf, nodes: Vec<String>) -> Self {
        let (sender, rows) = bounded(QUEUE_BATCHES);
        Self { path, nodes, sender: Mutex::new(Some(sender)), rows: Mutex::new(Some(rows)), writer: Mutex::default() }
    }

    /// Returns a sender of rows to the writer; `None` once the file is finished.
    pub fn sender(&self) -> Option<Sender<Vec<TimingRow>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Creates the file, in place of that of an earlier run, and starts to write.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(&self) -> Result<()> {
        let Some(rows) = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        let schema = schema();
        Dataset::remove(&self.path)?;
        let mut file = Dataset::open(self.path.clone(), schema.clone(), false)?;
        let nodes = self.nodes.clone();
        let write = move || {
            let mut pending = 0;
            for batch in rows {
                file.append(&table(&schema, &nodes, &batch)?)?;
                pending += batch.len();
                if pending >= FILE_ROWS {
                    file.end_row_group()?;
                    pending = 0;
                }
            }
            file.close()
        };
        let writer = std::thread::Builder::new().name("timing".into()).spawn(write);
        let writer = writer.or_fail(Failure::Other, || "the timing thread")?;
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(())
    }

    /// Writes the remaining rows. All other senders must have been dropped, else it blocks.
    ///
    /// # Errors
    /// If the file could not be written.
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
        Field::new("frame", DataType::Int64, false),
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
        integers(|row| row.frame as i64),
        integers(|row| row.captured_at),
        integers(|row| row.ready_at),
        integers(|row| row.started_at),
        integers(|row| row.ended_at),
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
            captured_at: 1,
            ready_at: 2,
            started_at: 3,
            ended_at: 4,
        };
        (0..512).map(row).collect()
    }

    #[test]
    fn a_run_that_does_not_begin_keeps_the_file_of_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timing.parquet");
        std::fs::write(&path, "earlier").unwrap();
        let timing = TimingFile::new(path.clone(), vec!["node".into()]);
        timing.finish().unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "earlier");
    }

    #[test]
    fn rows_are_written_as_complete_files_and_merged_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timing.parquet");
        std::fs::write(&path, "earlier").unwrap();
        let timing = TimingFile::new(path.clone(), vec!["node".into()]);
        timing.begin().unwrap();
        let sender = timing.sender().unwrap();
        // More than the queue holds, so that the writer must have taken some of them.
        let batches = 2 * QUEUE_BATCHES;
        (0..batches).for_each(|_| sender.send(batch()).unwrap());
        // At most `QUEUE_BATCHES` batches and the current one are unwritten, so these parts are complete, as after a kill.
        let written = (batches - QUEUE_BATCHES - 1) * 512;
        for part in 0..written / FILE_ROWS {
            assert_eq!(rows(&path.join(format!("part-{part:05}.parquet"))), FILE_ROWS);
        }
        drop(sender);
        timing.finish().unwrap();
        assert_eq!(rows(&path), batches * 512);
    }
}
