//! The plan of one process: its operators, their threads, and the edges between them.

use std::{path::PathBuf, time::Duration};

use sideline_api::{Alignment, Mode, OnError, OutputPort, PortType, SourceId, Spec, Values, WiredInput};

use crate::{
    Place,
    settings::{DEFAULT_STALL_TIMEOUT, DEFAULT_START_TIMEOUT, DEFAULT_WINDOW},
};

/// Index into [`Plan::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// Index of a lane (operator thread) of a plan, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub usize);

/// The plan of one process: a whole flow, or the part of it that one dora node runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the flow: the file's name without `.yml`.
    pub flow: String,
    /// Live or complete.
    pub mode: Mode,
    /// Maximum number of frames in flight per source (`SIDELINE_WINDOW`, default 4).
    pub window: usize,
    /// Maximum time without progress of the window before the run ends (`SIDELINE_STALL_S`, default 10 s; 60 s in a
    /// flow over several hosts).
    pub stall_timeout: Duration,
    /// Maximum time until all operators are ready (`SIDELINE_START_S`, default 60 s).
    pub start_timeout: Duration,
    /// Sources and operators of this process, sorted topologically (ignoring feedback).
    pub nodes: Vec<PlanNode>,
    /// Number of lanes; `PlanNode::lane` counts them from 0.
    pub lanes: usize,
    /// Inputs from other processes.
    pub border_inputs: Vec<BorderInput>,
    /// Outputs that other processes read.
    pub border_outputs: Vec<BorderOutput>,
    /// Sinks in other processes that the sources of this process wait for, one for each `done_<node>` input.
    pub remote_sinks: Vec<RemoteSink>,
    /// True if this process has sinks of a source in another process, to which its `done` output reports their
    /// progress.
    pub sends_done: bool,
}

impl Plan {
    /// Creates the plan of a whole flow in one process with the default window and deadlines, for a program or a test that
    /// reads no file. The nodes are sorted topologically.
    pub fn new(flow: impl Into<String>, mode: Mode, nodes: Vec<PlanNode>) -> Self {
        Plan {
            flow: flow.into(),
            mode,
            window: DEFAULT_WINDOW,
            stall_timeout: DEFAULT_STALL_TIMEOUT,
            start_timeout: DEFAULT_START_TIMEOUT,
            lanes: nodes.iter().map(|node| node.lane.0 + 1).max().unwrap_or(0),
            nodes,
            border_inputs: vec![],
            border_outputs: vec![],
            remote_sinks: vec![],
            sends_done: false,
        }
    }
}

/// One source or operator.
#[derive(Clone, Debug)]
pub struct PlanNode {
    /// Id in the flow; inside a module `host.node`.
    pub id: String,
    /// Name of the operator in the registry.
    pub operator: String,
    /// Configured values.
    pub values: Values,
    /// Behavior after an error or a panic.
    pub on_error: OnError,
    /// Stride: the node processes every n-th frame.
    pub stride: u64,
    /// Inputs, in the order of the driver's input indices.
    pub inputs: Vec<Edge<Producer>>,
    /// Declared outputs.
    pub outputs: Vec<OutputPort>,
    /// Lane that runs the node. A source also has a reader thread; its lane admits the frames.
    pub lane: LaneId,
    /// The node itself if it is a source, else the source it descends from.
    pub source: SourceId,
    /// True for a source.
    pub is_source: bool,
    /// True if no ordinary consumer in any process reads the node's outputs: it reports its progress to its sources.
    pub is_sink: bool,
    /// Search path of files: the folder of the file that declares the node, the working directory, Sideline home.
    pub search: Vec<PathBuf>,
}

impl PlanNode {
    /// Creates a node without inputs on the first lane. An operator is a sink.
    pub fn new(id: impl Into<String>, spec: &Spec, values: impl Into<Values>) -> Self {
        PlanNode {
            id: id.into(),
            operator: spec.name.into(),
            values: values.into(),
            on_error: OnError::Stop,
            stride: 1,
            inputs: vec![],
            outputs: spec.outputs.clone(),
            lane: LaneId::default(),
            source: SourceId::default(),
            is_source: spec.is_source,
            is_sink: !spec.is_source,
            search: vec![],
        }
    }

    /// Returns the sources that wait for this node: those of its ordinary inputs if it is a sink, else none.
    pub fn awaiting_sources(&self) -> Vec<SourceId> {
        awaiting_sources(self.is_sink, self.inputs.iter().map(|input| input.wired.alignment))
    }
}

/// Returns the sources of ordinary inputs, each once, if the node is a sink, else none.
pub(crate) fn awaiting_sources(is_sink: bool, inputs: impl Iterator<Item = Alignment>) -> Vec<SourceId> {
    let mut sources: Vec<SourceId> = inputs.filter_map(Alignment::source).filter(|_| is_sink).collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

/// An edge of a graph, at the input that it leads to. `P` identifies its producer: [`Sender`](crate::Sender) in a flow,
/// [`Producer`] in the plan of one process.
#[derive(Clone, Debug)]
pub struct Edge<P> {
    /// The input as its operator receives it: name, type and alignment.
    pub wired: WiredInput,
    /// Producer of the messages.
    pub producer: P,
    /// Name of the dora input, if the producer is in another process.
    pub border: String,
    /// Place of the input in its file.
    pub place: Place,
}

impl<P> Edge<P> {
    /// Creates an edge that no file declares.
    pub fn new(wired: WiredInput, producer: P) -> Self {
        Self { border: wired.name.clone(), wired, producer, place: Place::default() }
    }

    /// Returns the edge with another kind of producer.
    pub(crate) fn with_producer<Q>(&self, producer: Q) -> Edge<Q> {
        Edge { wired: self.wired.clone(), producer, border: self.border.clone(), place: self.place.clone() }
    }
}

/// The producer of an input's messages, in the plan of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Producer {
    /// An output of a node of this process.
    Node {
        /// The node.
        node: NodeId,
        /// Index into the outputs of the node.
        output: usize,
    },
    /// Another process: index into `Plan::border_inputs`.
    Border(usize),
}

/// An input of this process from another process.
#[derive(Clone, Debug)]
pub struct BorderInput {
    /// Id of the dora input.
    pub name: String,
    /// The output it reads, as `node/output`.
    pub from: String,
    /// Type of the messages.
    pub ty: PortType,
    /// True if the sender is a foreign node: its messages have no Sideline header and get their time on arrival.
    pub foreign: bool,
}

/// An output of this process that other processes read.
#[derive(Clone, Debug)]
pub struct BorderOutput {
    /// Id of the dora output.
    pub name: String,
    /// The node that produces it.
    pub node: NodeId,
    /// Index into the outputs of the node.
    pub output: usize,
}

/// The sinks of another process, which reports on a `done_<node>` input.
#[derive(Clone, Debug)]
pub struct RemoteSink {
    /// Id of the dora input: `done_recorder`.
    pub input: String,
    /// Id of the node that reports.
    pub node: String,
    /// The sources of this process that it reports to.
    pub sources: Vec<SourceId>,
}
