//! `--export`: every frame of every person of every recording as a row of a Parquet file, for training.
//!
//! Columns: `set`, `kind` (staged, synthetic, real), `licence` (`open`: weights made from it may be given away;
//! `research`: not), `person`, `recording`, `frame` (from 0, 30 a second), `label` (names of moves, any of which is right,
//! joined by `|`; empty where it is not known what was done), `strike_start`, `strike_peak`, `strike_end` (first, fastest and
//! last frame of the move that the frame is part of; -1 where there is none or it is not known), `motion` (198 values: velocity, then
//! acceleration, x y z of each joint) and `interaction` (distance, closing speed, facing of this person and of the other,
//! reach of this person and of the other). What is not known is NaN. Rows of a person follow each other.
//!
//! Generated bouts are written without a pose model's errors, as the recordings are without them; whoever trains adds them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Int32Array, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::Serialize;
use sideline_api::{
    Failure, OrFail, Result,
    tables::{Interaction, Motion},
};
use sideline_eval::moves::{Library, Recording, Set, Span, synthetic};

use super::{
    judges::{Heard, Judges},
    stage::Workshop,
};

use crate::{args::Format, commands::print_json, export::write::to_file};

/// What was written.
#[derive(Serialize)]
struct Summary<'a> {
    output: &'a Path,
    rows: usize,
    sets: BTreeMap<&'static str, Written>,
    /// What was left out, and how many recordings or files of it.
    left_out: &'a BTreeMap<String, usize>,
    /// Files of which something could not be read.
    faults: usize,
}

/// What was written of one set.
#[derive(Serialize)]
struct Written {
    kind: &'static str,
    licence: &'static str,
    /// Their number, in JSON.
    #[serde(serialize_with = "number")]
    persons: BTreeSet<String>,
    recordings: usize,
    rows: usize,
}

fn number<S: serde::Serializer>(persons: &BTreeSet<String>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_u64(persons.len() as u64)
}

impl Written {
    fn of(set: &Set) -> Self {
        Self { kind: set.kind.name(), licence: set.licence, persons: BTreeSet::new(), recordings: 0, rows: 0 }
    }

    fn count(&mut self, recording: &Recording) {
        self.persons.extend(recording.subjects.iter().cloned());
        self.recordings += 1;
        self.rows += recording.people.len() * recording.frames.len();
    }
}

/// Writes the file and says what is in it.
pub fn run(workshop: &Workshop, library: &Library, generate: u64, output: &Path, json: bool) -> Result<()> {
    let mut operators = Judges::none(workshop)?;
    // A draft beside it: a file of this name is always whole.
    let mut draft = output.as_os_str().to_owned();
    draft.push(".part");
    let draft = Path::new(&draft);
    let mut sink = to_file(Format::Parquet, draft, schema())?;
    let mut sets: BTreeMap<&'static str, Written> = BTreeMap::new();
    // Made one at a time: a thousand bouts need no more memory than one.
    let generated = (1..=generate).map(|seed| Cow::Owned(synthetic(seed, false)));
    for recording in library.recordings.iter().map(Cow::Borrowed).chain(generated) {
        let seen = operators.hear(&recording, 1)?;
        for person in 0..recording.people.len() {
            sink.rows(&batch(&recording, person, &seen)?)?;
        }
        sets.entry(recording.set.name).or_insert_with(|| Written::of(recording.set)).count(&recording);
    }
    sink.finish()?;
    std::fs::rename(draft, output).or_fail(Failure::Output, || output.display().to_string())?;
    let rows = sets.values().map(|written| written.rows).sum();
    let summary = Summary { output, rows, sets, left_out: &library.left_out, faults: library.faults.len() };
    if json {
        return print_json(&summary);
    }
    outln!("{}: {rows} rows, a frame of a person each", output.display());
    for (name, Written { kind, licence, persons, recordings, rows }) in &summary.sets {
        let persons = persons.len();
        outln!("{name:<10} {kind:<9} {licence:<8} {persons:>3} persons {recordings:>5} recordings {rows:>7} rows");
    }
    super::tell_left_out(library);
    Ok(())
}

fn schema() -> SchemaRef {
    let list = |length: usize| DataType::FixedSizeList(item(), length as i32);
    let columns = [
        ("set", DataType::Utf8),
        ("kind", DataType::Utf8),
        ("licence", DataType::Utf8),
        ("person", DataType::Utf8),
        ("recording", DataType::Utf8),
        ("frame", DataType::UInt32),
        ("label", DataType::Utf8),
        ("strike_start", DataType::Int32),
        ("strike_peak", DataType::Int32),
        ("strike_end", DataType::Int32),
        ("motion", list(Motion::VALUES)),
        ("interaction", list(Interaction::VALUES)),
    ];
    Arc::new(Schema::new(columns.map(|(name, kind)| Field::new(name, kind, false)).to_vec()))
}

fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float32, false))
}

/// The rows of one person of a recording.
fn batch(recording: &Recording, number: usize, seen: &Heard) -> Result<RecordBatch> {
    let frames = seen.motion.len();
    let person = &recording.people[number];
    let same = |text: &str| Arc::new(StringArray::from_iter_values((0..frames).map(|_| text))) as ArrayRef;
    let labels = (0..frames).map(|frame| person.labels(frame).join("|"));
    let of_move = |part: fn(&Span) -> Option<usize>| -> ArrayRef {
        let at = |frame: usize| person.span(frame).filter(|span| span.peak.is_some()).and_then(part);
        Arc::new(Int32Array::from_iter_values((0..frames).map(|frame| at(frame).map_or(-1, |at| at as i32))))
    };
    let rows = || seen.motion.iter().map(|rows| &rows[number]);
    let motion = rows().flat_map(|row| row.velocity.iter().chain(&row.acceleration).flatten().copied());
    let track = number as u32 + 1;
    // NaN where there is no other.
    let of_frame = |rows: &Vec<Interaction>| rows.iter().find_map(|row| row.seen_by(track));
    let interaction =
        seen.interaction.iter().flat_map(|rows| of_frame(rows).unwrap_or([f32::NAN; Interaction::VALUES]));
    let list = |length: usize, values: Float32Array| -> Result<ArrayRef> {
        let list = FixedSizeListArray::try_new(item(), length as i32, Arc::new(values), None);
        Ok(Arc::new(list.or_fail(Failure::Other, || "rows of an export")?))
    };
    let columns = vec![
        same(recording.set.name),
        same(recording.set.kind.name()),
        same(recording.set.licence),
        same(&person.name),
        same(&recording.name),
        Arc::new(UInt32Array::from_iter_values(0..frames as u32)),
        Arc::new(StringArray::from_iter_values(labels)),
        of_move(|span| Some(span.start)),
        of_move(|span| span.peak),
        of_move(|span| span.end.checked_sub(1)),
        list(Motion::VALUES, Float32Array::from_iter_values(motion))?,
        list(Interaction::VALUES, Float32Array::from_iter_values(interaction))?,
    ];
    RecordBatch::try_new(schema(), columns).or_fail(Failure::Other, || "rows of an export")
}
