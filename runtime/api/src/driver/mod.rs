//! Driver of one operator: aligns its inputs, skips frames, checks types, copies its state, and numbers its outputs.
//!
//! The engine and the test harness both use it, so that tests run the same code as a flow. [`align`] groups the messages of
//! a frame, [`carry`] keeps rows for a later call, [`outbox`] checks and numbers the outputs, [`restart`] decides when an
//! operator that failed is created again. The operator is behind [`DynOperator`], so that the driver is compiled once.

mod align;
mod carry;
mod outbox;
mod restart;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::{
    Alignment, Body, Context, Error, Header, Inputs, Message, Outputs, Reason, Resources, Result, RunPlace, SourceId,
    Spec, StreamName, Values,
    config::{Origin, did_you_mean},
    context::Mode,
    factory::{DynOperator, Fault, Instance, OperatorFactory},
    is_same_stream,
};

pub use crate::factory::read_config;
pub use align::Phase;
use align::{Align, Due};
use carry::Carry;
use outbox::{Outbox, check_payload};
use restart::{RestartAction, Restarts};

/// Number of successful calls between two in-memory copies of a state.
const COPY_INTERVAL_CALLS: u32 = 30;

/// Policy after an error or a panic of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The frame is skipped, and the operator continues.
    Skip,
    /// The frame is skipped, and the operator is created again; the stream continues with the last copy of its state.
    Restart,
    /// The run ends with the failure.
    Stop,
}

impl OnError {
    /// Returns the default: stop in `complete` mode, restart in `live` mode.
    pub fn default_for(mode: Mode) -> Self {
        match mode {
            Mode::Complete => OnError::Stop,
            Mode::Live => OnError::Restart,
        }
    }
}

/// Settings of a node that the runtime reads: keys that begin with `SIDELINE_`.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// Policy after an error or a panic.
    pub on_error: OnError,
    /// Stride: every n-th frame is processed, the others are `skipped: stride`.
    pub stride: u64,
}

/// Change of a live setting.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyChange {
    /// Value before the change.
    pub old: serde_json::Value,
    /// Value from the next frame on, as the operator reads it.
    pub new: serde_json::Value,
}

/// Receiver of a driver's messages and reports.
pub trait Outlet {
    /// Sends a message on the output with this index.
    fn send(&mut self, output: usize, message: Message);
    /// Reports a call whose messages have been sent.
    fn report(&mut self, report: CallReport<'_>);
    /// Reports that a restart of the operator has begun, which may take as long as a start.
    fn restart_began(&mut self) {}
    /// Reports that the restart has ended.
    fn restart_ended(&mut self) {}
}

/// Report of one call.
#[derive(Debug)]
pub struct CallReport<'a> {
    /// Header of the frame, or of the closing messages or the end.
    pub header: &'a Header,
    /// Phase of the stream.
    pub phase: Phase,
    /// Outcome of the call.
    pub outcome: Outcome,
    /// Time at which the last input was sent.
    pub ready: Instant,
    /// Time at which the operator was called.
    pub started: Instant,
    /// Time at which the outputs had been sent.
    pub ended: Instant,
}

/// Outcome of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The operator was called and succeeded.
    Done,
    /// The operator was not called.
    Skipped(Reason),
    /// The operator failed with this message; its outputs are `skipped: error`.
    Error(String),
    /// The operator panicked with this message; its outputs are `skipped: panic`.
    Panic(String),
    /// The stream ended while a restart of the operator was pending, so the operator was not called for the end. The
    /// failure that led to the restart was reported with its frame.
    EndedWhileRestarting,
}

/// Active stream.
struct Stream {
    name: StreamName,
    /// Number of frames for which a message was sent on every output.
    frames: u64,
    /// Number of successful calls since the last copy of its state.
    calls_since_copy: u32,
    /// Source of its frames; `None` until a message has come on an aligned input.
    source: Option<SourceId>,
    /// Header of the last message of an operator without aligned inputs.
    last: Option<Header>,
}

/// Driver of one operator.
pub struct Driver {
    factory: Arc<dyn OperatorFactory>,
    /// `None` once the operator is closed, and while a restart is pending.
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
    /// The operator's own counters, read when it is closed and summed over restarts.
    counts: BTreeMap<String, u64>,
}

impl Driver {
    /// Creates the operator and its driver.
    ///
    /// # Errors
    /// The problems of the configuration, or the failure of `new`.
    pub fn new(
        factory: Arc<dyn OperatorFactory>,
        values: Values,
        resources: Resources,
        options: DriverOptions,
    ) -> Result<Self> {
        let operator = create(&*factory, &values, &resources)?;
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

    /// Accepts a message of any input that the producer sent at `sent`, and runs every frame that is now complete.
    ///
    /// # Errors
    /// When a message was lost, a table has another type, or the operator fails with `on_error: stop`.
    pub fn accept(&mut self, port: usize, message: Message, sent: Instant, outlet: &mut dyn Outlet) -> Result<()> {
        let input = &self.align.inputs()[port];
        if let Body::Data(payload) = &message.body {
            check_payload(&input.ty, payload).map_err(|error| error.at(self.align.place(port)))?;
        }
        match input.alignment {
            Alignment::Source(source) => {
                self.align.push(port, message, sent)?;
                while let Some(due) = self.align.next(source)? {
                    self.assign_source(&due.header, source)?;
                    self.run(&due, outlet)?;
                }
                Ok(())
            }
            Alignment::Side { .. } | Alignment::Feedback => {
                let (header, is_end) = (message.header.clone(), matches!(message.body, Body::End { .. }));
                self.align.push_side(port, message)?;
                if !self.align.is_side_only() {
                    return Ok(());
                }
                self.stream(&header.stream).last = Some(header.clone());
                if is_end {
                    return self.end_side_streams(sent, outlet);
                }
                self.align.aligned.fill(None);
                let phase = if header.is_closing { Phase::Closing } else { Phase::Frame };
                self.run(&Due { header, phase, ready: sent }, outlet)
            }
        }
    }

    /// Closes an input. Returns true if the operator waits for no other input, and should be closed. `is_excused` is set
    /// while the run is being stopped, when a missing `end` is no failure.
    ///
    /// # Errors
    /// When the input closed before its `end`: its producer has failed.
    pub fn close_input(&mut self, port: usize, is_excused: bool, outlet: &mut dyn Outlet) -> Result<bool> {
        self.align.close(port, is_excused)?;
        self.end_side_streams(Instant::now(), outlet)?;
        Ok(self.align.all_closed())
    }

    /// Changes a live setting.
    ///
    /// # Errors
    /// When the key is unknown or not live, or the value is refused; the old value then stays in force.
    pub fn set(&mut self, key: &str, value: serde_json::Value) -> Result<KeyChange> {
        let node = &self.resources.node;
        let keys = self.factory.keys();
        let Some(description) = keys.iter().find(|k| k.name == key) else {
            let hint = did_you_mean(key, keys.iter().map(|k| k.name));
            return Err(Error::config(format!("node `{node}` has no key `{key}`{hint}")));
        };
        if !description.live {
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
        let change = KeyChange { old: resolved(&self.values), new: resolved(&values) };
        match &mut self.operator {
            Some(operator) => {
                let _span = node_span(node).entered();
                operator.reconfigure(&values).map_err(|e| e.at(format!("node `{node}`, key `{key}`")))?;
            }
            // The next instance is created with the new value.
            None if self.restarts.is_waiting() => {}
            None => return Err(Error::config(format!("node `{node}` has ended: its keys can no longer change"))),
        }
        self.values = values;
        Ok(change)
    }

    /// Closes the operator. It is not called again afterwards.
    ///
    /// # Errors
    /// The failure of the operator's `close`.
    pub fn close(&mut self) -> Result<()> {
        self.restarts.cancel();
        self.close_operator()
    }

    /// Returns the number of side and feedback messages that were dropped or lost.
    pub fn side_dropped(&self) -> u64 {
        self.align.side_dropped
    }

    /// Returns the operator's own counters, which it gives when it is closed.
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// Returns the operator; `None` while it is closed.
    pub fn operator(&self) -> Option<&dyn DynOperator> {
        self.operator.as_deref()
    }

    /// Returns the operator for changes of its states; `None` while it is closed.
    pub fn operator_mut(&mut self) -> Option<&mut (dyn DynOperator + 'static)> {
        self.operator.as_deref_mut()
    }

    /// Iterates over the names of the active streams.
    pub fn streams(&self) -> impl Iterator<Item = &StreamName> {
        self.streams.iter().map(|stream| &stream.name)
    }

    /// Assigns a stream to its source. Refuses a name that is used by another source, because both streams would share one
    /// state.
    fn assign_source(&mut self, header: &Header, source: SourceId) -> Result<()> {
        let stream = self.stream(&header.stream);
        match stream.source.replace(source) {
            Some(other) if other != source => Err(Error::config(format!(
                "node `{}`: two sources have a stream named `{}`; give each its own name with the key `stream`",
                self.resources.node, header.stream
            ))),
            _ => Ok(()),
        }
    }

    #[inline]
    fn stream(&mut self, name: &StreamName) -> &mut Stream {
        let at = self.streams.iter().position(|known| is_same_stream(&known.name, name)).unwrap_or_else(|| {
            self.streams.push(Stream { name: name.clone(), frames: 0, calls_since_copy: 0, source: None, last: None });
            self.streams.len() - 1
        });
        &mut self.streams[at]
    }

    /// Handles the messages that are in `align`.
    fn run(&mut self, due: &Due, outlet: &mut dyn Outlet) -> Result<()> {
        let started = Instant::now();
        let (inputs, aligned) = self.align.inputs_and_aligned();
        self.carry.prepend_carried(&due.header, inputs, aligned)?;
        match due.phase {
            Phase::Frame => self.run_frame(due, started, outlet),
            Phase::Closing => self.run_closing(due, started, outlet),
            Phase::End { .. } => self.run_end(due, started, outlet),
        }
    }

    fn run_frame(&mut self, due: &Due, started: Instant, outlet: &mut dyn Outlet) -> Result<()> {
        self.apply_hold(&due.header);
        self.stream(&due.header.stream).frames += 1;
        let mut required = self.align.inputs().iter().zip(&self.align.aligned).filter(|(input, _)| input.required);
        let mut skip_reason = required.find_map(|(_, message)| match message {
            Some(Message { body: Body::Skipped(reason), .. }) => Some(reason.clone()),
            _ => None,
        });
        if self.options.stride > 1 && !due.header.frame.is_multiple_of(self.options.stride) {
            skip_reason.get_or_insert(Reason::Stride);
        }
        if skip_reason.is_none() && !self.is_up(&due.header, outlet)? {
            skip_reason = Some(Reason::Restarting);
        }
        if let Some(reason) = skip_reason {
            self.carry.store_carried(self.align.inputs(), &self.align.aligned);
            self.outbox.skip_all(&reason);
            self.outbox.send(&due.header, outlet)?;
            report(due, started, Outcome::Skipped(reason), outlet);
            return Ok(());
        }
        let fault = self.call(&due.header, |operator, cx, inputs, out| operator.process(cx, inputs, out)).err();
        match &fault {
            None => self.outbox.fill_unset(),
            Some(fault) => {
                self.carry.store_carried(self.align.inputs(), &self.align.aligned);
                self.outbox.skip_all(match fault {
                    Fault::Error(_) => &Reason::Error,
                    Fault::Panic(_) => &Reason::Panic,
                });
            }
        }
        self.outbox.send(&due.header, outlet)?;
        self.finish(due, started, fault, outlet)
    }

    /// Handles closing messages. They are processed if every required input has one, else kept for `stream_ended`. Rows that
    /// result from them are sent at the end of the stream.
    fn run_closing(&mut self, due: &Due, started: Instant, outlet: &mut dyn Outlet) -> Result<()> {
        self.apply_hold(&due.header);
        let inputs = self.align.inputs().iter().zip(&self.align.aligned);
        let has_data = |message: &Option<Message>| matches!(message, Some(Message { body: Body::Data(_), .. }));
        let mut required = inputs.filter(|(input, _)| input.required && input.alignment.is_aligned());
        if !required.all(|(_, message)| has_data(message)) || !self.is_up(&due.header, outlet)? {
            self.carry.store_all(self.align.inputs(), &self.align.aligned);
            return Ok(());
        }
        let fault = self.call(&due.header, |operator, cx, inputs, out| operator.process(cx, inputs, out)).err();
        match &fault {
            None => self.outbox.store_closing(&due.header)?,
            Some(_) => self.outbox.slots.fill(None),
        }
        self.finish(due, started, fault, outlet)
    }

    /// Stores the data of `hold` inputs, or fills in the stored data.
    #[inline]
    fn apply_hold(&mut self, header: &Header) {
        for i in 0..self.align.inputs().len() {
            let input = &self.align.inputs()[i];
            if input.hold && input.alignment.is_aligned() {
                self.carry.apply_hold(i, header, &mut self.align.aligned[i]);
            }
        }
    }

    fn run_end(&mut self, due: &Due, started: Instant, outlet: &mut dyn Outlet) -> Result<()> {
        let is_up = self.is_up(&due.header, outlet)?;
        let fault = match is_up {
            true => self.call(&due.header, |operator, cx, inputs, out| operator.stream_ended(cx, inputs, out)).err(),
            false => None,
        };
        // Outputs that were not set send no closing message.
        match &fault {
            None => self.outbox.store_closing(&due.header)?,
            Some(_) => self.outbox.slots.fill(None),
        }
        let frames = self.stream(&due.header.stream).frames;
        self.outbox.end_stream(&due.header, frames, outlet)?;
        self.streams.retain(|stream| stream.name != due.header.stream);
        self.restarts.discard_state(&due.header.stream);
        self.carry.end_stream(&due.header);
        if !is_up {
            report(due, started, Outcome::EndedWhileRestarting, outlet);
            return Ok(());
        }
        self.finish(due, started, fault, outlet)
    }

    /// Ends the streams of an operator without aligned inputs that have ended on all inputs that carry them.
    fn end_side_streams(&mut self, sent: Instant, outlet: &mut dyn Outlet) -> Result<()> {
        for name in self.align.take_ended_side_streams() {
            let stream = self.stream(&name);
            let (frames, last) = (stream.frames, stream.last.clone());
            let Some(last) = last else { continue };
            self.align.aligned.fill(None);
            let header = Header { is_closing: true, ..last };
            self.run(&Due { header, phase: Phase::End { frames }, ready: sent }, outlet)?;
        }
        Ok(())
    }

    /// Calls the operator, and copies the state of the stream every [`COPY_INTERVAL_CALLS`] successful calls.
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
        let _span = call_span(&resources.node, header).entered();
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
            result = inputs.check_declared().map_err(Fault::from);
        }
        if result.is_ok() && self.options.on_error != OnError::Stop {
            let stream = self.streams.iter_mut().find(|stream| is_same_stream(&stream.name, &header.stream));
            if let Some(stream) = stream {
                stream.calls_since_copy += 1;
                if stream.calls_since_copy >= COPY_INTERVAL_CALLS {
                    stream.calls_since_copy = 0;
                    result = operator.snapshot(&header.stream);
                }
            }
        }
        match &result {
            Ok(()) => self.restarts.record_success(),
            Err(Fault::Error(_)) => {}
            // A panic may have left the state inconsistent.
            Err(Fault::Panic(_)) => roll_back(operator, &resources.node, &header.stream),
        }
        result
    }

    /// Reports the call, then applies `on_error` to its fault.
    #[inline]
    fn finish(&mut self, due: &Due, started: Instant, fault: Option<Fault>, outlet: &mut dyn Outlet) -> Result<()> {
        let outcome = match &fault {
            None => Outcome::Done,
            Some(Fault::Error(error)) => Outcome::Error(error.message.clone()),
            Some(Fault::Panic(message)) => Outcome::Panic(message.clone()),
        };
        report(due, started, outcome, outlet);
        let Some(fault) = fault else { return Ok(()) };
        let error = fault.into_error().in_run(self.place(&due.header));
        match self.options.on_error {
            OnError::Skip => Ok(()),
            OnError::Stop => Err(error),
            OnError::Restart => self.restart(&due.header, error, outlet),
        }
    }

    /// Closes the operator that failed, and creates it again now or, after consecutive failures, when a backoff has passed.
    fn restart(&mut self, header: &Header, error: Error, outlet: &mut dyn Outlet) -> Result<()> {
        if let Some(operator) = self.operator.as_deref_mut() {
            // The state of the failed stream is rolled back; the other streams keep their current state.
            roll_back(operator, &self.resources.node, &header.stream);
            for stream in &self.streams {
                let mut bytes = vec![];
                match operator.save(&stream.name, &mut bytes) {
                    Ok(()) => self.restarts.store_state(stream.name.clone(), bytes),
                    Err(cause) => tracing::warn!(
                        node = self.resources.node, stream = &*stream.name, %cause, "state lost at the restart"
                    ),
                }
            }
        }
        // Closed before the new instance is created, because both may need the same file or device. An error of `close` is
        // ignored: the failure that led to the restart has been reported.
        let _ = self.close_operator();
        let now = self.resources.clock.now();
        match self.restarts.record_failure(now) {
            RestartAction::GiveUp { failures } => {
                Err(error.at(format!("failed {failures} times in a row, each time after a restart")))
            }
            RestartAction::Wait { seconds } => {
                tracing::warn!(node = self.resources.node, backoff_s = seconds, "waiting before the restart");
                Ok(())
            }
            RestartAction::Now => {
                self.recreate(outlet).map_err(|again| again.at(format!("{error}; it could not be restarted")))
            }
        }
    }

    /// Returns true if the operator can be called, after creating it again if a pending restart is due.
    #[inline]
    fn is_up(&mut self, header: &Header, outlet: &mut dyn Outlet) -> Result<bool> {
        if self.operator.is_none() && self.restarts.is_due(self.resources.clock.now()) {
            let place = self.place(header);
            self.recreate(outlet).map_err(|error| error.at("it could not be restarted").in_run(place))?;
        }
        Ok(self.operator.is_some() || !self.restarts.is_waiting())
    }

    fn place(&self, header: &Header) -> RunPlace {
        RunPlace::call(&self.resources.node, header)
    }

    /// Creates the operator again with the stored states.
    fn recreate(&mut self, outlet: &mut dyn Outlet) -> Result<()> {
        outlet.restart_began();
        let created = create(&*self.factory, &self.values, &self.resources);
        outlet.restart_ended();
        let mut operator = created?;
        for (stream, bytes) in self.restarts.take_states() {
            if bytes.is_empty() {
                continue;
            }
            if let Err(cause) = operator.load(&stream, &bytes) {
                tracing::warn!(node = self.resources.node, stream = &*stream, %cause, "state lost at the restart");
            }
        }
        self.operator = Some(operator);
        Ok(())
    }

    /// Closes the operator and adds its counters to the totals.
    fn close_operator(&mut self) -> Result<()> {
        let Some(mut operator) = self.operator.take() else { return Ok(()) };
        let _span = node_span(&self.resources.node).entered();
        let (closed, counts) = operator.close();
        for (name, count) in counts {
            *self.counts.entry(name).or_default() += count;
        }
        closed.map_err(|error| error.in_run(RunPlace::node(&self.resources.node)))
    }
}

fn report(due: &Due, started: Instant, outcome: Outcome, outlet: &mut dyn Outlet) {
    let (header, phase, ready) = (&due.header, due.phase, due.ready);
    outlet.report(CallReport { header, phase, outcome, ready, started, ended: Instant::now() });
}

fn roll_back(operator: &mut dyn DynOperator, node: &str, stream: &StreamName) {
    if let Err(fault) = operator.roll_back(stream) {
        tracing::warn!(node, stream = &**stream, cause = %fault.into_error(), "state reset to its default");
    }
}

/// Returns the span of a call, whose fields are part of every log line that the operator writes in it: the node, the
/// stream, and the frame unless the stream is at its end.
///
/// It has the level `info`, at which the lane logs every frame anyway. Under the default level, `warn`, it is disabled and
/// costs nothing, whereas an enabled span takes longer than a hop; warnings of `process` therefore name their node.
fn call_span(node: &str, header: &Header) -> tracing::Span {
    let frame = (!header.is_closing).then_some(header.frame);
    tracing::info_span!("call", node, stream = &*header.stream, frame)
}

/// Returns the span of a node outside the frames of a stream: while it is created, changed or closed. It is enabled at
/// every level.
pub fn node_span(node: &str) -> tracing::Span {
    tracing::error_span!("node", node)
}

fn create(factory: &dyn OperatorFactory, values: &Values, resources: &Resources) -> Result<Box<dyn DynOperator>> {
    let _span = node_span(&resources.node).entered();
    match factory.make(values, resources)? {
        Instance::Operator(operator) => Ok(operator),
        Instance::Sources(_) => Err(Error::config(format!("node `{}` is a source, not an operator", resources.node))),
    }
}

/// Returns the error for changing a key that is not `live`, with the remedy.
pub fn needs_restart(node: &str, key: &str, value: &serde_json::Value) -> Error {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Error::config(format!(
        "node `{node}`: key `{key}` cannot change while running, it needs a restart: stop the run, and start it with \
         `--set {node}.{key}={value}` or with the value in the flow"
    ))
}
