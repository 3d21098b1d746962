//! Adapter from [`Operator`] to [`DynOperator`]: holds the state of each stream and its copy, and catches panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use crate::{
    Context, Error, Failure, Inputs, Operator, OrFail, Outputs, Result, StreamName, Values,
    factory::{DynOperator, Fault, read_config},
    is_same_stream,
};

/// Rust operator behind [`DynOperator`].
pub struct Native<O: Operator> {
    operator: O,
    node: String,
    streams: Vec<Stream<O::State>>,
}

struct Stream<S> {
    name: StreamName,
    current: StreamState<S>,
    copy: StreamState<S>,
}

/// Operator state of one stream with the runtime's part of it.
#[derive(Clone, Default, Serialize, Deserialize)]
struct StreamState<S> {
    /// The session that `session_started` was called for.
    session: Option<u32>,
    state: S,
}

impl<O: Operator> Native<O> {
    /// Wraps the operator of the node with this id.
    pub fn new(operator: O, node: &str) -> Self {
        Self { operator, node: node.into(), streams: vec![] }
    }

    /// Deserializes a state that [`DynOperator::save`] has written.
    ///
    /// # Errors
    /// When the bytes are of another version or damaged.
    pub fn deserialize_state(bytes: &[u8]) -> Result<O::State> {
        Self::read(bytes).map(|stored| stored.state)
    }

    fn read(bytes: &[u8]) -> Result<StreamState<O::State>> {
        let Some((version, bytes)) = bytes.split_first_chunk::<4>() else {
            return Err(Error::other("a saved state has at least 4 bytes"));
        };
        let version = u32::from_le_bytes(*version);
        if version != O::STATE_VERSION {
            let text = format!("the saved state has version {version}, version {} is needed", O::STATE_VERSION);
            return Err(Error::other(text));
        }
        let read = || rmp_serde::from_slice(bytes).or_fail(Failure::Other, || "a saved state cannot be read");
        catch_panic(read).map_err(Fault::into_error)
    }

    /// Returns the operator and the state of a stream, which is a default state for a new stream.
    #[inline]
    fn stream_state(&mut self, stream: &StreamName) -> (&mut O, &mut StreamState<O::State>) {
        let at = self.streams.iter().position(|known| is_same_stream(&known.name, stream)).unwrap_or_else(|| {
            self.streams.push(Stream {
                name: stream.clone(),
                current: StreamState::default(),
                copy: StreamState::default(),
            });
            self.streams.len() - 1
        });
        (&mut self.operator, &mut self.streams[at].current)
    }
}

/// Calls `f` and returns a panic in it as a [`Fault::Panic`].
pub(crate) fn catch_panic<T>(f: impl FnOnce() -> Result<T>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result.map_err(Fault::Error),
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a panic without a message".into());
            // Dropping the payload may panic again.
            std::mem::forget(panic);
            Err(Fault::Panic(text))
        }
    }
}

impl<O: Operator> DynOperator for Native<O> {
    fn process(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault> {
        let (operator, current) = self.stream_state(&cx.header.stream);
        catch_panic(|| {
            if current.session != Some(cx.header.session) {
                operator.session_started(cx, &mut current.state)?;
                current.session = Some(cx.header.session);
            }
            operator.process(cx, input, &mut current.state, out)
        })
    }

    fn stream_ended(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault> {
        let (operator, current) = self.stream_state(&cx.header.stream);
        let result = catch_panic(|| operator.stream_ended(cx, input, &mut current.state, out));
        let streams = &mut self.streams;
        // The state is removed even if dropping it panics.
        let dropped = catch_panic(|| {
            streams.retain(|stream| stream.name != cx.header.stream);
            Ok(())
        });
        result.and(dropped)
    }

    fn snapshot(&mut self, stream: &str) -> Result<(), Fault> {
        let Some(stream) = self.streams.iter_mut().find(|known| &*known.name == stream) else { return Ok(()) };
        stream.copy = catch_panic(|| Ok(stream.current.clone()))?;
        Ok(())
    }

    fn roll_back(&mut self, stream: &str) -> Result<(), Fault> {
        let Some(stream) = self.streams.iter_mut().find(|known| &*known.name == stream) else { return Ok(()) };
        let copy = catch_panic(|| Ok(stream.copy.clone()));
        let (current, result) = match copy {
            Ok(copy) => (copy, Ok(())),
            Err(fault) => (StreamState::default(), Err(fault)),
        };
        stream.current = current;
        result
    }

    fn save(&self, stream: &str, into: &mut Vec<u8>) -> Result<()> {
        let Some(stream) = self.streams.iter().find(|known| &*known.name == stream) else { return Ok(()) };
        let begin = into.len();
        into.extend(O::STATE_VERSION.to_le_bytes());
        let written = catch_panic(|| {
            let written = stream.current.serialize(&mut rmp_serde::Serializer::new(&mut *into).with_struct_map());
            written.or_fail(Failure::Other, || "the state cannot be saved")
        });
        if written.is_err() {
            into.truncate(begin);
        }
        written.map_err(Fault::into_error)
    }

    fn load(&mut self, stream: &str, bytes: &[u8]) -> Result<()> {
        let current = Self::read(bytes)?;
        let copy = catch_panic(|| Ok(current.clone())).map_err(Fault::into_error)?;
        self.streams.retain(|known| &*known.name != stream);
        self.streams.push(Stream { name: stream.into(), current, copy });
        Ok(())
    }

    fn reconfigure(&mut self, values: &Values) -> Result<()> {
        let config = read_config::<O::Config>(values, &self.node)?;
        let operator = &mut self.operator;
        catch_panic(|| operator.reconfigure(&config)).map_err(|fault| match fault {
            Fault::Error(error) => error,
            Fault::Panic(_) => Error::other("panicked while the key changed; the message is above"),
        })
    }

    fn close(&mut self) -> (Result<()>, Vec<(String, u64)>) {
        let operator = &mut self.operator;
        let closed = catch_panic(|| operator.close()).map_err(|fault| match fault {
            Fault::Error(error) => error,
            Fault::Panic(_) => Error::other("panicked while closing; the message is above"),
        });
        let counts = catch_panic(|| Ok(operator.counts())).unwrap_or_default();
        (closed, counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect())
    }
}
