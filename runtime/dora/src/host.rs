//! Event loop of a node: passes events of dora, or of a test, to the run.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_array::ArrayRef;
use dora_node_api::{MetadataParameters, Parameter};
use serde_json::Value;
use sideline_api::{Error, Result, SourceId, clock::Clock};
use sideline_engine::{CloseReason, Running, gate::SinkProgress};
use sideline_graph::plan::{Plan, Producer};

use crate::{
    metadata::{self, Received},
    outputs::{CLOSED, FINISHED, HEARTBEAT_INTERVAL, HeartbeatSender, RESTARTING, STOPPED},
    peers::Peers,
};

/// Time within which the end of an input must arrive after dora has reported its sender gone. Data and that report take
/// different paths, so one may overtake the other.
pub const END_TIMEOUT: Duration = Duration::from_secs(2);
/// Time after dora has reported a foreign sender gone, or after its last message since then, at which its input closes.
const FOREIGN_END_TIMEOUT: Duration = Duration::from_millis(500);

/// Event of a node.
#[derive(Debug)]
pub enum NodeEvent {
    /// Message on an input.
    Message {
        /// Id of the input.
        input: String,
        /// Metadata of the message.
        parameters: MetadataParameters,
        /// Data of the message.
        data: ArrayRef,
    },
    /// dora has closed an input because its sender is gone.
    SenderGone {
        /// Id of the input.
        input: String,
    },
    /// The dataflow is being stopped.
    Stop,
    /// Request to change a live setting.
    Set {
        /// Key of the setting.
        key: String,
        /// New value.
        value: Value,
    },
    /// Warning of dora, which is logged and has no other effect.
    Warning(String),
}

/// State of a border input.
#[derive(Default)]
struct InputState {
    /// Stream of the last message; shared with the next message of the same stream.
    stream: Arc<str>,
    /// Id of the sending node.
    sender: String,
    source: Option<SourceId>,
    /// Number of messages of a foreign sender, which does not number them itself.
    received: u64,
    /// Time at which dora reported the sender gone.
    sender_gone_at: Option<Instant>,
    /// True once the input was closed in the run.
    is_closed: bool,
}

/// State of the event loop.
pub struct Host<'a> {
    running: &'a Running,
    heartbeat_sender: &'a dyn HeartbeatSender,
    clock: &'a dyn Clock,
    /// Id of this node.
    node: String,
    inputs: Vec<InputState>,
    peers: Peers,
    is_stopping: bool,
    /// True once the end of the run was reported to the sources.
    is_end_reported: bool,
    /// Time of the last heartbeats and check of the peers.
    last_check: Instant,
}

impl<'a> Host<'a> {
    /// Creates the state of the event loop of node `node`.
    pub fn new(
        running: &'a Running,
        heartbeat_sender: &'a dyn HeartbeatSender,
        clock: &'a dyn Clock,
        node: String,
        now: Instant,
    ) -> Self {
        let plan = running.plan();
        let mut peers = Peers::new(now);
        plan.remote_sinks.iter().for_each(|sink| peers.add_input(&sink.node));
        let mut inputs = vec![];
        for (at, border) in plan.border_inputs.iter().enumerate() {
            let sender = border.from.split('/').next().unwrap_or_default();
            let source = source_of(plan, at);
            // A foreign node sends no heartbeats.
            if !border.foreign {
                peers.add_input(sender);
            }
            inputs.push(InputState { sender: sender.into(), source, ..InputState::default() });
        }
        Host {
            running,
            heartbeat_sender,
            clock,
            node,
            inputs,
            peers,
            is_stopping: false,
            is_end_reported: false,
            last_check: now,
        }
    }

    /// Handles an event.
    pub fn handle(&mut self, event: NodeEvent, now: Instant) {
        match event {
            NodeEvent::Message { input, parameters, data } => {
                if let Err(error) = self.handle_message(&input, &parameters, &data, now) {
                    self.running.fail(error.at(format_args!("input `{input}`")));
                }
            }
            NodeEvent::SenderGone { input } => self.record_sender_gone(&input, now),
            NodeEvent::Stop => {
                self.is_stopping = true;
                self.running.stop();
            }
            NodeEvent::Set { key, value } => change_setting(self.running, &self.node, &key, value),
            NodeEvent::Warning(text) => tracing::warn!(%text, "dora"),
        }
    }

    fn handle_message(
        &mut self,
        id: &str,
        parameters: &MetadataParameters,
        data: &ArrayRef,
        now: Instant,
    ) -> Result<()> {
        let plan = self.running.plan();
        if let Some(remote) = plan.remote_sinks.iter().position(|sink| sink.input == id) {
            self.peers.record_message(&plan.remote_sinks[remote].node, now);
            return self.record_sink_progress(remote, parameters);
        }
        // Several operators of a fused module may read one input; each has a border entry of its own.
        for at in (0..plan.border_inputs.len()).filter(|at| plan.border_inputs[*at].name == id) {
            if plan.border_inputs[at].foreign {
                self.handle_foreign_message(at, parameters, data);
                if let Some(gone_at) = &mut self.inputs[at].sender_gone_at {
                    *gone_at = now;
                }
                continue;
            }
            let input = &mut self.inputs[at];
            self.peers.record_message(&input.sender, now);
            match metadata::parse_message(parameters, data, &mut input.stream)? {
                Received::Message(message) => self.running.push_message(at, message),
                Received::Heartbeat => self.relay_heartbeat(at),
                Received::Close(reason) => {
                    if reason == CloseReason::Stopped && self.is_awaited(at) {
                        // The streams end nowhere behind a node that was stopped, so this process stops as well.
                        self.running.stop_with_peer();
                    }
                    self.close_input(at, reason);
                }
            }
        }
        Ok(())
    }

    /// Records the progress of the sinks of another process, given as parameters of a `done` message.
    fn record_sink_progress(&self, remote: usize, parameters: &MetadataParameters) -> Result<()> {
        let Some(Parameter::ListInt(finished)) = parameters.get(FINISHED) else {
            let text = format!("a `done` message has no parameter `{FINISHED}`: it comes from a foreign node");
            return Err(Error::other(text));
        };
        if matches!(parameters.get(RESTARTING), Some(Parameter::Bool(true))) {
            self.running.restart_stall_timers();
        }
        for (source, entries) in finished.iter().enumerate() {
            let progress = SinkProgress::Finished(u64::try_from(*entries).unwrap_or(0));
            self.running.record_sink_progress(remote, SourceId(source), progress);
        }
        if let Some(Parameter::ListInt(closed)) = parameters.get(CLOSED) {
            for source in closed.iter().filter_map(|source| usize::try_from(*source).ok()) {
                self.running.record_sink_progress(remote, SourceId(source), SinkProgress::Closed);
            }
        }
        if matches!(parameters.get(STOPPED), Some(Parameter::Bool(true))) {
            self.running.handle_sink_process_stop(remote);
        }
        Ok(())
    }

    /// Returns true if an operator waits for the messages of a border input: it is no side input.
    fn is_awaited(&self, at: usize) -> bool {
        let mut inputs = self.running.plan().nodes.iter().flat_map(|node| &node.inputs);
        inputs.any(|input| input.producer == Producer::Border(at) && input.wired.alignment.is_aligned())
    }

    /// Passes on a message of a foreign node. An unreadable one is counted and ignored.
    fn handle_foreign_message(&mut self, at: usize, parameters: &MetadataParameters, data: &ArrayRef) {
        let input = &mut self.inputs[at];
        let border = &self.running.plan().border_inputs[at];
        match metadata::parse_foreign_message(parameters, data, &border.from, input.received, self.clock.now()) {
            Ok(Some(message)) => {
                input.received += 1;
                if !metadata::has_frame_number(parameters) {
                    self.running.count_unnumbered(&border.name);
                }
                self.running.push_message(at, message);
            }
            Ok(None) => {
                self.running.count_ignored(&border.name, "a relayed end, close or heartbeat of a Sideline node")
            }
            Err(error) => self.running.count_ignored(&border.name, &error.message),
        }
    }

    /// Relays the heartbeat of a source on the outputs that descend from it, which have nothing to send either.
    fn relay_heartbeat(&self, input: usize) {
        let plan = self.running.plan();
        for (output, border) in plan.border_outputs.iter().enumerate() {
            let node = &plan.nodes[border.node.0];
            if !node.is_source && Some(node.source) == self.inputs[input].source {
                self.heartbeat_sender.send_heartbeat(output, true);
            }
        }
    }

    /// Records that the sender of an input is gone. The input is closed in [`Host::tick`] unless its end arrives first.
    fn record_sender_gone(&mut self, id: &str, now: Instant) {
        let plan = self.running.plan();
        if let Some(remote) = plan.remote_sinks.iter().position(|sink| sink.input == id) {
            self.peers.close_input(&plan.remote_sinks[remote].node);
            if !self.is_stopping {
                self.running.handle_sink_process_exit(remote);
            }
        }
        for at in (0..plan.border_inputs.len()).filter(|at| plan.border_inputs[*at].name == id) {
            self.inputs[at].sender_gone_at.get_or_insert(now);
        }
    }

    /// Closes an input in the run, once.
    fn close_input(&mut self, at: usize, reason: CloseReason) {
        let input = &mut self.inputs[at];
        if !input.is_closed {
            input.is_closed = true;
            self.peers.close_input(&input.sender);
            self.running.close_input(at, if self.is_stopping { CloseReason::Stopped } else { reason });
        }
    }

    /// Performs periodic work: closes inputs whose sender is gone, sends heartbeats, and checks for silent peers.
    pub fn tick(&mut self, now: Instant) {
        for at in 0..self.inputs.len() {
            let foreign = self.running.plan().border_inputs[at].foreign;
            let gone_at = self.inputs[at].sender_gone_at;
            // A foreign node sends no end: its last messages may still come as long as others do.
            let timeout = if foreign { FOREIGN_END_TIMEOUT } else { END_TIMEOUT };
            if gone_at.is_some_and(|since| now.saturating_duration_since(since) > timeout) {
                self.close_input(at, if foreign { CloseReason::Foreign } else { CloseReason::Ended });
            }
        }
        if self.running.is_stopping() && !self.running.has_source() && !self.is_stopping {
            // A process without a source stops by closing its inputs.
            self.is_stopping = true;
            (0..self.inputs.len()).for_each(|at| self.close_input(at, CloseReason::Stopped));
        }
        if now.saturating_duration_since(self.last_check) < HEARTBEAT_INTERVAL / 2 {
            return;
        }
        self.last_check = now;
        self.send_heartbeats();
        if !self.is_stopping {
            self.check_peers(now);
        }
    }

    fn send_heartbeats(&self) {
        let plan = self.running.plan();
        if plan.sends_done {
            self.heartbeat_sender.send_done(self.running.is_restarting());
        }
        for (output, border) in plan.border_outputs.iter().enumerate() {
            let source = plan.nodes[border.node.0].source;
            let is_here = plan.nodes.iter().any(|node| node.is_source && node.source == source);
            // An output fed only by foreign nodes has heartbeats of its own; the others relay those of their source.
            let is_fed = self.inputs.iter().any(|input| input.source == Some(source));
            if is_here || !is_fed {
                self.heartbeat_sender.send_heartbeat(output, !is_here || self.running.is_idle(source));
            }
        }
    }

    /// Reports silent peers, and fails the run when one has been silent for longer than the timeout.
    fn check_peers(&mut self, now: Instant) {
        let plan = self.running.plan();
        // Another process may load models, during which it sends nothing.
        let silence = self.peers.check(now, plan.stall_timeout.max(plan.start_timeout));
        if let Some(names) = silence.changed_names {
            match names.is_empty() {
                true => tracing::info!("messages arrive from every node again"),
                false => tracing::warn!(
                    silent = names.join(", "),
                    "degraded: no message for 2 s from the named nodes, or from nodes before them"
                ),
            }
            self.running.set_silent_peers(names);
        }
        if let Some((node, duration)) = silence.timed_out {
            let text = format!(
                "no message from node `{node}` for {:.0} s: it, a node before it, its host or the link to it is gone",
                duration.as_secs_f64()
            );
            self.running.fail(Error::other(text).as_consequence());
        }
    }

    /// Reports to the sources that this process was stopped, once, if its sinks finish no further entry for that reason.
    /// Call it after the run has ended.
    pub fn report_run_end(&mut self) {
        let was_stopped = self.running.is_stopping() && !self.running.has_failed();
        if self.running.plan().sends_done && was_stopped && !self.is_end_reported {
            self.heartbeat_sender.report_stopped();
        }
        self.is_end_reported = true;
    }

    /// Returns true when the senders of all inputs are gone.
    pub fn all_senders_gone(&self) -> bool {
        self.inputs.iter().all(|input| input.sender_gone_at.is_some())
    }

    /// Handles the end of the events: dora stopped this node, or all its inputs closed.
    pub fn finish(&mut self) {
        for at in 0..self.inputs.len() {
            self.close_input(at, CloseReason::Ended);
        }
        if self.is_stopping {
            self.running.give_up_remote_sinks();
            return;
        }
        for remote in 0..self.running.plan().remote_sinks.len() {
            self.running.handle_sink_process_exit(remote);
        }
    }
}

/// Changes a live setting on behalf of `dora param set NODE key value`. In a node that hosts several operators, `key`
/// is `operator.key`, or the key alone for all operators that have it. May wait for a busy operator. `own_id`: id of
/// this node.
pub fn change_setting(running: &Running, own_id: &str, key: &str, value: Value) {
    let addressed = running.plan().nodes.iter().find_map(|node| {
        let short = node.id.rsplit('.').next().unwrap_or(&node.id);
        Some((node.id.as_str(), key.strip_prefix(short)?.strip_prefix('.')?))
    });
    let (node, key) = addressed.unwrap_or((own_id, key));
    if let Err(error) = running.set(node, key, value.clone()) {
        tracing::warn!(node, key, %value, "the setting is refused: {error}");
    }
}

/// Returns the source that the messages of a border input descend from.
fn source_of(plan: &Plan, border: usize) -> Option<SourceId> {
    let inputs = plan.nodes.iter().flat_map(|node| &node.inputs);
    inputs.filter(|input| input.producer == Producer::Border(border)).find_map(|input| input.wired.source)
}

#[cfg(test)]
mod tests;
