//! A lane: one thread and the operators that live on it.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Instant,
};

use crossbeam_channel::Receiver;
use sideline_api::{
    Body, Error, Message, Payload, Runnable,
    driver::{Outcome, Outlet, Ran},
};

use crate::{
    Change,
    gate::{Admission, CLOSED},
    meter,
    shared::{Delivery, LeafOf, Post, Setting, Shared, SideQueue, Target, TimingRow, What},
};

/// Timing rows gathered before they are handed on.
const TIMING_BATCH: usize = 512;

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
    /// It has side inputs.
    pub side: bool,
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
    /// Names of the outputs.
    pub outputs: Vec<&'static str>,
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
            for queue in &self.side {
                for (what, sent) in queue.take() {
                    local.push_back(Delivery { slot: queue.slot, port: queue.port, what, sent });
                }
            }
            self.work(shared, &mut local, &mut timing);
            if self.admit(shared, &mut local) {
                self.work(shared, &mut local, &mut timing);
                // A source that always has a frame must not keep out what else there is to do.
                if let Ok(post) = self.inbox.try_recv() {
                    self.take(shared, post, &mut local);
                }
                continue;
            }
            if self.sources.is_empty() && self.slots.iter().all(|slot| !slot.open) {
                break;
            }
            match self.inbox.recv() {
                Ok(post) => self.take(shared, post, &mut local),
                Err(_) => break,
            }
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.open) {
            // A run that was cut short leaves its figures too.
            shared.meter(slot.node).side_forgotten = slot.driver.side_forgotten();
            if let Err(error) = slot.driver.close() {
                shared.fail(error);
            }
            shared.meter(slot.node).own = slot.driver.counts();
        }
        flush(shared, &mut timing);
    }

    fn take(&mut self, shared: &Shared, post: Post, local: &mut VecDeque<Delivery>) {
        match post {
            Post::Deliver(delivery) => local.push_back(delivery),
            Post::Wake => {}
            Post::Set(Setting { claimed, .. }) if claimed.swap(true, Ordering::AcqRel) => {}
            Post::Set(Setting { slot, key, value, reply, .. }) => {
                let slot = &mut self.slots[slot];
                let node = slot.node;
                let changed = slot.driver.set(&key, value).map(|change| Change {
                    node: shared.names[node].clone(),
                    key,
                    old: change.old,
                    new: change.new,
                    from_frame: shared.meter(node).next_frames(),
                });
                let _ = reply.send(changed);
            }
        }
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
            // At the end of a stream files are finished and encoders flushed: that may take as long as closing.
            let frame = (!matches!(message.body, Body::End)).then_some(message.header.frame);
            busy.begin(&shared.base, slot.node, frame);
            let result = slot.driver.accept(port, message, sent, &mut outlet);
            busy.end();
            let (sent, ran) = (outlet.sent, outlet.ran);
            {
                let mut meter = shared.meter(slot.node);
                meter.came(port);
                meter.sent += sent;
                if slot.side {
                    meter.side_forgotten = slot.driver.side_forgotten();
                }
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
                Admission::End(headers, closing) => {
                    for (targets, output) in source.routes.iter().zip(&source.outputs) {
                        let mut n = source.n;
                        for header in &headers {
                            let last = closing.iter().find(|c| c.stream == header.stream && c.output == *output);
                            let last = last.map(|closing| Body::Data(Payload::Table(closing.rows.clone())));
                            for body in last.into_iter().chain([Body::End]) {
                                let message = Message { header: header.clone(), n, body };
                                shared.send(targets, What::Message(message), now, self.number, local);
                                n += 1;
                            }
                        }
                        shared.send(targets, What::Closed { excused: false }, now, self.number, local);
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

/// Closes an operator and the edges that leave it.
fn close(shared: &Shared, slot: &mut Slot, lane: usize, excused: bool, local: &mut VecDeque<Delivery>) {
    slot.open = false;
    shared.meter(slot.node).side_forgotten = slot.driver.side_forgotten();
    shared.busy[lane].begin(&shared.base, slot.node, None);
    if let Err(error) = slot.driver.close() {
        shared.fail(error);
    }
    shared.meter(slot.node).own = slot.driver.counts();
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
