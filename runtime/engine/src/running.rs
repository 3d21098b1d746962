//! A run that is under way: messages in, a look at it, settings, its end and its report.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use sideline_api::{Error, Message, Mode, config::Key};
use sideline_graph::plan::{Plan, RemoteLeaf};

use crate::{
    Change, gate,
    meter::{self, NodeReport, Quantiles, Report, SourceReport, Status, StreamReport},
    shared::{Delivery, Shared, Target, What, Window},
    start::local_leaves,
};

/// How long threads get to end after a failure before they are left behind and named.
const GRACE: Duration = Duration::from_secs(3);

/// A run that is under way.
pub struct Running {
    pub(crate) plan: Plan,
    pub(crate) shared: Arc<Shared>,
    /// Where each node lives: lane and slot; none for sources.
    pub(crate) places: Vec<Option<(usize, usize)>>,
    pub(crate) border_targets: Vec<Vec<Target>>,
    pub(crate) threads: Mutex<Vec<(String, JoinHandle<()>)>>,
    pub(crate) exits: Receiver<usize>,
    pub(crate) began: Instant,
    pub(crate) user_stop: AtomicBool,
    /// Keys that were changed, in order.
    pub(crate) changes: Mutex<Vec<Change>>,
    /// The keys that each node has.
    pub(crate) keys: Vec<Vec<Key>>,
}

/// A look at a run under way.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Seconds since the start.
    pub seconds: f64,
    /// Frames finished by every leaf (without a source here: by the slowest operator).
    pub frames: u64,
    /// Frames forgotten.
    pub forgotten: u64,
    /// Frames a second at the slowest operator.
    pub fps: f64,
    /// Capture to output of the last operator.
    pub latency_ms: Quantiles,
    /// Errors and panics so far.
    pub errors: u64,
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
        let mut none = std::collections::VecDeque::<Delivery>::new();
        self.shared.send(&self.border_targets[input], what, Instant::now(), usize::MAX, &mut none);
    }

    /// The leaves of another process (index into `Plan::remote_leaves`) have finished `count` frames of a source.
    pub fn leaf_finished(&self, leaf: usize, source: usize, count: u64) {
        for (gate, at) in self.remote(leaf).filter(|(gate, _)| self.shared.gates[*gate].source == source) {
            self.shared.leaf_finished(Window::Gate(gate, at), count);
        }
    }

    /// The process of a leaf has ended: a failure, unless the leaf had closed before.
    pub fn leaf_gone(&self, leaf: usize) {
        for (gate, at) in self.remote(leaf) {
            if let Some(leaf) = self.shared.gates[gate].gate.leaf_gone(at) {
                let last = match leaf.finished {
                    0 => "no frame".to_owned(),
                    n => format!("frame {}", n - 1),
                };
                let text = format!(
                    "node `{}` ended before the stream did; the last it finished was {last}. \
                     Its own result and log say why",
                    leaf.node
                );
                self.shared.fail(Error::other(text).as_consequence());
            }
        }
    }

    /// Gates and places in them of the leaves of another process, which stand behind the leaves of this one.
    fn remote(&self, leaf: usize) -> impl Iterator<Item = (usize, usize)> {
        let remote = &self.plan.remote_leaves;
        self.shared.gates.iter().enumerate().filter_map(move |(gate, of)| {
            let waits = |leaf: &&RemoteLeaf| leaf.sources.contains(&of.source);
            remote.get(leaf).filter(waits)?;
            let before = remote[..leaf].iter().filter(waits).count();
            Some((gate, local_leaves(&self.plan, of.source).count() + before))
        })
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

    /// Other processes will not answer any more: nothing waits for their leaves.
    pub fn release_remote_leaves(&self) {
        for (leaf, of) in self.plan.remote_leaves.iter().enumerate() {
            for source in &of.sources {
                self.leaf_finished(leaf, *source, gate::CLOSED);
            }
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
        };
        let mut slowest = u64::MAX;
        for (node, meter) in self.plan.nodes.iter().zip(&self.shared.meters) {
            if node.is_source {
                continue;
            }
            let meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            progress.errors += meter.errors + meter.panics;
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

    /// Waits for the end and tells how it went. Ends by itself when the window stands still for the stall time.
    pub fn wait(&self) -> Report {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut left: Vec<Option<(String, JoinHandle<()>)>> = threads.into_iter().map(Some).collect();
        let mut deadline: Option<Instant> = None;
        while left.iter().any(Option::is_some) || !self.drained() {
            match self.exits.recv_timeout(Duration::from_millis(20)) {
                Ok(thread) => {
                    if let Some((name, handle)) = left[thread].take()
                        && handle.join().is_err()
                    {
                        let text = format!("the thread of `{name}` panicked; the message is above");
                        self.shared.fail(Error::other(text));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(20)),
            }
            if self.shared.aborted() {
                let until = *deadline.get_or_insert_with(|| Instant::now() + GRACE);
                // Wakes may have been lost on full inboxes that nobody reads any more.
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
        for (name, _) in left.into_iter().flatten() {
            tracing::warn!(thread = %name, "did not end; it is left behind");
        }
        self.report()
    }

    /// True when all that still runs are readers of sources that were stopped, and whose streams have ended.
    fn only_unwanted(&self, left: &[Option<(String, JoinHandle<()>)>]) -> bool {
        let readers = left.len() - self.shared.gates.len();
        left.iter()
            .enumerate()
            .all(|(at, thread)| thread.is_none() || at >= readers && self.shared.gates[at - readers].gate.over())
            && self.drained()
    }

    /// True when every leaf, also of other processes, has closed.
    fn drained(&self) -> bool {
        self.shared.gates.iter().all(|of| of.gate.drained() || self.plan.remote_leaves.is_empty())
    }

    /// Fails the run when an operator, or a window, has stood still for too long.
    fn watch(&self) {
        let patience = self.plan.stall;
        let seconds = patience.as_secs_f64();
        for busy in &self.shared.busy {
            if let Some(stuck) = busy.stuck(&self.shared.base, patience) {
                let node = &self.plan.nodes[stuck.node].id;
                self.shared.fail(Error::other(match stuck.frame {
                    Some(frame) => {
                        format!("node `{node}` did not answer for {seconds} s (SIDELINE_STALL_S), since frame {frame}")
                    }
                    None => format!(
                        "node `{node}` did not close within {} s ({} times SIDELINE_STALL_S)",
                        stuck.patience.as_secs_f64(),
                        gate::CLOSING
                    ),
                }));
            }
        }
        for of in &self.shared.gates {
            let Some(leaf) = of.gate.stalled(patience) else { continue };
            let last = match leaf.finished {
                0 => "it has finished no frame".to_owned(),
                n => format!("the last frame it finished was {}", n - 1),
            };
            // What hangs is it, or a node before it; where that is another process, that one says so itself.
            let text = format!("node `{}` reported nothing for {seconds} s (SIDELINE_STALL_S): {last}", leaf.node);
            let here = self.plan.nodes.iter().any(|node| node.id == leaf.node);
            let error = Error::other(text);
            self.shared.fail(if here { error } else { error.as_consequence() });
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
                    node: self.plan.nodes[of.node].id.clone(),
                    decoded: counts.decoded,
                    admitted: counts.admitted,
                    forgotten: counts.forgotten,
                    streams: of.gate.streams().into_iter().map(StreamReport::from).collect(),
                    cpu_s: self.shared.meter(of.node).cpu.as_secs_f64(),
                }
            })
            .collect();
        let mut nodes: Vec<NodeReport> = Vec::new();
        let mut wrong = Vec::new();
        for (node, meter) in self.plan.nodes.iter().zip(&self.shared.meters) {
            if node.is_source {
                continue;
            }
            let meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            let ordinary = node.inputs.iter().any(|input| input.wired.alignment.is_ordinary());
            if let Some(expected) = meter.expected
                && ordinary
                && meter.handled() != expected
            {
                wrong.push(format!("node `{}` handled {} of {expected} frames", node.id, meter.handled()));
            }
            nodes.push(meter.report(&node.id, &node.operator));
        }
        for source in &sources {
            if source.decoded != source.admitted + source.forgotten {
                wrong.push(format!(
                    "source `{}` decoded {} frames, admitted {}, forgot {}",
                    source.node, source.decoded, source.admitted, source.forgotten
                ));
            }
        }
        let stopped = self.user_stop.load(Ordering::SeqCst);
        let mut failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if failure.is_none() && !wrong.is_empty() && !stopped {
            failure = Some(Error::other(format!("the books do not balance: {}", wrong.join("; "))));
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
            stopped_at_frame: stopped.then(|| sources.iter().map(|source| source.admitted).max().unwrap_or(0)),
            failure,
            mode: self.plan.mode,
            reproducible: self.plan.mode == Mode::Complete && clean && ordered && !stopped,
            sources,
            nodes,
            changes,
            wall_s: self.began.elapsed().as_secs_f64(),
            cpu_s: meter::process_cpu().as_secs_f64(),
            peak_memory: meter::peak_memory(),
        }
    }
}
