//! Arrow PyCapsule interface: tables from and to PyArrow, Polars, pandas and others, without a copy.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, RecordBatch, RecordBatchIterator, RecordBatchReader, StructArray,
    ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi},
    ffi_stream::{ArrowArrayStreamReader, FFI_ArrowArrayStream},
    make_array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyCapsule, PyTuple},
};

fn arrow_error(cause: ArrowError) -> PyErr {
    PyValueError::new_err(cause.to_string())
}

/// Exports an array as a pair of capsules, `arrow_schema` and `arrow_array`.
pub fn export_array<'py>(py: Python<'py>, array: &dyn Array, field: &Field) -> PyResult<Bound<'py, PyTuple>> {
    let schema = FFI_ArrowSchema::try_from(field).map_err(arrow_error)?;
    let data = FFI_ArrowArray::new(&array.to_data());
    // Each capsule owns its structure, whose destructor calls `release` unless a reader has taken it.
    let schema = PyCapsule::new_with_value(py, schema, c"arrow_schema")?;
    let data = PyCapsule::new_with_value(py, data, c"arrow_array")?;
    (schema, data).into_pyobject(py)
}

/// Exports the schema of a table as a capsule.
pub fn export_schema<'py>(py: Python<'py>, schema: &Schema) -> PyResult<Bound<'py, PyCapsule>> {
    let schema = FFI_ArrowSchema::try_from(schema).map_err(arrow_error)?;
    PyCapsule::new_with_value(py, schema, c"arrow_schema")
}

/// Exports a table as a capsule with a stream of one batch.
pub fn export_stream<'py>(py: Python<'py>, batch: RecordBatch) -> PyResult<Bound<'py, PyCapsule>> {
    let schema = batch.schema();
    let reader: Box<dyn RecordBatchReader + Send> = Box::new(RecordBatchIterator::new([Ok(batch)], schema));
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), c"arrow_array_stream")
}

/// Imports a table from an object of the interface; `None` if the object has none of its methods.
pub fn import_table(value: &Bound<'_, PyAny>) -> PyResult<Option<Arc<StructArray>>> {
    if value.hasattr("__arrow_c_stream__")? {
        let capsule = value.call_method0("__arrow_c_stream__")?;
        return import_stream(&capsule).map(Some);
    }
    if value.hasattr("__arrow_c_array__")? {
        let capsules = value.call_method0("__arrow_c_array__")?;
        return import_array(&capsules).map(Some);
    }
    Ok(None)
}

fn import_stream(capsule: &Bound<'_, PyAny>) -> PyResult<Arc<StructArray>> {
    let capsule = capsule.cast::<PyCapsule>()?;
    let stream = capsule.pointer_checked(Some(c"arrow_array_stream"))?.cast::<FFI_ArrowArrayStream>();
    // SAFETY: a capsule of this name holds such a structure (the interface says so). `from_raw` moves it out and leaves a
    // released one, so that it is released once, by the reader.
    let reader = unsafe { ArrowArrayStreamReader::from_raw(stream.as_ptr()) }.map_err(arrow_error)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<RecordBatch>, ArrowError>>().map_err(arrow_error)?;
    let parts: Vec<StructArray> = batches.into_iter().map(StructArray::from).collect();
    let parts: Vec<&dyn Array> = parts.iter().map(|part| part as &dyn Array).collect();
    if parts.is_empty() {
        return Ok(Arc::new(StructArray::from(RecordBatch::new_empty(schema))));
    }
    to_struct(&arrow_select::concat::concat(&parts).map_err(arrow_error)?)
}

fn import_array(capsules: &Bound<'_, PyAny>) -> PyResult<Arc<StructArray>> {
    let (schema, array) = capsules.extract::<(Bound<'_, PyCapsule>, Bound<'_, PyCapsule>)>()?;
    let schema = schema.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    let array = array.pointer_checked(Some(c"arrow_array"))?.cast::<FFI_ArrowArray>();
    // SAFETY: capsules of these names hold such structures. `from_raw` moves the array out and leaves a released one, so that
    // it is released once, also if the schema does not fit. The schema stays in its capsule, which is alive.
    let array: ArrayRef = unsafe {
        let array = FFI_ArrowArray::from_raw(array.as_ptr());
        from_ffi(array, schema.as_ref()).map(make_array).map_err(arrow_error)?
    };
    to_struct(&array)
}

fn to_struct(array: &ArrayRef) -> PyResult<Arc<StructArray>> {
    match array.as_any().downcast_ref::<StructArray>() {
        Some(table) => Ok(Arc::new(table.clone())),
        None => Err(PyTypeError::new_err(format!("a table is a struct array, found {}", name_of(array.data_type())))),
    }
}

fn name_of(data_type: &DataType) -> String {
    data_type.to_string()
}
