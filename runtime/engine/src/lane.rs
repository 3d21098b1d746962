//! A lane: one thread and the operators that live on it.
//!
//! A message for an operator of the same lane is handed over on a list, without a lock; for another lane it is posted to
//! that lane's inbox. Inboxes hold W + 4 messages for each edge that enters them, so with at most W frames in flight
//! posting never waits.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use sideline_api::{
    Body, Error, Message, Result, Runnable, StreamName,
    clock::Clock,
    driver::{Outcome, Outlet, Ran},
};

use crate::{
    Border,
    gate::{Admission, CLOSED, CLOSING, Gate},
    meter::{self, Meter},
};

/// Timing rows gathered before they are handed on.
const TIMING_BATCH: usize = 512;

/// What is posted to a lane.
pub(crate) enum Post {
    Deliver(Delivery),
    /// Look at side queues and gates.
    Wake,
    Set {
        slot: usize,
        key: String,
        value: serde_json::Value,
        reply: Sender<Result<()>>,
    },
}

/// A message, or the closing of an edge, for one input of one operator of the lane.
pub(crate) struct Delivery {
    pub slot: usize,
    pub port: usize,
    pub what: What,
    pub sent: Instant,
}

pub(crate) enum What {
    Message(Message),
    Closed { excused: bool },
}

/// Where the messages of an output go.
#[derive(Clone)]
pub(crate) enum Target {
    /// Another operator: lane, slot there, port.
    Operator { lane: usize, slot: usize, port: usize },
    /// A side or feedback input.
    Side { lane: usize, queue: Arc<SideQueue> },
    /// Another process.
    Border(usize),
}

/// The waiting room of a side input: the oldest messages leave when it is full.
pub(crate) struct SideQueue {
    pub slot: usize,
    pub port: usize,
    pub capacity: usize,
    waiting: Mutex<(VecDeque<(What, Instant)>, usize)>,
    pending: AtomicBool,
}

impl SideQueue {
    pub(crate) fn new(slot: usize, port: usize, capacity: usize) -> Self {
        SideQueue { slot, port, capacity: capacity.max(1), waiting: Mutex::default(), pending: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<(What, Instant)>, usize)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds; the driver sees the gap in `n` and counts what was forgotten. True when the lane must be woken.
    fn push(&self, what: What, sent: Instant) -> bool {
        let mut guard = self.lock();
        let (queue, messages) = &mut *guard;
        let ordinary = |what: &What| matches!(what, What::Message(m) if !matches!(m.body, Body::End));
        if ordinary(&what) {
            if *messages >= self.capacity
                && let Some(at) = queue.iter().position(|(what, _)| ordinary(what))
            {
                queue.remove(at);
                *messages -= 1;
            }
            *messages += 1;
        }
        queue.push_back((what, sent));
        !self.pending.swap(true, Ordering::AcqRel)
    }

    fn take(&self) -> VecDeque<(What, Instant)> {
        if !self.pending.swap(false, Ordering::AcqRel) {
            return VecDeque::new();
        }
        let mut guard = self.lock();
        guard.1 = 0;
        std::mem::take(&mut guard.0)
    }
}

/// One row of `timing.parquet`.
#[derive(Clone, Debug)]
pub struct TimingRow {
    /// Index into the plan's nodes.
    pub node: usize,
    /// Stream.
    pub stream: StreamName,
    /// Frame.
    pub frame: u64,
    /// Wall clock of the capture, ns since 1970.
    pub captured: i64,
    /// When its last input was sent, ns since 1970.
    pub ready: i64,
    /// When `process` began.
    pub started: i64,
    /// When its outputs were sent.
    pub ended: i64,
}

/// Turns instants into wall-clock nanoseconds, with one reading of the clock.
#[derive(Clone, Copy)]
pub(crate) struct TimeBase {
    instant: Instant,
    wall: i64,
}

impl TimeBase {
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        TimeBase { instant: Instant::now(), wall: clock.now() }
    }
    pub(crate) fn wall(&self, at: Instant) -> i64 {
        match at.checked_duration_since(self.instant) {
            Some(after) => self.wall + after.as_nanos() as i64,
            None => self.wall - self.instant.duration_since(at).as_nanos() as i64,
        }
    }
}

/// Which window a leaf moves.
#[derive(Clone, Copy)]
pub(crate) enum Window {
    /// A source of this process: index of the gate, index of the leaf there.
    Gate(usize, usize),
    /// A source of another process: index into `Shared::local_leaves`, index there.
    Border(usize, usize),
}

/// How far an operator is with the frames of one source that waits for it.
#[derive(Clone)]
pub(crate) struct LeafOf {
    /// Number of the source.
    pub source: usize,
    pub window: Window,
    /// Frames of this source that were finished.
    pub finished: u64,
    /// Ordinary inputs from this source that have not closed.
    pub open: usize,
}

/// The leaves here of a source of another process.
pub(crate) struct LocalLeaves {
    /// Number of the source.
    pub source: usize,
    /// Frames each has finished.
    pub finished: Vec<u64>,
}

/// What all lanes share.
pub(crate) struct Shared {
    pub inboxes: Vec<Sender<Post>>,
    pub gates: Vec<GateOf>,
    pub border: Option<Arc<dyn Border>>,
    pub local_leaves: Vec<Mutex<LocalLeaves>>,
    /// Ids of the plan's nodes.
    pub names: Vec<String>,
    pub meters: Vec<Mutex<Meter>>,
    /// Where timing rows go; taken away when the run is over, so that the writer sees its end.
    pub timing: Mutex<Option<Sender<Vec<TimingRow>>>>,
    pub timed: bool,
    /// One for each lane.
    pub busy: Vec<Busy>,
    pub base: TimeBase,
    pub stop: Arc<AtomicBool>,
    pub abort: AtomicBool,
    pub failure: Mutex<Option<Error>>,
}

/// What a lane works on, for the watch: a hang has a name.
#[derive(Default)]
pub(crate) struct Busy {
    /// Nanoseconds of the run when the work at hand began; 0 when there is none.
    since: AtomicU64,
    node: AtomicUsize,
    frame: AtomicU64,
    closing: AtomicBool,
}

/// Work that has gone on for too long.
pub(crate) struct Stuck {
    pub node: usize,
    /// Unless it is closing.
    pub frame: Option<u64>,
    pub patience: Duration,
}

impl Busy {
    /// `frame`: none when the node is closed.
    fn begin(&self, base: &TimeBase, node: usize, frame: Option<u64>) {
        self.node.store(node, Ordering::Relaxed);
        self.frame.store(frame.unwrap_or_default(), Ordering::Relaxed);
        self.closing.store(frame.is_none(), Ordering::Relaxed);
        self.since.store((base.instant.elapsed().as_nanos() as u64).max(1), Ordering::Release);
    }

    fn end(&self) {
        self.since.store(0, Ordering::Release);
    }

    /// Work that has gone on for longer than `patience`.
    pub fn stuck(&self, base: &TimeBase, patience: Duration) -> Option<Stuck> {
        let since = self.since.load(Ordering::Acquire);
        let now = base.instant.elapsed().as_nanos() as u64;
        let closing = self.closing.load(Ordering::Relaxed);
        let patience = if closing { patience * CLOSING } else { patience };
        (since > 0 && u128::from(now.saturating_sub(since)) > patience.as_nanos()).then(|| Stuck {
            node: self.node.load(Ordering::Relaxed),
            frame: (!closing).then(|| self.frame.load(Ordering::Relaxed)),
            patience,
        })
    }
}

pub(crate) struct GateOf {
    pub gate: Gate,
    pub lane: usize,
    pub node: usize,
    /// Number of the source.
    pub source: usize,
    /// Its failure ends the other sources too.
    pub stops_run: bool,
}

impl Shared {
    /// The run ends with this failure, unless another came first.
    pub fn fail(&self, error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            // The report tells this one: whoever prints the report can leave this target out of what it logs.
            tracing::error!(target: "sideline::failure", message = %error);
            *failure = Some(error);
        } else {
            tracing::error!(message = %error);
        }
        drop(failure);
        self.abort.store(true, Ordering::SeqCst);
        self.stop_sources();
    }

    pub fn stop_sources(&self) {
        self.stop.store(true, Ordering::SeqCst);
        for gate in &self.gates {
            gate.gate.wake();
        }
        self.wake_all();
    }

    pub fn wake_all(&self) {
        for lane in 0..self.inboxes.len() {
            self.wake(lane);
        }
    }

    pub fn wake(&self, lane: usize) {
        // A full inbox is read soon, and the lane looks at its gates and side queues after every message.
        let _ = self.inboxes[lane].try_send(Post::Wake);
    }

    pub fn meter(&self, node: usize) -> MutexGuard<'_, Meter> {
        self.meters[node].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn aborted(&self) -> bool {
        self.abort.load(Ordering::SeqCst)
    }

    pub fn post(&self, lane: usize, delivery: Delivery) {
        let mut post = Post::Deliver(delivery);
        loop {
            match self.inboxes[lane].try_send(post) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                // Cannot happen while the window holds; waiting here would hide a dead lane for ever.
                Err(TrySendError::Full(back)) => {
                    if self.aborted() {
                        return;
                    }
                    post = back;
                    std::thread::yield_now();
                }
            }
        }
    }

    /// Sends to every target, cloning for all but the last. `local` takes what stays in the sender's lane.
    pub fn send(&self, targets: &[Target], what: What, sent: Instant, from: usize, local: &mut VecDeque<Delivery>) {
        let last = targets.len().saturating_sub(1);
        let mut what = Some(what);
        for (i, target) in targets.iter().enumerate() {
            let this = if i == last {
                what.take()
            } else {
                what.as_ref().map(|what| match what {
                    What::Message(message) => What::Message(message.clone()),
                    What::Closed { excused } => What::Closed { excused: *excused },
                })
            };
            let Some(this) = this else { continue };
            match target {
                Target::Operator { lane, slot, port } => {
                    let delivery = Delivery { slot: *slot, port: *port, what: this, sent };
                    if *lane == from { local.push_back(delivery) } else { self.post(*lane, delivery) }
                }
                Target::Side { lane, queue } => {
                    if queue.push(this, sent) {
                        self.wake(*lane);
                    }
                }
                Target::Border(output) => {
                    if let (Some(border), What::Message(message)) = (&self.border, &this)
                        && let Err(error) = border.send(*output, message)
                    {
                        self.fail(error);
                    }
                }
            }
        }
    }

    /// A leaf has finished `count` frames of the source whose window this is.
    pub fn leaf_finished(&self, window: Window, count: u64) {
        match window {
            Window::Gate(gate, leaf) => {
                let of = &self.gates[gate];
                if of.gate.finished(leaf, count) {
                    self.wake(of.lane);
                }
            }
            Window::Border(source, leaf) => {
                let mut leaves = self.local_leaves[source].lock().unwrap_or_else(PoisonError::into_inner);
                let before = leaves.finished.iter().min().copied();
                leaves.finished[leaf] = leaves.finished[leaf].max(count);
                let now = leaves.finished.iter().min().copied();
                if let (Some(border), Some(count), true) = (&self.border, now, now != before)
                    && let Err(error) = border.done(leaves.source, count)
                {
                    self.fail(error);
                }
            }
        }
    }
}

/// One operator on its lane.
pub(crate) struct Slot {
    pub node: usize,
    pub driver: Box<dyn Runnable>,
    /// Targets of each output.
    pub routes: Vec<Vec<Target>>,
    /// For a leaf: the sources that wait for it.
    pub leaves: Vec<LeafOf>,
    /// Of each input: the number of its source, when it is an ordinary one.
    pub sources: Vec<Option<usize>>,
    /// Measure the CPU time of every frame.
    pub heavy: bool,
    pub finished: u64,
    pub open: bool,
}

/// What a lane runs.
pub(crate) struct Lane {
    pub number: usize,
    pub inbox: Receiver<Post>,
    pub slots: Vec<Slot>,
    pub side: Vec<Arc<SideQueue>>,
    /// Sources that are admitted here.
    pub sources: Vec<Admitted>,
}

/// A source's place on its lane.
pub(crate) struct Admitted {
    /// Index of its gate.
    pub gate: usize,
    /// Targets of each output.
    pub routes: Vec<Vec<Target>>,
    /// Messages sent on each output.
    pub n: u64,
}

struct Through<'a> {
    shared: &'a Shared,
    lane: usize,
    node: usize,
    routes: &'a [Vec<Target>],
    /// The source, of those that wait for this leaf, of the frames at hand.
    leaf: Option<&'a mut LeafOf>,
    finished: &'a mut u64,
    local: &'a mut VecDeque<Delivery>,
    timing: &'a mut Vec<TimingRow>,
    sent: u64,
    ran: u64,
}

impl Outlet for Through<'_> {
    fn send(&mut self, output: usize, message: Message) {
        self.sent += 1;
        self.shared.send(&self.routes[output], What::Message(message), Instant::now(), self.lane, self.local);
    }

    fn ran(&mut self, ran: Ran<'_>) {
        let ended = self.shared.base.wall(ran.ended);
        {
            let mut meter = self.shared.meter(self.node);
            meter.ran(&ran, ended - ran.header.captured);
        }
        if ran.outcome == Outcome::Ended {
            return;
        }
        self.log(&ran);
        self.ran += 1;
        if self.shared.timed {
            self.timing.push(TimingRow {
                node: self.node,
                stream: ran.header.stream.clone(),
                frame: ran.header.frame,
                captured: ran.header.captured,
                ready: self.shared.base.wall(ran.ready),
                started: self.shared.base.wall(ran.started),
                ended,
            });
        }
        *self.finished += 1;
        if let Some(leaf) = &mut self.leaf {
            leaf.finished += 1;
            self.shared.leaf_finished(leaf.window, leaf.finished);
        }
    }
}

impl Through<'_> {
    /// One line for each frame of each operator at `info`; what went wrong at `warn`.
    fn log(&self, ran: &Ran<'_>) {
        let (node, header) = (self.shared.names[self.node].as_str(), ran.header);
        let (stream, frame) = (&*header.stream, header.frame);
        match &ran.outcome {
            Outcome::Done => {
                // Asked first: the figures are not worked out where nobody reads them.
                if tracing::enabled!(tracing::Level::INFO) {
                    let process_ms = (ran.ended - ran.started).as_secs_f64() * 1e3;
                    let wait_ms = (ran.started.saturating_duration_since(ran.ready)).as_secs_f64() * 1e3;
                    tracing::info!(node, stream, frame, process_ms, wait_ms, "frame");
                }
            }
            Outcome::Skipped(reason) => tracing::info!(node, stream, frame, %reason, "skipped"),
            Outcome::Error(error) => tracing::warn!(node, stream, frame, error, "failed"),
            Outcome::Panic(panic) => tracing::warn!(node, stream, frame, panic, "panicked"),
            Outcome::Ended => {}
        }
    }
}

impl Lane {
    /// Runs until every operator is closed, or the run is aborted. Every operator is closed exactly once.
    pub fn run(mut self, shared: &Shared) {
        let mut local = VecDeque::new();
        let mut timing = Vec::new();
        loop {
            if shared.aborted() {
                break;
            }
            for queue in self.side.clone() {
                for (what, sent) in queue.take() {
                    local.push_back(Delivery { slot: queue.slot, port: queue.port, what, sent });
                }
            }
            self.work(shared, &mut local, &mut timing);
            if self.admit(shared, &mut local) {
                self.work(shared, &mut local, &mut timing);
                continue;
            }
            if self.sources.is_empty() && self.slots.iter().all(|slot| !slot.open) {
                break;
            }
            match self.inbox.recv() {
                Ok(Post::Deliver(delivery)) => local.push_back(delivery),
                Ok(Post::Wake) => {}
                Ok(Post::Set { slot, key, value, reply }) => {
                    let _ = reply.send(self.slots[slot].driver.set(&key, value));
                }
                Err(_) => break,
            }
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.open) {
            // A run that was cut short leaves its figures too.
            shared.meter(slot.node).side_forgotten = slot.driver.side_forgotten();
            if let Err(error) = slot.driver.close() {
                shared.fail(error);
            }
        }
        flush(shared, &mut timing);
    }

    fn work(&mut self, shared: &Shared, local: &mut VecDeque<Delivery>, timing: &mut Vec<TimingRow>) {
        while let Some(Delivery { slot: at, port, what, sent }) = local.pop_front() {
            if shared.aborted() {
                return;
            }
            let lane = self.number;
            let slot = &mut self.slots[at];
            if !slot.open {
                continue;
            }
            let message = match what {
                What::Message(message) => message,
                What::Closed { excused } => {
                    match slot.driver.closed(port, excused) {
                        Ok(false) => closed(shared, slot, port),
                        Ok(true) => close(shared, slot, lane, excused, local),
                        Err(error) => shared.fail(error),
                    }
                    continue;
                }
            };
            let measured = slot.heavy || slot.finished.is_multiple_of(meter::CPU_SAMPLE);
            let cpu = measured.then(meter::thread_cpu);
            let mut outlet = Through {
                shared,
                lane,
                node: slot.node,
                routes: &slot.routes,
                leaf: slot.leaves.iter_mut().find(|leaf| Some(leaf.source) == slot.sources[port]),
                finished: &mut slot.finished,
                local,
                timing,
                sent: 0,
                ran: 0,
            };
            let busy = &shared.busy[lane];
            busy.begin(&shared.base, slot.node, Some(message.header.frame));
            let result = slot.driver.accept(port, message, sent, &mut outlet);
            busy.end();
            let (sent, ran) = (outlet.sent, outlet.ran);
            {
                let mut meter = shared.meter(slot.node);
                meter.received += 1;
                meter.sent += sent;
                if let (Some(before), true) = (cpu, ran > 0) {
                    meter.cpu += meter::thread_cpu().saturating_sub(before);
                    meter.cpu_samples += ran;
                }
            }
            if timing.len() >= TIMING_BATCH {
                flush(shared, timing);
            }
            if let Err(error) = result {
                shared.fail(error);
            }
        }
    }

    /// Admits one frame, or the end, of one of this lane's sources.
    fn admit(&mut self, shared: &Shared, local: &mut VecDeque<Delivery>) -> bool {
        for at in 0..self.sources.len() {
            let source = &mut self.sources[at];
            let of = &shared.gates[source.gate];
            let now = Instant::now();
            match of.gate.admit() {
                Admission::Wait => {}
                Admission::Frame(header, captured) => {
                    let (bodies, outputs) = (captured.outputs.len(), source.routes.len());
                    if bodies != outputs || captured.outputs.iter().any(|body| matches!(body, Body::End)) {
                        let text = match bodies == outputs {
                            true => "gave an `End` of its own; only `None` ends its streams".to_owned(),
                            false => format!("gave {bodies} bodies for its {outputs} outputs"),
                        };
                        shared.fail(Error::other(format!("node `{}`: {text}", shared.names[of.node])));
                        return false;
                    }
                    tracing::debug!(
                        stream = &*header.stream,
                        frame = header.frame,
                        forgotten = header.forgotten,
                        "admitted"
                    );
                    for (targets, body) in source.routes.iter().zip(captured.outputs) {
                        let message = Message { header: header.clone(), n: source.n, body };
                        shared.send(targets, What::Message(message), now, self.number, local);
                    }
                    source.n += 1;
                    shared.meter(of.node).sent += source.routes.len() as u64;
                    return true;
                }
                Admission::End(headers) => {
                    for targets in &source.routes {
                        for (n, header) in (source.n..).zip(&headers) {
                            let message = Message { header: header.clone(), n, body: Body::End };
                            shared.send(targets, What::Message(message), now, self.number, local);
                        }
                        shared.send(targets, What::Closed { excused: false }, now, self.number, local);
                    }
                    if of.stops_run && matches!(of.gate.reader(), Some(Err(_))) {
                        shared.stop_sources();
                    }
                    self.sources.remove(at);
                    return true;
                }
            }
        }
        false
    }
}

/// Closes an operator and the edges that leave it.
fn close(shared: &Shared, slot: &mut Slot, lane: usize, excused: bool, local: &mut VecDeque<Delivery>) {
    slot.open = false;
    shared.meter(slot.node).side_forgotten = slot.driver.side_forgotten();
    shared.busy[lane].begin(&shared.base, slot.node, None);
    if let Err(error) = slot.driver.close() {
        shared.fail(error);
    }
    shared.busy[lane].end();
    for targets in &slot.routes {
        shared.send(targets, What::Closed { excused }, Instant::now(), lane, local);
    }
    for leaf in &slot.leaves {
        shared.leaf_finished(leaf.window, CLOSED);
    }
}

/// An input has closed, others have not: a source whose inputs have all closed waits no longer.
fn closed(shared: &Shared, slot: &mut Slot, port: usize) {
    let Some(leaf) = slot.leaves.iter_mut().find(|leaf| Some(leaf.source) == slot.sources[port]) else { return };
    leaf.open = leaf.open.saturating_sub(1);
    if leaf.open == 0 && slot.sources.iter().flatten().any(|source| *source != leaf.source) {
        shared.leaf_finished(leaf.window, CLOSED);
    }
}

fn flush(shared: &Shared, timing: &mut Vec<TimingRow>) {
    if timing.is_empty() {
        return;
    }
    let sink = shared.timing.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(sink) = sink {
        let _ = sink.send(std::mem::take(timing));
    }
}
