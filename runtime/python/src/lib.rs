//! Extension module `sideline._native`: the engine with all operators, and operators written in Python.
//!
//! Python is the host: `python -m sideline` runs the command line of the program `sideline` in the interpreter, which then loads
//! the operators in Python of a flow. The package in `python/sideline` holds the part written in Python: declarations
//! of operators, runs, results.
//!
//! `unsafe` occurs in three places: the buffer protocol (`exports`), the Arrow PyCapsule interface (`capsule`), and the kept state
//! of a thread (`thread_state`), each block with its reason.

mod capsule;
mod columns;
mod exports;
mod factory;
mod fit;
mod frame;
mod harness;
mod operator;
mod rows;
mod runs;
mod state;
mod thread_state;

use std::ffi::OsString;

use pyo3::{exceptions::PyImportError, exceptions::PyRuntimeError, prelude::*};
use serde_json::Value;

pyo3::create_exception!(sideline, Error, PyRuntimeError, "Error of a flow, an operator or a run.");

/// Returns the module of the functions that this module calls.
fn host(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static HOST: pyo3::sync::PyOnceLock<Py<PyModule>> = pyo3::sync::PyOnceLock::new();
    HOST.get_or_try_init(py, || py.import("sideline._host").map(Bound::unbind)).map(|module| module.bind(py))
}

/// Returns the module `numpy`.
fn numpy(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static NUMPY: pyo3::sync::PyOnceLock<Py<PyModule>> = pyo3::sync::PyOnceLock::new();
    let import = || {
        py.import("numpy").map(Bound::unbind).map_err(|cause| {
            PyImportError::new_err(format!(
                "pixels and columns come as arrays of NumPy, which cannot be imported: {cause}"
            ))
        })
    };
    NUMPY.get_or_try_init(py, import).map(|module| module.bind(py))
}

/// Describes an exception in one line: its text, and the last places of its traceback.
fn describe(py: Python<'_>, error: &PyErr) -> String {
    let described = host(py).and_then(|host| host.call_method1("describe", (with_traceback(py, error),))?.extract());
    described.unwrap_or_else(|_: PyErr| error.to_string())
}

/// Returns an exception with its traceback, which is kept apart from it until it is caught in Python.
fn with_traceback(py: Python<'_>, error: &PyErr) -> Py<pyo3::exceptions::PyBaseException> {
    error.clone_ref(py).into_value(py)
}

/// Returns the whole traceback of an exception.
fn traceback(py: Python<'_>, error: &PyErr) -> String {
    let text = host(py).and_then(|host| host.call_method1("format_traceback", (with_traceback(py, error),))?.extract());
    text.unwrap_or_else(|_: PyErr| error.to_string())
}

/// Converts a JSON value to a Python value.
fn json<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: pyo3::sync::PyOnceLock<Py<PyAny>> = pyo3::sync::PyOnceLock::new();
    let loads = LOADS.get_or_try_init(py, || py.import("json")?.getattr("loads").map(Bound::unbind))?;
    loads.bind(py).call1((value.to_string(),))
}

/// Engine, operators and command line of Sideline.
#[pymodule]
mod _native {
    use super::*;

    #[pymodule_export]
    use super::{
        Error,
        exports::View,
        frame::PyFrame,
        harness::PyHarness,
        operator::PyContext,
        rows::PyRows,
        runs::{PyBatch, PyRun},
    };

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// Runs the command line; returns the exit code.
    #[pyfunction]
    fn main(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<u8> {
        let sys = py.import("sys")?;
        let executable: OsString = sys.getattr("executable")?.extract()?;
        let version: String = sys.getattr("version")?.extract()?;
        let version = version.split_whitespace().next().unwrap_or_default().to_owned();
        Ok(py.detach(|| {
            let host = sideline::PythonHost {
                description: format!("Python {version}, {}", executable.display()),
                executable: executable.clone().into(),
                arguments,
                load: &factory::load_all,
            };
            sideline::main_in_python(sideline::registry(), &host)
        }))
    }

    /// Starts a run of a flow, which `text` gives in place of its file; the rows of some tables are passed on while it runs.
    #[pyfunction]
    #[pyo3(signature = (arguments, tables, text=None))]
    fn start(py: Python<'_>, arguments: Vec<OsString>, tables: Vec<String>, text: Option<String>) -> PyResult<PyRun> {
        runs::start(py, arguments, tables, text)
    }
}
