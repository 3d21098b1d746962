//! Flattens the columns of a recorded table into scalar columns with unique names.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array, cast::AsArray};
use arrow_schema::{DataType, Field, Schema};
use arrow_select::{concat::concat, take::take};
use sideline_api::{Failure, OrFail, Result};
use sideline_sport::{
    body::{ANGLE_NAMES, JOINT_NAMES},
    tables::JOINTS,
};

use super::write::to_json;

/// Columns that identify a row. The export has them once, for all tables.
const KEY_COLUMNS: [&str; 6] = ["stream", "session", "frame", "pts", "track", "fighter"];
/// Names of the components of a joint; a table has the first ones.
const JOINT_COMPONENTS: [&str; 4] = ["x", "y", "z", "visibility"];

/// True if the rows of a table belong to tracks, or to pairs of tracks.
pub fn has_tracks(schema: &Schema) -> bool {
    let has = |name| schema.field_with_name(name).is_ok_and(|field| *field.data_type() == DataType::UInt32);
    // With a column `at`, a row refers to another frame than the one it was recorded with.
    (has("track") || has("track_a") && has("track_b")) && schema.field_with_name("at").is_err()
}

/// Converts a table of pairs to a table of tracks, with two rows for each pair, one per side. `facing_a` and `facing_b` become
/// `facing` and `opponent_facing`; the track of the other side becomes `opponent`. Other tables are returned unchanged.
pub fn split_pairs(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    if schema.field_with_name("track_a").is_err() {
        return Ok(batch.clone());
    }
    let rows = batch.num_rows() as u32;
    // The rows of side b are appended to those of side a, then interleaved.
    let order = UInt32Array::from_iter_values((0..rows).flat_map(|row| [row, row + rows]));
    let (mut fields, mut columns) = (vec![], vec![]);
    let mut add = |name: String, side_a: &ArrayRef, side_b: &ArrayRef| -> Result<()> {
        let both = concat(&[side_a.as_ref(), side_b.as_ref()]).or_fail(Failure::Other, || name.clone())?;
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

/// Returns name and values of the columns of a table, except the key columns. Lists of fixed length become one column per item;
/// lists of variable length and structs become JSON text.
pub fn flatten(table: &str, batch: &RecordBatch) -> Result<Vec<(String, ArrayRef)>> {
    let mut all = vec![];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if KEY_COLUMNS.contains(&field.name().as_str()) {
            continue;
        }
        let full_name = format!("{table}_{}", field.name());
        match column.data_type() {
            DataType::FixedSizeList(..) => flatten_list(&full_name, field.name(), column, &mut all)?,
            DataType::List(_) | DataType::Struct(_) => all.push((full_name, to_json_text(column))),
            _ => all.push((full_name, column.clone())),
        }
    }
    Ok(all)
}

/// Flattens lists of fixed length: to columns by joint and component, by angle, else by index.
fn flatten_list(full_name: &str, name: &str, column: &ArrayRef, all: &mut Vec<(String, ArrayRef)>) -> Result<()> {
    let list = column.as_fixed_size_list();
    let length = list.value_length() as usize;
    let inner = match list.values().data_type() {
        DataType::FixedSizeList(_, inner) => Some(*inner as usize),
        _ => None,
    };
    for i in 0..length {
        let begin = list.value_offset(0) as usize + i;
        // The items of a null are null.
        let at: UInt32Array =
            (0..list.len()).map(|row| list.is_valid(row).then_some((begin + row * length) as u32)).collect();
        let items = take(list.values(), &at, None).or_fail(Failure::Other, || full_name.to_owned())?;
        match inner {
            Some(components) if length == JOINTS && components <= JOINT_COMPONENTS.len() => {
                let joint = JOINT_NAMES[i];
                // Image coordinates have the name of the joint alone.
                let stem = if name == "joints" { joint.to_owned() } else { format!("{joint}_{name}") };
                let values = items.as_fixed_size_list();
                for (component, suffix) in JOINT_COMPONENTS.iter().enumerate().take(components) {
                    let index = |row: usize| (row * components + component) as u32;
                    let at: UInt32Array =
                        (0..values.len()).map(|row| values.is_valid(row).then_some(index(row))).collect();
                    let part = take(values.values(), &at, None).or_fail(Failure::Other, || full_name.to_owned())?;
                    all.push((format!("{stem}_{suffix}"), part));
                }
            }
            Some(_) => flatten_list(&format!("{full_name}_{i}"), "", &items, all)?,
            None if name == "joint_angles" && length == ANGLE_NAMES.len() => {
                all.push((format!("{}_angle", ANGLE_NAMES[i]), items));
            }
            None => all.push((format!("{full_name}_{i}"), items)),
        }
    }
    Ok(())
}

/// Converts values of variable size to JSON text.
fn to_json_text(column: &ArrayRef) -> ArrayRef {
    let texts = (0..column.len()).map(|row| to_json(column, row).to_string());
    Arc::new(StringArray::from_iter_values(texts))
}

#[cfg(test)]
mod tests {
    use sideline_api::{Table, table};

    use super::*;

    table! {
        /// Row with lists of fixed length that may be null.
        struct Bounded in "bounded" {
            /// Box; null without one.
            pub bounds: Option<[f32; 2]>,
            /// Joints; null without them.
            pub joints: Option<[[f32; 2]; 33]>,
        }
    }

    #[test]
    fn items_of_a_null_list_are_null() {
        let rows = [
            Bounded { bounds: Some([1.0, 2.0]), joints: None },
            Bounded { bounds: None, joints: Some([[3.0, 4.0]; 33]) },
        ];
        let columns = flatten("bounded", &RecordBatch::from(Bounded::encode(&rows))).unwrap();
        let cells = |name: &str| {
            let (_, column) = columns.iter().find(|column| column.0 == name).unwrap();
            [0, 1].map(|row| to_json(column, row).as_f64())
        };
        assert_eq!(cells("bounded_bounds_1"), [Some(2.0), None]);
        assert_eq!(cells(&format!("{}_y", JOINT_NAMES[4])), [None, Some(4.0)]);
    }
}
