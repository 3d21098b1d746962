//! State that the lanes of a run share: inboxes, gates, counts, and the delivery of messages between lanes.
//!
//! A message for an operator of the same lane is appended to a list, without a lock. For an operator of another lane it
//! is posted to that lane's inbox. With a window of W entries, inboxes hold W + 4 messages for each edge that enters
//! them. At most W entries are in flight, and at most one of them is an end with its closing message, so posting does
//! not wait.

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
    Border, CloseReason, FailureHook, SettingChange,
    gate::{CLOSING_TIMEOUT_FACTOR, Gate, SinkId, SinkProgress},
    meter::Meter,
};

/// Interval at which a lane that waits for room in an inbox checks for an abort of the run.
const ABORT_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Item of a lane's inbox.
pub(crate) enum InboxItem {
    Deliver(Delivery),
    /// Asks the lane to check its side queues, settings and gates.
    Wake,
}

/// Request to change a live setting of an operator of the lane.
pub(crate) struct SettingRequest {
    pub slot: usize,
    pub key: String,
    pub value: serde_json::Value,
    /// Set by the lane when it starts to apply the request, or by the requester when it gives up. Whoever sets it first
    /// decides whether the setting is applied.
    pub claimed: Arc<AtomicBool>,
    pub reply: Sender<Result<SettingChange>>,
}

/// Edge event for one input of one operator of the lane.
pub(crate) struct Delivery {
    pub slot: usize,
    pub port: usize,
    pub event: EdgeEvent,
    pub sent_at: Instant,
}

/// Event on an edge of the graph: a message, or the closing of the edge.
pub(crate) enum EdgeEvent {
    Message(Message),
    Closed { reason: CloseReason },
}

/// Receiver of an output's messages.
#[derive(Clone)]
pub(crate) enum Target {
    /// Ordinary input of an operator.
    Operator { lane: LaneId, slot: usize, port: usize },
    /// Side or feedback input of an operator.
    Side { lane: LaneId, queue: Arc<SideQueue> },
    /// Border output with this index, which leads to another process.
    Border(usize),
}

/// Queue of a side or feedback input, which drops its oldest message when it is full.
pub(crate) struct SideQueue {
    pub slot: usize,
    pub port: usize,
    pub capacity: usize,
    /// Queued events with the times at which they were sent, and the number of droppable messages among them.
    waiting: Mutex<(VecDeque<(EdgeEvent, Instant)>, usize)>,
    is_pending: AtomicBool,
}

impl SideQueue {
    pub(crate) fn new(slot: usize, port: usize, capacity: usize) -> Self {
        SideQueue {
            slot,
            port,
            capacity: capacity.max(1),
            waiting: Mutex::default(),
            is_pending: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<(EdgeEvent, Instant)>, usize)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event. Ends and closings are never dropped; of dropped messages the driver sees the gap in `n` and
    /// counts them. Returns true when the lane must be woken.
    pub(crate) fn push(&self, event: EdgeEvent, sent_at: Instant) -> bool {
        let mut guard = self.lock();
        let (queue, messages) = &mut *guard;
        let is_droppable =
            |event: &EdgeEvent| matches!(event, EdgeEvent::Message(m) if !matches!(m.body, Body::End { .. }));
        if is_droppable(&event) {
            if *messages >= self.capacity
                && let Some(at) = queue.iter().position(|(event, _)| is_droppable(event))
            {
                queue.remove(at);
                *messages -= 1;
            }
            *messages += 1;
        }
        queue.push_back((event, sent_at));
        !self.is_pending.swap(true, Ordering::AcqRel)
    }

    /// Removes and returns all queued events.
    pub(crate) fn take(&self) -> VecDeque<(EdgeEvent, Instant)> {
        if !self.is_pending.swap(false, Ordering::AcqRel) {
            return VecDeque::new();
        }
        let mut guard = self.lock();
        guard.1 = 0;
        std::mem::take(&mut guard.0)
    }
}

/// Row of `timing.parquet`: one frame at one operator.
#[derive(Clone, Debug)]
pub struct TimingRow {
    /// Index of the node in the plan.
    pub node: NodeId,
    /// Stream of the frame.
    pub stream: StreamName,
    /// Frame number.
    pub frame: u64,
    /// Wall-clock time of the capture, ns since 1970.
    pub captured_at: i64,
    /// Wall-clock time at which the last input of the frame was sent, ns since 1970.
    pub ready_at: i64,
    /// Wall-clock time at which `process` was called, ns since 1970.
    pub started_at: i64,
    /// Wall-clock time at which the outputs had been sent, ns since 1970.
    pub ended_at: i64,
}

/// Converts instants to wall-clock nanoseconds. The clock is read again from time to time, so that a step of the system
/// clock distorts latencies only briefly.
pub(crate) struct TimeBase {
    instant: Instant,
    wall: AtomicI64,
}

impl TimeBase {
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        TimeBase { instant: Instant::now(), wall: AtomicI64::new(clock.now()) }
    }

    /// Reads the wall clock again.
    pub(crate) fn refresh(&self, clock: &dyn Clock) {
        self.wall.store(clock.now() - self.instant.elapsed().as_nanos() as i64, Ordering::Relaxed);
    }

    /// Converts an instant to wall-clock time, ns since 1970.
    pub(crate) fn wall_ns(&self, at: Instant) -> i64 {
        let wall = self.wall.load(Ordering::Relaxed);
        match at.checked_duration_since(self.instant) {
            Some(after) => wall + after.as_nanos() as i64,
            None => wall - self.instant.duration_since(at).as_nanos() as i64,
        }
    }
}

/// Index into [`Shared::gates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GateId(pub usize);

/// Window whose progress depends on a sink.
#[derive(Clone, Copy)]
pub(crate) enum WindowId {
    /// Window of a source of this process.
    Gate(GateId, SinkId),
    /// Window of a source of another process: index into [`Shared::remote_windows`], and index of the sink in it.
    Remote(usize, usize),
}

/// State of a sink with respect to one source whose window waits for it.
#[derive(Clone)]
pub(crate) struct SinkState {
    pub source: SourceId,
    pub window: WindowId,
    /// Number of finished entries of this source: frames and ends of streams.
    pub finished: u64,
    /// Number of ordinary inputs from this source that have not closed.
    pub open_inputs: usize,
}

/// Sinks of this process that belong to a source of another process.
pub(crate) struct RemoteWindow {
    pub source: SourceId,
    /// Progress of each sink.
    pub sinks: Vec<SinkProgress>,
}

/// State shared by all lanes.
pub(crate) struct Shared {
    pub inboxes: Vec<Sender<InboxItem>>,
    /// Setting requests, for each lane.
    pub settings: Vec<Sender<SettingRequest>>,
    /// True while an [`InboxItem::Wake`] is in the inbox, for each lane.
    pub woken: Vec<AtomicBool>,
    pub gates: Vec<SourceGate>,
    pub border: Option<Arc<dyn Border>>,
    pub remote_windows: Vec<Mutex<RemoteWindow>>,
    /// Ids of the plan's nodes.
    pub node_ids: Vec<String>,
    pub meters: Vec<Mutex<Meter>>,
    /// Channel to the writer of timing rows; removed when the run is over, so that the writer sees the end.
    pub timing: Mutex<Option<Sender<Vec<TimingRow>>>>,
    pub records_timing: bool,
    /// Callback for failures of operators.
    pub on_failure: Option<FailureHook>,
    /// Work in progress, for each lane.
    pub activity: Vec<LaneActivity>,
    pub clock: Arc<dyn Clock>,
    pub time_base: TimeBase,
    pub stop: Arc<AtomicBool>,
    pub abort: AtomicBool,
    pub failure: Mutex<Option<Error>>,
}

/// Kind of work of a lane, so that the report of a hang can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Processing of the frame with this number.
    Frame(u64),
    /// End of a stream: files are finished and encoders flushed.
    End,
    /// Closing of an operator.
    Close,
    /// Change of a live setting.
    Setting,
    /// Restart of an operator after a failure.
    Restart,
}

/// Work in progress of one lane, written by the lane and read by the waiting thread.
#[derive(Default)]
pub(crate) struct LaneActivity {
    /// Start of the work, ns since the start of the run; 0 while the lane is idle.
    started_ns: AtomicU64,
    node: AtomicUsize,
    frame: AtomicU64,
    kind: AtomicU8,
    /// Index plus one of the border output that is being sent; 0 when none is.
    border_output_plus_one: AtomicUsize,
}

/// Work that has exceeded its deadline.
pub(crate) struct OverdueWork {
    pub node: NodeId,
    pub work: Work,
    /// Index of the border output that waits for the transport.
    pub border_output: Option<usize>,
    pub deadline: Duration,
}

impl LaneActivity {
    pub(crate) fn begin(&self, time_base: &TimeBase, node: NodeId, work: Work) {
        let (kind, frame) = match work {
            Work::Frame(frame) => (0, frame),
            Work::End => (1, 0),
            Work::Close => (2, 0),
            Work::Setting => (3, 0),
            Work::Restart => (4, 0),
        };
        self.node.store(node.0, Ordering::Relaxed);
        self.frame.store(frame, Ordering::Relaxed);
        self.kind.store(kind, Ordering::Relaxed);
        self.started_ns.store((time_base.instant.elapsed().as_nanos() as u64).max(1), Ordering::Release);
    }

    pub(crate) fn end(&self) {
        self.started_ns.store(0, Ordering::Release);
    }

    /// Returns true while an operator of the lane is being restarted.
    pub fn is_restarting(&self) -> bool {
        self.started_ns.load(Ordering::Acquire) > 0 && self.kind.load(Ordering::Relaxed) == 4
    }

    /// Returns the work in progress if it has exceeded its deadline: `stall`, a multiple of it for closing and ends of
    /// streams, or `start` for a restart.
    pub fn overdue_work(&self, time_base: &TimeBase, stall: Duration, start: Duration) -> Option<OverdueWork> {
        let started_ns = self.started_ns.load(Ordering::Acquire);
        let now_ns = time_base.instant.elapsed().as_nanos() as u64;
        let (work, deadline) = match self.kind.load(Ordering::Relaxed) {
            0 => (Work::Frame(self.frame.load(Ordering::Relaxed)), stall),
            1 => (Work::End, stall * CLOSING_TIMEOUT_FACTOR),
            2 => (Work::Close, stall * CLOSING_TIMEOUT_FACTOR),
            3 => (Work::Setting, stall),
            _ => (Work::Restart, start),
        };
        (started_ns > 0 && u128::from(now_ns.saturating_sub(started_ns)) > deadline.as_nanos()).then(|| OverdueWork {
            node: NodeId(self.node.load(Ordering::Relaxed)),
            work,
            border_output: self.border_output_plus_one.load(Ordering::Relaxed).checked_sub(1),
            deadline,
        })
    }
}

/// Gate of a source of this process.
pub(crate) struct SourceGate {
    pub gate: Gate,
    pub lane: LaneId,
    pub node: NodeId,
    pub source: SourceId,
    /// True when a failure of this source also stops the other sources.
    pub stops_run_on_failure: bool,
}

impl Shared {
    /// Ends the run with a failure. The first one is reported, except that a cause replaces an earlier consequence.
    pub fn fail(&self, error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.as_ref().is_none_or(|first| first.is_consequence && !error.is_consequence) {
            // This error is part of the report. A program that prints the report can filter out this log target.
            let (node, stream, frame) = match error.place.as_deref() {
                Some(place) => (Some(place.node.as_str()), place.stream.as_deref(), place.frame),
                None => (None, None, None),
            };
            tracing::error!(target: "sideline::failure", node, stream, frame, message = %error);
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

    /// Sets the stop flag and wakes all readers and lanes.
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

    /// Wakes a lane so that it checks its side queues, settings and gates.
    pub fn wake(&self, lane: LaneId) {
        // One wake-up is enough. It may fail on a full inbox, which is read soon; the lane checks everything after each
        // message anyway.
        if !self.woken[lane.0].swap(true, Ordering::AcqRel) {
            let _ = self.inboxes[lane.0].try_send(InboxItem::Wake);
        }
    }

    pub fn meter(&self, node: NodeId) -> MutexGuard<'_, Meter> {
        self.meters[node.0].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn node_id(&self, node: NodeId) -> &str {
        &self.node_ids[node.0]
    }

    pub fn is_aborted(&self) -> bool {
        self.abort.load(Ordering::SeqCst)
    }

    /// Posts a delivery to the inbox of a lane; gives up when the run is aborted.
    pub fn post(&self, lane: LaneId, delivery: Delivery) {
        let mut item = InboxItem::Deliver(delivery);
        // There is room as long as the window is respected. An unbounded wait would hide a dead lane forever.
        while let Err(SendTimeoutError::Timeout(returned)) =
            self.inboxes[lane.0].send_timeout(item, ABORT_POLL_INTERVAL)
        {
            if self.is_aborted() {
                return;
            }
            item = returned;
        }
    }

    /// Sends an event to every target, cloning it for all but the last. Deliveries within the sender's lane are
    /// appended to `local`. `from` is `None` when the sender is not a lane.
    pub fn send(
        &self,
        targets: &[Target],
        event: EdgeEvent,
        sent_at: Instant,
        from: Option<LaneId>,
        local: &mut VecDeque<Delivery>,
    ) {
        let last = targets.len().saturating_sub(1);
        let mut event = Some(event);
        for (i, target) in targets.iter().enumerate() {
            let this = if i == last {
                event.take()
            } else {
                event.as_ref().map(|event| match event {
                    EdgeEvent::Message(message) => EdgeEvent::Message(message.clone()),
                    EdgeEvent::Closed { reason } => EdgeEvent::Closed { reason: *reason },
                })
            };
            let Some(this) = this else { continue };
            match target {
                Target::Operator { lane, slot, port } => {
                    let delivery = Delivery { slot: *slot, port: *port, event: this, sent_at };
                    if Some(*lane) == from { local.push_back(delivery) } else { self.post(*lane, delivery) }
                }
                Target::Side { lane, queue } => {
                    if queue.push(this, sent_at) {
                        self.wake(*lane);
                    }
                }
                Target::Border(output) => {
                    let Some(border) = &self.border else { continue };
                    let sending = from.map(|lane| &self.activity[lane.0].border_output_plus_one);
                    sending.inspect(|sending| sending.store(output + 1, Ordering::Relaxed));
                    let result = match &this {
                        EdgeEvent::Message(message) => border.send(*output, message),
                        EdgeEvent::Closed { reason } => border.close(*output, *reason),
                    };
                    if let Err(error) = result {
                        self.fail(error);
                    }
                    sending.inspect(|sending| sending.store(0, Ordering::Relaxed));
                }
            }
        }
    }

    /// Records the progress of a sink in its window, and reports it to the process of the source if that is another
    /// one.
    pub fn record_sink_progress(&self, window: WindowId, progress: SinkProgress) {
        match window {
            WindowId::Gate(gate, sink) => {
                let source = &self.gates[gate.0];
                if source.gate.record_progress(sink, progress) {
                    self.wake(source.lane);
                }
            }
            WindowId::Remote(at, sink) => {
                let mut window = self.remote_windows[at].lock().unwrap_or_else(PoisonError::into_inner);
                let before = window.sinks.iter().min().copied();
                window.sinks[sink] = window.sinks[sink].max(progress);
                let now = window.sinks.iter().min().copied();
                if let (Some(border), Some(progress), true) = (&self.border, now, now != before)
                    && let Err(error) = border.report_progress(window.source, progress)
                {
                    self.fail(error);
                }
            }
        }
    }
}
