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

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use crossbeam_channel::Sender;
use sideline_api::{Device, Message, Result, clock::Clock, models::Models};

use gate::{After, Limit};

pub use change::Change;
pub use running::{Progress, Running};
pub use shared::TimingRow;
pub use start::start;

/// The other processes of a run, as the engine sees them.
pub trait Border: Send + Sync {
    /// Sends a message of border output number `output`.
    ///
    /// # Errors
    /// The run ends with it.
    fn send(&self, output: usize, message: &Message) -> Result<()>;
    /// Tells the process of source number `source` that every leaf of it here has finished `count` frames.
    ///
    /// # Errors
    /// The run ends with it.
    fn done(&self, source: usize, count: u64) -> Result<()>;
}

/// What a run needs besides its plan.
#[derive(Clone)]
pub struct Options {
    /// Where models run.
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
    /// How long operators may take to be made.
    pub start_deadline: Duration,
    /// Where timing rows go.
    pub timing: Option<Sender<Vec<TimingRow>>>,
}
