//! Tables: a Rust struct is a row, and an Arrow struct array of rows is the payload of a message.
//!
//! ```
//! sideline_api::table! {
//!     /// Goal of a match.
//!     pub struct Goal in "goals" {
//!         /// Track of the scorer.
//!         pub track: u32,
//!         /// Position of the ball, px of the source frame.
//!         pub ball: [f32; 2],
//!     }
//! }
//! use sideline_api::Table;
//! let rows = Goal::encode(&[Goal { track: 7, ball: [1.0, 2.0] }]);
//! assert_eq!(Goal::decode(&rows).unwrap()[0].track, 7);
//! ```

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, ListArray, PrimitiveArray, StringArray, StructArray,
    types::{ArrowPrimitiveType, Float32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type},
};
use arrow_buffer::OffsetBuffer;
use arrow_data::{ArrayData, transform::MutableArrayData};
use arrow_schema::{DataType, Field, Fields};

use crate::{Error, Result};

/// Row type of a table, with its columns and the conversion to and from struct arrays. Implemented by
/// [`table!`](macro@crate::table).
pub trait Table: Sized + 'static {
    /// Name of the table in type files and recordings: `tracks`.
    const NAME: &'static str;
    /// First line of the row's documentation.
    const ABOUT: &'static str;
    /// Name and documentation of each column, in order.
    const COLUMNS: &'static [(&'static str, &'static str)];
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
    /// Name and documentation of each column, in order.
    pub columns: Vec<(String, String)>,
    /// See [`Table::IS_CARRIED`].
    pub is_carried: bool,
    /// Arrow fields of the columns.
    pub fields: Fields,
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

/// Type of the values of a column. Columns have no nulls; NaN stands for a missing number.
pub trait Column: Sized {
    /// Returns the Arrow type of the column.
    fn data_type() -> DataType;
    /// Converts the values of all rows to an array.
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a;
    /// Converts an array to the values of all rows.
    ///
    /// # Errors
    /// When the array has another type.
    fn decode(array: &dyn Array) -> Result<Vec<Self>>;
}

fn downcast<T: 'static>(array: &dyn Array) -> Result<&T> {
    array
        .as_any()
        .downcast_ref()
        .ok_or_else(|| Error::config(format!("unexpected column of type {}", array.data_type())))
}

macro_rules! primitive {
    ($($native:ty => $arrow:ty),*) => {$(
        impl Column for $native {
            fn data_type() -> DataType {
                <$arrow>::DATA_TYPE
            }
            fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
                Arc::new(PrimitiveArray::<$arrow>::from_iter_values(values.copied()))
            }
            fn decode(array: &dyn Array) -> Result<Vec<Self>> {
                Ok(downcast::<PrimitiveArray<$arrow>>(array)?.values().to_vec())
            }
        }
    )*};
}
primitive!(f32 => Float32Type, u8 => UInt8Type, u16 => UInt16Type, u32 => UInt32Type, u64 => UInt64Type, i64 => Int64Type);

impl Column for bool {
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(BooleanArray::from(values.copied().collect::<Vec<_>>()))
    }
    fn decode(array: &dyn Array) -> Result<Vec<Self>> {
        Ok(downcast::<BooleanArray>(array)?.values().iter().collect())
    }
}

impl Column for String {
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(values))
    }
    fn decode(array: &dyn Array) -> Result<Vec<Self>> {
        let strings = downcast::<StringArray>(array)?;
        Ok((0..strings.len()).map(|i| strings.value(i).to_owned()).collect())
    }
}

impl<T: Column + Copy + Default, const N: usize> Column for [T; N] {
    fn data_type() -> DataType {
        DataType::FixedSizeList(Arc::new(Field::new("item", T::data_type(), false)), N as i32)
    }
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a,
    {
        let items = T::encode(values.flat_map(|row| row.iter()));
        Arc::new(FixedSizeListArray::new(Arc::new(Field::new("item", T::data_type(), false)), N as i32, items, None))
    }
    fn decode(array: &dyn Array) -> Result<Vec<Self>> {
        let list = downcast::<FixedSizeListArray>(array)?;
        if list.value_length() != N as i32 {
            return Err(Error::config(format!("a column holds lists of {}, expected {N}", list.value_length())));
        }
        let items = T::decode(&list.values().slice(list.value_offset(0) as usize, list.len() * N))?;
        Ok(items
            .chunks_exact(N.max(1))
            .map(|chunk| {
                let mut row = [T::default(); N];
                row.copy_from_slice(chunk);
                row
            })
            .collect())
    }
}

impl<T: Column + Clone> Column for Vec<T> {
    fn data_type() -> DataType {
        DataType::List(Arc::new(Field::new("item", T::data_type(), false)))
    }
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a,
    {
        let rows: Vec<&Self> = values.collect();
        let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.len()));
        let items = T::encode(rows.into_iter().flatten());
        Arc::new(ListArray::new(Arc::new(Field::new("item", T::data_type(), false)), offsets, items, None))
    }
    fn decode(array: &dyn Array) -> Result<Vec<Self>> {
        let list = downcast::<ListArray>(array)?;
        let items = T::decode(list.values().as_ref())?;
        Ok(list.offsets().windows(2).map(|w| items[w[0] as usize..w[1] as usize].to_vec()).collect())
    }
}

/// Finds and decodes one column of a struct array. For the code that [`table!`](macro@crate::table) generates.
///
/// # Errors
/// When the column is missing or has another type; the error names the table and the column.
pub fn decode_column<T: Column>(table: &str, array: &StructArray, name: &str) -> Result<Vec<T>> {
    let column = array.column_by_name(name).ok_or_else(|| {
        Error::config(format!("table `{table}` has no column `{name}` here; it has {:?}", array.column_names()))
    })?;
    T::decode(column.as_ref()).map_err(|e| e.at(format_args!("table `{table}`, column `{name}`")))
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

/// Declares a table: a struct whose values are rows. See [the module](mod@crate::table) for an example. The word `carried`
/// after the name, as in `in "audio", carried`, sets [`Table::IS_CARRIED`].
#[macro_export]
macro_rules! table {
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $row:ident in $name:literal $(, $carried:ident)? {
            $( $(#[doc = $doc:literal])* pub $column:ident : $type:ty, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $row {
            $( $(#[doc = $doc])* pub $column: $type, )*
        }
        $crate::table!(@impl $row, $name, [$($carried)?], [$($about)*], $( $column: $type = [$($doc)*], )*);
    };
    (@carried carried) => { true };
    (@impl $row:ident, $name:literal, [$($carried:ident)?], [$($about:literal)*], $( $column:ident: $type:ty = [$($doc:literal)*], )*) => {
        impl $crate::Table for $row {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = concat!($($about),*);
            const COLUMNS: &'static [(&'static str, &'static str)] =
                &[$( (stringify!($column), concat!($($doc),*)), )*];
            $( const IS_CARRIED: bool = $crate::table!(@carried $carried); )?
            fn table_type() -> $crate::TableType {
                static TYPE: ::std::sync::OnceLock<$crate::TableType> = ::std::sync::OnceLock::new();
                *TYPE.get_or_init(|| $crate::TableType::from_description($crate::table::TableDescription {
                    name: Self::NAME.into(),
                    about: Self::ABOUT.into(),
                    columns: Self::COLUMNS.iter().map(|(name, about)| ((*name).into(), (*about).into())).collect(),
                    is_carried: Self::IS_CARRIED,
                    fields: $crate::arrow::schema::Fields::from(vec![$(
                        $crate::arrow::schema::Field::new(
                            stringify!($column), <$type as $crate::Column>::data_type(), false),
                    )*]),
                }))
            }
            fn encode(rows: &[Self]) -> $crate::arrow::array::StructArray {
                $crate::arrow::array::StructArray::new(
                    <Self as $crate::Table>::fields().clone(),
                    vec![$( <$type as $crate::Column>::encode(rows.iter().map(|row| &row.$column)), )*],
                    None,
                )
            }
            fn decode(array: &$crate::arrow::array::StructArray) -> $crate::Result<Vec<Self>> {
                $( let mut $column = $crate::table::decode_column::<$type>($name, array, stringify!($column))?.into_iter(); )*
                let mut rows = Vec::with_capacity($crate::arrow::array::Array::len(array));
                for _ in 0..$crate::arrow::array::Array::len(array) {
                    let ($( Some($column), )*) = ($( $column.next(), )*) else {
                        return Err($crate::Error::config(concat!("table `", $name, "`: columns of unequal length")));
                    };
                    rows.push(Self { $( $column, )* });
                }
                Ok(rows)
            }
        }
    };
}
