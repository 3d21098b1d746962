//! The event loop without dora: events by hand, and a run behind them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use arrow_array::{Float32Array, UInt8Array};
use sideline_api::{
    Alignment, Body, Config, Context, Device, Header, Inputs, Message, Mode, OnError, Operator, Outputs, Payload,
    PortType, Registry, Resources, Spec, Table, Values, WiredInput, clock::WallClock, models::Models, tables::Count,
};
use sideline_engine::{Border, Options, gate::Limit, meter::Report};
use sideline_graph::plan::{BorderInput, LaneId, PlanInput, PlanNode};

use super::*;

/// Takes rows.
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

/// Other processes that note what they are told.
#[derive(Default)]
struct Others(Mutex<Vec<(usize, Progress)>>);

impl Border for Others {
    fn send(&self, _: usize, _: &Message) -> Result<()> {
        Ok(())
    }
    fn close(&self, _: usize, _: bool) -> Result<()> {
        Ok(())
    }
    fn done(&self, source: SourceId, progress: Progress) -> Result<()> {
        self.0.lock().unwrap().push((source.0, progress));
        Ok(())
    }
}

impl Life for Others {
    fn beat(&self, _: usize, _: bool) {}
    fn beat_done(&self, _: bool) {}
}

/// A process of one operator that reads `rows` of a node `far`, and `theirs` of a foreign one.
fn plan() -> Plan {
    let input = |name: &str, from: &str, border: usize, alignment: Alignment| PlanInput {
        wired: WiredInput {
            name: name.into(),
            from: from.into(),
            ty: PortType::Any,
            required: false,
            hold: false,
            alignment,
            source: alignment.source(),
        },
        producer: Producer::Border(border),
        queue: 8,
    };
    let border = |name: &str, from: &str, foreign| BorderInput {
        name: name.into(),
        from: from.into(),
        ty: PortType::Any,
        foreign,
    };
    Plan {
        flow: "test".into(),
        mode: Mode::Complete,
        window: 4,
        stall: Duration::from_secs(10),
        start: Duration::from_secs(60),
        nodes: vec![PlanNode {
            id: "take".into(),
            operator: "take".into(),
            values: Values::new(),
            on_error: OnError::Stop,
            stride: 1,
            inputs: vec![
                input("rows", "far/rows", 0, Alignment::Source(SourceId(0))),
                input("theirs", "py/rows", 1, Alignment::Side { queue: 10 }),
            ],
            outputs: vec![],
            lane: LaneId(0),
            source: SourceId(0),
            is_source: false,
            sink: true,
            search: vec![],
        }],
        lanes: 1,
        border_inputs: vec![border("rows", "far/rows", false), border("theirs", "py/rows", true)],
        border_outputs: vec![],
        remote_sinks: vec![],
        sends_done: true,
    }
}

/// Runs the process on these events, then to its end.
fn run(events: impl FnOnce(&mut Host, &Running)) -> (Report, Vec<(usize, Progress)>) {
    let others = Arc::new(Others::default());
    let options = Options {
        device: Device::Cpu,
        run: "test".into(),
        run_dir: PathBuf::from("."),
        models: Arc::new(Models::default()),
        clock: Arc::new(WallClock),
        limit: Limit::default(),
        after: Default::default(),
        asked_to_stop: Default::default(),
        begin: None,
        timing: None,
    };
    let registry = Registry::new().operator::<Take>();
    let Ok(running) = sideline_engine::start(plan(), &registry, options, Some(others.clone())) else {
        panic!("no start")
    };
    let mut host = Host::new(&running, &*others, &WallClock, "take".into(), Instant::now());
    events(&mut host, &running);
    let report = running.wait();
    let told = others.0.lock().unwrap().clone();
    (report, told)
}

fn nothing() -> ArrayRef {
    Arc::new(UInt8Array::from(Vec::<u8>::new()))
}

fn incoming(message: &Message) -> Incoming {
    let data: ArrayRef = match &message.body {
        Body::Data(Payload::Table(rows)) => rows.clone(),
        _ => nothing(),
    };
    Incoming::Message { input: "rows".into(), parameters: metadata::of(message), data }
}

fn row(stream: &str, frame: u64, n: u64) -> Incoming {
    let rows = Count::encode(&[Count { frames: frame, checksum: 0 }]);
    incoming(&Message { header: Header::new(stream, frame, 0), n, body: Body::Data(Payload::Table(Arc::new(rows))) })
}

fn end(stream: &str, frames: u64, n: u64) -> Incoming {
    let header = Header { closing: true, ..Header::new(stream, frames, 0) };
    incoming(&Message { header, n, body: Body::End { frames } })
}

fn close() -> Incoming {
    Incoming::Message { input: "rows".into(), parameters: metadata::close(false), data: nothing() }
}

/// All messages of two streams, one after the other.
fn two_streams() -> [Incoming; 5] {
    [row("a", 0, 0), end("a", 1, 1), row("b", 0, 2), end("b", 1, 3), close()]
}

#[test]
fn an_input_closes_with_its_last_message_though_all_streams_so_far_had_ended_before() {
    let (report, told) = run(|host, _| two_streams().into_iter().for_each(|event| host.handle(event, Instant::now())));
    assert!(report.failure.is_none(), "{:?}", report.failure);
    assert_eq!(report.nodes[0].processed, 2, "after the end of `a` a frame of `b` came");
    assert_eq!(told.last(), Some(&(0, Progress::Closed)));
    assert!(told.contains(&(0, Progress::Finished(4))), "two frames and two ends: {told:?}");
}

#[test]
fn messages_that_cannot_be_read_of_a_foreign_node_are_counted_and_the_run_goes_on() {
    let theirs = |parameters, data| Incoming::Message { input: "theirs".into(), parameters, data };
    let (report, _) = run(|host, _| {
        let plain: ArrayRef = Arc::new(Float32Array::from(vec![1.0]));
        let relayed = Message { header: Header::new("a", 0, 0), n: 0, body: Body::End { frames: 0 } };
        host.handle(theirs(MetadataParameters::default(), plain), Instant::now());
        host.handle(theirs(metadata::of(&relayed), nothing()), Instant::now());
        host.handle(theirs(MetadataParameters::default(), nothing()), Instant::now());
        two_streams().into_iter().for_each(|event| host.handle(event, Instant::now()));
    });
    assert!(report.failure.is_none(), "{:?}", report.failure);
    assert_eq!(report.ignored.get("theirs"), Some(&3));
}

#[test]
fn a_lost_message_is_an_error_at_the_next() {
    let (report, _) = run(|host, _| {
        host.handle(row("a", 0, 0), Instant::now());
        host.handle(row("a", 2, 2), Instant::now());
    });
    assert!(report.failure.unwrap().message.contains("message 1 was lost (message 2 came)"));
}

#[test]
fn a_sender_that_goes_before_its_last_message_has_failed() {
    let (report, _) = run(|host, _| {
        let now = Instant::now();
        host.handle(row("a", 0, 0), now);
        host.handle(Incoming::Closed { input: "rows".into() }, now);
        host.tick(now + END_GRACE * 2);
    });
    let failure = report.failure.unwrap();
    assert!(failure.consequence && failure.message.contains("before its end: its producer failed"), "{failure}");
}

#[test]
fn a_silent_sender_makes_the_run_degraded_and_after_the_stall_time_ends_it() {
    let (report, _) = run(|host, running| {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        host.handle(row("a", 0, 0), now);
        host.tick(at(3));
        assert_eq!(running.progress().silent, ["far"]);
        host.handle(Incoming::Message { input: "rows".into(), parameters: metadata::beat(), data: nothing() }, at(3));
        host.tick(at(4));
        assert!(running.progress().silent.is_empty(), "it gave a sign of life");
        host.tick(at(70));
    });
    let failure = report.failure.unwrap();
    assert!(failure.message.contains("nothing was heard of node `far` for 67 s"), "{failure}");
}

#[test]
fn a_stop_ends_a_process_without_a_source_and_its_files_are_closed() {
    let (report, told) = run(|host, running| {
        host.handle(row("a", 0, 0), Instant::now());
        running.stop();
        host.tick(Instant::now());
    });
    assert_eq!(report.status, sideline_engine::meter::Status::Stopped, "{:?}", report.failure);
    assert_eq!((report.nodes[0].processed, report.stopped_at_frame), (1, None));
    assert_eq!(told, [(0, Progress::Finished(1))], "it did not see the end: its source hears that it is gone");
}
