//! Runs one operator: aligns its inputs, skips, catches, checks types, keeps copies of its state, numbers its outputs.
//! The engine and the test harness both call it, so a test sees what a run does.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use arrow_array::Array;

use crate::{
    Alignment, Body, Config, Context, Error, Failure, Header, Inputs, Message, Operator, Outputs, Payload, Reason,
    Resources, Result, Spec, StreamName, Values, config::Origin, context::Mode, port::PortType, table,
};

/// Frames between two in-memory copies of a state.
const COPY_EVERY: u32 = 30;

/// What happens after an error or a panic in an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The frame is skipped, the operator goes on.
    Skip,
    /// The frame is skipped, the operator is made anew with its last copied state.
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

/// What the runtime, not the operator, does with a node: keys beginning with `SIDELINE_`.
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

/// Where a driver's messages and reports go.
pub trait Outlet {
    /// A message of output number `output`.
    fn send(&mut self, output: usize, message: Message);
    /// A frame, or the end of a stream, was handled; its messages were sent before.
    fn ran(&mut self, ran: Ran<'_>);
}

/// How one frame went.
#[derive(Debug)]
pub struct Ran<'a> {
    /// Which frame.
    pub header: &'a Header,
    /// How it went.
    pub outcome: Outcome,
    /// When its last input was sent.
    pub ready: Instant,
    /// When `process` began.
    pub started: Instant,
    /// When its outputs were sent.
    pub ended: Instant,
}

/// How one frame went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `process` was called and succeeded.
    Done,
    /// `process` was not called.
    Skipped(Reason),
    /// `process` failed with this message; outputs are `skipped: error`.
    Error(String),
    /// `process` panicked with this message; outputs are `skipped: panic`.
    Panic(String),
    /// The stream ended.
    Ended,
}

/// An operator with its driver, of whatever type.
pub trait Runnable: Send {
    /// Takes a message of an ordinary, side or feedback input, and runs every frame that is now complete.
    /// `sent` is when the producer sent it.
    ///
    /// # Errors
    /// A lost message, a table of another type, or a failure with `on_error: stop`.
    fn accept(&mut self, port: usize, message: Message, sent: Instant, outlet: &mut dyn Outlet) -> Result<()>;
    /// Changes a `live` key.
    ///
    /// # Errors
    /// When the key is unknown, not live, or the value is refused: the old value stays.
    fn set(&mut self, key: &str, value: serde_json::Value) -> Result<Change>;
    /// Closes the operator; afterwards it is not called again.
    ///
    /// # Errors
    /// What `close` of the operator says.
    fn close(&mut self) -> Result<()>;
    /// Nothing more comes on an input. True when that was the last the operator waits for: close it.
    /// `excused`: the run is being stopped, so a missing `end` is no failure.
    ///
    /// # Errors
    /// When the input closed before its `end`: its producer failed.
    fn closed(&mut self, port: usize, excused: bool) -> Result<bool>;
    /// Side messages forgotten because newer ones came.
    fn side_forgotten(&self) -> u64;
    /// Counts of the operator's own, as it told them when it was closed.
    fn counts(&self) -> BTreeMap<&'static str, u64>;
}

struct Port {
    queue: VecDeque<(Message, Instant)>,
    side: Vec<Message>,
    next_n: u64,
    checked: bool,
    /// Ends of streams that have come.
    ended: usize,
    closed: bool,
}

struct Memory<S> {
    stream: StreamName,
    session: Option<u32>,
    state: S,
    copy: S,
    /// The session that `copy` knows of.
    copy_session: Option<u32>,
    since_copy: u32,
}

/// See the [module](self).
pub struct Driver<O: Operator> {
    operator: Option<O>,
    values: Values,
    resources: Resources,
    spec: Spec,
    options: DriverOptions,
    ports: Vec<Port>,
    /// For each input that holds: the last data of each stream.
    held: Vec<Vec<Message>>,
    /// For each input of a table that is carried: its rows of frames that were not handled, one message a stream.
    carried: Vec<Vec<Message>>,
    sent: Vec<u64>,
    checked_out: Vec<bool>,
    memories: Vec<Memory<O::State>>,
    /// Scratch, kept to spare allocations: the inputs and outputs of the frame at hand.
    aligned: Vec<Option<Message>>,
    side: Vec<Vec<Message>>,
    slots: Vec<Option<Body>>,
    side_forgotten: u64,
    /// What the operator counted itself; told when it is closed, added up over restarts.
    counts: BTreeMap<&'static str, u64>,
    /// Kind of the last error.
    failure: Failure,
}

impl<O: Operator> Driver<O> {
    /// Makes the operator and its driver.
    ///
    /// # Errors
    /// Problems of the configuration, or what `new` says.
    pub fn new(values: Values, resources: Resources, options: DriverOptions) -> Result<Self> {
        let operator = make::<O>(&values, &resources)?;
        let spec = O::spec();
        let inputs = resources.inputs.len();
        let outputs = spec.outputs.len();
        Ok(Self {
            operator: Some(operator),
            values,
            spec,
            options,
            ports: (0..inputs)
                .map(|_| Port {
                    queue: VecDeque::new(),
                    side: vec![],
                    next_n: 0,
                    checked: false,
                    ended: 0,
                    closed: false,
                })
                .collect(),
            held: vec![vec![]; inputs],
            carried: vec![vec![]; inputs],
            sent: vec![0; outputs],
            checked_out: vec![false; outputs],
            memories: vec![],
            aligned: vec![None; inputs],
            side: vec![vec![]; inputs],
            slots: vec![None; outputs],
            side_forgotten: 0,
            counts: BTreeMap::new(),
            failure: Failure::Other,
            resources,
        })
    }

    /// The state of a stream, for tests and snapshots.
    pub fn state(&self, stream: &str) -> Option<&O::State> {
        self.memories.iter().find(|memory| &*memory.stream == stream).map(|memory| &memory.state)
    }

    fn place(&self, port: usize) -> String {
        let input = &self.resources.inputs[port];
        format!("node `{}`, input `{}` from {}", self.resources.node, input.name, input.from)
    }

    /// Takes the next frame of the ports aligned with `port`, if all its messages are there, and runs it.
    fn step(&mut self, source: usize, outlet: &mut dyn Outlet) -> Result<bool> {
        let inputs = &self.resources.inputs;
        let group = |i: &usize| inputs[*i].alignment == Alignment::Source(source);
        let mut ready: Option<Instant> = None;
        let mut frame: Option<(u64, bool, bool)> = None; // frame, some data or skip, some end
        for i in (0..self.ports.len()).filter(group) {
            let Some((message, sent)) = self.ports[i].queue.front() else { return Ok(false) };
            let end = matches!(message.body, Body::End);
            match &mut frame {
                None => frame = Some((message.header.frame, !end, end)),
                Some((number, some, ended)) => {
                    if *number != message.header.frame {
                        return Err(Error::other(format!(
                            "{}: frame {} came where frame {number} of the other inputs was due; \
                             each output must send one message per frame",
                            self.place(i),
                            message.header.frame
                        )));
                    }
                    *some |= !end;
                    *ended |= end;
                }
            }
            ready = Some(ready.map_or(*sent, |r| r.max(*sent)));
        }
        let (Some((_, some, ended)), Some(ready)) = (frame, ready) else { return Ok(false) };
        let mut header = None;
        for i in 0..self.ports.len() {
            self.aligned[i] = None;
            if self.resources.inputs[i].alignment != Alignment::Source(source) {
                continue;
            }
            // Closing messages of some inputs, while others have ended already: the ends wait for one another.
            let waits = some && matches!(self.ports[i].queue.front(), Some((Message { body: Body::End, .. }, _)));
            if waits {
                continue;
            }
            if let Some((message, _)) = self.ports[i].queue.pop_front() {
                header.get_or_insert_with(|| message.header.clone());
                self.aligned[i] = Some(message);
            }
        }
        let Some(header) = header else { return Ok(false) };
        if some {
            self.run(&header, ready, ended, outlet)?;
        } else {
            self.end(&header, ready, outlet)?;
        }
        Ok(true)
    }

    /// Runs one frame whose inputs lie in `aligned`.
    fn run(&mut self, header: &Header, ready: Instant, closing: bool, outlet: &mut dyn Outlet) -> Result<()> {
        let started = Instant::now();
        self.take_over(header)?;
        let mut cause = None;
        for i in 0..self.ports.len() {
            let input = &self.resources.inputs[i];
            if input.hold && input.alignment.is_ordinary() {
                let held = self.held[i].iter_mut().find(|held| held.header.stream == header.stream);
                match (&mut self.aligned[i], held) {
                    (Some(message), Some(held)) if matches!(message.body, Body::Data(_)) => held.clone_from(message),
                    (Some(message), None) if matches!(message.body, Body::Data(_)) => {
                        self.held[i].push(message.clone());
                    }
                    (aligned, Some(held)) => *aligned = Some(held.clone()),
                    (_, None) => {}
                }
            }
            if input.required && cause.is_none() {
                match &self.aligned[i] {
                    Some(Message { body: Body::Skipped(reason), .. }) => cause = Some(reason.clone()),
                    // A closing message that comes without its companions: nothing to process.
                    None if closing && input.alignment.is_ordinary() => {
                        self.carry_over();
                        return Ok(());
                    }
                    _ => {}
                }
            }
        }
        if cause.is_none() && self.options.stride > 1 && !header.frame.is_multiple_of(self.options.stride) {
            cause = Some(Reason::Stride);
        }
        if let Some(reason) = cause {
            self.carry_over();
            for slot in &mut self.slots {
                *slot = Some(Body::Skipped(reason.clone()));
            }
            self.send_slots(header, outlet)?;
            outlet.ran(Ran { header, outcome: Outcome::Skipped(reason), ready, started, ended: Instant::now() });
            return Ok(());
        }
        let fault = self.call(header, |operator, cx, inputs, memory, out| {
            if memory.session != Some(cx.header.session) {
                memory.session = Some(cx.header.session);
                operator.session_started(cx, &mut memory.state)?;
            }
            operator.process(cx, inputs, &mut memory.state, out)
        });
        self.finish(header, ready, started, fault, Outcome::Done, outlet)
    }

    /// Puts rows of earlier frames, which were not handled, before those of this one.
    fn take_over(&mut self, header: &Header) -> Result<()> {
        for (i, carried) in self.carried.iter_mut().enumerate() {
            let Some(at) = carried.iter().position(|earlier| earlier.header.stream == header.stream) else { continue };
            let earlier = carried.swap_remove(at);
            if let (Body::Data(Payload::Table(before)), Some(Message { body: Body::Data(Payload::Table(now)), .. })) =
                (&earlier.body, &mut self.aligned[i])
            {
                *now = table::concat(&[before.clone(), now.clone()])?;
            } else {
                self.aligned[i] = Some(Message { header: header.clone(), ..earlier });
            }
        }
        Ok(())
    }

    /// Keeps the rows that outlive their frame, which is not handled.
    fn carry_over(&mut self) {
        for (i, aligned) in self.aligned.iter().enumerate() {
            let input = &self.resources.inputs[i];
            let carries = matches!(input.ty, PortType::Table(table) if table.carried) && input.alignment.is_ordinary();
            if let (true, Some(message @ Message { body: Body::Data(_), .. })) = (carries, aligned) {
                self.carried[i].push(message.clone());
            }
        }
    }

    fn end(&mut self, header: &Header, ready: Instant, outlet: &mut dyn Outlet) -> Result<()> {
        let started = Instant::now();
        self.take_over(header)?;
        let fault = self
            .call(header, |operator, cx, input, memory, out| operator.stream_ended(cx, input, &mut memory.state, out));
        if fault.is_some() {
            self.slots.fill(None);
        }
        // Only what was set is sent: a closing message is a chance, not a duty.
        self.send_slots(header, outlet)?;
        for i in 0..self.slots.len() {
            let n = self.sent[i];
            self.sent[i] += 1;
            outlet.send(i, Message { header: header.clone(), n, body: Body::End });
        }
        self.memories.retain(|memory| memory.stream != header.stream);
        self.held.iter_mut().for_each(|held| held.retain(|message| message.header.stream != header.stream));
        let stop = self.report(header, ready, started, fault, Outcome::Ended, outlet);
        stop.map_or(Ok(()), Err)
    }

    /// Calls the operator with a panic caught; what it failed with, if it did.
    fn call(
        &mut self,
        header: &Header,
        f: impl FnOnce(&mut O, &Context, &Inputs, &mut Memory<O::State>, &mut Outputs) -> Result<()>,
    ) -> Option<Outcome> {
        let at = match self.memories.iter().position(|memory| memory.stream == header.stream) {
            Some(at) => at,
            None => {
                self.memories.push(Memory {
                    stream: header.stream.clone(),
                    session: None,
                    state: O::State::default(),
                    copy: O::State::default(),
                    copy_session: None,
                    since_copy: 0,
                });
                self.memories.len() - 1
            }
        };
        for i in 0..self.ports.len() {
            self.side[i].clear();
            std::mem::swap(&mut self.side[i], &mut self.ports[i].side);
        }
        let memory = &mut self.memories[at];
        let Some(operator) = self.operator.as_mut() else {
            return Some(Outcome::Error("the operator is closed".into()));
        };
        let cx =
            Context { header, node: &self.resources.node, mode: self.resources.mode, clock: &*self.resources.clock };
        let inputs = Inputs { ports: &self.resources.inputs, aligned: &self.aligned, side: &self.side };
        let mut out = Outputs { ports: &self.spec.outputs, slots: &mut self.slots };
        let result = catch_unwind(AssertUnwindSafe(|| f(operator, &cx, &inputs, memory, &mut out)));
        match result {
            Ok(Ok(())) => {
                memory.since_copy += 1;
                if memory.since_copy >= COPY_EVERY && self.options.on_error != OnError::Stop {
                    memory.copy = memory.state.clone();
                    memory.copy_session = memory.session;
                    memory.since_copy = 0;
                }
                None
            }
            Ok(Err(error)) => {
                self.failure = error.failure;
                Some(Outcome::Error(error.message))
            }
            Err(panic) => {
                let text = panic
                    .downcast_ref::<&str>()
                    .map(ToString::to_string)
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "a panic without a message".into());
                // What the panic left half done is not to be trusted.
                memory.state = memory.copy.clone();
                memory.session = memory.copy_session;
                Some(Outcome::Panic(text))
            }
        }
    }

    /// Sends the outputs of a frame, then reports and applies `on_error`.
    fn finish(
        &mut self,
        header: &Header,
        ready: Instant,
        started: Instant,
        fault: Option<Outcome>,
        well: Outcome,
        outlet: &mut dyn Outlet,
    ) -> Result<()> {
        let reason = match &fault {
            Some(Outcome::Panic(_)) => Some(Reason::Panic),
            Some(_) => Some(Reason::Error),
            None => None,
        };
        for (i, slot) in self.slots.iter_mut().enumerate() {
            match &reason {
                Some(reason) => *slot = Some(Body::Skipped(reason.clone())),
                None if slot.is_none() => {
                    *slot = Some(match &self.spec.outputs[i].ty {
                        PortType::Table(table) => Body::Data(Payload::Table(Arc::new(table.empty()))),
                        _ => Body::Skipped(Reason::Other("none".into())),
                    });
                }
                None => {}
            }
        }
        self.send_slots(header, outlet)?;
        match self.report(header, ready, started, fault, well, outlet) {
            Some(stop) => Err(stop),
            None => Ok(()),
        }
    }

    fn report(
        &mut self,
        header: &Header,
        ready: Instant,
        started: Instant,
        fault: Option<Outcome>,
        well: Outcome,
        outlet: &mut dyn Outlet,
    ) -> Option<Error> {
        let cause = match &fault {
            Some(Outcome::Error(message)) => Some(message.clone()),
            Some(Outcome::Panic(message)) => Some(format!("panic: {message}")),
            _ => None,
        };
        outlet.ran(Ran { header, outcome: fault.unwrap_or(well), ready, started, ended: Instant::now() });
        let cause = cause?;
        let failure = if cause.starts_with("panic: ") { Failure::Other } else { self.failure };
        let place = format!("node `{}`, frame {} of stream `{}`", self.resources.node, header.frame, header.stream);
        match self.options.on_error {
            OnError::Skip => None,
            OnError::Stop => Some(Error::new(failure, format!("{place}: {cause}"))),
            OnError::Restart => {
                for memory in &mut self.memories {
                    memory.state = memory.copy.clone();
                    memory.session = None;
                }
                // The old one is closed first: two of a kind might fight for a file or a device.
                // It has failed already, and that is told.
                let _ = self.retire();
                match make::<O>(&self.values, &self.resources) {
                    Ok(operator) => {
                        self.operator = Some(operator);
                        None
                    }
                    Err(again) => Some(again.at(format!("{place}: {cause}; it could not be restarted"))),
                }
            }
        }
    }

    fn send_slots(&mut self, header: &Header, outlet: &mut dyn Outlet) -> Result<()> {
        for i in 0..self.slots.len() {
            let Some(body) = self.slots[i].take() else { continue };
            if !self.checked_out[i]
                && let Body::Data(payload) = &body
            {
                self.checked_out[i] = true;
                let port = &self.spec.outputs[i];
                check_payload(&port.ty, payload)
                    .map_err(|e| e.at(format!("node `{}`, output `{}`", self.resources.node, port.name)))?;
            }
            let n = self.sent[i];
            self.sent[i] += 1;
            outlet.send(i, Message { header: header.clone(), n, body });
        }
        Ok(())
    }
}

/// Why a key that is not `live` stays as it is, and how to change it.
pub fn needs_restart(node: &str, key: &str, value: &serde_json::Value) -> Error {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Error::config(format!(
        "node `{node}`: key `{key}` cannot change while running, it needs a restart: stop the run, and start it with \
         `--set {node}.{key}={value}` or with the value in the flow"
    ))
}

fn make<O: Operator>(values: &Values, resources: &Resources) -> Result<O> {
    let config = read_config::<O::Config>(values, &resources.node)?;
    catch_unwind(AssertUnwindSafe(|| O::new(config, resources)))
        .unwrap_or_else(|_| Err(Error::other("panicked while it was made; the message is above")))
        .map_err(|e| e.at(format!("node `{}`", resources.node)))
}

/// Reads a configuration; all its problems in one error.
///
/// # Errors
/// One line for each problem.
pub fn read_config<C: Config>(values: &Values, node: &str) -> Result<C> {
    C::from_values(values).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|p| format!("node `{node}`: {p}")).collect();
        Error::config(lines.join("\n"))
    })
}

fn check_payload(ty: &PortType, payload: &Payload) -> Result<()> {
    match (ty, payload) {
        (PortType::Any, _) | (PortType::Frame, Payload::Frame(_)) => Ok(()),
        (PortType::Table(table), Payload::Table(rows)) => table.check(rows.data_type()),
        (PortType::Frame, Payload::Table(_)) => Err(Error::config("frames are expected here, rows came")),
        (PortType::Table(table), Payload::Frame(_)) => {
            Err(Error::config(format!("rows of table `{}` are expected here, frames came", table.name)))
        }
    }
}

impl<O: Operator> Runnable for Driver<O> {
    fn accept(&mut self, port: usize, message: Message, sent: Instant, outlet: &mut dyn Outlet) -> Result<()> {
        let input = &self.resources.inputs[port];
        let alignment = input.alignment;
        let state = &mut self.ports[port];
        if message.n != state.next_n {
            let (due, came) = (state.next_n, message.n);
            match alignment {
                Alignment::Side { .. } if came > due => self.side_forgotten += came - due,
                _ => {
                    return Err(Error::other(format!(
                        "{}: message {due} was lost (message {came} came); \
                         is the transport overlay in force and every queue at least the window + 4?",
                        self.place(port)
                    )));
                }
            }
        }
        let state = &mut self.ports[port];
        state.next_n = message.n + 1;
        state.ended += usize::from(matches!(message.body, Body::End));
        if !state.checked
            && let Body::Data(payload) = &message.body
        {
            state.checked = true;
            check_payload(&input.ty, payload).map_err(|e| e.at(self.place(port)))?;
        }
        let state = &mut self.ports[port];
        match alignment {
            Alignment::Source(source) => {
                state.queue.push_back((message, sent));
                while self.step(source, outlet)? {}
                Ok(())
            }
            Alignment::Side { .. } | Alignment::Feedback => {
                if matches!(message.body, Body::End) {
                    return self.side_only_end(&message.header, sent, outlet);
                }
                if let Alignment::Side { queue } = alignment
                    && state.side.len() >= queue.max(1)
                {
                    state.side.remove(0);
                    self.side_forgotten += 1;
                }
                let header = message.header.clone();
                state.side.push(message);
                // An operator with side inputs alone runs whenever one comes.
                if self.side_only() {
                    self.aligned.fill(None);
                    return self.run(&header, sent, false, outlet);
                }
                Ok(())
            }
        }
    }

    fn set(&mut self, key: &str, value: serde_json::Value) -> Result<Change> {
        let keys = O::Config::keys();
        let Some(known) = keys.iter().find(|k| k.name == key) else {
            let names: Vec<&str> = keys.iter().map(|k| k.name).collect();
            return Err(Error::config(format!(
                "node `{}` has no key `{key}`{}",
                self.resources.node,
                crate::config::did_you_mean(key, names.iter().copied())
            )));
        };
        if !known.live {
            return Err(needs_restart(&self.resources.node, key, &value));
        }
        let Some(operator) = self.operator.as_mut() else {
            return Err(Error::config(format!("node `{}` has ended: nothing of it can change", self.resources.node)));
        };
        let of = |config: O::Config| config.to_values().into_iter().find(|(name, _)| *name == key).map(|(_, v)| v);
        let old = O::Config::from_values(&self.values).ok().and_then(of).unwrap_or_default();
        let mut values = self.values.clone();
        values.set(key, value, Origin::Live);
        let config = read_config::<O::Config>(&values, &self.resources.node)?;
        catch_unwind(AssertUnwindSafe(|| operator.reconfigure(&config)))
            .unwrap_or_else(|_| Err(Error::other("panicked while the key changed; the message is above")))
            .map_err(|e| e.at(format!("node `{}`, key `{key}`", self.resources.node)))?;
        self.values = values;
        Ok(Change { old, new: of(config).unwrap_or_default() })
    }

    fn close(&mut self) -> Result<()> {
        self.retire()
    }

    fn closed(&mut self, port: usize, excused: bool) -> Result<bool> {
        let place = self.place(port);
        let alignment = self.resources.inputs[port].alignment;
        let state = &mut self.ports[port];
        state.closed = true;
        if alignment.is_ordinary() && !excused && state.ended == 0 {
            let n = state.next_n;
            let text = format!("{place}: closed after {n} messages, before its end: its producer failed");
            return Err(Error::other(text).as_consequence());
        }
        let counts = |i: &usize| match self.resources.inputs[*i].alignment {
            Alignment::Source(_) => true,
            Alignment::Side { .. } => self.side_only(),
            Alignment::Feedback => false,
        };
        Ok((0..self.ports.len()).filter(counts).all(|i| self.ports[i].closed))
    }

    fn side_forgotten(&self) -> u64 {
        self.side_forgotten
    }

    fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }
}

impl<O: Operator> Driver<O> {
    /// Closes the operator, and takes what it counted.
    fn retire(&mut self) -> Result<()> {
        let Some(mut operator) = self.operator.take() else { return Ok(()) };
        let work = move || {
            let closed = operator.close();
            (closed, operator.counts())
        };
        let (closed, counts) = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| (Err(Error::other("panicked while closing")), vec![]));
        for (name, count) in counts {
            *self.counts.entry(name).or_default() += count;
        }
        closed.map_err(|e| e.at(format!("node `{}`", self.resources.node)))
    }

    fn side_only(&self) -> bool {
        !self.resources.inputs.iter().any(|input| input.alignment.is_ordinary())
    }

    /// An operator with side inputs alone ends when all of them have. What feeds back to it ends after it.
    fn side_only_end(&mut self, header: &Header, sent: Instant, outlet: &mut dyn Outlet) -> Result<()> {
        let inputs = self.resources.inputs.iter().zip(&self.ports);
        let mut sides = inputs.filter(|(input, _)| input.alignment != Alignment::Feedback);
        if self.side_only() && sides.all(|(_, port)| port.ended > 0) {
            self.aligned.fill(None);
            return self.end(header, sent, outlet);
        }
        Ok(())
    }
}
