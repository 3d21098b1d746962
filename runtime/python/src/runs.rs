//! Runs from Python code: the rows of some tables while a flow runs.

use std::{
    ffi::OsString,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, StructArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use pyo3::{
    prelude::*,
    types::{PyCapsule, PyList},
};
use sideline::{
    Batch,
    embed::{RunHandle, Tap},
};
use sideline_api::{Header, Mode};

use crate::{Error, capsule, columns, factory, rows::PyRows};

/// Capacity of the queue between the flow and Python code, in batches. When it is full, the flow waits in `complete` mode; in
/// `live` mode the oldest batch is dropped and counted.
const QUEUE: usize = 256;
/// Interval at which a wait looks for signals, such as Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Rows of a table for one frame.
struct Rows {
    input: String,
    header: Header,
    rows: Arc<StructArray>,
}

/// Queue between the flow and Python code.
#[derive(Clone)]
struct Queue {
    sender: Sender<Rows>,
    /// The receiving end, from which the oldest batch is dropped.
    receiver: Receiver<Rows>,
    /// True once nothing reads the rows any more.
    is_closed: Arc<AtomicBool>,
    /// True while the flow waits for room.
    is_waiting: Arc<AtomicBool>,
    /// Number of batches that were dropped.
    dropped: Arc<AtomicU64>,
}

impl Queue {
    /// Passes on a batch.
    fn push(&self, batch: &Batch<'_>, mode: Mode) {
        let batch = Rows { input: batch.table.to_owned(), header: batch.header.clone(), rows: batch.array.clone() };
        match mode {
            Mode::Live => self.replace_oldest(batch),
            Mode::Complete => self.wait_for_room(batch),
        }
    }

    /// Appends a batch; a full queue loses its oldest one.
    fn replace_oldest(&self, mut batch: Rows) {
        while let Err(TrySendError::Full(rejected)) = self.sender.try_send(batch) {
            self.dropped.fetch_add(u64::from(self.receiver.try_recv().is_ok()), Ordering::Relaxed);
            batch = rejected;
        }
    }

    /// Waits for room, but not for a reader that is gone.
    fn wait_for_room(&self, batch: Rows) {
        let Err(TrySendError::Full(mut batch)) = self.sender.try_send(batch) else { return };
        self.is_waiting.store(true, Ordering::Relaxed);
        while !self.is_closed.load(Ordering::Relaxed) {
            match self.sender.send_timeout(batch, SIGNAL_INTERVAL) {
                Err(error) if error.is_timeout() => batch = error.into_inner(),
                Ok(()) | Err(_) => break,
            }
        }
        self.is_waiting.store(false, Ordering::Relaxed);
    }
}

/// Rows of one table for one frame.
#[pyclass(frozen, module = "sideline", name = "NativeBatch")]
pub struct PyBatch {
    rows: Rows,
}

#[pymethods]
impl PyBatch {
    /// Name of the table, or the output `NODE/OUTPUT` that was asked for.
    #[getter]
    fn table(&self) -> &str {
        &self.rows.input
    }
    /// Name of the stream.
    #[getter]
    fn stream(&self) -> &str {
        &self.rows.header.stream
    }
    /// Number of the connection, from 0.
    #[getter]
    fn session(&self) -> u32 {
        self.rows.header.session
    }
    /// Number of the frame.
    #[getter]
    fn frame(&self) -> u64 {
        self.rows.header.frame
    }
    /// Media time, ns.
    #[getter]
    fn pts(&self) -> i64 {
        self.rows.header.pts
    }
    fn __len__(&self) -> usize {
        self.rows.rows.len()
    }
    /// Returns the rows as a list of dictionaries.
    fn to_pylist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let rows = (0..self.rows.rows.len()).map(|at| columns::row_to_python(py, &self.rows.rows, at));
        PyList::new(py, rows.collect::<PyResult<Vec<_>>>()?)
    }
    /// Returns the rows with their columns.
    fn rows(&self) -> PyRows {
        PyRows::new(self.rows.rows.clone(), crate::exports::Exports::new("table"))
    }
    /// Arrow PyCapsule interface: a stream of one batch, with the columns stream, session, frame and pts first, as in a recording.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        let Rows { header, rows, .. } = &self.rows;
        let length = rows.len();
        let mut fields = vec![
            Field::new("stream", DataType::Utf8, false),
            Field::new("session", DataType::UInt32, false),
            Field::new("frame", DataType::Int64, false),
            Field::new("pts", DataType::Int64, false),
        ];
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&*header.stream, length))),
            Arc::new(UInt32Array::from_value(header.session, length)),
            // Signed as in a recording, so that differences do not wrap.
            Arc::new(Int64Array::from_value(header.frame.cast_signed(), length)),
            Arc::new(Int64Array::from_value(header.pts, length)),
        ];
        // Columns of the frame that the table has itself are the table's.
        let own = rows.fields().iter().zip(rows.columns());
        for (field, column) in
            own.filter(|(field, _)| !matches!(field.name().as_str(), "stream" | "session" | "frame" | "pts"))
        {
            fields.push(field.as_ref().clone());
            columns.push(column.clone());
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
        let batch = batch.map_err(|cause| Error::new_err(cause.to_string()))?;
        capsule::export_stream(py, batch)
    }
}

/// Run of a flow on threads of its own.
#[pyclass(frozen, module = "sideline", name = "NativeRun")]
pub struct PyRun {
    /// Queue of the rows; `None` once nothing reads them.
    queue: Mutex<Option<Queue>>,
    dropped: Arc<AtomicU64>,
    handle: RunHandle,
    frames: Option<u64>,
    stop: Arc<AtomicBool>,
    outcome: Mutex<Outcome>,
    folder: String,
}

enum Outcome {
    Running(JoinHandle<sideline_api::Result<String>>),
    Ended(sideline_api::Result<String>),
    /// Another call waits for the end.
    Awaited,
}

/// Starts a run with the arguments of `sideline run`. `text`: the flow, in place of its file.
pub fn start(py: Python<'_>, arguments: Vec<OsString>, tables: Vec<String>, text: Option<String>) -> PyResult<PyRun> {
    let (sender, receiver) = crossbeam_channel::bounded(QUEUE);
    let handle = RunHandle::default();
    let queue =
        Queue { sender, receiver, is_closed: Arc::default(), is_waiting: handle.hold_flag(), dropped: Arc::default() };
    let prepared = py.detach(|| {
        let rows = queue.clone();
        let tap = Tap::new(move |batch, mode| {
            rows.push(batch, mode);
            Ok(())
        });
        sideline::embed::prepare(arguments, text, &sideline::registry(), &factory::load_all, tap, &tables)
    });
    let prepared = prepared.map_err(|error| Error::new_err(error.message))?;
    let stop = prepared.stop_flag();
    let folder = prepared.folder().display().to_string();
    let frames = prepared.frames();
    let thread = std::thread::Builder::new().name("sideline-run".into()).spawn({
        let handle = handle.clone();
        move || prepared.run(&handle)
    })?;
    Ok(PyRun {
        dropped: queue.dropped.clone(),
        queue: Mutex::new(Some(queue)),
        handle,
        frames,
        stop,
        outcome: Mutex::new(Outcome::Running(thread)),
        folder,
    })
}

#[pymethods]
impl PyRun {
    /// Folder of the results.
    #[getter]
    fn folder(&self) -> &str {
        &self.folder
    }

    /// Number of batches that were dropped because nothing had read them, in `live` mode.
    #[getter]
    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Number of frames of each stream after which the run ends, if it is known.
    #[getter]
    fn frames(&self) -> Option<u64> {
        self.frames
    }

    /// True once the run has ended.
    #[getter]
    fn has_ended(&self) -> bool {
        match &*self.outcome.lock().unwrap_or_else(PoisonError::into_inner) {
            Outcome::Running(thread) => thread.is_finished(),
            Outcome::Ended(_) | Outcome::Awaited => true,
        }
    }

    /// Returns the progress as JSON, after the end the last one; `None` before the start.
    fn progress(&self, py: Python<'_>) -> PyResult<Option<String>> {
        // Takes locks of the run, whose threads may wait for the interpreter.
        let Some(progress) = py.detach(|| self.handle.progress()) else { return Ok(None) };
        serde_json::to_string(&progress).map(Some).map_err(|cause| Error::new_err(cause.to_string()))
    }

    /// Returns the next batch, or `None` if there is none within this time, or after the last one.
    fn next(&self, py: Python<'_>, seconds: f64) -> PyResult<Option<PyBatch>> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(Queue { receiver, .. }) = queue else {
            // Nothing comes any more; a caller that asks until the end does so at this rate.
            self.wait_for(py, seconds)?;
            return Ok(None);
        };
        let deadline = Instant::now() + Duration::try_from_secs_f64(seconds).unwrap_or_default();
        loop {
            // Asked before the queue is: rows that came until then are in it.
            let has_ended = self.has_ended();
            match py.detach(|| receiver.recv_timeout(if has_ended { Duration::ZERO } else { SIGNAL_INTERVAL })) {
                Ok(rows) => return Ok(Some(PyBatch { rows })),
                Err(_) if has_ended || Instant::now() >= deadline => return Ok(None),
                Err(_) => py.check_signals()?,
            }
        }
    }

    /// Asks the run to stop: sources end, and what is in flight is finished.
    fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Ends the passing on of rows: the run no longer waits for a reader.
    fn close(&self) {
        if let Some(queue) = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take() {
            queue.is_closed.store(true, Ordering::SeqCst);
        }
    }

    /// Waits for the end of the run, at most for this time; returns true once it has ended.
    fn wait_for(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let deadline = Instant::now() + Duration::try_from_secs_f64(seconds).unwrap_or_default();
        while !self.has_ended() && Instant::now() < deadline {
            py.detach(|| std::thread::sleep(SIGNAL_INTERVAL / 5));
            py.check_signals()?;
        }
        Ok(self.has_ended())
    }

    /// Waits for the end; returns the report as JSON.
    fn wait(&self, py: Python<'_>) -> PyResult<String> {
        while !self.has_ended() {
            py.detach(|| std::thread::sleep(SIGNAL_INTERVAL / 5));
            py.check_signals()?;
        }
        // The lock is not held while the thread is joined: another Python thread may ask for the outcome while it is attached.
        let running =
            std::mem::replace(&mut *self.outcome.lock().unwrap_or_else(PoisonError::into_inner), Outcome::Awaited);
        let ended = match running {
            Outcome::Running(thread) => {
                let panicked = || sideline_api::Error::other("the run panicked; the message is above");
                Outcome::Ended(py.detach(|| thread.join()).unwrap_or_else(|_| Err(panicked())))
            }
            other => other,
        };
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*outcome, Outcome::Awaited) {
            *outcome = ended;
        }
        match &*outcome {
            Outcome::Ended(Ok(report)) => Ok(report.clone()),
            Outcome::Ended(Err(error)) => Err(Error::new_err(error.message.clone())),
            Outcome::Running(_) | Outcome::Awaited => Err(Error::new_err("the run has no result")),
        }
    }
}
