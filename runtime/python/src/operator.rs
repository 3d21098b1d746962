//! Operator in Python behind the interface of the driver.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use pyo3::{
    exceptions::{PyKeyError, PyRuntimeError, PyTypeError},
    prelude::*,
    types::{PyDict, PyList, PyTuple},
};
use sideline_api::{
    Body, Context, DynOperator, Error, Fault, Header, Inputs, Mode, OutputPort, Outputs, Payload, PortType, Reason,
    Resources, Result, StreamName, Values, config::did_you_mean, is_same_stream,
};

use crate::{
    columns::{self, message},
    describe,
    exports::Exports,
    factory::{Class, Parameter},
    frame::{self, PyFrame},
    host,
    rows::PyRows,
    state,
    thread_state::attach,
};

/// Interval at which the file of a class is looked at for a change.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Operator in Python with the state of each stream and its copy.
pub struct PyOperator {
    class: Arc<Class>,
    node: Arc<str>,
    outputs: Vec<OutputPort>,
    /// Instance of the class; taken when it is closed.
    instance: Option<Py<PyAny>>,
    /// Bound method `process`.
    process: Py<PyAny>,
    streams: Vec<Stream>,
    /// Threads that ran before the operator was created.
    threads: Py<PyAny>,
    values: Values,
    /// True once the thread of the operator is marked.
    is_thread_marked: bool,
    /// File of the class, if a change of it is taken.
    watched: Option<WatchedFile>,
}

/// File of a class that is executed again when it has changed.
struct WatchedFile {
    path: PathBuf,
    modified: Option<SystemTime>,
    /// Time of the last look at the file.
    looked: Instant,
}

impl WatchedFile {
    fn new(path: PathBuf) -> Self {
        let modified = path.metadata().and_then(|metadata| metadata.modified()).ok();
        Self { path, modified, looked: Instant::now() }
    }

    /// Returns true once after each change.
    fn has_changed(&mut self) -> bool {
        if self.looked.elapsed() < LOOK_INTERVAL {
            return false;
        }
        self.looked = Instant::now();
        let modified = self.path.metadata().and_then(|metadata| metadata.modified()).ok();
        modified.is_some() && std::mem::replace(&mut self.modified, modified) != modified
    }
}

struct Stream {
    name: StreamName,
    current: StreamState,
    copy: StreamState,
    /// Number of calls so far. After the first, second, fourth, eighth call and so on, the state is checked: it must be one that can
    /// be saved.
    calls: u64,
}

/// State of an operator for one stream, with the session for which `session_started` was called.
#[derive(Default)]
struct StreamState {
    session: Option<u32>,
    state: Option<Py<PyAny>>,
}

/// Objects of one call that must not be used after it.
#[derive(Default)]
struct Lent {
    frames: Vec<Py<PyFrame>>,
    rows: Vec<Py<PyRows>>,
    exports: Vec<Arc<Exports>>,
}

impl PyOperator {
    /// Creates the instance.
    ///
    /// # Errors
    /// The problems of the configuration, or the exception of `__init__`.
    pub fn new(class: Arc<Class>, values: &Values, resources: &Resources) -> Result<Self> {
        attach(|py| {
            let config = class.read_config(py, values, &resources.node)?;
            let create = || -> PyResult<Self> {
                let host = host(py)?;
                host.call_method0("enter_node")?;
                let threads = host.call_method0("threads")?.unbind();
                let instance = class.declaration.bind(py).call_method1("make", (config,))?;
                let process = instance.getattr("process")?.unbind();
                if class.reads_frames() {
                    // Imported before the first frame. An operator that uses no pixels runs without it.
                    let _imported = crate::numpy(py);
                }
                host.call_method0("settle")?;
                Ok(Self {
                    node: resources.node.as_str().into(),
                    outputs: class.outputs(),
                    instance: Some(instance.unbind()),
                    process,
                    streams: vec![],
                    threads,
                    values: values.clone(),
                    is_thread_marked: false,
                    watched: match class.reload {
                        true => Some(WatchedFile::new(host.call_method1("source", (&class.declaration,))?.extract()?)),
                        false => None,
                    },
                    class: class.clone(),
                })
            };
            create().map_err(|error| Error::other(describe(py, &error)).at(format!("node `{}`", resources.node)))
        })
    }

    fn stream_index(&mut self, py: Python<'_>, name: &StreamName) -> PyResult<usize> {
        if let Some(at) = self.streams.iter().position(|known| is_same_stream(&known.name, name)) {
            return Ok(at);
        }
        let current = StreamState { session: None, state: self.new_state(py)? };
        let copy = StreamState { session: None, state: self.new_state(py)? };
        self.streams.push(Stream { name: name.clone(), current, copy, calls: 0 });
        Ok(self.streams.len() - 1)
    }

    fn new_state(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        if !self.class.has_state {
            return Ok(None);
        }
        self.class.declaration.bind(py).call_method0("new_state").map(|state| Some(state.unbind()))
    }

    fn copy(&self, py: Python<'_>, of: &StreamState) -> PyResult<StreamState> {
        let copy = |state: &Py<PyAny>| host(py)?.call_method1("copy_state", (state,)).map(Bound::unbind);
        Ok(StreamState { session: of.session, state: of.state.as_ref().map(copy).transpose()? })
    }

    fn instance<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let closed = || PyRuntimeError::new_err("the operator is closed");
        self.instance.as_ref().map(|instance| instance.bind(py).clone()).ok_or_else(closed)
    }

    /// Calls `session_started` if a session begins, then `process`.
    fn call_process(&mut self, py: Python<'_>, cx: &Context, input: &Inputs, out: &mut Outputs) -> PyResult<()> {
        if !self.is_thread_marked {
            host(py)?.call_method0("enter_node")?;
            self.is_thread_marked = true;
        }
        if self.watched.as_mut().is_some_and(WatchedFile::has_changed) {
            match self.reload(py) {
                Ok(()) => tracing::warn!(node = &*self.node, "the changed file of the operator was taken"),
                Err(error) => {
                    let error = describe(py, &error);
                    tracing::warn!(node = &*self.node, error, "the changed file of the operator was not taken");
                }
            }
        }
        let at = self.stream_index(py, &cx.header.stream)?;
        if self.streams[at].current.session != Some(cx.header.session) {
            if let Some(parameters) = &self.class.methods.session_started {
                let method = self.instance(py)?.getattr("session_started")?;
                self.call(py, &method, parameters, at, cx, input, None)?;
            }
            self.streams[at].current.session = Some(cx.header.session);
        }
        let process = self.process.bind(py).clone();
        self.call(py, &process, &self.class.methods.process, at, cx, input, Some(out))?;
        self.streams[at].calls += 1;
        if self.class.has_state && self.streams[at].calls.is_power_of_two() {
            self.check_state(py, at)?;
        }
        Ok(())
    }

    /// Creates the instance of a changed class in place of the current one. States are kept if their version is the same.
    fn reload(&mut self, py: Python<'_>) -> PyResult<()> {
        let class = self.class.reload(py)?;
        let config = class.read_config(py, &self.values, &self.node).map_err(to_python_error)?;
        let instance = class.declaration.bind(py).call_method1("make", (config,))?;
        let process = instance.getattr("process")?.unbind();
        let keeps_states = class.has_state && self.class.has_state && class.state_version == self.class.state_version;
        let mut states = vec![];
        for at in 0..self.streams.len() {
            states.push(match (keeps_states, class.has_state) {
                (true, _) => {
                    // Written and read again, so that its values have the new classes of the file.
                    let mut bytes = vec![];
                    state::write(&self.pack(py, at)?, &mut bytes).map_err(to_python_error)?;
                    let declaration = class.declaration.bind(py);
                    Some(restore(declaration, state::read(declaration, &bytes).map_err(to_python_error)?)?)
                }
                (false, true) => Some(class.declaration.bind(py).call_method0("new_state")?.unbind()),
                (false, false) => None,
            });
        }
        self.class = Arc::new(class);
        for (stream, state) in self.streams.iter_mut().zip(states) {
            stream.current.state = state;
            stream.calls = 0;
        }
        for at in 0..self.streams.len() {
            self.streams[at].copy = self.copy(py, &self.streams[at].current)?;
        }
        let old = self.instance.replace(instance.unbind());
        self.process = process;
        match old {
            Some(old) if old.bind(py).hasattr("close")? => old.bind(py).call_method0("close").map(drop),
            _ => Ok(()),
        }
    }

    fn call_stream_ended(&mut self, py: Python<'_>, cx: &Context, input: &Inputs, out: &mut Outputs) -> PyResult<()> {
        let Some(parameters) = &self.class.methods.stream_ended.clone() else { return Ok(()) };
        let at = self.stream_index(py, &cx.header.stream)?;
        let method = self.instance(py)?.getattr("stream_ended")?;
        self.call(py, &method, parameters, at, cx, input, Some(out))
    }

    fn end_stream(&mut self, py: Python<'_>, cx: &Context, input: &Inputs, out: &mut Outputs) -> PyResult<()> {
        let at = self.streams.iter().position(|stream| is_same_stream(&stream.name, &cx.header.stream));
        if let Some(at) = at.filter(|_| self.class.has_state) {
            self.check_state(py, at)?;
        }
        self.call_stream_ended(py, cx, input, out)
    }

    /// Calls a method with its parameters, sets the outputs from its result, and ends the use of the inputs.
    #[allow(clippy::too_many_arguments)]
    fn call(
        &self,
        py: Python<'_>,
        method: &Bound<'_, PyAny>,
        parameters: &[Parameter],
        at: usize,
        cx: &Context,
        input: &Inputs,
        out: Option<&mut Outputs>,
    ) -> PyResult<()> {
        let mut lent = Lent::default();
        let called = (|| {
            let arguments = parameters.iter().map(|parameter| self.argument(py, parameter, at, cx, input, &mut lent));
            let arguments = arguments.collect::<PyResult<Vec<_>>>()?;
            // A fixed number of arguments is passed without a tuple.
            let result = match &arguments[..] {
                [] => method.call0(),
                [a] => method.call1((a,)),
                [a, b] => method.call1((a, b)),
                [a, b, c] => method.call1((a, b, c)),
                more => method.call1(PyTuple::new(py, more)?),
            }?;
            match out {
                Some(out) => self.set_outputs(&result, out).map_err(|error| match error.traceback(py) {
                    // Code of the operator has raised it, such as a generator of rows.
                    Some(_) => error,
                    // The message alone: the place is that of the runtime, not of the operator.
                    None => crate::Error::new_err(message(py, &error)),
                }),
                None => Ok(()),
            }
        })();
        lent.end(py, called.is_ok())?;
        called
    }

    fn argument<'py>(
        &self,
        py: Python<'py>,
        parameter: &Parameter,
        at: usize,
        cx: &Context,
        input: &Inputs,
        lent: &mut Lent,
    ) -> PyResult<Bound<'py, PyAny>> {
        let none = || py.None().into_bound(py);
        match parameter {
            Parameter::Context => Ok(Bound::new(py, PyContext::new(cx, &self.node))?.into_any()),
            Parameter::State => {
                let state = self.streams[at].current.state.as_ref();
                Ok(state.map_or_else(none, |state| state.bind(py).clone()))
            }
            Parameter::Input { name, is_feedback: true } => {
                let payloads = input.side(name).iter().filter_map(|message| match &message.body {
                    Body::Data(payload) => Some(lent.wrap(py, name, payload)),
                    _ => None,
                });
                Ok(PyList::new(py, payloads.collect::<PyResult<Vec<_>>>()?)?.into_any())
            }
            Parameter::Input { name, is_feedback: false } => {
                let newest = || {
                    input.side(name).iter().rev().find_map(|message| match &message.body {
                        Body::Data(payload) => Some(payload),
                        _ => None,
                    })
                };
                match input.payload(name).or_else(newest) {
                    Some(payload) => lent.wrap(py, name, payload),
                    None => Ok(none()),
                }
            }
        }
    }

    /// Sets the outputs from the value that a method returned.
    fn set_outputs(&self, result: &Bound<'_, PyAny>, out: &mut Outputs) -> PyResult<()> {
        if result.is_none() {
            return Ok(());
        }
        if let Some(reason) = skip_reason(result)? {
            return self
                .outputs
                .iter()
                .try_for_each(|port| out.skip(port.name, reason.clone()).map_err(to_python_error));
        }
        if let Ok(by_name) = result.cast::<PyDict>() {
            for (name, value) in by_name {
                let name = name.str()?.to_string();
                let Some(port) = self.outputs.iter().find(|port| port.name == name) else {
                    let near = did_you_mean(&name, self.outputs.iter().map(|port| port.name));
                    return Err(PyKeyError::new_err(format!("there is no output `{name}`{near}")));
                };
                set_output(port, &value, out)?;
            }
            return Ok(());
        }
        match &self.outputs[..] {
            [port] => set_output(port, result, out),
            outputs => {
                let names: Vec<&str> = outputs.iter().map(|port| port.name).collect();
                Err(PyTypeError::new_err(format!(
                    "the result for the outputs {} is a dictionary with a value for each, found a value of type {}",
                    if names.is_empty() { "(there are none)".into() } else { names.join(", ") },
                    result.get_type().name()?
                )))
            }
        }
    }

    /// Returns a state as values that can be saved.
    fn pack<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, PyAny>> {
        state::module(py)?.call_method1("pack", (&self.class.declaration, &self.streams[at].current.state))
    }

    /// Checks that a state can be saved, so that a state that cannot is found before a failure or the end of a run needs it.
    fn check_state(&self, py: Python<'_>, at: usize) -> PyResult<()> {
        self.pack(py, at).map(drop)
    }

    fn call_close(&mut self, py: Python<'_>) -> PyResult<()> {
        let instance = self.instance(py)?;
        self.instance = None;
        let closed = if self.class.methods.has_close { instance.call_method0("close").map(drop) } else { Ok(()) };
        let left: Vec<String> = host(py)?.call_method1("threads_left", (&self.threads,))?.extract()?;
        if !left.is_empty() {
            tracing::warn!(
                node = &*self.node,
                threads = left.join(", "),
                "the operator has left threads running; end them in `close`: they end with the program"
            );
        }
        closed
    }
}

impl Lent {
    fn wrap<'py>(&mut self, py: Python<'py>, input: &'static str, payload: &Payload) -> PyResult<Bound<'py, PyAny>> {
        let exports = Exports::new(input);
        self.exports.push(exports.clone());
        match payload {
            Payload::Frame(frame) => {
                let frame = Bound::new(py, PyFrame::new(frame.clone(), exports))?;
                self.frames.push(frame.clone().unbind());
                Ok(frame.into_any())
            }
            Payload::Table(table) => {
                let rows = Bound::new(py, PyRows::new(table.clone(), exports))?;
                self.rows.push(rows.clone().unbind());
                Ok(rows.into_any())
            }
        }
    }

    /// Closes the inputs. After a call that succeeded, a view that is still in use is an error that names its input.
    fn end(self, py: Python<'_>, has_succeeded: bool) -> PyResult<()> {
        self.frames.iter().for_each(|frame| frame.get().close());
        self.rows.iter().for_each(|rows| rows.get().close());
        let is_kept = |exports: &Arc<Exports>| exports.live() > 0;
        if !has_succeeded || !self.exports.iter().any(is_kept) {
            return Ok(());
        }
        // A view may be held by a cycle of objects that nothing refers to.
        host(py)?.call_method0("collect")?;
        match self.exports.iter().find(|exports| is_kept(exports)) {
            None => Ok(()),
            Some(exports) => Err(crate::Error::new_err(format!(
                "a view of input `{}` is still in use after the call: keep a copy of it (`array.copy()`), since its memory is \
                 needed for the next frames",
                exports.input
            ))),
        }
    }
}

/// Returns the reason if a value is a `skip`.
fn skip_reason(value: &Bound<'_, PyAny>) -> PyResult<Option<Reason>> {
    static SKIP: pyo3::sync::PyOnceLock<Py<PyAny>> = pyo3::sync::PyOnceLock::new();
    let py = value.py();
    let class = SKIP.get_or_try_init(py, || py.import("sideline._operator")?.getattr("skip").map(Bound::unbind))?;
    if !value.get_type().is(class.bind(py)) {
        return Ok(None);
    }
    let word = value.getattr("reason")?.extract::<String>()?;
    match Reason::from(word.as_str()) {
        Reason::Other(word) => Ok(Some(Reason::Other(word))),
        _ => Err(PyTypeError::new_err(format!(
            "skip(\"{word}\"): this reason is the runtime's own: choose another word"
        ))),
    }
}

fn set_output(port: &OutputPort, value: &Bound<'_, PyAny>, out: &mut Outputs) -> PyResult<()> {
    if let Some(reason) = skip_reason(value)? {
        return out.skip(port.name, reason).map_err(to_python_error);
    }
    let place = |error: PyErr| columns::at_place(value.py(), &error, &format!("output `{}`", port.name));
    match port.ty {
        PortType::Frame if value.is_none() => Ok(()),
        PortType::Frame => out.frame(port.name, frame::from_python(value).map_err(place)?).map_err(to_python_error),
        PortType::Table(table) => {
            out.table(port.name, columns::to_table(value, table).map_err(place)?).map_err(to_python_error)
        }
        PortType::Any => Err(PyTypeError::new_err(format!("output `{}` has no type", port.name))),
    }
}

/// Converts the values of a saved state to a state.
fn restore(declaration: &Bound<'_, PyAny>, saved: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    state::module(declaration.py())?.call_method1("restore", (declaration, saved)).map(Bound::unbind)
}

fn to_python_error(error: Error) -> PyErr {
    crate::Error::new_err(error.message)
}

/// Attaches to the interpreter and converts exceptions and panics into faults.
fn call<T>(body: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T, Fault> {
    let result = catch_unwind(AssertUnwindSafe(|| {
        attach(|py| {
            body(py).map_err(|error| {
                tracing::debug!(traceback = crate::traceback(py, &error), "exception in an operator");
                Error::other(describe(py, &error))
            })
        })
    }));
    match result {
        Ok(result) => result.map_err(Fault::Error),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref().cloned());
            Err(Fault::Panic(text.unwrap_or_else(|| "a panic without a message".into())))
        }
    }
}

impl DynOperator for PyOperator {
    fn process(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault> {
        call(|py| self.call_process(py, cx, input, out))
    }

    fn stream_ended(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault> {
        call(|py| {
            let ended = self.end_stream(py, cx, input, out);
            self.streams.retain(|stream| stream.name != cx.header.stream);
            ended
        })
    }

    fn snapshot(&mut self, stream: &str) -> Result<(), Fault> {
        let Some(at) = self.streams.iter().position(|known| &*known.name == stream) else { return Ok(()) };
        if !self.class.has_state {
            self.streams[at].copy.session = self.streams[at].current.session;
            return Ok(());
        }
        call(|py| {
            self.streams[at].copy = self.copy(py, &self.streams[at].current)?;
            Ok(())
        })
    }

    fn roll_back(&mut self, stream: &str) -> Result<(), Fault> {
        let Some(at) = self.streams.iter().position(|known| &*known.name == stream) else { return Ok(()) };
        call(|py| {
            let copy = self.copy(py, &self.streams[at].copy);
            let (current, result) = match copy {
                Ok(copy) => (copy, Ok(())),
                Err(error) => (StreamState { session: None, state: self.new_state(py)? }, Err(error)),
            };
            self.streams[at].current = current;
            result
        })
    }

    fn save(&self, stream: &str, into: &mut Vec<u8>) -> Result<()> {
        let Some(at) = self.streams.iter().position(|known| &*known.name == stream) else { return Ok(()) };
        let begin = into.len();
        into.extend(self.class.state_version.to_le_bytes());
        let written = call(|py| {
            let saved = PyDict::new(py);
            saved.set_item("session", self.streams[at].current.session)?;
            saved.set_item("state", self.pack(py, at)?)?;
            state::write(&saved, into).map_err(to_python_error)
        });
        if written.is_err() {
            into.truncate(begin);
        }
        written.map_err(Fault::into_error)
    }

    fn load(&mut self, stream: &str, bytes: &[u8]) -> Result<()> {
        let Some((version, bytes)) = bytes.split_first_chunk::<4>() else {
            return Err(Error::other("a saved state has at least 4 bytes"));
        };
        let (version, needed) = (u32::from_le_bytes(*version), self.class.state_version);
        if version != needed {
            return Err(Error::other(format!("the saved state has version {version}, version {needed} is needed")));
        }
        call(|py| {
            let declaration = self.class.declaration.bind(py);
            let saved = state::read(declaration, bytes).map_err(to_python_error)?;
            let session: Option<u32> = saved.get_item("session")?.extract()?;
            let state = match self.class.has_state {
                true => Some(restore(declaration, saved.get_item("state")?)?),
                false => None,
            };
            let current = StreamState { session, state };
            let copy = self.copy(py, &current)?;
            self.streams.retain(|known| &*known.name != stream);
            self.streams.push(Stream { name: stream.into(), current, copy, calls: 0 });
            Ok(())
        })
        .map_err(Fault::into_error)
    }

    fn reconfigure(&mut self, values: &Values) -> Result<()> {
        let set = |py: Python<'_>, values: &Values| -> Result<()> {
            let config = self.class.read_config(py, values, &self.node)?;
            let apply = || -> PyResult<()> {
                let instance = self.instance(py)?;
                self.class.declaration.bind(py).call_method1("set", (&instance, config))?;
                if self.class.methods.has_reconfigure { instance.call_method0("reconfigure").map(drop) } else { Ok(()) }
            };
            apply().map_err(|error| Error::other(describe(py, &error)))
        };
        attach(|py| {
            set(py, values).inspect_err(|_| {
                // The old configuration stays in force.
                let _restored = set(py, &self.values);
            })
        })?;
        self.values = values.clone();
        Ok(())
    }

    fn close(&mut self) -> (Result<()>, Vec<(String, u64)>) {
        let closed = call(|py| {
            self.streams.clear();
            self.call_close(py)
        });
        (closed.map_err(Fault::into_error), vec![])
    }
}

impl Drop for PyOperator {
    fn drop(&mut self) {
        // Attached, so that what the operator holds is freed now, on its thread.
        attach(|_| {
            self.instance = None;
            self.streams.clear();
        });
    }
}

/// Context of a call.
#[pyclass(frozen, module = "sideline", name = "Context")]
pub struct PyContext {
    header: Header,
    node: Arc<str>,
    mode: Mode,
    seed: u64,
}

impl PyContext {
    fn new(cx: &Context, node: &Arc<str>) -> Self {
        Self { header: cx.header.clone(), node: node.clone(), mode: cx.mode, seed: cx.seed() }
    }
}

#[pymethods]
impl PyContext {
    /// Id of the node.
    #[getter]
    fn node(&self) -> &str {
        &self.node
    }
    /// Name of the stream.
    #[getter]
    fn stream(&self) -> &str {
        &self.header.stream
    }
    /// Number of the connection, from 0.
    #[getter]
    fn session(&self) -> u32 {
        self.header.session
    }
    /// Number of the frame, from 0.
    #[getter]
    fn frame(&self) -> u64 {
        self.header.frame
    }
    /// Media time, ns.
    #[getter]
    fn pts(&self) -> i64 {
        self.header.pts
    }
    /// Media time, s.
    #[getter]
    fn seconds(&self) -> f64 {
        self.header.pts as f64 * 1e-9
    }
    /// Number of frames that were dropped before this one.
    #[getter]
    fn dropped(&self) -> u64 {
        self.header.dropped
    }
    /// Mode of the run: `live` or `complete`.
    #[getter]
    fn mode(&self) -> &'static str {
        match self.mode {
            Mode::Live => "live",
            Mode::Complete => "complete",
        }
    }
    /// Random seed that depends on node, stream and frame only.
    #[getter]
    fn seed(&self) -> u64 {
        self.seed
    }
    fn __repr__(&self) -> String {
        format!("<Context: node {}, stream {}, frame {}>", self.node, self.header.stream, self.header.frame)
    }
}
