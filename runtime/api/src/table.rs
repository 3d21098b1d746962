//! Tables: a Rust struct is a row, and an Arrow struct array of rows is the payload of a message.
//!
//! [`table!`](macro@crate::table) declares the rows of a table, [`column_struct!`](crate::column_struct) a struct in a column
//! and [`column_enum!`](crate::column_enum) the values that a column of text may have. An `Option` is a column with nulls.
//! `#[column(unit = "px")]` states the unit of a column, `#[column(names = [..])]` the names of the items of a list.
//!
//! ```
//! use sideline_api::{Table, column_enum, column_struct, table};
//!
//! column_enum! {
//!     /// Part of the body that scored.
//!     pub enum BodyPart {
//!         /// A foot.
//!         Foot = "foot",
//!         /// The head.
//!         Head = "head",
//!     }
//! }
//! column_struct! {
//!     /// Point of the image.
//!     pub struct Point {
//!         /// Column in the source frame.
//!         #[column(unit = "px")]
//!         pub x: f32,
//!         /// Row in the source frame.
//!         #[column(unit = "px")]
//!         pub y: f32,
//!     }
//! }
//! table! {
//!     /// Goal of a match.
//!     pub struct Goal in "goals" {
//!         /// Track of the scorer.
//!         pub track: u32,
//!         /// Position of the ball.
//!         pub ball: Point,
//!         /// Part of the body.
//!         pub with: BodyPart,
//!         /// Track of the player who assisted; null without one.
//!         pub assist: Option<u32>,
//!     }
//! }
//!
//! let goal = Goal { track: 7, with: BodyPart::Head, ..Goal::default() };
//! let rows = Goal::encode(&[goal.clone()]);
//! assert_eq!(Goal::decode(&rows).unwrap(), [goal]);
//! assert_eq!("foot".parse(), Ok(BodyPart::Foot));
//! let error = "hand".parse::<BodyPart>().unwrap_err();
//! assert_eq!(error.to_string(), "unknown value `hand`; expected one of `foot`, `head`");
//! ```

mod column;
mod macros;

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::{Array, StructArray};
use arrow_data::{ArrayData, transform::MutableArrayData};
use arrow_schema::{DataType, Fields};

pub use column::{Column, UnknownVariant, as_struct, decode_column, decode_variants};

use crate::{Error, Result};

/// Row type of a table, with its columns and the conversion to and from struct arrays. Implemented by
/// [`table!`](macro@crate::table).
pub trait Table: Sized + 'static {
    /// Name of the table in type files and recordings: `tracks`.
    const NAME: &'static str;
    /// First line of the row's documentation.
    const ABOUT: &'static str;
    /// True if rows carry their own time, as pieces of sound do, and do not belong to the frame of their message. Such rows
    /// outlive the frame: if it is dropped by the admission gate or skipped by an operator, they are carried over to the
    /// next frame.
    const IS_CARRIED: bool = false;
    /// Returns the table's type, the same one at every call.
    fn table_type() -> TableType;
    /// Returns the columns, the same `Fields` at every call.
    fn fields() -> &'static Fields {
        &Self::table_type().description().fields
    }
    /// Converts rows to a struct array.
    fn encode(rows: &[Self]) -> StructArray;
    /// Converts a struct array to rows.
    ///
    /// # Errors
    /// When the columns are not those of [`Table::fields`].
    fn decode(array: &StructArray) -> Result<Vec<Self>>;
}

/// Description of a table, complete without its Rust type.
#[derive(Clone, Debug)]
pub struct TableDescription {
    /// Name of the table.
    pub name: String,
    /// Documentation of a row.
    pub about: String,
    /// Description of each column, in order.
    pub columns: Vec<ColumnDescription>,
    /// See [`Table::IS_CARRIED`].
    pub is_carried: bool,
    /// Arrow fields of the columns.
    pub fields: Fields,
}

/// Description of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnDescription {
    /// Name of the column.
    pub name: String,
    /// Documentation of the column.
    pub about: String,
    /// Values that the column may have, each with its documentation; empty if it is not declared by
    /// [`column_enum!`](crate::column_enum).
    pub variants: Vec<(String, String)>,
    /// Columns of the struct in this column, if it is one.
    pub columns: Vec<ColumnDescription>,
    /// Unit of the values, such as `px` or `m/s`; empty if they have none. `frame` is a frame number, `frames` a number of frames.
    pub unit: String,
    /// Names of the items of a list, one list of names for each dimension; empty if they have none.
    pub names: Vec<Vec<String>>,
}

impl ColumnDescription {
    /// Returns the description of a column of type `T`.
    pub fn for_column<T: Column>(name: &str, about: &str) -> Self {
        let variants = T::variants().iter().map(|(value, about)| ((*value).into(), about.trim().into())).collect();
        Self { name: name.into(), about: about.trim().into(), variants, columns: T::columns(), ..Self::default() }
    }

    /// Returns the description with a unit.
    #[must_use]
    pub fn with_unit(self, unit: &str) -> Self {
        Self { unit: unit.into(), ..self }
    }

    /// Returns the description with names of the items of a list, one list of names for each dimension.
    #[must_use]
    pub fn with_names(self, names: &[&[&str]]) -> Self {
        let names = names.iter().map(|dimension| dimension.iter().map(|name| (*name).to_owned()).collect());
        Self { names: names.collect(), ..self }
    }

    /// Returns the documentation of the column, of its values and of the columns in it, in one line.
    pub fn full_text(&self) -> String {
        let mut text = self.about.clone();
        let quoted = |value: &str| if value.is_empty() { "empty".to_owned() } else { format!("`{value}`") };
        for (i, (value, about)) in self.variants.iter().enumerate() {
            text += if i == 0 { " Values: " } else { "; " };
            text += &quoted(value);
            if !about.is_empty() {
                text += &format!(" ({})", about.trim_end_matches('.'));
            }
        }
        if !self.variants.is_empty() {
            text += ".";
        }
        for column in &self.columns {
            text += &format!(" `{}`: {}", column.name, column.full_text());
        }
        text
    }
}

/// Type of a table: a description that lives as long as the process. Two types are equal if their names and columns are.
#[derive(Clone, Copy, Debug)]
pub struct TableType(&'static TableDescription);

/// Interned descriptions of this process.
static DESCRIPTIONS: Mutex<Vec<&'static TableDescription>> = Mutex::new(Vec::new());

impl TableType {
    /// Returns the type of the table with rows of type `T`.
    pub fn for_row<T: Table>() -> Self {
        T::table_type()
    }

    /// Returns the type with this description. Descriptions are interned for the life of the process.
    pub fn from_description(description: TableDescription) -> Self {
        let mut interned = DESCRIPTIONS.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |known: &&&TableDescription| {
            let key = |d: &TableDescription| (d.name.clone(), d.about.clone(), d.columns.clone(), d.is_carried);
            known.fields == description.fields && key(known) == key(&description)
        };
        if let Some(known) = interned.iter().find(is_same) {
            return Self(known);
        }
        let description: &'static TableDescription = Box::leak(Box::new(description));
        interned.push(description);
        Self(description)
    }

    /// Returns the description.
    pub fn description(self) -> &'static TableDescription {
        self.0
    }

    /// Returns an empty table.
    pub fn empty(self) -> StructArray {
        let columns = self.fields.iter().map(|f| arrow_array::new_empty_array(f.data_type())).collect();
        StructArray::new(self.0.fields.clone(), columns, None)
    }

    /// Checks the type of a message's array. A pointer comparison suffices if the rows were encoded in this process.
    ///
    /// # Errors
    /// When the columns differ; the error names the first difference.
    pub fn check(self, found: &DataType) -> Result<()> {
        let expected = &self.0.fields;
        let DataType::Struct(found) = found else {
            return Err(Error::config(format!("table `{}` is a struct array, found {found}", self.name)));
        };
        if is_same_list(expected, found) {
            return Ok(());
        }
        for (expected, found) in expected.iter().zip(found) {
            if expected.name() != found.name() || expected.data_type() != found.data_type() {
                return Err(Error::config(format!(
                    "table `{}`: column `{}: {}` expected, found `{}: {}`; are both ends of the same version?",
                    self.name,
                    expected.name(),
                    expected.data_type(),
                    found.name(),
                    found.data_type()
                )));
            }
        }
        if expected.len() != found.len() {
            return Err(Error::config(format!(
                "table `{}` has {} columns, found {}",
                self.name,
                expected.len(),
                found.len()
            )));
        }
        Ok(())
    }
}

impl Deref for TableType {
    type Target = TableDescription;
    fn deref(&self) -> &TableDescription {
        self.0
    }
}

impl PartialEq for TableType {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
            || self.name == other.name && (is_same_list(&self.fields, &other.fields) || self.fields == other.fields)
    }
}

/// Returns true for two handles of the same list of columns.
fn is_same_list(a: &Fields, b: &Fields) -> bool {
    std::ptr::eq(a.as_ref(), b.as_ref())
}

/// Concatenates tables of one type in this order.
///
/// # Errors
/// When the columns differ.
pub fn concat(tables: &[Arc<StructArray>]) -> Result<Arc<StructArray>> {
    if let [one] = tables {
        return Ok(one.clone());
    }
    let error = |cause: &dyn std::fmt::Display| Error::config(format!("tables cannot be concatenated: {cause}"));
    let parts: Vec<ArrayData> = tables.iter().map(|table| table.to_data()).collect();
    let Some(first) = parts.first() else { return Err(error(&"there is none")) };
    if let Some(other) = parts.iter().find(|part| part.data_type() != first.data_type()) {
        return Err(error(&format_args!("their columns differ: {}, {}", first.data_type(), other.data_type())));
    }
    // Not `arrow-select`, which takes as long to compile as all other parts of Arrow that this crate needs.
    let mut whole = MutableArrayData::new(parts.iter().collect(), false, parts.iter().map(ArrayData::len).sum());
    for (index, part) in parts.iter().enumerate() {
        whole.try_extend(index, 0, part.len()).map_err(|cause| error(&cause))?;
    }
    Ok(Arc::new(StructArray::from(whole.freeze())))
}

#[cfg(test)]
mod tests;
