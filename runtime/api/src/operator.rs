//! The two traits that authors implement: [`Operator`], and [`Source`] for producers of frames.

use std::sync::Arc;

use arrow_array::StructArray;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Body, Config, Context, Inputs, Outputs, Resources, Result, Spec, StreamName, context::SourceContext};

/// State of an operator for one stream. The runtime owns, copies, saves and restores it.
///
/// It must hold no frames: the decoder cannot reuse the buffer of a frame that is kept.
pub trait State: Serialize + DeserializeOwned + Default + Clone + Send + 'static {}
impl<T: Serialize + DeserializeOwned + Default + Clone + Send + 'static> State for T {}

/// One processing step of a graph, called once per frame with all its inputs of that frame.
///
/// Time and randomness come only from the [`Context`], and everything that lasts from frame to frame is in the state.
/// Then a run in `complete` mode is reproducible byte for byte, and one operator serves many streams.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use sideline_api::{Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec, testing::Harness};
///
/// sideline_api::table! {
///     /// Level of a signal.
///     pub struct Level in "level" {
///         /// Level, 0 to 1.
///         pub level: f32,
///     }
/// }
///
/// /// Keeps the peak of a level.
/// #[derive(Clone, Config)]
/// pub struct PeakConfig {
///     /// Share of the peak that is lost per frame. Higher follows falling levels sooner.
///     #[config(default = 0.5, range(0, 1))]
///     pub decay: f32,
/// }
///
/// /// State of one stream.
/// #[derive(Clone, Default, Serialize, Deserialize)]
/// pub struct PeakState {
///     peak: f32,
/// }
///
/// pub struct Peak(PeakConfig);
///
/// impl Operator for Peak {
///     type Config = PeakConfig;
///     type State = PeakState;
///
///     fn spec() -> Spec {
///         Spec::operator("peak").required("level", PortType::table::<Level>()).output("peak", PortType::table::<Level>())
///     }
///
///     fn new(config: PeakConfig, _: &Resources) -> Result<Self> {
///         Ok(Peak(config))
///     }
///
///     fn process(&mut self, _: &Context, input: &Inputs, state: &mut PeakState, out: &mut Outputs) -> Result<()> {
///         let level = input.rows::<Level>("level")?.unwrap_or_default().iter().map(|row| row.level).fold(0.0, f32::max);
///         state.peak = level.max(state.peak * (1.0 - self.0.decay));
///         out.rows("peak", &[Level { level: state.peak }])
///     }
/// }
///
/// let mut peak = Harness::<Peak>::new([("decay", 0.25)])?;
/// for (level, expected) in [(0.8, 0.8), (0.1, 0.6), (0.9, 0.9)] {
///     peak.push("level", &[Level { level }])?;
///     assert!((peak.expect::<Level>("peak")[0].level - expected).abs() < 1e-6);
/// }
/// # Ok::<(), sideline_api::Error>(())
/// ```
pub trait Operator: Send + Sized + 'static {
    /// Configuration struct with `#[derive(Config)]`.
    type Config: Config;
    /// State per stream; `()` for none.
    type State: State;
    /// Version of the serialized state. Increment it with every change after which older bytes cannot be read; fields
    /// that are added with `#[serde(default)]` need no new version.
    const STATE_VERSION: u32 = 1;

    /// Returns the name, the ports and the table types.
    fn spec() -> Spec;

    /// Returns the models that a configuration needs, as names in models.yml or paths of the user's own files. `check`
    /// looks for them before a start, and `run.json` lists their checksums.
    fn models(_config: &Self::Config) -> Vec<String> {
        vec![]
    }

    /// Creates the operator and loads what it needs, within the deadline `SIDELINE_START_S`.
    ///
    /// # Errors
    /// Everything that would make `process` impossible.
    fn new(config: Self::Config, resources: &Resources) -> Result<Self>;

    /// Processes one frame. Each output is set at most once; one that is not set is sent as an empty table.
    ///
    /// # Errors
    /// The frame is then `skipped: error` on every output, and the node's `on_error` decides whether the operator
    /// continues, is restarted, or ends the run.
    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut Self::State, out: &mut Outputs) -> Result<()>;

    /// Applies a configuration of which only `live` keys changed. An operator that has such keys and does not implement
    /// this method does not compile.
    ///
    /// # Errors
    /// The old configuration then stays in force, and the client that set the key gets the error.
    fn reconfigure(&mut self, _config: &Self::Config) -> Result<()> {
        const {
            assert!(
                !<Self::Config as Config>::HAS_LIVE,
                "a key is marked `live`, and the operator has no `reconfigure` to apply its changes"
            );
        }
        Ok(())
    }

    /// Handles the start of a connection of the stream: the first one, or one after a reconnect.
    ///
    /// # Errors
    /// Handled like those of `process`.
    fn session_started(&mut self, _cx: &Context, _state: &mut Self::State) -> Result<()> {
        Ok(())
    }

    /// Handles the end of the stream: the last opportunity to send pending rows, one closing message per output. `input`
    /// has the messages of side inputs since the last frame, and the rows of closing messages for which not every
    /// required input had rows.
    ///
    /// # Errors
    /// Handled like those of `process`.
    fn stream_ended(
        &mut self,
        _cx: &Context,
        _input: &Inputs,
        _state: &mut Self::State,
        _out: &mut Outputs,
    ) -> Result<()> {
        Ok(())
    }

    /// Closes files and devices. Called exactly once if `new` succeeded, also after errors and stops.
    ///
    /// # Errors
    /// The run then ends with this failure.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }

    /// Returns the operator's own counters for the report, by name. Called once, after `close`.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![]
    }
}

/// Producer of the frames of one stream: a file, a camera, a generator. It runs on its own thread.
///
/// A node that reads several streams opens a source for each ([`Source::open`]); each has a thread, and is paced, fails
/// and ends independently. In `complete` mode their frames enter the graph in turn, so that the order does not depend on
/// their speed; in `live` mode they enter as they arrive.
///
/// ```
/// use std::sync::Arc;
/// use sideline_api::{
///     Body, CapturedFrame, Config, Payload, PortType, Resources, Result, Source, SourceContext, Spec, Table, tables::Count,
/// };
///
/// /// Counts ticks of a clock.
/// #[derive(Clone, Config)]
/// pub struct TicksConfig {
///     /// Ticks per second. Higher makes more frames.
///     #[config(default = 25, range(1, 1000))]
///     pub rate: i64,
/// }
///
/// pub struct Ticks {
///     config: TicksConfig,
///     ticks: u64,
/// }
///
/// impl Source for Ticks {
///     type Config = TicksConfig;
///
///     fn spec() -> Spec {
///         Spec::source("ticks").output("ticks", PortType::table::<Count>())
///     }
///
///     // Never ends by itself, like a camera: flows run in `live` mode by default.
///     fn finite(_: &TicksConfig) -> bool {
///         false
///     }
///
///     fn new(config: TicksConfig, _: &Resources) -> Result<Self> {
///         Ok(Ticks { config, ticks: 0 })
///     }
///
///     fn next(&mut self, cx: &SourceContext) -> Result<Option<CapturedFrame>> {
///         let pts = self.ticks as i64 * 1_000_000_000 / self.config.rate;
///         // Waits for the time of the frame, or for the end of the run.
///         cx.pace(cx.clock.now() + 1_000_000_000 / self.config.rate);
///         self.ticks += 1;
///         let rows = Count::encode(&[Count { frames: self.ticks, checksum: 0 }]);
///         Ok(Some(CapturedFrame {
///             stream: "ticks".into(),
///             session: 0,
///             pts,
///             captured_at: cx.clock.now(),
///             outputs: vec![Body::Data(Payload::Table(Arc::new(rows)))],
///         }))
///     }
/// }
/// # sideline_api::Registry::new().source::<Ticks>().check().unwrap();
/// ```
pub trait Source: Send + Sized + 'static {
    /// Configuration struct with `#[derive(Config)]`.
    type Config: Config;

    /// Returns the name and the outputs, made by [`Spec::source`].
    fn spec() -> Spec;

    /// Returns true if the source ends by itself. The default mode is then `complete`, else `live`.
    fn finite(_config: &Self::Config) -> bool {
        true
    }

    /// Opens the source.
    ///
    /// # Errors
    /// When the file, stream or device is missing or cannot be read.
    fn new(config: Self::Config, resources: &Resources) -> Result<Self>;

    /// Opens a source for each stream that the configuration names, in the order in which they take turns. By default
    /// this is the one source of [`Source::new`].
    ///
    /// # Errors
    /// When one is missing or cannot be read; every such stream is named.
    fn open(config: Self::Config, resources: &Resources) -> Result<Vec<Self>> {
        Self::new(config, resources).map(|source| vec![source])
    }

    /// Returns the name of its stream if it is known before the first frame.
    fn stream(&self) -> Option<StreamName> {
        None
    }

    /// Returns the next decoded frame, or `None` at the end. It may block for a camera, or in [`SourceContext::pace`].
    ///
    /// # Errors
    /// Frames decoded before are still processed and other streams continue; the run then ends as partial with this
    /// failure.
    fn next(&mut self, cx: &SourceContext) -> Result<Option<CapturedFrame>>;

    /// Returns the rows that remain after the last frame; they are sent as closing messages. Called once, also when `next`
    /// failed, but not when the run was stopped.
    fn closing_rows(&mut self) -> Vec<ClosingRows> {
        vec![]
    }

    /// Returns the source's own counters for the report, by name, besides the frames of its stream. Called once, after
    /// `close`.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![]
    }

    /// Closes the source. Called exactly once if `new` succeeded.
    ///
    /// # Errors
    /// The run then ends with this failure.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Last rows of a source on one output, sent as a closing message after the stream's last frame.
#[derive(Clone, Debug)]
pub struct ClosingRows {
    /// Name of the stream.
    pub stream: StreamName,
    /// Name of the output.
    pub output: &'static str,
    /// The rows.
    pub rows: Arc<StructArray>,
}

/// A frame that a source decoded. It is not yet part of the graph: the admission gate may drop it.
#[derive(Clone, Debug)]
pub struct CapturedFrame {
    /// Name of the stream.
    pub stream: StreamName,
    /// Number of the connection, from 0.
    pub session: u32,
    /// Media time in nanoseconds; never decreases.
    pub pts: i64,
    /// Wall-clock time (nanoseconds since 1970) at which the packet that completed the frame was read, or its due time.
    pub captured_at: i64,
    /// One body for each declared output, in the order of declaration. `End` is not allowed.
    pub outputs: Vec<Body>,
}
