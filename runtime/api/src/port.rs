//! Static description of an operator: name, cost class, ports and their types. Available without creating the operator.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use crate::{
    table::{Table, TableType},
    typed_ports::{InputPorts, OutputPorts},
};

/// Returns a text that lives as long as the process, as the names in a [`Spec`] do; equal texts share one. For factories of
/// operators that are described at run time.
pub fn intern(text: &str) -> &'static str {
    static TEXTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    match texts.get(text) {
        Some(known) => known,
        None => {
            let leaked: &'static str = Box::leak(text.to_owned().into_boxed_str());
            texts.insert(leaked);
            leaked
        }
    }
}

/// Type of the data on a port.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PortType {
    /// Video frames.
    Frame,
    /// Rows of one table.
    Table(TableType),
    /// Any type, as on the inputs of a recorder.
    Any,
}

impl PortType {
    /// Returns the type of ports with rows of type `T`.
    pub fn table<T: Table>() -> Self {
        PortType::Table(TableType::for_row::<T>())
    }

    /// Returns the printed name: `frame`, `any`, or the name of the table.
    pub fn name(&self) -> &'static str {
        match self {
            PortType::Frame => "frame",
            PortType::Table(table) => &table.description().name,
            PortType::Any => "any",
        }
    }

    /// Returns true for the table with rows of type `T`.
    pub fn is_table<T: Table>(&self) -> bool {
        matches!(self, PortType::Table(table) if *table == T::table_type())
    }

    /// Returns true if messages of type `from` may go to a port of this type.
    pub fn accepts(&self, from: &PortType) -> bool {
        *self == PortType::Any || self == from
    }
}

/// Declared input of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct InputPort {
    /// Name of the port.
    pub name: &'static str,
    /// Accepted type.
    pub ty: PortType,
    /// True if `process` is called only with data on this input.
    pub required: bool,
    /// True if the last data is delivered again for a frame that has none.
    pub hold: bool,
    /// True if the input may close a cycle. It is then never aligned and read without waiting.
    pub feedback: bool,
}

/// Declared output of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputPort {
    /// Name of the port.
    pub name: &'static str,
    /// Type of the messages.
    pub ty: PortType,
}

/// Static description of an operator or source.
///
/// ```
/// use sideline_api::{PortType, Spec, tables::Count};
///
/// let spec = Spec::operator("overlay")
///     .heavy()
///     .required("frames", PortType::Frame)
///     .optional("counts", PortType::table::<Count>())
///     .hold()
///     .output("frames", PortType::Frame);
/// let counts = spec.find_input("counts").unwrap();
/// assert!(counts.hold && !counts.required && counts.ty.is_table::<Count>());
/// assert!(!counts.ty.accepts(&PortType::Frame));
/// assert_eq!(spec.find_input("places"), None);
/// ```
#[derive(Clone, Debug)]
pub struct Spec {
    /// Name of the operator in flows: `tracker`.
    pub name: &'static str,
    /// True for a source of frames.
    pub is_source: bool,
    /// True for an operator with a thread of its own: a model, an encoder.
    pub is_heavy: bool,
    /// Declared inputs.
    pub inputs: Vec<InputPort>,
    /// Type of further optional inputs, which may have any name; `None` if there are none.
    pub more_inputs: Option<PortType>,
    /// Declared outputs.
    pub outputs: Vec<OutputPort>,
}

impl Spec {
    /// Creates the description of an operator without ports.
    pub fn operator(name: &'static str) -> Self {
        Self { name, is_source: false, is_heavy: false, inputs: vec![], more_inputs: None, outputs: vec![] }
    }

    /// Creates the description of a source without ports.
    pub fn source(name: &'static str) -> Self {
        Self { is_source: true, is_heavy: true, ..Self::operator(name) }
    }

    /// Gives the operator a thread of its own.
    pub fn heavy(mut self) -> Self {
        self.is_heavy = true;
        self
    }

    fn input(mut self, name: &'static str, ty: PortType, required: bool) -> Self {
        self.inputs.push(InputPort { name, ty, required, hold: false, feedback: false });
        self
    }

    /// Adds an input without whose data `process` is not called.
    pub fn required(self, name: &'static str, ty: PortType) -> Self {
        self.input(name, ty, true)
    }

    /// Adds an input that may be unwired or skipped.
    pub fn optional(self, name: &'static str, ty: PortType) -> Self {
        self.input(name, ty, false)
    }

    /// Makes the input that was added last deliver its last data again for frames that have none.
    pub fn hold(mut self) -> Self {
        if let Some(port) = self.inputs.last_mut() {
            port.hold = true;
        }
        self
    }

    /// Makes the input that was added last a feedback input, which may close a cycle.
    pub fn feedback(mut self) -> Self {
        if let Some(port) = self.inputs.last_mut() {
            port.feedback = true;
        }
        self
    }

    /// Accepts further optional inputs of this type under any name.
    pub fn any_inputs(mut self, ty: PortType) -> Self {
        self.more_inputs = Some(ty);
        self
    }

    /// Adds an output.
    pub fn output(mut self, name: &'static str, ty: PortType) -> Self {
        self.outputs.push(OutputPort { name, ty });
        self
    }

    /// Adds the inputs that are the fields of a struct.
    pub fn reads<'a, I: InputPorts<'a>>(self) -> Self {
        I::declare(self)
    }

    /// Adds the outputs that are the fields of a struct.
    pub fn sends<O: OutputPorts>(self) -> Self {
        O::declare(self)
    }

    /// Returns the declared input of that name, or an optional one if [`Spec::any_inputs`] was called.
    pub fn find_input(&self, name: &str) -> Option<InputPort> {
        self.inputs.iter().find(|port| port.name == name).cloned().or_else(|| {
            let ty = self.more_inputs?;
            Some(InputPort { name: "", ty, required: false, hold: false, feedback: false })
        })
    }

    /// Returns the declared output of that name.
    pub fn find_output(&self, name: &str) -> Option<&OutputPort> {
        self.outputs.iter().find(|port| port.name == name)
    }
}

/// Input as wired in one graph.
#[derive(Clone, Debug, PartialEq)]
pub struct WiredInput {
    /// Name of the port.
    pub name: String,
    /// Node and output of the sender: `pose/poses`.
    pub from: String,
    /// Type of the messages.
    pub ty: PortType,
    /// True if `process` is called only with data on this input.
    pub required: bool,
    /// True if the last data is delivered again for a frame that has none.
    pub hold: bool,
    /// Matching of messages to frames.
    pub alignment: Alignment,
    /// Source from which the messages descend; `None` for the messages of a foreign node.
    pub source: Option<SourceId>,
}

impl WiredInput {
    /// Wires an input under a name to the output `from`. Messages of an aligned input descend from its source.
    pub fn new(name: impl Into<String>, port: &InputPort, from: impl Into<String>, alignment: Alignment) -> Self {
        Self {
            name: name.into(),
            from: from.into(),
            ty: port.ty,
            required: port.required,
            hold: port.hold,
            alignment,
            source: alignment.source(),
        }
    }
}

/// Index of a source of frames in its flow, from 0 in the order of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct SourceId(pub usize);

/// Matching of an input's messages to frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// Aligned frame by frame with the other inputs that descend from this source.
    Source(SourceId),
    /// Side input: read without waiting. When `queue` messages are pending, the oldest is dropped and counted.
    Side {
        /// Maximum number of pending messages.
        queue: usize,
    },
    /// Feedback input: read without waiting. When [`FEEDBACK_QUEUE`] messages are pending, the oldest is dropped and counted.
    Feedback,
}

/// Maximum number of pending messages on a feedback input. An operator that processes its frames has far fewer; the limit
/// bounds the memory of one whose frames are all skipped.
pub const FEEDBACK_QUEUE: usize = 1024;

impl Alignment {
    /// Returns true for inputs that are matched frame by frame.
    pub fn is_aligned(self) -> bool {
        self.source().is_some()
    }

    /// Returns the maximum number of pending messages of a side or feedback input; `None` for an aligned input.
    pub fn queue(self) -> Option<usize> {
        match self {
            Alignment::Source(_) => None,
            Alignment::Side { queue } => Some(queue.max(1)),
            Alignment::Feedback => Some(FEEDBACK_QUEUE),
        }
    }

    /// Returns the source to whose frames an aligned input is matched.
    pub fn source(self) -> Option<SourceId> {
        match self {
            Alignment::Source(source) => Some(source),
            Alignment::Side { .. } | Alignment::Feedback => None,
        }
    }
}
