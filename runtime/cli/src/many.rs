//! `sideline run FLOW --input 'clips/*.mp4'`: a run for each input, one after another.
//!
//! What is wrong with the flow is told before the first run. What is wrong with one input ends its run alone: the others
//! follow, and the highest exit code of all is that of the process.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sideline_api::{Error, Failure, OrFail, Registry, Result, address};
use sideline_engine::meter::{Report, Status};

use crate::{args::Run, commands::print_json, progress::Show, run, stop::Stop};

/// The inputs of many runs, when `--input` names more than one file: patterns, or several. None for a run as ever.
///
/// # Errors
/// When a pattern is wrong, cannot be followed, or nothing matches it.
pub fn inputs(given: &[String]) -> Result<Option<Vec<String>>> {
    // A file whose name looks like a pattern is that file; an address with a query, or an IPv6 host, is that address.
    let is_pattern =
        |text: &str| text.contains(['*', '?', '[']) && !address::is_address(text) && !Path::new(text).exists();
    if given.len() < 2 && !given.iter().any(|text| is_pattern(text)) {
        return Ok(None);
    }
    let mut inputs: Vec<String> = vec![];
    for text in given {
        let matched = if is_pattern(text) { matches(text)? } else { vec![text.clone()] };
        for input in matched {
            if !inputs.contains(&input) {
                inputs.push(input);
            }
        }
    }
    Ok(Some(inputs))
}

/// The files that a pattern names, sorted.
fn matches(pattern: &str) -> Result<Vec<String>> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
    let found = glob::glob_with(pattern, options)
        .map_err(|cause| Error::config(format!("--input '{pattern}': is no pattern: {cause}")))?;
    let mut matched = vec![];
    for path in found {
        let path = path.or_fail(Failure::Input, || format!("--input '{pattern}'"))?;
        // As a path from the root it is not looked for beside the flow first.
        let path = std::path::absolute(&path).unwrap_or(path);
        let text = path.to_str().ok_or_else(|| {
            Error::input(format!("--input '{pattern}': the name of {} is not UTF-8; rename it", path.display()))
        })?;
        matched.push(text.to_owned());
    }
    if matched.is_empty() {
        let here = std::env::current_dir().unwrap_or_default();
        return Err(Error::input(format!("--input '{pattern}': no file matches, seen from {}", here.display())));
    }
    Ok(matched)
}

/// How one input went.
struct Outcome {
    input: String,
    folder: PathBuf,
    /// Its run, or what kept it from starting; none when it was not begun.
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

    fn line(&self, number: usize, of: usize) -> String {
        let how = match (&self.result, self.failure()) {
            (_, Some(error)) => {
                format!("FAILED, code {}: {}", self.code(), error.message.lines().collect::<Vec<_>>().join("; "))
            }
            (Some(Ok(report)), None) => {
                let frames: u64 = report.sources.iter().map(|source| source.admitted).sum();
                let how = if report.status == Status::Stopped { "stopped" } else { "done" };
                format!("{how}, {frames} frames in {:.1} s", report.wall_s)
            }
            _ => return format!("{number} of {of}: {}: not begun", self.input),
        };
        format!("{number} of {of}: {}: {how}; results: {}", self.input, self.folder.display())
    }

    fn json(&self) -> Value {
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

/// Runs the flow once for each input; the highest exit code.
///
/// # Errors
/// What is wrong with the flow, or with the report's writing.
pub fn run(options: &Run, inputs: Vec<String>, registry: &Registry) -> Result<u8> {
    let mut prepared = vec![];
    for input in &inputs {
        prepared.push(run::prepare(options, Some(input), None, registry)?);
    }
    let mut outer = None;
    let mut outcomes: Vec<Outcome> = vec![];
    let stop = Stop::listen()?;
    let of = inputs.len();
    for (input, (flow, models)) in inputs.into_iter().zip(prepared) {
        let name = run::run_name();
        if outer.is_none() {
            run::warn(&flow);
        }
        let outer: &PathBuf = outer.get_or_insert_with(|| run::folder(options, &flow, &name));
        let mut outcome = Outcome { folder: outer.join(folder_name(&input, &outcomes)), input, result: None };
        if !stop.asked() {
            if options.progress == Show::Json {
                outln!("{}", json!({"input": outcome.input, "folder": outcome.folder.to_string_lossy()}));
            }
            let started = run::Started { name: &name, folder: &outcome.folder, stop: &stop, continued: None };
            outcome.result = Some(run::embedded(&flow, registry, models, &started, options.limit(), options.progress));
        }
        if !options.json {
            run::told(options, &outcome.line(outcomes.len() + 1, of));
        }
        outcomes.push(outcome);
    }
    if options.json {
        let all: Vec<Value> = outcomes.iter().map(Outcome::json).collect();
        print_json(&all)?;
    } else {
        let results = outer.unwrap_or_default();
        run::told(options, &format!("{}; results: {}", summary(&outcomes), results.display()));
    }
    Ok(outcomes.iter().map(Outcome::code).max().unwrap_or(0))
}

/// Name of an input's folder: its file's without ending, told apart from those of others.
fn folder_name(input: &str, before: &[Outcome]) -> String {
    let stem = PathBuf::from(input).file_stem().map_or_else(|| "input".into(), |s| s.to_string_lossy().into_owned());
    let taken = |name: &String| before.iter().any(|outcome| outcome.folder.file_name() == Some(name.as_ref()));
    let numbered = (2..).map(|n| format!("{stem}-{n}"));
    std::iter::once(stem.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(stem)
}

fn summary(outcomes: &[Outcome]) -> String {
    let count = |which: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| which(outcome)).count();
    let failed = count(&|outcome| outcome.failure().is_some());
    let stopped = |outcome: &Outcome| matches!(&outcome.result, Some(Ok(report)) if report.failure.is_none() && report.status == Status::Stopped);
    let (stopped, not_begun) = (count(&stopped), count(&|outcome| outcome.result.is_none()));
    let done = outcomes.len() - failed - stopped - not_begun;
    let mut text = format!("{} inputs: {done} done, {failed} failed", outcomes.len());
    if stopped + not_begun > 0 {
        text += &format!(", {stopped} stopped, {not_begun} not begun");
    }
    text
}
