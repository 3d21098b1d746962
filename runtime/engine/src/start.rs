//! The start of a run, in phases: everything is looked up, then wired, then every operator is made on its own thread; the
//! sources go when all are ready. Whatever fails, all that was made is closed and no thread is left waiting.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use sideline_api::{
    Alignment, Driver, Error, Made, OnError, OperatorFactory, OutputPort, Registry, Resources, Result, RunnableSource,
    SourceContext, SourceId, Values, driver::DriverOptions,
};
use sideline_graph::plan::{LaneId, NodeId, Plan, PlanNode, Producer};

use crate::{
    Border, Options, Running,
    change::Changes,
    gate::{Gate, Progress, SinkId, StreamNames},
    lane::{Admitted, Lane, Slot},
    meter::{self, Meter, Tally},
    running::{Role, Thread},
    shared::{Busy, GateId, GateOf, Post, RemoteWindow, Setting, Shared, SideQueue, SinkOf, Target, TimeBase, Window},
};

/// Free places in every inbox beyond its edges' queues.
const SLACK: usize = 8;

/// Starts a plan: makes every operator on its own thread, and lets the sources go once all are ready.
///
/// # Errors
/// The first failure of a `new`, or the names of those that were not ready within the deadline. Everything that was made
/// has then been closed.
pub fn start(plan: Plan, registry: &Registry, options: Options, border: Option<Arc<dyn Border>>) -> Result<Running> {
    let parts = Parts::look_up(&plan, registry)?;
    let wired = Wired::new(&plan);
    let Windows { sinks, gates, remote, remote_sinks } = windows(&plan, &options);
    let lanes = Channels::new(&plan);
    let (exited, exits) = unbounded();
    let shared = Arc::new(Shared {
        inboxes: lanes.inboxes.0,
        settings: lanes.settings.0,
        woken: (0..plan.lanes).map(|_| AtomicBool::new(false)).collect(),
        stop: gates.stop,
        gates: gates.all,
        border,
        remote_windows: remote.into_iter().map(Mutex::new).collect(),
        names: plan.nodes.iter().map(|node| node.id.clone()).collect(),
        meters: plan.nodes.iter().map(|_| Mutex::new(Meter::new())).collect(),
        timed: options.timing.is_some(),
        busy: (0..plan.lanes).map(|_| Busy::default()).collect(),
        timing: Mutex::new(options.timing.clone()),
        base: TimeBase::new(&*options.clock),
        clock: options.clock.clone(),
        abort: AtomicBool::new(false),
        failure: Mutex::new(None),
    });
    let running = Running {
        border_targets: wired.border.clone(),
        places: wired.places.clone(),
        keys: parts.factories.iter().map(|factory| factory.keys().to_vec()).collect(),
        plan,
        shared,
        remote_sinks,
        threads: Mutex::default(),
        exits,
        began: Instant::now(),
        user_stop: AtomicBool::new(false),
        asked_to_stop: options.asked_to_stop.clone(),
        changes: Changes::default(),
        silent: Mutex::default(),
        ignored: Mutex::default(),
    };
    let (ready, made) = unbounded();
    // The channel closes when every node is ready; a failed start has set the stop flag by then.
    let (go, gone) = bounded::<()>(0);
    let spawned = Spawn { running: &running, parts: &parts, wired: &wired, options: &options, ready, exited, gone };
    let result = spawned.all(sinks, lanes.inboxes.1.into_iter().zip(lanes.settings.1).collect());
    drop(spawned);
    let waiting = running.plan.nodes.iter().map(|node| node.id.clone()).collect();
    let result = result
        .and_then(|()| wait_until_made(&made, waiting, running.plan.start, &options.asked_to_stop))
        .and_then(|()| options.begin.as_ref().map_or(Ok(()), |begin| begin()));
    if let Err(error) = &result {
        running.fail(error.clone());
    }
    drop(go);
    if let Err(error) = result {
        let _ = running.wait();
        return Err(error);
    }
    tracing::info!(nodes = running.plan.nodes.len(), lanes = running.plan.lanes, mode = ?running.plan.mode, "started");
    Ok(running)
}

/// The factories of a plan's nodes, looked up before anything is made.
struct Parts {
    factories: Vec<Arc<dyn OperatorFactory>>,
    heavy: Vec<bool>,
}

impl Parts {
    fn look_up(plan: &Plan, registry: &Registry) -> Result<Self> {
        let mut parts = Parts { factories: vec![], heavy: vec![] };
        for node in &plan.nodes {
            let entry = registry.get(&node.operator).map_err(|error| error.at(format!("node `{}`", node.id)))?;
            let spec = entry.spec(&node.values).map_err(|error| error.at(format!("node `{}`", node.id)))?;
            if spec.source != node.is_source {
                let what = if spec.source { "a source" } else { "not a source" };
                return Err(Error::config(format!("node `{}`: `{}` is {what}", node.id, node.operator)));
            }
            parts.factories.push(entry.factory());
            parts.heavy.push(spec.heavy);
        }
        Ok(parts)
    }
}

/// The channels of the lanes.
struct Channels {
    inboxes: (Vec<Sender<Post>>, Vec<Receiver<Post>>),
    settings: (Vec<Sender<Setting>>, Vec<Receiver<Setting>>),
}

impl Channels {
    fn new(plan: &Plan) -> Self {
        let mut room = vec![SLACK; plan.lanes];
        for node in &plan.nodes {
            room[node.lane.0] += node.inputs.len() * (plan.window + 4);
        }
        let settings = (0..plan.lanes).map(|_| unbounded()).unzip();
        Self { inboxes: room.into_iter().map(bounded).unzip(), settings }
    }
}

/// Gates of the sources here, and the flag that stops them.
struct Gates {
    all: Vec<GateOf>,
    stop: Arc<AtomicBool>,
}

/// The windows that sinks move.
struct Windows {
    /// Of each node, those of the sources that wait for it.
    sinks: Vec<Vec<SinkOf>>,
    gates: Gates,
    /// Those of sources in other processes.
    remote: Vec<RemoteWindow>,
    /// Of each remote process, its sinks in the gates here.
    remote_sinks: Vec<Vec<(GateId, SinkId)>>,
}

fn windows(plan: &Plan, options: &Options) -> Windows {
    let gates = gates(plan, options);
    let gate_of = |source: SourceId| gates.all.iter().position(|of| of.source == source).map(GateId);
    let mut remote: Vec<RemoteWindow> = vec![];
    let mut window = |node: &PlanNode, source: SourceId| match gate_of(source) {
        Some(gate) => Some(Window::Gate(gate, gates.all[gate.0].gate.add_sink(&node.id, false))),
        None if plan.sends_done => {
            let at = remote.iter().position(|window| window.source == source).unwrap_or_else(|| {
                remote.push(RemoteWindow { source, sinks: vec![] });
                remote.len() - 1
            });
            remote[at].sinks.push(Progress::Finished(0));
            Some(Window::Remote(at, remote[at].sinks.len() - 1))
        }
        None => None,
    };
    let mut sinks_of = |node: &PlanNode| {
        let sink = |source: SourceId| {
            let open = node.inputs.iter().filter(|input| input.wired.alignment.source() == Some(source)).count();
            Some(SinkOf { source, window: window(node, source)?, finished: 0, open })
        };
        node.sink_of().into_iter().filter_map(sink).collect()
    };
    let sinks = plan.nodes.iter().map(|node| if node.is_source { vec![] } else { sinks_of(node) }).collect();
    let add = |node: &str, source: &SourceId| {
        let gate = gate_of(*source)?;
        Some((gate, gates.all[gate.0].gate.add_sink(node, true)))
    };
    let remote_sinks = plan.remote_sinks.iter();
    let remote_sinks = remote_sinks.map(|of| of.sources.iter().filter_map(|source| add(&of.node, source)).collect());
    let remote_sinks = remote_sinks.collect();
    Windows { sinks, gates, remote, remote_sinks }
}

fn gates(plan: &Plan, options: &Options) -> Gates {
    let stop = Arc::new(AtomicBool::new(false));
    let names = StreamNames::default();
    let sources = plan.nodes.iter().enumerate().filter(|(_, node)| node.is_source);
    let gate = |(i, node): (usize, &PlanNode)| {
        let gate = Gate::new(&node.id, plan.mode, plan.window, options.limit, stop.clone(), names.clone());
        GateOf {
            gate: gate.carrying(&node.outputs).after(options.after.clone()),
            lane: node.lane,
            node: NodeId(i),
            source: node.source,
            stops_run: node.on_error == OnError::Stop,
        }
    };
    Gates { all: sources.map(gate).collect(), stop }
}

/// An operator that a lane is going to make.
struct Making {
    node: NodeId,
    factory: Arc<dyn OperatorFactory>,
    values: Values,
    resources: Resources,
    options: DriverOptions,
    routes: Vec<Vec<Target>>,
    sinks: Vec<SinkOf>,
    alignments: Vec<Alignment>,
    heavy: bool,
}

impl Making {
    fn make(self) -> Result<Slot> {
        let driver = Driver::new(self.factory, self.values, self.resources, self.options)?;
        Ok(Slot {
            node: self.node,
            driver,
            routes: self.routes,
            sinks: self.sinks,
            sources: self.alignments.into_iter().map(Alignment::source).collect(),
            heavy: self.heavy,
            finished: 0,
            open: true,
            tally: Tally::default(),
        })
    }
}

/// A node that is ready, or its failure.
type Ready = (String, Result<()>);

/// The phase in which threads begin.
struct Spawn<'a> {
    running: &'a Running,
    parts: &'a Parts,
    wired: &'a Wired,
    options: &'a Options,
    ready: Sender<Ready>,
    exited: Sender<usize>,
    gone: Receiver<()>,
}

impl Spawn<'_> {
    fn all(&self, mut sinks: Vec<Vec<SinkOf>>, channels: Vec<(Receiver<Post>, Receiver<Setting>)>) -> Result<()> {
        for (number, (inbox, settings)) in channels.into_iter().enumerate() {
            let id = LaneId(number);
            let nodes = self.running.plan.nodes.iter().enumerate();
            let ours = nodes.filter(|(_, node)| node.lane == id && !node.is_source).map(|(i, _)| NodeId(i));
            let making = ours.map(|node| self.making(node, std::mem::take(&mut sinks[node.0]))).collect();
            let side = self.wired.side.iter().filter(|(lane, _)| *lane == id).map(|(_, queue)| queue.clone()).collect();
            let lane = Lane { id, inbox, settings, slots: vec![], side, sources: self.admitted(id) };
            self.lane(lane, making)?;
        }
        (0..self.running.shared.gates.len()).try_for_each(|gate| self.reader(GateId(gate)))
    }

    fn making(&self, node: NodeId, sinks: Vec<SinkOf>) -> Making {
        let of = &self.running.plan.nodes[node.0];
        Making {
            node,
            factory: self.parts.factories[node.0].clone(),
            values: of.values.clone(),
            resources: self.resources(node),
            options: DriverOptions { on_error: of.on_error, stride: of.stride },
            routes: self.wired.routes[node.0].clone(),
            sinks,
            alignments: of.inputs.iter().map(|input| input.wired.alignment).collect(),
            heavy: self.parts.heavy[node.0],
        }
    }

    /// The sources that a lane admits.
    fn admitted(&self, lane: LaneId) -> Vec<Admitted> {
        let gates = self.running.shared.gates.iter().enumerate().filter(|(_, of)| of.lane == lane);
        let admitted = gates.map(|(gate, of)| {
            let outputs: Vec<&'static str> =
                self.running.plan.nodes[of.node.0].outputs.iter().map(|port| port.name).collect();
            Admitted {
                gate: GateId(gate),
                routes: self.wired.routes[of.node.0].clone(),
                sent: vec![0; outputs.len()],
                outputs,
            }
        });
        admitted.collect()
    }

    /// Begins the thread of a lane, which makes its operators and runs them.
    fn lane(&self, mut lane: Lane, making: Vec<Making>) -> Result<()> {
        let shared = self.running.shared.clone();
        let ready = self.ready.clone();
        let number = lane.id.0;
        let name = making.first().map_or_else(|| format!("lane {number}"), |first| shared.name(first.node).to_owned());
        self.thread(name, Role::Lane, move || {
            for making in making {
                let id = shared.name(making.node).to_owned();
                let slot = making.make();
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

    /// Begins the first reader thread of a source, which opens it.
    fn reader(&self, gate: GateId) -> Result<()> {
        let of = &self.running.shared.gates[gate.0];
        let node = &self.running.plan.nodes[of.node.0];
        let (factory, values) = (self.parts.factories[of.node.0].clone(), node.values.clone());
        let (resources, id) = (self.resources(of.node), node.id.clone());
        let cx =
            SourceContext::new(self.running.plan.mode, self.options.clock.clone(), self.running.shared.stop.clone());
        let (shared, ready, gone) = (self.running.shared.clone(), self.ready.clone(), self.gone.clone());
        self.thread(format!("{id} reader"), Role::Reader(gate), move || {
            let opened = open(&shared, gate, &*factory, &values, &resources);
            let _ = ready.send((id.clone(), opened.as_ref().map(|_| ()).map_err(Clone::clone)));
            if let Ok(sources) = opened {
                let _ = gone.recv();
                read_all(&shared, gate, &id, sources, &cx);
            }
        })
    }

    fn thread(&self, name: String, role: Role, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let mut threads = self.running.threads();
        let exit = Exit(self.exited.clone(), threads.len());
        let handle = spawn(&name, move || {
            let _exit = exit;
            work();
        })?;
        threads.push(Thread { name, role, handle });
        Ok(())
    }

    fn resources(&self, node: NodeId) -> Resources {
        let (plan, options) = (&self.running.plan, self.options);
        let of = &plan.nodes[node.0];
        Resources {
            node: of.id.clone(),
            mode: plan.mode,
            device: options.device,
            run_dir: options.run_dir.clone(),
            run: options.run.clone(),
            inputs: of.inputs.iter().map(|input| input.wired.clone()).collect(),
            outputs: read_outputs(&of.outputs, &self.wired.routes[node.0]),
            search: of.search.clone(),
            models: options.models.clone(),
            clock: options.clock.clone(),
        }
    }
}

/// Names of the outputs that are read, here or in another process.
fn read_outputs(outputs: &[OutputPort], routes: &[Vec<Target>]) -> Vec<String> {
    let read = outputs.iter().zip(routes).filter(|(_, targets)| !targets.is_empty());
    read.map(|(port, _)| port.name.to_owned()).collect()
}

/// Opens every stream of a source, and tells the gate their names.
fn open(
    shared: &Shared,
    gate: GateId,
    factory: &dyn OperatorFactory,
    values: &Values,
    resources: &Resources,
) -> Result<Vec<Box<dyn RunnableSource>>> {
    match factory.make(values, resources)? {
        Made::Sources(sources) => {
            shared.gates[gate.0].gate.open(sources.iter().map(|source| source.stream()).collect())?;
            Ok(sources)
        }
        Made::Operator(_) => Err(Error::config(format!("node `{}` is not a source", resources.node))),
    }
}

/// Interval between two looks at a stop that comes during the start.
const LOOK: Duration = Duration::from_millis(20);

fn wait_until_made(
    made: &Receiver<Ready>,
    mut waiting: Vec<String>,
    deadline: Duration,
    asked_to_stop: &AtomicBool,
) -> Result<()> {
    let until = Instant::now() + deadline;
    while !waiting.is_empty() {
        if asked_to_stop.load(Ordering::SeqCst) {
            return Err(Error::other("stopped while operators were being made"));
        }
        match made.recv_deadline(until.min(Instant::now() + LOOK)) {
            Ok((id, result)) => {
                result?;
                waiting.retain(|node| *node != id);
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() < until => {}
            Err(_) => {
                return Err(Error::other(format!(
                    "node `{}` was not ready within {} s: its `new` hangs, or is slower than SIDELINE_START_S allows",
                    waiting.join("`, `"),
                    deadline.as_secs_f64()
                )));
            }
        }
    }
    Ok(())
}

/// Tells that a thread ends, however it does.
struct Exit(Sender<usize>, usize);

impl Drop for Exit {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.chars().take(15).collect())
        .spawn(f)
        .map_err(|e| Error::other(format!("cannot start a thread for `{name}`: {e}")))
}

/// The reader threads of a source: this one, and one more for each stream beyond the first.
fn read_all(shared: &Shared, gate: GateId, id: &str, sources: Vec<Box<dyn RunnableSource>>, cx: &SourceContext) {
    std::thread::scope(|scope| {
        let mut sources = sources.into_iter().enumerate();
        let first = sources.next();
        for (reader, mut source) in sources {
            let name: String =
                format!("{id} {}", source.stream().as_deref().unwrap_or("reader")).chars().take(15).collect();
            let work = move || read(shared, gate, reader, id, &mut *source, cx);
            if let Err(cause) = std::thread::Builder::new().name(name).spawn_scoped(scope, work) {
                let error = Error::other(format!("node `{id}`: cannot start a thread: {cause}"));
                shared.gates[gate.0].gate.reader_ended(reader, Err(error));
                shared.wake(shared.gates[gate.0].lane);
            }
        }
        if let Some((reader, mut source)) = first {
            read(shared, gate, reader, id, &mut *source, cx);
        }
    });
}

/// Reads one stream to its end.
fn read(shared: &Shared, gate: GateId, reader: usize, id: &str, source: &mut dyn RunnableSource, cx: &SourceContext) {
    let of = &shared.gates[gate.0];
    let mut how = Ok(());
    while !cx.stopping() {
        let next = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| source.next(cx)))
            .unwrap_or_else(|_| Err(Error::input("panicked; the message is above")));
        match next {
            Ok(Some(captured)) => match of.gate.offer(reader, captured) {
                Ok(true) => shared.wake(of.lane),
                Ok(false) => break,
                Err(error) => {
                    shared.fail(error);
                    break;
                }
            },
            Ok(None) => {
                offer_rest(of, reader, source, cx);
                break;
            }
            Err(error) => {
                how = Err(error.at(format!("node `{id}`")));
                offer_rest(of, reader, source, cx);
                break;
            }
        }
    }
    let closed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| source.close()))
        .unwrap_or_else(|_| Err(Error::input("panicked while closing; the message is above")));
    how = how.and(closed.map_err(|error| error.at(format!("node `{id}`"))));
    if let Err(error) = &how {
        // The report tells it, perhaps much later: other streams and sources may go on.
        tracing::error!(target: "sideline::failure", message = %error);
    }
    shared.meter(of.node).cpu += meter::thread_cpu();
    let counts = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| source.counts()));
    of.gate.counted(reader, counts.unwrap_or_default());
    of.gate.reader_ended(reader, how);
    shared.wake(of.lane);
}

/// Hands the gate what is left after the last frame, unless the run was stopped before.
fn offer_rest(of: &GateOf, reader: usize, source: &mut dyn RunnableSource, cx: &SourceContext) {
    if !cx.stopping() {
        // One that panics here has nothing left; its panic in `next`, if it did, is told already.
        let rest = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| source.closing()));
        of.gate.closing(reader, rest.unwrap_or_default());
    }
}

/// Lane and slot of every operator; none for sources.
pub(crate) type Places = Vec<Option<(LaneId, usize)>>;

/// The targets of every output and every border input.
struct Wired {
    places: Places,
    routes: Vec<Vec<Vec<Target>>>,
    border: Vec<Vec<Target>>,
    side: Vec<(LaneId, Arc<SideQueue>)>,
}

impl Wired {
    fn new(plan: &Plan) -> Self {
        let mut wired = Wired {
            places: places(plan),
            routes: plan.nodes.iter().map(|node| vec![vec![]; node.outputs.len()]).collect(),
            border: vec![vec![]; plan.border_inputs.len()],
            side: vec![],
        };
        for (at, node) in plan.nodes.iter().enumerate() {
            let Some((lane, slot)) = wired.places[at] else { continue };
            for (port, input) in node.inputs.iter().enumerate() {
                let target = match input.wired.alignment.queue() {
                    None => Target::Operator { lane, slot, port },
                    Some(capacity) => {
                        let queue = Arc::new(SideQueue::new(slot, port, capacity));
                        wired.side.push((lane, queue.clone()));
                        Target::Side { lane, queue }
                    }
                };
                match input.producer {
                    Producer::Node { node, output } => wired.routes[node.0][output].push(target),
                    Producer::Border(border) => wired.border[border].push(target),
                }
            }
        }
        for (i, output) in plan.border_outputs.iter().enumerate() {
            wired.routes[output.node.0][output.output].push(Target::Border(i));
        }
        wired
    }
}

fn places(plan: &Plan) -> Places {
    let mut next = vec![0; plan.lanes];
    let place = |node: &PlanNode| {
        (!node.is_source).then(|| {
            let slot = &mut next[node.lane.0];
            *slot += 1;
            (node.lane, *slot - 1)
        })
    };
    plan.nodes.iter().map(place).collect()
}
