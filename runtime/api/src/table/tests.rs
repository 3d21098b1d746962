use arrow_array::{
    ArrayRef, Int32Array, PrimitiveArray, StringArray, UInt32Array,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};
use arrow_buffer::NullBuffer;
use arrow_schema::Field;
use serde_json::json;

use super::*;
use crate::{column_enum, column_struct, table};

column_enum! {
    /// Phase of a track.
    enum Phase {
        /// Not yet known.
        Unknown = "",
        /// In sight.
        Visible = "visible",
        /// Out of sight.
        Hidden = "hidden",
    }
}

column_struct! {
    /// Point.
    struct Point {
        /// Column, px.
        pub x: f64,
        /// Phase of the point.
        pub phase: Phase,
        /// Row, px; null if unknown.
        pub y: Option<i32>,
    }
}

table! {
    /// Row with columns of every kind.
    struct Mixed in "mixed" {
        /// Number.
        pub track: u32,
        /// Whole number.
        pub offset: i32,
        /// Small numbers.
        pub small: [i8; 2],
        /// Larger numbers.
        pub steps: Vec<i16>,
        /// Phase.
        pub phase: Phase,
        /// Phase before; null at first.
        pub before: Option<Phase>,
        /// Point.
        pub point: Point,
        /// Target; null without one.
        pub target: Option<Point>,
        /// Path, with gaps.
        pub path: Vec<Option<Point>>,
        /// Box; null without one.
        pub bounds: Option<[f32; 4]>,
        /// Name; null without one.
        pub name: Option<String>,
        /// Scores; null if none were computed.
        pub scores: Option<Vec<f64>>,
        /// Decision; null while it is open.
        pub is_valid: Option<bool>,
        /// Matrix larger than the arrays with a standard default.
        pub joints: [[f32; 4]; 33],
    }
}

fn rows() -> Vec<Mixed> {
    let empty = Mixed::default();
    let point = Point { x: 1.5, phase: Phase::Hidden, y: Some(-4) };
    let full = Mixed {
        track: 7,
        offset: -3,
        small: [-1, 2],
        steps: vec![300, -300],
        phase: Phase::Visible,
        before: Some(Phase::Unknown),
        point: Point { y: None, ..point.clone() },
        target: Some(point.clone()),
        path: vec![None, Some(point), None],
        bounds: Some([1.0, 2.0, 3.0, 4.0]),
        name: Some(String::new()),
        scores: Some(vec![0.25]),
        is_valid: Some(false),
        joints: [[0.5; 4]; 33],
    };
    let partial = Mixed { before: None, bounds: None, path: vec![], ..full.clone() };
    vec![empty.clone(), full.clone(), partial, empty, full]
}

#[test]
fn rows_with_nulls_structs_and_enums_are_decoded_unchanged() {
    let rows = rows();
    let encoded = Mixed::encode(&rows);
    assert_eq!(Mixed::decode(&encoded).unwrap(), rows);
    assert_eq!(Mixed::decode(&Mixed::encode(&[])).unwrap(), []);
    TableType::for_row::<Mixed>().check(encoded.data_type()).unwrap();
    let nullable: Vec<&str> =
        encoded.fields().iter().filter(|field| field.is_nullable()).map(|field| field.name().as_str()).collect();
    assert_eq!(nullable, ["before", "target", "bounds", "name", "scores", "is_valid"]);
    assert_eq!(encoded.column_by_name("target").unwrap().null_count(), 2);
}

#[test]
fn every_slice_is_decoded_like_its_rows() {
    let rows = rows();
    let encoded = Mixed::encode(&rows);
    for begin in 0..=rows.len() {
        for end in begin..=rows.len() {
            assert_eq!(Mixed::decode(&encoded.slice(begin, end - begin)).unwrap(), rows[begin..end], "{begin}..{end}");
        }
    }
    let halves = [Arc::new(encoded.slice(0, 2)), Arc::new(encoded.slice(2, 3))];
    assert_eq!(Mixed::decode(&concat(&halves).unwrap()).unwrap(), rows);
}

#[test]
fn a_default_row_has_zeros_nulls_and_first_variants() {
    let row = Mixed::default();
    assert_eq!((row.track, row.phase, row.before, row.target), (0, Phase::Unknown, None, None));
    assert_eq!((row.point.phase, row.joints, row.path), (Phase::Unknown, [[0.0; 4]; 33], vec![]));
}

#[test]
fn variants_are_text_in_columns_and_in_serde() {
    let values: Vec<&str> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
    assert_eq!(values, ["", "visible", "hidden"]);
    assert_eq!(Phase::ALL.iter().map(|phase| phase.as_str().parse().unwrap()).collect::<Vec<Phase>>(), Phase::ALL);
    let column = <Phase as Column>::encode([Phase::Hidden, Phase::Unknown].iter());
    assert_eq!(column.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("hidden"), Some("")]);
    assert_eq!(serde_json::to_value(Phase::ALL).unwrap(), json!(["", "visible", "hidden"]));
    assert_eq!(serde_json::from_value::<Phase>(json!("visible")).unwrap(), Phase::Visible);
    assert_eq!(format!("{:>8}|", Phase::Hidden), "  hidden|");
}

#[test]
fn an_unknown_value_is_an_error_with_table_column_and_values() {
    let mut columns = Mixed::encode(&rows()[..1]).into_parts();
    columns.1[4] = Arc::new(StringArray::from(vec!["asleep\u{1b}"]));
    let error = Mixed::decode(&StructArray::new(columns.0, columns.1, columns.2)).unwrap_err();
    assert_eq!(
        error.message,
        "table `mixed`, column `phase`: unknown value `asleep\\u{1b}`; expected one of ``, `visible`, `hidden`",
        "control characters are escaped"
    );
}

#[test]
fn an_error_in_a_struct_names_the_path_of_its_column() {
    let mut columns = Mixed::encode(&rows()[..1]).into_parts();
    let at = columns.0.find("point").unwrap().0;
    let (fields, mut inner, _) = columns.1[at].as_struct().clone().into_parts();
    inner[1] = Arc::new(StringArray::from(vec!["seen"]));
    columns.1[at] = Arc::new(StructArray::new(fields, inner, None));
    let error = Mixed::decode(&StructArray::new(columns.0, columns.1, columns.2)).unwrap_err();
    assert_eq!(
        error.message,
        "table `mixed`, column `point`: column `phase`: unknown value `seen`; expected one of ``, `visible`, `hidden`"
    );
}

#[test]
fn frame_numbers_are_decoded_from_signed_columns_of_recordings() {
    let signed = |values: &[i64]| PrimitiveArray::<Int64Type>::from(values.to_vec());
    assert_eq!(<u64 as Column>::decode(&signed(&[0, 7])).unwrap(), [0, 7]);
    assert_eq!(<Option<u64> as Column>::decode(&signed(&[7])).unwrap(), [Some(7)]);
    let error = <u64 as Column>::decode(&signed(&[0, -7])).unwrap_err();
    assert_eq!(error.message, "-7 in a column of numbers from 0");
}

#[test]
fn columns_have_units_and_names_of_their_items() {
    const JOINTS: [&str; 2] = ["head", "hand"];
    table! {
        /// Body.
        struct Body in "bodies" {
            /// Width.
            #[column(unit = "px")]
            pub width: f32,
            /// Joints.
            #[column(unit = "m", names = [JOINTS, ["x", "y", "z"]])]
            pub joints: [[f32; 3]; 2],
            /// Joint angles.
            #[column(names = [JOINTS])]
            pub angles: [f32; 2],
            /// Number.
            pub track: u32,
        }
    }
    let columns = &TableType::for_row::<Body>().description().columns;
    let units: Vec<&str> = columns.iter().map(|column| column.unit.as_str()).collect();
    assert_eq!(units, ["px", "m", "", ""]);
    assert_eq!(columns[1].names, [vec!["head", "hand"], vec!["x", "y", "z"]]);
    assert_eq!(columns[2].names, [vec!["head", "hand"]]);
    assert!(columns[3].names.is_empty());
}

#[test]
fn nulls_in_a_column_without_nulls_are_an_error() {
    let nullable = |name: &str, array: ArrayRef| {
        let fields = Fields::from(vec![Field::new(name, array.data_type().clone(), true)]);
        StructArray::new(fields, vec![array], None)
    };
    let array = nullable("track", Arc::new(UInt32Array::from(vec![Some(1), None])));
    let error = decode_column::<u32>(Some("mixed"), &array, "track").unwrap_err();
    assert_eq!(error.message, "table `mixed`, column `track`: 1 value is null in a column without nulls");
    // A producer may mark a column as nullable that has no null in this message.
    let array = nullable("track", Arc::new(UInt32Array::from(vec![Some(1)])));
    assert_eq!(decode_column::<u32>(Some("mixed"), &array, "track").unwrap(), [1]);
    let error = decode_column::<u32>(Some("mixed"), &array, "offset").unwrap_err();
    assert_eq!(error.message, "table `mixed`, column `offset`: missing; there are [\"track\"]");
}

#[test]
fn values_below_a_null_are_not_read() {
    // In the place of a null there may be anything, also nulls in columns without nulls.
    let fields = Fields::from(vec![
        Field::new("x", DataType::Float64, true),
        Field::new("phase", DataType::Utf8, true),
        Field::new("y", DataType::Int32, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(PrimitiveArray::<Float64Type>::from(vec![None, Some(1.0)])),
        Arc::new(StringArray::from(vec![Some("asleep"), Some("visible")])),
        Arc::new(Int32Array::from(vec![None, None])),
    ];
    let array = StructArray::new(fields, columns, Some(NullBuffer::from(vec![false, true])));
    let point = Point { x: 1.0, phase: Phase::Visible, y: None };
    assert_eq!(<Option<Point> as Column>::decode(&array).unwrap(), [None, Some(point)]);
}

#[test]
fn the_type_check_names_a_struct_with_other_columns() {
    column_struct! {
        /// Point in space.
        struct Other {
            /// Column, m.
            pub x: f32,
        }
    }
    let mut columns = Mixed::encode(&rows()).into_parts();
    let at = columns.0.find("point").unwrap().0;
    let other = <Other as Column>::encode(vec![Other::default(); 5].iter());
    let mut fields = columns.0.to_vec();
    fields[at] = Arc::new(Field::new("point", other.data_type().clone(), false));
    columns.1[at] = other;
    let found = StructArray::new(fields.into(), columns.1, None);
    let error = TableType::for_row::<Mixed>().check(found.data_type()).unwrap_err();
    assert!(error.message.starts_with("table `mixed`: column `point: Struct("), "{error}");
}

#[test]
fn descriptions_hold_values_and_columns_of_structs() {
    let description = TableType::for_row::<Mixed>().description();
    let column = |name: &str| description.columns.iter().find(|column| column.name == name).unwrap();
    assert_eq!(column("offset").full_text(), "Whole number.");
    assert_eq!(
        column("before").full_text(),
        "Phase before; null at first. Values: empty (Not yet known); `visible` (In sight); `hidden` (Out of sight)."
    );
    assert_eq!(
        column("path").full_text(),
        "Path, with gaps. `x`: Column, px. `phase`: Phase of the point. Values: empty (Not yet known); \
         `visible` (In sight); `hidden` (Out of sight). `y`: Row, px; null if unknown."
    );
}
