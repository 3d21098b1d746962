//! `sideline run`: a flow in this process.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use sideline_api::{Error, Failure, Reason, Registry, Result, clock::WallClock, models::Models};
use sideline_engine::{
    Change, Options, Running,
    gate::Limit,
    meter::{self, NodeReport, Report, Status},
};
use sideline_graph::{Diagnostic, Flow, Overrides};

#[cfg(feature = "dora")]
use crate::node;
use crate::{
    args::{Run, Setting},
    commands::print_json,
    control,
    folder::{RunFolder, spare_sources},
    house, many,
    progress::{self, Show},
    record,
    start_at::Continued,
    stop::Stop,
    timing::TimingFile,
    typed,
};

/// Operator, and id, of the node that `--preview` adds.
const PREVIEW: &str = "preview";

/// Runs; the exit code.
///
/// # Errors
/// Whatever keeps the run from starting.
pub fn run(options: &Run, registry: &Registry) -> Result<u8> {
    #[cfg(feature = "dora")]
    if sideline_dora::transport::started_by_dora() {
        return node::run(registry);
    }
    let path = Path::new(&options.what);
    if registry.get(&options.what).is_ok() || !path.exists() && path.extension().is_none() {
        registry.get(&options.what)?;
        return Err(Error::config(format!(
            "operator `{0}` runs as a node of a flow: name it in one (`path: sideline`, `args: run {0}`) and run the flow",
            options.what
        )));
    }
    if let Some(inputs) = many::inputs(&options.input)? {
        if options.start_at.is_some() {
            return Err(Error::config("--start-at goes on with one run: give one `--input`, the same as that run's"));
        }
        return many::run(options, inputs, registry);
    }
    let stop = Stop::listen()?;
    let continued = options.start_at.as_deref().map(Continued::read).transpose()?;
    let input = options.input.first().map(String::as_str);
    let (flow, models) = prepare(options, input, continued.as_ref(), registry)?;
    warn(&flow);
    let name = run_name();
    let folder = folder(options, &flow, &name);
    if let Some(continued) = &continued {
        continued.check(&flow, &folder, registry)?;
        errln!("{}", continued.text());
    }
    let started = Started { name: &name, folder: &folder, stop: &stop, continued: continued.as_ref() };
    let report = embedded(&flow, registry, models, &started, options.limit(), options.progress)?;
    if options.json {
        print_json(&report)?;
    } else {
        told(options, &format!("{}results: {}", report.table(), folder.display()));
    }
    if let Some(continued) = continued {
        continued.something_was_left(&report)?;
    }
    match &report.failure {
        Some(failure) => Err(failure.clone()),
        None => Ok(0),
    }
}

/// Prints a line for people: where standard output is JSON, on standard error.
pub fn told(options: &Run, line: &str) {
    if options.json || options.progress == Show::Json { errln!("{line}") } else { outln!("{line}") }
}

/// Reads the flow for one input, and looks for its models.
///
/// # Errors
/// Whatever keeps it from starting.
pub fn prepare(
    options: &Run,
    input: Option<&str>,
    continued: Option<&Continued>,
    registry: &Registry,
) -> Result<(Flow, Models)> {
    let path = Path::new(&options.what);
    let mut overrides = overrides(path, &options.set, options.mode.map(Into::into));
    overrides.input = input.map(typed::source);
    if let Some(continued) = continued {
        // Before what the user says: a `--set` of one's own is the stronger.
        overrides.set.splice(0..0, continued.starts(registry));
    }
    overrides.device = options.device.map(Into::into);
    let mut shown = None;
    if let Some(port) = options.preview {
        // `--set preview.fps=5` is for the node that is yet to be added.
        let of = |(node, ..): &(String, String, Value)| node == PREVIEW;
        shown = Some((port, overrides.set.extract_if(.., |set| of(set)).collect::<Vec<_>>()));
    }
    let mut flow = read(path, registry, &overrides)?;
    if let Some((port, set)) = shown {
        preview(&mut flow, registry, port, set)?;
    }
    let models = house::models(path);
    let missing = flow.check_models(&models);
    if missing.is_empty() { Ok((flow, models)) } else { Err(join(&missing, Failure::Model)) }
}

/// Prints the warnings of a flow.
pub fn warn(flow: &Flow) {
    for warning in flow.diagnostics.iter().filter(|p| !p.dora_only) {
        errln!("{warning}");
    }
}

/// The folder for the results of a run of that name.
pub fn folder(options: &Run, flow: &Flow, name: &str) -> PathBuf {
    match &options.output {
        Some(folder) => folder.clone(),
        None => runs(flow, flow.run_dir.as_deref()).join(format!("{}-{name}", flow.name)),
    }
}

/// `--preview`: a node that shows what the flow draws, beside those that the flow names.
fn preview(flow: &mut Flow, registry: &Registry, port: u16, set: Vec<(String, String, Value)>) -> Result<()> {
    if let Some(own) = flow.nodes.iter().find(|node| node.operator == PREVIEW) {
        return Err(Error::config(format!(
            "{}: the flow has a preview already: leave out `--preview`, or set its port with `--set {}.port={port}`",
            own.place, own.id
        )));
    }
    let pictures = flow.pictures();
    if pictures.is_empty() {
        return Err(Error::config(format!(
            "{}: no source or render sends frames: nothing to preview",
            flow.path.display()
        )));
    }
    let mut values = vec![("port".to_owned(), port.into()), ("title".to_owned(), flow.name.clone().into())];
    values.extend(set.into_iter().map(|(_, key, value)| (key, value)));
    flow.add_reader(registry, PREVIEW, PREVIEW, values, &pictures).map_err(|problems| join(&problems, Failure::Config))
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Reads a flow; its problems are printed, one a line.
pub fn read(path: &Path, registry: &Registry, overrides: &Overrides) -> Result<Flow> {
    Flow::read(path, registry, overrides).map_err(|problems| join(&problems, Failure::Config))
}

/// The folder of runs, beside the flow: SIDELINE_RUN_DIR where it is set, else `runs`.
pub fn runs(flow: &Flow, run_dir: Option<&Path>) -> PathBuf {
    let beside = flow.path.parent().unwrap_or(Path::new("."));
    beside.join(run_dir.unwrap_or(Path::new("runs")))
}

/// `--set` and `--mode` for the graph.
pub fn overrides(flow: &Path, set: &[Setting], mode: Option<sideline_api::Mode>) -> Overrides {
    Overrides {
        set: set.iter().map(|s| (s.node.clone(), s.key.clone(), typed::value(&s.key, &s.value))).collect(),
        mode,
        device: None,
        input: None,
        home: house::home(flow),
    }
}

/// One error of many diagnostics, a line each.
pub fn join(problems: &[Diagnostic], failure: Failure) -> Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Error::new(failure, lines.join("\n"))
}

/// A name that sorts by time and is not given twice.
pub fn run_name() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days as i64);
    let unique = uuid::Uuid::now_v7().simple().to_string();
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}-{}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
        &unique[unique.len() - 4..]
    )
}

/// Day number since 1970-01-01 to a date (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, u32, u32) {
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

/// What a run is called, where it leaves its results, and what else may end it.
pub struct Started<'a> {
    /// Name of the run.
    pub name: &'a str,
    /// Its folder.
    pub folder: &'a Path,
    /// The signals of the process.
    pub stop: &'a Stop,
    /// The run it goes on from.
    pub continued: Option<&'a Continued>,
}

/// Id of the one process.
const PROCESS: &str = "run";

/// Runs a whole flow here.
pub fn embedded(
    flow: &Flow,
    registry: &Registry,
    models: Models,
    started: &Started<'_>,
    limit: Limit,
    show: Show,
) -> Result<Report> {
    let Started { name: run, folder, stop, continued } = *started;
    let plan = flow.plan_embedded().map_err(|problems| {
        let mut error = join(&problems, Failure::Config);
        if !on_path("dora") {
            error.message +=
                "\n`dora` is not on PATH: `cargo xtask setup` puts it into .venv/bin, or `pip install dora-rs-cli`";
        }
        error
    })?;
    spare_sources(flow, folder)?;
    let taken = Arc::new(RunFolder::take(folder, run)?);
    let start = record::Start {
        run,
        flow: &flow.path.display().to_string(),
        processes: vec![PROCESS.into()],
        nodes: &flow.nodes,
        device: flow.device,
        continues: continued.map(Continued::json),
        folders: Default::default(),
    };
    let start = record::started(&start, &models);
    // True once the folder holds nothing of another run.
    let is_ours = Arc::new(AtomicBool::new(taken.earlier().is_none()));
    if is_ours.load(Ordering::SeqCst) {
        // A run that is killed before it begins is known too.
        record::write_start(folder, &start)?;
    }
    let nodes = plan.nodes.iter().map(|node| node.id.clone()).collect();
    let timing = Arc::new(TimingFile::new(folder.join("timing.parquet"), nodes));
    let begin = {
        let (taken, timing, is_ours) = (taken.clone(), timing.clone(), is_ours.clone());
        move || {
            is_ours.store(true, Ordering::SeqCst);
            taken.replace()?;
            record::write_start(taken.path(), &start)?;
            record::keep_room(taken.path(), PROCESS)?;
            timing.begin()
        }
    };
    let engine = Options {
        after: continued.map(|continued| continued.after.clone()).unwrap_or_default(),
        begin: Some(Arc::new(begin)),
        ..engine_options(flow, run, folder, models, limit, stop, &timing)
    };
    let running = match sideline_engine::start(plan, registry, engine, None) {
        Ok(running) => Arc::new(running),
        Err(error) => {
            let ours = is_ours.load(Ordering::SeqCst);
            if !ours {
                errln!("{}: holds an earlier run, which stays as it is: this one did not begin", folder.display());
            }
            return not_begun(flow, ours.then_some(folder), stop, error);
        }
    };
    let server = listen(control::address(run), flow, run, folder, &running);
    let report = std::thread::scope(|scope| {
        let (is_on, over) = crossbeam_channel::bounded(0);
        let wait = || {
            let _is_on = is_on;
            running.wait()
        };
        let waiter = scope.spawn(wait);
        let frames = limit.frames.map(|frames| frames.saturating_mul(running.streams() as u64));
        progress::follow(&running, show, frames, &over);
        waiter.join()
    })
    .map_err(|_| Error::other("the waiting thread panicked; the message is above"))?;
    let report = judged(report, continued.is_none());
    finish(running, &timing);
    // Closed last: whoever waits for the end finds the result.
    let _open = server;
    if let Err(unwritten) = record::write_result(folder, PROCESS, &report) {
        return Err(first_cause(report.failure, unwritten));
    }
    Ok(report)
}

/// How a run ended that failed, or was stopped, before its first frame; written to its folder, unless that is an earlier run's.
fn not_begun(flow: &Flow, folder: Option<&Path>, stop: &Stop, error: Error) -> Result<Report> {
    if stop.asked() {
        let report = without_frames(flow);
        if let Some(folder) = folder {
            record::write_result(folder, PROCESS, &report)?;
        }
        return Ok(report);
    }
    match folder.map(|folder| record::write_failure(folder, PROCESS, &error)) {
        Some(Err(unwritten)) => Err(first_cause(Some(error), unwritten)),
        _ => Err(error),
    }
}

/// The report of a run, or a node of one, that was stopped before its first frame.
pub fn without_frames(flow: &Flow) -> Report {
    Report {
        status: Status::Stopped,
        stopped_at_frame: Some(0),
        failure: None,
        mode: flow.mode,
        reproducible: false,
        sources: vec![],
        nodes: vec![],
        ignored: Default::default(),
        changes: vec![],
        wall_s: 0.0,
        cpu_s: meter::process_cpu().as_secs_f64(),
        peak_memory: meter::peak_memory(),
    }
}

/// Of a run that failed, and whose result could not be written, what failed first; the other is told before it.
pub fn first_cause(failure: Option<Error>, unwritten: Error) -> Error {
    let Some(failure) = failure else { return unwritten };
    errln!("warning: how the run ended could not be written down: {unwritten}");
    failure
}

/// A run that came to its end and made nothing has failed, and says of what. `expects_frames`: false where there may be
/// nothing left to do.
pub fn judged(report: Report, expects_frames: bool) -> Report {
    if report.failure.is_some() || report.status != Status::Done {
        return report;
    }
    let admitted: u64 = report.sources.iter().map(|source| source.admitted).sum();
    let failure = match report.nodes.iter().find_map(nothing_done) {
        Some(failure) => failure,
        None if expects_frames && !report.sources.is_empty() && admitted == 0 => {
            let names: Vec<&str> = report.sources.iter().map(|source| source.node.as_str()).collect();
            Error::input(format!("no frame came from `{}`: nothing was made", names.join("`, `")))
        }
        None => return report,
    };
    Report { status: Status::Partial, failure: Some(failure), reproducible: false, ..report }
}

/// The failure of a node that did not get through a single frame.
fn nothing_done(node: &NodeReport) -> Option<Error> {
    let failed = node.errors + node.panics;
    let damaged = node.skipped.get(&Reason::Damaged.to_string()).copied().unwrap_or(0);
    let skipped: u64 = node.skipped.values().sum();
    if node.processed > 0 {
        return None;
    }
    if failed > 0 {
        let first = node.first_error.as_deref().unwrap_or("it is in the log");
        return Some(Error::other(format!(
            "node `{}` failed at every frame, {failed} times; first: {first}",
            node.node
        )));
    }
    (damaged > 0 && damaged == skipped).then(|| {
        Error::input(format!("node `{}` got no frame that could be decoded: {damaged} are damaged", node.node))
    })
}

/// Lets the run be asked and steered. It runs as well where that cannot be.
pub fn listen(
    address: Result<PathBuf>,
    flow: &Flow,
    run: &str,
    folder: &Path,
    running: &Arc<Running>,
) -> Option<control::Server> {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = whole(folder);
    let about =
        control::About { run: run.into(), flow: whole(&flow.path), folder: folder.clone(), pid: std::process::id() };
    let changed = move |changes: &[Change]| {
        if let Err(error) = record::write_changes(&folder, changes) {
            tracing::warn!(%error, "run.json does not tell of the change yet");
        }
    };
    address
        .and_then(|address| control::Server::start(&address, about, running, changed))
        .inspect_err(|error| tracing::warn!(%error, "`sideline set` and `stop` cannot reach this run"))
        .ok()
}

/// What a run needs besides its plan.
pub fn engine_options(
    flow: &Flow,
    run: &str,
    folder: &Path,
    models: Models,
    limit: Limit,
    stop: &Stop,
    timing: &TimingFile,
) -> Options {
    Options {
        device: flow.device,
        run: run.into(),
        run_dir: folder.to_owned(),
        models: Arc::new(models),
        clock: Arc::new(WallClock),
        limit,
        after: Default::default(),
        asked_to_stop: stop.flag(),
        begin: None,
        timing: timing.sender(),
    }
}

/// Writes the last timing rows. They are no result: a failure is told, not returned.
pub fn finish(running: Arc<Running>, timing: &TimingFile) {
    // Handlers may still hold the run, and with it a sender: the run lets go of it.
    running.release_timing();
    if let Err(error) = timing.finish() {
        tracing::warn!(%error, "timing.parquet is not complete");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_454), (2026, 1, 1));
    }
}
