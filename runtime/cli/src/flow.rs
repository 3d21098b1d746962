//! Flows that a program runs from its code.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use clap::Parser;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::Value;
use sideline_api::{Error, Header, Registry, Result, Table};
use sideline_engine::{FailureHook, OperatorFailure, RunProgress, meter::Report};

use crate::{
    Graph,
    args::{Cli, Command, Mode, Run, Setting, split_setting_name},
    embed,
    progress::ProgressMode,
    python, registry,
    run::RunObserver,
    tap::{Batch, Tap, panic_text},
};

/// Interval between two calls of the progress callback.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Callback for the rows of a table.
type TableCallback = Arc<dyn Fn(&Batch<'_>) -> Result<()> + Send + Sync>;

/// Callback for progress.
type ProgressCallback = Arc<dyn Fn(&RunProgress) + Send + Sync>;

/// Flow that a program runs from its code.
///
/// ```
/// use sideline::{Flow, Graph, Node};
/// use sideline_api::tables::Count;
///
/// # let folder = tempfile::tempdir().unwrap();
/// let graph = Graph::new("count")
///     .node(Node::new("synthetic", "synthetic").set("frames", 20).set("width", 64).set("height", 48))
///     .node(Node::new("counter", "counter").input("frames", "synthetic/frames"));
/// let run = Flow::from_graph(&graph)
///     .set("counter.step", 4)?
///     .output(folder.path().join("count"))
///     .on_table("counts", |header, rows: Vec<Count>| assert_eq!(header.frame + 1, rows[0].frames))
///     .on_failure(|failure| eprintln!("{} failed: {}", failure.node, failure.message))
///     .start()?;
/// let report = run.wait()?;
/// assert_eq!(report.nodes[0].counts.processed, 20);
/// # Ok::<(), sideline_api::Error>(())
/// ```
pub struct Flow {
    options: Run,
    registry: Registry,
    callbacks: Vec<(String, TableCallback)>,
    observer: Callbacks,
}

/// Callbacks of a run.
#[derive(Default)]
struct Callbacks {
    progress: Option<ProgressCallback>,
    failure: Option<FailureHook>,
    /// True while a callback for rows runs: the flow waits for it and has not stalled.
    is_held: Arc<AtomicBool>,
}

impl Flow {
    /// Prepares a run of a dataflow file with the shipped operators.
    ///
    /// # Errors
    /// If there is no such file. Its content is checked by [`Flow::start`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if !path.is_file() {
            return Err(Error::config(format!("{}: no such file", path.display())));
        }
        Ok(Self::new(path, None))
    }

    /// Prepares a run of a flow that was built in code. Relative paths in it refer to the working directory.
    pub fn from_graph(graph: &Graph) -> Self {
        Self::new(Path::new(&graph.name), Some(graph.to_yaml()))
    }

    fn new(target: &Path, text: Option<String>) -> Self {
        let Command::Run(options) = Cli::parse_from(["sideline", "run", "flow"]).command else {
            unreachable!("the command is `run`")
        };
        let target = target.to_string_lossy().into_owned();
        let options = Run { target, text, progress: ProgressMode::None, ..options };
        Self { options, registry: registry(), callbacks: vec![], observer: Callbacks::default() }
    }

    /// Uses these operators instead of the shipped ones: `sideline::registry().operator::<Mine>()`.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Sets a key, as `sideline run --set` does: `set("moves.fusion.gate", 0.6)`.
    ///
    /// # Errors
    /// If the name is not `NODE.KEY`.
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Result<Self> {
        let Some((node, key)) = split_setting_name(name) else {
            return Err(Error::config(format!("`{name}` is not NODE.KEY, as in `tracker.lost_buffer_s`")));
        };
        self.options.set.push(Setting { node, key, value: value.into() });
        Ok(self)
    }

    /// Sets the source: a video, a folder of images, a camera or an address.
    pub fn input(mut self, input: impl Into<String>) -> Self {
        self.options.input = vec![input.into()];
        self
    }

    /// Sets the folder of the results; by default it is a new one in `runs`.
    pub fn output(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options.output = Some(folder.into());
        self
    }

    /// Sets the mode: `Complete` processes every frame while the sources wait; `Live` keeps up with the sources and drops frames.
    /// The default is `Complete` if all sources are finite.
    pub fn mode(mut self, mode: sideline_api::Mode) -> Self {
        self.options.mode = Some(match mode {
            sideline_api::Mode::Live => Mode::Live,
            sideline_api::Mode::Complete => Mode::Complete,
        });
        self
    }

    /// Ends the run after this number of frames of each stream.
    pub fn frames(mut self, frames: u64) -> Self {
        self.options.frames = Some(frames);
        self
    }

    /// Calls `callback` with the rows of a table, or of an output `NODE/OUTPUT`, for each frame that has any. In `complete` mode the
    /// flow waits for it; in `live` mode the oldest rows are dropped and counted. If `T` is not the row type of the table, or
    /// `callback` panics, the node `tap` fails.
    pub fn on_table<T: Table>(self, table: &str, callback: impl Fn(&Header, Vec<T>) + Send + Sync + 'static) -> Self {
        self.with_callback(
            table,
            Arc::new(move |batch| {
                callback(batch.header, batch.rows()?);
                Ok(())
            }),
        )
    }

    /// Calls `callback` with the batches of a table, as [`Flow::on_table`] does, without decoding their rows.
    pub fn on_batch(self, table: &str, callback: impl Fn(&Batch<'_>) + Send + Sync + 'static) -> Self {
        self.with_callback(
            table,
            Arc::new(move |batch| {
                callback(batch);
                Ok(())
            }),
        )
    }

    fn with_callback(mut self, table: &str, callback: TableCallback) -> Self {
        self.callbacks.push((table.to_owned(), callback));
        self
    }

    /// Calls `callback` once a second and at the end.
    pub fn on_progress(mut self, callback: impl Fn(&RunProgress) + Send + Sync + 'static) -> Self {
        self.observer.progress = Some(Arc::new(callback));
        self
    }

    /// Calls `callback` for each error and panic of an operator, on the thread of that operator.
    pub fn on_failure(mut self, callback: impl Fn(&OperatorFailure<'_>) + Send + Sync + 'static) -> Self {
        self.observer.failure = Some(Arc::new(callback));
        self
    }

    /// Checks the flow and starts it on threads of its own.
    ///
    /// # Errors
    /// If the flow is wrong, a model is missing, or no node sends a table that was asked for. A start that fails later, such as
    /// that of a camera, is the result of [`Running::wait`].
    pub fn start(self) -> Result<Running> {
        embed::start_logging();
        let Self { options, registry, callbacks, observer } = self;
        registry.check()?;
        let in_python = python::targets_of(&options).into_iter();
        let registry = in_python.fold(registry, |registry, target| {
            let text =
                "operators in Python run in the program `sideline` and in the package `sideline`, not in this program";
            registry.with_name(&target, Err(Error::config(text)))
        });
        let mut tables: Vec<String> = vec![];
        for (table, _) in &callbacks {
            if !tables.contains(table) {
                tables.push(table.clone());
            }
        }
        let is_held = observer.is_held.clone();
        let tap = Tap::new(move |batch, mode| {
            // In `live` mode the flow does not wait.
            let _hold = (mode == sideline_api::Mode::Complete).then(|| Hold::begin(&is_held));
            let mut callbacks = callbacks.iter().filter(|(table, _)| table == batch.table);
            callbacks.try_for_each(|(_, callback)| callback(batch))
        });
        let prepared = embed::prepare_run(options, &registry, tap, &tables)?;
        let (stop, folder) = (prepared.stop_flag(), prepared.folder().to_owned());
        let thread = std::thread::Builder::new()
            .name("sideline-run".into())
            .spawn(move || prepared.run_observed(&observer))
            .map_err(|cause| Error::other(format!("the thread of the run: {cause}")))?;
        Ok(Running { thread: Some(thread), stop, folder })
    }
}

/// Marks a run as held back until it is dropped, also by a panic.
struct Hold<'a>(&'a AtomicBool);

impl<'a> Hold<'a> {
    fn begin(is_held: &'a AtomicBool) -> Self {
        is_held.store(true, Ordering::Relaxed);
        Self(is_held)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl RunObserver for Callbacks {
    fn watch(&self, running: &Arc<sideline_engine::Running>, _: Option<u64>, end: &Receiver<()>) {
        let Some(callback) = &self.progress else {
            // Ends when the sender is dropped.
            _ = end.recv();
            return;
        };
        let tell = || {
            while matches!(end.recv_timeout(PROGRESS_INTERVAL), Err(RecvTimeoutError::Timeout)) {
                callback(&running.progress());
            }
            callback(&running.progress());
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(tell)) {
            running.fail(Error::other(format!("`on_progress` panicked: {}", panic_text(&*panic))));
        }
    }

    fn failure_hook(&self) -> Option<FailureHook> {
        self.failure.clone()
    }

    fn hold_flag(&self) -> Arc<AtomicBool> {
        self.is_held.clone()
    }
}

/// Running flow. When it is dropped, the run is stopped and awaited, so that its results are complete.
pub struct Running {
    thread: Option<JoinHandle<Result<Report>>>,
    stop: Arc<AtomicBool>,
    folder: PathBuf,
}

impl Running {
    /// Returns the folder of the results.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Asks the run to stop: sources end, and what is in flight is finished.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Returns true once the run has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end; returns the report, whose status tells a run that was stopped from one that is done.
    ///
    /// # Errors
    /// If the run could not begin, or failed. What it recorded until then is in [`Running::folder`].
    pub fn wait(mut self) -> Result<Report> {
        let report = match self.thread.take().map(JoinHandle::join) {
            Some(Ok(report)) => report?,
            Some(Err(_)) | None => return Err(Error::other("the run panicked; the message is above")),
        };
        match report.failure {
            Some(failure) => Err(failure),
            None => Ok(report),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stop();
            // Its outcome is in the folder of the run.
            _ = thread.join();
        }
    }
}
