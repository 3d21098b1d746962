//! Tables of PyArrow, Polars and pandas, fitted to the declared columns. Types are converted if no value changes; a value that
//! would change is an error with its row and column.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, FixedSizeListArray, ListArray, PrimitiveArray, StructArray, cast::AsArray,
    make_array, new_null_array, types::*,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, FieldRef, Fields};
use sideline_api::{TableType, config::did_you_mean, table::ColumnDescription};

use crate::columns::{find, unknown_variant};

/// Reason for which a column does not fit.
enum Misfit {
    /// Value of a row.
    Value { row: usize, text: String },
    /// Type of the column.
    Type(String),
    /// Field of a structure in the column.
    Field(String, Box<Misfit>),
}

impl Misfit {
    /// Describes the misfit of a column.
    fn describe(self, column: &str) -> String {
        match self {
            Misfit::Value { row, text } => format!("row {row}, column `{column}`: {text}"),
            Misfit::Type(text) => format!("column `{column}`: {text}"),
            Misfit::Field(name, misfit) => misfit.describe(&format!("{column}.{name}")),
        }
    }

    /// Replaces the number of an item by that of its row.
    fn map_row(self, row_of: impl Fn(usize) -> usize) -> Self {
        match self {
            Misfit::Value { row, text } => Misfit::Value { row: row_of(row), text },
            Misfit::Type(text) => Misfit::Type(text),
            Misfit::Field(name, misfit) => Misfit::Field(name, Box::new(misfit.map_row(row_of))),
        }
    }
}

type Fitted = Result<ArrayRef, Misfit>;

/// Column to which an array is fitted.
#[derive(Clone, Copy)]
struct Target<'a> {
    field: &'a Field,
    description: Option<&'a ColumnDescription>,
    /// True for a dataframe of pandas, in which a null of numbers is NaN.
    is_pandas: bool,
}

/// Fits an imported table to the declared columns, which are found by name.
///
/// # Errors
/// If a column is missing or unknown, its type is another kind of value, or a value would change.
pub fn fit(table: &StructArray, ty: &TableType, is_pandas: bool) -> Result<StructArray, String> {
    let fields = &ty.fields;
    for (name, column) in table.column_names().into_iter().zip(table.columns()) {
        if fields.iter().any(|field| field.name() == name) {
            continue;
        }
        // The index of a dataframe that was filtered or sorted.
        if is_pandas && name.starts_with("__index_level_") {
            if column.data_type().is_integer() {
                continue;
            }
            return Err("the index of the dataframe is no column: write `reset_index(drop=True)`".into());
        }
        let near = did_you_mean(name, fields.iter().map(|field| field.name().as_str()));
        return Err(format!("there is no column `{name}`{near}"));
    }
    if let Some(row) = first_null(table) {
        return Err(format!("row {row} is null"));
    }
    let columns = fields.iter().map(|field| {
        let name = field.name();
        let column = table.column_by_name(name).ok_or_else(|| format!("column `{name}` is missing"))?;
        let target = Target { field, description: find(&ty.columns, name), is_pandas };
        target.fit(column).map_err(|misfit| misfit.describe(name))
    });
    let columns = columns.collect::<Result<Vec<_>, String>>()?;
    if columns.is_empty() {
        return Ok(StructArray::new_empty_fields(table.len(), None));
    }
    StructArray::try_new(fields.clone(), columns, None).map_err(|cause| cause.to_string())
}

fn first_null(array: &dyn Array) -> Option<usize> {
    let nulls = array.logical_nulls()?;
    (0..array.len()).find(|row| nulls.is_null(*row))
}

fn is_float(ty: &DataType) -> bool {
    matches!(ty, DataType::Float16 | DataType::Float32 | DataType::Float64)
}

fn is_text(ty: &DataType) -> bool {
    matches!(ty, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Returns the field of the items of a list.
fn item_of(ty: &DataType) -> Option<&FieldRef> {
    match ty {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => Some(item),
        _ => None,
    }
}

fn cast(array: &ArrayRef, ty: &DataType) -> Fitted {
    let options = arrow_cast::CastOptions { safe: false, ..Default::default() };
    arrow_cast::cast_with_options(array, ty, &options).map_err(|cause| Misfit::Type(cause.to_string()))
}

impl<'a> Target<'a> {
    fn fit(self, array: &ArrayRef) -> Fitted {
        let wanted = self.field.data_type();
        if let DataType::Dictionary(_, value) = array.data_type() {
            return self.fit(&cast(array, value)?);
        }
        if let DataType::Dictionary(_, value) = wanted {
            let field = Field::new(self.field.name(), value.as_ref().clone(), self.field.is_nullable());
            return cast(&Target { field: &field, ..self }.fit(array)?, wanted);
        }
        if *array.data_type() == DataType::Null && self.field.is_nullable() {
            return Ok(new_null_array(wanted, array.len()));
        }
        let fitted = self.convert(array)?;
        let Some(row) = first_null(&fitted).filter(|_| !self.field.is_nullable()) else { return Ok(fitted) };
        if self.is_pandas && is_float(wanted) {
            return nan_for_null(&fitted);
        }
        let null = if self.is_pandas { "NaN, None or another missing value" } else { "null" };
        Err(Misfit::Value { row, text: format!("{null} in a column without nulls") })
    }

    fn convert(self, array: &ArrayRef) -> Fitted {
        let (found, wanted) = (array.data_type(), self.field.data_type());
        match wanted {
            // The caller reports its nulls as an error.
            _ if *found == DataType::Null => Ok(new_null_array(wanted, array.len())),
            DataType::Boolean if found == wanted => Ok(array.clone()),
            ty if ty.is_integer() && (found.is_integer() || *found == DataType::Boolean) => fit_integers(array, ty),
            ty if ty.is_integer() && is_float(found) => self.fit_floats_to_integers(array),
            ty if is_float(ty) && (is_float(found) || found.is_integer() || *found == DataType::Boolean) => {
                fit_floats(array, ty)
            }
            DataType::Utf8 if is_text(found) => self.fit_texts(array),
            DataType::List(item) if item_of(found).is_some() => self.fit_list(array, item),
            DataType::FixedSizeList(item, length) if item_of(found).is_some() => {
                self.fit_array(array, item, *length as usize)
            }
            DataType::Struct(fields) if matches!(found, DataType::Struct(_)) => self.fit_struct(array, fields),
            _ if found == wanted => Ok(array.clone()),
            _ => Err(Misfit::Type(format!("a column of type {found} is none of type {wanted}"))),
        }
    }

    /// Converts numbers with a decimal point, which have nulls where a dataframe of pandas has missing whole numbers.
    fn fit_floats_to_integers(self, array: &ArrayRef) -> Fitted {
        let numbers = cast(array, &DataType::Float64)?;
        let numbers = numbers.as_primitive::<Float64Type>();
        let present = |row: usize| numbers.is_valid(row).then(|| numbers.value(row));
        let is_allowed = |number: f64| self.field.is_nullable() && (number.is_nan() || number.fract() == 0.0);
        if let Some((row, number)) =
            (0..numbers.len()).find_map(|row| Some((row, present(row).filter(|number| !is_allowed(*number))?)))
        {
            let text = match number.fract() == 0.0 {
                true => format!(
                    "{number:?} is a float in a column of whole numbers: convert the column, `astype(\"int64\")`"
                ),
                false => format!("{number:?} is no whole number"),
            };
            return Err(Misfit::Value { row, text });
        }
        let valid: NullBuffer =
            (0..numbers.len()).map(|row| present(row).is_some_and(|number| !number.is_nan())).collect();
        let whole: ArrayRef = Arc::new(PrimitiveArray::<Float64Type>::new(numbers.values().clone(), Some(valid)));
        let wanted = self.field.data_type();
        match cast(&whole, wanted) {
            Ok(fitted) => Ok(fitted),
            // One row at a time, for its number.
            Err(other) => match (0..whole.len()).find(|row| cast(&whole.slice(*row, 1), wanted).is_err()) {
                Some(row) => {
                    let text = format!("{:?} does not fit a column of type {wanted}", numbers.value(row));
                    Err(Misfit::Value { row, text })
                }
                None => Err(other),
            },
        }
    }

    fn fit_texts(self, array: &ArrayRef) -> Fitted {
        let fitted = cast(array, &DataType::Utf8)?;
        let texts = fitted.as_string::<i32>();
        let unknown = |row: usize| texts.is_valid(row).then(|| unknown_variant(texts.value(row), self.description))?;
        match (0..texts.len()).find_map(|row| Some((row, unknown(row)?))) {
            Some((row, text)) => Err(Misfit::Value { row, text }),
            None => Ok(fitted),
        }
    }

    /// Fits the items of lists; `row_of` returns the row of an item.
    fn fit_items(self, items: &ArrayRef, item: &Field, row_of: impl Fn(usize) -> usize) -> Fitted {
        Target { field: item, ..self }.fit(items).map_err(|misfit| misfit.map_row(row_of))
    }

    fn fit_list(self, array: &ArrayRef, item: &FieldRef) -> Fitted {
        let found = item_of(array.data_type()).map_or(item, |found| found);
        let lists = cast(array, &DataType::List(found.clone()))?;
        let lists = own_items(lists.as_list::<i32>());
        let offsets = lists.offsets();
        let row_of = |at: usize| offsets.partition_point(|offset| *offset as usize <= at).saturating_sub(1);
        let items = match lists.nulls().filter(|nulls| nulls.null_count() > 0) {
            Some(nulls) => fill(lists.values(), |at| nulls.is_null(row_of(at)))?,
            None => lists.values().clone(),
        };
        let items = self.fit_items(&items, item, row_of)?;
        Ok(Arc::new(ListArray::new(item.clone(), offsets.clone(), items, lists.nulls().cloned())))
    }

    fn fit_array(self, array: &ArrayRef, item: &FieldRef, length: usize) -> Fitted {
        let found = item_of(array.data_type()).map_or(item, |found| found);
        let wrong = |row: usize, found: usize| {
            Err(Misfit::Value { row, text: format!("a list of {length} is needed, found {found}") })
        };
        let lists = match array.data_type() {
            DataType::FixedSizeList(_, found) if *found as usize != length => {
                return if array.is_empty() {
                    Ok(new_null_array(self.field.data_type(), 0))
                } else {
                    wrong(0, *found as usize)
                };
            }
            DataType::FixedSizeList(..) => array.clone(),
            _ => {
                let lists = cast(array, &DataType::List(found.clone()))?;
                let lists = own_items(lists.as_list::<i32>());
                let length_of = |row: usize| lists.value_length(row) as usize;
                if let Some(row) = (0..lists.len()).find(|row| lists.is_valid(*row) && length_of(*row) != length) {
                    return wrong(row, length_of(row));
                }
                cast(&(Arc::new(lists) as ArrayRef), &DataType::FixedSizeList(found.clone(), length as i32))?
            }
        };
        let lists = lists.as_fixed_size_list();
        let items = lists.values().slice(lists.value_offset(0) as usize, lists.len() * length);
        // Items of a null list are null after a conversion, and are no values.
        let items = match lists.nulls().filter(|nulls| nulls.null_count() > 0) {
            Some(nulls) => fill(&items, |at| nulls.is_null(at / length.max(1)))?,
            None => items,
        };
        let items = self.fit_items(&items, item, |at| at / length.max(1))?;
        Ok(Arc::new(FixedSizeListArray::new(item.clone(), length as i32, items, lists.nulls().cloned())))
    }

    fn fit_struct(self, array: &ArrayRef, fields: &Fields) -> Fitted {
        let found = array.as_struct();
        if let Some(name) = found.column_names().into_iter().find(|name| !fields.iter().any(|f| f.name() == name)) {
            let near = did_you_mean(name, fields.iter().map(|field| field.name().as_str()));
            return Err(Misfit::Type(format!("there is no field `{name}`{near}")));
        }
        let columns = fields.iter().map(|field| {
            let name = field.name();
            let column =
                found.column_by_name(name).ok_or_else(|| Misfit::Type(format!("field `{name}` is missing")))?;
            let column = match found.nulls() {
                Some(nulls) => fill(column, |row| nulls.is_null(row))?,
                None => column.clone(),
            };
            let description = self.description.and_then(|column| find(&column.columns, name));
            let target = Target { field, description, is_pandas: self.is_pandas };
            target.fit(&column).map_err(|misfit| Misfit::Field(name.clone(), Box::new(misfit)))
        });
        let columns = columns.collect::<Result<Vec<_>, Misfit>>()?;
        Ok(Arc::new(StructArray::new(fields.clone(), columns, found.nulls().cloned())))
    }
}

/// Returns lists with their own items only: a part of a table shares the items of all its rows.
fn own_items(lists: &ListArray) -> ListArray {
    let (first, last) = (lists.value_offsets()[0] as usize, lists.value_offsets()[lists.len()] as usize);
    let offsets = OffsetBuffer::from_lengths((0..lists.len()).map(|row| lists.value_length(row) as usize));
    let (DataType::List(item), items) = (lists.data_type(), lists.values().slice(first, last - first)) else {
        return lists.clone();
    };
    ListArray::new(item.clone(), offsets, items, lists.nulls().cloned())
}

/// Returns an array whose values at the places of null parents are not null, so that a column without nulls takes them.
fn fill(array: &ArrayRef, is_absent: impl Fn(usize) -> bool) -> Fitted {
    let Some(nulls) = array.nulls() else { return Ok(array.clone()) };
    let valid: NullBuffer = (0..array.len()).map(|at| nulls.is_valid(at) || is_absent(at)).collect();
    let data = array.to_data().into_builder().nulls(Some(valid)).build();
    data.map(make_array).map_err(|cause| Misfit::Type(cause.to_string()))
}

/// Replaces nulls by NaN.
fn nan_for_null(array: &ArrayRef) -> Fitted {
    fn fill<T: ArrowPrimitiveType>(array: &ArrayRef, nan: T::Native) -> ArrayRef {
        let numbers = array.as_primitive::<T>().iter().map(|number| number.unwrap_or(nan));
        Arc::new(PrimitiveArray::<T>::from_iter_values(numbers))
    }
    Ok(match array.data_type() {
        DataType::Float32 => fill::<Float32Type>(array, f32::NAN),
        _ => fill::<Float64Type>(array, f64::NAN),
    })
}

/// Returns a whole number of an array.
fn integer(array: &dyn Array, at: usize) -> Option<i128> {
    macro_rules! read {
        ($($ty:ident => $arrow:ty),*) => {
            match array.data_type() {
                $( DataType::$ty => Some(array.as_primitive::<$arrow>().value(at).into()), )*
                DataType::Boolean => Some(array.as_boolean().value(at).into()),
                _ => None,
            }
        };
    }
    read!(Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type, UInt8 => UInt8Type,
        UInt16 => UInt16Type, UInt32 => UInt32Type, UInt64 => UInt64Type)
}

fn fit_integers(array: &ArrayRef, wanted: &DataType) -> Fitted {
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    match cast(array, wanted) {
        Ok(fitted) => Ok(fitted),
        // One row at a time, for its number.
        Err(other) => match (0..array.len()).find(|row| cast(&array.slice(*row, 1), wanted).is_err()) {
            Some(row) => {
                let number = integer(array, row).unwrap_or_default();
                Err(Misfit::Value { row, text: format!("{number} does not fit a column of type {wanted}") })
            }
            None => Err(other),
        },
    }
}

/// Converts to numbers with a decimal point. They are rounded, but a finite number stays finite, and a whole one the same.
fn fit_floats(array: &ArrayRef, wanted: &DataType) -> Fitted {
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    let fitted = cast(array, wanted)?;
    let wide = cast(&fitted, &DataType::Float64)?;
    let wide = wide.as_primitive::<Float64Type>();
    if is_float(array.data_type()) {
        let before = cast(array, &DataType::Float64)?;
        let before = before.as_primitive::<Float64Type>();
        let grew =
            |row: &usize| wide.is_valid(*row) && wide.value(*row).is_infinite() && before.value(*row).is_finite();
        if let Some(row) = (0..wide.len()).find(grew) {
            let text = format!("{:?} does not fit a column of type {wanted}", before.value(row));
            return Err(Misfit::Value { row, text });
        }
        return Ok(fitted);
    }
    for row in (0..wide.len()).filter(|row| wide.is_valid(*row)) {
        if let Some(number) = integer(array, row).filter(|number| wide.value(row) as i128 != *number) {
            let text = format!("{number} has no exact value in a column of type {wanted}");
            return Err(Misfit::Value { row, text });
        }
    }
    Ok(fitted)
}
