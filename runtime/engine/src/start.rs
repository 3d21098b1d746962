//! The start of a run: threads, inboxes and routes are made of a plan, and every operator on its own thread.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use sideline_api::{
    Alignment, Error, Make, OnError, Registry, Resources, Result, RunnableSource, SourceContext, driver::DriverOptions,
};
use sideline_graph::plan::{Plan, PlanNode, Producer};

use crate::{
    Border, Options, Running,
    gate::Gate,
    lane::{Admitted, Lane, Slot},
    meter::{self, Meter},
    shared::{Busy, GateOf, LeafOf, LocalLeaves, Post, Shared, SideQueue, Target, TimeBase, Window},
};

/// Free places in every inbox beyond its edges' queues, for wake-ups and settings.
const SLACK: usize = 64;

/// Starts a plan: makes every operator on its own thread, and lets the sources go once all are ready.
///
/// # Errors
/// The first failure of a `new`, or the names of those that were not ready within the deadline. Everything that was made
/// has then been closed.
pub fn start(plan: Plan, registry: &Registry, options: Options, border: Option<Arc<dyn Border>>) -> Result<Running> {
    let began = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let places = places(&plan);
    let keys = plan.nodes.iter().map(|node| Ok(registry.get(&node.operator)?.keys.clone())).collect::<Result<_>>()?;
    let (inboxes, receivers) = inboxes(&plan);
    let gates = gates(&plan, &options, &stop);
    let before: BTreeMap<String, u64> =
        options.after.iter().map(|(stream, after)| (stream.clone(), after.frame + 1)).collect();
    let (leaves, local_leaves) = leaves(&plan, &gates);
    let shared = Arc::new(Shared {
        inboxes,
        gates,
        border,
        local_leaves: local_leaves.into_iter().map(Mutex::new).collect(),
        names: plan.nodes.iter().map(|node| node.id.clone()).collect(),
        meters: plan.nodes.iter().map(|_| Mutex::new(Meter::new(before.clone()))).collect(),
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
            making.push((
                i,
                make,
                node.values.clone(),
                resources(node, &wiring.routes[i], &plan, &options),
                driver,
                entry.spec.heavy,
            ));
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
            .map(|(gate, of)| Admitted {
                gate,
                routes: routes[of.node].clone(),
                outputs: plan.nodes[of.node].outputs.iter().map(|port| port.name).collect(),
                n: 0,
            })
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
                    let side = alignments[i].iter().any(|alignment| !alignment.is_ordinary());
                    slots.push(Slot { node: i, driver, routes, leaves, sources, side, heavy, finished: 0, open: true });
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
        let (values, resources, id) =
            (node.values.clone(), resources(node, &wiring.routes[of.node], &plan, &options), node.id.clone());
        let cx = SourceContext::new(plan.mode, options.clock.clone(), stop.clone());
        let (shared, ready, gone, exited) = (shared.clone(), ready.clone(), gone.clone(), exited.clone());
        let at = threads.len();
        let handle = spawn(&format!("{id} reader"), move || {
            let _exit = Exit(exited, at);
            let result = make(&values, &resources);
            if let Ok(sources) = &result {
                shared.gates[gate].gate.open(sources.iter().map(|source| source.stream()).collect());
            }
            let _ = ready.send((id.clone(), result.as_ref().map(|_| ()).map_err(Clone::clone)));
            if let Ok(sources) = result {
                // The channel closes when every node is ready; a failed start has set the stop flag by then.
                let _ = gone.recv();
                read_all(&shared, gate, &id, sources, &cx);
            }
        })?;
        threads.push((format!("{} reader", plan.nodes[of.node].id), handle));
    }
    drop(gone);
    let running = Running {
        border_targets: wiring.border,
        plan,
        shared,
        places,
        threads: Mutex::new(threads),
        exits,
        began,
        user_stop: AtomicBool::new(false),
        changes: Mutex::default(),
        keys,
    };
    let result = wait_until_made(&made, waiting, options.start_deadline);
    if let Err(error) = &result {
        running.fail(error.clone());
    }
    // Lets the sources go; after a failure they see the stop flag first.
    drop(go);
    if let Err(error) = result {
        let _ = running.wait();
        return Err(error);
    }
    tracing::info!(nodes = running.plan.nodes.len(), lanes = running.plan.lanes, mode = ?running.plan.mode, "started");
    Ok(running)
}

fn wait_until_made(made: &Receiver<(String, Result<()>)>, mut waiting: Vec<String>, deadline: Duration) -> Result<()> {
    let until = Instant::now() + deadline;
    while !waiting.is_empty() {
        match made.recv_deadline(until) {
            Ok((id, result)) => {
                result?;
                waiting.retain(|node| *node != id);
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

/// The reader threads of a source: this one, and one more for each stream beyond the first.
fn read_all(shared: &Shared, gate: usize, id: &str, sources: Vec<Box<dyn RunnableSource>>, cx: &SourceContext) {
    std::thread::scope(|scope| {
        let mut sources = sources.into_iter().enumerate();
        let first = sources.next();
        for (reader, mut source) in sources {
            let name: String =
                format!("{id} {}", source.stream().as_deref().unwrap_or("reader")).chars().take(15).collect();
            let work = move || read(shared, gate, reader, id, &mut *source, cx);
            if let Err(cause) = std::thread::Builder::new().name(name).spawn_scoped(scope, work) {
                let error = Error::other(format!("node `{id}`: cannot start a thread: {cause}"));
                shared.gates[gate].gate.reader_ended(reader, Err(error));
            }
        }
        if let Some((reader, mut source)) = first {
            read(shared, gate, reader, id, &mut *source, cx);
        }
    });
}

/// Reads one stream to its end.
fn read(shared: &Shared, gate: usize, reader: usize, id: &str, source: &mut dyn RunnableSource, cx: &SourceContext) {
    let of = &shared.gates[gate];
    let mut how = Ok(());
    while !cx.stopping() {
        let next = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| source.next(cx)))
            .unwrap_or_else(|_| Err(Error::input("panicked; the message is above")));
        match next {
            Ok(Some(captured)) => {
                if !of.gate.offer(reader, captured) {
                    break;
                }
                shared.wake(of.lane);
            }
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

fn resources(node: &PlanNode, routes: &[Vec<Target>], plan: &Plan, options: &Options) -> Resources {
    Resources {
        node: node.id.clone(),
        mode: plan.mode,
        device: options.device,
        run_dir: options.run_dir.clone(),
        run: options.run.clone(),
        inputs: node.inputs.iter().map(|input| input.wired.clone()).collect(),
        outputs: read_outputs(node, routes),
        search: node.search.clone(),
        models: options.models.clone(),
        clock: options.clock.clone(),
    }
}

/// Names of the outputs that somebody reads, here or in another process.
fn read_outputs(node: &PlanNode, routes: &[Vec<Target>]) -> Vec<String> {
    let read = node.outputs.iter().zip(routes).filter(|(_, targets)| !targets.is_empty());
    read.map(|(port, _)| port.name.to_owned()).collect()
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

fn gates(plan: &Plan, options: &Options, stop: &Arc<AtomicBool>) -> Vec<GateOf> {
    let sources = plan.nodes.iter().enumerate().filter(|(_, node)| node.is_source);
    sources
        .map(|(i, node)| {
            let remote = plan.remote_leaves.iter().filter(|leaf| leaf.sources.contains(&node.source));
            let leaves = local_leaves(plan, node.source).map(|n| n.id.clone());
            let leaves = leaves.chain(remote.map(|leaf| leaf.node.clone())).collect();
            let gate = Gate::new(&node.id, plan.mode, plan.window, options.limit, stop.clone(), leaves);
            GateOf {
                gate: gate.carrying(&node.outputs).after(options.after.clone()),
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
pub(crate) fn local_leaves(plan: &Plan, source: usize) -> impl Iterator<Item = &PlanNode> {
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
