//! Runs a plan in one process: threads, queues, admission window, frame accounting, metrics.
//!
//! Every stream has a reader thread, which decodes its frames. Every source has a [gate], which admits them.
//! Every lane of the plan is one thread that owns its operators. Within a lane a message is handed over without a lock;
//! between lanes it is posted once to the inbox of the receiving lane.
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
    /// Called at the moment from which the run may overwrite the results of an earlier one. A start that fails earlier
    /// never calls it.
    pub on_start: Option<StartHook>,
    /// Receiver of timing rows.
    pub timing: Option<Sender<Vec<TimingRow>>>,
}

impl Options {
    /// Creates the options of a run in a folder that exists: any device, no models, wall clock, no limit, no resume points,
    /// no hook, no timing.
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
            on_start: None,
            timing: None,
        }
    }
}
