//! Rig that runs an operator through its driver, as a flow does, and keeps all that comes out.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use sideline_api::{
    Alignment, Body, Context, Device, Driver, DynOperator, Error, Failure, Fault, Header, InputPort, Inputs, Instance,
    Message, Mode, OnError, OperatorFactory, Outputs, PortType, Resources, Result, SourceId, Spec, StreamName, Table,
    Values, WiredInput,
    clock::VirtualClock,
    config::{Key, Problem},
    driver::{CallReport, DriverOptions, Outcome, Outlet, Phase},
    models::Models,
    tables::Count,
};

use crate::inputs::is_equal;

/// Time from frame to frame, ns.
pub const INTERVAL: i64 = 1_000_000_000 / 30;

/// Environment of the operators of a suite.
pub struct Bench {
    pub factory: Arc<dyn OperatorFactory>,
    pub spec: Spec,
    pub values: Values,
    pub search: Vec<PathBuf>,
    pub models: Arc<Models>,
    /// Folder in which every operator gets a folder of its own.
    pub folder: PathBuf,
    /// Declared inputs that are wired. Of alternatives an operator takes the first.
    wired: Vec<&'static str>,
    made: AtomicUsize,
}

/// Inputs that are wired.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// All declared inputs.
    All,
    /// The required ones.
    Required,
}

/// One step of a script.
#[derive(Clone)]
pub struct Step {
    pub header: Header,
    /// Body for each wired input; `None` on a side or feedback input without a message.
    pub bodies: Vec<Option<Body>>,
}

/// All that came out of an operator.
#[derive(Default)]
pub struct Transcript {
    /// Messages of each output.
    pub messages: Vec<Vec<Message>>,
    /// Outcome of each frame.
    pub outcomes: Vec<FrameOutcome>,
    /// Errors at the ends of streams.
    pub end_errors: Vec<String>,
}

/// Outcome of one frame.
pub struct FrameOutcome {
    pub stream: StreamName,
    pub frame: u64,
    pub outcome: Outcome,
}

impl Outlet for Transcript {
    fn send(&mut self, output: usize, message: Message) {
        self.messages[output].push(message);
    }
    fn report(&mut self, report: CallReport<'_>) {
        if report.phase == Phase::Frame {
            let header = report.header;
            self.outcomes.push(FrameOutcome {
                stream: header.stream.clone(),
                frame: header.frame,
                outcome: report.outcome,
            });
        } else if let Outcome::Error(error) = report.outcome {
            self.end_errors.push(error);
        }
    }
}

impl Transcript {
    /// Returns the first difference to another transcript in the messages and outcomes of a stream.
    pub fn difference(&self, other: &Transcript, spec: &Spec, stream: &str) -> Option<String> {
        let of_stream = |messages: &[Message]| -> Vec<Message> {
            messages.iter().filter(|message| &*message.header.stream == stream).cloned().collect()
        };
        for (output, (ours, theirs)) in spec.outputs.iter().zip(self.messages.iter().zip(&other.messages)) {
            let (ours, theirs) = (of_stream(ours), of_stream(theirs));
            for (a, b) in ours.iter().zip(&theirs) {
                if a.header != b.header || !is_equal(&a.body, &b.body) {
                    return Some(format!("output `{}` differs at frame {}", output.name, a.header.frame));
                }
            }
            if ours.len() != theirs.len() {
                return Some(format!("output `{}` has {} and {} messages", output.name, ours.len(), theirs.len()));
            }
        }
        let is_of_stream = |of: &&FrameOutcome| &*of.stream == stream;
        let (ours, theirs) = (self.outcomes.iter().filter(is_of_stream), other.outcomes.iter().filter(is_of_stream));
        let (a, b) = ours.zip(theirs).find(|(a, b)| a.outcome != b.outcome)?;
        Some(format!("frame {} has the outcomes {:?} and {:?}", a.frame, a.outcome, b.outcome))
    }

    /// Returns the first error of a frame for which `is_ordinary` holds, by its place in the script.
    pub fn error(&self, is_ordinary: impl Fn(usize) -> bool) -> Option<String> {
        let ordinary = self.outcomes.iter().enumerate().filter(|(at, _)| is_ordinary(*at));
        ordinary.map(|(_, outcome)| outcome).find_map(|FrameOutcome { stream, frame, outcome }| match outcome {
            Outcome::Error(message) => Some(format!("error at frame {frame} ({stream}): {message}")),
            _ => None,
        })
    }

    /// Returns the first panic.
    pub fn panic(&self) -> Option<String> {
        self.outcomes.iter().find_map(|FrameOutcome { stream, frame, outcome }| match outcome {
            Outcome::Panic(message) => Some(format!("panic at frame {frame} ({stream}): {message}")),
            _ => None,
        })
    }
}

/// Driver of an operator under test.
pub struct Rig {
    pub driver: Driver,
    pub inputs: Vec<WiredInput>,
    pub transcript: Transcript,
    sent: Vec<u64>,
}

impl Bench {
    pub fn new(
        factory: Arc<dyn OperatorFactory>,
        values: Values,
        search: Vec<PathBuf>,
        models: Arc<Models>,
        folder: PathBuf,
    ) -> Result<Self> {
        let spec = factory.spec(&values)?;
        let wired = spec.inputs.iter().map(|port| port.name).collect();
        let made = AtomicUsize::new(0);
        let mut bench = Self { factory, spec, values, search, models, folder, wired, made };
        if bench.is_refused() {
            bench.leave_out_alternatives();
        }
        Ok(bench)
    }

    /// Returns true if the operator refuses its inputs as they are wired.
    fn is_refused(&self) -> bool {
        let made = self.resources(&self.inputs(Wiring::All), true).and_then(|resources| {
            match self.factory.make(&self.values, &resources)? {
                Instance::Operator(mut operator) => operator.close().0,
                Instance::Sources(_) => Ok(()),
            }
        });
        made.is_err_and(|error| error.failure == Failure::Config)
    }

    /// Wires the required inputs, and each optional one in turn with which the operator can be created. All stay wired if it
    /// cannot be created with any.
    fn leave_out_alternatives(&mut self) {
        let all = std::mem::take(&mut self.wired);
        self.wired = self.spec.inputs.iter().filter(|port| port.required).map(|port| port.name).collect();
        let mut is_refused = self.is_refused();
        for name in &all {
            if self.wired.contains(name) {
                continue;
            }
            self.wired.push(name);
            match self.is_refused() {
                true => {
                    self.wired.pop();
                }
                false => is_refused = false,
            }
        }
        if is_refused {
            self.wired = all;
        }
    }

    /// Returns the wired inputs. An operator that takes inputs of any name gets one, `more`.
    pub fn inputs(&self, wiring: Wiring) -> Vec<WiredInput> {
        let is_wired = |port: &&InputPort| match wiring {
            Wiring::All => self.wired.contains(&port.name),
            Wiring::Required => port.required,
        };
        let declared = self.spec.inputs.iter().filter(is_wired);
        let mut inputs: Vec<WiredInput> = declared
            .map(|port| WiredInput {
                name: port.name.into(),
                from: format!("test/{}", port.name),
                ty: port.ty,
                required: port.required,
                hold: port.hold,
                alignment: if port.feedback { Alignment::Feedback } else { Alignment::Source(SourceId(0)) },
                source: Some(SourceId(0)),
            })
            .collect();
        if let Some(ty) = self.spec.more_inputs
            && (wiring == Wiring::All || inputs.is_empty())
        {
            inputs.push(WiredInput {
                name: "more".into(),
                from: "test/more".into(),
                ty: if ty == PortType::Any { PortType::Table(Count::table_type()) } else { ty },
                required: false,
                hold: false,
                alignment: Alignment::Source(SourceId(0)),
                source: Some(SourceId(0)),
            });
        }
        inputs
    }

    /// Returns the environment of a new operator.
    pub fn resources(&self, inputs: &[WiredInput], is_read: bool) -> Result<Resources> {
        let folder = self.folder.join(self.made.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir_all(&folder).map_err(|cause| Error::output(format!("{}: {cause}", folder.display())))?;
        let outputs = self.spec.outputs.iter().filter(|_| is_read).map(|port| port.name.to_owned()).collect();
        Ok(Resources {
            node: self.spec.name.into(),
            mode: Mode::Complete,
            device: Device::Cpu,
            run_dir: folder,
            run: "test".into(),
            inputs: inputs.to_vec(),
            outputs,
            search: self.search.clone(),
            models: self.models.clone(),
            clock: Arc::new(VirtualClock::default()),
        })
    }

    /// Creates an operator with its driver. Its failures skip a frame.
    pub fn rig(&self, wiring: Wiring) -> Result<Rig> {
        self.rig_with(self.factory.clone(), wiring, true)
    }

    pub fn rig_with(&self, factory: Arc<dyn OperatorFactory>, wiring: Wiring, is_read: bool) -> Result<Rig> {
        let inputs = self.inputs(wiring);
        let resources = self.resources(&inputs, is_read)?;
        let options = DriverOptions { on_error: OnError::Skip, stride: 1 };
        let driver = Driver::new(factory, self.values.clone(), resources, options)?;
        let messages = vec![vec![]; self.spec.outputs.len()];
        let transcript = Transcript { messages, ..Transcript::default() };
        Ok(Rig { driver, sent: vec![0; inputs.len()], inputs, transcript })
    }

    /// Runs a script from the creation of an operator to its end.
    ///
    /// # Errors
    /// When the operator cannot be created, breaks a rule that its driver checks, or unwinds.
    pub fn run(&self, wiring: Wiring, script: &[Step]) -> Result<Transcript> {
        self.rig(wiring)?.run(script)
    }
}

impl Rig {
    /// Runs a script, ends all its streams and closes the operator.
    ///
    /// # Errors
    /// As for [`Bench::run`].
    pub fn run(mut self, script: &[Step]) -> Result<Transcript> {
        for step in script {
            self.push(step)?;
        }
        self.end(script)?;
        self.driver.close()?;
        Ok(self.transcript)
    }

    /// Sends the messages of a step.
    ///
    /// # Errors
    /// When the operator breaks a rule that its driver checks, or unwinds.
    pub fn push(&mut self, step: &Step) -> Result<()> {
        for (port, body) in step.bodies.iter().enumerate() {
            if let Some(body) = body {
                self.send(port, step.header.clone(), body.clone())?;
            }
        }
        Ok(())
    }

    /// Ends the streams of a script.
    ///
    /// # Errors
    /// As for [`Rig::push`].
    pub fn end(&mut self, script: &[Step]) -> Result<()> {
        let mut streams: Vec<&Header> = vec![];
        for step in script {
            streams.retain(|header| header.stream != step.header.stream);
            streams.push(&step.header);
        }
        for last in streams {
            let frames = script.iter().filter(|step| step.header.stream == last.stream).count() as u64;
            let header = Header { frame: last.frame + 1, is_closing: true, ..last.clone() };
            for port in 0..self.inputs.len() {
                if self.inputs[port].alignment.is_aligned() {
                    self.send(port, header.clone(), Body::End { frames })?;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, port: usize, header: Header, body: Body) -> Result<()> {
        let message = Message { header, n: self.sent[port], body };
        self.sent[port] += 1;
        let (driver, transcript) = (&mut self.driver, &mut self.transcript);
        let accepted = catch_unwind(AssertUnwindSafe(|| driver.accept(port, message, Instant::now(), transcript)));
        accepted.unwrap_or_else(|_| Err(Error::other("a panic was not contained: it unwound into the driver")))
    }
}

/// Returns the headers of `frames` frames of a stream from the frame `first` on.
pub fn headers(stream: &str, first: u64, frames: u64) -> Vec<Header> {
    (first..first + frames).map(|frame| Header::new(stream, frame, frame as i64 * INTERVAL)).collect()
}

/// Factory whose operators are saved, created again and loaded after every frame.
pub struct Reloading {
    pub inner: Arc<dyn OperatorFactory>,
    /// Counts the states that were not empty.
    pub states: Arc<AtomicUsize>,
}

/// Operator that is saved, created again and loaded after every frame.
struct ReloadingOperator {
    inner: Box<dyn DynOperator>,
    factory: Arc<dyn OperatorFactory>,
    values: Values,
    resources: Resources,
    streams: Vec<StreamName>,
    states: Arc<AtomicUsize>,
}

impl ReloadingOperator {
    fn reload(&mut self) -> Result<()> {
        let mut saved = vec![];
        for stream in &self.streams {
            let mut bytes = vec![];
            self.inner.save(stream, &mut bytes)?;
            saved.push((stream.clone(), bytes));
        }
        self.inner.close().0?;
        let Instance::Operator(inner) = self.factory.make(&self.values, &self.resources)? else {
            return Err(Error::other("the factory makes no operator any more"));
        };
        self.inner = inner;
        for (stream, bytes) in saved.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
            self.states.fetch_add(1, Ordering::Relaxed);
            self.inner.load(&stream, &bytes)?;
            let mut again = vec![];
            self.inner.save(&stream, &mut again)?;
            if again != bytes {
                return Err(Error::other("a state that was loaded is saved as other bytes"));
            }
        }
        Ok(())
    }
}

impl DynOperator for ReloadingOperator {
    fn process(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault> {
        if !self.streams.contains(&cx.header.stream) {
            self.streams.push(cx.header.stream.clone());
        }
        self.inner.process(cx, input, out)?;
        Ok(self.reload()?)
    }
    fn stream_ended(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault> {
        self.streams.retain(|stream| *stream != cx.header.stream);
        self.inner.stream_ended(cx, input, out)
    }
    fn snapshot(&mut self, stream: &str) -> Result<(), Fault> {
        self.inner.snapshot(stream)
    }
    fn roll_back(&mut self, stream: &str) -> Result<(), Fault> {
        self.inner.roll_back(stream)
    }
    fn save(&self, stream: &str, into: &mut Vec<u8>) -> Result<()> {
        self.inner.save(stream, into)
    }
    fn load(&mut self, stream: &str, bytes: &[u8]) -> Result<()> {
        self.inner.load(stream, bytes)
    }
    fn reconfigure(&mut self, values: &Values) -> Result<()> {
        self.values = values.clone();
        self.inner.reconfigure(values)
    }
    fn close(&mut self) -> (Result<()>, Vec<(String, u64)>) {
        self.inner.close()
    }
}

impl OperatorFactory for Reloading {
    fn spec(&self, values: &Values) -> Result<Spec> {
        self.inner.spec(values)
    }
    fn about(&self) -> &str {
        self.inner.about()
    }
    fn keys(&self) -> &[Key] {
        self.inner.keys()
    }
    fn check(&self, values: &Values) -> Vec<Problem> {
        self.inner.check(values)
    }
    fn resolve(&self, values: &Values) -> Vec<(String, serde_json::Value)> {
        self.inner.resolve(values)
    }
    fn models(&self, values: &Values) -> Vec<String> {
        self.inner.models(values)
    }
    fn finite(&self, values: &Values) -> bool {
        self.inner.finite(values)
    }
    fn make(&self, values: &Values, resources: &Resources) -> Result<Instance> {
        let Instance::Operator(inner) = self.inner.make(values, resources)? else {
            return Err(Error::other("the factory makes no operator"));
        };
        Ok(Instance::Operator(Box::new(ReloadingOperator {
            inner,
            factory: self.inner.clone(),
            values: values.clone(),
            resources: resources.clone(),
            streams: vec![],
            states: self.states.clone(),
        })))
    }
}
