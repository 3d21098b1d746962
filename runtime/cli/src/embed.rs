//! Runs from the code of another program, such as the Python package: `sideline run` without a terminal, with a node that passes
//! on the rows of some tables.
//!
//! For that package alone: it is no interface for programs of authors, and may change with any version.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Once, OnceLock, PoisonError, Weak, atomic::AtomicBool},
};

use clap::Parser;
use crossbeam_channel::Receiver;
use sideline_api::{Alignment, Error, OrFail, PortType, Registry, Result, config::did_you_mean, models::Models};
use sideline_engine::{RunProgress, Running, meter::Report};
use sideline_graph::Flow;

pub use crate::tap::Tap;
use crate::{
    args::{Cli, Command, Run},
    batch, logging, plugins,
    python::{PythonHost, PythonTargets, add_operators},
    run::{self, RunContext, RunObserver},
    stop_signal::StopSignal,
    tap::TAP,
};

/// Queue of a side input of the node that passes rows on, in messages: in `live` mode they wait there for a slow reader.
const SIDE_QUEUE: usize = 1024;

/// Handle to a run for the code that has started it.
#[derive(Clone, Default)]
pub struct RunHandle {
    is_held: Arc<AtomicBool>,
    running: Arc<Mutex<Weak<Running>>>,
    /// Progress at the end.
    last: Arc<OnceLock<RunProgress>>,
}

impl RunHandle {
    /// Returns the flag that is set while the run waits for its reader, so that the wait does not count as a stall.
    pub fn hold_flag(&self) -> Arc<AtomicBool> {
        RunObserver::hold_flag(self)
    }

    /// Returns the progress, after the end the last one; `None` before the start.
    pub fn progress(&self) -> Option<RunProgress> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        running.map(|running| running.progress()).or_else(|| self.last.get().cloned())
    }
}

impl RunObserver for RunHandle {
    fn watch(&self, running: &Arc<Running>, _: Option<u64>, end: &Receiver<()>) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(running);
        // Ends when the sender is dropped.
        _ = end.recv();
        _ = self.last.set(running.progress());
    }

    fn hold_flag(&self) -> Arc<AtomicBool> {
        self.is_held.clone()
    }
}

/// A run that was checked and can begin.
pub struct PreparedRun {
    flow: Flow,
    registry: Registry,
    models: Models,
    options: Run,
    name: String,
    folder: PathBuf,
    stop: StopSignal,
}

/// Checks the flow of a run. `arguments` are those of `sideline run`; `text` is the flow in place of its file. `tap` gets the
/// rows of `tables`: names of tables, or outputs `NODE/OUTPUT`.
///
/// # Errors
/// If an argument or the flow is wrong, a model is missing, or the flow has no such table.
pub fn prepare(
    arguments: Vec<OsString>,
    text: Option<String>,
    registry: &Registry,
    load: &dyn Fn(&PythonTargets, Registry) -> Registry,
    tap: Tap,
    tables: &[String],
) -> Result<PreparedRun> {
    start_logging();
    let words = ["sideline".into(), "run".into()].into_iter().chain(arguments);
    let mut command = Cli::try_parse_from(words).map_err(|usage| Error::config(usage.to_string().trim()))?.command;
    if let Command::Run(options) = &mut command {
        options.text = text;
    }
    let host = PythonHost { description: String::new(), executable: PathBuf::new(), arguments: vec![], load };
    let registry = add_operators(&command, registry, Some(&host)).registry;
    let Command::Run(options) = command else { return Err(Error::config("only `run` runs a flow")) };
    prepare_run(options, &registry, tap, tables)
}

/// Checks the flow of a run, as [`prepare`] does.
///
/// # Errors
/// As for [`prepare`].
pub(crate) fn prepare_run(options: Run, registry: &Registry, tap: Tap, tables: &[String]) -> Result<PreparedRun> {
    let registry = plugins::with_plugins_of(&options, registry)?.with_name(TAP, Ok(Arc::new(tap)));
    registry.check()?;
    if batch::expand_inputs(&options.input)?.is_some() {
        return Err(Error::config("one run reads one `input`: start a run for each"));
    }
    let (mut flow, models) = run::prepare(&options, options.input.first().map(String::as_str), None, &registry)?;
    run::print_warnings(&flow);
    if !tables.is_empty() {
        add_reader(&mut flow, &registry, tables)?;
    }
    let name = run::new_run_name();
    let folder = run::run_folder(&options, &flow, &name);
    Ok(PreparedRun { flow, registry, models, options, name, folder, stop: StopSignal::default() })
}

/// Starts the log of a process whose `main` is not Sideline's.
pub(crate) fn start_logging() {
    static LOGGING: Once = Once::new();
    LOGGING.call_once(|| {
        #[cfg(feature = "onnx")]
        sideline_inference::environment::disable_telemetry();
        // Another library of the process may log already; the run does not depend on it.
        let _started = logging::start();
    });
}

/// Adds the node that reads tables.
fn add_reader(flow: &mut Flow, registry: &Registry, tables: &[String]) -> Result<()> {
    let mut outputs: Vec<(usize, usize)> = vec![];
    // Names by which each of the outputs was asked for.
    let mut names: Vec<Vec<&str>> = vec![];
    for wanted in tables {
        let mut is_found = false;
        for (at, node) in flow.nodes.iter().enumerate() {
            for (index, port) in node.spec.outputs.iter().enumerate() {
                let is_wanted = port.ty.name() == wanted || format!("{}/{}", node.id, port.name) == *wanted;
                if !matches!(port.ty, PortType::Table(_)) || !is_wanted {
                    continue;
                }
                is_found = true;
                match outputs.iter().position(|output| *output == (at, index)) {
                    Some(known) => names[known].push(wanted),
                    None => {
                        outputs.push((at, index));
                        names.push(vec![wanted]);
                    }
                }
            }
        }
        if !is_found {
            let ports = flow.nodes.iter().flat_map(|node| node.spec.outputs.iter().map(|port| port.ty));
            let known: Vec<&str> = ports.filter(|ty| matches!(ty, PortType::Table(_))).map(|ty| ty.name()).collect();
            let near = did_you_mean(wanted, known.iter().copied());
            return Err(Error::config(format!("{}: no node sends a table `{wanted}`{near}", flow.path.display())));
        }
    }
    flow.add_reader(registry, TAP, TAP, vec![], &outputs)
        .map_err(|problems| run::join_diagnostics(&problems, sideline_api::Failure::Config))?;
    // Two outputs may have tables of one name, so a number makes the names of the inputs different.
    let inputs = flow.nodes.last_mut().map(|node| &mut node.inputs[..]).unwrap_or_default();
    for (at, (input, names)) in inputs.iter_mut().zip(names).enumerate() {
        input.wired.name = Tap::input_name(at, &names);
        if let Alignment::Side { queue } = &mut input.wired.alignment {
            *queue = SIDE_QUEUE;
        }
    }
    Ok(())
}

impl PreparedRun {
    /// Returns the flag that asks the run to stop.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.flag()
    }

    /// Returns the number of frames after which the run ends, if it is known.
    pub fn frames(&self) -> Option<u64> {
        self.options.limit().frames
    }

    /// Returns the folder of the results.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs the flow to its end; returns the report as JSON. `handle` gives the progress while the run is active.
    ///
    /// # Errors
    /// If the run cannot begin, or its result cannot be written. The failure of a run that began is in the report.
    pub fn run(self, handle: &RunHandle) -> Result<String> {
        let report = self.run_observed(handle)?;
        serde_json::to_string(&report).or_fail(sideline_api::Failure::Output, || "the report")
    }

    /// Runs the flow to its end under an observer; returns its report.
    ///
    /// # Errors
    /// As for [`PreparedRun::run`].
    pub(crate) fn run_observed(self, observer: &dyn RunObserver) -> Result<Report> {
        let Self { flow, registry, models, options, name, folder, stop } = self;
        let context = RunContext { name: &name, folder: &folder, stop: &stop, previous: None };
        run::run_in_process(&flow, &registry, models, &context, options.limit(), observer)
    }
}
