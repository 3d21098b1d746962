//! Types of columns and their conversions to and from Arrow arrays.

use std::{fmt, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, ListArray, PrimitiveArray, StringArray, StructArray, make_array,
    types::{
        ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_data::transform::MutableArrayData;
use arrow_schema::{DataType, Field};

use super::ColumnDescription;
use crate::{Error, Result};

/// Type of the values of a column. Only columns of an `Option` have nulls; in others NaN stands for a missing number.
pub trait Column: Sized {
    /// True if the column may have nulls.
    const IS_NULLABLE: bool = false;
    /// Returns the Arrow type of the column.
    fn data_type() -> DataType;
    /// Returns the value of a default row: 0, empty, null, or the first variant.
    fn default_value() -> Self;
    /// Returns the values that the column may have, with their documentation; empty if any value is allowed.
    fn variants() -> &'static [(&'static str, &'static str)] {
        &[]
    }
    /// Returns the columns of the struct in this column, if it is one.
    fn columns() -> Vec<ColumnDescription> {
        vec![]
    }
    /// Converts the values of all rows to an array.
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a;
    /// Converts an array to the values of all rows.
    ///
    /// # Errors
    /// When the array has another type, nulls that the column may not have, or an unknown value of an enum.
    fn decode(array: &dyn Array) -> Result<Vec<Self>>;
}

/// Casts a column without nulls to its type.
fn downcast<T: 'static>(array: &dyn Array) -> Result<&T> {
    match array.null_count() {
        0 => {}
        1 => return Err(Error::config("1 value is null in a column without nulls")),
        nulls => return Err(Error::config(format!("{nulls} values are null in a column without nulls"))),
    }
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
            fn default_value() -> Self {
                Self::default()
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
primitive!(
    f32 => Float32Type, f64 => Float64Type, u8 => UInt8Type, u16 => UInt16Type, u32 => UInt32Type,
    i8 => Int8Type, i16 => Int16Type, i32 => Int32Type, i64 => Int64Type
);

impl Column for u64 {
    fn data_type() -> DataType {
        DataType::UInt64
    }
    fn default_value() -> Self {
        Self::default()
    }
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(PrimitiveArray::<UInt64Type>::from_iter_values(values.copied()))
    }
    // Recorded tables hold frame numbers as signed numbers.
    fn decode(array: &dyn Array) -> Result<Vec<Self>> {
        if *array.data_type() != DataType::Int64 {
            return Ok(downcast::<PrimitiveArray<UInt64Type>>(array)?.values().to_vec());
        }
        let to_unsigned = |value: &i64| {
            u64::try_from(*value).map_err(|_| Error::config(format!("{value} in a column of numbers from 0")))
        };
        downcast::<PrimitiveArray<Int64Type>>(array)?.values().iter().map(to_unsigned).collect()
    }
}

impl Column for bool {
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn default_value() -> Self {
        Self::default()
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
    fn default_value() -> Self {
        Self::default()
    }
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(values))
    }
    fn decode(array: &dyn Array) -> Result<Vec<Self>> {
        let strings = downcast::<StringArray>(array)?;
        Ok((0..strings.len()).map(|i| strings.value(i).to_owned()).collect())
    }
}

/// Returns the field of the items of a list.
fn item_field<T: Column>() -> Arc<Field> {
    Arc::new(Field::new("item", T::data_type(), T::IS_NULLABLE))
}

impl<T: Column + Clone, const N: usize> Column for [T; N] {
    fn data_type() -> DataType {
        DataType::FixedSizeList(item_field::<T>(), N as i32)
    }
    fn default_value() -> Self {
        std::array::from_fn(|_| T::default_value())
    }
    fn variants() -> &'static [(&'static str, &'static str)] {
        T::variants()
    }
    fn columns() -> Vec<ColumnDescription> {
        T::columns()
    }
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a,
    {
        let items = T::encode(values.flat_map(|row| row.iter()));
        Arc::new(FixedSizeListArray::new(item_field::<T>(), N as i32, items, None))
    }
    fn decode(array: &dyn Array) -> Result<Vec<Self>> {
        let list = downcast::<FixedSizeListArray>(array)?;
        if list.value_length() != N as i32 {
            return Err(Error::config(format!("a column holds lists of {}, expected {N}", list.value_length())));
        }
        let items = T::decode(&list.values().slice(list.value_offset(0) as usize, list.len() * N))?;
        Ok(items.chunks_exact(N.max(1)).map(|row| std::array::from_fn(|i| row[i].clone())).collect())
    }
}

impl<T: Column + Clone> Column for Vec<T> {
    fn data_type() -> DataType {
        DataType::List(item_field::<T>())
    }
    fn default_value() -> Self {
        vec![]
    }
    fn variants() -> &'static [(&'static str, &'static str)] {
        T::variants()
    }
    fn columns() -> Vec<ColumnDescription> {
        T::columns()
    }
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a,
    {
        let rows: Vec<&Self> = values.collect();
        let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.len()));
        let items = T::encode(rows.into_iter().flatten());
        Arc::new(ListArray::new(item_field::<T>(), offsets, items, None))
    }
    fn decode(array: &dyn Array) -> Result<Vec<Self>> {
        let list = downcast::<ListArray>(array)?;
        let (first, last) = (list.value_offsets()[0], list.value_offsets()[list.len()]);
        let items = T::decode(&list.values().slice(first as usize, (last - first) as usize))?;
        let range = |ends: &[i32]| (ends[0] - first) as usize..(ends[1] - first) as usize;
        Ok(list.value_offsets().windows(2).map(|ends| items[range(ends)].to_vec()).collect())
    }
}

/// Column with nulls. The place of a null holds [`Column::default_value`], so that equal rows give equal bytes.
impl<T: Column> Column for Option<T> {
    const IS_NULLABLE: bool = true;
    fn data_type() -> DataType {
        const { assert!(!T::IS_NULLABLE, "an option in an option: a column has one kind of null") };
        T::data_type()
    }
    fn default_value() -> Self {
        None
    }
    fn variants() -> &'static [(&'static str, &'static str)] {
        T::variants()
    }
    fn columns() -> Vec<ColumnDescription> {
        T::columns()
    }
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a,
    {
        let rows: Vec<&Self> = values.collect();
        let default = T::default_value();
        let array = T::encode(rows.iter().map(|row| row.as_ref().unwrap_or(&default)));
        let nulls: NullBuffer = rows.iter().map(|row| row.is_some()).collect();
        if nulls.null_count() == 0 {
            return array;
        }
        match array.to_data().into_builder().nulls(Some(nulls)).build() {
            Ok(data) => make_array(data),
            Err(cause) => unreachable!("an array is valid whichever of its values are null: {cause}"),
        }
    }
    fn decode(array: &dyn Array) -> Result<Vec<Self>> {
        let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) else {
            return Ok(T::decode(array)?.into_iter().map(Some).collect());
        };
        let data = array.to_data();
        let mut valid = MutableArrayData::new(vec![&data], false, array.len() - nulls.null_count());
        for (begin, end) in nulls.valid_slices() {
            valid
                .try_extend(0, begin, end)
                .map_err(|cause| Error::config(format!("the values that are not null cannot be read: {cause}")))?;
        }
        let mut values = T::decode(make_array(valid.freeze()).as_ref())?.into_iter();
        Ok(nulls.iter().map(|is_valid| if is_valid { values.next() } else { None }).collect())
    }
}

/// Error of a text that is not a value of a [`column_enum!`](crate::column_enum).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariant {
    /// Text that was found.
    pub found: String,
    /// Values that are allowed.
    pub variants: Vec<&'static str>,
}

impl fmt::Display for UnknownVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variants: Vec<String> = self.variants.iter().map(|value| format!("`{value}`")).collect();
        write!(f, "unknown value `{}`; expected one of {}", self.found.escape_debug(), variants.join(", "))
    }
}

impl std::error::Error for UnknownVariant {}

/// Decodes a column of an enum. For the code that [`column_enum!`](crate::column_enum) generates.
///
/// # Errors
/// When the column has another type or an unknown value.
pub fn decode_variants<T: std::str::FromStr<Err = UnknownVariant>>(array: &dyn Array) -> Result<Vec<T>> {
    let strings = downcast::<StringArray>(array)?;
    (0..strings.len()).map(|row| strings.value(row).parse().map_err(Error::config)).collect()
}

/// Casts a column to a struct array without nulls. For the code that [`column_struct!`](crate::column_struct) generates.
///
/// # Errors
/// When the column has another type or nulls.
pub fn as_struct(array: &dyn Array) -> Result<&StructArray> {
    downcast(array)
}

/// Finds and decodes one column of a struct array. `owner` is the table, or nothing for a struct in a column. For the code that
/// [`table!`](macro@crate::table) and [`column_struct!`](crate::column_struct) generate.
///
/// # Errors
/// When the column is missing or its values cannot be decoded; the error names the table and the column.
pub fn decode_column<T: Column>(owner: Option<&str>, array: &StructArray, name: &str) -> Result<Vec<T>> {
    let place = owner.map_or_else(String::new, |table| format!("table `{table}`, "));
    let column = array.column_by_name(name).ok_or_else(|| {
        Error::config(format!("{place}column `{name}`: missing; there are {:?}", array.column_names()))
    })?;
    T::decode(column.as_ref()).map_err(|e| e.at(format_args!("{place}column `{name}`")))
}
