//! `timing.parquet`: for every frame and operator when its inputs were there, when it began and ended.

use std::{path::Path, sync::Arc, thread::JoinHandle};

use arrow_array::{Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use crossbeam_channel::{Sender, unbounded};
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
use sideline_api::{Failure, OrFail, Result};
use sideline_engine::TimingRow;

/// A thread that writes what it is sent.
pub struct TimingFile {
    sender: Sender<Vec<TimingRow>>,
    writer: JoinHandle<Result<()>>,
}

impl TimingFile {
    /// Opens the file; `nodes` are the ids of the plan's nodes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path, nodes: Vec<String>) -> Result<Self> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("node", DataType::Utf8, false),
            Field::new("stream", DataType::Utf8, false),
            Field::new("frame", DataType::UInt64, false),
            Field::new("captured", DataType::Int64, false),
            Field::new("ready", DataType::Int64, false),
            Field::new("started", DataType::Int64, false),
            Field::new("ended", DataType::Int64, false),
        ]));
        let place = path.display().to_string();
        let file = std::fs::File::create(path).or_fail(Failure::Output, || &place)?;
        // Small row groups: what waits in memory stays small, however long the run.
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(Default::default()))
            .set_max_row_group_row_count(Some(65_536))
            .build();
        let mut writer =
            ArrowWriter::try_new(file, schema.clone(), Some(properties)).or_fail(Failure::Output, || &place)?;
        let (sender, rows) = unbounded::<Vec<TimingRow>>();
        let thread = std::thread::Builder::new().name("timing".into()).spawn(move || {
            for batch in rows {
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
                let batch = RecordBatch::try_new(schema.clone(), columns).or_fail(Failure::Output, || &place)?;
                writer.write(&batch).or_fail(Failure::Output, || &place)?;
            }
            writer.close().or_fail(Failure::Output, || &place)?;
            Ok(())
        });
        Ok(TimingFile { sender, writer: thread.or_fail(Failure::Other, || "the timing thread")? })
    }

    /// Where rows go.
    pub fn sender(&self) -> Sender<Vec<TimingRow>> {
        self.sender.clone()
    }

    /// Writes what is left. Every other sender must be gone.
    ///
    /// # Errors
    /// When the file could not be written.
    pub fn finish(self) -> Result<()> {
        drop(self.sender);
        self.writer.join().unwrap_or_else(|_| Err(sideline_api::Error::other("the timing thread panicked")))
    }
}
