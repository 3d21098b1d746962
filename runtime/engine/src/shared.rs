//! What the lanes of a run share: inboxes, windows, books, and how a message gets from one lane to the next.
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

use crossbeam_channel::{Sender, TrySendError};
use sideline_api::{Body, Error, Message, Result, StreamName, clock::Clock};

use crate::{
    Border, Change,
    gate::{CLOSING, Gate},
    meter::Meter,
};

/// What is posted to a lane.
pub(crate) enum Post {
    Deliver(Delivery),
    /// Look at side queues and gates.
    Wake,
    /// Change a key of an operator.
    Set(Setting),
}

/// A key to change.
pub(crate) struct Setting {
    pub slot: usize,
    pub key: String,
    pub value: serde_json::Value,
    /// Who sets it first decides: the lane that begins with it, or the one who asked and does not wait any longer.
    pub claimed: Arc<AtomicBool>,
    pub reply: Sender<Result<Change>>,
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
    pub(crate) fn push(&self, what: What, sent: Instant) -> bool {
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

    pub(crate) fn take(&self) -> VecDeque<(What, Instant)> {
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
    pub(crate) fn begin(&self, base: &TimeBase, node: usize, frame: Option<u64>) {
        self.node.store(node, Ordering::Relaxed);
        self.frame.store(frame.unwrap_or_default(), Ordering::Relaxed);
        self.closing.store(frame.is_none(), Ordering::Relaxed);
        self.since.store((base.instant.elapsed().as_nanos() as u64).max(1), Ordering::Release);
    }

    pub(crate) fn end(&self) {
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
