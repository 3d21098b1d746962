//! `sideline eval moves`: recordings of known moves, as the product sees them, and what its models make of them.
//!
//! Everything goes through the operators of a flow, made from the registry and driven as a run drives them.

mod export;
mod judges;
mod picture;
mod report;

use std::{collections::BTreeMap, path::Path};

use sideline_api::{Error, Failure, OrFail, Registry, Result};
use sideline_eval::moves::{Fault, Library, Recording, read_all, synthetic};

use crate::{args::EvalMoves, commands::print_json, stage};
use judges::Judges;
use report::{Report, judge};
use stage::Workshop;

/// Generated bouts are of the seeds behind this one where they test: none that an export for training may hold.
const TEST_SEEDS: u64 = 1_000_000;

/// Bouts where no folder is named and nobody says how many.
const GENERATED: u64 = 10;

/// Reads what is below the folder and does what is asked for.
pub fn run(options: &EvalMoves, registry: &Registry) -> Result<u8> {
    let library = match &options.dir {
        Some(dir) => read_all(dir).map_err(|error| Error::input(error.to_string()))?,
        None => Library::default(),
    };
    tell_faults(&library);
    let generate = options.generate.unwrap_or(if options.dir.is_some() { 0 } else { GENERATED });
    let workshop = Workshop::new(registry);
    if let Some(file) = &options.export {
        export::run(&workshop, &library, generate, file, options.json)?;
        return Ok(0);
    }
    let report = report(&workshop, &library, generate, options.models.as_deref())?;
    if let Some(path) = &options.picture {
        std::fs::write(path, picture::draw(&report)).or_fail(Failure::Output, || path.display().to_string())?;
    }
    if options.json {
        print_json(&report)?;
    } else {
        crate::print::stdout(&report.to_string());
        tell_left_out(&library);
    }
    Ok(0)
}

/// What the models make of each set.
fn report(workshop: &Workshop, library: &Library, generate: u64, models: Option<&Path>) -> Result<Report> {
    let mut judges = Judges::new(workshop, models, true)?;
    let mut deaf = Judges::new(workshop, models, false)?;
    let generated: Vec<Recording> =
        (1..=generate).map(|seed| synthetic(TEST_SEEDS.saturating_add(seed), true)).collect();
    let mut sets: BTreeMap<&'static str, Vec<&Recording>> = BTreeMap::new();
    for recording in library.recordings.iter().chain(&generated) {
        sets.entry(recording.set.name).or_default().push(recording);
    }
    let mut reports = BTreeMap::new();
    for (name, recordings) in sets {
        if let Some(report) = judge(&recordings, &mut judges, Some(&mut deaf))? {
            reports.insert(name, report);
        }
    }
    Ok(Report(reports))
}

/// Says what there was beside the recordings.
fn tell_left_out(library: &Library) {
    let left: Vec<String> = library.left_out.iter().map(|(what, count)| format!("{what} ({count})")).collect();
    if !left.is_empty() {
        outln!("\nleft out: {}", left.join("; "));
    }
}

/// Says on standard error what could not be read: each problem once, with the first place where it is.
fn tell_faults(library: &Library) {
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
