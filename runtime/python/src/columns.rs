//! Conversion of tables between Arrow and Python values.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, FixedSizeListArray, ListArray, PrimitiveArray, StringArray,
    StructArray, cast::AsArray, make_array, types::*,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_data::transform::MutableArrayData;
use arrow_schema::{DataType, Field, Fields};
use pyo3::{
    IntoPyObjectExt,
    exceptions::{PyAttributeError, PyKeyError, PyOverflowError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyDict, PyFloat, PyList, PyString},
};
use sideline_api::{TableType, config::did_you_mean, table::ColumnDescription};

use crate::{capsule, fit};

/// Largest whole number up to which every one is a `f32`, and a `f64`.
const EXACT_F32: f64 = (1_u64 << 24) as f64;
const EXACT_F64: f64 = (1_u64 << 53) as f64;

/// Converts the value that an operator returned for an output of rows: `None`, an object of the Arrow PyCapsule interface, or a
/// list of rows, each a dictionary or an object with an attribute for each column.
pub fn to_table(value: &Bound<'_, PyAny>, table: TableType) -> PyResult<Arc<StructArray>> {
    if value.is_none() {
        return Ok(Arc::new(table.empty()));
    }
    // A list has no such method, and asking for it costs as much as a row.
    if !value.is_exact_instance_of::<PyList>()
        && let Some(imported) = capsule::import_table(value)?
    {
        let is_pandas = value.get_type().getattr("__module__")?.extract::<String>()?.starts_with("pandas");
        let fitted = fit::fit(&imported, &table, is_pandas).map_err(PyValueError::new_err)?;
        return copy(&fitted).map(Arc::new);
    }
    let is_row = value.is_instance_of::<PyDict>() || value.is_instance_of::<PyString>();
    let rows = if is_row { None } else { Some(value.try_iter()) };
    let Some(Ok(rows)) = rows else {
        if let Some(Err(error)) = rows
            && error.traceback(value.py()).is_some()
        {
            return Err(error);
        }
        return Err(PyTypeError::new_err(format!(
            "rows are a list of dictionaries or objects, or a table of PyArrow, Polars or pandas; found {}",
            type_name(value)
        )));
    };
    // A generator runs here; its exceptions are those of the operator.
    let rows = rows.collect::<PyResult<Vec<_>>>()?;
    // A row of as many entries as columns has no other ones, or lacks a column.
    let has_other_length =
        |row: &Bound<'_, PyAny>| row.cast::<PyDict>().is_ok_and(|row| row.len() != table.fields.len());
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| has_other_length(row)) {
        check_names(row, &table.fields).map_err(|error| at_place(value.py(), &error, &format!("row {at}")))?;
    }
    let columns = table.fields.iter().map(|field| {
        let values = rows.iter().enumerate().map(|(at, row)| {
            field_of(row, field.name()).map_err(|error| {
                let error = check_names(row, &table.fields).err().unwrap_or(error);
                at_place(value.py(), &error, &format!("row {at}"))
            })
        });
        let values = values.collect::<PyResult<Vec<_>>>()?;
        let places: Vec<usize> = (0..values.len()).collect();
        let column = Column { path: field.name(), field, description: find(&table.columns, field.name()) };
        column.to_array(&values, &places, &vec![false; values.len()])
    });
    let columns = columns.collect::<PyResult<Vec<_>>>()?;
    if columns.is_empty() {
        return Ok(Arc::new(table.empty()));
    }
    StructArray::try_new(table.fields.clone(), columns, None)
        .map(Arc::new)
        .map_err(|e| PyValueError::new_err(e.to_string()))
}

/// Prefixes the message of an exception with a place. One that Python code has raised keeps its type, its text and its traceback.
pub fn at_place(py: Python<'_>, error: &PyErr, place: &str) -> PyErr {
    if error.traceback(py).is_some() {
        return error.clone_ref(py);
    }
    PyErr::from_type(error.get_type(py), format!("{place}: {}", message(py, error)))
}

/// Returns the text of an exception, without its type.
pub fn message(py: Python<'_>, error: &PyErr) -> String {
    match error.value(py).getattr("args").and_then(|args| args.get_item(0)) {
        Ok(text) => text.to_string(),
        Err(_) => error.value(py).to_string(),
    }
}

/// Returns the description of a column by its name.
pub fn find<'a>(columns: &'a [ColumnDescription], name: &str) -> Option<&'a ColumnDescription> {
    columns.iter().find(|column| column.name == name)
}

/// Returns the error for a text that is none of the values of a column; `None` if the column may have it.
pub fn unknown_variant(text: &str, description: Option<&ColumnDescription>) -> Option<String> {
    let variants = &description?.variants;
    if variants.is_empty() || variants.iter().any(|(variant, _)| variant == text) {
        return None;
    }
    let near = did_you_mean(text, variants.iter().map(|(variant, _)| variant.as_str()));
    Some(format!("`{}` is no value of the column{near}", text.escape_debug()))
}

/// Returns a value with its type for a message: `1.5 (float)`.
fn shown(value: &Bound<'_, PyAny>) -> String {
    /// Maximum length of a value in a message.
    const LENGTH: usize = 40;
    let Ok(text) = value.repr().map(|text| text.to_string()) else { return type_name(value) };
    let kind = value.get_type().name().map_or_else(|_| "value".into(), |name| name.to_string());
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}... ({kind})", &text[..end]),
        None => format!("{text} ({kind})"),
    }
}

/// Returns a text; a member of an enum stands for its value.
fn read_text(value: &Bound<'_, PyAny>) -> Option<String> {
    if let Ok(text) = value.extract::<String>() {
        return Some(text);
    }
    value.getattr("_value_").ok()?.extract().ok()
}

/// Returns true for the values that mean a missing one: `None` and `pandas.NA`.
fn is_missing(value: &Bound<'_, PyAny>) -> bool {
    value.is_none() || value.get_type().name().is_ok_and(|name| name == "NAType")
}

/// Returns true for a NaN.
fn is_nan(value: &Bound<'_, PyAny>) -> bool {
    value.extract::<f64>().is_ok_and(f64::is_nan)
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "another value".into(), |name| format!("a value of type {name}"))
}

/// Refuses a dictionary with a name that is no column.
fn check_names(row: &Bound<'_, PyAny>, fields: &Fields) -> PyResult<()> {
    let Ok(row) = row.cast::<PyDict>() else { return Ok(()) };
    for name in row.keys() {
        let name = name.str()?.to_string();
        if !fields.iter().any(|field| field.name() == &name) {
            let near = did_you_mean(&name, fields.iter().map(|field| field.name().as_str()));
            return Err(PyKeyError::new_err(format!("there is no column `{name}`{near}")));
        }
    }
    Ok(())
}

/// Returns the value of a column in a row.
fn field_of<'py>(row: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let missing = || PyKeyError::new_err(format!("column `{name}` is missing"));
    match row.cast::<PyDict>() {
        Ok(row) => row.get_item(name)?.ok_or_else(missing),
        Err(_) => row.getattr(name).map_err(|error| {
            // An error of a property is that of the operator.
            if !error.is_instance_of::<PyAttributeError>(row.py()) || error.traceback(row.py()).is_some() {
                return error;
            }
            PyTypeError::new_err(format!(
                "a row is a dictionary, or an object with the attribute `{name}`; found {}",
                type_name(row)
            ))
        }),
    }
}

/// Column, or a part of one, that is made of Python values.
#[derive(Clone, Copy)]
struct Column<'a> {
    /// Name of the column, with those of its fields: `box.x`.
    path: &'a str,
    field: &'a Field,
    description: Option<&'a ColumnDescription>,
}

impl Column<'_> {
    /// Converts the values of a column. Columns have no nulls unless their field says so; `None` is NaN for a number with a
    /// decimal point. `rows` are the rows to which the values belong. Values that are `absent` belong to a row, list or structure
    /// that is null; their place is filled.
    fn to_array(self, values: &[Bound<'_, PyAny>], rows: &[usize], absent: &[bool]) -> PyResult<ArrayRef> {
        let Column { path, field, description } = self;
        let is_float = matches!(field.data_type(), DataType::Float32 | DataType::Float64);
        let nulls = if field.is_nullable() {
            let is_null = |value: &Bound<'_, PyAny>| is_missing(value) || (!is_float && is_nan(value));
            let valid = values.iter().zip(absent).map(|(value, absent)| !absent && !is_null(value));
            let valid: NullBuffer = valid.collect::<Vec<bool>>().into();
            (valid.null_count() > 0).then_some(valid)
        } else {
            None
        };
        let is_null = |at: usize| absent[at] || nulls.as_ref().is_some_and(|nulls| nulls.is_null(at));
        let place =
            |at: usize, error: &PyErr| at_place(values[at].py(), error, &format!("row {}, column `{path}`", rows[at]));
        /// Reads every value that is not null.
        macro_rules! read {
            ($read:expr) => {
                values
                    .iter()
                    .enumerate()
                    .map(|(at, value)| {
                        if is_null(at) {
                            Ok(Default::default())
                        } else {
                            $read(value).map_err(|error| place(at, &error))
                        }
                    })
                    .collect::<PyResult<Vec<_>>>()?
            };
        }
        macro_rules! integers {
            ($type:ty) => {{
                let read = |value: &Bound<'_, PyAny>| -> PyResult<<$type as ArrowPrimitiveType>::Native> {
                    let number = value.extract::<i128>().map_err(|error| no_number(value, error, "no whole number"))?;
                    number.try_into().map_err(|_| {
                        let kind = <$type as ArrowPrimitiveType>::DATA_TYPE;
                        PyValueError::new_err(format!("{number} does not fit a column of type {kind}"))
                    })
                };
                Arc::new(PrimitiveArray::<$type>::new(read!(read).into(), nulls.clone()))
            }};
        }
        let number = |value: &Bound<'_, PyAny>| -> PyResult<f64> {
            match value.extract::<f64>() {
                Err(_) if is_missing(value) => Ok(f64::NAN),
                read => read.map_err(|error| no_number(value, error, "no number")),
            }
        };
        // A whole number is the same as a float; others are rounded.
        let exact = |value: &Bound<'_, PyAny>, number: f64, limit: f64| -> PyResult<()> {
            match number.abs() >= limit && !value.is_instance_of::<PyFloat>() {
                true if value.extract::<i128>().is_ok_and(|whole| whole != number as i128) => {
                    let kind = field.data_type();
                    Err(PyValueError::new_err(format!(
                        "{} has no exact value in a column of type {kind}",
                        shown(value)
                    )))
                }
                _ => Ok(()),
            }
        };
        Ok(match field.data_type() {
            DataType::Boolean => {
                let read = |value: &Bound<'_, PyAny>| -> PyResult<bool> {
                    let text = || PyTypeError::new_err(format!("{} is not True or False", shown(value)));
                    value.is_truthy_bool().ok_or_else(text)
                };
                Arc::new(BooleanArray::new(read!(read).into(), nulls.clone()))
            }
            DataType::Int8 => integers!(Int8Type),
            DataType::Int16 => integers!(Int16Type),
            DataType::Int32 => integers!(Int32Type),
            DataType::Int64 => integers!(Int64Type),
            DataType::UInt8 => integers!(UInt8Type),
            DataType::UInt16 => integers!(UInt16Type),
            DataType::UInt32 => integers!(UInt32Type),
            DataType::UInt64 => integers!(UInt64Type),
            DataType::Float64 => {
                let read = |value: &Bound<'_, PyAny>| -> PyResult<f64> {
                    let number = number(value)?;
                    exact(value, number, EXACT_F64).map(|()| number)
                };
                Arc::new(PrimitiveArray::<Float64Type>::new(read!(read).into(), nulls.clone()))
            }
            DataType::Float32 => {
                let read = |value: &Bound<'_, PyAny>| -> PyResult<f32> {
                    let number = number(value)?;
                    match number as f32 {
                        narrow if narrow.is_infinite() && number.is_finite() => {
                            let text = format!("{} does not fit a column of type Float32", shown(value));
                            Err(PyValueError::new_err(text))
                        }
                        narrow => exact(value, narrow.into(), EXACT_F32).map(|()| narrow),
                    }
                };
                Arc::new(PrimitiveArray::<Float32Type>::new(read!(read).into(), nulls.clone()))
            }
            DataType::Utf8 => {
                let read = |value: &Bound<'_, PyAny>| -> PyResult<String> {
                    let text = || PyTypeError::new_err(format!("{} is no text", shown(value)));
                    let text = read_text(value).ok_or_else(text)?;
                    match unknown_variant(&text, description) {
                        None => Ok(text),
                        Some(error) => Err(PyValueError::new_err(error)),
                    }
                };
                let texts = StringArray::from_iter_values(read!(read));
                Arc::new(StringArray::new(texts.offsets().clone(), texts.values().clone(), nulls.clone()))
            }
            DataType::List(item) => {
                let lists = flatten(values, None, &place, &is_null)?;
                let offsets = OffsetBuffer::from_lengths(lists.lengths.iter().copied());
                let items = Column { field: item, ..self }.to_array(&lists.items, &lists.rows(rows), &lists.absent)?;
                Arc::new(ListArray::new(item.clone(), offsets, items, nulls.clone()))
            }
            DataType::FixedSizeList(item, length) => {
                let lists = flatten(values, Some(*length as usize), &place, &is_null)?;
                let items = Column { field: item, ..self }.to_array(&lists.items, &lists.rows(rows), &lists.absent)?;
                Arc::new(FixedSizeListArray::new(item.clone(), *length, items, nulls.clone()))
            }
            DataType::Struct(fields) => {
                let absent: Vec<bool> = (0..values.len()).map(is_null).collect();
                let columns = fields.iter().map(|inner| {
                    let read = values.iter().enumerate().map(|(at, value)| match absent[at] {
                        true => Ok(value.py().None().into_bound(value.py())),
                        false => field_of(value, inner.name()).map_err(|e| place(at, &e)),
                    });
                    let description = description.and_then(|column| find(&column.columns, inner.name()));
                    let column = Column { path: &format!("{path}.{}", inner.name()), field: inner, description };
                    column.to_array(&read.collect::<PyResult<Vec<_>>>()?, rows, &absent)
                });
                Arc::new(StructArray::new(fields.clone(), columns.collect::<PyResult<Vec<_>>>()?, nulls.clone()))
            }
            DataType::Dictionary(_, value) => {
                let plain = Field::new(field.name(), value.as_ref().clone(), field.is_nullable());
                cast(&Column { field: &plain, ..self }.to_array(values, rows, absent)?, field)?
            }
            other => {
                let text =
                    format!("column `{}`: a column of type {other} cannot be written from Python values", field.name());
                return Err(PyTypeError::new_err(text));
            }
        })
    }
}

/// Returns the error for a value that is no number, or one that is too large. Errors of the value's own methods are kept.
fn no_number(value: &Bound<'_, PyAny>, error: PyErr, text: &str) -> PyErr {
    let py = value.py();
    if error.traceback(py).is_some() {
        return error;
    }
    if error.is_instance_of::<PyOverflowError>(py) {
        return PyValueError::new_err(format!("{} is too large", shown(value)));
    }
    PyTypeError::new_err(format!("{} is {text}", shown(value)))
}

trait Truth {
    /// Returns the value of a `bool` of Python or NumPy.
    fn is_truthy_bool(&self) -> Option<bool>;
}

impl Truth for Bound<'_, PyAny> {
    fn is_truthy_bool(&self) -> Option<bool> {
        if let Ok(value) = self.extract::<bool>() {
            return Some(value);
        }
        let name = self.get_type().name().ok()?.to_string();
        if name == "bool_" || name == "bool" { self.is_truthy().ok() } else { None }
    }
}

/// Items of the lists of a column.
#[derive(Default)]
struct Lists<'py> {
    items: Vec<Bound<'py, PyAny>>,
    /// Length of each list.
    lengths: Vec<usize>,
    /// True for each item of a list that is null.
    absent: Vec<bool>,
}

impl Lists<'_> {
    /// Returns the row of each item.
    fn rows(&self, rows: &[usize]) -> Vec<usize> {
        let lists = rows.iter().zip(&self.lengths);
        lists.flat_map(|(row, length)| std::iter::repeat_n(*row, *length)).collect()
    }
}

/// Concatenates the lists of all rows. A null list of a fixed length has items, which are absent.
fn flatten<'py>(
    values: &[Bound<'py, PyAny>],
    length: Option<usize>,
    place: &dyn Fn(usize, &PyErr) -> PyErr,
    is_null: &dyn Fn(usize) -> bool,
) -> PyResult<Lists<'py>> {
    let mut lists = Lists::default();
    let items = &mut lists.items;
    for (at, value) in values.iter().enumerate() {
        let before = items.len();
        if is_null(at) {
            let none = value.py().None().into_bound(value.py());
            items.extend(std::iter::repeat_n(none, length.unwrap_or(0)));
        } else {
            let not_a_list = || PyTypeError::new_err(format!("{} is no list", shown(value)));
            if value.is_instance_of::<PyString>() {
                return Err(place(at, &not_a_list()));
            }
            let iterate = |error: PyErr| if error.traceback(value.py()).is_some() { error } else { not_a_list() };
            for item in value.try_iter().map_err(|error| place(at, &iterate(error)))? {
                items.push(item?);
            }
        }
        let found = items.len() - before;
        if let Some(length) = length
            && found != length
        {
            let text = format!("a list of {length} is needed, found {found}");
            return Err(place(at, &PyValueError::new_err(text)));
        }
        lists.lengths.push(found);
        lists.absent.resize(items.len(), is_null(at));
    }
    Ok(lists)
}

fn cast(array: &ArrayRef, field: &Field) -> PyResult<ArrayRef> {
    if array.data_type() == field.data_type() {
        return Ok(array.clone());
    }
    let options = arrow_cast::CastOptions { safe: false, ..Default::default() };
    arrow_cast::cast_with_options(array, field.data_type(), &options).map_err(|cause| {
        let text = format!(
            "column `{}`: {} cannot be converted to {}: {cause}",
            field.name(),
            array.data_type(),
            field.data_type()
        );
        PyTypeError::new_err(text)
    })
}

/// Copies a table: an imported one may share memory with an input, or with an array that Python code still changes.
fn copy(table: &StructArray) -> PyResult<StructArray> {
    let data = table.to_data();
    let mut copy = MutableArrayData::new(vec![&data], false, data.len());
    copy.try_extend(0, 0, data.len()).map_err(|cause| PyValueError::new_err(cause.to_string()))?;
    Ok(make_array(copy.freeze()).as_struct().clone())
}

/// Returns a value of an array as a Python value.
pub fn to_python<'py>(py: Python<'py>, array: &dyn Array, at: usize) -> PyResult<Bound<'py, PyAny>> {
    if array.is_null(at) {
        return Ok(py.None().into_bound(py));
    }
    macro_rules! primitive {
        ($type:ty) => {
            array.as_primitive::<$type>().value(at).into_bound_py_any(py)
        };
    }
    let list = |items: ArrayRef| {
        let items = (0..items.len()).map(|item| to_python(py, &items, item)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, items).map(Bound::into_any)
    };
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(at).into_bound_py_any(py),
        DataType::Int8 => primitive!(Int8Type),
        DataType::Int16 => primitive!(Int16Type),
        DataType::Int32 => primitive!(Int32Type),
        DataType::Int64 => primitive!(Int64Type),
        DataType::UInt8 => primitive!(UInt8Type),
        DataType::UInt16 => primitive!(UInt16Type),
        DataType::UInt32 => primitive!(UInt32Type),
        DataType::UInt64 => primitive!(UInt64Type),
        DataType::Float32 => primitive!(Float32Type),
        DataType::Float64 => primitive!(Float64Type),
        DataType::Utf8 => array.as_string::<i32>().value(at).into_bound_py_any(py),
        DataType::List(_) => list(array.as_list::<i32>().value(at)),
        DataType::FixedSizeList(..) => list(array.as_fixed_size_list().value(at)),
        DataType::Struct(_) => row_to_python(py, array.as_struct(), at).map(Bound::into_any),
        DataType::Dictionary(_, value) => {
            let field = Field::new("value", value.as_ref().clone(), true);
            to_python(py, &cast(&array.slice(at, 1), &field)?, 0)
        }
        other => {
            Err(PyTypeError::new_err(format!("a column of type {other} cannot be read as Python values: use PyArrow")))
        }
    }
}

/// Returns a row as a dictionary.
pub fn row_to_python<'py>(py: Python<'py>, table: &StructArray, at: usize) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    for (field, column) in table.fields().iter().zip(table.columns()) {
        row.set_item(field.name(), to_python(py, column, at)?)?;
    }
    Ok(row)
}
