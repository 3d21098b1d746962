//! Functions of the host that a plugin calls.

use std::{
    collections::BTreeMap,
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};
use sideline_abi as abi;
use sideline_api::{
    Alignment, Body, Device, Error, Failure, Fault, Mode, Outputs, Payload, PortType, Reason, Resources, Result,
};

use crate::exchange::{
    array,
    frame::{self, Kept, Lent},
    schema,
};

/// Receiver of the error of one call.
#[derive(Default)]
pub struct Sink(Option<(u32, String)>);

impl Sink {
    pub fn as_ptr(&mut self) -> *mut abi::Error {
        std::ptr::from_mut(self).cast()
    }

    /// Converts the result of a call.
    ///
    /// # Errors
    /// The fault that the plugin has described.
    pub fn fault(self, code: i32) -> Result<(), Fault> {
        let (failure, message) = match (code, self.0) {
            (abi::OK, _) => return Ok(()),
            (_, Some(described)) => described,
            (_, None) => (abi::FAILURE_OTHER, "the plugin failed and gave no reason".into()),
        };
        Err(match code {
            abi::PANIC => Fault::Panic(message),
            _ => Fault::Error(Error::new(to_failure(failure), message)),
        })
    }

    /// Converts the result of a call; a panic becomes an error.
    ///
    /// # Errors
    /// The error that the plugin has described.
    pub fn result(self, code: i32) -> Result<()> {
        self.fault(code).map_err(Fault::into_error)
    }
}

fn to_failure(failure: u32) -> Failure {
    match failure {
        abi::FAILURE_CONFIG => Failure::Config,
        abi::FAILURE_MODEL => Failure::Model,
        abi::FAILURE_INPUT => Failure::Input,
        abi::FAILURE_OUTPUT => Failure::Output,
        abi::FAILURE_GPU => Failure::Gpu,
        _ => Failure::Other,
    }
}

/// Environment of one operator: the context of the host's functions.
pub struct Environment {
    pub resources: Resources,
    values: Mutex<BTreeMap<String, Value>>,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Environment {
    pub fn new(resources: &Resources, values: Vec<(String, Value)>) -> Self {
        Self {
            resources: resources.clone(),
            values: Mutex::new(values.into_iter().collect()),
            counts: Mutex::default(),
        }
    }

    /// Replaces the configuration that the plugin reads; returns the former one.
    pub fn replace_values(&self, values: Vec<(String, Value)>) -> BTreeMap<String, Value> {
        std::mem::replace(&mut *lock(&self.values), values.into_iter().collect())
    }

    /// Restores a former configuration.
    pub fn restore_values(&self, values: BTreeMap<String, Value>) {
        *lock(&self.values) = values;
    }

    /// Returns the configuration as a JSON object.
    pub fn values_json(&self) -> String {
        serde_json::to_string(&*lock(&self.values)).unwrap_or_default()
    }

    /// Takes the counters of the operator.
    pub fn take_counts(&self) -> Vec<(String, u64)> {
        std::mem::take(&mut *lock(&self.counts)).into_iter().collect()
    }

    /// Returns the environment in the form of [`abi::Make::resources`].
    pub fn resources_json(&self) -> String {
        let resources = &self.resources;
        let inputs: Vec<Value> = resources
            .inputs
            .iter()
            .map(|input| {
                let queue = match input.alignment {
                    Alignment::Side { queue } => Some(queue),
                    Alignment::Source(_) | Alignment::Feedback => None,
                };
                let source = input.source.map(|source| source.0);
                let is_feedback = input.alignment == Alignment::Feedback;
                json!({"name": input.name, "from": input.from, "queue": queue, "is_feedback": is_feedback, "source": source})
            })
            .collect();
        let device = match resources.device {
            Device::Auto => "auto",
            Device::Cpu => "cpu",
            Device::Cuda => "cuda",
            Device::Tensorrt => "tensorrt",
        };
        let search: Vec<_> = resources.search.iter().map(|folder| folder.to_string_lossy()).collect();
        json!({
            "device": device, "run_dir": resources.run_dir.to_string_lossy(), "run": resources.run, "search": search,
            "home": resources.models.home().to_string_lossy(), "inputs": inputs,
        })
        .to_string()
    }

    /// Returns the functions of the host with this environment as their context, which must outlive them.
    pub fn host(&self) -> abi::Host {
        abi::Host { context: std::ptr::from_ref(self).cast_mut().cast(), ..host_without_context() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the functions of the host without context: only `fail` and `write` may be called.
pub fn host_without_context() -> abi::Host {
    abi::Host {
        size: size_of::<abi::Host>(),
        context: std::ptr::null_mut(),
        fail,
        write,
        log,
        count,
        model,
        now,
        number,
        text,
        set_table,
        set_frame,
        set_skipped,
    }
}

/// Runs `f`; nothing may unwind into the plugin.
fn guard<T>(otherwise: T, f: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        std::mem::forget(panic);
        otherwise
    })
}

/// Reads a text of a plugin.
///
/// # Safety
/// The text must be valid.
unsafe fn read(text: abi::Text) -> String {
    // SAFETY: guaranteed by the caller.
    String::from_utf8_lossy(unsafe { text.bytes() }).into_owned()
}

/// Returns the environment.
///
/// # Safety
/// `context` must be that of [`Environment::host`], or null.
unsafe fn environment<'a>(context: *mut c_void) -> Option<&'a Environment> {
    // SAFETY: guaranteed by the caller.
    unsafe { context.cast::<Environment>().as_ref() }
}

unsafe extern "C" fn fail(error: *mut abi::Error, failure: u32, message: abi::Text) {
    guard((), || {
        // SAFETY: `error` is the `Sink` of the running call, or null.
        if let Some(sink) = unsafe { error.cast::<Sink>().as_mut() } {
            // SAFETY: the plugin gives a valid text.
            sink.0 = Some((failure, unsafe { read(message) }));
        }
    });
}

unsafe extern "C" fn write(into: *mut abi::Writer, data: *const u8, length: usize) {
    guard((), || {
        // SAFETY: `into` is the vector of the running call, or null.
        if let Some(bytes) = unsafe { into.cast::<Vec<u8>>().as_mut() } {
            // SAFETY: the plugin gives valid bytes.
            bytes.extend_from_slice(unsafe { abi::Text { data, length }.bytes() });
        }
    });
}

unsafe extern "C" fn log(context: *mut c_void, level: u32, message: abi::Text) {
    guard((), || {
        // SAFETY: the plugin gives valid arguments.
        let (Some(environment), message) = (unsafe { environment(context) }, unsafe { read(message) }) else { return };
        let node = &*environment.resources.node;
        match level {
            abi::LOG_ERROR => tracing::error!(node, "{message}"),
            abi::LOG_WARN => tracing::warn!(node, "{message}"),
            abi::LOG_DEBUG => tracing::debug!(node, "{message}"),
            _ => tracing::info!(node, "{message}"),
        }
    });
}

unsafe extern "C" fn count(context: *mut c_void, name: abi::Text, amount: u64) {
    guard((), || {
        // SAFETY: the plugin gives valid arguments.
        if let Some(environment) = unsafe { environment(context) } {
            // SAFETY: as above.
            *lock(&environment.counts).entry(unsafe { read(name) }).or_default() += amount;
        }
    });
}

unsafe extern "C" fn model(
    context: *mut c_void,
    name: abi::Text,
    path: *mut u8,
    capacity: usize,
    length: *mut usize,
    error: *mut abi::Error,
) -> i32 {
    guard(abi::ERROR, || {
        // SAFETY: the plugin gives valid arguments.
        let (Some(environment), name) = (unsafe { environment(context) }, unsafe { read(name) }) else {
            return abi::ERROR;
        };
        match environment.resources.model(&name) {
            Ok(found) => {
                // SAFETY: the plugin gives valid arguments.
                unsafe { copy(&found.to_string_lossy(), path, capacity, length) };
                abi::OK
            }
            Err(cause) => {
                // SAFETY: as above.
                unsafe { fail(error, u32::from(cause.failure.exit_code()), abi::Text::new(&cause.message)) };
                abi::ERROR
            }
        }
    })
}

unsafe extern "C" fn now(context: *mut c_void) -> i64 {
    // SAFETY: the plugin gives the context of its host.
    guard(0, || unsafe { environment(context) }.map_or(0, |environment| environment.resources.clock.now()))
}

unsafe extern "C" fn number(context: *mut c_void, key: abi::Text, value: *mut f64) -> i32 {
    guard(abi::ERROR, || {
        // SAFETY: the plugin gives valid arguments.
        let (Some(environment), key) = (unsafe { environment(context) }, unsafe { read(key) }) else {
            return abi::ERROR;
        };
        let number = match lock(&environment.values).get(&key) {
            Some(Value::Bool(flag)) => Some(f64::from(u8::from(*flag))),
            Some(value) => value.as_f64(),
            None => None,
        };
        match number {
            Some(number) if !value.is_null() => {
                // SAFETY: as above.
                unsafe { *value = number };
                abi::OK
            }
            _ => abi::ERROR,
        }
    })
}

unsafe extern "C" fn text(
    context: *mut c_void,
    key: abi::Text,
    value: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> i32 {
    guard(abi::ERROR, || {
        // SAFETY: the plugin gives valid arguments.
        let (Some(environment), key) = (unsafe { environment(context) }, unsafe { read(key) }) else {
            return abi::ERROR;
        };
        let text = match lock(&environment.values).get(&key) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => return abi::ERROR,
        };
        // SAFETY: as above.
        unsafe { copy(&text, value, capacity, length) };
        abi::OK
    })
}

/// Copies as much of a text as fits, and its length.
///
/// # Safety
/// `into` must have `capacity` bytes, and `length` be valid.
unsafe fn copy(text: &str, into: *mut u8, capacity: usize, length: *mut usize) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), into, text.len().min(capacity));
        *length = text.len();
    }
}

/// Outputs of a running call: the `outputs` of the functions `set_...`.
pub struct Slots<'a, 'b> {
    pub out: &'a mut Outputs<'b>,
    /// Frames that are lent to the call.
    pub lent: &'a [Lent],
    /// Number of frames that the plugin keeps.
    pub kept: &'a Arc<Kept>,
    /// First error of an output.
    pub error: Option<Error>,
}

impl Slots<'_, '_> {
    /// Sets an output; an error is kept for the end of the call.
    fn set(&mut self, output: usize, set: impl FnOnce(&mut Outputs<'_>, &'static str) -> Result<()>) -> i32 {
        let ports = self.out.ports();
        let result = match ports.get(output) {
            Some(port) => set(self.out, port.name),
            None => Err(Error::other(format!("there is no output {output}: the operator has {}", ports.len()))),
        };
        match result {
            Ok(()) => abi::OK,
            Err(error) => {
                self.error.get_or_insert(error);
                abi::ERROR
            }
        }
    }
}

/// Returns the outputs of the running call.
///
/// # Safety
/// `outputs` must be null or those of the running call.
unsafe fn slots<'a>(outputs: *mut abi::Outputs) -> Option<&'a mut Slots<'a, 'a>> {
    // SAFETY: guaranteed by the caller.
    unsafe { outputs.cast::<Slots<'a, 'a>>().as_mut() }
}

unsafe extern "C" fn set_table(
    outputs: *mut abi::Outputs,
    output: usize,
    table: *mut abi::ArrowArray,
    described: *const abi::ArrowSchema,
) -> i32 {
    guard(abi::ERROR, || {
        // SAFETY: the plugin gives valid arguments; the array is moved to this function.
        let (slots, table) = unsafe {
            let (Some(slots), Some(array)) = (slots(outputs), table.as_mut()) else { return abi::ERROR };
            let moved = std::mem::replace(array, abi::ArrowArray::empty());
            (slots, moved)
        };
        let ty = slots.out.ports().get(output).map(|port| port.ty);
        // Imported first, so that it is released in every case.
        // SAFETY: the array is valid, and its type that of the schema or of the description.
        let rows = unsafe {
            match (&ty, described.is_null()) {
                (Some(PortType::Table(ty)), true) => array::import(table, &ty.description().fields),
                (_, true) => match array::import(table, &sideline_api::arrow::schema::Fields::empty()) {
                    Ok(_) | Err(_) => Err(Error::other("rows on an output without a table need a schema")),
                },
                (_, false) => match schema::read(described) {
                    Ok(fields) => array::import(table, &fields),
                    Err(error) => array::import(table, &sideline_api::arrow::schema::Fields::empty()).and(Err(error)),
                },
            }
        };
        slots.set(output, |out, name| {
            let place = |error: Error| error.at(format_args!("output `{name}`"));
            let rows = rows.map_err(place)?;
            if let Some(PortType::Table(ty)) = ty {
                ty.check(sideline_api::arrow::array::Array::data_type(&rows)).map_err(place)?;
            }
            out.table(name, rows.into())
        })
    })
}

unsafe extern "C" fn set_frame(outputs: *mut abi::Outputs, output: usize, described: *const abi::Frame) -> i32 {
    guard(abi::ERROR, || {
        // SAFETY: the plugin gives valid arguments; the owner of the frame is moved to this function.
        let (slots, described) = unsafe { (slots(outputs), described.as_ref()) };
        let frame = match (&slots, described) {
            // SAFETY: as above.
            (Some(slots), Some(described)) => unsafe { frame::import_sent(described, slots.lent, slots.kept) },
            // SAFETY: as above. The frame is imported for its release.
            (None, Some(described)) => unsafe { frame::import(described) },
            (_, None) => Err(Error::other("the frame is missing")),
        };
        let Some(slots) = slots else { return abi::ERROR };
        slots.set(output, |out, name| {
            let frame = frame.map_err(|error| error.at(format_args!("output `{name}`")))?;
            out.frame(name, frame.into())
        })
    })
}

unsafe extern "C" fn set_skipped(outputs: *mut abi::Outputs, output: usize, reason: abi::Text) -> i32 {
    guard(abi::ERROR, || {
        // SAFETY: the plugin gives valid arguments.
        let (Some(slots), reason) = (unsafe { slots(outputs) }, unsafe { read(reason) }) else { return abi::ERROR };
        slots.set(output, |out, name| out.skip(name, Reason::from(reason.as_str())))
    })
}

/// Returns the kind of a body for the interface.
pub fn kind(body: &Body) -> u32 {
    match body {
        Body::Data(Payload::Table(_)) => abi::KIND_TABLE,
        Body::Data(Payload::Frame(_)) => abi::KIND_FRAME,
        Body::Skipped(_) => abi::KIND_SKIPPED,
        Body::End { .. } => abi::KIND_END,
    }
}

/// Returns the mode for the interface.
pub fn mode(mode: Mode) -> u32 {
    match mode {
        Mode::Live => abi::MODE_LIVE,
        Mode::Complete => abi::MODE_COMPLETE,
    }
}
