//! Guarantees of a run, tested with small operators and hand-written plans.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sideline_api::{
    Alignment, Body, CapturedFrame, Config, Context, Error, Inputs, Mode, OnError, Operator, Outputs, Payload,
    PortType, Registry, Resources, Result, Source, SourceContext, SourceId, Spec, Table, Values, WiredInput,
    tables::Count,
};
use sideline_engine::{
    Options,
    gate::RunLimit,
    meter::{Report, RunStatus},
    start,
};
use sideline_graph::plan::{Edge, LaneId, NodeId, Plan, PlanNode, Producer};

/// Source of numbered frames.
#[derive(Clone, Config)]
struct NumbersConfig {
    /// Number of frames.
    #[config(default = 100)]
    frames: u64,
    /// Number of frames after which the source fails.
    #[config(default = None)]
    fail_after: Option<u64>,
    /// Microseconds between frames.
    #[config(default = 0)]
    every_us: u64,
    /// Never returns after the last frame, even when the run is stopped, like a camera that sends nothing.
    #[config(default = false)]
    silent_after: bool,
    /// Injected fault: `new-panics`, `close-panics`, `close-fails`, `no-bodies`, or none.
    #[config(default = "")]
    fault: String,
    /// Name of the stream.
    #[config(default = "main")]
    stream: String,
    /// Number of streams: `main`, `main1` and so on, each with one frame less than the one before.
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
    fn next(&mut self, cx: &SourceContext) -> Result<Option<CapturedFrame>> {
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
        Ok(Some(CapturedFrame {
            stream: self.0.stream.as_str().into(),
            session: 0,
            pts: i as i64 * 1_000_000,
            captured_at: cx.clock.now(),
            outputs: if self.0.fault == "no-bodies" { vec![] } else { vec![body] },
        }))
    }
    fn close(&mut self) -> Result<()> {
        assert!(self.0.fault != "close-panics", "it cannot be closed");
        if self.0.fault == "close-fails" { Err(Error::input("the tape is jammed")) } else { Ok(()) }
    }
}

/// Operator that forwards its input, with injected faults.
#[derive(Clone, Config)]
struct StepConfig {
    /// Milliseconds of work per frame.
    #[config(default = 0, live, range(0, 1000))]
    work_ms: u64,
    /// Injected fault: `panic`, `error`, `hang` at frame 50; `waits` at frame 0; `end-fails`, `end-hangs`; `new-hangs`,
    /// `new-fails`, `new-panics`; or none.
    #[config(default = "")]
    fault: String,
    /// Milliseconds that the creation of the operator takes.
    #[config(default = 0)]
    new_ms: u64,
    /// One frame in so many fails with an error, another one panics; 0 disables these faults.
    #[config(default = 0)]
    fail_one_in: u64,
    /// Number that determines which frames fail.
    #[config(default = 0)]
    seed: u64,
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
        match cx.seed().wrapping_add(self.0.seed).checked_rem(self.0.fail_one_in) {
            Some(0) => return Err(Error::other("a random error")),
            Some(1) => panic!("a random panic"),
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(self.0.work_ms));
        *state += 1;
        out.rows("out", &input.rows::<Count>("in")?.unwrap_or_default())
    }
    fn stream_ended(&mut self, _: &Context, _: &Inputs, _: &mut u64, _: &mut Outputs) -> Result<()> {
        if self.0.fault == "end-fails" {
            return Err(Error::other("no end"));
        }
        if self.0.fault == "end-hangs" {
            loop {
                std::thread::park();
            }
        }
        Ok(())
    }
    fn reconfigure(&mut self, config: &StepConfig) -> Result<()> {
        assert!(config.work_ms != 999, "the new value is rejected");
        if config.work_ms == 777 {
            loop {
                std::thread::park();
            }
        }
        self.0 = config.clone();
        Ok(())
    }
}

/// Sink that notes the messages it receives.
#[derive(Clone, Config)]
struct NotesConfig {}

struct Notes(String);

/// Releases operators with the fault `waits` from their first frame.
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

/// Notes of every input of every frame: run, frame number, and the reason for missing data.
static NOTES: Mutex<Vec<(String, u64, Option<String>)>> = Mutex::new(Vec::new());
/// Run and stream of every note, in the same order.
static STREAMS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
/// Run of every sink that was closed.
static CLOSED: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Ends of streams: run, stream, and number of notes of the run so far.
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
        for (port, message) in input.all().filter(|(port, _)| port.alignment.is_aligned()) {
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

/// Builder of a plan, node by node.
struct PlanBuilder(Plan);

impl PlanBuilder {
    fn new(mode: Mode) -> Self {
        PlanBuilder(Plan { start_timeout: Duration::from_millis(500), ..Plan::new("test", mode, vec![]) })
    }

    /// Adds a node. Each input is (port, producing node, alignment).
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
            if alignment.is_aligned() {
                plan.nodes[producer].is_sink = false;
            }
            if !spec.is_heavy {
                lane = plan.nodes[producer].lane;
            }
            let input = WiredInput::new(*port, &spec.find_input(port).unwrap(), format!("{from}/out"), *alignment);
            let input = WiredInput { source: Some(plan.nodes[producer].source), ..input };
            wired.push(Edge::new(input, Producer::Node { node: NodeId(producer), output: 0 }));
        }
        plan.lanes = plan.lanes.max(lane.0 + 1);
        plan.nodes.push(PlanNode {
            on_error: OnError::default_for(plan.mode),
            inputs: wired,
            lane,
            source: if spec.is_source { SourceId(sources) } else { source },
            ..PlanNode::new(id, &spec, values)
        });
        self
    }

    fn with(mut self, f: impl FnOnce(&mut Plan)) -> Self {
        f(&mut self.0);
        self
    }

    /// Runs the plan. Returns the report and the notes: frame number and reason for missing data.
    fn run(self, limit: RunLimit) -> (Report, Vec<(u64, Option<String>)>) {
        static RUN: AtomicU64 = AtomicU64::new(0);
        let run = format!("run-{}", RUN.fetch_add(1, Ordering::Relaxed));
        let report = match start(self.0, &registry(), options(&run, limit), None) {
            Ok(running) => running.wait(),
            Err(error) => panic!("{error}"),
        };
        let notes = NOTES.lock().unwrap().iter().filter(|n| n.0 == run).map(|n| (n.1, n.2.clone())).collect();
        assert_eq!(closed_count(&run), 1, "the sink is closed exactly once, however the run ends");
        (report, notes)
    }
}

/// Number of times that the sink of a run was closed.
fn closed_count(run: &str) -> usize {
    CLOSED.lock().unwrap().iter().filter(|r| *r == run).count()
}

fn options(run: &str, limit: RunLimit) -> Options {
    Options { limit, ..Options::new(run, ".") }
}

const MAIN: Alignment = Alignment::Source(SourceId(0));

/// numbers -> cheap -> step -> notes, and cheap -> notes.
fn chain(mode: Mode, numbers: impl Into<Values>, step: impl Into<Values>) -> PlanBuilder {
    PlanBuilder::new(mode)
        .node("numbers", "numbers", numbers, &[])
        .node("cheap", "cheap", Values::new(), &[("in", "numbers", MAIN)])
        .node("step", "heavy", step, &[("in", "cheap", MAIN)])
        .node("notes", "notes", Values::new(), &[("a", "step", MAIN), ("b", "cheap", MAIN)])
}

fn node<'a>(report: &'a Report, id: &str) -> &'a sideline_engine::meter::NodeReport {
    report.nodes.iter().find(|n| n.node == id).unwrap()
}

#[test]
fn complete_mode_drops_no_frame_and_preserves_order() {
    let (report, notes) = chain(Mode::Complete, [("frames", 500)], Values::new()).run(RunLimit::default());
    assert_eq!(report.status, RunStatus::Done, "{:?}", report.failure);
    assert!(report.reproducible);
    let source = &report.sources[0];
    assert_eq!((source.counts.decoded, source.counts.admitted, source.counts.dropped), (500, 500, 0));
    let expected: Vec<_> = (0..500).flat_map(|i| [(i, None), (i, None)]).collect();
    assert_eq!(notes, expected);
    assert!(report.nodes.iter().all(|n| n.counts.processed == 500));
}

#[test]
fn a_slow_operator_makes_a_live_source_drop_frames_and_the_counts_add_up() {
    let numbers = [("frames", 400), ("every_us", 200)];
    let (report, notes) = chain(Mode::Live, numbers, [("work_ms", 3)]).run(RunLimit::default());
    let source = &report.sources[0];
    assert_eq!(report.status, RunStatus::Done, "{:?}", report.failure);
    assert!(source.counts.dropped > 0, "{source:?}");
    assert_eq!((source.counts.decoded, source.counts.admitted + source.counts.dropped), (400, 400));
    assert_eq!(notes.len() as u64, 2 * source.counts.admitted);
    assert!(!report.reproducible);
}

#[test]
fn an_error_stops_a_run_in_complete_mode_and_names_node_and_frame() {
    let (report, notes) = chain(Mode::Complete, Values::new(), [("fault", "error")]).run(RunLimit::default());
    assert_eq!(report.status, RunStatus::Partial);
    assert_eq!(report.failure.unwrap().message, "node `step`, frame 50 of stream `main`: fifty is wrong");
    assert!(notes.iter().all(|(frame, _)| *frame <= 50));
}

#[test]
fn a_panic_in_live_mode_skips_the_frame_and_restarts_the_operator() {
    let numbers = [("frames", 2000), ("every_us", 100)];
    let (report, notes) = chain(Mode::Live, numbers, [("fault", "panic")]).run(RunLimit::default());
    assert_eq!(report.status, RunStatus::Done, "{:?}", report.failure);
    let step = node(&report, "step");
    assert_eq!((step.counts.panics, step.counts.processed), (1, report.sources[0].counts.admitted - 1));
    assert_eq!(step.first_error.as_deref(), Some("panic: fifty is too much"));
    assert!(notes.contains(&(50, Some("panic".into()))));
    assert!(!report.reproducible);
}

#[test]
fn skips_propagate_with_the_reason_of_the_first_one() {
    let builder = chain(Mode::Complete, [("frames", 30)], Values::new()).with(|plan| plan.nodes[1].stride = 3);
    let (report, notes) = builder.run(RunLimit::default());
    let step = node(&report, "step");
    assert_eq!((step.counts.processed, step.counts.skipped.get("stride")), (10, Some(&20)));
    assert_eq!(notes.iter().filter(|n| n.1 == Some("stride".into())).count(), 40);
}

#[test]
fn a_hang_ends_the_run_after_the_stall_timeout_and_names_the_node() {
    let builder = chain(Mode::Complete, Values::new(), [("fault", "hang")])
        .with(|plan| plan.stall_timeout = Duration::from_millis(200));
    let (report, _) = builder.run(RunLimit::default());
    let failure = report.failure.unwrap().message;
    assert_eq!(failure, "node `step` did not answer for 0.2 s (SIDELINE_STALL_S), since frame 50");
}

#[test]
fn a_run_that_its_caller_holds_back_has_not_stalled() {
    let run = |name: &str, is_held: bool| {
        let builder = PlanBuilder::new(Mode::Complete)
            .node("numbers", "numbers", [("frames", 1)], &[])
            .node("slow", "heavy", [("work_ms", 700)], &[("in", "numbers", MAIN)])
            .node("notes", "notes", Values::new(), &[("a", "slow", MAIN)])
            .with(|plan| plan.stall_timeout = Duration::from_millis(150));
        let options = Options { is_held: Arc::new(AtomicBool::new(is_held)), ..options(name, RunLimit::default()) };
        let Ok(running) = start(builder.0, &registry(), options, None) else { panic!("no start") };
        running.wait().failure.map(|failure| failure.message)
    };
    assert_eq!(run("held", true), None);
    let failure = run("not held", false).unwrap();
    assert!(failure.contains("node `slow` did not answer for 0.15 s"), "{failure}");
}

#[test]
fn the_end_of_a_stream_has_the_timeout_of_closing() {
    let builder = chain(Mode::Complete, [("frames", 3)], [("fault", "end-hangs")])
        .with(|plan| plan.stall_timeout = Duration::from_millis(50));
    let (report, _) = builder.run(RunLimit::default());
    let failure = report.failure.unwrap().message;
    assert_eq!(failure, "node `step` did not finish the end of a stream within 0.3 s (6 times SIDELINE_STALL_S)");
}

#[test]
fn a_failure_to_create_an_operator_ends_the_start_and_closes_the_others() {
    for (fault, code, text) in [
        ("new-fails", 2, "node `step`: weights.onnx is not a model"),
        ("new-panics", 6, "node `step`: panicked while it was created"),
        ("new-hangs", 6, "node `step` was not ready within 0.5 s"),
    ] {
        let plan = chain(Mode::Complete, Values::new(), [("fault", fault)]).0;
        let Err(error) = start(plan, &registry(), options(fault, RunLimit::default()), None) else {
            panic!("{fault}: the run started")
        };
        assert!(error.message.contains(text), "{fault}: {error}");
        assert_eq!(error.failure.exit_code(), code, "{fault}");
        assert_eq!(closed_count(fault), 1, "{fault}");
    }
}

#[test]
fn a_stop_during_the_start_ends_it_before_the_start_hook() {
    let plan = chain(Mode::Complete, Values::new(), [("fault", "new-hangs")])
        .with(|plan| plan.start_timeout = Duration::from_secs(3600))
        .0;
    let hook_called = Arc::new(AtomicBool::new(false));
    let called = hook_called.clone();
    let options = Options {
        stop_requested: Arc::new(AtomicBool::new(true)),
        on_start: Some(Arc::new(move || {
            called.store(true, Ordering::SeqCst);
            Ok(())
        })),
        ..options("stopped early", RunLimit::default())
    };
    let Err(error) = start(plan, &registry(), options, None) else { panic!("it started") };
    assert!(error.message.contains("stopped while operators were being created"), "{error}");
    assert!(!hook_called.load(Ordering::SeqCst));
}

#[test]
fn the_start_hook_is_called_once_after_creation_and_before_the_first_frame() {
    let start_with = |fault: &str, result: Result<()>| {
        let calls = Arc::new(AtomicU64::new(0));
        let counter = calls.clone();
        let run = format!("start hook {fault} {}", result.is_ok());
        let options = Options {
            on_start: Some(Arc::new(move || {
                counter.fetch_add(1, Ordering::SeqCst);
                result.clone()
            })),
            ..options(&run, RunLimit::default())
        };
        let plan = chain(Mode::Complete, [("frames", 3)], [("fault", fault)]).0;
        let ended = start(plan, &registry(), options, None).map(|running| running.wait());
        let notes = NOTES.lock().unwrap().iter().filter(|note| note.0 == run).count();
        (calls.load(Ordering::SeqCst), ended.is_ok(), notes > 0)
    };
    assert_eq!(start_with("", Ok(())), (1, true, true));
    assert_eq!(start_with("new-fails", Ok(())), (0, false, false));
    assert_eq!(start_with("", Err(Error::output("the disk is full"))), (1, false, false));
}

#[test]
fn a_start_hook_that_panics_leaves_no_operator_open() {
    let options = Options {
        on_start: Some(Arc::new(|| panic!("the hook panics"))),
        ..options("hook panics", RunLimit::default())
    };
    let plan = chain(Mode::Complete, [("frames", 3)], Values::new()).0;
    let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| start(plan, &registry(), options, None)));
    assert!(started.is_err());
    assert_eq!(closed_count("hook panics"), 1);
    assert!(!NOTES.lock().unwrap().iter().any(|note| note.0 == "hook panics"), "a frame was read");
}

#[test]
fn a_stop_requested_by_the_caller_ends_a_running_flow() {
    let stop_requested = Arc::new(AtomicBool::new(false));
    let options = Options { stop_requested: stop_requested.clone(), ..options("asked", RunLimit::default()) };
    let plan = chain(Mode::Live, [("frames", 1_000_000), ("every_us", 1000)], Values::new()).0;
    let Ok(running) = start(plan, &registry(), options, None) else { panic!("no start") };
    while running.progress().frames < 3 {
        std::thread::yield_now();
    }
    stop_requested.store(true, Ordering::SeqCst);
    let report = running.wait();
    assert_eq!((report.status, report.failure), (RunStatus::Stopped, None));
    assert_eq!(closed_count("asked"), 1);
}

#[test]
fn a_source_that_fails_leaves_a_partial_result_with_all_its_frames() {
    let (report, notes) = chain(Mode::Complete, [("fail_after", 20)], Values::new()).run(RunLimit::default());
    assert_eq!((report.status, report.exit_code()), (RunStatus::Partial, 3));
    assert_eq!(report.failure.unwrap().message, "node `numbers`: the cable was pulled");
    assert_eq!(notes.len(), 40);
}

#[test]
fn limits_of_frames_and_duration_end_a_run_at_the_same_frame_every_time() {
    for limit in [
        RunLimit { frames: Some(25), duration: None },
        RunLimit { frames: None, duration: Some(Duration::from_millis(25)) },
    ] {
        let (report, notes) = chain(Mode::Complete, Values::new(), Values::new()).run(limit);
        assert_eq!(report.status, RunStatus::Done, "{:?}", report.failure);
        assert_eq!((report.sources[0].counts.admitted, notes.len()), (25, 50));
        if limit.frames.is_some() {
            assert_eq!(
                (report.sources[0].counts.decoded, report.sources[0].counts.dropped),
                (25, 0),
                "no frame is decoded beyond the limit"
            );
        }
    }
}

#[test]
fn a_side_input_never_delays_a_frame_and_drops_its_oldest_message() {
    let side = Alignment::Side { queue: 2 };
    let builder = PlanBuilder::new(Mode::Live)
        .node("numbers", "numbers", [("frames", 300), ("every_us", 100)], &[])
        .node("slow", "heavy", [("work_ms", 5)], &[("in", "numbers", side)])
        .node("notes", "notes", Values::new(), &[("a", "numbers", MAIN), ("side", "slow", side)])
        .with(|plan| plan.nodes[1].is_sink = false);
    let (report, _) = builder.run(RunLimit::default());
    assert_eq!(report.status, RunStatus::Done, "{:?}", report.failure);
    let (slow, admitted) = (node(&report, "slow"), report.sources[0].counts.admitted);
    assert!(slow.counts.side_dropped > 0, "the operator is slower than the source");
    assert_eq!(slow.counts.processed + slow.counts.side_dropped, admitted);
    assert_eq!(node(&report, "notes").counts.processed, admitted);
}

#[test]
fn a_live_setting_changes_while_running_and_a_refused_value_keeps_the_old_one() {
    let plan = chain(Mode::Live, [("frames", 1_000_000), ("every_us", 200)], Values::new()).0;
    let Ok(running) = start(plan, &registry(), options("set", RunLimit::default()), None) else { panic!("no start") };
    running.set("step", "work_ms", 1.into()).unwrap();
    let refused = running.set("step", "work_ms", 5000.into()).unwrap_err();
    assert!(refused.message.contains("5000 is out of range, 0 to 1000"), "{refused}");
    let fixed = running.set("step", "fault", "panic".into()).unwrap_err();
    assert!(fixed.message.contains("cannot change while running"), "{fixed}");
    assert!(running.set("stp", "work_ms", 1.into()).unwrap_err().message.contains("did you mean `step`?"));
    running.stop();
    let report = running.wait();
    assert_eq!(report.status, RunStatus::Stopped, "{:?}", report.failure);
    assert_eq!(report.stopped_at_frame, Some(report.sources[0].counts.admitted));
    assert!(
        report.nodes.iter().all(|n| n.counts.processed == report.sources[0].counts.admitted),
        "admitted frames are finished"
    );
}

/// left -> a -> notes and right -> b -> notes: two sources with one common sink.
fn two_sources(mode: Mode, left: impl Into<Values>, right: impl Into<Values>, b: impl Into<Values>) -> PlanBuilder {
    const OTHER: Alignment = Alignment::Source(SourceId(1));
    let mut left: Values = left.into();
    left.set("stream", "left", sideline_api::config::Origin::CommandLine);
    PlanBuilder::new(mode)
        .node("left", "numbers", left, &[])
        .node("right", "numbers", right, &[])
        .node("a", "cheap", Values::new(), &[("in", "left", MAIN)])
        .node("b", "heavy", b, &[("in", "right", OTHER)])
        .node("notes", "notes", Values::new(), &[("a", "a", MAIN), ("b", "b", OTHER)])
}

/// Number of notes of inputs that had data.
fn with_data(notes: &[(u64, Option<String>)]) -> u64 {
    notes.iter().filter(|(_, reason)| reason.is_none()).count() as u64
}

#[test]
fn two_sources_are_accounted_for_separately_and_end_independently() {
    let (report, notes) =
        two_sources(Mode::Complete, [("frames", 40)], [("frames", 700)], Values::new()).run(RunLimit::default());
    assert_eq!(report.status, RunStatus::Done, "{:?}", report.failure);
    let admitted: Vec<u64> = report.sources.iter().map(|source| source.counts.admitted).collect();
    assert_eq!(admitted, [40, 700]);
    assert_eq!(node(&report, "notes").counts.processed, 740);
    assert_eq!(with_data(&notes), 740);
}

#[test]
fn a_source_that_ends_long_before_another_is_no_stall() {
    let builder = two_sources(Mode::Complete, [("frames", 1)], [("frames", 4), ("every_us", 100_000)], Values::new());
    let (report, _) = builder.with(|plan| plan.stall_timeout = Duration::from_millis(250)).run(RunLimit::default());
    assert_eq!(report.status, RunStatus::Done, "{:?}", report.failure);
}

#[test]
fn a_source_without_frames_ends_and_a_slow_source_is_no_stall() {
    let (report, notes) = chain(Mode::Complete, [("frames", 0)], Values::new()).run(RunLimit::default());
    assert_eq!((report.status, notes.len()), (RunStatus::Done, 0), "{:?}", report.failure);
    let numbers = [("frames", 3), ("every_us", 300_000)];
    let builder =
        chain(Mode::Live, numbers, Values::new()).with(|plan| plan.stall_timeout = Duration::from_millis(100));
    let (report, _) = builder.run(RunLimit::default());
    assert_eq!((report.status, report.sources[0].counts.admitted), (RunStatus::Done, 3), "{:?}", report.failure);
}

#[test]
fn each_source_has_a_window_of_its_own_up_to_the_common_sink() {
    // Frames of `left` are processed although the operator behind `right` waits.
    let plan = two_sources(Mode::Complete, [("frames", u64::MAX)], [("frames", u64::MAX)], [("fault", "waits")]).0;
    let Ok(running) = start(plan, &registry(), options("window", RunLimit::default()), None) else {
        panic!("no start")
    };
    while running.progress().frames < 1000 {
        std::thread::yield_now();
    }
    running.stop();
    RELEASED.release();
    let report = running.wait();
    assert_eq!(report.status, RunStatus::Stopped, "{:?}", report.failure);
    assert!(report.sources[1].counts.admitted <= 4, "its operator waits at the first frame: {:?}", report.sources);
    let finished = report.sources.iter().map(|source| source.counts.admitted - source.unfinished).sum();
    assert_eq!(report.stopped_at_frame, Some(finished), "the frames of both sources");
}

#[test]
fn a_stop_is_reported_with_the_number_of_finished_frames_of_all_streams() {
    let numbers = [("frames", 1_000_000), ("every_us", 200), ("streams", 3)];
    let plan = chain(Mode::Live, numbers, Values::new()).0;
    let Ok(running) = start(plan, &registry(), options("frames", RunLimit::default()), None) else {
        panic!("no start")
    };
    while running.progress().frames < 30 {
        std::thread::yield_now();
    }
    running.stop();
    let report = running.wait();
    let admitted: u64 = report.sources[0].streams.iter().map(|stream| stream.counts.admitted).sum();
    assert_eq!((report.stopped_at_frame, report.sources[0].unfinished), (Some(admitted), 0), "{:?}", report.failure);
    assert!(report.table().contains(&format!(", stopped after {admitted} frames\n")), "{}", report.table());
}

#[test]
fn a_stop_and_a_limit_end_a_run_whose_source_never_returns() {
    let silent = || -> Values { Values::from([("frames", serde(5)), ("silent_after", serde(true))]) };
    let limit = RunLimit { frames: Some(5), duration: None };
    let (report, notes) = chain(Mode::Complete, silent(), Values::new()).run(limit);
    assert_eq!((report.status, notes.len()), (RunStatus::Done, 10), "{:?}", report.failure);
    let plan = chain(Mode::Live, silent(), Values::new()).0;
    let Ok(running) = start(plan, &registry(), options("silent", RunLimit::default()), None) else {
        panic!("no start")
    };
    while running.progress().frames < 1 {
        std::thread::yield_now();
    }
    running.stop();
    let report = running.wait();
    assert_eq!(report.status, RunStatus::Stopped, "{:?}", report.failure);
    assert_eq!(closed_count("silent"), 1);
}

fn serde(value: impl Into<sideline_api::serde_json::Value>) -> sideline_api::serde_json::Value {
    value.into()
}

#[test]
fn a_failure_of_a_source_ends_the_run_and_names_the_source() {
    for (fault, text) in [
        ("close-panics", "node `numbers`: panicked while closing"),
        ("close-fails", "node `numbers`: the tape is jammed"),
        ("no-bodies", "node `numbers`: returned 0 bodies for its 1 outputs"),
    ] {
        let (report, _) = chain(Mode::Complete, [("fault", fault)], Values::new()).run(RunLimit::default());
        assert_eq!(report.status, RunStatus::Partial, "{fault}");
        assert!(!report.reproducible, "{fault}");
        let failure = report.failure.unwrap().message;
        assert!(failure.contains(text), "{fault}: {failure}");
    }
    let plan = chain(Mode::Complete, [("fault", "new-panics")], Values::new()).0;
    let Err(error) = start(plan, &registry(), options("source-panics", RunLimit::default()), None) else {
        panic!("the run started")
    };
    assert!(error.message.contains("node `numbers`: panicked while it was created"), "{error}");
}

#[test]
fn a_source_that_fails_stops_the_others_only_where_errors_stop_a_run() {
    let right = [("fail_after", 20)];
    let (report, notes) =
        two_sources(Mode::Complete, [("frames", u64::MAX)], right, Values::new()).run(RunLimit::default());
    assert_eq!((report.status, report.exit_code()), (RunStatus::Partial, 3));
    assert_eq!(report.failure.unwrap().message, "node `right`: the cable was pulled");
    let admitted: Vec<u64> = report.sources.iter().map(|source| source.counts.admitted).collect();
    assert_eq!((admitted[1], with_data(&notes)), (20, 20 + admitted[0]), "every decoded frame is handled");
    let left = [("frames", 30), ("every_us", 1000)];
    let (report, _) = two_sources(Mode::Live, left, right, Values::new()).run(RunLimit::default());
    assert_eq!(report.exit_code(), 3);
    let left = report.sources[0].clone();
    assert_eq!(left.counts.admitted + left.counts.dropped, 30, "in live mode the other source continues");
}

#[test]
fn a_panic_during_a_setting_change_refuses_the_value() {
    let plan = chain(Mode::Live, [("frames", 1_000_000), ("every_us", 200)], Values::new()).0;
    let Ok(running) = start(plan, &registry(), options("change", RunLimit::default()), None) else {
        panic!("no start")
    };
    let refused = running.set("step", "work_ms", 999.into()).unwrap_err();
    assert!(refused.message.contains("panicked"), "{refused}");
    running.stop();
    assert_eq!(running.wait().status, RunStatus::Stopped);
}

#[test]
fn a_run_with_setting_changes_is_not_reproducible() {
    let plan = chain(Mode::Complete, [("frames", 50), ("every_us", 2000)], Values::new()).0;
    let Ok(running) = start(plan, &registry(), options("changed", RunLimit::default()), None) else {
        panic!("no start")
    };
    running.set("step", "work_ms", 0.into()).unwrap();
    let report = running.wait();
    assert_eq!((report.status, report.reproducible), (RunStatus::Done, false), "{:?}", report.failure);
}

#[test]
fn a_module_id_addresses_every_operator_in_it_and_a_refusal_changes_none() {
    let builder = PlanBuilder::new(Mode::Live)
        .node("numbers", "numbers", [("frames", 1_000_000), ("every_us", 200)], &[])
        .node("m.one", "heavy", Values::new(), &[("in", "numbers", MAIN)])
        .node("m.two", "heavy", Values::new(), &[("in", "m.one", MAIN)])
        .node("notes", "notes", Values::new(), &[("a", "m.two", MAIN)]);
    let Ok(running) = start(builder.0, &registry(), options("module", RunLimit::default()), None) else {
        panic!("no start")
    };
    let changed = running.set("m", "work_ms", 1.into()).unwrap();
    let reported: Vec<_> = changed.iter().map(|change| (change.node.as_str(), &change.old, &change.new)).collect();
    assert_eq!(reported, [("m.one", &0.into(), &1.into()), ("m.two", &0.into(), &1.into())]);
    let alone = running.set("m.two", "work_ms", 2.into()).unwrap();
    assert_eq!((alone.len(), &alone[0].old), (1, &1.into()));
    assert!(running.set("m", "work_ms", 5000.into()).unwrap_err().message.contains("out of range"));
    let after = running.set("m", "work_ms", 0.into()).unwrap();
    assert_eq!((&after[0].old, &after[1].old), (&1.into(), &2.into()), "the refused value changed neither operator");
    let unknown = running.set("m", "wrk_ms", 0.into()).unwrap_err();
    assert!(unknown.message.contains("did you mean `work_ms`?"), "{unknown}");
    assert!(running.set("numbers", "frames", 3.into()).unwrap_err().message.contains("needs a restart"));
    let snapshot = running.snapshot();
    assert_eq!(
        snapshot.edges.iter().map(|edge| edge.from.as_str()).collect::<Vec<_>>(),
        ["numbers/out", "m.one/out", "m.two/out"]
    );
    running.stop();
    let report = running.wait();
    assert_eq!(report.changes.len(), 5, "{:?}", report.changes);
}

/// Runs a source of three streams. Returns the report and the stream of each note, in order.
fn run_three_streams(run: &str, mode: Mode, numbers: impl Into<Values>, limit: RunLimit) -> (Report, Vec<String>) {
    let mut numbers: Values = numbers.into();
    numbers.set("streams", 3, sideline_api::config::Origin::CommandLine);
    let builder = PlanBuilder::new(mode).node("numbers", "numbers", numbers, &[]).node(
        "notes",
        "notes",
        Values::new(),
        &[("a", "numbers", MAIN)],
    );
    let Ok(running) = start(builder.0, &registry(), options(run, limit), None) else { panic!("no start") };
    let report = running.wait();
    let order = STREAMS.lock().unwrap().iter().filter(|note| note.0 == run).map(|note| note.1.clone()).collect();
    (report, order)
}

#[test]
fn streams_take_turns_in_complete_mode_until_each_ends() {
    let (report, order) = run_three_streams("turns", Mode::Complete, [("frames", 40)], RunLimit::default());
    assert_eq!((report.status, report.reproducible), (RunStatus::Done, true), "{:?}", report.failure);
    let rounds = (0..38).flat_map(|_| ["main", "main1", "main2"]).chain(["main", "main1", "main"]);
    assert_eq!(order, rounds.collect::<Vec<_>>());
    let counts: Vec<_> = report.sources[0]
        .streams
        .iter()
        .map(|s| (s.stream.as_str(), s.counts.decoded, s.counts.admitted, s.counts.dropped))
        .collect();
    assert_eq!(counts, [("main", 40, 40, 0), ("main1", 39, 39, 0), ("main2", 38, 38, 0)]);
    let limit = RunLimit { frames: Some(7), duration: None };
    let (report, order) = run_three_streams("limited", Mode::Complete, [("frames", 40)], limit);
    assert_eq!((report.status, order.len()), (RunStatus::Done, 21), "{:?}", report.failure);
    let duration = RunLimit { frames: None, duration: Some(Duration::from_millis(7)) };
    assert_eq!(run_three_streams("timed", Mode::Complete, [("frames", 40)], duration).1.len(), 21);
}

#[test]
fn a_stream_ends_after_its_last_frame_while_others_of_its_source_continue() {
    // `main` has 40 frames, `main1` 39, `main2` 38.
    let (report, _) = run_three_streams("ends", Mode::Complete, [("frames", 40)], RunLimit::default());
    assert_eq!(report.status, RunStatus::Done, "{:?}", report.failure);
    let ends: Vec<_> =
        ENDS.lock().unwrap().iter().filter(|end| end.0 == "ends").map(|end| (end.1.clone(), end.2)).collect();
    let expected = [("main2", 38 + 39 + 39), ("main1", 38 + 39 + 40), ("main", 38 + 39 + 40)];
    assert_eq!(ends, expected.map(|(stream, notes)| (stream.to_owned(), notes)));
}

#[test]
fn a_stream_name_used_by_two_sources_fails_the_run() {
    let plan = two_sources(Mode::Complete, Values::new(), [("stream", "left")], Values::new()).0;
    let Ok(running) = start(plan, &registry(), options("names", RunLimit::default()), None) else { panic!("no start") };
    let error = running.wait().failure.unwrap();
    assert_eq!(error.failure.exit_code(), 1);
    assert!(error.message.contains("stream `left` has the name of a stream of"), "{error}");
    assert_eq!(closed_count("names"), 1);
}

#[test]
fn a_cause_replaces_an_earlier_consequence_as_the_failure() {
    let plan = chain(Mode::Live, [("frames", 1_000_000), ("every_us", 200)], Values::new()).0;
    let Ok(running) = start(plan, &registry(), options("cause", RunLimit::default()), None) else { panic!("no start") };
    running.fail(Error::other("another node ended").as_consequence());
    running.fail(Error::model("the weights are gone"));
    running.fail(Error::other("something later"));
    assert_eq!(running.wait().failure, Some(Error::model("the weights are gone")));
}

#[test]
fn a_restart_has_the_start_timeout() {
    let step = Values::from([("fault", serde("panic")), ("new_ms", serde(300))]);
    let builder = chain(Mode::Live, [("frames", 400), ("every_us", 500)], step).with(|plan| {
        (plan.stall_timeout, plan.start_timeout) = (Duration::from_millis(100), Duration::from_secs(30));
    });
    let (report, _) = builder.run(RunLimit::default());
    assert_eq!((report.status, node(&report, "step").counts.panics), (RunStatus::Done, 1), "{:?}", report.failure);
}

#[test]
fn an_operator_that_hangs_during_a_setting_change_is_named() {
    let plan = chain(Mode::Live, [("frames", 1_000_000), ("every_us", 200)], Values::new())
        .with(|plan| plan.stall_timeout = Duration::from_millis(200))
        .0;
    let Ok(running) = start(plan, &registry(), options("hangs", RunLimit::default()), None) else { panic!("no start") };
    let refused = running.set("step", "work_ms", 777.into()).unwrap_err();
    assert!(refused.message.contains("node `step` hangs since key `work_ms` was to be changed"), "{refused}");
    let failure = running.wait().failure.unwrap().message;
    assert_eq!(failure, "node `step` did not answer for 0.2 s (SIDELINE_STALL_S), since a key was to be changed");
}

#[test]
fn a_setting_does_not_wait_behind_the_frames_of_a_busy_source() {
    // `step` is cheap and runs on the lane of its source, which always has a frame.
    let builder = PlanBuilder::new(Mode::Complete)
        .node("numbers", "numbers", [("frames", u64::MAX)], &[])
        .node("step", "cheap", [("work_ms", 1)], &[("in", "numbers", MAIN)])
        .node("notes", "notes", Values::new(), &[("a", "step", MAIN)]);
    let Ok(running) = start(builder.0, &registry(), options("busy", RunLimit::default()), None) else {
        panic!("no start")
    };
    while running.progress().frames < 100 {
        std::thread::yield_now();
    }
    let delays = (0..5).map(|_| {
        let before = running.snapshot().nodes[0].frames;
        let change = running.set("step", "work_ms", 1.into()).unwrap().remove(0);
        change.from_frame["main"] - before
    });
    let shortest = delays.min().unwrap();
    assert!(shortest < 40, "{shortest} frames were handled before the change");
    running.stop();
    assert_eq!(running.wait().status, RunStatus::Stopped);
}

#[test]
fn a_plan_with_an_unknown_operator_creates_nothing() {
    let builder =
        chain(Mode::Complete, Values::new(), Values::new()).with(|plan| plan.nodes[2].operator = "heavi".into());
    let Err(error) = start(builder.0, &registry(), options("unknown", RunLimit::default()), None) else {
        panic!("it started")
    };
    assert!(error.message.contains("node `step`: there is no operator `heavi`; did you mean `heavy`?"), "{error}");
    assert_eq!(closed_count("unknown"), 0, "nothing was created");
    let builder =
        chain(Mode::Complete, Values::new(), Values::new()).with(|plan| plan.nodes[1].operator = "numbers".into());
    let Err(error) = start(builder.0, &registry(), options("source", RunLimit::default()), None) else {
        panic!("it started")
    };
    assert!(error.message.contains("node `cheap`: `numbers` is a source"), "{error}");
}

#[test]
fn a_run_limited_to_zero_frames_ends_in_order() {
    let (report, notes) =
        chain(Mode::Complete, Values::new(), Values::new()).run(RunLimit { frames: Some(0), duration: None });
    assert_eq!(
        (report.status, report.sources[0].counts.decoded, notes.len()),
        (RunStatus::Done, 0, 0),
        "{:?}",
        report.failure
    );
}

#[test]
fn a_limit_leaves_no_dropped_or_unfinished_frames() {
    let (report, _) =
        chain(Mode::Complete, Values::new(), Values::new()).run(RunLimit { frames: Some(25), duration: None });
    let source = &report.sources[0];
    assert_eq!(
        (source.counts.decoded, source.counts.admitted, source.counts.dropped, source.unfinished),
        (25, 25, 0, 0)
    );
}

#[test]
fn processed_skipped_errors_and_panics_add_up_to_the_admitted_frames_in_random_runs() {
    let mut ends_while_restarting = 0;
    for (mode, on_error, fail_one_in) in [
        (Mode::Live, OnError::Restart, 3),
        (Mode::Live, OnError::Restart, 20),
        (Mode::Live, OnError::Skip, 3),
        (Mode::Complete, OnError::Skip, 3),
        (Mode::Complete, OnError::Restart, 300),
    ] {
        for seed in 0..4 {
            let numbers = [("frames", 60), ("every_us", 200), ("streams", 3)];
            let step = [("fail_one_in", fail_one_in), ("seed", seed)];
            let builder = chain(mode, numbers, step).with(|plan| plan.nodes[2].on_error = on_error);
            let (report, _) = builder.run(RunLimit::default());
            let run = format!("{mode:?}, {on_error:?}, one in {fail_one_in}, seed {seed}");
            assert_eq!(report.status, RunStatus::Done, "{run}: {:?}", report.failure);
            for node in &report.nodes {
                assert_eq!(node.counts.handled(), report.sources[0].counts.admitted, "{run}: {node:?}");
                assert_eq!(node.counts.end_failures, 0, "{run}: no end fails");
            }
            ends_while_restarting += node(&report, "step").counts.ends_while_restarting;
        }
    }
    assert!(ends_while_restarting > 0, "no run ended while a restart was pending");
}

#[test]
fn a_failure_at_the_end_of_a_stream_is_reported_apart_from_the_frames() {
    let builder = chain(Mode::Complete, [("frames", 3)], [("fault", "end-fails")])
        .with(|plan| plan.nodes[2].on_error = OnError::Skip);
    let (report, _) = builder.run(RunLimit::default());
    assert_eq!((report.status, report.reproducible), (RunStatus::Done, false), "{:?}", report.failure);
    let step = node(&report, "step");
    assert_eq!((step.counts.processed, step.counts.errors, step.counts.panics, step.counts.end_failures), (3, 0, 0, 1));
    assert!(report.table().contains("  failed at 1 end of a stream\n  first error: no end"), "{}", report.table());
    let builder = chain(Mode::Complete, [("frames", 3)], [("fault", "end-fails")]);
    let failure = builder.run(RunLimit::default()).0.failure.unwrap().message;
    assert_eq!(failure, "node `step`, end of stream `main`: no end");
}

#[test]
fn many_streams_end_within_a_window_of_one() {
    let builder = PlanBuilder::new(Mode::Complete)
        .node("numbers", "numbers", [("frames", 60), ("streams", 50)], &[])
        .node("slow", "heavy", Values::new(), &[("in", "numbers", MAIN)])
        .node("notes", "notes", Values::new(), &[("a", "slow", MAIN), ("b", "numbers", MAIN)])
        .with(|plan| plan.window = 1);
    let (report, _) = builder.run(RunLimit::default());
    assert_eq!(report.status, RunStatus::Done, "{:?}", report.failure);
    assert_eq!(report.sources[0].streams.len(), 50);
    assert!(report.nodes.iter().all(|node| node.counts.processed == report.sources[0].counts.admitted));
}

#[test]
fn every_stream_advances_in_live_mode_and_is_accounted_for_separately() {
    let numbers = [("frames", 60), ("every_us", 300)];
    let (report, _) = run_three_streams("live", Mode::Live, numbers, RunLimit::default());
    assert_eq!(report.status, RunStatus::Done, "{:?}", report.failure);
    for (i, stream) in (0..).zip(&report.sources[0].streams) {
        assert_eq!(
            (stream.counts.decoded, stream.counts.admitted + stream.counts.dropped),
            (60 - i, 60 - i),
            "{stream:?}"
        );
        assert!(stream.counts.admitted > 0, "{stream:?}");
    }
}

#[test]
fn all_failures_of_streams_are_reported_and_other_streams_continue() {
    let (report, order) = run_three_streams("failing", Mode::Complete, [("fail_after", 20)], RunLimit::default());
    assert_eq!((report.status, report.exit_code(), order.len()), (RunStatus::Partial, 3, 60));
    let lines = ["node `numbers`: the cable was pulled"; 3].join("\n");
    assert_eq!(report.failure.unwrap().message, lines);
    // Only `main` reaches frame 39.
    let (report, order) =
        run_three_streams("one", Mode::Complete, [("frames", 40), ("fail_after", 39)], RunLimit::default());
    assert_eq!((report.exit_code(), order.len()), (3, 39 + 39 + 38));
}
