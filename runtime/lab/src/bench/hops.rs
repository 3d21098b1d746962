//! `sideline-lab bench hops`: latency of a hop between operators on one thread, between plugins, between threads and over dora;
//! and the overhead of a graph of ten operators per frame.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use sideline_api::{
    Alignment, Body, CapturedFrame, Config, Context, Inputs, Mode, Operator, Outputs, Payload, PortType, Registry,
    Resources, Result, Source, SourceContext, SourceId, Spec, Table, WiredInput, tables::Count,
};
use sideline_engine::Options;
use sideline_graph::plan::{Edge, LaneId, NodeId, Plan, PlanNode, Producer};
use sideline_plugin::load::PluginFactory;

use super::{Percentiles, python::Calls};

/// Frames of each measurement. The first tenth is not measured.
const FRAMES: u64 = 20_000;

/// Emits small tables.
#[derive(Clone, Config)]
pub struct TickConfig {
    /// Number of tables.
    #[config(default = 1000)]
    frames: u64,
    /// Microseconds between two tables; 0 for as fast as the graph accepts them.
    #[config(default = 0)]
    every_us: u64,
}

struct TickSource {
    config: TickConfig,
    emitted: u64,
}

impl Source for TickSource {
    type Config = TickConfig;
    fn spec() -> Spec {
        Spec::source("bench-ticks").output("out", PortType::table::<Count>())
    }
    fn new(config: TickConfig, _: &Resources) -> Result<Self> {
        Ok(TickSource { config, emitted: 0 })
    }
    fn next(&mut self, cx: &SourceContext) -> Result<Option<CapturedFrame>> {
        if self.emitted == self.config.frames {
            return Ok(None);
        }
        self.emitted += 1;
        if self.config.every_us > 0 {
            std::thread::sleep(Duration::from_micros(self.config.every_us));
        }
        let rows = Count::encode(&[Count { frames: self.emitted, checksum: 0 }]);
        let body = Body::Data(Payload::Table(Arc::new(rows)));
        let captured = cx.clock.now();
        Ok(Some(CapturedFrame {
            stream: "ticks".into(),
            session: 0,
            pts: self.emitted as i64,
            captured_at: captured,
            outputs: vec![body],
        }))
    }
}

/// Forwards a table and records its arrival time.
#[derive(Clone, Config)]
pub struct RelayConfig {
    /// Position in the chain.
    #[config(default = 0)]
    place: usize,
}

struct Relay {
    place: usize,
}

/// Times at which each relay received each frame: `RELAY_TIMES[place][frame]`.
static RELAY_TIMES: Mutex<Vec<Vec<Instant>>> = Mutex::new(Vec::new());

#[derive(Default, Clone, serde::Serialize, serde::Deserialize)]
struct NoState;

impl Operator for Relay {
    type Config = RelayConfig;
    type State = NoState;
    fn spec() -> Spec {
        let count = PortType::table::<Count>();
        Spec::operator("bench-relay").required("in", count).output("out", count)
    }
    fn new(config: RelayConfig, _: &Resources) -> Result<Self> {
        Ok(Relay { place: config.place })
    }
    fn process(&mut self, _: &Context, input: &Inputs, _: &mut NoState, out: &mut Outputs) -> Result<()> {
        let now = Instant::now();
        if let Some(Payload::Table(rows)) = input.payload("in") {
            out.table("out", rows.clone())?;
        }
        if let Some(times) = RELAY_TIMES.lock().unwrap_or_else(PoisonError::into_inner).get_mut(self.place) {
            times.push(now);
        }
        Ok(())
    }
}

/// Result of `sideline-lab bench hops`.
#[derive(Debug, Serialize)]
pub struct Hops {
    /// Latency between operators on one thread.
    pub fused_hop_us: Percentiles,
    /// Latency between operators on one thread that are called through the interface of plugins.
    pub plugin_hop_us: Percentiles,
    /// Latency between operators on two threads.
    pub thread_hop_us: Percentiles,
    /// Floor: the call of a boxed closure with the same work and no runtime around it.
    pub floor_us: Percentiles,
    /// Latency between two dora nodes, for small messages at 200 per second; `None` without dora on PATH.
    pub dora_hop_us: Option<Percentiles>,
    /// Overhead per frame of a graph of ten operators on one thread, milliseconds.
    pub graph10_ms: f64,
    /// Calls of an operator in Python; `None` if they cannot be measured.
    pub python: Option<Calls>,
    /// Reason for which there are no calls of an operator in Python.
    pub python_problem: Option<String>,
}

/// Measures all kinds of hops.
///
/// # Errors
/// A graph cannot be run.
pub fn run() -> Result<Hops> {
    let linked = Registry::new().source::<TickSource>().operator::<Relay>();
    let fused = run_chain(&linked, 10, false, 0)?;
    static EXPORT: sideline_plugin::Export = sideline_plugin::Export::new();
    let plugins = Registry::new().source::<TickSource>().with(PluginFactory::linked::<Relay>(&EXPORT)?);
    let mut plugin_hops = hop_times_ns(&run_chain(&plugins, 10, false, 0)?);
    let mut hops: Vec<u64> = hop_times_ns(&fused);
    let graph10_ms = {
        // The time from the first to the last of ten operators covers nine hops; it is scaled to ten.
        let mut times: Vec<u64> = chain_times_ns(&fused);
        Percentiles::us_from_ns(&mut times).p50 * 1e-3 * 10.0 / 9.0
    };
    // The frames are spaced so that the next thread sleeps and must be woken up, as in live video.
    let mut threads = hop_times_ns(&run_chain(&linked, 3, true, 200)?);
    let (python, python_problem) = match super::python::measure_calls() {
        Ok(calls) => (Some(calls), None),
        Err(error) => (None, Some(error.message)),
    };
    Ok(Hops {
        fused_hop_us: Percentiles::us_from_ns(&mut hops),
        plugin_hop_us: Percentiles::us_from_ns(&mut plugin_hops),
        thread_hop_us: Percentiles::us_from_ns(&mut threads),
        floor_us: measure_floor(),
        dora_hop_us: super::dora::measure_hops()?.map(|mut times| Percentiles::us_from_ns(&mut times)),
        graph10_ms,
        python,
        python_problem,
    })
}

fn measure_floor() -> Percentiles {
    let rows = Arc::new(Count::encode(&[Count { frames: 1, checksum: 0 }]));
    let relay: Box<dyn Fn() -> Payload> = Box::new(move || Payload::Table(rows.clone()));
    let relay = std::hint::black_box(relay);
    let mut times: Vec<u64> = (0..FRAMES)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(relay());
            start.elapsed().as_nanos() as u64
        })
        .collect();
    Percentiles::us_from_ns(&mut times)
}

/// Runs a chain of relays; returns the time at which each received each frame.
fn run_chain(registry: &Registry, length: usize, threads: bool, every_us: u64) -> Result<Vec<Vec<Instant>>> {
    let frames = if every_us > 0 { FRAMES / 10 } else { FRAMES };
    *RELAY_TIMES.lock().unwrap_or_else(PoisonError::into_inner) =
        (0..length).map(|_| Vec::with_capacity(frames as usize)).collect();
    let (ticks, relay) = (TickSource::spec(), Relay::spec());
    let mut nodes = vec![PlanNode::new("ticks", &ticks, [("frames", frames), ("every_us", every_us)])];
    for i in 0..length {
        let wired = WiredInput::new("in", &relay.inputs[0], &nodes[i].id, Alignment::Source(SourceId(0)));
        nodes.push(PlanNode {
            inputs: vec![Edge::new(wired, Producer::Node { node: NodeId(i), output: 0 })],
            lane: LaneId(if threads { i } else { 0 }),
            is_sink: i + 1 == length,
            ..PlanNode::new(format!("relay-{i}"), &relay, [("place", i)])
        });
    }
    let plan = Plan::new("hops", Mode::Complete, nodes);
    let report = sideline_engine::start(plan, registry, Options::new("bench", "."), None)?.wait();
    if let Some(failure) = report.failure {
        return Err(failure);
    }
    Ok(std::mem::take(&mut *RELAY_TIMES.lock().unwrap_or_else(PoisonError::into_inner)))
}

fn measured_frames(times: &[Vec<Instant>]) -> std::ops::Range<usize> {
    let frames = times.first().map_or(0, Vec::len);
    frames / 10..frames
}

/// Returns the time from each relay to the next one, of every measured frame, ns.
fn hop_times_ns(times: &[Vec<Instant>]) -> Vec<u64> {
    let range = measured_frames(times);
    times
        .windows(2)
        .flat_map(|pair| range.clone().map(|i| pair[1][i].saturating_duration_since(pair[0][i]).as_nanos() as u64))
        .collect()
}

/// Returns the time from the first to the last relay, of every measured frame, ns.
fn chain_times_ns(times: &[Vec<Instant>]) -> Vec<u64> {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return vec![] };
    measured_frames(times).map(|i| last[i].saturating_duration_since(first[i]).as_nanos() as u64).collect()
}

impl std::fmt::Display for Hops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = |f: &mut std::fmt::Formatter<'_>, name: &str, us: &Percentiles| {
            let ratio = us.p50 / self.floor_us.p50.max(1e-3);
            writeln!(f, "{name:<28} {:>9.2} {:>9.2} {ratio:>9.1}", us.p50, us.p99)
        };
        writeln!(f, "{:<28} {:>9} {:>9} {:>9}", "hop, microseconds", "p50", "p99", "x floor")?;
        row(f, "boxed closure (floor)", &self.floor_us)?;
        row(f, "one thread", &self.fused_hop_us)?;
        row(f, "one thread, plugins", &self.plugin_hop_us)?;
        row(f, "two threads", &self.thread_hop_us)?;
        match &self.dora_hop_us {
            Some(us) => row(f, "two dora nodes", us)?,
            None => writeln!(f, "{:<28} not measured: no `dora` on PATH", "two dora nodes")?,
        }
        match &self.python {
            Some(calls) => {
                row(f, "call in Python, 1080p", &calls.python_us)?;
                row(f, "call of the recorder beside it", &calls.recorder_us)?;
            }
            None => {
                let problem = self.python_problem.as_deref().unwrap_or_default();
                writeln!(f, "{:<28} not measured: {problem}", "call in Python, 1080p")?;
            }
        }
        write!(f, "graph of ten, one thread     {:.4} ms per frame", self.graph10_ms)
    }
}
