//! A plan: which operators one process runs, on which threads, and what flows between them.

use std::{path::PathBuf, time::Duration};

use sideline_api::{Alignment, Mode, OnError, OutputPort, PortType, SourceId, Values, WiredInput};

/// Index into [`Plan::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// Number of an operator thread of a plan, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub usize);

/// What one process runs: a whole flow, or the part of it that one dora node hosts.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the flow: the file's name without `.yml`.
    pub flow: String,
    /// Live or complete.
    pub mode: Mode,
    /// Frames in flight per source (`SIDELINE_WINDOW`, default 4).
    pub window: usize,
    /// Longest time that the window may stand still before the run ends (`SIDELINE_STALL_S`, default 10 s, 60 s over hosts).
    pub stall: Duration,
    /// Longest time that operators may take to get ready (`SIDELINE_START_S`, default 60 s).
    pub start: Duration,
    /// Sources and operators of this process; a producer stands before its consumers (feedback excepted).
    pub nodes: Vec<PlanNode>,
    /// Number of operator threads; `PlanNode::lane` counts them from 0.
    pub lanes: usize,
    /// Inputs that come from other processes.
    pub border_inputs: Vec<BorderInput>,
    /// Outputs that other processes read.
    pub border_outputs: Vec<BorderOutput>,
    /// In a process that holds a source: sinks of other processes, by their `done_<node>` inputs.
    pub remote_sinks: Vec<RemoteSink>,
    /// With sinks of a source of another process: true, and its `done` output is to tell how far its sinks are.
    pub sends_done: bool,
}

/// One source or operator.
#[derive(Clone, Debug)]
pub struct PlanNode {
    /// Id in the flow; inside a module `node.operator`.
    pub id: String,
    /// Name in the registry.
    pub operator: String,
    /// Its configuration.
    pub values: Values,
    /// After an error or a panic.
    pub on_error: OnError,
    /// Every n-th frame.
    pub stride: u64,
    /// Inputs in the order the driver numbers them.
    pub inputs: Vec<PlanInput>,
    /// Declared outputs.
    pub outputs: Vec<OutputPort>,
    /// Thread it runs on. A source has a reader thread besides; its lane admits frames.
    pub lane: LaneId,
    /// For a source: itself. For an operator: the source it descends from.
    pub source: SourceId,
    /// True for a source.
    pub is_source: bool,
    /// True when no ordinary consumer reads it, here or elsewhere: it tells its sources how far it is.
    pub sink: bool,
    /// Folder of the file that names it, working directory, house of Sideline.
    pub search: Vec<PathBuf>,
}

impl PlanNode {
    /// The sources that wait for it: for a sink, those of its ordinary inputs.
    pub fn sink_of(&self) -> Vec<SourceId> {
        sink_of(self.sink, self.inputs.iter().map(|input| input.wired.alignment))
    }
}

/// The sources of ordinary inputs, each once, for a sink; else none.
pub(crate) fn sink_of(sink: bool, inputs: impl Iterator<Item = Alignment>) -> Vec<SourceId> {
    let mut sources: Vec<SourceId> = inputs.filter_map(Alignment::source).filter(|_| sink).collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

/// One input.
#[derive(Clone, Debug)]
pub struct PlanInput {
    /// Name, type and alignment.
    pub wired: WiredInput,
    /// Who sends.
    pub producer: Producer,
    /// Most messages that wait in it.
    pub queue: usize,
}

/// Who sends what an input reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Producer {
    /// An output of a node of this process.
    Node {
        /// The node.
        node: NodeId,
        /// Index into its outputs.
        output: usize,
    },
    /// Another process: index into `Plan::border_inputs`.
    Border(usize),
}

/// An input of this process.
#[derive(Clone, Debug)]
pub struct BorderInput {
    /// Id of the dora input.
    pub name: String,
    /// `node/output` it comes from.
    pub from: String,
    /// What comes.
    pub ty: PortType,
    /// True when the sender is not one of ours: its messages carry no header and are stamped on arrival.
    pub foreign: bool,
}

/// An output of this process.
#[derive(Clone, Debug)]
pub struct BorderOutput {
    /// Id of the dora output.
    pub name: String,
    /// The node.
    pub node: NodeId,
    /// Index into its outputs.
    pub output: usize,
}

/// The sinks of another process, which reports on a `done_<node>` input.
#[derive(Clone, Debug)]
pub struct RemoteSink {
    /// Id of the dora input: `done_recorder`.
    pub input: String,
    /// Id of the node that reports.
    pub node: String,
    /// The sources it reports to.
    pub sources: Vec<SourceId>,
}
