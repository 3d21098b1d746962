//! `sideline-lab eval moves`: the classifiers of moves on recordings with labeled moves.
//!
//! All recordings go through the operators of a flow, created from the registry and driven as in a run.

mod classifiers;
mod confusion_svg;
mod export;
mod report;

use std::{collections::BTreeMap, path::Path};

use sideline::program::{errln, outln, print_json, stdout};
use sideline_api::{Error, Failure, OrFail, Registry, Result};
use sideline_eval::moves::{Fault, Library, Recording, read_all, synthetic};

use crate::{args::EvalMoves, operator_runner};
use classifiers::Classifiers;
use operator_runner::OperatorFactory;
use report::{Report, evaluate};

/// Offset of the seeds of generated bouts in an evaluation. Exports for training use seeds below it.
const TEST_SEED_OFFSET: u64 = 1_000_000;

/// Number of generated bouts without a folder and without `--generate`.
const DEFAULT_GENERATED_BOUTS: u64 = 10;

/// Reads the recordings and evaluates or exports them.
pub fn run(options: &EvalMoves, registry: &Registry) -> Result<u8> {
    let library = match &options.dir {
        Some(dir) => read_all(dir).map_err(|error| Error::input(error.to_string()))?,
        None => Library::default(),
    };
    report_faults(&library);
    let generate = options.generate.unwrap_or(if options.dir.is_some() { 0 } else { DEFAULT_GENERATED_BOUTS });
    let factory = OperatorFactory::new(registry);
    if let Some(file) = &options.export {
        export::run(&factory, &library, generate, file, options.json)?;
        return Ok(0);
    }
    let report = evaluate_all(&factory, &library, generate, options.models.as_deref())?;
    if let Some(path) = &options.picture {
        std::fs::write(path, confusion_svg::draw(&report)).or_fail(Failure::Output, || path.display().to_string())?;
    }
    if options.json {
        print_json(&report)?;
    } else {
        stdout(&report.to_string());
        print_excluded(&library);
    }
    Ok(0)
}

/// Evaluates the classifiers on each dataset.
fn evaluate_all(factory: &OperatorFactory, library: &Library, generate: u64, models: Option<&Path>) -> Result<Report> {
    let mut classifiers = Classifiers::new(factory, models, true)?;
    let mut without_interaction = Classifiers::new(factory, models, false)?;
    let generated: Vec<Recording> =
        (1..=generate).map(|seed| synthetic(TEST_SEED_OFFSET.saturating_add(seed), true)).collect();
    let mut datasets: BTreeMap<&'static str, Vec<&Recording>> = BTreeMap::new();
    for recording in library.recordings.iter().chain(&generated) {
        datasets.entry(recording.dataset.name).or_default().push(recording);
    }
    let mut reports = BTreeMap::new();
    for (name, recordings) in datasets {
        if let Some(report) = evaluate(&recordings, &mut classifiers, Some(&mut without_interaction))? {
            reports.insert(name, report);
        }
    }
    Ok(Report(reports))
}

/// Prints what was excluded.
fn print_excluded(library: &Library) {
    let excluded: Vec<String> = library.excluded.iter().map(|(reason, count)| format!("{reason} ({count})")).collect();
    if !excluded.is_empty() {
        outln!("\nexcluded: {}", excluded.join("; "));
    }
}

/// Prints to standard error what could not be read: each problem once, with its first place.
fn report_faults(library: &Library) {
    let mut problems: Vec<(&Fault, usize)> = vec![];
    for fault in &library.faults {
        match problems.iter_mut().find(|(first, _)| first.problem == fault.problem) {
            Some((_, files)) => *files += 1,
            None => problems.push((fault, 1)),
        }
    }
    for (fault, files) in problems {
        let others = if files > 1 { format!(" (and in {} more files)", files - 1) } else { String::new() };
        errln!("{fault}{others}");
    }
}
