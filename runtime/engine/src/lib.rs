//! Runs a plan in one process: threads, queues, window, counts, metrics.
//!
//! Every stream has a reader thread, which decodes, and every source a [gate](gate), which admits. Every lane of the plan is one thread
//! that owns its operators. A frame travels by hand-over inside a lane and by one post between lanes.
#![forbid(unsafe_code)]

mod change;
pub mod gate;
mod lane;
pub mod meter;
mod offers;
mod running;
mod shared;
mod start;
pub mod status;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use crossbeam_channel::Sender;
use sideline_api::{Device, Message, Result, SourceId, clock::Clock, models::Models};

use gate::{After, Limit, Progress as SinkProgress};

pub use change::Change;
pub use running::{Progress, Running};
pub use shared::TimingRow;
pub use start::start;

/// The way to the other processes of a run.
pub trait Border: Send + Sync {
    /// Sends a message of border output number `output`.
    ///
    /// # Errors
    /// The run ends with it.
    fn send(&self, output: usize, message: &Message) -> Result<()>;
    /// Nothing more comes on border output number `output`. `excused`: the run is being stopped.
    ///
    /// # Errors
    /// The run ends with it.
    fn close(&self, output: usize, excused: bool) -> Result<()>;
    /// Tells the process of a source how far all its sinks here have come.
    ///
    /// # Errors
    /// The run ends with it.
    fn done(&self, source: SourceId, progress: SinkProgress) -> Result<()>;
}

/// Called by [`start`] once everything is made, before the first frame.
pub type Begin = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// The needs of a run besides its plan.
#[derive(Clone)]
pub struct Options {
    /// The device that models run on.
    pub device: Device,
    /// Name of the run.
    pub run: String,
    /// Its folder, which exists.
    pub run_dir: PathBuf,
    /// The models.
    pub models: Arc<Models>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Ends the run on purpose.
    pub limit: Limit,
    /// Streams, by their names, that go on after a frame of an earlier run: their numbers follow on, and their operators
    /// begin with new state.
    pub after: BTreeMap<String, After>,
    /// Set by the host of the run when it is to end in order, also while operators are being made.
    pub asked_to_stop: Arc<AtomicBool>,
    /// The moment from which the run may write over results of an earlier one: a start that fails never comes to it.
    pub begin: Option<Begin>,
    /// The receiver of timing rows.
    pub timing: Option<Sender<Vec<TimingRow>>>,
}
