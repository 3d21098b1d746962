//! Start of a run, in phases.
//!
//! Factories are looked up, then the edges are wired, then the shared state is prepared, then every operator is created on
//! the thread of its lane. Sources start once all nodes are ready. If a phase fails, everything that was created is closed
//! and no thread is left waiting.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use sideline_api::{
    Alignment, Driver, Error, Failure, OnError, OperatorFactory, OrFail, OutputPort, Registry, Resources, Result,
    RunPlace, SourceContext, SourceId, Values, driver::DriverOptions,
};
use sideline_graph::plan::{LaneId, NodeId, Plan, PlanNode};

use crate::{
    Border, Options, Running,
    gate::{Gate, SinkId, SinkProgress, StreamNames},
    lane::{Lane, Slot, SourceSlot},
    meter::{Meter, Tally},
    readers::{open_source, read_streams},
    running::{Role, Thread},
    settings::SettingLog,
    shared::{
        GateId, InboxItem, LaneActivity, RemoteWindow, SettingRequest, Shared, SinkState, SourceGate, Target, TimeBase,
        WindowId,
    },
    wiring::Wiring,
};

/// Capacity of every inbox beyond that for its edges.
const EXTRA_INBOX_CAPACITY: usize = 8;

/// Starts a plan: creates every operator on the thread of its lane, and starts the sources once all nodes are ready.
///
/// # Errors
/// The first failure to create an operator or source, or the names of the nodes that were not ready within the start
/// timeout. Everything that was created has then been closed.
pub fn start(plan: Plan, registry: &Registry, options: Options, border: Option<Arc<dyn Border>>) -> Result<Running> {
    let factories = NodeFactories::look_up(&plan, registry)?;
    let wiring = Wiring::new(&plan);
    let (running, ends) = prepare(plan, &options, border, &factories, &wiring);
    start_threads(&running, &factories, &wiring, &options, ends)?;
    tracing::info!(nodes = running.plan.nodes.len(), lanes = running.plan.lanes, mode = ?running.plan.mode, "started");
    Ok(running)
}

/// Ends of channels and sinks that the threads of a run own.
struct ThreadEnds {
    /// State of each node as a sink.
    sinks: Vec<Vec<SinkState>>,
    /// Inbox and setting requests of each lane.
    lanes: Vec<(Receiver<InboxItem>, Receiver<SettingRequest>)>,
    /// Receives the index of each thread that ends.
    exited: Sender<usize>,
}

/// Creates the state that the threads of a run share. No thread exists yet.
fn prepare(
    plan: Plan,
    options: &Options,
    border: Option<Arc<dyn Border>>,
    factories: &NodeFactories,
    wiring: &Wiring,
) -> (Running, ThreadEnds) {
    let Windows { sinks, gates, remote, remote_sinks } = windows(&plan, options);
    let LaneChannels { inboxes: (inboxes, inbox_ends), settings: (settings, setting_ends) } = LaneChannels::new(&plan);
    let (exited, exits) = unbounded();
    let shared = Arc::new(Shared {
        inboxes,
        settings,
        woken: (0..plan.lanes).map(|_| AtomicBool::new(false)).collect(),
        stop: gates.stop,
        gates: gates.all,
        border,
        remote_windows: remote.into_iter().map(Mutex::new).collect(),
        node_ids: plan.nodes.iter().map(|node| node.id.clone()).collect(),
        meters: plan.nodes.iter().map(|_| Mutex::new(Meter::new())).collect(),
        records_timing: options.timing.is_some(),
        on_failure: options.on_failure.clone(),
        activity: (0..plan.lanes).map(|_| LaneActivity::default()).collect(),
        timing: Mutex::new(options.timing.clone()),
        time_base: TimeBase::new(&*options.clock),
        clock: options.clock.clone(),
        abort: AtomicBool::new(false),
        failure: Mutex::new(None),
    });
    let running = Running {
        border_targets: wiring.border.clone(),
        slots: wiring.slots.clone(),
        keys: factories.factories.iter().map(|factory| factory.keys().to_vec()).collect(),
        plan,
        shared,
        remote_sinks,
        threads: Mutex::default(),
        exits,
        started_at: Instant::now(),
        stop_cause: OnceLock::new(),
        stop_requested: options.stop_requested.clone(),
        is_held: options.is_held.clone(),
        setting_log: SettingLog::default(),
        silent_peers: Mutex::default(),
        ignored: Mutex::default(),
        unnumbered: Mutex::default(),
    };
    (running, ThreadEnds { sinks, lanes: inbox_ends.into_iter().zip(setting_ends).collect(), exited })
}

/// Starts the threads of a run, waits until every node is ready, calls the start hook, and releases the readers.
///
/// # Errors
/// The failure of one of these steps, after the threads have ended.
fn start_threads(
    running: &Running,
    factories: &NodeFactories,
    wiring: &Wiring,
    options: &Options,
    ends: ThreadEnds,
) -> Result<()> {
    let (hold, released) = bounded(0);
    let guard = StartGuard { running, hold: Some(hold), is_complete: false };
    let (ready, readiness) = unbounded();
    let spawner = Spawner { running, factories, wiring, options, ready, exited: ends.exited, released };
    let spawned = spawner.spawn_all(ends.sinks, ends.lanes);
    // Each thread has a sender of its own, so that `readiness` is disconnected if all of them die.
    drop(spawner);
    let nodes = running.plan.nodes.iter().map(|node| node.id.clone()).collect();
    let result = spawned
        .and_then(|()| wait_until_ready(&readiness, nodes, running.plan.start_timeout, &options.stop_requested))
        .and_then(|()| options.on_start.as_ref().map_or(Ok(()), |on_start| on_start()));
    guard.finish(result)
}

/// Guard of a start that is not complete. A failure, or a panic, fails the run and waits for its threads, so that none is
/// left waiting for a release or a message.
struct StartGuard<'a> {
    running: &'a Running,
    /// Readers wait until this sender is dropped.
    hold: Option<Sender<()>>,
    is_complete: bool,
}

impl StartGuard<'_> {
    /// Releases the readers, which read nothing if the start failed.
    fn finish(mut self, result: Result<()>) -> Result<()> {
        match &result {
            Ok(()) => self.is_complete = true,
            Err(error) => self.running.fail(error.clone()),
        }
        result
    }
}

impl Drop for StartGuard<'_> {
    fn drop(&mut self) {
        if !self.is_complete && !self.running.has_failed() {
            self.running.fail(Error::other("the start panicked; the message is above"));
        }
        // A failed run has its stop flag set by now, so its readers end without reading a frame.
        self.hold.take();
        if !self.is_complete {
            let _ = self.running.wait();
        }
    }
}

/// Factories of a plan's nodes, looked up before anything is created.
struct NodeFactories {
    factories: Vec<Arc<dyn OperatorFactory>>,
    /// True for each heavy operator.
    is_heavy: Vec<bool>,
}

impl NodeFactories {
    fn look_up(plan: &Plan, registry: &Registry) -> Result<Self> {
        let mut found = NodeFactories { factories: vec![], is_heavy: vec![] };
        for node in &plan.nodes {
            let entry = registry.get(&node.operator).map_err(|error| error.in_run(RunPlace::node(&node.id)))?;
            let spec = entry.spec(&node.values).map_err(|error| error.in_run(RunPlace::node(&node.id)))?;
            if spec.is_source != node.is_source {
                let kind = if spec.is_source { "a source" } else { "not a source" };
                return Err(Error::config(format!("node `{}`: `{}` is {kind}", node.id, node.operator)));
            }
            found.factories.push(entry.factory());
            found.is_heavy.push(spec.is_heavy);
        }
        Ok(found)
    }
}

/// Inboxes and setting channels of the lanes.
struct LaneChannels {
    inboxes: (Vec<Sender<InboxItem>>, Vec<Receiver<InboxItem>>),
    settings: (Vec<Sender<SettingRequest>>, Vec<Receiver<SettingRequest>>),
}

impl LaneChannels {
    fn new(plan: &Plan) -> Self {
        let mut capacities = vec![EXTRA_INBOX_CAPACITY; plan.lanes];
        for node in &plan.nodes {
            capacities[node.lane.0] += node.inputs.len() * (plan.window + 4);
        }
        let settings = (0..plan.lanes).map(|_| unbounded()).unzip();
        Self { inboxes: capacities.into_iter().map(bounded).unzip(), settings }
    }
}

/// Gates of the sources of this process, and the flag that stops them.
struct Gates {
    all: Vec<SourceGate>,
    stop: Arc<AtomicBool>,
}

/// Windows of all sources, and the sinks that they wait for.
struct Windows {
    /// State of each node as a sink, for each source whose window waits for it.
    sinks: Vec<Vec<SinkState>>,
    gates: Gates,
    /// Windows of sources in other processes.
    remote: Vec<RemoteWindow>,
    /// Sinks of each remote process at the gates of this process.
    remote_sinks: Vec<Vec<(GateId, SinkId)>>,
}

/// Creates the gates and registers every sink at the windows that wait for it.
fn windows(plan: &Plan, options: &Options) -> Windows {
    let gates = gates(plan, options);
    let gate_of = |source: SourceId| gates.all.iter().position(|gate| gate.source == source).map(GateId);
    let mut remote: Vec<RemoteWindow> = vec![];
    let mut window = |node: &PlanNode, source: SourceId| match gate_of(source) {
        Some(gate) => Some(WindowId::Gate(gate, gates.all[gate.0].gate.add_sink(&node.id, false))),
        None if plan.sends_done => {
            let at = remote.iter().position(|window| window.source == source).unwrap_or_else(|| {
                remote.push(RemoteWindow { source, sinks: vec![] });
                remote.len() - 1
            });
            remote[at].sinks.push(SinkProgress::Finished(0));
            Some(WindowId::Remote(at, remote[at].sinks.len() - 1))
        }
        None => None,
    };
    let mut sinks_of = |node: &PlanNode| {
        let sink = |source: SourceId| {
            let open_inputs = node.inputs.iter().filter(|input| input.wired.alignment.source() == Some(source)).count();
            Some(SinkState { source, window: window(node, source)?, finished: 0, open_inputs })
        };
        node.awaiting_sources().into_iter().filter_map(sink).collect()
    };
    let sinks = plan.nodes.iter().map(|node| if node.is_source { vec![] } else { sinks_of(node) }).collect();
    let add = |node: &str, source: &SourceId| {
        let gate = gate_of(*source)?;
        Some((gate, gates.all[gate.0].gate.add_sink(node, true)))
    };
    let remote_sinks = plan.remote_sinks.iter();
    let remote_sinks =
        remote_sinks.map(|sink| sink.sources.iter().filter_map(|source| add(&sink.node, source)).collect());
    let remote_sinks = remote_sinks.collect();
    Windows { sinks, gates, remote, remote_sinks }
}

/// Creates the gate of each source of this process.
fn gates(plan: &Plan, options: &Options) -> Gates {
    let stop = Arc::new(AtomicBool::new(false));
    let names = StreamNames::default();
    let sources = plan.nodes.iter().enumerate().filter(|(_, node)| node.is_source);
    let gate = |(i, node): (usize, &PlanNode)| {
        let gate = Gate::new(&node.id, plan.mode, plan.window, options.limit, stop.clone(), names.clone());
        SourceGate {
            gate: gate.with_outputs(&node.outputs).resuming_after(options.resume_after.clone()),
            lane: node.lane,
            node: NodeId(i),
            source: node.source,
            stops_run_on_failure: node.on_error == OnError::Stop,
        }
    };
    Gates { all: sources.map(gate).collect(), stop }
}

/// Operator that is yet to be created by its lane.
struct PendingOperator {
    node: NodeId,
    factory: Arc<dyn OperatorFactory>,
    values: Values,
    resources: Resources,
    options: DriverOptions,
    routes: Vec<Vec<Target>>,
    sinks: Vec<SinkState>,
    alignments: Vec<Alignment>,
    is_heavy: bool,
}

impl PendingOperator {
    fn create(self) -> Result<Slot> {
        let driver = Driver::new(self.factory, self.values, self.resources, self.options)?;
        Ok(Slot {
            node: self.node,
            driver,
            routes: self.routes,
            sinks: self.sinks,
            sources: self.alignments.into_iter().map(Alignment::source).collect(),
            is_heavy: self.is_heavy,
            finished: 0,
            is_open: true,
            tally: Tally::default(),
        })
    }
}

/// Id of a node that is ready, or that has failed to start.
type Readiness = (String, Result<()>);

/// Spawner of the threads of a run.
struct Spawner<'a> {
    running: &'a Running,
    factories: &'a NodeFactories,
    wiring: &'a Wiring,
    options: &'a Options,
    ready: Sender<Readiness>,
    exited: Sender<usize>,
    /// Disconnected once every node is ready; readers wait for it.
    released: Receiver<()>,
}

impl Spawner<'_> {
    /// Spawns the threads of all lanes, then the first reader thread of each source.
    fn spawn_all(
        &self,
        mut sinks: Vec<Vec<SinkState>>,
        channels: Vec<(Receiver<InboxItem>, Receiver<SettingRequest>)>,
    ) -> Result<()> {
        for (index, (inbox, settings)) in channels.into_iter().enumerate() {
            let id = LaneId(index);
            let nodes = self.running.plan.nodes.iter().enumerate();
            let own_nodes = nodes.filter(|(_, node)| node.lane == id && !node.is_source).map(|(i, _)| NodeId(i));
            let pending =
                own_nodes.map(|node| self.pending_operator(node, std::mem::take(&mut sinks[node.0]))).collect();
            let side_queues = self.wiring.side_queues.iter().filter(|(lane, _)| *lane == id);
            let side_queues = side_queues.map(|(_, queue)| queue.clone()).collect();
            let lane = Lane { id, inbox, settings, slots: vec![], side_queues, sources: self.source_slots(id) };
            self.spawn_lane(lane, pending)?;
        }
        (0..self.running.shared.gates.len()).try_for_each(|gate| self.spawn_reader(GateId(gate)))
    }

    fn pending_operator(&self, node: NodeId, sinks: Vec<SinkState>) -> PendingOperator {
        let planned = &self.running.plan.nodes[node.0];
        PendingOperator {
            node,
            factory: self.factories.factories[node.0].clone(),
            values: planned.values.clone(),
            resources: self.resources(node),
            options: DriverOptions { on_error: planned.on_error, stride: planned.stride },
            routes: self.wiring.routes[node.0].clone(),
            sinks,
            alignments: planned.inputs.iter().map(|input| input.wired.alignment).collect(),
            is_heavy: self.factories.is_heavy[node.0],
        }
    }

    /// Returns the sources whose frames a lane admits.
    fn source_slots(&self, lane: LaneId) -> Vec<SourceSlot> {
        let gates = self.running.shared.gates.iter().enumerate().filter(|(_, source)| source.lane == lane);
        let slots = gates.map(|(gate, source)| {
            let outputs: Vec<&'static str> =
                self.running.plan.nodes[source.node.0].outputs.iter().map(|port| port.name).collect();
            SourceSlot {
                gate: GateId(gate),
                routes: self.wiring.routes[source.node.0].clone(),
                sent: vec![0; outputs.len()],
                outputs,
            }
        });
        slots.collect()
    }

    /// Spawns the thread of a lane, which creates its operators and runs them.
    fn spawn_lane(&self, mut lane: Lane, pending: Vec<PendingOperator>) -> Result<()> {
        let shared = self.running.shared.clone();
        let ready = self.ready.clone();
        let index = lane.id.0;
        let name =
            pending.first().map_or_else(|| format!("lane {index}"), |first| shared.node_id(first.node).to_owned());
        self.spawn_thread(name, Role::Lane, move || {
            for operator in pending {
                let id = shared.node_id(operator.node).to_owned();
                let slot = operator.create();
                let _ = ready.send((id, slot.as_ref().map(|_| ()).map_err(Clone::clone)));
                match slot {
                    Ok(slot) => lane.slots.push(slot),
                    Err(_) => {
                        shared.abort.store(true, Ordering::SeqCst);
                        break;
                    }
                }
            }
            lane.run(&shared);
        })
    }

    /// Spawns the first reader thread of a source, which opens the source.
    fn spawn_reader(&self, gate: GateId) -> Result<()> {
        let source = &self.running.shared.gates[gate.0];
        let node = &self.running.plan.nodes[source.node.0];
        let (factory, values) = (self.factories.factories[source.node.0].clone(), node.values.clone());
        let (resources, id) = (self.resources(source.node), node.id.clone());
        let cx =
            SourceContext::new(self.running.plan.mode, self.options.clock.clone(), self.running.shared.stop.clone());
        let (shared, ready, released) = (self.running.shared.clone(), self.ready.clone(), self.released.clone());
        self.spawn_thread(format!("{id} reader"), Role::Reader(gate), move || {
            let opened = open_source(&shared, gate, &*factory, &values, &resources);
            let _ = ready.send((id.clone(), opened.as_ref().map(|_| ()).map_err(Clone::clone)));
            if let Ok(sources) = opened {
                let _ = released.recv();
                read_streams(&shared, gate, &id, sources, &cx);
            }
        })
    }

    fn spawn_thread(&self, name: String, role: Role, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let mut threads = self.running.threads();
        let exit = ExitNotice(self.exited.clone(), threads.len());
        let handle = spawn_named(&name, move || {
            let _exit = exit;
            work();
        })?;
        threads.push(Thread { name, role, handle });
        Ok(())
    }

    fn resources(&self, node: NodeId) -> Resources {
        let (plan, options) = (&self.running.plan, self.options);
        let planned = &plan.nodes[node.0];
        Resources {
            node: planned.id.clone(),
            mode: plan.mode,
            device: options.device,
            run_dir: options.run_dir.clone(),
            run: options.run.clone(),
            inputs: planned.inputs.iter().map(|input| input.wired.clone()).collect(),
            outputs: connected_outputs(&planned.outputs, &self.wiring.routes[node.0]),
            search: planned.search.clone(),
            models: options.models.clone(),
            clock: options.clock.clone(),
        }
    }
}

/// Returns the names of the outputs that have a consumer, in this process or another one.
fn connected_outputs(outputs: &[OutputPort], routes: &[Vec<Target>]) -> Vec<String> {
    let connected = outputs.iter().zip(routes).filter(|(_, targets)| !targets.is_empty());
    connected.map(|(port, _)| port.name.to_owned()).collect()
}

/// Interval at which a requested stop is checked during the start.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until the nodes in `waiting` are ready.
///
/// # Errors
/// The failure of a node, a requested stop, or the names of the nodes that were not ready within the timeout.
fn wait_until_ready(
    readiness: &Receiver<Readiness>,
    mut waiting: Vec<String>,
    timeout: Duration,
    stop_requested: &AtomicBool,
) -> Result<()> {
    let deadline = Instant::now() + timeout;
    while !waiting.is_empty() {
        if stop_requested.load(Ordering::SeqCst) {
            return Err(Error::other("stopped while operators were being created"));
        }
        match readiness.recv_deadline(deadline.min(Instant::now() + POLL_INTERVAL)) {
            Ok((id, result)) => {
                result?;
                waiting.retain(|node| *node != id);
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
            Err(_) => {
                return Err(Error::other(format!(
                    "node `{}` was not ready within {} s: its creation hangs, or takes longer than SIDELINE_START_S",
                    waiting.join("`, `"),
                    timeout.as_secs_f64()
                )));
            }
        }
    }
    Ok(())
}

/// Guard that reports the end of a thread when it is dropped, also on a panic.
struct ExitNotice(Sender<usize>, usize);

impl Drop for ExitNotice {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

/// Spawns a thread. Linux limits thread names to 15 bytes.
fn spawn_named(name: &str, f: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.chars().take(15).collect())
        .spawn(f)
        .or_fail(Failure::Other, || format!("cannot start a thread for `{name}`"))
}
