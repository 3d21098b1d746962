//! Tables from the values of a test.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, ListArray, StringArray, StructArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array, new_null_array,
};
use arrow_schema::{DataType, Field};
use serde_json::Value;
use sideline_api::{
    TableType,
    arrow::buffer::{NullBuffer, OffsetBuffer},
    config::did_you_mean,
    table::ColumnDescription,
};

/// Checks that a column can have a value.
///
/// # Errors
/// Text for a message: the column, and the values that it takes.
pub fn check(table: TableType, column: &str, value: &Value) -> Result<(), String> {
    let Some((at, field)) = table.fields.find(column) else {
        let names = table.fields.iter().map(|field| field.name().as_str());
        return Err(format!("the table `{}` has no column `{column}`{}", table.name, did_you_mean(column, names)));
    };
    check_value(field, table.columns.get(at), value).map_err(|problem| format!("column `{column}`: {problem}"))
}

fn check_value(field: &Field, column: Option<&ColumnDescription>, value: &Value) -> Result<(), String> {
    let is_float = matches!(field.data_type(), DataType::Float32 | DataType::Float64);
    if value.is_null() {
        // NaN stands for a missing number.
        return if field.is_nullable() || is_float { Ok(()) } else { Err("it has no nulls".into()) };
    }
    let wrong = |expected: &str| Err(format!("{value} is not {expected}"));
    match field.data_type() {
        DataType::Boolean if value.is_boolean() => Ok(()),
        DataType::Boolean => wrong("true or false"),
        DataType::Float32 | DataType::Float64 if value.is_number() => Ok(()),
        DataType::Float32 | DataType::Float64 => wrong("a number"),
        DataType::Utf8 => {
            let Some(text) = value.as_str() else { return wrong("a text") };
            let variants: Vec<&str> =
                column.into_iter().flat_map(|column| &column.variants).map(|(name, _)| name.as_str()).collect();
            if variants.is_empty() || variants.contains(&text) {
                return Ok(());
            }
            let known: Vec<String> = variants.iter().map(|name| format!("`{name}`")).collect();
            Err(format!("`{text}` is none of {}{}", known.join(", "), did_you_mean(text, variants)))
        }
        DataType::List(item) => match value.as_array() {
            Some(items) => items.iter().try_for_each(|value| check_value(item, column, value)),
            None => wrong("a list"),
        },
        DataType::FixedSizeList(item, length) => match value.as_array() {
            Some(items) if items.len() == *length as usize => {
                items.iter().try_for_each(|value| check_value(item, column, value))
            }
            Some(items) => Err(format!("a list of {length} items expected, found {}", items.len())),
            None => wrong(&format!("a list of {length} items")),
        },
        DataType::Struct(fields) => {
            let Some(object) = value.as_object() else { return wrong("a map of columns") };
            for (name, value) in object {
                let Some((_, field)) = fields.find(name) else {
                    let names = fields.iter().map(|field| field.name().as_str());
                    return Err(format!("there is no `{name}`{}", did_you_mean(name, names)));
                };
                check_value(field, inner(column, name), value).map_err(|problem| format!("`{name}`: {problem}"))?;
            }
            Ok(())
        }
        integer => match integer_range(integer) {
            Some((min, max)) => match value.as_i128() {
                Some(number) if (min..=max).contains(&number) => Ok(()),
                Some(_) => Err(format!("{value} is not in {min} to {max}")),
                None => wrong("a whole number"),
            },
            None => Err(format!("a test cannot give values of the type {integer}")),
        },
    }
}

fn integer_range(data_type: &DataType) -> Option<(i128, i128)> {
    Some(match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, u64::MAX.into()),
        _ => return None,
    })
}

trait AsInteger {
    fn as_i128(&self) -> Option<i128>;
}

impl AsInteger for Value {
    fn as_i128(&self) -> Option<i128> {
        self.as_u64().map(i128::from).or_else(|| self.as_i64().map(i128::from))
    }
}

fn inner<'a>(column: Option<&'a ColumnDescription>, name: &str) -> Option<&'a ColumnDescription> {
    column?.columns.iter().find(|column| column.name == name)
}

/// Returns a table with these rows of checked values. A column that a row does not have has its default: 0, empty, null, or the first
/// of its values.
pub fn build(table: TableType, rows: &[Vec<(&str, Value)>]) -> StructArray {
    let columns = table.fields.iter().zip(&table.columns).map(|(field, column)| {
        let values: Vec<Option<&Value>> =
            rows.iter().map(|row| row.iter().find(|(name, _)| *name == field.name()).map(|(_, value)| value)).collect();
        build_column(field, Some(column), &values)
    });
    StructArray::new(table.fields.clone(), columns.collect(), None)
}

/// Builds a column; `None` is a default.
fn build_column(field: &Field, column: Option<&ColumnDescription>, values: &[Option<&Value>]) -> ArrayRef {
    let is_null = |value: &Option<&Value>| value.is_none_or(Value::is_null);
    let nulls = field.is_nullable().then(|| values.iter().map(|value| !is_null(value)).collect::<NullBuffer>());
    macro_rules! integers {
        ($array:ty, $native:ty) => {{
            let number =
                |value: &Option<&Value>| value.and_then(Value::as_i128).and_then(|n| <$native>::try_from(n).ok());
            let numbers: Vec<$native> = values.iter().map(|value| number(value).unwrap_or_default()).collect();
            Arc::new(<$array>::new(numbers.into(), nulls))
        }};
    }
    macro_rules! floats {
        ($array:ty, $native:ty) => {{
            let number = |value: &Option<&Value>| match value {
                None => 0.0,
                Some(value) => value.as_f64().map_or(<$native>::NAN, |number| number as $native),
            };
            Arc::new(<$array>::new(values.iter().map(number).collect(), nulls))
        }};
    }
    match field.data_type() {
        DataType::Boolean => {
            let flags = values.iter().map(|value| value.and_then(Value::as_bool).unwrap_or_default()).collect();
            Arc::new(BooleanArray::new(flags, nulls))
        }
        DataType::Int8 => integers!(Int8Array, i8),
        DataType::Int16 => integers!(Int16Array, i16),
        DataType::Int32 => integers!(Int32Array, i32),
        DataType::Int64 => integers!(Int64Array, i64),
        DataType::UInt8 => integers!(UInt8Array, u8),
        DataType::UInt16 => integers!(UInt16Array, u16),
        DataType::UInt32 => integers!(UInt32Array, u32),
        DataType::UInt64 => integers!(UInt64Array, u64),
        DataType::Float32 => floats!(Float32Array, f32),
        DataType::Float64 => floats!(Float64Array, f64),
        DataType::Utf8 => {
            let default = column.and_then(|column| column.variants.first()).map_or("", |(name, _)| name.as_str());
            let text = |value: &Option<&Value>| match value {
                None => {
                    if field.is_nullable() {
                        None
                    } else {
                        Some(default.to_owned())
                    }
                }
                Some(value) => value.as_str().map(str::to_owned),
            };
            Arc::new(values.iter().map(text).collect::<StringArray>())
        }
        DataType::FixedSizeList(item, length) => {
            let items: Vec<Option<&Value>> = values
                .iter()
                .flat_map(|value| (0..*length as usize).map(move |at| value.and_then(|value| value.get(at))))
                .collect();
            Arc::new(FixedSizeListArray::new(item.clone(), *length, build_column(item, column, &items), nulls))
        }
        DataType::List(item) => {
            let lists: Vec<&[Value]> =
                values.iter().map(|value| value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice)).collect();
            let items: Vec<Option<&Value>> = lists.iter().flat_map(|list| list.iter().map(Some)).collect();
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.len()));
            Arc::new(ListArray::new(item.clone(), offsets, build_column(item, column, &items), nulls))
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| {
                let values: Vec<Option<&Value>> =
                    values.iter().map(|value| value.and_then(|value| value.get(field.name()))).collect();
                build_column(field, inner(column, field.name()), &values)
            });
            Arc::new(StructArray::new(fields.clone(), columns.collect(), nulls))
        }
        // No table has a column of another type.
        other => new_null_array(other, values.len()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sideline_api::{Table, column_enum, column_struct, table};

    use super::*;

    column_enum! {
        /// Side.
        enum Side {
            /// Left.
            Left = "left",
            /// Right.
            Right = "right",
        }
    }
    column_struct! {
        /// Point.
        struct Point {
            /// Column.
            pub x: f32,
            /// Side.
            pub side: Side,
        }
    }
    table! {
        /// Row with columns of all kinds.
        struct Mixed in "mixed" {
            /// Number.
            pub track: u8,
            /// Width.
            pub width: f32,
            /// Side.
            pub side: Side,
            /// Side of the other; null without one.
            pub other: Option<Side>,
            /// Points.
            pub points: Vec<Point>,
            /// Box.
            pub bounds: [f32; 2],
            /// Point; null without one.
            pub center: Option<Point>,
        }
    }

    #[test]
    fn rows_have_the_given_values_and_defaults() {
        let table = TableType::for_row::<Mixed>();
        let rows = [
            vec![],
            vec![
                ("track", json!(7)),
                ("width", json!(null)),
                ("other", json!("right")),
                ("points", json!([{"x": 1.5, "side": "right"}, {}])),
                ("bounds", json!([1, 2.5])),
                ("center", json!({"x": 2})),
            ],
        ];
        for (column, value) in rows.iter().flatten() {
            check(table, column, value).unwrap();
        }
        let decoded = Mixed::decode(&build(table, &rows)).unwrap();
        assert_eq!(decoded[0], Mixed::default());
        assert!(decoded[1].width.is_nan());
        let expected = Mixed {
            track: 7,
            width: 0.0,
            side: Side::Left,
            other: Some(Side::Right),
            points: vec![Point { x: 1.5, side: Side::Right }, Point::default()],
            bounds: [1.0, 2.5],
            center: Some(Point { x: 2.0, side: Side::Left }),
        };
        assert_eq!(Mixed { width: 0.0, ..decoded[1].clone() }, expected);
    }

    #[test]
    fn wrong_values_are_named_with_what_is_expected() {
        let table = TableType::for_row::<Mixed>();
        for (column, value, expected) in [
            ("trakc", json!(1), "the table `mixed` has no column `trakc`; did you mean `track`?"),
            ("track", json!(300), "column `track`: 300 is not in 0 to 255"),
            ("track", json!(1.5), "column `track`: 1.5 is not a whole number"),
            ("track", json!(null), "column `track`: it has no nulls"),
            ("width", json!("a"), "column `width`: \"a\" is not a number"),
            ("side", json!("lift"), "column `side`: `lift` is none of `left`, `right`; did you mean `left`?"),
            ("bounds", json!([1]), "column `bounds`: a list of 2 items expected, found 1"),
            ("points", json!([{"y": 1}]), "column `points`: there is no `y`"),
        ] {
            let error = check(table, column, &value).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
