//! Runs a plan in one process: threads, queues, admission window, frame accounting, metrics.
//!
//! Every stream has a reader thread, which decodes its frames. Every source has a [gate], which admits them.
//! Every lane of the plan is one thread that owns its operators. Within a lane a message is handed over without a lock;
//! between lanes it is posted once to the inbox of the receiving lane.
//!
//! With a source `numbers` of five frames and an operator `sum` in the registry:
//!
//! ```
//! # use std::sync::Arc;
//! # use sideline_api::*;
//! # use sideline_api::tables::Count;
//! # /// Counts to five.
//! # #[derive(Clone, Config)]
//! # struct NumbersConfig {}
//! # struct Numbers(u64);
//! # impl Source for Numbers {
//! #     type Config = NumbersConfig;
//! #     fn spec() -> Spec {
//! #         Spec::source("numbers").output("numbers", PortType::table::<Count>())
//! #     }
//! #     fn new(_: NumbersConfig, _: &Resources) -> Result<Self> {
//! #         Ok(Numbers(0))
//! #     }
//! #     fn next(&mut self, cx: &SourceContext) -> Result<Option<CapturedFrame>> {
//! #         self.0 += 1;
//! #         let rows = Arc::new(Count::encode(&[Count { frames: self.0, checksum: 0 }]));
//! #         let outputs = vec![Body::Data(Payload::Table(rows))];
//! #         let captured_at = cx.clock.now();
//! #         let frame = CapturedFrame { stream: "main".into(), session: 0, pts: self.0 as i64, captured_at, outputs };
//! #         Ok((self.0 <= 5).then_some(frame))
//! #     }
//! # }
//! # /// Adds numbers.
//! # #[derive(Clone, Config)]
//! # struct SumConfig {
//! #     /// Added to each number. Higher makes the sum greater.
//! #     #[config(default = 0)]
//! #     offset: u64,
//! # }
//! # struct Sum;
//! # impl Operator for Sum {
//! #     type Config = SumConfig;
//! #     type State = u64;
//! #     fn spec() -> Spec {
//! #         Spec::operator("sum").required("numbers", PortType::table::<Count>())
//! #     }
//! #     fn new(_: SumConfig, _: &Resources) -> Result<Self> {
//! #         Ok(Sum)
//! #     }
//! #     fn process(&mut self, _: &Context, _: &Inputs, _: &mut u64, _: &mut Outputs) -> Result<()> {
//! #         Ok(())
//! #     }
//! # }
//! use sideline_engine::{Options, meter::RunStatus};
//! use sideline_graph::{Flow, Overrides};
//!
//! let registry = Registry::new().source::<Numbers>().operator::<Sum>();
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("sum.yml");
//! std::fs::write(&path, "\
//! nodes:
//!   - {id: numbers, path: sideline, args: run numbers, outputs: [numbers], inputs: {done_sum: sum/done}}
//!   - {id: sum, path: sideline, args: run sum, outputs: [done], inputs: {numbers: numbers/numbers}}
//! ")?;
//! let plan = Flow::read(&path, &registry, &Overrides::default()).unwrap().plan_embedded().unwrap();
//! let options = Options::new("sum", folder.path());
//! let report = sideline_engine::start(plan, &registry, options, None).unwrap().wait();
//! assert_eq!(report.status, RunStatus::Done);
//! assert_eq!(report.nodes[0].counts.processed, 5);
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod counts;
pub mod gate;
mod lane;
pub mod meter;
mod offers;
mod readers;
mod running;
mod settings;
mod shared;
pub mod snapshot;
mod start;
mod wiring;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use crossbeam_channel::Sender;
use sideline_api::{
    Device, Message, Result, SourceId,
    clock::{Clock, WallClock},
    models::Models,
};

use gate::{ResumePoint, RunLimit, SinkProgress};

pub use running::{RunProgress, Running};
pub use settings::SettingChange;
pub use shared::TimingRow;
pub use start::start;

/// Reason why an edge closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Every stream has ended. A stream without an end means that the producer failed.
    Ended,
    /// The producer is a foreign node, which sends no ends.
    Foreign,
    /// The producer was stopped before its streams ended.
    Stopped,
}

impl CloseReason {
    /// Returns true when a missing end is no failure.
    pub fn excuses_missing_end(self) -> bool {
        self != CloseReason::Ended
    }
}

/// Connection to the other processes of a run.
pub trait Border: Send + Sync {
    /// Sends a message on border output number `output`.
    ///
    /// # Errors
    /// When the message cannot be sent; the error ends the run.
    fn send(&self, output: usize, message: &Message) -> Result<()>;
    /// Closes border output number `output`.
    ///
    /// # Errors
    /// When the closing message cannot be sent; the error ends the run.
    fn close(&self, output: usize, reason: CloseReason) -> Result<()>;
    /// Reports the progress of the sinks in this process to the process that hosts their source: the progress of the
    /// sink that is furthest behind.
    ///
    /// # Errors
    /// When the message cannot be sent; the error ends the run.
    fn report_progress(&self, source: SourceId, progress: SinkProgress) -> Result<()>;
}

/// Callback of [`start`], called once every operator and source is ready and before the first frame.
pub type StartHook = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// Error or panic of an operator, as passed to [`Options::on_failure`].
#[derive(Clone, Debug)]
pub struct OperatorFailure<'a> {
    /// Node of the operator.
    pub node: &'a str,
    /// Name of the stream.
    pub stream: &'a str,
    /// Number of the frame; `None` at the end of the stream.
    pub frame: Option<u64>,
    /// Message of the error or panic.
    pub message: &'a str,
    /// True for a panic.
    pub is_panic: bool,
}

/// Callback for failures of operators, called on the operator's thread.
pub type FailureHook = Arc<dyn Fn(&OperatorFailure<'_>) + Send + Sync>;

/// Inputs of a run besides its plan.
#[derive(Clone)]
pub struct Options {
    /// Device that models run on.
    pub device: Device,
    /// Name of the run.
    pub run: String,
    /// Folder of the run; it must exist.
    pub run_dir: PathBuf,
    /// Installed models.
    pub models: Arc<Models>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Frames and media time after which the run ends on purpose.
    pub limit: RunLimit,
    /// Resume points by stream name: frame numbers follow on from those of an earlier run; operators begin with new
    /// state.
    pub resume_after: BTreeMap<String, ResumePoint>,
    /// Set by the caller to end the run in order, also while operators are still being made.
    pub stop_requested: Arc<AtomicBool>,
    /// Set by the caller while code outside the run holds it back, such as a slow reader of its rows. Such a run has not stalled.
    pub is_held: Arc<AtomicBool>,
    /// Called at the moment from which the run may overwrite the results of an earlier one. A start that fails earlier
    /// never calls it.
    pub on_start: Option<StartHook>,
    /// Called for each failure of an operator.
    pub on_failure: Option<FailureHook>,
    /// Receiver of timing rows.
    pub timing: Option<Sender<Vec<TimingRow>>>,
}

impl Options {
    /// Creates the options of a run in a folder that exists: any device, no models, wall clock, no limit, no resume points,
    /// no hooks, no timing.
    pub fn new(run: impl Into<String>, run_dir: impl Into<PathBuf>) -> Self {
        Self {
            device: Device::default(),
            run: run.into(),
            run_dir: run_dir.into(),
            models: Arc::default(),
            clock: Arc::new(WallClock),
            limit: RunLimit::default(),
            resume_after: BTreeMap::new(),
            stop_requested: Arc::default(),
            is_held: Arc::default(),
            on_start: None,
            on_failure: None,
            timing: None,
        }
    }
}
