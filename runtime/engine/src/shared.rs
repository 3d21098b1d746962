//! State that the lanes of a run share: inboxes, windows, counts, and the way of a message from one lane to the next.
//!
//! A message for an operator of the same lane is handed over on a list, without a lock; for another lane it is posted to
//! that lane's inbox. Inboxes hold W + 4 messages for each edge that enters them: with at most W entries in flight, of
//! which one is an end with its closing message, posting does not wait.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{SendTimeoutError, Sender};
use sideline_api::{Body, Error, Message, Result, SourceId, StreamName, clock::Clock};
use sideline_graph::plan::{LaneId, NodeId};

use crate::{
    Border, Change,
    gate::{CLOSING, Gate, Progress, SinkId},
    meter::Meter,
};

/// How often a lane that waits for room in an inbox looks whether the run is aborted.
const RETRY: Duration = Duration::from_millis(20);

/// An item of a lane's inbox.
pub(crate) enum Post {
    Deliver(Delivery),
    /// Look at side queues, settings and gates.
    Wake,
}

/// A key to change.
pub(crate) struct Setting {
    pub slot: usize,
    pub key: String,
    pub value: serde_json::Value,
    /// Set by the lane that begins with it, or by the asker that does not wait any longer: the first one decides.
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

/// A receiver of an output's messages.
#[derive(Clone)]
pub(crate) enum Target {
    /// Another operator: lane, slot there, port.
    Operator { lane: LaneId, slot: usize, port: usize },
    /// A side or feedback input.
    Side { lane: LaneId, queue: Arc<SideQueue> },
    /// Another process.
    Border(usize),
}

/// The queue of a side input: the oldest messages leave when it is full.
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
        let ordinary = |what: &What| matches!(what, What::Message(m) if !matches!(m.body, Body::End { .. }));
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
    /// The node.
    pub node: NodeId,
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

/// Turns instants into wall-clock nanoseconds. The clock is read again from time to time, so that a step of the system clock
/// shifts latencies for a moment only.
pub(crate) struct TimeBase {
    instant: Instant,
    wall: AtomicI64,
}

impl TimeBase {
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        TimeBase { instant: Instant::now(), wall: AtomicI64::new(clock.now()) }
    }

    pub(crate) fn refresh(&self, clock: &dyn Clock) {
        self.wall.store(clock.now() - self.instant.elapsed().as_nanos() as i64, Ordering::Relaxed);
    }

    pub(crate) fn wall(&self, at: Instant) -> i64 {
        let wall = self.wall.load(Ordering::Relaxed);
        match at.checked_duration_since(self.instant) {
            Some(after) => wall + after.as_nanos() as i64,
            None => wall - self.instant.duration_since(at).as_nanos() as i64,
        }
    }
}

/// Index of a gate in [`Shared::gates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GateId(pub usize);

/// The window that a sink moves.
#[derive(Clone, Copy)]
pub(crate) enum Window {
    /// Of a source of this process.
    Gate(GateId, SinkId),
    /// Of a source of another process: index into [`Shared::remote_windows`], index of the sink there.
    Remote(usize, usize),
}

/// Progress of an operator with the entries of one source that waits for it.
#[derive(Clone)]
pub(crate) struct SinkOf {
    pub source: SourceId,
    pub window: Window,
    /// Frames and ends of this source that were finished.
    pub finished: u64,
    /// Ordinary inputs from this source that have not closed.
    pub open: usize,
}

/// The sinks here of a source of another process.
pub(crate) struct RemoteWindow {
    pub source: SourceId,
    /// Progress of each.
    pub sinks: Vec<Progress>,
}

/// State that all lanes share.
pub(crate) struct Shared {
    pub inboxes: Vec<Sender<Post>>,
    /// For each lane: keys to change.
    pub settings: Vec<Sender<Setting>>,
    /// For each lane: true while a `Wake` lies in its inbox.
    pub woken: Vec<AtomicBool>,
    pub gates: Vec<GateOf>,
    pub border: Option<Arc<dyn Border>>,
    pub remote_windows: Vec<Mutex<RemoteWindow>>,
    /// Ids of the plan's nodes.
    pub names: Vec<String>,
    pub meters: Vec<Mutex<Meter>>,
    /// The receiver of timing rows; taken away when the run is over, so that the writer sees its end.
    pub timing: Mutex<Option<Sender<Vec<TimingRow>>>>,
    pub timed: bool,
    /// One for each lane.
    pub busy: Vec<Busy>,
    pub clock: Arc<dyn Clock>,
    pub base: TimeBase,
    pub stop: Arc<AtomicBool>,
    pub abort: AtomicBool,
    pub failure: Mutex<Option<Error>>,
}

/// The work of a lane, for the watch: a hang has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A frame.
    Frame(u64),
    /// The end of a stream: files are finished and encoders flushed.
    End,
    /// A close.
    Close,
    /// A changed key.
    Setting,
    /// A restart after a failure.
    Remake,
}

/// The work at hand of one lane.
#[derive(Default)]
pub(crate) struct Busy {
    /// Nanoseconds of the run when the work at hand began; 0 when there is none.
    since: AtomicU64,
    node: AtomicUsize,
    frame: AtomicU64,
    kind: AtomicU8,
    /// One more than the number of the border output that is being sent; 0 when none is.
    sending: AtomicUsize,
}

/// Work that has gone on for too long.
pub(crate) struct Stuck {
    pub node: NodeId,
    pub work: Work,
    /// Number of the border output that waits for the transport.
    pub sending: Option<usize>,
    pub patience: Duration,
}

impl Busy {
    pub(crate) fn begin(&self, base: &TimeBase, node: NodeId, work: Work) {
        let (kind, frame) = match work {
            Work::Frame(frame) => (0, frame),
            Work::End => (1, 0),
            Work::Close => (2, 0),
            Work::Setting => (3, 0),
            Work::Remake => (4, 0),
        };
        self.node.store(node.0, Ordering::Relaxed);
        self.frame.store(frame, Ordering::Relaxed);
        self.kind.store(kind, Ordering::Relaxed);
        self.since.store((base.instant.elapsed().as_nanos() as u64).max(1), Ordering::Release);
    }

    pub(crate) fn end(&self) {
        self.since.store(0, Ordering::Release);
    }

    /// True while an operator is being made again.
    pub fn is_remaking(&self) -> bool {
        self.since.load(Ordering::Acquire) > 0 && self.kind.load(Ordering::Relaxed) == 4
    }

    /// Work that has gone on for longer than `stall`, or than is due to its kind.
    pub fn stuck(&self, base: &TimeBase, stall: Duration, start: Duration) -> Option<Stuck> {
        let since = self.since.load(Ordering::Acquire);
        let now = base.instant.elapsed().as_nanos() as u64;
        let (work, patience) = match self.kind.load(Ordering::Relaxed) {
            0 => (Work::Frame(self.frame.load(Ordering::Relaxed)), stall),
            1 => (Work::End, stall * CLOSING),
            2 => (Work::Close, stall * CLOSING),
            3 => (Work::Setting, stall),
            _ => (Work::Remake, start),
        };
        (since > 0 && u128::from(now.saturating_sub(since)) > patience.as_nanos()).then(|| Stuck {
            node: NodeId(self.node.load(Ordering::Relaxed)),
            work,
            sending: self.sending.load(Ordering::Relaxed).checked_sub(1),
            patience,
        })
    }
}

pub(crate) struct GateOf {
    pub gate: Gate,
    pub lane: LaneId,
    pub node: NodeId,
    pub source: SourceId,
    /// Its failure ends the other sources too.
    pub stops_run: bool,
}

impl Shared {
    /// The run ends with this failure, unless one that is no consequence of another came first.
    pub fn fail(&self, error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.as_ref().is_none_or(|first| first.consequence && !error.consequence) {
            // The report tells this one: whoever prints the report can leave this target out of what it logs.
            tracing::error!(target: "sideline::failure", message = %error);
            if let Some(first) = failure.replace(error) {
                tracing::error!(message = %first);
            }
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
            self.wake(LaneId(lane));
        }
    }

    pub fn wake(&self, lane: LaneId) {
        // One is enough; and a full inbox is read soon, and the lane looks at everything after every message.
        if !self.woken[lane.0].swap(true, Ordering::AcqRel) {
            let _ = self.inboxes[lane.0].try_send(Post::Wake);
        }
    }

    pub fn meter(&self, node: NodeId) -> MutexGuard<'_, Meter> {
        self.meters[node.0].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn name(&self, node: NodeId) -> &str {
        &self.names[node.0]
    }

    pub fn aborted(&self) -> bool {
        self.abort.load(Ordering::SeqCst)
    }

    pub fn post(&self, lane: LaneId, delivery: Delivery) {
        let mut post = Post::Deliver(delivery);
        // Room is there while the window holds. Waiting without a look at the run would hide a dead lane for ever.
        while let Err(SendTimeoutError::Timeout(back)) = self.inboxes[lane.0].send_timeout(post, RETRY) {
            if self.aborted() {
                return;
            }
            post = back;
        }
    }

    /// Sends to every target, cloning for all but the last. `local` takes what stays in the sender's lane.
    /// `from` is none where the sender is no lane.
    pub fn send(
        &self,
        targets: &[Target],
        what: What,
        sent: Instant,
        from: Option<LaneId>,
        local: &mut VecDeque<Delivery>,
    ) {
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
                    if Some(*lane) == from { local.push_back(delivery) } else { self.post(*lane, delivery) }
                }
                Target::Side { lane, queue } => {
                    if queue.push(this, sent) {
                        self.wake(*lane);
                    }
                }
                Target::Border(output) => {
                    let Some(border) = &self.border else { continue };
                    let busy = from.map(|lane| &self.busy[lane.0].sending);
                    busy.inspect(|sending| sending.store(output + 1, Ordering::Relaxed));
                    let sent = match &this {
                        What::Message(message) => border.send(*output, message),
                        What::Closed { excused } => border.close(*output, *excused),
                    };
                    if let Err(error) = sent {
                        self.fail(error);
                    }
                    busy.inspect(|sending| sending.store(0, Ordering::Relaxed));
                }
            }
        }
    }

    /// A sink has come so far with the entries of the source whose window this is.
    pub fn sink_finished(&self, window: Window, progress: Progress) {
        match window {
            Window::Gate(gate, sink) => {
                let of = &self.gates[gate.0];
                if of.gate.finished(sink, progress) {
                    self.wake(of.lane);
                }
            }
            Window::Remote(at, sink) => {
                let mut window = self.remote_windows[at].lock().unwrap_or_else(PoisonError::into_inner);
                let before = window.sinks.iter().min().copied();
                window.sinks[sink] = window.sinks[sink].max(progress);
                let now = window.sinks.iter().min().copied();
                if let (Some(border), Some(progress), true) = (&self.border, now, now != before)
                    && let Err(error) = border.done(window.source, progress)
                {
                    self.fail(error);
                }
            }
        }
    }
}
