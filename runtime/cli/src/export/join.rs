//! Merge join of recorded tables on (stream, frame, track).
//!
//! Every table has its rows in the frame order of each stream, so it is enough to peek at the next row of each table. Streams
//! are joined one after the other, since their frames are interleaved differently in each table. Rows of moves, which are sent
//! some frames later, are joined at the frame of their peak, and a column has the frame in which they were sent.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use arrow_array::{Array, ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::interleave::interleave;
use sideline_api::{Error, Failure, OrFail, Result};
use sideline_recording::{
    Batches, RecordedTable, RecordedTables, column, frame_numbers, media_times_ns, stream_and_frame,
};

use super::{
    flatten::{flatten, has_tracks, split_pairs},
    write::Sink,
};

/// Rows written per batch, at least, until the end of a stream.
const BATCH_ROWS: usize = 512;

/// A join of recorded tables.
pub struct TableJoin {
    tables: Vec<JoinedTable>,
    /// Names of the selected tables without a complete part, and so without rows and columns.
    empty: Vec<String>,
    /// Tables of the frames that the selected tables skipped.
    skipped: Vec<RecordedTable>,
    streams: Vec<String>,
    by_track: bool,
    schema: SchemaRef,
}

struct JoinedTable {
    recorded: RecordedTable,
    /// Names and types of its flattened columns.
    columns: Vec<(String, DataType)>,
    /// True if its rows are joined at the frame of their peak, not at the later one in which they were sent.
    is_at_peak: bool,
}

/// The joined rows of a frame, and the reasons why tables skipped it.
#[derive(Default)]
struct FrameRows {
    pts: i64,
    session: u32,
    /// For each track (or row number) and its occurrence in the frame, the row of each table.
    rows: BTreeMap<(u32, u32), Vec<Option<RowRef>>>,
    /// Name of the table, and reason.
    skipped: Vec<(String, String)>,
}

/// A row of a shared batch.
#[derive(Clone)]
struct RowRef {
    batch: Arc<FlatBatch>,
    row: usize,
    /// Media time of the frame to which it is joined, ns.
    pts: i64,
}

/// A batch with flattened columns.
struct FlatBatch {
    stream: StringArray,
    frame: Vec<u64>,
    pts: Vec<i64>,
    session: UInt32Array,
    track: Option<UInt32Array>,
    fighter: Option<StringArray>,
    /// For tables of pairs: the sort key, nearest first.
    distance: Option<Float32Array>,
    columns: Vec<ArrayRef>,
}

impl TableJoin {
    /// Prepares the join of the selected tables; only their schemas and stream names are read.
    ///
    /// # Errors
    /// If a table cannot be read, or no table has rows.
    pub fn new(tables: &RecordedTables, selected: &[String]) -> Result<Self> {
        let mut join = Self {
            tables: vec![],
            empty: vec![],
            skipped: vec![],
            streams: vec![],
            by_track: true,
            schema: Arc::new(Schema::empty()),
        };
        for name in selected {
            let recorded = tables.table(name)?;
            join.skipped.extend(tables.skipped_frames(name));
            let Some(schema) = recorded.schema()? else {
                join.empty.push(name.clone());
                continue;
            };
            join.by_track = has_tracks(&schema);
            // Exported alone, rows stay in the frame in which they were sent: no other table has the time of the peak.
            let is_at_peak = selected.len() > 1 && has_peaks(&schema);
            let columns = flatten(name, &split_pairs(&RecordBatch::new_empty(schema))?)?;
            let mut columns: Vec<(String, DataType)> =
                columns.into_iter().map(|(name, values)| (name, values.data_type().clone())).collect();
            if is_at_peak {
                columns.push((format!("{name}_frame"), DataType::Int64));
            }
            join.tables.push(JoinedTable { recorded, columns, is_at_peak });
        }
        if join.tables.is_empty() {
            return Err(Error::input(format!(
                "{}: the run was interrupted before a part of it was complete (the recorder's `row_group` frames); its \
                 .jsonl files may contain the first rows",
                selected.join(", ")
            )));
        }
        for recorded in join.tables.iter().map(|table| &table.recorded).chain(&join.skipped) {
            for batch in recorded.columns(Some(&["stream"]))? {
                for stream in column::<StringArray>(&batch?, "stream")?.iter().flatten() {
                    if !join.streams.iter().any(|known| known == stream) {
                        join.streams.push(stream.to_owned());
                    }
                }
            }
        }
        join.streams.sort();
        join.schema = join.build_schema();
        Ok(join)
    }

    /// Returns the schema of the export.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Returns the names of the selected tables without rows.
    pub fn empty_tables(&self) -> impl Iterator<Item = &str> {
        self.empty.iter().map(String::as_str)
    }

    /// True if the run was interrupted, so that the end of a table is missing.
    pub fn is_interrupted(&self) -> bool {
        !self.empty.is_empty() || self.tables.iter().any(|table| !table.recorded.is_complete)
    }

    fn build_schema(&self) -> SchemaRef {
        let mut fields = vec![
            Field::new("stream", DataType::Utf8, false),
            Field::new("session", DataType::UInt32, false),
            Field::new("frame", DataType::Int64, false),
            Field::new("pts", DataType::Int64, false),
        ];
        if self.by_track {
            fields.push(Field::new("track", DataType::UInt32, true));
            fields.push(Field::new("fighter", DataType::Utf8, true));
        }
        fields.push(Field::new("skipped", DataType::Utf8, true));
        for JoinedTable { recorded, columns, .. } in &self.tables {
            for (name, ty) in columns {
                // With two tables of poses, the joints of the second one are prefixed with the table's name.
                let taken = fields.iter().any(|field| field.name() == name);
                let name = if taken { format!("{}_{name}", recorded.name) } else { name.clone() };
                fields.push(Field::new(name, ty.clone(), true));
            }
        }
        Arc::new(Schema::new(fields))
    }

    /// Writes all rows; returns their number.
    ///
    /// # Errors
    /// If a table cannot be read, or the rows cannot be written.
    pub fn write(&self, mut sink: Box<dyn Sink>) -> Result<u64> {
        let mut written = 0;
        for stream in &self.streams {
            let mut cursors = self.tables.iter().map(|table| self.cursor(table, stream)).collect::<Result<Vec<_>>>()?;
            let mut skips = self
                .skipped
                .iter()
                .map(|recorded| OrderedCursor::new(recorded).map(Cursor::Ordered))
                .collect::<Result<Vec<_>>>()?;
            let mut pending: Vec<(u64, FrameRows)> = vec![];
            loop {
                let mut next: Option<u64> = None;
                for cursor in cursors.iter_mut().chain(&mut skips) {
                    let frame = cursor.peek(stream)?;
                    next = next.into_iter().chain(frame).min();
                }
                let Some(frame) = next else { break };
                pending.push((frame, self.join_frame(stream, frame, &mut cursors, &mut skips)?));
                if pending.iter().map(|(_, frame)| frame.rows.len().max(1)).sum::<usize>() >= BATCH_ROWS {
                    written += self.write_batch(stream, &pending, sink.as_mut())?;
                    pending.clear();
                }
            }
            written += self.write_batch(stream, &pending, sink.as_mut())?;
        }
        sink.finish()?;
        Ok(written)
    }

    fn cursor(&self, table: &JoinedTable, stream: &str) -> Result<Cursor> {
        if !table.is_at_peak {
            return OrderedCursor::new(&table.recorded).map(Cursor::Ordered);
        }
        let mut rows = PeakCursor::read(&table.recorded, stream)?;
        let others = self.tables.iter().filter(|other| !other.is_at_peak).map(|other| &other.recorded);
        others.chain(&self.skipped).try_for_each(|recorded| rows.find_times(recorded, stream))?;
        rows.move_to_peaks();
        Ok(Cursor::Peak(rows))
    }

    /// Joins the rows of all tables for one frame.
    fn join_frame(&self, stream: &str, frame: u64, cursors: &mut [Cursor], skips: &mut [Cursor]) -> Result<FrameRows> {
        let mut joined = FrameRows::default();
        for (table, cursor) in cursors.iter_mut().enumerate() {
            let mut occurrences: BTreeMap<u32, u32> = BTreeMap::new();
            let mut refs = vec![];
            while cursor.peek(stream)? == Some(frame) {
                refs.extend(cursor.take());
            }
            // The nearest of several opponents comes first; an unknown distance (NaN) last.
            refs.sort_by(|a, b| a.distance().total_cmp(&b.distance()));
            for (n, row) in refs.into_iter().enumerate() {
                (joined.pts, joined.session) = (row.pts, row.batch.session.value(row.row));
                let key = row.batch.track.as_ref().map_or(n as u32, |track| track.value(row.row));
                let occurrence = occurrences.entry(key).or_default();
                let is_pair = row.batch.distance.is_some();
                if *occurrence == 0 || !is_pair {
                    let rows = joined.rows.entry((key, *occurrence)).or_insert_with(|| vec![None; self.tables.len()]);
                    rows[table] = Some(row);
                }
                *occurrence += 1;
            }
        }
        for (recorded, cursor) in self.skipped.iter().zip(skips) {
            while cursor.peek(stream)? == Some(frame) {
                let Some(row) = cursor.take() else { break };
                (joined.pts, joined.session) = (row.pts, row.batch.session.value(row.row));
                // A table of skipped frames has the columns input and reason.
                let reason = row.batch.columns.get(1).and_then(|column| column.as_any().downcast_ref::<StringArray>());
                let reason = reason.map_or("", |reasons| reasons.value(row.row));
                let table = recorded.name.split('.').next().unwrap_or_default();
                joined.skipped.push((table.to_owned(), reason.to_owned()));
            }
        }
        Ok(joined)
    }

    /// Writes the rows of some frames as one batch; returns their number. A frame without rows gets a row of nulls.
    fn write_batch(&self, stream: &str, frames: &[(u64, FrameRows)], sink: &mut dyn Sink) -> Result<u64> {
        let no_rows = BTreeMap::from([((0, 0), vec![None; self.tables.len()])]);
        let rows: Vec<_> = frames
            .iter()
            .flat_map(|(number, frame)| {
                let rows = if frame.rows.is_empty() { &no_rows } else { &frame.rows };
                rows.iter().map(move |((key, _), refs)| (*number, frame, *key, refs))
            })
            .collect();
        if rows.is_empty() {
            return Ok(0);
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|_| stream))),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|(_, frame, ..)| frame.session))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(number, ..)| *number as i64))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, frame, ..)| frame.pts))),
        ];
        if self.by_track {
            let has_row = |refs: &[Option<RowRef>]| refs.iter().any(Option::is_some);
            columns.push(Arc::new(UInt32Array::from_iter(
                rows.iter().map(|(_, _, track, refs)| has_row(refs).then_some(*track)),
            )));
            columns.push(Arc::new(StringArray::from_iter(rows.iter().map(|(.., refs)| {
                let names = refs.iter().flatten().filter_map(RowRef::fighter);
                has_row(refs).then(|| names.max_by_key(|name| name.len()).unwrap_or_default())
            }))));
        }
        columns.push(Arc::new(StringArray::from_iter(rows.iter().map(|(_, frame, ..)| frame.reason()))));
        for (table, JoinedTable { columns: named, .. }) in self.tables.iter().enumerate() {
            let refs: Vec<Option<&RowRef>> = rows.iter().map(|(.., refs)| refs[table].as_ref()).collect();
            for (i, (_, ty)) in named.iter().enumerate() {
                columns.push(gather(&refs, i, ty)?);
            }
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .or_fail(Failure::Input, || "the parts of a table have different schemas")?;
        sink.write_rows(&batch)?;
        Ok(rows.len() as u64)
    }
}

/// Returns one column of the referenced rows, with null for `None`.
fn gather(refs: &[Option<&RowRef>], column: usize, ty: &DataType) -> Result<ArrayRef> {
    let null = new_null_array(ty, 1);
    let mut sources: Vec<&Arc<FlatBatch>> = vec![];
    let indices: Vec<(usize, usize)> = refs
        .iter()
        .map(|row| match row {
            None => (0, 0),
            Some(RowRef { batch, row, .. }) => {
                // Rows are in order, so the batch is mostly the last one.
                let index = sources.iter().rposition(|source| Arc::ptr_eq(source, batch));
                let index = index.unwrap_or_else(|| {
                    sources.push(batch);
                    sources.len() - 1
                });
                (index + 1, *row)
            }
        })
        .collect();
    let arrays: Vec<&dyn Array> =
        std::iter::once(null.as_ref()).chain(sources.iter().map(|source| source.columns[column].as_ref())).collect();
    interleave(&arrays, &indices).or_fail(Failure::Input, || "the parts of a table have different schemas")
}

impl FrameRows {
    /// Returns the reason why the frame was skipped; with the names of the tables if they skipped it for different reasons, or
    /// not all of them did.
    fn reason(&self) -> Option<String> {
        let (_, first) = self.skipped.first()?;
        if self.skipped.iter().all(|(_, reason)| reason == first) && self.rows.is_empty() {
            return Some(first.clone());
        }
        let each: Vec<String> = self.skipped.iter().map(|(table, reason)| format!("{table}: {reason}")).collect();
        Some(each.join("; "))
    }
}

impl RowRef {
    fn fighter(&self) -> Option<&str> {
        self.batch.fighter.as_ref().map(|names| names.value(self.row))
    }

    fn distance(&self) -> f32 {
        self.batch.distance.as_ref().map_or(0.0, |distances| distances.value(self.row))
    }
}

/// Column with the frame to which a row belongs if it is sent some frames later: the peak of a move.
const PEAK: &str = "peak";

/// True for a table whose rows name the frame of their peak. Recordings of earlier versions have no units; there a table with
/// `start`, `peak` and `end` is one of moves.
fn has_peaks(schema: &Schema) -> bool {
    let number = |name| {
        schema
            .field_with_name(name)
            .ok()
            .filter(|field| matches!(field.data_type(), DataType::Int64 | DataType::UInt64))
    };
    match number(PEAK) {
        None => false,
        Some(peak) if peak.metadata().is_empty() => number("start").is_some() && number("end").is_some(),
        Some(peak) => peak.metadata().get("unit").is_some_and(|unit| unit == "frame"),
    }
}

/// A reading position in a table.
enum Cursor {
    Ordered(OrderedCursor),
    Peak(PeakCursor),
}

impl Cursor {
    /// Returns the frame of the next row of a stream; `None` at the end.
    fn peek(&mut self, stream: &str) -> Result<Option<u64>> {
        match self {
            Cursor::Ordered(cursor) => cursor.peek(stream),
            Cursor::Peak(cursor) => Ok(cursor.rows.front().map(|row| row.frame)),
        }
    }

    /// Takes the row that was peeked.
    fn take(&mut self) -> Option<RowRef> {
        match self {
            Cursor::Ordered(cursor) => cursor.take(),
            Cursor::Peak(cursor) => cursor.rows.pop_front().map(|row| row.row),
        }
    }
}

/// A reading position in a table whose rows are joined in the order of the file.
struct OrderedCursor {
    name: String,
    batches: Batches,
    batch: Option<Arc<FlatBatch>>,
    row: usize,
}

impl OrderedCursor {
    fn new(recorded: &RecordedTable) -> Result<Self> {
        Ok(Self { name: recorded.name.clone(), batches: recorded.batches()?, batch: None, row: 0 })
    }

    fn peek(&mut self, stream: &str) -> Result<Option<u64>> {
        loop {
            if let Some(batch) = &self.batch {
                while self.row < batch.stream.len() {
                    if batch.stream.value(self.row) == stream {
                        return Ok(batch.frame.get(self.row).copied());
                    }
                    self.row += 1;
                }
            }
            match self.batches.next() {
                None => {
                    self.batch = None;
                    return Ok(None);
                }
                Some(batch) => {
                    self.batch = Some(Arc::new(FlatBatch::new(&self.name, &batch?, false)?));
                    self.row = 0;
                }
            }
        }
    }

    fn take(&mut self) -> Option<RowRef> {
        let row =
            self.batch.as_ref().map(|batch| RowRef { batch: batch.clone(), row: self.row, pts: batch.pts[self.row] });
        self.row += 1;
        row
    }
}

/// Rows of one stream of a table that are joined at their peaks. There are few, so all are in memory.
struct PeakCursor {
    rows: VecDeque<PeakRow>,
    /// Media times of the peaks, ns.
    times: BTreeMap<u64, Option<i64>>,
}

struct PeakRow {
    /// Frame to which the row is joined.
    frame: u64,
    peak: u64,
    row: RowRef,
}

impl PeakCursor {
    fn read(recorded: &RecordedTable, stream: &str) -> Result<Self> {
        let mut rows = VecDeque::new();
        for batch in recorded.batches()? {
            let batch = batch?;
            let peaks = frame_numbers(&batch, PEAK)?;
            let flat = Arc::new(FlatBatch::new(&recorded.name, &batch, true)?);
            let own = (0..flat.stream.len()).filter(|row| flat.stream.value(*row) == stream);
            rows.extend(own.map(|row| PeakRow {
                frame: flat.frame[row],
                peak: peaks[row],
                row: RowRef { batch: flat.clone(), row, pts: flat.pts[row] },
            }));
        }
        let times = rows.iter().map(|row| (row.peak, None)).collect();
        Ok(Self { rows, times })
    }

    /// Finds the times of the peaks among the rows of another table.
    fn find_times(&mut self, recorded: &RecordedTable, stream: &str) -> Result<()> {
        for batch in recorded.columns(Some(&["stream", "frame", "pts"]))? {
            let batch = batch?;
            let (streams, frames) = stream_and_frame(&batch)?;
            for (row, (frame, pts)) in frames.into_iter().zip(media_times_ns(&batch)?).enumerate() {
                if let Some(time) = self.times.get_mut(&frame).filter(|_| streams.value(row) == stream) {
                    *time = Some(pts);
                }
            }
        }
        Ok(())
    }

    /// Moves the rows to their peaks. A row stays in its frame if no other table has a row at its peak.
    fn move_to_peaks(&mut self) {
        for row in &mut self.rows {
            if let Some(Some(pts)) = self.times.get(&row.peak) {
                (row.frame, row.row.pts) = (row.peak, *pts);
            }
        }
        self.rows.make_contiguous().sort_by_key(|row| row.frame);
    }
}

impl FlatBatch {
    fn new(table: &str, batch: &RecordBatch, has_own_frame: bool) -> Result<Self> {
        let has_pairs = batch.column_by_name("track_a").is_some();
        let batch = split_pairs(batch)?;
        let (stream, frame) = stream_and_frame(&batch)?;
        let optional = |name: &str| batch.column_by_name(name).cloned();
        let text = |array: ArrayRef| array.as_any().downcast_ref::<StringArray>().cloned();
        let mut columns: Vec<ArrayRef> = flatten(table, &batch)?.into_iter().map(|(_, values)| values).collect();
        if has_own_frame {
            columns.push(Arc::new(Int64Array::from_iter_values(frame.iter().map(|frame| *frame as i64))));
        }
        Ok(Self {
            stream: stream.clone(),
            frame,
            pts: media_times_ns(&batch)?,
            session: column::<UInt32Array>(&batch, "session")?.clone(),
            track: optional("track").and_then(|array| array.as_any().downcast_ref::<UInt32Array>().cloned()),
            fighter: optional("fighter").and_then(text),
            distance: optional("distance")
                .filter(|_| has_pairs)
                .and_then(|array| array.as_any().downcast_ref::<Float32Array>().cloned()),
            columns,
        })
    }
}
