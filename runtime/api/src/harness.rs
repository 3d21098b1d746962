//! A test feeds messages and expects messages, with a clock it drives itself, through the same driver as a run.
//!
//! ```no_run
//! # use sideline_api::{testing::Harness, tables::{Pose, Track}, Operator};
//! # fn example<Tracker: Operator>(pose: Pose) -> sideline_api::Result<()> {
//! let mut tracker = Harness::<Tracker>::new([("lost_buffer_s", 0.5)])?;
//! tracker.push("poses", &[pose])?;
//! let tracks: Vec<Track> = tracker.expect("tracks");
//! # Ok(()) }
//! ```

use std::{collections::VecDeque, marker::PhantomData, path::PathBuf, sync::Arc, time::Instant};

use crate::{
    Alignment, Body, Driver, Frame, Header, Message, Operator, Payload, Reason, Resources, Result, SourceId, Table,
    Values, WiredInput,
    clock::VirtualClock,
    context::{Device, Mode},
    driver::{DriverOptions, OnError, Outcome, Outlet, Ran, Stage},
    factory,
    models::Models,
    native::Native,
};

/// How a harness is set up; [`Harness::new`] uses the defaults.
pub struct Setup {
    /// Live or complete (the default).
    pub mode: Mode,
    /// After an error; stop by default.
    pub on_error: OnError,
    /// Every n-th frame; 1 by default.
    pub stride: u64,
    /// Time between frames in nanoseconds; 1/30 s by default.
    pub interval: i64,
    /// Which declared inputs are wired, and how; all of them, aligned, by default.
    pub inputs: Option<Vec<(&'static str, Alignment)>>,
    /// Which declared outputs somebody reads; all of them by default.
    pub read: Option<Vec<&'static str>>,
    /// Folder of the run; the system's folder for temporary files by default.
    pub run_dir: PathBuf,
    /// Where files are looked for.
    pub search: Vec<PathBuf>,
    /// The models.
    pub models: Models,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            mode: Mode::Complete,
            on_error: OnError::Stop,
            stride: 1,
            interval: 1_000_000_000 / 30,
            inputs: None,
            read: None,
            run_dir: std::env::temp_dir(),
            search: vec![PathBuf::from(".")],
            models: Models::default(),
        }
    }
}

/// See the [module](self).
pub struct Harness<O: Operator> {
    driver: Driver,
    inputs: Vec<WiredInput>,
    outputs: Vec<&'static str>,
    received: Received,
    next: Vec<(u64, u64)>,
    interval: i64,
    clock: Arc<VirtualClock>,
    kind: PhantomData<fn() -> O>,
}

#[derive(Default)]
struct Received {
    messages: Vec<VecDeque<Message>>,
    outcomes: Vec<Outcome>,
}

impl Outlet for Received {
    fn send(&mut self, output: usize, message: Message) {
        self.messages[output].push_back(message);
    }
    fn ran(&mut self, ran: Ran<'_>) {
        if ran.stage == Stage::Frame {
            self.outcomes.push(ran.outcome);
        }
    }
}

impl<O: Operator> Harness<O> {
    /// A harness over an operator with these values; every declared input is wired.
    ///
    /// # Errors
    /// As the operator's `new`.
    pub fn new(values: impl Into<Values>) -> Result<Self> {
        Self::with(values, Setup::default())
    }

    /// A harness that is set up otherwise.
    ///
    /// # Errors
    /// As the operator's `new`.
    pub fn with(values: impl Into<Values>, setup: Setup) -> Result<Self> {
        let spec = O::spec();
        let wired = setup.inputs.unwrap_or_else(|| {
            let how = |feedback| if feedback { Alignment::Feedback } else { Alignment::Source(SourceId(0)) };
            spec.inputs.iter().map(|port| (port.name, how(port.feedback))).collect()
        });
        let inputs: Vec<WiredInput> = wired
            .into_iter()
            .filter_map(|(name, alignment)| {
                let port = spec.find_input(name)?;
                Some(WiredInput {
                    name: name.into(),
                    from: format!("test/{name}"),
                    ty: port.ty,
                    required: port.required,
                    hold: port.hold,
                    alignment,
                    source: Some(alignment.source().unwrap_or_default()),
                })
            })
            .collect();
        let clock = Arc::new(VirtualClock::default());
        let resources = Resources {
            node: spec.name.into(),
            mode: setup.mode,
            device: Device::Cpu,
            run_dir: setup.run_dir,
            run: "test".into(),
            inputs: inputs.clone(),
            outputs: match &setup.read {
                Some(read) => read.iter().map(|name| (*name).to_owned()).collect(),
                None => spec.outputs.iter().map(|port| port.name.into()).collect(),
            },
            search: setup.search,
            models: Arc::new(setup.models),
            clock: clock.clone(),
        };
        let options = DriverOptions { on_error: setup.on_error, stride: setup.stride };
        Ok(Self {
            driver: Driver::new(Arc::new(factory::operator::<O>()), values.into(), resources, options)?,
            outputs: spec.outputs.iter().map(|port| port.name).collect(),
            received: Received { messages: vec![VecDeque::new(); spec.outputs.len()], outcomes: vec![] },
            next: vec![(0, 0); inputs.len()],
            inputs,
            interval: setup.interval,
            clock,
            kind: PhantomData,
        })
    }

    /// The clock that the operator reads.
    pub fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    /// The driver.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// The driver, to replace a state.
    pub fn driver_mut(&mut self) -> &mut Driver {
        &mut self.driver
    }

    /// Returns the state of a stream, by way of its saved form; none where the stream has none.
    pub fn state(&self, stream: &str) -> Option<O::State> {
        let mut bytes = vec![];
        if let Err(error) = self.driver.operator()?.save(stream, &mut bytes) {
            panic!("{error}");
        }
        (!bytes.is_empty()).then(|| match Native::<O>::state_of(&bytes) {
            Ok(state) => state,
            Err(error) => panic!("{error}"),
        })
    }

    /// Tells that nothing more comes on an input. True when the operator waits for no other.
    ///
    /// # Errors
    /// When the input closes before its end, unless `excused`.
    pub fn close_input(&mut self, input: &str, excused: bool) -> Result<bool> {
        let port = self.port(input);
        self.driver.closed(port, excused, &mut self.received)
    }

    /// Saves every state and reads it back: a state that changes on the way would be lost at a restart.
    fn check_saved_states(&mut self) -> Result<()> {
        let streams: Vec<_> = self.driver.streams().cloned().collect();
        let Some(operator) = self.driver.operator_mut() else { return Ok(()) };
        for stream in streams {
            let (mut before, mut after) = (vec![], vec![]);
            operator.save(&stream, &mut before)?;
            if before.is_empty() {
                continue;
            }
            operator.load(&stream, &before)?;
            operator.save(&stream, &mut after)?;
            assert!(before == after, "the state of stream `{stream}` is another one after it was saved and read back");
        }
        Ok(())
    }

    fn port(&self, name: &str) -> usize {
        match self.inputs.iter().position(|input| input.name == name) {
            Some(port) => port,
            None => panic!("no input `{name}` is wired"),
        }
    }

    /// The header of a frame of the stream `test`. An input of another source than the first gets `test1` and so on.
    pub fn header(&self, frame: u64) -> Header {
        Header::new("test", frame, frame as i64 * self.interval)
    }

    /// Sends any body as the next message of an input, about the input's next frame.
    ///
    /// # Errors
    /// What the driver reports to the engine: the run would stop.
    pub fn push_body(&mut self, input: &str, body: Body) -> Result<()> {
        let frame = self.next[self.port(input)].0;
        self.push_at(input, frame, body)
    }

    /// Sends any body about a chosen frame.
    ///
    /// # Errors
    /// As [`Self::push_body`].
    pub fn push_at(&mut self, input: &str, frame: u64, body: Body) -> Result<()> {
        let closing = matches!(body, Body::End { .. });
        self.push_with(input, Header { closing, ..self.header(frame) }, body)
    }

    /// Sends a closing message with any body, behind the last frame of the input.
    ///
    /// # Errors
    /// As [`Self::push_body`].
    pub fn push_closing(&mut self, input: &str, body: Body) -> Result<()> {
        let frame = self.next[self.port(input)].0;
        self.push_with(input, Header { closing: true, ..self.header(frame) }, body)
    }

    fn push_with(&mut self, input: &str, mut header: Header, body: Body) -> Result<()> {
        let port = self.port(input);
        if let Some(SourceId(other @ 1..)) = self.inputs[port].alignment.source() {
            // A stream belongs to one source.
            header.stream = format!("{}{other}", header.stream).into();
        }
        let n = self.next[port].1;
        self.next[port] = (header.frame + u64::from(!header.closing), n + 1);
        self.driver.accept(port, Message { header, n, body }, Instant::now(), &mut self.received)
    }

    /// Sends a message as it is.
    ///
    /// # Errors
    /// As [`Self::push_body`].
    pub fn accept(&mut self, input: &str, message: Message) -> Result<()> {
        let port = self.port(input);
        self.driver.accept(port, message, Instant::now(), &mut self.received)
    }

    /// Leaves out a message of an input: the next one will show a gap.
    pub fn lose(&mut self, input: &str) {
        let port = self.port(input);
        self.next[port].1 += 1;
    }

    /// Sends rows.
    ///
    /// # Errors
    /// As [`Self::push_body`].
    pub fn push<T: Table>(&mut self, input: &str, rows: &[T]) -> Result<()> {
        self.push_body(input, Body::Data(Payload::Table(Arc::new(T::encode(rows)))))
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// As [`Self::push_body`].
    pub fn push_frame(&mut self, input: &str, frame: Frame) -> Result<()> {
        self.push_body(input, Body::Data(Payload::Frame(Arc::new(frame))))
    }

    /// Sends nothing, with a reason.
    ///
    /// # Errors
    /// As [`Self::push_body`].
    pub fn skip(&mut self, input: &str, reason: Reason) -> Result<()> {
        self.push_body(input, Body::Skipped(reason))
    }

    /// Ends the stream on every input. The states are saved and read back before.
    ///
    /// # Errors
    /// As [`Self::push_body`].
    pub fn end(&mut self) -> Result<()> {
        self.check_saved_states()?;
        let frames = self.next.iter().map(|next| next.0).max().unwrap_or(0);
        for name in self.inputs.iter().map(|input| input.name.clone()).collect::<Vec<_>>() {
            self.push_at(&name, frames, Body::End { frames })?;
        }
        Ok(())
    }

    /// Changes a live key.
    ///
    /// # Errors
    /// When it is refused.
    pub fn set(&mut self, key: &str, value: impl Into<serde_json::Value>) -> Result<()> {
        self.driver.set(key, value.into()).map(|_| ())
    }

    /// Closes the operator.
    ///
    /// # Errors
    /// As the operator's `close`.
    pub fn close(&mut self) -> Result<()> {
        self.driver.close()
    }

    /// The next message of an output, if there is one.
    pub fn next_message(&mut self, output: &str) -> Option<Message> {
        let i = self.outputs.iter().position(|name| *name == output);
        let Some(i) = i else { panic!("there is no output `{output}`") };
        self.received.messages[i].pop_front()
    }

    /// The next message of an output, which must be rows.
    pub fn expect<T: Table>(&mut self, output: &str) -> Vec<T> {
        match self.next_message(output).map(|message| message.body) {
            Some(Body::Data(Payload::Table(table))) => match T::decode(&table) {
                Ok(rows) => rows,
                Err(error) => panic!("output `{output}`: {error}"),
            },
            other => panic!("output `{output}`: rows expected, found {other:?}"),
        }
    }

    /// The next message of an output, which must be a frame.
    pub fn expect_frame(&mut self, output: &str) -> Arc<Frame> {
        match self.next_message(output).map(|message| message.body) {
            Some(Body::Data(Payload::Frame(frame))) => frame,
            other => panic!("output `{output}`: a frame expected, found {other:?}"),
        }
    }

    /// The next message of an output, which must be skipped.
    pub fn expect_skipped(&mut self, output: &str) -> Reason {
        match self.next_message(output).map(|message| message.body) {
            Some(Body::Skipped(reason)) => reason,
            other => panic!("output `{output}`: skipped expected, found {other:?}"),
        }
    }

    /// How each frame went since the last call.
    pub fn outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.received.outcomes)
    }
}
