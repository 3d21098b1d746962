//! The two traits an author implements: [`Operator`] and, for what makes frames, [`Source`].

use std::sync::Arc;

use arrow_array::StructArray;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Body, Config, Context, Inputs, Outputs, Resources, Result, Spec, StreamName, context::SourceContext};

/// What an operator remembers of one stream. It belongs to the runtime, which copies, saves and restores it.
///
/// It holds no frames: a frame kept is a buffer the decoder cannot use again.
pub trait State: Serialize + DeserializeOwned + Default + Clone + Send + 'static {}
impl<T: Serialize + DeserializeOwned + Default + Clone + Send + 'static> State for T {}

/// One step of a graph: called once per frame with all its inputs of that frame.
///
/// Time and randomness come only from the [`Context`], what is remembered lies only in the state: then a run in
/// `complete` mode gives the same bytes again, and one operator serves many streams.
pub trait Operator: Send + Sized + 'static {
    /// Its configuration: `#[derive(Config)]`.
    type Config: Config;
    /// What it remembers of each stream; `()` for nothing.
    type State: State;
    /// Version of the state's saved form. Raise it with a change that older bytes cannot be read as; fields that are added
    /// with `#[serde(default)]` need no new version.
    const STATE_VERSION: u32 = 1;

    /// Name, ports and table types.
    fn spec() -> Spec;

    /// The models a configuration needs, by their names in models.yml or the paths of one's own files: `check` looks for them
    /// before a start, and `run.json` tells their checksums.
    fn models(_config: &Self::Config) -> Vec<String> {
        vec![]
    }

    /// Loads what is needed. Fails loudly; the runtime gives it a deadline.
    ///
    /// # Errors
    /// Anything that would make `process` impossible.
    fn new(config: Self::Config, resources: &Resources) -> Result<Self>;

    /// Handles one frame. An output that is not set goes out as an empty table; each is set at most once.
    ///
    /// # Errors
    /// The frame is then `skipped: error` on every output, and the node's `on_error` decides how it goes on.
    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut Self::State, out: &mut Outputs) -> Result<()>;

    /// Takes over a configuration of which only `live` keys changed. An operator without it, whose configuration has such
    /// keys, does not compile.
    ///
    /// # Errors
    /// The old configuration then stays, and the cause is reported to who asked.
    fn reconfigure(&mut self, _config: &Self::Config) -> Result<()> {
        const {
            assert!(
                !<Self::Config as Config>::HAS_LIVE,
                "a key is marked `live`, and the operator has no `reconfigure` to take its changes over"
            );
        }
        Ok(())
    }

    /// A connection of the stream begins: the first, or one after a break.
    ///
    /// # Errors
    /// As from `process`.
    fn session_started(&mut self, _cx: &Context, _state: &mut Self::State) -> Result<()> {
        Ok(())
    }

    /// The stream is over: a last chance to send what is still held back, one closing message per output. `input` has
    /// what came on side inputs since the last frame, and rows of closing messages that came without those of the
    /// required inputs.
    ///
    /// # Errors
    /// As from `process`.
    fn stream_ended(
        &mut self,
        _cx: &Context,
        _input: &Inputs,
        _state: &mut Self::State,
        _out: &mut Outputs,
    ) -> Result<()> {
        Ok(())
    }

    /// Called exactly once when `new` succeeded, also after errors and stops: close files here, and report what fails.
    ///
    /// # Errors
    /// The run then ends with this failure.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }

    /// Counts of its own for the report, by name: asked for once, after `close`.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![]
    }
}

/// What makes the frames of one stream: a file, a camera, a generator. Runs on a thread of its own.
///
/// A node that reads several streams opens a source for each ([`Source::open`]): each has a thread, and is paced, fails
/// and ends by itself. In `complete` mode their frames enter the graph in turn, so that the order does not depend on
/// which is faster; in `live` mode as they come.
pub trait Source: Send + Sized + 'static {
    /// Its configuration.
    type Config: Config;

    /// Name, outputs and configuration; made by [`Spec::source`].
    fn spec() -> Spec;

    /// True when the source ends by itself: `complete` is then the default mode, else `live`.
    fn finite(_config: &Self::Config) -> bool {
        true
    }

    /// Opens the source.
    ///
    /// # Errors
    /// When it is missing or not what it should be.
    fn new(config: Self::Config, resources: &Resources) -> Result<Self>;

    /// Opens every stream the configuration names: a source for each, in the order they take turns in. By default the one
    /// of [`Source::new`].
    ///
    /// # Errors
    /// When one is missing or not what it should be; every such one is named.
    fn open(config: Self::Config, resources: &Resources) -> Result<Vec<Self>> {
        Self::new(config, resources).map(|source| vec![source])
    }

    /// Name of its stream, where that is known before its first frame.
    fn stream(&self) -> Option<StreamName> {
        None
    }

    /// The next decoded frame, or `None` at the end. It may wait for a camera, or through [`SourceContext::pace`].
    ///
    /// # Errors
    /// What was decoded before is still handled, other streams go on; the run then ends as partial with this failure.
    fn next(&mut self, cx: &SourceContext) -> Result<Option<Captured>>;

    /// Rows that are left when no more frames come: asked for once after the last frame, also when `next` failed, but not
    /// when the run was stopped. They leave as closing messages.
    fn closing(&mut self) -> Vec<Closing> {
        vec![]
    }

    /// Counts of its own for the report, by name, beside its stream's frames: asked for once, after `close`.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![]
    }

    /// Called exactly once when `new` succeeded.
    ///
    /// # Errors
    /// The run then ends with this failure.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The last rows of a source on one output: they go out as a closing message, after the stream's last frame.
#[derive(Clone, Debug)]
pub struct Closing {
    /// Name of the stream.
    pub stream: StreamName,
    /// Name of the output.
    pub output: &'static str,
    /// The rows.
    pub rows: Arc<StructArray>,
}

/// What a source decoded: not yet a frame of the graph, the window may forget it.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Name of the stream.
    pub stream: StreamName,
    /// Number of the connection, from 0.
    pub session: u32,
    /// Media time in nanoseconds; never goes back.
    pub pts: i64,
    /// Wall clock (nanoseconds since 1970) when the packet that completed the frame was read, or its due time.
    pub captured: i64,
    /// One body for each declared output, in their order. `End` is not allowed.
    pub outputs: Vec<Body>,
}
