//! One dora node that hosts a plan: messages in, messages out, `done`, `end`, stop and settings.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arrow_array::UInt8Array;
use dora_message::descriptor::Descriptor;
use dora_node_api::{
    DoraNode, Event, EventStream, IntoArrow, MetadataParameters, Parameter, StopCause, dora_core::config::DataId,
};
use sideline_api::{Body, Error, Message, Payload, Registry, Result, clock::Clock};
use sideline_engine::{Border, Options, Running, gate::CLOSED, meter::Report};
use sideline_graph::plan::Plan;

use crate::metadata;

/// How long a closed input may lack its `end`: data and closing travel on different ways and may overtake.
const END_GRACE: Duration = Duration::from_secs(2);
/// How often the event loop looks whether the run is over.
const LOOK: Duration = Duration::from_millis(20);
/// The output by which leaves tell the source how far they are.
const DONE: &str = "done";
/// Its parameter: by source, how many frames are finished.
const FINISHED: &str = "sl_finished";

/// A connection to the daemon.
pub struct Node {
    node: DoraNode,
    events: EventStream,
}

struct Outputs {
    node: Mutex<DoraNode>,
    names: Vec<DataId>,
    /// By source, the frames that this process has finished.
    finished: Mutex<Vec<i64>>,
}

impl Outputs {
    fn node(&self) -> std::sync::MutexGuard<'_, DoraNode> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Border for Outputs {
    fn send(&self, output: usize, message: &Message) -> Result<()> {
        let name = self.names[output].clone();
        let parameters = metadata::of(message);
        let mut node = self.node();
        let sent = match &message.body {
            Body::Data(Payload::Frame(frame)) => {
                node.send_output_raw(name, parameters, frame.packed_len(), |into| frame.pack_into(into))
            }
            Body::Data(Payload::Table(table)) => {
                let array: arrow_array::ArrayRef = table.clone();
                node.send_output(name, parameters, array)
            }
            Body::Skipped(_) | Body::End => node.send_output(name, parameters, nothing()),
        };
        sent.map_err(|e| Error::other(format!("output `{}` could not be sent: {e}", self.names[output])))
    }

    fn done(&self, source: usize, count: u64) -> Result<()> {
        // Every message says how far all sources are: dora's queues keep the newest ten, and a fast source's would push
        // out the last one about a slow source. Held until it is sent, so that none overtakes a newer one.
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        if finished.len() <= source {
            finished.resize(source + 1, 0);
        }
        // The greatest number of all once the leaf has closed.
        finished[source] = if count == CLOSED { i64::MAX } else { count as i64 };
        let parameters = MetadataParameters::from([(FINISHED.to_owned(), Parameter::ListInt(finished.clone()))]);
        self.node()
            .send_output(DataId::from(DONE.to_owned()), parameters, nothing())
            .map_err(|e| Error::other(format!("output `{DONE}` could not be sent: {e}")))
    }
}

fn nothing() -> impl IntoArrow {
    UInt8Array::from(Vec::<u8>::new())
}

/// A border input on its way to its end.
#[derive(Default)]
struct Input {
    stream: Arc<str>,
    /// Messages of a foreign sender, which numbers none.
    arrived: u64,
    /// The streams that came, and whether each has ended.
    streams: Vec<(Arc<str>, bool)>,
    closed: Option<Instant>,
    told: bool,
}

impl Input {
    fn count(&mut self, message: &Message) {
        self.arrived += 1;
        let stream = &message.header.stream;
        let end = matches!(message.body, Body::End);
        match self.streams.iter_mut().find(|(name, _)| name == stream) {
            Some((_, ended)) => *ended |= end,
            None => self.streams.push((stream.clone(), end)),
        }
    }

    /// Every stream that came has ended: a source ends all of its at once.
    fn ended(&self) -> bool {
        !self.streams.is_empty() && self.streams.iter().all(|(_, ended)| *ended)
    }
}

impl Node {
    /// Connects to the daemon that started this process.
    ///
    /// # Errors
    /// What dora says.
    pub fn connect() -> Result<Self> {
        let (node, events) =
            DoraNode::init_from_env_force().map_err(|e| Error::other(format!("cannot join the dora dataflow: {e}")))?;
        Ok(Node { node, events })
    }

    /// The id of this node.
    pub fn id(&self) -> String {
        self.node.id().to_string()
    }

    /// The name of the run: dora's id of the dataflow, the same for all its nodes.
    pub fn run(&self) -> String {
        self.node.dataflow_id().to_string()
    }

    /// The whole flow, as dora expanded it.
    ///
    /// # Errors
    /// When node and daemon are of different versions.
    pub fn descriptor(&self) -> Result<Descriptor> {
        self.node.dataflow_descriptor().cloned().map_err(|e| Error::config(e.to_string()))
    }

    /// Hosts a plan until it ends; `started` sees the run once it is under way.
    ///
    /// # Errors
    /// When the plan cannot be started.
    pub fn host(
        self,
        plan: Plan,
        registry: &Registry,
        options: Options,
        started: impl FnOnce(&Arc<Running>),
    ) -> Result<Report> {
        let id = self.id();
        let Node { node, mut events } = self;
        let clock = options.clock.clone();
        let outputs = Arc::new(Outputs {
            node: Mutex::new(node),
            names: plan.border_outputs.iter().map(|output| DataId::from(output.name.clone())).collect(),
            finished: Mutex::default(),
        });
        let border: Arc<dyn Border> = outputs.clone();
        let running = Arc::new(sideline_engine::start(plan, registry, options, Some(border))?);
        started(&running);
        let waiter = {
            let running = running.clone();
            std::thread::Builder::new()
                .name("wait".into())
                .spawn(move || running.wait())
                .map_err(|e| Error::other(format!("cannot start a thread: {e}")))?
        };
        let mut host = Host::new(&running, &*clock, id);
        let mut over: Option<Instant> = None;
        loop {
            match events.recv_timeout(LOOK) {
                Some(event) => host.event(event),
                None => {
                    host.stream_over();
                    break;
                }
            }
            host.close_overdue();
            if waiter.is_finished() {
                // Producers end before consumers: a consumer's last `done` or an `end` might else be overtaken by
                // dora's word that the sender is gone.
                let since = *over.get_or_insert_with(Instant::now);
                if host.inputs_closed() || since.elapsed() > END_GRACE {
                    break;
                }
            }
        }
        let report = waiter.join().map_err(|_| Error::other("the waiting thread panicked; the message is above"))?;
        drop(outputs);
        Ok(report)
    }
}

/// The event loop's memory.
struct Host<'a> {
    running: &'a Running,
    clock: &'a dyn Clock,
    /// Id of this node.
    node: String,
    inputs: Vec<Input>,
    leaves: Vec<bool>,
    stopping: bool,
}

impl<'a> Host<'a> {
    fn new(running: &'a Running, clock: &'a dyn Clock, node: String) -> Self {
        let input = |_| Input::default();
        Host {
            running,
            clock,
            node,
            inputs: running.plan().border_inputs.iter().map(input).collect(),
            leaves: vec![false; running.plan().remote_leaves.len()],
            stopping: false,
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Input { id, metadata, data } => {
                let data: arrow_array::ArrayRef = data.into();
                if let Err(error) = self.input(id.as_str(), &metadata.parameters, &data) {
                    self.running.fail(error.at(format_args!("input `{id}`")));
                }
            }
            Event::InputClosed { id } => self.closed(id.as_str()),
            Event::Stop(StopCause::Manual) => {
                self.stopping = true;
                self.running.stop();
            }
            Event::ParamUpdate { key, value } => self.set(&key, value),
            Event::NodeFailed { source_node_id, error, .. } => {
                tracing::error!(node = %source_node_id, %error, "a producer failed");
            }
            // A time-out of the loop's own look is an `Error` too; real ones close inputs, which is handled there.
            Event::Error(text) if !text.contains("timed out") => tracing::warn!(%text, "dora"),
            _ => {}
        }
    }

    fn input(&mut self, id: &str, parameters: &MetadataParameters, data: &arrow_array::ArrayRef) -> Result<()> {
        let plan = self.running.plan();
        if let Some(leaf) = plan.remote_leaves.iter().position(|leaf| leaf.input == id) {
            let Some(Parameter::ListInt(finished)) = parameters.get(FINISHED) else {
                return Err(Error::other(format!(
                    "a `done` message carries no `{FINISHED}`: it comes from a node that is not ours"
                )));
            };
            for (source, count) in finished.iter().enumerate() {
                let count = if *count == i64::MAX { CLOSED } else { *count as u64 };
                self.running.leaf_finished(leaf, source, count);
            }
            return Ok(());
        }
        // Several operators of a fused module may read one input: each has its own border entry.
        for at in (0..plan.border_inputs.len()).filter(|at| plan.border_inputs[*at].name == id) {
            let input = &mut self.inputs[at];
            let border = &plan.border_inputs[at];
            let message = if border.foreign {
                metadata::foreign(parameters, data, &border.from, input.arrived, self.clock.now())?
            } else {
                metadata::message(parameters, data, &mut input.stream)?
            };
            input.count(&message);
            self.running.input(at, message);
        }
        Ok(())
    }

    fn closed(&mut self, id: &str) {
        let plan = self.running.plan();
        if let Some(leaf) = plan.remote_leaves.iter().position(|leaf| leaf.input == id) {
            self.leaves[leaf] = true;
            self.running.leaf_gone(leaf);
        }
        for at in (0..plan.border_inputs.len()).filter(|at| plan.border_inputs[*at].name == id) {
            self.inputs[at].closed.get_or_insert_with(Instant::now);
        }
    }

    /// Tells the engine of closed inputs: at once when their `end` has come, else after a grace.
    fn close_overdue(&mut self) {
        for at in 0..self.inputs.len() {
            let foreign = self.running.plan().border_inputs[at].foreign;
            let input = &mut self.inputs[at];
            let Some(since) = input.closed else {
                // Nothing follows an `end`: operators close without waiting for the producer's process.
                if input.ended() && !input.told {
                    input.told = true;
                    self.running.input_closed(at, self.stopping);
                }
                continue;
            };
            if !input.told && (input.ended() || foreign || since.elapsed() > END_GRACE) {
                input.told = true;
                self.running.input_closed(at, self.stopping || foreign);
            }
        }
    }

    fn inputs_closed(&self) -> bool {
        self.inputs.iter().all(|input| input.closed.is_some())
    }

    /// No event follows: dora stopped this node, or all its inputs closed.
    fn stream_over(&mut self) {
        for at in 0..self.inputs.len() {
            if !self.inputs[at].told {
                self.inputs[at].told = true;
                self.running.input_closed(at, self.stopping);
            }
        }
        if self.stopping {
            self.running.release_remote_leaves();
            return;
        }
        for leaf in 0..self.leaves.len() {
            self.running.leaf_gone(leaf);
        }
    }

    /// `dora param set NODE key value`. In a node that hosts several operators `operator.key`, or `key` alone for all of
    /// them that have it.
    fn set(&self, key: &str, value: serde_json::Value) {
        let one = self.running.plan().nodes.iter().find_map(|node| {
            let short = node.id.rsplit('.').next().unwrap_or(&node.id);
            Some((node.id.as_str(), key.strip_prefix(short)?.strip_prefix('.')?))
        });
        let (node, key) = one.unwrap_or((&self.node, key));
        if let Err(error) = self.running.set(node, key, value.clone()) {
            tracing::warn!(node, key, %value, "refused: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{Header, Reason};

    #[test]
    fn an_input_has_ended_when_every_stream_that_came_has() {
        let mut input = Input::default();
        let mut ended = |stream: &str, body: Body| {
            let header = Header { stream: stream.into(), session: 0, frame: 0, pts: 0, captured: 0, forgotten: 0 };
            input.count(&Message { header, n: 0, body });
            input.ended()
        };
        let steps = [("a", Body::Skipped(Reason::Stride)), ("b", Body::Skipped(Reason::Stride)), ("a", Body::End)];
        for (stream, body) in steps {
            assert!(!ended(stream, body), "`b` goes on");
        }
        assert!(ended("b", Body::End));
    }
}
