//! Outputs of a node: messages, progress of the sinks, and heartbeats.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arrow_array::UInt8Array;
use dora_node_api::{DoraNode, IntoArrow, MetadataParameters, Parameter, dora_core::config::DataId};
use sideline_api::{Body, Error, Failure, Message, OrFail, Payload, Result, SourceId};
use sideline_engine::{Border, CloseReason, gate::SinkProgress};
use sideline_graph::plan::Plan;

use crate::{metadata, single_sender::SingleSender};

/// Output on which the sinks of a process report their progress to the source.
pub const DONE: &str = "done";
/// Parameter of `done`: number of finished entries of each source.
pub const FINISHED: &str = "sl_finished";
/// Parameter of `done`: sources whose sinks have all closed.
pub const CLOSED: &str = "sl_closed";
/// Parameter of `done`: true while an operator is being restarted.
pub const RESTARTING: &str = "sl_remaking";
/// Parameter of `done`: true once the process was stopped. Its sinks finish no further entry.
pub const STOPPED: &str = "sl_stopped";
/// Time without a message after which an output sends a heartbeat.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// Number of heartbeats that an output sends in a row while messages are in flight. More might push a message out of a
/// queue of dora.
const MAX_HEARTBEATS_IN_FLIGHT: u32 = 2;
/// Time after which a message that is still being sent is reported.
const SEND_WARNING: Duration = Duration::from_secs(2);

/// Outputs of a node; see the [module](self).
pub struct NodeOutputs {
    node: SingleSender<DoraNode>,
    done: DataId,
    names: Vec<DataId>,
    /// Progress of the sinks of this process, by source.
    progress: Mutex<Vec<SinkProgress>>,
    /// Time of the last message of each output, and the number of heartbeats since then.
    last_sent: Mutex<Vec<(Instant, u32)>>,
    /// Time of the last `done` message.
    last_done: Mutex<Instant>,
    /// True once the process was stopped.
    is_stopped: AtomicBool,
}

impl NodeOutputs {
    /// Creates the outputs of a plan's border.
    pub fn new(node: DoraNode, plan: &Plan) -> Self {
        let names: Vec<DataId> = plan.border_outputs.iter().map(|output| DataId::from(output.name.clone())).collect();
        let now = Instant::now();
        Self {
            node: SingleSender::new(node),
            done: DataId::from(DONE.to_owned()),
            last_sent: Mutex::new(vec![(now, 0); names.len()]),
            names,
            progress: Mutex::default(),
            last_done: Mutex::new(now),
            is_stopped: AtomicBool::new(false),
        }
    }

    /// Closes all outputs of a process that is not running.
    pub fn close_all(&self, reason: CloseReason) {
        for output in 0..self.names.len() {
            if let Err(error) = self.close(output, reason) {
                tracing::warn!(%error, "the stop could not be reported");
            }
        }
    }

    fn record_sent(&self, output: usize) {
        self.last_sent.lock().unwrap_or_else(PoisonError::into_inner)[output] = (Instant::now(), 0);
    }

    fn send_error(&self, output: usize, cause: impl std::fmt::Display) -> Error {
        Error::other(format!("output `{}` could not be sent: {cause}", self.names[output]))
    }
}

/// Sends heartbeats and the report of a stop, so that peers can tell an idle process from one that is gone or stopped.
pub trait HeartbeatSender {
    /// Sends a heartbeat on an output that has sent nothing for [`HEARTBEAT_INTERVAL`]. `is_idle`: no message is in
    /// flight that the heartbeat could push out of a queue.
    fn send_heartbeat(&self, output: usize, is_idle: bool);
    /// Repeats the progress of the sinks if it was not reported for [`HEARTBEAT_INTERVAL`]. `is_restarting`: an
    /// operator is being restarted, for which the source waits.
    fn send_done(&self, is_restarting: bool);
    /// Reports to the sources that this process was stopped and that its sinks finish no further entry. Every later
    /// `done` message repeats it. Call it after the run has ended.
    fn report_stopped(&self);
}

impl HeartbeatSender for NodeOutputs {
    fn send_heartbeat(&self, output: usize, is_idle: bool) {
        let mut last_sent = self.last_sent.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, heartbeats) = &mut last_sent[output];
        if at.elapsed() < HEARTBEAT_INTERVAL * (*heartbeats + 1) && !is_idle
            || at.elapsed() < HEARTBEAT_INTERVAL
            || !is_idle && *heartbeats >= MAX_HEARTBEATS_IN_FLIGHT
        {
            return;
        }
        let name = &self.names[output];
        // If a message is being sent, no heartbeat is needed.
        let result = self.node.try_send(name, |node| {
            if is_idle {
                *at = Instant::now();
            }
            *heartbeats += 1;
            node.send_output(name.clone(), metadata::for_heartbeat(), empty_payload())
        });
        if let Some(Err(error)) = result {
            tracing::debug!(output = name.as_str(), %error, "a heartbeat could not be sent");
        }
    }

    fn send_done(&self, is_restarting: bool) {
        if self.last_done.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < HEARTBEAT_INTERVAL {
            return;
        }
        if let Some((output, waited)) = self.node.take_overdue(SEND_WARNING) {
            tracing::warn!(
                "output `{output}` has waited {:.0} s for its readers; the other outputs of this node, and the progress \
                 of its sinks, wait behind it",
                waited.as_secs_f64()
            );
        }
        // A lane that waits for the transport may hold either lock.
        let Ok(progress) = self.progress.try_lock() else { return };
        let parameters = self.progress_parameters(&progress, is_restarting);
        let result = self.node.try_send(&self.done, |node| self.send_progress(node, parameters));
        if let Some(Err(error)) = result {
            tracing::debug!(%error, "a heartbeat could not be sent");
        }
    }

    fn report_stopped(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let parameters = self.progress_parameters(&progress, false);
        if let Err(error) = self.node.send(&self.done, |node| self.send_progress(node, parameters)) {
            tracing::warn!(%error, "the stop could not be reported to the source");
        }
    }
}

impl NodeOutputs {
    /// Returns the parameters of a `done` message: the progress of the sinks, by source.
    fn progress_parameters(&self, progress: &[SinkProgress], is_restarting: bool) -> MetadataParameters {
        let entries = progress.iter().map(|progress| match progress {
            SinkProgress::Finished(entries) => *entries as i64,
            SinkProgress::Closed => 0,
        });
        let closed = progress.iter().enumerate().filter(|(_, progress)| **progress == SinkProgress::Closed);
        MetadataParameters::from([
            (FINISHED.to_owned(), Parameter::ListInt(entries.collect())),
            (CLOSED.to_owned(), Parameter::ListInt(closed.map(|(source, _)| source as i64).collect())),
            (RESTARTING.to_owned(), Parameter::Bool(is_restarting)),
            (STOPPED.to_owned(), Parameter::Bool(self.is_stopped.load(Ordering::SeqCst))),
        ])
    }

    /// Sends a `done` message.
    fn send_progress(&self, node: &mut DoraNode, parameters: MetadataParameters) -> Result<()> {
        *self.last_done.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        node.send_output(self.done.clone(), parameters, empty_payload())
            .or_fail(Failure::Other, || format!("output `{DONE}` could not be sent"))
    }
}

impl Border for NodeOutputs {
    fn send(&self, output: usize, message: &Message) -> Result<()> {
        let name = &self.names[output];
        let parameters = metadata::for_message(message);
        let result = self.node.send(name, |node| match &message.body {
            Body::Data(Payload::Frame(frame)) => {
                node.send_output_raw(name.clone(), parameters, frame.packed_len(), |into| frame.pack_into(into))
            }
            Body::Data(Payload::Table(table)) => {
                let array: arrow_array::ArrayRef = table.clone();
                node.send_output(name.clone(), parameters, array)
            }
            Body::Skipped(_) | Body::End { .. } => node.send_output(name.clone(), parameters, empty_payload()),
        });
        self.record_sent(output);
        result.map_err(|cause| self.send_error(output, cause))
    }

    fn close(&self, output: usize, reason: CloseReason) -> Result<()> {
        let name = &self.names[output];
        let result =
            self.node.send(name, |node| node.send_output(name.clone(), metadata::for_close(reason), empty_payload()));
        self.record_sent(output);
        result.map_err(|cause| self.send_error(output, cause))
    }

    fn report_progress(&self, source: SourceId, progress: SinkProgress) -> Result<()> {
        // Every message holds the progress for all sources: dora's queues keep the newest ten messages, so those about
        // a fast source would push out the last one about a slow source. The lock is held until the message is sent, so
        // that messages leave in the order of the progress.
        let mut all_progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if all_progress.len() <= source.0 {
            all_progress.resize(source.0 + 1, SinkProgress::Finished(0));
        }
        all_progress[source.0] = progress;
        let parameters = self.progress_parameters(&all_progress, false);
        self.node.send(&self.done, |node| self.send_progress(node, parameters))
    }
}

/// Data of a message without payload.
fn empty_payload() -> impl IntoArrow {
    UInt8Array::from(Vec::<u8>::new())
}
