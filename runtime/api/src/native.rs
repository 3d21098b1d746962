//! A Rust operator behind [`DynOperator`]: its state for each stream, copies of it, and panics caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use crate::{
    Context, Error, Inputs, Operator, Outputs, Result, StreamName, Values,
    factory::{DynOperator, Fault, read_config},
    is_same_stream,
};

/// See the [module](self).
pub struct Native<O: Operator> {
    operator: O,
    node: String,
    streams: Vec<Stream<O::State>>,
}

struct Stream<S> {
    name: StreamName,
    now: Memory<S>,
    copy: Memory<S>,
}

/// The memory of one stream.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Memory<S> {
    /// The session that `session_started` was called for.
    session: Option<u32>,
    state: S,
}

impl<O: Operator> Native<O> {
    /// Wraps an operator that was made for a node of this id.
    pub fn new(operator: O, node: &str) -> Self {
        Self { operator, node: node.into(), streams: vec![] }
    }

    /// Reads the state out of its saved form.
    ///
    /// # Errors
    /// When the bytes are of another version or damaged.
    pub fn state_of(bytes: &[u8]) -> Result<O::State> {
        Self::read(bytes).map(|memory| memory.state)
    }

    fn read(bytes: &[u8]) -> Result<Memory<O::State>> {
        let Some((version, bytes)) = bytes.split_first_chunk::<4>() else {
            return Err(Error::other("a saved state of 4 bytes at least was expected"));
        };
        let version = u32::from_le_bytes(*version);
        if version != O::STATE_VERSION {
            let text = format!("a saved state of version {version} came, version {} is read", O::STATE_VERSION);
            return Err(Error::other(text));
        }
        let read = || {
            rmp_serde::from_slice(bytes).map_err(|cause| Error::other(format!("a saved state cannot be read: {cause}")))
        };
        guard(read).map_err(Fault::into_error)
    }

    /// The operator and the memory of a stream, which begins here where it is new.
    #[inline]
    fn at(&mut self, stream: &StreamName) -> (&mut O, &mut Memory<O::State>) {
        let at = self.streams.iter().position(|known| is_same_stream(&known.name, stream)).unwrap_or_else(|| {
            self.streams.push(Stream { name: stream.clone(), now: Memory::default(), copy: Memory::default() });
            self.streams.len() - 1
        });
        (&mut self.operator, &mut self.streams[at].now)
    }
}

/// Calls `f` and returns a panic in it as a [`Fault::Panic`].
pub(crate) fn guard<T>(f: impl FnOnce() -> Result<T>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result.map_err(Fault::Error),
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a panic without a message".into());
            // The payload's own drop may panic once more.
            std::mem::forget(panic);
            Err(Fault::Panic(text))
        }
    }
}

impl<O: Operator> DynOperator for Native<O> {
    fn process(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault> {
        let (operator, memory) = self.at(&cx.header.stream);
        guard(|| {
            if memory.session != Some(cx.header.session) {
                operator.session_started(cx, &mut memory.state)?;
                memory.session = Some(cx.header.session);
            }
            operator.process(cx, input, &mut memory.state, out)
        })
    }

    fn stream_ended(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault> {
        let (operator, memory) = self.at(&cx.header.stream);
        let result = guard(|| operator.stream_ended(cx, input, &mut memory.state, out));
        let streams = &mut self.streams;
        // A state whose drop panics is gone all the same.
        let dropped = guard(|| {
            streams.retain(|stream| stream.name != cx.header.stream);
            Ok(())
        });
        result.and(dropped)
    }

    fn snapshot(&mut self, stream: &str) -> Result<(), Fault> {
        let Some(stream) = self.streams.iter_mut().find(|known| &*known.name == stream) else { return Ok(()) };
        stream.copy = guard(|| Ok(stream.now.clone()))?;
        Ok(())
    }

    fn roll_back(&mut self, stream: &str) -> Result<(), Fault> {
        let Some(stream) = self.streams.iter_mut().find(|known| &*known.name == stream) else { return Ok(()) };
        let copy = guard(|| Ok(stream.copy.clone()));
        let (now, result) = match copy {
            Ok(copy) => (copy, Ok(())),
            Err(fault) => (Memory::default(), Err(fault)),
        };
        stream.now = now;
        result
    }

    fn save(&self, stream: &str, into: &mut Vec<u8>) -> Result<()> {
        let Some(stream) = self.streams.iter().find(|known| &*known.name == stream) else { return Ok(()) };
        let begin = into.len();
        into.extend(O::STATE_VERSION.to_le_bytes());
        let written = guard(|| {
            let written = stream.now.serialize(&mut rmp_serde::Serializer::new(&mut *into).with_struct_map());
            written.map_err(|cause| Error::other(format!("the state cannot be saved: {cause}")))
        });
        if written.is_err() {
            into.truncate(begin);
        }
        written.map_err(Fault::into_error)
    }

    fn load(&mut self, stream: &str, bytes: &[u8]) -> Result<()> {
        let memory = Self::read(bytes)?;
        let copy = guard(|| Ok(memory.clone())).map_err(Fault::into_error)?;
        self.streams.retain(|known| &*known.name != stream);
        self.streams.push(Stream { name: stream.into(), now: memory, copy });
        Ok(())
    }

    fn reconfigure(&mut self, values: &Values) -> Result<()> {
        let config = read_config::<O::Config>(values, &self.node)?;
        let operator = &mut self.operator;
        guard(|| operator.reconfigure(&config)).map_err(|fault| match fault {
            Fault::Error(error) => error,
            Fault::Panic(_) => Error::other("panicked while the key changed; the message is above"),
        })
    }

    fn close(&mut self) -> (Result<()>, Vec<(String, u64)>) {
        let operator = &mut self.operator;
        let closed = guard(|| operator.close()).map_err(|fault| match fault {
            Fault::Error(error) => error,
            Fault::Panic(_) => Error::other("panicked while closing; the message is above"),
        });
        let counts = guard(|| Ok(operator.counts())).unwrap_or_default();
        (closed, counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect())
    }
}
