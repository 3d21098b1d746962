//! `sideline run FLOW --input 'clips/*.mp4'`: a run for each input, one after another.
//!
//! Errors of the flow are reported before the first run. A failed input does not stop the runs of the others, and the exit code
//! is the highest of all runs.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sideline_api::{Error, Failure, OrFail, Registry, Result};
use sideline_engine::meter::{Report, RunStatus};

use crate::{args::Run, commands::print_json, progress::ProgressMode, run, stop_signal::StopSignal};

/// Expands the patterns of `--input` to a list of inputs, one per run; `None` for a single run, with at most one input that is
/// not a pattern.
///
/// # Errors
/// If a pattern is invalid, matches no file, or a folder in it cannot be read.
pub fn expand_inputs(given: &[String]) -> Result<Option<Vec<String>>> {
    // An existing file whose name looks like a pattern is not one; nor is an address with a query or an IPv6 host.
    let is_pattern =
        |text: &str| text.contains(['*', '?', '[']) && !sideline_address::is_address(text) && !Path::new(text).exists();
    if given.len() < 2 && !given.iter().any(|text| is_pattern(text)) {
        return Ok(None);
    }
    let mut inputs: Vec<String> = vec![];
    for text in given {
        let matched = if is_pattern(text) { expand_pattern(text)? } else { vec![text.clone()] };
        for input in matched {
            if !inputs.contains(&input) {
                inputs.push(input);
            }
        }
    }
    Ok(Some(inputs))
}

/// Returns the absolute paths of the files that match a pattern, sorted.
fn expand_pattern(pattern: &str) -> Result<Vec<String>> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
    let found = glob::glob_with(pattern, options)
        .or_fail(Failure::Config, || format!("--input '{pattern}': invalid pattern"))?;
    let mut matched = vec![];
    for path in found {
        let path = path.or_fail(Failure::Input, || format!("--input '{pattern}'"))?;
        // An absolute path is not searched for beside the flow first.
        let path = std::path::absolute(&path).unwrap_or(path);
        let text = path.to_str().ok_or_else(|| {
            Error::input(format!("--input '{pattern}': the name of {} is not UTF-8; rename it", path.display()))
        })?;
        matched.push(text.to_owned());
    }
    if matched.is_empty() {
        let here = std::env::current_dir().unwrap_or_default();
        return Err(Error::input(format!("--input '{pattern}': no file matches in {}", here.display())));
    }
    Ok(matched)
}

/// Outcome of the run of one input.
struct Outcome {
    input: String,
    folder: PathBuf,
    /// The report of the run, or the error that kept it from starting; `None` if the run was not begun.
    result: Option<Result<Report>>,
}

impl Outcome {
    fn failure(&self) -> Option<&Error> {
        match self.result.as_ref()? {
            Ok(report) => report.failure.as_ref(),
            Err(error) => Some(error),
        }
    }

    fn code(&self) -> u8 {
        self.failure().map_or(0, |error| error.failure.exit_code())
    }

    fn describe(&self, number: usize, total: usize) -> String {
        let status = match (&self.result, self.failure()) {
            (_, Some(error)) => {
                format!("FAILED, code {}: {}", self.code(), error.message.lines().collect::<Vec<_>>().join("; "))
            }
            (Some(Ok(report)), None) => {
                let frames: u64 = report.sources.iter().map(|source| source.counts.admitted).sum();
                let status = if report.status == RunStatus::Stopped { "stopped" } else { "done" };
                format!("{status}, {frames} frames in {:.1} s", report.wall_s)
            }
            _ => return format!("{number} of {total}: {}: not begun", self.input),
        };
        format!("{number} of {total}: {}: {status}; results: {}", self.input, self.folder.display())
    }

    fn to_json(&self) -> Value {
        let report = self.result.as_ref().and_then(|result| result.as_ref().ok());
        json!({
            "input": self.input,
            "folder": self.result.as_ref().map(|_| self.folder.to_string_lossy()),
            "exit_code": self.result.as_ref().map(|_| self.code()),
            "failure": self.failure(),
            "report": report,
        })
    }
}

/// Runs the flow once for each input; returns the highest exit code.
///
/// # Errors
/// If the flow is invalid, or the report cannot be printed.
pub fn run(options: &Run, inputs: Vec<String>, registry: &Registry) -> Result<u8> {
    let mut prepared = vec![];
    for input in &inputs {
        prepared.push(run::prepare(options, Some(input), None, registry)?);
    }
    let mut outer = None;
    let mut outcomes: Vec<Outcome> = vec![];
    let stop = StopSignal::listen()?;
    let total = inputs.len();
    for (input, (flow, models)) in inputs.into_iter().zip(prepared) {
        let name = run::new_run_name();
        if outer.is_none() {
            run::print_warnings(&flow);
        }
        let outer: &PathBuf = outer.get_or_insert_with(|| run::run_folder(options, &flow, &name));
        let mut outcome = Outcome { folder: outer.join(folder_name(&input, &outcomes)), input, result: None };
        if !stop.is_requested() {
            if options.progress == ProgressMode::Json {
                outln!("{}", json!({"input": outcome.input, "folder": outcome.folder.to_string_lossy()}));
            }
            let context = run::RunContext { name: &name, folder: &outcome.folder, stop: &stop, previous: None };
            outcome.result =
                Some(run::run_in_process(&flow, registry, models, &context, options.limit(), &options.progress));
        }
        if !options.json {
            run::print_line(options, &outcome.describe(outcomes.len() + 1, total));
        }
        outcomes.push(outcome);
    }
    if options.json {
        let all: Vec<Value> = outcomes.iter().map(Outcome::to_json).collect();
        print_json(&all)?;
    } else {
        let results = outer.unwrap_or_default();
        run::print_line(options, &format!("{}; results: {}", summary(&outcomes), results.display()));
    }
    Ok(outcomes.iter().map(Outcome::code).max().unwrap_or(0))
}

/// Returns the name of an input's folder: the file stem, with `-2`, `-3`, ... after it if an earlier input has the same.
fn folder_name(input: &str, earlier: &[Outcome]) -> String {
    let stem = PathBuf::from(input).file_stem().map_or_else(|| "input".into(), |s| s.to_string_lossy().into_owned());
    let is_taken = |name: &String| earlier.iter().any(|outcome| outcome.folder.file_name() == Some(name.as_ref()));
    let numbered = (2..).map(|n| format!("{stem}-{n}"));
    std::iter::once(stem.clone()).chain(numbered).find(|name| !is_taken(name)).unwrap_or(stem)
}

fn summary(outcomes: &[Outcome]) -> String {
    let count = |filter: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| filter(outcome)).count();
    let failed = count(&|outcome| outcome.failure().is_some());
    let is_stopped = |outcome: &Outcome| matches!(&outcome.result, Some(Ok(report)) if report.failure.is_none() && report.status == RunStatus::Stopped);
    let (stopped, not_begun) = (count(&is_stopped), count(&|outcome| outcome.result.is_none()));
    let done = outcomes.len() - failed - stopped - not_begun;
    let mut text = format!("{} inputs: {done} done, {failed} failed", outcomes.len());
    if stopped + not_begun > 0 {
        text += &format!(", {stopped} stopped, {not_begun} not begun");
    }
    text
}
