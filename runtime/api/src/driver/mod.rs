//! Runs one operator: aligns its inputs, skips, checks types, keeps copies of its state, numbers its outputs.
//!
//! The engine and the test harness both call it, so a test sees what a run does. [`align`] says which messages belong
//! together, [`carry`] keeps rows for a later call, [`outbox`] checks and numbers the outputs, [`restart`] decides when an
//! operator that failed is made again. The operator itself stands behind [`DynOperator`], so that all this is compiled once.

mod align;
mod carry;
mod outbox;
mod restart;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::{
    Alignment, Body, Context, Error, Header, Inputs, Message, Outputs, Reason, Resources, Result, SourceId, Spec,
    StreamName, Values,
    config::{Origin, did_you_mean},
    context::Mode,
    factory::{DynOperator, Fault, Made, OperatorFactory},
    message::is_same_stream,
};

pub use crate::factory::read_config;
pub use align::Stage;
use align::{Align, Due};
use carry::Carry;
use outbox::{Outbox, check_payload};
use restart::{Next, Restarts};

/// Frames between two in-memory copies of a state.
const COPY_EVERY: u32 = 30;

/// What happens after an error or a panic in an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The frame is skipped, the operator goes on.
    Skip,
    /// The frame is skipped, and the operator is made again; the state of the stream is its last copy.
    Restart,
    /// The run ends with the failure.
    Stop,
}

impl OnError {
    /// Stop in `complete` mode, restart in `live`.
    pub fn default_for(mode: Mode) -> Self {
        match mode {
            Mode::Complete => OnError::Stop,
            Mode::Live => OnError::Restart,
        }
    }
}

/// Settings of a node that are the runtime's: keys beginning with `SIDELINE_`.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// After an error or a panic.
    pub on_error: OnError,
    /// Handle every n-th frame, the others are `skipped: stride`.
    pub stride: u64,
}

/// A key that was changed while running.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The value before.
    pub old: serde_json::Value,
    /// The value from the next frame on, as the operator read it.
    pub new: serde_json::Value,
}

/// Receives a driver's messages and reports.
pub trait Outlet {
    /// A message of output number `output`.
    fn send(&mut self, output: usize, message: Message);
    /// A call was handled; its messages were sent before.
    fn ran(&mut self, ran: Ran<'_>);
    /// The operator is about to be made again, which may take as long as a start.
    fn remaking(&mut self) {}
    /// It was made again.
    fn remade(&mut self) {}
}

/// Report of one call.
#[derive(Debug)]
pub struct Ran<'a> {
    /// The frame, or the place after the last one.
    pub header: &'a Header,
    /// What the call was about.
    pub stage: Stage,
    /// Its outcome.
    pub outcome: Outcome,
    /// When its last input was sent.
    pub ready: Instant,
    /// When the operator was called.
    pub started: Instant,
    /// When its outputs were sent.
    pub ended: Instant,
}

/// Outcome of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The operator was called and succeeded.
    Done,
    /// The operator was not called.
    Skipped(Reason),
    /// It failed with this message; outputs are `skipped: error`.
    Error(String),
    /// It panicked with this message; outputs are `skipped: panic`.
    Panic(String),
}

/// A stream that has come and not ended.
struct Stream {
    name: StreamName,
    /// Frames that were answered with a message on every output.
    frames: u64,
    /// Successful calls since the last copy of its state.
    since_copy: u32,
    /// The source of its frames, known by the first ordinary input that brings it.
    source: Option<SourceId>,
    /// The last header on an input that is not ordinary.
    last: Option<Header>,
}

/// See the [module](self).
pub struct Driver {
    factory: Arc<dyn OperatorFactory>,
    /// None once it is closed, and while a restart waits.
    operator: Option<Box<dyn DynOperator>>,
    values: Values,
    resources: Resources,
    spec: Spec,
    options: DriverOptions,
    align: Align,
    carry: Carry,
    outbox: Outbox,
    streams: Vec<Stream>,
    restarts: Restarts,
    /// The operator's own counts; told when it is closed, added up over restarts.
    counts: BTreeMap<String, u64>,
}

impl Driver {
    /// Makes the operator and its driver.
    ///
    /// # Errors
    /// Problems of the configuration, or the failure of `new`.
    pub fn new(
        factory: Arc<dyn OperatorFactory>,
        values: Values,
        resources: Resources,
        options: DriverOptions,
    ) -> Result<Self> {
        let operator = make(&*factory, &values, &resources)?;
        let spec = factory.spec(&values)?;
        Ok(Self {
            operator: Some(operator),
            align: Align::new(&resources.node, resources.inputs.clone()),
            carry: Carry::new(resources.inputs.len()),
            outbox: Outbox::new(&resources.node, spec.outputs.clone()),
            streams: vec![],
            restarts: Restarts::new(resources.mode),
            counts: BTreeMap::new(),
            factory,
            values,
            resources,
            spec,
            options,
        })
    }

    /// Takes a message of an ordinary, side or feedback input, and runs every frame that is now complete.
    /// `sent` is when the producer sent it.
    ///
    /// # Errors
    /// A lost message, a table of another type, or a failure with `on_error: stop`.
    pub fn accept(&mut self, port: usize, message: Message, sent: Instant, outlet: &mut dyn Outlet) -> Result<()> {
        let input = &self.align.inputs()[port];
        if let Body::Data(payload) = &message.body {
            check_payload(&input.ty, payload).map_err(|error| error.at(self.align.place(port)))?;
        }
        match input.alignment {
            Alignment::Source(source) => {
                self.align.push(port, message, sent)?;
                while let Some(due) = self.align.next(source)? {
                    self.claim(&due.header, source)?;
                    self.run(&due, outlet)?;
                }
                Ok(())
            }
            Alignment::Side { .. } | Alignment::Feedback => {
                let (header, end) = (message.header.clone(), matches!(message.body, Body::End { .. }));
                self.align.push_side(port, message)?;
                if !self.align.side_only() {
                    return Ok(());
                }
                self.stream(&header.stream).last = Some(header.clone());
                if end {
                    return self.end_side_streams(sent, outlet);
                }
                self.align.aligned.fill(None);
                let stage = if header.closing { Stage::Closing } else { Stage::Frame };
                self.run(&Due { header, stage, ready: sent }, outlet)
            }
        }
    }

    /// Nothing more comes on an input. True when that was the last the operator waits for: close it.
    /// `excused`: the run is being stopped, so a missing `end` is no failure.
    ///
    /// # Errors
    /// When the input closed before its `end`: its producer failed.
    pub fn closed(&mut self, port: usize, excused: bool, outlet: &mut dyn Outlet) -> Result<bool> {
        self.align.close(port, excused)?;
        self.end_side_streams(Instant::now(), outlet)?;
        Ok(self.align.all_closed())
    }

    /// Changes a `live` key.
    ///
    /// # Errors
    /// When the key is unknown, not live, or the value is refused: the old value stays.
    pub fn set(&mut self, key: &str, value: serde_json::Value) -> Result<Change> {
        let node = &self.resources.node;
        let keys = self.factory.keys();
        let Some(known) = keys.iter().find(|k| k.name == key) else {
            let near = did_you_mean(key, keys.iter().map(|k| k.name));
            return Err(Error::config(format!("node `{node}` has no key `{key}`{near}")));
        };
        if !known.live {
            return Err(needs_restart(node, key, &value));
        }
        let resolved = |values: &Values| {
            let values = self.factory.resolve(values).into_iter();
            values.filter(|(name, _)| name == key).map(|(_, value)| value).next().unwrap_or_default()
        };
        let mut values = self.values.clone();
        values.set(key, value, Origin::Live);
        let problems = self.factory.check(&values);
        if !problems.is_empty() {
            let lines: Vec<String> = problems.iter().map(|problem| format!("node `{node}`: {problem}")).collect();
            return Err(Error::config(lines.join("\n")));
        }
        let change = Change { old: resolved(&self.values), new: resolved(&values) };
        match &mut self.operator {
            Some(operator) => {
                operator.reconfigure(&values).map_err(|e| e.at(format!("node `{node}`, key `{key}`")))?;
            }
            // The one that is made next begins with the value.
            None if self.restarts.is_waiting() => {}
            None => return Err(Error::config(format!("node `{node}` has ended: nothing of it can change"))),
        }
        self.values = values;
        Ok(change)
    }

    /// Closes the operator; afterwards it is not called again.
    ///
    /// # Errors
    /// The failure of the operator's `close`.
    pub fn close(&mut self) -> Result<()> {
        self.restarts.give_up();
        self.retire()
    }

    /// Side messages dropped because newer ones came.
    pub fn side_dropped(&self) -> u64 {
        self.align.side_dropped
    }

    /// The operator's own counts, as it told them when it was closed.
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// The operator, to look at its state; none while it is closed.
    pub fn operator(&self) -> Option<&dyn DynOperator> {
        self.operator.as_deref()
    }

    /// The operator, to replace a state; none while it is closed.
    pub fn operator_mut(&mut self) -> Option<&mut (dyn DynOperator + 'static)> {
        self.operator.as_deref_mut()
    }

    /// The names of the streams that have come and not ended.
    pub fn streams(&self) -> impl Iterator<Item = &StreamName> {
        self.streams.iter().map(|stream| &stream.name)
    }

    /// Refuses a stream whose name another source has: their states would be one.
    fn claim(&mut self, header: &Header, source: SourceId) -> Result<()> {
        let stream = self.stream(&header.stream);
        match stream.source.replace(source) {
            Some(other) if other != source => Err(Error::config(format!(
                "node `{}`: two sources have a stream of the name `{}`; give each its own with the key `stream`",
                self.resources.node, header.stream
            ))),
            _ => Ok(()),
        }
    }

    #[inline]
    fn stream(&mut self, name: &StreamName) -> &mut Stream {
        let at = self.streams.iter().position(|known| is_same_stream(&known.name, name)).unwrap_or_else(|| {
            self.streams.push(Stream { name: name.clone(), frames: 0, since_copy: 0, source: None, last: None });
            self.streams.len() - 1
        });
        &mut self.streams[at]
    }

    /// Handles the messages that lie in `align`.
    fn run(&mut self, due: &Due, outlet: &mut dyn Outlet) -> Result<()> {
        let started = Instant::now();
        self.carry.hand_in(&due.header, &mut self.align.aligned)?;
        match due.stage {
            Stage::Frame => self.frame(due, started, outlet),
            Stage::Closing => self.closing(due, started, outlet),
            Stage::End { .. } => self.end(due, started, outlet),
        }
    }

    fn frame(&mut self, due: &Due, started: Instant, outlet: &mut dyn Outlet) -> Result<()> {
        self.hold(&due.header);
        self.stream(&due.header.stream).frames += 1;
        let mut required = self.align.inputs().iter().zip(&self.align.aligned).filter(|(input, _)| input.required);
        let mut cause = required.find_map(|(_, message)| match message {
            Some(Message { body: Body::Skipped(reason), .. }) => Some(reason.clone()),
            _ => None,
        });
        if self.options.stride > 1 && !due.header.frame.is_multiple_of(self.options.stride) {
            cause.get_or_insert(Reason::Stride);
        }
        if cause.is_none() && !self.is_up(&due.header, outlet)? {
            cause = Some(Reason::Other("restarting".into()));
        }
        if let Some(reason) = cause {
            self.carry.keep_carried(self.align.inputs(), &self.align.aligned);
            self.outbox.skip_all(&reason);
            self.outbox.send(&due.header, outlet)?;
            report(due, started, Outcome::Skipped(reason), outlet);
            return Ok(());
        }
        let fault = self.call(&due.header, |operator, cx, inputs, out| operator.process(cx, inputs, out)).err();
        match &fault {
            None => self.outbox.fill(),
            Some(fault) => {
                self.carry.keep_carried(self.align.inputs(), &self.align.aligned);
                self.outbox.skip_all(match fault {
                    Fault::Error(_) => &Reason::Error,
                    Fault::Panic(_) => &Reason::Panic,
                });
            }
        }
        self.outbox.send(&due.header, outlet)?;
        self.finish(due, started, fault, outlet)
    }

    /// Rows after the last frame. They are processed when those of all required inputs are there, else handed to
    /// `stream_ended`; what comes of them leaves with the end.
    fn closing(&mut self, due: &Due, started: Instant, outlet: &mut dyn Outlet) -> Result<()> {
        self.hold(&due.header);
        let inputs = self.align.inputs().iter().zip(&self.align.aligned);
        let data = |message: &Option<Message>| matches!(message, Some(Message { body: Body::Data(_), .. }));
        let mut required = inputs.filter(|(input, _)| input.required && input.alignment.is_ordinary());
        if !required.all(|(_, message)| data(message)) || !self.is_up(&due.header, outlet)? {
            self.carry.keep_all(self.align.inputs(), &self.align.aligned);
            return Ok(());
        }
        let fault = self.call(&due.header, |operator, cx, inputs, out| operator.process(cx, inputs, out)).err();
        match &fault {
            None => self.outbox.keep(&due.header)?,
            Some(_) => self.outbox.slots.fill(None),
        }
        self.finish(due, started, fault, outlet)
    }

    /// Notes the data of inputs that hold, or hands in what was noted.
    #[inline]
    fn hold(&mut self, header: &Header) {
        for i in 0..self.align.inputs().len() {
            let input = &self.align.inputs()[i];
            if input.hold && input.alignment.is_ordinary() {
                self.carry.hold(i, header, &mut self.align.aligned[i]);
            }
        }
    }

    fn end(&mut self, due: &Due, started: Instant, outlet: &mut dyn Outlet) -> Result<()> {
        let up = self.is_up(&due.header, outlet)?;
        let fault = match up {
            true => self.call(&due.header, |operator, cx, inputs, out| operator.stream_ended(cx, inputs, out)).err(),
            false => Some(Fault::Error(Error::other("the stream ended while the operator waited for its restart"))),
        };
        // Only what was set is sent: a closing message is a chance, not a duty.
        match &fault {
            None => self.outbox.keep(&due.header)?,
            Some(_) => self.outbox.slots.fill(None),
        }
        let frames = self.stream(&due.header.stream).frames;
        self.outbox.end(&due.header, frames, outlet)?;
        self.streams.retain(|stream| stream.name != due.header.stream);
        self.restarts.forget(&due.header.stream);
        self.carry.end(&due.header);
        self.finish(due, started, fault, outlet)
    }

    /// An operator of side inputs alone ends each stream when all inputs that bring it have.
    fn end_side_streams(&mut self, sent: Instant, outlet: &mut dyn Outlet) -> Result<()> {
        for name in self.align.ended_side_streams() {
            let stream = self.stream(&name);
            let (frames, last) = (stream.frames, stream.last.clone());
            let Some(last) = last else { continue };
            self.align.aligned.fill(None);
            let header = Header { closing: true, ..last };
            self.run(&Due { header, stage: Stage::End { frames }, ready: sent }, outlet)?;
        }
        Ok(())
    }

    /// Calls the operator, and copies the state of the stream from time to time.
    #[inline]
    fn call(
        &mut self,
        header: &Header,
        f: impl FnOnce(&mut dyn DynOperator, &Context, &Inputs, &mut Outputs) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.stream(&header.stream);
        self.align.take_side();
        let Some(operator) = self.operator.as_deref_mut() else {
            return Err(Error::other("the operator is closed").into());
        };
        let resources = &self.resources;
        let cx = Context { header, node: &resources.node, mode: resources.mode, clock: &*resources.clock };
        let inputs = Inputs {
            spec: &self.spec,
            ports: self.align.inputs(),
            aligned: &self.align.aligned,
            side: &self.align.side,
            undeclared: Default::default(),
        };
        let (ports, slots) = self.outbox.ports_and_slots();
        let mut result = f(operator, &cx, &inputs, &mut Outputs { ports, slots });
        if result.is_ok() {
            result = inputs.misuse().map_err(Fault::from);
        }
        if result.is_ok() && self.options.on_error != OnError::Stop {
            let stream = self.streams.iter_mut().find(|stream| is_same_stream(&stream.name, &header.stream));
            if let Some(stream) = stream {
                stream.since_copy += 1;
                if stream.since_copy >= COPY_EVERY {
                    stream.since_copy = 0;
                    result = operator.snapshot(&header.stream);
                }
            }
        }
        match &result {
            Ok(()) => self.restarts.succeeded(),
            Err(Fault::Error(_)) => {}
            // What the panic left half done is not to be trusted.
            Err(Fault::Panic(_)) => roll_back(operator, &resources.node, &header.stream),
        }
        result
    }

    /// Reports, then applies `on_error`.
    #[inline]
    fn finish(&mut self, due: &Due, started: Instant, fault: Option<Fault>, outlet: &mut dyn Outlet) -> Result<()> {
        let outcome = match &fault {
            None => Outcome::Done,
            Some(Fault::Error(error)) => Outcome::Error(error.message.clone()),
            Some(Fault::Panic(message)) => Outcome::Panic(message.clone()),
        };
        report(due, started, outcome, outlet);
        let Some(fault) = fault else { return Ok(()) };
        let place =
            format!("node `{}`, frame {} of stream `{}`", self.resources.node, due.header.frame, due.header.stream);
        let error = fault.into_error().at(place);
        match self.options.on_error {
            OnError::Skip => Ok(()),
            OnError::Stop => Err(error),
            // An end that came while a restart waits is no failure of its own.
            OnError::Restart if self.restarts.is_waiting() => Ok(()),
            OnError::Restart => self.restart(&due.header, error, outlet),
        }
    }

    /// Closes the operator that failed, and makes another one at once or, when it failed again and again, later.
    fn restart(&mut self, header: &Header, error: Error, outlet: &mut dyn Outlet) -> Result<()> {
        if let Some(operator) = self.operator.as_deref_mut() {
            // Streams that did not fail keep their state as it is.
            roll_back(operator, &self.resources.node, &header.stream);
            for stream in &self.streams {
                let mut bytes = vec![];
                match operator.save(&stream.name, &mut bytes) {
                    Ok(()) => self.restarts.keep(stream.name.clone(), bytes),
                    Err(cause) => tracing::warn!(
                        node = self.resources.node, stream = &*stream.name, %cause, "begins anew after the restart"
                    ),
                }
            }
        }
        // The old one is closed first: two of a kind might fight for a file or a device. Its failure is told already.
        let _ = self.retire();
        let now = self.resources.clock.now();
        match self.restarts.failed(now) {
            Next::GiveUp { failures } => {
                Err(error.at(format!("failed {failures} times in a row, each time after a restart")))
            }
            Next::Wait { seconds } => {
                tracing::warn!(node = self.resources.node, seconds, "the restart waits");
                Ok(())
            }
            Next::Now => self.remake(outlet).map_err(|again| again.at(format!("{error}; it could not be restarted"))),
        }
    }

    /// True when the operator can be called; makes it where a restart has waited long enough.
    #[inline]
    fn is_up(&mut self, header: &Header, outlet: &mut dyn Outlet) -> Result<bool> {
        if self.operator.is_none() && self.restarts.is_due(self.resources.clock.now()) {
            let place = format!("node `{}`, frame {} of stream `{}`", self.resources.node, header.frame, header.stream);
            self.remake(outlet).map_err(|error| error.at(format!("{place}: it could not be restarted")))?;
        }
        Ok(self.operator.is_some() || !self.restarts.is_waiting())
    }

    fn remake(&mut self, outlet: &mut dyn Outlet) -> Result<()> {
        outlet.remaking();
        let made = make(&*self.factory, &self.values, &self.resources);
        outlet.remade();
        let mut operator = made?;
        for (stream, bytes) in self.restarts.take() {
            if bytes.is_empty() {
                continue;
            }
            if let Err(cause) = operator.load(&stream, &bytes) {
                tracing::warn!(node = self.resources.node, stream = &*stream, %cause, "begins anew after the restart");
            }
        }
        self.operator = Some(operator);
        Ok(())
    }

    /// Closes the operator, and takes its counts.
    fn retire(&mut self) -> Result<()> {
        let Some(mut operator) = self.operator.take() else { return Ok(()) };
        let (closed, counts) = operator.close();
        for (name, count) in counts {
            *self.counts.entry(name).or_default() += count;
        }
        closed.map_err(|error| error.at(format!("node `{}`", self.resources.node)))
    }
}

fn report(due: &Due, started: Instant, outcome: Outcome, outlet: &mut dyn Outlet) {
    let (header, stage, ready) = (&due.header, due.stage, due.ready);
    outlet.ran(Ran { header, stage, outcome, ready, started, ended: Instant::now() });
}

fn roll_back(operator: &mut dyn DynOperator, node: &str, stream: &StreamName) {
    if let Err(fault) = operator.roll_back(stream) {
        tracing::warn!(node, stream = &**stream, cause = %fault.into_error(), "its state begins anew");
    }
}

fn make(factory: &dyn OperatorFactory, values: &Values, resources: &Resources) -> Result<Box<dyn DynOperator>> {
    match factory.make(values, resources)? {
        Made::Operator(operator) => Ok(operator),
        Made::Sources(_) => Err(Error::config(format!("node `{}` is a source, not an operator", resources.node))),
    }
}

/// The refusal of a key that is not `live`, with the way to change it.
pub fn needs_restart(node: &str, key: &str, value: &serde_json::Value) -> Error {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Error::config(format!(
        "node `{node}`: key `{key}` cannot change while running, it needs a restart: stop the run, and start it with \
         `--set {node}.{key}={value}` or with the value in the flow"
    ))
}
