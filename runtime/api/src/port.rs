//! What an operator declares of itself: its name, its weight, its ports and their types. Readable without running it.

use crate::table::{Table, TableType};

/// What flows through a port.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PortType {
    /// Frames of video.
    Frame,
    /// Rows of one table.
    Table(TableType),
    /// Whatever is wired to it: a recorder's inputs.
    Any,
}

impl PortType {
    /// The type of a table with the rows `T`.
    pub fn table<T: Table>() -> Self {
        PortType::Table(TableType::of::<T>())
    }

    /// As printed: `frame`, `any`, or the name of the table.
    pub fn name(&self) -> &'static str {
        match self {
            PortType::Frame => "frame",
            PortType::Table(table) => &table.description().name,
            PortType::Any => "any",
        }
    }

    /// True for the table with the rows `T`.
    pub fn is_table<T: Table>(&self) -> bool {
        matches!(self, PortType::Table(table) if *table == T::table_type())
    }

    /// True when messages of type `from` may go to a port of this type.
    pub fn accepts(&self, from: &PortType) -> bool {
        *self == PortType::Any || self == from
    }
}

/// An input an operator declares.
#[derive(Clone, Debug, PartialEq)]
pub struct InputPort {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub ty: PortType,
    /// True when `process` is called only with data on it.
    pub required: bool,
    /// True when the last data is handed in again where a frame has none.
    pub hold: bool,
    /// True when it may close a cycle: never aligned, read when there.
    pub feedback: bool,
}

/// An output an operator declares.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputPort {
    /// Its name.
    pub name: &'static str,
    /// What it sends.
    pub ty: PortType,
}

/// Everything known of an operator without running it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The name it is run by: `tracker`.
    pub name: &'static str,
    /// True for one that makes frames.
    pub source: bool,
    /// True for one that deserves a thread of its own: models, encoders.
    pub heavy: bool,
    /// Declared inputs.
    pub inputs: Vec<InputPort>,
    /// When set, further optional inputs of this type are taken under any name.
    pub more_inputs: Option<PortType>,
    /// Declared outputs.
    pub outputs: Vec<OutputPort>,
}

impl Spec {
    /// An operator without ports.
    pub fn operator(name: &'static str) -> Self {
        Self { name, source: false, heavy: false, inputs: vec![], more_inputs: None, outputs: vec![] }
    }

    /// A source of frames.
    pub fn source(name: &'static str) -> Self {
        Self { source: true, heavy: true, ..Self::operator(name) }
    }

    /// Gives it a thread of its own.
    pub fn heavy(mut self) -> Self {
        self.heavy = true;
        self
    }

    fn input(mut self, name: &'static str, ty: PortType, required: bool) -> Self {
        self.inputs.push(InputPort { name, ty, required, hold: false, feedback: false });
        self
    }

    /// An input that `process` cannot do without.
    pub fn required(self, name: &'static str, ty: PortType) -> Self {
        self.input(name, ty, true)
    }

    /// An input that may be absent, unwired or skipped.
    pub fn optional(self, name: &'static str, ty: PortType) -> Self {
        self.input(name, ty, false)
    }

    /// Makes the input just declared keep its last data.
    pub fn hold(mut self) -> Self {
        if let Some(port) = self.inputs.last_mut() {
            port.hold = true;
        }
        self
    }

    /// Makes the input just declared one that may close a cycle.
    pub fn feedback(mut self) -> Self {
        if let Some(port) = self.inputs.last_mut() {
            port.feedback = true;
        }
        self
    }

    /// Takes further optional inputs under any name.
    pub fn any_inputs(mut self, ty: PortType) -> Self {
        self.more_inputs = Some(ty);
        self
    }

    /// An output.
    pub fn output(mut self, name: &'static str, ty: PortType) -> Self {
        self.outputs.push(OutputPort { name, ty });
        self
    }

    /// The declared input of that name, or what [`Spec::any_inputs`] makes of it.
    pub fn find_input(&self, name: &str) -> Option<InputPort> {
        self.inputs.iter().find(|port| port.name == name).cloned().or_else(|| {
            let ty = self.more_inputs?;
            Some(InputPort { name: "", ty, required: false, hold: false, feedback: false })
        })
    }

    /// The declared output of that name.
    pub fn find_output(&self, name: &str) -> Option<&OutputPort> {
        self.outputs.iter().find(|port| port.name == name)
    }
}

/// An input as it is wired in one graph.
#[derive(Clone, Debug, PartialEq)]
pub struct WiredInput {
    /// Name of the port.
    pub name: String,
    /// Where it comes from: `pose/poses`.
    pub from: String,
    /// Type of what comes.
    pub ty: PortType,
    /// `process` is called only with data on it.
    pub required: bool,
    /// The last data is handed in again where a frame has none.
    pub hold: bool,
    /// How it is matched to frames.
    pub alignment: Alignment,
    /// The source its messages descend from; none where the sender is not one of ours.
    pub source: Option<SourceId>,
}

/// Number of a source of frames in its flow, from 0 in the order of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct SourceId(pub usize);

/// How the messages of an input are matched to frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// Together with the other inputs that descend from this source.
    Source(SourceId),
    /// Read when there; at most `queue` wait, the oldest are forgotten and counted.
    Side {
        /// Most messages that wait.
        queue: usize,
    },
    /// Read when there; at most [`FEEDBACK_QUEUE`] wait, the oldest are forgotten and counted.
    Feedback,
}

/// Most messages that wait on a feedback input. An operator that handles its frames reads far fewer; this bounds the memory of
/// one whose frames are all skipped.
pub const FEEDBACK_QUEUE: usize = 1024;

impl Alignment {
    /// True for inputs that are matched frame by frame.
    pub fn is_ordinary(self) -> bool {
        self.source().is_some()
    }

    /// Returns the most messages that wait on an input that is not matched frame by frame.
    pub fn queue(self) -> Option<usize> {
        match self {
            Alignment::Source(_) => None,
            Alignment::Side { queue } => Some(queue.max(1)),
            Alignment::Feedback => Some(FEEDBACK_QUEUE),
        }
    }

    /// Returns the source whose frames an ordinary input is matched to.
    pub fn source(self) -> Option<SourceId> {
        match self {
            Alignment::Source(source) => Some(source),
            Alignment::Side { .. } | Alignment::Feedback => None,
        }
    }
}
