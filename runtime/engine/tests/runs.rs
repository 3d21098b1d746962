//! What a run promises, with small operators and plans made by hand.

use std::{
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sideline_api::{
    Alignment, Body, Captured, Config, Context, Device, Error, Inputs, Mode, OnError, Operator, Outputs, Payload,
    PortType, Registry, Resources, Result, Source, SourceContext, SourceId, Spec, Table, Values, WiredInput,
    clock::WallClock, models::Models, tables::Count,
};
use sideline_engine::{
    Options,
    gate::Limit,
    meter::{Report, Status},
    start,
};
use sideline_graph::plan::{LaneId, NodeId, Plan, PlanInput, PlanNode, Producer};

/// Makes numbered frames.
#[derive(Clone, Config)]
struct NumbersConfig {
    /// How many.
    #[config(default = 100)]
    frames: u64,
    /// Fail after this many.
    #[config(default = None)]
    fail_after: Option<u64>,
    /// Microseconds between frames.
    #[config(default = 0)]
    every_us: u64,
    /// Never comes back from the frame after the last, whoever asks it to stop: a camera without a picture.
    #[config(default = false)]
    silent_after: bool,
    /// What goes wrong: `new-panics`, `close-panics`, `close-fails`, `no-bodies`; or nothing.
    #[config(default = "")]
    fault: String,
    /// Name of the stream.
    #[config(default = "main")]
    stream: String,
    /// How many streams: `main`, `main1`, ..., each of one frame less than the one before.
    #[config(default = 1)]
    streams: u64,
}

struct Numbers(NumbersConfig, u64);

impl Source for Numbers {
    type Config = NumbersConfig;
    fn spec() -> Spec {
        Spec::source("numbers").output("out", PortType::table::<Count>())
    }
    fn new(config: NumbersConfig, _: &Resources) -> Result<Self> {
        assert!(config.fault != "new-panics", "made wrongly");
        Ok(Numbers(config, 0))
    }
    fn open(config: NumbersConfig, resources: &Resources) -> Result<Vec<Self>> {
        let stream = |i| NumbersConfig {
            stream: if i == 0 { config.stream.clone() } else { format!("{}{i}", config.stream) },
            frames: config.frames - i,
            ..config.clone()
        };
        (0..config.streams).map(|i| Self::new(stream(i), resources)).collect()
    }
    fn next(&mut self, cx: &SourceContext) -> Result<Option<Captured>> {
        let i = self.1;
        if self.0.fail_after == Some(i) {
            return Err(Error::input("the cable was pulled"));
        }
        if i == self.0.frames {
            if self.0.silent_after {
                loop {
                    std::thread::park();
                }
            }
            return Ok(None);
        }
        if self.0.every_us > 0 {
            cx.pace(cx.clock.now() + self.0.every_us as i64 * 1000);
        }
        self.1 += 1;
        let rows = Count::encode(&[Count { frames: i, checksum: i * i }]);
        let body = Body::Data(Payload::Table(Arc::new(rows)));
        Ok(Some(Captured {
            stream: self.0.stream.as_str().into(),
            session: 0,
            pts: i as i64 * 1_000_000,
            captured: cx.clock.now(),
            outputs: if self.0.fault == "no-bodies" { vec![] } else { vec![body] },
        }))
    }
    fn close(&mut self) -> Result<()> {
        assert!(self.0.fault != "close-panics", "it will not close");
        if self.0.fault == "close-fails" { Err(Error::input("the tape is jammed")) } else { Ok(()) }
    }
}

/// Passes on what it gets, or does something bad.
#[derive(Clone, Config)]
struct StepConfig {
    /// Milliseconds of work per frame.
    #[config(default = 0, live, range(0, 1000))]
    work_ms: u64,
    /// What goes wrong: `panic`, `error`, `hang` at frame 50; `end-hangs`; `new-hangs`, `new-fails`, `new-panics`; or nothing.
    #[config(default = "")]
    fault: String,
    /// Milliseconds that `new` takes.
    #[config(default = 0)]
    new_ms: u64,
}

struct Step<const HEAVY: bool>(StepConfig);

impl<const HEAVY: bool> Operator for Step<HEAVY> {
    type Config = StepConfig;
    type State = u64;
    fn spec() -> Spec {
        let spec = Spec::operator(if HEAVY { "heavy" } else { "cheap" })
            .required("in", PortType::table::<Count>())
            .output("out", PortType::table::<Count>());
        if HEAVY { spec.heavy() } else { spec }
    }
    fn new(config: StepConfig, _: &Resources) -> Result<Self> {
        match config.fault.as_str() {
            "new-hangs" => loop {
                std::thread::park();
            },
            "new-fails" => Err(Error::model("weights.onnx is not a model")),
            "new-panics" => panic!("made wrongly"),
            _ => {
                std::thread::sleep(Duration::from_millis(config.new_ms));
                Ok(Step(config))
            }
        }
    }
    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut u64, out: &mut Outputs) -> Result<()> {
        match (cx.header.frame, self.0.fault.as_str()) {
            (0, "waits") => RELEASED.wait(),
            (50, "panic") => panic!("fifty is too much"),
            (50, "error") => return Err(Error::other("fifty is wrong")),
            (50, "hang") => loop {
                std::thread::park();
            },
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(self.0.work_ms));
        *state += 1;
        out.rows("out", &input.rows::<Count>("in")?.unwrap_or_default())
    }
    fn stream_ended(&mut self, _: &Context, _: &Inputs, _: &mut u64, _: &mut Outputs) -> Result<()> {
        if self.0.fault == "end-hangs" {
            loop {
                std::thread::park();
            }
        }
        Ok(())
    }
    fn reconfigure(&mut self, config: &StepConfig) -> Result<()> {
        assert!(config.work_ms != 999, "it will not change");
        if config.work_ms == 777 {
            loop {
                std::thread::park();
            }
        }
        self.0 = config.clone();
        Ok(())
    }
}

/// Notes what reaches it.
#[derive(Clone, Config)]
struct NotesConfig {}

struct Notes(String);

/// What `waits` waits for, at its first frame.
static RELEASED: Release = Release(Mutex::new(false), Condvar::new());

struct Release(Mutex<bool>, Condvar);

impl Release {
    fn wait(&self) {
        let mut released = self.0.lock().unwrap();
        while !*released {
            released = self.1.wait(released).unwrap();
        }
    }
    fn release(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

/// Run, frame, and why there was no data, of every input of every frame.
static NOTES: Mutex<Vec<(String, u64, Option<String>)>> = Mutex::new(Vec::new());
/// Run and stream of every note.
static STREAMS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
static CLOSED: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Run, stream, and notes of the run so far, of every end.
static ENDS: Mutex<Vec<(String, String, usize)>> = Mutex::new(Vec::new());

impl Operator for Notes {
    type Config = NotesConfig;
    type State = ();
    fn spec() -> Spec {
        Spec::operator("notes").heavy().any_inputs(PortType::Any)
    }
    fn new(_: NotesConfig, resources: &Resources) -> Result<Self> {
        Ok(Notes(resources.run.clone()))
    }
    fn process(&mut self, cx: &Context, input: &Inputs, _: &mut (), _: &mut Outputs) -> Result<()> {
        for (port, message) in input.all().filter(|(port, _)| port.alignment.is_ordinary()) {
            let reason = match message.map(|m| &m.body) {
                Some(Body::Data(_)) => None,
                Some(Body::Skipped(reason)) => Some(reason.to_string()),
                _ => Some(format!("{} is absent", port.name)),
            };
            STREAMS.lock().unwrap().push((self.0.clone(), cx.header.stream.to_string()));
            NOTES.lock().unwrap().push((self.0.clone(), cx.header.frame, reason));
        }
        Ok(())
    }
    fn stream_ended(&mut self, cx: &Context, _: &Inputs, _: &mut (), _: &mut Outputs) -> Result<()> {
        let notes = NOTES.lock().unwrap().iter().filter(|note| note.0 == self.0).count();
        ENDS.lock().unwrap().push((self.0.clone(), cx.header.stream.to_string(), notes));
        Ok(())
    }
    fn close(&mut self) -> Result<()> {
        CLOSED.lock().unwrap().push(self.0.clone());
        Ok(())
    }
}

fn registry() -> Registry {
    Registry::new().source::<Numbers>().operator::<Step<true>>().operator::<Step<false>>().operator::<Notes>()
}

/// A plan, written node by node.
struct Sketch(Plan);

impl Sketch {
    fn new(mode: Mode) -> Self {
        Sketch(Plan {
            flow: "test".into(),
            mode,
            window: 4,
            stall: Duration::from_secs(10),
            start: Duration::from_millis(500),
            nodes: vec![],
            lanes: 0,
            border_inputs: vec![],
            border_outputs: vec![],
            remote_sinks: vec![],
            sends_done: false,
        })
    }

    /// Adds a node; its inputs are (port, producing node, alignment).
    fn node(mut self, id: &str, operator: &str, values: impl Into<Values>, inputs: &[(&str, &str, Alignment)]) -> Self {
        let plan = &mut self.0;
        let spec = registry().get(operator).unwrap().spec.clone();
        let mut wired = vec![];
        let mut lane = LaneId(plan.lanes);
        let sources = plan.nodes.iter().filter(|n| n.is_source).count();
        let ordinary = inputs.iter().find_map(|(_, _, alignment)| match alignment {
            Alignment::Source(source) => Some(*source),
            _ => None,
        });
        let source = ordinary.unwrap_or_default();
        for (port, from, alignment) in inputs {
            let producer = plan.nodes.iter().position(|n| n.id == *from).unwrap();
            if alignment.is_ordinary() {
                plan.nodes[producer].sink = false;
            }
            if !spec.heavy {
                lane = plan.nodes[producer].lane;
            }
            wired.push(PlanInput {
                wired: WiredInput {
                    name: (*port).into(),
                    from: format!("{from}/out"),
                    ty: PortType::table::<Count>(),
                    required: *port == "in",
                    hold: false,
                    alignment: *alignment,
                    source: Some(plan.nodes[producer].source),
                },
                producer: Producer::Node { node: NodeId(producer), output: 0 },
                queue: 10,
            });
        }
        plan.lanes = plan.lanes.max(lane.0 + 1);
        plan.nodes.push(PlanNode {
            id: id.into(),
            operator: operator.into(),
            values: values.into(),
            on_error: OnError::default_for(plan.mode),
            stride: 1,
            inputs: wired,
            outputs: spec.outputs.clone(),
            lane,
            source: if spec.source { SourceId(sources) } else { source },
            is_source: spec.source,
            sink: !spec.source,
            search: vec![],
        });
        self
    }

    fn change(mut self, f: impl FnOnce(&mut Plan)) -> Self {
        f(&mut self.0);
        self
    }

    /// Runs it; the report, and what the notes of it say.
    fn run(self, limit: Limit) -> (Report, Vec<(u64, Option<String>)>) {
        static RUN: AtomicU64 = AtomicU64::new(0);
        let run = format!("run-{}", RUN.fetch_add(1, Ordering::Relaxed));
        let report = match start(self.0, &registry(), options(&run, limit), None) {
            Ok(running) => running.wait(),
            Err(error) => panic!("{error}"),
        };
        let notes = NOTES.lock().unwrap().iter().filter(|n| n.0 == run).map(|n| (n.1, n.2.clone())).collect();
        assert_eq!(closed(&run), 1, "closed once, however the run ends");
        (report, notes)
    }
}

fn closed(run: &str) -> usize {
    CLOSED.lock().unwrap().iter().filter(|r| *r == run).count()
}

fn options(run: &str, limit: Limit) -> Options {
    Options {
        device: Device::Cpu,
        run: run.into(),
        run_dir: PathBuf::from("."),
        models: Arc::new(Models::default()),
        clock: Arc::new(WallClock),
        limit,
        after: Default::default(),
        asked_to_stop: Default::default(),
        begin: None,
        timing: None,
    }
}

const MAIN: Alignment = Alignment::Source(SourceId(0));

/// numbers -> cheap -> step -> notes, and cheap -> notes.
fn chain(mode: Mode, numbers: impl Into<Values>, step: impl Into<Values>) -> Sketch {
    Sketch::new(mode)
        .node("numbers", "numbers", numbers, &[])
        .node("cheap", "cheap", Values::new(), &[("in", "numbers", MAIN)])
        .node("step", "heavy", step, &[("in", "cheap", MAIN)])
        .node("notes", "notes", Values::new(), &[("a", "step", MAIN), ("b", "cheap", MAIN)])
}

fn node<'a>(report: &'a Report, id: &str) -> &'a sideline_engine::meter::NodeReport {
    report.nodes.iter().find(|n| n.node == id).unwrap()
}

#[test]
fn complete_mode_drops_nothing_and_keeps_order() {
    let (report, notes) = chain(Mode::Complete, [("frames", 500)], Values::new()).run(Limit::default());
    assert_eq!(report.status, Status::Done, "{:?}", report.failure);
    assert!(report.reproducible);
    let source = &report.sources[0];
    assert_eq!((source.decoded, source.admitted, source.forgotten), (500, 500, 0));
    let expected: Vec<_> = (0..500).flat_map(|i| [(i, None), (i, None)]).collect();
    assert_eq!(notes, expected);
    assert!(report.nodes.iter().all(|n| n.processed == 500));
}

#[test]
fn a_slow_operator_makes_a_live_source_forget_and_the_counts_add_up() {
    let numbers = [("frames", 400), ("every_us", 200)];
    let (report, notes) = chain(Mode::Live, numbers, [("work_ms", 3)]).run(Limit::default());
    let source = &report.sources[0];
    assert_eq!(report.status, Status::Done, "{:?}", report.failure);
    assert!(source.forgotten > 0, "{source:?}");
    assert_eq!((source.decoded, source.admitted + source.forgotten), (400, 400));
    assert_eq!(notes.len() as u64, 2 * source.admitted);
    assert!(!report.reproducible);
}

#[test]
fn an_error_stops_a_complete_run_and_names_node_and_frame() {
    let (report, notes) = chain(Mode::Complete, Values::new(), [("fault", "error")]).run(Limit::default());
    assert_eq!(report.status, Status::Partial);
    assert_eq!(report.failure.unwrap().message, "node `step`, frame 50 of stream `main`: fifty is wrong");
    assert!(notes.iter().all(|(frame, _)| *frame <= 50));
}

#[test]
fn a_panic_in_live_mode_is_a_skipped_frame_and_the_operator_restarts() {
    let numbers = [("frames", 2000), ("every_us", 100)];
    let (report, notes) = chain(Mode::Live, numbers, [("fault", "panic")]).run(Limit::default());
    assert_eq!(report.status, Status::Done, "{:?}", report.failure);
    let step = node(&report, "step");
    assert_eq!((step.panics, step.processed), (1, report.sources[0].admitted - 1));
    assert_eq!(step.first_error.as_deref(), Some("panic: fifty is too much"));
    assert!(notes.contains(&(50, Some("panic".into()))));
    assert!(!report.reproducible);
}

#[test]
fn skipping_travels_with_its_first_cause() {
    let sketch = chain(Mode::Complete, [("frames", 30)], Values::new()).change(|plan| plan.nodes[1].stride = 3);
    let (report, notes) = sketch.run(Limit::default());
    let step = node(&report, "step");
    assert_eq!((step.processed, step.skipped.get("stride")), (10, Some(&20)));
    assert_eq!(notes.iter().filter(|n| n.1 == Some("stride".into())).count(), 40);
}

#[test]
fn a_hang_ends_the_run_within_the_stall_time_and_names_the_node() {
    let sketch = chain(Mode::Complete, Values::new(), [("fault", "hang")])
        .change(|plan| plan.stall = Duration::from_millis(200));
    let (report, _) = sketch.run(Limit::default());
    let failure = report.failure.unwrap().message;
    assert_eq!(failure, "node `step` did not answer for 0.2 s (SIDELINE_STALL_S), since frame 50");
}

#[test]
fn the_end_of_a_stream_may_take_as_long_as_closing() {
    let sketch = chain(Mode::Complete, [("frames", 3)], [("fault", "end-hangs")])
        .change(|plan| plan.stall = Duration::from_millis(50));
    let (report, _) = sketch.run(Limit::default());
    let failure = report.failure.unwrap().message;
    assert_eq!(failure, "node `step` did not finish the end of a stream within 0.3 s (6 times SIDELINE_STALL_S)");
}

#[test]
fn what_goes_wrong_in_new_ends_the_start_and_closes_the_others() {
    for (fault, code, text) in [
        ("new-fails", 2, "node `step`: weights.onnx is not a model"),
        ("new-panics", 6, "node `step`: panicked while it was made"),
        ("new-hangs", 6, "node `step` was not ready within 0.5 s"),
    ] {
        let plan = chain(Mode::Complete, Values::new(), [("fault", fault)]).0;
        let Err(error) = start(plan, &registry(), options(fault, Limit::default()), None) else {
            panic!("{fault}: the run started")
        };
        assert!(error.message.contains(text), "{fault}: {error}");
        assert_eq!(error.failure.exit_code(), code, "{fault}");
        assert_eq!(closed(fault), 1, "{fault}");
    }
}

#[test]
fn a_stop_during_the_start_ends_it_and_the_run_does_not_begin() {
    let plan = chain(Mode::Complete, Values::new(), [("fault", "new-hangs")])
        .change(|plan| plan.start = Duration::from_secs(3600))
        .0;
    let begun = Arc::new(AtomicBool::new(false));
    let told = begun.clone();
    let options = Options {
        asked_to_stop: Arc::new(AtomicBool::new(true)),
        begin: Some(Arc::new(move || {
            told.store(true, Ordering::SeqCst);
            Ok(())
        })),
        ..options("stopped early", Limit::default())
    };
    let Err(error) = start(plan, &registry(), options, None) else { panic!("it started") };
    assert!(error.message.contains("stopped while operators were being made"), "{error}");
    assert!(!begun.load(Ordering::SeqCst));
}

#[test]
fn a_run_begins_once_all_is_made_and_before_its_first_frame() {
    let begin = |fault: &str, result: Result<()>| {
        let begun = Arc::new(AtomicU64::new(0));
        let told = begun.clone();
        let run = format!("begin {fault} {}", result.is_ok());
        let options = Options {
            begin: Some(Arc::new(move || {
                told.fetch_add(1, Ordering::SeqCst);
                result.clone()
            })),
            ..options(&run, Limit::default())
        };
        let plan = chain(Mode::Complete, [("frames", 3)], [("fault", fault)]).0;
        let ended = start(plan, &registry(), options, None).map(|running| running.wait());
        let noted = NOTES.lock().unwrap().iter().filter(|note| note.0 == run).count();
        (begun.load(Ordering::SeqCst), ended.is_ok(), noted > 0)
    };
    assert_eq!(begin("", Ok(())), (1, true, true));
    assert_eq!(begin("new-fails", Ok(())), (0, false, false));
    assert_eq!(begin("", Err(Error::output("the disk is full"))), (1, false, false));
}

#[test]
fn a_stop_asked_of_the_host_ends_a_run_that_is_on() {
    let asked = Arc::new(AtomicBool::new(false));
    let options = Options { asked_to_stop: asked.clone(), ..options("asked", Limit::default()) };
    let plan = chain(Mode::Live, [("frames", 1_000_000), ("every_us", 1000)], Values::new()).0;
    let Ok(running) = start(plan, &registry(), options, None) else { panic!("no start") };
    while running.progress().frames < 3 {
        std::thread::yield_now();
    }
    asked.store(true, Ordering::SeqCst);
    let report = running.wait();
    assert_eq!((report.status, report.failure), (Status::Stopped, None));
    assert_eq!(closed("asked"), 1);
}

#[test]
fn a_source_that_fails_leaves_a_partial_result_with_all_it_gave() {
    let (report, notes) = chain(Mode::Complete, [("fail_after", 20)], Values::new()).run(Limit::default());
    assert_eq!((report.status, report.exit_code()), (Status::Partial, 3));
    assert_eq!(report.failure.unwrap().message, "node `numbers`: the cable was pulled");
    assert_eq!(notes.len(), 40);
}

#[test]
fn frames_and_duration_end_a_run_at_the_same_frame_every_time() {
    for limit in
        [Limit { frames: Some(25), duration: None }, Limit { frames: None, duration: Some(Duration::from_millis(25)) }]
    {
        let (report, notes) = chain(Mode::Complete, Values::new(), Values::new()).run(limit);
        assert_eq!(report.status, Status::Done, "{:?}", report.failure);
        assert_eq!((report.sources[0].admitted, notes.len()), (25, 50));
        if limit.frames.is_some() {
            assert_eq!((report.sources[0].decoded, report.sources[0].forgotten), (25, 0), "none is read ahead of it");
        }
    }
}

#[test]
fn a_side_input_never_holds_a_frame_and_forgets_the_oldest() {
    let side = Alignment::Side { queue: 2 };
    let sketch = Sketch::new(Mode::Live)
        .node("numbers", "numbers", [("frames", 300), ("every_us", 100)], &[])
        .node("slow", "heavy", [("work_ms", 5)], &[("in", "numbers", side)])
        .node("notes", "notes", Values::new(), &[("a", "numbers", MAIN), ("side", "slow", side)])
        .change(|plan| plan.nodes[1].sink = false);
    let (report, _) = sketch.run(Limit::default());
    assert_eq!(report.status, Status::Done, "{:?}", report.failure);
    let (slow, admitted) = (node(&report, "slow"), report.sources[0].admitted);
    assert!(slow.side_forgotten > 0, "it is slower than the frames come");
    assert_eq!(slow.processed + slow.side_forgotten, admitted);
    assert_eq!(node(&report, "notes").processed, admitted);
}

#[test]
fn a_live_key_changes_while_running_and_a_refused_value_leaves_the_old() {
    let plan = chain(Mode::Live, [("frames", 1_000_000), ("every_us", 200)], Values::new()).0;
    let Ok(running) = start(plan, &registry(), options("set", Limit::default()), None) else { panic!("no start") };
    running.set("step", "work_ms", 1.into()).unwrap();
    let refused = running.set("step", "work_ms", 5000.into()).unwrap_err();
    assert!(refused.message.contains("5000 is out of range, 0 to 1000"), "{refused}");
    let fixed = running.set("step", "fault", "panic".into()).unwrap_err();
    assert!(fixed.message.contains("cannot change while running"), "{fixed}");
    assert!(running.set("stp", "work_ms", 1.into()).unwrap_err().message.contains("did you mean `step`?"));
    running.stop();
    let report = running.wait();
    assert_eq!(report.status, Status::Stopped, "{:?}", report.failure);
    assert_eq!(report.stopped_at_frame, Some(report.sources[0].admitted));
    assert!(report.nodes.iter().all(|n| n.processed == report.sources[0].admitted), "what was begun is finished");
}

/// left -> a -> notes and right -> b -> notes: two sources, one that writes down what comes of both.
fn two(mode: Mode, left: impl Into<Values>, right: impl Into<Values>, b: impl Into<Values>) -> Sketch {
    const OTHER: Alignment = Alignment::Source(SourceId(1));
    let mut left: Values = left.into();
    left.set("stream", "left", sideline_api::config::Origin::CommandLine);
    Sketch::new(mode)
        .node("left", "numbers", left, &[])
        .node("right", "numbers", right, &[])
        .node("a", "cheap", Values::new(), &[("in", "left", MAIN)])
        .node("b", "heavy", b, &[("in", "right", OTHER)])
        .node("notes", "notes", Values::new(), &[("a", "a", MAIN), ("b", "b", OTHER)])
}

fn with_data(notes: &[(u64, Option<String>)]) -> u64 {
    notes.iter().filter(|(_, reason)| reason.is_none()).count() as u64
}

#[test]
fn two_sources_keep_their_own_books_and_end_each_in_its_time() {
    let (report, notes) = two(Mode::Complete, [("frames", 40)], [("frames", 700)], Values::new()).run(Limit::default());
    assert_eq!(report.status, Status::Done, "{:?}", report.failure);
    let admitted: Vec<u64> = report.sources.iter().map(|source| source.admitted).collect();
    assert_eq!(admitted, [40, 700]);
    assert_eq!(node(&report, "notes").processed, 740);
    assert_eq!(with_data(&notes), 740);
}

#[test]
fn a_source_that_ended_long_before_another_is_no_stall() {
    let sketch = two(Mode::Complete, [("frames", 1)], [("frames", 4), ("every_us", 100_000)], Values::new());
    let (report, _) = sketch.change(|plan| plan.stall = Duration::from_millis(250)).run(Limit::default());
    assert_eq!(report.status, Status::Done, "{:?}", report.failure);
}

#[test]
fn a_source_without_frames_ends_and_one_that_waits_is_no_stall() {
    let (report, notes) = chain(Mode::Complete, [("frames", 0)], Values::new()).run(Limit::default());
    assert_eq!((report.status, notes.len()), (Status::Done, 0), "{:?}", report.failure);
    let numbers = [("frames", 3), ("every_us", 300_000)];
    let sketch = chain(Mode::Live, numbers, Values::new()).change(|plan| plan.stall = Duration::from_millis(100));
    let (report, _) = sketch.run(Limit::default());
    assert_eq!((report.status, report.sources[0].admitted), (Status::Done, 3), "{:?}", report.failure);
}

#[test]
fn the_window_of_each_source_reaches_to_what_reads_both() {
    // What comes of `left` goes on, though nothing comes of `right`.
    let plan = two(Mode::Complete, [("frames", u64::MAX)], [("frames", u64::MAX)], [("fault", "waits")]).0;
    let Ok(running) = start(plan, &registry(), options("window", Limit::default()), None) else { panic!("no start") };
    while running.progress().frames < 1000 {
        std::thread::yield_now();
    }
    running.stop();
    RELEASED.release();
    let report = running.wait();
    assert_eq!(report.status, Status::Stopped, "{:?}", report.failure);
    assert!(report.sources[1].admitted <= 4, "its operator held the first: {:?}", report.sources);
    assert_eq!(report.stopped_at_frame, Some(report.sources[0].admitted), "of the source that came furthest");
}

#[test]
fn a_stop_and_a_limit_end_a_run_though_a_source_never_comes_back() {
    let silent = || -> Values { Values::from([("frames", serde(5)), ("silent_after", serde(true))]) };
    let limit = Limit { frames: Some(5), duration: None };
    let (report, notes) = chain(Mode::Complete, silent(), Values::new()).run(limit);
    assert_eq!((report.status, notes.len()), (Status::Done, 10), "{:?}", report.failure);
    let plan = chain(Mode::Live, silent(), Values::new()).0;
    let Ok(running) = start(plan, &registry(), options("silent", Limit::default()), None) else { panic!("no start") };
    while running.progress().frames < 1 {
        std::thread::yield_now();
    }
    running.stop();
    let report = running.wait();
    assert_eq!(report.status, Status::Stopped, "{:?}", report.failure);
    assert_eq!(closed("silent"), 1);
}

fn serde(value: impl Into<sideline_api::serde_json::Value>) -> sideline_api::serde_json::Value {
    value.into()
}

#[test]
fn what_goes_wrong_in_a_source_ends_the_run_with_its_name() {
    for (fault, text) in [
        ("close-panics", "node `numbers`: panicked while closing"),
        ("close-fails", "node `numbers`: the tape is jammed"),
        ("no-bodies", "node `numbers`: gave 0 bodies for its 1 outputs"),
    ] {
        let (report, _) = chain(Mode::Complete, [("fault", fault)], Values::new()).run(Limit::default());
        assert_eq!(report.status, Status::Partial, "{fault}");
        assert!(!report.reproducible, "{fault}");
        let failure = report.failure.unwrap().message;
        assert!(failure.contains(text), "{fault}: {failure}");
    }
    let plan = chain(Mode::Complete, [("fault", "new-panics")], Values::new()).0;
    let Err(error) = start(plan, &registry(), options("source-panics", Limit::default()), None) else {
        panic!("the run started")
    };
    assert!(error.message.contains("node `numbers`: panicked while it was made"), "{error}");
}

#[test]
fn a_source_that_fails_ends_the_others_where_errors_stop_a_run() {
    let right = [("fail_after", 20)];
    let (report, notes) = two(Mode::Complete, [("frames", u64::MAX)], right, Values::new()).run(Limit::default());
    assert_eq!((report.status, report.exit_code()), (Status::Partial, 3));
    assert_eq!(report.failure.unwrap().message, "node `right`: the cable was pulled");
    let admitted: Vec<u64> = report.sources.iter().map(|source| source.admitted).collect();
    assert_eq!((admitted[1], with_data(&notes)), (20, 20 + admitted[0]), "what was decoded is handled");
    let left = [("frames", 30), ("every_us", 1000)];
    let (report, _) = two(Mode::Live, left, right, Values::new()).run(Limit::default());
    assert_eq!(report.exit_code(), 3);
    let left = report.sources[0].clone();
    assert_eq!(left.admitted + left.forgotten, 30, "live, the other camera goes on");
}

#[test]
fn a_panic_while_a_key_changes_is_a_refusal() {
    let plan = chain(Mode::Live, [("frames", 1_000_000), ("every_us", 200)], Values::new()).0;
    let Ok(running) = start(plan, &registry(), options("change", Limit::default()), None) else { panic!("no start") };
    let refused = running.set("step", "work_ms", 999.into()).unwrap_err();
    assert!(refused.message.contains("panicked"), "{refused}");
    running.stop();
    assert_eq!(running.wait().status, Status::Stopped);
}

#[test]
fn a_run_whose_keys_changed_is_not_reproducible() {
    let plan = chain(Mode::Complete, [("frames", 50), ("every_us", 2000)], Values::new()).0;
    let Ok(running) = start(plan, &registry(), options("changed", Limit::default()), None) else { panic!("no start") };
    running.set("step", "work_ms", 0.into()).unwrap();
    let report = running.wait();
    assert_eq!((report.status, report.reproducible), (Status::Done, false), "{:?}", report.failure);
}

#[test]
fn a_module_s_id_means_every_operator_in_it_and_a_refusal_leaves_them_all() {
    let sketch = Sketch::new(Mode::Live)
        .node("numbers", "numbers", [("frames", 1_000_000), ("every_us", 200)], &[])
        .node("m.one", "heavy", Values::new(), &[("in", "numbers", MAIN)])
        .node("m.two", "heavy", Values::new(), &[("in", "m.one", MAIN)])
        .node("notes", "notes", Values::new(), &[("a", "m.two", MAIN)]);
    let Ok(running) = start(sketch.0, &registry(), options("module", Limit::default()), None) else {
        panic!("no start")
    };
    let changed = running.set("m", "work_ms", 1.into()).unwrap();
    let told: Vec<_> = changed.iter().map(|change| (change.node.as_str(), &change.old, &change.new)).collect();
    assert_eq!(told, [("m.one", &0.into(), &1.into()), ("m.two", &0.into(), &1.into())]);
    let alone = running.set("m.two", "work_ms", 2.into()).unwrap();
    assert_eq!((alone.len(), &alone[0].old), (1, &1.into()));
    assert!(running.set("m", "work_ms", 5000.into()).unwrap_err().message.contains("out of range"));
    let after = running.set("m", "work_ms", 0.into()).unwrap();
    assert_eq!((&after[0].old, &after[1].old), (&1.into(), &2.into()), "what was refused changed neither");
    let unknown = running.set("m", "wrk_ms", 0.into()).unwrap_err();
    assert!(unknown.message.contains("did you mean `work_ms`?"), "{unknown}");
    assert!(running.set("numbers", "frames", 3.into()).unwrap_err().message.contains("needs a restart"));
    let look = running.look();
    assert_eq!(
        look.edges.iter().map(|edge| edge.from.as_str()).collect::<Vec<_>>(),
        ["numbers/out", "m.one/out", "m.two/out"]
    );
    running.stop();
    let report = running.wait();
    assert_eq!(report.changes.len(), 5, "{:?}", report.changes);
}

/// A source of three streams, and what its streams were in the order of the notes.
fn streams(run: &str, mode: Mode, numbers: impl Into<Values>, limit: Limit) -> (Report, Vec<String>) {
    let mut numbers: Values = numbers.into();
    numbers.set("streams", 3, sideline_api::config::Origin::CommandLine);
    let sketch = Sketch::new(mode).node("numbers", "numbers", numbers, &[]).node(
        "notes",
        "notes",
        Values::new(),
        &[("a", "numbers", MAIN)],
    );
    let Ok(running) = start(sketch.0, &registry(), options(run, limit), None) else { panic!("no start") };
    let report = running.wait();
    let order = STREAMS.lock().unwrap().iter().filter(|note| note.0 == run).map(|note| note.1.clone()).collect();
    (report, order)
}

#[test]
fn complete_streams_take_turns_until_each_ends() {
    let (report, order) = streams("turns", Mode::Complete, [("frames", 40)], Limit::default());
    assert_eq!((report.status, report.reproducible), (Status::Done, true), "{:?}", report.failure);
    let rounds = (0..38).flat_map(|_| ["main", "main1", "main2"]).chain(["main", "main1", "main"]);
    assert_eq!(order, rounds.collect::<Vec<_>>());
    let counts: Vec<_> =
        report.sources[0].streams.iter().map(|s| (s.stream.as_str(), s.decoded, s.admitted, s.forgotten)).collect();
    assert_eq!(counts, [("main", 40, 40, 0), ("main1", 39, 39, 0), ("main2", 38, 38, 0)]);
    let limit = Limit { frames: Some(7), duration: None };
    let (report, order) = streams("limited", Mode::Complete, [("frames", 40)], limit);
    assert_eq!((report.status, order.len()), (Status::Done, 21), "{:?}", report.failure);
    let duration = Limit { frames: None, duration: Some(Duration::from_millis(7)) };
    assert_eq!(streams("timed", Mode::Complete, [("frames", 40)], duration).1.len(), 21);
}

#[test]
fn a_stream_ends_when_it_is_over_though_others_of_its_source_go_on() {
    // `main` has 40 frames, `main1` 39, `main2` 38.
    let (report, _) = streams("ends", Mode::Complete, [("frames", 40)], Limit::default());
    assert_eq!(report.status, Status::Done, "{:?}", report.failure);
    let ends: Vec<_> =
        ENDS.lock().unwrap().iter().filter(|end| end.0 == "ends").map(|end| (end.1.clone(), end.2)).collect();
    let expected = [("main2", 38 + 39 + 39), ("main1", 38 + 39 + 40), ("main", 38 + 39 + 40)];
    assert_eq!(ends, expected.map(|(stream, notes)| (stream.to_owned(), notes)));
}

#[test]
fn two_sources_of_one_stream_name_end_the_run() {
    let plan = two(Mode::Complete, Values::new(), [("stream", "left")], Values::new()).0;
    let Ok(running) = start(plan, &registry(), options("names", Limit::default()), None) else { panic!("no start") };
    let error = running.wait().failure.unwrap();
    assert_eq!(error.failure.exit_code(), 1);
    assert!(error.message.contains("stream `left` has the name of a stream of"), "{error}");
    assert_eq!(closed("names"), 1);
}

#[test]
fn a_cause_takes_the_place_of_its_consequence() {
    let plan = chain(Mode::Live, [("frames", 1_000_000), ("every_us", 200)], Values::new()).0;
    let Ok(running) = start(plan, &registry(), options("cause", Limit::default()), None) else { panic!("no start") };
    running.fail(Error::other("a neighbor ended").as_consequence());
    running.fail(Error::model("the weights are gone"));
    running.fail(Error::other("something later"));
    assert_eq!(running.wait().failure, Some(Error::model("the weights are gone")));
}

#[test]
fn a_restart_has_the_time_of_a_start() {
    let step = Values::from([("fault", serde("panic")), ("new_ms", serde(300))]);
    let sketch = chain(Mode::Live, [("frames", 400), ("every_us", 500)], step).change(|plan| {
        (plan.stall, plan.start) = (Duration::from_millis(100), Duration::from_secs(30));
    });
    let (report, _) = sketch.run(Limit::default());
    assert_eq!((report.status, node(&report, "step").panics), (Status::Done, 1), "{:?}", report.failure);
}

#[test]
fn an_operator_that_hangs_while_a_key_changes_is_named() {
    let plan = chain(Mode::Live, [("frames", 1_000_000), ("every_us", 200)], Values::new())
        .change(|plan| plan.stall = Duration::from_millis(200))
        .0;
    let Ok(running) = start(plan, &registry(), options("hangs", Limit::default()), None) else { panic!("no start") };
    let refused = running.set("step", "work_ms", 777.into()).unwrap_err();
    assert!(refused.message.contains("node `step` hangs since key `work_ms` was to change"), "{refused}");
    let failure = running.wait().failure.unwrap().message;
    assert_eq!(failure, "node `step` did not answer for 0.2 s (SIDELINE_STALL_S), since a key was to change");
}

#[test]
fn a_setting_does_not_wait_behind_what_a_busy_source_posts() {
    // `step` is cheap and lives on the lane of its source, which always has a frame.
    let sketch = Sketch::new(Mode::Complete)
        .node("numbers", "numbers", [("frames", u64::MAX)], &[])
        .node("step", "cheap", [("work_ms", 1)], &[("in", "numbers", MAIN)])
        .node("notes", "notes", Values::new(), &[("a", "step", MAIN)]);
    let Ok(running) = start(sketch.0, &registry(), options("busy", Limit::default()), None) else { panic!("no start") };
    while running.progress().frames < 100 {
        std::thread::yield_now();
    }
    let waited = (0..5).map(|_| {
        let before = running.look().nodes[0].frames;
        let change = running.set("step", "work_ms", 1.into()).unwrap().remove(0);
        change.from_frame["main"] - before
    });
    let least = waited.min().unwrap();
    assert!(least < 40, "{least} frames passed");
    running.stop();
    assert_eq!(running.wait().status, Status::Stopped);
}

#[test]
fn a_plan_that_names_no_operator_of_ours_makes_nothing() {
    let sketch =
        chain(Mode::Complete, Values::new(), Values::new()).change(|plan| plan.nodes[2].operator = "heavi".into());
    let Err(error) = start(sketch.0, &registry(), options("unknown", Limit::default()), None) else {
        panic!("it started")
    };
    assert!(error.message.contains("node `step`: there is no operator `heavi`; did you mean `heavy`?"), "{error}");
    assert_eq!(closed("unknown"), 0, "nothing was made");
    let sketch =
        chain(Mode::Complete, Values::new(), Values::new()).change(|plan| plan.nodes[1].operator = "numbers".into());
    let Err(error) = start(sketch.0, &registry(), options("source", Limit::default()), None) else {
        panic!("it started")
    };
    assert!(error.message.contains("node `cheap`: `numbers` is a source"), "{error}");
}

#[test]
fn a_run_of_no_frames_ends_in_order() {
    let (report, notes) =
        chain(Mode::Complete, Values::new(), Values::new()).run(Limit { frames: Some(0), duration: None });
    assert_eq!((report.status, report.sources[0].decoded, notes.len()), (Status::Done, 0, 0), "{:?}", report.failure);
}

#[test]
fn a_limit_counts_the_frames_of_the_run_alone() {
    let (report, _) =
        chain(Mode::Complete, Values::new(), Values::new()).run(Limit { frames: Some(25), duration: None });
    let source = &report.sources[0];
    assert_eq!((source.decoded, source.admitted, source.forgotten, source.unfinished), (25, 25, 0, 0));
}

#[test]
fn many_streams_end_in_a_window_of_one() {
    let sketch = Sketch::new(Mode::Complete)
        .node("numbers", "numbers", [("frames", 60), ("streams", 50)], &[])
        .node("slow", "heavy", Values::new(), &[("in", "numbers", MAIN)])
        .node("notes", "notes", Values::new(), &[("a", "slow", MAIN), ("b", "numbers", MAIN)])
        .change(|plan| plan.window = 1);
    let (report, _) = sketch.run(Limit::default());
    assert_eq!(report.status, Status::Done, "{:?}", report.failure);
    assert_eq!(report.sources[0].streams.len(), 50);
    assert!(report.nodes.iter().all(|node| node.processed == report.sources[0].admitted));
}

#[test]
fn live_every_stream_moves_and_has_books_of_its_own() {
    let numbers = [("frames", 60), ("every_us", 300)];
    let (report, _) = streams("live", Mode::Live, numbers, Limit::default());
    assert_eq!(report.status, Status::Done, "{:?}", report.failure);
    for (i, stream) in (0..).zip(&report.sources[0].streams) {
        assert_eq!((stream.decoded, stream.admitted + stream.forgotten), (60 - i, 60 - i), "{stream:?}");
        assert!(stream.admitted > 0, "{stream:?}");
    }
}

#[test]
fn streams_that_fail_leave_the_others_and_are_all_named() {
    let (report, order) = streams("failing", Mode::Complete, [("fail_after", 20)], Limit::default());
    assert_eq!((report.status, report.exit_code(), order.len()), (Status::Partial, 3, 60));
    let lines = ["node `numbers`: the cable was pulled"; 3].join("\n");
    assert_eq!(report.failure.unwrap().message, lines);
    // `main` alone comes to 39.
    let (report, order) = streams("one", Mode::Complete, [("frames", 40), ("fail_after", 39)], Limit::default());
    assert_eq!((report.exit_code(), order.len()), (3, 39 + 39 + 38));
}
