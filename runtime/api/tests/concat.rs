//! Concatenation of tables, for all kinds of columns.

use std::sync::Arc;

use sideline_api::{Table, table};

sideline_api::table! {
    /// Row with each kind of column.
    pub struct Sample in "sample" {
        /// Flag.
        pub flag: bool,
        /// Number.
        pub number: f32,
        /// Text.
        pub text: String,
        /// List.
        pub list: Vec<u16>,
        /// Nested array.
        pub array: [[f32; 2]; 3],
    }
}

sideline_api::table! {
    /// Row of another table.
    pub struct Other in "other" {
        /// Flag.
        pub flag: bool,
    }
}

fn sample(n: u16) -> Sample {
    Sample {
        flag: n.is_multiple_of(2),
        number: f32::from(n),
        text: format!("row {n}"),
        list: (0..n).collect(),
        array: [[f32::from(n), 1.0]; 3],
    }
}

#[test]
fn rows_of_all_tables_follow_one_another() {
    let rows: Vec<Sample> = (0..9).map(sample).collect();
    let parts = [&rows[..4], &[], &rows[4..5], &rows[5..]].map(|part| Arc::new(Sample::encode(part)));
    let whole = table::concat(&parts).unwrap();
    assert_eq!(Sample::decode(&whole).unwrap(), rows);
    assert_eq!(*whole, Sample::encode(&rows));
    // Parts of a larger table are concatenated without the rest of it.
    let cut = [whole.slice(2, 3), whole.slice(7, 1)].map(Arc::new);
    let expected: Vec<Sample> = [2, 3, 4, 7].map(sample).into();
    assert_eq!(Sample::decode(&table::concat(&cut).unwrap()).unwrap(), expected);
}

#[test]
fn tables_with_other_columns_are_an_error() {
    let parts = [Arc::new(Sample::encode(&[sample(1)])), Arc::new(Other::encode(&[Other { flag: true }]))];
    let error = table::concat(&parts).unwrap_err();
    assert!(error.message.contains("tables cannot be concatenated: their columns differ"), "{error}");
    assert!(table::concat(&[]).is_err());
}
