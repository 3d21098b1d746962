//! Runs a plan in one process: threads, queues, window, counts, metrics.
//!
//! Every source has a reader thread, which decodes, and a [gate](gate), which admits. Every lane of the plan is one thread
//! that owns its operators. A frame travels by hand-over inside a lane and by one post between lanes.
#![forbid(unsafe_code)]

pub mod gate;
mod lane;
pub mod meter;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use sideline_api::{
    Alignment, Device, Error, Make, Message, Mode, OnError, Registry, Resources, Result, RunnableSource, SourceContext,
    clock::Clock, driver::DriverOptions, models::Models,
};
use sideline_graph::plan::{Plan, PlanNode, Producer, RemoteLeaf};

use gate::{Gate, Limit};
use lane::{
    Admitted, Busy, Delivery, GateOf, Lane, LeafOf, LocalLeaves, Post, Shared, SideQueue, Slot, Target, TimeBase, What,
    Window,
};
use meter::{Meter, NodeReport, Quantiles, Report, SourceReport, Status};

pub use lane::TimingRow;

/// How long threads get to end after a failure before they are left behind and named.
const GRACE: Duration = Duration::from_secs(3);
/// Free places in every inbox beyond its edges' queues, for wake-ups and settings.
const SLACK: usize = 64;

/// The other processes of a run, as the engine sees them.
pub trait Border: Send + Sync {
    /// Sends a message of border output number `output`.
    ///
    /// # Errors
    /// The run ends with it.
    fn send(&self, output: usize, message: &Message) -> Result<()>;
    /// Tells the process of source number `source` that every leaf of it here has finished `count` frames.
    ///
    /// # Errors
    /// The run ends with it.
    fn done(&self, source: usize, count: u64) -> Result<()>;
}

/// What a run needs besides its plan.
#[derive(Clone)]
pub struct Options {
    /// Where models run.
    pub device: Device,
    /// Name of the run.
    pub run: String,
    /// Its folder, which exists.
    pub run_dir: PathBuf,
    /// The models.
    pub models: Arc<Models>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Ends the run on purpose.
    pub limit: Limit,
    /// How long operators may take to be made.
    pub start_deadline: Duration,
    /// Where timing rows go.
    pub timing: Option<Sender<Vec<TimingRow>>>,
}

/// A run that is under way.
pub struct Running {
    plan: Plan,
    shared: Arc<Shared>,
    /// Where each node lives: lane and slot; none for sources.
    places: Vec<Option<(usize, usize)>>,
    border_targets: Vec<Vec<Target>>,
    threads: Mutex<Vec<(String, JoinHandle<()>)>>,
    exits: Receiver<usize>,
    began: Instant,
    user_stop: AtomicBool,
    /// A key was changed.
    changed: AtomicBool,
}

/// A look at a run under way.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Progress {
    /// Seconds since the start.
    pub seconds: f64,
    /// Frames finished by every leaf (without a source here: by the slowest operator).
    pub frames: u64,
    /// Frames forgotten.
    pub forgotten: u64,
    /// Frames a second at the slowest operator.
    pub fps: f64,
    /// Capture to output of the last operator.
    pub latency_ms: Quantiles,
    /// Errors and panics so far.
    pub errors: u64,
}

/// Starts a plan: makes every operator on its own thread, and lets the sources go once all are ready.
///
/// # Errors
/// The first failure of a `new`, or the names of those that were not ready within the deadline. Everything that was made
/// has then been closed.
pub fn start(plan: Plan, registry: &Registry, options: Options, border: Option<Arc<dyn Border>>) -> Result<Running> {
    let began = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let places = places(&plan);
    let (inboxes, receivers) = inboxes(&plan);
    let gates = gates(&plan, options.limit, &stop);
    let (leaves, local_leaves) = leaves(&plan, &gates);
    let shared = Arc::new(Shared {
        inboxes,
        gates,
        border,
        local_leaves: local_leaves.into_iter().map(Mutex::new).collect(),
        names: plan.nodes.iter().map(|node| node.id.clone()).collect(),
        meters: plan.nodes.iter().map(|_| Mutex::new(Meter::default())).collect(),
        timed: options.timing.is_some(),
        busy: (0..plan.lanes).map(|_| Busy::default()).collect(),
        timing: Mutex::new(options.timing.clone()),
        base: TimeBase::new(&*options.clock),
        stop: stop.clone(),
        abort: AtomicBool::new(false),
        failure: Mutex::new(None),
    });
    let wiring = Wiring::new(&plan, &places);
    let (ready, made) = unbounded();
    let (exited, exits) = unbounded();
    let mut threads = Vec::new();
    let mut waiting: Vec<String> = Vec::new();
    let mut started = Vec::new();
    for (number, inbox) in receivers.into_iter().enumerate() {
        let nodes: Vec<usize> =
            (0..plan.nodes.len()).filter(|i| plan.nodes[*i].lane == number && !plan.nodes[*i].is_source).collect();
        let mut making = Vec::new();
        for &i in &nodes {
            let node = &plan.nodes[i];
            let entry = registry.get(&node.operator)?;
            let Make::Operator(make) = entry.make else {
                return Err(Error::config(format!("node `{}`: `{}` is a source", node.id, node.operator)));
            };
            waiting.push(node.id.clone());
            let driver = DriverOptions { on_error: node.on_error, stride: node.stride };
            making.push((i, make, node.values.clone(), resources(node, &plan, &options), driver, entry.spec.heavy));
        }
        let routes = wiring.routes.clone();
        let mut leaves = leaves.clone();
        let alignments: Vec<Vec<Alignment>> =
            plan.nodes.iter().map(|node| node.inputs.iter().map(|input| input.wired.alignment).collect()).collect();
        let sources = shared
            .gates
            .iter()
            .enumerate()
            .filter(|(_, of)| of.lane == number)
            .map(|(gate, of)| Admitted { gate, routes: routes[of.node].clone(), n: 0 })
            .collect();
        let side = wiring.side.iter().filter(|(lane, _)| *lane == number).map(|(_, queue)| queue.clone()).collect();
        let (shared, ready, exited) = (shared.clone(), ready.clone(), exited.clone());
        let name = making.first().map_or_else(|| format!("lane {number}"), |(i, ..)| plan.nodes[*i].id.clone());
        let ids: Vec<String> = nodes.iter().map(|i| plan.nodes[*i].id.clone()).collect();
        let at = threads.len();
        let handle = spawn(&name, move || {
            let _exit = Exit(exited, at);
            let mut slots = Vec::new();
            let mut good = true;
            for ((i, make, values, resources, driver, heavy), id) in making.into_iter().zip(ids) {
                if !good {
                    break;
                }
                let result = make(values, resources, driver);
                good = result.is_ok();
                let _ = ready.send((id, result.as_ref().map(|_| ()).map_err(Clone::clone)));
                if let Ok(driver) = result {
                    let (routes, leaves) = (routes[i].clone(), std::mem::take(&mut leaves[i]));
                    let sources = alignments[i].iter().map(|alignment| alignment.source()).collect();
                    slots.push(Slot { node: i, driver, routes, leaves, sources, heavy, finished: 0, open: true });
                }
            }
            if !good {
                shared.abort.store(true, Ordering::SeqCst);
            }
            Lane { number, inbox, slots, side, sources }.run(&shared);
        })?;
        threads.push((name, handle));
    }
    let (go, gone) = bounded::<()>(0);
    for (gate, of) in shared.gates.iter().enumerate() {
        let node = &plan.nodes[of.node];
        let Make::Source(make) = registry.get(&node.operator)?.make else {
            return Err(Error::config(format!("node `{}`: `{}` is not a source", node.id, node.operator)));
        };
        waiting.push(node.id.clone());
        let (values, resources, id) = (node.values.clone(), resources(node, &plan, &options), node.id.clone());
        let cx = SourceContext::new(plan.mode, options.clock.clone(), stop.clone());
        let (shared, ready, gone, exited) = (shared.clone(), ready.clone(), gone.clone(), exited.clone());
        let at = threads.len();
        let handle = spawn(&format!("{id} reader"), move || {
            let _exit = Exit(exited, at);
            let result = make(&values, &resources);
            let _ = ready.send((id.clone(), result.as_ref().map(|_| ()).map_err(Clone::clone)));
            if let Ok(mut source) = result {
                // The channel closes when every node is ready; a failed start has set the stop flag by then.
                let _ = gone.recv();
                read(&shared, gate, &id, &mut *source, &cx);
            }
        })?;
        threads.push((format!("{} reader", plan.nodes[of.node].id), handle));
    }
    drop(gone);
    let failed = wait_until_made(&made, &mut waiting, &mut started, options.start_deadline);
    if let Err(error) = failed {
        shared.fail(error.clone());
        drop(go);
        let running = Running {
            border_targets: wiring.border,
            plan,
            shared,
            places,
            threads: Mutex::new(threads),
            exits,
            began,
            user_stop: AtomicBool::new(false),
            changed: AtomicBool::new(false),
        };
        let _ = running.wait();
        return Err(error);
    }
    drop(go);
    tracing::info!(nodes = plan.nodes.len(), lanes = plan.lanes, mode = ?plan.mode, "started");
    Ok(Running {
        border_targets: wiring.border,
        plan,
        shared,
        places,
        threads: Mutex::new(threads),
        exits,
        began,
        user_stop: AtomicBool::new(false),
        changed: AtomicBool::new(false),
    })
}

fn wait_until_made(
    made: &Receiver<(String, Result<()>)>,
    waiting: &mut Vec<String>,
    started: &mut Vec<String>,
    deadline: Duration,
) -> Result<()> {
    let until = Instant::now() + deadline;
    while !waiting.is_empty() {
        match made.recv_deadline(until) {
            Ok((id, result)) => {
                result?;
                waiting.retain(|node| *node != id);
                started.push(id);
            }
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

/// The reader thread of a source.
fn read(shared: &Shared, gate: usize, id: &str, source: &mut dyn RunnableSource, cx: &SourceContext) {
    let of = &shared.gates[gate];
    let mut how = Ok(());
    while !cx.stopping() {
        let next = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| source.next(cx)))
            .unwrap_or_else(|_| Err(Error::input("panicked; the message is above")));
        match next {
            Ok(Some(captured)) => {
                if !of.gate.offer(captured) {
                    break;
                }
                shared.wake(of.lane);
            }
            Ok(None) => break,
            Err(error) => {
                how = Err(error.at(format!("node `{id}`")));
                break;
            }
        }
    }
    let closed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| source.close()))
        .unwrap_or_else(|_| Err(Error::input("panicked while closing; the message is above")));
    how = how.and(closed.map_err(|error| error.at(format!("node `{id}`"))));
    if let Err(error) = &how {
        // The report tells it, perhaps much later: other sources may go on.
        tracing::error!(target: "sideline::failure", message = %error);
    }
    of.gate.reader_ended(how);
    shared.wake(of.lane);
}

fn resources(node: &PlanNode, plan: &Plan, options: &Options) -> Resources {
    Resources {
        node: node.id.clone(),
        mode: plan.mode,
        device: options.device,
        run_dir: options.run_dir.clone(),
        run: options.run.clone(),
        inputs: node.inputs.iter().map(|input| input.wired.clone()).collect(),
        search: node.search.clone(),
        models: options.models.clone(),
        clock: options.clock.clone(),
    }
}

/// Lane and slot of every operator.
fn places(plan: &Plan) -> Vec<Option<(usize, usize)>> {
    let mut next = vec![0; plan.lanes];
    plan.nodes
        .iter()
        .map(|node| {
            (!node.is_source).then(|| {
                next[node.lane] += 1;
                (node.lane, next[node.lane] - 1)
            })
        })
        .collect()
}

fn inboxes(plan: &Plan) -> (Vec<Sender<Post>>, Vec<Receiver<Post>>) {
    let mut room = vec![SLACK; plan.lanes];
    for node in &plan.nodes {
        room[node.lane] += node.inputs.len() * (plan.window + 4);
    }
    room.into_iter().map(bounded).unzip()
}

fn gates(plan: &Plan, limit: Limit, stop: &Arc<AtomicBool>) -> Vec<GateOf> {
    let sources = plan.nodes.iter().enumerate().filter(|(_, node)| node.is_source);
    sources
        .map(|(i, node)| {
            let remote = plan.remote_leaves.iter().filter(|leaf| leaf.sources.contains(&node.source));
            let leaves = local_leaves(plan, node.source).map(|n| n.id.clone());
            let leaves = leaves.chain(remote.map(|leaf| leaf.node.clone())).collect();
            GateOf {
                gate: Gate::new(&node.id, plan.mode, plan.window, limit, stop.clone(), leaves),
                lane: node.lane,
                node: i,
                source: node.source,
                stops_run: node.on_error == OnError::Stop,
            }
        })
        .collect()
}

/// The nodes here that a source waits for: they stand in its gate in the order of the plan, before those of other
/// processes.
fn local_leaves(plan: &Plan, source: usize) -> impl Iterator<Item = &PlanNode> {
    plan.nodes.iter().filter(move |node| !node.is_source && node.leaf_of().contains(&source))
}

/// Of each node the sources that wait for it; and the leaves here of sources of other processes.
fn leaves(plan: &Plan, gates: &[GateOf]) -> (Vec<Vec<LeafOf>>, Vec<LocalLeaves>) {
    let mut border: Vec<LocalLeaves> = vec![];
    let mut of = |node: &PlanNode, source: usize| {
        let open = node.inputs.iter().filter(|input| input.wired.alignment.source() == Some(source)).count();
        let window = match gates.iter().position(|of| of.source == source) {
            Some(gate) => {
                let at = local_leaves(plan, source).position(|fellow| fellow.id == node.id)?;
                Window::Gate(gate, at)
            }
            None if plan.sends_done => {
                let at = border.iter().position(|leaves| leaves.source == source).unwrap_or_else(|| {
                    border.push(LocalLeaves { source, finished: vec![] });
                    border.len() - 1
                });
                border[at].finished.push(0);
                Window::Border(at, border[at].finished.len() - 1)
            }
            None => return None,
        };
        Some(LeafOf { source, window, finished: 0, open })
    };
    let nodes = plan.nodes.iter();
    let leaves = nodes.map(|node| node.leaf_of().into_iter().filter_map(|source| of(node, source)).collect()).collect();
    (leaves, border)
}

/// Where every output and every border input leads.
struct Wiring {
    routes: Vec<Vec<Vec<Target>>>,
    border: Vec<Vec<Target>>,
    side: Vec<(usize, Arc<SideQueue>)>,
}

impl Wiring {
    fn new(plan: &Plan, places: &[Option<(usize, usize)>]) -> Self {
        let mut wiring = Wiring {
            routes: plan.nodes.iter().map(|node| vec![vec![]; node.outputs.len()]).collect(),
            border: vec![vec![]; plan.border_inputs.len()],
            side: vec![],
        };
        for (node, place) in plan.nodes.iter().zip(places) {
            let Some((lane, slot)) = *place else { continue };
            for (port, input) in node.inputs.iter().enumerate() {
                let capacity = match input.wired.alignment {
                    Alignment::Source(_) => None,
                    Alignment::Side { queue } => Some(queue),
                    Alignment::Feedback => Some(usize::MAX),
                };
                let target = match capacity {
                    None => Target::Operator { lane, slot, port },
                    Some(capacity) => {
                        let queue = Arc::new(SideQueue::new(slot, port, capacity));
                        wiring.side.push((lane, queue.clone()));
                        Target::Side { lane, queue }
                    }
                };
                match input.producer {
                    Producer::Node { node, output } => wiring.routes[node][output].push(target),
                    Producer::Border(border) => wiring.border[border].push(target),
                }
            }
        }
        for (i, output) in plan.border_outputs.iter().enumerate() {
            wiring.routes[output.node][output.output].push(Target::Border(i));
        }
        wiring
    }
}

impl Running {
    /// The plan that runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// A message of border input number `input` has come.
    pub fn input(&self, input: usize, message: Message) {
        self.enter(input, What::Message(message));
    }

    /// Nothing more comes on a border input. `excused`: the run is being stopped, a missing `end` is no failure.
    pub fn input_closed(&self, input: usize, excused: bool) {
        self.enter(input, What::Closed { excused });
    }

    fn enter(&self, input: usize, what: What) {
        let mut none = std::collections::VecDeque::<Delivery>::new();
        self.shared.send(&self.border_targets[input], what, Instant::now(), usize::MAX, &mut none);
    }

    /// The leaves of another process (index into `Plan::remote_leaves`) have finished `count` frames of a source.
    pub fn leaf_finished(&self, leaf: usize, source: usize, count: u64) {
        for (gate, at) in self.remote(leaf).filter(|(gate, _)| self.shared.gates[*gate].source == source) {
            self.shared.leaf_finished(Window::Gate(gate, at), count);
        }
    }

    /// The process of a leaf has ended: a failure, unless the leaf had closed before.
    pub fn leaf_gone(&self, leaf: usize) {
        for (gate, at) in self.remote(leaf) {
            if let Some(leaf) = self.shared.gates[gate].gate.leaf_gone(at) {
                let last = match leaf.finished {
                    0 => "no frame".to_owned(),
                    n => format!("frame {}", n - 1),
                };
                let text = format!(
                    "node `{}` ended before the stream did; the last it finished was {last}. \
                     Its own result and log say why",
                    leaf.node
                );
                self.shared.fail(Error::other(text).as_consequence());
            }
        }
    }

    /// Gates and places in them of the leaves of another process, which stand behind the leaves of this one.
    fn remote(&self, leaf: usize) -> impl Iterator<Item = (usize, usize)> {
        let remote = &self.plan.remote_leaves;
        self.shared.gates.iter().enumerate().filter_map(move |(gate, of)| {
            let waits = |leaf: &&RemoteLeaf| leaf.sources.contains(&of.source);
            remote.get(leaf).filter(waits)?;
            let before = remote[..leaf].iter().filter(waits).count();
            Some((gate, local_leaves(&self.plan, of.source).count() + before))
        })
    }

    /// Ends the run as the user wishes: sources stop, what is in flight is finished, files are closed.
    pub fn stop(&self) {
        self.user_stop.store(true, Ordering::SeqCst);
        self.shared.stop_sources();
    }

    /// No timing rows follow: their writer may finish. Call it after [`Running::wait`].
    pub fn release_timing(&self) {
        self.shared.timing.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Other processes will not answer any more: nothing waits for their leaves.
    pub fn release_remote_leaves(&self) {
        for (leaf, of) in self.plan.remote_leaves.iter().enumerate() {
            for source in &of.sources {
                self.leaf_finished(leaf, *source, gate::CLOSED);
            }
        }
    }

    /// Ends the run with a failure.
    pub fn fail(&self, error: Error) {
        self.shared.fail(error);
    }

    /// Changes a live key of a node.
    ///
    /// # Errors
    /// When node or key are unknown, or the value is refused: the old one stays.
    pub fn set(&self, node: &str, key: &str, value: serde_json::Value) -> Result<()> {
        let ids: Vec<&str> = self.plan.nodes.iter().map(|n| n.id.as_str()).collect();
        let Some(at) = ids.iter().position(|id| *id == node) else {
            let hint = sideline_api::config::did_you_mean(node, ids.iter().copied());
            return Err(Error::config(format!("there is no node `{node}`{hint}")));
        };
        let Some((lane, slot)) = self.places[at] else {
            return Err(Error::config(format!("node `{node}` is a source: its keys change at a restart")));
        };
        let (reply, answer) = bounded(1);
        let post = Post::Set { slot, key: key.into(), value, reply };
        let sent = self.shared.inboxes[lane].send_timeout(post, self.plan.stall);
        match sent.map_err(|_| ()).and_then(|()| answer.recv_timeout(self.plan.stall).map_err(|_| ())) {
            Ok(result) => result.inspect(|()| self.changed.store(true, Ordering::Relaxed)),
            Err(()) => Err(Error::other(format!("node `{node}` does not answer; key `{key}` was not changed"))),
        }
    }

    /// A look at the run.
    pub fn progress(&self) -> Progress {
        let counts: Vec<_> = self.shared.gates.iter().map(|of| of.gate.counts()).collect();
        let mut progress = Progress {
            seconds: self.began.elapsed().as_secs_f64(),
            frames: counts.iter().map(|c| c.finished).sum(),
            forgotten: counts.iter().map(|c| c.forgotten).sum(),
            fps: 0.0,
            latency_ms: Quantiles::default(),
            errors: 0,
        };
        let mut slowest = u64::MAX;
        for (node, meter) in self.plan.nodes.iter().zip(&self.shared.meters) {
            if node.is_source {
                continue;
            }
            let meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            progress.errors += meter.errors + meter.panics;
            if meter.handled() < slowest {
                slowest = meter.handled();
                progress.fps = meter.fps();
            }
            let latency = meter.latency();
            if latency.p95 >= progress.latency_ms.p95 {
                progress.latency_ms = latency;
            }
        }
        if counts.is_empty() && slowest != u64::MAX {
            progress.frames = slowest;
        }
        progress
    }

    /// Waits for the end and tells how it went. Ends by itself when the window stands still for the stall time.
    pub fn wait(&self) -> Report {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut left: Vec<Option<(String, JoinHandle<()>)>> = threads.into_iter().map(Some).collect();
        let mut deadline: Option<Instant> = None;
        while left.iter().any(Option::is_some) || !self.drained() {
            match self.exits.recv_timeout(Duration::from_millis(20)) {
                Ok(thread) => {
                    if let Some((name, handle)) = left[thread].take()
                        && handle.join().is_err()
                    {
                        let text = format!("the thread of `{name}` panicked; the message is above");
                        self.shared.fail(Error::other(text));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(20)),
            }
            if self.shared.aborted() {
                let until = *deadline.get_or_insert_with(|| Instant::now() + GRACE);
                // Wakes may have been lost on full inboxes that nobody reads any more.
                self.shared.wake_all();
                if left.iter().all(Option::is_none) || Instant::now() > until {
                    break;
                }
                continue;
            }
            // Readers that nothing more is wanted of may hang in a camera.
            if self.only_unwanted(&left) && Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + GRACE) {
                break;
            }
            self.watch();
        }
        for (name, _) in left.into_iter().flatten() {
            tracing::warn!(thread = %name, "did not end; it is left behind");
        }
        self.report()
    }

    /// True when all that still runs are readers of sources that were stopped, and whose streams have ended.
    fn only_unwanted(&self, left: &[Option<(String, JoinHandle<()>)>]) -> bool {
        let readers = left.len() - self.shared.gates.len();
        left.iter()
            .enumerate()
            .all(|(at, thread)| thread.is_none() || at >= readers && self.shared.gates[at - readers].gate.over())
            && self.drained()
    }

    /// True when every leaf, also of other processes, has closed.
    fn drained(&self) -> bool {
        self.shared.gates.iter().all(|of| of.gate.drained() || self.plan.remote_leaves.is_empty())
    }

    /// Fails the run when an operator, or a window, has stood still for too long.
    fn watch(&self) {
        let patience = self.plan.stall;
        let seconds = patience.as_secs_f64();
        for busy in &self.shared.busy {
            if let Some(stuck) = busy.stuck(&self.shared.base, patience) {
                let node = &self.plan.nodes[stuck.node].id;
                self.shared.fail(Error::other(match stuck.frame {
                    Some(frame) => {
                        format!("node `{node}` did not answer for {seconds} s (SIDELINE_STALL_S), since frame {frame}")
                    }
                    None => format!(
                        "node `{node}` did not close within {} s ({} times SIDELINE_STALL_S)",
                        stuck.patience.as_secs_f64(),
                        gate::CLOSING
                    ),
                }));
            }
        }
        for of in &self.shared.gates {
            let Some(leaf) = of.gate.stalled(patience) else { continue };
            let last = match leaf.finished {
                0 => "it has finished no frame".to_owned(),
                n => format!("the last frame it finished was {}", n - 1),
            };
            // What hangs is it, or a node before it; where that is another process, that one says so itself.
            let text = format!("node `{}` reported nothing for {seconds} s (SIDELINE_STALL_S): {last}", leaf.node);
            let here = self.plan.nodes.iter().any(|node| node.id == leaf.node);
            let error = Error::other(text);
            self.shared.fail(if here { error } else { error.as_consequence() });
        }
    }

    fn report(&self) -> Report {
        for of in &self.shared.gates {
            of.gate.abandon();
            if let Some(Err(error)) = of.gate.reader() {
                self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
        let sources: Vec<SourceReport> = self
            .shared
            .gates
            .iter()
            .map(|of| {
                let counts = of.gate.counts();
                SourceReport {
                    node: self.plan.nodes[of.node].id.clone(),
                    decoded: counts.decoded,
                    admitted: counts.admitted,
                    forgotten: counts.forgotten,
                }
            })
            .collect();
        let mut nodes: Vec<NodeReport> = Vec::new();
        let mut wrong = Vec::new();
        for (node, meter) in self.plan.nodes.iter().zip(&self.shared.meters) {
            if node.is_source {
                continue;
            }
            let meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            let ordinary = node.inputs.iter().any(|input| input.wired.alignment.is_ordinary());
            if let Some(expected) = meter.expected
                && ordinary
                && meter.handled() != expected
            {
                wrong.push(format!("node `{}` handled {} of {expected} frames", node.id, meter.handled()));
            }
            nodes.push(meter.report(&node.id, &node.operator));
        }
        for source in &sources {
            if source.decoded != source.admitted + source.forgotten {
                wrong.push(format!(
                    "source `{}` decoded {} frames, admitted {}, forgot {}",
                    source.node, source.decoded, source.admitted, source.forgotten
                ));
            }
        }
        let stopped = self.user_stop.load(Ordering::SeqCst);
        let mut failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if failure.is_none() && !wrong.is_empty() && !stopped {
            failure = Some(Error::other(format!("the books do not balance: {}", wrong.join("; "))));
        }
        let clean = failure.is_none()
            && nodes.iter().all(|node| node.errors + node.panics == 0)
            && !self.changed.load(Ordering::Relaxed);
        // What is read when it is there depends on when it came.
        let mut inputs = self.plan.nodes.iter().flat_map(|node| &node.inputs);
        let ordered = inputs.all(|input| input.wired.alignment.is_ordinary());
        Report {
            status: match (&failure, stopped) {
                (Some(_), _) => Status::Partial,
                (None, true) => Status::Stopped,
                (None, false) => Status::Done,
            },
            stopped_at_frame: stopped.then(|| sources.iter().map(|source| source.admitted).max().unwrap_or(0)),
            failure,
            mode: self.plan.mode,
            reproducible: self.plan.mode == Mode::Complete && clean && ordered && !stopped,
            sources,
            nodes,
            wall_s: self.began.elapsed().as_secs_f64(),
            cpu_s: meter::process_cpu().as_secs_f64(),
            peak_memory: meter::peak_memory(),
        }
    }
}
