//! Lane: one thread and the operators that it runs.

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use crossbeam_channel::Receiver;
use sideline_api::{
    Body, Driver, Error, Header, Message, Payload, SourceId,
    driver::{CallReport, Outcome, Outlet, Phase},
};
use sideline_graph::plan::{LaneId, NodeId};

use crate::{
    CloseReason, OperatorFailure, SettingChange,
    gate::{Admission, SinkProgress},
    meter::{self, Tally},
    shared::{
        Delivery, EdgeEvent, GateId, InboxItem, SettingRequest, Shared, SideQueue, SinkState, Target, TimingRow,
        WindowId, Work,
    },
};

/// Number of timing rows that are collected before they are sent to their writer.
const TIMING_BATCH_ROWS: usize = 512;

/// Operator on its lane.
pub(crate) struct Slot {
    pub node: NodeId,
    pub driver: Driver,
    /// Targets of each output.
    pub routes: Vec<Vec<Target>>,
    /// State as a sink, for each source whose window waits for the operator.
    pub sinks: Vec<SinkState>,
    /// Source of each input; `None` for side and feedback inputs.
    pub sources: Vec<Option<SourceId>>,
    /// True for a heavy operator, whose CPU time is measured for every frame.
    pub is_heavy: bool,
    /// Number of frames handled so far.
    pub finished: u64,
    pub is_open: bool,
    /// Counts since the meter was last locked.
    pub tally: Tally,
}

/// Thread of a run and its operators.
pub(crate) struct Lane {
    pub id: LaneId,
    pub inbox: Receiver<InboxItem>,
    pub settings: Receiver<SettingRequest>,
    pub slots: Vec<Slot>,
    /// Queues of the side and feedback inputs of these operators.
    pub side_queues: Vec<Arc<SideQueue>>,
    /// Sources whose frames this lane admits.
    pub sources: Vec<SourceSlot>,
}

/// Source on the lane that admits its frames.
pub(crate) struct SourceSlot {
    pub gate: GateId,
    /// Targets of each output.
    pub routes: Vec<Vec<Target>>,
    /// Names of the outputs.
    pub outputs: Vec<&'static str>,
    /// Number of messages sent on each output.
    pub sent: Vec<u64>,
}

/// Outlet of a driver: sends its messages, and records timing and progress.
struct LaneOutlet<'a> {
    shared: &'a Shared,
    lane: LaneId,
    node: NodeId,
    routes: &'a [Vec<Target>],
    /// State as a sink of the source whose messages are being processed.
    sink: Option<&'a mut SinkState>,
    finished: &'a mut u64,
    tally: &'a mut Tally,
    local: &'a mut VecDeque<Delivery>,
    timing: &'a mut Vec<TimingRow>,
    /// Work in progress.
    work: Work,
    /// Number of frames handled by the current call of the driver.
    frames: u64,
}

impl Outlet for LaneOutlet<'_> {
    fn send(&mut self, output: usize, message: Message) {
        self.tally.sent += 1;
        self.shared.send(
            &self.routes[output],
            EdgeEvent::Message(message),
            Instant::now(),
            Some(self.lane),
            self.local,
        );
    }

    fn report(&mut self, call: CallReport<'_>) {
        let ended_at = self.shared.time_base.wall_ns(call.ended);
        self.shared.meter(self.node).record_call(&call, ended_at - call.header.captured_at, self.tally);
        self.log(&call);
        self.report_failure(&call);
        if call.phase == Phase::Frame {
            self.frames += 1;
            *self.finished += 1;
            if self.shared.records_timing {
                self.timing.push(TimingRow {
                    node: self.node,
                    stream: call.header.stream.clone(),
                    frame: call.header.frame,
                    captured_at: call.header.captured_at,
                    ready_at: self.shared.time_base.wall_ns(call.ready),
                    started_at: self.shared.time_base.wall_ns(call.started),
                    ended_at,
                });
            }
        }
        // A closing message is part of the end of its stream, not an entry of its own.
        if call.phase != Phase::Closing
            && let Some(sink) = &mut self.sink
        {
            sink.finished += 1;
            self.shared.record_sink_progress(sink.window, SinkProgress::Finished(sink.finished));
        }
    }

    fn restart_began(&mut self) {
        self.shared.activity[self.lane.0].begin(&self.shared.time_base, self.node, Work::Restart);
    }

    fn restart_ended(&mut self) {
        self.shared.activity[self.lane.0].begin(&self.shared.time_base, self.node, self.work);
    }
}

impl LaneOutlet<'_> {
    /// Passes a failure to the hook of the run.
    fn report_failure(&self, call: &CallReport<'_>) {
        let (message, is_panic) = match &call.outcome {
            Outcome::Error(error) => (error, false),
            Outcome::Panic(panic) => (panic, true),
            _ => return,
        };
        let Some(hook) = &self.shared.on_failure else { return };
        hook(&OperatorFailure {
            node: self.shared.node_id(self.node),
            stream: &call.header.stream,
            frame: (call.phase == Phase::Frame).then_some(call.header.frame),
            message,
            is_panic,
        });
    }

    /// Logs one line for each frame of each operator at `info`, and failures at `warn`.
    fn log(&self, call: &CallReport<'_>) {
        let (node, header) = (self.shared.node_id(self.node), call.header);
        let (stream, frame) = (&*header.stream, header.frame);
        if call.phase != Phase::Frame {
            // The frame number of a closing message or an end is that of no frame.
            match &call.outcome {
                Outcome::Error(error) => tracing::warn!(node, stream, error, "failed at the end of the stream"),
                Outcome::Panic(panic) => tracing::warn!(node, stream, panic, "panicked at the end of the stream"),
                Outcome::EndedWhileRestarting => {
                    tracing::warn!(node, stream, "the stream ended while a restart of the operator was pending");
                }
                Outcome::Done | Outcome::Skipped(_) => {}
            }
            return;
        }
        match &call.outcome {
            Outcome::Done => {
                // Checked first, so that the durations are computed only if they are logged.
                if tracing::enabled!(tracing::Level::INFO) {
                    let process_ms = (call.ended - call.started).as_secs_f64() * 1e3;
                    let wait_ms = (call.started.saturating_duration_since(call.ready)).as_secs_f64() * 1e3;
                    tracing::info!(node, stream, frame, process_ms, wait_ms, "frame");
                }
            }
            Outcome::Skipped(reason) => tracing::info!(node, stream, frame, %reason, "skipped"),
            Outcome::Error(error) => tracing::warn!(node, stream, frame, error, "failed"),
            Outcome::Panic(panic) => tracing::warn!(node, stream, frame, panic, "panicked"),
            Outcome::EndedWhileRestarting => {}
        }
    }
}

impl Lane {
    /// Runs until every operator is closed or the run is aborted. Every operator is closed exactly once.
    pub fn run(mut self, shared: &Shared) {
        let mut local = VecDeque::new();
        let mut timing = Vec::new();
        let woken: &AtomicBool = &shared.woken[self.id.0];
        loop {
            if shared.is_aborted() {
                break;
            }
            // Cleared before the checks below, so that anything that arrives after them wakes the lane again.
            woken.swap(false, Ordering::AcqRel);
            while let Ok(setting) = self.settings.try_recv() {
                self.apply_setting(shared, setting);
            }
            for queue in &self.side_queues {
                for (event, sent_at) in queue.take() {
                    local.push_back(Delivery { slot: queue.slot, port: queue.port, event, sent_at });
                }
            }
            self.process_deliveries(shared, &mut local, &mut timing);
            if self.admit(shared, &mut local) {
                self.process_deliveries(shared, &mut local, &mut timing);
                // A source that always has a frame must not starve the inbox.
                if let Ok(InboxItem::Deliver(delivery)) = self.inbox.try_recv() {
                    local.push_back(delivery);
                }
                continue;
            }
            if self.sources.is_empty() && self.slots.iter().all(|slot| !slot.is_open) {
                break;
            }
            match self.inbox.recv() {
                Ok(InboxItem::Deliver(delivery)) => local.push_back(delivery),
                Ok(InboxItem::Wake) => {}
                Err(_) => break,
            }
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.is_open) {
            // The counts of an aborted run are reported as well.
            close_driver(shared, slot, self.id);
        }
        flush_timing(shared, &mut timing);
    }

    /// Applies a setting, unless the requester has given up.
    fn apply_setting(&mut self, shared: &Shared, request: SettingRequest) {
        let SettingRequest { slot, key, value, claimed, reply } = request;
        if claimed.swap(true, Ordering::AcqRel) {
            return;
        }
        let slot = &mut self.slots[slot];
        let node = slot.node;
        let activity = &shared.activity[self.id.0];
        activity.begin(&shared.time_base, node, Work::Setting);
        let changed = slot.driver.set(&key, value);
        activity.end();
        let _ = reply.send(changed.map(|change| SettingChange {
            node: shared.node_id(node).to_owned(),
            key,
            old: change.old,
            new: change.new,
            from_frame: shared.meter(node).next_frames(),
        }));
    }

    /// Delivers the messages in `local`, and those that result from them, until none is left.
    fn process_deliveries(&mut self, shared: &Shared, local: &mut VecDeque<Delivery>, timing: &mut Vec<TimingRow>) {
        while let Some(Delivery { slot: at, port, event, sent_at }) = local.pop_front() {
            if shared.is_aborted() {
                return;
            }
            let lane = self.id;
            let slot = &mut self.slots[at];
            if !slot.is_open {
                continue;
            }
            let measures_cpu = slot.is_heavy || slot.finished.is_multiple_of(meter::CPU_SAMPLE_INTERVAL_FRAMES);
            let cpu_before = measures_cpu.then(meter::thread_cpu);
            let work = match &event {
                EdgeEvent::Message(Message { body: Body::End { .. }, .. }) | EdgeEvent::Closed { .. } => Work::End,
                EdgeEvent::Message(message) => Work::Frame(message.header.frame),
            };
            let mut outlet = LaneOutlet {
                shared,
                lane,
                node: slot.node,
                routes: &slot.routes,
                sink: slot.sinks.iter_mut().find(|sink| Some(sink.source) == slot.sources[port]),
                finished: &mut slot.finished,
                tally: &mut slot.tally,
                local,
                timing,
                work,
                frames: 0,
            };
            let activity = &shared.activity[lane.0];
            activity.begin(&shared.time_base, slot.node, work);
            let result = match event {
                EdgeEvent::Message(message) => {
                    outlet.tally.count_received(port);
                    slot.driver.accept(port, message, sent_at, &mut outlet)
                }
                EdgeEvent::Closed { reason } => {
                    let all_closed = slot.driver.close_input(port, reason.excuses_missing_end(), &mut outlet);
                    match all_closed {
                        Ok(true) => close_slot(shared, slot, lane, reason, local),
                        Ok(false) => record_closed_input(shared, slot, port, reason),
                        Err(error) => shared.fail(error),
                    }
                    activity.end();
                    continue;
                }
            };
            activity.end();
            let frames = outlet.frames;
            slot.tally.side_dropped = slot.driver.side_dropped();
            if let (Some(before), true) = (cpu_before, frames > 0) {
                slot.tally.cpu += meter::thread_cpu().saturating_sub(before);
                slot.tally.cpu_samples += frames;
            }
            if timing.len() >= TIMING_BATCH_ROWS {
                flush_timing(shared, timing);
            }
            if let Err(error) = result {
                shared.fail(error);
            }
        }
    }

    /// Admits one entry, a frame or the end of a stream, from one of the lane's sources. Returns false if there was
    /// none.
    fn admit(&mut self, shared: &Shared, local: &mut VecDeque<Delivery>) -> bool {
        let lane = self.id;
        for at in 0..self.sources.len() {
            let source = &mut self.sources[at];
            let source_gate = &shared.gates[source.gate.0];
            match source_gate.gate.admit() {
                Admission::Wait => {}
                Admission::Frame(header, captured) => {
                    let (bodies, outputs) = (captured.outputs.len(), source.routes.len());
                    if bodies != outputs || captured.outputs.iter().any(|body| matches!(body, Body::End { .. })) {
                        let text = match bodies == outputs {
                            true => "returned an end as a frame; a stream is ended by returning no frame".to_owned(),
                            false => format!("returned {bodies} bodies for its {outputs} outputs"),
                        };
                        shared.fail(Error::other(format!("node `{}`: {text}", shared.node_id(source_gate.node))));
                        return false;
                    }
                    tracing::debug!(
                        stream = &*header.stream,
                        frame = header.frame,
                        dropped = header.dropped,
                        "admitted"
                    );
                    for (output, body) in captured.outputs.into_iter().enumerate() {
                        source.send(shared, lane, output, &header, body, local);
                    }
                    shared.meter(source_gate.node).counts.sent += outputs as u64;
                    return true;
                }
                Admission::End { header, frames, closing } => {
                    for output in 0..source.outputs.len() {
                        let name = source.outputs[output];
                        let rows = closing.iter().filter(|closing| closing.output == name);
                        let rows = rows.map(|closing| Body::Data(Payload::Table(closing.rows.clone())));
                        for body in rows.chain([Body::End { frames }]) {
                            source.send(shared, lane, output, &header, body, local);
                        }
                    }
                    return true;
                }
                Admission::Close => {
                    for targets in &source.routes {
                        let closed = EdgeEvent::Closed { reason: CloseReason::Ended };
                        shared.send(targets, closed, Instant::now(), Some(lane), local);
                    }
                    if source_gate.stops_run_on_failure && source_gate.gate.reader_failure().is_some() {
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

impl SourceSlot {
    /// Sends a message on an output of the source.
    fn send(
        &mut self,
        shared: &Shared,
        lane: LaneId,
        output: usize,
        header: &Header,
        body: Body,
        local: &mut VecDeque<Delivery>,
    ) {
        let message = Message { header: header.clone(), n: self.sent[output], body };
        self.sent[output] += 1;
        shared.send(&self.routes[output], EdgeEvent::Message(message), Instant::now(), Some(lane), local);
    }
}

/// Closes an operator and collects its counts.
fn close_driver(shared: &Shared, slot: &mut Slot, lane: LaneId) {
    slot.is_open = false;
    shared.activity[lane.0].begin(&shared.time_base, slot.node, Work::Close);
    if let Err(error) = slot.driver.close() {
        shared.fail(error);
    }
    shared.activity[lane.0].end();
    slot.tally.side_dropped = slot.driver.side_dropped();
    let mut meter = shared.meter(slot.node);
    meter.merge(&mut slot.tally);
    meter.operator_counts = slot.driver.counts().clone();
}

/// Closes an operator and its outputs, and reports it closed to the sources that wait for it.
fn close_slot(shared: &Shared, slot: &mut Slot, lane: LaneId, reason: CloseReason, local: &mut VecDeque<Delivery>) {
    close_driver(shared, slot, lane);
    for targets in &slot.routes {
        shared.send(targets, EdgeEvent::Closed { reason }, Instant::now(), Some(lane), local);
    }
    for sink in &slot.sinks {
        report_sink_closed(shared, sink, reason);
    }
}

/// Reports to the source that a sink has closed. If a missing end is excused, the inputs may have closed before their
/// end, and frames in flight were not finished: a source of this process gives up the sink, a source of another process
/// is told at the end of the run that this process was stopped.
fn report_sink_closed(shared: &Shared, sink: &SinkState, reason: CloseReason) {
    match (reason.excuses_missing_end(), sink.window) {
        (false, window) => shared.record_sink_progress(window, SinkProgress::Closed),
        (true, WindowId::Gate(gate, id)) => {
            let source = &shared.gates[gate.0];
            source.gate.give_up_sink(id);
            shared.wake(source.lane);
        }
        (true, WindowId::Remote(..)) => {}
    }
}

/// Records that an input has closed while others are open. A source whose inputs have all closed no longer waits for
/// the sink.
fn record_closed_input(shared: &Shared, slot: &mut Slot, port: usize, reason: CloseReason) {
    let Some(sink) = slot.sinks.iter_mut().find(|sink| Some(sink.source) == slot.sources[port]) else { return };
    sink.open_inputs = sink.open_inputs.saturating_sub(1);
    if sink.open_inputs == 0 && slot.sources.iter().flatten().any(|source| *source != sink.source) {
        report_sink_closed(shared, sink, reason);
    }
}

/// Sends collected timing rows to their writer.
fn flush_timing(shared: &Shared, timing: &mut Vec<TimingRow>) {
    if timing.is_empty() {
        return;
    }
    let writer = shared.timing.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(writer) = writer {
        let _ = writer.send(std::mem::take(timing));
    }
}
