//! Test harness of an operator in Python: the driver of a run, fed by hand.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use pyo3::{prelude::*, types::PyList};
use sideline_api::{
    Alignment, Body, Device, Driver, Header, Message, Mode, OnError, Payload, PortType, Reason, Resources, SourceId,
    Spec, Values, WiredInput,
    clock::VirtualClock,
    config::{Origin, did_you_mean},
    driver::{CallReport, DriverOptions, Outlet},
    models::Models,
};

use crate::{Error, columns, factory, frame, rows::PyRows};

/// Interval between two frames, ns.
const INTERVAL: i64 = 1_000_000_000 / 30;
/// Name of the stream.
const STREAM: &str = "test";

/// Harness around one operator.
#[pyclass(frozen, module = "sideline", name = "NativeHarness")]
pub struct PyHarness(Mutex<Harness>);

struct Harness {
    driver: Driver,
    spec: Spec,
    inputs: Vec<WiredInput>,
    received: Received,
    /// Number of the next frame.
    frame: u64,
    /// Number of the next message on each input.
    next: u64,
}

#[derive(Default)]
struct Received(Vec<VecDeque<Message>>);

impl Outlet for Received {
    fn send(&mut self, output: usize, message: Message) {
        if !matches!(message.body, Body::End { .. }) {
            self.0[output].push_back(message);
        }
    }
    fn report(&mut self, _: CallReport<'_>) {}
}

fn raise(error: sideline_api::Error) -> PyErr {
    Error::new_err(error.message)
}

impl Harness {
    /// Sends a message on every input and lets the operator handle the frame.
    fn send_all(&mut self, bodies: Vec<Body>, is_closing: bool) -> sideline_api::Result<()> {
        let header = Header { is_closing, ..Header::new(STREAM, self.frame, self.frame as i64 * INTERVAL) };
        for (port, body) in bodies.into_iter().enumerate() {
            let message = Message { header: header.clone(), n: self.next, body };
            self.driver.accept(port, message, Instant::now(), &mut self.received)?;
        }
        self.next += 1;
        self.frame += u64::from(!is_closing);
        Ok(())
    }

    /// Saves and loads the state, and checks that it is unchanged.
    fn check_saved_state(&mut self) -> sideline_api::Result<()> {
        let Some(operator) = self.driver.operator_mut() else { return Ok(()) };
        let (mut before, mut after) = (vec![], vec![]);
        operator.save(STREAM, &mut before)?;
        if before.is_empty() {
            return Ok(());
        }
        operator.load(STREAM, &before)?;
        operator.save(STREAM, &mut after)?;
        if before == after {
            return Ok(());
        }
        Err(sideline_api::Error::other("saving and loading changes the state"))
    }

    fn output(&self, name: &str) -> PyResult<usize> {
        self.spec.outputs.iter().position(|port| port.name == name).ok_or_else(|| {
            let near = did_you_mean(name, self.spec.outputs.iter().map(|port| port.name));
            Error::new_err(format!("there is no output `{name}`{near}"))
        })
    }
}

impl PyHarness {
    /// Locks the harness; called with the thread detached, since the operator attaches it.
    fn lock(&self) -> MutexGuard<'_, Harness> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Message that the operator sent.
enum Taken {
    Rows(Arc<arrow_array::StructArray>),
    Frame(Arc<sideline_api::Frame>),
    Skipped(String),
    Nothing,
}

#[pymethods]
impl PyHarness {
    /// Creates the operator of a declaration, with values for its keys as JSON.
    #[new]
    fn new(py: Python<'_>, declaration: Py<PyAny>, description: &str, values: &str) -> PyResult<Self> {
        let factory = factory::declared(description, declaration, &sideline::registry()).map_err(raise)?;
        let values: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(values).map_err(|cause| Error::new_err(cause.to_string()))?;
        let mut config = Values::new();
        for (key, value) in values {
            config.set(key, value, Origin::CommandLine);
        }
        let spec = factory.spec(&config).map_err(raise)?;
        let wired = spec.inputs.iter().map(|port| {
            let source = SourceId(0);
            WiredInput {
                name: port.name.into(),
                from: format!("test/{}", port.name),
                ty: port.ty,
                required: port.required,
                hold: port.hold,
                alignment: if port.feedback { Alignment::Feedback } else { Alignment::Source(source) },
                source: Some(source),
            }
        });
        let inputs: Vec<WiredInput> = wired.collect();
        let resources = Resources {
            node: "test".into(),
            mode: Mode::Complete,
            device: Device::Cpu,
            run_dir: std::env::temp_dir(),
            run: "test".into(),
            inputs: inputs.clone(),
            outputs: spec.outputs.iter().map(|port| port.name.into()).collect(),
            search: vec![".".into()],
            models: Arc::new(Models::default()),
            clock: Arc::new(VirtualClock::default()),
        };
        let options = DriverOptions { on_error: OnError::Stop, stride: 1 };
        let driver = py.detach(|| Driver::new(factory, config, resources, options)).map_err(raise)?;
        let received = Received(spec.outputs.iter().map(|_| VecDeque::new()).collect());
        Ok(Self(Mutex::new(Harness { driver, spec, inputs, received, frame: 0, next: 0 })))
    }

    /// Pushes one frame: for each input its name and value, or the reason of a skip.
    fn push(&self, py: Python<'_>, values: Vec<(String, Bound<'_, PyAny>, Option<String>)>) -> PyResult<()> {
        let inputs = py.detach(|| self.lock().inputs.clone());
        if let Some((name, ..)) = values.iter().find(|(name, ..)| !inputs.iter().any(|input| input.name == *name)) {
            let near = did_you_mean(name, inputs.iter().map(|input| input.name.as_str()));
            return Err(Error::new_err(format!("there is no input `{name}`{near}")));
        }
        let bodies = inputs.iter().map(|input| {
            let Some((_, value, reason)) = values.iter().find(|(name, ..)| *name == input.name) else {
                return Ok(Body::Skipped(Reason::from("none")));
            };
            if let Some(reason) = reason {
                return Ok(Body::Skipped(Reason::from(reason.as_str())));
            }
            let place =
                |error: PyErr| Error::new_err(format!("input `{}`: {}", input.name, columns::message(py, &error)));
            Ok(Body::Data(match input.ty {
                PortType::Table(table) => Payload::Table(columns::to_table(value, table).map_err(place)?),
                PortType::Frame | PortType::Any => {
                    let packed = frame::from_python(value).map_err(place)?;
                    Payload::Frame(Arc::new(frame::to_i420(&packed).map_err(place)?))
                }
            }))
        });
        let bodies = bodies.collect::<PyResult<Vec<Body>>>()?;
        py.detach(|| self.lock().send_all(bodies, false)).map_err(raise)
    }

    /// Ends the stream, after checking that the state survives saving and loading.
    fn end(&self, py: Python<'_>) -> PyResult<()> {
        let end = || {
            let mut harness = self.lock();
            harness.check_saved_state()?;
            let frames = harness.frame;
            let bodies = harness.inputs.iter().map(|_| Body::End { frames }).collect();
            harness.send_all(bodies, true)
        };
        py.detach(end).map_err(raise)
    }

    /// Changes a live setting, given as JSON.
    fn set(&self, py: Python<'_>, key: &str, value: &str) -> PyResult<()> {
        let value = serde_json::from_str(value).map_err(|cause| Error::new_err(cause.to_string()))?;
        py.detach(|| self.lock().driver.set(key, value)).map(drop).map_err(raise)
    }

    /// Closes the operator.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.lock().driver.close()).map_err(raise)
    }

    /// Takes the next message of an output: its kind (`rows`, `frame`, `skipped`, `nothing`) and its value.
    fn take<'py>(&self, py: Python<'py>, output: &str) -> PyResult<(&'static str, Bound<'py, PyAny>)> {
        let message = py.detach(|| {
            let mut harness = self.lock();
            let output = harness.output(output)?;
            Ok::<_, PyErr>(match harness.received.0[output].pop_front().map(|message| message.body) {
                Some(Body::Data(Payload::Table(rows))) => Taken::Rows(rows),
                Some(Body::Data(Payload::Frame(frame))) => Taken::Frame(frame),
                Some(Body::Skipped(reason)) => Taken::Skipped(reason.to_string()),
                Some(Body::End { .. }) | None => Taken::Nothing,
            })
        })?;
        Ok(match message {
            Taken::Rows(rows) => {
                let rows = PyRows::new(rows, crate::exports::Exports::new("rows"));
                ("rows", rows.list(py)?.into_any())
            }
            Taken::Frame(frame) => {
                let frame = frame::PyFrame::new(frame, crate::exports::Exports::new("frame"));
                ("frame", Bound::new(py, frame)?.call_method0("bgr")?)
            }
            Taken::Skipped(reason) => ("skipped", reason.into_pyobject(py)?.into_any()),
            Taken::Nothing => ("nothing", PyList::empty(py).into_any()),
        })
    }
}
