//! A lane: one thread and the operators that live on it.

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
    driver::{Outcome, Outlet, Ran, Stage},
};
use sideline_graph::plan::{LaneId, NodeId};

use crate::{
    Change,
    gate::{Admission, Progress},
    meter::{self, Tally},
    shared::{Delivery, GateId, Post, Setting, Shared, SideQueue, SinkOf, Target, TimingRow, What, Window, Work},
};

/// Timing rows gathered before they are handed on.
const TIMING_BATCH: usize = 512;

/// One operator on its lane.
pub(crate) struct Slot {
    pub node: NodeId,
    pub driver: Driver,
    /// Targets of each output.
    pub routes: Vec<Vec<Target>>,
    /// For a sink: the sources that wait for it.
    pub sinks: Vec<SinkOf>,
    /// For each input: its source, when it is an ordinary one.
    pub sources: Vec<Option<SourceId>>,
    /// Measure the CPU time of every frame.
    pub heavy: bool,
    pub finished: u64,
    pub open: bool,
    /// Counts since the meter was locked last.
    pub tally: Tally,
}

/// One thread and its operators.
pub(crate) struct Lane {
    pub id: LaneId,
    pub inbox: Receiver<Post>,
    pub settings: Receiver<Setting>,
    pub slots: Vec<Slot>,
    pub side: Vec<Arc<SideQueue>>,
    /// Sources that are admitted here.
    pub sources: Vec<Admitted>,
}

/// A source's place on its lane.
pub(crate) struct Admitted {
    pub gate: GateId,
    /// Targets of each output.
    pub routes: Vec<Vec<Target>>,
    /// Names of the outputs.
    pub outputs: Vec<&'static str>,
    /// Messages sent on each output.
    pub sent: Vec<u64>,
}

struct Through<'a> {
    shared: &'a Shared,
    lane: LaneId,
    node: NodeId,
    routes: &'a [Vec<Target>],
    /// The source of the frames at hand, of those that wait for this sink.
    sink: Option<&'a mut SinkOf>,
    finished: &'a mut u64,
    tally: &'a mut Tally,
    local: &'a mut VecDeque<Delivery>,
    timing: &'a mut Vec<TimingRow>,
    /// The work at hand.
    work: Work,
    ran: u64,
}

impl Outlet for Through<'_> {
    fn send(&mut self, output: usize, message: Message) {
        self.tally.sent += 1;
        self.shared.send(&self.routes[output], What::Message(message), Instant::now(), Some(self.lane), self.local);
    }

    fn ran(&mut self, ran: Ran<'_>) {
        let ended = self.shared.base.wall(ran.ended);
        self.shared.meter(self.node).ran(&ran, ended - ran.header.captured, self.tally);
        self.log(&ran);
        if ran.stage == Stage::Frame {
            self.ran += 1;
            *self.finished += 1;
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
        }
        // Closing messages ride with the end of their stream: they are no entries of their own.
        if ran.stage != Stage::Closing
            && let Some(sink) = &mut self.sink
        {
            sink.finished += 1;
            self.shared.sink_finished(sink.window, Progress::Finished(sink.finished));
        }
    }

    fn remaking(&mut self) {
        self.shared.busy[self.lane.0].begin(&self.shared.base, self.node, Work::Remake);
    }

    fn remade(&mut self) {
        self.shared.busy[self.lane.0].begin(&self.shared.base, self.node, self.work);
    }
}

impl Through<'_> {
    /// One line for each frame of each operator at `info`; what went wrong at `warn`.
    fn log(&self, ran: &Ran<'_>) {
        let (node, header) = (self.shared.name(self.node), ran.header);
        let (stream, frame) = (&*header.stream, header.frame);
        match &ran.outcome {
            Outcome::Done if ran.stage == Stage::Frame => {
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
            Outcome::Done => {}
        }
    }
}

impl Lane {
    /// Runs until every operator is closed, or the run is aborted. Every operator is closed exactly once.
    pub fn run(mut self, shared: &Shared) {
        let mut local = VecDeque::new();
        let mut timing = Vec::new();
        let woken: &AtomicBool = &shared.woken[self.id.0];
        loop {
            if shared.aborted() {
                break;
            }
            // Before the look at what there is to do: what comes after it wakes once more.
            woken.swap(false, Ordering::AcqRel);
            while let Ok(setting) = self.settings.try_recv() {
                self.change(shared, setting);
            }
            for queue in &self.side {
                for (what, sent) in queue.take() {
                    local.push_back(Delivery { slot: queue.slot, port: queue.port, what, sent });
                }
            }
            self.work(shared, &mut local, &mut timing);
            if self.admit(shared, &mut local) {
                self.work(shared, &mut local, &mut timing);
                // A source that always has a frame must not keep out what else there is to do.
                if let Ok(Post::Deliver(delivery)) = self.inbox.try_recv() {
                    local.push_back(delivery);
                }
                continue;
            }
            if self.sources.is_empty() && self.slots.iter().all(|slot| !slot.open) {
                break;
            }
            match self.inbox.recv() {
                Ok(Post::Deliver(delivery)) => local.push_back(delivery),
                Ok(Post::Wake) => {}
                Err(_) => break,
            }
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.open) {
            // A run that was cut short leaves its figures too.
            retire(shared, slot, self.id);
        }
        flush(shared, &mut timing);
    }

    /// Changes a key, unless the asker has given up.
    fn change(&mut self, shared: &Shared, Setting { slot, key, value, claimed, reply }: Setting) {
        if claimed.swap(true, Ordering::AcqRel) {
            return;
        }
        let slot = &mut self.slots[slot];
        let node = slot.node;
        let busy = &shared.busy[self.id.0];
        busy.begin(&shared.base, node, Work::Setting);
        let changed = slot.driver.set(&key, value);
        busy.end();
        let _ = reply.send(changed.map(|change| Change {
            node: shared.name(node).to_owned(),
            key,
            old: change.old,
            new: change.new,
            from_frame: shared.meter(node).next_frames(),
        }));
    }

    fn work(&mut self, shared: &Shared, local: &mut VecDeque<Delivery>, timing: &mut Vec<TimingRow>) {
        while let Some(Delivery { slot: at, port, what, sent }) = local.pop_front() {
            if shared.aborted() {
                return;
            }
            let lane = self.id;
            let slot = &mut self.slots[at];
            if !slot.open {
                continue;
            }
            let measured = slot.heavy || slot.finished.is_multiple_of(meter::CPU_SAMPLE);
            let cpu = measured.then(meter::thread_cpu);
            let work = match &what {
                What::Message(Message { body: Body::End { .. }, .. }) | What::Closed { .. } => Work::End,
                What::Message(message) => Work::Frame(message.header.frame),
            };
            let mut outlet = Through {
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
                ran: 0,
            };
            let busy = &shared.busy[lane.0];
            busy.begin(&shared.base, slot.node, work);
            let result = match what {
                What::Message(message) => {
                    outlet.tally.came(port);
                    slot.driver.accept(port, message, sent, &mut outlet)
                }
                What::Closed { excused } => {
                    let last = slot.driver.closed(port, excused, &mut outlet);
                    match last {
                        Ok(true) => close(shared, slot, lane, excused, local),
                        Ok(false) => closed(shared, slot, port, excused),
                        Err(error) => shared.fail(error),
                    }
                    busy.end();
                    continue;
                }
            };
            busy.end();
            let ran = outlet.ran;
            slot.tally.side_dropped = slot.driver.side_dropped();
            if let (Some(before), true) = (cpu, ran > 0) {
                slot.tally.cpu += meter::thread_cpu().saturating_sub(before);
                slot.tally.cpu_samples += ran;
            }
            if timing.len() >= TIMING_BATCH {
                flush(shared, timing);
            }
            if let Err(error) = result {
                shared.fail(error);
            }
        }
    }

    /// Admits one frame, or one end, of one of this lane's sources.
    fn admit(&mut self, shared: &Shared, local: &mut VecDeque<Delivery>) -> bool {
        let lane = self.id;
        for at in 0..self.sources.len() {
            let source = &mut self.sources[at];
            let of = &shared.gates[source.gate.0];
            match of.gate.admit() {
                Admission::Wait => {}
                Admission::Frame(header, captured) => {
                    let (bodies, outputs) = (captured.outputs.len(), source.routes.len());
                    if bodies != outputs || captured.outputs.iter().any(|body| matches!(body, Body::End { .. })) {
                        let text = match bodies == outputs {
                            true => "gave an `End` of its own; only `None` ends its streams".to_owned(),
                            false => format!("gave {bodies} bodies for its {outputs} outputs"),
                        };
                        shared.fail(Error::other(format!("node `{}`: {text}", shared.name(of.node))));
                        return false;
                    }
                    tracing::debug!(
                        stream = &*header.stream,
                        frame = header.frame,
                        dropped = header.forgotten,
                        "admitted"
                    );
                    for (output, body) in captured.outputs.into_iter().enumerate() {
                        source.send(shared, lane, output, &header, body, local);
                    }
                    shared.meter(of.node).sent += outputs as u64;
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
                        shared.send(targets, What::Closed { excused: false }, Instant::now(), Some(lane), local);
                    }
                    if of.stops_run && of.gate.failure().is_some() {
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

impl Admitted {
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
        shared.send(&self.routes[output], What::Message(message), Instant::now(), Some(lane), local);
    }
}

/// Closes an operator, and takes its figures.
fn retire(shared: &Shared, slot: &mut Slot, lane: LaneId) {
    slot.open = false;
    shared.busy[lane.0].begin(&shared.base, slot.node, Work::Close);
    if let Err(error) = slot.driver.close() {
        shared.fail(error);
    }
    shared.busy[lane.0].end();
    slot.tally.side_dropped = slot.driver.side_dropped();
    let mut meter = shared.meter(slot.node);
    meter.take(&mut slot.tally);
    meter.own = slot.driver.counts().clone();
}

/// Closes an operator and the edges that leave it.
fn close(shared: &Shared, slot: &mut Slot, lane: LaneId, excused: bool, local: &mut VecDeque<Delivery>) {
    retire(shared, slot, lane);
    for targets in &slot.routes {
        shared.send(targets, What::Closed { excused }, Instant::now(), Some(lane), local);
    }
    for sink in &slot.sinks {
        sink_closed(shared, sink, excused);
    }
}

/// Tells the source that a sink has closed. One whose inputs closed before their end has not finished what was in flight: a
/// source here gives it up, one elsewhere hears that it is gone.
fn sink_closed(shared: &Shared, sink: &SinkOf, excused: bool) {
    match (excused, sink.window) {
        (false, window) => shared.sink_finished(window, Progress::Closed),
        (true, Window::Gate(gate, id)) => {
            let of = &shared.gates[gate.0];
            of.gate.give_up(id);
            shared.wake(of.lane);
        }
        (true, Window::Remote(..)) => {}
    }
}

/// An input has closed, others have not: a source whose inputs have all closed waits no longer.
fn closed(shared: &Shared, slot: &mut Slot, port: usize, excused: bool) {
    let Some(sink) = slot.sinks.iter_mut().find(|sink| Some(sink.source) == slot.sources[port]) else { return };
    sink.open = sink.open.saturating_sub(1);
    if sink.open == 0 && slot.sources.iter().flatten().any(|source| *source != sink.source) {
        sink_closed(shared, sink, excused);
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
