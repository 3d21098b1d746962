//! Arguments of an operator's methods: [`Context`], [`Inputs`] and [`Outputs`] of `process`, and [`Resources`] of `new`.

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
    clock::{Clock, WallClock},
    config::did_you_mean,
    models::{Models, user_model_path},
    port::{OutputPort, PortType},
    random::{STEP, mix},
    typed_ports::{InputPorts, OutputPorts},
};

/// Policy for frames that arrive while the window is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The source drops all frames but its newest one: low latency wins over completeness.
    Live,
    /// The source waits: every frame is processed, and a run is reproducible byte for byte.
    Complete,
}

/// Device on which models run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// A GPU if there is one, else the CPU; the choice is logged.
    #[default]
    Auto,
    /// CPU.
    Cpu,
    /// NVIDIA CUDA; the start fails where it cannot be used.
    Cuda,
    /// NVIDIA TensorRT; the start fails where it cannot be used.
    Tensorrt,
}

/// Environment in which an operator or source is created.
#[derive(Clone)]
pub struct Resources {
    /// Id of the node (fused: `node.operator`).
    pub node: String,
    /// Live or complete mode.
    pub mode: Mode,
    /// Device on which models run.
    pub device: Device,
    /// Folder of this run; it exists. It may hold the results of an earlier run, which stay intact until this run begins:
    /// write there from the first frame on, never in `new`.
    pub run_dir: PathBuf,
    /// Name of the run.
    pub run: String,
    /// Wired inputs.
    pub inputs: Vec<WiredInput>,
    /// Names of the outputs that have a reader. The others need not be computed.
    pub outputs: Vec<String>,
    /// Folders in which relative paths are looked up: the folder of the file that declares this node, the working
    /// directory, Sideline home.
    pub search: Vec<PathBuf>,
    /// Installed models.
    pub models: Arc<Models>,
    /// Clock of the run.
    pub clock: Arc<dyn Clock>,
}

impl Resources {
    /// Creates the resources of a node outside of a run: `complete` mode, any device, wall clock, the system's folder for
    /// temporary files; no wired input, no read output, no models.
    pub fn new(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            mode: Mode::Complete,
            device: Device::default(),
            run_dir: std::env::temp_dir(),
            run: String::new(),
            inputs: vec![],
            outputs: vec![],
            search: vec![],
            models: Arc::default(),
            clock: Arc::new(WallClock),
        }
    }

    /// Finds a file: beside the flow that names it, in the working directory, or in Sideline home.
    ///
    /// # Errors
    /// When there is no such file; the error lists the paths that were tried.
    pub fn find(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        find_file(path.as_ref(), &self.search)
    }

    /// Returns true if an edge leads to the input.
    pub fn is_wired(&self, input: &str) -> bool {
        self.inputs.iter().any(|wired| wired.name == input)
    }

    /// Returns true if the output has a reader.
    pub fn is_read(&self, output: &str) -> bool {
        self.outputs.iter().any(|read| read == output)
    }

    /// Returns the path of a model file: of a model in models.yml by its name, with its checksum verified, or of the
    /// user's own file by its path ([`models::user_model_path`](crate::models::user_model_path)).
    ///
    /// # Errors
    /// When the model is unknown, or its file is missing or changed.
    pub fn model(&self, model: &str) -> Result<PathBuf> {
        match user_model_path(model) {
            Some(path) => self.find(path).map_err(|missing| Error { failure: Failure::Model, ..missing }),
            None => self.models.verify(model),
        }
    }
}

/// Looks for a file in each folder in turn and returns the first path that exists.
///
/// # Errors
/// When there is no such file; the error lists the paths that were tried.
pub fn find_file(path: &Path, folders: &[PathBuf]) -> Result<PathBuf> {
    if path.is_absolute() {
        return if path.exists() {
            Ok(path.to_owned())
        } else {
            Err(Error::input(format!("{}: no such file", path.display())))
        };
    }
    let mut candidates: Vec<PathBuf> = folders.iter().map(|folder| folder.join(path)).collect();
    candidates.dedup();
    candidates.iter().find(|candidate| candidate.exists()).cloned().ok_or_else(|| {
        let candidates: Vec<String> = candidates.iter().map(|p| p.display().to_string()).collect();
        Error::input(format!("{}: no such file; looked for {}", path.display(), candidates.join(", ")))
    })
}

/// Context of a call: the frame being processed, the node and the clock.
pub struct Context<'a> {
    /// Header of the frame.
    pub header: &'a Header,
    /// Id of the node.
    pub node: &'a str,
    /// Live or complete mode.
    pub mode: Mode,
    pub(crate) clock: &'a dyn Clock,
}

impl<'a> Context<'a> {
    /// Creates the context of a call, for code that calls an operator in place of the driver.
    pub fn new(header: &'a Header, node: &'a str, mode: Mode, clock: &'a dyn Clock) -> Self {
        Self { header, node, mode, clock }
    }

    /// Returns the wall-clock time in nanoseconds since 1970. For measurements only: it never goes into a table.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Returns the media time of the frame in seconds.
    pub fn seconds(&self) -> f64 {
        self.header.pts as f64 * 1e-9
    }

    /// Returns a random seed that depends only on the node, the stream and the frame number.
    pub fn seed(&self) -> u64 {
        // FNV-1a over node and stream, then the frame through SplitMix64's finalizer.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.node.bytes().chain(self.header.stream.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        mix(hash.wrapping_add(self.header.frame.wrapping_mul(STEP)))
    }
}

/// Context of a source while it produces frames.
#[derive(Clone)]
pub struct SourceContext {
    /// Live or complete mode.
    pub mode: Mode,
    /// Clock of the run.
    pub clock: Arc<dyn Clock>,
    pub(crate) stop: Arc<AtomicBool>,
}

impl SourceContext {
    /// Creates a context whose [`Self::is_stopping`] becomes true when `stop` does.
    pub fn new(mode: Mode, clock: Arc<dyn Clock>, stop: Arc<AtomicBool>) -> Self {
        Self { mode, clock, stop }
    }

    /// Returns true once the run is to end. The source should then return `None` soon.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits until `due` (nanoseconds since 1970), or until the run is stopped.
    pub fn pace(&self, due: i64) {
        while !self.is_stopping() {
            let left = due - self.clock.now();
            if left <= 0 {
                return;
            }
            // Sleeps at most 20 ms at a time, so that a stop is noticed within 20 ms.
            std::thread::sleep(Duration::from_nanos(left.min(20_000_000) as u64));
        }
    }
}

/// Inputs of one frame.
///
/// Reading an input that the operator's [`Spec`] does not declare is an error of the frame, reported by the runtime after
/// `process`.
pub struct Inputs<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) ports: &'a [WiredInput],
    pub(crate) aligned: &'a [Option<Message>],
    pub(crate) side: &'a [Vec<Message>],
    /// First undeclared input that was read.
    pub(crate) undeclared: RefCell<Option<String>>,
}

impl<'a> Inputs<'a> {
    /// Creates the inputs of a call, for code that calls an operator in place of the driver. `aligned` and `side` have an item
    /// for each of `ports`.
    pub fn new(
        spec: &'a Spec,
        ports: &'a [WiredInput],
        aligned: &'a [Option<Message>],
        side: &'a [Vec<Message>],
    ) -> Self {
        Self { spec, ports, aligned, side, undeclared: RefCell::default() }
    }

    fn index(&self, name: &str) -> Option<usize> {
        let wired = self.ports.iter().position(|port| port.name == name);
        if wired.is_none() && self.spec.find_input(name).is_none() {
            self.undeclared.borrow_mut().get_or_insert_with(|| name.to_owned());
        }
        wired
    }

    /// Checks that the operator has read declared inputs only.
    ///
    /// # Errors
    /// When it has read another one; the error names the first.
    pub fn check_declared(&self) -> Result<()> {
        let Some(name) = self.undeclared.borrow_mut().take() else { return Ok(()) };
        let names = self.spec.inputs.iter().map(|port| port.name);
        Err(Error::other(format!("the operator declares no input `{name}`{}", did_you_mean(&name, names))))
    }

    /// Returns all inputs as the fields of a struct.
    ///
    /// # Errors
    /// When a message is not of the type of its port.
    pub fn read<I: InputPorts<'a>>(&self) -> Result<I> {
        I::read(self)
    }

    /// Returns the message of this frame on a port; `None` if the port is unwired, or a `hold` port has had no data yet.
    pub fn message(&self, name: &str) -> Option<&'a Message> {
        self.aligned[self.index(name)?].as_ref()
    }

    /// Returns the data of this frame on a port; `None` if the port is unwired or the frame skipped.
    pub fn payload(&self, name: &str) -> Option<&'a Payload> {
        match &self.message(name)?.body {
            Body::Data(payload) => Some(payload),
            _ => None,
        }
    }

    /// Returns the video frame on a port.
    ///
    /// # Errors
    /// When there is none, which cannot happen on a `required` port of frames.
    pub fn frame(&self, name: &str) -> Result<&'a Arc<Frame>> {
        match self.payload(name) {
            Some(Payload::Frame(frame)) => Ok(frame),
            _ => Err(Error::other(format!("input `{name}` has no frame here"))),
        }
    }

    /// Returns the rows on a `required` port.
    ///
    /// # Errors
    /// When the port carries another table or frames, or has no data, which cannot happen on a `required` port.
    pub fn required_rows<T: Table>(&self, name: &str) -> Result<Vec<T>> {
        self.rows(name)?.ok_or_else(|| {
            Error::other(format!(
                "input `{name}` has no rows here; read an input that is not `required` with `rows`, which returns `None` then"
            ))
        })
    }

    /// Returns the rows on a port; `None` if the port is unwired or the frame skipped.
    ///
    /// # Errors
    /// When the port carries another table, or frames.
    pub fn rows<T: Table>(&self, name: &str) -> Result<Option<Vec<T>>> {
        match self.payload(name) {
            Some(Payload::Table(table)) => T::decode(table).map(Some),
            Some(Payload::Frame(_)) => Err(Error::other(format!("input `{name}` holds frames, not rows"))),
            None => Ok(None),
        }
    }

    /// Returns the messages that arrived on a side or feedback input since the last call.
    pub fn side(&self, name: &str) -> &'a [Message] {
        self.index(name).map_or(&[], |i| &self.side[i])
    }

    /// Iterates over all wired ports with their messages of this frame.
    pub fn all(&self) -> impl Iterator<Item = (&'a WiredInput, Option<&'a Message>)> {
        self.ports.iter().zip(self.aligned.iter().map(Option::as_ref))
    }

    /// Iterates over all wired side and feedback ports with the messages that arrived since the last call.
    pub fn all_side(&self) -> impl Iterator<Item = (&'a WiredInput, &'a [Message])> {
        self.ports.iter().zip(self.side.iter().map(Vec::as_slice)).filter(|(port, _)| !port.alignment.is_aligned())
    }
}

/// Outputs of one frame. Each may be set once; one that is not set is sent as an empty table.
pub struct Outputs<'a> {
    pub(crate) ports: &'a [OutputPort],
    pub(crate) slots: &'a mut [Option<Body>],
}

impl<'a> Outputs<'a> {
    /// Creates the outputs of a call, for code that calls an operator in place of the driver. `slots` has an item for each of
    /// `ports`, `None` at first.
    pub fn new(ports: &'a [OutputPort], slots: &'a mut [Option<Body>]) -> Self {
        Self { ports, slots }
    }

    /// Returns the declared outputs.
    pub fn ports(&self) -> &'a [OutputPort] {
        self.ports
    }

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

    /// Sends all outputs, which are the fields of a struct.
    ///
    /// # Errors
    /// When an output was set before.
    pub fn send(&mut self, outputs: impl OutputPorts) -> Result<()> {
        outputs.send(self)
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

    /// Marks the output as skipped for a reason.
    ///
    /// # Errors
    /// When the output is unknown or already set.
    pub fn skip(&mut self, name: &str, reason: Reason) -> Result<()> {
        self.set(name, Body::Skipped(reason), None)
    }
}
