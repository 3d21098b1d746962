//! Reading position in a recorded table: finds the rows of a frame while frames advance.

use std::{collections::BTreeMap, sync::Arc};

use sideline_api::{
    Error, Header, Reason, Result,
    arrow::array::{Int64Array, RecordBatch, StringArray, StructArray},
    table,
};
use sideline_recording::{Batches, HEADER_COLUMNS, RecordedTable, RecordedTables, column, stream_and_frame};

/// Rows of one frame in a batch.
struct FrameRows {
    pts: i64,
    rows: RecordBatch,
}

/// Rows of one table, read in the order of the file. Rows of other streams, and of frames that are still to come, wait in
/// memory: in a recording of one stream these are the rows of a batch.
struct Reader {
    name: String,
    batches: Batches,
    /// Rows that were read and not yet asked for, by stream and frame, in the order of the file.
    pending: BTreeMap<String, BTreeMap<u64, Vec<FrameRows>>>,
    /// Last frame that was read, by stream.
    last_read: BTreeMap<String, u64>,
    has_ended: bool,
}

impl Reader {
    fn open(table: &RecordedTable) -> Result<Self> {
        Ok(Self {
            name: table.name.clone(),
            batches: table.batches()?,
            pending: BTreeMap::new(),
            last_read: BTreeMap::new(),
            has_ended: false,
        })
    }

    /// Reads the next batch. Returns false at the end.
    fn read_batch(&mut self) -> Result<bool> {
        let Some(batch) = self.batches.next().transpose()? else {
            self.has_ended = true;
            return Ok(false);
        };
        let (streams, frames) = stream_and_frame(&batch)?;
        let times = column::<Int64Array>(&batch, "pts")?;
        let mut begin = 0;
        for at in 1..=batch.num_rows() {
            let is_same_frame = at < batch.num_rows()
                && streams.value(at) == streams.value(begin)
                && frames.value(at) == frames.value(begin);
            if is_same_frame {
                continue;
            }
            let (stream, frame) = (streams.value(begin), frames.value(begin));
            let rows = FrameRows { pts: times.value(begin), rows: batch.slice(begin, at - begin) };
            self.pending.entry(stream.into()).or_default().entry(frame).or_default().push(rows);
            let last = self.last_read.entry(stream.into()).or_default();
            *last = (*last).max(frame);
            begin = at;
        }
        Ok(true)
    }

    /// Reads until all rows of a frame are in memory.
    fn read_to(&mut self, header: &Header) -> Result<()> {
        while !self.has_ended && self.last_read.get(&*header.stream).is_none_or(|last| *last <= header.frame) {
            self.read_batch()?;
        }
        Ok(())
    }

    /// Removes and returns the rows of a frame. Rows of earlier frames are discarded.
    ///
    /// # Errors
    /// When the frame had another media time in the recording.
    fn take(&mut self, header: &Header) -> Result<Vec<FrameRows>> {
        self.read_to(header)?;
        let Some(frames) = self.pending.get_mut(&*header.stream) else { return Ok(vec![]) };
        let later = frames.split_off(&header.frame);
        *frames = later;
        let rows = frames.remove(&header.frame).unwrap_or_default();
        if let Some(other) = rows.iter().find(|rows| rows.pts != header.pts) {
            return Err(Error::input(format!(
                "table `{}`: frame {} of stream `{}` is at {:.3} s in the recording and at {:.3} s here: the recording is of \
                 another input",
                self.name,
                header.frame,
                header.stream,
                other.pts as f64 * 1e-9,
                header.pts as f64 * 1e-9
            )));
        }
        Ok(rows)
    }

    /// Removes and returns the rows that follow the last frame of a stream. They bear the number of the frame after it and
    /// its media time; a frame of that number, in a recording that goes on, has a later one.
    fn take_closing(&mut self, header: &Header) -> Result<Vec<FrameRows>> {
        self.read_to(header)?;
        let mut rows = self.pending.remove(&*header.stream).and_then(|mut frames| frames.remove(&header.frame));
        rows.iter_mut().for_each(|rows| rows.retain(|rows| rows.pts == header.pts));
        Ok(rows.unwrap_or_default())
    }
}

/// Reading position in one recorded table and in the list of its skipped frames.
pub struct Cursor {
    rows: Reader,
    skipped: Option<Reader>,
    streams: Vec<String>,
}

impl Cursor {
    /// Opens a table.
    ///
    /// # Errors
    /// When the recording has no such table, or a file cannot be read.
    pub fn open(recording: &RecordedTables, name: &str) -> Result<Self> {
        let table = recording.table(name)?;
        if !table.is_complete {
            tracing::warn!(table = name, "the recorded run was interrupted: the last rows of the table are missing");
        }
        let mut streams = vec![];
        let skipped = recording.skipped_frames(name);
        for table in [Some(&table), skipped.as_ref()].into_iter().flatten() {
            for batch in table.columns(Some(&["stream"]))? {
                let batch = batch?;
                for stream in column::<StringArray>(&batch, "stream")?.iter().flatten() {
                    if !streams.iter().any(|known| known == stream) {
                        streams.push(stream.to_owned());
                    }
                }
            }
        }
        let skipped = skipped.map(|table| Reader::open(&table)).transpose()?;
        Ok(Self { rows: Reader::open(&table)?, skipped, streams })
    }

    /// Returns the streams that have rows or skipped frames in the table.
    pub fn streams(&self) -> &[String] {
        &self.streams
    }

    /// Returns the reason for which the frame was skipped, if it was.
    ///
    /// # Errors
    /// When a file cannot be read, or the recording is of another input.
    pub fn skip_reason(&mut self, header: &Header) -> Result<Option<Reason>> {
        let Some(skipped) = &mut self.skipped else { return Ok(None) };
        let rows = skipped.take(header)?;
        let Some(rows) = rows.first() else { return Ok(None) };
        let reasons = column::<StringArray>(&rows.rows, "reason")?;
        Ok(Some(Reason::from(reasons.value(0))))
    }

    /// Returns the rows of a frame; `None` if it had none.
    ///
    /// # Errors
    /// When a file cannot be read, or the recording is of another input.
    pub fn rows(&mut self, header: &Header) -> Result<Option<Arc<StructArray>>> {
        let rows = self.rows.take(header)?;
        to_table(&rows)
    }

    /// Returns the rows that follow the last frame of a stream, if there are any.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn closing_rows(&mut self, header: &Header) -> Result<Option<Arc<StructArray>>> {
        let rows = self.rows.take_closing(header)?;
        to_table(&rows)
    }
}

/// Joins the rows of a frame, without the columns of its header.
fn to_table(rows: &[FrameRows]) -> Result<Option<Arc<StructArray>>> {
    let tables: Vec<Arc<StructArray>> = rows
        .iter()
        .map(|rows| {
            let (schema, columns) = (rows.rows.schema(), rows.rows.columns());
            let fields = schema.fields()[HEADER_COLUMNS..].to_vec();
            Arc::new(StructArray::new(fields.into(), columns[HEADER_COLUMNS..].to_vec(), None))
        })
        .collect();
    if tables.is_empty() { Ok(None) } else { table::concat(&tables).map(Some) }
}
