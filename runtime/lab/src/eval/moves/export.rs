//! `--export`: every frame of every person of every recording as a row of a Parquet file, for training.
//!
//! Columns: `set` (dataset), `kind` (staged, synthetic, real), `licence` (`open`: weights trained on it may be
//! published; `research`: not), `person`, `recording`, `frame` (from 0, 30 per second), `label` (names of moves, any of
//! which is correct, joined by `|`; empty where unknown), `strike_start`, `strike_peak`, `strike_end` (first, fastest
//! and last frame of the move that contains the frame; -1 without a move or where unknown), `motion` (198 values:
//! velocity, then acceleration, x y z of each joint) and `interaction` (distance, closing speed, facing of this person
//! and of the other, reach of this person and of the other). Unknown values are NaN. The rows of a person are
//! contiguous.
//!
//! Generated bouts are written without the errors of a pose model, as recordings have none either; training adds them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Int32Array, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::Serialize;
use sideline::program::{Format, outln, print_json, to_file};
use sideline_api::{Failure, OrFail, Result};
use sideline_eval::moves::{Dataset, Library, Recording, Span, synthetic};
use sideline_sport::tables::{Interaction, Motion};

use super::{
    classifiers::{Classifiers, RecordingOutputs},
    operator_runner::OperatorFactory,
};

/// Summary of an export.
#[derive(Serialize)]
struct Summary<'a> {
    output: &'a Path,
    rows: usize,
    sets: BTreeMap<&'static str, DatasetSummary>,
    /// Reasons for exclusion, with the number of recordings or files.
    #[serde(rename = "left_out")]
    excluded: &'a BTreeMap<String, usize>,
    /// Faults in files: lines or files that could not be read.
    faults: usize,
}

/// Summary of one dataset.
#[derive(Serialize)]
struct DatasetSummary {
    kind: &'static str,
    #[serde(rename = "licence")]
    license: &'static str,
    /// Names of the persons; their number in JSON.
    #[serde(serialize_with = "serialize_count")]
    persons: BTreeSet<String>,
    recordings: usize,
    rows: usize,
}

fn serialize_count<S: serde::Serializer>(
    persons: &BTreeSet<String>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_u64(persons.len() as u64)
}

impl DatasetSummary {
    fn new(dataset: &Dataset) -> Self {
        Self { kind: dataset.kind.name(), license: dataset.license, persons: BTreeSet::new(), recordings: 0, rows: 0 }
    }

    fn add(&mut self, recording: &Recording) {
        self.persons.extend(recording.subjects.iter().cloned());
        self.recordings += 1;
        self.rows += recording.people.len() * recording.frames.len();
    }
}

/// Writes the file and prints its summary.
pub fn run(factory: &OperatorFactory, library: &Library, generate: u64, output: &Path, json: bool) -> Result<()> {
    let mut operators = Classifiers::features_only(factory)?;
    // Written to a temporary file first, so that a file with the final name is always complete.
    let mut temporary = output.as_os_str().to_owned();
    temporary.push(".part");
    let temporary = Path::new(&temporary);
    let mut sink = to_file(Format::Parquet, temporary, schema())?;
    let mut sets: BTreeMap<&'static str, DatasetSummary> = BTreeMap::new();
    // Generated one at a time: a thousand bouts need no more memory than one.
    let generated = (1..=generate).map(|seed| Cow::Owned(synthetic(seed, false)));
    for recording in library.recordings.iter().map(Cow::Borrowed).chain(generated) {
        let outputs = operators.process(&recording, 1)?;
        for person in 0..recording.people.len() {
            sink.write_rows(&to_batch(&recording, person, &outputs)?)?;
        }
        sets.entry(recording.dataset.name).or_insert_with(|| DatasetSummary::new(recording.dataset)).add(&recording);
    }
    sink.finish()?;
    std::fs::rename(temporary, output).or_fail(Failure::Output, || output.display().to_string())?;
    let rows = sets.values().map(|summary| summary.rows).sum();
    let summary = Summary { output, rows, sets, excluded: &library.excluded, faults: library.faults.len() };
    if json {
        return print_json(&summary);
    }
    outln!("{}: {rows} rows, one per frame and person", output.display());
    for (name, DatasetSummary { kind, license, persons, recordings, rows }) in &summary.sets {
        let persons = persons.len();
        outln!("{name:<10} {kind:<9} {license:<8} {persons:>3} persons {recordings:>5} recordings {rows:>7} rows");
    }
    super::print_excluded(library);
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
        ("motion", list(Motion::FEATURES)),
        ("interaction", list(Interaction::FEATURES)),
    ];
    Arc::new(Schema::new(columns.map(|(name, kind)| Field::new(name, kind, false)).to_vec()))
}

fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float32, false))
}

/// Converts one person of a recording to rows.
fn to_batch(recording: &Recording, index: usize, outputs: &RecordingOutputs) -> Result<RecordBatch> {
    let frames = outputs.motion.len();
    let person = &recording.people[index];
    let constant = |text: &str| Arc::new(StringArray::from_iter_values((0..frames).map(|_| text))) as ArrayRef;
    let labels = (0..frames).map(|frame| person.labels(frame).join("|"));
    let move_frame = |field: fn(&Span) -> Option<usize>| -> ArrayRef {
        let value = |frame: usize| person.span(frame).filter(|span| span.peak.is_some()).and_then(field);
        Arc::new(Int32Array::from_iter_values((0..frames).map(|frame| value(frame).map_or(-1, |value| value as i32))))
    };
    let rows = || outputs.motion.iter().map(|rows| &rows[index]);
    let motion = rows().flat_map(|row| row.velocity.iter().chain(&row.acceleration).flatten().copied());
    let track = index as u32 + 1;
    // NaN without a second person.
    let frame_values = |rows: &Vec<Interaction>| rows.iter().find_map(|row| row.features_for(track));
    let interaction =
        outputs.interaction.iter().flat_map(|rows| frame_values(rows).unwrap_or([f32::NAN; Interaction::FEATURES]));
    let list = |length: usize, values: Float32Array| -> Result<ArrayRef> {
        let list = FixedSizeListArray::try_new(item(), length as i32, Arc::new(values), None);
        Ok(Arc::new(list.or_fail(Failure::Other, || "rows of an export")?))
    };
    let columns = vec![
        constant(recording.dataset.name),
        constant(recording.dataset.kind.name()),
        constant(recording.dataset.license),
        constant(&person.name),
        constant(&recording.name),
        Arc::new(UInt32Array::from_iter_values(0..frames as u32)),
        Arc::new(StringArray::from_iter_values(labels)),
        move_frame(|span| Some(span.start)),
        move_frame(|span| span.peak),
        move_frame(|span| span.end.checked_sub(1)),
        list(Motion::FEATURES, Float32Array::from_iter_values(motion))?,
        list(Interaction::FEATURES, Float32Array::from_iter_values(interaction))?,
    ];
    RecordBatch::try_new(schema(), columns).or_fail(Failure::Other, || "rows of an export")
}
