//! Operator of a plugin behind [`DynOperator`].

use std::{ptr::NonNull, sync::Arc};

use sideline_abi as abi;
use sideline_api::{
    Body, Context, DynOperator, Error, Fault, Header, Inputs, Message, Outputs, Payload, PortType, Result, Spec,
    Values, arrow::schema::Fields, config::Key,
};

use super::{
    host::{Environment, HostHandle, Sink, Slots, kind, mode},
    to_json,
};
use crate::{
    Description,
    exchange::{
        exporter,
        frame::{KeptFrames, Lent},
        importer::Importer,
        schema::LentSchema,
    },
};

/// Maximum number of frames that an operator may keep. An operator works on one frame at a time; the decoder cannot reuse the
/// buffer of a frame that is kept.
const MAX_KEPT_FRAMES: usize = 64;

/// Operator of a plugin.
pub struct PluginOperator {
    plugin: abi::Plugin,
    operator: NonNull<abi::Operator>,
    /// Functions that the plugin may call, with its environment.
    host: HostHandle,
    keys: Vec<Key>,
    state_version: u32,
    /// Schemas of the rows that inputs lend, by columns.
    schemas: Vec<(Fields, LentSchema)>,
    scratch: Scratch,
    /// Memory of the rows of each output.
    importers: Vec<Importer>,
    kept: Arc<KeptFrames>,
    /// Copies of states, for a plugin without `snapshot`.
    copies: Vec<(String, Vec<u8>)>,
}

// SAFETY: a plugin allows its operator to be called on any thread, by one at a time; the pointers in `scratch` are used during
// one call only.
unsafe impl Send for PluginOperator {}

/// Memory for the arguments of a call, kept from call to call.
#[derive(Default)]
struct Scratch {
    headers: Vec<abi::Header>,
    arrays: Vec<abi::ArrowArray>,
    frames: Vec<abi::Frame>,
    lent: Vec<Lent>,
    messages: Vec<abi::Message>,
    inputs: Vec<abi::Input>,
    reasons: Vec<String>,
    /// Memory of the rows that are lent.
    exporter: exporter::Exporter,
}

impl PluginOperator {
    /// Makes an operator.
    ///
    /// # Errors
    /// The error of the plugin.
    pub fn make(
        plugin: &abi::Plugin,
        description: &Description,
        spec: &Spec,
        environment: Environment,
    ) -> Result<Self> {
        let host = HostHandle::new(environment);
        let environment = &host.environment;
        let resources = &environment.resources;
        let names: Vec<abi::Text> = resources.inputs.iter().map(|input| abi::Text::new(&input.name)).collect();
        let is_read: Vec<u8> = spec.outputs.iter().map(|port| u8::from(resources.is_read(port.name))).collect();
        let (values, description_of_resources) = (environment.values_json(), environment.resources_json());
        let arguments = abi::Make {
            size: size_of::<abi::Make>(),
            host: host.functions,
            node: abi::Text::new(&resources.node),
            mode: mode(resources.mode),
            reserved: 0,
            values: abi::Text::new(&values),
            inputs: names.as_ptr(),
            input_count: names.len(),
            is_read: is_read.as_ptr(),
            output_count: is_read.len(),
            resources: abi::Text::new(&description_of_resources),
        };
        let mut operator = std::ptr::null_mut();
        let mut sink = Sink::default();
        let Some(make) = plugin.make else { return Err(Error::config("the plugin cannot make an operator")) };
        // SAFETY: the arguments are valid during the call, the host's functions as long as the process.
        let code = unsafe { make(&arguments, &mut operator, sink.as_ptr()) };
        sink.fault(code).map_err(|fault| match fault {
            Fault::Error(error) => error,
            Fault::Panic(message) => Error::other(format!("panicked while it was created: {message}")),
        })?;
        let Some(operator) = NonNull::new(operator) else {
            return Err(Error::other("the plugin made no operator and gave no reason"));
        };
        Ok(Self {
            plugin: *plugin,
            operator,
            host,
            keys: description.keys(),
            state_version: description.state_version,
            schemas: vec![],
            scratch: Scratch::default(),
            importers: spec.outputs.iter().map(|_| Importer::default()).collect(),
            kept: Arc::default(),
            copies: vec![],
        })
    }

    /// Calls `process` or `stream_ended`.
    fn call(
        &mut self,
        function: unsafe extern "C" fn(*mut abi::Operator, *const abi::Call, *mut abi::Error) -> i32,
        cx: &Context,
        input: &Inputs,
        out: &mut Outputs,
    ) -> Result<(), Fault> {
        let scratch = &mut self.scratch;
        let header = c_header(cx.header);
        let filled = scratch.fill(input, &mut self.schemas, &self.kept);
        let result = filled.map_err(Fault::from).and_then(|()| {
            let mut slots =
                Slots { out, lent: &scratch.lent, kept: &self.kept, importers: &mut self.importers, error: None };
            let call = abi::Call {
                size: size_of::<abi::Call>(),
                header: &header,
                seed: cx.seed(),
                inputs: scratch.inputs.as_ptr(),
                input_count: scratch.inputs.len(),
                outputs: (&raw mut slots).cast(),
            };
            let mut sink = Sink::default();
            // SAFETY: the arguments are valid during the call.
            let code = unsafe { function(self.operator.as_ptr(), &call, sink.as_ptr()) };
            match (slots.error, sink.fault(code)) {
                // An output that was refused is the cause of an error of the call.
                (Some(error), Ok(()) | Err(Fault::Error(_))) => Err(error.into()),
                (_, result) => result,
            }
        });
        self.scratch.clear();
        result?;
        let kept = self.kept.count();
        if kept > MAX_KEPT_FRAMES {
            return Err(Error::other(format!(
                "the plugin keeps {kept} frames, at most {MAX_KEPT_FRAMES} are allowed: each frame that it retains has to be \
                 released"
            ))
            .into());
        }
        Ok(())
    }

    fn operator(&self) -> *mut abi::Operator {
        self.operator.as_ptr()
    }

    /// Serializes a state without its version.
    fn save_bytes(&self, stream: &str) -> Result<Vec<u8>, Fault> {
        let (mut bytes, mut sink) = (Vec::<u8>::new(), Sink::default());
        let Some(save) = self.plugin.save else { return Ok(bytes) };
        // SAFETY: the arguments are valid during the call.
        let code = unsafe { save(self.operator(), abi::Text::new(stream), (&raw mut bytes).cast(), sink.as_ptr()) };
        sink.fault(code)?;
        Ok(bytes)
    }

    /// Replaces a state by serialized bytes without a version, none for a new state.
    fn load_bytes(&mut self, stream: &str, bytes: &[u8]) -> Result<(), Fault> {
        let Some(load) = self.plugin.load else { return Ok(()) };
        let mut sink = Sink::default();
        // SAFETY: the arguments are valid during the call.
        let code = unsafe { load(self.operator(), abi::Text::new(stream), bytes.as_ptr(), bytes.len(), sink.as_ptr()) };
        sink.fault(code)
    }
}

fn c_header(header: &Header) -> abi::Header {
    abi::Header {
        size: size_of::<abi::Header>(),
        stream: abi::Text::new(&header.stream),
        frame: header.frame,
        pts: header.pts,
        captured_at: header.captured_at,
        dropped: header.dropped,
        session: header.session,
        is_closing: u32::from(header.is_closing),
    }
}

impl Scratch {
    /// Describes the inputs of a call.
    fn fill(&mut self, input: &Inputs, schemas: &mut Vec<(Fields, LentSchema)>, kept: &Arc<KeptFrames>) -> Result<()> {
        let side: usize = input.all_side().map(|(_, messages)| messages.len()).sum();
        let count = input.all().count() + side;
        // The pointers between these vectors stay valid because none of them grows beyond this capacity.
        self.headers.reserve(count);
        self.arrays.reserve(count);
        self.frames.reserve(count);
        self.lent.reserve(count);
        self.messages.reserve(count);
        self.reasons.reserve(count);
        let mut all_side = input.all_side();
        for (port, message) in input.all() {
            let message = match message {
                Some(message) => self.add(message, &port.ty, schemas, kept)?,
                None => std::ptr::null(),
            };
            let messages = match port.alignment.is_aligned() {
                true => &[],
                false => all_side.next().map_or(&[][..], |(_, messages)| messages),
            };
            let (mut side, side_count) = (std::ptr::null(), messages.len());
            for (i, message) in messages.iter().enumerate() {
                let added = self.add(message, &port.ty, schemas, kept)?;
                if i == 0 {
                    side = added;
                }
            }
            self.inputs.push(abi::Input { size: size_of::<abi::Input>(), message, side, side_count });
        }
        Ok(())
    }

    /// Describes a message.
    fn add(
        &mut self,
        message: &Message,
        ty: &PortType,
        schemas: &mut Vec<(Fields, LentSchema)>,
        kept: &Arc<KeptFrames>,
    ) -> Result<*const abi::Message> {
        self.headers.push(c_header(&message.header));
        let mut described = abi::Message {
            size: size_of::<abi::Message>(),
            kind: kind(&message.body),
            reserved: 0,
            header: last(&self.headers),
            number: message.n,
            end_frames: 0,
            reason: abi::Text::new(""),
            table: std::ptr::null_mut(),
            schema: std::ptr::null(),
            frame: std::ptr::null(),
        };
        match &message.body {
            Body::Data(Payload::Table(rows)) => {
                self.arrays.push(self.exporter.export(rows)?);
                described.table = last(&self.arrays).cast_mut();
                let fields = match ty {
                    PortType::Table(table) => &table.description().fields,
                    PortType::Any | PortType::Frame => rows.fields(),
                };
                described.schema = schema(schemas, fields)?;
            }
            Body::Data(Payload::Frame(frame)) => {
                self.lent.push(Lent::new(frame, kept));
                self.frames.push(self.lent[self.lent.len() - 1].describe());
                described.frame = last(&self.frames);
            }
            Body::Skipped(reason) => {
                self.reasons.push(reason.to_string());
                described.reason = abi::Text::new(&self.reasons[self.reasons.len() - 1]);
            }
            Body::End { frames } => described.end_frames = *frames,
        }
        self.messages.push(described);
        Ok(last(&self.messages))
    }

    /// Releases what the plugin has left.
    fn clear(&mut self) {
        for array in &mut self.arrays {
            if let Some(release) = array.release {
                // SAFETY: the array was exported for this call, and not moved by the plugin.
                unsafe { release(array) };
            }
        }
        self.headers.clear();
        self.arrays.clear();
        self.frames.clear();
        self.lent.clear();
        self.messages.clear();
        self.inputs.clear();
        self.reasons.clear();
    }
}

/// Returns the address of the last item, which stays valid while the vector does not grow beyond its capacity.
fn last<T>(items: &[T]) -> *const T {
    items.last().map_or(std::ptr::null(), std::ptr::from_ref)
}

/// Returns the schema of rows with these columns, made once.
fn schema(schemas: &mut Vec<(Fields, LentSchema)>, fields: &Fields) -> Result<*const abi::ArrowSchema> {
    let is_same = |known: &Fields| std::ptr::eq(known.as_ref(), fields.as_ref()) || known == fields;
    if let Some((_, lent)) = schemas.iter().find(|(known, _)| is_same(known)) {
        return Ok(lent.as_ptr());
    }
    let lent = LentSchema::new(fields)?;
    let pointer = lent.as_ptr();
    schemas.push((fields.clone(), lent));
    Ok(pointer)
}

impl DynOperator for PluginOperator {
    fn process(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault> {
        match self.plugin.process {
            Some(process) => self.call(process, cx, input, out),
            None => Err(Error::other("the plugin has no `process`").into()),
        }
    }

    fn stream_ended(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault> {
        self.copies.retain(|(stream, _)| **stream != *cx.header.stream);
        match self.plugin.stream_ended {
            Some(stream_ended) => self.call(stream_ended, cx, input, out),
            None => self.load_bytes(&cx.header.stream, &[]),
        }
    }

    fn snapshot(&mut self, stream: &str) -> Result<(), Fault> {
        if let Some(snapshot) = self.plugin.snapshot {
            let mut sink = Sink::default();
            // SAFETY: the arguments are valid during the call.
            let code = unsafe { snapshot(self.operator(), abi::Text::new(stream), sink.as_ptr()) };
            return sink.fault(code);
        }
        let bytes = self.save_bytes(stream)?;
        self.copies.retain(|(known, _)| known != stream);
        self.copies.push((stream.into(), bytes));
        Ok(())
    }

    fn roll_back(&mut self, stream: &str) -> Result<(), Fault> {
        if let Some(roll_back) = self.plugin.roll_back {
            let mut sink = Sink::default();
            // SAFETY: the arguments are valid during the call.
            let code = unsafe { roll_back(self.operator(), abi::Text::new(stream), sink.as_ptr()) };
            return sink.fault(code);
        }
        let copy = self.copies.iter().find(|(known, _)| known == stream).map(|(_, bytes)| bytes.clone());
        self.load_bytes(stream, &copy.unwrap_or_default())
    }

    fn save(&self, stream: &str, into: &mut Vec<u8>) -> Result<()> {
        let bytes = self.save_bytes(stream).map_err(Fault::into_error)?;
        if !bytes.is_empty() {
            into.extend(self.state_version.to_le_bytes());
            into.extend(bytes);
        }
        Ok(())
    }

    fn load(&mut self, stream: &str, bytes: &[u8]) -> Result<()> {
        let Some((version, state)) = bytes.split_first_chunk::<4>() else {
            return Err(Error::other("a saved state has at least 4 bytes"));
        };
        let version = u32::from_le_bytes(*version);
        if version != self.state_version {
            let needed = self.state_version;
            return Err(Error::other(format!("the saved state has version {version}, version {needed} is needed")));
        }
        self.load_bytes(stream, state).map_err(Fault::into_error)?;
        if self.plugin.snapshot.is_none() {
            self.copies.retain(|(known, _)| known != stream);
            self.copies.push((stream.into(), state.into()));
        }
        Ok(())
    }

    fn reconfigure(&mut self, values: &Values) -> Result<()> {
        let Some(reconfigure) = self.plugin.reconfigure else {
            return Err(Error::config("the plugin has no `reconfigure` to apply a change"));
        };
        let resolved = sideline_api::config::resolve_values(values, &self.keys);
        let json = to_json(&resolved);
        let former = self.host.environment.replace_values(resolved);
        let mut sink = Sink::default();
        // SAFETY: the arguments are valid during the call.
        let code = unsafe { reconfigure(self.operator(), abi::Text::new(&json), sink.as_ptr()) };
        let result = sink.result(code);
        if result.is_err() {
            self.host.environment.restore_values(former);
        }
        result
    }

    fn close(&mut self) -> (Result<()>, Vec<(String, u64)>) {
        let closed = match self.plugin.close {
            Some(close) => {
                let mut sink = Sink::default();
                // SAFETY: the arguments are valid during the call.
                let code = unsafe { close(self.operator(), sink.as_ptr()) };
                sink.result(code)
            }
            None => Ok(()),
        };
        (closed, self.host.environment.take_counts())
    }
}

impl Drop for PluginOperator {
    fn drop(&mut self) {
        if let Some(drop) = self.plugin.drop {
            // SAFETY: the operator was made by this plugin, and is dropped once; the host's functions are still valid.
            unsafe { drop(self.operator()) };
        }
    }
}
