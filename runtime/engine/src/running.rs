//! Handle to a running flow: input of border messages, progress, stall detection, its end and its report.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use sideline_api::{Error, Message, Mode, SourceId, config::Key};
use sideline_graph::plan::Plan;

use crate::{
    CloseReason,
    counts::FrameCounts,
    gate::{self, SinkId, SinkProgress, StallDeadlines},
    meter::{self, FrameMismatch, NodeReport, Quantiles, Report, RunStatus, SourceReport, StopCause},
    settings::SettingLog,
    shared::{Delivery, EdgeEvent, GateId, LaneActivity, OverdueWork, Shared, Target, WindowId, Work},
    wiring::SlotTable,
};

/// Time that threads have to exit after a failure. Threads that are still running then are detached and named in the
/// log.
const THREAD_EXIT_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval at which the waiting thread checks the run.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Running flow, or the part of it in this process.
pub struct Running {
    pub(crate) plan: Plan,
    pub(crate) shared: Arc<Shared>,
    pub(crate) slots: SlotTable,
    /// Targets of each border input.
    pub(crate) border_targets: Vec<Vec<Target>>,
    /// Sinks at the gates of this process, for each entry of `Plan::remote_sinks`.
    pub(crate) remote_sinks: Vec<Vec<(GateId, SinkId)>>,
    pub(crate) threads: Mutex<Vec<Thread>>,
    /// Indices of threads that have ended.
    pub(crate) exits: Receiver<usize>,
    pub(crate) started_at: Instant,
    /// Cause of the stop, once the run was asked to stop.
    pub(crate) stop_cause: OnceLock<StopCause>,
    /// Set by the caller to end the run in order.
    pub(crate) stop_requested: Arc<AtomicBool>,
    /// Set by the caller while it holds the run back.
    pub(crate) is_held: Arc<AtomicBool>,
    pub(crate) setting_log: SettingLog,
    /// Configuration keys of each node.
    pub(crate) keys: Vec<Vec<Key>>,
    /// Peers that have been silent for too long.
    pub(crate) silent_peers: Mutex<Vec<String>>,
    /// Number of messages ignored on each border input.
    pub(crate) ignored: Mutex<BTreeMap<String, u64>>,
    /// Number of messages without a frame number on each border input.
    pub(crate) unnumbered: Mutex<BTreeMap<String, u64>>,
}

/// Role of a thread.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// Runs operators.
    Lane,
    /// Reads the streams of a source.
    Reader(GateId),
}

/// Thread of a run.
pub(crate) struct Thread {
    pub name: String,
    pub role: Role,
    pub handle: JoinHandle<()>,
}

/// Progress of a running flow.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct RunProgress {
    /// Time since the start, s.
    pub seconds: f64,
    /// Frames finished by every sink; in a process without a source, frames handled by the slowest operator.
    pub frames: u64,
    /// Frames dropped.
    #[serde(rename = "forgotten")]
    pub dropped: u64,
    /// Frames per second of the slowest operator.
    pub fps: f64,
    /// Time from the capture of a frame to the sending of outputs, at the operator with the highest 95th percentile.
    pub latency_ms: Quantiles,
    /// Errors and panics so far.
    pub errors: u64,
    /// Peers that have been silent for too long. The run is degraded while there are any.
    #[serde(rename = "silent", default)]
    pub silent_peers: Vec<String>,
}

impl Running {
    /// Returns the plan of the run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the number of streams of all sources of this process, as far as they are known.
    pub fn stream_count(&self) -> usize {
        self.shared.gates.iter().map(|source| source.gate.stream_count().max(1)).sum()
    }

    /// Delivers a message of border input number `input`.
    pub fn push_message(&self, input: usize, message: Message) {
        self.send_border_event(input, EdgeEvent::Message(message));
    }

    /// Closes a border input.
    pub fn close_input(&self, input: usize, reason: CloseReason) {
        self.send_border_event(input, EdgeEvent::Closed { reason });
    }

    fn send_border_event(&self, input: usize, event: EdgeEvent) {
        let mut no_lane = VecDeque::<Delivery>::new();
        self.shared.send(&self.border_targets[input], event, Instant::now(), None, &mut no_lane);
    }

    pub(crate) fn threads(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the progress of the sinks of another process with the entries of a source. `remote`: index into
    /// `Plan::remote_sinks`.
    pub fn record_sink_progress(&self, remote: usize, source: SourceId, progress: SinkProgress) {
        for (gate, sink) in &self.remote_sinks[remote] {
            if self.shared.gates[gate.0].source == source {
                self.shared.record_sink_progress(WindowId::Gate(*gate, *sink), progress);
            }
        }
    }

    /// Handles the end of a process that hosts sinks: fails the run unless the sinks had closed. `remote`: index into
    /// `Plan::remote_sinks`.
    pub fn handle_sink_process_exit(&self, remote: usize) {
        for (gate, sink) in &self.remote_sinks[remote] {
            if let Some(sink) = self.shared.gates[gate.0].gate.unclosed_sink(*sink) {
                let text = format!(
                    "node `{}` ended before the stream did: {}; its own result and log give the reason",
                    sink.node,
                    sink.progress.describe()
                );
                self.shared.fail(Error::other(text).as_consequence());
            }
        }
    }

    /// Returns true when no entry of a source is in flight; false for a source of another process, where this is not
    /// known.
    pub fn is_idle(&self, source: SourceId) -> bool {
        self.shared.gates.iter().any(|gate| gate.source == source && gate.gate.is_idle())
    }

    /// Returns true while an operator of this process is being restarted, for which it has the start timeout.
    pub fn is_restarting(&self) -> bool {
        self.shared.activity.iter().any(LaneActivity::is_restarting)
    }

    /// Restarts the stall timers of all windows: they have a known reason to stand still.
    pub fn restart_stall_timers(&self) {
        self.shared.gates.iter().for_each(|source| source.gate.restart_stall_timer());
    }

    /// Returns true when this process has a source.
    pub fn has_source(&self) -> bool {
        !self.shared.gates.is_empty()
    }

    /// Returns true once the run was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop_cause.get().is_some()
    }

    /// Returns true once the run has failed.
    pub fn has_failed(&self) -> bool {
        self.shared.is_aborted()
    }

    /// Counts a message of a foreign node that has no frame number, and logs the first one.
    pub fn count_unnumbered(&self, input: &str) {
        let mut unnumbered = self.unnumbered.lock().unwrap_or_else(PoisonError::into_inner);
        let count = unnumbered.entry(input.to_owned()).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(input, "messages of a foreign node have no `sl_frame`: their `frame` counts arrivals");
        }
    }

    /// Counts a message that is ignored on a border input, and logs the first one with its reason.
    pub fn count_ignored(&self, input: &str, reason: &str) {
        let mut ignored = self.ignored.lock().unwrap_or_else(PoisonError::into_inner);
        let count = ignored.entry(input.to_owned()).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(input, reason, "a message of a foreign node is ignored");
        }
    }

    /// Sets the peers that have been silent for too long. An empty list ends the degraded state.
    pub fn set_silent_peers(&self, peers: Vec<String>) {
        *self.silent_peers.lock().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    /// Stops the run in order on request: sources end, frames in flight are finished, files are closed.
    pub fn stop(&self) {
        self.stop_because(StopCause::Request);
    }

    /// Stops the run in order. The first cause is reported.
    fn stop_because(&self, cause: StopCause) {
        let _ = self.stop_cause.set(cause);
        self.shared.stop_sources();
    }

    /// Stops the run in order because another process of it was stopped before its streams ended.
    pub fn stop_with_peer(&self) {
        self.stop_because(StopCause::Peer);
    }

    /// Handles the stop of a process that hosts sinks: unless they had closed, the sources of this process end. Frames
    /// that the sinks have not finished are reported as unfinished. `remote`: index into `Plan::remote_sinks`.
    pub fn handle_sink_process_stop(&self, remote: usize) {
        let sinks = &self.remote_sinks[remote];
        if sinks.iter().all(|(gate, sink)| self.shared.gates[gate.0].gate.is_sink_closed(*sink)) {
            return;
        }
        self.stop_with_peer();
        self.give_up_sinks(sinks);
    }

    /// Closes the channel of timing rows, so that their writer can finish. Call it after [`Running::wait`].
    pub fn close_timing(&self) {
        self.shared.timing.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Gives up the sinks of other processes, which will report no more progress. Frames that they have not finished
    /// are reported as unfinished.
    pub fn give_up_remote_sinks(&self) {
        self.remote_sinks.iter().for_each(|sinks| self.give_up_sinks(sinks));
    }

    fn give_up_sinks(&self, sinks: &[(GateId, SinkId)]) {
        for (gate, sink) in sinks {
            self.shared.gates[gate.0].gate.give_up_sink(*sink);
            self.shared.wake(self.shared.gates[gate.0].lane);
        }
    }

    /// Ends the run with a failure.
    pub fn fail(&self, error: Error) {
        self.shared.fail(error);
    }

    /// Returns the progress of the run. Takes the locks of all gates and meters.
    pub fn progress(&self) -> RunProgress {
        let gates = self.shared.gates.iter().map(|source| &source.gate);
        let mut progress = RunProgress {
            seconds: self.started_at.elapsed().as_secs_f64(),
            frames: gates.clone().map(|gate| gate.finished_frames()).sum(),
            dropped: gates.map(|gate| gate.counts().dropped).sum(),
            fps: 0.0,
            latency_ms: Quantiles::default(),
            errors: 0,
            silent_peers: self.silent_peers.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        let mut fewest_frames = u64::MAX;
        for (node, meter) in self.plan.nodes.iter().zip(&self.shared.meters) {
            if node.is_source {
                continue;
            }
            let meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            progress.errors += meter.counts.failures();
            if meter.counts.handled() < fewest_frames {
                fewest_frames = meter.counts.handled();
                progress.fps = meter.fps();
            }
            let latency = meter.latency_ms();
            if latency.p95 >= progress.latency_ms.p95 {
                progress.latency_ms = latency;
            }
        }
        if !self.has_source() && fewest_frames != u64::MAX {
            progress.frames = fewest_frames;
        }
        progress
    }

    /// Waits for the end of the run and returns its report. Fails the run when an operator or a window makes no
    /// progress within its deadline.
    pub fn wait(&self) -> Report {
        let threads = std::mem::take(&mut *self.threads());
        let mut remaining: Vec<Option<Thread>> = threads.into_iter().map(Some).collect();
        let mut deadline: Option<Instant> = None;
        let mut held_at: Option<Instant> = None;
        while remaining.iter().any(Option::is_some) || !self.all_sinks_closed() {
            match self.exits.recv_timeout(POLL_INTERVAL) {
                Ok(index) => {
                    if let Some(thread) = remaining.get_mut(index).and_then(Option::take)
                        && thread.handle.join().is_err()
                    {
                        let text = format!("the thread of `{}` panicked; the message is above", thread.name);
                        self.shared.fail(Error::other(text));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(POLL_INTERVAL),
            }
            self.shared.time_base.refresh(&*self.shared.clock);
            if self.stop_requested.load(Ordering::SeqCst) && !self.is_stopping() {
                self.stop_because(StopCause::Signal);
            }
            if self.shared.is_aborted() {
                let exit_deadline = *deadline.get_or_insert_with(|| Instant::now() + THREAD_EXIT_TIMEOUT);
                // Lanes may wait for an inbox to which nothing is posted any more.
                self.shared.wake_all();
                if remaining.iter().all(Option::is_none) || Instant::now() > exit_deadline {
                    break;
                }
                continue;
            }
            // Readers whose frames are no longer wanted may hang in a camera.
            if self.only_ended_readers(&remaining)
                && Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + THREAD_EXIT_TIMEOUT)
            {
                break;
            }
            if self.is_held.load(Ordering::Relaxed) {
                held_at = Some(Instant::now());
            }
            // Work that was held back needs some time to finish after its release.
            match held_at.is_some_and(|at| at.elapsed() < self.plan.stall_timeout) {
                true => self.restart_stall_timers(),
                false => self.check_deadlines(),
            }
        }
        for thread in remaining.into_iter().flatten() {
            tracing::warn!(thread = %thread.name, "the thread did not end and is detached");
        }
        self.build_report()
    }

    /// Returns true when all remaining threads are readers whose frames are no longer wanted, and every sink has
    /// closed.
    fn only_ended_readers(&self, remaining: &[Option<Thread>]) -> bool {
        let has_ended = |thread: &Thread| match thread.role {
            Role::Lane => false,
            Role::Reader(gate) => self.shared.gates[gate.0].gate.is_over(),
        };
        remaining.iter().flatten().all(has_ended) && self.all_sinks_closed()
    }

    /// Returns true when the sinks of other processes have closed. Those of this process have closed once their lanes
    /// end.
    fn all_sinks_closed(&self) -> bool {
        self.shared.gates.iter().all(|source| source.gate.is_drained() || self.plan.remote_sinks.is_empty())
    }

    /// Fails the run when an operator or a window has exceeded its deadline.
    fn check_deadlines(&self) {
        let deadlines = StallDeadlines { stall: self.plan.stall_timeout, start: self.plan.start_timeout };
        for activity in &self.shared.activity {
            if let Some(work) = activity.overdue_work(&self.shared.time_base, deadlines.stall, deadlines.start) {
                self.shared.fail(Error::other(self.describe_hang(&work)));
            }
        }
        if self.is_restarting() {
            self.restart_stall_timers();
        }
        // Another process without sinks cannot report that it restarts an operator, so allow the start timeout in
        // `live` mode, where operators are restarted. Such a process checks its own deadlines.
        let may_restart_remotely = self.plan.mode == Mode::Live && !self.plan.remote_sinks.is_empty();
        let stall = if may_restart_remotely { deadlines.stall.max(deadlines.start) } else { deadlines.stall };
        let deadlines = StallDeadlines { stall, ..deadlines };
        for source in &self.shared.gates {
            let Some(sink) = source.gate.stalled_sink(deadlines) else { continue };
            // The sink hangs, or a node before it. If that node is in another process, that process reports it itself.
            let seconds = deadlines.stall.as_secs_f64();
            let text = format!(
                "node `{}` reported nothing for {seconds} s (SIDELINE_STALL_S): {}",
                sink.node,
                sink.progress.describe()
            );
            let error = Error::other(text);
            self.shared.fail(if sink.is_remote { error.as_consequence() } else { error });
        }
    }

    /// Formats the failure of an operator that exceeded a deadline.
    fn describe_hang(&self, overdue: &OverdueWork) -> String {
        let node = self.shared.node_id(overdue.node);
        let seconds = overdue.deadline.as_secs_f64();
        if let Some(output) = overdue.border_output {
            let output = &self.plan.border_outputs[output].name;
            return format!(
                "node `{node}`: output `{output}` has waited for the transport for {seconds} s (SIDELINE_STALL_S)"
            );
        }
        let times = gate::CLOSING_TIMEOUT_FACTOR;
        match overdue.work {
            Work::Frame(frame) => {
                format!("node `{node}` did not answer for {seconds} s (SIDELINE_STALL_S), since frame {frame}")
            }
            Work::End => format!(
                "node `{node}` did not finish the end of a stream within {seconds} s ({times} times SIDELINE_STALL_S)"
            ),
            Work::Close => format!("node `{node}` did not close within {seconds} s ({times} times SIDELINE_STALL_S)"),
            Work::Setting => {
                format!(
                    "node `{node}` did not answer for {seconds} s (SIDELINE_STALL_S), since a key was to be changed"
                )
            }
            Work::Restart => format!("node `{node}` was not restarted within {seconds} s (SIDELINE_START_S)"),
        }
    }

    /// Builds the report and checks the frame accounting.
    fn build_report(&self) -> Report {
        for source in &self.shared.gates {
            source.gate.drop_waiting();
            if let Some(error) = source.gate.reader_failure() {
                self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
        let sources: Vec<SourceReport> = self
            .shared
            .gates
            .iter()
            .map(|source| {
                // Read before the counts, which may still grow if a thread was detached.
                let finished = source.gate.finished_frames();
                let counts = source.gate.counts();
                SourceReport {
                    node: self.shared.node_id(source.node).to_owned(),
                    counts,
                    unfinished: counts.admitted - finished,
                    streams: source.gate.stream_reports(),
                    cpu_s: self.shared.meter(source.node).cpu.as_secs_f64(),
                }
            })
            .collect();
        let mut nodes: Vec<NodeReport> = Vec::new();
        let mut mismatches = Vec::new();
        for (node, meter) in self.plan.nodes.iter().zip(&self.shared.meters).filter(|(node, _)| !node.is_source) {
            let meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            for FrameMismatch { stream, handled, frames } in &meter.mismatches {
                mismatches
                    .push(format!("node `{}` handled {handled} of {frames} frames of stream `{stream}`", node.id));
            }
            // A stream that was cut short has no end to compare with, but every node must have handled the frames that
            // every sink has finished.
            let sources = node.inputs.iter().filter_map(|input| input.wired.alignment.source());
            let (handled, finished) = (meter.counts.handled(), self.finished_frames(sources.collect()));
            if handled < finished {
                mismatches.push(format!("node `{}` handled {handled} of {finished} frames", node.id));
            }
            nodes.push(meter.report(&node.id, &node.operator));
        }
        for source in &sources {
            let FrameCounts { decoded, admitted, dropped } = source.counts;
            if !source.counts.is_balanced() {
                mismatches.push(format!(
                    "source `{}` decoded {decoded} frames, admitted {admitted}, dropped {dropped}",
                    source.node
                ));
            }
        }
        let stop_cause = self.stop_cause.get().copied();
        let is_stopped = stop_cause.is_some();
        let mut failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if failure.is_none() && !mismatches.is_empty() {
            failure = Some(Error::other(format!("frame accounting mismatch: {}", mismatches.join("; "))));
        }
        let changes = self.changes();
        let is_clean = failure.is_none() && nodes.iter().all(|node| node.counts.failures() == 0) && changes.is_empty();
        // The messages of side and feedback inputs depend on their time of arrival.
        let mut inputs = self.plan.nodes.iter().flat_map(|node| &node.inputs);
        let all_aligned = inputs.all(|input| input.wired.alignment.is_aligned());
        Report {
            status: match (&failure, is_stopped) {
                (Some(_), _) => RunStatus::Partial,
                (None, true) => RunStatus::Stopped,
                (None, false) => RunStatus::Done,
            },
            stopped_at_frame: (is_stopped && !sources.is_empty())
                .then(|| sources.iter().map(SourceReport::finished).sum()),
            stop_cause,
            failure,
            mode: self.plan.mode,
            reproducible: self.plan.mode == Mode::Complete && is_clean && all_aligned && !is_stopped,
            sources,
            nodes,
            ignored: self.ignored.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            unnumbered: self.unnumbered.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            changes,
            wall_s: self.started_at.elapsed().as_secs_f64(),
            cpu_s: meter::process_cpu().as_secs_f64(),
            peak_memory: meter::peak_memory(),
        }
    }

    /// Returns the number of frames of these sources that every sink has finished; sources of other processes count as
    /// 0.
    fn finished_frames(&self, mut sources: Vec<SourceId>) -> u64 {
        sources.sort_unstable();
        sources.dedup();
        let gates = self.shared.gates.iter().filter(|gate| sources.contains(&gate.source));
        gates.map(|gate| gate.gate.finished_frames()).sum()
    }
}
