//! Reading position in a recorded table: finds the rows of a frame while frames advance.

use std::{collections::BTreeMap, sync::Arc};

use sideline_api::{
    Error, Header, Reason, Result,
    arrow::array::{Int64Array, RecordBatch, StringArray, StructArray},
    table,
};
use sideline_recording::{Batches, RecordedTable, RecordedTables, column, stream_and_frame, table_rows};

use crate::coverage::Coverage;

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
    coverage: Arc<Coverage>,
    /// Rows that were read and not yet asked for, by stream and the key of their frame, in the order of the file.
    pending: BTreeMap<String, BTreeMap<i64, Vec<FrameRows>>>,
    /// Rows after the last frame, by stream.
    closing: BTreeMap<String, Vec<FrameRows>>,
    /// Last key that was read, by stream.
    last_read: BTreeMap<String, i64>,
    has_ended: bool,
}

impl Reader {
    fn open(table: &RecordedTable, coverage: Arc<Coverage>) -> Result<Self> {
        Ok(Self {
            name: table.name.clone(),
            batches: table.batches()?,
            coverage,
            pending: BTreeMap::new(),
            closing: BTreeMap::new(),
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
            let is_same_frame =
                at < batch.num_rows() && streams.value(at) == streams.value(begin) && frames[at] == frames[begin];
            if is_same_frame {
                continue;
            }
            let (stream, frame, pts) = (streams.value(begin), frames[begin], times.value(begin));
            let rows = FrameRows { pts, rows: batch.slice(begin, at - begin) };
            if self.coverage.is_closing(stream, frame) {
                self.closing.entry(stream.into()).or_default().push(rows);
            } else {
                let key = self.coverage.key(frame, pts);
                self.pending.entry(stream.into()).or_default().entry(key).or_default().push(rows);
                let last = self.last_read.entry(stream.into()).or_insert(key);
                *last = (*last).max(key);
            }
            begin = at;
        }
        Ok(true)
    }

    /// Reads until all rows of a frame are in memory.
    fn read_to(&mut self, header: &Header) -> Result<()> {
        let key = self.coverage.key(header.frame, header.pts);
        while !self.has_ended && self.last_read.get(&*header.stream).is_none_or(|last| *last <= key) {
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
        let key = self.coverage.key(header.frame, header.pts);
        let Some(frames) = self.pending.get_mut(&*header.stream) else { return Ok(vec![]) };
        let later = frames.split_off(&key);
        *frames = later;
        let rows = frames.remove(&key).unwrap_or_default();
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

    /// Removes and returns the closing rows of a stream, and the number of recorded closing rows that are left out because the
    /// recorded stream goes on after the last frame here.
    fn take_closing(&mut self, header: &Header) -> Result<(Vec<FrameRows>, u64)> {
        while !self.has_ended {
            self.read_batch()?;
        }
        let mut rows = self.closing.remove(&*header.stream).unwrap_or_default();
        let mut left_out = 0;
        if !self.coverage.is_replayed(header) {
            left_out = count(&std::mem::take(&mut rows));
        }
        // If the recorded last frame is not known, closing rows are found by the number after the last frame here. A frame with that
        // number, in a recording that goes on, has a later time.
        let key = self.coverage.key(header.frame, header.pts);
        let pending = self.pending.remove(&*header.stream).and_then(|mut frames| frames.remove(&key));
        rows.extend(pending.into_iter().flatten().filter(|rows| rows.pts == header.pts));
        Ok((rows, left_out))
    }
}

fn count(rows: &[FrameRows]) -> u64 {
    rows.iter().map(|rows| rows.rows.num_rows() as u64).sum()
}

/// Reading position in one recorded table and in the list of its skipped frames.
pub struct Cursor {
    rows: Reader,
    skipped: Option<Reader>,
}

impl Cursor {
    /// Opens a table.
    ///
    /// # Errors
    /// When the recording has no such table, or a file cannot be read.
    pub fn open(recording: &RecordedTables, name: &str, coverage: &Arc<Coverage>) -> Result<Self> {
        let recorded = recording.table(name)?;
        if !recorded.is_complete {
            tracing::warn!(table = name, "the recorded run was interrupted: the last rows of the table are missing");
        }
        let skipped = recording.skipped_frames(name);
        let skipped = skipped.map(|table| Reader::open(&table, coverage.clone())).transpose()?;
        Ok(Self { rows: Reader::open(&recorded, coverage.clone())?, skipped })
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

    /// Returns the closing rows of a stream, if there are any, and the number of recorded closing rows that are left out because the
    /// recorded stream goes on after the last frame here.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn closing_rows(&mut self, header: &Header) -> Result<(Option<Arc<StructArray>>, u64)> {
        let (rows, left_out) = self.rows.take_closing(header)?;
        Ok((to_table(&rows)?, left_out))
    }
}

/// Joins the rows of a frame, without the columns of its header.
fn to_table(rows: &[FrameRows]) -> Result<Option<Arc<StructArray>>> {
    let tables: Vec<Arc<StructArray>> =
        rows.iter().map(|rows| table_rows(&rows.rows).map(Arc::new)).collect::<Result<_>>()?;
    if tables.is_empty() { Ok(None) } else { table::concat(&tables).map(Some) }
}
