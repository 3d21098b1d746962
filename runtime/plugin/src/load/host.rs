//! Functions of the host that a plugin calls.

use std::{
    collections::BTreeMap,
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use serde_json::{Value, json};
use sideline_abi as abi;
use sideline_api::{
    Alignment, Body, Device, Error, Failure, Fault, Mode, Outputs, Payload, PortType, Reason, Resources, Result,
    arrow::schema::DataType,
};

use crate::exchange::{
    array,
    frame::{self, KeptFrames, Lent},
    importer::Importer,
    schema, versioned,
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

/// Environment of one operator, which the host's functions use.
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
}

/// Context of the host's functions for one operator.
///
/// It lives as long as the process, since a thread of the plugin may call a function of the host at any time, also after its
/// operator was dropped. The environment is freed with the operator; the functions then fail or do nothing, and the clock stands.
#[derive(Default)]
struct HostContext {
    environment: RwLock<Option<Arc<Environment>>>,
    /// Time at which the environment was freed, ns since 1970.
    closed_at: AtomicI64,
}

impl HostContext {
    fn environment(&self) -> Option<Arc<Environment>> {
        self.environment.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Functions of the host for one operator. Its environment is freed with this value.
pub struct HostHandle {
    /// The functions, with their context.
    pub functions: &'static abi::Host,
    /// The environment of the operator.
    pub environment: Arc<Environment>,
    context: &'static HostContext,
}

impl HostHandle {
    pub fn new(environment: Environment) -> Self {
        let environment = Arc::new(environment);
        // Leaked for each operator that is created: about 200 bytes, without the environment.
        let context: &'static HostContext = Box::leak(Box::default());
        *context.environment.write().unwrap_or_else(PoisonError::into_inner) = Some(environment.clone());
        let functions = abi::Host { context: std::ptr::from_ref(context).cast_mut().cast(), ..host_without_context() };
        Self { functions: Box::leak(Box::new(functions)), environment, context }
    }
}

impl Drop for HostHandle {
    fn drop(&mut self) {
        self.context.closed_at.store(self.environment.resources.clock.now(), Ordering::Release);
        *self.context.environment.write().unwrap_or_else(PoisonError::into_inner) = None;
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

/// Returns the environment; `None` without context, and after the operator was dropped.
///
/// # Safety
/// `context` must be that of [`HostHandle::functions`], or null.
unsafe fn environment(context: *mut c_void) -> Option<Arc<Environment>> {
    // SAFETY: guaranteed by the caller; a context lives as long as the process.
    unsafe { context.cast::<HostContext>().as_ref() }?.environment()
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
    guard(0, || {
        // SAFETY: the plugin gives the context of its host, which lives as long as the process.
        let Some(context) = (unsafe { context.cast::<HostContext>().as_ref() }) else { return 0 };
        match context.environment() {
            Some(environment) => environment.resources.clock.now(),
            None => context.closed_at.load(Ordering::Acquire),
        }
    })
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
        // SAFETY: as above.
        match (number, unsafe { value.as_mut() }) {
            (Some(number), Some(value)) => {
                *value = number;
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

/// Copies as much of a text as fits, and its length; each only if there is a place for it.
///
/// # Safety
/// `into` must be null or have `capacity` bytes, and `length` be null or valid.
unsafe fn copy(text: &str, into: *mut u8, capacity: usize, length: *mut usize) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        if !into.is_null() {
            std::ptr::copy_nonoverlapping(text.as_ptr(), into, text.len().min(capacity));
        }
        if let Some(length) = length.as_mut() {
            *length = text.len();
        }
    }
}

/// Outputs of a running call: the `outputs` of the functions `set_...`.
pub struct Slots<'a, 'b> {
    pub out: &'a mut Outputs<'b>,
    /// Frames that are lent to the call.
    pub lent: &'a [Lent],
    /// Number of frames that the plugin keeps.
    pub kept: &'a Arc<KeptFrames>,
    /// Memory of the rows of each output.
    pub importers: &'a mut [Importer],
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
        // SAFETY: the plugin gives valid arguments; the array is moved to this function, so it is released in every case.
        let (slots, table) = unsafe {
            let Some(array) = table.as_mut() else { return abi::ERROR };
            let moved = array::Imported::new(std::mem::replace(array, abi::ArrowArray::empty()));
            let Some(slots) = slots(outputs) else { return abi::ERROR };
            (slots, moved)
        };
        let ty = slots.out.ports().get(output).map(|port| port.ty);
        let mut other = Importer::default();
        let importer = slots.importers.get_mut(output).unwrap_or(&mut other);
        // SAFETY: the array is valid, and its type that of the schema or of the description.
        let rows = unsafe {
            match (&ty, described.is_null()) {
                (Some(PortType::Table(ty)), true) => importer.import(table, &ty.description().fields),
                // Of two that fit, the described columns count: they say which may have nulls.
                (Some(PortType::Table(ty)), false) => schema::read(described)
                    .and_then(|fields| ty.check(&DataType::Struct(fields)))
                    .and_then(|()| importer.import(table, &ty.description().fields)),
                (_, true) => Err(Error::other("rows on an output without a table need a schema")),
                (_, false) => schema::read(described).and_then(|fields| importer.import(table, &fields)),
            }
        };
        slots.set(output, |out, name| {
            let place = |error: Error| error.at(format_args!("output `{name}`"));
            out.table(name, rows.map_err(place)?)
        })
    })
}

unsafe extern "C" fn set_frame(outputs: *mut abi::Outputs, output: usize, described: *const abi::Frame) -> i32 {
    guard(abi::ERROR, || {
        // SAFETY: the plugin gives valid arguments; the owner of the frame is moved to this function.
        let (slots, described) = unsafe { (slots(outputs), versioned::read(described)) };
        let frame = match (&slots, described) {
            // SAFETY: as above.
            (Some(slots), Ok((described, _))) => unsafe { frame::import_sent(&described, slots.lent, slots.kept) },
            // SAFETY: as above. The frame is imported for its release.
            (None, Ok((described, _))) => unsafe { frame::import(&described) },
            (_, Err(error)) => Err(error),
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

#[cfg(test)]
mod tests {
    use sideline_api::clock::VirtualClock;

    use super::*;

    #[test]
    fn places_for_results_may_be_missing() {
        let handle = HostHandle::new(Environment::new(&Resources::new("tested"), vec![("step".into(), 3.into())]));
        let (host, key) = (handle.functions, abi::Text::new("step"));
        let (mut length, mut bytes) = (0, [0; 8]);
        // SAFETY: a missing place is null.
        unsafe {
            assert_eq!((host.number)(host.context, key, std::ptr::null_mut()), abi::ERROR);
            assert_eq!((host.text)(host.context, key, std::ptr::null_mut(), 8, &mut length), abi::OK);
            assert_eq!((host.text)(host.context, key, bytes.as_mut_ptr(), 8, std::ptr::null_mut()), abi::OK);
            (host.fail)(std::ptr::null_mut(), abi::FAILURE_OTHER, key);
            (host.write)(std::ptr::null_mut(), bytes.as_ptr(), 8);
            let outputs = std::ptr::null_mut();
            assert_eq!((host.set_table)(outputs, 0, std::ptr::null_mut(), std::ptr::null()), abi::ERROR);
            assert_eq!((host.set_frame)(outputs, 0, std::ptr::null()), abi::ERROR);
            assert_eq!((host.set_skipped)(outputs, 0, key), abi::ERROR);
        }
        assert_eq!((length, bytes[0]), (1, b'3'));
    }

    #[test]
    fn functions_that_are_called_after_the_operator_was_dropped_fail_or_do_nothing() {
        let clock = Arc::new(VirtualClock::default());
        let resources = Resources { clock: clock.clone(), ..Resources::new("tested") };
        let handle = HostHandle::new(Environment::new(&resources, vec![("step".into(), 3.into())]));
        let (host, environment) = (*handle.functions, Arc::downgrade(&handle.environment));
        let read = |host: &abi::Host| {
            let (mut value, mut text, mut length) = (0.0, [0; 8], 0);
            let key = abi::Text::new("step");
            // SAFETY: the arguments are valid.
            unsafe {
                (host.count)(host.context, key, 1);
                (host.log)(host.context, abi::LOG_DEBUG, key);
                let model =
                    (host.model)(host.context, key, text.as_mut_ptr(), text.len(), &mut length, std::ptr::null_mut());
                let number = (host.number)(host.context, key, &mut value);
                let text = (host.text)(host.context, key, text.as_mut_ptr(), text.len(), &mut length);
                ((host.now)(host.context), number, text, model)
            }
        };
        clock.advance(5);
        assert_eq!(read(&host), (5, abi::OK, abi::OK, abi::ERROR));
        assert_eq!(handle.environment.take_counts(), [("step".to_owned(), 1)]);
        drop(handle);
        clock.advance(4);
        assert_eq!(read(&host), (5, abi::ERROR, abi::ERROR, abi::ERROR), "the clock stands");
        assert!(environment.upgrade().is_none(), "the environment is freed");
    }
}
