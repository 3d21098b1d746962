//! Rows of an input, as a table of the Arrow PyCapsule interface, as NumPy columns, and as dictionaries.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array, ArrayRef, RecordBatch, StructArray, cast::AsArray, make_array};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, Schema};
use pyo3::{
    exceptions::{PyKeyError, PyRuntimeError, PyValueError},
    prelude::*,
    types::{PyByteArray, PyCapsule, PyDict, PyIterator, PyList, PyTuple},
};
use sideline_api::config::did_you_mean;

use crate::{
    capsule,
    columns::{row_to_python, to_python},
    exports::{Element, Exports, Memory, View, counted_buffer, to_numpy},
};

/// Rows of an input. They are read-only, and usable during the call for which they came.
#[pyclass(frozen, module = "sideline", name = "Rows")]
pub struct PyRows {
    table: Mutex<Option<Arc<StructArray>>>,
    exports: Arc<Exports>,
}

impl PyRows {
    /// Wraps rows for one call.
    pub fn new(table: Arc<StructArray>, exports: Arc<Exports>) -> Self {
        Self { table: Mutex::new(Some(table)), exports }
    }

    /// Releases the rows; later uses raise an exception.
    pub fn close(&self) {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn get(&self) -> PyResult<Arc<StructArray>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(|| {
            PyRuntimeError::new_err(format!(
                "the rows of input `{}` are gone: they are usable only during the call for which they came; keep a copy, \
                 `rows.to_pylist()`",
                self.exports.input
            ))
        })
    }

    /// Returns the rows as a list of dictionaries.
    pub fn list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let table = self.get()?;
        let rows =
            (0..table.len()).map(|at| row_to_python(py, &table, at)).collect::<PyResult<Vec<Bound<'py, PyDict>>>>()?;
        PyList::new(py, rows)
    }

    /// Returns the rows with every buffer counted as an export.
    fn counted(&self) -> PyResult<StructArray> {
        let table = self.get()?;
        Ok(make_array(count_buffers(table.to_data(), &self.exports)?).as_struct().clone())
    }
}

/// Replaces the buffers of an array by counted ones.
fn count_buffers(data: ArrayData, exports: &Arc<Exports>) -> PyResult<ArrayData> {
    let buffers = data.buffers().iter().map(|buffer| counted_buffer(buffer, exports)).collect();
    let children = data.child_data().iter().map(|child| count_buffers(child.clone(), exports));
    let children = children.collect::<PyResult<Vec<_>>>()?;
    let builder = data.into_builder().buffers(buffers).child_data(children);
    builder.build().map_err(|cause| PyValueError::new_err(cause.to_string()))
}

#[pymethods]
impl PyRows {
    fn __len__(&self) -> PyResult<usize> {
        Ok(self.get()?.len())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.to_pylist(py)?.try_iter()
    }

    /// Names of the columns.
    #[getter]
    fn columns(&self) -> PyResult<Vec<String>> {
        Ok(self.get()?.column_names().into_iter().map(str::to_owned).collect())
    }

    /// Returns the rows as a list of dictionaries, a copy.
    fn to_pylist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.list(py)
    }

    /// Returns a row by its number, as a dictionary, or a column by its name: numbers as a NumPy array without a copy, whose
    /// further dimensions are those of lists of a fixed length; other values as a list. A column that may have nulls is a masked
    /// array (`numpy.ma`), for every frame.
    fn __getitem__<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let table = self.get()?;
        if let Ok(at) = key.extract::<isize>() {
            let at = if at < 0 { at + table.len() as isize } else { at };
            return match usize::try_from(at) {
                Ok(at) if at < table.len() => row_to_python(py, &table, at).map(Bound::into_any),
                _ => Err(pyo3::exceptions::PyIndexError::new_err(format!("there are {} rows", table.len()))),
            };
        }
        let name = key.extract::<String>()?;
        let Some((index, field)) = table.fields().find(&name) else {
            let near = did_you_mean(&name, table.column_names());
            return Err(PyKeyError::new_err(format!("there is no column `{name}`{near}")));
        };
        let column = table.column(index);
        match view(column, &self.exports) {
            Some(view) if has_nulls(field) => masked(py, &to_numpy(py, view)?, &mask(column)),
            Some(view) => to_numpy(py, view),
            None => {
                let values = (0..column.len()).map(|at| to_python(py, column, at)).collect::<PyResult<Vec<_>>>()?;
                PyList::new(py, values).map(Bound::into_any)
            }
        }
    }

    /// Arrow PyCapsule interface: one array.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        // The interface allows to answer a request with the own schema.
        drop(requested_schema);
        let table = self.counted()?;
        let field = Field::new("", table.data_type().clone(), false);
        capsule::export_array(py, &table, &field)
    }

    /// Arrow PyCapsule interface: a stream of one batch.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        capsule::export_stream(py, RecordBatch::from(self.counted()?))
    }

    /// Arrow PyCapsule interface: the schema.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsule::export_schema(py, &Schema::new(self.get()?.fields().clone()))
    }

    fn __repr__(&self) -> String {
        match self.get() {
            Ok(table) => format!("<Rows: {} of {}>", table.len(), table.column_names().join(", ")),
            Err(_) => "<Rows, closed>".into(),
        }
    }
}

/// Returns true if a column, or the lists of a fixed length in it, may have nulls.
fn has_nulls(field: &Field) -> bool {
    let item = match field.data_type() {
        DataType::FixedSizeList(item, _) => has_nulls(item),
        _ => false,
    };
    item || field.is_nullable()
}

/// Returns for each number of a column whether it, or a list around it, is null.
fn mask(column: &ArrayRef) -> Vec<u8> {
    let own = |at: usize| u8::from(column.is_null(at));
    let DataType::FixedSizeList(_, length) = column.data_type() else { return (0..column.len()).map(own).collect() };
    let mut items = mask(&column.as_fixed_size_list().clone().into_values());
    for (row, items) in items.chunks_exact_mut((*length).max(1) as usize).enumerate() {
        items.iter_mut().for_each(|item| *item |= own(row));
    }
    items
}

/// Returns a masked array over an array.
fn masked<'py>(py: Python<'py>, array: &Bound<'py, PyAny>, mask: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let numpy = crate::numpy(py)?;
    let mask = numpy.call_method1("frombuffer", (PyByteArray::new(py, mask), "bool"))?;
    let mask = mask.call_method1("reshape", (array.getattr("shape")?,))?;
    // The data is not copied.
    numpy.getattr("ma")?.getattr("MaskedArray")?.call1((array, mask))
}

/// Returns a view of a column of numbers, or of nested lists of a fixed length of numbers.
fn view(column: &ArrayRef, exports: &Arc<Exports>) -> Option<View> {
    let mut shape = vec![column.len()];
    let mut values = column.clone();
    while let DataType::FixedSizeList(_, length) = values.data_type() {
        shape.push(*length as usize);
        values = values.as_fixed_size_list_opt()?.clone().into_values();
    }
    let element = match values.data_type() {
        DataType::Int8 => Element { format: c"b", size: 1 },
        DataType::Int16 => Element { format: c"h", size: 2 },
        DataType::Int32 => Element { format: c"i", size: 4 },
        DataType::Int64 => Element { format: c"q", size: 8 },
        DataType::UInt8 => Element { format: c"B", size: 1 },
        DataType::UInt16 => Element { format: c"H", size: 2 },
        DataType::UInt32 => Element { format: c"I", size: 4 },
        DataType::UInt64 => Element { format: c"Q", size: 8 },
        DataType::Float32 => Element { format: c"f", size: 4 },
        DataType::Float64 => Element { format: c"d", size: 8 },
        _ => return None,
    };
    let data = values.to_data();
    let bytes = data.buffers().first()?.slice(data.offset() * element.size);
    let row = shape[1..].iter().product::<usize>() * element.size;
    View::new(Memory::Values(bytes), element, &shape, row, exports.clone())
}

trait IntoValues {
    /// Returns the items of all lists.
    fn into_values(self) -> ArrayRef;
}

impl IntoValues for arrow_array::FixedSizeListArray {
    fn into_values(self) -> ArrayRef {
        let length = self.value_length() as usize;
        self.values().slice(self.value_offset(0) as usize, self.len() * length)
    }
}
