//! `sideline test-operator`: the conformance suite for one operator.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::StructArray;
use serde_json::json;
use sideline_api::{Failure, InputPort, OrFail, Registry, Result, Values, config::Origin};
use sideline_conformance::{RecordedFrame, Suite, Verdict};
use sideline_recording::{RecordedTables, stream_and_frame, table_rows};

use crate::{args::TestOperator, commands::print_json, home, plugins, python::is_python};

/// Runs the suite; returns the exit code.
///
/// # Errors
/// When there is no such operator.
pub fn run(options: &TestOperator, registry: &Registry) -> Result<u8> {
    let factory = plugins::find(&options.target, registry)?;
    let mut values = Values::new();
    for (key, value) in &options.set {
        values.set(key.clone(), value.clone(), Origin::CommandLine);
    }
    let folder = tempfile::tempdir().or_fail(Failure::Output, || "a folder for the test")?;
    let here = Path::new(".");
    let search: Vec<PathBuf> = [Some(here.to_owned()), home::find(here)].into_iter().flatten().collect();
    let inputs = factory.spec(&values)?.inputs;
    let mut suite = Suite::new(factory, folder.path()).with_values(values).with_models(home::load_models(here), search);
    if is_python(&options.target) {
        suite = suite.with_exceptions();
    }
    if let Some(run) = &options.recording {
        suite = add_recording(suite, &inputs, run)?;
    }
    // The panics that the suite provokes are in its report.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let reports = suite.run();
    std::panic::set_hook(hook);
    let is_failed = reports.iter().any(|report| matches!(report.verdict, Verdict::Failed(_)));
    if options.json {
        let lines: Vec<_> = reports
            .iter()
            .map(|report| {
                let (verdict, text) = describe(&report.verdict);
                json!({"rule": report.rule, "verdict": verdict, "text": text})
            })
            .collect();
        print_json(&lines)?;
    } else {
        for report in &reports {
            let (verdict, text) = describe(&report.verdict);
            // One line, also for the problems of a configuration.
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let text = if text.is_empty() { text } else { format!(": {text}") };
            outln!("{verdict:<14} {}{text}", report.rule);
        }
    }
    Ok(if is_failed { Failure::Other.exit_code() } else { 0 })
}

fn describe(verdict: &Verdict) -> (&'static str, &str) {
    match verdict {
        Verdict::Passed => ("passed", ""),
        Verdict::NotApplicable(text) => ("not applicable", text),
        Verdict::Failed(text) => ("failed", text),
    }
}

/// Adds the rows of a run, by stream and frame number, in the tables that the operator reads.
fn add_recording(mut suite: Suite, inputs: &[InputPort], run: &Path) -> Result<Suite> {
    let tables = RecordedTables::open(run)?;
    for name in tables.names().map(str::to_owned).collect::<Vec<_>>() {
        if !inputs.iter().any(|input| input.ty.name() == name) {
            continue;
        }
        let mut frames: BTreeMap<RecordedFrame, Vec<Arc<StructArray>>> = BTreeMap::new();
        for batch in tables.table(&name)?.batches()? {
            let batch = batch?;
            let (streams, numbers) = stream_and_frame(&batch)?;
            let rows = table_rows(&batch)?;
            for (row, frame) in numbers.into_iter().enumerate() {
                let frame = RecordedFrame { stream: streams.value(row).into(), frame };
                frames.entry(frame).or_default().push(Arc::new(rows.slice(row, 1)));
            }
        }
        let rows = frames.into_iter().map(|(frame, rows)| Ok((frame, sideline_api::table::concat(&rows)?)));
        suite = suite.with_recording(&name, rows.collect::<Result<_>>()?);
    }
    Ok(suite)
}
