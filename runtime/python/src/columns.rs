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
    exceptions::{PyKeyError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyDict, PyList},
};
use sideline_api::{TableType, config::did_you_mean};

use crate::capsule;

/// Converts the value that an operator returned for an output of rows: `None`, an object of the Arrow PyCapsule interface, or a
/// list of rows, each a dictionary or an object with an attribute for each column.
pub fn to_table(value: &Bound<'_, PyAny>, table: TableType) -> PyResult<Arc<StructArray>> {
    if value.is_none() {
        return Ok(Arc::new(table.empty()));
    }
    if let Some(imported) = capsule::import_table(value)? {
        return copy(&fit(&imported, &table.fields)?).map(Arc::new);
    }
    let is_row = value.is_instance_of::<PyDict>() || value.extract::<&str>().is_ok();
    let rows = if is_row { None } else { value.try_iter().ok() };
    let Some(rows) = rows else {
        return Err(PyTypeError::new_err(format!(
            "rows are a list of dictionaries or objects, or a table of PyArrow, Polars or pandas; found {}",
            type_name(value)
        )));
    };
    let rows = rows.collect::<PyResult<Vec<_>>>()?;
    for (at, row) in rows.iter().enumerate() {
        check_names(row, &table.fields).map_err(|error| at_place(value.py(), &error, &format!("row {at}")))?;
    }
    let columns = table.fields.iter().map(|field| {
        let values = rows.iter().enumerate().map(|(at, row)| {
            field_of(row, field.name()).map_err(|error| at_place(value.py(), &error, &format!("row {at}")))
        });
        to_array(&values.collect::<PyResult<Vec<_>>>()?, field)
    });
    let columns = columns.collect::<PyResult<Vec<_>>>()?;
    if columns.is_empty() {
        return Ok(Arc::new(table.empty()));
    }
    StructArray::try_new(table.fields.clone(), columns, None)
        .map(Arc::new)
        .map_err(|e| PyValueError::new_err(e.to_string()))
}

/// Prefixes the message of an exception with a place.
fn at_place(py: Python<'_>, error: &PyErr, place: &str) -> PyErr {
    PyErr::from_type(error.get_type(py), format!("{place}: {}", message(py, error)))
}

/// Returns the text of an exception, without its type.
pub fn message(py: Python<'_>, error: &PyErr) -> String {
    match error.value(py).getattr("args").and_then(|args| args.get_item(0)) {
        Ok(text) => text.to_string(),
        Err(_) => error.value(py).to_string(),
    }
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
        Err(_) => row.getattr(name).map_err(|_| {
            PyTypeError::new_err(format!(
                "a row is a dictionary, or an object with the attribute `{name}`; found {}",
                type_name(row)
            ))
        }),
    }
}

/// Converts the values of a column. Columns have no nulls unless their field says so; `None` is NaN for a number with a
/// decimal point.
fn to_array(values: &[Bound<'_, PyAny>], field: &Field) -> PyResult<ArrayRef> {
    let nulls = if field.is_nullable() {
        let valid: NullBuffer = values.iter().map(|value| !value.is_none()).collect::<Vec<bool>>().into();
        (valid.null_count() > 0).then_some(valid)
    } else {
        None
    };
    let is_null = |at: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(at));
    let place =
        |at: usize, error: &PyErr| at_place(values[at].py(), error, &format!("row {at}, column `{}`", field.name()));
    let integers = || {
        let read = values.iter().enumerate().map(|(at, value)| {
            if is_null(at) { Ok(0) } else { value.extract::<i128>().map_err(|error| place(at, &whole(value, error))) }
        });
        read.collect::<PyResult<Vec<i128>>>()
    };
    macro_rules! integers {
        ($type:ty) => {{
            let read = integers()?.into_iter().enumerate().map(|(at, number)| {
                <$type as ArrowPrimitiveType>::Native::try_from(number).map_err(|_| {
                    let text =
                        format!("{number} does not fit a column of type {}", <$type as ArrowPrimitiveType>::DATA_TYPE);
                    place(at, &PyValueError::new_err(text))
                })
            });
            Arc::new(PrimitiveArray::<$type>::new(read.collect::<PyResult<Vec<_>>>()?.into(), nulls.clone()))
        }};
    }
    let numbers = || {
        let read = values.iter().enumerate().map(|(at, value)| {
            if value.is_none() {
                return Ok(f64::NAN);
            }
            let text = || PyTypeError::new_err(format!("{} is no number", type_name(value)));
            value.extract::<f64>().map_err(|_| place(at, &text()))
        });
        read.collect::<PyResult<Vec<f64>>>()
    };
    Ok(match field.data_type() {
        DataType::Boolean => {
            let read = values.iter().enumerate().map(|(at, value)| {
                let text = || PyTypeError::new_err(format!("{} is not True or False", type_name(value)));
                if is_null(at) { Ok(false) } else { value.is_truthy_bool().ok_or_else(|| place(at, &text())) }
            });
            Arc::new(BooleanArray::new(read.collect::<PyResult<Vec<bool>>>()?.into(), nulls.clone()))
        }
        DataType::Int8 => integers!(Int8Type),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::UInt8 => integers!(UInt8Type),
        DataType::UInt16 => integers!(UInt16Type),
        DataType::UInt32 => integers!(UInt32Type),
        DataType::UInt64 => integers!(UInt64Type),
        DataType::Float64 => Arc::new(PrimitiveArray::<Float64Type>::new(numbers()?.into(), nulls.clone())),
        DataType::Float32 => {
            let numbers: Vec<f32> = numbers()?.into_iter().map(|number| number as f32).collect();
            Arc::new(PrimitiveArray::<Float32Type>::new(numbers.into(), nulls.clone()))
        }
        DataType::Utf8 => {
            let read = values.iter().enumerate().map(|(at, value)| {
                let text = || PyTypeError::new_err(format!("{} is no text", type_name(value)));
                if is_null(at) { Ok(String::new()) } else { value.extract::<String>().map_err(|_| place(at, &text())) }
            });
            let texts = StringArray::from_iter_values(read.collect::<PyResult<Vec<String>>>()?);
            Arc::new(StringArray::new(texts.offsets().clone(), texts.values().clone(), nulls.clone()))
        }
        DataType::List(item) => {
            let (items, lengths) = flatten(values, None, &place, &is_null)?;
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(ListArray::new(item.clone(), offsets, to_array(&items, item)?, nulls.clone()))
        }
        DataType::FixedSizeList(item, length) => {
            let (items, _) = flatten(values, Some(*length as usize), &place, &is_null)?;
            Arc::new(FixedSizeListArray::new(item.clone(), *length, to_array(&items, item)?, nulls.clone()))
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|inner| {
                let read = values
                    .iter()
                    .enumerate()
                    .map(|(at, value)| field_of(value, inner.name()).map_err(|e| place(at, &e)));
                to_array(&read.collect::<PyResult<Vec<_>>>()?, inner)
            });
            Arc::new(StructArray::new(fields.clone(), columns.collect::<PyResult<Vec<_>>>()?, nulls.clone()))
        }
        DataType::Dictionary(_, value) => {
            let plain = Field::new(field.name(), value.as_ref().clone(), field.is_nullable());
            cast(&to_array(values, &plain)?, field)?
        }
        other => {
            let text =
                format!("column `{}`: a column of type {other} cannot be written from Python values", field.name());
            return Err(PyTypeError::new_err(text));
        }
    })
}

/// Returns the error for a value that is no whole number, or one that is too large.
fn whole(value: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    if error.is_instance_of::<pyo3::exceptions::PyOverflowError>(value.py()) {
        return PyValueError::new_err("the number is too large");
    }
    PyTypeError::new_err(format!("{} is no whole number", type_name(value)))
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

type Flat<'py> = (Vec<Bound<'py, PyAny>>, Vec<usize>);

/// Concatenates the lists of all rows; returns the items and the length of each list.
fn flatten<'py>(
    values: &[Bound<'py, PyAny>],
    length: Option<usize>,
    place: &dyn Fn(usize, &PyErr) -> PyErr,
    is_null: &dyn Fn(usize) -> bool,
) -> PyResult<Flat<'py>> {
    let mut items = vec![];
    let mut lengths = vec![];
    for (at, value) in values.iter().enumerate() {
        let before = items.len();
        if is_null(at) {
            let none = value.py().None().into_bound(value.py());
            items.extend(std::iter::repeat_n(none, length.unwrap_or(0)));
        } else {
            let not_a_list = || PyTypeError::new_err(format!("{} is no list", type_name(value)));
            if value.extract::<&str>().is_ok() {
                return Err(place(at, &not_a_list()));
            }
            for item in value.try_iter().map_err(|_| place(at, &not_a_list()))? {
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
        lengths.push(found);
    }
    Ok((items, lengths))
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

/// Fits an imported table to the declared columns: they are found by name and converted, which fails if a value is lost.
fn fit(table: &StructArray, fields: &Fields) -> PyResult<StructArray> {
    for name in table.column_names() {
        if !fields.iter().any(|field| field.name() == name) {
            let near = did_you_mean(name, fields.iter().map(|field| field.name().as_str()));
            return Err(PyKeyError::new_err(format!("there is no column `{name}`{near}")));
        }
    }
    let columns = fields.iter().map(|field| {
        let Some(column) = table.column_by_name(field.name()) else {
            return Err(PyKeyError::new_err(format!("column `{}` is missing", field.name())));
        };
        let column = cast(column, field)?;
        if column.null_count() > 0 && !field.is_nullable() {
            let text = format!("column `{}` has {} nulls, and takes none", field.name(), column.null_count());
            return Err(PyValueError::new_err(text));
        }
        Ok(column)
    });
    let columns = columns.collect::<PyResult<Vec<_>>>()?;
    if columns.is_empty() {
        return Ok(StructArray::new_empty_fields(table.len(), None));
    }
    StructArray::try_new(fields.clone(), columns, None).map_err(|cause| PyValueError::new_err(cause.to_string()))
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
