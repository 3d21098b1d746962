//! Plugin's side of the border: an [`Operator`] behind the functions of a [`Plugin`](abi::Plugin).

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
};

use serde::Deserialize;
use serde_json::Value;
use sideline_abi as abi;
use sideline_api::{
    Alignment, Body, Config, Context, Device, DynOperator, Error, Failure, Fault, Header, Inputs, Instance, Message,
    Mode, Operator, OperatorFactory, Outputs, Payload, PortType, Reason, Resources, Result, SourceId, Spec, StreamName,
    Values, WiredInput, arrow::array::Array, clock::Clock, config::Origin, factory, models::Models,
};

use crate::{
    Description,
    exchange::{array, exporter, frame, importer::Importer, schema, versioned},
    guest_log::with_host,
};

/// Plugin of a library, made at the first call of its exported function.
pub struct Export(OnceLock<abi::Plugin>);

impl Export {
    /// Creates an export that is not made yet.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Returns the plugin of an operator; null if its description panics.
    pub fn get<O: Operator>(&'static self) -> *const abi::Plugin {
        let make = || {
            let description: &'static str = Box::leak(Description::for_operator::<O>().to_json().into_boxed_str());
            abi::Plugin {
                size: size_of::<abi::Plugin>(),
                magic: abi::MAGIC,
                abi_major: abi::ABI_MAJOR,
                abi_minor: abi::ABI_MINOR,
                description: abi::Text::new(description),
                check: Some(check::<O>),
                make: Some(make::<O>),
                process: Some(process),
                stream_ended: Some(stream_ended),
                snapshot: Some(snapshot),
                roll_back: Some(roll_back),
                save: Some(save),
                load: Some(load),
                reconfigure: Some(reconfigure),
                close: Some(close),
                drop: Some(drop_operator),
            }
        };
        match catch_unwind(AssertUnwindSafe(|| std::ptr::from_ref(self.0.get_or_init(make)))) {
            Ok(plugin) => plugin,
            Err(panic) => {
                std::mem::forget(panic);
                std::ptr::null()
            }
        }
    }
}

impl Default for Export {
    fn default() -> Self {
        Self::new()
    }
}

/// Environment of an operator, as the host describes it in [`abi::Make::resources`].
#[derive(Deserialize)]
struct Environment {
    device: Device,
    run_dir: std::path::PathBuf,
    run: String,
    search: Vec<std::path::PathBuf>,
    /// Sideline home; empty without one.
    home: std::path::PathBuf,
    inputs: Vec<WiredForm>,
}

/// Wired input.
#[derive(Deserialize)]
struct WiredForm {
    name: String,
    from: String,
    /// Capacity of the queue of a side input.
    queue: Option<usize>,
    is_feedback: bool,
    source: Option<usize>,
}

/// Clock of the host. It may be read after the operator was dropped; it then stands.
struct HostClock(abi::Host);

// SAFETY: the host allows its functions to be called from any thread.
unsafe impl Send for HostClock {}
// SAFETY: as above.
unsafe impl Sync for HostClock {}

impl Clock for HostClock {
    fn now(&self) -> i64 {
        // SAFETY: the host's functions and their context live as long as the process.
        unsafe { (self.0.now)(self.0.context) }
    }
}

/// Operator with what it needs to be called.
struct Guest {
    operator: Box<dyn DynOperator>,
    host: abi::Host,
    clock: Arc<HostClock>,
    spec: Spec,
    node: String,
    mode: Mode,
    ports: Vec<WiredInput>,
    aligned: Vec<Option<Message>>,
    side: Vec<Vec<Message>>,
    slots: Vec<Option<Body>>,
    /// Memory of the rows that are sent.
    exporter: exporter::Exporter,
    /// Memory of the rows of each input.
    importers: Vec<Importer>,
    /// Names of the streams that were seen, so that all messages of a stream share one.
    streams: Vec<StreamName>,
    state_version: u32,
}

/// Reads a text.
///
/// # Safety
/// The text must be valid.
unsafe fn text<'a>(text: abi::Text) -> Result<&'a str> {
    // SAFETY: guaranteed by the caller.
    let bytes = unsafe { text.bytes() };
    std::str::from_utf8(bytes).map_err(|_| Error::other("a text of the host is not UTF-8"))
}

/// Runs `f`, and reports its fault to the host.
fn report(host: &abi::Host, error: *mut abi::Error, f: impl FnOnce() -> Result<(), Fault>) -> i32 {
    let outcome = catch_unwind(AssertUnwindSafe(|| with_host(host, f))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        // Dropping the payload may panic again.
        std::mem::forget(panic);
        Err(Fault::Panic(text.unwrap_or_else(|| "a panic without a message".into())))
    });
    let (failure, message, code) = match &outcome {
        Ok(()) => return abi::OK,
        Err(Fault::Error(error)) => (u32::from(error.failure.exit_code()), error.message.as_str(), abi::ERROR),
        Err(Fault::Panic(message)) => (abi::FAILURE_OTHER, message.as_str(), abi::PANIC),
    };
    // SAFETY: `error` is that of the running call, and the host copies the text.
    unsafe { (host.fail)(error, failure, abi::Text::new(message)) };
    code
}

/// Parses a configuration.
fn parse_values(json: &str) -> Result<Values> {
    let Ok(Value::Object(pairs)) = serde_json::from_str(json) else {
        return Err(Error::other("a configuration is a JSON object"));
    };
    let mut values = Values::new();
    for (key, value) in pairs {
        values.set(key, value, Origin::CommandLine);
    }
    Ok(values)
}

unsafe extern "C" fn check<O: Operator>(
    host: *const abi::Host,
    values: abi::Text,
    problems: *mut abi::Writer,
    error: *mut abi::Error,
) -> i32 {
    // SAFETY: the host gives a valid table.
    let Ok((host, _)) = (unsafe { versioned::read(host) }) else { return abi::ERROR };
    report(&host, error, || {
        // SAFETY: texts of the host are valid during the call.
        let values = parse_values(unsafe { text(values) }?)?;
        for problem in O::Config::from_values(&values).err().unwrap_or_default() {
            let line = format!("{}: {}\n", problem.key, problem.message.replace('\n', " "));
            // SAFETY: the writer is that of the running call.
            unsafe { (host.write)(problems, line.as_ptr(), line.len()) };
        }
        Ok(())
    })
}

unsafe extern "C" fn make<O: Operator>(
    make: *const abi::Make,
    operator: *mut *mut abi::Operator,
    error: *mut abi::Error,
) -> i32 {
    // SAFETY: the host gives valid arguments.
    let read = unsafe { versioned::read(make).and_then(|(make, _)| Ok((make, versioned::read(make.host)?.0))) };
    // Without a table of the host there is no way to say why.
    let Ok((make, host)) = read else { return abi::ERROR };
    report(&host, error, || {
        // SAFETY: as above.
        let guest = unsafe { Guest::new(&factory::operator::<O>(), O::STATE_VERSION, &make, host) }?;
        // SAFETY: as above.
        unsafe { *operator = Box::into_raw(Box::new(guest)).cast() };
        Ok(())
    })
}

impl Guest {
    /// Creates the operator.
    ///
    /// # Safety
    /// The arguments must be those of a call of `make`.
    unsafe fn new(
        factory: &dyn OperatorFactory,
        state_version: u32,
        make: &abi::Make,
        host: abi::Host,
    ) -> Result<Self> {
        // SAFETY: texts of the host are valid during the call.
        let (node, values, resources) = unsafe { (text(make.node)?, text(make.values)?, text(make.resources)?) };
        let values = parse_values(values)?;
        let environment: Environment = serde_json::from_str(resources)
            .map_err(|cause| Error::other(format!("the environment of the operator is damaged: {cause}")))?;
        let spec = factory.spec(&values)?;
        let mode = if make.mode == abi::MODE_LIVE { Mode::Live } else { Mode::Complete };
        let ports = environment.inputs.into_iter().map(|wired| wired.resolve(&spec)).collect::<Result<Vec<_>>>()?;
        let is_read = |i: usize| {
            // SAFETY: the host gives a byte for each declared output.
            i < make.output_count && !make.is_read.is_null() && unsafe { *make.is_read.add(i) } != 0
        };
        let outputs = spec.outputs.iter().enumerate().filter(|(i, _)| is_read(*i));
        let clock = Arc::new(HostClock(host));
        let resources = Resources {
            node: node.into(),
            mode,
            device: environment.device,
            run_dir: environment.run_dir,
            run: environment.run,
            inputs: ports.clone(),
            outputs: outputs.map(|(_, port)| port.name.to_owned()).collect(),
            search: environment.search,
            models: Arc::new(match environment.home.as_os_str().is_empty() {
                true => Models::default(),
                false => Models::open(environment.home)?,
            }),
            clock: clock.clone(),
        };
        let Instance::Operator(operator) = factory.make(&values, &resources)? else {
            return Err(Error::config("a plugin exports an operator, not a source"));
        };
        Ok(Self {
            operator,
            host,
            clock,
            node: node.into(),
            mode,
            aligned: vec![None; ports.len()],
            side: vec![vec![]; ports.len()],
            slots: vec![None; spec.outputs.len()],
            exporter: exporter::Exporter::default(),
            importers: ports.iter().map(|_| Importer::default()).collect(),
            ports,
            spec,
            streams: vec![],
            state_version,
        })
    }

    /// Returns the name of a stream.
    ///
    /// # Safety
    /// The text must be valid.
    unsafe fn stream(&mut self, name: abi::Text) -> Result<StreamName> {
        // SAFETY: guaranteed by the caller.
        let bytes = unsafe { name.bytes() };
        if let Some(known) = self.streams.iter().find(|known| known.as_bytes() == bytes) {
            return Ok(known.clone());
        }
        // SAFETY: as above.
        self.streams.push(unsafe { text(name) }?.into());
        Ok(self.streams[self.streams.len() - 1].clone())
    }

    /// Reads a header.
    ///
    /// # Safety
    /// The header must be valid.
    unsafe fn header(&mut self, header: *const abi::Header) -> Result<Header> {
        // SAFETY: guaranteed by the caller.
        let (header, _) = unsafe { versioned::read(header) }?;
        // SAFETY: as above.
        let stream = unsafe { self.stream(header.stream) }?;
        Ok(Header {
            stream,
            session: header.session,
            frame: header.frame,
            pts: header.pts,
            captured_at: header.captured_at,
            dropped: header.dropped,
            is_closing: header.is_closing != 0,
        })
    }

    /// Reads a message; returns it with its size.
    ///
    /// # Safety
    /// The message must be null or valid.
    unsafe fn message(&mut self, port: usize, message: *const abi::Message) -> Result<(Message, usize)> {
        // SAFETY: guaranteed by the caller.
        let (message, size) = unsafe { versioned::read(message) }?;
        let body = match message.kind {
            abi::KIND_TABLE => {
                // SAFETY: a valid message of this kind has an array; it is moved out, as the interface prescribes.
                let table = unsafe {
                    let Some(table) = message.table.as_mut() else { return Err(Error::other("a table is missing")) };
                    array::Imported::new(std::mem::replace(table, abi::ArrowArray::empty()))
                };
                let importer = &mut self.importers[port];
                let rows = match self.ports[port].ty {
                    // SAFETY: the host has checked the type of the message.
                    PortType::Table(ty) => unsafe { importer.import(table, &ty.description().fields) },
                    // SAFETY: the host gives the schema of the array.
                    PortType::Any | PortType::Frame => unsafe {
                        importer.import(table, &schema::read(message.schema)?)
                    },
                };
                Body::Data(Payload::Table(rows?))
            }
            // SAFETY: a valid message of this kind has a frame, which is lent for the call.
            abi::KIND_FRAME => Body::Data(Payload::Frame(Arc::new(unsafe { frame::import_lent(message.frame) }?))),
            // SAFETY: texts of the host are valid during the call.
            abi::KIND_SKIPPED => Body::Skipped(Reason::from(unsafe { text(message.reason) }?)),
            abi::KIND_END => Body::End { frames: message.end_frames },
            other => return Err(Error::other(format!("there is no kind of message {other}"))),
        };
        // SAFETY: a valid message has a header.
        let header = unsafe { self.header(message.header) }?;
        Ok((Message { header, n: message.number, body }, size))
    }

    /// Calls the operator for a frame, or for the end of a stream.
    ///
    /// # Safety
    /// `call` must be the arguments of a running call.
    unsafe fn call(&mut self, call: *const abi::Call, is_end: bool) -> Result<(), Fault> {
        // SAFETY: guaranteed by the caller.
        let result = unsafe { self.call_operator(call, is_end) };
        // The frames and rows of the inputs are released before the host goes on, also after an error.
        self.aligned.fill(None);
        self.side.iter_mut().for_each(Vec::clear);
        self.slots.fill(None);
        result
    }

    /// Reads the inputs, calls the operator, and sends its outputs.
    ///
    /// # Safety
    /// As for [`Guest::call`].
    unsafe fn call_operator(&mut self, call: *const abi::Call, is_end: bool) -> Result<(), Fault> {
        // SAFETY: guaranteed by the caller, here and below.
        let (call, _) = unsafe { versioned::read(call) }?;
        // SAFETY: as above.
        let header = unsafe { self.header(call.header) }?;
        if call.input_count != self.ports.len() {
            return Err(Error::other("a call has another number of inputs than its operator").into());
        }
        let mut input = call.inputs;
        for port in 0..call.input_count {
            // SAFETY: items are `size` bytes apart.
            let (current, size) = unsafe { versioned::read(input) }?;
            if !current.message.is_null() {
                // SAFETY: as above.
                self.aligned[port] = Some(unsafe { self.message(port, current.message) }?.0);
            }
            let mut side = current.side;
            for _ in 0..current.side_count {
                // SAFETY: as above.
                let (message, size) = unsafe { self.message(port, side) }?;
                self.side[port].push(message);
                // SAFETY: as above.
                side = unsafe { side.byte_add(size) };
            }
            // SAFETY: as above.
            input = unsafe { input.byte_add(size) };
        }
        let cx = Context::new(&header, &self.node, self.mode, &*self.clock);
        let inputs = Inputs::new(&self.spec, &self.ports, &self.aligned, &self.side);
        let mut outputs = Outputs::new(&self.spec.outputs, &mut self.slots);
        match is_end {
            false => self.operator.process(&cx, &inputs, &mut outputs)?,
            true => self.operator.stream_ended(&cx, &inputs, &mut outputs)?,
        }
        inputs.check_declared()?;
        for (i, slot) in self.slots.iter_mut().enumerate() {
            if let Some(body) = slot.take() {
                // SAFETY: the outputs are those of the running call.
                unsafe { send(&self.host, call.outputs, i, &self.spec.outputs[i].ty, body, &mut self.exporter) }?;
            }
        }
        if is_end {
            self.streams.retain(|stream| *stream != header.stream);
        }
        Ok(())
    }
}

impl WiredForm {
    fn resolve(self, spec: &Spec) -> Result<WiredInput> {
        let port = spec
            .find_input(&self.name)
            .ok_or_else(|| Error::config(format!("the operator declares no input `{}`", self.name)))?;
        Ok(WiredInput {
            from: self.from,
            ty: port.ty,
            required: port.required,
            hold: port.hold,
            alignment: match self.queue {
                _ if self.is_feedback => Alignment::Feedback,
                Some(queue) => Alignment::Side { queue },
                None => Alignment::Source(SourceId(self.source.unwrap_or_default())),
            },
            source: self.source.map(SourceId),
            name: self.name,
        })
    }
}

/// Sends the body of one output.
///
/// # Safety
/// `outputs` must be those of the running call.
unsafe fn send(
    host: &abi::Host,
    outputs: *mut abi::Outputs,
    output: usize,
    ty: &PortType,
    body: Body,
    exporter: &mut exporter::Exporter,
) -> Result<()> {
    // SAFETY: guaranteed by the caller; the host takes over arrays and frames.
    let code = unsafe {
        match body {
            Body::Data(Payload::Table(rows)) => {
                // Without a schema the array is of the declared type, which is the usual case and saves its description.
                let is_declared = matches!(ty, PortType::Table(table) if table.check(rows.data_type()).is_ok());
                let schema = if is_declared { None } else { Some(schema::LentSchema::new(rows.fields())?) };
                let pointer = schema.as_ref().map_or(std::ptr::null(), |schema| schema.as_ptr());
                let mut table = exporter.export(&rows)?;
                (host.set_table)(outputs, output, &mut table, pointer)
            }
            Body::Data(Payload::Frame(frame)) => (host.set_frame)(outputs, output, &frame::export(frame)),
            Body::Skipped(reason) => (host.set_skipped)(outputs, output, abi::Text::new(&reason.to_string())),
            Body::End { .. } => return Err(Error::other("an operator does not send the end of a stream")),
        }
    };
    // The host has kept the error, which names the output.
    if code == abi::OK { Ok(()) } else { Err(Error::new(Failure::Other, "an output was refused")) }
}

/// Calls a function with the operator.
///
/// # Safety
/// `operator` must be one that `make` has created.
unsafe fn with(
    operator: *mut abi::Operator,
    error: *mut abi::Error,
    f: impl FnOnce(&mut Guest) -> Result<(), Fault>,
) -> i32 {
    // SAFETY: guaranteed by the caller.
    let guest = unsafe { &mut *operator.cast::<Guest>() };
    let host = guest.host;
    report(&host, error, || f(guest))
}

unsafe extern "C" fn process(operator: *mut abi::Operator, call: *const abi::Call, error: *mut abi::Error) -> i32 {
    // SAFETY: the host gives valid arguments.
    unsafe { with(operator, error, |guest| guest.call(call, false)) }
}

unsafe extern "C" fn stream_ended(operator: *mut abi::Operator, call: *const abi::Call, error: *mut abi::Error) -> i32 {
    // SAFETY: the host gives valid arguments.
    unsafe { with(operator, error, |guest| guest.call(call, true)) }
}

unsafe extern "C" fn snapshot(operator: *mut abi::Operator, stream: abi::Text, error: *mut abi::Error) -> i32 {
    // SAFETY: the host gives valid arguments.
    unsafe { with(operator, error, |guest| guest.operator.snapshot(text(stream)?)) }
}

unsafe extern "C" fn roll_back(operator: *mut abi::Operator, stream: abi::Text, error: *mut abi::Error) -> i32 {
    // SAFETY: the host gives valid arguments.
    unsafe { with(operator, error, |guest| guest.operator.roll_back(text(stream)?)) }
}

unsafe extern "C" fn save(
    operator: *const abi::Operator,
    stream: abi::Text,
    into: *mut abi::Writer,
    error: *mut abi::Error,
) -> i32 {
    // SAFETY: the host gives valid arguments.
    let guest = unsafe { &*operator.cast::<Guest>() };
    report(&guest.host, error, || {
        let mut bytes = vec![];
        // SAFETY: as above.
        guest.operator.save(unsafe { text(stream) }?, &mut bytes)?;
        // The host writes the version, which is first here.
        let state = bytes.get(size_of::<u32>()..).unwrap_or_default();
        // SAFETY: the writer is that of the running call.
        unsafe { (guest.host.write)(into, state.as_ptr(), state.len()) };
        Ok(())
    })
}

unsafe extern "C" fn load(
    operator: *mut abi::Operator,
    stream: abi::Text,
    data: *const u8,
    length: usize,
    error: *mut abi::Error,
) -> i32 {
    // SAFETY: the host gives valid arguments.
    unsafe {
        with(operator, error, |guest| {
            let state = abi::Text { data, length }.bytes();
            // The host has checked the version, and does not pass it on.
            let mut bytes = guest.state_version.to_le_bytes().to_vec();
            bytes.extend(state);
            Ok(guest.operator.load(text(stream)?, &bytes)?)
        })
    }
}

unsafe extern "C" fn reconfigure(operator: *mut abi::Operator, values: abi::Text, error: *mut abi::Error) -> i32 {
    // SAFETY: the host gives valid arguments.
    unsafe { with(operator, error, |guest| Ok(guest.operator.reconfigure(&parse_values(text(values)?)?)?)) }
}

unsafe extern "C" fn close(operator: *mut abi::Operator, error: *mut abi::Error) -> i32 {
    // SAFETY: the host gives valid arguments.
    unsafe {
        with(operator, error, |guest| {
            let (closed, counts) = guest.operator.close();
            for (name, amount) in counts {
                (guest.host.count)(guest.host.context, abi::Text::new(&name), amount);
            }
            Ok(closed?)
        })
    }
}

unsafe extern "C" fn drop_operator(operator: *mut abi::Operator) {
    let operator = operator.cast::<c_void>().cast::<Guest>();
    // SAFETY: the host drops an operator that `make` has created, once.
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(unsafe { Box::from_raw(operator) })));
    if let Err(panic) = dropped {
        std::mem::forget(panic);
    }
}
