//! Columns of a recorded table as flat ones, each with a name of its own.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array, cast::AsArray};
use arrow_schema::{DataType, Field, Schema};
use arrow_select::{concat::concat, take::take};
use sideline_api::{Failure, OrFail, Result, body::JOINT_NAMES, tables::JOINTS};
use sideline_motion::ANGLES;

use super::write::json;

/// What a row is about: columns of their own, once for all tables.
const KEYS: [&str; 6] = ["stream", "session", "frame", "pts", "track", "fighter"];
/// Axes of a joint, as far as a table has them.
const AXES: [&str; 4] = ["x", "y", "z", "visibility"];

/// True when the rows of a table are about tracks, or pairs of them.
pub fn has_tracks(schema: &Schema) -> bool {
    let has = |name| schema.field_with_name(name).is_ok_and(|field| *field.data_type() == DataType::UInt32);
    // A row that names the frame it is about (`at`) belongs to another one than it was recorded in.
    (has("track") || has("track_a") && has("track_b")) && schema.field_with_name("at").is_err()
}

/// A table of pairs as one of tracks: each row twice, seen from either side. `facing_a` and `facing_b` become `facing`
/// and `opponent_facing`; the other's track becomes `opponent`.
pub fn from_both_sides(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    if schema.field_with_name("track_a").is_err() {
        return Ok(batch.clone());
    }
    let rows = batch.num_rows() as u32;
    // The views of both sides stand one after the other; a row's two come together.
    let order = UInt32Array::from_iter_values((0..rows).flat_map(|row| [row, row + rows]));
    let (mut fields, mut columns) = (vec![], vec![]);
    let mut add = |name: String, of_a: &ArrayRef, of_b: &ArrayRef| -> Result<()> {
        let both = concat(&[of_a.as_ref(), of_b.as_ref()]).or_fail(Failure::Other, || name.clone())?;
        columns.push(take(&both, &order, None).or_fail(Failure::Other, || name.clone())?);
        fields.push(Field::new(name, both.data_type().clone(), true));
        Ok(())
    };
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let name = field.name();
        if let Some(base) = name.strip_suffix("_a") {
            if let Some(other) = batch.column_by_name(&format!("{base}_b")) {
                let opponent = if base == "track" { "opponent".into() } else { format!("opponent_{base}") };
                add(base.to_owned(), column, other)?;
                add(opponent, other, column)?;
                continue;
            }
        } else if name.strip_suffix("_b").is_some_and(|base| schema.field_with_name(&format!("{base}_a")).is_ok()) {
            continue;
        }
        add(name.clone(), column, column)?;
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).or_fail(Failure::Other, || "a table of pairs")
}

/// The columns of a table that are no keys: name and values. Lists of fixed length become columns, others text.
pub fn flat(table: &str, batch: &RecordBatch) -> Result<Vec<(String, ArrayRef)>> {
    let mut all = vec![];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if KEYS.contains(&field.name().as_str()) {
            continue;
        }
        let whole = format!("{table}_{}", field.name());
        match column.data_type() {
            DataType::FixedSizeList(..) => spread(&whole, field.name(), column, &mut all)?,
            DataType::List(_) | DataType::Struct(_) => all.push((whole, text(column))),
            _ => all.push((whole, column.clone())),
        }
    }
    Ok(all)
}

/// Spreads lists of fixed length: by joint and axis, by angle, else by number.
fn spread(whole: &str, name: &str, column: &ArrayRef, all: &mut Vec<(String, ArrayRef)>) -> Result<()> {
    let list = column.as_fixed_size_list();
    let length = list.value_length() as usize;
    let inner = match list.values().data_type() {
        DataType::FixedSizeList(_, inner) => Some(*inner as usize),
        _ => None,
    };
    for i in 0..length {
        let begin = list.value_offset(0) as usize + i;
        let at = UInt32Array::from_iter_values((0..list.len()).map(|row| (begin + row * length) as u32));
        let items = take(list.values(), &at, None).or_fail(Failure::Other, || whole.to_owned())?;
        match inner {
            Some(axes) if length == JOINTS && axes <= AXES.len() => {
                let joint = JOINT_NAMES[i];
                // The plain name is that of the joint in the picture.
                let stem = if name == "joints" { joint.to_owned() } else { format!("{joint}_{name}") };
                let values = items.as_fixed_size_list();
                for (axis, axis_name) in AXES.iter().enumerate().take(axes) {
                    let at = UInt32Array::from_iter_values((0..values.len()).map(|row| (row * axes + axis) as u32));
                    let part = take(values.values(), &at, None).or_fail(Failure::Other, || whole.to_owned())?;
                    all.push((format!("{stem}_{axis_name}"), part));
                }
            }
            Some(_) => spread(&format!("{whole}_{i}"), "", &items, all)?,
            None if name == "joint_angles" && length == ANGLES.len() => {
                all.push((format!("{}_angle", ANGLES[i].0), items));
            }
            None => all.push((format!("{whole}_{i}"), items)),
        }
    }
    Ok(())
}

/// Values of no fixed width as JSON text.
fn text(column: &ArrayRef) -> ArrayRef {
    let texts = (0..column.len()).map(|row| json(column, row).to_string());
    Arc::new(StringArray::from_iter_values(texts))
}
