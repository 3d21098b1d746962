//! Joins recorded tables on (stream, frame, track), reading all of them side by side.
//!
//! Every table has its rows in the order of its stream's frames, so one look ahead in each is enough. Streams are taken
//! one after the other: how their frames were interleaved is not the same in every table.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{
    Array, ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array, new_null_array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::interleave::interleave;
use sideline_api::{Error, Failure, OrFail, Result};

use crate::recorded::{Batches, Recorded, Tables, column, keys, times};

use super::{
    flatten::{flat, from_both_sides, has_tracks},
    write::Sink,
};

/// Rows written at once.
const ROWS: usize = 512;

/// Tables that are to be joined.
pub struct Join {
    tables: Vec<Table>,
    /// What of the chosen tables has no rows and no columns.
    nothing: Vec<String>,
    /// Frames that a chosen table skipped.
    skipped: Vec<Recorded>,
    streams: Vec<String>,
    by_track: bool,
    schema: SchemaRef,
}

struct Table {
    recorded: Recorded,
    /// Names and types of its flat columns.
    columns: Vec<(String, DataType)>,
}

/// A frame of the export: who is in it, and why parts of it were skipped.
#[derive(Default)]
struct FrameRows {
    pts: i64,
    session: u32,
    /// By track (or number of the row) and how often it came: for each table the row that belongs to it.
    rows: BTreeMap<(u32, u32), Vec<Option<Place>>>,
    /// Table and reason.
    skipped: Vec<(String, String)>,
}

/// A row of a batch that is kept while it is needed.
#[derive(Clone)]
struct Place {
    batch: Arc<Flat>,
    row: usize,
}

/// A batch, flattened.
struct Flat {
    stream: StringArray,
    frame: UInt64Array,
    pts: Vec<i64>,
    session: UInt32Array,
    track: Option<UInt32Array>,
    fighter: Option<StringArray>,
    /// For pairs: the nearest comes first.
    distance: Option<Float32Array>,
    columns: Vec<ArrayRef>,
}

impl Join {
    /// Looks at the chosen tables; nothing is read yet but their columns and streams.
    ///
    /// # Errors
    /// When one cannot be read, or nothing is there to export.
    pub fn new(tables: &Tables, chosen: &[String]) -> Result<Self> {
        let mut join = Self {
            tables: vec![],
            nothing: vec![],
            skipped: vec![],
            streams: vec![],
            by_track: true,
            schema: Arc::new(Schema::empty()),
        };
        for name in chosen {
            let recorded = tables.named(name)?;
            join.skipped.extend(tables.skipped(name));
            let Some(schema) = recorded.schema()? else {
                join.nothing.push(name.clone());
                continue;
            };
            join.by_track = has_tracks(&schema);
            let columns = flat(name, &from_both_sides(&RecordBatch::new_empty(schema))?)?;
            let columns = columns.into_iter().map(|(name, values)| (name, values.data_type().clone())).collect();
            join.tables.push(Table { recorded, columns });
        }
        if join.tables.is_empty() {
            return Err(Error::input(format!(
                "{}: the run was cut off before a part of it was complete (the recorder's `row_group` frames); its \
                 .jsonl files may hold the first rows",
                chosen.join(", ")
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
        join.schema = join.make_schema();
        Ok(join)
    }

    /// The columns of the export.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Tables of which nothing is there.
    pub fn nothing_of(&self) -> impl Iterator<Item = &str> {
        self.nothing.iter().map(String::as_str)
    }

    /// True when the end of a table is missing.
    pub fn cut_off(&self) -> bool {
        !self.nothing.is_empty() || self.tables.iter().any(|table| !table.recorded.whole)
    }

    fn make_schema(&self) -> SchemaRef {
        let mut fields = vec![
            Field::new("stream", DataType::Utf8, false),
            Field::new("session", DataType::UInt32, false),
            Field::new("frame", DataType::UInt64, false),
            Field::new("pts", DataType::Int64, false),
        ];
        if self.by_track {
            fields.push(Field::new("track", DataType::UInt32, true));
            fields.push(Field::new("fighter", DataType::Utf8, true));
        }
        fields.push(Field::new("skipped", DataType::Utf8, true));
        for Table { recorded, columns } in &self.tables {
            for (name, ty) in columns {
                // Two tables of poses: the second's joints carry the table's name.
                let taken = fields.iter().any(|field| field.name() == name);
                let name = if taken { format!("{}_{name}", recorded.name) } else { name.clone() };
                fields.push(Field::new(name, ty.clone(), true));
            }
        }
        Arc::new(Schema::new(fields))
    }

    /// Writes all rows; their number.
    ///
    /// # Errors
    /// When a table cannot be read or the rows cannot be written.
    pub fn write(&self, mut sink: Box<dyn Sink>) -> Result<u64> {
        let mut written = 0;
        for stream in &self.streams {
            let mut cursors =
                self.tables.iter().map(|table| Cursor::new(&table.recorded)).collect::<Result<Vec<_>>>()?;
            let mut skips = self.skipped.iter().map(Cursor::new).collect::<Result<Vec<_>>>()?;
            let mut waiting: Vec<(u64, FrameRows)> = vec![];
            loop {
                let mut next: Option<u64> = None;
                for cursor in cursors.iter_mut().chain(&mut skips) {
                    let frame = cursor.peek(stream)?;
                    next = next.into_iter().chain(frame).min();
                }
                let Some(frame) = next else { break };
                waiting.push((frame, self.frame(stream, frame, &mut cursors, &mut skips)?));
                if waiting.iter().map(|(_, frame)| frame.rows.len().max(1)).sum::<usize>() >= ROWS {
                    written += self.send(stream, &waiting, sink.as_mut())?;
                    waiting.clear();
                }
            }
            written += self.send(stream, &waiting, sink.as_mut())?;
        }
        sink.finish()?;
        Ok(written)
    }

    /// Gathers what all tables say of a frame.
    fn frame(&self, stream: &str, frame: u64, cursors: &mut [Cursor], skips: &mut [Cursor]) -> Result<FrameRows> {
        let mut gathered = FrameRows::default();
        for (table, cursor) in cursors.iter_mut().enumerate() {
            let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
            let mut places = vec![];
            while cursor.peek(stream)? == Some(frame) {
                places.extend(cursor.take());
            }
            // Of several opponents the nearest; a distance that is not known comes last.
            places.sort_by(|a, b| a.distance().total_cmp(&b.distance()));
            for (n, place) in places.into_iter().enumerate() {
                (gathered.pts, gathered.session) = (place.batch.pts[place.row], place.batch.session.value(place.row));
                let about = place.batch.track.as_ref().map_or(n as u32, |track| track.value(place.row));
                let times = seen.entry(about).or_default();
                let pair = place.batch.distance.is_some();
                if *times == 0 || !pair {
                    let rows = gathered.rows.entry((about, *times)).or_insert_with(|| vec![None; self.tables.len()]);
                    rows[table] = Some(place);
                }
                *times += 1;
            }
        }
        for (recorded, cursor) in self.skipped.iter().zip(skips) {
            while cursor.peek(stream)? == Some(frame) {
                let Some(place) = cursor.take() else { break };
                (gathered.pts, gathered.session) = (place.batch.pts[place.row], place.batch.session.value(place.row));
                // The columns of a table of skips: input and reason.
                let reason =
                    place.batch.columns.get(1).and_then(|column| column.as_any().downcast_ref::<StringArray>());
                let reason = reason.map_or("", |reasons| reasons.value(place.row));
                let table = recorded.name.split('.').next().unwrap_or_default();
                gathered.skipped.push((table.to_owned(), reason.to_owned()));
            }
        }
        Ok(gathered)
    }

    /// Makes one batch of frames and writes it; how many rows it has.
    fn send(&self, stream: &str, frames: &[(u64, FrameRows)], sink: &mut dyn Sink) -> Result<u64> {
        let nobody = BTreeMap::from([((0, 0), vec![None; self.tables.len()])]);
        let rows: Vec<_> = frames
            .iter()
            .flat_map(|(number, frame)| {
                let rows = if frame.rows.is_empty() { &nobody } else { &frame.rows };
                rows.iter().map(move |((about, _), places)| (*number, frame, *about, places))
            })
            .collect();
        if rows.is_empty() {
            return Ok(0);
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|_| stream))),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|(_, frame, ..)| frame.session))),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|(number, ..)| *number))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, frame, ..)| frame.pts))),
        ];
        if self.by_track {
            let there = |places: &[Option<Place>]| places.iter().any(Option::is_some);
            columns.push(Arc::new(UInt32Array::from_iter(
                rows.iter().map(|(_, _, about, places)| there(places).then_some(*about)),
            )));
            columns.push(Arc::new(StringArray::from_iter(rows.iter().map(|(.., places)| {
                let names = places.iter().flatten().filter_map(Place::fighter);
                there(places).then(|| names.max_by_key(|name| name.len()).unwrap_or_default())
            }))));
        }
        columns.push(Arc::new(StringArray::from_iter(rows.iter().map(|(_, frame, ..)| frame.reason()))));
        for (table, Table { columns: named, .. }) in self.tables.iter().enumerate() {
            let places: Vec<Option<&Place>> = rows.iter().map(|(.., places)| places[table].as_ref()).collect();
            for (i, (_, ty)) in named.iter().enumerate() {
                columns.push(gather(&places, i, ty)?);
            }
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .or_fail(Failure::Input, || "the parts of a table do not fit together")?;
        sink.rows(&batch)?;
        Ok(rows.len() as u64)
    }
}

/// One column of the rows at these places, null where there is none.
fn gather(places: &[Option<&Place>], at: usize, ty: &DataType) -> Result<ArrayRef> {
    let nothing = new_null_array(ty, 1);
    let mut sources: Vec<&Arc<Flat>> = vec![];
    let indices: Vec<(usize, usize)> = places
        .iter()
        .map(|place| match place {
            None => (0, 0),
            Some(Place { batch, row }) => {
                // Rows come in order: the batch is mostly the last one.
                let known = sources.iter().rposition(|source| Arc::ptr_eq(source, batch));
                let known = known.unwrap_or_else(|| {
                    sources.push(batch);
                    sources.len() - 1
                });
                (known + 1, *row)
            }
        })
        .collect();
    let arrays: Vec<&dyn Array> =
        std::iter::once(nothing.as_ref()).chain(sources.iter().map(|source| source.columns[at].as_ref())).collect();
    interleave(&arrays, &indices).or_fail(Failure::Input, || "the parts of a table do not fit together")
}

impl FrameRows {
    /// Why the frame was skipped: the reason, with the tables that skipped it where they had different ones.
    fn reason(&self) -> Option<String> {
        let (_, first) = self.skipped.first()?;
        if self.skipped.iter().all(|(_, reason)| reason == first) && self.rows.is_empty() {
            return Some(first.clone());
        }
        let each: Vec<String> = self.skipped.iter().map(|(table, reason)| format!("{table}: {reason}")).collect();
        Some(each.join("; "))
    }
}

impl Place {
    fn fighter(&self) -> Option<&str> {
        self.batch.fighter.as_ref().map(|names| names.value(self.row))
    }

    fn distance(&self) -> f32 {
        self.batch.distance.as_ref().map_or(0.0, |distances| distances.value(self.row))
    }
}

/// A place in a table.
struct Cursor {
    name: String,
    batches: Batches,
    batch: Option<Arc<Flat>>,
    row: usize,
}

impl Cursor {
    fn new(recorded: &Recorded) -> Result<Self> {
        Ok(Self { name: recorded.name.clone(), batches: recorded.batches()?, batch: None, row: 0 })
    }

    /// The frame of the next row of a stream; `None` at the end.
    fn peek(&mut self, stream: &str) -> Result<Option<u64>> {
        loop {
            if let Some(batch) = &self.batch {
                while self.row < batch.stream.len() {
                    if batch.stream.value(self.row) == stream {
                        return Ok(Some(batch.frame.value(self.row)));
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
                    self.batch = Some(Arc::new(Flat::of(&self.name, &batch?)?));
                    self.row = 0;
                }
            }
        }
    }

    /// The row that was peeked.
    fn take(&mut self) -> Option<Place> {
        let place = self.batch.as_ref().map(|batch| Place { batch: batch.clone(), row: self.row });
        self.row += 1;
        place
    }
}

impl Flat {
    fn of(table: &str, batch: &RecordBatch) -> Result<Self> {
        let pairs = batch.column_by_name("track_a").is_some();
        let batch = from_both_sides(batch)?;
        let (stream, frame) = keys(&batch)?;
        let optional = |name: &str| batch.column_by_name(name).cloned();
        let text = |array: ArrayRef| array.as_any().downcast_ref::<StringArray>().cloned();
        Ok(Self {
            stream: stream.clone(),
            frame: frame.clone(),
            pts: times(&batch)?,
            session: column::<UInt32Array>(&batch, "session")?.clone(),
            track: optional("track").and_then(|array| array.as_any().downcast_ref::<UInt32Array>().cloned()),
            fighter: optional("fighter").and_then(text),
            distance: optional("distance")
                .filter(|_| pairs)
                .and_then(|array| array.as_any().downcast_ref::<Float32Array>().cloned()),
            columns: flat(table, &batch)?.into_iter().map(|(_, values)| values).collect(),
        })
    }
}
