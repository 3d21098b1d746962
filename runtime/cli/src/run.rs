//! `sideline run`: runs a flow in this process.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::{SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::Receiver;
use serde_json::Value;
use sideline_api::{Error, Failure, OrFail, Reason, Registry, Result, models::Models};
use sideline_engine::{
    FailureHook, Options, Running, SettingChange,
    gate::RunLimit,
    meter::{self, NodeReport, Report, RunStatus, StopCause},
};
use sideline_graph::{Diagnostic, Flow, Overrides};
use sideline_recording::RecordedTables;

#[cfg(feature = "dora")]
use crate::node;
use crate::{
    args::{Run, Setting},
    batch,
    commands::print_json,
    control, home,
    progress::{self, ProgressMode},
    record,
    run_folder::{Contents, RunFolder, check_sources_not_overwritten},
    shell_paths,
    start_at::PreviousRun,
    stop_signal::StopSignal,
    timing::TimingFile,
};

/// Operator name and id of the node that `--preview` adds.
const PREVIEW: &str = "preview";

/// Runs `sideline run`; returns the exit code.
///
/// # Errors
/// If the run cannot start, or fails.
pub fn run(options: &Run, registry: &Registry) -> Result<u8> {
    #[cfg(feature = "dora")]
    if sideline_dora::transport::started_by_dora() {
        return node::run(registry);
    }
    #[cfg(not(feature = "dora"))]
    if std::env::var_os("DORA_NODE_CONFIG").is_some() {
        let text = "this build of `sideline` cannot run under dora: build it with `cargo build -p sideline`";
        return Err(Error::config(text));
    }
    let path = Path::new(&options.target);
    if registry.get(&options.target).is_ok() || !path.exists() && path.extension().is_none() {
        registry.get(&options.target)?;
        return Err(Error::config(format!(
            "operator `{0}` runs as a node of a flow: write it in one (`path: sideline`, `args: run {0}`) and run the flow",
            options.target
        )));
    }
    if let Some(inputs) = batch::expand_inputs(&options.input)? {
        if options.start_at.is_some() {
            return Err(Error::config("--start-at continues a single run: give one `--input`, the same as that run's"));
        }
        if options.from.is_some() {
            return Err(Error::config("--from replays a single run: give one `--input`, the same as that run's"));
        }
        return batch::run(options, inputs, registry);
    }
    let stop = StopSignal::listen()?;
    let previous = options.start_at.as_deref().map(PreviousRun::read).transpose()?;
    let input = options.input.first().map(String::as_str);
    let (flow, models) = prepare(options, input, previous.as_ref(), registry)?;
    print_warnings(&flow);
    let name = new_run_name();
    let folder = run_folder(options, &flow, &name);
    if let Some(previous) = &previous {
        previous.check(&flow, &folder, registry)?;
        errln!("{}", previous.describe());
    }
    check_recording_not_replaced(options, &folder)?;
    let context = RunContext { name: &name, folder: &folder, stop: &stop, previous: previous.as_ref() };
    let report = run_in_process(&flow, registry, models, &context, options.limit(), &options.progress)?;
    if options.json {
        print_json(&report)?;
    } else {
        print_line(options, &format!("{}results: {}", report.table(), folder.display()));
    }
    match &report.failure {
        Some(failure) => Err(failure.clone()),
        None => Ok(0),
    }
}

/// Checks that a replayed run is not replaced by the new one.
///
/// # Errors
/// If both have the same folder.
pub fn check_recording_not_replaced(options: &Run, folder: &Path) -> Result<()> {
    let Some(recording) = &options.recording else { return Ok(()) };
    match (recording.canonicalize(), folder.canonicalize()) {
        (Ok(recording), Ok(folder)) if recording == folder => Err(Error::config(format!(
            "{}: the replayed run would be replaced by its own results: write to another folder (`--output`)",
            folder.display()
        ))),
        _ => Ok(()),
    }
}

/// Prints a line of text on standard output, or on standard error if standard output is JSON.
pub fn print_line(options: &Run, line: &str) {
    if options.json || options.progress == ProgressMode::Json { errln!("{line}") } else { outln!("{line}") }
}

/// Reads the flow for one input, and finds its models.
///
/// # Errors
/// If the flow is invalid or a model is missing.
pub fn prepare(
    options: &Run,
    input: Option<&str>,
    previous: Option<&PreviousRun>,
    registry: &Registry,
) -> Result<(Flow, Models)> {
    let path = Path::new(&options.target);
    let mut overrides = build_overrides(path, &options.set, options.mode.map(Into::into));
    overrides.input = input.map(shell_paths::resolve_source);
    if let Some(previous) = previous {
        // First, so that the user's own `--set` takes precedence.
        overrides.set.splice(0..0, previous.source_starts(registry));
    }
    overrides.device = options.device.map(Into::into);
    let mut preview = None;
    if let Some(port) = options.preview {
        // `--set preview.fps=5` applies to the node that is added below.
        let is_for_preview = |(node, ..): &(String, String, Value)| node == PREVIEW;
        preview = Some((port, overrides.set.extract_if(.., |set| is_for_preview(set)).collect::<Vec<_>>()));
    }
    let mut flow = match &options.text {
        Some(text) => Flow::parse(text, path, registry, &overrides)
            .map_err(|problems| join_diagnostics(&problems, Failure::Config))?,
        None => read_flow(path, registry, &overrides)?,
    };
    if let (Some(from), Some(recording)) = (&options.from, &options.recording) {
        replay_from(&mut flow, registry, from, recording)?;
    }
    if let Some((port, set)) = preview {
        add_preview(&mut flow, registry, port, set)?;
    }
    let models = home::load_models(path);
    let missing = flow.check_models(&models);
    if missing.is_empty() { Ok((flow, models)) } else { Err(join_diagnostics(&missing, Failure::Model)) }
}

/// Prints the warnings of a flow.
pub fn print_warnings(flow: &Flow) {
    for warning in flow.diagnostics.iter().filter(|p| !p.dora_only) {
        errln!("{warning}");
    }
}

/// Returns the folder for the results of a run of this name.
pub fn run_folder(options: &Run, flow: &Flow, name: &str) -> PathBuf {
    match &options.output {
        Some(folder) => folder.clone(),
        None => runs_folder(flow, flow.run_dir.as_deref()).join(format!("{}-{name}", flow.name)),
    }
}

/// Replaces the nodes before `from` by the replay of a recorded run, for `--from`.
fn replay_from(flow: &mut Flow, registry: &Registry, from: &str, recording: &Path) -> Result<()> {
    let recording = std::path::absolute(recording).or_fail(Failure::Input, || recording.display().to_string())?;
    // Checks that it is the folder of a run, before the flow is changed.
    RecordedTables::open(&recording)?;
    flow.replay_from(registry, from, &recording).map_err(|problems| join_diagnostics(&problems, Failure::Config))
}

/// Adds a preview node to the flow, for `--preview`.
fn add_preview(flow: &mut Flow, registry: &Registry, port: u16, set: Vec<(String, String, Value)>) -> Result<()> {
    if let Some(own) = flow.nodes.iter().find(|node| node.operator == PREVIEW) {
        return Err(Error::config(format!(
            "{}: the flow already has a preview: leave out `--preview`, or set its port with `--set {}.port={port}`",
            own.place, own.id
        )));
    }
    let outputs = flow.preview_outputs();
    if outputs.is_empty() {
        return Err(Error::config(format!(
            "{}: nothing to preview: no source or `render` sends frames",
            flow.path.display()
        )));
    }
    let mut values = vec![("port".to_owned(), port.into()), ("title".to_owned(), flow.name.clone().into())];
    values.extend(set.into_iter().map(|(_, key, value)| (key, value)));
    flow.add_reader(registry, PREVIEW, PREVIEW, values, &outputs)
        .map_err(|problems| join_diagnostics(&problems, Failure::Config))
}

fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Reads a flow.
///
/// # Errors
/// If the flow is invalid; the message has one diagnostic per line.
pub fn read_flow(path: &Path, registry: &Registry, overrides: &Overrides) -> Result<Flow> {
    Flow::read(path, registry, overrides).map_err(|problems| join_diagnostics(&problems, Failure::Config))
}

/// Returns the folder of all runs: SIDELINE_RUN_DIR if it is set, else `runs`, relative to the flow's folder.
pub fn runs_folder(flow: &Flow, run_dir: Option<&Path>) -> PathBuf {
    let flow_folder = flow.path.parent().unwrap_or(Path::new("."));
    flow_folder.join(run_dir.unwrap_or(Path::new("runs")))
}

/// Builds the overrides of a flow from `--set` and `--mode`.
pub fn build_overrides(flow: &Path, set: &[Setting], mode: Option<sideline_api::Mode>) -> Overrides {
    Overrides {
        set: set
            .iter()
            .map(|s| (s.node.clone(), s.key.clone(), shell_paths::resolve_value(&s.key, &s.value)))
            .collect(),
        mode,
        device: None,
        input: None,
        home: home::find(flow),
    }
}

/// Joins diagnostics into one error, one line each.
pub fn join_diagnostics(problems: &[Diagnostic], failure: Failure) -> Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Error::new(failure, lines.join("\n"))
}

/// Returns a unique run name that sorts by time: `YYYYMMDD-HHMMSS-XXXX`.
pub fn new_run_name() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_date(days as i64);
    let unique = uuid::Uuid::now_v7().simple().to_string();
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}-{}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
        &unique[unique.len() - 4..]
    )
}

/// Converts a day number since 1970-01-01 to a date (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil_date(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// Name, folder, stop signal and predecessor of a run.
pub struct RunContext<'a> {
    /// Name of the run.
    pub name: &'a str,
    /// Folder of the results.
    pub folder: &'a Path,
    /// Stop signals of the process.
    pub stop: &'a StopSignal,
    /// The run that this one continues.
    pub previous: Option<&'a PreviousRun>,
}

/// Observer of a run in one process.
pub trait RunObserver: Sync {
    /// Watches the run until the sender of `end` is dropped. `frames`: expected number of frames, if it is known.
    fn watch(&self, running: &Arc<Running>, frames: Option<u64>, end: &Receiver<()>);

    /// Returns the flag that is set while code outside the run holds it back.
    fn hold_flag(&self) -> Arc<AtomicBool> {
        Arc::default()
    }

    /// Returns the callback for failures of operators.
    fn failure_hook(&self) -> Option<FailureHook> {
        None
    }
}

impl RunObserver for ProgressMode {
    fn watch(&self, running: &Arc<Running>, frames: Option<u64>, end: &Receiver<()>) {
        progress::show(running, *self, frames, end);
    }
}

/// Id of the only process of a run in one process.
const PROCESS: &str = "run";

/// Runs a whole flow in this process; returns its report, also of a run that failed after it had begun.
///
/// # Errors
/// If the run cannot begin, or its result cannot be written.
pub fn run_in_process(
    flow: &Flow,
    registry: &Registry,
    models: Models,
    context: &RunContext<'_>,
    limit: RunLimit,
    observer: &dyn RunObserver,
) -> Result<Report> {
    let RunContext { name: run, folder, stop, previous } = *context;
    let plan = flow.plan_embedded().map_err(|problems| {
        let mut error = join_diagnostics(&problems, Failure::Config);
        if !is_on_path("dora") {
            error.message +=
                "\n`dora` is not on PATH: `cargo xtask setup` puts it into .venv/bin, or `pip install dora-rs-cli`";
        }
        error
    })?;
    check_sources_not_overwritten(flow, folder)?;
    let run_folder = Arc::new(RunFolder::acquire(folder, run)?);
    run_folder.check_files_kept(flow, PROCESS)?;
    let start = record::RunStart {
        run,
        flow: &flow.path.display().to_string(),
        processes: vec![PROCESS.into()],
        nodes: &flow.nodes,
        device: flow.device,
        continues: previous.map(PreviousRun::to_json),
        folders: Default::default(),
    };
    let start = record::start_json(&start, &models);
    if run_folder.contents() == Contents::Current {
        // Written early, so that a run killed before it begins leaves a record, too.
        record::write_start(folder, &start)?;
    }
    let nodes = plan.nodes.iter().map(|node| node.id.clone()).collect();
    let timing = Arc::new(TimingFile::new(folder.join("timing.parquet"), nodes));
    let on_start = {
        let (run_folder, timing) = (run_folder.clone(), timing.clone());
        move || run_folder.begin(PROCESS, &start).and_then(|()| timing.begin())
    };
    let engine = Options {
        resume_after: previous.map(|previous| previous.resume_points.clone()).unwrap_or_default(),
        on_start: Some(Arc::new(on_start)),
        on_failure: observer.failure_hook(),
        is_held: observer.hold_flag(),
        ..engine_options(flow, run, folder, models, limit, stop, &timing)
    };
    let running = match sideline_engine::start(plan, registry, engine, None) {
        Ok(running) => Arc::new(running),
        Err(error) => {
            let contents = run_folder.contents();
            if contents == Contents::Earlier {
                errln!(
                    "{}: this run did not begin, so the results of the earlier run there are kept",
                    folder.display()
                );
            }
            return record_start_failure(flow, (contents == Contents::Current).then_some(folder), stop, error);
        }
    };
    let server = start_control_server(control::socket_path(run), flow, run, folder, &running);
    let report = std::thread::scope(|scope| {
        let (end_sender, end) = crossbeam_channel::bounded(0);
        let wait = || {
            // Dropped at the end of the run, which closes the channel.
            let _end_sender = end_sender;
            running.wait()
        };
        let waiter = scope.spawn(wait);
        let frames = limit.frames.map(|frames| frames.saturating_mul(running.stream_count() as u64));
        observer.watch(&running, frames, &end);
        waiter.join()
    })
    .map_err(|_| Error::other("the waiting thread panicked; the message is above"))?;
    let report = fail_without_frames(report, previous.is_none());
    let report = match previous {
        Some(previous) => previous.fail_without_frames_left(report),
        None => report,
    };
    finish_timing(running, &timing);
    // Closed after the result is written, so that a client that waits for the end finds it.
    let _open = server;
    if let Err(write_error) = record::write_result(folder, PROCESS, &report) {
        return Err(first_failure(report.failure, write_error));
    }
    Ok(report)
}

/// Writes the result of a run that failed or was stopped before its first frame; `folder` is `None` if it still holds an earlier
/// run. Returns a report after a stop, else the error.
fn record_start_failure(flow: &Flow, folder: Option<&Path>, stop: &StopSignal, error: Error) -> Result<Report> {
    if stop.is_requested() {
        let report = stopped_report(flow);
        if let Some(folder) = folder {
            record::write_result(folder, PROCESS, &report)?;
        }
        return Ok(report);
    }
    match folder.map(|folder| record::write_failure(folder, PROCESS, &error)) {
        Some(Err(write_error)) => Err(first_failure(Some(error), write_error)),
        _ => Err(error),
    }
}

/// Returns the report of a run, or of one node, that was stopped before its first frame.
pub fn stopped_report(flow: &Flow) -> Report {
    Report {
        status: RunStatus::Stopped,
        stopped_at_frame: Some(0),
        stop_cause: Some(StopCause::Signal),
        failure: None,
        mode: flow.mode,
        reproducible: false,
        sources: vec![],
        nodes: vec![],
        ignored: Default::default(),
        unnumbered: Default::default(),
        changes: vec![],
        wall_s: 0.0,
        cpu_s: meter::process_cpu().as_secs_f64(),
        peak_memory: meter::peak_memory(),
    }
}

/// Returns the failure of the run if there is one, and prints the write error of its result as a warning; else returns the
/// write error.
pub fn first_failure(failure: Option<Error>, write_error: Error) -> Error {
    let Some(failure) = failure else { return write_error };
    errln!("warning: the result of the run could not be written: {write_error}");
    failure
}

/// Turns the report of a finished run into a failure if no frame came, or a node processed none. `expects_frames` is false if
/// there may be no frame left, as after `--start-at`.
pub fn fail_without_frames(report: Report, expects_frames: bool) -> Report {
    if report.failure.is_some() || report.status != RunStatus::Done {
        return report;
    }
    let admitted: u64 = report.sources.iter().map(|source| source.counts.admitted).sum();
    let failure = match report.nodes.iter().find_map(no_frames_error) {
        Some(failure) => failure,
        None if expects_frames && !report.sources.is_empty() && admitted == 0 => {
            let names: Vec<&str> = report.sources.iter().map(|source| source.node.as_str()).collect();
            Error::input(format!("no frame was read from `{}`: there are no results", names.join("`, `")))
        }
        None => return report,
    };
    Report { status: RunStatus::Partial, failure: Some(failure), reproducible: false, ..report }
}

/// Returns the failure of a node that processed no frame because of failures or damaged frames.
fn no_frames_error(node: &NodeReport) -> Option<Error> {
    let counts = &node.counts;
    let (failed, skipped) = (counts.failed_frames(), counts.total_skipped());
    let damaged = counts.skipped_for(&Reason::Damaged);
    if counts.processed > 0 {
        return None;
    }
    if counts.failures() > 0 {
        let first = node.first_error.as_deref().unwrap_or("see the log");
        let restarting = counts.skipped_for(&Reason::Restarting);
        let were = |count: u64| if count == 1 { "was" } else { "were" };
        let mut causes = vec![];
        if failed > 0 {
            causes.push(format!("{failed} failed"));
        }
        if restarting > 0 {
            causes.push(format!("{restarting} {} skipped while it restarted", were(restarting)));
        }
        if skipped > restarting {
            let others = skipped - restarting;
            causes.push(format!("{others} {} skipped for other reasons", were(others)));
        }
        if counts.end_failures > 0 {
            causes.push(format!(
                "it failed at {}",
                meter::count_of(counts.end_failures, "end of a stream", "ends of streams")
            ));
        }
        let causes = causes.join(", ");
        return Some(Error::other(format!("node `{}` handled no frame: {causes}; first failure: {first}", node.node)));
    }
    (damaged > 0 && damaged == skipped).then(|| {
        Error::input(format!("node `{}` received no frame that could be decoded: {damaged} are damaged", node.node))
    })
}

/// Starts the control server of the run; returns `None`, with a warning, if it cannot be started.
pub fn start_control_server(
    address: Result<PathBuf>,
    flow: &Flow,
    run: &str,
    folder: &Path,
    running: &Arc<Running>,
) -> Option<control::Server> {
    let absolute = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = absolute(folder);
    let flow = absolute(&flow.path);
    let info = control::RunInfo { run: run.into(), flow, folder: folder.clone(), pid: std::process::id() };
    let on_change = move |changes: &[SettingChange]| {
        if let Err(error) = record::write_changes(&folder, changes) {
            tracing::warn!(%error, "the changed settings could not be written to run.json yet");
        }
    };
    address
        .and_then(|address| control::Server::start(&address, info, running, on_change))
        .inspect_err(|error| tracing::warn!(%error, "`sideline set` and `sideline stop` cannot reach this run"))
        .ok()
}

/// Returns the options of the engine for a run.
pub fn engine_options(
    flow: &Flow,
    run: &str,
    folder: &Path,
    models: Models,
    limit: RunLimit,
    stop: &StopSignal,
    timing: &TimingFile,
) -> Options {
    Options {
        device: flow.device,
        models: Arc::new(models),
        limit,
        stop_requested: stop.flag(),
        timing: timing.sender(),
        ..Options::new(run, folder)
    }
}

/// Writes the last timing rows. A failure is only logged, since they are not part of the result.
pub fn finish_timing(running: Arc<Running>, timing: &TimingFile) {
    // Handlers may still hold the run, and with it a sender of rows, so the run drops the sender itself.
    running.close_timing();
    if let Err(error) = timing.finish() {
        tracing::warn!(%error, "timing.parquet is not complete");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_engine::counts::OperatorCounts;

    #[test]
    fn a_node_that_handled_no_frame_is_reported_with_its_failures_and_skips() {
        let node = |errors, restarting, end_failures| NodeReport {
            node: "rehearse".into(),
            operator: "rehearse".into(),
            counts: OperatorCounts {
                skipped: [("restarting".to_owned(), restarting)].into_iter().filter(|(_, count)| *count > 0).collect(),
                errors,
                end_failures,
                ends_while_restarting: 1,
                ..OperatorCounts::default()
            },
            first_error: Some("no luck".into()),
            operator_counts: Default::default(),
            fps: 0.0,
            cpu_s: 0.0,
            wait_ms: Default::default(),
            process_ms: Default::default(),
            latency_ms: Default::default(),
        };
        let message = |node: &NodeReport| no_frames_error(node).unwrap().message;
        assert_eq!(
            message(&node(4, 56, 0)),
            "node `rehearse` handled no frame: 4 failed, 56 were skipped while it restarted; first failure: no luck"
        );
        let mut strided = node(1, 1, 1);
        strided.counts.skipped.insert("stride".into(), 2);
        assert_eq!(
            message(&strided),
            "node `rehearse` handled no frame: 1 failed, 1 was skipped while it restarted, 2 were skipped for other \
             reasons, it failed at 1 end of a stream; first failure: no luck"
        );
        assert!(no_frames_error(&node(0, 5, 0)).is_none(), "another node failed");
    }

    #[test]
    fn day_numbers_are_converted_to_dates() {
        assert_eq!(civil_date(0), (1970, 1, 1));
        assert_eq!(civil_date(19_782), (2024, 2, 29));
        assert_eq!(civil_date(20_454), (2026, 1, 1));
    }
}
