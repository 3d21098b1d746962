//! Test harness for operators: pushes messages into an operator and returns its output messages. It uses the driver of a real
//! run, and a virtual clock.
//!
//! ```no_run
//! # use sideline_api::{testing::Harness, Operator};
//! # use sideline_sport::tables::{Pose, Track};
//! # fn example<Tracker: Operator>(pose: Pose) -> sideline_api::Result<()> {
//! let mut tracker = Harness::<Tracker>::new([("lost_buffer_s", 0.5)])?;
//! tracker.push("poses", &[pose])?;
//! let tracks: Vec<Track> = tracker.expect("tracks");
//! # Ok(()) }
//! ```

use std::{collections::VecDeque, marker::PhantomData, path::PathBuf, sync::Arc, time::Instant};

use crate::{
    Alignment, Body, Driver, Error, Frame, Header, Message, Operator, Payload, Reason, Resources, Result, SourceId,
    Table, Values, WiredInput,
    clock::VirtualClock,
    config::did_you_mean,
    context::{Device, Mode},
    driver::{CallReport, DriverOptions, OnError, Outcome, Outlet, Phase},
    factory,
    models::Models,
    native::Native,
};

/// Settings of a harness; [`Harness::new`] uses the defaults.
pub struct Setup {
    /// Live or complete mode; complete by default.
    pub mode: Mode,
    /// Policy after an error; stop by default.
    pub on_error: OnError,
    /// Stride of processed frames; 1 by default.
    pub stride: u64,
    /// Interval between frames in nanoseconds; 1/30 s by default.
    pub interval: i64,
    /// Wired inputs with their alignment; by default all declared inputs, aligned or feedback.
    pub inputs: Option<Vec<(&'static str, Alignment)>>,
    /// Outputs that have a reader; by default all declared outputs.
    pub read_outputs: Option<Vec<&'static str>>,
    /// Folder of the run; the system's folder for temporary files by default.
    pub run_dir: PathBuf,
    /// Folders in which relative paths are looked up; the working directory by default.
    pub search: Vec<PathBuf>,
    /// Installed models; none by default.
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
            read_outputs: None,
            run_dir: std::env::temp_dir(),
            search: vec![PathBuf::from(".")],
            models: Models::default(),
        }
    }
}

/// Harness around one operator.
pub struct Harness<O: Operator> {
    driver: Driver,
    inputs: Vec<WiredInput>,
    outputs: Vec<&'static str>,
    received: Received,
    /// Next frame number and next message number of each input.
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
    fn report(&mut self, report: CallReport<'_>) {
        if report.phase == Phase::Frame {
            self.outcomes.push(report.outcome);
        }
    }
}

impl<O: Operator> Harness<O> {
    /// Creates an operator with these values in a harness with the default setup.
    ///
    /// # Errors
    /// The problems of the configuration, or the error of the operator's `new`.
    pub fn new(values: impl Into<Values>) -> Result<Self> {
        Self::with(values, Setup::default())
    }

    /// Creates an operator with these values in a harness with this setup.
    ///
    /// # Errors
    /// The problems of the configuration, or the error of the operator's `new`.
    pub fn with(values: impl Into<Values>, setup: Setup) -> Result<Self> {
        let spec = O::spec();
        let wired = setup.inputs.unwrap_or_else(|| {
            let alignment = |feedback| if feedback { Alignment::Feedback } else { Alignment::Source(SourceId(0)) };
            spec.inputs.iter().map(|port| (port.name, alignment(port.feedback))).collect()
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
            outputs: match &setup.read_outputs {
                Some(names) => names.iter().map(|name| (*name).to_owned()).collect(),
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

    /// Returns the clock that the operator reads.
    pub fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    /// Returns the driver.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Returns the driver, for changes of a state.
    pub fn driver_mut(&mut self) -> &mut Driver {
        &mut self.driver
    }

    /// Returns the state of a stream after saving and loading it; `None` if the stream has none.
    ///
    /// # Panics
    /// When the state cannot be saved or loaded.
    pub fn state(&self, stream: &str) -> Option<O::State> {
        let mut bytes = vec![];
        if let Err(error) = self.driver.operator()?.save(stream, &mut bytes) {
            panic!("{error}");
        }
        (!bytes.is_empty()).then(|| match Native::<O>::deserialize_state(&bytes) {
            Ok(state) => state,
            Err(error) => panic!("{error}"),
        })
    }

    /// Closes an input. Returns true if the operator waits for no other input.
    ///
    /// # Errors
    /// When the input closes before its end, unless `is_excused`.
    pub fn close_input(&mut self, input: &str, is_excused: bool) -> Result<bool> {
        let port = self.port(input)?;
        self.driver.close_input(port, is_excused, &mut self.received)
    }

    /// Saves and loads every state, and checks that it is unchanged. A state that changes would be wrong after a restart.
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
            assert!(before == after, "saving and loading changes the state of stream `{stream}`");
        }
        Ok(())
    }

    /// Returns the index of a wired input.
    fn port(&self, name: &str) -> Result<usize> {
        let wired = self.inputs.iter().position(|input| input.name == name);
        wired.ok_or_else(|| match O::spec().inputs.iter().any(|port| port.name == name) {
            true => Error::config(format!("input `{name}` is not wired: add it to `Setup::inputs`")),
            false => {
                let near = did_you_mean(name, self.inputs.iter().map(|input| input.name.as_str()));
                Error::config(format!("the operator has no input `{name}`{near}"))
            }
        })
    }

    /// Returns the reason for which no message has come, as the end of a sentence: the inputs for which the operator waits.
    fn awaited(&self) -> String {
        let aligned = || self.inputs.iter().zip(&self.next).filter(|(input, _)| input.alignment.is_aligned());
        let frames = aligned().map(|(_, (frame, _))| *frame).max().unwrap_or_default();
        let behind: Vec<String> = aligned()
            .filter(|(_, (frame, _))| *frame < frames)
            .map(|(input, (frame, _))| format!("frame {frame} of input `{}`", input.name))
            .collect();
        if behind.is_empty() {
            return "none has come".into();
        }
        format!(
            "the operator waits for {}: push it, `skip` it, or leave the input out of `Setup::inputs`",
            behind.join(" and ")
        )
    }

    /// Takes the next message of an output that a test expects.
    fn expected(&mut self, output: &str, kind: &str) -> Body {
        match self.next_message(output) {
            Some(message) => message.body,
            None => panic!("output `{output}`: {kind} expected, but {}", self.awaited()),
        }
    }

    /// Returns the header of a frame of the stream `test`. Inputs of further sources have the streams `test1` and so on.
    pub fn header(&self, frame: u64) -> Header {
        Header::new("test", frame, frame as i64 * self.interval)
    }

    /// Pushes a body as the next message of an input, for the input's next frame.
    ///
    /// # Errors
    /// An error that would end the run.
    pub fn push_body(&mut self, input: &str, body: Body) -> Result<()> {
        let frame = self.next[self.port(input)?].0;
        self.push_at(input, frame, body)
    }

    /// Pushes a body for a given frame.
    ///
    /// # Errors
    /// The errors of [`Self::push_body`].
    pub fn push_at(&mut self, input: &str, frame: u64, body: Body) -> Result<()> {
        let is_closing = matches!(body, Body::End { .. });
        self.push_with(input, Header { is_closing, ..self.header(frame) }, body)
    }

    /// Pushes a body as a closing message, after the last frame of the input.
    ///
    /// # Errors
    /// The errors of [`Self::push_body`].
    pub fn push_closing(&mut self, input: &str, body: Body) -> Result<()> {
        let frame = self.next[self.port(input)?].0;
        self.push_with(input, Header { is_closing: true, ..self.header(frame) }, body)
    }

    fn push_with(&mut self, input: &str, mut header: Header, body: Body) -> Result<()> {
        let port = self.port(input)?;
        if let Some(SourceId(other @ 1..)) = self.inputs[port].alignment.source() {
            // A stream belongs to one source.
            header.stream = format!("{}{other}", header.stream).into();
        }
        let n = self.next[port].1;
        self.next[port] = (header.frame + u64::from(!header.is_closing), n + 1);
        self.driver.accept(port, Message { header, n, body }, Instant::now(), &mut self.received)
    }

    /// Pushes a message with its own header and number.
    ///
    /// # Errors
    /// The errors of [`Self::push_body`].
    pub fn accept(&mut self, input: &str, message: Message) -> Result<()> {
        let port = self.port(input)?;
        self.driver.accept(port, message, Instant::now(), &mut self.received)
    }

    /// Skips the number of a message of an input, as if the message were lost.
    ///
    /// # Panics
    /// When the input is not wired.
    pub fn lose(&mut self, input: &str) {
        match self.port(input) {
            Ok(port) => self.next[port].1 += 1,
            Err(error) => panic!("{error}"),
        }
    }

    /// Pushes rows for the next frame.
    ///
    /// # Errors
    /// The errors of [`Self::push_body`].
    pub fn push<T: Table>(&mut self, input: &str, rows: &[T]) -> Result<()> {
        self.push_body(input, Body::Data(Payload::Table(Arc::new(T::encode(rows)))))
    }

    /// Pushes a video frame.
    ///
    /// # Errors
    /// The errors of [`Self::push_body`].
    pub fn push_frame(&mut self, input: &str, frame: Frame) -> Result<()> {
        self.push_body(input, Body::Data(Payload::Frame(Arc::new(frame))))
    }

    /// Marks the next frame of an input as skipped.
    ///
    /// # Errors
    /// The errors of [`Self::push_body`].
    pub fn skip(&mut self, input: &str, reason: Reason) -> Result<()> {
        self.push_body(input, Body::Skipped(reason))
    }

    /// Ends the stream on every input, after checking that the states survive saving and loading.
    ///
    /// # Errors
    /// The errors of [`Self::push_body`].
    pub fn end(&mut self) -> Result<()> {
        self.check_saved_states()?;
        let frames = self.next.iter().map(|next| next.0).max().unwrap_or(0);
        for name in self.inputs.iter().map(|input| input.name.clone()).collect::<Vec<_>>() {
            self.push_at(&name, frames, Body::End { frames })?;
        }
        Ok(())
    }

    /// Changes a live setting.
    ///
    /// # Errors
    /// When the value is refused.
    pub fn set(&mut self, key: &str, value: impl Into<serde_json::Value>) -> Result<()> {
        self.driver.set(key, value.into()).map(|_| ())
    }

    /// Closes the operator.
    ///
    /// # Errors
    /// The error of the operator's `close`.
    pub fn close(&mut self) -> Result<()> {
        self.driver.close()
    }

    /// Takes the next message of an output; `None` if there is none.
    pub fn next_message(&mut self, output: &str) -> Option<Message> {
        let i = self.outputs.iter().position(|name| *name == output);
        let Some(i) = i else { panic!("there is no output `{output}`") };
        self.received.messages[i].pop_front()
    }

    /// Takes the next message of an output, which must be rows.
    ///
    /// # Panics
    /// When there is no message, or it is not rows of this table.
    pub fn expect<T: Table>(&mut self, output: &str) -> Vec<T> {
        match self.expected(output, "rows") {
            Body::Data(Payload::Table(table)) => match T::decode(&table) {
                Ok(rows) => rows,
                Err(error) => panic!("output `{output}`: {error}"),
            },
            other => panic!("output `{output}`: rows expected, found {other:?}"),
        }
    }

    /// Takes the next message of an output, which must be a frame.
    ///
    /// # Panics
    /// When there is no message, or it is not a frame.
    pub fn expect_frame(&mut self, output: &str) -> Arc<Frame> {
        match self.expected(output, "a frame") {
            Body::Data(Payload::Frame(frame)) => frame,
            other => panic!("output `{output}`: a frame expected, found {other:?}"),
        }
    }

    /// Takes the next message of an output, which must be skipped, and returns the reason.
    ///
    /// # Panics
    /// When there is no message, or it is not skipped.
    pub fn expect_skipped(&mut self, output: &str) -> Reason {
        match self.expected(output, "skipped") {
            Body::Skipped(reason) => reason,
            other => panic!("output `{output}`: skipped expected, found {other:?}"),
        }
    }

    /// Takes the outcomes of the frames since the last call.
    pub fn outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.received.outcomes)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{Config, Context, Inputs, Outputs, PortType, Spec, tables::Count};

    /// Adds the frames of two counts.
    #[derive(Clone, Config)]
    struct Keys {}
    struct Adder;

    impl Operator for Adder {
        type Config = Keys;
        type State = ();
        fn spec() -> Spec {
            let counts = PortType::table::<Count>();
            Spec::operator("adder").required("left", counts).optional("right", counts).output("sums", counts)
        }
        fn new(_: Keys, _: &Resources) -> Result<Self> {
            Ok(Adder)
        }
        fn process(&mut self, _: &Context, input: &Inputs, (): &mut (), out: &mut Outputs) -> Result<()> {
            let sum = input.required_rows::<Count>("left")?.iter().map(|row| row.frames).sum();
            // An optional input has no rows where it is skipped.
            let checksum = input.required_rows::<Count>("right").map_or(0, |rows| rows.len() as u64);
            out.rows("sums", &[Count { frames: sum, checksum }])
        }
    }

    fn message(f: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    #[test]
    fn a_message_that_has_not_come_names_the_input_that_is_awaited() {
        let mut adder = Harness::<Adder>::new(Values::new()).unwrap();
        let rows = [Count { frames: 3, checksum: 0 }];
        adder.push("left", &rows).unwrap();
        let text = message(|| drop(adder.expect::<Count>("sums")));
        assert!(text.contains("the operator waits for frame 0 of input `right`: push it, `skip` it"), "{text}");
        adder.skip("right", Reason::Damaged).unwrap();
        assert_eq!(adder.expect::<Count>("sums"), [Count { frames: 3, checksum: 0 }]);
        let text = message(|| drop(adder.expect::<Count>("sums")));
        assert!(text.contains("rows expected, but none has come"), "{text}");
    }

    #[test]
    fn a_wrong_name_of_an_input_is_an_error_with_the_right_one() {
        let mut adder = Harness::<Adder>::new(Values::new()).unwrap();
        let error = adder.push::<Count>("lefd", &[]).unwrap_err();
        assert_eq!(error.message, "the operator has no input `lefd`; did you mean `left`?");
        let wired = Some(vec![("left", Alignment::Source(SourceId(0)))]);
        let mut adder = Harness::<Adder>::with(Values::new(), Setup { inputs: wired, ..Setup::default() }).unwrap();
        let error = adder.push::<Count>("right", &[]).unwrap_err();
        assert!(error.message.contains("input `right` is not wired: add it to `Setup::inputs`"), "{error}");
        adder.push("left", &[Count { frames: 2, checksum: 0 }]).unwrap();
        assert_eq!(adder.expect::<Count>("sums")[0].frames, 2);
    }

    #[test]
    fn required_rows_of_a_skipped_input_are_an_error_that_names_the_way_out() {
        let (spec, ports) = (Adder::spec(), []);
        let inputs = Inputs::new(&spec, &ports, &[], &[]);
        let error = inputs.required_rows::<Count>("left").unwrap_err();
        assert!(
            error.message.contains("input `left` has no rows here; read an input that is not `required` with `rows`")
        );
    }
}
