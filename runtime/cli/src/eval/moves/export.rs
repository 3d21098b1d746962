//! `--export`: every frame of every recording as a row of a Parquet file, for training.
//!
//! Columns: `set`, `kind` (staged, synthetic, real), `licence` (`open`: weights made from it may be given away;
//! `research`: not), `person`, `recording`, `frame` (from 0, 30 a second), `label` (names of moves, any of which is right,
//! joined by `|`; empty where it is not known what was done), `strike_start`, `strike_peak`, `strike_end` (frames of the
//! strike that the frame is part of; -1 where there is none or it is not known), `motion` (198 values: velocity, then
//! acceleration, x y z of each joint) and `interaction` (distance, closing speed, facing of this person and of the other,
//! reach of this person and of the other). What is not known is NaN.

use std::{collections::BTreeMap, collections::BTreeSet, path::Path, sync::Arc};

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Int32Array, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::Serialize;
use sideline_api::{Failure, OrFail, Result, tables::Motion};
use sideline_eval::moves::{Library, Recording, Set};

use crate::{args::Format, commands::print_json, export::write::to_file};

/// Values of a row of motion: velocity, then acceleration, of 33 joints.
const MOTION: usize = 198;
/// Values of a row of interaction.
const INTERACTION: usize = 6;

/// What was written.
#[derive(Serialize)]
struct Summary<'a> {
    output: &'a Path,
    rows: usize,
    sets: BTreeMap<&'static str, Written>,
    /// Classes that none of our labels means, and how many recordings of each were left out.
    unmapped: &'a BTreeMap<String, usize>,
    /// Files of which something could not be read.
    faults: usize,
}

/// What was written of one set.
#[derive(Serialize)]
struct Written {
    kind: &'static str,
    licence: &'static str,
    persons: usize,
    recordings: usize,
    rows: usize,
}

/// Writes the file and says what is in it.
pub fn run(library: &Library, output: &Path, json: bool) -> Result<()> {
    // A draft beside it: a file of this name is always whole.
    let mut draft = output.as_os_str().to_owned();
    draft.push(".part");
    let draft = Path::new(&draft);
    let mut sink = to_file(Format::Parquet, draft, schema())?;
    let mut sets: BTreeMap<&'static str, (&'static Set, BTreeSet<&str>, usize, usize)> = BTreeMap::new();
    for recording in &library.recordings {
        let rows = super::motion(recording)?;
        sink.rows(&batch(recording, &rows)?)?;
        let (_, persons, recordings, count) =
            sets.entry(recording.set.name).or_insert((recording.set, BTreeSet::new(), 0, 0));
        persons.insert(&recording.person);
        *recordings += 1;
        *count += rows.len();
    }
    sink.finish()?;
    std::fs::rename(draft, output).or_fail(Failure::Output, || output.display().to_string())?;
    let sets: BTreeMap<&'static str, Written> = sets
        .into_iter()
        .map(|(name, (set, persons, recordings, rows))| {
            let (kind, licence, persons) = (set.kind.name(), set.licence, persons.len());
            (name, Written { kind, licence, persons, recordings, rows })
        })
        .collect();
    let rows = sets.values().map(|written| written.rows).sum();
    let summary = Summary { output, rows, sets, unmapped: &library.unmapped, faults: library.faults.len() };
    if json {
        return print_json(&summary);
    }
    println!("{}: {rows} rows, a frame of a person each", output.display());
    for (name, Written { kind, licence, persons, recordings, rows }) in &summary.sets {
        println!("{name:<10} {kind:<9} {licence:<8} {persons:>3} persons {recordings:>5} recordings {rows:>7} rows");
    }
    if !library.unmapped.is_empty() {
        let left: Vec<String> = library.unmapped.iter().map(|(class, count)| format!("{class} ({count})")).collect();
        println!("recordings of what none of the labels means, left out: {}", left.join(", "));
    }
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
        ("motion", list(MOTION)),
        ("interaction", list(INTERACTION)),
    ];
    Arc::new(Schema::new(columns.map(|(name, kind)| Field::new(name, kind, false)).to_vec()))
}

fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float32, false))
}

/// The rows of a recording.
fn batch(recording: &Recording, motion: &[Motion]) -> Result<RecordBatch> {
    let frames = motion.len();
    let same = |text: &str| Arc::new(StringArray::from_iter_values((0..frames).map(|_| text))) as ArrayRef;
    let label = |frame: usize| recording.span(frame).map_or_else(String::new, |span| span.labels.join("|"));
    let strike = |part: usize| -> ArrayRef {
        let at =
            |frame: usize| recording.span(frame).and_then(|span| span.strike).map_or(-1, |frames| frames[part] as i32);
        Arc::new(Int32Array::from_iter_values((0..frames).map(at)))
    };
    let values = motion.iter().flat_map(|row| row.velocity.iter().chain(&row.acceleration).flatten().copied());
    let list = |length: usize, values: Float32Array| -> Result<ArrayRef> {
        let list = FixedSizeListArray::try_new(item(), length as i32, Arc::new(values), None);
        Ok(Arc::new(list.or_fail(Failure::Other, || "rows of an export")?))
    };
    let columns = vec![
        same(recording.set.name),
        same(recording.set.kind.name()),
        same(recording.set.licence),
        same(&recording.person),
        same(&recording.name),
        Arc::new(UInt32Array::from_iter_values(0..frames as u32)),
        Arc::new(StringArray::from_iter_values((0..frames).map(label))),
        strike(0),
        strike(1),
        strike(2),
        list(MOTION, Float32Array::from_iter_values(values))?,
        list(INTERACTION, Float32Array::from_value(f32::NAN, frames * INTERACTION))?,
    ];
    RecordBatch::try_new(schema(), columns).or_fail(Failure::Other, || "rows of an export")
}
