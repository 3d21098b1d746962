//! A run that is under way: messages in, a look at it, settings, its end and its report.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use sideline_api::{Error, Message, Mode, SourceId, config::Key};
use sideline_graph::plan::Plan;

use crate::{
    change::Changes,
    gate::{self, Patience, Progress as SinkProgress, SinkId},
    meter::{self, Mismatch, NodeReport, Quantiles, Report, SourceReport, Status, StreamReport},
    shared::{Busy, Delivery, GateId, Shared, Stuck, Target, What, Window, Work},
    start::Places,
};

/// Time that threads get to end after a failure before they are left behind and named.
const GRACE: Duration = Duration::from_secs(3);
/// How often the waiting thread looks at the run.
const LOOK: Duration = Duration::from_millis(20);

/// A run that is under way.
pub struct Running {
    pub(crate) plan: Plan,
    pub(crate) shared: Arc<Shared>,
    pub(crate) places: Places,
    pub(crate) border_targets: Vec<Vec<Target>>,
    /// Of each entry of `Plan::remote_sinks`, its sinks in the gates here.
    pub(crate) remote_sinks: Vec<Vec<(GateId, SinkId)>>,
    pub(crate) threads: Mutex<Vec<Thread>>,
    /// Numbers of the threads that have ended.
    pub(crate) exits: Receiver<usize>,
    pub(crate) began: Instant,
    pub(crate) user_stop: AtomicBool,
    /// Set by the host of the run, which wants it to end.
    pub(crate) asked_to_stop: Arc<AtomicBool>,
    /// Keys that were changed, in order.
    pub(crate) changes: Changes,
    /// The keys that each node has.
    pub(crate) keys: Vec<Vec<Key>>,
    /// Peers that have been silent for too long.
    pub(crate) silent: Mutex<Vec<String>>,
    /// Messages on border inputs that were left out.
    pub(crate) ignored: Mutex<BTreeMap<String, u64>>,
}

/// The work of a thread.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// Runs operators.
    Lane,
    /// Reads the streams of a source.
    Reader(GateId),
}

/// A thread of a run.
pub(crate) struct Thread {
    pub name: String,
    pub role: Role,
    pub handle: JoinHandle<()>,
}

/// Progress of a run under way.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Seconds since the start.
    pub seconds: f64,
    /// Frames finished by every sink (without a source here: by the slowest operator).
    pub frames: u64,
    /// Frames forgotten.
    pub forgotten: u64,
    /// Frames a second at the slowest operator.
    pub fps: f64,
    /// Capture to output of the last operator.
    pub latency_ms: Quantiles,
    /// Errors and panics so far.
    pub errors: u64,
    /// Peers that nothing has been heard of for too long: the run is degraded while there are any.
    #[serde(default)]
    pub silent: Vec<String>,
}

impl Running {
    /// The plan that runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Streams of all sources here, as far as they are known.
    pub fn streams(&self) -> usize {
        self.shared.gates.iter().map(|of| of.gate.streams().len().max(1)).sum()
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
        let mut none = VecDeque::<Delivery>::new();
        self.shared.send(&self.border_targets[input], what, Instant::now(), None, &mut none);
    }

    pub(crate) fn threads(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sinks of another process (index into `Plan::remote_sinks`) have come so far with the entries of a source.
    pub fn sink_finished(&self, remote: usize, source: SourceId, progress: SinkProgress) {
        for (gate, sink) in &self.remote_sinks[remote] {
            if self.shared.gates[gate.0].source == source {
                self.shared.sink_finished(Window::Gate(*gate, *sink), progress);
            }
        }
    }

    /// The process of a sink has ended: a failure, unless the sink had closed before.
    pub fn sink_gone(&self, remote: usize) {
        for (gate, sink) in &self.remote_sinks[remote] {
            if let Some(sink) = self.shared.gates[gate.0].gate.sink_gone(*sink) {
                let text = format!(
                    "node `{}` ended before the stream did; {}. Its own result and log say why",
                    sink.node,
                    sink.progress.last_finished()
                );
                self.shared.fail(Error::other(text).as_consequence());
            }
        }
    }

    /// True when nothing of a source is in flight; of a source of another process this is not known here.
    pub fn is_idle(&self, source: SourceId) -> bool {
        self.shared.gates.iter().any(|of| of.source == source && of.gate.is_idle())
    }

    /// True while an operator here is being made again, which has the time of a start.
    pub fn is_remaking(&self) -> bool {
        self.shared.busy.iter().any(Busy::is_remaking)
    }

    /// The windows stand still for a good reason: their time begins again.
    pub fn excuse(&self) {
        self.shared.gates.iter().for_each(|of| of.gate.excuse());
    }

    /// True when the process has a source.
    pub fn has_source(&self) -> bool {
        !self.shared.gates.is_empty()
    }

    /// True once the run was asked to end.
    pub fn is_stopping(&self) -> bool {
        self.user_stop.load(Ordering::SeqCst)
    }

    /// Counts a message on a border input that is left out, and tells the first one.
    pub fn ignore(&self, input: &str, why: &str) {
        let mut ignored = self.ignored.lock().unwrap_or_else(PoisonError::into_inner);
        let count = ignored.entry(input.to_owned()).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(input, why, "a message of a node that is not ours is left out");
        }
    }

    /// Tells which peers have been silent for too long; none ends the degraded state.
    pub fn set_silent(&self, peers: Vec<String>) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = peers;
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

    /// Other processes will not answer any more: nothing waits for their sinks. Frames that they have not finished stay
    /// unfinished in the report.
    pub fn release_remote_sinks(&self) {
        for (gate, sink) in self.remote_sinks.iter().flatten() {
            self.shared.gates[gate.0].gate.give_up(*sink);
            self.shared.wake(self.shared.gates[gate.0].lane);
        }
    }

    /// Ends the run with a failure.
    pub fn fail(&self, error: Error) {
        self.shared.fail(error);
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
            silent: self.silent.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        let mut slowest = u64::MAX;
        for (node, meter) in self.plan.nodes.iter().zip(&self.shared.meters) {
            if node.is_source {
                continue;
            }
            let meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            progress.errors += meter.errors + meter.panics + meter.end_faults;
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

    /// Waits for the end and returns the report. Ends by itself when the window stands still for the stall time.
    pub fn wait(&self) -> Report {
        let threads = std::mem::take(&mut *self.threads());
        let mut left: Vec<Option<Thread>> = threads.into_iter().map(Some).collect();
        let mut deadline: Option<Instant> = None;
        while left.iter().any(Option::is_some) || !self.drained() {
            match self.exits.recv_timeout(LOOK) {
                Ok(number) => {
                    if let Some(thread) = left.get_mut(number).and_then(Option::take)
                        && thread.handle.join().is_err()
                    {
                        let text = format!("the thread of `{}` panicked; the message is above", thread.name);
                        self.shared.fail(Error::other(text));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
            }
            self.shared.base.refresh(&*self.shared.clock);
            if self.asked_to_stop.load(Ordering::SeqCst) && !self.user_stop.load(Ordering::SeqCst) {
                self.stop();
            }
            if self.shared.aborted() {
                let until = *deadline.get_or_insert_with(|| Instant::now() + GRACE);
                // Lanes may wait in an inbox that nothing is posted to any more.
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
        for thread in left.into_iter().flatten() {
            tracing::warn!(thread = %thread.name, "did not end; it is left behind");
        }
        self.report()
    }

    /// True when all that still runs are readers of sources that were stopped, and whose streams have ended.
    fn only_unwanted(&self, left: &[Option<Thread>]) -> bool {
        let unwanted = |thread: &Thread| match thread.role {
            Role::Lane => false,
            Role::Reader(gate) => self.shared.gates[gate.0].gate.over(),
        };
        left.iter().flatten().all(unwanted) && self.drained()
    }

    /// True when every sink, also of other processes, has closed.
    fn drained(&self) -> bool {
        self.shared.gates.iter().all(|of| of.gate.drained() || self.plan.remote_sinks.is_empty())
    }

    /// Fails the run when an operator, or a window, has stood still for too long.
    fn watch(&self) {
        let patience = Patience { stall: self.plan.stall, start: self.plan.start };
        for busy in &self.shared.busy {
            if let Some(stuck) = busy.stuck(&self.shared.base, patience.stall, patience.start) {
                self.shared.fail(Error::other(self.hang(&stuck)));
            }
        }
        if self.is_remaking() {
            self.excuse();
        }
        // A process without sinks cannot say that it makes an operator again, which has the time of a start. It watches itself.
        let may_remake = self.plan.mode == Mode::Live && !self.plan.remote_sinks.is_empty();
        let stall = if may_remake { patience.stall.max(patience.start) } else { patience.stall };
        let patience = Patience { stall, ..patience };
        for of in &self.shared.gates {
            let Some(sink) = of.gate.stalled(patience) else { continue };
            // The sink hangs, or a node before it; where that is another process, that one says so itself.
            let seconds = patience.stall.as_secs_f64();
            let text = format!(
                "node `{}` reported nothing for {seconds} s (SIDELINE_STALL_S): {}",
                sink.node,
                sink.progress.last_finished()
            );
            let error = Error::other(text);
            self.shared.fail(if sink.remote { error.as_consequence() } else { error });
        }
    }

    /// The text about an operator that hangs.
    fn hang(&self, stuck: &Stuck) -> String {
        let node = self.shared.name(stuck.node);
        let seconds = stuck.patience.as_secs_f64();
        if let Some(output) = stuck.sending {
            let output = &self.plan.border_outputs[output].name;
            return format!(
                "node `{node}`: output `{output}` has waited for the transport for {seconds} s (SIDELINE_STALL_S)"
            );
        }
        let times = gate::CLOSING;
        match stuck.work {
            Work::Frame(frame) => {
                format!("node `{node}` did not answer for {seconds} s (SIDELINE_STALL_S), since frame {frame}")
            }
            Work::End => format!(
                "node `{node}` did not finish the end of a stream within {seconds} s ({times} times SIDELINE_STALL_S)"
            ),
            Work::Close => format!("node `{node}` did not close within {seconds} s ({times} times SIDELINE_STALL_S)"),
            Work::Setting => {
                format!("node `{node}` did not answer for {seconds} s (SIDELINE_STALL_S), since a key was to change")
            }
            Work::Remake => format!("node `{node}` was not made again within {seconds} s (SIDELINE_START_S)"),
        }
    }

    fn report(&self) -> Report {
        for of in &self.shared.gates {
            of.gate.abandon();
            if let Some(error) = of.gate.failure() {
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
                    node: self.shared.name(of.node).to_owned(),
                    decoded: counts.decoded,
                    admitted: counts.admitted,
                    forgotten: counts.forgotten,
                    unfinished: counts.admitted - counts.finished,
                    streams: of.gate.streams().into_iter().map(StreamReport::from).collect(),
                    cpu_s: self.shared.meter(of.node).cpu.as_secs_f64(),
                }
            })
            .collect();
        let mut nodes: Vec<NodeReport> = Vec::new();
        let mut wrong = Vec::new();
        for (node, meter) in self.plan.nodes.iter().zip(&self.shared.meters).filter(|(node, _)| !node.is_source) {
            let meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            for Mismatch { stream, handled, frames } in &meter.mismatches {
                wrong.push(format!("node `{}` handled {handled} of {frames} frames of stream `{stream}`", node.id));
            }
            // Of a stream that was cut short there is no end to compare with: a frame that every sink has finished passed
            // here too.
            let sources = node.inputs.iter().filter_map(|input| input.wired.alignment.source());
            let (handled, least) = (meter.handled(), self.finished(sources.collect()));
            if handled < least {
                wrong.push(format!("node `{}` handled {handled} of {least} frames", node.id));
            }
            nodes.push(meter.report(&node.id, &node.operator));
        }
        for source in &sources {
            if source.decoded != source.admitted + source.forgotten {
                wrong.push(format!(
                    "source `{}` decoded {} frames, admitted {}, dropped {}",
                    source.node, source.decoded, source.admitted, source.forgotten
                ));
            }
        }
        let stopped = self.user_stop.load(Ordering::SeqCst);
        let mut failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if failure.is_none() && !wrong.is_empty() {
            failure = Some(Error::other(format!("frame accounting mismatch: {}", wrong.join("; "))));
        }
        let changes = self.changes();
        let clean = failure.is_none() && nodes.iter().all(|node| node.errors + node.panics == 0) && changes.is_empty();
        // What is read when it is there depends on when it came.
        let mut inputs = self.plan.nodes.iter().flat_map(|node| &node.inputs);
        let ordered = inputs.all(|input| input.wired.alignment.is_ordinary());
        Report {
            status: match (&failure, stopped) {
                (Some(_), _) => Status::Partial,
                (None, true) => Status::Stopped,
                (None, false) => Status::Done,
            },
            stopped_at_frame: sources.iter().map(|s| s.admitted - s.unfinished).max().filter(|_| stopped),
            failure,
            mode: self.plan.mode,
            reproducible: self.plan.mode == Mode::Complete && clean && ordered && !stopped,
            sources,
            nodes,
            ignored: self.ignored.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            changes,
            wall_s: self.began.elapsed().as_secs_f64(),
            cpu_s: meter::process_cpu().as_secs_f64(),
            peak_memory: meter::peak_memory(),
        }
    }

    /// Frames of these sources that every sink has finished, as far as they are sources of this process.
    fn finished(&self, mut sources: Vec<SourceId>) -> u64 {
        sources.sort_unstable();
        sources.dedup();
        let gates = self.shared.gates.iter().filter(|of| sources.contains(&of.source));
        gates.map(|of| of.gate.counts().finished).sum()
    }
}
