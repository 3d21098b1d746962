//! Tests of the event loop without dora: hand-written events and a real run.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use arrow_array::{Float32Array, UInt8Array};
use sideline_api::{
    Alignment, Body, CapturedFrame, Config, Context, Header, Inputs, Message, Mode, Operator, Outputs, Payload,
    PortType, Registry, Resources, Source, SourceContext, Spec, Table, Values, WiredInput, clock::WallClock,
    tables::Count,
};
use sideline_engine::{
    Border, Options,
    meter::{Report, RunStatus, StopCause},
};
use sideline_graph::plan::{BorderInput, BorderOutput, Edge, NodeId, PlanNode, RemoteSink};

use super::*;

/// Sink that accepts any message.
#[derive(Clone, Config)]
struct TakeConfig {}
struct Take;

impl Operator for Take {
    type Config = TakeConfig;
    type State = ();
    fn spec() -> Spec {
        Spec::operator("take").any_inputs(PortType::Any)
    }
    fn new(_: TakeConfig, _: &Resources) -> Result<Self> {
        Ok(Take)
    }
    fn process(&mut self, _: &Context, _: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
        Ok(())
    }
}

/// Border that records the progress reported to other processes.
#[derive(Default)]
struct RecordingBorder {
    progress: Mutex<Vec<(usize, SinkProgress)>>,
    /// Number of reports that the process was stopped.
    stops: AtomicUsize,
}

impl Border for RecordingBorder {
    fn send(&self, _: usize, _: &Message) -> Result<()> {
        Ok(())
    }
    fn close(&self, _: usize, _: CloseReason) -> Result<()> {
        Ok(())
    }
    fn report_progress(&self, source: SourceId, progress: SinkProgress) -> Result<()> {
        self.progress.lock().unwrap().push((source.0, progress));
        Ok(())
    }
}

impl HeartbeatSender for RecordingBorder {
    fn send_heartbeat(&self, _: usize, _: bool) {}
    fn send_done(&self, _: bool) {}
    fn report_stopped(&self) {
        self.stops.fetch_add(1, Ordering::SeqCst);
    }
}

/// Plan of a process with one operator, which reads `rows` of the node `far` and `foreign_rows` of the foreign node
/// `py`.
fn plan() -> Plan {
    let port = Take::spec().find_input("rows").unwrap();
    let input = |name: &str, from: &str, border: usize, alignment: Alignment| {
        Edge::new(WiredInput::new(name, &port, from, alignment), Producer::Border(border))
    };
    let border = |name: &str, from: &str, foreign| BorderInput {
        name: name.into(),
        from: from.into(),
        ty: PortType::Any,
        foreign,
    };
    let inputs = vec![
        input("rows", "far/rows", 0, Alignment::Source(SourceId(0))),
        input("foreign_rows", "py/rows", 1, Alignment::Side { queue: 10 }),
    ];
    let take = PlanNode { inputs, ..PlanNode::new("take", &Take::spec(), Values::new()) };
    Plan {
        border_inputs: vec![border("rows", "far/rows", false), border("foreign_rows", "py/rows", true)],
        sends_done: true,
        ..Plan::new("test", Mode::Complete, vec![take])
    }
}

/// Source of frames without end.
#[derive(Clone, Config)]
struct EndlessConfig {}
struct Endless(i64);

impl Source for Endless {
    type Config = EndlessConfig;
    fn spec() -> Spec {
        Spec::source("endless").output("rows", PortType::table::<Count>())
    }
    fn new(_: EndlessConfig, _: &Resources) -> Result<Self> {
        Ok(Endless(0))
    }
    fn next(&mut self, _: &SourceContext) -> Result<Option<CapturedFrame>> {
        self.0 += 1;
        let rows = Count::encode(&[Count { frames: 0, checksum: 0 }]);
        Ok(Some(CapturedFrame {
            stream: "a".into(),
            session: 0,
            pts: self.0,
            captured_at: 0,
            outputs: vec![Body::Data(Payload::Table(Arc::new(rows)))],
        }))
    }
}

/// Plan of a process with a source whose sinks are in the node `far`.
fn source_plan() -> Plan {
    let node = PlanNode::new("endless", &Endless::spec(), Values::new());
    let sink = RemoteSink { input: "done_far".into(), node: "far".into(), sources: vec![SourceId(0)] };
    Plan {
        border_outputs: vec![BorderOutput { name: "rows".into(), node: NodeId(0), output: 0 }],
        remote_sinks: vec![sink],
        ..Plan::new("test", Mode::Complete, vec![node])
    }
}

/// Report of the sinks of `far` that they have finished so many entries.
fn done(finished: i64, is_stopped: bool) -> NodeEvent {
    let parameters = MetadataParameters::from([
        (FINISHED.to_owned(), Parameter::ListInt(vec![finished])),
        (STOPPED.to_owned(), Parameter::Bool(is_stopped)),
    ]);
    NodeEvent::Message { input: "done_far".into(), parameters, data: empty_payload() }
}

/// Runs the process on these events and waits for its end. Returns the report and the reported progress.
fn run(events: impl FnOnce(&mut Host, &Running)) -> (Report, Vec<(usize, SinkProgress)>) {
    run_plan(plan(), events)
}

fn run_plan(plan: Plan, events: impl FnOnce(&mut Host, &Running)) -> (Report, Vec<(usize, SinkProgress)>) {
    let (report, border) = run_with_border(plan, events);
    let progress = border.progress.lock().unwrap().clone();
    (report, progress)
}

/// Runs a plan on these events, waits for its end, and reports the end twice, as a node does whose sinks close late.
fn run_with_border(plan: Plan, events: impl FnOnce(&mut Host, &Running)) -> (Report, Arc<RecordingBorder>) {
    let border = Arc::new(RecordingBorder::default());
    let options = Options::new("test", ".");
    let registry = Registry::new().operator::<Take>().source::<Endless>();
    let Ok(running) = sideline_engine::start(plan, &registry, options, Some(border.clone())) else {
        panic!("no start")
    };
    let mut host = Host::new(&running, &*border, &WallClock, "take".into(), Instant::now());
    events(&mut host, &running);
    let report = running.wait();
    (0..2).for_each(|_| host.report_run_end());
    (report, border)
}

/// Data of a message without payload.
fn empty_payload() -> ArrayRef {
    Arc::new(UInt8Array::from(Vec::<u8>::new()))
}

/// Event of a message on the input `rows`.
fn message_event(message: &Message) -> NodeEvent {
    let data: ArrayRef = match &message.body {
        Body::Data(Payload::Table(rows)) => rows.clone(),
        _ => empty_payload(),
    };
    NodeEvent::Message { input: "rows".into(), parameters: metadata::for_message(message), data }
}

fn row(stream: &str, frame: u64, n: u64) -> NodeEvent {
    let rows = Count::encode(&[Count { frames: frame, checksum: 0 }]);
    message_event(&Message {
        header: Header::new(stream, frame, 0),
        n,
        body: Body::Data(Payload::Table(Arc::new(rows))),
    })
}

fn end(stream: &str, frames: u64, n: u64) -> NodeEvent {
    let header = Header { is_closing: true, ..Header::new(stream, frames, 0) };
    message_event(&Message { header, n, body: Body::End { frames } })
}

fn close() -> NodeEvent {
    close_with(CloseReason::Ended)
}

fn close_with(reason: CloseReason) -> NodeEvent {
    NodeEvent::Message { input: "rows".into(), parameters: metadata::for_close(reason), data: empty_payload() }
}

/// Messages of two streams, one after the other, and the close.
fn two_streams() -> [NodeEvent; 5] {
    [row("a", 0, 0), end("a", 1, 1), row("b", 0, 2), end("b", 1, 3), close()]
}

#[test]
fn an_input_closes_with_its_close_message_and_not_with_the_end_of_a_stream() {
    let (report, progress) =
        run(|host, _| two_streams().into_iter().for_each(|event| host.handle(event, Instant::now())));
    assert!(report.failure.is_none(), "{:?}", report.failure);
    assert_eq!(report.nodes[0].counts.processed, 2, "a frame of `b` follows the end of `a`");
    assert_eq!(progress.last(), Some(&(0, SinkProgress::Closed)));
    assert!(progress.contains(&(0, SinkProgress::Finished(4))), "two frames and two ends: {progress:?}");
}

#[test]
fn unreadable_messages_of_a_foreign_node_are_counted_and_the_run_continues() {
    let foreign_message = |parameters, data| NodeEvent::Message { input: "foreign_rows".into(), parameters, data };
    let (report, _) = run(|host, _| {
        let plain: ArrayRef = Arc::new(Float32Array::from(vec![1.0]));
        let relayed = Message { header: Header::new("a", 0, 0), n: 0, body: Body::End { frames: 0 } };
        host.handle(foreign_message(MetadataParameters::default(), plain), Instant::now());
        host.handle(foreign_message(metadata::for_message(&relayed), empty_payload()), Instant::now());
        host.handle(foreign_message(MetadataParameters::default(), empty_payload()), Instant::now());
        two_streams().into_iter().for_each(|event| host.handle(event, Instant::now()));
    });
    assert!(report.failure.is_none(), "{:?}", report.failure);
    assert_eq!(report.ignored.get("foreign_rows"), Some(&3));
}

#[test]
fn a_lost_message_is_an_error_when_the_next_one_arrives() {
    let (report, _) = run(|host, _| {
        host.handle(row("a", 0, 0), Instant::now());
        host.handle(row("a", 2, 2), Instant::now());
    });
    assert!(report.failure.unwrap().message.contains("message 1 was lost (message 2 came)"));
}

#[test]
fn a_sender_that_exits_before_its_close_message_has_failed() {
    let (report, _) = run(|host, _| {
        let now = Instant::now();
        host.handle(row("a", 0, 0), now);
        host.handle(NodeEvent::SenderGone { input: "rows".into() }, now);
        host.tick(now + END_TIMEOUT * 2);
    });
    let failure = report.failure.unwrap();
    assert!(failure.is_consequence && failure.message.contains("before its end: its producer failed"), "{failure}");
}

#[test]
fn a_silent_sender_degrades_the_run_and_fails_it_after_the_timeout() {
    let (report, _) = run(|host, running| {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        host.handle(row("a", 0, 0), now);
        host.tick(at(3));
        assert_eq!(running.progress().silent_peers, ["far"]);
        host.handle(
            NodeEvent::Message { input: "rows".into(), parameters: metadata::for_heartbeat(), data: empty_payload() },
            at(3),
        );
        host.tick(at(4));
        assert!(running.progress().silent_peers.is_empty(), "the peer sent a heartbeat");
        host.tick(at(70));
    });
    let failure = report.failure.unwrap();
    assert!(failure.message.contains("no message from node `far` for 67 s"), "{failure}");
}

#[test]
fn a_stop_ends_a_process_without_a_source_in_order() {
    let (report, progress) = run(|host, running| {
        host.handle(row("a", 0, 0), Instant::now());
        running.stop();
        host.tick(Instant::now());
    });
    assert_eq!(report.status, RunStatus::Stopped, "{:?}", report.failure);
    assert_eq!((report.nodes[0].counts.processed, report.stopped_at_frame), (1, None));
    assert_eq!(progress, [(0, SinkProgress::Finished(1))], "it saw no end, so it does not report itself closed");
}

#[test]
fn a_close_of_a_stopped_sender_stops_the_process() {
    let (report, progress) = run(|host, _| {
        host.handle(row("a", 0, 0), Instant::now());
        host.handle(close_with(CloseReason::Stopped), Instant::now());
    });
    assert_eq!((report.status, report.stop_cause), (RunStatus::Stopped, Some(StopCause::Peer)), "{:?}", report.failure);
    assert_eq!(progress, [(0, SinkProgress::Finished(1))], "it saw no end, so it does not report itself closed");
}

#[test]
fn a_stop_is_reported_once_after_the_senders_have_left() {
    let stops = |events: Vec<NodeEvent>| {
        let (report, border) = run_with_border(plan(), |host, _| {
            events.into_iter().for_each(|event| host.handle(event, Instant::now()));
            host.finish();
        });
        (report.status, border.stops.load(Ordering::SeqCst))
    };
    assert_eq!(stops(vec![row("a", 0, 0), NodeEvent::Stop]), (RunStatus::Stopped, 1));
    assert_eq!(stops(two_streams().into()), (RunStatus::Done, 0));
    assert_eq!(stops(vec![row("a", 0, 0), row("a", 2, 2)]), (RunStatus::Partial, 0));
}

#[test]
fn a_sink_process_that_was_stopped_ends_the_sources_and_its_exit_is_no_failure() {
    let (report, _) = run_plan(source_plan(), |host, running| {
        while running.snapshot().sources[0].counts.admitted < 4 {
            std::thread::yield_now();
        }
        host.handle(done(3, false), Instant::now());
        host.handle(done(3, true), Instant::now());
        host.handle(NodeEvent::SenderGone { input: "done_far".into() }, Instant::now());
    });
    assert_eq!((report.status, report.stop_cause), (RunStatus::Stopped, Some(StopCause::Peer)), "{:?}", report.failure);
    let source = &report.sources[0];
    assert_eq!((report.stopped_at_frame, source.counts.admitted - source.unfinished), (Some(3), 3), "{source:?}");
}

#[test]
fn a_sink_process_that_exits_without_a_stop_is_a_failure_that_names_it() {
    let (report, _) = run_plan(source_plan(), |host, _| {
        host.handle(NodeEvent::SenderGone { input: "done_far".into() }, Instant::now());
    });
    let failure = report.failure.unwrap();
    assert!(failure.is_consequence && failure.message.contains("node `far` ended before the stream did"), "{failure}");
}
