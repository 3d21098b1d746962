//! What a hop costs: between operators on one thread, between threads, over dora; and what a graph of ten costs a frame.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use sideline_api::{
    Alignment, Body, Captured, Config, Context, Device, Inputs, Mode, OnError, Operator, Outputs, Payload, PortType,
    Registry, Resources, Result, Source, SourceContext, SourceId, Spec, Table, Values, WiredInput, clock::WallClock,
    models::Models, tables::Count,
};
use sideline_engine::{Options, gate::Limit};
use sideline_graph::plan::{LaneId, NodeId, Plan, PlanInput, PlanNode, Producer};

use super::Spread;

/// Frames of each measurement, the first tenth not counted.
const FRAMES: u64 = 20_000;

/// Makes small tables without end.
#[derive(Clone, Config)]
pub struct TicksConfig {
    /// How many.
    #[config(default = 1000)]
    frames: u64,
    /// Microseconds between them; 0 for as fast as the graph takes them.
    #[config(default = 0)]
    every_us: u64,
}

struct Ticks(TicksConfig, u64);

impl Source for Ticks {
    type Config = TicksConfig;
    fn spec() -> Spec {
        Spec::source("bench-ticks").output("out", PortType::table::<Count>())
    }
    fn new(config: TicksConfig, _: &Resources) -> Result<Self> {
        Ok(Ticks(config, 0))
    }
    fn next(&mut self, cx: &SourceContext) -> Result<Option<Captured>> {
        if self.1 == self.0.frames {
            return Ok(None);
        }
        self.1 += 1;
        if self.0.every_us > 0 {
            std::thread::sleep(Duration::from_micros(self.0.every_us));
        }
        let rows = Count::encode(&[Count { frames: self.1, checksum: 0 }]);
        let body = Body::Data(Payload::Table(Arc::new(rows)));
        let captured = cx.clock.now();
        Ok(Some(Captured { stream: "ticks".into(), session: 0, pts: self.1 as i64, captured, outputs: vec![body] }))
    }
}

/// Passes a table on and notes when it saw it.
#[derive(Clone, Config)]
pub struct RelayConfig {
    /// Place in the chain.
    #[config(default = 0)]
    place: usize,
}

struct Relay(usize);

/// When each relay began a frame: `SEEN[place][frame]`.
static SEEN: Mutex<Vec<Vec<Instant>>> = Mutex::new(Vec::new());

#[derive(Default, Clone, serde::Serialize, serde::Deserialize)]
struct Nothing;

impl Operator for Relay {
    type Config = RelayConfig;
    type State = Nothing;
    fn spec() -> Spec {
        let count = PortType::table::<Count>();
        Spec::operator("bench-relay").required("in", count).output("out", count)
    }
    fn new(config: RelayConfig, _: &Resources) -> Result<Self> {
        Ok(Relay(config.place))
    }
    fn process(&mut self, _: &Context, input: &Inputs, _: &mut Nothing, out: &mut Outputs) -> Result<()> {
        let now = Instant::now();
        if let Some(Payload::Table(rows)) = input.payload("in") {
            out.table("out", rows.clone())?;
        }
        if let Some(times) = SEEN.lock().unwrap_or_else(PoisonError::into_inner).get_mut(self.0) {
            times.push(now);
        }
        Ok(())
    }
}

/// The figures.
#[derive(Debug, Serialize)]
pub struct Hops {
    /// Between operators on one thread.
    pub fused_hop_us: Spread,
    /// Between operators on two threads.
    pub thread_hop_us: Spread,
    /// A call of a boxed closure with the same work and no runtime around it: the floor.
    pub floor_us: Spread,
    /// Between two dora nodes, small messages at 200 a second; absent where dora is not on PATH.
    pub dora_hop_us: Option<Spread>,
    /// What a frame costs in a graph of ten operators on one thread, milliseconds.
    pub graph10_ms: f64,
}

/// Measures.
///
/// # Errors
/// When a graph cannot be run.
pub fn run() -> Result<Hops> {
    let fused = chain(10, false, 0)?;
    let mut hops: Vec<u64> = gaps(&fused);
    let graph10_ms = {
        // From the first operator's start to the last one's: nine hops; the tenth operator's own share is one more.
        let mut spans: Vec<u64> = spans(&fused);
        Spread::us(&mut spans).p50 * 1e-3 * 10.0 / 9.0
    };
    // Spaced, so that the next thread sleeps and must be woken: the honest case of live video.
    let mut threads = gaps(&chain(3, true, 200)?);
    Ok(Hops {
        fused_hop_us: Spread::us(&mut hops),
        thread_hop_us: Spread::us(&mut threads),
        floor_us: floor(),
        dora_hop_us: super::dora::hops()?.map(|mut times| Spread::us(&mut times)),
        graph10_ms,
    })
}

fn floor() -> Spread {
    let rows = Arc::new(Count::encode(&[Count { frames: 1, checksum: 0 }]));
    let relay: Box<dyn Fn() -> Payload> = Box::new(move || Payload::Table(rows.clone()));
    let relay = std::hint::black_box(relay);
    let mut times: Vec<u64> = (0..FRAMES)
        .map(|_| {
            let began = Instant::now();
            std::hint::black_box(relay());
            began.elapsed().as_nanos() as u64
        })
        .collect();
    Spread::us(&mut times)
}

/// Runs a chain of relays and returns when each saw each frame.
fn chain(length: usize, threads: bool, every_us: u64) -> Result<Vec<Vec<Instant>>> {
    let frames = if every_us > 0 { FRAMES / 10 } else { FRAMES };
    *SEEN.lock().unwrap_or_else(PoisonError::into_inner) =
        (0..length).map(|_| Vec::with_capacity(frames as usize)).collect();
    let registry = Registry::new().source::<Ticks>().operator::<Relay>();
    let count = PortType::table::<Count>();
    let output = sideline_api::OutputPort { name: "out", ty: count };
    let node = |id: String, operator: &str, values: Values, inputs: Vec<PlanInput>, lane: usize| PlanNode {
        id,
        operator: operator.into(),
        values,
        on_error: OnError::Stop,
        stride: 1,
        is_source: inputs.is_empty(),
        inputs,
        outputs: vec![output.clone()],
        lane: LaneId(lane),
        source: SourceId(0),
        sink: false,
        search: vec![],
    };
    let ticks = [("frames", frames), ("every_us", every_us)].into();
    let mut nodes = vec![node("ticks".into(), "bench-ticks", ticks, vec![], 0)];
    for i in 0..length {
        let input = PlanInput {
            wired: WiredInput {
                name: "in".into(),
                from: nodes[i].id.clone(),
                ty: count,
                required: true,
                hold: false,
                alignment: Alignment::Source(SourceId(0)),
                source: Some(SourceId(0)),
            },
            producer: Producer::Node { node: NodeId(i), output: 0 },
            queue: 10,
        };
        let lane = if threads { i } else { 0 };
        nodes.push(node(format!("relay-{i}"), "bench-relay", [("place", i)].into(), vec![input], lane));
    }
    nodes[length].sink = true;
    let plan = Plan {
        flow: "hops".into(),
        mode: Mode::Complete,
        window: 4,
        stall: Duration::from_secs(10),
        start: Duration::from_secs(10),
        nodes,
        lanes: if threads { length } else { 1 },
        border_inputs: vec![],
        border_outputs: vec![],
        remote_sinks: vec![],
        sends_done: false,
    };
    let options = Options {
        device: Device::Cpu,
        run: "bench".into(),
        run_dir: PathBuf::from("."),
        models: Arc::new(Models::default()),
        clock: Arc::new(WallClock),
        limit: Limit::default(),
        after: Default::default(),
        asked_to_stop: Default::default(),
        begin: None,
        timing: None,
    };
    let report = sideline_engine::start(plan, &registry, options, None)?.wait();
    if let Some(failure) = report.failure {
        return Err(failure);
    }
    Ok(std::mem::take(&mut *SEEN.lock().unwrap_or_else(PoisonError::into_inner)))
}

fn settled(times: &[Vec<Instant>]) -> std::ops::Range<usize> {
    let frames = times.first().map_or(0, Vec::len);
    frames / 10..frames
}

/// Nanoseconds from one relay's start to the next one's, of every frame.
fn gaps(times: &[Vec<Instant>]) -> Vec<u64> {
    let range = settled(times);
    times
        .windows(2)
        .flat_map(|pair| range.clone().map(|i| pair[1][i].saturating_duration_since(pair[0][i]).as_nanos() as u64))
        .collect()
}

/// Nanoseconds from the first relay's start to the last one's, of every frame.
fn spans(times: &[Vec<Instant>]) -> Vec<u64> {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return vec![] };
    settled(times).map(|i| last[i].saturating_duration_since(first[i]).as_nanos() as u64).collect()
}

impl std::fmt::Display for Hops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = |f: &mut std::fmt::Formatter<'_>, name: &str, spread: &Spread| {
            let ratio = spread.p50 / self.floor_us.p50.max(1e-3);
            writeln!(f, "{name:<28} {:>9.2} {:>9.2} {ratio:>9.1}", spread.p50, spread.p99)
        };
        writeln!(f, "{:<28} {:>9} {:>9} {:>9}", "hop, microseconds", "p50", "p99", "x floor")?;
        row(f, "boxed closure (floor)", &self.floor_us)?;
        row(f, "one thread", &self.fused_hop_us)?;
        row(f, "two threads", &self.thread_hop_us)?;
        match &self.dora_hop_us {
            Some(spread) => row(f, "two dora nodes", spread)?,
            None => writeln!(f, "{:<28} not measured: no `dora` on PATH", "two dora nodes")?,
        }
        write!(f, "graph of ten, one thread     {:.4} ms a frame", self.graph10_ms)
    }
}
