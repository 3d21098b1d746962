//! The read-only commands check, list and result.

use std::path::Path;

use serde_json::{Value, json};
use sideline_api::{Failure, OrFail, Registry, Result};
use sideline_engine::counts::FrameCounts;
use sideline_graph::render_plan;

use crate::{
    args::{Mode, Setting},
    home, inspect, print, record, run,
};

/// Prints a value as JSON on standard output.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    outln!("{}", serde_json::to_string_pretty(value).or_fail(Failure::Output, || "standard output")?);
    Ok(())
}

/// Runs `sideline check`; returns the exit code. `python` describes the interpreter of operators in Python.
pub fn check(
    flow: &Path,
    json: bool,
    set: &[Setting],
    mode: Option<Mode>,
    registry: &Registry,
    python: Option<&str>,
) -> Result<u8> {
    let read = sideline_graph::Flow::read(flow, registry, &run::build_overrides(flow, set, mode.map(Into::into)));
    let (problems, read) = match read {
        Ok(read) => {
            let mut problems = read.diagnostics.clone();
            problems.extend(read.check_models(&home::load_models(flow)));
            (problems, Some(read))
        }
        Err(problems) => (problems, None),
    };
    let has_errors = problems.iter().any(|p| p.severity == sideline_graph::Severity::Error);
    if json {
        let list: Vec<Value> = problems
            .iter()
            .map(|p| {
                json!({
                    "severity": format!("{:?}", p.severity).to_lowercase(),
                    // JSON cannot represent a name that is not UTF-8, so it is converted lossily.
                    "file": p.place.file.as_ref().map(|file| file.to_string_lossy()), "line": p.place.line,
                    "column": p.place.column, "node": p.node, "message": p.message, "dora_only": p.dora_only,
                })
            })
            .collect();
        print_json(&list)?;
    } else {
        for problem in &problems {
            outln!("{problem}");
        }
        if let Some(read) = &read {
            print::stdout(&render_plan(read));
        }
        if let Some(python) = python {
            outln!("{python}");
        }
    }
    Ok(if has_errors { Failure::Config.exit_code() } else { 0 })
}

/// Runs `sideline list`; returns the exit code.
pub fn list(json: bool, registry: &Registry) -> Result<u8> {
    if json {
        print_json(&registry.iter().map(inspect::describe).collect::<Vec<_>>())?;
        return Ok(0);
    }
    for entry in registry.iter() {
        let origin = entry.library().map_or_else(String::new, |library| format!("  (plugin {})", library.display()));
        outln!("{:<12} {}{origin}", entry.spec.name, entry.about());
    }
    Ok(0)
}

/// Runs `sideline result`; returns the exit code of the run.
pub fn result(folder: &Path, json: bool) -> Result<u8> {
    let merged = record::merge(folder)?;
    if json {
        print_json(&merged)?;
        return Ok(merged.exit_code());
    }
    for (process, status) in &merged.processes {
        outln!("{process:<24} {status}");
    }
    for source in &merged.sources {
        let counts: FrameCounts = serde_json::from_value(source.clone()).unwrap_or_default();
        outln!("{}: {counts}", source["node"].as_str().unwrap_or_default());
    }
    outln!("{}", merged.describe());
    Ok(merged.exit_code())
}
