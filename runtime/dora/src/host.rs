//! The events of a node: what comes from dora, or from a test, goes to the run.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_array::ArrayRef;
use dora_node_api::{MetadataParameters, Parameter};
use serde_json::Value;
use sideline_api::{Error, Result, SourceId, clock::Clock};
use sideline_engine::{Running, gate::Progress};
use sideline_graph::plan::{Plan, Producer};

use crate::{
    metadata::{self, Received},
    outputs::{BEAT_EVERY, CLOSED, FINISHED, Life, REMAKING},
    peers::Peers,
};

/// How long a closed input may lack its end: data and closing travel on different ways and may overtake.
pub const END_GRACE: Duration = Duration::from_secs(2);

/// An event of a node.
#[derive(Debug)]
pub enum Incoming {
    /// A message on an input.
    Message {
        /// Id of the input.
        input: String,
        /// Its metadata.
        parameters: MetadataParameters,
        /// Its data.
        data: ArrayRef,
    },
    /// The sender of an input has gone.
    Closed {
        /// Id of the input.
        input: String,
    },
    /// The dataflow is being stopped.
    Stop,
    /// A key is to change.
    Set {
        /// The key.
        key: String,
        /// Its value.
        value: Value,
    },
    /// Something that is told and changes nothing.
    Note(String),
}

/// A border input on its way to its end.
#[derive(Default)]
struct Input {
    stream: Arc<str>,
    /// Id of the node that sends.
    sender: String,
    source: Option<SourceId>,
    /// Messages of a foreign sender, which numbers none.
    arrived: u64,
    /// When dora said that the sender has gone.
    closed: Option<Instant>,
    /// The run knows that nothing more comes.
    told: bool,
}

/// The memory of the event loop.
pub struct Host<'a> {
    running: &'a Running,
    life: &'a dyn Life,
    clock: &'a dyn Clock,
    /// Id of this node.
    node: String,
    inputs: Vec<Input>,
    peers: Peers,
    stopping: bool,
    looked: Instant,
}

impl<'a> Host<'a> {
    pub fn new(running: &'a Running, life: &'a dyn Life, clock: &'a dyn Clock, node: String, now: Instant) -> Self {
        let plan = running.plan();
        let mut peers = Peers::new(now);
        plan.remote_sinks.iter().for_each(|sink| peers.add(&sink.node));
        let mut inputs = vec![];
        for (at, border) in plan.border_inputs.iter().enumerate() {
            let sender = border.from.split('/').next().unwrap_or_default();
            let source = source_of(plan, at);
            // A foreign node gives no signs of life.
            if !border.foreign {
                peers.add(sender);
            }
            inputs.push(Input { sender: sender.into(), source, ..Input::default() });
        }
        Host { running, life, clock, node, inputs, peers, stopping: false, looked: now }
    }

    /// Handles an event.
    pub fn handle(&mut self, event: Incoming, now: Instant) {
        match event {
            Incoming::Message { input, parameters, data } => {
                if let Err(error) = self.message(&input, &parameters, &data, now) {
                    self.running.fail(error.at(format_args!("input `{input}`")));
                }
            }
            Incoming::Closed { input } => self.closed(&input, now),
            Incoming::Stop => {
                self.stopping = true;
                self.running.stop();
            }
            Incoming::Set { key, value } => set(self.running, &self.node, &key, value),
            Incoming::Note(text) => tracing::warn!(%text, "dora"),
        }
    }

    fn message(&mut self, id: &str, parameters: &MetadataParameters, data: &ArrayRef, now: Instant) -> Result<()> {
        let plan = self.running.plan();
        if let Some(remote) = plan.remote_sinks.iter().position(|sink| sink.input == id) {
            self.peers.heard(&plan.remote_sinks[remote].node, now);
            return self.progress(remote, parameters);
        }
        // Several operators of a fused module may read one input: each has its own border entry.
        for at in (0..plan.border_inputs.len()).filter(|at| plan.border_inputs[*at].name == id) {
            if plan.border_inputs[at].foreign {
                self.foreign(at, parameters, data);
                continue;
            }
            let input = &mut self.inputs[at];
            self.peers.heard(&input.sender, now);
            match metadata::read(parameters, data, &mut input.stream)? {
                Received::Message(message) => self.running.input(at, message),
                Received::Beat => self.relay(at),
                Received::Close { excused } => self.tell_closed(at, excused),
            }
        }
        Ok(())
    }

    /// The sinks of another process tell how far they are.
    fn progress(&self, remote: usize, parameters: &MetadataParameters) -> Result<()> {
        let Some(Parameter::ListInt(finished)) = parameters.get(FINISHED) else {
            let text = format!("a `done` message carries no `{FINISHED}`: it comes from a node that is not ours");
            return Err(Error::other(text));
        };
        if matches!(parameters.get(REMAKING), Some(Parameter::Bool(true))) {
            self.running.excuse();
        }
        for (source, entries) in finished.iter().enumerate() {
            let progress = Progress::Finished(u64::try_from(*entries).unwrap_or(0));
            self.running.sink_finished(remote, SourceId(source), progress);
        }
        if let Some(Parameter::ListInt(closed)) = parameters.get(CLOSED) {
            for source in closed.iter().filter_map(|source| usize::try_from(*source).ok()) {
                self.running.sink_finished(remote, SourceId(source), Progress::Closed);
            }
        }
        Ok(())
    }

    /// A message of a node that is not ours; one that cannot be read is counted and left out.
    fn foreign(&mut self, at: usize, parameters: &MetadataParameters, data: &ArrayRef) {
        let input = &mut self.inputs[at];
        let border = &self.running.plan().border_inputs[at];
        match metadata::foreign(parameters, data, &border.from, input.arrived, self.clock.now()) {
            Ok(Some(message)) => {
                input.arrived += 1;
                self.running.input(at, message);
            }
            Ok(None) => self.running.ignore(&border.name, "ends and signs of life of ours that it relays"),
            Err(error) => self.running.ignore(&border.name, &error.message),
        }
    }

    /// Passes on the sign of life of a source: what descends from it has nothing to send either.
    fn relay(&self, input: usize) {
        let plan = self.running.plan();
        for (output, border) in plan.border_outputs.iter().enumerate() {
            let node = &plan.nodes[border.node.0];
            if !node.is_source && Some(node.source) == self.inputs[input].source {
                self.life.beat(output, true);
            }
        }
    }

    fn closed(&mut self, id: &str, now: Instant) {
        let plan = self.running.plan();
        if let Some(remote) = plan.remote_sinks.iter().position(|sink| sink.input == id) {
            self.peers.closed(&plan.remote_sinks[remote].node);
            if !self.stopping {
                self.running.sink_gone(remote);
            }
        }
        for at in (0..plan.border_inputs.len()).filter(|at| plan.border_inputs[*at].name == id) {
            self.inputs[at].closed.get_or_insert(now);
        }
    }

    fn tell_closed(&mut self, at: usize, excused: bool) {
        let input = &mut self.inputs[at];
        if !input.told {
            input.told = true;
            self.peers.closed(&input.sender);
            self.running.input_closed(at, self.stopping || excused);
        }
    }

    /// Does what is due at this time: closes inputs whose sender has gone, gives signs of life, and looks for those of the
    /// peers.
    pub fn tick(&mut self, now: Instant) {
        for at in 0..self.inputs.len() {
            let foreign = self.running.plan().border_inputs[at].foreign;
            if self.inputs[at].closed.is_some_and(|since| foreign || now.saturating_duration_since(since) > END_GRACE) {
                self.tell_closed(at, foreign);
            }
        }
        if self.running.is_stopping() && !self.running.has_source() && !self.stopping {
            // A process without a source has nothing to stop but its inputs.
            self.stopping = true;
            (0..self.inputs.len()).for_each(|at| self.tell_closed(at, true));
        }
        if now.saturating_duration_since(self.looked) < BEAT_EVERY / 2 {
            return;
        }
        self.looked = now;
        self.give_signs_of_life();
        if !self.stopping {
            self.look_for_peers(now);
        }
    }

    fn give_signs_of_life(&self) {
        let plan = self.running.plan();
        if plan.sends_done {
            self.life.beat_done(self.running.is_remaking());
        }
        for (output, border) in plan.border_outputs.iter().enumerate() {
            let source = plan.nodes[border.node.0].source;
            let is_here = plan.nodes.iter().any(|node| node.is_source && node.source == source);
            // What only a foreign node feeds has signs of life of its own; the others pass on those of their source.
            let is_fed = self.inputs.iter().any(|input| input.source == Some(source));
            if is_here || !is_fed {
                self.life.beat(output, !is_here || self.running.is_idle(source));
            }
        }
    }

    fn look_for_peers(&mut self, now: Instant) {
        let plan = self.running.plan();
        // Other processes may load models while nothing can be sent.
        let silence = self.peers.look(now, plan.stall.max(plan.start));
        if let Some(names) = silence.changed {
            match names.is_empty() {
                true => tracing::info!("every node is heard again"),
                false => tracing::warn!(
                    silent = names.join(", "),
                    "degraded: nothing was heard for 2 s of the named nodes, or of those before them"
                ),
            }
            self.running.set_silent(names);
        }
        if let Some((node, since)) = silence.gone {
            let text = format!(
                "nothing was heard of node `{node}` for {:.0} s: it, a node before it, its host or the link to it is gone",
                since.as_secs_f64()
            );
            self.running.fail(Error::other(text).as_consequence());
        }
    }

    /// True when the sender of every input has gone.
    pub fn inputs_closed(&self) -> bool {
        self.inputs.iter().all(|input| input.closed.is_some())
    }

    /// No event follows: dora stopped this node, or all its inputs closed.
    pub fn over(&mut self) {
        for at in 0..self.inputs.len() {
            self.tell_closed(at, false);
        }
        if self.stopping {
            self.running.release_remote_sinks();
            return;
        }
        for remote in 0..self.running.plan().remote_sinks.len() {
            self.running.sink_gone(remote);
        }
    }
}

/// Changes a key, as `dora param set NODE key value` asks. In a node that hosts several operators `operator.key`, or `key` alone
/// for all of them that have it. May wait for a busy operator.
pub fn set(running: &Running, own: &str, key: &str, value: Value) {
    let one = running.plan().nodes.iter().find_map(|node| {
        let short = node.id.rsplit('.').next().unwrap_or(&node.id);
        Some((node.id.as_str(), key.strip_prefix(short)?.strip_prefix('.')?))
    });
    let (node, key) = one.unwrap_or((own, key));
    if let Err(error) = running.set(node, key, value.clone()) {
        tracing::warn!(node, key, %value, "refused: {error}");
    }
}

/// The source that the messages of a border input descend from.
fn source_of(plan: &Plan, border: usize) -> Option<SourceId> {
    let inputs = plan.nodes.iter().flat_map(|node| &node.inputs);
    inputs.filter(|input| input.producer == Producer::Border(border)).find_map(|input| input.wired.source)
}

#[cfg(test)]
mod tests;
