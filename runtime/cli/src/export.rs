//! `sideline export`: the tables of a run as one flat table, for spreadsheets and notebooks.
//!
//! A row for each (stream, frame, track): the columns of `tracks`, `poses` (each joint by its name), `motion` and
//! `interaction` (seen from the row's own side) beside each other, as far as they were recorded. A frame that was skipped
//! keeps its row, with the reason in `skipped`. Tables without tracks, such as `counts`, are exported one at a time: a row
//! for a row. What is not known is empty in CSV and null in JSON; Parquet keeps NaN.
//!
//! The events of a match are also written as StatsBomb and Wyscout have them: see [`provider`].
//!
//! Rows are read and written some at a time, so a match of two hours needs no more memory than a clip.

mod flatten;
mod join;
mod provider;
pub mod write;

use std::path::{Path, PathBuf};

use serde::Serialize;
use sideline_api::{Error, Failure, OrFail, Result};

use crate::{args, commands::print_json, print, record, recorded::Tables};

use join::Join;

/// What was exported.
#[derive(Serialize)]
struct Summary {
    output: PathBuf,
    rows: u64,
    columns: usize,
    tables: Vec<String>,
    /// Tables of the run that are not in it, and why.
    left_out: Vec<String>,
    /// Why the run is not whole; null when it is.
    partial: Option<String>,
}

/// Exports; the exit code.
///
/// # Errors
/// When the folder is no run, a table is unknown, or the file cannot be written or is there already.
pub fn export(options: &args::Export) -> Result<u8> {
    match options.format.kind() {
        Ok(format) => flat(options, format),
        Err(provider) => provider::export(options, provider),
    }
}

/// Exports one flat table; the exit code.
fn flat(options: &args::Export, format: args::Format) -> Result<u8> {
    if options.stream.is_some() {
        return Err(Error::config(
            "`--stream` chooses the events of statsbomb and wyscout; a flat table holds all streams",
        ));
    }
    let tables = Tables::open(&options.run)?;
    let (chosen, mut left_out) = choose(&tables, &options.tables)?;
    let join = Join::new(&tables, &chosen)?;
    left_out
        .extend(join.nothing_of().map(|name| format!("{name}: no part of it was complete when the run was cut off")));
    let partial = partial(&options.run, &join)?;
    let to_stdout = options.output.as_deref() == Some(Path::new("-"));
    let output = match &options.output {
        Some(output) => output.clone(),
        None => options.run.join(format!("export.{}", format.extension())),
    };
    let columns = join.schema().fields().len();
    let rows = if to_stdout {
        match write::to_stdout(format, join.schema()).and_then(|sink| join.write(sink)) {
            // Who reads has seen enough, as in `| head`.
            Err(_) if print::reader_is_gone() => return Ok(0),
            written => written?,
        }
    } else {
        whole(&output, options.overwrite, |draft| join.write(write::to_file(format, draft, join.schema())?))?
    };
    let summary = Summary { output, rows, columns, tables: chosen, left_out, partial };
    if let (Some(why), false) = (&summary.partial, options.json) {
        errln!("PARTIAL: {why}");
    }
    match (to_stdout, options.json) {
        // Standard output holds the table itself.
        (true, _) => {}
        (false, true) => print_json(&summary)?,
        (false, false) => {
            outln!("{}: {rows} rows, {columns} columns of {}", summary.output.display(), summary.tables.join(", "));
            for left in &summary.left_out {
                outln!("left out: {left}");
            }
        }
    }
    Ok(0)
}

/// The tables that are exported, and what is left out when nothing was asked for.
fn choose(tables: &Tables, asked: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    let mut by_track = vec![];
    let mut others = vec![];
    let names: Vec<String> = if asked.is_empty() { tables.names().map(Into::into).collect() } else { asked.to_vec() };
    for name in &names {
        match tables.named(name)?.schema()? {
            Some(schema) if !flatten::has_tracks(&schema) => others.push(name.clone()),
            // One of which nothing is there is left out by the join, which says so.
            _ => by_track.push(name.clone()),
        }
    }
    if asked.is_empty() && !by_track.is_empty() {
        // In the order in which they are made, where it is known.
        let order = ["tracks", "poses", "motion", "interaction"];
        by_track.sort_by_key(|name| order.iter().position(|known| known == name).unwrap_or(order.len()));
        let left = others.iter().map(|name| format!("{name}: its rows have no track; `--tables {name}` exports it"));
        return Ok((by_track, left.collect()));
    }
    match (others.as_slice(), by_track.as_slice()) {
        ([], _) => Ok((by_track, vec![])),
        ([_], []) => Ok((others, vec![])),
        ([one, ..], _) => Err(Error::config(format!(
            "table `{one}`: its rows have no track, so it cannot be joined with {}; export it by itself: `--tables {one}`",
            names.iter().filter(|name| *name != one).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// Why the run is not whole.
fn partial(run: &Path, join: &Join) -> Result<Option<String>> {
    let merged = record::merge(run)?;
    let why = merged.failure.map(|(process, error)| format!("by `{process}`: {error}"));
    Ok(match (join.cut_off(), why) {
        (false, why) => why,
        (true, why) => Some(format!(
            "the recording was cut off; what was complete is exported{}",
            why.map(|why| format!(" ({why})")).unwrap_or_default()
        )),
    })
}

/// Writes a draft beside the file, which then takes its name: whole or not at all.
fn whole<T>(output: &Path, overwrite: bool, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    if output.exists() && !overwrite {
        return Err(Error::output(format!(
            "{}: is there already; name another file with `--output`, or write over it with `--overwrite`",
            output.display()
        )));
    }
    let name = output.file_name().ok_or_else(|| Error::output(format!("{}: is not a file name", output.display())))?;
    let draft = output.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = write(&draft).and_then(|written| {
        std::fs::rename(&draft, output).or_fail(Failure::Output, || output.display().to_string())?;
        Ok(written)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written
}
