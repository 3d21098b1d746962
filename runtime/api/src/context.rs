//! What `process` is handed: the frame it is about, the inputs, the outputs; and what `new` is handed: the resources.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arrow_array::StructArray;

use crate::{
    Body, Error, Failure, Frame, Header, Message, Payload, Reason, Result, Spec, Table, WiredInput,
    clock::Clock,
    config::did_you_mean,
    models::{Models, own_file},
    port::{OutputPort, PortType},
    random::{STEP, mixed},
};

/// How a run treats frames that it has no time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The source forgets all but its newest frame when the window is full: newest frames win.
    Live,
    /// The source waits: every frame is handled, and a run gives the same bytes again.
    Complete,
}

/// Where models run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// A GPU where there is one, else the CPU; what was chosen is logged.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// NVIDIA CUDA; fails where it cannot be used.
    Cuda,
    /// NVIDIA TensorRT; fails where it cannot be used.
    Tensorrt,
}

/// What an operator may use to set itself up.
#[derive(Clone)]
pub struct Resources {
    /// Id of the node (fused: `node.operator`).
    pub node: String,
    /// Live or complete.
    pub mode: Mode,
    /// Where models run.
    pub device: Device,
    /// The folder of this run; it exists. It may hold an earlier run, which stays whole until this one begins: nothing is
    /// written there in `new`, only from the first frame on.
    pub run_dir: PathBuf,
    /// Name of the run.
    pub run: String,
    /// The inputs as they are wired.
    pub inputs: Vec<WiredInput>,
    /// Names of the outputs that somebody reads: what nobody reads need not be made.
    pub outputs: Vec<String>,
    /// Folder of the file that names this node, then the working directory, then the house of Sideline.
    pub search: Vec<PathBuf>,
    /// The models that are installed.
    pub models: Arc<Models>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl Resources {
    /// Finds a file: beside the flow that names it, in the working directory, in the house of Sideline.
    ///
    /// # Errors
    /// Lists the places.
    pub fn find(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        find_file(path.as_ref(), &self.search)
    }

    /// True when something is wired to an input.
    pub fn is_wired(&self, input: &str) -> bool {
        self.inputs.iter().any(|wired| wired.name == input)
    }

    /// True when somebody reads an output.
    pub fn is_read(&self, output: &str) -> bool {
        self.outputs.iter().any(|read| read == output)
    }

    /// The file of a model: of models.yml by its name, its checksum verified, or one's own by its path
    /// ([`models::own_file`](crate::models::own_file)).
    ///
    /// # Errors
    /// When it is unknown, missing or changed.
    pub fn model(&self, model: &str) -> Result<PathBuf> {
        match own_file(model) {
            Some(path) => self.find(path).map_err(|missing| Error { failure: Failure::Model, ..missing }),
            None => self.models.verified(model),
        }
    }
}

/// Looks for a file in each folder in turn.
///
/// # Errors
/// Lists the places.
pub fn find_file(path: &Path, folders: &[PathBuf]) -> Result<PathBuf> {
    if path.is_absolute() {
        return if path.exists() {
            Ok(path.to_owned())
        } else {
            Err(Error::input(format!("{}: no such file", path.display())))
        };
    }
    let mut places: Vec<PathBuf> = folders.iter().map(|folder| folder.join(path)).collect();
    places.dedup();
    places.iter().find(|place| place.exists()).cloned().ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
        Error::input(format!("{}: no such file; looked for {}", path.display(), places.join(", ")))
    })
}

/// The frame that `process` is about.
pub struct Context<'a> {
    /// Which frame.
    pub header: &'a Header,
    /// Id of the node.
    pub node: &'a str,
    /// Live or complete.
    pub mode: Mode,
    pub(crate) clock: &'a dyn Clock,
}

impl Context<'_> {
    /// The wall clock, nanoseconds since 1970: for times, which never go into tables.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Media time of the frame in seconds.
    pub fn seconds(&self) -> f64 {
        self.header.pts as f64 * 1e-9
    }

    /// A seed that is the same each time this node sees this frame.
    pub fn seed(&self) -> u64 {
        // FNV-1a over node and stream, then the frame through SplitMix64's finaliser.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.node.bytes().chain(self.header.stream.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        mixed(hash.wrapping_add(self.header.frame.wrapping_mul(STEP)))
    }
}

/// What a source may ask while it makes frames.
#[derive(Clone)]
pub struct SourceContext {
    /// Live or complete.
    pub mode: Mode,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    pub(crate) stop: Arc<AtomicBool>,
}

impl SourceContext {
    /// A context whose `stopping` becomes true when `stop` does.
    pub fn new(mode: Mode, clock: Arc<dyn Clock>, stop: Arc<AtomicBool>) -> Self {
        Self { mode, clock, stop }
    }

    /// True once the run is to end: return `None` soon.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits until `due` (nanoseconds since 1970), or until the run is stopped.
    pub fn pace(&self, due: i64) {
        while !self.stopping() {
            let left = due - self.clock.now();
            if left <= 0 {
                return;
            }
            // Short naps, so that a stop is seen within 20 ms.
            std::thread::sleep(Duration::from_nanos(left.min(20_000_000) as u64));
        }
    }
}

/// The inputs of one frame.
///
/// A name that the operator's [`Spec`] does not declare is an error of the frame, reported by the runtime after `process`.
pub struct Inputs<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) ports: &'a [WiredInput],
    pub(crate) aligned: &'a [Option<Message>],
    pub(crate) side: &'a [Vec<Message>],
    /// The first undeclared name that was asked for.
    pub(crate) undeclared: RefCell<Option<String>>,
}

impl<'a> Inputs<'a> {
    fn index(&self, name: &str) -> Option<usize> {
        let wired = self.ports.iter().position(|port| port.name == name);
        if wired.is_none() && self.spec.find_input(name).is_none() {
            self.undeclared.borrow_mut().get_or_insert_with(|| name.to_owned());
        }
        wired
    }

    /// Returns the error of an operator that asked for an input it does not declare.
    pub(crate) fn misuse(&self) -> Result<()> {
        let Some(name) = self.undeclared.borrow_mut().take() else { return Ok(()) };
        let names = self.spec.inputs.iter().map(|port| port.name);
        Err(Error::other(format!("the operator declares no input `{name}`{}", did_you_mean(&name, names))))
    }

    /// The message of this frame on a port; `None` where nothing is wired, or, on a `hold` port, nothing came yet.
    pub fn message(&self, name: &str) -> Option<&'a Message> {
        self.aligned[self.index(name)?].as_ref()
    }

    /// The data of this frame on a port; `None` where it is unwired or skipped.
    pub fn payload(&self, name: &str) -> Option<&'a Payload> {
        match &self.message(name)?.body {
            Body::Data(payload) => Some(payload),
            _ => None,
        }
    }

    /// The frame on a port.
    ///
    /// # Errors
    /// When there is none: ask only for what is `required`.
    pub fn frame(&self, name: &str) -> Result<&'a Arc<Frame>> {
        match self.payload(name) {
            Some(Payload::Frame(frame)) => Ok(frame),
            _ => Err(Error::other(format!("input `{name}` has no frame here"))),
        }
    }

    /// The rows on a port; `None` where it is unwired or skipped.
    ///
    /// # Errors
    /// When the table is of another type.
    pub fn rows<T: Table>(&self, name: &str) -> Result<Option<Vec<T>>> {
        match self.payload(name) {
            Some(Payload::Table(table)) => T::decode(table).map(Some),
            Some(Payload::Frame(_)) => Err(Error::other(format!("input `{name}` holds frames, not rows"))),
            None => Ok(None),
        }
    }

    /// The messages that came on a side or feedback input since the last call.
    pub fn side(&self, name: &str) -> &'a [Message] {
        self.index(name).map_or(&[], |i| &self.side[i])
    }

    /// Every wired port with its message of this frame.
    pub fn all(&self) -> impl Iterator<Item = (&'a WiredInput, Option<&'a Message>)> {
        self.ports.iter().zip(self.aligned.iter().map(Option::as_ref))
    }

    /// Every wired side port with the messages that came since the last call.
    pub fn all_side(&self) -> impl Iterator<Item = (&'a WiredInput, &'a [Message])> {
        self.ports.iter().zip(self.side.iter().map(Vec::as_slice)).filter(|(port, _)| !port.alignment.is_ordinary())
    }
}

/// The outputs of one frame. Each may be set once; one that is not set goes out as an empty table.
pub struct Outputs<'a> {
    pub(crate) ports: &'a [OutputPort],
    pub(crate) slots: &'a mut [Option<Body>],
}

impl Outputs<'_> {
    fn set(&mut self, name: &str, body: Body, ty: Option<PortType>) -> Result<()> {
        let Some(i) = self.ports.iter().position(|port| port.name == name) else {
            let names = self.ports.iter().map(|p| p.name);
            return Err(Error::other(format!("there is no output `{name}`{}", did_you_mean(name, names))));
        };
        if let Some(ty) = ty
            && !self.ports[i].ty.accepts(&ty)
        {
            return Err(Error::other(format!("output `{name}` sends {}, not {}", self.ports[i].ty.name(), ty.name())));
        }
        if self.slots[i].is_some() {
            return Err(Error::other(format!("output `{name}` was set twice for one frame")));
        }
        self.slots[i] = Some(body);
        Ok(())
    }

    /// Sends rows.
    ///
    /// # Errors
    /// When the output is unknown, of another type, or already set.
    pub fn rows<T: Table>(&mut self, name: &str, rows: &[T]) -> Result<()> {
        self.set(name, Body::Data(Payload::Table(Arc::new(T::encode(rows)))), Some(PortType::table::<T>()))
    }

    /// Sends a table that is already a struct array.
    ///
    /// # Errors
    /// When the output is unknown or already set.
    pub fn table(&mut self, name: &str, rows: Arc<StructArray>) -> Result<()> {
        self.set(name, Body::Data(Payload::Table(rows)), None)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the output is unknown, of another type, or already set.
    pub fn frame(&mut self, name: &str, frame: Arc<Frame>) -> Result<()> {
        self.set(name, Body::Data(Payload::Frame(frame)), Some(PortType::Frame))
    }

    /// Says that there is nothing, and why.
    ///
    /// # Errors
    /// When the output is unknown or already set.
    pub fn skip(&mut self, name: &str, reason: Reason) -> Result<()> {
        self.set(name, Body::Skipped(reason), None)
    }
}
